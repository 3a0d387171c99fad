// SPDX-License-Identifier: MIT
/* mapping.c - what is mapped there, and may its pages leave? */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "../arch/syscall.h"
#include "../source/hooks/maps.h"
#include "../source/userfaultfd/abi.h"
#include "devmem.h"

#define QUERY_READABLE 1
#define QUERY_WRITABLE 2
#define QUERY_SHARED 8

/* The errnos of migrate.h. */
static int unreadable(long error)
{
	return error == -EMFILE || error == -ENFILE || error == -ENOMEM ? -ENOMEM : -EOPNOTSUPP;
}

/* -ENOTTY: it cannot be asked so. */
static int query(uint64_t addr, struct dm_mapping *m)
{
	struct hmmu_procmap_query q = {
		.size = sizeof(q),
		.query_flags = HMMU_PROCMAP_COVERING_OR_NEXT,
		.query_addr = addr,
	};
	long fd = hmmu_syscall(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC);
	long ret;

	if (fd < 0)
		return unreadable(fd);
	ret = hmmu_syscall(SYS_ioctl, fd, HMMU_PROCMAP_QUERY, &q);
	hmmu_syscall(SYS_close, fd);
	if (ret)
		return ret == -ENOENT ? -ENOENT : -ENOTTY;
	m->start = q.vma_start;
	m->end = q.vma_end;
	m->readable = q.vma_flags & QUERY_READABLE;
	m->writable = q.vma_flags & QUERY_WRITABLE;
	m->plain = !(q.vma_flags & QUERY_SHARED) && !q.inode && !q.dev_major && !q.dev_minor &&
		   q.vma_page_size == DM_PAGE;
	return 0;
}

/* Before 6.11, or where that fails. */
static int search(uint64_t addr, struct dm_mapping *m)
{
	struct hmmu_maps maps;
	struct hmmu_mapping line;
	int ret = -ENOENT;

	if (!hmmu_maps_open(&maps))
		return -EOPNOTSUPP;
	while (ret && hmmu_maps_next(&maps, &line)) {
		if (line.end <= addr)
			continue;
		m->start = line.start;
		m->end = line.end;
		m->readable = line.prot & PROT_READ;
		m->writable = line.prot & PROT_WRITE;
		m->plain = !line.shared && !line.inode && !line.major && !line.minor;
		ret = 0;
	}
	hmmu_maps_close(&maps);
	return maps.failed ? -ENOMEM : ret;
}

int dm_mapping_find(uint64_t addr, struct dm_mapping *m)
{
	int ret = query(addr, m);

	return ret == -ENOTTY ? search(addr, m) : ret;
}
