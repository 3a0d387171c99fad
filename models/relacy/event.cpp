// SPDX-License-Identifier: MIT
/*
 * event.cpp - the event count alone, with two who wait (G4: nobody sleeps for ever).
 *
 * Covers: src/notifier/event.c; wait_decided() in src/notifier/read.c sleeps in the same
 * way; nothing_owed() in src/notifier/whole.c is a condition under the lock (shape 1).
 *
 *	waiter					signaller
 *	event_waiters++		[seqcst RMW]	condition = true	[seqcst]
 *	load event		[seqcst]	load event_waiters	[seqcst]
 *	load condition		[seqcst]	  none: done
 *	  true: done				event++			[seqcst RMW]
 *	sleep if event is as loaded		wake all
 *				[Required: both waiters return]
 */
#include "model.h"

#define LIST(X)                                                                              \
	X(WORD, "the condition is a seqcst word", CLEAN, 0, RANDOM(300000))                  \
	X(WORD_BOUND, "the same, every schedule of 5 preemptions", CLEAN, 0, BOUND(5))       \
	X(LOCKED, "the condition is plain, under the lock", CLEAN, 1, BOUND(5))              \
	X(COUNT_LATE, "the waiter looks, then counts itself", FAILS, 0, FULL)                \
	X(COUNT_RELAXED, "the waiter counts itself relaxed", FAILS, 0, FULL)                 \
	X(CONDITION_RELEASE, "the condition is a release store", FAILS, 0, FULL)             \
	X(CONDITION_ACQUIRE, "the condition is loaded acquire", FAILS, 0, FULL)              \
	X(WAITERS_ACQUIRE, "event_waiters is loaded acquire", FAILS, 0, FULL)                \
	X(SIGNAL_FIRST, "signal, then the condition", FAILS, 0, FULL)                        \
	X(NO_EVENT, "event does not move", FAILS, 0, FULL)                                   \
	X(SEEN_LATE, "event is read after the condition", FAILS, 0, FULL)                    \
	X(NO_WAKE, "no wake", FAILS, 0, FULL)                                                \
	X(WAKE_ONE, "one is woken", FAILS, 0, FULL)                                          \
	X(LOCKED_COUNT_LATE, "under the lock: looks, then counts itself", FAILS, 1, FULL)    \
	X(LOCKED_COUNT_RELAXED, "under the lock: counts itself relaxed: the lock orders it", \
	  SPARE, 1, BOUND(5))                                                                \
	X(EVENT_RELAXED, "event moves relaxed and is read relaxed", SPARE, 0, BOUND(5))
MODEL(LIST)

struct event_model : rl::test_suite<event_model, 3> {
	rl::atomic<int> waiters, event, word;
	rl::var<int> plain; /* mm */
	rl::mutex mm;

	void before()
	{
		waiters($).store(0, rl::mo_relaxed);
		event($).store(0, rl::mo_relaxed);
		word($).store(0, rl::mo_relaxed);
		plain($) = 0;
	}

	bool condition()
	{
		bool yes;

		if (shape == 0)
			return word($).load(WEAK(CONDITION_ACQUIRE, mo_seq_cst, mo_acquire));
		mm.lock($);
		yes = plain($);
		mm.unlock($);
		return yes;
	}

	void make_true()
	{
		if (shape == 0) {
			word($).store(1, WEAK(CONDITION_RELEASE, mo_seq_cst, mo_release));
			return;
		}
		mm.lock($);
		plain($) = 1;
		mm.unlock($);
	}

	void wait()
	{
		bool late = M(COUNT_LATE) || M(LOCKED_COUNT_LATE);
		bool relaxed = M(COUNT_RELAXED) || M(LOCKED_COUNT_RELAXED);
		bool done = late && condition();

		waiters($).fetch_add(1, relaxed ? rl::mo_relaxed : rl::mo_seq_cst);
		while (!done) {
			int seen = event($).load(WEAK(EVENT_RELAXED, mo_seq_cst, mo_relaxed));

			if (!late && condition())
				break;
			if (M(SEEN_LATE))
				seen = event($).load(rl::mo_seq_cst);
			futex_wait(event, seen);
			done = late && condition();
		}
		waiters($).fetch_add(-1, rl::mo_seq_cst);
	}

	void signal()
	{
		if (!waiters($).load(WEAK(WAITERS_ACQUIRE, mo_seq_cst, mo_acquire)))
			return;
		if (!M(NO_EVENT))
			event($).fetch_add(1, WEAK(EVENT_RELAXED, mo_seq_cst, mo_relaxed));
		if (!M(NO_WAKE))
			futex_wake(event, M(WAKE_ONE) ? 1 : 3);
	}

	void thread(unsigned t)
	{
		if (t != 0) {
			wait();
			return;
		}
		if (M(SIGNAL_FIRST))
			signal();
		make_true();
		if (!M(SIGNAL_FIRST))
			signal();
	}
};
MODEL_MAIN(event_model)
