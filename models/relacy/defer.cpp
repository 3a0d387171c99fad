// SPDX-License-Identifier: MIT
/*
 * defer.cpp - work that was deferred is run: the reclaimer does not sleep on it.
 *
 * Covers: hmmu_defer_push(), hmmu_defer_wake(), gather(), look(), sleep_until_work(),
 * reclaimer(), hmmu_reclaimer_use() and _unuse() in src/reclaim/reclaim.c. What is queued
 * under reclaim_lock is not modelled: a lock orders it.
 *
 *	defer				reclaimer
 *	push		[seqcst RMW]	load work		[seqcst]
 *	load asleep	[seqcst]	asleep + 1		[seqcst RMW]
 *	  0: done			look at the stack	[seqcst]
 *	work + 1, wake all		  something: run it
 *					sleep if work is as loaded; asleep - 1
 *			[Required: what was pushed is run]
 *
 * Shape 0: one who defers, one reclaimer. Shape 1: a reclaimer that was told to stop and
 * the one that took its place, which may sleep while the old one is still on its way out
 * (it is joined without the lock): `asleep` counts them. As a flag, FLAG, the old one's
 * "not asleep" would overwrite the new one's "asleep", and the next work would wait for
 * whoever comes by. Shape 2: two who defer. Shape 3: an application that reclaims too.
 */
#include "model.h"

#define LIST(X)                                                                           \
	X(ONE, "one reclaimer", CLEAN, 0, FULL)                                           \
	X(TWO, "an old and a new reclaimer", CLEAN, 1, BOUND(4))                          \
	X(TWO_RANDOM, "the same", CLEAN, 1, RANDOM(300000))                               \
	X(PUSHES, "two who defer", CLEAN, 2, BOUND(4))                                    \
	X(OWN, "the application reclaims, too", CLEAN, 3, BOUND(4))                       \
	X(FLAG, "asleep is a flag, with two reclaimers", FAILS, 1, BOUND(4))              \
	X(FLAG_ONE, "asleep is a flag, with one", SPARE, 0, FULL)                         \
	X(PUSH_ACQ_REL, "the push is acq_rel", FAILS, 0, FULL)                            \
	X(PUSH_STORE, "the push is a load and a store: work is lost", FAILS, 2, FULL)     \
	X(ASLEEP_ACQUIRE, "defer loads asleep acquire", FAILS, 0, FULL)                   \
	X(ASLEEP_FIRST, "defer loads asleep, then pushes", FAILS, 0, FULL)                \
	X(ASLEEP_RELEASE, "asleep is set by a release store", FAILS, 0, FULL)             \
	X(LOOK_ACQUIRE, "the stack is loaded acquire", FAILS, 0, FULL)                    \
	X(LOOK_FIRST, "looks at the stack, then says that it sleeps", FAILS, 0, FULL)     \
	X(SEEN_LATE, "work is read after the stack", FAILS, 0, FULL)                      \
	X(NO_WORK, "work does not move: a wake before the sleep is lost", FAILS, 0, FULL) \
	X(NO_WAKE, "no wake", FAILS, 0, FULL)                                             \
	X(NO_GENERATION, "the old one sleeps on though told to stop", FAILS, 1, BOUND(3)) \
	X(TAKE_RELAXED, "the stack is taken relaxed", FAILS, 3, FULL)                     \
	X(PUSH_RELAXED, "the push is relaxed", FAILS, 0, FULL)
MODEL(LIST)

struct defer_model : rl::test_suite<defer_model, 3> {
	rl::atomic<int> stack; /* a bit per work */
	rl::atomic<int> asleep, work, generation, created;
	rl::var<int> payload[2];
	int ran; /* ghost */

	void before()
	{
		stack($).store(0, rl::mo_relaxed);
		asleep($).store(0, rl::mo_relaxed);
		work($).store(0, rl::mo_relaxed);
		generation($).store(0, rl::mo_relaxed);
		created($).store(0, rl::mo_relaxed);
		payload[0]($) = 0;
		payload[1]($) = 0;
		ran = 0;
	}

	void push(int i)
	{
		rl::memory_order mo = M(PUSH_ACQ_REL)	? rl::mo_acq_rel
				      : M(PUSH_RELAXED) ? rl::mo_relaxed
							: rl::mo_seq_cst;
		int head = stack($).load(rl::mo_relaxed);

		payload[i]($) = 1;
		if (M(PUSH_STORE)) {
			stack($).store(head | 1 << i, rl::mo_seq_cst);
			return;
		}
		while (!stack($).compare_exchange_strong(head, head | 1 << i, mo,
							 rl::mo_relaxed))
			;
	}

	void defer(int i)
	{
		bool awake = M(ASLEEP_FIRST) && !asleep($).load(rl::mo_seq_cst);

		push(i);
		if (!M(ASLEEP_FIRST))
			awake = !asleep($).load(WEAK(ASLEEP_ACQUIRE, mo_seq_cst, mo_acquire));
		if (!awake)
			kick();
	}

	void kick()
	{
		if (!M(NO_WORK))
			work($).fetch_add(1, rl::mo_seq_cst);
		if (!M(NO_WAKE))
			futex_wake(work, 3);
	}

	bool look()
	{
		return stack($).load(WEAK(LOOK_ACQUIRE, mo_seq_cst, mo_acquire));
	}

	void reclaim()
	{
		int got = stack($).exchange(0, WEAK(TAKE_RELAXED, mo_seq_cst, mo_relaxed));

		for (int i = 0; i < 2; i++) {
			if (got & 1 << i) {
				RL_ASSERT((int)payload[i]($) == 1);
				ran |= 1 << i;
			}
		}
		if (ran == all()) {
			/* The model's end: everybody stops. */
			generation($).store(2, rl::mo_seq_cst);
			kick();
		}
	}

	int all()
	{
		return shape == 2 ? 3 : 1;
	}

	void say_asleep(int how)
	{
		if (M(FLAG) || M(FLAG_ONE))
			asleep($).store(how > 0, rl::mo_seq_cst);
		else if (M(ASLEEP_RELEASE))
			asleep($).store(how > 0, rl::mo_release);
		else
			asleep($).fetch_add(how, rl::mo_seq_cst);
	}

	void sleep_until_work(int mine)
	{
		int seen = work($).load(rl::mo_seq_cst);
		bool empty = M(LOOK_FIRST) && !look();

		say_asleep(1);
		if (!M(LOOK_FIRST))
			empty = !look();
		if (M(SEEN_LATE))
			seen = work($).load(rl::mo_seq_cst);
		if (empty && (M(NO_GENERATION) || generation($).load(rl::mo_seq_cst) == mine))
			futex_wait(work, seen);
		say_asleep(-1);
	}

	/* Until it is told to stop. */
	void reclaimer(int mine)
	{
		while (generation($).load(rl::mo_seq_cst) == mine) {
			if (look())
				reclaim();
			else
				sleep_until_work(mine);
		}
	}

	void thread(unsigned t)
	{
		if (t == 0) {
			if (shape == 1) {
				/* unuse, then use, each under the instance's lock. */
				generation($).store(1, rl::mo_seq_cst);
				kick();
				created($).store(1, rl::mo_release);
			}
			defer(0);
		} else if (t == 1) {
			reclaimer(0);
		} else if (shape == 1) {
			rl::linear_backoff b;
			while (!created($).load(rl::mo_acquire))
				b.yield($);
			reclaimer(1);
		} else if (shape == 2) {
			defer(1);
		} else if (shape == 3) {
			reclaim();
		}
	}

	void after()
	{
		RL_ASSERT(ran == all());
	}
};
MODEL_MAIN(defer_model)
