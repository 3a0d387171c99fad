// SPDX-License-Identifier: MIT
/*
 * cache_rules.c - the registration cache: rules that need a window of their own. Asserted as in
 * cache.c. A look-up is short (hit()), or slow (look()) when its thread has no free pin.
 */
#include <errno.h>

#include "cache.h"

#define SLOW_PROGRAM(text, before)                                                          \
	.name = (text), .setup = (before), .enter = cache_enter_full, .state = cache_state, \
	.check = cache_check

/* ---- no pin is free: regions are counted ------------------------------ */

static const struct sched_program counted = {
	SLOW_PROGRAM("a getter without pins, a change, who cleans up", cache_setup_cached),
	.names = {"getter", "inv", "reaper"},
	.threads = {cache_get0_twice, cache_change0, cache_clean_up},
};

/* ---- undecided: told after the change --------------------------------- */

static void change_told_later(void *arg)
{
	cache_change_in_handler(arg);
	hmmu_reclaim(mm); /* decided again, the dead are deregistered */
}

static const struct sched_program told = {
	CACHE_PROGRAM("a short look-up, and a change told later", cache_setup_cached),
	.names = {"getter", "handler"},
	.threads = {cache_get0_twice, change_told_later},
};

static const struct sched_program told_slow = {
	SLOW_PROGRAM("a slow look-up, and a change told later", cache_setup_cached),
	.names = {"getter", "handler"},
	.threads = {cache_get0_twice, change_told_later},
};

/* ---- a region dies and goes in one go --------------------------------- */

static void get0(void *arg)
{
	cache_get(0, 0);
}

static void change0_and_reap(void *arg)
{
	cache_change0(NULL);
	hmmu_reclaim(mm);
}

static const struct sched_program dies = {
	CACHE_PROGRAM("a look-up, and its region dies and is deregistered", cache_setup_cached),
	.names = {"getter", "inv"},
	.threads = {get0, change0_and_reap},
};

static void setup_0_and_2(void)
{
	cache_setup();
	cache_get(0, 0);
	cache_get(2, 2);
}

static void drop2_and_reap(void *arg)
{
	sched_assert(hmmu_regcache_drop(cache, cache_at(2), PAGE) == 1);
	hmmu_reclaim(mm);
}

static const struct sched_program scan = {
	CACHE_PROGRAM("a region is taken and dies while pins are scanned", setup_0_and_2),
	.names = {"reaper", "holder"},
	.threads = {drop2_and_reap, cache_hold},
};

/* Its subscription is idle and its number another's: what changed there is nothing to it. */
static void change0_of_another(void *arg)
{
	cache_get(0, 0);
	change0_and_reap(NULL);
	cache_get(2, 2);
	cache_change0(NULL);
	sched_assert(cache_try(hmmu_regcache_get_nonblock, 2, 2) == 0);
}

static const struct sched_program stranger = {
	CACHE_PROGRAM("a change under a region that was", cache_setup),
	.names = {"driver"},
	.threads = {change0_of_another},
};

/* ---- a region's number comes again ------------------------------------ */

static void setup_two_pages(void)
{
	cache_setup();
	cache_get(0, 1);
}

static void get01(void *arg)
{
	cache_get(0, 1);
}

/* The number goes to a region over a part of what is looked for: one word is the same. */
static void renumber(unsigned int page)
{
	sched_assert(hmmu_regcache_drop(cache, cache_at(0), 2 * PAGE) >= 0);
	hmmu_reclaim(mm);
	cache_get(page, page);
}

static void renumber_head(void *arg)
{
	renumber(0);
	sched_assert(hmmu_regcache_drop(cache, cache_at(0), PAGE) >= 0);
}

static void renumber_tail(void *arg)
{
	renumber(1);
}

static const struct sched_program head = {
	SLOW_PROGRAM("a slow look-up, and its region's number comes again", setup_two_pages),
	.names = {"getter", "dropper"},
	.threads = {get01, renumber_head},
};

static const struct sched_program tail = {
	CACHE_PROGRAM("a short look-up, and its region's number comes again", setup_two_pages),
	.names = {"getter", "dropper"},
	.threads = {get01, renumber_tail},
};

/* ---- a drop while it is registered ------------------------------------ */

