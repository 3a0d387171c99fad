/* SPDX-License-Identifier: MIT */
/*
 * count.h - hmmu-count: each operation so many times, for two tools that count what times
 * on two cores do not show and what is the same in each run.
 *
 *	callgrind	instructions per operation. The program tells it when to count.
 *	lackey		every store and its address. The program marks where an operation
 *			begins and ends by stores to COUNT_MARK; hmmu-lines reads the trace.
 *
 * What valgrind cannot run is single-stepped (steps.c). budgets.py runs all of it and compares
 * with the file `budgets`.
 *
 * Instructions are counted with the shared library as installed (hmmu-count), lines with the
 * static one (hmmu-count-inside, COUNT_INSIDE), where every slot can be found.
 *
 * WHOSE IS A LINE? A thread's own are its stack and what the C library keeps above it
 * (thread-local variables), its slot among the open invalidations, its record of pins.
 * Others read them now and then; no other thread writes them in the same operation. Every
 * other line that an operation writes is SHARED: two threads that do the same at once, to
 * different ranges, may send it to and fro. Operations run in a thread of their own, so that
 * its stack is a mapping that can be told.
 */
#ifndef HMMU_BENCH_COUNT_H
#define HMMU_BENCH_COUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COUNT_MARK (1ul << 41) /* two words per operation: it begins, it ends */
#define COUNT_MAX 64	       /* operations */
#define COUNT_LINE 64	       /* bytes */

struct operation {
	const char *side, *name;
	/* Once: 0, or -errno where this machine does not let it. */
	int (*set_up)(const struct operation *op);
	/* @n operations, counted; what is before and after is not. NULL: nothing. */
	void (*before)(void *arg, uint64_t n);
	void (*run)(void *arg, uint64_t n);
	void (*after)(void *arg, uint64_t n);
	void *arg;
	unsigned int times; /* of a count of instructions; 0: 400 */
	bool reads;	    /* the read side: must write no shared line */
	bool natively;	    /* valgrind does not know its system calls: steps.c */
	bool planted;	    /* wrong on purpose: only if asked for by name */
};

struct operations {
	const struct operation *list;
	size_t n;
};

/* In this order: with hooks every mapping of the process is watched. */
extern const struct operations core_operations, regcache_operations, tag_operations,
	hooks_operations;

/* main.c: @n operations, with @edge called where counting begins and where it ends. */
void count_once(const struct operation *op, uint64_t n, void (*edge)(const struct operation *));
uint64_t count_times(const struct operation *op);
/* steps.c: prints the operation's counts. */
void count_steps(const struct operation *op);
/* main.c: [start, start + size) is written by this thread only. */
void count_own(const void *start, size_t size);
/* And ends with a message if @good is false. */
void count_check(bool good, const char *what);

#endif /* HMMU_BENCH_COUNT_H */
