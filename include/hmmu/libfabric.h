/* SPDX-License-Identifier: MIT */
/*
 * hmmu/libfabric.h - memory registrations of libfabric that are never stale.
 *
 * Two things, to be used together or alone:
 *
 *   the monitor	hmmu_fi_import() puts hmmu in the place of libfabric's own memory
 *			monitors (fi_ext.h's import, since 1.13). Caches of providers
 *			that have one (verbs, efa, ...) then give out no registration
 *			whose memory has changed.
 *   the wrapper	hmmu_fi_mr_reg() and its forms register through the reader's loop:
 *			memory that changes while it is being registered is registered
 *			again, and the handle can be asked at any time whether it is good.
 *
 * WHAT IS GUARANTEED (numbers: mmu_notifier.h; as exact as the mm's sources are)
 *
 *   G1, the cache. libfabric asks the monitor at every look-up, under its own mutex, before
 *   it counts a hit (1.17 prov/util/src/util_mr_cache.c:349-352). Our answer is
 *   hmmu_access_ok(): false from the moment the change starts, whether or not anybody has
 *   been told yet. A look-up that began before the change may still hit: a program checks
 *   its handle at completion.
 *   G1, the way in. libfabric registers first and subscribes afterwards (277 and 300): what
 *   changes in between it never learns. A new registration therefore enters the cache only
 *   if it can be shown that the memory was watched during the whole of it: it was made
 *   through the wrapper, or this thread had subscribed, or looked up, when the range was
 *   watched already, and that watch is alive. Otherwise subscribe answers "use once"
 *   (303-307): the first plain fi_mr_reg() of a range is not cached, the second is.
 *   Except where caches are stacked (the lnx provider, since 2.0): the inner subscription
 *   is taken for an earlier one. There open with HMMU_FI_WRAPPED_ONLY.
 *   G1, a handle. hmmu_fi_mr_valid() before posting and again at completion.
 *
 * WHY LIBFABRIC IS TOLD LATER
 *
 *   notify() takes libfabric's global mutex, which is not recursive (util_mem_monitor.c:
 *   789-793) and under which libfabric allocates (util_mr_cache.c:292, src/tree.c:59;
 *   until 2.5). A hook runs inside the allocator, so neither this thread nor another must
 *   wait there:
 *
 *	cache				a thread in free()
 *	lock(mm_lock)
 *					lock(arena)
 *	malloc: waits for arena
 *					munmap -> hook -> notify: waits for mm_lock
 *
 *   So a callback only marks: it takes no lock at all. notify() is called by the reclaimer,
 *   once per dead subscription, however often that was hit, with none of our locks but one
 *   that nothing under libfabric's mutex takes. Until it is, valid() is false and subscribe
 *   refuses the range, for another cache's old entry would become valid with it.
 *
 * MEMORY: 65,536 ranges are watched at most, about 300 bytes each, from one mapping made by
 * import. A range's watch ends when it is hit, when libfabric stops, or when room is needed
 * and it was neither looked up nor subscribed lately (libfabric before 2.1 never calls
 * unsubscribe). A full table answers "use once".
 *
 * FORK: in the child nothing is valid, nothing is cached and no lock is held; it may import
 * an mm of its own.
 *
 * ERRORS: 0 or a negative errno (libfabric's codes above 255 included); errno untouched
 * by this library.
 */
#ifndef HMMU_LIBFABRIC_H
#define HMMU_LIBFABRIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#include <time.h>

#include <rdma/fabric.h>
#include <rdma/fi_domain.h>

#include <hmmu/mmu_notifier.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------
 * The monitor
 */

/* options->flags; at most one */
#define HMMU_FI_WRAPPED_ONLY (1u << 0) /* what was not made by the wrapper is used once */
#define HMMU_FI_WINDOW_OPEN (1u << 1)  /* cache at once, stale as with libfabric's own */

/* @size: sizeof(struct hmmu_fi_options) */
struct hmmu_fi_options {
	size_t size;
	unsigned int flags;
	unsigned int reserved[5];
};

/*
 * hmmu_fi_import() - become libfabric's memory monitor.
 * Call it before a domain is opened that has a cache. @mm must stay open until
 * hmmu_fi_close(); @options NULL: none. One per process. In a forked child it gives the
 * inherited import an mm of the child's own.
 * Context: ordinary thread. Return: 0, or
 *  -EINVAL	mm NULL, size wrong, unknown flags or both, reserved words not 0
 *  -EBUSY	imported already, by this library or another, or libfabric's own monitor is
 *		in use
 *  -EEXIST	FI_MR_CACHE_MONITOR is set: libfabric would take that one and leave this
 *		one lying
 *  -ENODEV	mm belongs to the parent of this forked child
 *  -ENOMEM	no room for the table
 *  -ENOSYS	this libfabric cannot import
 */
