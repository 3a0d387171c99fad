// SPDX-License-Identifier: MIT
/*
 * dekker.cpp - start against insert (G2), and that each open invalidation is counted
 * exactly once in a newcomer: by its own attach, by the walk, or not at all.
 *
 * Covers: hmmu_slot_try(), hmmu_slot_release() in src/notifier/slot.h; hmmu_slot_pin(),
 * attach_inv(), pin_slot(), attach_slot(), settle_ends(), hmmu_settle_busy(),
 * hmmu_slot_free() in slot.c; start(),
 * start_watched(), walk_next(), close_watched(), counted() in invalidate.c; announce() and
 * insert in insert.c; set_cells() and heal in summary.c. The table of slots is one slot
 * here, the summary one word of cells, the tree one flag.
 *
 *	start					insert, with the lock
 *	slot FREE -> BUSY	[seqcst RMW]	summary |= mine, gate	[seqcst RMW]
 *	slot.range = ...	[release]	slot BUSY?		[seqcst]
 *	slot = OPEN		[release]	  membarrier
 *	load gate, summary	[seqcst]	id, into the tree
 *	  watched: lock, limit, walk, pin	slot OPEN and mine: pinned = that state,
 *	the truth changes			  membarrier
 *	slot = ENDING		[release]	  still that state: count myself
 *	load pinned		[relaxed]	  else: pinned = 0
 *	  mine: lock, count back if it still	unlock
 *	  is, FREE, unlock			read_begin, read, retry, install
 *	  else: slot = FREE	[release]
 *				[Required: what is installed is the truth; begun and
 *				 ended are equal at the end, and never more than one each]
 *
 * Shape 0: one invalidation of the newcomer's range. Shapes 1 and 2: two in the same
 * slot, the second (first) of another range: the look at a slot's range may span two
 * uses. Shape 3: the inserting thread, too, has invalidated something before: two claim
 * one slot. Shape 4: two of the newcomer's range. Shape 5: as 3, but it invalidates after
 * it has inserted. + WATCHED: somebody else's range keeps
 * the gate open, so that the summary alone decides; + STALE: the cell's bit is set since
 * earlier, so that the gate alone decides, or a start heals it. + NO_BARRIER: a machine
 * without membarrier: OPEN and ENDING are seqcst stores then, and so is the look at the pin.
 *
 * A membarrier is a full barrier in every thread, wherever it is: all that has been
 * executed is before it, all that will be after.
 *
 * A barrier that hits the owner before it stored OPEN is before its load of the summary,
 * which then sees the announcement; one that hits it after makes OPEN visible. Likewise with
 * ENDING and the look at the pin.
 *
 * Not to be seen here: that FREE may not pass the look at the pin (Relacy executes no load
 *late), so release, though END_FREES_RELAXED is clean.
 *
 * BUSY_IS_FREE is invisible as long as everything is sequentially consistent: the line
 * BUSY_IS_FREE_SC is the same mutant with seqcst stores, and clean.
 */
#include "model.h"

enum { WATCHED = 8, STALE = 16, NO_BARRIER = 32 };

