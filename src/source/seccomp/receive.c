// SPDX-License-Identifier: MIT
/*
 * receive.c - the two threads that hold the listener: receiver and answerer.
 *
 * WHOSE IS IT? A caller of this process, or one that shares its memory (vfork, CLONE_VM), is
 * served. Everybody else, forked children and programs that were exec'ed, is told to
 * make the call itself (CONTINUE) at once, by the receiver.
 *
 * kcmp() tells. Where it may not look (another user's; a program that made itself
 * undumpable), a task that shares this memory would be as undumpable as this process: so a
 * dumpable process knows that it is another's. One that is not does not know, and
 * says so: watching is lost.
 *
 * brk that grows changes nothing and is frequent: the receiver performs it itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/close_range.h>
#include <linux/kcmp.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "arch/syscall.h"
#include "atomic.h"
#include "futex.h"
#include "source/seccomp/seccomp.h"

#define TICK_NS 100000000L
/* Younger than the headers of Debian 12. */
#define NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#define NOTIF_SYNC_WAKE_UP 1UL

enum whose { OURS, FOREIGN, UNKNOWN };

int hmmu_seccomp_patience_ms = 10000;

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static enum whose whose(struct hmmu_seccomp *sup, struct hmmu_seccomp_slot *slot)
{
	long self = getpid(), caller = slot->notif.pid, same, gone;

	if (HMMU_SECCOMP_PLANTED(PERFORMS_ALL))
		return OURS;
	/* 0: of a pid namespace that is not below ours. */
	if (!caller)
		return FOREIGN;
	/* A thread that is inside a notified call keeps its id. */
	if (hmmu_syscall(SYS_tgkill, self, caller, 0) == 0)
		return OURS;
	same = hmmu_syscall(SYS_kcmp, self, caller, KCMP_VM);
	/* Was it the caller that was looked at, or has its number been given on? */
	do {
		gone = hmmu_syscall(SYS_ioctl, sup->listener, SECCOMP_IOCTL_NOTIF_ID_VALID,
				    &slot->notif.id);
	} while (gone == -EINTR);
	if (gone)
		return FOREIGN; /* nobody hears the answer */
	if (same == 0)
		return OURS;
	if (same > 0 || hmmu_syscall(SYS_prctl, PR_GET_DUMPABLE) == 1)
		return FOREIGN;
	return UNKNOWN;
}

bool hmmu_seccomp_send(struct hmmu_seccomp *sup, struct hmmu_seccomp_slot *slot)
{
	long ret;

	do {
		ret = hmmu_syscall(SYS_ioctl, sup->listener, SECCOMP_IOCTL_NOTIF_SEND,
				   &slot->resp);
	} while (ret == -EINTR);
	/* The caller is gone, or was answered. */
	return !ret || ret == -ENOENT || ret == -EINPROGRESS;
}

static struct hmmu_seccomp_slot *get_slot(struct hmmu_seccomp *sup)
{
	struct hmmu_seccomp_slot *slot = NULL;

	hmmu_lock(&sup->lock);
	while (!slot) {
		uint32_t seen = hmmu_load_seqcst(&sup->frees);

		for (int i = 0; i < SECCOMP_SLOTS && !slot; i++)
			if (sup->slot[i].state == SLOT_SEC_FREE)
				slot = &sup->slot[i];
		if (slot)
			break;
		sup->slot_waiters++;
		hmmu_unlock(&sup->lock);
		hmmu_futex_wait(&sup->frees, seen, NULL);
		hmmu_lock(&sup->lock);
		sup->slot_waiters--;
	}
	slot->state = SLOT_SEC_FILLING;
	sup->outstanding++;
	hmmu_unlock(&sup->lock);
	return slot;
}

static void put_slot(struct hmmu_seccomp *sup, struct hmmu_seccomp_slot *slot)
{
	hmmu_lock(&sup->lock);
	hmmu_seccomp_put(sup, slot);
	hmmu_unlock(&sup->lock);
}

static void queue(struct hmmu_seccomp *sup, struct hmmu_seccomp_slot *slot)
{
	bool few, untimed;

	slot->since = now_ms();
	hmmu_lock(&sup->lock);
	slot->state = SLOT_SEC_QUEUED;
	if (slot->notif.pid == hmmu_load_acquire(&sup->spawner_tid)) {
		hmmu_seccomp_push(sup, &sup->urgent, slot);
	} else {
		hmmu_seccomp_push(sup, &sup->queue, slot);
		sup->queued++;
	}
	few = sup->idle < sup->queued + 1;
	untimed = sup->untimed;
	hmmu_unlock(&sup->lock);
	hmmu_seccomp_kick(&sup->work, 1);
	if (few)
		hmmu_seccomp_kick(&sup->spawn, 1);
	if (untimed) /* the guard has to look at its clock */
		hmmu_seccomp_kick(&sup->answers, 1);
}

