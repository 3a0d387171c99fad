/* SPDX-License-Identifier: MIT */
/*
 * hmmu/migrate.h - pages move to a device and come back when the CPU touches them.
 *
 * Linux's shape (include/linux/migrate.h, include/linux/memremap.h): a device's memory is
 * an ARENA, here a range of this process's address space that nobody but the device uses.
 * A page that is on the device has its content there and nowhere else; the application's
 * address is empty, and whoever touches it, a system call too, sleeps until the page is
 * back. Its content always lives in exactly one place.
 *
 *	home --- migrate_vma_setup(), _pages(), _finalize() --------> on the device
 *	home <-- migrate_vma_* with SELECT_DEVICE_PRIVATE ----------- on the device
 *	home <-- a CPU touches it (read or write) ------------------- on the device
 *	home <-- munmap, mremap, mprotect, madvise, fork: before the change, where a source
 *		 brackets it (hooks, seccomp, explicit)
 *
 * Then the change finds ordinary memory, and behaves as ever. Where the change is told of
 * afterwards (a raw system call): munmap and madvise drop the device's pages as they drop
 * the CPU's; what a raw mremap() moves comes home there.
 *
 * WHAT WILL HURT YOU
 *
 *   A RAW fork() OR clone() IS NOT SEEN: its child reads zeros where pages were on a device
 *   (fork() of libc is bracketed, unless a signal handler that interrupted the library calls
 *   it).
 *   A page that a CPU touch brings home moves no subscription's sequence: a driver that looked
 *   it up (hmm_range_fault(): HMM_PFN_DEVICE) and installs it under its lock MUST see there
 *   that revoke() has come meanwhile, by a counter of its own.
 *   Changes that the program itself brackets (mmu_notifier_invalidate_range_start() on an mm of
 *   its own) bring nothing home: do it first.
 *   Between pages and finalize the driver MUST NOT allocate or free (another thread may be
 *   inside free(), hold its lock, and wait for finalize), nor change memory of the range, nor
 *   may its signal handlers; nor begin another migration.
 *   Under the driver lock it MUST NOT touch memory that could be on a device: who brings a
 *   page home waits for that lock in revoke().
 *   Stacks, and whatever the library or the driver works with, do not belong on a device.
 *
 * NEEDS userfaultfd among the mm's sources, with the privilege to answer for faults inside
 * system calls: CAP_SYS_PTRACE, or vm.unprivileged_userfaultfd = 1. Linux 6.8 (UFFDIO_MOVE).
 *
 * WHAT CAN MIGRATE: private anonymous memory of 4 KiB pages and transparent huge pages (which
 * are split), writable. Not: files and shared memory (as Linux's device-private memory) and
 * hugetlb: their src is 0. Nor (their src loses MIGRATE_PFN_MIGRATE) pages that are pinned, and
 * mlocked memory beyond the limits: the device's pages of it are mlocked, too, and count
 * against RLIMIT_MEMLOCK as well as what they are of. Read-only memory does not leave either,
 * unlike Linux's: the kernel moves none of it for us, and nobody would be told if it became
 * writable while it is copied. What is away when it becomes read-only comes home as ever.
 *
 * A mapping that has had a page on a device costs a round trip through the library's thread
 * at each first touch of an empty page, until the arena is closed.
 */
#ifndef HMMU_MIGRATE_H
#define HMMU_MIGRATE_H

#include <hmmu/mmu_notifier.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A device's memory. */
struct dev_pagemap;

/*
 * struct dev_pagemap_ops
 * @revoke: the page at @addr, on the device at @pfn, is about to go home or to vanish: stop
 *	using it before you return. @why: MMU_NOTIFY_MIGRATE a CPU touched it, or the memory
 *	changes; MMU_NOTIFY_EXCLUSIVE the same of one that was exclusive; MMU_NOTIFY_UNMAP it
 *	is gone already, or is somewhere else (a raw mremap()). Not called for what the driver
 *	itself migrates. It may come twice
 *	for one page, and for one that has gone meanwhile.
 *	Context: any, a hook or the monitor's thread: as a callback of mmu_notifier.h; it may
 *	take the driver lock. MUST NOT touch memory that could be on a device.
 * @page_free: the device page @pfn is nobody's any more and may be allocated again. Same
 *	context. Optional.
 */
struct dev_pagemap_ops {
	void (*revoke)(void *context, unsigned long addr, unsigned long pfn,
		       enum mmu_notifier_event why);
	void (*page_free)(void *context, unsigned long pfn);
};

/*
 * struct dev_pagemap_options
 * @size:   sizeof(struct dev_pagemap_options)
 * @bytes:  of the arena: a multiple of the page size; addresses only, until pages are there
 * @owner:  whose memory this is: compared with pgmap_owner and dev_private_owner
 */
struct dev_pagemap_options {
	size_t size;
	size_t bytes;
	void *owner;
	unsigned int flags;
	unsigned int reserved[3];
};

/*
 * hmmu_devmem_open() - Context: ordinary thread; sleeps.
 * Return: 0, or
 *  -EINVAL	an argument, size or reserved words wrong
 *  -EPERM	the privilege is missing
 *  -EOPNOTSUPP	userfaultfd is not among the mm's sources, or the kernel has no UFFDIO_MOVE
 *  -EBUSY	arenas are open on an mm with fewer sources
 *  -ENOMEM, -EMFILE (HMMU_DEVMEM_MAX arenas are open), -ENODEV (a forked child)
 */
#define HMMU_DEVMEM_MAX 16
int hmmu_devmem_open(struct dev_pagemap **pagemap, struct mm_struct *mm,
		     const struct dev_pagemap_ops *ops, void *context,
		     const struct dev_pagemap_options *options);