#define LIST(X)                                                                                \
	X(ONE, "one invalidation", CLEAN, 0, RANDOM(400000))                                   \
	X(ONE_BOUND, "the same, every schedule of 5 preemptions", CLEAN, 0, BOUND(5))          \
	X(ONE_WATCHED, "the same, the gate is open", CLEAN, WATCHED, BOUND(4))                 \
	X(ONE_STALE, "the same, the bit is set", CLEAN, STALE, BOUND(4))                       \
	X(HEAL, "gate open, bit set: healed", CLEAN, WATCHED + STALE, BOUND(4))                \
	X(HEAL_TWO, "the same with two invalidations", CLEAN, 4 + WATCHED + STALE, BOUND(4))   \
	X(REUSE, "mine, then another's in the same slot", CLEAN, 1, BOUND(4))                  \
	X(REUSE_BACK, "another's, then mine in the same slot", CLEAN, 2, BOUND(4))             \
	X(TWO_CLAIM, "two claim the slot", CLEAN, 3, BOUND(4))                                 \
	X(TWO_AFTER, "the same, one after its insert", CLEAN, 5, BOUND(4))                     \
	X(SCAN_FIRST, "insert looks at the slots, then announces", FAILS, 0, RANDOM(400000))   \
	X(SUMMARY_FIRST, "start reads the summary, then claims", FAILS, 0, RANDOM(400000))     \
	X(BUSY_IS_FREE, "BUSY is taken for FREE", FAILS, 0, RANDOM(400000))                    \
	X(BUSY_IS_FREE_SC, "the same, all stores seqcst: invisible", SPARE, 0, BOUND(4))       \
	X(CLAIM_RELAXED, "the claim is a relaxed RMW", FAILS, 0, RANDOM(400000))               \
	X(CLAIM_ACQ_REL, "the claim is an acq_rel RMW", FAILS, 0, RANDOM(400000))              \
	X(CLAIM_STORE, "the claim is a release store", FAILS, 0, RANDOM(400000))               \
	X(CLAIM_NOT_RMW, "the claim is a load and a seqcst store", FAILS, 3, RANDOM(400000))   \
	X(ANNOUNCE_ACQ_REL, "the bit is set by an acq_rel RMW", FAILS, WATCHED,                \
	  RANDOM(400000))                                                                      \
	X(ANNOUNCE_STORE, "the bit is set by a release store", FAILS, WATCHED, RANDOM(400000)) \
	X(GATE_ACQ_REL, "the gate is set by an acq_rel RMW", FAILS, STALE, RANDOM(400000))     \
	X(GATE_STORE, "the gate is set by a release store", FAILS, STALE, RANDOM(400000))      \
	X(SUMMARY_ACQUIRE, "start loads the summary acquire", FAILS, WATCHED, RANDOM(400000))  \
	X(GATE_ACQUIRE, "start loads the gate acquire", FAILS, STALE, RANDOM(400000))          \
	X(SLOT_ACQUIRE, "insert loads the slot acquire", FAILS, 0, RANDOM(400000))             \
	X(HEAL_DROPS, "a false alarm clears a bit though the tree has it", FAILS,              \
	  4 + WATCHED + STALE, RANDOM(400000))                                                 \
	X(HEAL_UNLOCKED, "it clears the bit after its lock", FAILS, 4 + WATCHED + STALE,       \
	  RANDOM(400000))                                                                      \
	X(IGNORES_OPEN, "insert does not attach", FAILS, 0, RANDOM(400000))                    \
	X(NO_PIN, "attach leaves no pin: end does not know", FAILS, 0, RANDOM(400000))         \
	X(NO_END_BARRIER, "a pin without a membarrier behind it", FAILS, 0, RANDOM(400000))    \
	X(BARRIER_FIRST, "the membarrier, then the pin", FAILS, 0, RANDOM(400000))             \
	X(SURE_FIRST, "still open? is asked before the membarrier", FAILS, 0, RANDOM(400000))  \
	X(NOT_ASKED, "still open? is not asked", FAILS, 0, RANDOM(400000))                     \
	X(ANY_GENERATION, "another use of the slot will do", FAILS, 4, RANDOM(400000))         \
	X(PIN_STAYS, "over, and the pin stays", FAILS, 0, RANDOM(400000))                      \
	X(LOOK_FIRST, "end looks at the pin, then stores ENDING", FAILS, 0, RANDOM(400000))    \
	X(FREE_FIRST, "end stores FREE, then looks at the pin", FAILS, 5, RANDOM(400000))      \
	X(END_BLIND, "end does not look", FAILS, 0, RANDOM(400000))                            \
	X(END_TRUSTS_PIN, "with the lock, end does not ask whether it was counted", FAILS, 0,  \
	  RANDOM(400000))                                                                      \
	X(SURE_RELAXED, "still open? is loaded relaxed (G5)", FAILS, 0, RANDOM(400000))        \
	X(END_RELAXED, "end stores ENDING relaxed (G5)", FAILS, 0, RANDOM(400000))             \
	X(END_FREES_RELAXED, "end frees relaxed: in ENDING's sequence", SPARE, 0, BOUND(4))    \
	X(END_ANY_PIN, "another's pin sends the end to the lock, too", SPARE, 4, BOUND(4))     \
	X(PIN_RELAXED, "the pin is a relaxed store", SPARE, 0, BOUND(4))                       \
	X(OPEN_RELAXED, "OPEN is stored relaxed: attach follows a stale inv", FAILS, 0,        \
	  RANDOM(400000))                                                                      \
	X(NO_LIMIT, "attach does not lower the limit: the walk counts again", FAILS, 0,        \
	  RANDOM(400000))                                                                      \
	X(WALK_NO_LIMIT, "the walk's later rounds forget the limit", FAILS, 0, RANDOM(400000)) \
	X(END_COUNTS_LATE, "end counts who came after ENDING", FAILS, WATCHED + STALE,         \
	  BOUND(4))                                                                            \
	X(ENDING_IS_OPEN, "attach takes ENDING for OPEN", FAILS, WATCHED + STALE, BOUND(4))    \
	X(NO_GENERATION, "a slot's uses look alike", FAILS, 1, RANDOM(400000))                 \
	X(RANGE_RELAXED, "the range is relaxed (G5)", FAILS, 1, RANDOM(400000))                \
	X(NO_MEMBARRIER, "BUSY is seen, without a membarrier", FAILS, 0, RANDOM(400000))       \
	X(NB, "no membarrier on this machine", CLEAN, NO_BARRIER, BOUND(4))                    \
	X(NB_TWO, "the same, two invalidations", CLEAN, 4 + NO_BARRIER, BOUND(3))              \
	X(NB_OPEN, "the same, OPEN is a release store", FAILS, NO_BARRIER, RANDOM(400000))     \
	X(NB_LOOK, "the same, attach loads the slot acquire", SPARE, NO_BARRIER, BOUND(4))     \
	X(NB_REUSE, "the same, mine, then another's in the same slot", CLEAN, 1 + NO_BARRIER,  \
	  BOUND(3))                                                                            \
	X(NB_END, "the same, ENDING is a release store", FAILS, NO_BARRIER, RANDOM(400000))    \
	X(NB_END_LOOK, "the same, end looks at the pin relaxed", FAILS, NO_BARRIER,            \
	  RANDOM(400000))                                                                      \
	X(NB_PIN, "the same, the pin is a release store", FAILS, NO_BARRIER, RANDOM(400000))   \
	X(NB_SURE, "the same, still open? is loaded acquire", FAILS, NO_BARRIER,               \
	  RANDOM(400000))                                                                      \
	X(ATTACH_ANY_LIMIT, "attach ignores limit once walked: same hold as the id", SPARE, 0, \
	  BOUND(4))                                                                            \
	X(SURE_ACQUIRE, "still open? is loaded acquire", SPARE, 0, BOUND(4))                   \
	X(FREE_RELEASE, "FREE, with the lock, is release", SPARE, 0, BOUND(4))
