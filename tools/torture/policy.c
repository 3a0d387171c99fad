// SPDX-License-Identifier: MIT
/*
 * policy.c - the three columns: what a mirror believes about coherence.
 *
 * hmmu is the driver's own answer with two places to meet a mutator added. The other
 * two are planted bugs, kept out of the driver:
 *
 *   unprotected  subscribes to nothing; a slot once filled is used for ever.
 *   start-only	  subscribes, and drops what is invalidated; but its sequence moves at
 *		  start alone and nobody waits for an end. It is what HMM did before
 *		  Linux 5.5 had mmu_interval_notifier.
 */
#include "torture.h"

#include <stddef.h>

static struct uring_window *window_of(struct mmu_interval_notifier *sub)
{
	return (struct uring_window *)((char *)sub - offsetof(struct uring_window, sub));
}

/* ---- unprotected */

static int hear_nothing(struct uring_window *w)
{
	return 0;
}

static void forget_nothing(struct uring_window *w)
{
}

static int begin_always(struct uring_window *w, unsigned long *seq,
			const struct timespec *deadline)
{
	*seq = 0;
	return 0;
}

static bool never_retry(struct uring_window *w, unsigned long seq)
{
	return false;
}

static bool always_ok(struct uring_window *w, unsigned long seq)
{
	return true;
}

static const struct uring_coherence unprotected = {
	.name = "unprotected",
	.insert = hear_nothing,
	.remove = forget_nothing,
	.begin = begin_always,
	.pinned = meet_pinned,
	.retry = never_retry,
	.ok = always_ok,
};

/* ---- start-only. window->word counts the starts; it moves before the zap. */

static bool start_only_invalidate(struct mmu_interval_notifier *sub,
				  const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	struct uring_window *w = window_of(sub);

	atomic_fetch_add(&w->word, 1);
	if (!shadow_invalidate(w, range, cur_seq))
		return false;
	meet_hold(w);
	return true;
}

static const struct mmu_interval_notifier_ops start_only_ops = {
	.invalidate = start_only_invalidate,
};

static int start_only_insert(struct uring_window *w)
{
	w->subscribed = true;
	return mmu_interval_notifier_insert(&w->sub, w->mirror->mm, w->start, w->length,
					    &start_only_ops);
}

static int start_only_begin(struct uring_window *w, unsigned long *seq,
			    const struct timespec *deadline)
{
	*seq = atomic_load(&w->word); /* the bug: no wait for an end */
	return 0;
}

static bool start_only_retry(struct uring_window *w, unsigned long seq)
{
	return atomic_load(&w->word) != seq;
}

static bool start_only_ok(struct uring_window *w, unsigned long seq)
{
	return atomic_load(&w->word) == seq;
}

static void remove_sub(struct uring_window *w)
{
	mmu_interval_notifier_remove(&w->sub);
}

static const struct uring_coherence start_only = {
	.name = "start-only",
	.insert = start_only_insert,
	.remove = remove_sub,
	.begin = start_only_begin,
	.pinned = meet_pinned,
	.retry = start_only_retry,
	.ok = start_only_ok,
};

/* ---- hmmu: everything that matters is the driver's. */

static bool hmmu_invalidate(struct mmu_interval_notifier *sub,
			    const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	struct uring_window *w = window_of(sub);

	if (!shadow_invalidate(w, range, cur_seq))
		return false;
	meet_hold(w);
	return true;
}

static const struct mmu_interval_notifier_ops hmmu_ops = {.invalidate = hmmu_invalidate};

static int hmmu_insert(struct uring_window *w)
{
	w->subscribed = true;
	return mmu_interval_notifier_insert(&w->sub, w->mirror->mm, w->start, w->length,
					    &hmmu_ops);
}

static int hmmu_begin(struct uring_window *w, unsigned long *seq,
		      const struct timespec *deadline)
{
	int ret;

	meet_begin(w);
	ret = uring_coherence_hmmu.begin(w, seq, deadline);
	meet_begun(w);
	return ret;
}

static bool hmmu_retry(struct uring_window *w, unsigned long seq)
{
	return uring_coherence_hmmu.retry(w, seq);
}

static bool hmmu_ok(struct uring_window *w, unsigned long seq)
{
	return uring_coherence_hmmu.ok(w, seq);
}

static const struct uring_coherence hmmu = {
	.name = "hmmu",
	.insert = hmmu_insert,
	.remove = remove_sub,
	.begin = hmmu_begin,
	.pinned = meet_pinned,
	.retry = hmmu_retry,
	.ok = hmmu_ok,
};

const struct uring_coherence *const policies[NR_COLUMNS] = {
	[COL_UNPROTECTED] = &unprotected,
	[COL_START_ONLY] = &start_only,
	[COL_HMMU] = &hmmu,
};
