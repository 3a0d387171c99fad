// SPDX-License-Identifier: MIT
/* words.c - a word per page: two levels, leaves of 2 MiB for 1 GiB, never freed. */
#include <errno.h>

#include "../notifier/pool.h"
#include "devmem.h"

static uint64_t *in_leaf(struct dm_leaf *leaf, uint64_t addr)
{
	return &leaf->word[(addr >> DM_PAGE_SHIFT) & (DM_LEAF_WORDS - 1)];
}

uint64_t *dm_find_word(struct hmmu_devmem *dm, uint64_t addr)
{
	struct dm_leaf *leaf;

	if (addr >> DM_ADDR_BITS || !dm->root)
		return NULL;
	/* Acquire pairs with dm_make_word(): a leaf is zeros before it is known. */
	leaf = hmmu_load_acquire(&dm->root[addr >> DM_LEAF_SHIFT]);
	return leaf ? in_leaf(leaf, addr) : NULL;
}

uint64_t *dm_make_word(struct hmmu_devmem *dm, uint64_t addr)
{
	uint64_t *word = dm_find_word(dm, addr);
	struct dm_leaf *leaf, *nobody = NULL;

	if (word || addr >> DM_ADDR_BITS || !dm->root)
		return word;
	leaf = hmmu_map(sizeof(*leaf), true);
	if (!leaf)
		return NULL;
	if (hmmu_cas_seqcst(&dm->root[addr >> DM_LEAF_SHIFT], &nobody, leaf))
		return in_leaf(leaf, addr);
	hmmu_unmap(leaf, sizeof(*leaf));
	return in_leaf(nobody, addr);
}

int dm_cover(struct hmmu_devmem *dm, uint64_t start, uint64_t end)
{
	for (uint64_t at = start & -(1UL << DM_LEAF_SHIFT); at < end;
	     at += 1UL << DM_LEAF_SHIFT)
		if (!dm_make_word(dm, at))
			return -ENOMEM;
	return 0;
}

uint64_t *dm_next_word(struct hmmu_devmem *dm, uint64_t *at, uint64_t end)
{
	if (end > DM_ADDR_END)
		end = DM_ADDR_END;
	while (*at < end) {
		uint64_t *word = dm_find_word(dm, *at);
		uint64_t leaf_end = (*at | ((1UL << DM_LEAF_SHIFT) - 1)) + 1;

		if (!word) {
			*at = leaf_end;
			continue;
		}
		for (; *at < end && *at < leaf_end; *at += DM_PAGE, word++)
			if (hmmu_load_relaxed(word))
				return word;
	}
	return NULL;
}