/* Everything comes home, then the arena goes. -EBUSY: a migration is between setup and
 * finalize; or pages cannot come home (no memory): nothing was closed. -EINVAL: NULL. */
int hmmu_devmem_close(struct dev_pagemap *pagemap);

/* A free page of the arena, content undefined: its pfn; 0: the arena is full. Any context. */
unsigned long hmmu_devmem_alloc(struct dev_pagemap *pagemap);
/* Give back one that did not become a page's. */
void hmmu_devmem_free(struct dev_pagemap *pagemap, unsigned long pfn);

struct hmmu_devmem_stats {
	uint64_t pages;			/* the arena holds so many */
	uint64_t used;			/* allocated */
	uint64_t resident;		/* of those: somebody's content */
	uint64_t moved_out, moved_back; /* by drivers */
	uint64_t touched;		/* came home because a CPU touched them */
	uint64_t brought;		/* ... before their memory changed */
	uint64_t dropped;		/* their memory is gone */
	uint64_t refused;		/* could not be moved out */
};
void hmmu_devmem_stat(struct dev_pagemap *pagemap, struct hmmu_devmem_stats *stats);

/* Entries of src and dst: Linux's. The number is a pfn as in hmm.h. */
#define MIGRATE_PFN_VALID (1UL << 0)
#define MIGRATE_PFN_MIGRATE (1UL << 1)
#define MIGRATE_PFN_WRITE (1UL << 3)
#define MIGRATE_PFN_SHIFT 6

static inline unsigned long migrate_pfn(unsigned long pfn)
{
	return (pfn << MIGRATE_PFN_SHIFT) | MIGRATE_PFN_VALID;
}

static inline unsigned long migrate_pfn_to_pfn(unsigned long mpfn)
{
	return mpfn & MIGRATE_PFN_VALID ? mpfn >> MIGRATE_PFN_SHIFT : 0;
}

enum migrate_vma_direction {
	MIGRATE_VMA_SELECT_SYSTEM = 1 << 0,	    /* what is home */
	MIGRATE_VMA_SELECT_DEVICE_PRIVATE = 1 << 1, /* what is on a device of pgmap_owner */
};

struct hmmu_migration;
struct migrate_vma;

/*
 * struct migrate_vma - one migration, from setup to finalize, by one thread.
 * @mm:		in place of Linux's vma: the range may span mappings and holes
 * @pagemap:	the arena it goes to, or comes from
 * @src:	out: per page 0 (nothing to be migrated), or migrate_pfn() with
 *		MIGRATE_PFN_MIGRATE and MIGRATE_PFN_WRITE
 * @dst:	in, between setup and pages: of each page that is to go, migrate_pfn() of a page
 *		of hmmu_devmem_alloc(); or, of one that is to come home, MIGRATE_PFN_VALID. 0:
 *		it stays
 * @cpages:	out: how many of src can be migrated
 * @npages:	out: of the range
 * @start, @end: page-aligned
 * @pgmap_owner: which devices' pages are selected
 * @flags:	MIGRATE_VMA_SELECT_*: one of them
 */
struct migrate_vma {
	struct mm_struct *mm;
	struct dev_pagemap *pagemap;
	unsigned long *dst;
	unsigned long *src;
	unsigned long cpages;
	unsigned long npages;
	unsigned long start;
	unsigned long end;
	void *pgmap_owner;
	unsigned long flags;
	struct hmmu_migration *private_data; /* the library's, from setup to finalize */
};

/*
 * The three steps. setup tells everybody who subscribed (MMU_NOTIFY_MIGRATE, owner =
 * pgmap_owner) and collects; pages moves content and all: from then on whoever touches a
 * page that moved waits until finalize, which must follow. An src entry that has lost
 * MIGRATE_PFN_MIGRATE after pages stayed where it was, content intact; its dst page is the
 * driver's again. A device with memory of its own copies between pages and finalize.
 * A page that a CPU touch has just brought home may still count as away for a moment: its src
 * is 0 then. Between pages and finalize the thread must not change the memory of the range.
 * Context: ordinary thread, no driver lock; sleeps.
 * Return: 0 (cpages may be 0), or
 *  -EINVAL	not aligned, empty, arrays NULL, flags; of two devices
 *  -ENOMEM, -ENODEV, -EOPNOTSUPP
 *  -EAGAIN	another migration of a page of the range is under way
 */
int migrate_vma_setup(struct migrate_vma *args);
void migrate_vma_pages(struct migrate_vma *args);
void migrate_vma_finalize(struct migrate_vma *args);

/* Between setup and pages: a page of args->pagemap into dst for each src that is to be
 * migrated, neighbours as far as there are. How many; fewer: the arena is full, and their dst
 * is 0. hmmu_devmem_free_rest(): between pages and finalize, or later: those of dst that did
 * not become a page's are free again, and their dst is 0. */
unsigned long hmmu_devmem_alloc_for(struct migrate_vma *args);
void hmmu_devmem_free_rest(struct migrate_vma *args);

/*
 * make_device_exclusive_range() - the device alone has these pages until a CPU touches them,
 * by a read or a write: revoke() with MMU_NOTIFY_EXCLUSIVE. Pages that are empty are
 * populated first. pfns[i]: where the device finds page i, 0: it could not be had. (It may have
 * been revoked by then: count revoke(), as above.)
 * Return: how many it got, or -errno as migrate_vma_setup(); -EINVAL also for a range that is
 * not all mapped and writable.
 */
int make_device_exclusive_range(struct dev_pagemap *pagemap, unsigned long start,
				unsigned long end, unsigned long *pfns);

#ifdef __cplusplus
}
#endif

#endif /* HMMU_MIGRATE_H */
