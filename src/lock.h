/* SPDX-License-Identifier: MIT */
/*
 * lock.h - the one kind of lock hmmu has: short, unfair, futex-based.
 *
 * States (word): FREE nobody; HELD nobody sleeps; CONTENDED somebody may sleep.
 * mm->lock's holder executes a bounded number of instructions: no system call but
 * insert's membarrier (slot.c), no allocation, no callback, no wait. That is why a non-blocking
 * start may spin for it (hmmu_lock_spin) and still keep G4.
 *
 * A signal handler may interrupt the holder and change memory, so the thread
 * says in thread-local storage which mm's lock it holds (tls.h); start looks
 * there first.
 */
#ifndef HMMU_LOCK_H
#define HMMU_LOCK_H

#include <stdint.h>

enum hmmu_lock_state {
	HMMU_LOCK_FREE = 0,
	HMMU_LOCK_HELD = 1,
	HMMU_LOCK_CONTENDED = 2, /* what the futex compares */
};

struct hmmu_lock {
	uint32_t word; /* enum hmmu_lock_state; zero is a free lock */
};

void hmmu_lock(struct hmmu_lock *lock);	     /* may sleep */
void hmmu_lock_spin(struct hmmu_lock *lock); /* never sleeps */
void hmmu_unlock(struct hmmu_lock *lock);

#endif /* HMMU_LOCK_H */
