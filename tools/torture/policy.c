// SPDX-License-Identifier: MIT
/*
 * policy.c - the three columns: what a mirror believes about coherence.
 *
 * hmmu is the driver's own answer with two places to meet a mutator added. The other
 * two are planted bugs, kept out of the driver and of the library: their tables are mirrors of
 * an address space that nobody tells anything (t->deaf), so that the reader's loop finds
 * nothing to wait for and nothing that has moved.
 *
 *   unprotected  subscribes to nothing; a slot once filled is used for ever.
 *   start-only	  subscribes, and drops what is invalidated, which a reader that has pinned
 *		  and not yet installed notices (hmmu_mirror_drop()); but it knows starts
 *		  alone and nobody waits for an end. It is what HMM did before Linux 5.5
 *		  had mmu_interval_notifier.
 */
#include "torture.h"

#include <stddef.h>

static struct torture *torture_of(struct uring_window *w)
{
	return ((struct device *)w->user)->t;
}

/* Pinned, not installed yet. */
static int fault_and_meet(void *context, unsigned long start, unsigned long npages,
			  unsigned int flags, unsigned long *entries)
{
	int ret = uring_table_ops.fault(context, start, npages, flags, entries);

	meet_pinned(context, start);
	return ret;
}

static int watch_deaf(struct uring_window *w)
{
	struct hmmu_mirror_ops ops = uring_table_ops;

	ops.fault = fault_and_meet;
	return table_open(w, torture_of(w)->deaf, &ops);
}

static void unwatch(struct uring_window *w)
{
	hmmu_mirror_close(w->table);
}

/* ---- start-only */

static struct uring_window *window_of(struct mmu_interval_notifier *sub)
{
	return (struct uring_window *)((char *)sub - offsetof(struct uring_window, own));
}

static bool start_only_invalidate(struct mmu_interval_notifier *sub,
				  const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	struct uring_window *w = window_of(sub);

	if (!mmu_notifier_range_blockable(range))
		return false;
	mmu_interval_set_seq(sub, cur_seq);
	hmmu_mirror_drop(w->table, range->start, range->end);
	meet_hold(w);
	return true;
}

static int start_only_watch(struct uring_window *w)
{
	static const struct mmu_interval_notifier_ops ops = {
		.invalidate = start_only_invalidate,
	};
	int ret = watch_deaf(w);

	if (ret)
		return ret;
	ret = mmu_interval_notifier_insert(&w->own, w->mirror->mm, w->start, w->length, &ops);
	if (ret)
		hmmu_mirror_close(w->table);
	return ret;
}

static void start_only_unwatch(struct uring_window *w)
{
	mmu_interval_notifier_remove(&w->own);
	hmmu_mirror_close(w->table);
}

/* ---- hmmu: everything that matters is the driver's. */

/* This thread is in a callback of that window. */
static __thread struct uring_window *called;

static void note_callback(void *context, unsigned long start, unsigned long end,
			  enum mmu_notifier_event event)
{
	uring_table_ops.invalidate(context, start, end, event);
	/* Not what the device drops itself. */
	if (event != MMU_NOTIFY_EXCLUSIVE && event != MMU_NOTIFY_RELEASE)
		called = context;
}

/* In a callback: everything is done, and unlocked. */
static void unlock_and_hold(void *context)
{
	struct uring_window *w = called;

	called = NULL;
	uring_table_ops.unlock(context);
	if (w)
		meet_hold(w);
}

static int hmmu_watch(struct uring_window *w)
{
	struct hmmu_mirror_ops ops = uring_table_ops;

	ops.fault = fault_and_meet;
	ops.invalidate = note_callback;
	ops.unlock = unlock_and_hold;
	return table_open(w, w->mirror->mm, &ops);
}

static int hmmu_settle(struct uring_window *w, const struct timespec *deadline)
{
	int ret;

	meet_begin(w);
	ret = uring_coherence_hmmu.settle(w, deadline);
	meet_begun(w);
	return ret;
}

/* ---- */

static int settle(struct uring_window *w, const struct timespec *deadline)
{
	return uring_coherence_hmmu.settle(w, deadline);
}

static bool good(const struct uring_access *a)
{
	return uring_coherence_hmmu.good(a);
}

static const struct uring_coherence unprotected = {
	.name = "unprotected",
	.watch = watch_deaf,
	.unwatch = unwatch,
	.settle = settle,
	.good = good,
};

static const struct uring_coherence start_only = {
	.name = "start-only",
	.watch = start_only_watch,
	.unwatch = start_only_unwatch,
	.settle = settle,
	.good = good,
};

static const struct uring_coherence hmmu = {
	.name = "hmmu",
	.watch = hmmu_watch,
	.unwatch = unwatch,
	.settle = hmmu_settle,
	.good = good,
};

const struct uring_coherence *const policies[NR_COLUMNS] = {
	[COL_UNPROTECTED] = &unprotected,
	[COL_START_ONLY] = &start_only,
	[COL_HMMU] = &hmmu,
};
