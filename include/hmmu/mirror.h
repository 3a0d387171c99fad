/* SPDX-License-Identifier: MIT */
/*
 * hmmu/mirror.h - the driver pattern, packaged: a device's page table that follows the CPU's.
 *
 * A mirror is one subscription, one driver lock and a table with an entry (hmm.h) for each
 * page that the device has been given. Entries come by hmmu_mirror_map(), the reader's loop
 * around hmm_range_fault(), and go in the callback, exactly those that were hit. In between
 * the device may use them:
 *
 *	for (;;) {
 *		hmmu_mirror_lock(m);
 *		ret = hmmu_mirror_lookup(m, addr, write, &pfn);
 *		if (!ret)
 *			break;		... use pfn here, under the lock
 *		hmmu_mirror_unlock(m);
 *		ret = hmmu_mirror_map(m, page, 1, flags, NULL, deadline); ... the device faults
 *		if (ret)
 *			return ret;
 *	}
 *	...
 *	hmmu_mirror_unlock(m);
 *
 * hmmu_mirror_read() and _write() are that with copying, for devices that are software.
 *
 * A DRIVER'S OWN TRANSLATIONS. A device that pins or registers what it is given has entries of
 * its own: ops->fault finds them out, where hmm_range_fault() would stand, ops->abandon undoes
 * what came of a try that collided, ops->drop takes back each that goes out of the table.
 *
 *	fault --> abandon
 *	      \-> install --> drop		each entry one of the two ways, once
 *
 * AN ACCESS THAT TAKES TIME, without the lock, has to be judged when it is complete (G1). If
 * no entry is ever used twice (a driver's own, with a count in it), an entry that is still the
 * one that was looked up says it all: what hits it takes it out before it changes anything.
 *
 *	lock; lookup: entry; unlock
 *	... the device's access
 *	lock; lookup: is it the same entry? unlock		... -EAGAIN: settle, look again
 *
 * THE LOCK is the driver lock of mmu_notifier.h, with its rules: under it nothing is
 * allocated, freed, mapped or unmapped, and no function of hmmu is called but lookup, unlock
 * and those that only ask. While it is held and an entry is valid, a change that a source
 * brackets waits; what a source tells of afterwards may be gone already: then reach memory
 * only by calls that answer EFAULT, as hmmu_mirror_read() does.
 *
 * A forked child has no mirror: every call answers -ENODEV, lock and unlock do nothing, and
 * close frees the child's copy.
 *
 * ERRORS: 0 or -errno; errno itself is left as it was.
 */
#ifndef HMMU_MIRROR_H
#define HMMU_MIRROR_H

#include <hmmu/hmm.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hmmu_mirror;

/*
 * struct hmmu_mirror_ops - all optional.
 * @install: entries [start, start + npages pages) have just been put into the table.
 * @invalidate: what the table had of [start, end), clipped to the mirror, is being dropped.
 *	Called also where it had nothing. It MUST NOT use the device's copy afterwards.
 *	Context of both: the driver lock is held; no allocation, nothing that sleeps for
 *	long. invalidate: any thread, inside libc too (mmu_notifier.h).
 * @lock, @unlock, @trylock: a driver's own lock instead of the mirror's; one may serve several
 *	mirrors. lock and unlock together or neither; without trylock an invalidation that may
 *	not sleep is refused. Only such a one calls trylock, so whoever was let in by lock may
 *	sleep in unlock, after it has let go: the place for a driver's system calls. (In a
 *	callback, so no allocation, and no call of this library.)
 * @fault: which entries the pages [start, start + npages pages) get: instead of
 *	hmm_range_fault(). Each MUST have HMM_PFN_VALID, and HMM_PFN_WRITE if @flags has
 *	HMMU_MIRROR_WRITE; the number (HMM_PFN_NUMBER) is the driver's own. Context: that of
 *	hmmu_mirror_map(), no lock. Return: 0, or -errno, nothing being left of it: if the
 *	memory changed meanwhile it is called again, otherwise map answers that. With fault
 *	there is no hmmu_mirror_read() and _write() (-EOPNOTSUPP), and no HMMU_MIRROR_DIRTY.
 * @abandon: what fault answered will not be installed. Context of fault.
 * @drop: an entry has been taken out of the table: by an invalidation (its event), by
 *	hmmu_mirror_drop() or because another one takes its place (MMU_NOTIFY_EXCLUSIVE), by
 *	close (MMU_NOTIFY_RELEASE). Before invalidate, in the same context.
 */
