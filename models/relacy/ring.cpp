// SPDX-License-Identifier: MIT
/*
 * ring.cpp - events from the reader of the net to its dispatcher, and those for which there
 * was no room.
 *
 * Covers: push(), spill_one(), spill() in src/source/userfaultfd/monitor.c; take(), run(),
 * dispatch_spilled() in dispatch.c. The ring has one place, the mm one.
 *
 *	reader				dispatcher
 *	epoch + MARK	[seqcst]	load spilled	[seqcst]
 *	load tail	[acquire]	load head	[acquire]
 *	  room: fill, head [release]	  take, tail	[release]; tell; epoch + CLEAR
 *	  none: place taken? [CAS]	place taken?	[seqcst]
 *	    yes: epoch + CLEAR		  free it	[seqcst]; tell; epoch + CLEAR
 *	    no: take it	[seqcst]	all up to `spilled` is told
 *	    spilled = number [seqcst]
 *		[Required: nothing races; what is said to be told was told; no mark stays]
 */
#include "model.h"

#define LIST(X)                                                                               \
	X(THREE, "three events", CLEAN, 0, BOUND(4))                                          \
	X(THREE_RANDOM, "the same", CLEAN, 0, RANDOM(200000))                                 \
	X(HEAD_RELAXED, "head is stored relaxed", FAILS, 0, FULL)                             \
	X(HEAD_LOAD_RELAXED, "head is loaded relaxed", FAILS, 0, FULL)                        \
	X(TAIL_RELAXED, "tail is stored relaxed", FAILS, 0, RANDOM(300000))                   \
	X(TAIL_LOAD_RELAXED, "tail is loaded relaxed", FAILS, 0, RANDOM(300000))              \
	X(SPILLED_FIRST, "spilled is stored before the place is taken", FAILS, 0,             \
	  RANDOM(300000))                                                                     \
	X(SPILLED_LATE, "spilled is loaded after the place was looked at", FAILS, 0,          \
	  RANDOM(300000))                                                                     \
	X(PLACE_LOAD, "taken already? is a seqcst load, not a CAS", SPARE, 0, BOUND(4))       \
	X(FREE_LATE, "the place is freed after everybody was told", FAILS, 0, RANDOM(300000)) \
	X(KEEP_MARK, "a place that is taken: the mark stays", FAILS, 0, RANDOM(300000))
MODEL(LIST)

struct ring_model : rl::test_suite<ring_model, 2> {
	enum { EVENTS = 3 };
	rl::atomic<int> head, tail, spill, spilled, epoch, over;
	rl::var<int> slot;
	int told;   /* ghost: a bit per event */
	int spills; /* ghost: those in the place, not yet told of */

	void before()
	{
		head($).store(0, rl::mo_relaxed);
		tail($).store(0, rl::mo_relaxed);
		spill($).store(0, rl::mo_relaxed);
		spilled($).store(0, rl::mo_relaxed);
		epoch($).store(0, rl::mo_relaxed);
		over($).store(0, rl::mo_relaxed);
		slot($) = 0;
		told = spills = 0;
	}

	bool take_place(int n)
	{
		int one = 1;

		spills |= 1 << n;
		if (M(PLACE_LOAD) ? spill($).load(rl::mo_seq_cst) == 1
				  : spill($).compare_exchange_strong(one, 1, rl::mo_seq_cst,
								     rl::mo_seq_cst)) {
			if (M(PLACE_LOAD))
				rl::ctx().sched();
			if (!M(KEEP_MARK))
				epoch($).fetch_add(-1, rl::mo_seq_cst);
			return false;
		}
		spill($).store(1, rl::mo_seq_cst);
		return true;
	}

	void push(int n)
	{
		int h = head($).load(rl::mo_relaxed);

		epoch($).fetch_add(1, rl::mo_seq_cst);
		if (h - tail($).load(WEAK(TAIL_LOAD_RELAXED, mo_acquire, mo_relaxed)) < 1) {
			slot($) = n;
			head($).store(h + 1, WEAK(HEAD_RELAXED, mo_release, mo_relaxed));
			return;
		}
		if (M(SPILLED_FIRST))
			spilled($).store(n, rl::mo_seq_cst);
		take_place(n);
		if (!M(SPILLED_FIRST))
			spilled($).store(n, rl::mo_seq_cst);
	}

	void tell(int what)
	{
		told |= what;
		epoch($).fetch_add(-1, rl::mo_seq_cst);
	}

	void tell_spilled()
	{
		int what;

		if (!spill($).load(rl::mo_seq_cst))
			return;
		if (M(FREE_LATE)) {
			what = spills;
			spills &= ~what;
			tell(what);
			spill($).store(0, rl::mo_seq_cst);
			return;
		}
		spill($).store(0, rl::mo_seq_cst);
		what = spills;
		spills &= ~what;
		tell(what);
	}

	void run()
	{
		int upto = spilled($).load(rl::mo_seq_cst), t = tail($).load(rl::mo_relaxed);

		while (t != head($).load(WEAK(HEAD_LOAD_RELAXED, mo_acquire, mo_relaxed))) {
			int n = slot($);

			t++;
			tail($).store(t, WEAK(TAIL_RELAXED, mo_release, mo_relaxed));
			tell(1 << n);
		}
		tell_spilled();
		if (M(SPILLED_LATE))
			upto = spilled($).load(rl::mo_seq_cst);
		/* spill_done: that one, and what it shared its place with. */
		RL_ASSERT(!upto || (told & 1 << upto));
	}

	void thread(unsigned t)
	{
		rl::linear_backoff wait;

		if (t == 0) {
			for (int n = 1; n <= EVENTS; n++)
				push(n);
			over($).store(1, rl::mo_seq_cst);
			return;
		}
		while (!over($).load(rl::mo_seq_cst)) {
			run();
			wait.yield($);
		}
		run();
		RL_ASSERT(told == (2 << EVENTS) - 2);
		RL_ASSERT(epoch($).load(rl::mo_seq_cst) == 0);
	}
};
MODEL_MAIN(ring_model)
