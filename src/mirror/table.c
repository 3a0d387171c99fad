// SPDX-License-Identifier: MIT
/*
 * table.c - the page table: a root of leaves, each for 1 GiB; an entry is a word of hmm.h, or
 * the driver's.
 *
 * Leaves are mapped without the lock and given with it; they go when the mirror does. A
 * block's count says whether any of its 512 entries is set, so that an invalidation of what
 * was never mapped touches no entry: 512 counts per GiB.
 */
#include <errno.h>

#include "../notifier/pool.h"
#include "mirror.h"

static uint64_t nr_leaves(const struct hmmu_mirror *m)
{
	return (dm_index(m, m->end - 1) / MIRROR_LEAF) + 1;
}

int dm_table_init(struct hmmu_mirror *m)
{
	m->root = hmmu_map_kept(nr_leaves(m) * sizeof(*m->root));
	m->leaf_low = nr_leaves(m);
	if (!m->root)
		return -ENOMEM;
	/* Where there is but one it will be needed: map() maps nothing then. */
	if (m->leaf_low == 1) {
		m->root[0] = hmmu_map_kept(sizeof(struct dm_leaf));
		if (!m->root[0])
			return -ENOMEM;
		m->leaf_low = 0;
		m->leaf_high = 1;
	}
	return 0;
}

void dm_table_free(struct hmmu_mirror *m)
{
	for (uint64_t i = m->leaf_low; i < m->leaf_high; i++) {
		if (m->root[i])
			hmmu_unmap(m->root[i], sizeof(struct dm_leaf));
	}
	hmmu_unmap(m->root, nr_leaves(m) * sizeof(*m->root));
}

static bool give(struct hmmu_mirror *m, uint64_t at, struct dm_leaf *leaf)
{
	bool taken = false;

	dm_lock(m);
	if (!m->root[at]) {
		/* Pairs with reserve()'s, which has no lock. */
		hmmu_store_release(&m->root[at], leaf);
		if (at < m->leaf_low)
			m->leaf_low = at;
		if (at >= m->leaf_high)
			m->leaf_high = at + 1;
		taken = true;
	}
	dm_unlock(m);
	return taken;
}

int dm_table_reserve(struct hmmu_mirror *m, uint64_t first, uint64_t n)
{
	uint64_t last = (first + n - 1) / MIRROR_LEAF;

	for (uint64_t at = first / MIRROR_LEAF; at <= last; at++) {
		struct dm_leaf *leaf;

		if (hmmu_load_acquire(&m->root[at]))
			continue;
		leaf = hmmu_map_kept(sizeof(*leaf));
		if (!leaf)
			return -ENOMEM;
		if (!give(m, at, leaf))
			hmmu_unmap(leaf, sizeof(*leaf));
	}
	return 0;
}

uint64_t dm_table_get(const struct hmmu_mirror *m, uint64_t index)
{
	const struct dm_leaf *leaf = m->root[index / MIRROR_LEAF];

	return leaf ? leaf->entry[index % MIRROR_LEAF] : 0;
}

/* It is out of the table: the driver's. */
static void tell_drop(struct hmmu_mirror *m, uint64_t index, uint64_t entry,
		      enum mmu_notifier_event event)
{
	if (m->ops.drop)
		m->ops.drop(m->context, m->start + (index << m->shift), entry, event);
}

void dm_table_set(struct hmmu_mirror *m, uint64_t index, uint64_t pfn)
{
	struct dm_leaf *leaf = m->root[index / MIRROR_LEAF];
	uint64_t at = index % MIRROR_LEAF, old = leaf->entry[at];

	leaf->entry[at] = pfn;
	if (old) {
		tell_drop(m, index, old, MMU_NOTIFY_EXCLUSIVE);
		return;
	}
	leaf->used[at / MIRROR_BLOCK]++;
	m->stats.entries++;
}

/* Of one block of leaf @nr, [first, last] in the leaf. */
static uint64_t drop_block(struct hmmu_mirror *m, uint64_t nr, uint64_t first, uint64_t last,
			   enum mmu_notifier_event event)
{
	struct dm_leaf *leaf = m->root[nr];
	uint16_t *used = &leaf->used[first / MIRROR_BLOCK];
	uint64_t n = 0;

	for (uint64_t i = first; *used && i <= last; i++) {
		uint64_t old = leaf->entry[i];

		if (!old)
			continue;
		leaf->entry[i] = 0;
		--*used;
		n++;
		tell_drop(m, nr * MIRROR_LEAF + i, old, event);
	}
	return n;
}

static uint64_t drop_leaf(struct hmmu_mirror *m, uint64_t nr, uint64_t first, uint64_t last,
			  enum mmu_notifier_event event)
{
	uint64_t n = 0;

	for (uint64_t at = first; at <= last;) {
		uint64_t end = at | (MIRROR_BLOCK - 1);

		n += drop_block(m, nr, at, end < last ? end : last, event);
		at = end + 1;
	}
	return n;
}

uint64_t dm_table_drop(struct hmmu_mirror *m, uint64_t first, uint64_t last,
		       enum mmu_notifier_event event)
{
	uint64_t from = first / MIRROR_LEAF, to = last / MIRROR_LEAF, n = 0;

	for (uint64_t i = from > m->leaf_low ? from : m->leaf_low; i <= to && i < m->leaf_high;
	     i++) {
		if (m->root[i])
			n += drop_leaf(m, i, i == from ? first % MIRROR_LEAF : 0,
				       i == to ? last % MIRROR_LEAF : MIRROR_LEAF - 1, event);
	}
	m->stats.entries -= n;
	return n;
}
