// SPDX-License-Identifier: MIT
/*
 * reclaim.c - clean-up has a place of its own.
 *
 * Each mm has a stack of deferred work that anyone pushes to without a lock. The process
 * has one reclaimer thread for all mms that did not ask for HMMU_MM_OWN_RECLAIM; the
 * application may run work itself at any time. Whoever runs takes the whole stack and
 * runs it in the order of its arrival.
 *
 *	defer				reclaimer
 *	push		[seqcst]	asleep = 1		[seqcst]
 *	load asleep	[seqcst]	look at the stacks	[seqcst]
 *	  1: work++, wake		  empty: wait on work as read before asleep
 *			[Required: one of them sees the other]
 *
 * mm->reclaiming counts those who run work of this mm, from before they take the stack,
 * so that close knows when nothing is left.
 */
#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>

#include "../export.h"
#include "../futex.h"
#include "../instance.h"
#include "../notifier/notifier.h"

HMMU_EXPORT void hmmu_defer(struct mm_struct *mm, struct hmmu_work *work,
			    void (*fn)(struct hmmu_work *))
{
	struct hmmu_instance *inst = hmmu_instance_peek();
	struct hmmu_work *head;

	if (!hmmu_mm_alive(mm))
		return; /* a forked child: what was deferred is its parent's */
	work->fn = fn;
	work->mm = mm;
	head = hmmu_load_relaxed(&mm->deferred);
	do {
		work->next = HMMU_PLANTED(DEFER_LOST) ? NULL : head;
		/* Pairs with take() and with look() of a reclaimer that falls asleep. */
	} while (!hmmu_cas_seqcst(&mm->deferred, &head, work));
	if ((mm->mm_flags & HMMU_MM_OWN_RECLAIM) || !hmmu_load_seqcst(&inst->asleep))
		return;
	hmmu_add_seqcst(&inst->work, 1);
	hmmu_futex_wake(&inst->work, 1);
}

static int run_all(struct hmmu_work *list)
{
	struct hmmu_work *fifo = NULL, *next;
	int n = 0;

	for (; list; list = next) {
		next = list->next;
		list->next = fifo;
		fifo = list;
	}
	for (; fifo; fifo = next, n++) {
		next = fifo->next; /* fn may free it */
		fifo->fn(fifo);
	}
	return n;
}

HMMU_EXPORT int hmmu_reclaim(struct mm_struct *mm)
{
	struct mm_struct *outer = hmmu_tls.working;
	int n;

	if (!mm)
		return -EINVAL;
	if (!hmmu_mm_alive(mm))
		return 0;
	if (hmmu_tls.frame)
		hmmu_report("reclaim-in-callback", mm);
	hmmu_add_seqcst(&mm->reclaiming, 1);
	hmmu_tls.working = mm;
	n = run_all(hmmu_xchg_seqcst(&mm->deferred, NULL));
	hmmu_tls.working = outer;
	hmmu_add_seqcst(&mm->reclaiming, (uint32_t)-1);
	hmmu_event_signal(mm);
	return n;
}

/* But for this thread itself, if it is inside a work of @mm. */
static bool idle(struct mm_struct *mm, const void *arg)
{
	return !hmmu_load_seqcst(&mm->deferred) &&
	       hmmu_load_seqcst(&mm->reclaiming) <= (hmmu_tls.working == mm);
}

static bool idle_or_work(struct mm_struct *mm, const void *arg)
{
	return hmmu_load_seqcst(&mm->deferred) || idle(mm, arg);
}

void hmmu_reclaim_drain(struct mm_struct *mm)
{
	while (!idle(mm, NULL)) {
		hmmu_reclaim(mm);
		/* Others may run some of it still. */
		hmmu_event_wait(mm, idle_or_work, NULL);
	}
}

/* An mm with something to do. @own: also those that reclaim by themselves. */
static struct mm_struct *look(struct hmmu_instance *inst, bool own)
{
	struct mm_struct *mm;

	hmmu_lock(&inst->lock);
	for (mm = inst->open; mm; mm = mm->next_open) {
		/* Pairs with the push in hmmu_defer(). */
		if (hmmu_load_seqcst(&mm->deferred) &&
		    (own || !(mm->mm_flags & HMMU_MM_OWN_RECLAIM)))
			break;
	}
	hmmu_unlock(&inst->lock);
	return mm;
}

static void sleep_until_work(struct hmmu_instance *inst, uint32_t generation)
{
	uint32_t seen = hmmu_load_seqcst(&inst->work);

	hmmu_store_seqcst(&inst->asleep, 1);
	if (!look(inst, false) && hmmu_load_seqcst(&inst->generation) == generation)
		hmmu_futex_wait(&inst->work, seen, NULL);
	hmmu_store_seqcst(&inst->asleep, 0);
}

static void *reclaimer(void *arg)
{
	struct hmmu_instance *inst = hmmu_instance_peek();
	uint32_t generation = (uint32_t)(uintptr_t)arg;

	hmmu_syscall(SYS_prctl, PR_SET_NAME, "hmmu-reclaim");
	while (hmmu_load_seqcst(&inst->generation) == generation) {
		struct mm_struct *mm = look(inst, false);

		if (mm)
			hmmu_reclaim(mm);
		else
			sleep_until_work(inst, generation);
	}
	return NULL;
}

int hmmu_reclaimer_use(struct hmmu_instance *inst)
{
	uint32_t generation = hmmu_load_relaxed(&inst->generation);
	sigset_t all, old;
	int ret;

	if (inst->thread_users++)
		return 0;
	/* The application's signals are not for this thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = pthread_create(&inst->thread, NULL, reclaimer, (void *)(uintptr_t)generation);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!ret)
		return 0;
	inst->thread_users--;
	return -ENOMEM;
}

void hmmu_reclaimer_unuse(struct hmmu_instance *inst, struct hmmu_reclaimer *old)
{
	if (--inst->thread_users)
		return;
	old->thread = inst->thread;
	old->stopped = 1;
	hmmu_add_seqcst(&inst->generation, 1);
	hmmu_add_seqcst(&inst->work, 1);
	hmmu_futex_wake(&inst->work, 1);
}

void hmmu_reclaimer_join(struct hmmu_reclaimer *old)
{
	if (!old->stopped)
		return;
	if (pthread_equal(old->thread, pthread_self()))
		pthread_detach(old->thread); /* a work closed the last mm */
	else
		pthread_join(old->thread, NULL);
}

HMMU_EXPORT void mmu_notifier_synchronize(void)
{
	struct hmmu_instance *inst = hmmu_instance_peek();
	uint32_t owed;

	if (!inst)
		return;
	while ((owed = hmmu_load_seqcst(&inst->frees_owed)) != 0) {
		struct mm_struct *mm = look(inst, true);

		if (mm)
			hmmu_reclaim(mm);
		else
			hmmu_futex_wait(&inst->frees_owed, owed, NULL);
	}
}
