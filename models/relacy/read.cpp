// SPDX-License-Identifier: MIT
/*
 * read.cpp - the reader's loop against invalidations: G1's three meetings, G5, G4's wake.
 *
 * Covers: try_begin(), wait_end(), moved() in src/notifier/read.c; count(), end_next()
 * and the order start - callback - change - end in src/notifier/invalidate.c.
 *
 *	reader					invalidator
 *	load ended	[acquire]		lock mm: begun + 1	[release]
 *	load begun	[acquire]		callback, under the driver lock: drop
 *	  differ: lock mm, waiters++,		the truth changes
 *	  sleep on ended			lock mm: ended + 1	[release]
 *	read the truth				  waiters: wake
 *	lock driver
 *	load begun: moved -> again
 *	install; unlock driver	[Required: what is installed is the truth,
 *				 and no change begins before it was dropped]
 *
 * Shape 0: one invalidation. Shape 1: two that overlap in time and do not nest, in one
 * thread: the counts then say "as many as", which must mean "the same ones".
 */
#include "model.h"

#define LIST(X)                                                                              \
	X(ONE, "one invalidation", CLEAN, 0, BOUND(8))                                       \
	X(TWO, "two that overlap in time", CLEAN, 1, RANDOM(300000))                         \
	X(BEGIN_RELAXED, "read_begin loads ended relaxed (G5)", FAILS, 0, FULL)              \
	X(END_RELAXED, "end stores ended relaxed (G5)", FAILS, 0, FULL)                      \
	X(SWAPPED, "begun is loaded before ended: equal, but not the same ones", FAILS, 1,   \
	  RANDOM(300000))                                                                    \
	X(NO_RETRY, "no retry (meeting 1)", FAILS, 0, FULL)                                  \
	X(NO_WAIT, "no wait for what is open (meeting 3)", FAILS, 0, FULL)                   \
	X(START_ONLY, "end does not count (HMM's old bug)", FAILS, 0, FULL)                  \
	X(RETRY_UNLOCKED, "retry is asked before the driver lock", FAILS, 0, FULL)           \
	X(NO_CALLBACK, "no callback (meeting 2)", FAILS, 0, FULL)                            \
	X(CALLBACK_UNLOCKED, "the callback takes no driver lock", FAILS, 0, FULL)            \
	X(CALLBACK_FIRST, "begun moves after the callback", FAILS, 0, FULL)                  \
	X(CHANGE_FIRST, "the truth changes before the callback", FAILS, 0, FULL)             \
	X(END_FIRST, "end before the change", FAILS, 0, FULL)                                \
	X(NO_WAKE, "end does not wake (G4)", FAILS, 0, FULL)                                 \
	X(NOT_COUNTED, "a reader sleeps without counting itself (G4)", FAILS, 0, FULL)       \
	X(WAKE_UNLOCKED, "end looks for waiters before its lock (G4)", FAILS, 0, FULL)       \
	X(BEGUN_RELAXED, "begun is stored relaxed", SPARE, 0, BOUND(7))                      \
	X(LOAD_BEGUN_RELAXED, "begun is loaded relaxed by read_begin and read_retry", SPARE, \
	  0, BOUND(7))                                                                       \
	X(BOTH_BEGUN_RELAXED, "the same with two", SPARE, 1, RANDOM(300000))
MODEL(LIST)

struct read_model : rl::test_suite<read_model, 2> {
	rl::atomic<int> begun, ended; /* ended is the futex too */
	rl::atomic<int> truth;
	rl::var<int> waiters; /* mm */
	rl::var<int> shadow;  /* driver; 0 nothing */
	rl::mutex mm, driver;

	/* Ghosts: plain, outside the memory model. */
	int now, held, nbegun, nended;
	int begun_set[3], ended_set[3]; /* who made up the first n */

	void before()
	{
		begun($).store(0, rl::mo_relaxed);
		ended($).store(0, rl::mo_relaxed);
		truth($).store(1, rl::mo_relaxed);
		waiters($) = 0;
		shadow($) = 0;
		now = 1;
		held = nbegun = nended = 0;
		begun_set[0] = ended_set[0] = 0;
	}

	void count_begun(int who)
	{
		int n;

		mm.lock($);
		n = begun($).load(rl::mo_relaxed) + 1;
		nbegun++;
		begun_set[nbegun] = begun_set[nbegun - 1] | who;
		if (M(START_ONLY))
			count_ended(who);
		begun($).store(n, M(BEGUN_RELAXED) || M(BOTH_BEGUN_RELAXED) ? rl::mo_relaxed
									    : rl::mo_release);
		mm.unlock($);
	}

