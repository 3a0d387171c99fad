// SPDX-License-Identifier: MIT
/*
 * arm.c - a range is armed with the net, and its neighbours with it.
 *
 * A change of a mapping leaves everybody unarmed who subscribes to a part of it, and who reads
 * next arms. To register a mapping and to make sure of a range costs the same for one page as
 * for a hundred: so the run of subscriptions that begins at the reader's own, without a gap,
 * is made sure of in one call, and those of them that were unarmed and not open before are
 * armed after. What holds for one holds for each:
 *
 *	reader of S			a change of B's mapping
 *	lock; B: unarmed, none open;
 *	  its begun; unlock
 *	registered, the whole run
 *	lock; B's begun is the same:
 *	  armed; unlock
 *					told: begun moves
 *	reader of B: begins, reads
 *   or
 *					told, or bracketed: begun moves
 *	lock; begun has moved: B stays as it is
 *   or, a bracket under way
 *					start: begun moves
 *	B: open: not of the run
 *					the mapping is replaced
 *	  [Required: B is not taken for armed]
 *
 * B's truth is read after B's ended was stored, which is after the kernel was asked. Without
 * the lock B may be removed, its memory given back, or inserted again: it is touched only if
 * it is found in the tree once more, and one that was inserted again has another begun
 * (mm->seq_floor). source.pml SB2 SB3 hold for each of the run, whoever runs them.
 */
#include "../source/source.h"
#include "notifier.h"

#define PAGE_MASK 4095UL
#define AHEAD (64 * (PAGE_MASK + 1)) /* what is made sure of for others: 10 ns a page */

#ifdef HMMU_SCHED
#define RUN 2
#else
#define RUN 32
#endif

struct run {
	uint64_t last;
	uint64_t removals; /* mm->removals then */
	unsigned int n;
	struct {
		struct hmmu_sub *sub; /* not to be touched without being found */
		uint64_t start, begun;
	} of[RUN];
};

static bool waits_to_be_armed(const struct hmmu_sub *sub)
{
	return sub->unarmed &&
	       hmmu_load_relaxed(&sub->ended) + 1 == hmmu_load_relaxed(&sub->begun);
}

/* With the lock. Those above @sub, as far as they leave no page out. */
static void find_run(struct run *run, const struct hmmu_sub *sub)
{
	const struct hmmu_key from = {sub->start, 0};
	struct hmmu_match match[RUN];
	uint64_t limit = sub->last + AHEAD, reach = sub->last;
	size_t n;

	if (limit < sub->last)
		return;
	n = hmmu_itree_collect(&sub->mm->tree, sub->start, limit, from, match, RUN);
	for (size_t i = 0; i < n; i++) {
		struct hmmu_sub *s = match[i].sub;

		if (match[i].start > (reach | PAGE_MASK) + 1)
			break;
		if (s == sub || s->last > limit)
			continue;
		if (s->last > reach)
			reach = s->last;
		if (!waits_to_be_armed(s))
			continue;
		run->last = reach;
		run->of[run->n].sub = s;
		run->of[run->n].start = s->start;
		run->of[run->n++].begun = hmmu_load_relaxed(&s->begun);
	}
}

/* With the lock: it is open for that reason no more. source.pml SB3 */
static void armed(struct hmmu_sub *sub, uint64_t begun)
{
	if (sub->unarmed && hmmu_load_relaxed(&sub->begun) == begun) {
		sub->unarmed = 0;
		hmmu_store_release(&sub->ended, hmmu_load_relaxed(&sub->ended) + 1);
	}
}

/* With the lock. Then it may be touched. */
static bool in_tree(struct mm_struct *mm, struct hmmu_sub *sub, uint64_t start)
{
	const struct hmmu_key below = {start, (uint64_t)(uintptr_t)sub - 1};
	struct hmmu_match match;

	return hmmu_itree_collect(&mm->tree, start, start, below, &match, 1) == 1 &&
	       match.sub == sub;
}

int hmmu_arm(struct hmmu_sub *sub, uint64_t begun, bool wait)
{
	struct run run = {.last = sub->last};
	struct mm_struct *mm = sub->mm;
	bool gone;
	int ret = -1;

	hmmu_mm_lock(mm);
	find_run(&run, sub);
	run.removals = hmmu_load_relaxed(&mm->removals);
	hmmu_mm_unlock(mm);
	if (run.n)
		ret = mm->net->arm(mm, sub->start, run.last, wait);
	/* A neighbour's may be a hole, or another's. */
	if (ret < 0) {
		run.n = 0;
		ret = mm->net->arm(mm, sub->start, sub->last, wait);
	}
	hmmu_mm_lock(mm);
	if (ret >= 0)
		armed(sub, begun);
	for (unsigned int i = 0; i < run.n; i++)
		if (in_tree(mm, run.of[i].sub, run.of[i].start))
			armed(run.of[i].sub, run.of[i].begun);
	gone = hmmu_load_relaxed(&mm->removals) != run.removals;
	hmmu_mm_unlock(mm);
	/* Who was removed meanwhile had nothing to give back yet. Who is removed from now on
	 * finds it. (Who may not wait leaves it until close.) */
	if (gone && wait && run.last != sub->last)
		mm->net->disarm(mm, sub->last, run.last);
	return ret < 0 ? ret : 0;
}
