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

/* NULL: @leaf is no table. */
static struct hmmu_summary_few *few_of(uint64_t leaf)
{
	return (leaf & SUMMARY_KIND) == SUMMARY_FEW
		       ? (struct hmmu_summary_few *)(leaf & ~SUMMARY_KIND)
		       : NULL;
}

/* The same for a leaf. */
static inline struct hmmu_summary_leaf *leaf_of(uint64_t leaf)
{
	return (int64_t)leaf > 0 ? (struct hmmu_summary_leaf *)leaf : NULL;
}

static bool is_one(uint64_t leaf)
{
	return (leaf & SUMMARY_KIND) == SUMMARY_ONE;
}

struct part {
	uint64_t first, last;
};

/* The pages of [start, last] in @gib, counted from the first of all. */
static struct part part_of(uint64_t start, uint64_t last, uint64_t gib)
{
	uint64_t from = gib << 30, to = from + (1u << 30) - 1;

	return (struct part){(start > from ? start : from) >> 12,
			     (last < to ? last : to) >> 12};
}

static uint64_t make_one(uint64_t start, uint64_t last, uint64_t gib, unsigned int level)
{
	struct part p = part_of(start, last, gib);

	return SUMMARY_ONE | (p.first & 0x3ffff) | (p.last & 0x3ffff) << 18 |
	       (uint64_t)level << 36;
}

static unsigned int level_of_one(uint64_t one)
{
	return one >> 36 & 3;
}

/* Its cells of @level, counted from the first of the GiB. */
static struct part part_of_one(uint64_t one, unsigned int level)
{
	return (struct part){(one & 0x3ffff) >> 6 * level, (one >> 18 & 0x3ffff) >> 6 * level};
}

