// SPDX-License-Identifier: MIT
/* exclusive.c - a migration whose pages are the device's alone until a CPU touches them. */
#include <errno.h>

#include "../export.h"
#include "../notifier/pool.h"
#include "devmem.h"

/* All of it mapped, private and writable? */
static int check(uint64_t start, uint64_t end)
{
	struct dm_mapping m;

	for (uint64_t at = start; at < end; at = m.end) {
		int ret = dm_mapping_find(at, &m);

		if (ret == -ENOENT || (!ret && (m.start > at || !m.plain || !m.writable)))
			return -EINVAL;
		if (ret)
			return ret;
	}
	return 0;
}

static int migrate(struct migrate_vma *args, unsigned long *pfns)
{
	int ret = dm_migrate_setup(args, true), got = 0;

	if (ret)
		return ret;
	hmmu_devmem_alloc_for(args);
	migrate_vma_pages(args);
	hmmu_devmem_free_rest(args);
	migrate_vma_finalize(args);
	for (unsigned long i = 0; i < args->npages; i++) {
		bool mine = args->dst[i] && (args->src[i] & MIGRATE_PFN_MIGRATE);

		pfns[i] = mine ? migrate_pfn_to_pfn(args->dst[i]) : 0;
		got += mine;
	}
	return got;
}

HMMU_EXPORT int make_device_exclusive_range(struct dev_pagemap *arena, unsigned long start,
					    unsigned long end, unsigned long *pfns)
{
	struct migrate_vma args = {
		.pagemap = arena,
		.start = start,
		.end = end,
		.flags = MIGRATE_VMA_SELECT_SYSTEM,
	};
	size_t bytes;
	int ret;

	if (!arena || !pfns || start >= end || (start | end) & (DM_PAGE - 1))
		return -EINVAL;
	if (!hmmu_load_acquire(&arena->base))
		return -ENODEV;
	ret = check(start, end);
	if (ret)
		return ret;
	args.mm = arena->mm;
	args.pgmap_owner = arena->owner;
	bytes = ((end - start) >> DM_PAGE_SHIFT) * sizeof(*args.src);
	args.src = hmmu_map_kept(2 * bytes);
	if (!args.src)
		return -ENOMEM;
	args.dst = args.src + bytes / sizeof(*args.src);
	ret = migrate(&args, pfns);
	hmmu_unmap(args.src, 2 * bytes);
	return ret;
}