struct hmmu_mirror_ops {
	void (*install)(void *context, unsigned long start, unsigned long npages,
			const unsigned long *pfns);
	void (*invalidate)(void *context, unsigned long start, unsigned long end,
			   enum mmu_notifier_event event);
	void (*lock)(void *context);
	void (*unlock)(void *context);
	bool (*trylock)(void *context);
	int (*fault)(void *context, unsigned long start, unsigned long npages,
		     unsigned int flags, unsigned long *entries);
	void (*abandon)(void *context, unsigned long start, unsigned long npages,
			const unsigned long *entries);
	void (*drop)(void *context, unsigned long addr, unsigned long entry,
		     enum mmu_notifier_event event);
};

/* options->flags */
#define HMMU_MIRROR_DIRTY (1u << 0) /* hmmu_mirror_dirty() will be called */

/*
 * struct hmmu_mirror_options
 * @size:   sizeof(struct hmmu_mirror_options)
 * @flags:  HMMU_MIRROR_*
 * @start, @length: what is mirrored, page-aligned; both 0: the whole address space
 * @dev_private_owner: as in struct hmm_range
 * @page_size: what an entry is for, in bytes: a power of two from 4096 to 1 GiB; 0 is 4096.
 *	Larger ones only with ops->fault. It is the page that all of this header speaks of: what
 *	has to be aligned is aligned to it, what is hit in a part is dropped.
 */
struct hmmu_mirror_options {
	size_t size;
	unsigned long start;
	unsigned long length;
	void *dev_private_owner;
	unsigned int flags;
	unsigned int page_size;
	unsigned int reserved[4];
};

/*
 * hmmu_mirror_open()
 * @ops, @options: NULL is all zeros.
 * The addresses need not be mapped yet, unless userfaultfd is among the mm's sources: it
 * cannot watch a range with a hole, and map answers -ENODEV as long as there is one. For the
 * same reason it excludes the whole address space.
 * Context: ordinary thread; sleeps, maps memory. Return: 0, or
 *  -EINVAL	mirror or mm NULL, size, flags, page_size or reserved words wrong, not aligned,
 *		length 0 with a start, beyond the end, lock without unlock, abandon without
 *		fault, fault with HMMU_MIRROR_DIRTY
 *  -EOPNOTSUPP	the whole address space, or a part with HMMU_MIRROR_DIRTY, where userfaultfd is
 *		(is not) among the sources: see above (see hmmu_mirror_dirty())
 *  -EBUSY	another mirror tracks a part of this: HMMU_MIRROR_DIRTY
 *  -ENOMEM, -ENODEV (mm is a forked child's parent's), -EMFILE (a filter refuses
 *		process_vm_readv(), and there is no descriptor for a pipe)
 */
int hmmu_mirror_open(struct hmmu_mirror **mirror, struct mm_struct *mm,
		     const struct hmmu_mirror_ops *ops, void *context,
		     const struct hmmu_mirror_options *options);

/*
 * hmmu_mirror_close() - drops every entry (ops->invalidate is called for all of it, with
 * MMU_NOTIFY_RELEASE), unsubscribes, frees. Nobody may be inside a call. Not from a
 * callback, not under the lock. NULL: nothing.
 */
void hmmu_mirror_close(struct hmmu_mirror *mirror);

/* hmmu_mirror_map(), flags */
#define HMMU_MIRROR_WRITE (1u << 0) /* for writing too */

