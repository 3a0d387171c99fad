// SPDX-License-Identifier: MIT
/* mapping.c - which mapping covers an address: PROCMAP_QUERY, or the list where the
 * kernel has none (before 6.11). */
#include <errno.h>
#include <fcntl.h>

#include "arch/syscall.h"
#include "source/hooks/maps.h"
#include "source/userfaultfd/userfaultfd.h"

/* 1: this kernel cannot. */
static int query(uint64_t addr, struct uffd_extent *found)
{
	struct hmmu_procmap_query q = {
		.size = sizeof(q),
		.query_flags = HMMU_PROCMAP_COVERING_OR_NEXT,
		.query_addr = addr,
	};
	long fd = hmmu_syscall(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC);
	long ret;

	/* ENOENT would say that nothing is mapped. */
	if (fd < 0)
		return fd == -ENOENT ? -EACCES : (int)fd;
	ret = hmmu_syscall(SYS_ioctl, fd, HMMU_PROCMAP_QUERY, &q);
	hmmu_syscall(SYS_close, fd);
	if (ret == -ENOTTY)
		return 1;
	found->start = q.vma_start;
	found->end = q.vma_end;
	return (int)ret;
}

struct search {
	uint64_t addr;
	struct uffd_extent *found;
	bool hit;
};

static bool first_above(const struct uffd_extent *m, void *arg)
{
	struct search *s = arg;

	if (m->end <= s->addr)
		return true;
	*s->found = *m;
	s->hit = true;
	return false;
}

int hmmu_mapping_find(uint64_t addr, struct uffd_extent *found)
{
	struct search s = {addr, found, false};
	int ret = query(addr, found);

	if (ret != 1)
		return ret;
	ret = hmmu_mapping_each(first_above, &s);
	if (!ret && !s.hit)
		ret = -ENOENT;
	return ret;
}

int hmmu_mapping_each(bool (*fn)(const struct uffd_extent *, void *), void *arg)
{
	struct hmmu_maps maps;
	struct hmmu_mapping m;

	if (!hmmu_maps_open(&maps))
		return -EACCES;
	while (hmmu_maps_next(&maps, &m)) {
		const struct uffd_extent e = {m.start, m.end};

		if (!fn(&e, arg))
			break;
	}
	hmmu_maps_close(&maps);
	return maps.failed ? -EIO : 0;
}
