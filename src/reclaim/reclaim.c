// SPDX-License-Identifier: MIT
/*
 * reclaim.c - clean-up has a place of its own.
 *
 * Each mm has a stack of deferred work that anyone pushes to without a lock (a signal
 * handler, a callback inside libc), and a queue of what was taken off it, under
 * reclaim_lock, from which works are run one at a time: whoever runs one leaves the others
 * where the next can reach them. The process has one reclaimer thread for all mms that did
 * not ask for HMMU_MM_OWN_RECLAIM; the application may run work itself at any time.
 *
 *	defer				reclaimer
 *	push		[seqcst]	asleep + 1		[seqcst]
 *	load asleep	[seqcst]	look at the stacks	[seqcst]
 *	  not 0: work++, wake		  empty: wait on work as read before asleep
 *			[Required: one of them sees the other]
 *
 * asleep is a count: when the last mm is closed and the next opened, an old reclaimer may
 * still be falling awake while the new one sleeps.
 *
 * The reclaimer also calls those whom a signal handler's change has left uncalled
 * (hmmu_mm_deliver_lost()).
 */
#include "reclaim.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <sys/prctl.h>

#include "../export.h"
#include "../futex.h"
#include "../notifier/notifier.h"
#include "../source/source.h"

#define DOZE_NS 1000000
#define DOZES 8

void hmmu_defer_push(struct mm_struct *mm, struct hmmu_work *work,
		     void (*fn)(struct hmmu_work *))
{
	struct hmmu_work *head = hmmu_load_relaxed(&mm->deferred);

	work->fn = fn;
	work->mm = mm;
	do {
		work->next = HMMU_PLANTED(DEFER_LOST) ? NULL : head;
		/* Pairs with gather() and with look() of a reclaimer that falls asleep.
		 * models/spin/defer.pml DF1 */
	} while (!hmmu_cas_seqcst(&mm->deferred, &head, work));
}

void hmmu_defer_wake(struct mm_struct *mm)
{
	struct hmmu_instance *inst = hmmu_instance_peek();

	if (!(mm->mm_flags & HMMU_MM_OWN_RECLAIM))
		hmmu_reclaimer_poke(inst);
}

HMMU_EXPORT void hmmu_defer(struct mm_struct *mm, struct hmmu_work *work,
			    void (*fn)(struct hmmu_work *))
{
	if (!hmmu_mm_alive(mm))
		return; /* a forked child: what was deferred is its parent's */
	hmmu_defer_push(mm, work, fn);
	hmmu_defer_wake(mm);
}

/* With reclaim_lock: everything pushed so far goes behind the queue, oldest first. */
static void gather(struct mm_struct *mm)
{
	/* Pairs with the push. defer.pml RC1 */
	struct hmmu_work *list = hmmu_xchg_seqcst(&mm->deferred, NULL), *fifo = NULL, *next;
	struct hmmu_work **tail = &mm->fifo;

	for (; list; list = next) {
		next = list->next;
		list->next = fifo;
		fifo = list;
	}
	while (*tail)
		tail = &(*tail)->next;
	hmmu_store_seqcst(tail, fifo);
}

static unsigned int own_levels(const struct mm_struct *mm)
{
	unsigned int n = 0;

	for (const struct hmmu_working *w = hmmu_tls.working; w; w = w->outer)
		n += w->mm == mm;
	return n;
}

/* defer.pml CL1 */
bool hmmu_reclaim_idle(struct mm_struct *mm)
{
	bool idle;

	hmmu_lock(&mm->reclaim_lock);
	idle = !hmmu_load_seqcst(&mm->deferred) && !mm->fifo &&
	       mm->reclaiming <= own_levels(mm);
	hmmu_unlock(&mm->reclaim_lock);
	return idle;
}

/* defer.pml RC2 */
static struct hmmu_work *take(struct mm_struct *mm)
{
	struct hmmu_work *work;

	hmmu_lock(&mm->reclaim_lock);
	work = mm->fifo;
	if (work) {
		hmmu_store_seqcst(&mm->fifo, work->next);
		mm->reclaiming++;
	}
	hmmu_unlock(&mm->reclaim_lock);
	return work;
}

