// SPDX-License-Identifier: MIT
/*
 * hazard.cpp - a callback never touches a removed subscription, and remove waits for
 * running callbacks only (G3), asleep on the mm's event count (G4).
 *
 * Covers: walk_next(), walk_call(), hmmu_hazard_move(), hmmu_wait_callbacks() in
 * src/notifier/invalidate.c; remove in src/notifier/insert.c; src/notifier/event.c.
 *
 *	runner					remove
 *	lock; find A, B; note removals		lock; take B off the tree
 *	two of them: batched = 1		removals++
 *	hazard = A		[release]	load batched		[acquire]
 *	unlock; call A				unlock
 *	hazard = B		[release]	  was batched: membarrier
 *	load event_waiters	[acquire]	load hazard		[acquire]
 *	load removals		[acquire]	  == B: event_waiters++, membarrier
 *	  moved: lock, find again		    load event
 *	  not moved: call B			    load hazard
 *	hazard = none		[release]	    sleep on event
 *	load event_waiters	[acquire]	free B
 *	  some: event++, wake
 *	batched = 0		[release]	[Required: B is not called once it is freed,
 *						 and remove returns]
 *
 * Where there is no membarrier (shape 3) both sides pay: hazard seqcst, removals and
 *event_waiters loaded seqcst, removals and event_waiters counted by seqcst RMWs, hazard loaded
 *seqcst.
 *
 * A subscription's memory is a plain variable: a callback that meets the free is a data
 * race to Relacy, in whatever order it happened to be executed.
 * Shapes 0 and 3: B, the second of the batch, is removed. Shape 1: A, then B. Shape 2: A.
 */
#include "membarrier.h"

#define R RANDOM(300000)
#define LIST(X)                                                                                \
	X(SECOND, "the second of a batch is removed", CLEAN, 0, R)                             \
	X(SECOND_BOUND, "the same, every schedule of 4 preemptions", CLEAN, 0, BOUND(4))       \
	X(BOTH, "both are removed", CLEAN, 1, BOUND(3))                                        \
	X(FIRST, "the first is removed", CLEAN, 2, BOUND(3))                                   \
	X(PAYS, "no membarrier: both sides pay", CLEAN, 3, BOUND(4))                           \
	X(NO_RECHECK, "removals is not looked at again", FAILS, 0, BOUND(4))                   \
	X(RECHECK_FIRST, "removals is looked at before the hazard is set", FAILS, 0, BOUND(4)) \
	X(NO_BARRIER, "remove makes no barrier", FAILS, 0, BOUND(4))                           \
	X(BARRIER_FIRST, "remove makes its barrier before it counts", FAILS, 0, BOUND(4))      \
	X(NOT_BATCHED, "a batch of two does not say so", FAILS, 0, BOUND(4))                   \
	X(BATCHED_LATE, "it says so after the lock", FAILS, 0, BOUND(4))                       \
	X(BATCHED_RELAXED, "it takes that back relaxed", FAILS, 0, R)                          \
	X(HAZARD_RELEASE, "no membarrier, and the hazard is a release store", FAILS, 3,        \
	  BOUND(4))                                                                            \
	X(FIRST_UNLOCKED, "the first hazard is set after the lock", FAILS, 2, BOUND(4))        \
	X(REMOVALS_ACQUIRE, "no membarrier, and removals is loaded acquire", FAILS, 3,         \
	  BOUND(4))                                                                            \
	X(REMOVALS_ACQ_REL, "no membarrier, and removals is an acq_rel RMW", FAILS, 3,         \
	  BOUND(4))                                                                            \
	X(LOAD_ACQUIRE, "no membarrier, and remove loads the hazard acquire", FAILS, 3,        \
	  BOUND(4))                                                                            \
	X(REMOVALS_LATE, "removals moves after the hazards were looked at", FAILS, 0,          \
	  BOUND(4))                                                                            \
	X(CLEAR_RELAXED, "a hazard is cleared relaxed: free races with the callback", FAILS,   \
	  0, BOUND(4))                                                                         \
	X(LOAD_RELAXED, "remove loads the hazard relaxed", FAILS, 0, BOUND(4))                 \
	X(NO_WAIT, "remove does not wait", FAILS, 0, BOUND(4))                                 \
	X(NO_WAKE, "nobody wakes remove", FAILS, 0, BOUND(4))                                  \
	X(WAITER_LATE, "remove looks, then counts itself as a waiter", FAILS, 0, BOUND(4))     \
	X(WAITS_WITHOUT, "who waits makes no barrier", FAILS, 0, BOUND(4))                     \
	X(WAITS_BARRIER_FIRST, "who waits makes it before he counts himself", FAILS, 0,        \
	  BOUND(4))                                                                            \
	X(WAITERS_RELAXED, "no membarrier, and remove counts itself relaxed", FAILS, 3,        \
	  BOUND(4))                                                                            \
	X(WAITERS_ACQUIRE, "no membarrier, and event_waiters is loaded acquire", FAILS, 3,     \
	  BOUND(4))                                                                            \
	X(WAITERS_FIRST, "event_waiters is loaded before the hazard changes", FAILS, 0,        \
	  BOUND(4))                                                                            \
	X(NO_EVENT, "event does not move: a wake before the sleep is lost", FAILS, 0,          \
	  BOUND(4))                                                                            \
	X(SEEN_LATE, "event is read after the hazards", FAILS, 0, BOUND(4))                    \
	X(CALLS_ALL, "what is found again is not walked again: B is never called", FAILS, 2,   \
	  BOUND(4))                                                                            \
	X(REMOVALS_RELAXED, "with the barrier, removals is counted relaxed", SPARE, 0, BOUND(3))
