// SPDX-License-Identifier: MIT
/* reference.c - see reference.h. */
#include "reference.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>

#include "atomic.h"
#include "futex.h"

static struct ref_sub *sub_of(struct treap_node *node)
{
	return (struct ref_sub *)((char *)node - offsetof(struct ref_sub, node));
}

/*
 * A spinlock, as in the kernel: one atomic to take it, a store to drop it. In user
 * space its holder may lose the CPU: who has spun for long gives its own away.
 */
#define SPINS 1000

static void lock(struct ref_mm *mm)
{
	unsigned int spins = 0;

	/* Acquire pairs with the release in unlock(). */
	while (hmmu_xchg_acquire(&mm->lock, 1)) {
		while (hmmu_load_relaxed(&mm->lock)) {
			hmmu_cpu_relax();
			if (++spins % SPINS == 0)
				sched_yield();
		}
	}
}

static void unlock(struct ref_mm *mm)
{
	hmmu_store_release(&mm->lock, 0);
}

unsigned int ref_sleepers(struct ref_mm *mm)
{
	unsigned int n;

	lock(mm);
	n = mm->sleepers;
	unlock(mm);
	return n;
}

static bool is_odd(unsigned long seq)
{
	return seq & 1;
}

int ref_mm_open(struct ref_mm **mm)
{
	*mm = calloc(1, sizeof(**mm));
	if (!*mm)
		return -ENOMEM;
	(*mm)->seq = 2; /* so that an idle subscription's, one less, is odd */
	return 0;
}

int ref_mm_close(struct ref_mm *mm)
{
	if (mm->tree.root || mm->deferred || mm->active)
		return -EBUSY;
	free(mm);
	return 0;
}

/* Sleeps until the mm's sequence is no longer @seq. */
static void wait_for_seq(struct ref_mm *mm, unsigned long seq)
{
	uint32_t generation;

	/* Acquire, here and below: pairs with the release in set_seq(), so that
	 * what the invalidator wrote before end is seen (G5). */
	if (hmmu_load_acquire(&mm->seq) != seq)
		return;
	lock(mm);
	mm->sleepers++;
	while (mm->seq == seq) {
		generation = mm->generation;
		unlock(mm);
		hmmu_futex_wait(&mm->generation, generation, NULL);
		lock(mm);
	}
	mm->sleepers--;
	unlock(mm);
}

static void set_seq(struct ref_mm *mm, unsigned long seq)
{
	/* Release: pairs with the load in wait_for_seq(). */
	hmmu_store_release(&mm->seq, seq);
}

/* ---- subscriptions ---- */

static void defer(struct ref_sub *sub)
{
	sub->is_deferred = true;
	sub->next_deferred = sub->mm->deferred;
	sub->mm->deferred = sub;
}

static void undo_defer(struct ref_sub *sub)
{
	struct ref_sub **link = &sub->mm->deferred;

	while (*link != sub)
		link = &(*link)->next_deferred;
	*link = sub->next_deferred;
	sub->is_deferred = false;
}

static void apply_deferred(struct ref_mm *mm)
{
	struct ref_sub *sub, *next;

	for (sub = mm->deferred; sub; sub = next) {
		next = sub->next_deferred;
		sub->is_deferred = false;
		if (sub->in_tree)
			treap_erase(&mm->tree, &sub->node);
		else
			treap_insert(&mm->tree, &sub->node);
		/* Last: remove() frees the structure once the sequence moves,
		 * which is after this, under the same lock. */
		sub->in_tree = !sub->in_tree;
	}
	mm->deferred = NULL;
}

