// SPDX-License-Identifier: MIT
/*
 * The summary: never a miss, whatever was added, removed and healed; exact where the
 * promise says so: a gap that shares no cell with anybody is answered "no", also beside
 * a million neighbours, and a false alarm heals itself.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "notifier/itree.h"
#include "notifier/notifier.h"
#include "notifier/pool.h"
#include "rand.h"

#define MAX 400
#define PAGE 4096ULL

static struct mm_struct *mm;
static struct {
	uint64_t start, last;
} list[MAX];
static size_t n;

static void room(uint64_t start, uint64_t last)
{
	struct hmmu_chunk chunk;
	long gib;

	if (!hmmu_itree_ready(&mm->tree)) {
		assert_int_equal(hmmu_chunk_map(&chunk, mm->tree.npages), 0);
		hmmu_chunk_give(&mm->tree, &chunk);
	}
	while ((gib = hmmu_summary_missing(&mm->summary, start, last)) >= 0)
		assert_true(
			hmmu_summary_give(&mm->summary, (unsigned long)gib,
					  hmmu_map(sizeof(struct hmmu_summary_leaf), false)));
}

static void add(uint64_t start, uint64_t last)
{
	unsigned int level = hmmu_summary_level(start, last);

	room(start, last);
	hmmu_itree_insert(&mm->tree, (struct hmmu_key){start, start ^ last}, last);
	hmmu_summary_add(&mm->summary, start, last);
	if (mm->level_subs[level]++ == 0)
		mm->gate |= 1ULL << level;
	list[n].start = start;
	list[n++].last = last;
}

static void del(size_t i)
{
	unsigned int level = hmmu_summary_level(list[i].start, list[i].last);

	hmmu_itree_remove(&mm->tree,
			  (struct hmmu_key){list[i].start, list[i].start ^ list[i].last});
	hmmu_summary_del(&mm->summary, list[i].start, list[i].last);
	if (--mm->level_subs[level] == 0)
		mm->gate &= ~(1ULL << level);
	list[i] = list[--n];
}

static bool watched(uint64_t start, uint64_t last)
{
	return hmmu_summary_watched(&mm->summary, mm->gate, start, last);
}

static void pick(struct rnd *r, uint64_t *start, uint64_t *last)
{
	/* All sizes, all alignments, some at the very top. */
	uint64_t size = 1 + rnd(r) % (1ULL << (1 + rnd(r) % 45));
	uint64_t top = rnd(r) % 20 ? 1ULL << (20 + rnd(r) % 27) : UINT64_MAX - size;

	*start = rnd(r) % top;
	*last = *start + size - 1;
	if (*last < *start)
		*last = UINT64_MAX;
}

static void test_never_a_miss(void **state)
{
	struct rnd r = {7};
	unsigned int alarms = 0, hits = 0;

	(void)state;
	mm = hmmu_map(sizeof(*mm), true);
	for (unsigned int step = 0; step < 60000; step++) {
		uint64_t start, last;
		bool is;

		pick(&r, &start, &last);
		if (step % 3 == 0 && n < MAX && (step / 5000) % 2 == 0 &&
		    !hmmu_itree_overlaps(&mm->tree, start, start))
			add(start, last);
		else if (step % 3 == 1 && n > 0)
			del(rnd(&r) % n);
		pick(&r, &start, &last);
		is = hmmu_itree_overlaps(&mm->tree, start, last);
		if (is) {
			hits++;
			assert_true(watched(start, last));
		} else if (watched(start, last)) {
			alarms++;
			hmmu_summary_heal(&mm->summary, &mm->tree, start, last);
		}
	}
	assert_true(hits > 1000 && alarms > 100);
	while (n > 0)
		del(n - 1);
	assert_int_equal(mm->gate, 0);
}

static void test_gap_is_exact(void **state)
{
	(void)state;
	mm = hmmu_map(sizeof(*mm), true);
	n = 0;
	add(0x40000000, 0x40000000 + PAGE - 1);
	add(0x40000000 + 4 * PAGE, 0x40000000 + 5 * PAGE - 1);
	add(0x40000000 + 8192 * PAGE, 0x40000000 + 16000 * PAGE - 1); /* of 16 MiB cells */
	for (uint64_t i = 0; i < 64; i++)
		assert_true(watched(0x40000000 + i * PAGE, 0x40000000 + (i + 1) * PAGE - 1) ==
			    (i == 0 || i == 4));
	assert_true(watched(0x40000000 + 9000 * PAGE, 0x40000000 + 9000 * PAGE));
	assert_false(watched(0x80000000, 0x80000000 + 63 * PAGE));
	assert_false(watched(0x7f0000000000, 0x7f0000000000));
	while (n > 0)
		del(n - 1);
}

static void test_heals(void **state)
{
	uint64_t base = 0x123450000000;

	(void)state;
	mm = hmmu_map(sizeof(*mm), true);
	n = 0;
	add(base + PAGE, base + 2 * PAGE - 1);
	add(base + 1000 * PAGE, base + 1001 * PAGE - 1);
	del(0);
	assert_true(watched(base + PAGE, base + PAGE)); /* remove left it */
	hmmu_summary_heal(&mm->summary, &mm->tree, base + PAGE, base + PAGE);
	assert_false(watched(base + PAGE, base + PAGE));
	assert_true(watched(base + 1000 * PAGE, base + 1000 * PAGE));
}

/* Addresses that share the last cell: an alarm, healed only when all are gone. */
static void test_top_of_memory(void **state)
{
	(void)state;
	mm = hmmu_map(sizeof(*mm), true);
	n = 0;
	add(UINT64_MAX - 10, UINT64_MAX);
	assert_true(watched(UINT64_MAX, UINT64_MAX));
	assert_true(watched(1ULL << 60, 1ULL << 60));
	hmmu_summary_heal(&mm->summary, &mm->tree, 1ULL << 60, 1ULL << 60);
	assert_true(watched(UINT64_MAX, UINT64_MAX));
	del(0);
	hmmu_summary_heal(&mm->summary, &mm->tree, 1ULL << 60, 1ULL << 60);
	assert_false(watched(UINT64_MAX, UINT64_MAX));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_never_a_miss),
		cmocka_unit_test(test_gap_is_exact),
		cmocka_unit_test(test_heals),
		cmocka_unit_test(test_top_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