MODEL(LIST)

struct hazard_model : rl::test_suite<hazard_model, 2> {
	enum { NONE, A, B };
	rl::mutex mm;
	rl::var<int> in_tree[3]; /* mm */
	rl::var<int> memory[3];
	rl::atomic<int> hazard, removals, waiters, event, batched;
	interrupts<2> irq;
	int calls[3], freed[3]; /* ghosts */

	void before()
	{
		for (int i = 0; i < 3; i++) {
			in_tree[i]($) = i != NONE;
			memory[i]($) = 0;
			calls[i] = freed[i] = 0;
		}
		hazard($).store(NONE, rl::mo_relaxed);
		removals($).store(0, rl::mo_relaxed);
		waiters($).store(0, rl::mo_relaxed);
		event($).store(0, rl::mo_relaxed);
		batched($).store(0, rl::mo_relaxed);
		irq.reset();
	}

	bool pays()
	{
		return shape == 3;
	}

	/* ---- runner ---- */

	/* Here, if anywhere: also where nothing but this could be between two accesses. */
	void interrupted()
	{
		if (!M(BATCHED_RELAXED)) /* random finds it where there is less to draw */
			rl::ctx().sched();
		irq.point(0);
	}

	void signal(bool early)
	{
		rl::memory_order mo =
			pays() && !M(WAITERS_ACQUIRE) ? rl::mo_seq_cst : rl::mo_acquire;
		int n;

		interrupted();
		n = early ? 0 : waiters($).load(mo);
		if (!n || M(NO_WAKE))
			return;
		if (!M(NO_EVENT))
			event($).fetch_add(1, rl::mo_seq_cst);
		futex_wake(event, 2);
	}

	void hazard_move(int next)
	{
		rl::memory_order mo = M(CLEAR_RELAXED)		     ? rl::mo_relaxed
				      : pays() && !M(HAZARD_RELEASE) ? rl::mo_seq_cst
								     : rl::mo_release;
		bool none;

		interrupted();
		none = M(WAITERS_FIRST) && !waiters($).load(rl::mo_seq_cst);
		interrupted();
		hazard($).store(next, mo);
		signal(none);
	}

	void call(int i)
	{
		interrupted();
		RL_ASSERT(!freed[i]);
		memory[i]($) = memory[i]($) + 1;
		calls[i]++;
		interrupted();
	}

	/* With mm. How many of what is behind @after. */
	int find(int *found, int after)
	{
		int n = 0;

		for (int i = after + 1; i <= B; i++) {
			if (in_tree[i]($))
				found[n++] = i;
		}
		return n;
	}

	bool recheck(int seen)
	{
		rl::memory_order mo =
			pays() && !M(REMOVALS_ACQUIRE) ? rl::mo_seq_cst : rl::mo_acquire;

		interrupted();
		return !M(NO_RECHECK) && removals($).load(mo) != seen;
	}

