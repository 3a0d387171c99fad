// SPDX-License-Identifier: MIT
/*
 * kick.cpp - a word that is moved and woken, and a condition under a lock.
 *
 * Covers: hmmu_seccomp_kick() and its sleepers (take(), the answerer, the spawner) in
 * src/source/seccomp/; the dispatcher's head_futex and the census's removal_futex, whose
 * conditions are words; hmmu_progress() against mmu_notifier_synchronize().
 *
 *	who has something		sleeper
 *	lock; there is work; unlock	load word	[seqcst]
 *	word + 1	[seqcst RMW]	lock; work? unlock
 *	wake				  none: sleep if word is as loaded
 *				[Required: the work is found]
 */
#include "model.h"

#define LIST(X)                                                                 \
	X(LOCKED, "the work is under the lock", CLEAN, 0, FULL)                 \
	X(WORD, "the work is a word", CLEAN, 1, FULL)                           \
	X(SEEN_LATE, "word is loaded after the look", FAILS, 0, FULL)           \
	X(SEEN_LATE_WORD, "the same, where the work is a word", FAILS, 1, FULL) \
	X(KICK_FIRST, "word moves before there is work", FAILS, 0, FULL)        \
	X(NO_KICK, "word does not move", FAILS, 0, FULL)                        \
	X(NO_WAKE, "nobody is woken", FAILS, 0, FULL)                           \
	X(WORK_RELAXED, "the work and word are relaxed", FAILS, 1, FULL)
MODEL(LIST)

struct kick_model : rl::test_suite<kick_model, 2> {
	rl::atomic<int> word, ready;
	rl::var<int> work; /* lock */
	rl::mutex lock;

	void before()
	{
		word($).store(0, rl::mo_relaxed);
		ready($).store(0, rl::mo_relaxed);
		work($) = 0;
	}

	void kick()
	{
		if (!M(NO_KICK))
			word($).fetch_add(1, WEAK(WORK_RELAXED, mo_seq_cst, mo_relaxed));
		if (!M(NO_WAKE))
			futex_wake(word, 2);
	}

	void give()
	{
		if (M(KICK_FIRST))
			kick();
		if (shape == 1) {
			work($) = 1;
			ready($).store(1, WEAK(WORK_RELAXED, mo_release, mo_relaxed));
		} else {
			lock.lock($);
			work($) = 1;
			lock.unlock($);
		}
		if (!M(KICK_FIRST))
			kick();
	}

	bool found()
	{
		bool yes;

		if (shape == 1)
			return ready($).load(rl::mo_acquire) && (int)work($) == 1;
		lock.lock($);
		yes = work($);
		lock.unlock($);
		return yes;
	}

	void sleeper()
	{
		for (;;) {
			int seen = word($).load(rl::mo_seq_cst);

			if (found())
				return;
			if (M(SEEN_LATE) || M(SEEN_LATE_WORD))
				seen = word($).load(rl::mo_seq_cst);
			futex_wait(word, seen);
		}
	}

	void thread(unsigned t)
	{
		t == 0 ? give() : sleeper();
	}
};
MODEL_MAIN(kick_model)