	void callback()
	{
		if (M(NO_CALLBACK))
			return;
		if (!M(CALLBACK_UNLOCKED))
			driver.lock($);
		shadow($) = 0;
		held = 0;
		if (!M(CALLBACK_UNLOCKED))
			driver.unlock($);
	}

	void start(int who)
	{
		if (M(CALLBACK_FIRST))
			callback();
		count_begun(who);
		if (!M(CALLBACK_FIRST))
			callback();
	}

	void change()
	{
		/* G1: nothing that is about to become wrong is held. */
		RL_ASSERT(held == 0);
		now++;
		truth($).store(now, rl::mo_relaxed);
	}

	void count_ended(int who)
	{
		nended++;
		ended_set[nended] = ended_set[nended - 1] | who;
		ended($).store(ended($).load(rl::mo_relaxed) + 1,
			       WEAK(END_RELAXED, mo_release, mo_relaxed));
	}

	void end(int who)
	{
		bool wake = M(WAKE_UNLOCKED) && waiters($) > 0;

		if (M(START_ONLY))
			return;
		mm.lock($);
		count_ended(who);
		if (!M(WAKE_UNLOCKED))
			wake = waiters($) > 0;
		mm.unlock($);
		if (wake && !M(NO_WAKE))
			futex_wake(ended, 2);
	}

	void invalidate_one()
	{
		if (M(CHANGE_FIRST))
			change();
		start(1);
		if (M(END_FIRST))
			end(1);
		if (!M(CHANGE_FIRST))
			change();
		if (!M(END_FIRST))
			end(1);
	}

	void invalidate_two()
	{
		start(1);
		change();
		start(2);
		change();
		end(2);
		change();
		end(1);
	}

	bool try_begin(int *seq)
	{
		rl::memory_order weak = M(LOAD_BEGUN_RELAXED) || M(BOTH_BEGUN_RELAXED)
						? rl::mo_relaxed
						: rl::mo_acquire;
		int e, b;

		if (M(SWAPPED)) {
			b = begun($).load(weak);
			e = ended($).load(rl::mo_acquire);
		} else {
			e = ended($).load(WEAK(BEGIN_RELAXED, mo_acquire, mo_relaxed));
			b = begun($).load(weak);
		}
		*seq = b;
		if (M(NO_WAIT))
			return true;
		/* Equal: those that began are those that ended. */
		RL_ASSERT(e != b || begun_set[b] == ended_set[e]);
		return e == b;
	}

	void wait_end()
	{
		int e;
		bool open;

		mm.lock($);
		e = ended($).load(rl::mo_relaxed);
		open = e != begun($).load(rl::mo_relaxed);
		if (open && !M(NOT_COUNTED))
			waiters($) = waiters($) + 1;
		mm.unlock($);
		if (!open)
			return;
		futex_wait(ended, e);
		mm.lock($);
		if (!M(NOT_COUNTED))
			waiters($) = waiters($) - 1;
		mm.unlock($);
	}

	bool moved(int seq)
	{
		return begun($).load(M(LOAD_BEGUN_RELAXED) || M(BOTH_BEGUN_RELAXED)
					     ? rl::mo_relaxed
					     : rl::mo_acquire) != seq;
	}

	bool read_once()
	{
		bool again = false;
		int seq, v;

		while (!try_begin(&seq))
			wait_end();
		v = truth($).load(rl::mo_relaxed);
		if (M(RETRY_UNLOCKED))
			again = moved(seq);
		driver.lock($);
		if (!M(RETRY_UNLOCKED) && !M(NO_RETRY))
			again = moved(seq);
		if (!again) {
			/* G1: what is installed is the truth. */
			RL_ASSERT(v == now);
			shadow($) = v;
			held = v;
		}
		driver.unlock($);
		return !again;
	}

	void thread(unsigned t)
	{
		if (t == 0) {
			if (shape == 0)
				invalidate_one();
			else
				invalidate_two();
			return;
		}
		while (!read_once())
			;
	}

	void after()
	{
		int s = shadow($);

		RL_ASSERT(s == 0 || s == now);
		RL_ASSERT(nbegun == nended);
	}
};
MODEL_MAIN(read_model)
