// SPDX-License-Identifier: MIT
/*
 * publish.cpp - something is filled, then made known; taken, used and given back.
 *
 * Covers, each "Pairs with the release (acquire) in": the instance (src/instance.c); hooks'
 * foreign handlers (patch.c, change.c, brk.c) and followers (open.c, change.c, hooks.h); the
 * anchor (source.c); a thread's `started` (userfaultfd/source.c); a leaf of the summary
 * (summary.c). Shape 1: fork's spare brackets (hooks/fork.c), removals
 * (userfaultfd/removal.c): a place that is taken by one at a time.
 *
 *	fill			load	[acquire]	take	[CAS acquire]
 *	known = it [release]	  there: use it		use it
 *							free	[release]
 */
#include "model.h"

#define LIST(X)                                                   \
	X(KNOWN, "filled, then known", CLEAN, 0, FULL)            \
	X(PLACE, "taken, used, given back", CLEAN, 1, FULL)       \
	X(STORE_RELAXED, "made known relaxed", FAILS, 0, FULL)    \
	X(LOAD_RELAXED, "looked for relaxed", FAILS, 0, FULL)     \
	X(KNOWN_FIRST, "made known, then filled", FAILS, 0, FULL) \
	X(TAKE_RELAXED, "taken relaxed", FAILS, 1, FULL)          \
	X(GIVE_RELAXED, "given back relaxed", FAILS, 1, FULL)     \
	X(TAKE_STORE, "taken by a load and a store", FAILS, 1, FULL)
MODEL(LIST)

struct publish_model : rl::test_suite<publish_model, 2> {
	rl::atomic<int> known, taken;
	rl::var<int> it;

	void before()
	{
		known($).store(0, rl::mo_relaxed);
		taken($).store(0, rl::mo_relaxed);
		it($) = 0;
	}

	void publish()
	{
		if (!M(KNOWN_FIRST))
			it($) = 1;
		known($).store(1, WEAK(STORE_RELAXED, mo_release, mo_relaxed));
		if (M(KNOWN_FIRST))
			it($) = 1;
	}

	void look()
	{
		if (known($).load(WEAK(LOAD_RELAXED, mo_acquire, mo_relaxed)))
			RL_ASSERT((int)it($) == 1);
	}

	bool take()
	{
		int none = 0;

		if (!M(TAKE_STORE))
			return taken($).compare_exchange_strong(
				none, 1, WEAK(TAKE_RELAXED, mo_acquire, mo_relaxed),
				rl::mo_relaxed);
		if (taken($).load(rl::mo_acquire))
			return false;
		taken($).store(1, rl::mo_release);
		return true;
	}

	void use_place()
	{
		if (!take())
			return;
		it($) = it($) + 1;
		taken($).store(0, WEAK(GIVE_RELAXED, mo_release, mo_relaxed));
	}

	void thread(unsigned t)
	{
		if (shape == 1)
			use_place();
		else if (t == 0)
			publish();
		else
			look();
	}
};
MODEL_MAIN(publish_model)
