/* SPDX-License-Identifier: MIT */
/*
 * overflow.h - the open invalidations that found no slot, by where they are. mm->lock.
 *
 * An insert has to find those that it overlaps, and there may be as many as a program cares to
 * open. So they lie in lists by address: cells of 2 MiB, 1 GiB and 512 GiB, hashed; each range
 * in a list of the finest cells of which one holds all of it, what fits into none in `wide`. A
 * search looks at the lists of the cells that it touches, at every level.
 *
 * Two ranges that share an address share its cell at each level. The one that is filed lies
 * in that cell of its level as a whole; the other one touches it: its list is looked at.
 *
 * Nothing here is ever moved or allocated: starts come from where memory cannot be had.
 */
#ifndef HMMU_OVERFLOW_H
#define HMMU_OVERFLOW_H

#include <stdint.h>

#define OVERFLOW_LEVELS 3
#define OVERFLOW_LISTS 64 /* bits of a word */
#define OVERFLOW_HEADS (OVERFLOW_LEVELS * OVERFLOW_LISTS + 1)

struct hmmu_inv;

struct hmmu_overflow {
	uint64_t n; /* how many there are */
	struct hmmu_inv *wide;
	struct hmmu_inv *list[OVERFLOW_LEVELS][OVERFLOW_LISTS];
};

void hmmu_overflow_add(struct hmmu_overflow *o, struct hmmu_inv *inv);
void hmmu_overflow_del(struct hmmu_overflow *o, struct hmmu_inv *inv);

/* The heads of the lists in which all are that overlap [start, last], and others; each list
 * once. How many. */
unsigned int hmmu_overflow_heads(const struct hmmu_overflow *o, uint64_t start, uint64_t last,
				 struct hmmu_inv *head[OVERFLOW_HEADS]);

#endif /* HMMU_OVERFLOW_H */
