// SPDX-License-Identifier: MIT
/*
 * registered.c - is this range registered? PAGEMAP_SCAN looks at it under the kernel's map
 * lock: what it says was so at one moment.
 *
 * Cost: the page tables of the range are walked, about 10 ns a page that is there.
 */
#include <errno.h>
#include <fcntl.h>

#include "arch/syscall.h"
#include "source/userfaultfd/userfaultfd.h"

static long scan(struct hmmu_pm_scan *arg)
{
	long fd =
		hmmu_syscall(SYS_openat, AT_FDCWD, "/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	long ret;

	if (fd < 0)
		return fd == -EPERM ? -EACCES : fd;
	do {
		ret = hmmu_syscall(SYS_ioctl, fd, HMMU_PAGEMAP_SCAN, arg);
	} while (ret == -EINTR);
	hmmu_syscall(SYS_close, fd);
	return ret;
}

/* Neighbouring pages of the same category come as one region. */
int hmmu_mapping_covered(uint64_t start, uint64_t end)
{
	struct hmmu_pm_region region = {0, 0, 0};
	struct hmmu_pm_scan arg = {
		.size = sizeof(arg),
		.start = start,
		.end = end,
		.vec = (uint64_t)&region,
		.vec_len = 1,
		.category_mask = HMMU_PM_WPALLOWED,
		.return_mask = HMMU_PM_WPALLOWED,
	};
	long ret = scan(&arg);

	if (ret < 0)
		return (int)ret;
	return ret == 1 && region.start == start && region.end == end;
}

int hmmu_mapping_registered(uint64_t start, uint64_t end)
{
	struct hmmu_pm_region region;
	struct hmmu_pm_scan arg = {
		.size = sizeof(arg),
		.flags = HMMU_PM_CHECK_WPASYNC,
		.start = start,
		.end = end,
		.vec = (uint64_t)&region,
		.vec_len = 1,
		/* No page is both. */
		.category_inverted = HMMU_PM_WPALLOWED,
		.category_mask = HMMU_PM_WPALLOWED,
		.return_mask = HMMU_PM_WPALLOWED,
	};
	long ret = scan(&arg);

	if (ret == -EPERM)
		return 0;
	return ret < 0 ? (int)ret : 1;
}
