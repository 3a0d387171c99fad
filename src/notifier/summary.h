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
 * (heal), so that remove has nothing to do here but where one was alone.
 *
 * Addresses of 2^47 and above share the last cell of each level: false alarms there,
 * never a miss.
 *
 * What levels 0-2 of a GiB have, leaf[gib] says in one of four ways:
 *
 *	nothing		no cell is set
 *	one		the only subscription that touches it, its pages and level, in the word
 *			itself. Gone with it
 *	a table		few, all of level 0: their words of level 0. 64 bytes for two words,
 *			and twice that when it is full. any[1] is which words are not 0
 *	a leaf		all cells: pages, of which the touched ones count
 *
 * A second one makes a table, or a leaf if either is of level 1 or 2; so does the next of these
 * that comes to a table. A table becomes a leaf also when all that the GiB has cost by then is
 * within 80 bytes for each of them: with their share of the tree and the structure, 256. A
 * leaf stays one.
 *
 *	start				insert (mm->lock held)
 *	load leaf[gib]	[seqcst]	fill a larger one from what was there
 *	load its word	[seqcst]	leaf[gib] = the larger one	[seqcst]
 *					set my bits in it, look at the slots
 *	[Required: whoever was there before is found in either. Who loads the old one
 *	 comes before that store, so its slot is seen: G2's pair, as where a leaf was missing.]
 *
 * A table that was replaced is never given back: somebody may be looking at it.
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

/* leaf[]: 0, the address of a leaf, or with one of these on top */
#define SUMMARY_FEW (2ULL << 62) /* the address of a table */
#define SUMMARY_ONE (3ULL << 62) /* its first page in the GiB, last page << 18, level << 36 */
#define SUMMARY_KIND (3ULL << 62)
#define SUMMARY_FEW_MIN 64u
#define SUMMARY_FEW_MAX 32768u
#define SUMMARY_PER_SUB 80 /* bytes of tables and leaf */

/* Keys only come, but one whose word is 0 may give way to another. */
struct hmmu_summary_few {
	uint64_t any2[1];
	uint32_t subs; /* of this GiB; mm->lock */
	uint32_t used; /* keys; mm->lock */
	uint64_t size; /* of block[] */
	struct hmmu_summary_block {
		uint64_t key; /* its number in the GiB + 1; 0: none */
		uint64_t bits;
	} block[];
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
	uint64_t leaf[SUMMARY_GIBS]; /* seqcst */
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
	const struct hmmu_summary_leaf *leaf;
	uint64_t mask, at;

	if (gate != 1 || (start ^ last) >> 18 || start >> SUMMARY_BITS)
		return hmmu_summary_search(s, gate, start, last);
	at = hmmu_load_seqcst(&s->leaf[start >> 30]);
	if ((int64_t)at <= 0) /* no leaf */
		return at && hmmu_summary_search(s, gate, start, last);
	leaf = (const struct hmmu_summary_leaf *)at;
	mask = (~0ULL << (start >> 12 & 63)) & (~0ULL >> (63 - (last >> 12 & 63)));
	return hmmu_load_seqcst(&leaf->any0[start >> 18 & 4095]) & mask;
}

/* What add() needs first: so many bytes of zeros for that GiB; up to SUMMARY_FEW_MAX they are
 * of a table. */
struct hmmu_summary_need {
	uint64_t gib;
	uint64_t size;
};
/* With mm->lock. false: nothing. */
bool hmmu_summary_missing(struct hmmu_summary *s, uint64_t start, uint64_t last,
			  struct hmmu_summary_need *need);
/* With mm->lock: true = taken, false = somebody was faster, unmap it. */
bool hmmu_summary_give(struct hmmu_summary *s, const struct hmmu_summary_need *need, void *mem);
/* That GiB has a table: empty from now on. */
void hmmu_summary_forget_few(struct hmmu_summary *s, uint64_t gib);

/* With mm->lock. */
void hmmu_summary_add(struct hmmu_summary *s, uint64_t start, uint64_t last);
void hmmu_summary_del(struct hmmu_summary *s, uint64_t start, uint64_t last);
/* With mm->lock, after a false alarm: nobody in the tree overlaps [start, last]. */
void hmmu_summary_heal(struct hmmu_summary *s, struct hmmu_itree *t, uint64_t start,
		       uint64_t last);

#endif /* HMMU_SUMMARY_H */
