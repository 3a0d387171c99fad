// SPDX-License-Identifier: MIT
/*
 * source.c - one change of this process, open in every mm that watches it.
 *
 * An mm that begins to watch must not miss a change that is in flight: started before
 * it was in the table, carried out after somebody has subscribed to it. Every change is
 * therefore also open in one more mm, the anchor, to which nobody subscribes:
 *
 *	change (hook)				attach
 *	open in the anchor	[seqcst RMW]	place = mm		[seqcst]
 *	load each place		[seqcst]	wait for all that is open in the anchor
 *				[Required: the change finds the place, or the attach
 *				 finds the change and waits for its end]
 *
 * Waiting for all that is open now is what registering a whole-mm notifier does (whole.c),
 * so that is what attach does, with one that hears nothing.
 */
#include "source.h"

#include <errno.h>

#include "../instance.h"
#include "../notifier/notifier.h"

bool hmmu_source_watched(void)
{
	struct hmmu_instance *inst = hmmu_instance_peek();

	return inst && hmmu_load_acquire(&inst->anchor);
}

static void open_in(struct hmmu_source_event *ev, struct mm_struct *mm,
		    enum mmu_notifier_event event, unsigned long start, unsigned long end)
{
	struct mmu_notifier_range *range = &ev->range[ev->n];

	mmu_notifier_range_init(range, event, 0, mm, start, end);
	if (mmu_notifier_invalidate_range_start(range) == 0)
		ev->n++;
}

void hmmu_source_start(struct hmmu_source_event *ev, enum mmu_notifier_event event,
		       unsigned long start, unsigned long end)
{
	struct hmmu_instance *inst = hmmu_instance_peek();
	struct mm_struct *mm;
	uint32_t n;

	ev->n = 0;
	if (!inst || start >= end)
		return;
	mm = hmmu_load_acquire(&inst->anchor);
	if (!mm)
		return;
	open_in(ev, mm, event, start, end);
	/* Pairs with hmmu_source_attach(). */
	n = hmmu_load_seqcst(&inst->nwatched);
	for (uint32_t i = 0; i < n; i++) {
		mm = hmmu_load_seqcst(&inst->watched[i]);
		if (mm)
			open_in(ev, mm, event, start, end);
	}
}

void hmmu_source_end(struct hmmu_source_event *ev)
{
	while (ev->n > 0)
		mmu_notifier_invalidate_range_end(&ev->range[--ev->n]);
}

static int hear_nothing(struct mmu_notifier *sub, const struct mmu_notifier_range *range)
{
	return 0;
}

static const struct mmu_notifier_ops waiter_ops = {
    .invalidate_range_start = hear_nothing,
};

static void wait_open(struct mm_struct *mm)
{
	struct mmu_notifier waiter = {.ops = &waiter_ops};

	mmu_notifier_register(&waiter, mm);
	mmu_notifier_unregister(&waiter, mm);
}

static uint32_t free_place(const struct hmmu_instance *inst)
{
	uint32_t i = 0;

	while (i < HMMU_WATCHED_MAX && inst->watched[i])
		i++;
	return i;
}

/* With the instance's lock. */
int hmmu_source_attach(struct mm_struct *mm)
{
	struct hmmu_instance *inst = hmmu_instance_peek();
	uint32_t i = free_place(inst);

	if (i == HMMU_WATCHED_MAX)
		return -EMFILE;
	if (!inst->anchor) {
		struct mm_struct *anchor = hmmu_mm_get(inst);

		if (!anchor)
			return -ENOMEM;
		anchor->sources = HMMU_SOURCE_HOOKS;
		hmmu_store_seqcst(&inst->anchor, anchor);
	}
	/* Pairs with hmmu_source_start(). */
	hmmu_store_seqcst(&inst->watched[i], mm);
	if (i >= inst->nwatched)
		hmmu_store_seqcst(&inst->nwatched, i + 1);
	wait_open(inst->anchor);
	return 0;
}

/* With the instance's lock: afterwards no change is open in @mm. */
void hmmu_source_detach(struct mm_struct *mm)
{
	struct hmmu_instance *inst = hmmu_instance_peek();

	for (uint32_t i = 0; i < HMMU_WATCHED_MAX; i++) {
		if (inst->watched[i] == mm)
			hmmu_store_seqcst(&inst->watched[i], NULL);
	}
	/* A change that found the place may not be open in @mm yet: it is in the anchor. */
	wait_open(inst->anchor);
}
