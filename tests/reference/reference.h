/* SPDX-License-Identifier: MIT */
/*
 * reference.h - Linux's algorithm, plainly written: what the tests compare hmmu's
 * with and what the bench measures it against. The calls mirror those of
 * hmmu/mmu_notifier.h, with ref_ for a prefix.
 *
 * ONE LOCK per mm guards the tree, `seq`, `active` and the deferred list.
 *
 *   idle	    active == 0, seq even. The tree may change.
 *   unwatched	    active > 0, seq even: invalidations are open and no subscription
 *		    in the tree overlaps any. The tree may change; an insert turns
 *		    seq odd, because it may overlap one.
 *   invalidating   active > 0, seq odd. The tree is walked without the lock, so
 *		    it MUST NOT change: insert and remove go to the deferred list.
 *
 * start: active + 1; if something overlaps, seq becomes odd and all that overlap
 * are called back. end: active - 1; the last one makes an odd seq even, applies
 * the deferred list and wakes everyone.
 *
 * A subscription's own `seq` is that of the last invalidation that hit it (always
 * odd). It equals the mm's seq only while that one, or any that overlapped it in
 * time, is open: then read_begin waits until the mm's seq has moved. read_retry
 * answers whether the subscription's seq has moved.
 *
 * What follows, and what hmmu is to do better: all readers take the one lock; a
 * reader that was hit once waits for unrelated invalidations; while invalidations
 * overlap in time without a pause neither readers that were hit, nor remove(),
 * return, and an insert does not reach the tree. (G4 is not kept.)
 */
#ifndef HMMU_TESTS_REFERENCE_H
#define HMMU_TESTS_REFERENCE_H

#include <stdbool.h>
#include <stdint.h>

#include "treap.h"

struct ref_sub;
struct ref_range;

struct ref_ops {
	/* false: would have to sleep and the range is not blockable. */
	bool (*invalidate)(struct ref_sub *sub, const struct ref_range *range,
			   unsigned long cur_seq);
};

struct ref_mm {
	uint32_t lock;	       /* a spinlock, innermost: never held over a callback */
	uint32_t generation;   /* what sleepers sleep on; moves with an end that wakes */
	unsigned int sleepers; /* an end without any makes no system call */
	unsigned long seq;     /* written under the lock; waiters read it without */
	unsigned long active;
	struct treap tree;
	struct ref_sub *deferred;
};

struct ref_sub {
	struct treap_node node;
	unsigned long seq; /* written under the driver lock by ref_set_seq() */
	struct ref_mm *mm;
	const struct ref_ops *ops;
	struct ref_sub *next_deferred; /* guarded by mm->lock, as the two below */
	bool in_tree;
	bool is_deferred; /* to be inserted if !in_tree, else to be removed */
};

struct ref_range {
	struct ref_mm *mm;
	unsigned long start;
	unsigned long end; /* one past the last byte */
	bool blockable;
};

int ref_mm_open(struct ref_mm **mm);
int ref_mm_close(struct ref_mm *mm); /* -EBUSY: subscribed, or an invalidation is open */

/* -EOVERFLOW: length 0, or it wraps. Never sleeps. */
int ref_interval_insert(struct ref_sub *sub, struct ref_mm *mm, unsigned long start,
			unsigned long length, const struct ref_ops *ops);
/* Sleeps while any subscription of the mm is being invalidated. */
void ref_interval_remove(struct ref_sub *sub);

unsigned long ref_read_begin(struct ref_sub *sub);
bool ref_read_retry(struct ref_sub *sub, unsigned long seq);
void ref_set_seq(struct ref_sub *sub, unsigned long cur_seq);

void ref_range_init(struct ref_range *range, struct ref_mm *mm, unsigned long start,
		    unsigned long end);
/* How many sleep in read_begin and remove: for tests that wait for it. */
unsigned int ref_sleepers(struct ref_mm *mm);

int ref_invalidate_start(struct ref_range *range);
int ref_invalidate_start_nonblock(struct ref_range *range); /* -EAGAIN: no end */
void ref_invalidate_end(struct ref_range *range);

#endif /* HMMU_TESTS_REFERENCE_H */
