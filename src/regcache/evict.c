// SPDX-License-Identifier: MIT
/*
 * evict.c - limits. A hand goes round the slab, as a clock's: what was found by a look-up
 * since it passed gets another round, what is in use is left alone.
 */
#include "regcache.h"

#define WALK_MAX 4096 /* regions, before what is not in use will do */

/* With lock: the first registration from @id on that can be found; 0: none. Parts, and ids that
 * are free, are passed 64 at a time: a walk that ended among them would find nobody to evict.
 */
static uint32_t next_from(const struct hmmu_regcache *cache, uint32_t id)
{
	while (id < cache->next_id) {
		uint64_t word = cache->chunk[id >> RC_CHUNK_SHIFT]->able[id % RC_CHUNK / 64];

		word >>= id % 64;
		if (word)
			return id + (uint32_t)__builtin_ctzll(word);
		id = (id | 63) + 1;
	}
	return 0;
}

/* With lock, after rc_look_at_pins(). The next victim, or NULL: all are in use. */
static struct rc_region *victim(struct hmmu_regcache *cache)
{
	/* Twice round: the first time may only have taken marks away. */
	uint64_t n = 2 * cache->regions < WALK_MAX ? 2 * cache->regions : WALK_MAX;
	struct rc_region *any = NULL;

	for (; n; n--) {
		struct rc_region *region;
		uint8_t *used;

		cache->hand = next_from(cache, cache->hand + 1);
		if (!cache->hand)
			cache->hand = next_from(cache, 1);
		if (!cache->hand)
			return NULL;
		region = rc_region_of(cache, cache->hand);
		if (rc_in_use(cache, region))
			continue;
		used = rc_used(cache, cache->hand);
		/* Pairs with account() in get.c. */
		if (!hmmu_load_relaxed(used) && !rc_parts_used(cache, region))
			return region;
		hmmu_store_relaxed(used, 0);
		any = any ? any : region;
	}
	return any;
}

/* With lock: the limits, with one region of @bytes more. */
static bool fits(const struct hmmu_regcache *cache, uint64_t bytes)
{
	const struct hmmu_regcache_options *o = &cache->options;

	return cache->regions < o->max_regions && bytes <= o->max_bytes &&
	       cache->bytes <= o->max_bytes - bytes;
}

/* As of now: who pins one later has it taken from under him, which is legal. */
void rc_look_at_pins(struct hmmu_regcache *cache)
{
	hmmu_lock(&cache->reap_lock);
	rc_pins_mark(cache);
	hmmu_unlock(&cache->reap_lock);
}

bool rc_make_room(struct hmmu_regcache *cache, uint64_t bytes)
{
	while (!fits(cache, bytes)) {
		struct rc_region *region =
			bytes <= cache->options.max_bytes ? victim(cache) : NULL;

		if (!region)
			return false;
		rc_kill(cache, region, RC_EVICTED);
	}
	return true;
}

size_t rc_evict(struct hmmu_regcache *cache, size_t bytes)
{
	uint64_t done = hmmu_load_seqcst(&cache->done);
	size_t killed = 0, freed;

	rc_look_at_pins(cache);
	rc_lock(cache);
	while (killed < bytes) {
		struct rc_region *region = victim(cache);

		if (!region)
			break;
		killed += rc_bytes(region);
		rc_kill(cache, region, RC_EVICTED);
	}
	rc_unlock(cache);
	freed = rc_reap(cache);
	if (freed)
		return freed;
	/* Another reaper may have them: something is free when it has done one more. */
	rc_wait_done(cache, done);
	return hmmu_load_seqcst(&cache->done) != done ? (killed ? killed : 1) : 0;
}
