// SPDX-License-Identifier: MIT
/*
 * access.cpp - a checked access: before, and again at completion (G1).
 *
 * Covers: hmmu_access_ok() and moved() in src/notifier/read.c, without the driver lock.
 *
 *	device					invalidator
 *	begun as installed? go			begun + 1	[release]
 *	read through the shadow			callback, under the driver lock
 *	begun as installed?	[after loads]	the pages change hands	[release]
 *	  no: discard			[Required: what is kept was not read from
 *					 the new owner's page]
 *
 * A load-acquire of begun does not keep earlier loads before it (NO_FENCE): hmmu_access_ok()
 * loads it behind an acquire fence. An access that is an acquire itself, a completion queue's,
 * does not need the fence (ACQUIRE_ACCESS).
 */
#include "model.h"

#define LIST(X)                                                                      \
	X(ACCESS, "a relaxed access, a fence before the check", CLEAN, 0, FULL)      \
	X(NO_CHECK, "no check at completion", FAILS, 0, FULL)                        \
	X(CHECK_BEFORE, "the second check comes before the access", FAILS, 0, FULL)  \
	X(CHANGE_FIRST, "the pages change hands before begun moves", FAILS, 0, FULL) \
	X(CHANGE_RELAXED, "nothing orders the change behind begun", FAILS, 0, FULL)  \
	X(NO_FENCE, "no fence before the check", FAILS, 0, FULL)                     \
	X(ACQUIRE_ACCESS, "no fence, the access is an acquire", SPARE, 0, FULL)      \
	X(CHECK_RELAXED, "the check loads begun relaxed", SPARE, 0, FULL)
MODEL(LIST)

struct access_model : rl::test_suite<access_model, 2> {
	rl::atomic<int> begun, page; /* 1: ours, 2: its new owner's */
	rl::mutex driver;

	void before()
	{
		begun($).store(0, rl::mo_relaxed);
		page($).store(1, rl::mo_relaxed);
	}

	void change()
	{
		page($).store(2, WEAK(CHANGE_RELAXED, mo_release, mo_relaxed));
	}

	void invalidate()
	{
		if (M(CHANGE_FIRST))
			change();
		begun($).store(1, rl::mo_release);
		if (!M(CHANGE_RELAXED)) {
			driver.lock($);
			driver.unlock($);
		}
		if (!M(CHANGE_FIRST))
			change();
	}

	bool ok()
	{
		return begun($).load(WEAK(CHECK_RELAXED, mo_acquire, mo_relaxed)) == 0;
	}

	void access()
	{
		bool keep;
		int v;

		if (!ok() || (M(CHECK_BEFORE) && !ok()))
			return;
		v = page($).load(WEAK(ACQUIRE_ACCESS, mo_relaxed, mo_acquire));
		if (!M(NO_FENCE) && !M(ACQUIRE_ACCESS))
			rl::atomic_thread_fence(rl::mo_acquire, $);
		keep = M(NO_CHECK) || M(CHECK_BEFORE) || ok();
		RL_ASSERT(!keep || v == 1);
	}

	void thread(unsigned t)
	{
		if (t == 0)
			invalidate();
		else
			access();
	}
};
MODEL_MAIN(access_model)