static void run(struct mm_struct *mm, struct hmmu_work *work)
{
	struct hmmu_working working = {mm, hmmu_tls.working};

	hmmu_tls.working = &working;
	hmmu_lockdep_acquire(HMMU_CLASS_WORK, &working, HMMU_LOCKDEP_TRY);
	work->fn(work); /* may free it */
	hmmu_lockdep_release(&working);
	hmmu_tls.working = working.outer;
	hmmu_lock(&mm->reclaim_lock);
	mm->reclaiming--;
	hmmu_unlock(&mm->reclaim_lock);
	/* The lock orders it with a waiter's look. defer.pml RC3 */
	hmmu_event_signal(mm);
}

/* With none of the locks: how many are queued now, those pushed included. What works
 * defer while they run is for the next time. */
static unsigned int queued(struct mm_struct *mm)
{
	unsigned int n = 0;

	hmmu_lock(&mm->reclaim_lock);
	gather(mm);
	for (const struct hmmu_work *w = mm->fifo; w; w = w->next)
		n++;
	hmmu_unlock(&mm->reclaim_lock);
	return n;
}

HMMU_EXPORT int hmmu_reclaim(struct mm_struct *mm)
{
	struct hmmu_work *work;
	unsigned int left;
	int n = 0;

	if (!mm)
		return -EINVAL;
	if (!hmmu_mm_alive(mm))
		return 0;
	if (!HMMU_CONTEXT("reclaim", HMMU_NOT_ANY, mm))
		hmmu_lockdep_might(HMMU_CLASS_WORK);
	hmmu_source_mend();
	hmmu_mm_deliver_lost(mm);
	for (left = queued(mm); left > 0 && (work = take(mm)); left--, n++)
		run(mm, work);
	return n;
}

static bool idle_or_work(struct mm_struct *mm, const void *arg)
{
	return hmmu_load_seqcst(&mm->deferred) || hmmu_load_seqcst(&mm->fifo) ||
	       hmmu_reclaim_idle(mm);
}

void hmmu_reclaim_drain(struct mm_struct *mm)
{
	while (!hmmu_reclaim_idle(mm)) {
		hmmu_reclaim(mm);
		/* Others may run some of it still. defer.pml CL2 */
		hmmu_event_wait(mm, idle_or_work, NULL);
	}
}

static bool has_work(struct mm_struct *mm)
{
	/* Pairs with the push in hmmu_defer_push() and with end() of INV_UNDECIDED. */
	return hmmu_load_seqcst(&mm->deferred) || hmmu_load_seqcst(&mm->fifo) ||
	       hmmu_load_seqcst(&mm->lost_pending);
}

/* An mm with something to do. @own: also those that reclaim by themselves. */
static struct mm_struct *look(struct hmmu_instance *inst, bool own)
{
	struct mm_struct *mm;

	hmmu_lock(&inst->lock);
	for (mm = inst->open; mm; mm = mm->next_open) {
		if (has_work(mm) && (own || !(mm->mm_flags & HMMU_MM_OWN_RECLAIM)))
			break;
	}
	hmmu_unlock(&inst->lock);
	return mm;
}

/* Nobody tells when another library patches over our hooks: looked at now and then, and
 * at each insert. NULL: there are none. */
static const struct timespec *in_a_second(struct hmmu_instance *inst, struct timespec *ts)
{
	if (!(hmmu_load_seqcst(&inst->opened) & HMMU_SOURCE_HOOKS))
		return NULL;
	clock_gettime(CLOCK_MONOTONIC, ts);
	ts->tv_sec++;
	return ts;
}

/* defer.pml RC4 RC5 RC6 */
static void sleep_until_work(struct hmmu_instance *inst, uint32_t generation)
{
	struct timespec ts;
	uint32_t seen = hmmu_load_seqcst(&inst->work);

	hmmu_add_seqcst(&inst->asleep, 1);
	if (!look(inst, false) && !hmmu_load_seqcst(&inst->broken) &&
	    hmmu_load_seqcst(&inst->generation) == generation)
		hmmu_futex_wait(&inst->work, seen, in_a_second(inst, &ts));
	hmmu_add_seqcst(&inst->asleep, (uint32_t)-1);
}

