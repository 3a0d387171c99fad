// SPDX-License-Identifier: MIT
/* summary.c - see summary.h. */
#include "summary.h"

#include <stddef.h>

#include "../atomic.h"
#include "../plant.h"
#include "itree.h"

#define LEAF_LEVELS 3 /* levels 0-2 live in leaves */
#define HEAL_MAX 8    /* cells looked up per false alarm: the lock is held */

enum { ANY, OWN };

static unsigned int shift_of(unsigned int level)
{
	return 12 + 6 * level;
}

static uint64_t clamp(uint64_t addr)
{
	const uint64_t top = (1ULL << SUMMARY_BITS) - 1;

	return addr < top ? addr : top;
}

static inline unsigned int level_of(uint64_t start, uint64_t last)
{
	unsigned int level = 0, shift = 12;

	while ((last >> shift) - (start >> shift) >= 64) {
		shift += 6;
		level++;
	}
	return level;
}

unsigned int hmmu_summary_level(uint64_t start, uint64_t last)
{
	return level_of(clamp(start), clamp(last));
}

static uint64_t *leaf_words(struct hmmu_summary_leaf *leaf, int kind, unsigned int level)
{
	switch (level) {
	case 0:
		return leaf->any0;
	case 1:
		return kind == ANY ? leaf->any1 : leaf->own1;
	default:
		return kind == ANY ? leaf->any2 : leaf->own2;
	}
}

static uint64_t *top_words(struct hmmu_summary *s, int kind, unsigned int level)
{
	switch (level) {
	case 3:
		return kind == ANY ? s->any3 : s->own3;
	case 4:
		return kind == ANY ? s->any4 : s->own4;
	default:
		return kind == ANY ? s->any5 : s->own5;
	}
}

/* The word that holds @cell's bit, or NULL: no such leaf, so no bit is set. Acquire
 * of the leaf pairs with its publication in hmmu_summary_give(); seqcst, as a missing
 * leaf stands for 64 clear cells in the Dekker pair. */
static inline uint64_t *word_of(struct hmmu_summary *s, int kind, unsigned int level,
				uint64_t cell)
{
	struct hmmu_summary_leaf *leaf;
	unsigned int up;

	if (level >= LEAF_LEVELS)
		return top_words(s, kind, level) + (cell >> 6);
	up = 30 - shift_of(level); /* log2 of cells per GiB */
	leaf = hmmu_load_seqcst(&s->leaf[cell >> up]);
	if (!leaf)
		return NULL;
	return leaf_words(leaf, kind, level) + ((cell & ((1ULL << up) - 1)) >> 6);
}

/* The bits of cells [a, b] that lie in the word of a; b - a < 64. */
static inline uint64_t mask_of(uint64_t a, uint64_t b)
{
	uint64_t mask = ~0ULL << (a & 63);

	if ((a >> 6) == (b >> 6))
		mask &= ~0ULL >> (63 - (b & 63));
	return mask;
}

/* The first cell of the word after a's. */
static inline uint64_t next_word(uint64_t a)
{
	return (a | 63) + 1;
}

static inline bool test_cells(struct hmmu_summary *s, int kind, unsigned int level, uint64_t a,
			      uint64_t b)
{
	for (; a <= b; a = next_word(a)) {
		const uint64_t *word = word_of(s, kind, level, a);

		if (word && (hmmu_load_seqcst(word) & mask_of(a, b)))
			return true;
	}
	return false;
}

bool hmmu_summary_search(struct hmmu_summary *s, uint64_t gate, uint64_t start, uint64_t last)
{
	unsigned int level, q;

	start = clamp(start);
	last = clamp(last);
	q = level_of(start, last);
	if (test_cells(s, ANY, q, start >> shift_of(q), last >> shift_of(q)))
		return true;
	gate &= ~0ULL << (q + 1);
	for (gate &= (1u << SUMMARY_LEVELS) - 1; gate; gate &= gate - 1) {
		level = (unsigned int)__builtin_ctzll(gate);
		if (test_cells(s, OWN, level, start >> shift_of(level),
			       last >> shift_of(level)))
			return true;
	}
	return false;
}

