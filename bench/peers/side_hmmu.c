// SPDX-License-Identifier: MIT
/* side_hmmu.c - hmmu_regcache. */
#include <sched.h>

#include <hmmu/regcache.h>

#include "peers.h"

static enum variant opened;

static int reg(void *context, struct hmmu_region *region)
{
	region->handle = NULL;
	return 0;
}

static int dereg(void *context, struct hmmu_region *region)
{
	return 0;
}

static const struct hmmu_regcache_ops ops = {.reg = reg, .dereg = dereg};

/* One mm for all caches of the process. */
static struct mm_struct *mm;

static int open_hmmu(enum variant variant)
{
	struct hmmu_mm_options watch = {.size = sizeof(watch)};

	opened = variant;
	watch.sources = variant == HOOKS ? HMMU_SOURCE_HOOKS : HMMU_SOURCE_BEST;
	return hmmu_mm_open(&mm, &watch);
}

static int create(struct hmmu_regcache **cache, unsigned long limit)
{
	struct hmmu_regcache_options how = HMMU_REGCACHE_DEFAULTS;

	how.mm = mm;
	how.max_regions = limit ? limit : HMMU_NO_LIMIT;
	how.flags = opened == POPULATES ? 0 : HMMU_REGCACHE_REG_CHECKS;
	return hmmu_regcache_create(cache, &ops, NULL, &how);
}

static void settle_cache(struct hmmu_regcache *cache)
{
	struct hmmu_regcache_stats stats;

	for (;;) {
		hmmu_regcache_stat(cache, &stats);
		if (!stats.dying)
			return;
		sched_yield();
	}
}

#define PEER peer_hmmu
#define PEER_NAME "hmmu"
#define CACHE struct hmmu_regcache *
#define REF struct hmmu_region_ref
#define OPEN(variant) open_hmmu(variant)
#define CREATE(cache, limit) create(cache, limit)
#define GET(cache, addr, len, ref) \
	hmmu_regcache_get(cache, (void *)(addr), len, PROT_READ | PROT_WRITE, ref)
#define PUT(cache, ref) hmmu_regcache_put(cache, ref)
#define ANSWER(ref) (uintptr_t)(ref).region
#define NEXT(ref) (uintptr_t)(ref).region->handle
#define KEEPS_NOTHING false
#define MERGES true
#define TELL tell
#define SETTLE settle

static void tell(struct world *world, unsigned long start, size_t length)
{
}

static void settle(struct world *world);

#include "loops.h"

static void settle(struct world *world)
{
	settle_cache(world->cache);
}
