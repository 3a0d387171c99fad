// SPDX-License-Identifier: MIT
/* get.c - look-ups: see regcache.h for the hit's order. */
#include <errno.h>

#include "../export.h"
#include "regcache.h"

#ifdef HMMU_SCHED
#define DECIDED_SPINS 2 /* each is a step of the schedule */
#else
#define DECIDED_SPINS 1000
#endif

/* With the pin taken, compiler and machine: see A HIT AGAINST A KILL. pins.cpp PN1 */
static inline void pin(struct hmmu_regcache *cache, uint64_t *slot, uint64_t word)
{
	if (__builtin_expect(cache->fenced, 0)) {
		(void)hmmu_xchg_seqcst(slot, word);
		return;
	}
	/* Release: who scans finds the chunk of the region that it names. */
	hmmu_store_release(slot, word);
	hmmu_signal_fence();
}

static inline uint32_t *word_at(struct rc_leaf **root, uint64_t addr)
{
	/* Pairs with rc_table_cover(). */
	struct rc_leaf *leaf = hmmu_load_acquire(&root[addr >> RC_LEAF_SHIFT]);

	return leaf ? &leaf->word[(addr >> RC_PAGE_SHIFT) & (RC_LEAF_WORDS - 1)] : NULL;
}

static inline void account(struct hmmu_regcache *cache, struct rc_pins *pins, uint32_t id)
{
	uint64_t *hits = &pins->hits[cache->index];

	hmmu_store_relaxed(hits, hmmu_load_relaxed(hits) + 1);
	if (cache->limited) {
		uint8_t *used = rc_used(cache, id);

		/* A shared line is written once per round of the hand. Pairs with evict.c,
		 * where a lost mark costs an eviction that was not quite right. */
		if (!hmmu_load_relaxed(used))
			hmmu_store_relaxed(used, 1);
	}
}

enum look {
	LOOK_HIT,
	LOOK_SLOW,     /* nothing was done */
	LOOK_COLLIDED, /* pinned, and unpinned again: a reaper may have met the pin */
};

/* Scalars, so that they stay in registers. */
static inline __attribute__((always_inline)) enum look hit(struct hmmu_regcache *cache,
							   uint64_t start, uint64_t end,
							   unsigned int prot,
							   struct hmmu_region_ref *ref)
{
	struct rc_pins *pins = hmmu_tls.pins;
	uint32_t *first = word_at(cache->root, start), *last = word_at(cache->root, end);
	uint64_t *slot, cursor;
	uint32_t word;

	if (__builtin_expect(!first || !last || !pins, 0))
		return LOOK_SLOW;
	cursor = pins->cursor;
	slot = &pins->pin[cursor % RC_PINS];
	/* Acquire pairs with rc_table_set(). */
	word = hmmu_load_acquire(first);
	/* The owner is tested and never written here: a handler may fork right now, and the
	 * child's record is in no list. */
	if (__builtin_expect((prot & ~word) || !hmmu_load_relaxed(&pins->owner) ||
				     hmmu_load_relaxed(slot),
			     0))
		return LOOK_SLOW;
	pins->cursor = cursor + 1;
	pin(cache, slot, cache->tag | (word >> RC_PROT_BITS));
	/* The epoch first (words.cpp WD3); then both words as they are now (words.cpp WD4;
	 * against a kill: pins.cpp PN2). */
	if (__builtin_expect((rc_decided(cache) || HMMU_PLANTED(RC_NO_EPOCH)) &&
				     ((hmmu_load_acquire(first) == word &&
				       hmmu_load_acquire(last) == word) ||
				      HMMU_PLANTED(RC_NO_RECHECK)),
			     1)) {
		account(cache, pins, word >> RC_PROT_BITS);
		ref->region = &rc_region_of(cache, word >> RC_PROT_BITS)->pub;
		ref->pin = slot;
		return LOOK_HIT;
	}
	(void)hmmu_xchg_seqcst(slot, 0);
	return LOOK_COLLIDED;
}

static bool wanted(struct rc_want *want, const void *addr, size_t len, unsigned int prot)
{
	want->start = (uint64_t)(uintptr_t)addr;
	want->last = want->start + len - 1;
	want->prot = prot;
	return len && want->last >= want->start && prot - 1 < RC_PROT;
}

/*
 * Nobody can say by the epoch alone whether what the table names is still good: the mm is
 * undecided, or its source wants to be asked. The region is pinned. 0: what the callbacks left
 * is good; -EAGAIN: gone meanwhile; -ETIMEDOUT; -ENODEV.
 */
static int settle(struct hmmu_regcache *cache, struct rc_region *region,
		  const struct timespec *deadline)
{
	int ret;

	if (hmmu_mm_decided(cache->mm))
		return 0;
	ret = rc_watch_wait(cache, region, deadline);
	if (ret)
		return ret;
	if (rc_trylock(cache)) { /* a progress loop does not wait, not for a number */
		rc_count(cache, RC_REVALIDATED, 1);
		rc_unlock(cache);
	}
	return hmmu_mm_decided(cache->mm) ? 0 : -EAGAIN;
}

