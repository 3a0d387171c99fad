/* SPDX-License-Identifier: MIT */
/*
 * summary.h - does anyone watch anything in this range? Answered without a lock,
 * from bits; a superset of the tree: "no" is certain, "yes" may be a false alarm.
 *
 * Cells of six sizes, each 64 times the last: 4 KiB, 256 KiB, 16 MiB, 1 GiB, 64 GiB,
 * 4 TiB. A range belongs to the finest level at which it touches at most 64 cells
 * (so its bits lie in two words at most). Two bits per cell:
 *
 *	any[l]	some subscription of level l or finer touches this cell
 *	own[l]	some subscription of level l exactly does (at level 0 the same)
 *
 * A query of level q looks at any[q] of its cells and, for each coarser level that has
 * subscriptions at all (mm->gate), at own[] of the one or two cells that it touches.
 *
 * Bits are written with mm->lock held, seqcst: they are one half of the Dekker pair of
 * G2 (notifier.h). own is counted and exact. any is set by insert and cleared lazily:
 * a start that took the lock for nothing clears the cells that the tree shows empty
 * (heal), so that remove has nothing to do here.
 *
 * Addresses of 2^47 and above share the last cell of each level: false alarms there,
 * never a miss. Levels 0-2 of one GiB are one leaf, mapped at the first insert that
 * needs it and kept.
 */
#ifndef HMMU_SUMMARY_H
#define HMMU_SUMMARY_H

#include <stdbool.h>
#include <stdint.h>

#include "../atomic.h"

#define SUMMARY_LEVELS 6
#define SUMMARY_BITS 47
#define SUMMARY_GIBS (1u << (SUMMARY_BITS - 30))

struct hmmu_itree;

struct hmmu_summary_leaf {
	uint64_t any0[4096]; /* 2^18 cells of 4 KiB */
	uint64_t any1[64];
	uint64_t own1[64];
	uint64_t any2[1];
	uint64_t own2[1];
	uint32_t count1[4096]; /* own's counts: mm->lock */
	uint32_t count2[64];
};

struct hmmu_summary {
	uint64_t any3[SUMMARY_GIBS / 64];
	uint64_t own3[SUMMARY_GIBS / 64];
	uint64_t any4[SUMMARY_GIBS / 64 / 64];
	uint64_t own4[SUMMARY_GIBS / 64 / 64];
	uint64_t any5[1];
	uint64_t own5[1];
	uint32_t count3[SUMMARY_GIBS];
	uint32_t count4[SUMMARY_GIBS / 64];
	uint32_t count5[SUMMARY_GIBS / 64 / 64];
	struct hmmu_summary_leaf *leaf[SUMMARY_GIBS]; /* seqcst; NULL: no cell set */
};

/* The level of [start, last]. */
unsigned int hmmu_summary_level(uint64_t start, uint64_t last);

/* Lock-free. @gate: the levels that have subscriptions, loaded seqcst by the caller. */
bool hmmu_summary_search(struct hmmu_summary *s, uint64_t gate, uint64_t start, uint64_t last);

/* The same with the common case inlined: everyone has small subscriptions, and the range
 * lies in one word of level 0 (an aligned 256 KiB). The loads are seqcst: see word_of()
 * in summary.c. */
static inline bool hmmu_summary_watched(struct hmmu_summary *s, uint64_t gate, uint64_t start,
					uint64_t last)
{
	struct hmmu_summary_leaf *leaf;
	uint64_t mask;

	if (gate != 1 || (start ^ last) >> 18 || start >> SUMMARY_BITS)
		return hmmu_summary_search(s, gate, start, last);
	leaf = hmmu_load_seqcst(&s->leaf[start >> 30]);
	if (!leaf)
		return false;
	mask = (~0ULL << (start >> 12 & 63)) & (~0ULL >> (63 - (last >> 12 & 63)));
	return hmmu_load_seqcst(&leaf->any0[start >> 18 & 4095]) & mask;
}

/* With mm->lock: is a leaf missing that add() would need? Its GiB, or -1. */
long hmmu_summary_missing(struct hmmu_summary *s, uint64_t start, uint64_t last);
/* With mm->lock: true = taken, false = somebody was faster, unmap it. */
bool hmmu_summary_give(struct hmmu_summary *s, unsigned long gib,
		       struct hmmu_summary_leaf *leaf);

/* With mm->lock. */
void hmmu_summary_add(struct hmmu_summary *s, uint64_t start, uint64_t last);
void hmmu_summary_del(struct hmmu_summary *s, uint64_t start, uint64_t last);
/* With mm->lock, after a false alarm of [start, last]. */
void hmmu_summary_heal(struct hmmu_summary *s, const struct hmmu_itree *t, uint64_t start,
		       uint64_t last);

#endif /* HMMU_SUMMARY_H */
