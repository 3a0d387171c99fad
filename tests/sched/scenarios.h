/* SPDX-License-Identifier: MIT */
/* scenarios.h - the programs of sched-core. */
#ifndef TESTS_SCHED_SCENARIOS_H
#define TESTS_SCHED_SCENARIOS_H

#include "world.h"

struct scenario {
	const char *key; /* NULL ends a list */
	const struct sched_program *program;
	bool forks; /* does so itself: as slow as a hundred others */
};

/* small: one rule each; whole: readers, invalidators, comings and goings together; cache: the
 * registration cache, and cache_rules: its rules one by one */
extern const struct scenario scenarios_small[], scenarios_whole[], scenarios_cache[],
	scenarios_cache_rules[], scenarios_cache_parts[];

/* By key or by the program's name; NULL: none. */
const struct scenario *scenario_find(const char *name);
/* The i-th of all; NULL: no more. */
const struct scenario *scenario_at(unsigned int i);

/* In a forked child, whatever its parent stood in: everything is invalid, and an mm of its
 * own works. forks.c */
void forked_child(void);

/* planted.c, forks.c: 0, or how many failed. */
struct options;
int run_planted(const struct options *o);
int run_forks(const struct options *o);

struct options {
	const char *only; /* a scenario; NULL: all */
	uint64_t count;	  /* runs of a scenario; 0: the command's own number */
	unsigned int bound;
	bool json;
};

#endif /* TESTS_SCHED_SCENARIOS_H */
