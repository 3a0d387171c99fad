/* SPDX-License-Identifier: MIT */
/*
 * regcache.h - the registration cache's inside. docs/regcache.md argues the same at length.
 *
 * WHAT THERE IS
 *
 *   table	two levels: root by address >> 30, leaves of 1 MiB mapped when first needed,
 *		a word of 32 bits per 4 KiB of address space: id << 2 | protection, 0 =
 *		nothing. The word is look-up AND validity: whose first and last page name
 *		the same region, with enough protection, lies inside it (regions do not
 *		overlap in the table and have no holes). Leaves are never freed.
 *   region	from a slab, type-stable, never freed before the cache
 *   watch	a subscription and the range it is for; from a slab, too. What was invalidated
 *		is most often registered again: its watch stays, idle, subscribed, named by
 *		its pages' words (protection 0: no get finds it)
 *   pins	per thread, for all caches: 64 words "cache and id in use", written by the
 *		owner, cleared by whoever puts. All taken: a count in the region.
 *
 * A REGION'S STATE (cache->lock)
 *
 *	FREE	on the free list
 *	NEW	one getter's: subscribed, being registered; in no table
 *	LIVE	its words are in the table
 *	DEAD	its words are gone; on cache->dead until nobody has it pinned
 *	GONE	taken off that list to be deregistered
 *
 *	PARTLY	of one that has parts: some of them are DEAD (parts.c)
 *
 *	FREE -> NEW -> LIVE -> DEAD -> GONE -> FREE
 *		       LIVE -> PARTLY -> DEAD
 *		NEW -> DEAD	HMMU_REGION_ONCE, or another was faster
 *		NEW -> FREE	reg() failed
 *
 * A HIT AGAINST A KILL (G1). The words are cleared inside the callback, before the memory
 * changes; a get that begins later finds none. One that is under way:
 *
 *	get					killer, then reaper
 *	load words				clear words
 *	pin = id				state = DEAD, dying++
 *	load epoch: decided?			...
 *	load words again: the same?		membarrier
 *	  else unpin, as put			scan pins: whoever is there keeps it
 *	[Required: get sees cleared words, or the scan sees the pin]
 *
 * This is Dekker, but the getter's half has no fence: membarrier(2) runs one in every thread
 * of the process that is on a CPU, between the stores before it and the scan after it. Only
 * the reaper pays, who may sleep, once for all that died meanwhile. Whether memory may
 * CHANGE never hangs on it: only whether a registration may be undone.
 *
 * A PUT AGAINST THE REAPER, likewise:
 *
 *	put					reaper
 *	pin = 0		[release]		dying++ (at the kill)
 *	load dying				membarrier
 *	  not 0 and my region DEAD: poke	scan pins
 *	[Required: the scan finds it unpinned, or put sees dying and pokes]
 *
 * Where there is no membarrier (cache->fenced), and under ThreadSanitizer, which does not
 * know it, get, put and the scan use seqcst exchanges instead.
 *
 * A MISS (G1, G2) is the reader's loop: subscribe, hmmu_read_begin(), reg(), cache->lock,
 * mmu_interval_read_retry(), and only then the words. cache->lock is the driver lock.
 *
 * UNDECIDED (sources.md): a hit also loads the mm's epoch, before it loads the words again:
 *
 *	who is told afterwards			get
 *	epoch + MARK				load epoch: decided
 *	  the change's caller goes on		load words again
 *	callback: clear words
 *	epoch + CLEAR
 *	[Required: a get that began after the caller went on fails. It sees the mark; or its
 *	 taking back, and then the cleared words.]
 *
 * Not decided, or asked at each access (EPOCH_PROBE): settle(), get.c, asks and waits.
 *
 * LOCKS
 *	cache->reap_lock	one reaper at a time from dead list to verdict; a membarrier
 *				under it, nothing else that sleeps
 *	  cache->lock		the driver lock. Nothing is called under it but
 *				read_retry(); no system call but the probe of that. tls.held
 *				is set as for mm->lock: a signal handler that changes memory
 *				inside it takes the undecided way (notifier.h)
 *	reg, dereg, insert, remove, defer: with neither.
 *
 * A FORKED CHILD finds leaves, slab, pins and cache->life zeroed. life == 0 is noticed on the
 * slow path, to which empty tables lead everybody; child.c.
 */
