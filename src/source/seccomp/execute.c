// SPDX-License-Identifier: MIT
/*
 * execute.c - the executors, the lists they work on, and the spawner.
 *
 * An executor that waits for a callback is not there for others, and what the callback
 * waits for may be another notified call. So the spawner makes more. Making a thread is
 * itself a notified call (mprotect of its stack), which must not wait behind calls that
 * wait for executors:
 *
 *	urgent	calls of the spawner: served first
 *	queue	everybody else's: the last idle executor leaves them alone, unless
 *		there can be no more executors
 *
 *	idle	executors that serve nothing, alive and looking
 *	born	executors ever seen alive: the spawner waits for the one it made
 *
 * What is left is a lock inside libc that the spawner needs (malloc's, the list of stacks)
 * and whose holder's call is in the queue: the guard's.
 */
#include <errno.h>
#include <linux/audit.h>
#include <sys/prctl.h>

#include "arch/syscall.h"
#include "atomic.h"
#include "futex.h"
#include "source/seccomp/seccomp.h"

#define SPARE 2 /* executors beyond those that have something to do */

void hmmu_seccomp_push(struct hmmu_seccomp *sup, struct hmmu_seccomp_list *list,
		       struct hmmu_seccomp_slot *slot)
{
	uint32_t me = (uint32_t)(slot - sup->slot) + 1;

	slot->next = 0;
	if (list->last)
		sup->slot[list->last - 1].next = me;
	else
		list->first = me;
	list->last = me;
}

struct hmmu_seccomp_slot *hmmu_seccomp_pop(struct hmmu_seccomp *sup,
					   struct hmmu_seccomp_list *list)
{
	struct hmmu_seccomp_slot *slot;

	if (!list->first)
		return NULL;
	slot = &sup->slot[list->first - 1];
	list->first = slot->next;
	if (!list->first)
		list->last = 0;
	return slot;
}

bool hmmu_seccomp_remove(struct hmmu_seccomp *sup, struct hmmu_seccomp_list *list,
			 struct hmmu_seccomp_slot *slot)
{
	uint32_t me = (uint32_t)(slot - sup->slot) + 1, before = 0, i = list->first;

	while (i && i != me) {
		before = i;
		i = sup->slot[i - 1].next;
	}
	if (!i)
		return false;
	if (before)
		sup->slot[before - 1].next = slot->next;
	else
		list->first = slot->next;
	if (list->last == me)
		list->last = before;
	return true;
}

void hmmu_seccomp_put(struct hmmu_seccomp *sup, struct hmmu_seccomp_slot *slot)
{
	/* The keeper looks at it without the lock. */
	hmmu_store_release(&slot->notif.id, 0);
	slot->state = SLOT_SEC_FREE;
	sup->outstanding--;
	if (sup->slot_waiters)
		hmmu_seccomp_kick(&sup->frees, 1);
}

void hmmu_seccomp_kick(uint32_t *word, int n)
{
	/* Pairs with the load that its sleepers make under the lock. */
	hmmu_add_seqcst(word, 1);
	hmmu_futex_wake(word, n);
}

/* The next one to serve. NULL: the supervisor ends. The caller counts as idle. */
static struct hmmu_seccomp_slot *take(struct hmmu_seccomp *sup)
{
	struct hmmu_seccomp_slot *slot;

	hmmu_lock(&sup->lock);
	for (;;) {
		/* Pairs with the add in hmmu_seccomp_kick(). */
		uint32_t seen = hmmu_load_seqcst(&sup->work);

		slot = hmmu_seccomp_pop(sup, &sup->urgent);
		if (!slot && (sup->idle > 1 || sup->executors >= sup->executors_max)) {
			slot = hmmu_seccomp_pop(sup, &sup->queue);
			sup->queued -= slot != NULL;
		}
		if (slot || hmmu_load_relaxed(&sup->quit))
			break;
		hmmu_unlock(&sup->lock);
		hmmu_futex_wait(&sup->work, seen, NULL);
		hmmu_lock(&sup->lock);
	}
	if (slot) {
		sup->idle--;
		slot->state = SLOT_SEC_STARTING;
		if (sup->idle < sup->queued + SPARE)
			hmmu_seccomp_kick(&sup->spawn, 1);
	}
	hmmu_unlock(&sup->lock);
	return slot;
}

