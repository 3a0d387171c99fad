// SPDX-License-Identifier: MIT
/*
 * scan.c - the kernel says which pages were written since they were marked, and marks them.
 *
 * PAGEMAP_SCAN with PM_SCAN_WP_MATCHING: of each page that it reports it takes the right to
 * write away, under the page table's lock, and flushes the TLBs before it lets go. A write
 * is before that (its page is reported, and who reads after the scan sees it) or faults, and
 * the fault, asynchronous (userfaultfd.h), gives the right back: written since. None is
 * neither. PM_SCAN_CHECK_WPASYNC: a mapping that is not registered so, because it has been
 * replaced, is an error and not a clean page.
 *
 * The question is put exactly so (written, and nothing else wanted): then an empty page counts
 * as written until it has been marked, too. One that the kernel has emptied by itself
 * (MADV_FREE) had no event.
 */
#include <errno.h>
#include <fcntl.h>

#include "../arch/syscall.h"
#include "../hmm/mapping.h"
#include "../source/userfaultfd/abi.h"
#include "mirror.h"

#define REGIONS 256

static void take(struct hmmu_mirror *m, const struct hmmu_pm_region *region, long n)
{
	for (long i = 0; i < n; i++, region++)
		dm_bits_set(&m->pending, dm_index(m, region->start),
			    (region->end - region->start) / MIRROR_PAGE);
}

static int scan_by(struct hmmu_mirror *m, long fd, struct hmmu_pm_scan *arg)
{
	struct hmmu_pm_region region[REGIONS];

	arg->vec = (uint64_t)region;
	arg->vec_len = REGIONS;
	while (arg->start < arg->end) {
		long n = hmmu_syscall(SYS_ioctl, fd, HMMU_PAGEMAP_SCAN, arg);

		if (n == -EINTR)
			continue;
		/* What it has marked before it failed is not said. */
		if (n < 0) {
			dm_bits_set(&m->pending, dm_index(m, arg->start),
				    (arg->end - arg->start) / MIRROR_PAGE);
			return (int)n;
		}
		take(m, region, n);
		if (arg->walk_end <= arg->start)
			return -EIO;
		arg->start = arg->walk_end;
	}
	return 0;
}

int dm_scan(struct hmmu_mirror *m, uint64_t start, uint64_t end, bool all)
{
	struct hmmu_pm_scan arg = {
		.size = sizeof(arg),
		.flags = HMMU_PM_WP_MATCHING |
			 (MIRROR_PLANTED(NO_ARM) ? 0 : HMMU_PM_CHECK_WPASYNC),
		.start = start,
		.end = end,
		.category_mask = all ? 0 : HMMU_PM_WRITTEN,
		.category_anyof_mask =
			all ? HMMU_PM_WRITTEN | HMMU_PM_PRESENT | HMMU_PM_SWAPPED : 0,
		.return_mask = HMMU_PM_WRITTEN,
	};
	long fd =
		hmmu_syscall(SYS_openat, AT_FDCWD, "/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	int ret;

	if (fd < 0)
		return fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM ? -ENOMEM : -EACCES;
	ret = scan_by(m, fd, &arg);
	hmmu_syscall(SYS_close, fd);
	switch (ret) {
	case -EPERM:
		return -EAGAIN;
	case -ENOTTY:
	case -EINVAL:
		return -EOPNOTSUPP;
	default:
		return ret;
	}
}

int dm_kinds(uint64_t start, uint64_t end)
{
	struct hmm_mappings list;
	struct hmm_mapping found = {0};
	int ret = 0;

	if (hmm_mappings_open(&list))
		return -EACCES;
	for (uint64_t at = start; !ret && at < end; at = found.end) {
		ret = hmm_mapping_find(&list, at, &found);
		if (ret == -ENOENT || (!ret && found.start > at))
			ret = -EAGAIN;
		else if (ret)
			ret = -EACCES;
		else if (!found.anonymous)
			ret = -EOPNOTSUPP;
	}
	hmm_mappings_close(&list);
	return ret;
}
