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
#include <stddef.h>
#include <stdint.h>

#ifdef HMMU_SCHED
/* Any other thread may run before this access of *at. */
void hmmu_sched_point(const volatile void *at, bool writes);
/* This thread can do nothing useful until another one has run. */
void hmmu_sched_relax(void);
/* Its store buffer (tests/sched/buffer.c): a store comes that others may see later. */
void hmmu_sched_store(volatile void *at, size_t size, bool release);
/* A locked operation, or a store that is one, comes. */
void hmmu_sched_locked(const volatile void *at, size_t size, bool all);
void hmmu_sched_membarrier(void);

/* The value first: an access inside it is a point of its own, an earlier one.
 * (Numbered, for they nest, and no name may hide another.) */
#define HMMU_GET_(p, fn, ...) HMMU_GET_AT_(__COUNTER__, p, fn, __VA_ARGS__)
#define HMMU_GET_AT_(id, p, fn, ...) HMMU_GET_BY_(id, p, fn, __VA_ARGS__)
#define HMMU_GET_BY_(id, p, fn, ...)             \
	({                                       \
		__typeof__(p) p_##id = (p);      \
		hmmu_sched_point(p_##id, false); \
		fn(p_##id, __VA_ARGS__);         \
	})
#define HMMU_SET_(p, v, fn, ...) HMMU_RMW_AT_(__COUNTER__, true, p, v, fn, __VA_ARGS__)
#define HMMU_RMW_(all, p, v, fn, ...) HMMU_RMW_AT_(__COUNTER__, all, p, v, fn, __VA_ARGS__)
#define HMMU_RMW_AT_(id, all, p, v, fn, ...) HMMU_RMW_BY_(id, all, p, v, fn, __VA_ARGS__)
#define HMMU_RMW_BY_(id, all, p, v, fn, ...)                    \
	({                                                      \
		__typeof__(p) p_##id = (p);                     \
		__typeof__(*(p)) v_##id = (v);                  \
		hmmu_sched_point(p_##id, true);                 \
		hmmu_sched_locked(p_##id, sizeof(v_##id), all); \
		fn(p_##id, v_##id, __VA_ARGS__);                \
	})
#define HMMU_PUT_(p, v, order) HMMU_PUT_AT_(__COUNTER__, p, v, order)
#define HMMU_PUT_AT_(id, p, v, order) HMMU_PUT_BY_(id, p, v, order)
#define HMMU_PUT_BY_(id, p, v, order)                                                  \
	({                                                                             \
		__typeof__(p) p_##id = (p);                                            \
		__typeof__(*(p)) v_##id = (v);                                         \
		hmmu_sched_point(p_##id, true);                                        \
		hmmu_sched_store(p_##id, sizeof(v_##id), (order) == __ATOMIC_RELEASE); \
		__atomic_store_n(p_##id, v_##id, order);                               \
	})
#else
static inline void hmmu_sched_relax(void)
{
}

#define HMMU_GET_(p, fn, ...) ({ fn((p), __VA_ARGS__); })
#define HMMU_SET_(p, v, fn, ...) ({ fn((p), (v), __VA_ARGS__); })
#define HMMU_RMW_(all, p, v, fn, ...) HMMU_SET_(p, v, fn, __VA_ARGS__)
#define HMMU_PUT_(p, v, order) HMMU_SET_(p, v, __atomic_store_n, order)
#endif

/* Cares for stores before it: all of them (seqcst, release), or just those of its own word. */
#define HMMU_SOME_ false
#define HMMU_ALL_ true
#define HMMU_CAS_(all, p, expected, v, ...) \
	HMMU_RMW_(all, p, v, HMMU_CAS_OP_, expected, __VA_ARGS__)
#define HMMU_CAS_OP_(p, v, expected, ...) \
	__atomic_compare_exchange_n((p), (expected), (v), false, __VA_ARGS__)

#define hmmu_load_relaxed(p) HMMU_GET_(p, __atomic_load_n, __ATOMIC_RELAXED)
#define hmmu_load_acquire(p) HMMU_GET_(p, __atomic_load_n, __ATOMIC_ACQUIRE)
#define hmmu_load_seqcst(p) HMMU_GET_(p, __atomic_load_n, __ATOMIC_SEQ_CST)
#define hmmu_store_relaxed(p, v) HMMU_PUT_(p, v, __ATOMIC_RELAXED)
#define hmmu_store_release(p, v) HMMU_PUT_(p, v, __ATOMIC_RELEASE)
#define hmmu_store_seqcst(p, v) HMMU_SET_(p, v, __atomic_store_n, __ATOMIC_SEQ_CST)
#define hmmu_xchg_acquire(p, v) \
	HMMU_RMW_(HMMU_SOME_, p, v, __atomic_exchange_n, __ATOMIC_ACQUIRE)
#define hmmu_xchg_release(p, v) HMMU_SET_(p, v, __atomic_exchange_n, __ATOMIC_RELEASE)
#define hmmu_xchg_seqcst(p, v) HMMU_SET_(p, v, __atomic_exchange_n, __ATOMIC_SEQ_CST)
#define hmmu_add_relaxed(p, v) HMMU_RMW_(HMMU_SOME_, p, v, __atomic_fetch_add, __ATOMIC_RELAXED)
#define hmmu_add_seqcst(p, v) HMMU_SET_(p, v, __atomic_fetch_add, __ATOMIC_SEQ_CST)
#define hmmu_or_seqcst(p, v) HMMU_SET_(p, v, __atomic_fetch_or, __ATOMIC_SEQ_CST)
#define hmmu_and_seqcst(p, v) HMMU_SET_(p, v, __atomic_fetch_and, __ATOMIC_SEQ_CST)

/* true = stored; on false *expected holds what was there. */
#define hmmu_cas_acquire(p, expected, v) \
	HMMU_CAS_(HMMU_SOME_, p, expected, v, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)
#define hmmu_cas_release(p, expected, v) \
	HMMU_CAS_(HMMU_ALL_, p, expected, v, __ATOMIC_RELEASE, __ATOMIC_RELAXED)
#define hmmu_cas_seqcst(p, expected, v) \
	HMMU_CAS_(HMMU_ALL_, p, expected, v, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)

#ifdef HMMU_DEBUG
/* For checks of our own (lockdep.c): no preemption points, and ordered whatever they need. */
#define hmmu_debug_load(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)
#define hmmu_debug_store(p, v) __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)
#define hmmu_debug_add(p, v) __atomic_fetch_add((p), (v), __ATOMIC_SEQ_CST)
#define hmmu_debug_or(p, v) __atomic_fetch_or((p), (v), __ATOMIC_SEQ_CST)
#define hmmu_debug_cas(p, from, to)                                                     \
	({                                                                              \
		__typeof__(*(p)) from_ = (from);                                        \
		__atomic_compare_exchange_n((p), &from_, (to), false, __ATOMIC_SEQ_CST, \
					    __ATOMIC_SEQ_CST);                          \
	})
#endif

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
