// SPDX-License-Identifier: MIT
/* record.c - what a page carries, and whether an access may have seen it. */
#include "torture.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MAGIC UINT64_C(0x686d6d755f707467)
#define WORDS (LINE / sizeof(uint64_t))

_Static_assert(sizeof(struct record) == LINE, "a record fills a line");

static uint64_t sum_of(const struct record *rec)
{
	const uint64_t *word = (const uint64_t *)rec;
	/*
	 * Not MAGIC, which the first word would cancel: magic and seven zeros, the
	 * first store into a blank page, would then have the sum 0 and be whole
	 * (test_judge.c, half_stored()).
	 */
	uint64_t sum = UINT64_C(0x243f6a8885a308d3);

	for (size_t i = 0; i < WORDS - 1; i++) {
		sum = (sum ^ word[i]) * UINT64_C(0x9e3779b97f4a7c15);
		sum ^= sum >> 29;
	}
	return sum;
}

void record_make(struct record *rec, const struct torture *t, const struct region *r,
		 unsigned int page, uint64_t generation)
{
	*rec = (struct record){
		.magic = MAGIC,
		.generation = generation,
		.where = (uint64_t)r->id << 32 | page,
		.seed = t->options.seed,
	};
	rec->sum = sum_of(rec);
}

/* The last line of a page. */
static size_t tail(void)
{
	return (size_t)sysconf(_SC_PAGESIZE) - LINE;
}

/* Word by word: the device may look meanwhile, and sees words old or new. */
void page_store(const struct torture *t, const struct region *r, unsigned int page,
		unsigned char *at, uint64_t generation)
{
	struct record rec;
	const uint64_t *word = (const uint64_t *)&rec;
	volatile uint64_t *head = (volatile uint64_t *)at;
	volatile uint64_t *last = (volatile uint64_t *)(at + tail());

	record_make(&rec, t, r, page, generation);
	for (size_t i = 0; i < WORDS; i++) {
		head[i] = word[i];
		last[i] = word[i];
	}
}

static bool is_blank(const struct record *rec)
{
	static const struct record blank;

	return !memcmp(rec, &blank, sizeof(blank));
}

static enum verdict line_judge(const struct torture *t, const struct region *r,
			       unsigned int page, uint64_t before, uint64_t after,
			       const unsigned char *bytes)
{
	bool moving = before != after || (before & 1);
	const struct cell *cell = r->cell;
	struct record rec;

	memcpy(&rec, bytes, sizeof(rec));
	if (is_blank(&rec))
		return moving && (cell->between == BETWEEN_ZEROS || cell->hole) ? LEGAL : STALE;
	if (rec.magic != MAGIC || rec.sum != sum_of(&rec)) /* half stored, or not ours */
		return moving && (cell->stores || cell->hole) ? LEGAL : STALE;
	if (rec.seed != t->options.seed || rec.where != ((uint64_t)r->id << 32 | page))
		return STALE;
	if (!rec.generation)
		return moving && cell->between == BETWEEN_FILE ? LEGAL : STALE;
	return rec.generation >= before >> 1 && rec.generation <= (after + 1) >> 1 ? LEGAL
										   : STALE;
}

enum verdict page_judge(const struct torture *t, const struct region *r, unsigned int page,
			uint64_t before, uint64_t after, const unsigned char *bytes)
{
	if (line_judge(t, r, page, before, after, bytes) == STALE)
		return STALE;
	return line_judge(t, r, page, before, after, bytes + tail());
}

void record_describe(const unsigned char *bytes, char *text, size_t size)
{
	struct record rec;

	memcpy(&rec, bytes, sizeof(rec));
	if (is_blank(&rec))
		snprintf(text, size, "zeros");
	else if (rec.magic != MAGIC || rec.sum != sum_of(&rec))
		snprintf(text, size, "no record");
	else
		snprintf(text, size, "generation %llu of region %llu page %llu",
			 (unsigned long long)rec.generation,
			 (unsigned long long)(rec.where >> 32),
			 (unsigned long long)(rec.where & UINT32_MAX));
}
