/* SPDX-License-Identifier: MIT */
/*
 * test_header_regcache.c - as test_header.c: the header alone, in C11 and in C++17. Sizes and
 * offsets are ABI.
 */
#include <hmmu/regcache.h>

#define IS(cond) HMMU_STATIC_ASSERT(cond, #cond)

IS(sizeof(struct hmmu_region) == 64);
IS(offsetof(struct hmmu_region, end) == 8);
IS(offsetof(struct hmmu_region, prot) == 16);
IS(offsetof(struct hmmu_region, flags) == 20);
IS(offsetof(struct hmmu_region, handle) == 24);
IS(offsetof(struct hmmu_region, key) == 32);
IS(sizeof(struct hmmu_region_ref) == 16);
IS(sizeof(struct hmmu_regcache_ops) == 32);
IS(sizeof(struct hmmu_regcache_options) == 80);
IS(offsetof(struct hmmu_regcache_options, mm) == 8);
IS(offsetof(struct hmmu_regcache_options, alignment) == 16);
IS(offsetof(struct hmmu_regcache_options, flags) == 56);
IS(sizeof(struct hmmu_regcache_stats) == 18 * 8);

static int undone;

static int reg(void *context, struct hmmu_region *region)
{
	region->handle = context;
	return 0;
}

static int dereg(void *context, struct hmmu_region *region)
{
	undone += region->handle == context;
	return 0;
}

int main(void)
{
	static char memory[8192];
	struct hmmu_regcache_options options = HMMU_REGCACHE_DEFAULTS;
	struct hmmu_regcache_ops ops = {reg, dereg, NULL, NULL};
	struct hmmu_regcache_stats stats;
	struct hmmu_regcache *cache;
	struct hmmu_region_ref ref;

	memory[0] = 1;
	if (hmmu_regcache_create(&cache, &ops, &undone, &options))
		return 1;
	if (hmmu_regcache_get(cache, memory, sizeof(memory), PROT_READ | PROT_WRITE, &ref))
		return 2;
	if (ref.region->handle != &undone || !hmmu_regcache_valid(cache, &ref))
		return 3;
	if (hmmu_regcache_destroy(cache) == 0)
		return 4; /* it is referenced */
	hmmu_regcache_put(cache, &ref);
	hmmu_regcache_stat(cache, &stats);
	if (stats.misses != 1 || stats.regions != 1)
		return 5;
	if (hmmu_regcache_destroy(cache) || undone != 1)
		return 6;
	return 0;
}