/*
 * After work that said so more is likely, and waking somebody costs more than that work: for
 * some milliseconds it is not counted asleep, and looks by itself. What is deferred
 * meanwhile waits a millisecond at most.
 */
static bool doze(struct hmmu_instance *inst, unsigned int *left)
{
#ifdef HMMU_SCHED /* no time passes there */
	*left = 0;
#endif
	uint32_t seen = hmmu_load_seqcst(&inst->work);
	struct timespec ts;

	if (!*left)
		return false;
	--*left;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_nsec += DOZE_NS;
	if (ts.tv_nsec >= 1000000000) {
		ts.tv_nsec -= 1000000000;
		ts.tv_sec++;
	}
	hmmu_futex_wait(&inst->work, seen, &ts);
	return true;
}

/* defer.pml DF2 DF3 */
void hmmu_reclaimer_poke(struct hmmu_instance *inst)
{
	if (!hmmu_load_seqcst(&inst->asleep))
		return;
	hmmu_add_seqcst(&inst->work, 1);
	hmmu_futex_wake(&inst->work, INT_MAX);
}

static void *reclaimer(void *arg)
{
	struct hmmu_instance *inst = hmmu_instance_peek();
	uint32_t generation = (uint32_t)(uintptr_t)arg;
	unsigned int dozes = 0;

	hmmu_syscall(SYS_prctl, PR_SET_NAME, "hmmu-reclaim");
	while (hmmu_load_seqcst(&inst->generation) == generation) {
		struct mm_struct *mm = look(inst, false);

		hmmu_source_mend();
		if (mm) {
			hmmu_reclaim(mm);
			/* Pairs with hmmu_reclaim_more(). */
			dozes = hmmu_xchg_seqcst(&inst->doze, 0) ? DOZES : 0;
		} else if (!doze(inst, &dozes)) {
			sleep_until_work(inst, generation);
		}
	}
	return NULL;
}

int hmmu_reclaimer_use(struct hmmu_instance *inst)
{
	uint32_t generation = hmmu_load_relaxed(&inst->generation);
	int saved = errno, ret;
	sigset_t all, old;

	if (inst->thread_users++)
		return 0;
	/* The application's signals are not for this thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = pthread_create(&inst->thread, NULL, reclaimer, (void *)(uintptr_t)generation);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	errno = saved;
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
	/* defer.pml CL3 */
	hmmu_add_seqcst(&inst->generation, 1);
	hmmu_add_seqcst(&inst->work, 1);
	hmmu_futex_wake(&inst->work, INT_MAX);
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

void hmmu_reclaim_more(void)
{
	hmmu_store_seqcst(&hmmu_instance_peek()->doze, 1);
}

void hmmu_progress(struct hmmu_instance *inst)
{
	/* Pairs with the load in mmu_notifier_synchronize(). */
	hmmu_add_seqcst(&inst->progress, 1);
	hmmu_futex_wake(&inst->progress, INT_MAX);
}

HMMU_EXPORT void mmu_notifier_synchronize(void)
{
	struct hmmu_instance *inst = hmmu_instance_peek();

	if (inst && !HMMU_CONTEXT("synchronize", HMMU_NOT_ANY, inst))
		hmmu_lockdep_might(HMMU_CLASS_WORK);
	while (inst) {
		uint32_t seen = hmmu_load_seqcst(&inst->progress);
		struct mm_struct *mm;

		if (!hmmu_load_seqcst(&inst->frees_owed))
			return;
		/* A put pushes what it owes, then reports progress: not found here, it
		 * runs, or is about to be reported. */
		mm = look(inst, true);
		if (mm)
			hmmu_reclaim(mm);
		else
			hmmu_futex_wait(&inst->progress, seen, NULL);
	}
}