MODEL(LIST)

enum { FREE, BUSY, OPEN, ENDING, KIND = 3, GENERATION = 8 };
enum { MINE = 1, OTHER = 2, MAX = 1000 };

/* struct hmmu_inv: of no value until it is pinned, then everyone's under mm. */
struct inv {
	rl::var<int> walked, ending, limit, end_limit, progress;
	int slot_state; /* the owner's */
};

struct dekker_model : rl::test_suite<dekker_model, 2> {
	rl::atomic<int> slot, pinned, range, gate, summary;
	driver_side sub;
	rl::var<int> in_tree, id, next_id, level_subs; /* mm */
	rl::var<inv *> slot_inv;
	rl::mutex mm;
	inv invs[3];
	int ninv; /* ghost: no two threads claim in shape 0-2 */

	/* Ghosts. */
	int nbegun, nended;

	void before()
	{
		slot($).store(FREE, rl::mo_relaxed);
		pinned($).store(0, rl::mo_relaxed);
		range($).store(0, rl::mo_relaxed);
		summary($).store(shape & STALE ? MINE : 0, rl::mo_relaxed);
		gate($).store(shape & WATCHED ? 1 : 0, rl::mo_relaxed);
		level_subs($) = shape & WATCHED ? 1 : 0;
		sub.reset();
		in_tree($) = 0;
		id($) = 0;
		next_id($) = 1;
		slot_inv($) = NULL;
		ninv = 0;
		nbegun = nended = 0;
	}

