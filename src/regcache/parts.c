// SPDX-License-Identifier: MIT
/*
 * parts.c - a large registration that is found in parts, so that a change of one page of it
 * costs a part and not all of it (options->split).
 *
 *	whole	what is registered: one reg(), one dereg(), one subscription. In no word of
 *		the table
 *	part	[start, end) of it between multiples of 1 << shift: a region by itself, named
 *		by its pages' words, found as any other (get.c: hit)
 *	pair	two neighbours together, in no word: for what reaches over their border
 *
 * All of them are regions with an id, which can be pinned and referenced, and all have the
 * whole's handle and key. What a reference says is in memory of its own, and dies as a whole:
 *
 *	a change of page p:	the part that has p, its two pairs, the whole: no longer LIVE,
 *				and changed; no other
 *
 * so nobody ever finds, or is told that it is valid, something of which a page is gone; and
 * who holds another part is not told that it changed. The callback's work is that of the
 * parts that are hit: words of a part, at most 1/RC_PARTS_MAX of the registration or
 * options->split, and three states. (A change of all of it clears all words, as ever.)
 *
 * THE WHOLE goes from LIVE to PARTLY with the first part that dies (for whatever reason: a
 * change, a drop, a larger registration in its place) and to DEAD, on the dead list, with the
 * last. It is deregistered when it is not pinned, and none of its parts and pairs is: the
 * scan marks with each of them what it is of; and who puts one finds it DEAD, as those of a
 * dead whole all are, and pokes (regcache.h, A PUT AGAINST THE REAPER).
 *
 * A GET that does not lie in one part finds by its first page's word the part, thereby its
 * pair and its whole. These pointers are read without the lock, and may be those of a region
 * that was reused; what is answered hangs on none of them:
 *
 *	get					killer, then reaper
 *	pin = id				state = DEAD or PARTLY
 *	load epoch: decided?			... the memory changes
 *	load state: LIVE?			membarrier
 *	  else unpin, as put			scan pins
 *	[Required: get sees that it is not LIVE, or the scan sees the pin]
 *
 * LIVE after the pin: until the unpin it is this region and no other, whose start, end and
 * protection do not change. They are compared then.
 *
 * Parts are taken before anything is registered, all or none: without memory for them the
 * registration is found as one.
 */
#include "../notifier/pool.h"
#include "regcache.h"

#define TAKEN_AT_ONCE 64 /* regions, with the lock */

static uint32_t number(const struct rc_region *whole, unsigned int shift)
{
	return (uint32_t)(((whole->pub.end - 1) >> shift) - (whole->pub.start >> shift) + 1);
}

static uint32_t index_of(const struct rc_region *whole, uint64_t addr)
{
	unsigned int shift = rc_parts_of(whole)->shift;

	return (uint32_t)((addr >> shift) - (whole->pub.start >> shift));
}

/* ---- taken and put ---------------------------------------------------- */

static struct rc_parts *new_parts(const struct hmmu_regcache *cache,
				  const struct rc_region *whole)
{
	unsigned int shift = (unsigned int)__builtin_ctz(cache->options.split);
	struct rc_parts *parts;
	uint32_t n;
	size_t size;

	while ((n = number(whole, shift)) > RC_PARTS_MAX)
		shift++;
	size = sizeof(*parts) + (2 * (size_t)n - 1) * sizeof(parts->region[0]);
	parts = hmmu_map(size, false);
	if (!parts)
		return NULL;
	parts->n = n;
	parts->shift = shift;
	parts->mapped = size;
	return parts;
}

/* The first @taken of @parts are somebody's again. */
static void put_back(struct hmmu_regcache *cache, struct rc_parts *parts, uint32_t taken)
{
	uint32_t i = 0;

	while (i < taken) {
		rc_lock(cache);
		for (uint32_t last = i + TAKEN_AT_ONCE; i < taken && i < last; i++) {
			/* A scan may go by a pin that was never one: it must not find whom
			 * this belonged to. */
			hmmu_store_relaxed(&parts->region[i]->whole, NULL);
			hmmu_store_relaxed(&parts->region[i]->pair, NULL);
			rc_region_put(cache, parts->region[i]);
		}
		rc_unlock(cache);
	}
	hmmu_unmap(parts, parts->mapped);
}

