// SPDX-License-Identifier: MIT
/*
 * slot.c - the places where open invalidations lie, and how an insert finds those
 * that concern it. States: notifier.h.
 */
#include <linux/membarrier.h>

#include "../arch/syscall.h"
#include "slot.h"

/* Threads start at different slots and stay where they found room. */
static uint32_t next_hint;

static uint32_t hint(void)
{
	if (!hmmu_tls.slot_hint)
		hmmu_tls.slot_hint = hmmu_add_relaxed(&next_hint, 1) % HMMU_SLOTS + 1;
	return hmmu_tls.slot_hint - 1;
}

/* Slots up to and with @i are to be looked at from now on. Before the claim, seqcst:
 * an insert that does not see the new bound comes before the claim in the Dekker
 * pair. */
static void raise_high(struct mm_struct *mm, uint32_t i)
{
	uint32_t high = hmmu_load_relaxed(&mm->slots_high);

	while (high < i + 1 && !hmmu_cas_seqcst(&mm->slots_high, &high, i + 1))
		;
}

/* Cold: a thread's first time, or the slot it used last is taken. */
bool hmmu_slot_search(struct mm_struct *mm, struct hmmu_inv *inv)
{
	uint32_t first = hint();

	for (uint32_t n = 0; n < HMMU_SLOTS; n++) {
		/* Its own, then the low ones: an insert looks at all up to the highest. */
		uint32_t i = n == 0 ? first : n - 1 < first ? n - 1 : n;

		if (hmmu_load_seqcst(&mm->slots_high) <= i)
			raise_high(mm, i);
		if (hmmu_slot_try(mm, inv, i)) {
			hmmu_tls.slot_hint = i + 1;
			return true;
		}
	}
	return false;
}

/* With the lock: ENDING -> FREE. The generation stays: the next claim adds to it. Release,
 * as hmmu_slot_release(). */
void hmmu_slot_free(struct hmmu_inv *inv)
{
	hmmu_store_release(&inv->mm->slots[inv->slot - 1].state,
			   inv->slot_state - SLOT_OPEN + SLOT_FREE);
}

/* With the lock, @inv pinned: it is open and overlaps @who. */
static void attach_inv(struct hmmu_inv *inv, const struct hmmu_newcomer *who)
{
	if (inv->ending)
		return;
	/* Its walk, if it comes after this, is for those before us. (One that has begun has
	 * a limit below our id: it was set under an earlier hold.) */
	if (!inv->walked && who->id < inv->limit && !HMMU_PLANTED(NO_LIMIT))
		inv->limit = who->id;
	/* Release, as every store of begun: callbacks of a running walk may look. */
	hmmu_store_release(who->count, hmmu_load_relaxed(who->count) + 1);
}

static bool overlaps(const struct hmmu_newcomer *who, uint64_t start, uint64_t last)
{
	return start <= who->last && who->start <= last;
}

static void attach_slot(struct hmmu_slot *slot, const struct hmmu_newcomer *who)
{
	/* The load half of G2's pair. Pairs with OPEN and FREE. */
	uint64_t state = hmmu_load_seqcst(&slot->state);
	uint64_t start, last;

	/* BUSY: it has not read the summary, or was claimed after hmmu_settle_busy(): it sees
	 * what was announced, and will walk. So will any other generation than this. FREE,
	 * ENDING: over. */
	if ((state & SLOT_KIND) != SLOT_OPEN)
		return;
	start = hmmu_load_acquire(&slot->start);
	last = hmmu_load_acquire(&slot->last);
	if (!overlaps(who, start, last))
		return; /* or of another generation */
	/* Pin it: from now on its end needs the lock, which we hold. Fails if it is over:
	 * then what was read above may have been of two generations. */
	if (hmmu_cas_seqcst(&slot->state, &state, state | SLOT_ATTACHED))
		attach_inv(slot->inv, who);
}

/*
 * With the lock: count @who for everything that is open and overlaps it. The overflow
 * list changes only under the lock: who enters it later walks the tree under the same
 * hold and finds the newcomer.
 */
void hmmu_attach(struct mm_struct *mm, const struct hmmu_newcomer *who)
{
	unsigned int high = hmmu_load_seqcst(&mm->slots_high);

	if (HMMU_PLANTED(INSERT_IGNORES_OPEN))
		return;
	for (struct hmmu_inv *inv = mm->overflow; inv; inv = inv->next) {
		if (overlaps(who, inv->start, inv->end - 1))
			attach_inv(inv, who);
	}
	for (unsigned int i = 0; i < high; i++)
		attach_slot(&mm->slots[i], who);
}

static bool membarrier(void)
{
#ifdef HMMU_SCHED /* its schedules are sequentially consistent anyway */
	return true;
#else
	return hmmu_syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0) == 0;
#endif
}

bool hmmu_membarrier_register(void)
{
	return hmmu_syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0) == 0;
}

/* membarrier has been taken away (a filter that came later): from now on starts pay for
 * the barrier; those that are BUSY at this moment are waited for, a few stores. */
static void without_membarrier(struct mm_struct *mm)
{
	hmmu_store_seqcst(&mm->no_membarrier, 1);
	for (unsigned int i = 0; i < hmmu_load_seqcst(&mm->slots_high); i++) {
		uint64_t seen = hmmu_load_seqcst(&mm->slots[i].state);

		while ((seen & SLOT_KIND) == SLOT_BUSY &&
		       hmmu_load_seqcst(&mm->slots[i].state) == seen)
			hmmu_syscall(SYS_sched_yield);
	}
}

/*
 * With the lock, after the newcomer was announced. What is BUSY has no range yet; its
 * owner may have read the summary before the announcement, though its store of OPEN is
 * not to be seen yet (it sits in its store buffer; sequential consistency alone would
 * forbid that). So there is a barrier in the owner's column, made from here:
 *
 *	owner					insert
 *	state = BUSY				announce
 *	range = ...				load state: BUSY
 *	state = OPEN				membarrier: a full barrier in every thread,
 *	load summary				  somewhere in the owner's column
 *	  sees me: take the lock, walk		load state: OPEN: attach; BUSY: go on
 *
 * Before "load summary", which then sees the announcement; or after it, and then OPEN was
 * stored before and is seen here. [Required: one of the two. models/relacy/dekker.cpp,
 * tests/litmus/slot.c]
 *
 * Nobody waits for the owner, who may have lost the CPU or sit in a signal handler that
 * wants this very lock. It is the only system call made with the lock held; it waits for
 * processors, not for threads.
 */
void hmmu_settle_busy(struct mm_struct *mm)
{
	unsigned int high = hmmu_load_seqcst(&mm->slots_high);

	for (unsigned int i = 0; i < high; i++) {
		/* The load half of G2's pair. */
		if ((hmmu_load_seqcst(&mm->slots[i].state) & SLOT_KIND) != SLOT_BUSY)
			continue;
		if (!mm->no_membarrier && !membarrier())
			without_membarrier(mm);
		return;
	}
}
