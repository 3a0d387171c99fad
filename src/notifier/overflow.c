// SPDX-License-Identifier: MIT
/* overflow.c - see overflow.h. */
#include "overflow.h"

#include "notifier.h"

static unsigned int shift_of(unsigned int level)
{
	return 21 + 9 * level;
}

static unsigned int hash(uint64_t cell)
{
	return (unsigned int)(cell * 0x9e3779b97f4a7c15ULL >> 58);
}

static struct hmmu_inv **list_of(struct hmmu_overflow *o, uint64_t start, uint64_t last)
{
	for (unsigned int level = 0; level < OVERFLOW_LEVELS; level++) {
		uint64_t cell = start >> shift_of(level);

		if (last >> shift_of(level) == cell)
			return &o->list[level][hash(cell)];
	}
	return &o->wide;
}

void hmmu_overflow_add(struct hmmu_overflow *o, struct hmmu_inv *inv)
{
	struct hmmu_inv **list = list_of(o, inv->start, inv->end - 1);

	inv->next = *list;
	inv->link = list;
	if (inv->next)
		inv->next->link = &inv->next;
	*list = inv;
	o->n++;
}

void hmmu_overflow_del(struct hmmu_overflow *o, struct hmmu_inv *inv)
{
	*inv->link = inv->next;
	if (inv->next)
		inv->next->link = inv->link;
	o->n--;
}

/* The lists of the cells that [start, last] touches, a bit each. */
static uint64_t lists_of(unsigned int level, uint64_t start, uint64_t last)
{
	uint64_t cell = start >> shift_of(level), end = last >> shift_of(level), set = 0;

	if (end - cell >= OVERFLOW_LISTS)
		return ~0ULL;
	for (; cell <= end; cell++)
		set |= 1ULL << hash(cell);
	return set;
}

unsigned int hmmu_overflow_heads(const struct hmmu_overflow *o, uint64_t start, uint64_t last,
				 struct hmmu_inv *head[OVERFLOW_HEADS])
{
	unsigned int n = 0;

	if (o->wide)
		head[n++] = o->wide;
	for (unsigned int level = 0; level < OVERFLOW_LEVELS; level++) {
		uint64_t set = lists_of(level, start, last);

		for (; set; set &= set - 1) {
			struct hmmu_inv *first = o->list[level][__builtin_ctzll(set)];

			if (first)
				head[n++] = first;
		}
	}
	return n;
}
