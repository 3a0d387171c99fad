// SPDX-License-Identifier: MIT
/*
 * note.cpp - a note is given back, whoever of two comes last (mute.c); a mm is watched again,
 * or not (source.c).
 *
 * Covers: hmmu_uffd_unmute() against hmmu_mutes_sweep(); shape 1: hmmu_source_unwatch() against
 * watch_again(): two sources, the one mended while the other is lost.
 *
 *	unmute				sweep
 *	until, state = OUT [seqcst]	dispatched = n	[seqcst]
 *	load dispatched	[seqcst]	load state	[seqcst]
 *	  all: OUT -> FREE [CAS]	  OUT, until <= n: OUT -> FREE	[CAS]
 *
 *	unwatch				watch again
 *	lost |= mine	[seqcst]	lost &= ~its	[seqcst RMW]; none left:
 *	epoch |= UNWATCHED [seqcst]	epoch &= ~UNWATCHED [seqcst]
 *					load lost	[seqcst]: some: epoch |= UNWATCHED
 *		[Required: free at the end; unwatched while any is lost]
 */
#include "model.h"

#define LIST(X)                                                                    \
	X(NOTE, "a note", CLEAN, 0, FULL)                                          \
	X(WATCH, "two sources", CLEAN, 1, FULL)                                    \
	X(OUT_RELEASE, "OUT is a release store", FAILS, 0, FULL)                   \
	X(DISPATCHED_RELEASE, "dispatched is a release store", FAILS, 0, FULL)     \
	X(DISPATCHED_ACQUIRE, "unmute loads dispatched acquire", FAILS, 0, FULL)   \
	X(STATE_ACQUIRE, "the sweep loads state acquire", FAILS, 0, FULL)          \
	X(LOOK_FIRST, "unmute looks, then says OUT", FAILS, 0, FULL)               \
	X(NO_LOOK, "unmute leaves it to the sweep", FAILS, 0, FULL)                \
	X(FREE_STORE, "it is freed by a store: a new use is lost", FAILS, 0, FULL) \
	X(EPOCH_FIRST, "unwatch: epoch, then lost", FAILS, 1, FULL)                \
	X(NO_SECOND_LOOK, "watch again does not look at lost again", FAILS, 1, FULL)
MODEL(LIST)

struct note_model : rl::test_suite<note_model, 2> {
	enum { FREE, IN, OUT, KIND = 3, GENERATION = 4 };
	rl::atomic<int> state, dispatched, until, lost, epoch;
	bool used; /* ghost: again */

	void before()
	{
		state($).store(IN, rl::mo_relaxed);
		dispatched($).store(0, rl::mo_relaxed);
		until($).store(0, rl::mo_relaxed);
		lost($).store(1, rl::mo_relaxed);
		epoch($).store(1, rl::mo_relaxed);
		used = false;
	}

	void free_note(int s)
	{
		if (M(FREE_STORE))
			state($).store(s - OUT, rl::mo_seq_cst);
		else
			state($).compare_exchange_strong(s, s - OUT, rl::mo_seq_cst,
							 rl::mo_seq_cst);
	}

	bool all_told()
	{
		return dispatched($).load(WEAK(DISPATCHED_ACQUIRE, mo_seq_cst, mo_acquire)) >=
		       1;
	}

	void unmute()
	{
		bool told = M(LOOK_FIRST) && all_told();
		int s;

		until($).store(1, rl::mo_relaxed);
		state($).store(OUT, WEAK(OUT_RELEASE, mo_seq_cst, mo_release));
		if (!M(LOOK_FIRST))
			told = all_told();
		if (told && !M(NO_LOOK))
			free_note(OUT);
		/* The next use of the place. */
		s = state($).load(rl::mo_seq_cst);
		if ((s & KIND) == FREE)
			used = state($).compare_exchange_strong(s, s + GENERATION + IN,
								rl::mo_seq_cst, rl::mo_seq_cst);
	}

	void sweep()
	{
		int s;

		dispatched($).store(1, WEAK(DISPATCHED_RELEASE, mo_seq_cst, mo_release));
		s = state($).load(WEAK(STATE_ACQUIRE, mo_seq_cst, mo_acquire));
		if ((s & KIND) == OUT && until($).load(rl::mo_relaxed) <= 1)
			free_note(s);
	}

	void unwatch()
	{
		if (!M(EPOCH_FIRST))
			lost($).fetch_or(2, rl::mo_seq_cst);
		epoch($).fetch_or(1, rl::mo_seq_cst);
		if (M(EPOCH_FIRST))
			lost($).fetch_or(2, rl::mo_seq_cst);
	}

	void watch_again()
	{
		if (lost($).fetch_and(~1, rl::mo_seq_cst) & ~1)
			return;
		epoch($).fetch_and(~1, rl::mo_seq_cst);
		if (!M(NO_SECOND_LOOK) && lost($).load(rl::mo_seq_cst))
			epoch($).fetch_or(1, rl::mo_seq_cst);
	}

	void thread(unsigned t)
	{
		if (shape == 1)
			t == 0 ? unwatch() : watch_again();
		else
			t == 0 ? unmute() : sweep();
	}

	void after()
	{
		int s = state($).load(rl::mo_relaxed);

		if (shape == 1)
			RL_ASSERT(epoch($).load(rl::mo_relaxed) == 1);
		else
			RL_ASSERT(s == (used ? IN + GENERATION : FREE));
	}
};
MODEL_MAIN(note_model)