/*
 * hmmu_mirror_map() - gives the device [start, start + npages pages): populates and installs
 * what the table does not have. In pieces: others' changes meanwhile cost the piece that they
 * hit a retry.
 * @done: NULL, or how many pages from @start on were mapped, also where it failed. Of those
 *	that a change hit again meanwhile the next look-up tells.
 * @deadline: CLOCK_MONOTONIC; NULL waits, a zero time never sleeps for a change that is open
 *	(populating memory may sleep whatever it says).
 * Context: ordinary thread, not in a callback, not under the lock. Return: 0, or
 *  -EINVAL	mirror NULL, start not aligned, npages 0, outside the mirror, unknown flags
 *  -EFAULT	the first page that is not done cannot be: a hole, PROT_NONE, ...
 *  -EPERM	... must not be written
 *  -ETIMEDOUT	its memory kept changing, or a change is open
 *  -ENODEV	nobody watches it (now), or a forked child
 *  -ENOMEM, -EMFILE, -EOPNOTSUPP as hmm_range_fault()
 * or what ops->fault answered; -EINVAL also if its entries lack what was asked for.
 */
int hmmu_mirror_map(struct hmmu_mirror *mirror, unsigned long start, unsigned long npages,
		    unsigned int flags, unsigned long *done, const struct timespec *deadline);

/* The driver lock. */
void hmmu_mirror_lock(struct hmmu_mirror *mirror);
void hmmu_mirror_unlock(struct hmmu_mirror *mirror);

/*
 * hmmu_mirror_lookup() - under the lock: may the device use the page of @addr, now? @write:
 * for writing. Loads only; where userfaultfd is asked at each access, a system call.
 * Return: 0 and *pfn (NULL: not wanted), valid until the unlock; or
 *  -ENOENT	not in the table
 *  -EPERM	there for reading only
 *  -EAGAIN	something of the mirror's range changes or has changed: what is left of the
 *		table is good again after the next hmmu_mirror_map()
 *  -EINVAL	outside the mirror, or mirror NULL
 *  -ENODEV	a forked child
 * After all of them but the last two: unlock, map, look again.
 */
int hmmu_mirror_lookup(struct hmmu_mirror *mirror, unsigned long addr, bool write,
		       unsigned long *pfn);

/*
 * hmmu_mirror_settle() - after -EAGAIN, for who only wants to know what is left of the table:
 * as map, without anything being faulted in. After it a look-up answers -EAGAIN only for what
 * has begun since. Context: ordinary thread, not in a callback, not under the lock; sleeps as
 * long as something is open. Return: 0, or
 *  -EINVAL	mirror NULL
 *  -ETIMEDOUT	something is open, or has begun meanwhile, until the deadline
 *  -ENODEV	nobody watches it (now), or a forked child
 */
int hmmu_mirror_settle(struct hmmu_mirror *mirror, const struct timespec *deadline);

/*
 * hmmu_mirror_drop() - the device gives [start, end) back, or must: as an invalidation, but
 * by the driver. For dev_pagemap_ops.revoke (migrate.h). ops->invalidate is called with
 * MMU_NOTIFY_EXCLUSIVE. Context: any in which the lock may be taken; not under it. What is
 * outside the mirror, or not in the table, is passed over.
 */
void hmmu_mirror_drop(struct hmmu_mirror *mirror, unsigned long start, unsigned long end);

/*
 * hmmu_mirror_read(), hmmu_mirror_write() - the device copies @len bytes from, to @addr.
 * What is not in the table is mapped first, as by a device's fault. Any alignment. What was
 * read of a piece (up to 64 KiB) that changed meanwhile is discarded and read again: no byte
 * is older than the call. Bytes are not atomic to those who write at the same time, and a
 * later piece may be newer than an earlier one. A write goes to the memory that is there
 * while the lock is held. Where a source brackets, that is the memory that was looked up;
 * a raw munmap and mmap at that moment may give it to the new owner, as its own CPU's store
 * would. Never a signal: memory that is not there is -EFAULT. (But memory that the CPU itself
 * may use and the kernel may not copy, a device's registers, is -EFAULT, too.)
 * @buf must not be memory that is mirrored, watched or on a device: writing copies from it
 * under the lock.
 * Context: as map. Return: the number of bytes done, less than @len if an error came then;
 * -errno if none: those of map, and
 *  -EINVAL	buf NULL with a length, outside the mirror
 *  -EOPNOTSUPP	ops->fault: the entries are the driver's
 */
