// SPDX-License-Identifier: MIT
/*
 * side_hmmu.c - the library's own cache, with its options' defaults.
 *
 * The window is held open by a subscription of the side's own, as it is for UCX's: between
 * start and the change. No registration can be made in it, so it is waited for in vain.
 */
#include "stale.h"

#include <stdatomic.h>

#include <hmmu/regcache.h>

static struct mm_struct *mm;
static struct hmmu_regcache *cache;
static struct mmu_interval_notifier window;
static atomic_uint window_us;

static int reg(void *context, struct hmmu_region *region)
{
	int slot = pin_add((void *)region->start, region->end - region->start);

	region->key[0] = (uint64_t)slot;
	return slot < 0 ? slot : 0;
}

static int dereg(void *context, struct hmmu_region *region)
{
	pin_drop((int)region->key[0]);
	return 0;
}

static bool hold(struct mmu_interval_notifier *sub, const struct mmu_notifier_range *range,
		 unsigned long cur_seq)
{
	mmu_interval_set_seq(sub, cur_seq);
	if (range->event == MMU_NOTIFY_UNMAP && range->phase == HMMU_PHASE_BEFORE)
		pin_await(window_us);
	return true;
}

static int hmmu_open(void)
{
	static const struct hmmu_regcache_ops ops = {.reg = reg, .dereg = dereg};
	struct hmmu_regcache_options options = HMMU_REGCACHE_DEFAULTS;
	int ret = hmmu_mm_open(&mm, NULL);

	options.mm = mm;
	return ret ? ret : hmmu_regcache_create(&cache, &ops, NULL, &options);
}

struct held {
	struct hmmu_region_ref ref;
};

static int hmmu_get(void *addr, size_t len, void **handle)
{
	static const struct mmu_interval_notifier_ops hold_ops = {hold};
	static struct held held; /* the user has one at a time */
	int ret = 0;

	if (!window.mm)
		ret = mmu_interval_notifier_insert(&window, mm, (unsigned long)addr, len,
						   &hold_ops);
	if (!ret)
		ret = hmmu_regcache_get(cache, addr, len, PROT_READ | PROT_WRITE, &held.ref);
	if (ret)
		return ret;
	*handle = &held;
	return (int)held.ref.region->key[0];
}

static void hmmu_put(void *handle)
{
	hmmu_regcache_put(cache, &((struct held *)handle)->ref);
}

static void hmmu_slow(unsigned int us)
{
	window_us = us;
}

static void hmmu_close(void)
{
	hmmu_regcache_destroy(cache);
	if (window.mm)
		mmu_interval_notifier_remove(&window);
	hmmu_mm_close(mm);
}

const struct side side_hmmu = {
	.name = "hmmu",
	.what = "hmmu_regcache",
	.open = hmmu_open,
	.get = hmmu_get,
	.put = hmmu_put,
	.slow = hmmu_slow,
	.close = hmmu_close,
};