static void drop0_and_get(void *arg)
{
	struct hmmu_region_ref ref;
	uint64_t before = hmmu_load_seqcst(&nr_registered);

	sched_assert(hmmu_regcache_drop(cache, cache_at(0), PAGE) >= 0);
	sched_assert(hmmu_regcache_get(cache, cache_at(0), PAGE, PROT_READ, &ref) == 0);
	sched_assert(ref.region->key[0] >= before);
	hmmu_regcache_put(cache, &ref);
}

static const struct sched_program drop = {
	CACHE_PROGRAM("a page is dropped while it is registered", cache_setup),
	.names = {"getter", "dropper"},
	.threads = {get0, drop0_and_get},
};

/* ---- what cannot be registered ---------------------------------------- */

static void get0_if_there(void *arg)
{
	int ret = cache_try(hmmu_regcache_get, 0, 0);

	sched_assert(ret == 0 || (ret == -EFAULT && hmmu_load_acquire(&gone[0])));
}

static void get0_now(void *arg)
{
	int ret = cache_try(hmmu_regcache_get_nonblock, 0, 0);

	sched_assert(ret == 0 || ret == -EAGAIN);
}

/* Unmapped; and mapped again before it ends. */
static void unmap0(bool again)
{
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, WORLD_BASE, WORLD_BASE + PAGE);
	sched_assert(mmu_notifier_invalidate_range_start(&range) == 0);
	hmmu_store_seqcst(&gone[0], 1);
	for (int i = 0; i < 8; i++) /* a while */
		hmmu_add_seqcst(&truth[0], 1);
	if (again)
		hmmu_store_seqcst(&gone[0], 0);
	mmu_notifier_invalidate_range_end(&range);
}

static void unmap(void *arg)
{
	unmap0(false);
}

static void remap(void *arg)
{
	unmap0(true);
}

static const struct sched_program unmapped = {
	CACHE_PROGRAM("a getter, and its page goes", cache_setup_cached),
	.names = {"getter", "inv", "reaper"},
	.threads = {get0_if_there, unmap, cache_clean_up},
};

static const struct sched_program remapped = {
	CACHE_PROGRAM("a getter, and its page goes and comes", cache_setup),
	.names = {"getter", "inv"},
	.threads = {get0, remap},
};

static const struct sched_program nonblock = {
	CACHE_PROGRAM("a getter that never waits, a change, who cleans up", cache_setup_cached),
	.names = {"getter", "inv", "reaper"},
	.threads = {get0_now, cache_change0, cache_clean_up},
};

/* ---- a start that may not block --------------------------------------- */

static void change0_unless_refused(void *arg)
{
	struct mmu_notifier_range range;
	int ret;

	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, WORLD_BASE, WORLD_BASE + PAGE);
	ret = mmu_notifier_invalidate_range_start_nonblock(&range);
	sched_assert(ret == 0 || ret == -EAGAIN);
	if (ret)
		return;
	hmmu_add_seqcst(&truth[0], 1);
	mmu_notifier_invalidate_range_end(&range);
}

static const struct sched_program refused = {
	CACHE_PROGRAM("a getter, and a change that may not wait", cache_setup),
	.names = {"getter", "inv"},
	.threads = {cache_get0_twice, change0_unless_refused},
};

/* ---- limits ----------------------------------------------------------- */

static uint64_t asked;

/* Promises, and puts nothing. */
static size_t shrink(void *context, size_t bytes)
{
	sched_assert(hmmu_add_seqcst(&asked, 1) == 0); /* at most once in a get */
	return bytes;
}

static void setup_locked(void)
{
	struct hmmu_regcache_options o = HMMU_REGCACHE_DEFAULTS;

	asked = 0;
	cache_device.shrink = shrink;
	o.max_locked = PAGE;
	cache_open(&o);
	cache_device.shrink = NULL; /* the cache has a copy */
	cache_get(0, 0);
}

static void get2(void *arg)
{
	cache_get(2, 2);
}

static const struct sched_program locked = {
	CACHE_PROGRAM("room for one that is locked, which goes by itself", setup_locked),
	.names = {"getter", "inv"},
	.threads = {get2, change0_and_reap},
};

static void hold0_and_get2(void *arg)
{
	struct hmmu_region_ref ref;

	sched_assert(hmmu_regcache_get(cache, cache_at(0), PAGE, PROT_READ, &ref) == 0);
	sched_assert(cache_try(hmmu_regcache_get, 2, 2) == -ENOBUFS);
	hmmu_regcache_put(cache, &ref);
}

