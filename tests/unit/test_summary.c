// SPDX-License-Identifier: MIT
/*
 * The summary: never a miss, whatever was added, removed and healed; exact where the
 * promise says so: a gap that shares no cell with anybody is answered "no", also beside
 * a million neighbours, and a false alarm heals itself.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <signal.h>
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
	struct hmmu_summary_need need;
	struct hmmu_chunk chunk;

	if (!hmmu_itree_ready(&mm->tree)) {
		assert_int_equal(hmmu_chunk_map(&chunk, mm->tree.npages), 0);
		hmmu_chunk_give(&mm->tree, &chunk);
	}
	while (hmmu_summary_missing(&mm->summary, start, last, &need)) {
		void *mem = NULL;

		if (need.size <= SUMMARY_FEW_MAX)
			mem = hmmu_arena_take(&mm->arena, need.size);
		if (!mem)
			mem = hmmu_map(need.size, false);
		assert_true(hmmu_summary_give(&mm->summary, &need, mem));
	}
}

static void add(uint64_t start, uint64_t last)
{
	unsigned int level = hmmu_summary_level(start, last);
	struct hmmu_path path;

	room(start, last);
	hmmu_itree_find(&mm->tree, (struct hmmu_key){start, start ^ last}, &path);
	hmmu_itree_insert(&mm->tree, &path, last);
	hmmu_summary_add(&mm->summary, start, last);
	if (mm->level_subs[level]++ == 0)
		mm->gate |= 1ULL << level;
	list[n].start = start;
	list[n++].last = last;
}

static void del(size_t i)
{
	unsigned int level = hmmu_summary_level(list[i].start, list[i].last);
	struct hmmu_key key = {list[i].start, list[i].start ^ list[i].last};
	struct hmmu_path path;

	hmmu_itree_find(&mm->tree, key, &path);
	hmmu_itree_remove(&mm->tree, &path);
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

/* Small ones in three GiBs, asked for in all sizes. */
static void pick_near(struct rnd *r, uint64_t *start, uint64_t *last)
{
	uint64_t size = 1 + rnd(r) % (1ULL << (1 + rnd(r) % 32));

	*start = 0x40000000 + rnd(r) % (3ULL << 30);
	if (rnd(r) % 4 || size > 1 << 18)
		*start &= -PAGE;
	*last = *start + size - 1;
}

static void run(void (*how)(struct rnd *, uint64_t *, uint64_t *), uint64_t seed, size_t most)
{
	unsigned int alarms = 0, hits = 0;
	struct rnd r = {seed};

	mm = hmmu_map(sizeof(*mm), true);
	n = 0;
	for (unsigned int step = 0; step < 60000; step++) {
		uint64_t start, last;
		bool is;

		how(&r, &start, &last);
		if (how == pick_near)
			last = start + (last - start) % (rnd(&r) % 1000 ? 200000 : 2000000);
		if (step % 3 == 0 && n < most && (step / 5000) % 2 == 0 &&
		    !hmmu_itree_overlaps(&mm->tree, start, start))
			add(start, last);
		else if (step % 3 == 1 && n > 0 &&
			 (how == pick || step / 5000 % 2 || n == most))
			del(rnd(&r) % n);
		how(&r, &start, &last);
		is = hmmu_itree_overlaps(&mm->tree, start, last);
		if (is) {
			hits++;
			assert_true(watched(start, last));
		} else if (watched(start, last)) {
			alarms++;
			hmmu_summary_heal(&mm->summary, &mm->tree, start, last);
			if (mm->gate == 1 && start % PAGE == 0 && last - start == PAGE - 1)
				assert_false(watched(start, last));
		}
	}
	assert_true(hits > (most < 50 ? 100 : 1000) && alarms > 100);
	while (n > 0)
		del(n - 1);
	assert_int_equal(mm->gate, 0);
	assert_int_equal(mm->tree.root, 0);
}

static void test_never_a_miss(void **state)
{
	(void)state;
	run(pick, 7, MAX);
}

