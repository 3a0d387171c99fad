// SPDX-License-Identifier: MIT
/*
 * read.c - the reader's side. The fast path writes nothing: three loads to begin, two to
 * check. A sequence is begun + epoch: both only grow, so it is the same again only if
 * nothing happened (G6: it would take 2^39 losses or 2^63 invalidations to wrap).
 */
#include <errno.h>
#include <limits.h>

#include "../export.h"
#include "../futex.h"
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
	return epoch && !(epoch & EPOCH_UNDECIDED);
}

/* Not HMMU_SEQ_NONE: none is open, and this is the sequence of that moment. */
static inline unsigned long try_begin(const struct hmmu_sub *sub)
{
	/* Acquire, ended before begun: equal then means none was open when begun was
	 * loaded; and what the invalidator wrote before end is seen (G5). Pairs with the
	 * releases in count() and end_next(). */
	uint64_t ended = hmmu_load_acquire(&sub->ended);
	uint64_t begun = hmmu_load_acquire(&sub->begun);
	/* Pairs with the adds in invalidate.c and mm.c; 0 in a forked child. */
	uint64_t epoch = hmmu_load_acquire(&sub->mm->epoch);

	if (__builtin_expect((ended == begun || HMMU_PLANTED(NO_WAIT)) && decided(epoch), 1))
		return begun + epoch;
	return HMMU_SEQ_NONE;
}

static bool expired(const struct timespec *deadline)
{
	struct timespec now;

	if (!deadline)
		return false;
	if (deadline->tv_sec == 0 && deadline->tv_nsec == 0)
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

/* Until one of the open ones ends, or the deadline. */
static void wait_end(struct hmmu_sub *sub, const struct timespec *deadline)
{
	struct mm_struct *mm = sub->mm;
	uint64_t ended;
	bool open;

	hmmu_mm_lock(mm);
	ended = hmmu_load_relaxed(&sub->ended);
	open = ended != hmmu_load_relaxed(&sub->begun);
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

__attribute__((noinline, cold)) static int begin_slow(struct hmmu_sub *sub, unsigned long *seq,
						      const struct timespec *deadline)
{
	while ((*seq = try_begin(sub)) == HMMU_SEQ_NONE) {
		uint64_t epoch = hmmu_load_acquire(&sub->mm->epoch);

		if (!epoch)
			return -ENODEV;
		if (expired(deadline))
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
static void check_begin(const struct hmmu_sub *sub)
{
	if (hmmu_tls.frame)
		hmmu_report("read-begin-in-callback", sub);
	if (hmmu_tls.driver_lock == sub)
		hmmu_report("read-begin-under-driver-lock", sub);
	if (sub->cookie == HMMU_SUB_DEAD)
		hmmu_report("removed-subscription-used", sub);
}
#else
static inline void check_begin(const struct hmmu_sub *sub)
{
	(void)sub;
}
#endif

HMMU_EXPORT int hmmu_read_begin(struct mmu_interval_notifier *pub, unsigned long *seq,
				const struct timespec *deadline)
{
	struct hmmu_sub *sub = (struct hmmu_sub *)pub;

	check_begin(sub);
	*seq = try_begin(sub);
	if (*seq != HMMU_SEQ_NONE)
		return 0;
	return begin_slow(sub, seq, deadline);
}

HMMU_EXPORT unsigned long mmu_interval_read_begin(struct mmu_interval_notifier *pub)
{
	struct hmmu_sub *sub = (struct hmmu_sub *)pub;
	unsigned long seq;

	check_begin(sub);
	seq = try_begin(sub);
	if (seq == HMMU_SEQ_NONE)
		return begin_wait(sub);
	return seq;
}

static inline bool moved(const struct hmmu_sub *sub, unsigned long seq)
{
	/* After the caller's access, which it checks at completion (G1). For read_retry the
	 * driver's lock orders begun already; epoch moves without one. Pairs with count() and
	 * mm.c's adds. */
	uint64_t begun = hmmu_load_after_loads(&sub->begun);

	return begun + hmmu_load_acquire(&sub->mm->epoch) != seq;
}

HMMU_EXPORT bool mmu_interval_read_retry(struct mmu_interval_notifier *pub, unsigned long seq)
{
	if (HMMU_PLANTED(NO_RETRY))
		return false;
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
	hmmu_tls.driver_lock = pub;
#else
	(void)pub;
#endif
}

HMMU_EXPORT void hmmu_driver_lock_released(struct mmu_interval_notifier *pub)
{
#ifdef HMMU_DEBUG
	hmmu_tls.driver_lock = NULL;
#endif
	(void)pub;
}
