// SPDX-License-Identifier: MIT
/*
 * cache_parts.c - schedules of what is found in parts (src/regcache/parts.c): four pages are
 * registered as one, a part each. Beside what cache.c asserts: one registration, undone once.
 */
#include "cache.h"

static void setup_parts(void)
{
	struct hmmu_regcache_options o = HMMU_REGCACHE_DEFAULTS;

	o.split = PAGE;
	cache_open(&o);
	cache_get(0, CACHE_PAGES - 1);
}

/* All of it dies: then nothing is left of the first registration, nor of later ones. */
static void check_parts(void)
{
	struct hmmu_regcache_stats stats;

	hmmu_reclaim(mm);
	hmmu_regcache_stat(cache, &stats);
	sched_assert(stats.bytes <= stats.locked);
	world_change(0, CACHE_PAGES - 1);
	hmmu_reclaim(mm);
	hmmu_regcache_stat(cache, &stats);
	sched_assert(stats.regions == 0 && stats.bytes == 0);
	cache_check();
}

static void get_pair_twice(void *arg)
{
	cache_get(0, 1);
	cache_get(0, 1);
}

static void get_all(void *arg)
{
	cache_get(0, CACHE_PAGES - 1);
}

static void change1(void *arg)
{
	world_change(1, 1);
}

static void change_all(void *arg)
{
	world_change(0, CACHE_PAGES - 1);
}

#define PARTS_PROGRAM(text)                                                             \
	.name = text, .setup = setup_parts, .enter = cache_enter, .state = cache_state, \
	.check = check_parts

static const struct sched_program pair = {
	PARTS_PROGRAM("a getter of two parts, and the second one changes"),
	.names = {"getter", "inv", "reaper"},
	.threads = {get_pair_twice, change1, cache_clean_up},
};

static const struct sched_program whole = {
	PARTS_PROGRAM("a getter of all parts, and one changes"),
	.names = {"getter", "inv", "reaper"},
	.threads = {get_all, change1, cache_clean_up},
};

static const struct sched_program gone_all = {
	PARTS_PROGRAM("a getter of two parts, and all change"),
	.names = {"getter", "inv", "reaper"},
	.threads = {get_pair_twice, change_all, cache_clean_up},
};

const struct scenario scenarios_cache_parts[] = {
	{"cache-parts-pair", &pair, false},
	{"cache-parts-whole", &whole, false},
	{"cache-parts-gone", &gone_all, false},
	{NULL, NULL, false},
};
