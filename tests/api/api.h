/* SPDX-License-Identifier: MIT */
/*
 * api.h - what the tests of the public interface share. They are written from
 * the header's promises alone: nothing of src/ is included.
 *
 * How an interleaving is forced, without a clock:
 *
 *   gate	closed until somebody opens it. A callback or a reader stops there,
 *		so the other side runs in exactly that window.
 *   runner	a thread. runner_sleeps() answers true once it is seen asleep
 *		(blocked in the call under test), false once its function has
 *		returned: one of both happens, and the test says which it needs.
 *   "does not wait for X" is shown by the call returning while X is held.
 *
 * A hang is a failure: api_guard() ends the program with SIGALRM.
 */
#ifndef HMMU_TEST_API_H
#define HMMU_TEST_API_H

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <hmmu/mmu_notifier.h>

/* Sanitizers slow a run down: fewer rounds, same interleavings. */
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__) || \
	__has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define API_SLOW 8
#else
#define API_SLOW 1
#endif

#define PAGE 0x1000UL

/*
 * For threads and callbacks, where an assertion of cmocka would jump out of the
 * wrong stack: prints and aborts.
 */
#define must(cond)                                           \
	do {                                                 \
		if (!(cond))                                 \
			api_fail(__FILE__, __LINE__, #cond); \
	} while (0)
_Noreturn void api_fail(const char *file, int line, const char *what);

/* Run @call with errno at a sentinel: it has to be there afterwards. */
#define SENTINEL 0x5a5a
#define quiet(call)                                  \
	({                                           \
		errno = SENTINEL;                    \
		__typeof__(call) quiet_ret = (call); \
		must(errno == SENTINEL);             \
		quiet_ret;                           \
	})
#define quiet_void(call)                 \
	do {                             \
		errno = SENTINEL;        \
		call;                    \
		must(errno == SENTINEL); \
	} while (0)

/* End the program if it is still there in @seconds. */
void api_guard(unsigned int seconds);

struct gate {
	sem_t sem;
};
void gate_init(struct gate *gate);
void gate_open(struct gate *gate);
void gate_pass(struct gate *gate); /* waits; leaves it open for others */

struct runner {
	pthread_t thread;
	void (*fn)(void *arg);
	void *arg;
	atomic_int tid;
	atomic_bool done;
};
void runner_start(struct runner *runner, void (*fn)(void *arg), void *arg);
bool runner_sleeps(struct runner *runner);
void runner_join(struct runner *runner);

/*
 * A subscription that counts its callbacks.
 * @hook: called at the start of each callback, without the driver lock.
 * @refuse: answer false to a range that is not blockable.
 * @shadow: guarded by @lock, the driver lock; the callback sets it to 0.
 */
struct probe {
	struct mmu_interval_notifier sub;
	pthread_mutex_t lock;
	long shadow;
	void (*hook)(struct probe *probe, const struct mmu_notifier_range *range);
	void *arg;
	bool refuse;
	atomic_int calls;
	atomic_int running;
	unsigned long seen_start, seen_end;
};
extern const struct mmu_interval_notifier_ops probe_ops;

struct mm_struct *open_mm(unsigned int flags);
void close_mm(struct mm_struct *mm);
void probe_init(struct probe *probe);
void probe_insert(struct probe *probe, struct mm_struct *mm, unsigned long start,
		  unsigned long length);
void probe_add(struct probe *probe, struct mm_struct *mm, unsigned long start,
	       unsigned long length); /* init + insert */
void probe_remove(struct probe *probe);

/* 0, or what hmmu_read_begin() answers when it may not sleep. */
int poll_begin(struct mmu_interval_notifier *sub, unsigned long *seq);
/* Neither waits: 0 if a reader could begin now, else -ETIMEDOUT. */
int probe_poll(struct probe *probe);

void range_open(struct mmu_notifier_range *range, struct mm_struct *mm, unsigned long start,
		unsigned long end);
void range_close(struct mmu_notifier_range *range);
/* start + end of one range */
void invalidate(struct mm_struct *mm, unsigned long start, unsigned long end);

/* A reader of @probe that must not return before @ended is set. */
struct sleeper {
	struct probe *probe;
	atomic_bool ended;
	unsigned long seq;
};
void sleeper_read(void *sleeper);

/*
 * An invalidation held inside a callback: held_start() is its thread,
 * held_callback() the hook that opens @inside and waits for @go (probe->arg is the
 * struct held; NULL: does not stop).
 */
struct held {
	struct mm_struct *mm;
	struct gate inside, go;
	unsigned long start, end;
	struct mmu_notifier_range range;
	struct probe *probe;
	atomic_int removed;
};
void held_init(struct held *held, struct mm_struct *mm, unsigned long start, unsigned long end);
void held_start(void *held);
void held_callback(struct probe *probe, const struct mmu_notifier_range *range);

/* An access to the truth as a driver makes it: unordered, unsynchronised. */
static inline long truth_read(const atomic_long *truth)
{
	return atomic_load_explicit(truth, memory_order_relaxed);
}

static inline void truth_change(atomic_long *truth)
{
	atomic_fetch_add_explicit(truth, 1, memory_order_relaxed);
}

/* splitmix64: a whole sequence from one seed */
static inline uint64_t api_random(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

#endif /* HMMU_TEST_API_H */