int ref_interval_insert(struct ref_sub *sub, struct ref_mm *mm, unsigned long start,
			unsigned long length, const struct ref_ops *ops)
{
	if (!length || start + (length - 1) < start)
		return -EOVERFLOW;
	sub->mm = mm;
	sub->ops = ops;
	sub->node.start = start;
	sub->node.last = start + (length - 1);
	sub->in_tree = false;
	sub->is_deferred = false;

	lock(mm);
	if (mm->active) {
		/* It may overlap one that is open: as if it had been hit (G2). */
		if (!is_odd(mm->seq)) {
			set_seq(mm, mm->seq | 1);
			treap_insert(&mm->tree, &sub->node);
			sub->in_tree = true;
		} else {
			defer(sub);
		}
		hmmu_store_relaxed(&sub->seq, mm->seq);
	} else {
		treap_insert(&mm->tree, &sub->node);
		sub->in_tree = true;
		hmmu_store_relaxed(&sub->seq, mm->seq - 1);
	}
	unlock(mm);
	return 0;
}

void ref_interval_remove(struct ref_sub *sub)
{
	struct ref_mm *mm = sub->mm;
	unsigned long seq = 0;

	lock(mm);
	if (!is_odd(mm->seq)) {
		treap_erase(&mm->tree, &sub->node);
		sub->in_tree = false;
	} else if (!sub->in_tree) {
		undo_defer(sub); /* nobody walks over it */
	} else {
		defer(sub);
		seq = mm->seq;
	}
	unlock(mm);
	if (seq)
		wait_for_seq(mm, seq);
}

/* ---- readers ---- */

unsigned long ref_read_begin(struct ref_sub *sub)
{
	struct ref_mm *mm = sub->mm;
	unsigned long seq;
	bool open;

	lock(mm);
	/* Relaxed: ref_set_seq() of this invalidation is before the driver lock
	 * was released, and the caller takes that before it compares. */
	seq = hmmu_load_relaxed(&sub->seq);
	open = seq == mm->seq;
	unlock(mm);
	if (open)
		wait_for_seq(mm, seq);
	return seq;
}

bool ref_read_retry(struct ref_sub *sub, unsigned long seq)
{
	/* Relaxed: under the driver lock, as the store in ref_set_seq(). */
	return hmmu_load_relaxed(&sub->seq) != seq;
}

void ref_set_seq(struct ref_sub *sub, unsigned long cur_seq)
{
	hmmu_store_relaxed(&sub->seq, cur_seq);
}

/* ---- invalidations ---- */

void ref_range_init(struct ref_range *range, struct ref_mm *mm, unsigned long start,
		    unsigned long end)
{
	range->mm = mm;
	range->start = start;
	range->end = end;
	range->blockable = true;
}

static int start(struct ref_range *range)
{
	struct ref_mm *mm = range->mm;
	unsigned long last = range->end - 1;
	struct treap_node *node;
	unsigned long seq;

	lock(mm);
	mm->active++;
	node = treap_first(&mm->tree, range->start, last);
	if (node && !is_odd(mm->seq))
		set_seq(mm, mm->seq | 1);
	seq = mm->seq;
	unlock(mm);
	/* Odd if node: the tree stands still until this one's end. */
	for (; node; node = treap_next(node, range->start, last)) {
		struct ref_sub *sub = sub_of(node);

		if (sub->ops->invalidate(sub, range, seq))
			continue;
		assert(!range->blockable);
		ref_invalidate_end(range);
		return -EAGAIN;
	}
	return 0;
}

int ref_invalidate_start(struct ref_range *range)
{
	range->blockable = true;
	return start(range);
}

int ref_invalidate_start_nonblock(struct ref_range *range)
{
	range->blockable = false;
	return start(range);
}

void ref_invalidate_end(struct ref_range *range)
{
	struct ref_mm *mm = range->mm;
	unsigned int sleepers;

	lock(mm);
	if (--mm->active || !is_odd(mm->seq)) {
		unlock(mm);
		return;
	}
	apply_deferred(mm);
	set_seq(mm, mm->seq + 1);
	/* An atomic store only because the kernel compares it. */
	hmmu_store_relaxed(&mm->generation, mm->generation + 1);
	sleepers = mm->sleepers;
	unlock(mm);
	if (sleepers)
		hmmu_futex_wake(&mm->generation, INT_MAX);
}