void rc_parts_take(struct hmmu_regcache *cache, struct rc_region *whole)
{
	uint32_t taken = 0, last, all;
	struct rc_parts *parts;

	if (rc_bytes(whole) <= cache->options.split)
		return;
	parts = new_parts(cache, whole);
	if (!parts)
		return;
	all = 2 * parts->n - 1;
	while (taken < all) {
		struct rc_region *region = NULL;

		last = taken + TAKEN_AT_ONCE < all ? taken + TAKEN_AT_ONCE : all;
		rc_lock(cache);
		while (taken < last && (region = rc_region_take(cache)) != NULL)
			parts->region[taken++] = region;
		rc_unlock(cache);
		if (taken < last && !rc_slab_grow(cache)) {
			put_back(cache, parts, taken);
			return;
		}
	}
	rc_lock(cache);
	whole->watch->parts = parts; /* whom the callback tells */
	rc_unlock(cache);
}

struct rc_parts *rc_parts_leave(struct hmmu_regcache *cache, struct rc_region *whole)
{
	struct rc_parts *parts = rc_parts_of(whole);

	if (!parts)
		return NULL;
	rc_lock(cache);
	whole->watch->parts = NULL; /* no callback sees them again */
	rc_unlock(cache);
	return parts;
}

void rc_parts_put(struct hmmu_regcache *cache, struct rc_parts *parts)
{
	put_back(cache, parts, 2 * parts->n - 1);
}

/* ---- alive ------------------------------------------------------------ */

static void fill_in(struct hmmu_regcache *cache, struct rc_region *whole,
		    struct rc_region *region, uint64_t start, uint64_t end)
{
	region->pub = whole->pub; /* the handle and the key */
	region->pub.start = start > whole->pub.start ? start : whole->pub.start;
	region->pub.end = end < whole->pub.end ? end : whole->pub.end;
	region->watch = whole->watch;
	hmmu_store_relaxed(&region->changed, 0);
	hmmu_store_relaxed(rc_used(cache, region->id), 0);
	hmmu_store_release(&region->whole, whole);
	/* Who sees it LIVE sees all of it: pairs with look_at() in get.c. */
	hmmu_store_release(&region->state, RC_LIVE);
}

void rc_parts_live(struct hmmu_regcache *cache, struct rc_region *whole)
{
	struct rc_parts *parts = rc_parts_of(whole);
	uint64_t size = 1UL << parts->shift, at = whole->pub.start & -size;

	parts->alive = parts->n;
	for (uint32_t i = 0; i < parts->n; i++, at += size) {
		struct rc_region *part = parts->region[i];

		fill_in(cache, whole, part, at, at + size);
		if (i + 1 < parts->n) {
			struct rc_region *pair = parts->region[parts->n + i];

			fill_in(cache, whole, pair, at, at + 2 * size);
			hmmu_store_release(&part->pair, pair);
		}
		/* As in live(): the last. */
		rc_table_set(cache, part->pub.start, part->pub.end - 1,
			     part->id << RC_PROT_BITS | part->pub.prot);
	}
}

/* ---- dying; with lock ------------------------------------------------- */

/* The pair that begins with part @i, if there is one. */
static struct rc_region *pair_at(struct rc_parts *parts, uint32_t i)
{
	return i + 1 < parts->n ? parts->region[parts->n + i] : NULL;
}

static void spoil(struct rc_region *region, enum rc_state state)
{
	/* Release and acquire as in rc_kill(). Before the memory changes (G1), and before the
	 * reaper's barrier: pairs with look_at(). pins.cpp PN3 */
	if (region && region->state == RC_LIVE)
		hmmu_store_release(&region->state, state);
}