	/* ---- start, end ---- */

	bool claim(inv *v, int cell)
	{
		bool pays = M(BUSY_IS_FREE_SC) || ((shape & NO_BARRIER) && !M(NB_OPEN));
		rl::memory_order sc = pays ? rl::mo_seq_cst : rl::mo_release;
		rl::memory_order mo = M(CLAIM_RELAXED)	 ? rl::mo_relaxed
				      : M(CLAIM_ACQ_REL) ? rl::mo_acq_rel
							 : rl::mo_seq_cst;
		int state = slot($).load(rl::mo_relaxed), busy;

		if ((state & KIND) != FREE)
			return false;
		busy = state + (M(NO_GENERATION) ? 0 : GENERATION) + BUSY;
		if (M(CLAIM_STORE) || M(CLAIM_NOT_RMW))
			slot($).store(busy, M(CLAIM_STORE) ? rl::mo_release : rl::mo_seq_cst);
		else if (!slot($).compare_exchange_strong(state, busy, mo, rl::mo_relaxed))
			return false;
		range($).store(cell, WEAK(RANGE_RELAXED, mo_release, mo_relaxed));
		slot_inv($) = v;
		v->slot_state = busy - BUSY + OPEN;
		slot($).store(v->slot_state, M(OPEN_RELAXED) ? rl::mo_relaxed : sc);
		return true;
	}

	bool watched(int cell)
	{
		if (!gate($).load(WEAK(GATE_ACQUIRE, mo_seq_cst, mo_acquire)))
			return false;
		return summary($).load(WEAK(SUMMARY_ACQUIRE, mo_seq_cst, mo_acquire)) & cell;
	}

	/* One round of the walk, with mm. */
	bool walk_round(inv *v, int cell, bool later)
	{
		if (cell != MINE || !in_tree($) || v->progress($))
			return false;
		if (id($) >= v->limit($) && !(later && M(WALK_NO_LIMIT)))
			return false;
		nbegun++;
		sub.count(sub.begun);
		v->progress($) = 1;
		return true;
	}

	void heal()
	{
		summary($).fetch_and(~MINE, rl::mo_seq_cst);
	}

	void start_watched(inv *v, int cell)
	{
		bool call, empty;

		mm.lock($);
		if (pinned($).load(rl::mo_relaxed) != v->slot_state) {
			begin_counting(v);
			pinned($).store(v->slot_state, rl::mo_release);
		}
		if (v->limit($) > next_id($))
			v->limit($) = (int)next_id($);
		v->walked($) = 1;
		call = walk_round(v, cell, false);
		empty = !call && (!in_tree($) || M(HEAL_DROPS));
		if (empty && !M(HEAL_UNLOCKED))
			heal();
		mm.unlock($);
		if (empty && M(HEAL_UNLOCKED))
			heal();
		if (!call) {
			mm.lock($); /* a later round */
			call = walk_round(v, cell, true);
			mm.unlock($);
		}
		if (call)
			sub.drop();
	}

	inv *start(int cell)
	{
		inv *v = &invs[ninv++];
		bool early = false;

		if (M(SUMMARY_FIRST))
			early = !watched(cell);
		if (!claim(v, cell))
			return NULL;
		if (!early && watched(cell))
			start_watched(v, cell);
		return v;
	}

