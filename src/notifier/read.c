// SPDX-License-Identifier: MIT
/*
 * read.c - the reader's side. The fast path writes nothing: three loads to begin, two to
 * check. A sequence is begun + epoch, taken when the mm was decided: begun never goes back
 * and epoch never below what it was then, so it is the same again only if nothing happened
 * (G6: it would take 2^39 losses or 2^63 invalidations to wrap).
 *
 * Where the mm has a net (source.h) a subscription is open until it is armed, which is
 * the reader's to do: begin_net().
 */
#include <errno.h>
#include <limits.h>

#include "../arch/syscall.h"
#include "../export.h"
#include "../futex.h"
#include "../source/source.h"
#include "notifier.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the futex is ended's low half");

static uint32_t *futex_of(uint64_t *ended)
{
	return (uint32_t *)ended;
}

void hmmu_wake_readers(uint64_t *ended)
{
	if (!HMMU_PLANTED(NO_WAKE))
		hmmu_futex_wake(futex_of(ended), INT_MAX);
}

/* An mm that is alive and decided: the only epochs a reader may go on with. */
static inline bool decided(uint64_t epoch)
{
	return epoch && !(epoch & EPOCH_LOW);
}

/* Not HMMU_SEQ_NONE: none is open, and this is the sequence of that moment. */
static inline unsigned long try_begin(const struct hmmu_sub *sub)
{
	/* Acquire, ended before begun: equal then means none was open when begun was
	 * loaded; and what the invalidator wrote before end is seen (G5). Pairs with the
	 * releases in count() and end_next(). models/spin/core.pml RD1 */
	uint64_t ended = hmmu_load_acquire(&sub->ended);
	uint64_t begun = hmmu_load_acquire(&sub->begun);
	/* Pairs with the adds in invalidate.c and mm.c; 0 in a forked child. */
	uint64_t epoch = hmmu_load_acquire(&sub->mm->epoch);

	if (__builtin_expect((ended == begun || HMMU_PLANTED(NO_WAIT)) && decided(epoch), 1))
		return begun + epoch;
	return HMMU_SEQ_NONE;
}

/* A zero time never sleeps. */
static inline bool may_wait(const struct timespec *deadline)
{
	return !deadline || deadline->tv_sec || deadline->tv_nsec;
}

bool hmmu_expired(const struct timespec *deadline)
{
	struct timespec now;

	if (!deadline)
		return false;
	if (!may_wait(deadline))
		return true;
	if (deadline->tv_sec < 0 || deadline->tv_nsec < 0 || deadline->tv_nsec >= 1000000000)
		return true; /* no time at all */
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec > deadline->tv_sec ||
	       (now.tv_sec == deadline->tv_sec && now.tv_nsec >= deadline->tv_nsec);
}

/* Until the mm is decided, or the deadline. */
static void wait_decided(struct mm_struct *mm, const struct timespec *deadline)
{
	uint32_t seen;

	/* As hmmu_event_wait(), with a deadline. Pairs with end() of INV_UNDECIDED and with
	 * hmmu_mm_deliver_lost(), which a reader does itself rather than wait for it. */
	hmmu_add_seqcst(&mm->event_waiters, 1);
	seen = hmmu_load_seqcst(&mm->event);
	if (hmmu_load_seqcst(&mm->lost_pending))
		hmmu_mm_deliver_lost(mm);
	else if (hmmu_load_seqcst(&mm->epoch) & EPOCH_UNDECIDED)
		hmmu_futex_wait(&mm->event, seen, deadline);
	hmmu_add_seqcst(&mm->event_waiters, (uint32_t)-1);
}

/* Until one of the open ones ends, or the deadline. models/spin/wait.pml WT1 WT2 WT3;
 * core.pml RD2 */
static void wait_end(struct hmmu_sub *sub, const struct timespec *deadline)
{
	struct mm_struct *mm = sub->mm;
	uint64_t ended;
	bool open;

	hmmu_mm_lock(mm);
	ended = hmmu_load_relaxed(&sub->ended);
	open = ended + sub->unarmed != hmmu_load_relaxed(&sub->begun);
	if (open)
		sub->waiters++; /* from now on each end of ours wakes us */
	hmmu_mm_unlock(mm);
	if (!open)
		return;
	/* The low half is enough: every end since would have woken us. */
	hmmu_futex_wait(futex_of(&sub->ended), (uint32_t)ended, deadline);
	hmmu_mm_lock(mm);
	sub->waiters--;
	hmmu_mm_unlock(mm);
}