/* Nothing is watched from here on, and everybody has been told. */
static void lose(struct hmmu_seccomp *sup)
{
	uint32_t not_yet = 0;

	if (hmmu_cas_seqcst(&sup->lost, &not_yet, 1))
		hmmu_source_lost(HMMU_SOURCE_SECCOMP);
}

static void done(struct hmmu_seccomp *sup, struct hmmu_seccomp_slot *slot)
{
	hmmu_lock(&sup->lock);
	slot->state = SLOT_SEC_DONE;
	hmmu_seccomp_push(sup, &sup->done, slot);
	hmmu_unlock(&sup->lock);
	hmmu_seccomp_kick(&sup->answers, 1);
}

/* The guard has performed it: who comes second frees. */
static void abandoned(struct hmmu_seccomp *sup, struct hmmu_seccomp_slot *slot)
{
	hmmu_lock(&sup->lock);
	if (slot->state == SLOT_SEC_ABANDONED)
		hmmu_seccomp_put(sup, slot);
	else
		slot->state = SLOT_SEC_ABANDONED;
	hmmu_unlock(&sup->lock);
}

static void execute(struct hmmu_seccomp *sup, struct hmmu_seccomp_slot *slot)
{
	int err = -EOPNOTSUPP;

	/* A 32-bit call: its arguments are not this table's. */
	if (slot->notif.id && slot->notif.data.arch == AUDIT_ARCH_X86_64 &&
	    slot->notif.data.nr < SECCOMP_X32)
		err = hmmu_seccomp_serve(sup, slot);
	if (err == -ECANCELED) {
		abandoned(sup, slot);
		return;
	}
	if (err) {
		lose(sup);
		hmmu_seccomp_continue(slot);
	}
	done(sup, slot);
}

/* There may be a call that the last idle one has left alone. */
static void idle_again(struct hmmu_seccomp *sup)
{
	bool waiting;

	hmmu_lock(&sup->lock);
	sup->idle++;
	waiting = sup->queued != 0;
	hmmu_unlock(&sup->lock);
	if (waiting)
		hmmu_seccomp_kick(&sup->work, 1);
}

void *hmmu_seccomp_executor(void *arg)
{
	struct hmmu_seccomp *sup = arg;
	struct hmmu_seccomp_slot *slot;

	hmmu_syscall(SYS_prctl, PR_SET_NAME, "hmmu-seccomp-x");
	idle_again(sup);
	hmmu_seccomp_kick(&sup->born, 1);
	while ((slot = take(sup)) != NULL) {
		execute(sup, slot);
		idle_again(sup);
	}
	return NULL;
}

static bool too_few(struct hmmu_seccomp *sup)
{
	bool few;

	hmmu_lock(&sup->lock);
	few = sup->idle < sup->queued + SPARE && sup->executors < sup->executors_max;
	if (few)
		sup->executors++;
	hmmu_unlock(&sup->lock);
	return few;
}

void *hmmu_seccomp_spawner(void *arg)
{
	struct hmmu_seccomp *sup = arg;
	pthread_t thread;
	uint32_t born;

	hmmu_store_release(&sup->spawner_tid, (uint32_t)hmmu_syscall(SYS_gettid));
	hmmu_syscall(SYS_prctl, PR_SET_NAME, "hmmu-seccomp-s");
	/* Those that it makes are nobody's to join: none before the set-up is over. */
	while (!hmmu_load_acquire(&sup->phase))
		hmmu_futex_wait(&sup->phase, 0, NULL);
	if (sup->error)
		return NULL;
	while (!hmmu_load_acquire(&sup->quit)) {
		/* Pairs with the add in hmmu_seccomp_kick(). */
		uint32_t seen = hmmu_load_seqcst(&sup->spawn);

		if (!too_few(sup)) {
			hmmu_futex_wait(&sup->spawn, seen, NULL);
			continue;
		}
		/* Signals are blocked here and so there. */
		if (!pthread_create(&thread, NULL, hmmu_seccomp_executor, sup)) {
			pthread_detach(thread);
			while ((born = hmmu_load_acquire(&sup->born)) < sup->executors)
				hmmu_futex_wait(&sup->born, born, NULL);
			continue;
		}
		/* No more can be had: the last one serves everybody. */
		hmmu_lock(&sup->lock);
		sup->executors_max = --sup->executors;
		hmmu_unlock(&sup->lock);
		hmmu_seccomp_kick(&sup->work, 1);
	}
	return NULL;
}