#ifndef HMMU_REGCACHE_INTERNAL_H
#define HMMU_REGCACHE_INTERNAL_H

#include <hmmu/regcache.h>

#include "../atomic.h"
#include "../lock.h"
#include "../notifier/notifier.h"
#include "../plant.h"
#include "../tls.h"

#define RC_PAGE_SHIFT 12
#define RC_LEAF_SHIFT 30 /* bytes that a leaf covers */
/* Addresses above are registered once. */
#ifdef __x86_64__
#define RC_ADDR_BITS 47
#else
#define RC_ADDR_BITS 48
#endif
#define RC_ADDR_END (1UL << RC_ADDR_BITS)
#define RC_ROOTS (1UL << (RC_ADDR_BITS - RC_LEAF_SHIFT))
#define RC_LEAF_WORDS (1UL << (RC_LEAF_SHIFT - RC_PAGE_SHIFT))
#define RC_BYTES_MAX (1UL << 40) /* of a region in the table: 1 GiB of words */
#define RC_PROT_BITS 2
#define RC_PROT (PROT_READ | PROT_WRITE)
_Static_assert(RC_PROT == 3, "the protection is a word's low bits");

#define RC_CHUNK_SHIFT 10 /* regions per chunk */
#define RC_CHUNK (1U << RC_CHUNK_SHIFT)
#define RC_CHUNKS 8192U
#define RC_ID_MAX (RC_CHUNK * RC_CHUNKS - 1) /* and id << 2 fits */

#define RC_IDLE_MAX 1024 /* watches that nobody uses */

#define RC_PARTS_MAX 4096 /* of one registration */

#define RC_CACHES 64
#define RC_PINS 64

enum rc_state {
	RC_FREE = 0, /* zero: a forked child finds all of them so */
	RC_NEW,
	RC_LIVE,
	RC_PARTLY,
	RC_DEAD,
	RC_GONE,
};

struct rc_leaf {
	union {
		uint32_t word[RC_LEAF_WORDS];
		uint64_t pair[RC_LEAF_WORDS / 2]; /* two of them, for who has the lock */
	};
};

struct rc_watch {
	struct mmu_interval_notifier sub;
	struct hmmu_regcache *cache;
	/* With cache->lock. */
	struct rc_region *region; /* whose; NULL: idle, or retired */
	uint64_t start;
	uint64_t end;
	struct rc_parts *parts; /* of the region; NULL: it is found as one */
	struct rc_watch *next;	/* free, idle (oldest first), retired */
	struct rc_watch **link; /* idle: what points here */
	uint32_t id;
	uint32_t readers; /* who waits in read_begin: not to be removed */
};

struct rc_region {
	struct hmmu_region pub; /* first: a reference points here */
	/* The getter's; from LIVE on cache->lock. A part's: the whole's. */
	struct rc_watch *watch;
	uint32_t id;
	uint32_t state; /* enum rc_state; written with cache->lock, read by put, valid */
	uint64_t count; /* pins that found no slot */
	struct rc_region *next; /* free, dead, batch */
	uint64_t mark;		/* reap_lock: pinned, as of that scan */
	uint32_t changed;	/* its memory, since; or nobody would tell. With cache->lock */
	/* What this is a part, or a pair of parts, of; NULL. And the pair that begins with this
	 * part. Written with cache->lock, read by anyone: what they say of a region that has
	 * been reused is another's, and harmless (parts.c). */
	struct rc_region *whole;
	struct rc_region *pair;
};

