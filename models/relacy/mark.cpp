// SPDX-License-Identifier: MIT
/*
 * mark.cpp - an mm that is undecided for a while (G1, by return).
 *
 * Covers: mark(), decide() in src/source/userfaultfd/, start_undecided() in
 * src/notifier/invalidate.c, moved() in src/notifier/read.c.
 *
 *	who is told			whose change it was	an access
 *	epoch + MARK	[seqcst]
 *	read(): lets it go on ------->	returns
 *								it has returned
 *								load epoch	[acquire]
 *	begun + 1	[release]				load begun	[acquire]
 *	epoch + CLEAR	[seqcst]
 *			[Required: a check that begins after it has returned fails]
 *
 * The mark leaves no trace, so epoch must be loaded first: behind a mark that has been
 * taken back begun has moved. AGAIN: the same with a second, unrelated event around it,
 * whose mark adds to the first.
 */
#include "model.h"

#define LIST(X)                                                                        \
	X(MARKED, "marked before it goes on, decided after begun", CLEAN, 0, FULL)     \
	X(AGAIN, "two events at once", CLEAN, 1, FULL)                                 \
	X(MARK_LATE, "marked after it was let go", FAILS, 0, FULL)                     \
	X(CLEAR_EARLY, "decided before begun has moved", FAILS, 0, FULL)               \
	X(BEGUN_FIRST, "the check loads begun, then epoch", FAILS, 0, FULL)            \
	X(EPOCH_RELAXED, "the check loads epoch relaxed", FAILS, 0, FULL)              \
	X(CLEAR_RELAXED, "the mark is taken back relaxed", FAILS, 0, FULL)             \
	X(STORE_MARK, "a mark is stored, not added: the other's goes", FAILS, 1, FULL) \
	X(MARK_RELAXED, "read() orders the mark, too", SPARE, 0, FULL)
MODEL(LIST)

struct mark_model : rl::test_suite<mark_model, 3> {
	rl::atomic<int> epoch, begun, returned;

	void before()
	{
		epoch($).store(0, rl::mo_relaxed);
		begun($).store(0, rl::mo_relaxed);
		returned($).store(0, rl::mo_relaxed);
	}

	void add(int n, rl::memory_order order)
	{
		epoch($).fetch_add(n, order);
	}

	void mark()
	{
		if (M(STORE_MARK))
			epoch($).store(1, rl::mo_seq_cst);
		else
			add(1, WEAK(MARK_RELAXED, mo_seq_cst, mo_relaxed));
	}

	void clear()
	{
		if (M(STORE_MARK))
			epoch($).store(0, rl::mo_seq_cst);
		else
			add(-1, WEAK(CLEAR_RELAXED, mo_seq_cst, mo_relaxed));
	}

	void told()
	{
		if (!M(MARK_LATE))
			mark();
		returned($).store(1, rl::mo_release);
		if (M(MARK_LATE))
			mark();
		if (M(CLEAR_EARLY))
			clear();
		begun($).store(1, rl::mo_release);
		if (!M(CLEAR_EARLY))
			clear();
	}

	void unrelated()
	{
		if (shape != 1)
			return;
		mark();
		clear();
	}

	void access()
	{
		int gone = returned($).load(rl::mo_acquire), e, b;

		if (M(BEGUN_FIRST)) {
			b = begun($).load(rl::mo_acquire);
			e = epoch($).load(rl::mo_acquire);
		} else {
			e = epoch($).load(WEAK(EPOCH_RELAXED, mo_acquire, mo_relaxed));
			b = begun($).load(rl::mo_acquire);
		}
		/* The sequence is begun + epoch as they were: 0. */
		RL_ASSERT(!gone || b + 16 * e != 0);
	}

	void thread(unsigned t)
	{
		if (t == 0)
			told();
		else if (t == 1)
			access();
		else
			unrelated();
	}
};
MODEL_MAIN(mark_model)
