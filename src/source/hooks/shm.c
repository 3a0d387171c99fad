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

HMMU_HOOK int hmmu_hook_shmdt(const void *addr)
{
	struct hmmu_change c;
	unsigned long start = (unsigned long)addr;

	hmmu_hook_saw(HMMU_HOOK_SHMDT);
	hmmu_change(&c, HMMU_HOOK_SHMDT, SYS_shmdt, addr);
	if (start % HMMU_PAGE == 0 && start < HMMU_TOP && hmmu_change_wanted(&c))
		hmmu_change_add(&c, MMU_NOTIFY_UNMAP, start, hmmu_maps_segment_end(start));
	return (int)hmmu_hook_answer(hmmu_hook_make(&c));
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
	struct hmmu_change c;
	unsigned long start = (unsigned long)addr;
	long ret;

	hmmu_hook_saw(HMMU_HOOK_SHMAT);
	hmmu_change(&c, HMMU_HOOK_SHMAT, SYS_shmat, id, addr, flags);
	/* SHMLBA is a page. */
	if (flags & SHM_RND)
		start &= -HMMU_PAGE;
	if ((flags & SHM_REMAP) && start && start % HMMU_PAGE == 0 && start < HMMU_TOP &&
	    hmmu_change_wanted(&c))
		hmmu_change_add(&c, MMU_NOTIFY_UNMAP, start, attach_end(id, start));
	ret = hmmu_hook_make(&c);
	if (!hmmu_is_err(ret) && hmmu_change_wanted(&c))
		hmmu_hook_handed_out((unsigned long)ret, attach_end(id, (unsigned long)ret));
	return (void *)hmmu_hook_answer(ret);
}
