/* SPDX-License-Identifier: MIT */
/*
 * uring_mirror.h - a device whose page table is io_uring's registered buffers.
 *
 * A registered buffer pins physical pages as an RDMA registration does: after
 * munmap + mmap of the same address it still reaches the OLD page, and data is
 * corrupted in silence. So it is a real device for <hmmu/mirror.h>, on any machine,
 * and this is a driver for it which uses nothing but that header.
 *
 *   pins	 the ring's sparse table of registered buffers; one slot pins one
 *		 block (a page, unless options->block says more)
 *   window	 a range of addresses that is mirrored: a struct hmmu_mirror whose pages
 *		 are blocks and whose entries name slots
 *   access	 the device reads memory: WRITE_FIXED from the slot into the
 *		 mirror's own staging memfd, where the program looks at the bytes.
 *		 The device writes memory: READ_FIXED from there into the slot.
 *		 The CPU never touches the process's pages: an address that is no
 *		 longer mapped is an errno, not a crash.
 *
 * WHOSE IS WHAT
 *
 *   The library's: the subscription, the table, the reader's loop, what an invalidation
 *   takes out of the table, and when what is left is good. The driver's: what an entry is.
 *   fault pins a block into a free slot and answers an entry: its number and a count
 *   that no other pin has; abandon and drop empty the slot again.
 *
 * ONE MIRROR PER DEVICE THREAD
 *
 *   Every call on a mirror comes from one thread at a time, its owner; callbacks
 *   come from anywhere. The submission queue, the in-flight accounts and the list of
 *   free slots then need no lock at all; what a hit takes is the driver lock, which is
 *   nobody's but this mirror's, and a share of one io_uring_enter(). What it costs: an
 *   invalidation calls back once per window that it hits, and a page used by two device
 *   threads is pinned twice.
 *
 * LOCKS AND ORDERS
 *
 *   The driver lock, one per mirror, is that of all its windows' tables (ops->lock). It
 *   guards them and the slots' states. It is taken by the owner for a look-up or a few
 *   stores, and by callbacks.
 *
 *	an allocator's lock (a hook inside free)
 *	    driver lock
 *	    the kernel's uring_lock (inside io_uring_register)
 *
 *   The last two are not nested: under the driver lock nothing is allocated, freed
 *   or unmapped and no system call is made. What an invalidation drops goes on a list under
 *   it, and is emptied by who lets go of it, in ops->unlock, hence before the callback
 *   returns; pinning and undoing happen outside it as well. liburing's call on the
 *   callback's path (io_uring_register_buffers_update_tag) is one system call and
 *   allocates nothing. Link with -z now: binding lazily inside a hook takes the dynamic
 *   linker's lock (open() also binds it early).
 *
 *   A callback whose range is not blockable takes the driver lock by trylock, or
 *   refuses; and it may not wait for uring_lock either. It leaves the list (the slots are
 *   in no table, so no look-up finds them), and whoever may sleep and has the lock
 *   next (the owner's next call, or a blockable callback) empties them.
 *
 * THE CHECKS (G1)
 *
 *   install	hmmu_mirror_map(): read_begin, fault (= the truth is read), driver lock,
 *		read_retry: collided -> abandon, again with another slot; else install.
 *   look-up	hmmu_mirror_lookup() under the lock. -EAGAIN: something of the window has
 *		changed; settle, look again.
 *   completion	look up again: the same entry? Then nothing took it out meanwhile, and
 *		whatever hits a block takes its entry out before it changes anything: the
 *		block was the same all the time. Otherwise nobody can say from which
 *		page the bytes are. They are discarded: -ESTALE. An invalidation of a
 *		neighbour moves the window's sequence (-EAGAIN), and no entry; only while
 *		it is still open the access is discarded with those that were hit.
 *
 *	owner				invalidator
 *	lock; look-up: entry e; unlock
 *	queue, submit
 *					start: the sequence moves
 *					callback: lock, e out of the table, unlock;
 *						  empty the slot
 *	  the request holds the page
 *	  and completes into it
 *					the translations change; end
 *	completion: look-up: -EAGAIN
 *	  settle; look-up: not e
 *	  -> discarded, -ESTALE				[Required]
 *
 *	owner				invalidator of a neighbour in the window
 *	lock; look-up: entry e; unlock
 *	queue, submit
 *					start: the sequence moves
 *					callback: e stays
 *					the neighbour changes; end
 *	  the request completes
 *	completion: look-up: -EAGAIN
 *	  settle; look-up: e
 *	  -> good					[Allowed]
 *
 *   e never comes back once it is out, though its slot does and the block is pinned again:
 *   that entry has another count. So "the same" needs no look at what happened between.
 *
 *   A WRITE by the device that was overtaken so has gone to the old page, to the
 *   new one, or nowhere; it cannot be taken back, and repeating it might hurt.
 *   It is reported -ESTALE, counted, and never repeated by the mirror.
 *
 * REQUESTS IN FLIGHT AND THE REUSE OF SLOTS
 *
 *   Emptying a slot does not wait for requests: they hold its pages until they
 *   complete. The slot's tag completes after the last of them, and only then is
 *   the slot free again. No block is evicted while an access uses it. Hence
 *
 *	slots == free + being filled + live + dying (emptied, tag not seen yet)
 *
 *   bounds the pages pinned, those of dying slots included, and a slot number
 *   names one pin at a time. (Old kernels, 6.1 for one, return tags up to a second
 *   late, and unpin as late: give a mirror there more slots than blocks.)
 *   uring_mirror_close() cancels what is in flight, waits for every completion,
 *   has the kernel let go of every pin, and only then gives the ring back.
 *
 * FORK: the child may call uring_mirror_close() and nothing else succeeds: -ENODEV.
 * The ring is the parent's; the child does not touch it.
 *
 * ERRORS: 0 or -errno; errno is left as it was or holds a system call's error.
 */