/* The hit with nothing assumed. -ENOENT: not there. */
static int look(struct hmmu_regcache *cache, const struct rc_want *want,
		const struct timespec *deadline, struct hmmu_region_ref *ref)
{
	uint32_t word = rc_word(cache, want->start);
	struct rc_region *region;
	uint64_t *slot;
	int ret;

	if ((word & want->prot) != want->prot || rc_word(cache, want->last) != word)
		return -ENOENT;
	region = rc_region_of(cache, word >> RC_PROT_BITS);
	slot = rc_pin(cache, region);
	if (rc_word(cache, want->start) != word || rc_word(cache, want->last) != word) {
		ret = -EAGAIN;
		goto unpin;
	}
	if (!rc_decided(cache)) {
		ret = settle(cache, region, deadline);
		if (ret)
			goto unpin;
	}
	/* Decided first, the words after it, as in hit(): what was told meanwhile. */
	if (rc_word(cache, want->start) != word) {
		ret = -EAGAIN;
		goto unpin;
	}
	if (hmmu_tls.pins)
		account(cache, hmmu_tls.pins, word >> RC_PROT_BITS);
	ref->region = &region->pub;
	ref->pin = slot;
	return 0;
unpin:
	rc_unpin(cache, region, slot);
	return ret;
}

/*
 * @region, named by a part that the range begins in, covers all of it? LIVE, seen after the
 * pin: it cannot be deregistered before the unpin, so what it says of itself stays, whatever
 * led here. As the words in look(): pinned first; decided first. 0, -EAGAIN, -ENOENT, or what
 * settle() answers.
 */
static int look_at(struct hmmu_regcache *cache, struct rc_region *region,
		   const struct rc_want *want, const struct timespec *deadline,
		   struct hmmu_region_ref *ref)
{
	uint64_t *slot;
	int ret = 0;

	if (!region || hmmu_load_acquire(&region->state) != RC_LIVE)
		return -ENOENT;
	slot = rc_pin(cache, region);
	if (hmmu_load_acquire(&region->state) != RC_LIVE) /* pins.cpp PN2 */
		ret = -EAGAIN;
	else if (want->start < region->pub.start || want->last >= region->pub.end ||
		 (want->prot & ~region->pub.prot))
		ret = -ENOENT;
	else if (!rc_decided(cache))
		ret = settle(cache, region, deadline);
	if (!ret && hmmu_load_acquire(&region->state) != RC_LIVE)
		ret = -EAGAIN;
	if (ret) {
		rc_unpin(cache, region, slot);
		return ret;
	}
	if (hmmu_tls.pins)
		account(cache, hmmu_tls.pins, region->id);
	ref->region = &region->pub;
	ref->pin = slot;
	return 0;
}

/* In several parts: two, or any of one that is whole. */
static int look_wide(struct hmmu_regcache *cache, const struct rc_want *want,
		     const struct timespec *deadline, struct hmmu_region_ref *ref)
{
	uint32_t word = rc_word(cache, want->start);
	struct rc_region *part;
	int ret;

	if (!(word & RC_PROT))
		return -ENOENT;
	part = rc_region_of(cache, word >> RC_PROT_BITS);
	ret = look_at(cache, hmmu_load_acquire(&part->pair), want, deadline, ref);
	if (ret == -ENOENT)
		ret = look_at(cache, hmmu_load_acquire(&part->whole), want, deadline, ref);
	return ret;
}

static int find(struct hmmu_regcache *cache, const struct rc_want *want,
		const struct timespec *deadline, struct hmmu_region_ref *ref)
{
	int ret = look(cache, want, deadline, ref);

	return ret == -ENOENT && cache->splits ? look_wide(cache, want, deadline, ref) : ret;
}

__attribute__((noinline, cold)) static int slow(struct hmmu_regcache *cache, const void *addr,
						size_t len, unsigned int prot,
						const struct timespec *deadline,
						struct hmmu_region_ref *ref)
{
	int saved = errno, ret; /* reg() and dereg() may change it */
	struct rc_want want;

	if (!cache || !ref || !wanted(&want, addr, len, prot))
		return -EINVAL;
	(void)HMMU_CONTEXT("regcache-get", HMMU_NOT_CALLBACK | HMMU_NOT_SIGNAL | HMMU_NOT_VFORK,
			   cache);
	rc_check_life(cache);
	do {
		ret = find(cache, &want, deadline, ref);
	} while (ret == -EAGAIN);
	if (ret == -ENOENT || ret == -ENODEV)
		ret = rc_miss(cache, &want, deadline, ref);
	errno = saved;
	return ret;
}