/* Of one registration: see parts.c. */
struct rc_parts {
	uint32_t n;
	uint32_t alive;
	unsigned int shift;	    /* a part begins at each multiple of 1 << shift */
	size_t mapped;		    /* bytes of this */
	struct rc_region *region[]; /* n parts, then the n - 1 pairs of neighbours */
};

struct rc_watches {
	struct rc_watch watch[RC_CHUNK];
};

struct rc_chunk {
	uint8_t used[RC_CHUNK]; /* found since the hand passed; racy on purpose */
	/* Registrations that can be found, by bit: what the hand looks at. With cache->lock. */
	uint64_t able[RC_CHUNK / 64];
	struct rc_region region[RC_CHUNK];
};

/* A thread's. Never freed: a thread that comes takes one whose owner is dead. */
struct rc_pins {
	uint64_t pin[RC_PINS]; /* cache->tag | id; 0 free */
	uint64_t cursor;       /* owner's: the slot to try next */
	uint64_t owner; /* generation << 32 | thread id; 0: a forked child's, of nobody */
	uint64_t hits[RC_CACHES + 1]; /* by cache->index; written by the owner */
	struct rc_pins *next;	      /* of the instance's list; set before it is published */
};

/* Counters with cache->lock, read by anyone. */
enum rc_count {
	RC_MISSES,
	RC_REGS,
	RC_REG_FAILED,
	RC_RETRIES,
	RC_MERGED,
	RC_REPLACED,
	RC_INVALIDATED,
	RC_EVICTED,
	RC_DROPPED,
	RC_ONCE,
	RC_DEREGS,
	RC_DEREG_FAILED,
	RC_REVALIDATED,
	RC_COUNTS,
};

struct hmmu_regcache {
	/* What a hit reads; written by create and in a forked child. */
	struct rc_leaf **root; /* RC_ROOTS; set once each, with lock */
	struct mm_struct *mm;
	uint64_t tag;	/* id of this cache << 32 */
	uint32_t index; /* in pins->hits; RC_CACHES: has none */
	uint8_t fenced;
	uint8_t limited;
	uint8_t splits; /* options.split is set */
	/* Regions that put may have to care about: dead, not deregistered. */
	uint64_t dying; /* written with lock */
	struct rc_chunk *chunk[RC_CHUNKS];
	struct rc_watches *watches[RC_CHUNKS];

	struct hmmu_lock lock __attribute__((aligned(64)));
	/* With lock. */
	uint64_t drops; /* calls of hmmu_regcache_drop() */
	uint32_t next_id;
	uint32_t hand; /* the next id that eviction looks at */
	struct rc_region *free;
	struct rc_region *dead;
	uint32_t next_watch;
	uint32_t nr_idle;
	struct rc_watch *free_watch;
	struct rc_watch *idle;
	struct rc_watch **idle_tail;
	struct rc_watch *retired; /* to be removed from a safe place */
	uint64_t regions;	  /* LIVE */
	uint64_t bytes;
	uint64_t locked; /* bytes registered, or about to be */
	uint64_t count[RC_COUNTS];

	uint64_t going;	      /* GONE, not deregistered yet; atomic */
	uint64_t done;	      /* deregistered so far; atomic */
	uint64_t hits_before; /* hits at this index, of an earlier cache; constant */

	struct hmmu_lock reap_lock __attribute__((aligned(64)));
	uint64_t mark;	 /* reap_lock: the last scan */
	uint32_t queued; /* the work is */
	struct hmmu_work work;

	/* Constant. */
	struct hmmu_regcache_ops ops;
	void *context;
	struct hmmu_regcache_options options;
	uint8_t own_mm; /* ours to close */
	uint64_t page;
	uint64_t *life; /* a page that a forked child finds zeroed: RC_LIFE_* */
};

enum rc_life {
	RC_LIFE_CHILD = 0,
	RC_LIFE_RESETTING,
	RC_LIFE_ON,
};

