// SPDX-License-Identifier: MIT
/*
 * attach.cpp - an mm that begins to watch does not miss a change in flight (G2 across
 * mms), and after it has stopped none is open in it.
 *
 * Covers: src/source/source.c. The anchor is one slot here; of its claim dekker.cpp shows
 * more. `crowd`, which counts changes for which the anchor has no slot, is used with the
 * same orders: it may stand for the word called anchor.
 *
 *	change (hook)				attach (detach)
 *	slot of the anchor: BUSY [seqcst RMW]	place = mm (none)	[seqcst]
 *	load nwatched, places	[seqcst]	nwatched		[seqcst]
 *	  found: open in mm			slot of the anchor	[seqcst]
 *	the truth changes			  not FREE: wait until it is
 *	close mm's, then the anchor's
 *			[Required: the change is open in mm, or attach waits for it]
 *
 * Shape 0: attach, then a reader's loop on the mm. Shape 1: detach: afterwards the mm is
 * another's (a plain variable that only the change's pair and its new owner touch).
 */
#include "model.h"

#define LIST(X)                                                                           \
	X(ATTACH, "attach and one change", CLEAN, 0, FULL)                                \
	X(DETACH, "detach and one change", CLEAN, 1, FULL)                                \
	X(PLACE_FIRST, "the change looks for places, then opens in the anchor", FAILS, 0, \
	  FULL)                                                                           \
	X(NO_ANCHOR, "the change is not open in the anchor", FAILS, 0, FULL)              \
	X(OPEN_ACQ_REL, "it is opened by an acq_rel RMW", FAILS, 0, FULL)                 \
	X(OPEN_STORE, "it is opened by a release store", FAILS, 0, FULL)                  \
	X(LOAD_ACQUIRE, "the place is loaded acquire", FAILS, 1, FULL)                    \
	X(NWATCHED_ACQUIRE, "nwatched is loaded acquire", FAILS, 0, FULL)                 \
	X(STORE_RELEASE, "the place is a release store", FAILS, 1, FULL)                  \
	X(NWATCHED_RELEASE, "nwatched is a release store", FAILS, 0, FULL)                \
	X(ANCHOR_ACQUIRE, "attach loads the anchor's slot acquire", FAILS, 0, FULL)       \
	X(WAIT_FIRST, "attach waits, then takes its place", FAILS, 0, FULL)               \
	X(NO_WAIT, "attach does not wait", FAILS, 0, FULL)                                \
	X(DETACH_NO_WAIT, "detach does not wait", FAILS, 1, FULL)                         \
	X(ANCHOR_ENDS_FIRST, "the anchor's end comes before mm's", FAILS, 1, FULL)        \
	X(END_RELAXED, "the anchor's end is relaxed (G5)", FAILS, 0, FULL)
MODEL(LIST)

struct attach_model : rl::test_suite<attach_model, 2> {
	rl::atomic<int> anchor; /* open in it */
	rl::atomic<int> nwatched, place;
	driver_side sub; /* of mm */
	rl::var<int> mm; /* shape 1: its memory */

	void before()
	{
		anchor($).store(0, rl::mo_relaxed);
		nwatched($).store(shape, rl::mo_relaxed);
		place($).store(shape, rl::mo_relaxed);
		sub.reset();
		mm($) = 0;
	}

	void open_anchor()
	{
		if (M(NO_ANCHOR))
			return;
		if (M(OPEN_STORE))
			anchor($).store(1, rl::mo_release);
		else
			anchor($).exchange(1, WEAK(OPEN_ACQ_REL, mo_seq_cst, mo_acq_rel));
	}

	void close_anchor()
	{
		anchor($).store(0, WEAK(END_RELAXED, mo_release, mo_relaxed));
	}

	bool find()
	{
		if (!nwatched($).load(WEAK(NWATCHED_ACQUIRE, mo_seq_cst, mo_acquire)))
			return false;
		return place($).load(WEAK(LOAD_ACQUIRE, mo_seq_cst, mo_acquire));
	}

	void open_mm()
	{
		sub.count(sub.begun);
		if (shape == 1)
			mm($) = 1;
		sub.drop();
	}

	void close_mm()
	{
		if (shape == 1)
			mm($) = 0;
		sub.count(sub.ended);
	}

	void change()
	{
		bool found = M(PLACE_FIRST) && find();

		open_anchor();
		if (!M(PLACE_FIRST))
			found = find();
		if (found)
			open_mm();
		sub.change();
		if (M(ANCHOR_ENDS_FIRST))
			close_anchor();
		if (found)
			close_mm();
		if (!M(ANCHOR_ENDS_FIRST))
			close_anchor();
	}

	void wait_open()
	{
		rl::linear_backoff b;

		if (M(NO_WAIT) || M(DETACH_NO_WAIT))
			return;
		while (anchor($).load(WEAK(ANCHOR_ACQUIRE, mo_seq_cst, mo_acquire)))
			b.yield($);
	}

	void attach()
	{
		if (M(WAIT_FIRST))
			wait_open();
		place($).store(1, WEAK(STORE_RELEASE, mo_seq_cst, mo_release));
		nwatched($).store(1, WEAK(NWATCHED_RELEASE, mo_seq_cst, mo_release));
		if (!M(WAIT_FIRST))
			wait_open();
	}

	void detach()
	{
		place($).store(0, WEAK(STORE_RELEASE, mo_seq_cst, mo_release));
		wait_open();
		mm($) = 2; /* another's */
	}

	void thread(unsigned t)
	{
		if (t == 0) {
			change();
		} else if (shape == 0) {
			attach();
			sub.read();
		} else {
			detach();
		}
	}
};
MODEL_MAIN(attach_model)
