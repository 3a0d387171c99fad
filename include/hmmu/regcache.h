/* SPDX-License-Identifier: MIT */
/*
 * hmmu/regcache.h - one call: "a valid registration for [addr, addr + len), fast, never a
 * stale one".
 *
 * For whoever registers memory with a device (RDMA, io_uring's fixed buffers, a user-space
 * driver): the cache keeps registrations, finds them again without a lock or a system call,
 * and drops them when the memory under them changes, which it learns as a driver on
 * <hmmu/mmu_notifier.h>. docs/regcache.md argues each order by guarantee number.
 *
 *	struct hmmu_regcache *cache;
 *	struct hmmu_region_ref ref;
 *
 *	hmmu_regcache_create(&cache, &my_ops, my_device, NULL);
 *	...
 *	err = hmmu_regcache_get(cache, buf, len, PROT_READ | PROT_WRITE, &ref);
 *	... hand ref.region->handle to the device, wait for its completion ...
 *	hmmu_regcache_put(cache, &ref);
 *
 * WHAT HOLDS
 *
 *   A get that begins after a change of the memory has been told (bracketed: before it
 *   begins; by return: when the changing call has returned) never answers a registration of
 *   what was there before (G1, G2). A region that is in use when its memory changes is dead
 *   for new gets at once; those who hold it keep it until they put it, then it is
 *   deregistered, from a place where everything is allowed, also if nobody calls the cache
 *   again. A device that was using it has read or written the old pages: check with
 *   hmmu_regcache_valid() at completion, and discard.
 *
 *   A region is alive as a whole or dead as a whole: a change of one page of it drops it.
 *   Where options->split is set, a large registration is several regions, and the change
 *   drops those that it touches.
 *
 * WHERE IT MUST NOT BE CALLED: in a callback of <hmmu/mmu_notifier.h>, in a signal handler,
 * between start and end of an own invalidation of the same memory; but put() and valid() are
 * legal anywhere. A signal handler that has interrupted another call must not go on in a child
 * that it forks.
 *
 * A FORKED CHILD finds the cache empty, and may use it. What the parent held is not its own:
 * the regions read as zeros, valid() is false, put() does nothing, and nothing of it is
 * deregistered.
 *
 * ERRORS: 0 or -errno; errno itself is left as it was.
 */
#ifndef HMMU_REGCACHE_H
#define HMMU_REGCACHE_H

#include <sys/mman.h> /* PROT_READ, PROT_WRITE */

#include <hmmu/mmu_notifier.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hmmu_regcache;

/* region->flags */
/* Not in the cache, deregistered after the put: its memory cannot be watched, or there is
 * no room for it and nothing can be evicted. If unwatched, valid() is false from the start. */
#define HMMU_REGION_ONCE (1u << 0)

/*
 * struct hmmu_region - one registration. reg() fills in @handle and @key, the rest is the
 * cache's; while it is referenced nothing in it changes.
 * @start, @end: bytes [start, end), page-aligned at least
 * @prot:	PROT_READ, PROT_WRITE
 * @flags:	HMMU_REGION_*
 * @handle, @key: reg()'s: what the device calls it
 */
struct hmmu_region {
	unsigned long start;
	unsigned long end;
	unsigned int prot;
	unsigned int flags;
	void *handle;
	uint64_t key[4];
};

/* A reference: the caller's, 16 bytes, may be copied; put once. */
struct hmmu_region_ref {
	const struct hmmu_region *region;
	uint64_t *pin;
};

/*
 * struct hmmu_regcache_ops - the device.
 * @reg:	register [region->start, region->end) for region->prot and fill in handle
 *		and key. 0 or -errno, which get() reports; then nothing is cached, and
 *		dereg is not called. -ENOMEM makes the cache evict, if it can, and ask again.
 *		It may be called for more than was asked for (alignment, neighbours); if
 *		that fails it is called again for what was asked for. It must fail where
 *		a page is not mapped or lacks the protection, or HMMU_REGCACHE_REG_CHECKS
 *		is not set.
 * @dereg:	undo it. -errno: the cache counts it (dereg_failed) and forgets the region.
 *		It never comes in a hook or a callback.
 * @describe:	optional: a short text for hmmu_regcache_walk(), as snprintf().
 * @shrink:	optional: limits are reached and every region is in use: put what you can;
 *		answers how many bytes it has put. Called by get, at most once in each.
 * Context: ordinary threads (those that call the cache, the reclaimer), several at once; no
 * lock is held; may sleep, allocate, unmap. reg and dereg MUST NOT call the cache, and dereg
 * MUST NOT take a lock that anybody holds across get, shrink or destroy: those wait, at a
 * limit, for what another thread deregisters.
 */
struct hmmu_regcache_ops {
	int (*reg)(void *context, struct hmmu_region *region);
	int (*dereg)(void *context, struct hmmu_region *region);
	int (*describe)(void *context, const struct hmmu_region *region, char *text,
			size_t size);
	size_t (*shrink)(void *context, size_t bytes);
};