/* Nothing announces that what is untold has been told. */
static void wait_told(void)
{
#ifdef HMMU_SCHED
	hmmu_cpu_relax();
#else
	const struct timespec ts = {0, 20000};

	hmmu_syscall(SYS_nanosleep, &ts, NULL);
#endif
}

/*
 * read_begin where there is a net: everything told, nothing open, the range armed. In
 * this order: what arm() registers is the mapping that the reader will read, or a later
 * one whose coming moved begun. -EAGAIN: look again. models/spin/source.pml SB1 SB2 SB4
 */
static int begin_net(struct hmmu_sub *sub, unsigned long *seq, const struct timespec *deadline)
{
	struct mm_struct *mm = sub->mm;
	uint64_t begun, epoch;
	bool open, unarmed;
	int ret = 0;

	if (hmmu_load_relaxed(&mm->epoch) & EPOCH_PROBE)
		ret = mm->net->settle(mm);
	if (ret == -EAGAIN) {
		if (hmmu_expired(deadline))
			return -ETIMEDOUT;
		wait_told();
	}
	if (ret)
		return ret;
	hmmu_mm_lock(mm);
	begun = hmmu_load_relaxed(&sub->begun);
	unarmed = sub->unarmed;
	open = hmmu_load_relaxed(&sub->ended) + unarmed != begun;
	hmmu_mm_unlock(mm);
	if (open) {
		if (hmmu_expired(deadline))
			return -ETIMEDOUT;
		wait_end(sub, deadline);
		return -EAGAIN;
	}
	if (unarmed) {
		/* A zero time may be a signal handler's, of a thread that is arming. */
		ret = hmmu_arm(sub, begun, !hmmu_expired(deadline));
		if (ret < 0)
			return ret == -EAGAIN ? -ETIMEDOUT : -ENODEV;
	}
	epoch = hmmu_load_acquire(&mm->epoch) & ~EPOCH_PROBE;
	if (!decided(epoch))
		return -EAGAIN;
	*seq = begun + epoch;
	return 0;
}

__attribute__((noinline, cold)) static int begin_slow(struct hmmu_sub *sub, unsigned long *seq,
						      const struct timespec *deadline)
{
	/* Asked only here: it costs some microseconds. */
	(void)HMMU_CONTEXT("read-begin",
			   HMMU_NOT_VFORK | (may_wait(deadline) ? HMMU_NOT_SIGNAL : 0), sub);
	while ((*seq = try_begin(sub)) == HMMU_SEQ_NONE) {
		uint64_t epoch = hmmu_load_acquire(&sub->mm->epoch);

		if (!epoch || (epoch & EPOCH_UNWATCHED))
			return -ENODEV;
		if (sub->mm->net && !(epoch & EPOCH_UNDECIDED)) {
			int ret = begin_net(sub, seq, deadline);

			if (ret != -EAGAIN)
				return ret;
			continue;
		}
		if (hmmu_expired(deadline))
			return -ETIMEDOUT;
		if (epoch & EPOCH_UNDECIDED)
			wait_decided(sub->mm, deadline);
		else
			wait_end(sub, deadline);
	}
	return 0;
}

__attribute__((noinline, cold)) static unsigned long begin_wait(struct hmmu_sub *sub)
{
	unsigned long seq;

	begin_slow(sub, &seq, NULL);
	return seq;
}

#ifdef HMMU_DEBUG
static void check_begin(const struct hmmu_sub *sub, const struct timespec *deadline)
{
	bool waits = may_wait(deadline);
	unsigned int forbidden = HMMU_NOT_CALLBACK | (waits ? HMMU_NOT_DRIVER_LOCK : 0);

	if (sub->cookie == HMMU_SUB_DEAD)
		hmmu_report("removed-subscription-used", sub);
	if (!hmmu_debug_load(&sub->mm->epoch))
		return; /* a forked child */
	if (HMMU_CONTEXT("read-begin", forbidden, sub) || !waits)
		return;
	if (!deadline && hmmu_lockdep_in_own(sub->mm, sub->start, sub->last))
		hmmu_report("read-begin-inside-own-invalidation", sub);
	else
		hmmu_lockdep_might(HMMU_CLASS_INVALIDATION);
}
#else
static inline void check_begin(const struct hmmu_sub *sub, const struct timespec *deadline)
{
	(void)sub;
	(void)deadline;
}
#endif

