// SPDX-License-Identifier: MIT
/*
 * ranges.c - what a notified call changes. As the hooks compute it (calls.c, remap.c,
 * shm.c there), from the raw arguments.
 *
 * What the kernel will refuse has no range. What cannot be known is larger, never
 * smaller: to the top of the address space.
 */
#include <errno.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/uio.h>

#include "arch/syscall.h"
#include "source/hooks/hooks.h"
#include "source/hooks/maps.h"
#include "source/seccomp/seccomp.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef UIO_MAXIOV
#define UIO_MAXIOV 1024
#endif
#define HUGE_2M (2UL << 20)
#define HUGE_1G (1UL << 30)

static void add(struct hmmu_seccomp_change *c, enum mmu_notifier_event event,
		unsigned long start, unsigned long end)
{
	c->range[c->n].event = event;
	c->range[c->n].start = start;
	c->range[c->n].end = end;
	c->n++;
}

/* Where @start may be a huge page's, the kernel may round the size to such pages. Such
 * mappings lie only at multiples, so that the address tells the largest rounding. */
static unsigned long huge_end(unsigned long start, unsigned long end)
{
	unsigned long align = HMMU_PAGE, size;

	if (start % HUGE_1G == 0)
		align = HUGE_1G;
	else if (start % HUGE_2M == 0)
		align = HUGE_2M;
	size = (end - start + align - 1) & -align;
	return size && start + size > start ? start + size : HMMU_TOP;
}

static void map(struct hmmu_seccomp_change *c, const uint64_t *args)
{
	unsigned long start, end;

	if (!hmmu_hook_range((const void *)args[0], args[1], &start, &end))
		return;
	if ((args[3] & MAP_HUGETLB) || !(args[3] & MAP_ANONYMOUS))
		end = huge_end(start, end);
	add(c, MMU_NOTIFY_UNMAP, start, end);
}

static void plain(struct hmmu_seccomp_change *c, enum mmu_notifier_event event,
		  const uint64_t *args)
{
	unsigned long start, end;

	if (hmmu_hook_range((const void *)args[0], args[1], &start, &end))
		add(c, event, start, end);
}

static void protect(struct hmmu_seccomp_change *c, const uint64_t *args)
{
	unsigned long start, end;

	if (!hmmu_hook_range((const void *)args[0], args[1], &start, &end))
		return;
	/* The kernel stretches these to the end of the mapping, wherever that is. */
	if (args[2] & PROT_GROWSDOWN)
		start = 0;
	if (args[2] & PROT_GROWSUP)
		end = HMMU_TOP;
	add(c, MMU_NOTIFY_PROTECTION_VMA, start, end);
}

/* The table of src/source/hooks/remap.c. */
static void remap(struct hmmu_seccomp_change *c, const uint64_t *args)
{
	unsigned long kept = (args[2] + HMMU_PAGE - 1) & -HMMU_PAGE;
	unsigned long start, end, flags = args[3];

	if (args[2] && hmmu_hook_range((const void *)args[0], args[1], &start, &end)) {
		unsigned long size = end - start;

		end = huge_end(start, end);
		if ((flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) ||
		    (kept > size && (flags & MREMAP_MAYMOVE)))
			add(c, MMU_NOTIFY_UNMAP, start, end);
		else if (kept >= args[2] && kept < size)
			add(c, MMU_NOTIFY_UNMAP, start + kept, end);
	}
	if ((flags & MREMAP_FIXED) &&
	    hmmu_hook_range((const void *)args[4], args[2], &start, &end))
		add(c, MMU_NOTIFY_UNMAP, start, huge_end(start, end));
}

void hmmu_seccomp_brk_range(unsigned long addr, struct hmmu_seccomp_change *c)
{
	unsigned long now, start, end;

	c->n = 0;
	if (!addr)
		return; /* it asks */
	now = (unsigned long)hmmu_seccomp_gate(SYS_brk, 0, 0, 0, 0, 0, 0);
	start = (addr + HMMU_PAGE - 1) & -HMMU_PAGE;
	end = (now + HMMU_PAGE - 1) & -HMMU_PAGE;
	if (start && start < end)
		add(c, MMU_NOTIFY_UNMAP, start, end);
}

