/* SPDX-License-Identifier: MIT */
/* cache.h - a small world for schedules of the registration cache: see cache.c. */
#ifndef TESTS_SCHED_CACHE_H
#define TESTS_SCHED_CACHE_H

#include "regcache/regcache.h"
#include "scenarios.h"

#define REGS 64
#define CACHE_PAGES 4

extern struct hmmu_regcache *cache;

/* The device: registration i is of pages [first, last] as they were. */
extern struct registration {
	uint64_t truth[CACHE_PAGES];
	unsigned int first, last;
	uint64_t held; /* by getters */
	bool there;
} registered[REGS];
extern uint64_t nr_registered;
extern uint64_t gone[CACHE_PAGES];  /* not mapped: reg() answers -EFAULT */
extern unsigned int idle_pretended; /* so many of cache->nr_idle are not in the list */
extern struct hmmu_regcache_ops cache_device;

void *cache_at(unsigned int page);

/* Get, assert what it promises, put. cache_get(): it must succeed. */
typedef int (*cache_get_fn)(struct hmmu_regcache *cache, const void *addr, size_t len,
			    unsigned int prot, struct hmmu_region_ref *ref);
int cache_try(cache_get_fn fn, unsigned int first, unsigned int last);
void cache_get(unsigned int first, unsigned int last);

/* Threads. */
void cache_get0_twice(void *arg);
void cache_change0(void *arg);
void cache_change_in_handler(void *arg);
void cache_clean_up(void *arg);
void cache_hold(void *arg); /* page 0 changes while it does */

void cache_enter(int index);
void cache_enter_full(int index);
void cache_open(struct hmmu_regcache_options *o); /* world_open(), and a cache */
void cache_setup(void);
void cache_setup_cached(void); /* page 0 is */
void cache_check(void);
uint64_t cache_state(uint64_t hash);

#define CACHE_PROGRAM(text, before)                                                    \
	.name = (text), .setup = (before), .enter = cache_enter, .state = cache_state, \
	.check = cache_check

#endif /* TESTS_SCHED_CACHE_H */
