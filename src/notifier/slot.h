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
	/* FREE -> BUSY. The store half of G2's pair; also keeps what follows behind it.
	 * models/spin/core.pml SL1 */
	if (!hmmu_cas_seqcst(&slot->state, &state, state + SLOT_GENERATION + SLOT_BUSY))
		return false;
	state += SLOT_GENERATION + SLOT_OPEN;
	/* Release: an insert that sees these sees BUSY (its second look fails). */
	hmmu_store_release(&slot->start, inv->start);
	hmmu_store_release(&slot->last, inv->end - 1);
	slot->inv = inv; /* plain: published by OPEN */
	inv->slot = (uint16_t)(i + 1);
	/* BUSY -> OPEN. Pairs with the load in pin_slot(). core.pml SL2. Where there is no
	 * membarrier, this side pays for the barriers: here that of hmmu_settle_busy(), and
	 * at the end. */
	if (__builtin_expect(mm->no_membarrier, 0)) {
		inv->slot_state = state | SLOT_PAYS;
		hmmu_store_seqcst(&slot->state, state | SLOT_PAYS);
	} else {
		inv->slot_state = state;
		hmmu_store_release(&slot->state, state);
	}
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

/* What an invalidation's state becomes when it is over. The generation stays: the next claim
 * adds to it. */
static inline uint64_t hmmu_slot_freed(uint64_t state)
{
	return state & ~(uint64_t)(SLOT_KIND | SLOT_PAYS);
}

/*
 * OPEN -> ENDING -> FREE, if nobody has pinned it; false, and ENDING: take the lock, perhaps
 * somebody has counted himself. Plain stores and a plain load, see settle_ends(): ENDING
 * before the look at the pin, and FREE only behind it, for then the slot is another's.
 * Release: an insert that sees one of them sees what was written before end (G5).
 */
static inline bool hmmu_slot_release(struct hmmu_inv *inv)
{
	struct hmmu_slot *slot = &inv->mm->slots[inv->slot - 1];
	uint64_t state = inv->slot_state, pinned;

	/* Pairs with the loads in pin_slot() and attach_slot(). core.pml EN1 */
	if (__builtin_expect(state & SLOT_PAYS, 0)) {
		hmmu_store_seqcst(&slot->state, state - SLOT_OPEN + SLOT_ENDING);
		pinned = hmmu_load_seqcst(&slot->pinned);
	} else {
		hmmu_store_release(&slot->state, state - SLOT_OPEN + SLOT_ENDING);
		hmmu_signal_fence(); /* in this order for the compiler, too */
		/* Pairs with the store in pin_slot(). core.pml EN5 */
		pinned = hmmu_load_relaxed(&slot->pinned);
	}
	if (__builtin_expect(pinned == state, 0))
		return false;
	/* Release also keeps the look before it. core.pml EN6 */
	hmmu_store_release(&slot->state, hmmu_slot_freed(state));
	return true;
}

/* With the lock: OPEN or ENDING -> FREE. Release, as hmmu_slot_release(). core.pml EN4 */
static inline void hmmu_slot_free(struct hmmu_inv *inv)
{
	hmmu_store_release(&inv->mm->slots[inv->slot - 1].state,
			   hmmu_slot_freed(inv->slot_state));
}

/* With the lock: its owner cannot end it without the lock any more, and nobody has counted
 * himself yet. What is guarded by the lock begins. */
static inline void hmmu_begin_counting(struct hmmu_inv *inv)
{
	inv->limit = UINT64_MAX;
	inv->progress = HMMU_KEY_FIRST;
	inv->whole_progress = 0;
	inv->walked = inv->ending = inv->attached = 0;
}

/* With the lock, by its owner: it will be counted; it was counted in nobody. Nobody has to ask
 * whether it is over meanwhile. */
static inline void hmmu_slot_pin(struct hmmu_inv *inv)
{
	struct hmmu_slot *slot = inv->slot ? &inv->mm->slots[inv->slot - 1] : NULL;

	if (slot && hmmu_load_relaxed(&slot->pinned) == inv->slot_state)
		return; /* by a newcomer */
	hmmu_begin_counting(inv);
	if (slot)
		hmmu_store_release(&slot->pinned, inv->slot_state);
}

/* With the lock, by its owner: nobody is counted. Who comes later pins it anew. */
static inline void hmmu_slot_unpin(struct hmmu_inv *inv)
{
	hmmu_store_relaxed(&inv->mm->slots[inv->slot - 1].pinned, 0);
}

#endif /* HMMU_SLOT_H */