/* What is looked for: bytes [start, last]. */
struct rc_want {
	uint64_t start;
	uint64_t last;
	unsigned int prot;
};

static inline void rc_lock(struct hmmu_regcache *cache)
{
	hmmu_tls.held = cache->mm; /* as hold() in mm.c */
	hmmu_signal_fence();
	hmmu_lock(&cache->lock);
}

static inline bool rc_trylock(struct hmmu_regcache *cache)
{
	bool got;

	hmmu_tls.held = cache->mm;
	hmmu_signal_fence();
	got = hmmu_trylock(&cache->lock);
	if (!got)
		hmmu_tls.held = NULL;
	return got;
}

static inline void rc_unlock(struct hmmu_regcache *cache)
{
	hmmu_unlock(&cache->lock);
	hmmu_signal_fence();
	hmmu_tls.held = NULL;
	hmmu_signal_fence();
}

/* With lock. */
static inline void rc_count(struct hmmu_regcache *cache, enum rc_count what, uint64_t n)
{
	hmmu_store_relaxed(&cache->count[what], hmmu_load_relaxed(&cache->count[what]) + n);
}

static inline struct rc_region *rc_region_of(struct hmmu_regcache *cache, uint32_t id)
{
	/* Acquire pairs with the store in rc_slab_grow(), for who had the id of a word. */
	struct rc_chunk *chunk = hmmu_load_acquire(&cache->chunk[id >> RC_CHUNK_SHIFT]);

	return &chunk->region[id & (RC_CHUNK - 1)];
}

static inline uint8_t *rc_used(struct hmmu_regcache *cache, uint32_t id)
{
	return &hmmu_load_acquire(&cache->chunk[id >> RC_CHUNK_SHIFT])
			->used[id & (RC_CHUNK - 1)];
}

/* With lock: eviction may choose it. */
static inline void rc_able(struct hmmu_regcache *cache, uint32_t id, bool able)
{
	uint64_t *word = &cache->chunk[id >> RC_CHUNK_SHIFT]->able[id % RC_CHUNK / 64];

	*word = able ? *word | 1ULL << id % 64 : *word & ~(1ULL << id % 64);
}

/* table.c */
uint32_t rc_word(struct hmmu_regcache *cache, uint64_t addr); /* 0: nothing */
/* Without lock: leaves for [start, last]. 0 or -ENOMEM. */
int rc_table_cover(struct hmmu_regcache *cache, uint64_t start, uint64_t last);
/* With lock. */
void rc_table_set(struct hmmu_regcache *cache, uint64_t start, uint64_t last, uint32_t word);
/* With lock: the idle watch that this page names; NULL. */
struct rc_watch *rc_table_idle(struct hmmu_regcache *cache, uint64_t addr);
/* With lock: the first region at or after *at, not after @last; *at moves behind it. */
struct rc_region *rc_table_next(struct hmmu_regcache *cache, uint64_t *at, uint64_t last);
void rc_table_free(struct hmmu_regcache *cache);

/* slab.c */
/* With lock: NEW; NULL: grow, and again. */
struct rc_region *rc_region_take(struct hmmu_regcache *cache);
/* Without; false: no memory. */
bool rc_slab_grow(struct hmmu_regcache *cache);
void rc_region_put(struct hmmu_regcache *cache, struct rc_region *region); /* with lock */
void rc_slab_free(struct hmmu_regcache *cache);

