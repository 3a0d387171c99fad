/* SPDX-License-Identifier: MIT */
/*
 * atomic.h - the only file that names memory orders.
 *
 * The order is in the operation's name, so that a reader of the algorithm sees
 * it at the access. Every access carries a comment that names its pair.
 * Dekker pairs (store mine, load yours, on both sides) use the seqcst names on
 * all four accesses: fences would be as good for the machine, but TSan does not
 * understand them.
 *
 * With futex.h and lock.h it is also the only door to scheduling: under
 * HMMU_SCHED (the test build) every access is a preemption point of a seeded
 * scheduler (tests/sched/), and waiting goes through it.
 */
#ifndef HMMU_ATOMIC_H
#define HMMU_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

#ifdef HMMU_SCHED
/* Any other thread may run before this access. */
void hmmu_sched_point(void);
/* This thread can do nothing useful until another one has run. */
void hmmu_sched_relax(void);
#else
static inline void hmmu_sched_point(void)
{
}

static inline void hmmu_sched_relax(void)
{
}
#endif

#define HMMU_AT_(op)                \
	({                          \
		hmmu_sched_point(); \
		(op);               \
	})

#define hmmu_load_relaxed(p) HMMU_AT_(__atomic_load_n((p), __ATOMIC_RELAXED))
#define hmmu_load_acquire(p) HMMU_AT_(__atomic_load_n((p), __ATOMIC_ACQUIRE))
#define hmmu_load_seqcst(p) HMMU_AT_(__atomic_load_n((p), __ATOMIC_SEQ_CST))
#define hmmu_store_relaxed(p, v) HMMU_AT_(__atomic_store_n((p), (v), __ATOMIC_RELAXED))
#define hmmu_store_release(p, v) HMMU_AT_(__atomic_store_n((p), (v), __ATOMIC_RELEASE))
#define hmmu_store_seqcst(p, v) HMMU_AT_(__atomic_store_n((p), (v), __ATOMIC_SEQ_CST))
#define hmmu_xchg_acquire(p, v) HMMU_AT_(__atomic_exchange_n((p), (v), __ATOMIC_ACQUIRE))
#define hmmu_xchg_release(p, v) HMMU_AT_(__atomic_exchange_n((p), (v), __ATOMIC_RELEASE))
#define hmmu_xchg_seqcst(p, v) HMMU_AT_(__atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST))
#define hmmu_add_relaxed(p, v) HMMU_AT_(__atomic_fetch_add((p), (v), __ATOMIC_RELAXED))
#define hmmu_add_seqcst(p, v) HMMU_AT_(__atomic_fetch_add((p), (v), __ATOMIC_SEQ_CST))
#define hmmu_or_seqcst(p, v) HMMU_AT_(__atomic_fetch_or((p), (v), __ATOMIC_SEQ_CST))
#define hmmu_and_seqcst(p, v) HMMU_AT_(__atomic_fetch_and((p), (v), __ATOMIC_SEQ_CST))

/* true = stored; on false *expected holds what was there. */
#define hmmu_cas_acquire(p, expected, v)                                                    \
	HMMU_AT_(__atomic_compare_exchange_n((p), (expected), (v), false, __ATOMIC_ACQUIRE, \
					     __ATOMIC_RELAXED))
#define hmmu_cas_release(p, expected, v)                                                    \
	HMMU_AT_(__atomic_compare_exchange_n((p), (expected), (v), false, __ATOMIC_RELEASE, \
					     __ATOMIC_RELAXED))
#define hmmu_cas_seqcst(p, expected, v)                                                     \
	HMMU_AT_(__atomic_compare_exchange_n((p), (expected), (v), false, __ATOMIC_SEQ_CST, \
					     __ATOMIC_SEQ_CST))

/* A load that comes after every load before it, plain ones of the caller's included (a
 * seqlock's check after its reads: acquire alone would order only what follows). */
#if defined(__SANITIZE_THREAD__) || defined(__x86_64__)
/* x86-64 keeps loads in order; ThreadSanitizer knows no fences. */
#define hmmu_load_after_loads(p)                   \
	({                                         \
		__asm__ volatile("" ::: "memory"); \
		hmmu_load_acquire(p);              \
	})
#else
#define hmmu_load_after_loads(p)                         \
	({                                               \
		__atomic_thread_fence(__ATOMIC_ACQUIRE); \
		hmmu_load_acquire(p);                    \
	})
#endif

/* Keeps the compiler (not the CPU) from moving accesses: for one thread's own
 * signal handlers. */
static inline void hmmu_signal_fence(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static inline void hmmu_cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#endif
	hmmu_sched_relax();
}

#endif /* HMMU_ATOMIC_H */
