/* SPDX-License-Identifier: MIT */
/*
 * futex.h - sleeping on a 32-bit word of this process.
 *
 * hmmu_futex_wait() returns when woken, when *word != value, when a signal came,
 * or at the deadline: callers re-check in a loop. A wake may hit memory that has
 * been freed since: the kernel uses the address only as a key, and every user of
 * futexes tolerates a spurious wake-up.
 */
#ifndef HMMU_FUTEX_H
#define HMMU_FUTEX_H

#include <linux/futex.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "arch/syscall.h"

#ifdef HMMU_SCHED
long hmmu_sched_futex_wait(uint32_t *word, uint32_t value, const struct timespec *deadline);
void hmmu_sched_futex_wake(uint32_t *word, int n);
#endif

/* 0, -EAGAIN, -EINTR, -ETIMEDOUT; @deadline is absolute CLOCK_MONOTONIC or NULL.
 * models/spin/lock.pml FX1 FX2 */
static inline long hmmu_futex_wait(uint32_t *word, uint32_t value,
				   const struct timespec *deadline)
{
#ifdef HMMU_SCHED
	return hmmu_sched_futex_wait(word, value, deadline);
#else
	/* WAIT_BITSET takes an absolute time, WAIT a relative one. */
	return hmmu_syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, value,
			    deadline, NULL, FUTEX_BITSET_MATCH_ANY);
#endif
}

static inline void hmmu_futex_wake(uint32_t *word, int n)
{
#ifdef HMMU_SCHED
	hmmu_sched_futex_wake(word, n);
#else
	hmmu_syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, n);
#endif
}

#endif /* HMMU_FUTEX_H */
