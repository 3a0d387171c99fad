// SPDX-License-Identifier: MIT
/*
 * region.c - the cache's device. handle: nothing; key[0]: the slot.
 *
 * Every region is for reading and writing: io_uring pins for writing whatever it will be used
 * for, so that one registration serves both, and what is read-only cannot be pinned at all.
 */
#include "adapter.h"

#include <errno.h>
#include <stdio.h>

static int region_reg(void *context, struct hmmu_region *region)
{
	size_t len = region->end - region->start;
	struct hmmu_uring *u = context;
	unsigned int slot;
	int ret;

	if (len > HMMU_URING_MAX_BUFFER)
		return -E2BIG;
	/* The issuer, if there is one: it is inside prep. What an eviction left dead a moment
	 * ago is emptied here. */
	slots_sweep(u);
	ret = slot_take(u, &slot);
	if (ret)
		return ret;
	ret = slot_fill(u, slot, (void *)region->start,
			len); // NOLINT(performance-no-int-to-ptr)
	if (ret) {
		slot_give_back(u, slot);
		return ret;
	}
	region->key[0] = slot;
	return 0;
}

static int region_dereg(void *context, struct hmmu_region *region)
{
	slot_release(context, (unsigned int)region->key[0]);
	return 0;
}

static int region_describe(void *context, const struct hmmu_region *region, char *text,
			   size_t size)
{
	return snprintf(text, size, "slot %u", (unsigned int)region->key[0]);
}

const struct hmmu_regcache_ops region_ops = {
	.reg = region_reg,
	.dereg = region_dereg,
	.describe = region_describe,
};
