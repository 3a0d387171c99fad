// SPDX-License-Identifier: MIT
/*
 * source.c - one change of this process, open in every mm that watches it.
 *
 * An mm that begins to watch must not miss a change that is in flight: started before
 * it was in the table, carried out after somebody has subscribed to it. Every change is
 * therefore also in a slot of one more mm, the anchor, to which nobody subscribes and
 * whose lock nobody takes (a signal handler may interrupt anything here):
 *
 *	change (hook)				attach
 *	slot in the anchor	[seqcst RMW]	place = mm		[seqcst]
 *	load each place		[seqcst]	each slot of the anchor not FREE: [seqcst]
 *						  wait until it is another generation's
 *				[Required: the change finds the place, or the attach
 *				 finds the change and waits for its end]
 *
 * Where all slots are taken changes are only counted; then attach waits until none is.
 * Attach polls: it is as rare as open and close, and a change must not pay for waking it.
 */
#include "source.h"

#include <errno.h>

#include "../instance.h"
#include "../arch/syscall.h"
#include "../plant.h"
#include "../notifier/slot.h"

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

static void enter_anchor(struct hmmu_instance *inst, struct mm_struct *anchor,
			 struct hmmu_source_event *ev, unsigned long start, unsigned long end)
{
	struct hmmu_inv *inv = (struct hmmu_inv *)&ev->range[0];

	inv->mm = anchor;
	inv->start = start;
	inv->end = end;
	inv->slot = 0;
	if (!hmmu_slot_claim(anchor, inv))
		hmmu_add_seqcst(&inst->crowd, 1);
	ev->n = 1;
}

static void leave_anchor(struct mmu_notifier_range *range)
{
	struct hmmu_inv *inv = (struct hmmu_inv *)range;

	if (!hmmu_mm_alive(inv->mm))
		return; /* forked meanwhile */
	/* Nobody attaches in the anchor: a plain release will do. Pairs with wait_open(). */
	if (inv->slot)
		hmmu_store_release(&inv->mm->slots[inv->slot - 1].state,
				   inv->slot_state - SLOT_OPEN + SLOT_FREE);
	else
		hmmu_add_seqcst(&hmmu_instance_peek()->crowd, (uint32_t)-1);
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
	enter_anchor(inst, mm, ev, start, end);
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
	if (!ev->n)
		return;
	while (ev->n > 1)
		mmu_notifier_invalidate_range_end(&ev->range[--ev->n]);
	leave_anchor(&ev->range[0]);
	ev->n = 0;
}

static void wait_a_little(void)
{
#ifdef HMMU_SCHED
	hmmu_cpu_relax();
#else
	const struct timespec ts = {0, 50000};

	hmmu_syscall(SYS_nanosleep, &ts, NULL);
#endif
}

/* Is the use of @slot that was @seen still going on? */
static bool in_use(const struct hmmu_slot *slot, uint64_t seen)
{
	uint64_t state = hmmu_load_seqcst(&slot->state);

	return (state & SLOT_KIND) != SLOT_FREE &&
	       state / SLOT_GENERATION == seen / SLOT_GENERATION;
}

/* Until every change that is in flight now is over. */
static void wait_open(struct hmmu_instance *inst)
{
	struct mm_struct *anchor = inst->anchor;
	unsigned int high = hmmu_load_seqcst(&anchor->slots_high);

	if (HMMU_PLANTED(ATTACH_NO_WAIT))
		return;
	for (unsigned int i = 0; i < high; i++) {
		/* Pairs with the claim in enter_anchor(). */
		uint64_t seen = hmmu_load_seqcst(&anchor->slots[i].state);

		while (in_use(&anchor->slots[i], seen))
			wait_a_little();
	}
	while (hmmu_load_seqcst(&inst->crowd))
		wait_a_little();
}

static uint32_t free_place(const struct hmmu_instance *inst)
{
	uint32_t i = 0;

	while (i < HMMU_WATCHED_MAX && inst->watched[i])
		i++;
	return i;
}

int hmmu_source_anchor(void)
{
	struct hmmu_instance *inst = hmmu_instance_peek();
	struct mm_struct *anchor;

	if (inst->anchor)
		return 0;
	anchor = hmmu_mm_get(inst);
	if (!anchor)
		return -ENOMEM;
	hmmu_store_seqcst(&inst->anchor, anchor);
	return 0;
}

/* With the instance's lock. */
int hmmu_source_attach(struct mm_struct *mm)
{
	struct hmmu_instance *inst = hmmu_instance_peek();
	uint32_t i = free_place(inst);

	if (i == HMMU_WATCHED_MAX)
		return -EMFILE;
	/* Pairs with hmmu_source_start(). */
	hmmu_store_seqcst(&inst->watched[i], mm);
	if (i >= inst->nwatched)
		hmmu_store_seqcst(&inst->nwatched, i + 1);
	wait_open(inst);
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
	wait_open(inst);
}
