// SPDX-License-Identifier: MIT
/*
 * side_ucx.c - UCX's ucs_rcache, as InfiniBand transports of UCX use it: events of its own
 * (UCM_EVENT_VM_UNMAPPED), no check of frame numbers, no limits
 * but where a row asks for one.
 */
#include "peers.h"

#ifdef HAVE_UCX
#include <errno.h>
#include <sys/mman.h>
#include <ucm/api/ucm.h>
#include <ucs/memory/rcache.h>

static ucs_status_t reg(void *context, ucs_rcache_t *rcache, void *arg,
			ucs_rcache_region_t *region, uint16_t flags);
static void dereg(void *context, ucs_rcache_t *rcache, ucs_rcache_region_t *region)
{
}

static void dump(void *context, ucs_rcache_t *rcache, ucs_rcache_region_t *region, char *buf,
		 size_t max)
{
	if (max)
		buf[0] = '\0';
}

struct region {
	ucs_rcache_region_t super;
	uintptr_t handle;
};

static ucs_status_t reg(void *context, ucs_rcache_t *rcache, void *arg,
			ucs_rcache_region_t *region, uint16_t flags)
{
	((struct region *)region)->handle = 0;
	return UCS_OK;
}

static int create(ucs_rcache_t **cache, unsigned long limit)
{
	static const ucs_rcache_ops_t ops = {reg, dereg, dump};
	ucs_rcache_params_t params = {
		.region_struct_size = sizeof(struct region),
		.alignment = PAGE,
		.max_alignment = PAGE,
		.ucm_events = UCM_EVENT_VM_UNMAPPED,
		.ucm_event_priority = 1000,
		.ops = &ops,
		.flags = UCS_RCACHE_FLAG_NO_PFN_CHECK,
		.max_regions = limit ? limit : -1ul,
		.max_size = -1ul,
		.max_unreleased = -1ul,
	};

	return ucs_rcache_create(&params, "hmmu-peers", NULL, cache) == UCS_OK ? 0 : -EIO;
}

static inline int get(ucs_rcache_t *cache, unsigned long addr, size_t len,
		      ucs_rcache_region_t **region)
{
	return ucs_rcache_get(cache, (void *)addr, len, PROT_READ | PROT_WRITE, NULL, region) !=
	       UCS_OK;
}

#define PEER peer_ucx
#define PEER_NAME "UCX"
#define CACHE ucs_rcache_t *
#define REF ucs_rcache_region_t *
#define OPEN(variant) 0
#define CREATE(cache, limit) create(cache, limit)
#define GET(cache, addr, len, ref) get(cache, addr, len, ref)
#define PUT(cache, ref) ucs_rcache_region_put(cache, *(ref))
#define ANSWER(ref) (uintptr_t)(ref)
#define NEXT(ref) ((struct region *)(ref))->handle
#define KEEPS_NOTHING false
#define MERGES true
#define TELL tell
#define SETTLE settle

static void tell(struct world *world, unsigned long start, size_t length)
{
}

static void settle(struct world *world);

#include "loops.h"

/* What events have queued is done by the next get that finds the lock free, a miss too. */
static void settle(struct world *world)
{
	walk(world, BASE - WINDOW, 1);
}
#else
const struct peer peer_ucx = {.name = "UCX", .absent = "built without libucx-dev"};
#endif