int hmmu_fi_import(struct mm_struct *mm, const struct hmmu_fi_options *options);

/*
 * hmmu_fi_close() - stop being it, before hmmu_mm_close(). Runs deferred work of the mm.
 * Context: ordinary thread, no other opening a domain. Domains opened later have no cache
 * until something is imported. Return: 0, -EINVAL: not imported, -EBUSY: a domain that
 * has a cache is open, nothing changed.
 */
int hmmu_fi_close(void);

struct hmmu_fi_stats {
	size_t size;	      /* sizeof(struct hmmu_fi_stats), set by the caller */
	uint64_t running;     /* 1: libfabric has started the monitor */
	uint64_t watched;     /* ranges now, those about to go included */
	uint64_t cached;      /* subscriptions that libfabric may keep */
	uint64_t once_window; /* refused: not shown to be watched during the registration */
	uint64_t once_dead;   /* refused: changed, or changing */
	uint64_t once_full;   /* refused: no room */
	uint64_t once_other;  /* refused: cannot be watched */
	uint64_t hits;	      /* valid: yes */
	uint64_t misses;      /* valid: no */
	uint64_t notified;    /* calls of libfabric's notify */
	uint64_t collisions;  /* registrations that the wrapper made again */
};

/* Since import. Any thread. Return: 0, -EINVAL: NULL, size wrong, or not imported. */
int hmmu_fi_stat(struct hmmu_fi_stats *stats);

/* ------------------------------------------------------------------------
 * The wrapper
 */

struct hmmu_fi_mr;

/*
 * hmmu_fi_mr_reg(), _regv(), _regattr() - fi_mr_reg() and its forms, inside the reader's
 * loop: subscribe, read_begin, register, read_retry. A registration that collided is
 * closed and made again; what libfabric's cache holds of the range is dropped first, so
 * that the next one is new. Works with any provider and any mm, imported or not.
 * @deadline: CLOCK_MONOTONIC, NULL: none. (Memory that is changed without pause can never
 * be registered.) The other two forms have none.
 * Context: ordinary thread; no callback, no lock that a callback takes. Return: 0 and
 * *mr, or nothing registered, *mr untouched and
 *  -EINVAL	mm, domain, attr, iov or mr NULL, no iov, or more than 64
 *  -EOVERFLOW	an iov has length 0 or wraps
 *  -EFAULT	an iov is not mapped, or not all of it
 *  -EOPNOTSUPP	memory of a device (attr->iface, FI_MR_DMABUF): nobody tells of it
 *  -ENODEV	not watched now: the mm is a parent's, or its source refuses the range
 *  -ETIMEDOUT	the deadline has passed
 *  -ENOMEM	no memory
 * and what the provider answered.
 */
int hmmu_fi_mr_reg(struct mm_struct *mm, struct fid_domain *domain, const void *buf, size_t len,
		   uint64_t access, uint64_t offset, uint64_t requested_key, uint64_t flags,
		   struct hmmu_fi_mr **mr, void *context);
int hmmu_fi_mr_regv(struct mm_struct *mm, struct fid_domain *domain, const struct iovec *iov,
		    size_t count, uint64_t access, uint64_t offset, uint64_t requested_key,
		    uint64_t flags, struct hmmu_fi_mr **mr, void *context);
int hmmu_fi_mr_regattr(struct mm_struct *mm, struct fid_domain *domain,
		       const struct fi_mr_attr *attr, uint64_t flags,
		       const struct timespec *deadline, struct hmmu_fi_mr **mr);

/* For fi_mr_desc(), fi_mr_key(), fi_mr_bind(): the handle's until it is closed. */
struct fid_mr *hmmu_fi_mr_fid(const struct hmmu_fi_mr *mr);

/*
 * hmmu_fi_mr_valid() - may a transfer go through it (before posting), is what it moved good
 * (at completion)? Once false it stays false: close it and register again. Loads only, unless
 * the mm asks the kernel at each access. Any context.
 */
bool hmmu_fi_mr_valid(struct hmmu_fi_mr *mr);

/*
 * hmmu_fi_mr_close() - fi_close(), then forget the watch. Context: as for remove: not in a
 * callback. In a forked child the handle alone is freed. Return: 0; -EINVAL: NULL; or
 * what fi_close() answered, with nothing changed.
 */
int hmmu_fi_mr_close(struct hmmu_fi_mr *mr);

#ifdef __cplusplus
}
#endif

#endif /* HMMU_LIBFABRIC_H */
