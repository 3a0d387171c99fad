/* SPDX-License-Identifier: MIT */
/*
 * cache.h - `hmmu torture --cache`: the same memory, mutators, windows and judge as in
 * torture.h, but the device's side is a registration cache. Getter threads share it: each
 * asks for a registration of some pages, has the device read (or write) through it, and
 * compares with what is legal.
 *
 *	unprotected	a cache that hears of nothing
 *	start-only	a cache that drops what is invalidated when the invalidation starts,
 *			and whose miss begins again if one started meanwhile; nothing waits
 *			for an end, which is what UCX's does
 *	hmmu		two of the library's: one as its options have it by default, one
 *			with limits so low that it always evicts, and small unions
 *
 * The first two are naive.c's, planted bugs outside the library.
 *
 * A registration is a real pin: a buffer registered with an io_uring that all getters share
 * (cache_ring.c). "Reads through it" is a WRITE_FIXED into a file of each getter's own.
 *
 * THE JUDGE (in addition to torture.h's)
 *
 *	getter				judged
 *	first = pub
 *	get
 *	second = pub
 *	submit ... complete
 *	good = valid?			hmmu: good, then as an access from second to after:
 *	after = pub			what was not current then is stale
 *					all: as an access from first to after: a get that
 *					begins after a change must not reach what was before
 *
 *   A get for writing that began and ended while its pages were read-only, and succeeded,
 *   is counted as granted: 0 is right.
 *   A forked child finds the cache empty, gives it an mm of its own, registers, reads,
 *   changes the memory and reads again: what it sees must be what it has.
 */
#ifndef HMMU_TORTURE_CACHE_H
#define HMMU_TORTURE_CACHE_H

#include <hmmu/regcache.h>
#include <liburing.h>
#include <sys/types.h>

#include "torture.h"

#define NR_CACHES 2 /* hmmu's */
#define RING_SLOTS 4096u

/* cache_ring.c */
struct cache_ring {
	struct io_uring ring;
	pthread_mutex_t use;  /* the queues */
	pthread_mutex_t lock; /* the free slots; nothing sleeps under it */
	uint32_t free[RING_SLOTS];
	uint32_t nr_free;
	int file;
	unsigned char *staging; /* the file, mapped: a page each */
	unsigned int pages;
};

/* 0 or -errno */
int ring_open(struct cache_ring *ring, unsigned int pages);
void ring_close(struct cache_ring *ring);
int ring_pin(struct cache_ring *ring, unsigned long start, size_t length, uint32_t *slot);
void ring_unpin(struct cache_ring *ring, uint32_t slot);
/* The device reads @length bytes at @addr into, or writes them from, page @page. */
int ring_access(struct cache_ring *ring, uint32_t slot, unsigned long addr, size_t length,
		unsigned int page, bool write);

/* cache_naive.c: one page per registration. Guarded by @lock. */
struct naive_entry {
	struct naive_entry *next; /* of the dead that nobody uses */
	uint32_t slot;
	unsigned int users;
	bool dead;
};

struct naive {
	pthread_mutex_t lock;
	struct naive_entry *live[MAX_REGIONS][PAGES];
	struct naive_entry *dead;
	struct naive_entry *free; /* getters allocate nothing: it could land in a hole */
	struct naive_entry entries[RING_SLOTS / 2];
	uint64_t starts[MAX_REGIONS];
};

/* Somebody's registration. */
struct held {
	enum column column;
	unsigned int cache;	    /* hmmu: which */
	struct hmmu_region_ref ref; /* hmmu */
	struct naive_entry *entry;  /* the others */
	uint32_t slot;
};

/* What is asked for. */
struct wish {
	struct region *region;
	unsigned int first, pages; /* to be registered */
	unsigned int page;	   /* of those, to be accessed */
	unsigned int prot;
	unsigned int cache;
};

/* A subscription per region: start-only's own, and where hmmu's window is held open. */
struct holder {
	struct mmu_interval_notifier sub;
	struct cache_torture *c;
	struct region *region;
};

struct mailbox {
	_Atomic int state; /* 0 empty, 1 being filled, 2 full */
	struct held held;
};

/* Beside struct counts; of one getter and column. */
struct cache_counts {
	uint64_t nonblock, again; /* non-blocking gets; those that found nothing */
	uint64_t elsewhere;	  /* put by another thread */
	uint64_t once;		  /* HMMU_REGION_ONCE */
	uint64_t no_room;	  /* -ENOBUFS */
	uint64_t read_only;	  /* gets for writing of pages that were read-only */
	uint64_t granted;	  /* of those, succeeded: must be 0 */
	uint64_t merged;	  /* answers larger than what was asked for */
};

struct getter {
	struct cache_torture *c;
	struct device *d;
	struct cache_counts counts[NR_COLUMNS];
	struct mailbox box;
	unsigned int registered; /* reg() calls inside the get that is going on */
};

struct cache_torture {
	struct torture *t;
	struct cache_ring ring;
	struct naive naive[COL_HMMU];
	struct hmmu_regcache *caches[NR_CACHES];
	struct hmmu_regcache_stats stats[NR_CACHES]; /* at the end */
	struct holder holders[MAX_REGIONS];
	struct getter *getters;
	pid_t owner;
	bool sees_mprotect; /* the source tells of libc's mprotect */
	_Atomic uint64_t callbacks;
	_Atomic uint64_t regs, deregs; /* of the library's caches: equal at the end */
	_Atomic uint64_t protections, children, children_stale, children_failed;
	_Atomic uint64_t children_skipped;
	_Atomic int child_status;
	_Atomic uint64_t drops, shrinks;
};

/* cache.c: 0 or -errno, and t->fatal says of what. After regions_open(). */
int cache_open(struct torture *t);
void cache_close(struct torture *t);
/* A slice of the column begins: subscribe; it ends: unsubscribe. */
void cache_watch(struct cache_torture *c, enum column column);
void cache_unwatch(struct cache_torture *c, enum column column);

/* cache_hmmu.c: 0 or -errno */
int hmmu_caches_open(struct cache_torture *c);
void hmmu_caches_close(struct cache_torture *c);
int hmmu_cache_get(struct getter *g, const struct wish *wish, bool nonblock, struct held *held);
/* Of the calling thread, a getter; NULL otherwise. */
extern __thread struct getter *this_getter;

/* cache_naive.c */
void naive_open(struct naive *n);
int naive_get(struct getter *g, const struct wish *wish, enum column column, struct held *held);
void naive_put(struct cache_torture *c, struct held *held);
/* Called in an invalidation, from start_only's callback. */
void naive_invalidate(struct naive *n, const struct region *r, unsigned long start,
		      unsigned long end);
void naive_drop_all(struct cache_torture *c, struct naive *n);

/* cache_getter.c */
void *getter_main(void *arg);
void getter_drain(struct getter *g);
void held_put(struct cache_torture *c, struct held *held);

/* cache_disturb.c: what a mutator does beside changes. True: it did. */
bool cache_mutate(struct mutator *m);

/* cache_report.c */
void cache_counts_sum(const struct torture *t, enum column column, struct cache_counts *sum);
void cache_report(const struct torture *t);
/* The library's caches had hits, and were invalidated. */
bool cache_worked(const struct torture *t);
/* Not NULL: something that must be 0 is not. */
const char *cache_wrong(const struct torture *t, bool *stale);

#endif /* HMMU_TORTURE_CACHE_H */
