// SPDX-License-Identifier: MIT
/*
 * slab.c - regions. Their memory stays regions until the cache is destroyed: a put may look
 * at the state of one that has been deregistered and reused since.
 */
#include <string.h>

#include "../notifier/pool.h"
#include "regcache.h"

struct rc_region *rc_region_take(struct hmmu_regcache *cache)
{
	struct rc_region *region = cache->free;
	uint32_t id = cache->next_id;

	if (region) {
		cache->free = region->next;
	} else {
		if (id > RC_ID_MAX || !hmmu_load_acquire(&cache->chunk[id >> RC_CHUNK_SHIFT]))
			return NULL;
		hmmu_store_relaxed(&cache->next_id, id + 1);
		region = rc_region_of(cache, id);
		region->id = id;
	}
	memset(&region->pub, 0, sizeof(region->pub));
	region->watch = NULL;
	hmmu_store_relaxed(&region->whole, NULL);
	hmmu_store_relaxed(&region->pair, NULL);
	hmmu_store_relaxed(&region->changed, 0);
	hmmu_store_relaxed(&region->state, RC_NEW);
	return region;
}

bool rc_slab_grow(struct hmmu_regcache *cache)
{
	uint32_t id = hmmu_load_relaxed(&cache->next_id);
	struct rc_chunk *chunk, *nobody = NULL;

	if (id > RC_ID_MAX)
		return false;
	chunk = hmmu_map(sizeof(*chunk), true);
	if (!chunk)
		return false;
	/* Pairs with rc_region_of(). words.cpp WD1 */
	if (!hmmu_cas_seqcst(&cache->chunk[id >> RC_CHUNK_SHIFT], &nobody, chunk))
		hmmu_unmap(chunk, sizeof(*chunk)); /* another thread's came first */
	return true;
}

void rc_region_put(struct hmmu_regcache *cache, struct rc_region *region)
{
	hmmu_store_relaxed(&region->state, RC_FREE);
	region->next = cache->free;
	cache->free = region;
}

void rc_slab_free(struct hmmu_regcache *cache)
{
	for (uint32_t i = 0; i < RC_CHUNKS; i++) {
		if (cache->chunk[i])
			hmmu_unmap(cache->chunk[i], sizeof(struct rc_chunk));
	}
}
