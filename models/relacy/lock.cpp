// SPDX-License-Identifier: MIT
/*
 * lock.cpp - the mutex: what was written under it is seen under it, and nobody sleeps on.
 *
 * Covers: src/lock.h and lock.c. Wake-ups with more threads, signals and fairness:
 * models/spin/lock.pml.
 *
 *	lock				unlock
 *	load, FREE -> HELD	[CAS acquire]	word = FREE	[xchg release]
 *	word = CONTENDED	[xchg acquire]	  was CONTENDED: wake one
 *	  was not FREE: sleep if CONTENDED
 *				[Required: what is plain under the lock does not race]
 */
#include "model.h"

#define LIST(X)                                                                            \
	X(TWO, "two threads, twice each", CLEAN, 0, BOUND(6))                              \
	X(THREE, "three threads", CLEAN, 1, BOUND(4))                                      \
	X(CAS_RELAXED, "FREE -> HELD is relaxed", FAILS, 0, FULL)                          \
	X(XCHG_RELAXED, "FREE -> CONTENDED is relaxed", FAILS, 0, FULL)                    \
	X(UNLOCK_RELAXED, "the unlock is relaxed", FAILS, 0, FULL)                         \
	X(UNLOCK_STORE, "the unlock is a load and a store: a sleeper is missed", FAILS, 0, \
	  FULL)                                                                            \
	X(NO_WAKE, "no wake", FAILS, 0, FULL)                                              \
	X(STAYS_HELD, "who was woken takes it as HELD: another sleeps on", FAILS, 1,       \
	  RANDOM(300000))
MODEL(LIST)

struct lock_model : rl::test_suite<lock_model, 3> {
	enum { FREE, HELD, CONTENDED };
	rl::atomic<int> word;
	rl::var<int> data;

	void before()
	{
		word($).store(FREE, rl::mo_relaxed);
		data($) = 0;
	}

	bool trylock()
	{
		int free = FREE;

		return word($).load(rl::mo_relaxed) == FREE &&
		       word($).compare_exchange_strong(
			       free, HELD, WEAK(CAS_RELAXED, mo_acquire, mo_relaxed),
			       rl::mo_relaxed);
	}

	void lock()
	{
		if (trylock())
			return;
		while (word($).exchange(M(STAYS_HELD) && slept() ? HELD : CONTENDED,
					WEAK(XCHG_RELAXED, mo_acquire, mo_relaxed)) != FREE)
			futex_wait(word, CONTENDED);
	}

	/* STAYS_HELD: the first time it says CONTENDED. */
	bool slept()
	{
		return word($).load(rl::mo_relaxed) == FREE;
	}

	void unlock()
	{
		int was;

		if (M(UNLOCK_STORE)) {
			was = word($).load(rl::mo_relaxed);
			word($).store(FREE, rl::mo_release);
		} else {
			was = word($).exchange(FREE,
					       WEAK(UNLOCK_RELAXED, mo_release, mo_relaxed));
		}
		if (was == CONTENDED && !M(NO_WAKE))
			futex_wake(word, 1);
	}

	void thread(unsigned t)
	{
		if (t == 2 && shape == 0)
			return;
		for (int i = 0; i < 2 - shape; i++) {
			lock();
			data($) = data($) + 1;
			unlock();
		}
	}

	void after()
	{
		RL_ASSERT((int)data($) == (shape ? 3 : 4));
	}
};
MODEL_MAIN(lock_model)
