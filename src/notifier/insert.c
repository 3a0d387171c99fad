// SPDX-License-Identifier: MIT
/*
 * insert.c - subscriptions come and go. The races with start are drawn in notifier.h.
 */
#include <errno.h>

#include "../export.h"
#include "../source/source.h"
#include "notifier.h"
#include "pool.h"

/* What a subscription points to once removed: an mm that watches nothing. Never written
 * and never locked: everything looks at epoch first. */
static struct mm_struct *dead_mm(void)
{
	static const struct {
		uint64_t epoch;
		uint64_t line[7];
	} dead __attribute__((aligned(64)));

	return (struct mm_struct *)(uintptr_t)&dead;
}

static struct hmmu_key key_of(const struct hmmu_sub *sub)
{
	return (struct hmmu_key){sub->start, (uint64_t)(uintptr_t)sub};
}

/* With the lock, which it drops to map: nodes for the tree. */
static int make_nodes(struct mm_struct *mm)
{
	uint64_t npages = mm->tree.npages;
	struct hmmu_chunk chunk;
	int ret;

	hmmu_mm_unlock(mm);
	ret = hmmu_chunk_map(&chunk, npages);
	hmmu_mm_lock(mm);
	if (!ret)
		hmmu_chunk_give(&mm->tree, &chunk);
	return ret;
}

/* The same for a table of few words of the summary. */
static int make_few(struct mm_struct *mm, const struct hmmu_summary_need *need)
{
	void *mem = hmmu_arena_take(&mm->arena, need->size);

	if (mem) {
		hmmu_summary_give(&mm->summary, need, mem);
		return 0;
	}
	hmmu_mm_unlock(mm);
	mem = hmmu_map(HMMU_ARENA_CHUNK, false);
	hmmu_mm_lock(mm);
	if (!mem)
		return -ENOMEM;
	if (mm->arena.left < need->size) {
		mm->arena = (struct hmmu_arena){mem, HMMU_ARENA_CHUNK};
		return 0; /* look again */
	}
	/* Another insert was first. */
	hmmu_mm_unlock(mm);
	hmmu_unmap(mem, HMMU_ARENA_CHUNK);
	hmmu_mm_lock(mm);
	return 0;
}

/* The same for one GiB of the summary. */
static int make_leaf(struct mm_struct *mm, const struct hmmu_summary_need *need)
{
	void *leaf;

	if (need->size <= SUMMARY_FEW_MAX)
		return make_few(mm, need);
	hmmu_mm_unlock(mm);
	leaf = hmmu_map(need->size, false);
	hmmu_mm_lock(mm);
	if (!leaf)
		return -ENOMEM;
	if (hmmu_summary_give(&mm->summary, need, leaf))
		return 0;
	hmmu_mm_unlock(mm);
	hmmu_unmap(leaf, need->size);
	hmmu_mm_lock(mm);
	return 0;
}

/* With the lock on entry and return: afterwards nothing of insert can fail. */
static int make_room(struct mm_struct *mm, uint64_t start, uint64_t last)
{
	int ret = 0;

	while (!ret) {
		struct hmmu_summary_need need;

		if (hmmu_summary_missing(&mm->summary, start, last, &need))
			ret = make_leaf(mm, &need);
		else if (!hmmu_itree_ready(&mm->tree))
			ret = make_nodes(mm);
		else
			break;
	}
	return ret;
}

/* With the lock: the store half of G2's pair. models/spin/core.pml IN1 */
static void announce(struct mm_struct *mm, const struct hmmu_sub *sub)
{
	hmmu_summary_add(&mm->summary, sub->start, sub->last);
	if (mm->level_subs[sub->level]++ == 0)
		hmmu_or_seqcst(&mm->gate, 1ULL << sub->level);
}

static void withdraw(struct mm_struct *mm, const struct hmmu_sub *sub)
{
	hmmu_summary_del(&mm->summary, sub->start, sub->last);
	if (--mm->level_subs[sub->level] == 0)
		hmmu_and_seqcst(&mm->gate, ~(1ULL << sub->level));
}

static void init_sub(struct hmmu_sub *sub, struct mm_struct *mm, struct hmmu_newcomer *who,
		     const struct mmu_interval_notifier_ops *ops)
{
	who->id = mm->next_id++;
	who->count = &sub->begun;
	*sub = (struct hmmu_sub){
		.begun = mm->seq_floor + (mm->net != NULL),
		.ended = mm->seq_floor,
		.unarmed = mm->net != NULL,
		.mm = mm,
		.ops = ops,
		.start = who->start,
		.last = who->last,
		.id = who->id,
		.level = (uint8_t)hmmu_summary_level(who->start, who->last),
		.cookie = HMMU_SUB_LIVE,
	};
}

/* A planted bug. */
static void scan_early(struct hmmu_sub *sub, struct mm_struct *mm, struct hmmu_newcomer *who,
		       const struct mmu_interval_notifier_ops *ops)
{
	init_sub(sub, mm, who, ops);
	hmmu_attach(mm, who);
	hmmu_mm_unlock(mm);
	hmmu_mm_lock(mm);
}