#ifndef HMMU_URING_MIRROR_H
#define HMMU_URING_MIRROR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <hmmu/mmu_notifier.h>

#ifdef __cplusplus
extern "C" {
#endif

struct uring_mirror;
struct uring_window;

#define URING_MIRROR_MAX_SLOTS 16384u
#define URING_MIRROR_MAX_DEPTH 4096u

/*
 * struct uring_mirror_options - 0 in a field takes the default.
 * @size:  sizeof(struct uring_mirror_options)
 * @slots: blocks pinned at once, dying ones included; 1024
 * @depth: accesses in flight at once; 64. One staging block each
 * @block: bytes that one slot pins: a power of two from the page size to 1 GiB;
 *	   the page size
 */
struct uring_mirror_options {
	size_t size;
	unsigned int slots;
	unsigned int depth;
	unsigned int block;
	unsigned int reserved[3];
};

/*
 * struct uring_access - one access of the device. The caller's; it MUST stay where
 * it is until the access has completed (or uring_mirror_close() returned).
 * @window: in which window
 * @addr, @len: inside the window and inside one block of it
 * @flags: URING_READ or URING_WRITE; | URING_AT_FD
 * @index: staging block of a plain access, below depth, its own among those in
 *	   flight. uring_mirror_run() numbers its array itself
 * @fd:	   URING_AT_FD: transfer to or from this file (at its position, or in
 *	   order for a pipe) instead of staging
 * @result: bytes transferred, or
 *	-ESTALE	     discarded: invalidated, or dropped, between look-up and completion;
 *		     or something of the window is being invalidated at the completion
 *	-EFAULT	     not pinnable: unmapped, read-only, PROT_NONE, a shared
 *		     mapping of a disk file. Nothing was cached
 *	-ENOMEM	     RLIMIT_MEMLOCK (or memory). Nothing was cached
 *	-ETIMEDOUT   an invalidation stayed open, or collided, until the deadline
 *	-ENODEV	     not watched: nothing may be cached (also: a forked child)
 *	-EIO	     a transfer with the staging file was short
 *	-ECANCELED   uring_mirror_close()
 *	others	     what io_uring answered
 * The rest belongs to the mirror while it is in flight.
 */
#define URING_READ 0u
#define URING_WRITE (1u << 0)
#define URING_AT_FD (1u << 1)

struct uring_access {
	struct uring_window *window;
	unsigned long addr;
	unsigned int len;
	unsigned int flags;
	unsigned int index;
	int fd;
	int result;
	unsigned long entry;
	struct uring_access *next;
};

/* Counts since open. @zapped and @callbacks are written by callbacks, the rest by
 * the owner. */
struct uring_mirror_stats {
	uint64_t lookups;   /* == hits + misses + those that did not get so far */
	uint64_t hits;	    /* in the table, and good */
	uint64_t misses;    /* no slot: went to pin */
	uint64_t pins;	    /* installed */
	uint64_t retries;   /* collided between read_begin and the driver lock */
	uint64_t waits;	    /* look-ups that found an invalidation open */
	uint64_t refused;   /* could not be pinned, or not watched */
	uint64_t discarded; /* completed, and no longer good: -ESTALE */
	uint64_t repeated;  /* of those, reads that uring_mirror_run() did again */
	uint64_t raced;	    /* of those, writes */
	uint64_t evicted;   /* slots emptied to make room */
	uint64_t callbacks; /* invalidate() calls that were answered true */
	uint64_t busy;	    /* ... false: not blockable and the lock was taken */
	uint64_t zapped;    /* live slots that they dropped */
	uint64_t pinned;    /* slots that hold pages now: a level, not a count */
};

/*
 * uring_mirror_open() - Context: ordinary thread, which becomes the owner; sleeps.
 * Return: 0, or
 *  -EINVAL  size or reserved words wrong, or a value out of range
 *  -ENOSYS  this kernel has no io_uring, or a container's filter says so
 *  -EPERM   kernel.io_uring_disabled, or a container's filter
 *  -ENOMEM, -EMFILE and what the kernel answers
 * uring_mirror_why() says it in words.
 */
int uring_mirror_open(struct uring_mirror **mirror, struct mm_struct *mm,
		      const struct uring_mirror_options *options);

/*
 * uring_mirror_close() - cancels what is in flight (the accesses get their result:
 * -ECANCELED), unwatches every window, waits until nothing is pinned, frees.
 * Context: the owner, or any thread once the owner is done; not a callback.
 */
void uring_mirror_close(struct uring_mirror *mirror);

/* A sentence for an errno of uring_mirror_open() or of an access. Never NULL. */
const char *uring_mirror_why(int error);

/*
 * uring_mirror_watch() - mirror [start, start + length), both multiples of block.
 * Nothing is pinned yet, and nothing need be mapped.
 * Return: 0; -EINVAL (alignment, length 0); what hmmu_mirror_open() answers.
 */
int uring_mirror_watch(struct uring_mirror *mirror, unsigned long start, size_t length,
		       struct uring_window **window);

/*
 * uring_mirror_unwatch() - drop the window's slots, and the subscription.
 * Return: 0, or -EBUSY: accesses of it are in flight (reap them), nothing changed.
 */
int uring_mirror_unwatch(struct uring_window *window);

/*
 * uring_mirror_drop() - empty the slots of [addr, addr + length) of the window. What is in
 * flight there is discarded. The subscription stays.
 */
void uring_mirror_drop(struct uring_window *window, unsigned long addr, size_t length);

/* Has the block of @addr a slot now? For tests and tools: it looks at all of them. */
bool uring_mirror_cached(struct uring_window *window, unsigned long addr);

/* The staging block of accesses with this index. */
void *uring_mirror_buffer(struct uring_mirror *mirror, unsigned int index);

/*
 * uring_mirror_prep() - look up or pin, and queue. Context: the owner.
 * @deadline: CLOCK_MONOTONIC, for waiting on invalidations; NULL waits; a zero
 *	time never sleeps.
 * Return: 0: queued; -EAGAIN: depth accesses are queued or in flight, or every
 * slot is in use by them: submit, reap, again; -EINVAL: outside its window or
 * block; or a refusal, which is in access->result too.
 */
int uring_mirror_prep(struct uring_mirror *mirror, struct uring_access *access,
		      const struct timespec *deadline);

/* Hand what is queued to the kernel. Return: how many, or -errno. */
int uring_mirror_submit(struct uring_mirror *mirror);

/*
 * uring_mirror_reap() - collect accesses that completed, check each again (G1).
 * Waits for at least one while any is in flight. @done: a list linked by ->next.
 * Return: how many; -ETIMEDOUT: none until the deadline; -ENODEV.
 */
int uring_mirror_reap(struct uring_mirror *mirror, struct uring_access **done,
		      const struct timespec *deadline);

/*
 * uring_mirror_run() - all of it, for @n accesses to staging (n <= depth; access i
 * uses staging block i): reads that were discarded are repeated until they are
 * good or the deadline passes. None may be in flight before. Return: 0, every
 * ->result is set; -EINVAL: bad arguments, nothing done; -errno: the ring failed.
 */
int uring_mirror_run(struct uring_mirror *mirror, struct uring_access *accesses, unsigned int n,
		     const struct timespec *deadline);

void uring_mirror_stats(struct uring_mirror *mirror, struct uring_mirror_stats *stats);

#ifdef __cplusplus
}
#endif

#endif /* HMMU_URING_MIRROR_H */