HMMU_EXPORT int hmmu_read_begin(struct mmu_interval_notifier *pub, unsigned long *seq,
				const struct timespec *deadline)
{
	struct hmmu_sub *sub = (struct hmmu_sub *)pub;

	check_begin(sub, deadline);
	*seq = try_begin(sub);
	if (*seq != HMMU_SEQ_NONE)
		return 0;
	return begin_slow(sub, seq, deadline);
}

HMMU_EXPORT unsigned long mmu_interval_read_begin(struct mmu_interval_notifier *pub)
{
	struct hmmu_sub *sub = (struct hmmu_sub *)pub;
	unsigned long seq;

	check_begin(sub, NULL);
	seq = try_begin(sub);
	if (seq == HMMU_SEQ_NONE)
		return begin_wait(sub);
	return seq;
}

/* After the caller's access, which it checks at completion (G1). Epoch before begun: see
 * EPOCH_MARK. Pairs with count() and the adds of marks. core.pml RD3; source.pml SC1 */
static inline bool moved(const struct hmmu_sub *sub, unsigned long seq)
{
	struct mm_struct *mm = sub->mm;
	uint64_t epoch = hmmu_load_after_loads(&mm->epoch);

	if (__builtin_expect(epoch & EPOCH_PROBE, 0)) {
		/* Asked before anything is compared: what is told later moves epoch or begun
		 * before its caller goes on. */
		if (mm->net->settle(mm))
			return true;
		epoch = hmmu_load_after_loads(&mm->epoch) & ~EPOCH_PROBE;
	}
	return hmmu_load_acquire(&sub->begun) + epoch != seq;
}

bool hmmu_mm_decided(struct mm_struct *mm)
{
	uint64_t epoch = hmmu_load_after_loads(&mm->epoch);

	if (__builtin_expect(epoch & EPOCH_PROBE, 0)) {
		/* As in moved(). */
		if (mm->net->settle(mm))
			return false;
		epoch = hmmu_load_after_loads(&mm->epoch) & ~EPOCH_PROBE;
	}
	return decided(epoch);
}

HMMU_EXPORT bool mmu_interval_read_retry(struct mmu_interval_notifier *pub, unsigned long seq)
{
	if (HMMU_PLANTED(NO_RETRY))
		return false;
	(void)HMMU_CONTEXT("read-retry", HMMU_NOT_CALLBACK, pub);
	return moved((struct hmmu_sub *)pub, seq);
}

HMMU_EXPORT bool mmu_interval_check_retry(struct mmu_interval_notifier *pub, unsigned long seq)
{
	return moved((struct hmmu_sub *)pub, seq);
}

HMMU_EXPORT bool hmmu_access_ok(struct mmu_interval_notifier *pub, unsigned long seq)
{
	struct hmmu_sub *sub = (struct hmmu_sub *)pub;

	if (HMMU_PLANTED(NO_RETRY))
		return true;
#ifdef HMMU_DEBUG
	if (sub->cookie == HMMU_SUB_DEAD)
		hmmu_report("removed-subscription-used", sub);
#endif
	return !moved(sub, seq);
}

HMMU_EXPORT void mmu_interval_set_seq(struct mmu_interval_notifier *pub, unsigned long cur_seq)
{
	/* begun has moved already; only the debug build wants to know. */
	if (hmmu_tls.frame && hmmu_tls.frame->subject == pub)
		hmmu_tls.frame->set_seq = 1;
	(void)cur_seq;
}

HMMU_EXPORT void hmmu_driver_lock_acquired(struct mmu_interval_notifier *pub)
{
#ifdef HMMU_DEBUG
	hmmu_lockdep_driver_lock(pub, pub->ops, __builtin_return_address(0));
#else
	(void)pub;
#endif
}

HMMU_EXPORT void hmmu_driver_lock_released(struct mmu_interval_notifier *pub)
{
	hmmu_lockdep_release(pub);
	(void)pub;
}
