// SPDX-License-Identifier: MIT
/*
 * event.cpp - the event count alone, with two who wait (G4: nobody sleeps for ever).
 *
 * Covers: src/notifier/event.c; wait_decided() in src/notifier/read.c sleeps in the same
 * way; nothing_owed() in src/notifier/whole.c is a condition under the lock (shape 1).
 *
 *	waiter					signaller
 *	event_waiters++		[seqcst RMW]	condition = true	[release]
 *	membarrier				load event_waiters	[acquire]
 *	load event		[seqcst]	  none: done
 *	load condition		[acquire]	event++			[seqcst RMW]
 *	  true: done				wake all
 *	sleep if event is as loaded
 *				[Required: both waiters return]
 *
 * wait_decided(), and who waits where there is no membarrier, need both sides to pay (shape 2):
 * the condition is stored seqcst, event_waiters and the condition are loaded so.
 */
#include "membarrier.h"

#define LIST(X)                                                                                \
	X(WORD, "the condition is a word", CLEAN, 0, RANDOM(300000))                           \
	X(WORD_BOUND, "the same, every schedule of 3 preemptions", CLEAN, 0, BOUND(3))         \
	X(LOCKED, "the condition is plain, under the lock", CLEAN, 1, BOUND(3))                \
	X(PAYS, "no membarrier: both sides pay", CLEAN, 2, BOUND(5))                           \
	X(NO_BARRIER, "the waiter makes no barrier", FAILS, 0, BOUND(4))                       \
	X(BARRIER_FIRST, "the waiter makes it, then counts itself", FAILS, 0, BOUND(4))        \
	X(COUNT_LATE, "the waiter looks, then counts itself", FAILS, 0, BOUND(4))              \
	X(COUNT_RELAXED, "no membarrier, and the waiter counts itself relaxed", FAILS, 2,      \
	  FULL)                                                                                \
	X(CONDITION_RELEASE, "no membarrier, and the condition is a release store", FAILS, 2,  \
	  FULL)                                                                                \
	X(CONDITION_ACQUIRE, "no membarrier, and the condition is loaded acquire", FAILS, 2,   \
	  FULL)                                                                                \
	X(WAITERS_ACQUIRE, "no membarrier, and event_waiters is loaded acquire", FAILS, 2,     \
	  FULL)                                                                                \
	X(SIGNAL_FIRST, "signal, then the condition", FAILS, 0, BOUND(4))                      \
	X(NO_EVENT, "event does not move", FAILS, 0, BOUND(4))                                 \
	X(SEEN_LATE, "event is read after the condition", FAILS, 0, BOUND(4))                  \
	X(NO_WAKE, "no wake", FAILS, 0, BOUND(4))                                              \
	X(WAKE_ONE, "one is woken", FAILS, 2, FULL)                                            \
	X(LOCKED_COUNT_LATE, "under the lock: looks, then counts itself", FAILS, 1, BOUND(4))  \
	X(EVENT_RELAXED, "event moves relaxed and is read relaxed: the condition comes later", \
	  FAILS, 0, BOUND(4))
MODEL(LIST)

struct event_model : rl::test_suite<event_model, 3> {
	rl::atomic<int> waiters, event, word;
	rl::var<int> plain; /* mm */
	rl::mutex mm, one;  /* one: its callers take turns in the kernel, too */
	interrupts<3> irq;

	void before()
	{
		waiters($).store(0, rl::mo_relaxed);
		event($).store(0, rl::mo_relaxed);
		word($).store(0, rl::mo_relaxed);
		plain($) = 0;
		irq.reset();
		irq.answered[1]($).store(irq.AWAY, rl::mo_relaxed);
		irq.answered[2]($).store(irq.AWAY, rl::mo_relaxed);
	}

	/* Of the signaller: here, if anywhere. */
	void interrupted()
	{
		rl::ctx().sched();
		irq.point(0);
	}

	void barrier(unsigned me)
	{
		if (shape == 2 || M(NO_BARRIER))
			return;
		one.lock($);
		irq.membarrier(me);
		one.unlock($);
	}

	bool condition()
	{
		bool yes;

		if (shape == 0)
			return word($).load(rl::mo_acquire);
		if (shape == 2)
			return word($).load(WEAK(CONDITION_ACQUIRE, mo_seq_cst, mo_acquire));
		mm.lock($);
		yes = plain($);
		mm.unlock($);
		return yes;
	}

	void make_true()
	{
		interrupted();
		if (shape == 0) {
			word($).store(1, rl::mo_release);
		} else if (shape == 2) {
			word($).store(1, WEAK(CONDITION_RELEASE, mo_seq_cst, mo_release));
		} else {
			mm.lock($);
			plain($) = 1;
			mm.unlock($);
		}
	}

	void wait(unsigned me)
	{
		bool late = M(COUNT_LATE) || M(LOCKED_COUNT_LATE);
		bool done = late && condition();

		if (M(BARRIER_FIRST))
			barrier(me);
		waiters($).fetch_add(1, WEAK(COUNT_RELAXED, mo_seq_cst, mo_relaxed));
		if (!M(BARRIER_FIRST))
			barrier(me);
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
		bool weak = shape != 2 || M(WAITERS_ACQUIRE);

		interrupted();
		if (!waiters($).load(weak ? rl::mo_acquire : rl::mo_seq_cst))
			return;
		if (!M(NO_EVENT))
			event($).fetch_add(1, WEAK(EVENT_RELAXED, mo_seq_cst, mo_relaxed));
		if (!M(NO_WAKE))
			futex_wake(event, M(WAKE_ONE) ? 1 : 3);
	}

	void thread(unsigned t)
	{
		if (t != 0) {
			wait(t);
			return;
		}
		if (M(SIGNAL_FIRST))
			signal();
		make_true();
		if (!M(SIGNAL_FIRST))
			signal();
		irq.leave(0);
	}
};
MODEL_MAIN(event_model)
