// SPDX-License-Identifier: MIT
/*
 * summary.c - the summary (src/notifier/summary.c) against a list of intervals: never a
 * miss; and, once a false alarm has been healed, an alarm exactly where somebody shares a
 * cell with the query, cells being those of the coarser one of the two.
 */
#include "fuzz.h"

#include "notifier/itree.h"
#include "notifier/notifier.h"

#define MOST 200
#define LEAVES 256

struct entry {
	uint64_t start, last;
};

static struct hmmu_summary summary;
static struct entry list[MOST];
static uint64_t level_subs[SUMMARY_LEVELS];
static unsigned long gibs[LEAVES];
static unsigned int n, leaves;
static void *pool[LEAVES]; /* of malloc: it sees their ends */

/* What heal asks of the tree; it asks for one. */
size_t hmmu_itree_collect(struct hmmu_itree *t, uint64_t start, uint64_t last,
			  struct hmmu_key after, struct hmmu_match *out, size_t max)
{
	for (unsigned int i = 0; i < n; i++)
		if (list[i].start <= last && start <= list[i].last)
			return 1;
	return 0;
}

/* ---- the model: cells by division ---------------------------------------- */

static uint64_t cell(uint64_t addr, unsigned int level)
{
	uint64_t size = 4096;

	while (level--)
		size *= 64;
	if (addr >> SUMMARY_BITS) /* all above are in the last one */
		addr = (1ULL << SUMMARY_BITS) - 1;
	return addr / size;
}

static unsigned int level_of(uint64_t start, uint64_t last)
{
	unsigned int level = 0;

	while (cell(last, level) - cell(start, level) >= 64)
		level++;
	return level;
}

static bool watched(uint64_t start, uint64_t last)
{
	return hmmu_itree_collect(NULL, start, last, HMMU_KEY_FIRST, NULL, 1);
}

static bool shares_cell(uint64_t start, uint64_t last)
{
	unsigned int q = level_of(start, last);

	for (unsigned int i = 0; i < n; i++) {
		unsigned int own = level_of(list[i].start, list[i].last);
		unsigned int level = own > q ? own : q;

		if (cell(list[i].start, level) <= cell(last, level) &&
		    cell(start, level) <= cell(list[i].last, level))
			return true;
	}
	return false;
}

/* ---- the steps ------------------------------------------------------------ */

static uint64_t gate(void)
{
	uint64_t bits = 0;

	for (unsigned int level = 0; level < SUMMARY_LEVELS; level++)
		bits |= (uint64_t)(level_subs[level] > 0) << level;
	return bits;
}

static bool room(uint64_t start, uint64_t last)
{
	struct hmmu_summary_need need;

	while (hmmu_summary_missing(&summary, start, last, &need)) {
		if (leaves == LEAVES)
			return false;
		FUZZ_CHECK(need.gib < SUMMARY_GIBS);
		gibs[leaves] = need.gib;
		pool[leaves] = calloc(1, need.size);
		FUZZ_CHECK(hmmu_summary_give(&summary, &need, pool[leaves++]));
		if (need.size > SUMMARY_FEW_MAX)
			FUZZ_CHECK(!hmmu_summary_give(&summary, &need, NULL));
	}
	return true;
}

static void ask(uint64_t start, uint64_t last)
{
	bool alarm = hmmu_summary_search(&summary, gate(), start, last);

	FUZZ_CHECK(hmmu_summary_watched(&summary, gate(), start, last) == alarm);
	FUZZ_CHECK(alarm || !shares_cell(start, last));
	if (!alarm || watched(start, last))
		return;
	/* As a start that took the lock for nothing. */
	hmmu_summary_heal(&summary, NULL, start, last);
	FUZZ_CHECK(hmmu_summary_search(&summary, gate(), start, last) ==
		   shares_cell(start, last));
}

static void add(uint64_t start, uint64_t last)
{
	unsigned int level = hmmu_summary_level(start, last);

	FUZZ_CHECK(level == level_of(start, last));
	if (n == MOST || !room(start, last))
		return;
	hmmu_summary_add(&summary, start, last);
	level_subs[level]++;
	list[n++] = (struct entry){start, last};
	ask(start, last);
	ask(start, start);
	ask(last, last);
}

static void del(unsigned int i)
{
	struct entry e = list[i];

	hmmu_summary_del(&summary, e.start, e.last);
	level_subs[hmmu_summary_level(e.start, e.last)]--;
	list[i] = list[--n];
	ask(e.start, e.last);
}

static void range(struct fuzz *f, uint64_t *start, uint64_t *last)
{
	uint8_t how = fuzz_byte(f);

	*start = fuzz_word(f);
	if (n && how & 1)
		*start = list[*start % n].start + (how >> 2 & 3) - 1;
	else if (n && how & 2)
		*start = list[*start % n].last + (how >> 2 & 3) - 1;
	else if (how & 4)
		*start <<= 12;
	*last = *start + (how & 128 ? fuzz_word(f) : (1ULL << (how >> 4 & 7) * 6) - 1);
	if (how & 64 && *last > *start) { /* ends there */
		uint64_t length = *last - *start;

		*last = *start;
		*start = *start > length ? *start - length : 0;
	}
	if (*last < *start)
		*last = UINT64_MAX;
}

static void step(struct fuzz *f)
{
	uint64_t start, last, length;
	uint8_t what = fuzz_byte(f);

	if (what % 4 == 0) {
		if (n)
			del(what / 4 % n);
		return;
	}
	range(f, &start, &last);
	switch (what % 4) {
	case 1:
		add(start, last);
		break;
	case 2: /* neighbours */
		length = last - start + 1;
		for (unsigned int i = 0; i < what / 16u && last < UINT64_MAX / 2; i++) {
			add(start, last);
			start += length;
			last += length;
		}
		break;
	default:
		ask(start, last);
	}
}

/* Counts that are not 0 again would be seen by the next input. */
static void forget(void)
{
	while (n)
		del(n - 1);
	for (unsigned int i = 0; i < leaves; i++) {
		uint64_t at = summary.leaf[gibs[i]];
		const struct hmmu_summary_leaf *leaf = (const void *)at;

		for (unsigned int k = 0; (int64_t)at > 0 && k < 4096; k++)
			FUZZ_CHECK(!leaf->count1[k] && !leaf->count2[k % 64]);
		if ((at & SUMMARY_KIND) == SUMMARY_FEW)
			FUZZ_CHECK(!((struct hmmu_summary_few *)(at & ~SUMMARY_KIND))->subs);
		summary.leaf[gibs[i]] = 0;
	}
	for (unsigned int i = 0; i < leaves; i++)
		free(pool[i]);
	leaves = 0;
	ask(0, UINT64_MAX);
	for (unsigned int k = 0; k < SUMMARY_GIBS / 64 / 64; k++)
		FUZZ_CHECK(!summary.own4[k]);
	memset(summary.any3, 0, sizeof(summary.any3));
	memset(summary.any4, 0, sizeof(summary.any4));
	memset(summary.any5, 0, sizeof(summary.any5));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz f = {data, size};

	while (f.left)
		step(&f);
	forget();
	return 0;
}