static void detach(struct hmmu_seccomp_change *c, unsigned long start)
{
	if (start % HMMU_PAGE == 0 && start < HMMU_TOP)
		add(c, MMU_NOTIFY_UNMAP, start, hmmu_maps_segment_end(start));
}

static unsigned long attach_end(int id, unsigned long start)
{
	struct shmid_ds ds = {0};

	if (hmmu_syscall(SYS_shmctl, id, IPC_STAT, &ds) || start + ds.shm_segsz <= start)
		return HMMU_TOP;
	return huge_end(start, start + ds.shm_segsz);
}

static void attach(struct hmmu_seccomp_change *c, const uint64_t *args)
{
	unsigned long start = args[1];

	if (args[2] & SHM_RND)
		start &= -HMMU_PAGE; /* SHMLBA is a page */
	if (start && start % HMMU_PAGE == 0 && start < HMMU_TOP)
		add(c, MMU_NOTIFY_UNMAP, start, attach_end((int)args[0], start));
}

/* Both are rounded down by the kernel; a wrapping size is refused. */
static void remap_pages(struct hmmu_seccomp_change *c, const uint64_t *args)
{
	unsigned long start = args[0] & -HMMU_PAGE, end = start + (args[1] & -HMMU_PAGE);

	if (end > start)
		add(c, MMU_NOTIFY_UNMAP, start, end);
}

/* From the first to the last page that the vector names. Pages in between lose a read. */
static void process_advise(struct hmmu_seccomp_change *c, const uint64_t *args)
{
	const struct iovec *iov = (const struct iovec *)args[1];
	unsigned long low = HMMU_TOP, high = 0;

	for (uint64_t i = 0; iov && args[2] <= UIO_MAXIOV && i < args[2]; i++) {
		unsigned long start, end;

		if (!hmmu_hook_range(iov[i].iov_base, iov[i].iov_len, &start, &end))
			continue;
		low = start < low ? start : low;
		high = end > high ? end : high;
	}
	if (low < high)
		add(c, MMU_NOTIFY_CLEAR, low, high);
}

/* Where else the hole shows that MADV_REMOVE makes. */
static void shown(struct hmmu_seccomp_change *c)
{
	unsigned long start, end;

	c->files.n = 0;
	if (!c->n)
		return;
	hmmu_seccomp_shown(&c->files, c->range[0].start, c->range[0].end, &start, &end);
	if (start < end && (start < c->range[0].start || end > c->range[0].end))
		add(c, MMU_NOTIFY_CLEAR, start, end);
}

void hmmu_seccomp_ranges(int nr, const uint64_t *args, struct hmmu_seccomp_change *c)
{
	c->n = 0;
	switch (nr) {
	case SYS_mmap:
		map(c, args);
		break;
	case SYS_munmap:
		plain(c, MMU_NOTIFY_UNMAP, args);
		break;
	case SYS_mremap:
		remap(c, args);
		break;
	case SYS_madvise:
		plain(c, MMU_NOTIFY_CLEAR, args);
		if (args[2] == MADV_REMOVE)
			shown(c);
		break;
	case SYS_mprotect:
	case SYS_pkey_mprotect:
		protect(c, args);
		break;
	case SYS_brk:
		hmmu_seccomp_brk_range(args[0], c);
		break;
	case SYS_shmdt:
		detach(c, args[0]);
		break;
	case SYS_shmat:
		attach(c, args);
		break;
	case SYS_remap_file_pages:
		remap_pages(c, args);
		break;
	case SYS_process_madvise:
		process_advise(c, args);
		if (args[3] == MADV_REMOVE)
			shown(c);
		break;
	default:
		break;
	}
}