void rc_part_kill(struct hmmu_regcache *cache, struct rc_region *part, enum rc_count why)
{
	struct rc_region *whole = part->whole;
	struct rc_parts *parts = rc_parts_of(whole);
	uint32_t i = index_of(whole, part->pub.start);

	if (!HMMU_PLANTED(RC_WORDS_STAY))
		rc_table_set(cache, part->pub.start, part->pub.end - 1, 0);
	spoil(part, RC_DEAD);
	spoil(pair_at(parts, i), RC_DEAD);
	if (i && !HMMU_PLANTED(RC_PAIR_STAYS))
		spoil(pair_at(parts, i - 1), RC_DEAD);
	spoil(whole, RC_PARTLY);
	hmmu_store_relaxed(&cache->bytes, cache->bytes - rc_bytes(part));
	if (--parts->alive)
		return;
	hmmu_store_relaxed(&cache->regions, cache->regions - 1);
	rc_die(cache, whole, why);
}

void rc_parts_kill(struct hmmu_regcache *cache, struct rc_region *whole, enum rc_count why)
{
	struct rc_parts *parts = rc_parts_of(whole);

	for (uint32_t i = 0; i < parts->n; i++) {
		if (parts->region[i]->state == RC_LIVE)
			rc_part_kill(cache, parts->region[i], why);
	}
}

/* Those that are dead may be referenced, and are watched until they are put. */
static void changed(struct rc_region *region)
{
	if (region && region->state != RC_NEW)
		hmmu_store_release(&region->changed, 1);
}

bool rc_parts_changed(struct hmmu_regcache *cache, struct rc_region *whole, uint64_t start,
		      uint64_t end)
{
	struct rc_parts *parts = rc_parts_of(whole);
	uint32_t state = whole->state, i, last;

	/* The getter's alone: it writes there, and finds out by its sequence. */
	if (state == RC_NEW)
		return false;
	/* An empty one, or beside it: no source tells of such. */
	if (start >= whole->pub.end || end <= whole->pub.start || start >= end)
		return false;
	i = start > whole->pub.start ? index_of(whole, start) : 0;
	last = end < whole->pub.end ? index_of(whole, end - 1) : parts->n - 1;
	for (; i <= last; i++) {
		struct rc_region *part = parts->region[i];

		changed(part);
		changed(pair_at(parts, i));
		if (i)
			changed(pair_at(parts, i - 1));
		if (part->state == RC_LIVE)
			rc_part_kill(cache, part, RC_INVALIDATED);
	}
	return whole->state != state && whole->state == RC_DEAD;
}

/* ---- asked; with lock ------------------------------------------------- */

static bool covers(const struct rc_region *region, const struct rc_want *want)
{
	return region && region->state == RC_LIVE && region->pub.start <= want->start &&
	       want->last < region->pub.end && !(want->prot & ~region->pub.prot);
}

struct rc_region *rc_parts_covering(struct hmmu_regcache *cache, const struct rc_want *want)
{
	struct rc_region *part =
		rc_region_of(cache, rc_word(cache, want->start) >> RC_PROT_BITS);

	if (covers(part->pair, want))
		return part->pair;
	return covers(part->whole, want) ? part->whole : NULL;
}

/* A pin that found no slot is in the region's count, and no scan finds it. */
bool rc_parts_counted(struct hmmu_regcache *cache, const struct rc_region *whole)
{
	struct rc_parts *parts = rc_parts_of(whole);

	for (uint32_t i = 0; parts && i < 2 * parts->n - 1; i++) {
		if (rc_counted(cache, parts->region[i]))
			return true;
	}
	return false;
}

/* Since the hand passed; from now on anew. */
bool rc_parts_used(struct hmmu_regcache *cache, const struct rc_region *whole)
{
	struct rc_parts *parts = rc_parts_of(whole);
	bool any = false;

	for (uint32_t i = 0; parts && i < 2 * parts->n - 1; i++) {
		uint8_t *used = rc_used(cache, parts->region[i]->id);

		/* Pairs with account() in get.c. */
		any |= hmmu_load_relaxed(used) != 0;
		hmmu_store_relaxed(used, 0);
	}
	return any;
}
