// SPDX-License-Identifier: MIT
/* lock.c - see lock.h. The three-state mutex is Drepper's ("Futexes are tricky"). */
#include "lock.h"

#include "atomic.h"
#include "futex.h"

/* A critical section is about 100 ns: spin about ten of them, then sleep. */
#ifdef HMMU_SCHED
#define HMMU_LOCK_SPINS 2 /* each is a step of the schedule */
#else
#define HMMU_LOCK_SPINS 64
#endif

static bool spin_lock(struct hmmu_lock *lock)
{
	for (int i = 0; i < HMMU_LOCK_SPINS; i++) {
		if ((hmmu_trylock)(lock))
			return true;
		hmmu_cpu_relax();
	}
	return false;
}

void hmmu_lock_wait(struct hmmu_lock *lock)
{
	if (spin_lock(lock))
		return;
	/* CONTENDED from here on: unlock wakes one, who stays CONTENDED since
	 * others may sleep still. Pairs with the exchange in hmmu_unlock().
	 * lock.pml LK2 */
	while (hmmu_xchg_acquire(&lock->word, HMMU_LOCK_CONTENDED) != HMMU_LOCK_FREE)
		hmmu_futex_wait(&lock->word, HMMU_LOCK_CONTENDED, NULL);
}

void hmmu_lock_yield(struct hmmu_lock *lock)
{
	while (!spin_lock(lock))
		/* The holder may have been preempted: give it the CPU. The
		 * caller stays runnable. */
		hmmu_syscall(SYS_sched_yield);
}

void hmmu_lock_wake(struct hmmu_lock *lock)
{
	hmmu_futex_wake(&lock->word, 1);
}