/* watch.c; only these touch watch->region, the idle list and the retired one. */
/* With lock: the idle watch of exactly this range becomes @region's. False: there is none. */
bool rc_watch_take(struct hmmu_regcache *cache, struct rc_region *region);
/* Without: a new one. 0, or what insert answers. */
int rc_watch_new(struct hmmu_regcache *cache, struct rc_region *region);
/* With lock: its region is dead and knows that its memory changed. */
void rc_watch_idle(struct hmmu_regcache *cache, struct rc_region *region);
/* With lock: idle ones that this region's pages name are retired. */
void rc_watch_cover(struct hmmu_regcache *cache, const struct rc_region *region);
/* With lock: all idle ones. */
void rc_watch_retire_all(struct hmmu_regcache *cache);
/* Without: remove @n of those that are retired. */
void rc_watch_prune(struct hmmu_regcache *cache, unsigned int n);
/* Without: @region's is removed. */
void rc_watch_drop(struct hmmu_regcache *cache, struct rc_region *region);
/* Waits until the mm is decided, if @region is LIVE. As hmmu_read_begin(). */
int rc_watch_wait(struct hmmu_regcache *cache, struct rc_region *region,
		  const struct timespec *deadline);
void rc_watch_free(struct hmmu_regcache *cache);

/* parts.c */
/* Without lock, of a NEW region that is watched: parts, if it is large and there is room. */
void rc_parts_take(struct hmmu_regcache *cache, struct rc_region *whole);
/* Without, of one that is GONE or was never LIVE: taken from it, or NULL; put when it is
 * deregistered. */
struct rc_parts *rc_parts_leave(struct hmmu_regcache *cache, struct rc_region *whole);
void rc_parts_put(struct hmmu_regcache *cache, struct rc_parts *parts);
/* With lock: into the table, the last step of being LIVE. */
void rc_parts_live(struct hmmu_regcache *cache, struct rc_region *whole);
/* With lock: a LIVE part dies; so does what it was a part of, if it was the last. */
void rc_part_kill(struct hmmu_regcache *cache, struct rc_region *part, enum rc_count why);
/* With lock: all that live. */
void rc_parts_kill(struct hmmu_regcache *cache, struct rc_region *whole, enum rc_count why);
/* With lock: the memory in [start, end) changes. True: there is something to reap. */
bool rc_parts_changed(struct hmmu_regcache *cache, struct rc_region *whole, uint64_t start,
		      uint64_t end);
/* With lock: the region that covers [start, last], which is in several parts; or NULL. */
struct rc_region *rc_parts_covering(struct hmmu_regcache *cache, const struct rc_want *want);
/* After rc_pins_mark(); with lock. */
bool rc_parts_counted(struct hmmu_regcache *cache, const struct rc_region *whole);
bool rc_parts_used(struct hmmu_regcache *cache, const struct rc_region *whole);

static inline struct rc_parts *rc_parts_of(const struct rc_region *region)
{
	return region->watch ? region->watch->parts : NULL;
}

/* pins.c */
/* This thread's, or NULL: no memory. */
struct rc_pins *rc_pins_mine(void);
/* Pins @region by any means. NULL: by its count. */
uint64_t *rc_pin(struct hmmu_regcache *cache, struct rc_region *region);
/* Takes the pin back, fenced, or a count. */
void rc_unpin_slow(struct hmmu_regcache *cache, struct rc_region *region, uint64_t *pin);
/* @region was unpinned while some are dying: the reaper is poked if it waits for it. */
void rc_unpinned(struct hmmu_regcache *cache, struct rc_region *region);
/* The pin is over. Any context. */
static inline void rc_unpin(struct hmmu_regcache *cache, struct rc_region *region,
			    uint64_t *pin)
{
	if (__builtin_expect(!pin || cache->fenced, 0)) {
		rc_unpin_slow(cache, region, pin);
		return;
	}
	/* Release: what was done with the region, before. Pairs with the scan. Then, for the
	 * compiler; for the machine the reaper's membarrier puts a fence here. */
	hmmu_store_release(pin, 0);
	hmmu_signal_fence();
	if (__builtin_expect(hmmu_load_relaxed(&cache->dying) != 0, 0))
		rc_unpinned(cache, region);
}
/* mark = cache->mark of each region that somebody has pinned in a slot; with reap_lock. How
 * many. After it: rc_pinned(). */
