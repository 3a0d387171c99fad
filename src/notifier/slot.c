// SPDX-License-Identifier: MIT
/*
 * slot.c - the places where open invalidations lie, and how an insert finds those
 * that concern it. States: notifier.h.
 */
#include "../futex.h"
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

		if (hmmu_load_relaxed(&mm->slots_high) <= i)
			raise_high(mm, i);
		if (hmmu_slot_try(mm, inv, i)) {
			hmmu_tls.slot_hint = i + 1;
			return true;
		}
	}
	return false;
}

/* With the lock: ENDING -> FREE. The generation stays: the next claim adds to it. */
void hmmu_slot_free(struct hmmu_inv *inv)
{
	hmmu_store_seqcst(&inv->mm->slots[inv->slot - 1].state,
			  inv->slot_state - SLOT_OPEN + SLOT_FREE);
}

/* With the lock, @inv pinned: it is open and overlaps @who. */
static void attach_inv(struct hmmu_inv *inv, const struct hmmu_newcomer *who)
{
	if (inv->ending)
		return;
	if (inv->walked) {
		if (who->id < inv->limit)
			return; /* its walk counts us, or has */
	} else if (who->id < inv->limit && !HMMU_PLANTED(NO_LIMIT)) {
		inv->limit = who->id;
	}
	/* Release, as every store of begun: callbacks of a running walk may look. */
	hmmu_store_release(who->count, hmmu_load_relaxed(who->count) + 1);
}

static bool overlaps(const struct hmmu_newcomer *who, uint64_t start, uint64_t last)
{
	return start <= who->last && who->start <= last;
}

static void attach_slot(struct hmmu_slot *slot, const struct hmmu_newcomer *who)
{
	/* The load half of G2's pair. Pairs with BUSY, OPEN and FREE. */
	uint64_t state = hmmu_load_seqcst(&slot->state);

	/* BUSY: claimed after busy_slot() looked, so it sees what was announced and will
	 * walk the tree. ENDING, FREE: over, or not begun. */
	while ((state & SLOT_KIND) == SLOT_OPEN) {
		uint64_t start = hmmu_load_acquire(&slot->start);
		uint64_t last = hmmu_load_acquire(&slot->last), again;

		if (overlaps(who, start, last)) {
			/* Pin it: from now on its end needs the lock, which we hold. */
			if (hmmu_cas_seqcst(&slot->state, &state, state | SLOT_ATTACHED)) {
				attach_inv(slot->inv, who);
				return;
			}
			continue; /* state was reloaded */
		}
		again = hmmu_load_seqcst(&slot->state);
		if ((again | SLOT_ATTACHED) == (state | SLOT_ATTACHED))
			return; /* the range was this generation's */
		state = again;
	}
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

/*
 * With the lock, after the newcomer was announced. Sequential consistency alone would
 * let an insert ignore BUSY: its owner reads the summary later. But the store of OPEN
 * may still be in the owner's store buffer when its load of the summary is done.
 */
unsigned int hmmu_busy_slot(struct mm_struct *mm)
{
	unsigned int high = hmmu_load_seqcst(&mm->slots_high);

	for (unsigned int i = 0; i < high; i++) {
		/* The load half of G2's pair. */
		if ((hmmu_load_seqcst(&mm->slots[i].state) & SLOT_KIND) == SLOT_BUSY)
			return i;
	}
	return HMMU_SLOTS;
}

/* Without the lock. Its owner is a few stores from OPEN, unless it lost the CPU or
 * sits in a signal handler. */
void hmmu_slot_wait_busy(struct mm_struct *mm, unsigned int i)
{
	uint64_t seen = hmmu_load_acquire(&mm->slots[i].state);
	unsigned int spins = 0;

	while ((seen & SLOT_KIND) == SLOT_BUSY &&
	       hmmu_load_acquire(&mm->slots[i].state) == seen) {
		hmmu_cpu_relax();
		if (++spins % 64 == 0)
			hmmu_syscall(SYS_sched_yield);
	}
}