	/* With mm. */
	void begin_counting(inv *v)
	{
		v->walked($) = 0;
		v->ending($) = 0;
		v->progress($) = 0;
		v->limit($) = MAX;
	}

	bool counted(inv *v)
	{
		if (id($) >= v->end_limit($) && !M(END_COUNTS_LATE))
			return false;
		return id($) >= v->limit($) || v->progress($);
	}

	void close_watched(inv *v, int cell)
	{
		mm.lock($);
		if (pinned($).load(rl::mo_relaxed) != v->slot_state && !M(END_TRUSTS_PIN)) {
			slot($).store(v->slot_state - OPEN + FREE, rl::mo_release);
			mm.unlock($);
			return;
		}
		v->ending($) = 1;
		v->end_limit($) = (int)next_id($);
		/* The lock is dropped between two batches. */
		mm.unlock($);
		mm.lock($);
		if (cell == MINE && in_tree($) && counted(v)) {
			nended++;
			sub.count(sub.ended);
			RL_ASSERT(nended <= nbegun);
		}
		slot($).store(v->slot_state - OPEN + FREE,
			      WEAK(FREE_RELEASE, mo_seq_cst, mo_release));
		mm.unlock($);
	}

	bool pin_is(inv *v)
	{
		bool pays = (shape & NO_BARRIER) && !M(NB_END_LOOK);
		int pin = pinned($).load(pays ? rl::mo_seq_cst : rl::mo_relaxed);

		if (M(END_ANY_PIN))
			return pin != 0;
		return pin == v->slot_state && !M(END_BLIND);
	}

	bool release(inv *v)
	{
		bool pays = M(BUSY_IS_FREE_SC) || ((shape & NO_BARRIER) && !M(NB_END));
		int state = v->slot_state;
		bool pin = M(LOOK_FIRST) && pin_is(v);

		/* Nobody else writes it. */
		RL_ASSERT(slot.debug_value() == state || M(NO_GENERATION));
		if (!M(FREE_FIRST))
			slot($).store(state - OPEN + ENDING, M(END_RELAXED) ? rl::mo_relaxed
							     : pays	    ? rl::mo_seq_cst
									    : rl::mo_release);
		else
			slot($).store(state - OPEN + FREE, rl::mo_release);
		if (!M(LOOK_FIRST))
			pin = pin_is(v);
		if (pin)
			return false;
		if (!M(FREE_FIRST))
			slot($).store(state - OPEN + FREE,
				      WEAK(END_FREES_RELAXED, mo_release, mo_relaxed));
		return true;
	}

	void invalidate(int cell)
	{
		inv *v = start(cell);

		if (!v)
			return; /* no slot: src/ has the overflow list then */
		if (cell == MINE)
			sub.change();
		if (!release(v))
			close_watched(v, cell);
	}

	/* ---- insert, reader ---- */

	/* With mm, after the announcement. */
	void settle_busy()
	{
		int state = slot($).load(WEAK(SLOT_ACQUIRE, mo_seq_cst, mo_acquire));

		if ((state & KIND) != BUSY || M(BUSY_IS_FREE) || M(BUSY_IS_FREE_SC))
			return;
		if (!(shape & NO_BARRIER) && !M(NO_MEMBARRIER))
			membarrier();
	}

	void membarrier()
	{
		rl::ctx().sched();
		rl::ctx().rl_global_fence();
	}

	/* With mm. */
	void announce()
	{
		if (summary($).load(rl::mo_relaxed) & MINE)
			; /* an earlier RMW under the same lock */
		else if (M(ANNOUNCE_STORE))
			summary($).store(MINE, rl::mo_release);
		else
			summary($).fetch_or(MINE,
					    WEAK(ANNOUNCE_ACQ_REL, mo_seq_cst, mo_acq_rel));
		level_subs($) = level_subs($) + 1;
		if (level_subs($) > 1)
			return;
		if (M(GATE_STORE))
			gate($).store(1, rl::mo_release);
		else
			gate($).fetch_or(1, WEAK(GATE_ACQ_REL, mo_seq_cst, mo_acq_rel));
	}

