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
 *	hazard = A		[seqcst]	removals++		[seqcst RMW]
 *	unlock; call A				unlock
 *	hazard = B		[seqcst]	load hazard		[seqcst]
 *	load event_waiters	[seqcst]	  == B: event_waiters++	[seqcst RMW]
 *	load removals		[seqcst]	    load event		[seqcst]
 *	  moved: lock, find again		    load hazard		[seqcst]
 *	  not moved: call B			    sleep on event
 *	hazard = none		[seqcst]	free B
 *	load event_waiters	[seqcst]
 *	  some: event++, wake	[Required: B is not called once it is freed, and
 *				 remove returns]
 *
 * A subscription's memory is a plain variable: a callback that meets the free is a data
 * race to Relacy, in whatever order it happened to be executed.
 * Shape 0: B, the second of the batch, is removed. Shape 1: A, then B. Shape 2: A.
 */
#include "model.h"

#define R RANDOM(300000)
#define LIST(X)                                                                                \
	X(SECOND, "the second of a batch is removed", CLEAN, 0, R)                             \
	X(SECOND_BOUND, "the same, every schedule of 7 preemptions", CLEAN, 0, BOUND(7))       \
	X(BOTH, "both are removed", CLEAN, 1, BOUND(6))                                        \
	X(FIRST, "the first is removed", CLEAN, 2, BOUND(6))                                   \
	X(NO_RECHECK, "removals is not looked at again", FAILS, 0, FULL)                       \
	X(RECHECK_FIRST, "removals is looked at before the hazard is set", FAILS, 0, FULL)     \
	X(HAZARD_RELEASE, "the hazard is a release store", FAILS, 0, FULL)                     \
	X(FIRST_UNLOCKED, "the first hazard is set after the lock", FAILS, 2, FULL)            \
	X(REMOVALS_ACQUIRE, "removals is loaded acquire", FAILS, 0, R)                         \
	X(REMOVALS_ACQ_REL, "removals is an acq_rel RMW", FAILS, 0, R)                         \
	X(LOAD_ACQUIRE, "remove loads the hazard acquire", FAILS, 0, FULL)                     \
	X(REMOVALS_LATE, "removals moves after the hazards were looked at", FAILS, 0, FULL)    \
	X(CLEAR_RELAXED, "a hazard is cleared relaxed: free races with the callback", FAILS,   \
	  0, FULL)                                                                             \
	X(LOAD_RELAXED, "remove loads the hazard relaxed", FAILS, 0, FULL)                     \
	X(NO_WAIT, "remove does not wait", FAILS, 0, FULL)                                     \
	X(NO_WAKE, "nobody wakes remove", FAILS, 0, FULL)                                      \
	X(WAITER_LATE, "remove looks, then counts itself as a waiter", FAILS, 0, FULL)         \
	X(WAITERS_RELAXED, "remove counts itself relaxed", FAILS, 0, FULL)                     \
	X(WAITERS_ACQUIRE, "event_waiters is loaded acquire", FAILS, 0, FULL)                  \
	X(WAITERS_FIRST, "event_waiters is loaded before the hazard changes", FAILS, 0, FULL)  \
	X(NO_EVENT, "event does not move: a wake before the sleep is lost", FAILS, 0, FULL)    \
	X(SEEN_LATE, "event is read after the hazards", FAILS, 0, FULL)                        \
	X(CALLS_ALL, "what is found again is not walked again: B is never called", FAILS, 2,   \
	  FULL)                                                                                \
	X(FIRST_RELEASE, "the first hazard, set under the lock, is a release store", SPARE, 2, \
	  BOUND(6))
MODEL(LIST)

struct hazard_model : rl::test_suite<hazard_model, 2> {
	enum { NONE, A, B };
	rl::mutex mm;
	rl::var<int> in_tree[3]; /* mm */
	rl::var<int> memory[3];
	rl::atomic<int> hazard, removals, waiters, event;
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
	}

	/* ---- runner ---- */

	void signal(bool early)
	{
		int n = early ? 0
			      : waiters($).load(WEAK(WAITERS_ACQUIRE, mo_seq_cst, mo_acquire));

		if (!n || M(NO_WAKE))
			return;
		if (!M(NO_EVENT))
			event($).fetch_add(1, rl::mo_seq_cst);
		futex_wake(event, 2);
	}

	void hazard_move(int next)
	{
		rl::memory_order mo = M(HAZARD_RELEASE)	 ? rl::mo_release
				      : M(CLEAR_RELAXED) ? rl::mo_relaxed
							 : rl::mo_seq_cst;
		bool none = M(WAITERS_FIRST) && !waiters($).load(rl::mo_seq_cst);

		hazard($).store(next, mo);
		signal(none);
	}

	void call(int i)
	{
		RL_ASSERT(!freed[i]);
		memory[i]($) = memory[i]($) + 1;
		calls[i]++;
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
		return !M(NO_RECHECK) &&
		       removals($).load(WEAK(REMOVALS_ACQUIRE, mo_seq_cst, mo_acquire)) != seen;
	}

	/* A round; the last that was called. */
	int walk(int called, bool *more)
	{
		int found[3], n, seen;
		bool stop = false;

		*more = false;
		mm.lock($);
		n = find(found, called);
		seen = removals($).load(rl::mo_relaxed);
		if (n && !M(FIRST_UNLOCKED))
			hazard($).store(found[0], WEAK(FIRST_RELEASE, mo_seq_cst, mo_release));
		mm.unlock($);
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
		return called;
	}

	/* ---- remove ---- */

	bool over(int i)
	{
		rl::memory_order mo = M(LOAD_ACQUIRE)	? rl::mo_acquire
				      : M(LOAD_RELAXED) ? rl::mo_relaxed
							: rl::mo_seq_cst;

		return hazard($).load(mo) != i;
	}

	void event_wait(int i)
	{
		bool done = M(WAITER_LATE) && over(i);

		waiters($).fetch_add(1, WEAK(WAITERS_RELAXED, mo_seq_cst, mo_relaxed));
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

	void remove(int i)
	{
		mm.lock($);
		in_tree[i]($) = 0;
		if (!M(REMOVALS_LATE))
			removals($).fetch_add(1,
					      WEAK(REMOVALS_ACQ_REL, mo_seq_cst, mo_acq_rel));
		mm.unlock($);
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
			return;
		}
		if (shape != 0)
			remove(A);
		if (shape != 2)
			remove(B);
	}

	void after()
	{
		/* Who stayed was called once; who went, once at most. */
		RL_ASSERT(calls[A] <= 1 && calls[B] <= 1);
		RL_ASSERT(shape != 0 || calls[A] == 1);
		RL_ASSERT(shape != 2 || calls[B] == 1);
	}
};
MODEL_MAIN(hazard_model)
