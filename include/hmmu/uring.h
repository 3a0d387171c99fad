/* SPDX-License-Identifier: MIT */
/*
 * hmmu/uring.h - fixed buffers of io_uring, for any address, on a ring of your own.
 *
 * A fixed buffer is faster than a plain one because the kernel has its pages pinned
 * already; and it is dangerous for the same reason: after munmap + mmap of the address it
 * still reaches the old pages. Here the slots of the ring's table are filled on demand,
 * found again in a <hmmu/regcache.h>, and emptied when the memory under them changes.
 *
 *	struct hmmu_uring *u;
 *	struct hmmu_uring_req req;	// one for each request in flight, where you like
 *
 *	hmmu_uring_open(&u, &ring, NULL, NULL);
 *	...
 *	hmmu_uring_prep_read(u, io_uring_get_sqe(&ring), fd, buf, len, offset, &req);
 *	io_uring_submit(&ring);
 *	io_uring_wait_cqe(&ring, &cqe);
 *	n = hmmu_uring_complete(u, io_uring_cqe_get_data(cqe), cqe->res);
 *	io_uring_cqe_seen(&ring, cqe);
 *
 * Link with -lhmmu-uring (pkg-config hmmu-uring). docs/io_uring.md starts from a program.
 *
 * WHAT HOLDS
 *
 *   A request that is prepared after a change of its memory has been told (hmmu/regcache.h
 *   says when that is) never goes to the old pages (G1). One that was prepared before the
 *   change and completes after it may have: hmmu_uring_complete() answers -ESTALE.
 *
 *   Whatever cannot have a slot is done as the plain operation, by which the kernel looks
 *   the address up itself: never a failure that plain io_uring would not have, only slower,
 *   and counted with its cause.
 *
 *   Nothing here submits, reaps or makes a completion of its own: every CQE on the ring is
 *   the application's. (No tags are registered: see "slots" below.)
 *
 * WHO MAY CALL WHAT, WHERE
 *
 *   "The issuer": on a ring with IORING_SETUP_SINGLE_ISSUER (DEFER_TASKRUN needs it) the one
 *   thread that the kernel lets submit and register; a ring that is not yet enabled
 *   (IORING_SETUP_R_DISABLED) has none. On other rings, SQPOLL's included: any thread.
 *
 *		    thread	   sleeps
 *	open	    issuer	   maps, may create a thread
 *	prep	    issuer	   a hit: no lock, no system call. A miss registers: faults
 *				   pages in, takes the kernel's lock of the ring; waits
 *				   for an invalidation max_wait_ns at most
 *	complete    any		   no; but in the issuer it may empty dead slots, as flush
 *	flush	    issuer	   takes the kernel's lock of the ring
 *	stats, why  any		   no
 *	close	    issuer	   yes
 *
 *   Several threads may prepare, complete and flush at once, as far as the ring allows it;
 *   who may write an sqe is between the application and its ring. None of it in a callback
 *   of <hmmu/mmu_notifier.h> or in a signal handler. Between start and end of an own
 *   invalidation prep is legal: it is the plain operation. The library's reclaimer calls
 * io_uring_register() on the ring, but never on a SINGLE_ISSUER one.
 *
 *   Locks, outermost first: none of the application's is taken; the slots' lock (never held
 *   across a system call); the kernel's lock of the ring, alone. A callback of the cache
 *   takes neither: it marks the region dead.
 *
 * THE MEETINGS
 *
 *   A change between preparation and completion (G1's last sentence):
 *
 *	application			invalidator
 *	prep: a reference, slot 5
 *	submit
 *					start: the region dies, no get finds it
 *	  the request holds the pages
 *					the translations change; end
 *	completion
 *	complete: valid() == false
 *	  -> -ESTALE						[Required]
 *	  the reference goes
 *					reclaimer: empties slot 5
 *
 *   Pair: the load in valid() comes after the load that saw the CQE, hence after the
 *   device's last touch; the start's store comes before the change.
 *
 *   The reuse of a slot. An entry names its buffer by number, and the kernel looks it up when
 *   it issues the request, which may be long after the entry was written (not yet submitted,
 *   SQPOLL, linked, drained). So the number must mean the same buffer until then:
 *
 *	application			elsewhere
 *	prep A: a reference, slot 5
 *					A's memory changes: dead, not emptied:
 *					  it is referenced		[Required]
 *	prep B: slot 5 is not free
 *	submit, completion of A
 *	complete A: the reference goes
 *					slot 5 is emptied, then free
 *	prep C: may fill slot 5
 *
 *   The reference outlasts the completion, and issue comes before completion. Hence no tag
 *   has to tell when the last request let go, and none is registered: the kernel counts who
 *   holds the pages of a slot that was emptied, and a new buffer in it is a new object. On
 *   some kernels (6.1) they stay pinned up to a second longer.
 *
 *   A SINGLE_ISSUER ring answers io_uring_register() of any other thread -EEXIST:
 *
 *	issuer				reclaimer
 *					the region is dead and not referenced:
 *					  its slot goes to the dead ones
 *	next prep, complete or flush:
 *	  empties it, then it is free
 *
 *   Dead is safe: no region names it. But its pages stay pinned until the issuer comes by: one
 *   that is about to sleep for long calls hmmu_uring_flush() first. Slots whose emptying
 *   failed wait in the same place, on every ring.
 *
 * FORK: the ring is the parent's. In the child everything but close answers -ENODEV and writes
 * nothing, into the ring's shared memory neither; close frees what the child has of it.
 *
 * ERRORS: 0 or -errno; errno itself is left as it was.
 */