long hmmu_summary_missing(struct hmmu_summary *s, uint64_t start, uint64_t last)
{
	unsigned int level;

	start = clamp(start);
	last = clamp(last);
	level = level_of(start, last);
	if (level >= LEAF_LEVELS)
		return -1;
	/* At most 64 cells of 16 MiB: two GiBs. */
	if (!hmmu_load_relaxed(&s->leaf[start >> 30]))
		return (long)(start >> 30);
	if (!hmmu_load_relaxed(&s->leaf[last >> 30]))
		return (long)(last >> 30);
	return -1;
}

bool hmmu_summary_give(struct hmmu_summary *s, unsigned long gib,
		       struct hmmu_summary_leaf *leaf)
{
	if (hmmu_load_relaxed(&s->leaf[gib]))
		return false;
	hmmu_store_seqcst(&s->leaf[gib], leaf);
	return true;
}

/* With mm->lock. A bit that is set already was published by an earlier seqcst RMW
 * under the same lock: nothing to do for the pair. */
static void set_cells(struct hmmu_summary *s, int kind, unsigned int level, uint64_t a,
		      uint64_t b)
{
	for (; a <= b; a = next_word(a)) {
		uint64_t *word = word_of(s, kind, level, a);
		uint64_t mask = mask_of(a, b);

		if (word && (hmmu_load_relaxed(word) & mask) != mask)
			hmmu_or_seqcst(word, mask);
	}
}

static uint32_t *count_of(struct hmmu_summary *s, unsigned int level, uint64_t cell)
{
	switch (level) {
	case 1:
		return &hmmu_load_relaxed(&s->leaf[cell >> 12])->count1[cell & 4095];
	case 2:
		return &hmmu_load_relaxed(&s->leaf[cell >> 6])->count2[cell & 63];
	case 3:
		return &s->count3[cell];
	case 4:
		return &s->count4[cell];
	default:
		return &s->count5[cell];
	}
}

void hmmu_summary_add(struct hmmu_summary *s, uint64_t start, uint64_t last)
{
	unsigned int level, own;

	start = clamp(start);
	last = clamp(last);
	own = level_of(start, last);
	if (own > 0) {
		uint64_t a = start >> shift_of(own), b = last >> shift_of(own);

		for (uint64_t c = a; c <= b; c++)
			++*count_of(s, own, c);
		set_cells(s, OWN, own, a, b);
	}
	for (level = own; level < SUMMARY_LEVELS; level++) {
		/* A leaf that is missing for a coarser level is missing for own too:
		 * the caller has provided it. */
		set_cells(s, ANY, level, start >> shift_of(level), last >> shift_of(level));
	}
}

void hmmu_summary_del(struct hmmu_summary *s, uint64_t start, uint64_t last)
{
	unsigned int own;

	start = clamp(start);
	last = clamp(last);
	own = level_of(start, last);
	if (own == 0)
		return; /* healed when a start finds nobody */
	for (uint64_t c = start >> shift_of(own); c <= last >> shift_of(own); c++) {
		if (--*count_of(s, own, c) == 0)
			hmmu_and_seqcst(word_of(s, OWN, own, c), ~(1ULL << (c & 63)));
	}
}

static bool cell_watched(const struct hmmu_itree *t, unsigned int level, uint64_t cell)
{
	unsigned int shift = shift_of(level);
	uint64_t last = ((cell + 1) << shift) - 1;

	if (last == (1ULL << SUMMARY_BITS) - 1)
		last = UINT64_MAX; /* the last cell stands for all above */
	return hmmu_itree_overlaps(t, cell << shift, last);
}

void hmmu_summary_heal(struct hmmu_summary *s, const struct hmmu_itree *t, uint64_t start,
		       uint64_t last)
{
	unsigned int q, budget = HEAL_MAX;
	uint64_t b;

	start = clamp(start);
	last = clamp(last);
	q = level_of(start, last);
	b = last >> shift_of(q);
	for (uint64_t a = start >> shift_of(q); a <= b; a = next_word(a)) {
		uint64_t *word = word_of(s, ANY, q, a);
		uint64_t bits = word ? hmmu_load_relaxed(word) & mask_of(a, b) : 0;

		for (; bits; bits &= bits - 1) {
			uint64_t cell = (a & ~63ULL) + (uint64_t)__builtin_ctzll(bits);

			if (budget-- == 0)
				return;
			if (HMMU_PLANTED(HEAL_DROPS_WATCHED) || !cell_watched(t, q, cell))
				hmmu_and_seqcst(word, ~(bits & -bits));
		}
	}
}
