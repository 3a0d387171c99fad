/* SPDX-License-Identifier: MIT */
/*
 * hmmu/verbs.h - memory regions of libibverbs, for any address, cached and never stale.
 *
 * Registering costs microseconds to milliseconds, so programs keep registrations. One that is
 * kept reaches the pages that were there when it was made: after munmap + mmap of the address
 * the card sends old bytes, or writes where nobody looks. Here a protection domain has a
 * <hmmu/regcache.h>, whose device is ibv_reg_mr() and ibv_dereg_mr().
 *
 *	struct hmmu_verbs *v;
 *	struct hmmu_region_ref ref;
 *
 *	hmmu_verbs_open(&v, pd, NULL);
 *	...
 *	err = hmmu_verbs_get(v, buf, len, PROT_READ, &ref);
 *	sge = (struct ibv_sge){(uintptr_t)buf, len, hmmu_verbs_lkey(&ref)};
 *	... ibv_post_send(), ibv_poll_cq() ...
 *	good = hmmu_verbs_valid(v, &ref);
 *	hmmu_verbs_put(v, &ref);
 *
 * Link with -lhmmu-verbs (pkg-config hmmu-verbs). docs/verbs.md starts from a program.
 *
 * WHAT HOLDS
 *
 *   A get that begins after a change of the memory has begun never answers a registration of
 *   what was there before (G1, G2). A work request that was posted before the change may have
 *   gone to the old pages: hmmu_verbs_valid() at its completion says so.
 *
 *   The card checks nothing: whoever has the rkey gets through. Hence the mm must bracket
 *   (HMMU_BRACKETED): there is no moment at which the memory is new and a get still answers
 *   the old registration. Without options open() takes an mm of its own with hooks, and
 *   requires it; an mm that does not bracket is refused.
 *
 *   What was registered stays pinned until ibv_dereg_mr(), and that comes after the last put:
 *   a late access reaches old pages of this buffer, never memory that was given to somebody
 *   else meanwhile.
 *
 * WHAT REMAINS: REMOTE ACCESS BY RKEY
 *
 *	peer				this process
 *					get: reference, rkey
 *	is told the rkey
 *					memory changes: dead for every new get
 *	RDMA read or write		[the old pages: still pinned, referenced]
 *	"done"
 *					valid() == false: say so to the peer
 *					put; the reclaimer deregisters
 *	RDMA read or write		[remote access error: both queue pairs go to error]
 *
 *   Nobody here can hold back a peer between the second line and the last. A protocol
 *	1. keeps the reference until the peer has said that it is done with the rkey,
 *	2. asks valid() then, and only then, and tells the peer what it was: what a peer has
 *	   read is good, and what it has written is seen here, if that was true,
 *	3. hands the rkey out again only with a new get.
 *   Who puts earlier breaks the connection when the region is evicted or its memory
 *   changes. Who must cut a peer off at once uses a memory window, or the queue pair's error
 *   state, in the thread that changes the memory, before it changes it.
 *
 *   The same holds for posted receives: the reference is kept until the completion, and
 *   what arrived where valid() is false is not in the buffer.
 *
 * CONTEXTS: as <hmmu/regcache.h>: get, flush, open and close from ordinary threads, in no
 * callback, no signal handler; put, valid and the inlined readers anywhere. ibv_reg_mr() runs
 * in get, ibv_dereg_mr() in get, flush, close or the mm's reclaimer, with no lock held. Several
 * threads may do all of it at once, but open and close.
 *
 * FORK. A forked child has no use of its parent's device: get answers -ENODEV there, close
 * frees and calls nobody; references that it has inherited are left alone. In the parent a fork
 * is a change of all memory: every region is registered anew when it is next wanted.
 * docs/verbs.md on ibv_fork_init().
 *
 * ERRORS: 0 or -errno; errno itself is left as it was, also where ibv_reg_mr() sets it.
 */
#ifndef HMMU_VERBS_H
#define HMMU_VERBS_H

#include <infiniband/verbs.h>