#ifndef HMMU_URING_H
#define HMMU_URING_H

#include <liburing.h>

#include <hmmu/regcache.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hmmu_uring;

#define HMMU_URING_MAX_SLOTS 16384u	  /* the kernel's */
#define HMMU_URING_MAX_BUFFER (1UL << 30) /* bytes in one slot: the kernel's */

/*
 * struct hmmu_uring_options - start from HMMU_URING_DEFAULTS.
 * @slots:	regions registered at once, dead ones in use included
 * @max_bytes:	bytes pinned at once, the same included
 * @max_merged: a page: none, so that a program which leaves a buffer alone while requests
 *		are on it meets no -ESTALE for what happens next to it. More: buffers that
 *		overlap or are neighbours share a slot up to so many bytes, and a change of
 *		one of them drops, and makes stale, all. For buffers that share pages, or
 *		are used in pieces that overlap: those push each other out otherwise
 *		(cache.replaced)
 * @max_wait_ns: a miss whose memory is being changed waits so long for the end, then it is
 *		the plain operation; 0 never sleeps for it (but arms nothing either: where
 *		userfaultfd is among the sources many a miss will be plain)
 */
struct hmmu_uring_options {
	size_t size;
	unsigned int slots;
	unsigned int flags; /* 0 */
	unsigned long max_bytes;
	unsigned long max_merged;
	unsigned long max_wait_ns;
	unsigned int reserved[6];
};

#define HMMU_URING_DEFAULTS                                                              \
	{                                                                                \
		sizeof(struct hmmu_uring_options), 1024, 0, HMMU_NO_LIMIT, 4096, 100000, \
		{                                                                        \
			0, 0, 0, 0, 0, 0                                                 \
		}                                                                        \
	}

/*
 * hmmu_uring_open() - take the ring's table of fixed buffers, all of it: until close the
 * application MUST NOT register, update or unregister buffers. Files are its own affair.
 * @ring:	initialised; it MUST outlive the close and stay where it is
 * @mm:		whose memory; NULL: its own (HMMU_SOURCE_BEST)
 * @options:	NULL is HMMU_URING_DEFAULTS
 * Return: 0, or with nothing changed
 *  -EINVAL	u or ring NULL; size, flags or reserved words wrong; slots 0 or above
 *		HMMU_URING_MAX_SLOTS; a limit of 0
 *  -EBUSY	the ring has fixed buffers: the application's, or another adapter's
 *  -EEXIST	not the issuer
 *  -EACCES	the ring's restrictions forbid it, or it is not enabled and the kernel wants
 *		it to be
 *  -EOPNOTSUPP this kernel has no sparse tables (before Linux 5.19)
 *  -ENOMEM, -EMFILE and what hmmu_regcache_create() answers
 */
int hmmu_uring_open(struct hmmu_uring **u, struct io_uring *ring, struct mm_struct *mm,
		    const struct hmmu_uring_options *options);

/*
 * hmmu_uring_close() - empty the slots, give the table back, free. Before
 * io_uring_queue_exit(). If the ring refuses (not the issuer: it may be gone), the table stays
 * with the ring until io_uring_queue_exit(). Return: 0; -EBUSY: fixed requests have not been
 * completed, nothing changed; -EINVAL: NULL.
 */
int hmmu_uring_close(struct hmmu_uring *u);

/* A sentence for an errno of open, prep or complete. Never NULL. */
const char *hmmu_uring_why(int error);

/* req->kind */
#define HMMU_URING_IDLE 0u
#define HMMU_URING_FIXED 1u
#define HMMU_URING_PLAIN 2u

/*
 * struct hmmu_uring_req - one request: the caller's, in its own request structure; not
 * initialised by it, and not touched from prep to complete. (It may be moved, if user_data is
 * not its address.)
 * @kind:	HMMU_URING_*, to read
 * @why:	of a plain one: the errno for which it has no slot, or 0
 */