/* True: it was a brk that takes nothing away, and is answered. */
static bool grows(struct hmmu_seccomp_slot *slot)
{
	const struct seccomp_data *d = &slot->notif.data;
	struct hmmu_seccomp_change c;

	if (d->arch != AUDIT_ARCH_X86_64 || d->nr != SYS_brk)
		return false;
	hmmu_seccomp_brk_range(d->args[0], &c);
	if (c.n)
		return false;
	hmmu_seccomp_answer(slot, hmmu_seccomp_gate(SYS_brk, (long)d->args[0], 0, 0, 0, 0, 0));
	return true;
}

static void handle(struct hmmu_seccomp *sup, struct hmmu_seccomp_slot *slot)
{
	enum whose who = whose(sup, slot);

	if (who == UNKNOWN)
		slot->notif.data.nr = SECCOMP_X32; /* an executor declares it lost */
	if (who == FOREIGN || hmmu_load_acquire(&sup->lost)) {
		hmmu_seccomp_continue(slot);
	} else if (who == UNKNOWN || (!grows(slot) && !hmmu_seccomp_serve_quiet(sup, slot))) {
		queue(sup, slot);
		return;
	}
	hmmu_seccomp_send(sup, slot);
	put_slot(sup, slot);
}

/* 0, or -errno: the listener is gone. */
static int receive(struct hmmu_seccomp *sup, struct hmmu_seccomp_slot *slot)
{
	long ret;

	do {
		for (size_t i = 0; i < sizeof(slot->room); i++)
			slot->room[i] = 0; /* the kernel insists */
		if (HMMU_SECCOMP_PLANTED(CLOSES) && hmmu_load_seqcst(&sup->served) > 2)
			hmmu_syscall(SYS_close, sup->listener);
		ret = hmmu_syscall(SYS_ioctl, sup->listener, SECCOMP_IOCTL_NOTIF_RECV,
				   &slot->notif);
	} while (ret == -EINTR || ret == -ENOENT);
	return (int)ret;
}

/* The listener is no longer ours: an executor tells everybody, then the keeper, which has
 * it still, lets every call go its way. */
static void lost(struct hmmu_seccomp *sup, struct hmmu_seccomp_slot *slot)
{
	slot->notif.data.arch = 0;
	queue(sup, slot);
	while (!hmmu_load_acquire(&sup->handover)) {
		uint32_t seen = hmmu_load_seqcst(&sup->frees);

		if (hmmu_load_acquire(&sup->handover))
			break;
		hmmu_lock(&sup->lock);
		sup->slot_waiters++;
		hmmu_unlock(&sup->lock);
		hmmu_futex_wait(&sup->frees, seen, NULL);
	}
	hmmu_syscall(SYS_close, sup->alive[1]);
}

/* ---- set-up ----------------------------------------------------------- */

static int own_table(struct hmmu_seccomp *sup)
{
	long ret;

	if (!HMMU_SECCOMP_PLANTED(APP_TABLE)) {
		ret = hmmu_syscall(SYS_unshare, CLONE_FILES);
		if (!ret)
			ret = hmmu_syscall(SYS_close_range, 0, ~0U, 0);
		if (ret)
			return (int)ret;
	}
	return (int)hmmu_syscall(SYS_pipe2, sup->alive, O_CLOEXEC);
}

static void release_keeper(struct hmmu_seccomp *sup, uint32_t how)
{
	hmmu_store_release(&sup->keeper_go, how);
	hmmu_syscall(SYS_futex, &sup->keeper_go, FUTEX_WAKE, 1);
	while (how == KEEPER_GO && !hmmu_load_acquire(&sup->keeper_ready))
		hmmu_syscall(SYS_futex, &sup->keeper_ready, FUTEX_WAIT, 0, NULL);
	if (how == KEEPER_GO && hmmu_load_acquire(&sup->keeper_ready) == KEEPER_READY)
		return;
	while (hmmu_syscall(SYS_wait4, sup->keeper, NULL, __WALL, NULL) == -EINTR)
		;
	sup->keeper = 0;
}

static int set_up(struct hmmu_seccomp *sup, const char **why)
{
	int ret = own_table(sup);

	*why = "a descriptor table of its own could not be made";
	if (ret)
		return ret;
	*why = "the keeper process could not be made";
	if (!HMMU_SECCOMP_PLANTED(NO_KEEPER)) {
		ret = hmmu_seccomp_keep(sup);
		if (ret < 0) {
			sup->keeper = 0;
			return ret;
		}
	}
	*why = "a thread could not be made";
	ret = -pthread_create(&sup->answerer, NULL, hmmu_seccomp_answerer, sup);
	if (!ret) {
		sup->listener = hmmu_seccomp_filter(why);
		ret = sup->listener < 0 ? sup->listener : 0;
	} else {
		sup->answerer = 0;
	}
	if (sup->keeper)
		release_keeper(sup, ret ? KEEPER_QUIT : KEEPER_GO);
	return ret;
}