#include <hmmu/regcache.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hmmu_verbs;

/* options->flags */
/* Neighbours may become one region although peers reach it: then an rkey opens all of it,
 * which is more than was asked for. Without a remote access flag they do anyway. */
#define HMMU_VERBS_MERGE_REMOTE (1u << 0)
/* Accept an mm that does not bracket everything: by return, then, at best (G1). */
#define HMMU_VERBS_ANY_SOURCE (1u << 1)

/*
 * struct hmmu_verbs_options - start from HMMU_VERBS_DEFAULTS.
 * @mm:		whose memory; NULL: one of its own, HMMU_SOURCE_HOOKS with HMMU_BRACKETED.
 *		An explicit one brackets by definition
 * @access:	what gets may be for, at most:
 *		IBV_ACCESS_LOCAL_WRITE	      PROT_WRITE is answered -EACCES without it
 *		IBV_ACCESS_REMOTE_WRITE	      given with PROT_WRITE; needs LOCAL_WRITE
 *		IBV_ACCESS_REMOTE_READ	      given with PROT_READ
 *		IBV_ACCESS_REMOTE_ATOMIC      given with both; needs LOCAL_WRITE
 *		IBV_ACCESS_MW_BIND	      given with PROT_WRITE, for which the kernel pins
 *					      as soon as this flag is there
 *		IBV_ACCESS_RELAXED_ORDERING   given always. A completion still comes after
 *					      its data, which is all that valid() needs
 *		Local reading needs no flag and cannot be refused.
 * @flags:	HMMU_VERBS_*
 * @alignment, @max_regions, @max_bytes, @max_locked, @max_merged: hmmu/regcache.h
 */
struct hmmu_verbs_options {
	size_t size;
	struct mm_struct *mm;
	unsigned int access;
	unsigned int flags;
	unsigned long alignment;
	unsigned long max_regions;
	unsigned long max_bytes;
	unsigned long max_locked;
	unsigned long max_merged;
	unsigned int reserved[6];
};

#define HMMU_VERBS_DEFAULTS                                                               \
	{                                                                                 \
		sizeof(struct hmmu_verbs_options), NULL, IBV_ACCESS_LOCAL_WRITE, 0, 4096, \
			HMMU_NO_LIMIT, HMMU_NO_LIMIT, HMMU_NO_LIMIT, 64UL << 20,          \
		{                                                                         \
			0, 0, 0, 0, 0, 0                                                  \
		}                                                                         \
	}

/*
 * hmmu_verbs_open() - @pd is the caller's and outlives @v. @options: NULL is
 * HMMU_VERBS_DEFAULTS. Several may be open on one pd, for different access.
 * Context: ordinary thread; sleeps. Return: 0 and *v, or
 *  -EINVAL	v or pd NULL; size, flags or reserved words wrong; an access flag that this
 *		version does not know; REMOTE_WRITE or REMOTE_ATOMIC without LOCAL_WRITE; what
 *		hmmu_regcache_create() refuses
 *  -EOPNOTSUPP	IBV_ACCESS_ON_DEMAND (the card follows the page tables by itself: nothing to
 *		cache, nothing to drop), HUGETLB (goes with it alone), ZERO_BASED (a region
 *		begins where the cache says, not where you ask); the mm does not bracket, or
 *		hooks do not work here: hmmu_source_why()
 *  -ENODEV	the mm is a parent's, this is a forked child
 *  -ENOMEM, -EMFILE	hmmu_mm_open(), hmmu_regcache_create()
 */
int hmmu_verbs_open(struct hmmu_verbs **v, struct ibv_pd *pd,
		    const struct hmmu_verbs_options *options);

/*
 * hmmu_verbs_close() - deregisters everything and frees @v. Before ibv_dealloc_pd(). Nobody
 * may be inside another call on it. Context: ordinary thread; sleeps. Return: 0, or
 *  -EINVAL	NULL
 *  -EBUSY	a region is referenced: nothing changed. Or ibv_dereg_mr() refuses (a memory
 *		window is bound to a region): the cache is gone, @v is not. Unbind, and call
 *		it again; get answers -EINVAL until then. stats->refused tells the two apart
 */
