/* SPDX-License-Identifier: MIT */
/*
 * child.h - a process of its own for each way of watching: forked from the same parent, so
 * they have the same addresses and the same heap, and told in turns by pipe what to do.
 */
#ifndef HMMU_BENCH_CHILD_H
#define HMMU_BENCH_CHILD_H

#include <sys/types.h>

#include "bench.h"

struct order {
	int operation;
	uint64_t iters;
};

struct child {
	const char *name;
	pid_t pid;
	int orders;
	int answers;
};

/* For measure(): .time = child_time, .arg = a job. */
struct job {
	struct child *child;
	int operation;
};

/* In the child: 0 or -errno; then the nanoseconds that each order took. */
typedef int child_setup(const void *arg);
typedef double child_obey(const void *arg, const struct order *order);

/* 0, or the -errno of fork or of the child's set-up. */
int child_spawn(struct child *child, const char *name, child_setup *setup, child_obey *obey,
		const void *arg);
void child_end(struct child *child);
double child_time(struct batch *batch, uint64_t iters);

#endif /* HMMU_BENCH_CHILD_H */
