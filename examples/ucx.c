// SPDX-License-Identifier: MIT
/*
 * ucx.c - UCX's registration cache, mended with one call.
 *
 * UCX tells its caches of an unmapping before it is made, and nothing tells them when it is
 * done. Who looks up in between registers the dying page, and that stays in the cache. Here
 * "between" is made to happen: a handler that UCX calls after its caches looks the page up,
 * as another thread might. A registration notes what the page held: then it is replaced.
 *
 * With --unsafe UCX is alone, and answers the old page. Exit 77: hooks do not work here, or
 * UCX's own are off (UCX_MEM_MMAP_HOOK_MODE).
 */
#include <hmmu/ucx.h>

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <ucm/api/ucm.h>
#include <ucs/memory/rcache.h>

#define PAGE 4096UL

struct region {
	ucs_rcache_region_t super;
	char pinned[8];
};

static ucs_rcache_t *cache;
static char *page, seen[8];
static volatile bool armed; /* munmap() is declared to call nothing of ours back */

/* A device would pin the page: this keeps what it holds. */
static ucs_status_t reg(void *context, ucs_rcache_t *c, void *arg, ucs_rcache_region_t *super,
			uint16_t flags)
{
	strcpy(((struct region *)super)->pinned, (char *)super->super.start);
	return UCS_OK;
}

static void dereg(void *context, ucs_rcache_t *c, ucs_rcache_region_t *region)
{
}

static void dump(void *context, ucs_rcache_t *c, ucs_rcache_region_t *region, char *text,
		 size_t max)
{
	snprintf(text, max, "%s", ((struct region *)region)->pinned);
}

/* What a device sees through the cache. */
static const char *look(void)
{
	ucs_rcache_region_t *region;

	if (ucs_rcache_get(cache, page, PAGE, PROT_READ | PROT_WRITE, NULL, &region) != UCS_OK)
		return "nothing";
	strcpy(seen, ((struct region *)region)->pinned);
	ucs_rcache_region_put(cache, region);
	return seen;
}

/* After UCX's event, before its system call. */
static void meanwhile(ucm_event_type_t type, ucm_event_t *event, void *arg)
{
	if (!armed || event->munmap.address != page)
		return;
	armed = false;
	printf("while it is unmapped the device sees: %s\n", look());
}

static bool open_cache(void)
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

	return ucs_rcache_create(&params, "example", NULL, &cache) == UCS_OK &&
	       ucm_set_event_handler(UCM_EVENT_MUNMAP | UCM_EVENT_FLAG_NO_INSTALL, -1,
				     meanwhile, NULL) == UCS_OK;
}

static bool map(const char *text)
{
	void *p = mmap(page, PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | (page ? MAP_FIXED_NOREPLACE : 0), -1, 0);

	if (p == MAP_FAILED)
		return false;
	page = p;
	strcpy(page, text);
	return true;
}

int main(int argc, char **argv)
{
	struct hmmu_mm_options options = {.size = sizeof(options),
					  .require = HMMU_BRACKETED,
					  .sources = HMMU_SOURCE_HOOKS};
	bool unsafe = argc > 1 && !strcmp(argv[1], "--unsafe"), stale;
	struct mm_struct *mm;

	if (!open_cache()) {
		fputs("UCX has no events here\n", stderr);
		return 77;
	}
	if (!unsafe && (hmmu_mm_open(&mm, &options) || hmmu_ucx_start(mm, NULL))) {
		fprintf(stderr, "hooks: %s\n", hmmu_source_why(HMMU_SOURCE_HOOKS));
		return 77;
	}
	if (!map("old"))
		return 1;
	armed = true;
	if (munmap(page, PAGE) || !map("new") || armed)
		return 1; /* armed: UCX's hook did not see it */
	stale = strcmp(look(), "new") != 0;
	printf("the page is new; the device sees: %s\n", seen);
	/* What is unsafe has to show, or this shows nothing. */
	return unsafe != stale;
}
