// SPDX-License-Identifier: MIT
/*
 * side_ucx.c - UCX's own cache, as Debian ships it; and the same with hmmu's adapter.
 *
 * The window of UCX's: all of its handlers, one for each of its caches, run before the system
 * call. One more, behind the cache's, holds it open.
 */
#include "stale.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>

#include <ucm/api/ucm.h>
#include <ucs/memory/rcache.h>

#include <hmmu/ucx.h>

struct region {
	ucs_rcache_region_t super;
	int slot;
};

static ucs_rcache_t *rcache;
static struct mm_struct *mm;
static atomic_uint window_us;

static ucs_status_t reg(void *context, ucs_rcache_t *cache, void *arg,
			ucs_rcache_region_t *super, uint16_t flags)
{
	struct region *region = (struct region *)super;

	region->slot =
		pin_add((void *)super->super.start, super->super.end - super->super.start);
	return region->slot < 0 ? UCS_ERR_IO_ERROR : UCS_OK;
}

static void dereg(void *context, ucs_rcache_t *cache, ucs_rcache_region_t *super)
{
	pin_drop(((struct region *)super)->slot);
}

static void dump(void *context, ucs_rcache_t *cache, ucs_rcache_region_t *super, char *text,
		 size_t max)
{
	snprintf(text, max, "slot %d", ((struct region *)super)->slot);
}

static void other_handler(ucm_event_type_t type, ucm_event_t *event, void *arg)
{
	pin_await(window_us);
}

static int ucx_open(void)
{
	static ucs_rcache_ops_t ops = {reg, dereg, dump};
	const ucs_rcache_params_t params = {
		.region_struct_size = sizeof(struct region),
		.alignment = PAGE,
		.max_alignment = PAGE,
		.ucm_events = UCM_EVENT_VM_UNMAPPED,
		.ops = &ops,
		.flags = UCS_RCACHE_FLAG_NO_PFN_CHECK,
		.max_regions = ~0UL,
		.max_size = ~0UL,
		.max_unreleased = ~0UL,
	};

	if (ucs_rcache_create(&params, "stale", NULL, &rcache) != UCS_OK)
		return -EOPNOTSUPP;
	/* Behind the cache's. */
	if (ucm_set_event_handler(UCM_EVENT_VM_UNMAPPED, 1000, other_handler, NULL) != UCS_OK)
		return -ENOMEM;
	return 0;
}

static int ucx_hmmu_open(void)
{
	const struct hmmu_mm_options options = {
		.size = sizeof(options),
		.sources = HMMU_SOURCE_HOOKS,
		.require = HMMU_BRACKETED,
	};
	int ret = ucx_open();

	if (!ret)
		ret = hmmu_mm_open(&mm, &options);
	if (!ret)
		ret = hmmu_ucx_start(mm, NULL);
	return ret;
}

static int ucx_get(void *addr, size_t len, void **handle)
{
	ucs_rcache_region_t *region;

	if (ucs_rcache_get(rcache, addr, len, PROT_READ | PROT_WRITE, NULL, &region) != UCS_OK)
		return -EFAULT;
	*handle = region;
	return ((struct region *)region)->slot;
}

static void ucx_put(void *handle)
{
	ucs_rcache_region_put(rcache, handle);
}

static void ucx_slow(unsigned int us)
{
	window_us = us;
}

static void ucx_close(void)
{
	ucm_unset_event_handler(UCM_EVENT_VM_UNMAPPED, other_handler, NULL);
	ucs_rcache_destroy(rcache);
}

static void ucx_hmmu_close(void)
{
	hmmu_ucx_stop();
	hmmu_mm_close(mm);
	ucx_close();
}

const struct side side_ucx = {
	.name = "UCX",
	.what = "UCX's registration cache",
	.control = true,
	.open = ucx_open,
	.get = ucx_get,
	.put = ucx_put,
	.slow = ucx_slow,
	.close = ucx_close,
};

const struct side side_ucx_hmmu = {
	.name = "UCX + hmmu",
	.what = "the same, told by libhmmu-ucx",
	.open = ucx_hmmu_open,
	.get = ucx_get,
	.put = ucx_put,
	.slow = ucx_slow,
	.close = ucx_hmmu_close,
};
