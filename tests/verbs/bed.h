/* SPDX-License-Identifier: MIT */
/*
 * bed.h - an adapter on the card of standin.h, with an explicit mm that is reclaimed by hand:
 * every step happens where the test puts it. Pages are named by number, from the area's start;
 * each has a first word that no page had before.
 */
#ifndef HMMU_TEST_VERBS_BED_H
#define HMMU_TEST_VERBS_BED_H

#include "standin.h"

#define PAGES 64

struct bed {
	struct mm_struct *mm;
	struct hmmu_verbs *v;
	char *area; /* PAGES, with a hole on both sides */
};

static inline char *at(const struct bed *b, size_t page)
{
	return b->area + page * PAGE;
}

/* @options: NULL, or what is opened with (mm is filled in). */
void bed_open(struct bed *b, const struct hmmu_verbs_options *options);
/* Closes, and counts: nothing is left registered. */
void bed_close(struct bed *b);
void bed_area(struct bed *b); /* the memory alone */
void bed_area_gone(struct bed *b);
void bed_reclaim(struct bed *b);
struct hmmu_verbs_stats bed_stats(struct bed *b);

/* Other pages with other words appear there, at one stroke. */
void fresh(char *addr, size_t pages);
uint64_t word_at(const char *addr);
void remap(struct bed *b, size_t page, size_t pages); /* between start and end */

/* Checks all that a get promises; nobody may change the memory meanwhile. */
void get(struct bed *b, size_t page, size_t pages, unsigned int prot,
	 struct hmmu_region_ref *ref);
int try_get(struct bed *b, size_t page, size_t pages, unsigned int prot,
	    struct hmmu_region_ref *ref);
void put(struct bed *b, struct hmmu_region_ref *ref);
void get_put(struct bed *b, size_t page, size_t pages, unsigned int prot);

#endif /* HMMU_TEST_VERBS_BED_H */
