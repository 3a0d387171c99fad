// SPDX-License-Identifier: MIT
/*
 * coherence.c - the protocol, as a driver speaks it: the public calls and nothing
 * else. This file is what a driver for another device would start from.
 */
#include "mirror.h"

#include <errno.h>
#include <stddef.h>

/*
 * May run inside libc with an allocator's lock held. What it does: a mutex, stores,
 * and, if it may sleep, io_uring_register.
 */
static bool invalidate(struct mmu_interval_notifier *sub,
		       const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	struct uring_window *w =
		(struct uring_window *)((char *)sub - offsetof(struct uring_window, sub));

	return shadow_invalidate(w, range, cur_seq);
}

static const struct mmu_interval_notifier_ops ops = {.invalidate = invalidate};

static int insert(struct uring_window *w)
{
	/* Before: a callback may run as soon as it is in. */
	w->subscribed = true;
	return mmu_interval_notifier_insert(&w->sub, w->mirror->mm, w->start, w->length, &ops);
}

static void remove_sub(struct uring_window *w)
{
	mmu_interval_notifier_remove(&w->sub);
}

static int begin(struct uring_window *w, unsigned long *seq, const struct timespec *deadline)
{
	static const struct timespec never_sleep = {0, 0};
	int ret = hmmu_read_begin(&w->sub, seq, &never_sleep);

	if (ret != -ETIMEDOUT)
		return ret;
	/* Meeting 3 of the protocol: begun between a start and its end. */
	w->mirror->stats.waits++;
	return hmmu_read_begin(&w->sub, seq, deadline);
}

static bool retry(struct uring_window *w, unsigned long seq)
{
	return mmu_interval_read_retry(&w->sub, seq);
}

static bool ok(struct uring_window *w, unsigned long seq)
{
	return hmmu_access_ok(&w->sub, seq);
}

const struct uring_coherence uring_coherence_hmmu = {
	.name = "hmmu",
	.insert = insert,
	.remove = remove_sub,
	.begin = begin,
	.retry = retry,
	.ok = ok,
};
