// SPDX-License-Identifier: MIT
/* summary.c - see summary.h. */
#include "summary.h"

#include <stddef.h>

#include "../atomic.h"
#include "../plant.h"
#include "itree.h"

#define LEAF_LEVELS 3 /* levels 0-2 live in leaves */

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

static struct hmmu_summary_few *few_of(uint64_t leaf)
{
	return (struct hmmu_summary_few *)(leaf & ~SUMMARY_FEW);
}

static inline unsigned int first_block(const struct hmmu_summary_few *few, uint64_t key)
{
	return (unsigned int)(((uint32_t)key * 0x9e3779b1ull & 0xffffffff) * few->size >> 32);
}

static inline unsigned int next_block(const struct hmmu_summary_few *few, unsigned int i)
{
	return i + 1 == few->size ? 0 : i + 1;
}

/* The word of level 0 that @cell lies in; NULL: it is 0. The keys are one half of the Dekker
 * pair, as the words. */
static uint64_t *few_word(struct hmmu_summary_few *few, uint64_t cell)
{
	uint64_t key = (cell >> 6 & 4095) + 1, seen;
	unsigned int i = first_block(few, key);

	for (uint64_t n = 0; n < few->size; n++, i = next_block(few, i)) {
		seen = hmmu_load_seqcst(&few->block[i].key);
		if (seen == key)
			return &few->block[i].bits;
		if (!seen)
			break;
	}
	return NULL;
}

/* Cells [a, b] of one word. There is nobody of levels 1 and 2 here. */
static __attribute__((noinline)) uint64_t few_bits(struct hmmu_summary_few *few, int kind,
						   unsigned int level, uint64_t a, uint64_t b)
{
	uint64_t mask = mask_of(a, b), bits = 0;
	const uint64_t *word;

	if (kind == OWN)
		return 0;
	if (level == 2)
		return hmmu_load_seqcst(&few->any2[0]) & mask;
	if (level == 0) {
		word = few_word(few, a);
		return word ? hmmu_load_seqcst(word) & mask : 0;
	}
	if (!(hmmu_load_seqcst(&few->any2[0]) & 1ULL << (a >> 6 & 63)))
		return 0;
	for (; mask; mask &= mask - 1) {
		word = few_word(few, ((a & ~63ULL) | (uint64_t)__builtin_ctzll(mask)) << 6);
		if (word && hmmu_load_seqcst(word))
			bits |= mask & -mask;
	}
	return bits;
}

/* The word that holds @cell's bit; NULL: there is none such, so no bit is set, but perhaps in
 * *few. seqcst, as a missing leaf stands for 64 clear cells in the Dekker pair; pairs with the
 * publication in hmmu_summary_give(). */
static inline uint64_t *word_of(struct hmmu_summary *s, int kind, unsigned int level,
				uint64_t cell, struct hmmu_summary_few **few)
{
	unsigned int up;
	uint64_t leaf;

	*few = NULL;
	if (level >= LEAF_LEVELS)
		return top_words(s, kind, level) + (cell >> 6);
	up = 30 - shift_of(level); /* log2 of cells per GiB */
	leaf = hmmu_load_seqcst(&s->leaf[cell >> up]);
	if (leaf & SUMMARY_FEW)
		*few = few_of(leaf);
	if ((int64_t)leaf <= 0)
		return NULL;
	return leaf_words((struct hmmu_summary_leaf *)leaf, kind, level) +
	       ((cell & ((1ULL << up) - 1)) >> 6);
}

/* Which of the cells [a, b], as far as they lie in a's word, are set. */
static inline uint64_t load_bits(struct hmmu_summary *s, int kind, unsigned int level,
				 uint64_t a, uint64_t b)
{
	struct hmmu_summary_few *few;
	const uint64_t *word = word_of(s, kind, level, a, &few);

	if (few)
		return few_bits(few, kind, level, a, b);
	return word ? hmmu_load_seqcst(word) & mask_of(a, b) : 0;
}