long hmmu_mirror_read(struct hmmu_mirror *mirror, unsigned long addr, void *buf, size_t len,
		      const struct timespec *deadline);
long hmmu_mirror_write(struct hmmu_mirror *mirror, unsigned long addr, const void *buf,
		       size_t len, const struct timespec *deadline);

/*
 * hmmu_mirror_dirty() - which pages of [start, start + length) have changed since the last
 * call? One scan of the page tables (PAGEMAP_SCAN), which marks anew what it reports, and
 * what the mirror's callback has been told of.
 *
 *	CPU or device writes the page	before the scan: reported by this call. After: by the
 *					next. During: by one of them, or by both.
 *	munmap, MAP_FIXED, mremap, madvise	all of the range that the call named, when the
 *					change is over
 *
 * @fn is called for each run of pages, in ascending order, without the lock; the content as
 * @fn reads it is the page's at the scan or a later one. An answer other than 0 ends the
 * call, which answers it: that run and what follows stay dirty. @fn may touch the memory,
 * but MUST NOT call dirty or close.
 * The first call reports everything; what nobody has ever touched may be missing (zeros).
 * A page that has not changed may be reported: once while it is empty, after mremap, when
 * memory comes back from a device.
 *
 * EXACT for private anonymous memory of small pages and transparent huge pages. Refused
 * (-EOPNOTSUPP): files and shared memory, whose content changes without this process's page
 * tables.
 * NOT SEEN: what is written without a page table, by a device to pages that are pinned
 * (io_uring's registered buffers, O_DIRECT, RDMA) while the scan runs or after it; mark it
 * with hmmu_mirror_mark(). Pages on a device (migrate.h): reported when they come home.
 * One tracker for a range in the process: whoever else marks pages (PAGEMAP_SCAN with
 * PM_SCAN_WP_MATCHING, UFFDIO_WRITEPROTECT) takes what it clears from this; HMM_RANGE_TAG
 * tells it: of what it marks meanwhile the next call reports.
 *
 * Context: as map; several threads take turns. Return: 0, what @fn answered, or
 *  -EINVAL	mirror or fn NULL, not aligned, empty, outside; not opened with DIRTY
 *  -EOPNOTSUPP	this memory (above), or the kernel has no PAGEMAP_SCAN (6.7)
 *  -ENODEV	not watched: not all of the MIRROR is mapped, or a forked child
 *  -ETIMEDOUT, -ENOMEM, -EACCES (/proc/self cannot be read)
 * After an error nothing is lost: it is reported by the next call.
 */
typedef int (*hmmu_mirror_dirty_fn)(void *arg, unsigned long start, unsigned long npages);
int hmmu_mirror_dirty(struct hmmu_mirror *mirror, unsigned long start, size_t length,
		      hmmu_mirror_dirty_fn fn, void *arg, const struct timespec *deadline);

/* hmmu_mirror_mark() - dirty() reports these pages at its next call. Any context in which the
 * lock may be taken; not under it. Return: 0 or -EINVAL, -ENODEV as there. */
int hmmu_mirror_mark(struct hmmu_mirror *mirror, unsigned long start, size_t length);

struct hmmu_mirror_stats {
	uint64_t entries;	/* in the table now */
	uint64_t faults;	/* pages installed */
	uint64_t retries;	/* pieces that collided and were read again */
	uint64_t invalidations; /* callbacks that ran */
	uint64_t refused;	/* callbacks that might not sleep and would have had to */
	uint64_t dropped;	/* entries that they took out */
	uint64_t scans;		/* by dirty() */
	uint64_t reported;	/* pages, by dirty() */
};
/* Context: any in which the lock may be taken. All zero in a forked child. */
void hmmu_mirror_stat(struct hmmu_mirror *mirror, struct hmmu_mirror_stats *stats);

#ifdef __cplusplus
}
#endif

#endif /* HMMU_MIRROR_H */