int hmmu_verbs_close(struct hmmu_verbs *v);

/*
 * hmmu_verbs_get() - a registration of [addr, addr + len), of whole pages and maybe more.
 * @prot: what will be done to the memory, by whoever: PROT_READ, PROT_WRITE or both. See
 * options->access for what that gives. The memory itself must allow it; that is asked of the
 * kernel first, since before Linux 6.2 ibv_reg_mr() reads what the process may not.
 * Return: as hmmu_regcache_get(), or
 *  -EACCES	PROT_WRITE, and options->access has no IBV_ACCESS_LOCAL_WRITE
 *  -ENODEV	a forked child
 *  others	what ibv_reg_mr() said: -EFAULT, -ENOMEM (RLIMIT_MEMLOCK, the card's tables;
 *		after everything that nobody uses was evicted), -EOPNOTSUPP (DAX), -EINVAL
 */
int hmmu_verbs_get(struct hmmu_verbs *v, const void *addr, size_t len, unsigned int prot,
		   struct hmmu_region_ref *ref);
/* As hmmu_regcache_get_until() and _get_nonblock(). */
int hmmu_verbs_get_until(struct hmmu_verbs *v, const void *addr, size_t len, unsigned int prot,
			 const struct timespec *deadline, struct hmmu_region_ref *ref);
int hmmu_verbs_get_nonblock(struct hmmu_verbs *v, const void *addr, size_t len,
			    unsigned int prot, struct hmmu_region_ref *ref);

/* The reference is over: as hmmu_regcache_put(), any context. */
void hmmu_verbs_put(struct hmmu_verbs *v, struct hmmu_region_ref *ref);

/* Is what was registered still what the process sees there? As hmmu_regcache_valid(); any
 * context. At completion, and before the put. */
bool hmmu_verbs_valid(struct hmmu_verbs *v, const struct hmmu_region_ref *ref);

/* What @ref names, while it is referenced. The region is the cache's: MUST NOT be
 * deregistered or re-registered. Addresses in work requests are the process's own. */
static inline struct ibv_mr *hmmu_verbs_mr(const struct hmmu_region_ref *ref)
{
	return (struct ibv_mr *)ref->region->handle;
}

static inline uint32_t hmmu_verbs_lkey(const struct hmmu_region_ref *ref)
{
	return (uint32_t)ref->region->key[0];
}

static inline uint32_t hmmu_verbs_rkey(const struct hmmu_region_ref *ref)
{
	return (uint32_t)ref->region->key[1];
}

/*
 * hmmu_verbs_flush() - try again to deregister what ibv_dereg_mr() has refused. (Each miss
 * tries one of them; close tries all.) Context: ordinary thread. Return: how many are left;
 * -EINVAL: NULL; -ENODEV: a forked child.
 */
int hmmu_verbs_flush(struct hmmu_verbs *v);

/* The cache below, to drop, shrink and walk. NULL for NULL. Not to be destroyed. */
struct hmmu_regcache *hmmu_verbs_cache(struct hmmu_verbs *v);

/* Counts since open, and levels. cache.dereg_failed counts refusals at the first try. */
struct hmmu_verbs_stats {
	uint64_t registered;   /* ibv_reg_mr() calls that succeeded */
	uint64_t deregistered; /* ibv_dereg_mr() calls that succeeded */
	/* Levels */
	uint64_t refused;	/* regions that nobody can use and ibv_dereg_mr() has refused */
	uint64_t refused_bytes; /* pinned by them; not in cache.locked */
	struct hmmu_regcache_stats cache;
};

/* Readable at any time, by anyone; each number is right, their sum of one moment is not. In
 * a forked child all are 0. */
void hmmu_verbs_stat(struct hmmu_verbs *v, struct hmmu_verbs_stats *stats);

#ifdef __cplusplus
}
#endif

#endif /* HMMU_VERBS_H */