static const struct sched_program unshrunk = {
	CACHE_PROGRAM("no room, and a promise of some", setup_locked),
	.names = {"getter"},
	.threads = {hold0_and_get2},
};

static void setup_room_for_one(void)
{
	struct hmmu_regcache_options o = HMMU_REGCACHE_DEFAULTS;

	o.max_regions = 1;
	cache_open(&o);
}

static void get2_and_reap(void *arg)
{
	cache_get(2, 2);
	hmmu_reclaim(mm);
}

static const struct sched_program room = {
	CACHE_PROGRAM("room for one, and two are registered", setup_room_for_one),
	.names = {"getter", "getter"},
	.threads = {get0, get2_and_reap},
};

/* ---- idle subscriptions ----------------------------------------------- */

/* Page 0 has an idle one, and as many others are there as may be. */
static void setup_idle(void)
{
	cache_setup();
	cache_get(0, 0);
	world_change(0, 0);
	idle_pretended = RC_IDLE_MAX - 1;
	cache->nr_idle += idle_pretended;
}

static void get2_and_change(void *arg)
{
	cache_get(2, 2);
	world_change(2, 2);
}

static void get0_and_change(void *arg)
{
	cache_get(0, 0);
	world_change(0, 0);
}

static void get01_and_change1(void *arg)
{
	cache_get(0, 1);
	world_change(1, 1);
	cache_get(0, 1);
}

static const struct sched_program idle = {
	CACHE_PROGRAM("subscriptions are idle, too many", setup_idle),
	.names = {"getter", "getter"},
	.threads = {get0_and_change, get2_and_change},
};

static const struct sched_program cover = {
	CACHE_PROGRAM("a region over an idle subscription", setup_idle),
	.names = {"getter", "getter"},
	.threads = {get01_and_change1, get2_and_change},
};

/* ---- who waits in a subscription -------------------------------------- */

/* At each point: not removed while somebody reads by it. */
static void readers_are_safe(unsigned int step)
{
	for (uint32_t id = 1; id < cache->next_watch; id++) {
		const struct rc_watch *w = &cache->watches[0]->watch[id];
		const struct hmmu_sub *sub = (const struct hmmu_sub *)&w->sub;

		sched_assert(!w->readers || sub->cookie == HMMU_SUB_LIVE);
	}
}

/* Idle, and covered: retired, removed. */
static void change_and_cover(void *arg)
{
	change_told_later(NULL);
	cache_get(0, 1);
}

/* Idle, and of a region again that cannot be registered: removed. */
static void change_and_fail(void *arg)
{
	change_told_later(NULL);
	hmmu_store_seqcst(&gone[0], 1);
	sched_assert(cache_try(hmmu_regcache_get, 0, 0) <= 0);
	hmmu_store_seqcst(&gone[0], 0);
}

static void get0_or_not(void *arg)
{
	int ret = cache_try(hmmu_regcache_get, 0, 0);

	sched_assert(ret == 0 || ret == -EFAULT);
}

static const struct sched_program retired = {
	SLOW_PROGRAM("a getter waits in a subscription that is retired", cache_setup_cached),
	.names = {"getter", "handler"},
	.threads = {get0_or_not, change_and_cover},
	.at_point = readers_are_safe,
};

static const struct sched_program removed = {
	SLOW_PROGRAM("a getter waits in a subscription that is dropped", cache_setup_cached),
	.names = {"getter", "handler"},
	.threads = {get0_or_not, change_and_fail},
	.at_point = readers_are_safe,
};

const struct scenario scenarios_cache_rules[] = {
	{"cache-dies", &dies, false},
	{"cache-scan", &scan, false},
	{"cache-stranger", &stranger, false},
	{"cache-drop", &drop, false},
	{"cache-room", &room, false},
	{"cache-retired", &retired, false},
	{"cache-removed", &removed, false},
	{"cache-counted", &counted, false},
	{"cache-told", &told, false},
	{"cache-told-slow", &told_slow, false},
	{"cache-head", &head, false},
	{"cache-tail", &tail, false},
	{"cache-unmapped", &unmapped, false},
	{"cache-remapped", &remapped, false},
	{"cache-nonblock", &nonblock, false},
	{"cache-refused", &refused, false},
	{"cache-locked", &locked, false},
	{"cache-unshrunk", &unshrunk, false},
	{"cache-idle", &idle, false},
	{"cache-cover", &cover, false},
	{NULL, NULL, false},
};
