// SPDX-License-Identifier: MIT
/* cache.c - see cache.h. */
#include "cache.h"

#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <ucm/api/ucm.h>
#include <ucs/memory/rcache.h>

struct region {
	ucs_rcache_region_t super;
	uint64_t generation;
};

static ucs_rcache_t *rcache;
static void (*registration)(void);
static atomic_uint registrations;

static struct {
	_Atomic(uintptr_t) page;
	atomic_uint count;
	atomic_uint all;
	_Atomic(uintptr_t) at;
	_Atomic(void (*)(void)) fn;
} events;

static struct {
	uintptr_t page;
	_Atomic(void (*)(void)) fn;
} gate;

/* A page that is not there cannot be registered. */
static ucs_status_t reg(void *context, ucs_rcache_t *cache, void *arg,
			ucs_rcache_region_t *super, uint16_t flags)
{
	struct region *region = (struct region *)super;
	struct iovec here = {&region->generation, sizeof(region->generation)};
	struct iovec there = {(void *)super->super.start, sizeof(region->generation)};
	void (*fn)(void) = registration;

	if (process_vm_readv(getpid(), &here, 1, &there, 1, 0) != sizeof(region->generation))
		return UCS_ERR_IO_ERROR;
	registrations++;
	registration = NULL;
	if (fn)
		fn();
	return UCS_OK;
}

static void dereg(void *context, ucs_rcache_t *cache, ucs_rcache_region_t *region)
{
}

static void dump(void *context, ucs_rcache_t *cache, ucs_rcache_region_t *region, char *text,
		 size_t max)
{
	snprintf(text, max, "%lu", (unsigned long)((struct region *)region)->generation);
}

static void on_event(ucm_event_type_t type, ucm_event_t *event, void *arg)
{
	uintptr_t start = (uintptr_t)event->vm_unmapped.address;
	uintptr_t end = start + event->vm_unmapped.size, at = events.at;
	void (*fn)(void) = events.fn;

	events.all++;
	if (start <= events.page && end > events.page)
		events.count++;
	if (fn && start <= at && end > at)
		fn();
}

/* UCX calls it between its "unmapped" event, of which the cache is told, and the call. */
static void on_munmap(ucm_event_type_t type, ucm_event_t *event, void *arg)
{
	void (*fn)(void) = NULL;

	if ((uintptr_t)event->munmap.address == gate.page)
		fn = atomic_exchange(&gate.fn, fn);
	if (fn)
		fn();
}

bool cache_open(void)
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

	/* The gate first: UCX keeps handlers of one priority in the order of their coming. */
	return ucs_rcache_create(&params, "test", NULL, &rcache) == UCS_OK &&
	       ucm_set_event_handler(UCM_EVENT_VM_UNMAPPED | UCM_EVENT_FLAG_NO_INSTALL, 1,
				     on_event, NULL) == UCS_OK &&
	       ucm_set_event_handler(UCM_EVENT_MUNMAP | UCM_EVENT_FLAG_NO_INSTALL, -1,
				     on_munmap, NULL) == UCS_OK;
}

void cache_close(void)
{
	ucm_unset_event_handler(UCM_EVENT_VM_UNMAPPED, on_event, NULL);
	ucm_unset_event_handler(UCM_EVENT_MUNMAP, on_munmap, NULL);
	ucs_rcache_destroy(rcache);
}

uint64_t look(void *p)
{
	ucs_rcache_region_t *region;
	uint64_t generation;

	if (ucs_rcache_get(rcache, p, PAGE, PROT_READ | PROT_WRITE, NULL, &region) != UCS_OK)
		return 0;
	generation = ((struct region *)region)->generation;
	ucs_rcache_region_put(rcache, region);
	return generation;
}

bool cached(void *p)
{
	unsigned int before = registrations;

	return look(p) && registrations == before;
}

void in_next_registration(void (*fn)(void))
{
	registration = fn;
}

unsigned int told(const void *p)
{
	uintptr_t page = (uintptr_t)p;

	/* The first question only says of which page. */
	if (atomic_exchange(&events.page, page) != page)
		events.count = 0;
	return atomic_exchange(&events.count, 0);
}

unsigned int told_at_all(void)
{
	return atomic_exchange(&events.all, 0);
}

void in_event(const void *p, void (*fn)(void))
{
	events.fn = NULL;
	events.at = (uintptr_t)p;
	events.fn = fn;
}

void before_munmap(const void *p, void (*fn)(void))
{
	gate.page = (uintptr_t)p;
	gate.fn = fn;
}
