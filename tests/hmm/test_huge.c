// SPDX-License-Identifier: MIT
/*
 * test_huge.c - HMM_RANGE_TAG of huge pages: one tag each, as long as they stay whole; and
 * what is split keeps the tags of its pages. With userfaultfd alone, by raw calls.
 */
#include <sys/syscall.h>

#include "world.h"

#define HUGE_PAGES 2
#define SIZE (HUGE_PAGES * THP)
#define PAGES (SIZE / PAGE)
#define HEAD 9 /* the order */

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

static struct mmu_interval_notifier sub;
static unsigned char *area, *at;
static unsigned long pfns[PAGES];
static struct hmm_range range;

static int fault_in(unsigned char *from, size_t size, unsigned int flags)
{
	int ret;

	do {
		range = (struct hmm_range){
			.notifier = &sub,
			.start = (unsigned long)from,
			.end = (unsigned long)from + size,
			.hmm_pfns = pfns,
			.flags = flags,
			.notifier_seq = mmu_interval_read_begin(&sub),
		};
		ret = hmm_range_fault(&range);
	} while (ret == -EBUSY);
	return ret;
}

static bool is_huge(unsigned char *addr)
{
	unsigned long one;
	struct hmm_range r = {
		.notifier = &sub,
		.start = (unsigned long)addr,
		.end = (unsigned long)addr + PAGE,
		.hmm_pfns = &one,
		.notifier_seq = mmu_interval_read_begin(&sub),
	};

	must(hmm_range_fault(&r) == 0);
	return hmm_pfn_to_map_order(one) == HEAD;
}

/* Two huge pages; false: this system gives none. */
static bool map_huge(void)
{
	area = mmap(NULL, SIZE + THP, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(area != MAP_FAILED);
	at = (unsigned char *)(((unsigned long)area + THP - 1) & -THP);
	madvise(at, SIZE, MADV_HUGEPAGE);
	memset(at, 7, SIZE);
	syscall(SYS_madvise, at, SIZE, MADV_COLLAPSE);
	must(mmu_interval_notifier_insert(&sub, mm, (unsigned long)at, SIZE, &quiet_ops) == 0);
	return is_huge(at) && is_huge(at + THP);
}

static void unmap(void)
{
	mmu_interval_notifier_remove(&sub);
	munmap(area, SIZE + THP);
}

static int setup(void **state)
{
	bool huge;

	tagged_setup(state);
	huge = map_huge();
	unmap();
	if (!huge)
		exit(77);
	return 0;
}

static bool stands(void)
{
	return hmm_range_valid(&range);
}

static void tag(void)
{
	assert_int_equal(fault_in(at, SIZE, HMM_RANGE_TAG), 0);
	assert_true(stands());
}

/* There may be no memory for huge pages any more. */
static void begin(void)
{
	if (!map_huge()) {
		unmap();
		skip();
	}
	tag();
}

static void stays_whole(void **state)
{
	begin();
	for (size_t i = 0; i < PAGES; i++) {
		assert_pfn(at + i * PAGE, pfns[i], RDWR);
		assert_int_equal(hmm_pfn_to_map_order(pfns[i]), HEAD);
	}
	assert_true(is_huge(at) && is_huge(at + THP));
	for (size_t i = 0; i < PAGES; i += 17)
		assert_int_equal(look_into(at + i * PAGE), 7);
	tag();
	assert_true(stands() && is_huge(at) && is_huge(at + THP));
	unmap();
}

/* Wherever it is written to; the other huge page has no part in it. */
static void each_write_ends_it(void **state)
{
	static const size_t pages[] = {0,	 1, PAGES / 2 - 1, PAGES / 2, PAGES / 2 + 255,
				       PAGES - 1};

	for (size_t i = 0; i < sizeof(pages) / sizeof(*pages); i++) {
		size_t other = pages[i] < PAGES / 2 ? PAGES / 2 : 0;

		begin();
		at[pages[i] * PAGE + 9] = 1;
		assert_false(stands());
		range.start = (unsigned long)at + other * PAGE;
		range.end = range.start + THP;
		range.hmm_pfns = pfns + other;
		assert_true(stands() && is_huge(at + other * PAGE));
		unmap();
	}
}

/* A permission of a part is taken away: it is split, and its pages keep their tags. */
static void split_by_permission(void **state)
{
	begin();
	assert_int_equal(syscall(SYS_mprotect, at + 5 * PAGE, PAGE, PROT_READ), 0);
	assert_false(stands());
	assert_int_equal(syscall(SYS_mprotect, at + 5 * PAGE, PAGE, RW), 0);
	assert_true(stands());
	at[5 * PAGE] = 1;
	assert_false(stands());
	tag();
	at[(PAGES / 2 - 1) * PAGE] = 1;
	assert_false(stands());
	unmap();
}

static void split_by_a_hole(void **state)
{
	begin();
	assert_int_equal(syscall(SYS_madvise, at + 100 * PAGE, PAGE, MADV_DONTNEED), 0);
	assert_false(stands());
	assert_int_equal(look_into(at + 100 * PAGE), 0);
	assert_false(stands());
	unmap();
	begin();
	assert_int_equal(syscall(SYS_munmap, at + 100 * PAGE, PAGE), 0);
	assert_false(stands());
	assert_int_equal(syscall(SYS_mmap, at + 100 * PAGE, PAGE, RW,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 at + 100 * PAGE);
	memset(at + 100 * PAGE, 7, PAGE);
	assert_false(stands());
	unmap();
}

/* Out and, where there is swap, in again: the content is what it was. */
static void reclaimed(void **state)
{
	begin();
	syscall(SYS_madvise, at, SIZE, 21 /* MADV_PAGEOUT */);
	(void)stands();
	assert_int_equal(look_into(at + 3 * PAGE), 7);
	at[3 * PAGE] = 1;
	assert_false(stands());
	unmap();
}

/* Small pages become a huge one: written before or after, it does not stand. */
static void collapsed(void **state)
{
	for (int after = 0; after < 2; after++) {
		begin();
		at[3 * PAGE] = 1; /* splits */
		tag();
		assert_false(is_huge(at));
		if (!after)
			at[PAGE] = 1;
		syscall(SYS_madvise, at, SIZE, MADV_COLLAPSE);
		if (after)
			at[PAGE] = 1;
		assert_false(stands());
		unmap();
	}
}

/* A part is tagged: what is beside it is not asked for, nor marked. */
static void part(void **state)
{
	if (!map_huge()) {
		unmap();
		skip();
	}
	assert_int_equal(fault_in(at + 8 * PAGE, 8 * PAGE, HMM_RANGE_TAG), 0);
	assert_true(stands());
	at[7 * PAGE] = 1;
	at[16 * PAGE] = 1;
	assert_true(stands());
	at[15 * PAGE] = 1;
	assert_false(stands());
	unmap();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stays_whole),
		cmocka_unit_test(each_write_ends_it),
		cmocka_unit_test(split_by_permission),
		cmocka_unit_test(split_by_a_hole),
		cmocka_unit_test(reclaimed),
		cmocka_unit_test(collapsed),
		cmocka_unit_test(part),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, setup, tagged_teardown);
}
