// SPDX-License-Identifier: MIT
/*
 * shm.c - shmdt and shmat(SHM_REMAP): the length is not an argument.
 *
 * shmdt detaches every mapping of one segment that lies where the attachment at addr
 * put it; a part may have been unmapped, or mprotect may have split it. In
 * /proc/self/maps those are the lines named /SYSV..., of the same inode, whose start
 * less their offset is addr. When that cannot be read, or finds nothing, the
 * invalidation goes to the top of the address space: larger, never smaller.
 *
 * shmat's length is the segment's (IPC_STAT), rounded to pages. A segment of huge
 * pages is attached only at addresses that are multiples of such a page, so that the
 * alignment of the address tells the rounding that is never too small.
 */
#include <errno.h>
#include <sys/ipc.h>
#include <sys/shm.h>

#include "arch/syscall.h"
#include "source/hooks/hooks.h"
#include "source/hooks/maps.h"

#define HUGE_2M (2UL << 20)
#define HUGE_1G (1UL << 30)

HMMU_HOOK static bool is_sysv(const char *name)
{
	return name[0] == '/' && name[1] == 'S' && name[2] == 'Y' && name[3] == 'S' &&
	       name[4] == 'V';
}

HMMU_HOOK static unsigned long segment_end(unsigned long addr)
{
	struct hmmu_maps maps;
	struct hmmu_mapping m;
	unsigned long end = 0, inode = 0;

	if (!hmmu_maps_open(&maps))
		return HMMU_TOP;
	while (hmmu_maps_next(&maps, &m)) {
		if (m.start < addr || m.start - addr != m.offset || !is_sysv(m.name))
			continue;
		if (end && m.inode != inode)
			continue;
		inode = m.inode;
		end = m.end;
	}
	hmmu_maps_close(&maps);
	return end && !maps.failed ? end : HMMU_TOP;
}

HMMU_HOOK int hmmu_hook_shmdt(const void *addr)
{
	struct hmmu_source_event ev;
	unsigned long start = (unsigned long)addr;
	long ret;

	hmmu_hook_saw(HMMU_HOOK_SHMDT);
	if (start % HMMU_PAGE || start >= HMMU_TOP || !hmmu_hook_watched())
		return (int)hmmu_hook_answer(hmmu_syscall(SYS_shmdt, addr));
	hmmu_source_start(&ev, MMU_NOTIFY_UNMAP, start, segment_end(start));
	ret = hmmu_syscall(SYS_shmdt, addr);
	hmmu_source_end(&ev);
	return (int)hmmu_hook_answer(ret);
}

HMMU_HOOK static unsigned long attach_end(int id, unsigned long start)
{
	struct shmid_ds ds;
	unsigned long align = HMMU_PAGE, size;

	ds.shm_segsz = 0;
	if (hmmu_syscall(SYS_shmctl, id, IPC_STAT, &ds))
		return HMMU_TOP;
	if (start % HUGE_1G == 0)
		align = HUGE_1G;
	else if (start % HUGE_2M == 0)
		align = HUGE_2M;
	size = ((unsigned long)ds.shm_segsz + align - 1) & -align;
	return size && start + size > start ? start + size : HMMU_TOP;
}

HMMU_HOOK void *hmmu_hook_shmat(int id, const void *addr, int flags)
{
	struct hmmu_source_event ev;
	unsigned long start = (unsigned long)addr;
	long ret;

	hmmu_hook_saw(HMMU_HOOK_SHMAT);
	/* SHMLBA is a page. */
	if (flags & SHM_RND)
		start &= -HMMU_PAGE;
	if (!(flags & SHM_REMAP) || !start || start % HMMU_PAGE || start >= HMMU_TOP ||
	    !hmmu_hook_watched())
		return (void *)hmmu_hook_answer(hmmu_syscall(SYS_shmat, id, addr, flags));
	hmmu_source_start(&ev, MMU_NOTIFY_UNMAP, start, attach_end(id, start));
	ret = hmmu_syscall(SYS_shmat, id, addr, flags);
	hmmu_source_end(&ev);
	return (void *)hmmu_hook_answer(ret);
}