#define HMMU_NO_LIMIT (~0UL)

/* options->flags */
/* reg() itself fails (-EFAULT) where a page is unmapped or lacks the protection, as
 * ibv_reg_mr and io_uring do. Without it the cache asks the kernel first, and populates the
 * pages (MADV_POPULATE_READ or _WRITE, Linux 5.14: 0.2 us a page that is there). */
#define HMMU_REGCACHE_REG_CHECKS (1u << 0)
/* Never register more than was asked for, rounded to alignment. What overlaps is dropped. */
#define HMMU_REGCACHE_NO_MERGE (1u << 1)

/*
 * struct hmmu_regcache_options - start from HMMU_REGCACHE_DEFAULTS.
 * @mm:		whose memory; NULL: the cache opens its own (HMMU_SOURCE_BEST). Then a forked
 *		child, which finds the cache empty, opens its own too, at its first get.
 * @alignment:	regions start and end at multiples of it: a power of two, a page at least
 * @max_regions, @max_bytes: what may be found by look-up. Beyond it the least recently used
 *		go, roughly; if all are in use, also after @shrink, the new one is
 *		HMMU_REGION_ONCE. So is one of more than 1 TiB
 * @max_locked:	bytes of all registrations, those included that are dead and still in use.
 *		Beyond it get answers -ENOBUFS
 * @max_merged:	bytes of the largest union of neighbours. What is asked for at once may be
 *		larger. A neighbour that only touches and is 64 times larger stays alone
 * @split:	bytes, a power of two, not below @alignment; or 0, never. A registration that is
 *		larger is found in parts of so much (of more, if it would have more than 4096):
 *		regions with the same handle and key and a start and end of their own. When a
 *		page changes, its part is dropped; the others are still found, and nothing is
 *		registered anew. One get may reach over two parts, or over more of them while
 *		none has been dropped. Set it only if the device can use a part of what reg()
 *		registered by address, and may reach the old page by the handle for longer: the
 *		registration is undone with the last of its parts. Parts are not merged. One
 *		registration counts once in @max_regions and in the statistics, and is evicted
 *		as a whole; walk() shows parts, drop() counts them
 */
struct hmmu_regcache_options {
	size_t size;
	struct mm_struct *mm;
	unsigned long alignment;
	unsigned long max_regions;
	unsigned long max_bytes;
	unsigned long max_locked;
	unsigned long max_merged;
	unsigned int flags;
	unsigned int split;
	unsigned int reserved[4];
};

#define HMMU_REGCACHE_DEFAULTS                                                   \
	{                                                                        \
		sizeof(struct hmmu_regcache_options), NULL, 4096, HMMU_NO_LIMIT, \
			HMMU_NO_LIMIT, HMMU_NO_LIMIT, 64UL << 20, 0, 0,          \
		{                                                                \
			0, 0, 0, 0                                               \
		}                                                                \
	}

/*
 * hmmu_regcache_create() - @options: NULL is HMMU_REGCACHE_DEFAULTS.
 * Context: ordinary thread; sleeps. Return: 0, or
 *  -EINVAL	cache or ops NULL, reg or dereg NULL; size, flags or reserved words wrong;
 *		alignment not a power of two or below the page size; a limit of 0; split
 *		neither 0 nor a power of two from alignment on
 *  -ENOMEM	no memory
 *  -EMFILE	sixty-four caches exist. Or hmmu_mm_open(): eight address spaces use hooks, so
 *		give further caches that one mm
 *  -EOPNOTSUPP	this kernel has no MADV_POPULATE (and flags lack HMMU_REGCACHE_REG_CHECKS),
 *		or what hmmu_mm_open() answers
 */
int hmmu_regcache_create(struct hmmu_regcache **cache, const struct hmmu_regcache_ops *ops,
			 void *context, const struct hmmu_regcache_options *options);

/*
 * hmmu_regcache_destroy() - deregisters everything and frees the cache. Nobody may be inside
 * another call on it. Context: ordinary thread; sleeps; not in reg, dereg or a deferred work.
 * In a forked child that has not used it: frees, and calls nobody. Return: 0; -EBUSY: a
 * region is referenced, nothing changed; -EINVAL: NULL.
 */
int hmmu_regcache_destroy(struct hmmu_regcache *cache);

/*
 * hmmu_regcache_get() - a registration of [addr, addr + len) for @prot.
 * A hit takes no lock, writes nothing that threads share and, where the mm's sources bracket,
 * makes no system call. A miss registers; it waits while an invalidation of the range is
 * open, and begins again if one came while it registered. Return: 0 and *ref, or
 *  -EINVAL	cache, addr's region or ref NULL; len 0; addr + len wraps; prot not one of
 *		PROT_READ, PROT_WRITE, both
 *  -EFAULT	not mapped wholly, or not with @prot, or memory that cannot be populated (of a
 *		device: VM_PFNMAP). From the kernel, or from reg()
 *  -ENOBUFS	max_locked
 *  -ENOMEM	no memory for the cache's own tables
 *  others	what reg() answered
 */
