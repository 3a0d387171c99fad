// SPDX-License-Identifier: MIT
/*
 * reach.cpp - how the two sides of G2's pair reach each other's word.
 *
 * Covers: raise_high() and hmmu_slot_claim() in src/notifier/slot.{c,h} against hmmu_attach()
 * and hmmu_settle_busy(), which look at slots below slots_high; word_of() in summary.c: a leaf
 * that is not there stands for cells that are clear. dekker.cpp has the rest, with one slot
 * and one word. SEEN_RELAXED is clean here because Relacy's order of seqcst accesses is that of
 * execution; C11 does not promise it.
 *
 *	start				insert, with the lock
 *	slots_high > i	[seqcst]	leaf		[seqcst]
 *	slot = BUSY	[seqcst RMW]	cells |= mine	[seqcst RMW]
 *	load leaf, cells [seqcst]	load slots_high	[seqcst]
 *					load slots below it [seqcst]
 *				[Required: one of the two sees the other]
 */
#include "model.h"

#define LIST(X)                                                                            \
	X(BOTH, "a new slot, a new leaf", CLEAN, 0, FULL)                                  \
	X(RAISE_LATE, "slots_high is raised after the claim", FAILS, 0, FULL)              \
	X(RAISE_STORE_RELEASE, "it is raised by a release store", FAILS, 1, FULL)          \
	X(HIGH_ACQUIRE, "insert loads slots_high acquire", FAILS, 1, FULL)                 \
	X(SEEN_RELAXED, "start trusts a relaxed load of slots_high", SPARE, 2, FULL)       \
	X(RAISED, "another one raised it", CLEAN, 2, FULL)                                 \
	X(LEAF_RELEASE, "the leaf is a release store", FAILS, 0, FULL)                     \
	X(LEAF_LATE, "the leaf is known after its cells: taken for clear", FAILS, 3, FULL) \
	X(LEAF_ACQUIRE, "start loads the leaf acquire", FAILS, 0, FULL)
MODEL(LIST)

struct reach_model : rl::test_suite<reach_model, 3> {
	rl::atomic<int> high, slot, leaf, cells;
	bool start_saw, insert_saw, done; /* ghosts */

	void before()
	{
		high($).store(0, rl::mo_relaxed);
		slot($).store(0, rl::mo_relaxed);
		leaf($).store(0, rl::mo_relaxed);
		cells($).store(0, rl::mo_relaxed);
		start_saw = insert_saw = done = false;
	}

	void raise()
	{
		int none = 0;

		if (M(RAISE_STORE_RELEASE))
			high($).store(1, rl::mo_release);
		else
			high($).compare_exchange_strong(none, 1, rl::mo_seq_cst,
							rl::mo_seq_cst);
	}

	void start()
	{
		int none = 0;

		if (high($).load(WEAK(SEEN_RELAXED, mo_seq_cst, mo_relaxed)) == 0) {
			if (shape == 2)
				return; /* not this one's turn */
			if (!M(RAISE_LATE))
				raise();
		}
		if (M(RAISE_STORE_RELEASE) || M(HIGH_ACQUIRE))
			slot($).store(1, rl::mo_seq_cst);
		else
			slot($).compare_exchange_strong(none, 1, rl::mo_seq_cst,
							rl::mo_seq_cst);
		done = true;
		if (leaf($).load(WEAK(LEAF_ACQUIRE, mo_seq_cst, mo_acquire)))
			start_saw = cells($).load(rl::mo_seq_cst);
		if (M(RAISE_LATE))
			raise();
	}

	void insert()
	{
		if (!M(LEAF_LATE))
			leaf($).store(1, WEAK(LEAF_RELEASE, mo_seq_cst, mo_release));
		cells($).fetch_or(1, rl::mo_seq_cst);
		if (high($).load(WEAK(HIGH_ACQUIRE, mo_seq_cst, mo_acquire)))
			insert_saw = slot($).load(rl::mo_seq_cst);
		if (M(LEAF_LATE))
			leaf($).store(1, rl::mo_seq_cst);
	}

	void thread(unsigned t)
	{
		if (t == 0)
			start();
		else if (t == 1)
			insert();
		else if (shape == 2)
			raise();
	}

	void after()
	{
		RL_ASSERT(!done || start_saw || insert_saw);
	}
};
MODEL_MAIN(reach_model)
