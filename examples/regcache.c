// SPDX-License-Identifier: MIT
/*
 * regcache.c - a cache of registrations: found again, and dropped when the memory changes.
 * The device is a counter; yours calls ibv_reg_mr(), or fills a slot of a ring.
 */
#include <hmmu/regcache.h>
#include <stdio.h>

static int reg(void *device, struct hmmu_region *region)
{
	region->key[0] = ++*(uint64_t *)device; /* what the device calls it */
	return 0;
}

static int dereg(void *device, struct hmmu_region *region)
{
	printf("deregistered %llu\n", (unsigned long long)region->key[0]);
	return 0;
}

static uint64_t use(struct hmmu_regcache *cache, void *buf, size_t len)
{
	struct hmmu_region_ref ref;
	uint64_t key;

	if (hmmu_regcache_get(cache, buf, len, PROT_READ | PROT_WRITE, &ref)) /* never stale */
		return 0;
	key = ref.region->key[0]; /* hand it to the device, wait for its completion */
	hmmu_regcache_put(cache, &ref);
	return key;
}

int main(void)
{
	static const struct hmmu_regcache_ops ops = {.reg = reg, .dereg = dereg};
	struct hmmu_regcache *cache;
	uint64_t device = 0, first, second, third;
	void *buf =
		mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (buf == MAP_FAILED || hmmu_regcache_create(&cache, &ops, &device, NULL))
		return 1;
	first = use(cache, buf, 65536);
	second = use(cache, (char *)buf + 100, 4096); /* lies inside: a hit */
	munmap(buf, 65536);			      /* as free() does */
	buf = mmap(buf, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		   -1, 0);
	third = use(cache, buf, 65536); /* other memory: another registration */
	printf("registered %llu, found %llu, after munmap and mmap %llu\n",
	       (unsigned long long)first, (unsigned long long)second,
	       (unsigned long long)third);
	return hmmu_regcache_destroy(cache) || first != 1 || second != 1 || third <= 1;
}
