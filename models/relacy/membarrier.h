/* SPDX-License-Identifier: MIT */
/*
 * membarrier.h - membarrier(2) for Relacy, as a request that threads acknowledge.
 *
 * The kernel interrupts each thread of the process that is on a processor, has it run a full
 * barrier, and returns when all have; who is on none has passed one. So there is one point
 * in each thread's program, nobody knows which: what the caller did before the call is before
 * what that thread does behind its point, and what the thread did before it is before what
 * the caller does after the call.
 *
 *	thread, before each access		membarrier
 *	asked?					fence; asked = n
 *	  fence; answered = n			until all answered: sleep
 *						fence
 *
 * The schedule chooses the point, so every one is tried; a thread's end is its last.
 *
 * SOUND, for nothing here is more than the kernel gives: the fences are acq_rel, not full;
 * they order the caller with each thread and no thread with another; and the handshake around
 * them is the kernel's own, an interrupt that is sent and acknowledged. What is clean with
 * this is clean with the real one. (rl_global_fence(), in dekker.cpp, orders everybody with
 * everybody at one moment: right for two threads only.)
 */
#ifndef HMMU_MODEL_MEMBARRIER_H
#define HMMU_MODEL_MEMBARRIER_H

#include "model.h"

template <unsigned N> struct interrupts {
	enum { AWAY = 1000 };
	rl::atomic<int> asked, answered[N];
	int last, served[N]; /* requests; that a thread knows of */

	void reset()
	{
		asked($).store(0, rl::mo_relaxed);
		for (unsigned t = 0; t < N; t++) {
			answered[t]($).store(0, rl::mo_relaxed);
			served[t] = 0;
		}
		last = 0;
	}

	void answer(unsigned t, int n)
	{
		rl::atomic_thread_fence(rl::mo_acq_rel, $);
		answered[t]($).store(n, rl::mo_relaxed);
		futex_wake(answered[t], 1);
		served[t] = n;
	}

	/* Thread @t is interrupted here, if anywhere. That it looks only if there is a request
	 * saves schedules: it is not ordered by looking. */
	void point(unsigned t)
	{
		int n;

		if (last == served[t])
			return;
		n = asked($).load(rl::mo_relaxed);
		if (n != served[t])
			answer(t, n);
	}

	/* Nothing comes after: whatever is asked for later. */
	void leave(unsigned t)
	{
		answer(t, AWAY);
	}

	/* Without answering others': one caller at a time, and who calls never leaves. */
	void membarrier(unsigned me)
	{
		int n = ++last, seen;

		served[me] = n;
		rl::atomic_thread_fence(rl::mo_acq_rel, $);
		asked($).store(n, rl::mo_relaxed);
		for (unsigned t = 0; t < N; t++) {
			/* An RMW reads the newest: nobody spins on an old one. */
			while (t != me &&
			       (seen = answered[t]($).fetch_add(0, rl::mo_relaxed)) < n)
				futex_wait(answered[t], seen);
		}
		rl::atomic_thread_fence(rl::mo_acq_rel, $);
	}
};

#endif