	void attach_inv(inv *v)
	{
		int mine = M(SCAN_FIRST) ? (int)next_id($) : (int)id($);

		if (v->ending($) && !M(ENDING_IS_OPEN))
			return;
		if (v->walked($)) {
			if (mine < v->limit($) && !M(ATTACH_ANY_LIMIT))
				return;
		} else if (mine < v->limit($) && !M(NO_LIMIT)) {
			v->limit($) = mine;
		}
		nbegun++;
		sub.count(sub.begun);
	}

	/* A pin. False: no need to ask. */
	bool pin_slot(int *state)
	{
		bool acquire = M(SLOT_ACQUIRE) || M(NB_LOOK);
		int open;

		*state = slot($).load(acquire ? rl::mo_acquire : rl::mo_seq_cst);
		if ((*state & KIND) < OPEN || M(IGNORES_OPEN))
			return false;
		if (range($).load(WEAK(RANGE_RELAXED, mo_acquire, mo_relaxed)) != MINE)
			return false;
		open = (*state & ~KIND) + OPEN;
		if (pinned($).load(rl::mo_relaxed) == open) {
			attach_inv(slot_inv($));
			return false;
		}
		if (open != *state && !M(ENDING_IS_OPEN))
			return false;
		if (!M(NO_PIN) && !M(BARRIER_FIRST))
			put_pin(open);
		return true;
	}

	void put_pin(int state)
	{
		pinned($).store(state, M(PIN_RELAXED) ? rl::mo_relaxed
				       : M(NB_PIN)    ? rl::mo_release
						      : rl::mo_seq_cst);
	}

	bool still_open(int state)
	{
		rl::memory_order mo = M(SURE_RELAXED)		      ? rl::mo_relaxed
				      : M(SURE_ACQUIRE) || M(NB_SURE) ? rl::mo_acquire
								      : rl::mo_seq_cst;
		int now = slot($).load(mo);

		if (M(ANY_GENERATION))
			return (now & KIND) == OPEN;
		return now == state || M(NOT_ASKED);
	}

	void attach()
	{
		bool sure = false;
		int state;

		if (!pin_slot(&state))
			return;
		if (M(SURE_FIRST))
			sure = still_open(state);
		if (!(shape & NO_BARRIER) && !M(NO_END_BARRIER))
			membarrier();
		if (M(BARRIER_FIRST))
			put_pin(state);
		if (!M(SURE_FIRST))
			sure = still_open(state);
		if (sure) {
			begin_counting(slot_inv($));
			attach_inv(slot_inv($));
		} else if (!M(PIN_STAYS)) {
			pinned($).store(0, rl::mo_relaxed);
		}
	}

	void insert()
	{
		mm.lock($);
		if (M(SCAN_FIRST)) {
			settle_busy();
			attach();
			mm.unlock($);
			mm.lock($);
		}
		announce();
		if (!M(SCAN_FIRST))
			settle_busy();
		id($) = (int)next_id($);
		next_id($) = next_id($) + 1;
		in_tree($) = 1;
		if (!M(SCAN_FIRST))
			attach();
		mm.unlock($);
	}

	void thread(unsigned t)
	{
		int what = shape & 7;

		if (t == 0) {
			if (what == 2)
				invalidate(OTHER);
			invalidate(MINE);
			if (what == 1)
				invalidate(OTHER);
			if (what == 4)
				invalidate(MINE);
			return;
		}
		if (what == 3)
			invalidate(OTHER);
		insert();
		if (what == 5)
			invalidate(OTHER);
		sub.read();
	}

	void after()
	{
		RL_ASSERT(nbegun == nended && nbegun <= 1 + ((shape & 7) == 4));
		RL_ASSERT((slot($).load(rl::mo_relaxed) & KIND) == FREE);
	}
};
MODEL_MAIN(dekker_model)