int hmmu_regcache_get(struct hmmu_regcache *cache, const void *addr, size_t len,
		      unsigned int prot, struct hmmu_region_ref *ref);

/* The same with a deadline (CLOCK_MONOTONIC) for the waiting. -ETIMEDOUT: an invalidation
 * stayed open, or came again and again. reg() itself is not interrupted. */
int hmmu_regcache_get_until(struct hmmu_regcache *cache, const void *addr, size_t len,
			    unsigned int prot, const struct timespec *deadline,
			    struct hmmu_region_ref *ref);

/*
 * hmmu_regcache_get_nonblock() - for progress loops: never waits and never registers.
 * Return: 0: it was there; -EAGAIN: it is not there now: have get() called by who may
 * wait, or copy; -EINVAL as above.
 */
int hmmu_regcache_get_nonblock(struct hmmu_regcache *cache, const void *addr, size_t len,
			       unsigned int prot, struct hmmu_region_ref *ref);

/*
 * hmmu_regcache_put() - the reference is over. Any thread, any context (a signal handler, a
 * callback, inside libc): loads and stores, and a wake-up if the region is dead. ref->region
 * becomes NULL; of a NULL one nothing is done.
 */
void hmmu_regcache_put(struct hmmu_regcache *cache, struct hmmu_region_ref *ref);

/*
 * hmmu_regcache_valid() - is what @ref registered still what the process sees there? At
 * completion of an access: false means that the bytes may come from, or have gone to, the
 * old pages (G1). Loads only where the sources bracket; where they tell afterwards it may spin
 * for some microseconds while a change is being told, and answers false if that goes on: a
 * false may be wrong, a true never is. Any context.
 */
bool hmmu_regcache_valid(struct hmmu_regcache *cache, const struct hmmu_region_ref *ref);

/*
 * hmmu_regcache_drop() - forget what overlaps [addr, addr + len): as an invalidation that
 * changes nothing. Those who hold it keep it. Return: how many; -EINVAL.
 */
int hmmu_regcache_drop(struct hmmu_regcache *cache, const void *addr, size_t len);

/*
 * hmmu_regcache_shrink() - deregister at least @bytes of what nobody uses, the least recently
 * used first; HMMU_NO_LIMIT: all of it. For callers under pressure. Context: ordinary
 * thread; sleeps. Return: bytes deregistered.
 */
size_t hmmu_regcache_shrink(struct hmmu_regcache *cache, size_t bytes);

/*
 * hmmu_regcache_adopt() - in a forked child, of a cache that was made with an mm of the
 * parent's: use this one from now on. Until then every get is HMMU_REGION_ONCE, and what was
 * put is deregistered by the next get or shrink. Return: 0;
 * -EINVAL: NULL; -EBUSY: the cache has an mm that is alive.
 */
int hmmu_regcache_adopt(struct hmmu_regcache *cache, struct mm_struct *mm);

/* Counts since create (in a forked child: since its first get), and levels. */
struct hmmu_regcache_stats {
	uint64_t hits;
	uint64_t misses;      /* gets that registered, or tried to */
	uint64_t regs;	      /* reg() calls that succeeded */
	uint64_t reg_failed;  /* those that failed, and what the kernel refused before them */
	uint64_t retries;     /* invalidated while reg() ran */
	uint64_t merged;      /* registered together with a neighbour or an overlap */
	uint64_t replaced;    /* regions dropped for a larger one, or for other protection */
	uint64_t invalidated; /* regions dropped because their memory changed */
	uint64_t evicted;     /* regions dropped because of a limit */
	uint64_t dropped;     /* regions dropped by hmmu_regcache_drop() */
	uint64_t once;	      /* gets that answered HMMU_REGION_ONCE */
	uint64_t deregs;      /* dereg() calls that succeeded */
	uint64_t dereg_failed;
	uint64_t revalidated; /* hits that had to ask (nobody could say at once) */
	/* Levels */
	uint64_t regions; /* to be found by look-up */
	uint64_t bytes;
	uint64_t dying;	 /* dead, not deregistered yet */
	uint64_t locked; /* bytes of all of them */
};

/* Readable at any time, by anyone; each number is right, their sum of one moment is not. */
void hmmu_regcache_stat(struct hmmu_regcache *cache, struct hmmu_regcache_stats *stats);

/*
 * hmmu_regcache_walk() - call @fn for each region that can be found by look-up, by address,
 * referenced meanwhile. @text: describe()'s, or empty. What comes or goes meanwhile may be
 * missed. fn may not call the cache but for put and valid. Return: 0; what @fn answered, if
 * not 0, which ends the walk; -EINVAL.
 */
int hmmu_regcache_walk(struct hmmu_regcache *cache,
		       int (*fn)(void *arg, const struct hmmu_region *region, const char *text),
		       void *arg);

#ifdef __cplusplus
}
#endif

#endif /* HMMU_REGCACHE_H */