struct hmmu_uring_req {
	struct hmmu_region_ref ref;
	uint32_t kind;
	int why;
	uint64_t reserved;
};
HMMU_STATIC_ASSERT(sizeof(struct hmmu_uring_req) == 32, "ABI: request");

/*
 * hmmu_uring_prep_read(), _write() - READ_FIXED or WRITE_FIXED of @len bytes at any @addr,
 * or the plain operation. As io_uring_prep_read(): sets all of the entry that it sets, so put
 * sqe->flags, ioprio and rw_flags afterwards. user_data becomes @req's address; the adapter
 * never looks at it, so it may then be set to anything else.
 * From 0 on the request is the adapter's until hmmu_uring_complete(): an entry that is never
 * submitted, too (it then is to be completed with -ECANCELED).
 * IOSQE_CQE_SKIP_SUCCESS MUST NOT be used: the completion is what ends the request.
 *
 * It is the plain operation, and req->why and the statistics say for which reason, when
 *	the address cannot be registered: not mapped, not writable (io_uring pins for writing,
 *	  also to read from), a shared mapping of a disk's file, memory of a device; a wrapping
 *	  range: -EFAULT, -EINVAL or what the kernel answered
 *	slots, max_bytes or RLIMIT_MEMLOCK are used up and nothing can be evicted: -ENOMEM,
 *	  -ENOBUFS
 *	it is longer than a slot: -E2BIG. (At most 0x7ffff000 bytes are asked for at all, as by
 *	  read(2).) Or @len is 0: why is 0
 *	the memory is being changed just now: -ETIMEDOUT; or cannot be watched: -ENODEV
 * and it is then exactly what plain io_uring does.
 *
 * Return: 0, or with nothing written
 *  -EAGAIN	sqe is NULL: the submission queue is full, submit first
 *  -EINVAL	u or req NULL
 *  -ENODEV	a forked child
 */
int hmmu_uring_prep_read(struct hmmu_uring *u, struct io_uring_sqe *sqe, int fd, void *addr,
			 size_t len, uint64_t offset, struct hmmu_uring_req *req);
int hmmu_uring_prep_write(struct hmmu_uring *u, struct io_uring_sqe *sqe, int fd,
			  const void *addr, size_t len, uint64_t offset,
			  struct hmmu_uring_req *req);

/*
 * hmmu_uring_complete() - its completion has been seen (or will never come): the reference is
 * over. Once for each prep that answered 0. @res: cqe->res.
 * Return: @res, or
 *  -ESTALE	res > 0 bytes were transferred through a slot and its memory has changed since
 *		prep: they may be from, or in, the old pages. A read: do it again. A write: the
 *		file holds the old bytes, or the new ones; what is right only the caller knows
 *  -EINVAL	u or req NULL, or req is not in use
 *  -ENODEV	a forked child
 * Of a plain request nothing is checked: its memory is the caller's to keep while it runs.
 */
int hmmu_uring_complete(struct hmmu_uring *u, struct hmmu_uring_req *req, int res);

/*
 * hmmu_uring_flush() - empty dead slots, as far as there are any: one load if not.
 * Return: 0; -EEXIST: not the issuer; what the kernel answered (they stay dead, and are tried
 * again); -EINVAL: NULL; -ENODEV: a forked child.
 */
int hmmu_uring_flush(struct hmmu_uring *u);

/* The cache below, to drop, shrink and walk. NULL for NULL. Not to be destroyed. */
struct hmmu_regcache *hmmu_uring_cache(struct hmmu_uring *u);

/* Counts since open, and levels. */
struct hmmu_uring_stats {
	uint64_t fixed;		  /* prepared with a slot */
	uint64_t plain;		  /* prepared without: the sum of the next six */
	uint64_t plain_room;	  /* no slot, max_bytes, RLIMIT_MEMLOCK */
	uint64_t plain_size;	  /* length 0, or longer than a slot */
	uint64_t plain_changing;  /* being changed at that moment */
	uint64_t plain_unwatched; /* cannot be watched, so must not be cached */
	uint64_t plain_unpinned;  /* cannot be pinned: -EFAULT */
	uint64_t plain_others;	  /* what else the kernel or the cache answered */
	uint64_t stale;		  /* complete answered -ESTALE */
	uint64_t emptied;	  /* slots */
	uint64_t empty_failed;	  /* tries; the slot stays dead */
	/* Levels: slots == free + dead + those that hold a region (or are being filled) */
	uint64_t slots;
	uint64_t slots_free;
	uint64_t slots_dead;
	struct hmmu_regcache_stats cache;
};

/* Readable at any time, by anyone; each number is right, their sum of one moment is not. */
void hmmu_uring_stat(struct hmmu_uring *u, struct hmmu_uring_stats *stats);

#ifdef __cplusplus
}
#endif

#endif /* HMMU_URING_H */