/* Tables of few words: they grow, and become leaves or not. */
static void test_few_are_never_missed(void **state)
{
	static const size_t most[] = {3, 12, 60, 150, MAX};

	(void)state;
	for (size_t i = 0; i < sizeof(most) / sizeof(most[0]); i++)
		run(pick_near, i + 1, most[i]);
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

/* Two of one level share a cell; one goes. */
static void test_shared_cell(void **state)
{
	uint64_t base = 0x40000000;

	(void)state;
	mm = hmmu_map(sizeof(*mm), true);
	n = 0;
	add(base, base + 65 * PAGE - 1);
	add(base + PAGE, base + 66 * PAGE - 1);
	assert_int_equal(hmmu_summary_level(base, base + 65 * PAGE - 1), 1);
	del(0);
	for (uint64_t i = 1; i < 66; i++)
		assert_true(watched(base + i * PAGE, base + i * PAGE));
	del(0);
	assert_int_equal(mm->gate, 0);
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

/* Of the first cell of an alarm, who is before it; of the last, who is behind it. */
static void test_heal_keeps_the_edges(void **state)
{
	uint64_t base = 0x123450000000, half = PAGE / 2;

	(void)state;
	mm = hmmu_map(sizeof(*mm), true);
	n = 0;
	add(base, base + half - 1);
	add(base + 3 * PAGE + half, base + 4 * PAGE - 1);
	add(base + PAGE, base + 2 * PAGE - 1);
	del(2);
	for (unsigned int i = 0; i < 2; i++) {
		hmmu_summary_heal(&mm->summary, &mm->tree, base + half,
				  base + 3 * PAGE + half - 1);
		assert_true(watched(base, base));
		assert_false(watched(base + PAGE, base + 3 * PAGE - 1));
		assert_true(watched(base + 3 * PAGE, base + 3 * PAGE));
	}
	del(1);
	hmmu_summary_heal(&mm->summary, &mm->tree, base + half, base + 4 * PAGE - 1);
	assert_true(watched(base, base));
	assert_false(watched(base + PAGE, base + 4 * PAGE - 1));
	del(0);
	hmmu_summary_heal(&mm->summary, &mm->tree, base, base + PAGE - 1);
	assert_false(watched(base, base));
}

/* Addresses that share the last cell: an alarm, healed only when all are gone. */
static void test_top_of_memory(void **state)
{
	(void)state;
	mm = hmmu_map(sizeof(*mm), true);
	n = 0;
	add(1ULL << 60, 1ULL << 60);
	add(UINT64_MAX - 10, UINT64_MAX);
	del(0);
	assert_true(watched(UINT64_MAX, UINT64_MAX));
	assert_true(watched(1ULL << 60, 1ULL << 60));
	hmmu_summary_heal(&mm->summary, &mm->tree, 1ULL << 60, 1ULL << 60);
	assert_true(watched(UINT64_MAX, UINT64_MAX));
	del(0);
	hmmu_summary_heal(&mm->summary, &mm->tree, 1ULL << 60, 1ULL << 60);
	assert_false(watched(UINT64_MAX, UINT64_MAX));
}

/* Exactly @i of list[] says so, of pages that lie near, by cells of its level. */
static void watched_as_listed(size_t i)
{
	unsigned int shift = 12 + 6 * hmmu_summary_level(list[i].start, list[i].last);
	uint64_t from = list[i].start >> shift << shift;
	uint64_t to = (list[i].last >> shift << shift) + (1ULL << shift) - 1;

	assert_true(watched(list[i].start, list[i].start));
	assert_true(watched(list[i].last, list[i].last));
	assert_true(watched(from, from + PAGE - 1));
	assert_true(watched(to - PAGE + 1, to));
	assert_true(watched(0, (1ULL << 40) - 1));
	assert_false(watched(from - PAGE, from - 1));
	assert_false(watched(to + 1, to + PAGE));
}

/* Of each level, in one GiB and over the border of two: alone, and gone without a trace. */
static void test_alone(void **state)
{
	uint64_t border = 5ULL << 30;

	(void)state;
	mm = hmmu_map(sizeof(*mm), true);
	n = 0;
	for (uint64_t pages = 1; pages <= 1 << 17; pages *= 2) {
		for (uint64_t before = 0; before <= pages; before += pages) {
			uint64_t at = border - before / 2 * PAGE;

			add(at, at + pages * PAGE - 1);
			assert_int_equal(mm->summary.leaf[at >> 30] & SUMMARY_KIND,
					 SUMMARY_ONE);
			watched_as_listed(0);
			del(0);
			assert_int_equal(mm->summary.leaf[5], 0);
			assert_int_equal(mm->summary.leaf[4], 0);
		}
	}
}

static void nobody_counted(uint64_t gib)
{
	uint64_t at = mm->summary.leaf[gib];

	if ((at & SUMMARY_KIND) == SUMMARY_FEW)
		assert_int_equal(((struct hmmu_summary_few *)(at & ~SUMMARY_KIND))->subs, 0);
}

/* A second one of each level beside one of each, and the first goes. */
static void test_no_more_alone(void **state)
{
	(void)state;
	for (uint64_t first = 1; first <= 1 << 13; first *= 4) {
		for (uint64_t second = 1; second <= 1 << 13; second *= 4) {
			uint64_t at = (9ULL << 30) - first / 2 * PAGE;
			uint64_t beside = (9ULL << 30) + (150ULL << 20);

			mm = hmmu_map(sizeof(*mm), true);
			n = 0;
			add(at, at + first * PAGE - 1);
			add(beside, beside + second * PAGE - 1);
			watched_as_listed(0);
			watched_as_listed(1);
			del(0);
			watched_as_listed(0);
			add(at, at + first * PAGE - 1);
			watched_as_listed(1);
			while (n > 0)
				del(n - 1);
			assert_int_equal(mm->gate, 0);
			nobody_counted(8);
			nobody_counted(9);
		}
	}
}

static const uint64_t word = 64 * PAGE;
static sigjmp_buf before_the_add;

static void no_place(int sig)
{
	siglongjmp(before_the_add, sig);
}

/* @more words of a GiB, and one that is 0 again; then two pages in that and the next. */
static void comes_to_a_full_table(uint64_t more, unsigned int side)
{
	uint64_t base = (1 + more) << 30, at = base + 2000 * word;

	mm = hmmu_map(sizeof(*mm), true);
	n = 0;
	for (uint64_t i = 0; i < more; i++)
		add(base + 2 * i * word, base + 2 * i * word);
	add(at, at);
	del(n - 1);
	hmmu_summary_heal(&mm->summary, &mm->tree, at, at);
	assert_false(watched(at, at));
	at += side * word - PAGE;
	signal(SIGSEGV, no_place);
	assert_false(sigsetjmp(before_the_add, 1));
	add(at, at + 2 * PAGE - 1);
	signal(SIGSEGV, SIG_DFL);
	for (size_t i = 0; i < n; i++)
		assert_true(watched(list[i].start, list[i].last));
	while (n > 0)
		del(n - 1);
}

/* A full table, where one word is 0 by now. Whoever comes for that one and for a new one beside
 * it cannot have its place for the other: there is none left. */
static void test_few_place_is_not_taken_twice(void **state)
{
	(void)state;
	for (uint64_t more = 1; more < 40; more++) {
		comes_to_a_full_table(more, 0);
		comes_to_a_full_table(more, 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_never_a_miss),
		cmocka_unit_test(test_few_are_never_missed),
		cmocka_unit_test(test_few_place_is_not_taken_twice),
		cmocka_unit_test(test_alone),
		cmocka_unit_test(test_no_more_alone),
		cmocka_unit_test(test_gap_is_exact),
		cmocka_unit_test(test_shared_cell),
		cmocka_unit_test(test_heals),
		cmocka_unit_test(test_top_of_memory),
		cmocka_unit_test(test_heal_keeps_the_edges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
