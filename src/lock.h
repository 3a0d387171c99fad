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

#include <stdbool.h>
#include <stdint.h>

#include "atomic.h"
#include "lockdep.h"

enum hmmu_lock_state {
	HMMU_LOCK_FREE = 0,
	HMMU_LOCK_HELD = 1,
	HMMU_LOCK_CONTENDED = 2, /* what the futex compares */
};

struct hmmu_lock {
	uint32_t word; /* enum hmmu_lock_state; zero is a free lock */
};

/* lock.c: somebody else has it; somebody may sleep. */
void hmmu_lock_wait(struct hmmu_lock *lock);
void hmmu_lock_yield(struct hmmu_lock *lock);
void hmmu_lock_wake(struct hmmu_lock *lock);

static inline bool hmmu_trylock(struct hmmu_lock *lock)
{
	uint32_t free = HMMU_LOCK_FREE;

	/* Acquire pairs with the release in hmmu_unlock(). models/spin/lock.pml LK1 */
	return hmmu_load_relaxed(&lock->word) == HMMU_LOCK_FREE &&
	       hmmu_cas_acquire(&lock->word, &free, HMMU_LOCK_HELD);
}

/* May sleep. */
static inline void hmmu_lock(struct hmmu_lock *lock)
{
	if (__builtin_expect(!hmmu_trylock(lock), 0))
		hmmu_lock_wait(lock);
}

/* Never sleeps. */
static inline void hmmu_lock_spin(struct hmmu_lock *lock)
{
	if (__builtin_expect(!hmmu_trylock(lock), 0))
		hmmu_lock_yield(lock);
}

static inline void hmmu_unlock(struct hmmu_lock *lock)
{
	/* lock.pml LK3 */
	uint32_t was = hmmu_xchg_release(&lock->word, HMMU_LOCK_FREE);

	if (__builtin_expect(was == HMMU_LOCK_CONTENDED, 0))
		hmmu_lock_wake(lock);
}

#ifdef HMMU_DEBUG
/* What the argument is called is the class of the lock (lockdep.h). Before it is waited for:
 * a deadlock is reported, then it is one. */
#define HMMU_LOCK_CHECKED_(take, lock)                                \
	({                                                            \
		static struct hmmu_lock_site site_ = {.text = #lock}; \
		struct hmmu_lock *lock_ = (lock);                     \
                                                                      \
		hmmu_lockdep_acquire_site(&site_, lock_, 0);          \
		(take)(lock_);                                        \
	})
#define hmmu_lock(lock) HMMU_LOCK_CHECKED_(hmmu_lock, lock)
#define hmmu_lock_spin(lock) HMMU_LOCK_CHECKED_(hmmu_lock_spin, lock)
#define hmmu_trylock(lock)                                                          \
	({                                                                          \
		static struct hmmu_lock_site site_ = {.text = #lock};               \
		struct hmmu_lock *lock_ = (lock);                                   \
		bool got_ = (hmmu_trylock)(lock_);                                  \
                                                                                    \
		if (got_)                                                           \
			hmmu_lockdep_acquire_site(&site_, lock_, HMMU_LOCKDEP_TRY); \
		got_;                                                               \
	})
#define hmmu_unlock(lock)                         \
	({                                        \
		struct hmmu_lock *lock_ = (lock); \
                                                  \
		hmmu_lockdep_release(lock_);      \
		(hmmu_unlock)(lock_);             \
	})
#endif

#endif /* HMMU_LOCK_H */