/* As rc_unpin(), whoever it was that the pin named. */
__attribute__((noinline, cold)) static int
collided(struct hmmu_regcache *cache, const void *addr, size_t len, unsigned int prot,
	 const struct timespec *deadline, struct hmmu_region_ref *ref)
{
	if (hmmu_load_seqcst(&cache->dying))
		rc_poke(cache);
	return slow(cache, addr, len, prot, deadline, ref);
}

/* Of what slow() would refuse, none gets through. */
static inline __attribute__((always_inline)) int
get(struct hmmu_regcache *cache, const void *addr, size_t len, unsigned int prot,
    const struct timespec *deadline, struct hmmu_region_ref *ref)
{
	uint64_t start = (uint64_t)(uintptr_t)addr, end = start + len - 1;

	enum look found;

	if (__builtin_expect(!cache || !ref || start >= RC_ADDR_END ||
				     len - 1 >= RC_ADDR_END - start || prot - 1 >= RC_PROT,
			     0))
		return slow(cache, addr, len, prot, deadline, ref);
	found = hit(cache, start, end, prot, ref);
	if (__builtin_expect(found == LOOK_HIT, 1))
		return 0;
	return found == LOOK_SLOW ? slow(cache, addr, len, prot, deadline, ref)
				  : collided(cache, addr, len, prot, deadline, ref);
}

HMMU_EXPORT int hmmu_regcache_get(struct hmmu_regcache *cache, const void *addr, size_t len,
				  unsigned int prot, struct hmmu_region_ref *ref)
{
	return get(cache, addr, len, prot, NULL, ref);
}

HMMU_EXPORT int hmmu_regcache_get_until(struct hmmu_regcache *cache, const void *addr,
					size_t len, unsigned int prot,
					const struct timespec *deadline,
					struct hmmu_region_ref *ref)
{
	return get(cache, addr, len, prot, deadline, ref);
}

HMMU_EXPORT int hmmu_regcache_get_nonblock(struct hmmu_regcache *cache, const void *addr,
					   size_t len, unsigned int prot,
					   struct hmmu_region_ref *ref)
{
	static const struct timespec now = {0, 0};
	struct rc_want want;
	int ret;

	if (!cache || !ref || !wanted(&want, addr, len, prot))
		return -EINVAL;
	if (want.last >> RC_ADDR_BITS)
		return -EAGAIN;
	if (hit(cache, want.start, want.last, prot, ref) == LOOK_HIT)
		return 0;
	if (hmmu_load_seqcst(&cache->dying))
		rc_poke(cache); /* as collided() */
	if (hmmu_load_acquire(cache->life) != RC_LIFE_ON)
		return -EAGAIN;
	ret = find(cache, &want, &now, ref);
	return ret ? -EAGAIN : 0;
}

HMMU_EXPORT void hmmu_regcache_put(struct hmmu_regcache *cache, struct hmmu_region_ref *ref)
{
	struct rc_region *region;

	if (!cache || !ref || !ref->region)
		return;
	region = (struct rc_region *)ref->region; /* its first member */
	ref->region = NULL;
#ifdef HMMU_DEBUG
	if (ref->pin && !rc_inherited(ref->pin) &&
	    hmmu_debug_load(ref->pin) != (cache->tag | region->id)) {
		hmmu_report("regcache-put-twice", ref);
		return;
	}
#endif
	rc_unpin(cache, region, ref->pin); /* pins.cpp PN7 */
}

/* An event that is being told is over within microseconds most often: "changed", for a
 * region that it does not concern, would cost its owner more. */
static bool decided_soon(struct mm_struct *mm)
{
	for (unsigned int i = 0; i < DECIDED_SPINS && hmmu_mm_alive(mm); i++) {
		if (hmmu_mm_decided(mm))
			return true;
		hmmu_cpu_relax();
	}
	return false;
}

HMMU_EXPORT bool hmmu_regcache_valid(struct hmmu_regcache *cache,
				     const struct hmmu_region_ref *ref)
{
	struct rc_region *region;
	uint64_t epoch;

	if (!cache || !ref || !ref->region)
		return false;
	region = (struct rc_region *)ref->region;
	/* A forked child finds its parent's pins wiped. */
	if (ref->pin ? hmmu_load_relaxed(ref->pin) != (cache->tag | region->id)
		     : !hmmu_load_relaxed(&region->count))
		return false;
	/* After the caller's access (G1); the epoch before what the callback leaves, as in
	 * hit(). A region that was evicted is watched until it is put. words.cpp WD7 */
	epoch = hmmu_load_after_loads(&cache->mm->epoch);
	if (__builtin_expect(!epoch || (epoch & EPOCH_LOW), 0) && !decided_soon(cache->mm))
		return false;
	return !hmmu_load_acquire(&region->changed);
}