/* Cells [a, b], counted from the first of all, as far as they lie in a's word. */
static uint64_t one_bits(uint64_t one, int kind, unsigned int level, uint64_t a, uint64_t b)
{
	unsigned int own = level_of_one(one);
	struct part p = part_of_one(one, level);
	uint64_t up = (1ULL << (18 - 6 * level)) - 1, gib = a & ~up;
	uint64_t first = gib + p.first, last = gib + p.last;

	if (kind == ANY ? level < own : level != own)
		return 0;
	if (first < a)
		first = a;
	if (last > (a | 63))
		last = a | 63;
	if (last > b)
		last = b;
	return first <= last ? mask_of(first, last) : 0;
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

/* The word that holds @cell's bit; NULL: there is none such, so no bit is set, but perhaps by
 * *other, what leaf[] says. seqcst, as a missing leaf stands for 64 clear cells in the Dekker
 * pair; pairs with the publication in hmmu_summary_give() and in put_alone(). */
static inline uint64_t *word_of(struct hmmu_summary *s, int kind, unsigned int level,
				uint64_t cell, uint64_t *other)
{
	unsigned int up;
	uint64_t leaf;

	*other = 0;
	if (level >= LEAF_LEVELS)
		return top_words(s, kind, level) + (cell >> 6);
	up = 30 - shift_of(level); /* log2 of cells per GiB */
	leaf = hmmu_load_seqcst(&s->leaf[cell >> up]);
	if (!leaf_of(leaf)) {
		*other = leaf;
		return NULL;
	}
	return leaf_words(leaf_of(leaf), kind, level) + ((cell & ((1ULL << up) - 1)) >> 6);
}

/* Which of the cells [a, b], as far as they lie in a's word, are set. */
static inline uint64_t load_bits(struct hmmu_summary *s, int kind, unsigned int level,
				 uint64_t a, uint64_t b)
{
	uint64_t other;
	const uint64_t *word = word_of(s, kind, level, a, &other);

	if (is_one(other))
		return one_bits(other, kind, level, a, b);
	if (other)
		return few_bits(few_of(other), kind, level, a, b);
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

/* Of 16 blocks 13 may be used, and both of two. */
static bool has_room(const struct hmmu_summary_few *few, unsigned int more)
{
	return few->used + more <= few->size - few->size * 3 / 16;
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

/* Of words [a, b], what are not of [c, d]. */
static uint64_t words_beside(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	uint64_t from = a > c ? a : c, to = b < d ? b : d;

	return b - a + 1 - (from <= to ? to - from + 1 : 0);
}

/* Who is alone, and pages @p beside it. Each of level 0 has two words at most. */
static uint64_t two_need(uint64_t one, struct part p)
{
	struct part was = part_of_one(one, 0);
	uint64_t words;

	if (level_of_one(one) > 0)
		return sizeof(struct hmmu_summary_leaf);
	words = (was.last >> 6) - (was.first >> 6) + 1 +
		words_beside(p.first >> 6 & 4095, p.last >> 6 & 4095, was.first >> 6,
			     was.last >> 6);
	return words <= 2 ? SUMMARY_FEW_MIN : 2 * SUMMARY_FEW_MIN;
}

/* What pages @p, all of one GiB, need in its table; 0: nothing. */
static uint64_t few_needs(struct hmmu_summary_few *few, struct part p)
{
	uint64_t size = sizeof(*few) + few->size * sizeof(few->block[0]) + 8;
	uint64_t leaf = 4096 * pages_of(few);
	unsigned int missing = 0, places = 0;
	bool one = p.first >> 6 == p.last >> 6;

	if (2 * size + leaf <= SUMMARY_PER_SUB * (uint64_t)few->subs)
		return sizeof(struct hmmu_summary_leaf);
	for (uint64_t a = p.first; a <= p.last; a = next_word(a)) {
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
	return 2 * size <= SUMMARY_FEW_MAX ? 2 * size : sizeof(struct hmmu_summary_leaf);
}

static uint64_t gib_needs(uint64_t leaf, unsigned int level, struct part p)
{
	if (!leaf || leaf_of(leaf))
		return 0;
	if (level > 0)
		return sizeof(struct hmmu_summary_leaf);
	return is_one(leaf) ? two_need(leaf, p) : few_needs(few_of(leaf), p);
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
		need->gib = gib;
		need->size = gib_needs(hmmu_load_relaxed(&s->leaf[gib]), level,
				       part_of(start, last, gib));
		if (need->size)
			return true;
	}
	return false;
}

static void put_bits(uint64_t *words, struct part p)
{
	for (uint64_t a = p.first; a <= p.last; a = next_word(a))
		words[a >> 6] |= mask_of(a, p.last);
}

static void leaf_of_one(struct hmmu_summary_leaf *leaf, uint64_t one)
{
	unsigned int own = level_of_one(one);
	struct part p = part_of_one(one, own);

	for (unsigned int level = own; level < LEAF_LEVELS; level++)
		put_bits(leaf_words(leaf, ANY, level), part_of_one(one, level));
	if (own == 0)
		return;
	put_bits(leaf_words(leaf, OWN, own), p);
	for (uint64_t c = p.first; c <= p.last; c++)
		++*(own == 1 ? &leaf->count1[c] : &leaf->count2[c]);
}

static void leaf_of_few(struct hmmu_summary_leaf *leaf, const struct hmmu_summary_few *old)
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

static void fill_leaf(struct hmmu_summary_leaf *leaf, uint64_t old)
{
	if (is_one(old))
		leaf_of_one(leaf, old);
	else if (old)
		leaf_of_few(leaf, few_of(old));
}

static void few_of_one(struct hmmu_summary_few *few, uint64_t one)
{
	struct part p = part_of_one(one, 0);

	few->subs = 1;
	put_bits(few->any2, part_of_one(one, 2));
	for (uint64_t a = p.first; a <= p.last; a = next_word(a))
		few_set(few, a, mask_of(a, p.last));
}

static void few_of_few(struct hmmu_summary_few *few, const struct hmmu_summary_few *old)
{
	few->any2[0] = old->any2[0];
	few->subs = old->subs;
	for (uint64_t i = 0; i < old->size; i++) {
		if (old->block[i].bits)
			few_set(few, (old->block[i].key - 1) << 6, old->block[i].bits);
	}
}

static void fill_few(struct hmmu_summary_few *few, uint64_t old)
{
	if (is_one(old))
		few_of_one(few, old);
	else if (old)
		few_of_few(few, few_of(old));
}

bool hmmu_summary_give(struct hmmu_summary *s, const struct hmmu_summary_need *need, void *mem)
{
	uint64_t old = hmmu_load_relaxed(&s->leaf[need->gib]), leaf = (uint64_t)(uintptr_t)mem;
	bool early = HMMU_PLANTED(LEAF_BEFORE_BITS);
	struct hmmu_summary_few *few = mem;

	if (leaf_of(old))
		return false;
	if (need->size <= SUMMARY_FEW_MAX) {
		few->size = (need->size - sizeof(*few)) / sizeof(few->block[0]);
		leaf |= SUMMARY_FEW;
	}
	/* Seqcst: whoever was there before is in it. The store half of the pair for those
	 * whose bits it has. */
	if (early)
		hmmu_store_seqcst(&s->leaf[need->gib], leaf);
	if (few_of(leaf))
		fill_few(few, old);
	else
		fill_leaf(mem, old);
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
		uint64_t other, mask = mask_of(a, b);
		uint64_t *word = word_of(s, kind, level, a, &other);
		struct hmmu_summary_few *few = few_of(other);

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
	uint64_t other;
	uint64_t *word = word_of(s, ANY, level, a, &other);
	struct hmmu_summary_few *few = few_of(other);

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
	uint64_t mask;

	if ((start ^ last) >> 18)
		return false;
	leaf = leaf_of(hmmu_load_relaxed(&s->leaf[start >> 30]));
	if (!leaf)
		return false;
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
		struct hmmu_summary_few *few = few_of(hmmu_load_relaxed(&s->leaf[gib]));

		if (few)
			few->subs += more;
	}
}

/* Where nobody is, it is one. Seqcst: the store half of G2's pair. */
static void put_alone(struct hmmu_summary *s, unsigned int level, uint64_t start, uint64_t last)
{
	for (uint64_t gib = start >> 30; gib <= last >> 30; gib++)
		if (!hmmu_load_relaxed(&s->leaf[gib]))
			hmmu_store_seqcst(&s->leaf[gib], make_one(start, last, gib, level));
}

/* Where it was alone, nobody is. A start that still sees it finds nobody in the tree. */
static void take_alone(struct hmmu_summary *s, uint64_t start, uint64_t last)
{
	for (uint64_t gib = start >> 30; gib <= last >> 30; gib++)
		if (is_one(hmmu_load_relaxed(&s->leaf[gib])))
			hmmu_store_release(&s->leaf[gib], 0);
}

/* NULL: it is alone in that GiB. */
static uint32_t *count_of(struct hmmu_summary *s, unsigned int level, uint64_t cell)
{
	struct hmmu_summary_leaf *leaf;

	switch (level) {
	case 1:
		leaf = leaf_of(hmmu_load_relaxed(&s->leaf[cell >> 12]));
		return leaf ? &leaf->count1[cell & 4095] : NULL;
	case 2:
		leaf = leaf_of(hmmu_load_relaxed(&s->leaf[cell >> 6]));
		return leaf ? &leaf->count2[cell & 63] : NULL;
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
	if (own == 0) {
		if (all_set(s, start, last))
			return;
		count_few(s, start, last, 1);
	}
	if (own < LEAF_LEVELS)
		put_alone(s, own, start, last);
	if (own > 0) {
		uint64_t a = start >> shift_of(own), b = last >> shift_of(own);

		for (uint64_t c = a; c <= b; c++) {
			uint32_t *count = count_of(s, own, c);

			if (count)
				++*count;
		}
		set_cells(s, OWN, own, a, b);
	}
	for (level = own; level < SUMMARY_LEVELS; level++) {
		set_cells(s, ANY, level, start >> shift_of(level), last >> shift_of(level));
	}
}

void hmmu_summary_del(struct hmmu_summary *s, uint64_t start, uint64_t last)
{
	unsigned int own;
	uint64_t other;

	start = clamp(start);
	last = clamp(last);
	own = level_of(start, last);
	if (own == 0)
		count_few(s, start, last, -1u); /* healed when a start finds nobody */
	for (uint64_t c = start >> shift_of(own); own && c <= last >> shift_of(own); c++) {
		uint32_t *count = count_of(s, own, c);

		if (count && --*count == 0)
			hmmu_and_seqcst(word_of(s, OWN, own, c, &other), ~(1ULL << (c & 63)));
	}
	if (own < LEAF_LEVELS)
		take_alone(s, start, last);
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
static bool edge_watched(struct hmmu_itree *t, unsigned int level, uint64_t cell,
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

void hmmu_summary_heal(struct hmmu_summary *s, struct hmmu_itree *t, uint64_t start,
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
void hmmu_summary_forget_few(struct hmmu_summary *s, uint64_t gib)
{
	struct hmmu_summary_few *few = few_of(hmmu_load_relaxed(&s->leaf[gib]));

	hmmu_store_seqcst(&few->any2[0], 0);
	for (uint64_t i = 0; i < few->size; i++)
		hmmu_store_seqcst(&few->block[i].bits, 0);
}
