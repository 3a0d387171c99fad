// SPDX-License-Identifier: MIT
/* table.c - which region is at this address: see regcache.h. */
#include <errno.h>

#include "../notifier/pool.h"
#include "regcache.h"

static struct rc_leaf *leaf_of(struct hmmu_regcache *cache, uint64_t addr)
{
	/* Acquire pairs with rc_table_cover(): a leaf is zeros before it is known. */
	return hmmu_load_acquire(&cache->root[addr >> RC_LEAF_SHIFT]);
}

static uint32_t *word_in(struct rc_leaf *leaf, uint64_t addr)
{
	return &leaf->word[(addr >> RC_PAGE_SHIFT) & (RC_LEAF_WORDS - 1)];
}

uint32_t rc_word(struct hmmu_regcache *cache, uint64_t addr)
{
	struct rc_leaf *leaf;

	if (addr >> RC_ADDR_BITS)
		return 0;
	leaf = leaf_of(cache, addr);
	return leaf ? hmmu_load_acquire(word_in(leaf, addr)) : 0;
}

int rc_table_cover(struct hmmu_regcache *cache, uint64_t start, uint64_t last)
{
	for (uint64_t i = start >> RC_LEAF_SHIFT; i <= last >> RC_LEAF_SHIFT; i++) {
		struct rc_leaf *leaf, *nobody = NULL;

		if (hmmu_load_relaxed(&cache->root[i]))
			continue;
		leaf = hmmu_map(sizeof(*leaf), true);
		if (!leaf)
			return -ENOMEM;
		/* Pairs with leaf_of(). words.cpp WD1 */
		if (!hmmu_cas_seqcst(&cache->root[i], &nobody, leaf))
			hmmu_unmap(leaf, sizeof(*leaf));
	}
	return 0;
}

void rc_table_set(struct hmmu_regcache *cache, uint64_t start, uint64_t last, uint32_t word)
{
	for (uint64_t at = start & -(1UL << RC_PAGE_SHIFT); at <= last;
	     at += 1UL << RC_PAGE_SHIFT) {
		struct rc_leaf *leaf = leaf_of(cache, at);

		/* Release: who finds it finds the region filled in. Pairs with rc_word() and
		 * the loads in get.c. Only ever written with lock. words.cpp WD2 */
		hmmu_store_release(word_in(leaf, at), word);
	}
}

struct rc_watch *rc_table_idle(struct hmmu_regcache *cache, uint64_t addr)
{
	uint32_t word = rc_word(cache, addr), id = word >> RC_PROT_BITS;

	if (!word || (word & RC_PROT))
		return NULL;
	return &cache->watches[id >> RC_CHUNK_SHIFT]->watch[id & (RC_CHUNK - 1)];
}

/* The first page from *i on, up to @last, that a region has, and its word; 0: none. Most of a
 * leaf is empty: two at a time. */
static uint32_t next_word(struct rc_leaf *leaf, uint64_t *i, uint64_t last)
{
	for (; *i <= last; ++*i) {
		uint32_t word;

		if (!(*i & 1) && *i < last && !leaf->pair[*i / 2]) {
			++*i;
			continue;
		}
		word = hmmu_load_relaxed(&leaf->word[*i]);
		if (word & RC_PROT)
			return word;
	}
	return 0;
}

struct rc_region *rc_table_next(struct hmmu_regcache *cache, uint64_t *at, uint64_t last)
{
	uint64_t in_leaf = (1UL << RC_LEAF_SHIFT) - 1;

	while (*at <= last && !(*at >> RC_ADDR_BITS)) {
		struct rc_leaf *leaf = leaf_of(cache, *at);
		uint64_t end = (*at | in_leaf) < last ? (*at | in_leaf) : last;
		uint64_t i = (*at & in_leaf) >> RC_PAGE_SHIFT;
		uint32_t word =
			leaf ? next_word(leaf, &i, (end & in_leaf) >> RC_PAGE_SHIFT) : 0;

		if (word) {
			struct rc_region *region = rc_region_of(cache, word >> RC_PROT_BITS);
			uint64_t next = (*at & ~in_leaf) + ((i + 1) << RC_PAGE_SHIFT);

			/* Forwards, whatever a region that is none any more says. */
			*at = region->pub.end > next ? region->pub.end : next;
			return region;
		}
		*at = end + 1;
		if (!*at)
			break;
	}
	return NULL;
}

void rc_table_free(struct hmmu_regcache *cache)
{
	for (uint64_t i = 0; cache->root && i < RC_ROOTS; i++) {
		if (cache->root[i])
			hmmu_unmap(cache->root[i], sizeof(struct rc_leaf));
	}
	if (cache->root)
		hmmu_unmap(cache->root, RC_ROOTS * sizeof(*cache->root));
}
