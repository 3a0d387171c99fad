// SPDX-License-Identifier: MIT
/*
 * table.c - the device's page table: two levels, words. Leaves are mapped when they are first
 * needed and stay until the file is closed; empty pages of a leaf cost nothing.
 */
#include <errno.h>

#include "dmirror.h"

#define LEAF_SHIFT 30
#define LEAF_BYTES ((1UL << (LEAF_SHIFT - 12)) * sizeof(uint64_t))
#define LEAVES (MIR_TOP >> LEAF_SHIFT)

static unsigned long leaf_of(unsigned long addr)
{
	return addr >> LEAF_SHIFT;
}

static unsigned long slot_of(unsigned long addr)
{
	return (addr & ((1UL << LEAF_SHIFT) - 1)) / MIR_PAGE;
}

static uint64_t *leaf_at(const struct mir_table *table, unsigned long addr)
{
	/* Pairs with the exchange in reserve: a leaf is found zeroed. */
	return __atomic_load_n(&table->leaves[leaf_of(addr)], __ATOMIC_ACQUIRE);
}

int mir_table_init(struct mir_table *table)
{
	table->leaves = mir_map(LEAVES * sizeof(*table->leaves));
	return table->leaves ? 0 : -ENOMEM;
}

void mir_table_free(struct mir_table *table)
{
	for (unsigned long i = 0; i < LEAVES; i++) {
		if (table->leaves[i])
			mir_unmap(table->leaves[i], LEAF_BYTES);
	}
	mir_unmap(table->leaves, LEAVES * sizeof(*table->leaves));
	table->leaves = NULL;
}

int mir_table_reserve(struct mir_table *table, unsigned long start, unsigned long end)
{
	for (unsigned long i = leaf_of(start); i <= leaf_of(end - 1); i++) {
		uint64_t *none = NULL, *leaf;

		if (__atomic_load_n(&table->leaves[i], __ATOMIC_ACQUIRE))
			continue;
		leaf = mir_map(LEAF_BYTES);
		if (!leaf)
			return -ENOMEM;
		if (!__atomic_compare_exchange_n(&table->leaves[i], &none, leaf, false,
						 __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			mir_unmap(leaf, LEAF_BYTES); /* another thread was first */
	}
	return 0;
}

uint64_t mir_table_get(const struct mir_table *table, unsigned long addr)
{
	const uint64_t *leaf = leaf_at(table, addr);

	return leaf ? leaf[slot_of(addr)] : 0;
}

void mir_table_set(struct mir_table *table, unsigned long addr, uint64_t entry)
{
	leaf_at(table, addr)[slot_of(addr)] = entry;
}

void mir_table_drop(struct mir_table *table, unsigned long start, unsigned long end,
		    uint64_t but)
{
	for (unsigned long at = start; at < end;) {
		unsigned long next = (leaf_of(at) + 1) << LEAF_SHIFT;
		uint64_t *leaf = leaf_at(table, at);

		if (next > end)
			next = end;
		for (; leaf && at < next; at += MIR_PAGE) {
			uint64_t *entry = &leaf[slot_of(at)];

			/* An empty page of the leaf is not written to. */
			if (*entry && !(*entry & but))
				*entry = 0;
		}
		at = next;
	}
}