HMMU_EXPORT int mmu_interval_notifier_insert(struct mmu_interval_notifier *pub,
					     struct mm_struct *mm, unsigned long start,
					     unsigned long length,
					     const struct mmu_interval_notifier_ops *ops)
{
	struct hmmu_sub *sub = (struct hmmu_sub *)pub;
	struct hmmu_newcomer who = {0, start, start + length - 1, NULL};
	struct hmmu_path path;
	int ret;

	if (!sub || !mm || !ops || !ops->invalidate)
		return -EINVAL;
	if (!length || who.last < start)
		return -EOVERFLOW;
	if (!hmmu_mm_alive(mm))
		return -ENODEV;
	(void)HMMU_CONTEXT("insert", HMMU_NOT_SIGNAL | HMMU_NOT_VFORK, sub);
	if (mm->sources)
		hmmu_source_check();
	hmmu_mm_lock(mm);
	if (HMMU_PLANTED(SCAN_BEFORE_PUBLISH))
		scan_early(sub, mm, &who, ops);
	ret = make_room(mm, start, who.last);
	if (ret)
		goto out;
	/* From here to the end under one hold: seen whole or not at all. core.pml IN2 */
	hmmu_itree_find(&mm->tree, (struct hmmu_key){start, (uint64_t)(uintptr_t)sub}, &path);
	if (!HMMU_PLANTED(SCAN_BEFORE_PUBLISH))
		init_sub(sub, mm, &who, ops);
	announce(mm, sub);
	hmmu_settle_busy(mm);
	hmmu_itree_insert(&mm->tree, &path, sub->last);
	mm->nsubs++;
	if (!HMMU_PLANTED(SCAN_BEFORE_PUBLISH))
		hmmu_attach(mm, &who);
out:
	hmmu_mm_unlock(mm);
	return ret;
}

static void check_remove(const struct hmmu_sub *sub)
{
	if (!HMMU_CONTEXT("remove", HMMU_NOT_ANY, sub))
		hmmu_lockdep_might(HMMU_CLASS_CALLBACK);
	(void)sub;
}

static bool still_open(struct mm_struct *mm, const void *arg)
{
	const struct hmmu_sub *sub = arg;

	return hmmu_load_seqcst(&sub->begun) == hmmu_load_seqcst(&sub->ended);
}

/* With the lock: may a batch that was found before, with this one in it, still come to it? Its
 * hazard and its look at removals are not ordered: a barrier is to be made. */
static bool batched(struct mm_struct *mm, const struct hmmu_sub *sub)
{
	unsigned int high = hmmu_load_seqcst(&mm->slots_high);

	for (unsigned int i = 0; i < high; i++) {
		const struct hmmu_slot *slot = &mm->slots[i];
		uint64_t pinned = hmmu_load_relaxed(&slot->pinned);

		/* Over, or of another use: it will not call who was found then. Pays: no need.
		 */
		if (hmmu_load_acquire(&slot->batched) && !(pinned & SLOT_PAYS) &&
		    hmmu_load_seqcst(&slot->state) == pinned &&
		    hmmu_load_relaxed(&slot->start) <= sub->last &&
		    hmmu_load_relaxed(&slot->last) >= sub->start)
			return true;
	}
	return false;
}

/* With the lock, after removals was counted: does something without a slot run its callback?
 * Who does not by now looks at removals before he would. Pairs with hmmu_hazard_move(). */
static bool runs_without_slot(const struct mm_struct *mm, const struct hmmu_sub *sub)
{
	struct hmmu_inv *head[OVERFLOW_HEADS];
	unsigned int n;

	if (mm->overflow.n == 0)
		return false;
	n = hmmu_overflow_heads(&mm->overflow, sub->start, sub->last, head);
	while (n-- > 0)
		for (struct hmmu_inv *inv = head[n]; inv; inv = inv->next)
			if (hmmu_load_seqcst(&inv->hazard) == sub)
				return true;
	return false;
}

HMMU_EXPORT void mmu_interval_notifier_remove(struct mmu_interval_notifier *pub)
{
	struct hmmu_sub *sub = (struct hmmu_sub *)pub;
	struct mm_struct *mm = sub->mm;
	struct hmmu_path path;
	bool overflow, reader, barrier;

	if (mm == dead_mm()) {
		hmmu_report("removed-twice", sub);
		return;
	}
	if (!hmmu_mm_alive(mm))
		return; /* a forked child */
	check_remove(sub);
	if (HMMU_PLANTED(REMOVE_WAITS_END))
		hmmu_event_wait(mm, still_open, sub);
	hmmu_mm_lock(mm);
	hmmu_itree_find(&mm->tree, key_of(sub), &path);
	withdraw(mm, sub);
	hmmu_itree_remove(&mm->tree, &path);
	mm->nsubs--;
	/* Pairs with the load in walk_call(): G3's Dekker pair. core.pml RM1 */
	hmmu_add_seqcst(&mm->removals, 1);
	if (sub->begun >= mm->seq_floor && !HMMU_PLANTED(SEQ_COMES_AGAIN))
		mm->seq_floor = sub->begun + 1;
	overflow = runs_without_slot(mm, sub);
	barrier = batched(mm, sub);
	reader = sub->waiters > 0;
	sub->cookie = HMMU_SUB_DEAD;
	/* Nobody will add to ended any more. models/spin/wait.pml WT6 */
	hmmu_store_release(&sub->ended, hmmu_load_relaxed(&sub->begun));
	hmmu_mm_unlock(mm);
	if (reader) {
		hmmu_report("remove-with-reader", sub);
		hmmu_wake_readers(&sub->ended);
	}
	if (barrier)
		hmmu_barrier(mm);
	hmmu_wait_callbacks(mm, sub, overflow);
	if (mm->net)
		mm->net->disarm(mm, sub->start, sub->last);
	sub->mm = dead_mm();
}