void *hmmu_seccomp_receiver(void *arg)
{
	struct hmmu_seccomp *sup = arg;
	struct hmmu_seccomp_slot *slot;

	hmmu_syscall(SYS_prctl, PR_SET_NAME, "hmmu-seccomp-r");
	sup->error = set_up(sup, &sup->why);
	hmmu_seccomp_kick(&sup->phase, 2);
	if (sup->error)
		return NULL;
	/* Linux 6.6: the caller sleeps anyway, so this thread may have its processor. */
	hmmu_syscall(SYS_ioctl, sup->listener, NOTIF_SET_FLAGS, NOTIF_SYNC_WAKE_UP);
	for (;;) {
		slot = get_slot(sup);
		if (receive(sup, slot))
			break;
		handle(sup, slot);
	}
	lost(sup, slot);
	return NULL;
}

/* ---- the answerer ----------------------------------------------------- */

/* Overdue, and no executor has begun to perform it. */
static struct hmmu_seccomp_slot *overdue(struct hmmu_seccomp *sup, uint32_t *was)
{
	uint64_t now = now_ms();

	for (int i = 0; i < SECCOMP_SLOTS; i++) {
		struct hmmu_seccomp_slot *slot = &sup->slot[i];

		if (slot->state != SLOT_SEC_QUEUED && slot->state != SLOT_SEC_STARTING)
			continue;
		if (now - slot->since < (uint64_t)hmmu_seccomp_patience_ms ||
		    slot->notif.data.arch != AUDIT_ARCH_X86_64)
			continue;
		if (hmmu_seccomp_needs_table(slot->notif.data.nr, slot->notif.data.args[3]))
			continue; /* a descriptor of the application's */
		*was = slot->state;
		if (*was == SLOT_SEC_QUEUED) {
			if (!hmmu_seccomp_remove(sup, &sup->urgent, slot) &&
			    hmmu_seccomp_remove(sup, &sup->queue, slot))
				sup->queued--;
		}
		slot->state = SLOT_SEC_TAKEN;
		return slot;
	}
	return NULL;
}

static void guard(struct hmmu_seccomp *sup)
{
	struct hmmu_seccomp_slot *slot;
	uint32_t was = 0;

	if (HMMU_SECCOMP_PLANTED(NO_GUARD))
		return;
	hmmu_lock(&sup->lock);
	slot = overdue(sup, &was);
	hmmu_unlock(&sup->lock);
	if (!slot)
		return;
	hmmu_seccomp_serve_undecided(slot);
	hmmu_seccomp_send(sup, slot);
	hmmu_lock(&sup->lock);
	/* The executor may have been here since: who comes second frees. */
	if (was == SLOT_SEC_QUEUED || slot->state == SLOT_SEC_ABANDONED)
		hmmu_seccomp_put(sup, slot);
	else
		slot->state = SLOT_SEC_ABANDONED;
	hmmu_unlock(&sup->lock);
}

/* With a clock, but where nothing is under way and a tick has passed without anything:
 * then queue() wakes it. True: a tick has passed. */
static bool sleep_until_answer(struct hmmu_seccomp *sup, uint32_t seen, bool timed)
{
	struct timespec ts;

	if (!timed) {
		hmmu_futex_wait(&sup->answers, seen, NULL);
		return false;
	}
	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_nsec += TICK_NS;
	if (ts.tv_nsec >= 1000000000L) {
		ts.tv_nsec -= 1000000000L;
		ts.tv_sec++;
	}
	return hmmu_futex_wait(&sup->answers, seen, &ts) == -ETIMEDOUT;
}

void *hmmu_seccomp_answerer(void *arg)
{
	struct hmmu_seccomp *sup = arg;
	bool quiet = false;

	hmmu_syscall(SYS_prctl, PR_SET_NAME, "hmmu-seccomp-a");
	while (!hmmu_load_acquire(&sup->quit)) {
		/* Pairs with the add in hmmu_seccomp_kick(). */
		uint32_t seen = hmmu_load_seqcst(&sup->answers);
		struct hmmu_seccomp_slot *slot;
		hmmu_lock(&sup->lock);
		slot = hmmu_seccomp_pop(sup, &sup->done);
		quiet = quiet && !sup->queued && sup->idle == sup->executors;
		sup->untimed = !slot && quiet;
		hmmu_unlock(&sup->lock);
		if (!slot) {
			guard(sup);
			quiet = sleep_until_answer(sup, seen, !quiet);
			continue;
		}
		if (slot->notif.data.arch == 0) {
			/* The receiver's own: everybody has been told. */
			hmmu_store_release(&sup->handover, 1);
			put_slot(sup, slot);
			hmmu_seccomp_kick(&sup->frees, 1);
			return NULL;
		}
		/* What could not be sent is left to the keeper. */
		if (hmmu_seccomp_send(sup, slot))
			put_slot(sup, slot);
	}
	return NULL;
}