static inline bool test_cells(struct hmmu_summary *s, int kind, unsigned int level, uint64_t a,
			      uint64_t b)
{
	for (; a <= b; a = next_word(a)) {
		if (load_bits(s, kind, level, a, b))
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

/* A new table is full at three quarters, the smallest at two of two. */
static bool has_room(const struct hmmu_summary_few *few, unsigned int more)
{
	return few->used + more <= few->size - few->size / 4;
}

/* With mm->lock: a place for @cell's word on its way: free, or its own is 0 by now. */
static struct hmmu_summary_block *few_place(struct hmmu_summary_few *few, uint64_t cell)
{
	unsigned int i = first_block(few, (cell >> 6 & 4095) + 1);

	for (uint64_t n = 0; n < few->size; n++, i = next_block(few, i)) {
		if (!few->block[i].key || !hmmu_load_relaxed(&few->block[i].bits))
			return &few->block[i];
	}
	return NULL;
}

/* Bits @mask of @cell's word. A word comes with its key: whoever sees that sees both. */
static void few_set(struct hmmu_summary_few *few, uint64_t cell, uint64_t mask)
{
	uint64_t *word = few_word(few, cell);
	struct hmmu_summary_block *place;

	if (word) {
		if ((hmmu_load_relaxed(word) & mask) != mask)
			hmmu_or_seqcst(word, mask);
		return;
	}
	place = few_place(few, cell);
	few->used += !place->key;
	hmmu_store_relaxed(&place->bits, mask);
	hmmu_store_seqcst(&place->key, (cell >> 6 & 4095) + 1);
}

/* Pages that a leaf would touch: 128 MiB are one of any0, which are eight cells of any2. */
static unsigned int pages_of(const struct hmmu_summary_few *few)
{
	uint64_t cells = hmmu_load_relaxed(&few->any2[0]);

	cells |= cells >> 4;
	cells |= cells >> 2;
	cells |= cells >> 1;
	return 1 + (unsigned int)__builtin_popcountll(cells & 0x0101010101010101);
}

/* What cells [a, b] of level 0, all of @gib, need; 0: nothing. */
static uint64_t few_needs(uint64_t leaf, uint64_t a, uint64_t b)
{
	struct hmmu_summary_few *few = few_of(leaf);
	unsigned int missing = 0, places = 0;
	bool one = a >> 6 == b >> 6;
	uint64_t size;

	if (!leaf)
		return SUMMARY_FEW_MIN;
	if (few->subs >= 4096 / 128 * pages_of(few))
		return sizeof(struct hmmu_summary_leaf);
	for (; a <= b; a = next_word(a)) {
		struct hmmu_summary_block *place;

		if (few_word(few, a))
			continue;
		place = few_place(few, a);
		missing++;
		places += place && place->key;
	}
	/* A place that is given away is not that of the other word of the same range. */
	if (has_room(few, missing) || (one && missing == 1 && places == 1))
		return 0;
	size = 2 * (sizeof(*few) + few->size * sizeof(few->block[0]) + 8);
	return size <= SUMMARY_FEW_MAX ? size : sizeof(struct hmmu_summary_leaf);
}

bool hmmu_summary_missing(struct hmmu_summary *s, uint64_t start, uint64_t last,
			  struct hmmu_summary_need *need)
{
	unsigned int level;

	start = clamp(start);
	last = clamp(last);
	level = level_of(start, last);
	if (level >= LEAF_LEVELS)
		return false;
	/* At most 64 cells of 16 MiB: two GiBs. */
	for (uint64_t gib = start >> 30; gib <= last >> 30; gib++) {
		uint64_t leaf = hmmu_load_relaxed(&s->leaf[gib]);
		uint64_t from = gib << 18, to = from + (1u << 18) - 1;

		if ((int64_t)leaf > 0)
			continue;
		need->gib = gib;
		need->size = sizeof(struct hmmu_summary_leaf);
		if (level == 0)
			need->size = few_needs(leaf, start >> 12 > from ? start >> 12 : from,
					       last >> 12 < to ? last >> 12 : to);
		if (need->size)
			return true;
	}
	return false;
}

static void fill_leaf(struct hmmu_summary_leaf *leaf, const struct hmmu_summary_few *old)
{
	leaf->any2[0] = old->any2[0];
	for (uint64_t i = 0; i < old->size; i++) {
		uint64_t n = old->block[i].key - 1;

		if (!old->block[i].bits)
			continue;
		leaf->any0[n] = old->block[i].bits;
		leaf->any1[n >> 6] |= 1ULL << (n & 63);
	}
}

static void fill_few(struct hmmu_summary_few *few, const struct hmmu_summary_few *old)
{
	few->any2[0] = old->any2[0];
	few->subs = old->subs;
	for (uint64_t i = 0; i < old->size; i++) {
		if (old->block[i].bits)
			few_set(few, (old->block[i].key - 1) << 6, old->block[i].bits);
	}
}

bool hmmu_summary_give(struct hmmu_summary *s, const struct hmmu_summary_need *need, void *mem)
{
	uint64_t old = hmmu_load_relaxed(&s->leaf[need->gib]), leaf = (uint64_t)(uintptr_t)mem;
	bool early = HMMU_PLANTED(LEAF_BEFORE_BITS);
	struct hmmu_summary_few *few = mem;

	if ((int64_t)old > 0)
		return false;
	if (need->size <= SUMMARY_FEW_MAX) {
		few->size = (need->size - sizeof(*few)) / sizeof(few->block[0]);
		leaf |= SUMMARY_FEW;
	}
	/* Seqcst: whoever was there before is in it. The store half of the pair for those
	 * whose bits it has. */
	if (early)
		hmmu_store_seqcst(&s->leaf[need->gib], leaf);
	if (old && leaf & SUMMARY_FEW)
		fill_few(few, few_of(old));
	else if (old)
		fill_leaf(mem, few_of(old));
	if (!early)
		hmmu_store_seqcst(&s->leaf[need->gib], leaf);
	return true;
}

/* With mm->lock. A bit that is set already was published by an earlier seqcst RMW
 * under the same lock: nothing to do for the pair. */
static void set_cells(struct hmmu_summary *s, int kind, unsigned int level, uint64_t a,
		      uint64_t b)
{
	for (; a <= b; a = next_word(a)) {
		struct hmmu_summary_few *few;
		uint64_t *word = word_of(s, kind, level, a, &few);
		uint64_t mask = mask_of(a, b);

		if (few && level == 0)
			few_set(few, a, mask);
		else if (few && level == 2)
			word = few->any2;
		if (word && (hmmu_load_relaxed(word) & mask) != mask)
			hmmu_or_seqcst(word, mask);
	}
}

/* The same for cells that have been found empty: @bits of a's word. */
static void clear_cells(struct hmmu_summary *s, unsigned int level, uint64_t a, uint64_t bits)
{
	struct hmmu_summary_few *few;
	uint64_t *word = word_of(s, ANY, level, a, &few);

	if (few && level == 0)
		word = few_word(few, a);
	else if (few && level == 2)
		word = few->any2;
	if (word)
		hmmu_and_seqcst(word, ~bits);
	for (; few && level == 1 && bits; bits &= bits - 1) {
		word = few_word(few, ((a & ~63ULL) | (uint64_t)__builtin_ctzll(bits)) << 6);
		hmmu_and_seqcst(word, 0);
	}
}

/* All that add() would set, in a leaf and in one word of level 0: most often it is set. */
static inline bool all_set(struct hmmu_summary *s, uint64_t start, uint64_t last)
{
	const struct hmmu_summary_leaf *leaf;
	uint64_t at, mask;

	if ((start ^ last) >> 18)
		return false;
	at = hmmu_load_relaxed(&s->leaf[start >> 30]);
	if ((int64_t)at <= 0)
		return false;
	leaf = (const struct hmmu_summary_leaf *)at;
	mask = mask_of(start >> 12, last >> 12);
	return !(mask & ~hmmu_load_relaxed(&leaf->any0[start >> 18 & 4095])) &&
	       hmmu_load_relaxed(&leaf->any1[start >> 24 & 63]) >> (start >> 18 & 63) & 1 &&
	       hmmu_load_relaxed(&leaf->any2[0]) >> (start >> 24 & 63) & 1 &&
	       hmmu_load_relaxed(&s->any3[start >> 36]) >> (start >> 30 & 63) & 1 &&
	       hmmu_load_relaxed(&s->any4[start >> 42]) >> (start >> 36 & 63) & 1 &&
	       hmmu_load_relaxed(&s->any5[0]) >> (start >> 42) & 1;
}

/* One more, or one less (-1), of level 0. */
static void count_few(struct hmmu_summary *s, uint64_t start, uint64_t last, uint32_t more)
{
	for (uint64_t gib = start >> 30; gib <= last >> 30; gib++) {
		uint64_t leaf = hmmu_load_relaxed(&s->leaf[gib]);

		if (leaf & SUMMARY_FEW)
			few_of(leaf)->subs += more;
	}
}

/* Somebody of level 1 or 2 is there, or comes and has provided it. */
static struct hmmu_summary_leaf *full_leaf(struct hmmu_summary *s, uint64_t gib)
{
	return (struct hmmu_summary_leaf *)hmmu_load_relaxed(&s->leaf[gib]);
}

static uint32_t *count_of(struct hmmu_summary *s, unsigned int level, uint64_t cell)
{
	switch (level) {
	case 1:
		return &full_leaf(s, cell >> 12)->count1[cell & 4095];
	case 2:
		return &full_leaf(s, cell >> 6)->count2[cell & 63];
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
	} else {
		if (all_set(s, start, last))
			return;
		count_few(s, start, last, 1);
	}
	for (level = own; level < SUMMARY_LEVELS; level++) {
		/* A leaf that is missing for a coarser level is missing for own too:
		 * the caller has provided it. */
		set_cells(s, ANY, level, start >> shift_of(level), last >> shift_of(level));
	}
}

void hmmu_summary_del(struct hmmu_summary *s, uint64_t start, uint64_t last)
{
	struct hmmu_summary_few *few;
	unsigned int own;

	start = clamp(start);
	last = clamp(last);
	own = level_of(start, last);
	if (own == 0) {
		count_few(s, start, last, -1u);
		return; /* healed when a start finds nobody */
	}
	for (uint64_t c = start >> shift_of(own); c <= last >> shift_of(own); c++) {
		if (--*count_of(s, own, c) == 0)
			hmmu_and_seqcst(word_of(s, OWN, own, c, &few), ~(1ULL << (c & 63)));
	}
}

/* The last address of @cell. */
static uint64_t end_of(unsigned int level, uint64_t cell)
{
	uint64_t last = ((cell + 1) << shift_of(level)) - 1;

	if (last == (1ULL << SUMMARY_BITS) - 1)
		last = UINT64_MAX; /* the last cell stands for all above */
	return last;
}

/* Nobody overlaps [start, last], so of its cells [a, b] somebody may be in the first one,
 * before it, and in the last one, behind it. */
static bool edge_watched(const struct hmmu_itree *t, unsigned int level, uint64_t cell,
			 uint64_t start, uint64_t last)
{
	uint64_t from = cell << shift_of(level), to = end_of(level, cell);

	if (from >= start && to <= last)
		return false;
	if (from >= start)
		from = last + 1;
	else if (to <= last)
		to = start - 1;
	return hmmu_itree_overlaps(t, from, to);
}

void hmmu_summary_heal(struct hmmu_summary *s, const struct hmmu_itree *t, uint64_t start,
		       uint64_t last)
{
	unsigned int q = level_of(clamp(start), clamp(last));
	uint64_t a = clamp(start) >> shift_of(q), b = clamp(last) >> shift_of(q);

	for (uint64_t c = a; c <= b; c = next_word(c)) {
		uint64_t bits = load_bits(s, ANY, q, c, b);
		uint64_t first = mask_of(a, a), end = mask_of(b, b);

		if (HMMU_PLANTED(HEAL_DROPS_WATCHED))
			first = end = 0;
		if (c == a && bits & first && edge_watched(t, q, a, start, last))
			bits &= ~first;
		if (next_word(c) > b && bits & end && a != b &&
		    edge_watched(t, q, b, start, last))
			bits &= ~end;
		if (bits)
			clear_cells(s, q, c, bits);
	}
}

/* Nobody subscribes any more. A straggling hook may look: it finds nobody, which is true. */
void hmmu_summary_forget_few(uint64_t leaf)
{
	struct hmmu_summary_few *few = few_of(leaf);

	hmmu_store_seqcst(&few->any2[0], 0);
	for (uint64_t i = 0; i < few->size; i++)
		hmmu_store_seqcst(&few->block[i].bits, 0);
}