	/* A round; the last that was called. */
	int walk(int called, bool *more)
	{
		int found[3], n, seen;
		bool stop = false;

		*more = false;
		interrupted();
		mm.lock($);
		n = find(found, called);
		seen = removals($).load(rl::mo_relaxed);
		if (n > 1 && !M(NOT_BATCHED) && !M(BATCHED_LATE))
			batched($).store(1, rl::mo_relaxed);
		if (n && !M(FIRST_UNLOCKED))
			hazard($).store(found[0], rl::mo_release);
		mm.unlock($);
		interrupted();
		if (n > 1 && M(BATCHED_LATE))
			batched($).store(1, rl::mo_relaxed);
		if (n && M(FIRST_UNLOCKED))
			hazard($).store(found[0], rl::mo_seq_cst);
		for (int i = 0; i < n && !stop; i++) {
			if (i > 0) {
				if (M(RECHECK_FIRST))
					stop = recheck(seen);
				hazard_move(found[i]);
				if (!M(RECHECK_FIRST))
					stop = recheck(seen);
				*more = stop && !M(CALLS_ALL);
				if (stop)
					break;
			}
			call(found[i]);
			called = found[i];
		}
		hazard_move(NONE);
		interrupted();
		if (n > 1)
			batched($).store(0, WEAK(BATCHED_RELAXED, mo_release, mo_relaxed));
		return called;
	}

	/* ---- remove ---- */

	bool over(int i)
	{
		rl::memory_order mo = M(LOAD_RELAXED)		   ? rl::mo_relaxed
				      : pays() && !M(LOAD_ACQUIRE) ? rl::mo_seq_cst
								   : rl::mo_acquire;

		return hazard($).load(mo) != i;
	}

	void barrier()
	{
		if (!pays())
			irq.membarrier(1);
	}

	void event_wait(int i)
	{
		bool done = M(WAITER_LATE) && over(i);

		if (M(WAITS_BARRIER_FIRST))
			barrier();
		waiters($).fetch_add(1, WEAK(WAITERS_RELAXED, mo_seq_cst, mo_relaxed));
		if (!M(WAITS_WITHOUT) && !M(WAITS_BARRIER_FIRST))
			barrier();
		while (!done) {
			int seen = event($).load(rl::mo_seq_cst);

			if (!M(WAITER_LATE) && over(i))
				break;
			if (M(SEEN_LATE))
				seen = event($).load(rl::mo_seq_cst);
			futex_wait(event, seen);
			done = M(WAITER_LATE) && over(i);
		}
		waiters($).fetch_add(-1, rl::mo_seq_cst);
	}

	void count_removal()
	{
		rl::memory_order mo = M(REMOVALS_ACQ_REL)   ? rl::mo_acq_rel
				      : M(REMOVALS_RELAXED) ? rl::mo_relaxed
							    : rl::mo_seq_cst;

		removals($).fetch_add(1, mo);
	}

	void remove(int i)
	{
		bool among;

		mm.lock($);
		in_tree[i]($) = 0;
		among = batched($).load(rl::mo_acquire);
		if (M(BARRIER_FIRST) && among)
			barrier();
		if (!M(REMOVALS_LATE))
			count_removal();
		mm.unlock($);
		if (among && !M(NO_BARRIER) && !M(BARRIER_FIRST))
			barrier();
		if (!M(NO_WAIT) && !over(i))
			event_wait(i);
		if (M(REMOVALS_LATE))
			removals($).fetch_add(1, rl::mo_seq_cst);
		freed[i] = 1;
		memory[i]($) = -1;
	}

	void thread(unsigned t)
	{
		bool more = true;
		int called = NONE;

		if (t == 0) {
			while (more)
				called = walk(called, &more);
			irq.leave(0);
			return;
		}
		if (shape == 1 || shape == 2)
			remove(A);
		if (shape != 2)
			remove(B);
	}

	void after()
	{
		/* Who stayed was called once; who went, once at most. */
		RL_ASSERT(calls[A] <= 1 && calls[B] <= 1);
		RL_ASSERT((shape != 0 && shape != 3) || calls[A] == 1);
		RL_ASSERT(shape != 2 || calls[B] == 1);
	}
};
MODEL_MAIN(hazard_model)