size_t rc_pins_mark(struct hmmu_regcache *cache);
/* A pin of the parent's, in a forked child: the record is a page, and wiped. */
static inline bool rc_inherited(const uint64_t *pin)
{
	return ((const struct rc_pins *)((uintptr_t)pin & -4096UL))->owner == 0;
}
static inline bool rc_counted(struct hmmu_regcache *cache, struct rc_region *region)
{
	/* Fenced: as the scan in rc_pins_mark(). */
	return cache->fenced ? hmmu_add_seqcst(&region->count, 0)
			     : hmmu_load_seqcst(&region->count);
}
static inline bool rc_pinned(struct hmmu_regcache *cache, struct rc_region *region)
{
	return hmmu_load_relaxed(&region->mark) == hmmu_load_relaxed(&cache->mark) ||
	       rc_counted(cache, region);
}
/* The same, or a part of it. */
static inline bool rc_in_use(struct hmmu_regcache *cache, struct rc_region *region)
{
	return rc_pinned(cache, region) || rc_parts_counted(cache, region);
}
uint64_t rc_pins_hits(const struct hmmu_regcache *cache);

/* kill.c */
extern const struct mmu_interval_notifier_ops rc_sub_ops;
/* With lock: LIVE, or NEW, becomes DEAD; of one with parts, or of a part, see parts.c. */
void rc_kill(struct hmmu_regcache *cache, struct rc_region *region, enum rc_count why);
/* With lock: nothing of it is in the table any more. */
void rc_die(struct hmmu_regcache *cache, struct rc_region *region, enum rc_count why);
/* Without: something was killed. Any context. */
void rc_poke(struct hmmu_regcache *cache);
/* Deregister what is dead and not pinned. Ordinary context. Bytes. */
size_t rc_reap(struct hmmu_regcache *cache);
/* The same of one that nobody knows (any more). @registered: reg() was called for it. */
size_t rc_release(struct hmmu_regcache *cache, struct rc_region *region, bool registered);
/* Until what others took off the dead list is deregistered; or one more than @done. */
void rc_wait_gone(struct hmmu_regcache *cache);
void rc_wait_done(struct hmmu_regcache *cache, uint64_t done);

/* miss.c */
int rc_miss(struct hmmu_regcache *cache, const struct rc_want *want,
	    const struct timespec *deadline, struct hmmu_region_ref *ref);

/* evict.c */
/* With lock, after rc_look_at_pins() without: kill what was used least until it fits. False:
 * what is left is in use. */
void rc_look_at_pins(struct hmmu_regcache *cache);
bool rc_make_room(struct hmmu_regcache *cache, uint64_t bytes);
/* Without: kill @bytes of what nobody uses, and deregister it. What was deregistered. */
size_t rc_evict(struct hmmu_regcache *cache, size_t bytes);

/* cache.c: what create and a forked child have in common. 0 or -errno; cannot fail. */
int rc_enter(struct hmmu_regcache *cache);
void rc_start(struct hmmu_regcache *cache);

/* child.c */
/* In a forked child, once: empty, with an mm of its own if it had one. */
void rc_child(struct hmmu_regcache *cache);
static inline void rc_check_life(struct hmmu_regcache *cache)
{
	if (__builtin_expect(hmmu_load_acquire(cache->life) != RC_LIFE_ON, 0))
		rc_child(cache);
}

static inline uint64_t rc_bytes(const struct rc_region *region)
{
	return region->pub.end - region->pub.start;
}

static inline bool rc_decided(struct hmmu_regcache *cache)
{
	/* Acquire: before the words are loaded again. Pairs with the marks (notifier.h). */
	uint64_t epoch = hmmu_load_acquire(&cache->mm->epoch);

	return epoch && !(epoch & EPOCH_LOW);
}

#endif /* HMMU_REGCACHE_INTERNAL_H */
