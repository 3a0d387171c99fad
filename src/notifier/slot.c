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

/* With the lock, @inv pinned: it is open and overlaps @who. */
static void attach_inv(struct hmmu_inv *inv, const struct hmmu_newcomer *who)
{
	if (inv->ending)
		return;
	/* Its walk, if it comes after this, is for those before us. (One that has begun has
	 * a limit below our id: it was set under an earlier hold.) core.pml AT3 */
	if (!inv->walked && who->id < inv->limit && !HMMU_PLANTED(NO_LIMIT))
		inv->limit = who->id;
	/* Release, as every store of begun: callbacks of a running walk may look. */
	hmmu_store_release(who->count, hmmu_load_relaxed(who->count) + 1);
	inv->attached = 1;
}

static bool overlaps(const struct hmmu_newcomer *who, uint64_t start, uint64_t last)
{
	return start <= who->last && who->start <= last;
}

bool hmmu_membarrier(void)
{
#ifdef HMMU_SCHED
	hmmu_sched_membarrier();
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
 * A full barrier in every thread, from where something waits for those that do not pay.
 * Where membarrier has been taken away, those that were open by then do not pay yet: the
 * last of their stores has left its processor long before a millisecond is over, which is
 * all that is asked for. Never again for those that come later.
 */
void hmmu_barrier(struct mm_struct *mm)
{
	static const struct timespec a_while = {0, 1000000};

	if (!mm->no_membarrier && hmmu_membarrier())
		return;
	if (!mm->no_membarrier)
		without_membarrier(mm);
	hmmu_syscall(SYS_nanosleep, &a_while, NULL);
}

/*
 * With the lock, after @pinned were pinned: their owners end them with plain stores and a plain
 * load, and the barrier that would have to be between them is made from here:
 *
 *	owner					newcomer, mm->lock held
 *	state = ENDING		[release]	load state: OPEN, mine
 *	load pinned				pinned = that state
 *	  as mine: lock; counted?		membarrier: a full barrier in every thread,
 *	  else: state = FREE	[release]	  somewhere in the owner's column
 *						load state: the same: count myself
 *						  else: over: pinned = 0, not counted
 *
 * Before "load pinned", which then sees the pin: the owner takes the lock and finds there
 * whether anybody counted himself (pinned still is what it was). Or after it, and then ENDING
 * was stored before and is seen here. [Required: who counted himself is counted back; who did
 * not is not. models/relacy/dekker.cpp]
 *
 * What it costs: a membarrier, some microseconds with the lock held, for the newcomer, for who
 * waits for the lock, and a disturbance of each processor that runs this process; if and only
 * if something that overlaps the newcomer is open and nobody is known to watch it: once for
 * all of those, and not again for whoever comes after while they are open.
 */
static void settle_ends(struct mm_struct *mm, uint64_t pinned)
{
	bool pay = true;

	for (uint64_t left = pinned; left; left &= left - 1)
		pay &= (hmmu_load_relaxed(&mm->slots[__builtin_ctzll(left)].pinned) &
			SLOT_PAYS) != 0;
	if (!pay)
		hmmu_barrier(mm);
}

/* True: if it is still open behind a barrier, @who is to count himself. Pinned before he is
 * sure: the end may find the pin and take the lock for nothing. */
static bool pin_slot(struct hmmu_slot *slot, const struct hmmu_newcomer *who)
{
	/* The load half of G2's pair. Pairs with OPEN, ENDING and FREE. models/spin/core.pml
	 * AT1 */
	uint64_t state = hmmu_load_seqcst(&slot->state), open = state;
	uint64_t start, last;

	/* BUSY: it has not read the summary, or was claimed after hmmu_settle_busy(): it sees
	 * what was announced, and will walk. So will any other generation than this. FREE:
	 * over. */
	if ((state & SLOT_KIND) < SLOT_OPEN)
		return false;
	start = hmmu_load_acquire(&slot->start);
	last = hmmu_load_acquire(&slot->last);
	if (!overlaps(who, start, last))
		return false; /* or of another generation */
	if ((state & SLOT_KIND) == SLOT_ENDING)
		open = state - SLOT_ENDING + SLOT_OPEN;
	/* Pinned earlier: its end waits for the lock, or will. core.pml AT4 */
	if (hmmu_load_relaxed(&slot->pinned) == open) {
		attach_inv(slot->inv, who);
		return false;
	}
	if (open != state)
		return false; /* over */
	/* Pairs with the load in hmmu_slot_release(); its own pin, not one of an earlier or
	 * later use: the end compares it. core.pml AT5 */
	hmmu_store_seqcst(&slot->pinned, state);
	return true;
}

/* With the lock, after settle_ends(): its end, if it is to come, finds the pin. If it has
 * come, what was read may have been of two generations; who follows must not take the pin for
 * one that the end has seen. core.pml AT2 */
static void attach_slot(struct hmmu_slot *slot, const struct hmmu_newcomer *who)
{
	if (hmmu_load_seqcst(&slot->state) != hmmu_load_relaxed(&slot->pinned)) {
		hmmu_store_relaxed(&slot->pinned, 0);
		return;
	}
	hmmu_begin_counting(slot->inv);
	attach_inv(slot->inv, who);
}

/* What has no slot comes and goes under the lock only: who enters later walks the tree under
 * the same hold and finds the newcomer. */
static void attach_overflow(struct mm_struct *mm, const struct hmmu_newcomer *who)
{
	struct hmmu_inv *head[OVERFLOW_HEADS];
	unsigned int lists;

	if (mm->overflow.n == 0)
		return;
	lists = hmmu_overflow_heads(&mm->overflow, who->start, who->last, head);
	while (lists-- > 0)
		for (struct hmmu_inv *inv = head[lists]; inv; inv = inv->next)
			if (overlaps(who, inv->start, inv->end - 1))
				attach_inv(inv, who);
}

/* With the lock: count @who for everything that is open and overlaps it. */
void hmmu_attach(struct mm_struct *mm, const struct hmmu_newcomer *who)
{
	unsigned int high = hmmu_load_seqcst(&mm->slots_high);
	uint64_t pinned = 0;

	if (HMMU_PLANTED(INSERT_IGNORES_OPEN))
		return;
	attach_overflow(mm, who);
	for (unsigned int i = 0; i < high; i++)
		pinned |= (uint64_t)pin_slot(&mm->slots[i], who) << i;
	if (!pinned)
		return;
	settle_ends(mm, pinned);
	for (; pinned; pinned &= pinned - 1)
		attach_slot(&mm->slots[__builtin_ctzll(pinned)], who);
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
 * tests/litmus/slot.c, `sched-core buffered insert`]
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
		if (!mm->no_membarrier && !hmmu_membarrier())
			without_membarrier(mm);
		return;
	}
}
