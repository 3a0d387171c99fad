// SPDX-License-Identifier: MIT
/*
 * extents.cpp - a sorted array that is read while it is written: a version (a seqlock).
 *
 * Covers: src/source/userfaultfd/extent.c; the fields of a note and its generation in mute.c
 * are read in the same way.
 *
 *	writer, with a lock		reader
 *	version + 1	[seqcst RMW]	load version	[seqcst]
 *	fields		[release]	  odd: yes
 *	version + 1	[seqcst RMW]	fields		[relaxed]
 *					load version	[after the loads]
 *				[Required: what is believed was there at one moment]
 */
#include "model.h"

#define LIST(X)                                                                             \
	X(ONE, "one write", CLEAN, 0, FULL)                                                 \
	X(TWO, "two writes", CLEAN, 1, BOUND(6))                                            \
	X(NO_CHECK, "the version is not looked at again", FAILS, 0, FULL)                   \
	X(ODD_BELIEVED, "an odd version is believed", FAILS, 0, FULL)                       \
	X(NO_FENCE, "nothing keeps the check behind the loads", FAILS, 0, FULL)             \
	X(FIELDS_RELAXED, "the fields are stored relaxed", FAILS, 0, FULL)                  \
	X(NO_BEGIN, "the version moves at the end only", FAILS, 0, FULL)                    \
	X(BEGIN_LATE, "the version moves when the first field was written", FAILS, 0, FULL) \
	X(END_RELAXED, "it moves relaxed at the end", FAILS, 0, FULL)                       \
	X(BEGIN_RELAXED, "it moves relaxed at the begin", SPARE, 0, FULL)
MODEL(LIST)

struct extents_model : rl::test_suite<extents_model, 2> {
	rl::atomic<int> version, start, end; /* as one: end is start + 10 */

	void before()
	{
		version($).store(0, rl::mo_relaxed);
		start($).store(0, rl::mo_relaxed);
		end($).store(10, rl::mo_relaxed);
	}

	void write(int at)
	{
		rl::memory_order mo = WEAK(FIELDS_RELAXED, mo_release, mo_relaxed);

		if (!M(NO_BEGIN) && !M(BEGIN_LATE))
			version($).fetch_add(1, WEAK(BEGIN_RELAXED, mo_seq_cst, mo_relaxed));
		start($).store(at, mo);
		if (M(BEGIN_LATE))
			version($).fetch_add(1, rl::mo_seq_cst);
		end($).store(at + 10, mo);
		version($).fetch_add(M(NO_BEGIN) ? 2 : 1,
				     WEAK(END_RELAXED, mo_seq_cst, mo_relaxed));
	}

	void read()
	{
		int v = version($).load(rl::mo_seq_cst), s, e;

		if ((v & 1) && !M(ODD_BELIEVED))
			return;
		s = start($).load(rl::mo_relaxed);
		e = end($).load(rl::mo_relaxed);
		if (!M(NO_FENCE))
			rl::atomic_thread_fence(rl::mo_acquire, $);
		if (!M(NO_CHECK) && version($).load(rl::mo_acquire) != v)
			return;
		RL_ASSERT(e == s + 10);
	}

	void thread(unsigned t)
	{
		if (t == 1) {
			read();
			return;
		}
		write(100);
		if (shape == 1)
			write(200);
	}
};
MODEL_MAIN(extents_model)
