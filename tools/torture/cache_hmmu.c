// SPDX-License-Identifier: MIT
/*
 * cache_hmmu.c - the library's caches, two on one address space.
 *
 * The first is as the options' defaults make it: the cache asks the kernel whether the
 * memory is there. The second has reg() check, few regions and bytes, small unions, and
 * calls shrink() when everything is in use.
 */
#include "cache.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS 100 /* as device.c */

__thread struct getter *this_getter;

/* The lured page, if it lies in what has just been pinned. */
static void meet(struct getter *g, const struct hmmu_region *region)
{
	struct uring_window here = {.user = g->d};
	unsigned long size = (unsigned long)sysconf(_SC_PAGESIZE), addr;
	unsigned int page;
	struct region *r;
	bool fresh;

	r = meet_wanted(g->d, &page, &fresh);
	if (!r)
		return;
	addr = (unsigned long)r->base + page * size;
	if (addr >= region->start && addr < region->end)
		meet_pinned(&here, addr);
}

/* In a forked child: a ring of its own, for the parent's pins the parent's memory. */
static struct cache_ring *ring_here(struct cache_torture *c)
{
	static struct cache_ring childs;
	static pid_t owner;

	if (getpid() == c->owner)
		return &c->ring;
	if (owner != getpid()) {
		if (ring_open(&childs, 1))
			return NULL;
		owner = getpid();
	}
	return &childs;
}

static int reg(void *context, struct hmmu_region *region)
{
	struct cache_torture *c = context;
	struct cache_ring *ring = ring_here(c);
	uint32_t slot;
	int ret;

	if (!ring)
		return -ENOSYS;
	if (this_getter)
		this_getter->registered++;
	ret = ring_pin(ring, region->start, region->end - region->start, &slot);
	if (ret)
		return ret;
	atomic_fetch_add(&c->regs, 1);
	region->handle = ring;
	region->key[0] = slot;
	if (this_getter)
		meet(this_getter, region);
	return 0;
}

static int dereg(void *context, struct hmmu_region *region)
{
	struct cache_torture *c = context;

	ring_unpin(region->handle, (uint32_t)region->key[0]);
	atomic_fetch_add(&c->deregs, 1);
	return 0;
}

/* What this thread was given to put for another one. */
static size_t shrink(void *context, size_t bytes)
{
	struct cache_torture *c = context;

	atomic_fetch_add(&c->shrinks, 1);
	if (!this_getter || atomic_load(&this_getter->box.state) != 2)
		return 0;
	getter_drain(this_getter);
	return (size_t)sysconf(_SC_PAGESIZE);
}

static const struct hmmu_regcache_ops ops = {.reg = reg, .dereg = dereg, .shrink = shrink};

int hmmu_caches_open(struct cache_torture *c)
{
	unsigned long size = (unsigned long)sysconf(_SC_PAGESIZE);
	unsigned long n = c->t->nr_devices;

	for (unsigned int i = 0; i < NR_CACHES; i++) {
		struct hmmu_regcache_options options = HMMU_REGCACHE_DEFAULTS;
		int ret;

		options.mm = c->t->mm;
		if (i == 1) {
			options.flags = HMMU_REGCACHE_REG_CHECKS;
			options.max_regions = n > 1 ? 2 * n - 2 : 1;
			options.max_bytes = n * PAGES * size;
			options.max_locked = 3 * n * PAGES * size / 2;
			options.max_merged = 3 * size;
		}
		ret = hmmu_regcache_create(&c->caches[i], &ops, c, &options);
		if (ret)
			return ret;
	}
	return 0;
}

void hmmu_caches_close(struct cache_torture *c)
{
	for (unsigned int i = 0; i < NR_CACHES; i++) {
		if (!c->caches[i])
			continue;
		hmmu_regcache_stat(c->caches[i], &c->stats[i]);
		if (hmmu_regcache_destroy(c->caches[i]))
			torture_fatal(c->t, "hmmu_regcache_destroy: a region is referenced", 0);
	}
}

static void deadline_in(struct timespec *ts, long ms)
{
	clock_gettime(CLOCK_MONOTONIC, ts);
	ts->tv_nsec += ms * 1000000;
	ts->tv_sec += ts->tv_nsec / 1000000000;
	ts->tv_nsec %= 1000000000;
}

static void note_answer(struct getter *g, const struct wish *wish, size_t length,
			const struct held *held)
{
	const struct hmmu_region *region = held->ref.region;
	struct uring_mirror_stats *stats = &g->d->counts[COL_HMMU].mirror;
	struct cache_counts *counts = &g->counts[COL_HMMU];

	counts->once += (region->flags & HMMU_REGION_ONCE) != 0;
	counts->merged += region->end - region->start > length;
	stats->misses += g->registered > 0;
	stats->retries += g->registered > 1 ? g->registered - 1 : 0;
}

int hmmu_cache_get(struct getter *g, const struct wish *wish, bool nonblock, struct held *held)
{
	unsigned long size = (unsigned long)sysconf(_SC_PAGESIZE);
	struct hmmu_regcache *cache = g->c->caches[wish->cache];
	void *addr = wish->region->base + wish->first * size;
	struct uring_window here = {.user = g->d, .start = (unsigned long)wish->region->base};
	struct timespec deadline;
	int ret;

	*held = (struct held){.column = COL_HMMU, .cache = wish->cache};
	g->registered = 0;
	if (nonblock) {
		ret = hmmu_regcache_get_nonblock(cache, addr, wish->pages * size, wish->prot,
						 &held->ref);
	} else {
		deadline_in(&deadline, WAIT_MS);
		meet_begin(&here);
		ret = hmmu_regcache_get_until(cache, addr, wish->pages * size, wish->prot,
					      &deadline, &held->ref);
		meet_begun(&here);
	}
	if (ret)
		return ret;
	held->slot = (uint32_t)held->ref.region->key[0];
	note_answer(g, wish, wish->pages * size, held);
	return 0;
}
