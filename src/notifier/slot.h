/* SPDX-License-Identifier: MIT */
/*
 * slot.h - the hot half of slot.c: taking and giving back a slot that nobody else wants,
 * inlined into start and end.
 */
#ifndef HMMU_SLOT_H
#define HMMU_SLOT_H

#include "notifier.h"

static inline bool hmmu_slot_try(struct mm_struct *mm, struct hmmu_inv *inv, uint32_t i)
{
	struct hmmu_slot *slot = &mm->slots[i];
	uint64_t state = hmmu_load_relaxed(&slot->state);

	if ((state & SLOT_KIND) != SLOT_FREE)
		return false;
	/* FREE -> BUSY. The store half of G2's pair; also keeps what follows behind it. */
	if (!hmmu_cas_seqcst(&slot->state, &state, state + SLOT_GENERATION + SLOT_BUSY))
		return false;
	state += SLOT_GENERATION + SLOT_OPEN;
	/* Release: an insert that sees these sees BUSY (its second look fails). */
	hmmu_store_release(&slot->start, inv->start);
	hmmu_store_release(&slot->last, inv->end - 1);
	slot->inv = inv; /* plain: published by OPEN */
	inv->slot = (uint16_t)(i + 1);
	inv->slot_state = state;
	/* BUSY -> OPEN. Pairs with the load in attach_slot(). Where there is no membarrier
	 * for hmmu_settle_busy(), this side pays for the barrier. */
	if (__builtin_expect(mm->no_membarrier, 0))
		hmmu_store_seqcst(&slot->state, state);
	else
		hmmu_store_release(&slot->state, state);
	hmmu_signal_fence(); /* in this order for the compiler, too */
	return true;
}

/* false: all are taken. */
static inline bool hmmu_slot_claim(struct mm_struct *mm, struct hmmu_inv *inv)
{
	uint32_t hint = hmmu_tls.slot_hint;

	/* slots_high, seqcst: who raised it comes before this claim. See raise_high(). */
	if (__builtin_expect(hint && hint <= hmmu_load_seqcst(&mm->slots_high), 1) &&
	    hmmu_slot_try(mm, inv, hint - 1))
		return true;
	return hmmu_slot_search(mm, inv);
}

/* OPEN -> FREE, if nobody attached; false: take the lock. Release: an insert that sees
 * FREE sees what was written before end (G5). Pairs with the load in attach_slot(). */
static inline bool hmmu_slot_release(struct hmmu_inv *inv)
{
	uint64_t state = inv->slot_state;

	return hmmu_cas_release(&inv->mm->slots[inv->slot - 1].state, &state,
				state - SLOT_OPEN + SLOT_FREE);
}

#endif /* HMMU_SLOT_H */
