// SPDX-License-Identifier: MIT
/*
 * test_tag.c - HMM_RANGE_TAG and hmm_range_valid(), with userfaultfd alone. Changes are made
 * by raw calls; mprotect nobody tells of.
 */
#include <sys/syscall.h>

#include "world.h"

#define PAGES 32

static struct mmu_interval_notifier sub;
static unsigned char *at;
static unsigned long pfns[PAGES];
static struct hmm_range range;

static void watch(unsigned char *memory)
{
	at = memory;
	must(mmu_interval_notifier_insert(&sub, mm, (unsigned long)at, PAGES * PAGE,
					  &quiet_ops) == 0);
}

static void unwatch(void)
{
	mmu_interval_notifier_remove(&sub);
	munmap(at, PAGES * PAGE);
}

static int tag(unsigned long want)
{
	int ret;

	do {
		range = (struct hmm_range){
			.notifier = &sub,
			.start = (unsigned long)at,
			.end = (unsigned long)at + PAGES * PAGE,
			.hmm_pfns = pfns,
			.default_flags = want,
			.flags = HMM_RANGE_TAG,
			.notifier_seq = mmu_interval_read_begin(&sub),
		};
		ret = quiet(hmm_range_fault(&range));
	} while (ret == -EBUSY);
	return ret;
}

static void retag(unsigned long want)
{
	assert_int_equal(tag(want), 0);
	assert_true(quiet(hmm_range_valid(&range)));
}

static bool stands(void)
{
	return hmm_range_valid(&range);
}

static void reads_keep_it(void **state)
{
	watch(map_anon(PAGES));
	touch(at, PAGES / 2);
	retag(READ);
	assert_pfn(at, pfns[0], RDWR);
	assert_pfn(at + (PAGES - 1) * PAGE, pfns[PAGES - 1], VALID | HMM_PFN_ZERO);
	assert_int_equal(look_into(at), 7);
	assert_true(stands());
	/* Again: what is tagged stays. */
	retag(READ);
	unwatch();
}

static void each_write_ends_it(void **state)
{
	watch(map_anon(PAGES));
	touch(at, PAGES / 2);
	for (int i = 0; i < PAGES; i++) {
		retag(READ);
		at[i * PAGE + 100] = (unsigned char)i;
		assert_false(stands());
	}
	retag(WRITE);
	for (int i = 0; i < PAGES; i++)
		assert_pfn(at + i * PAGE, pfns[i], RDWR);
	unwatch();
}

static void dropped(void **state)
{
	watch(map_anon(PAGES));
	touch(at, PAGES);
	for (int i = 0; i < PAGES; i += 5) {
		retag(WRITE);
		assert_int_equal(syscall(SYS_madvise, at + i * PAGE, PAGE, MADV_DONTNEED), 0);
		assert_false(stands());
		/* Nor when something is there again. */
		assert_int_equal(look_into(at + i * PAGE), 0);
		assert_false(stands());
		at[i * PAGE] = 1;
		assert_false(stands());
	}
	unwatch();
}

static void replaced(void **state)
{
	watch(map_anon(PAGES));
	touch(at, PAGES);
	retag(READ);
	assert_int_equal(syscall(SYS_munmap, at + PAGE, PAGE), 0);
	assert_false(stands());
	assert_int_equal(syscall(SYS_mmap, at + PAGE, PAGE, RW,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 at + PAGE);
	at[PAGE] = 7;
	assert_false(stands());
	retag(READ);
	unwatch();
}

/* Nobody tells of it: neither the sequence nor the tags know. */
static void permissions(void **state)
{
	watch(map_anon(PAGES));
	touch(at, PAGES);
	retag(READ);
	assert_int_equal(syscall(SYS_mprotect, at + 3 * PAGE, PAGE, PROT_READ), 0);
	assert_false(mmu_interval_read_retry(&sub, range.notifier_seq));
	assert_false(stands());
	retag(READ);
	assert_pfn(at + 3 * PAGE, pfns[3], VALID);
	assert_int_equal(syscall(SYS_mprotect, at + 3 * PAGE, PAGE, PROT_NONE), 0);
	assert_false(mmu_interval_read_retry(&sub, range.notifier_seq));
	assert_false(stands());
	/* More than was answered is no harm. */
	assert_int_equal(syscall(SYS_mprotect, at + 3 * PAGE, PAGE, PROT_READ | PROT_WRITE), 0);
	assert_true(stands());
	unwatch();
}

/* Nothing was claimed of what was not there. */
static void absent_pages_do_not_count(void **state)
{
	watch(map_anon(PAGES));
	at[0] = 1;
	retag(0);
	assert_pfn(at + PAGE, pfns[1], 0);
	at[PAGE] = 1;
	assert_true(stands());
	at[0] = 1;
	assert_false(stands());
	unwatch();
}

static void other_kinds(void **state)
{
	int fd = memfd_of(PAGES);

	watch(map(PAGES, RW, MAP_SHARED, fd));
	assert_int_equal(tag(READ), -EOPNOTSUPP);
	unwatch();
	watch(map(PAGES, RW, MAP_PRIVATE, fd));
	assert_int_equal(tag(READ), -EOPNOTSUPP);
	unwatch();
	close(fd);
}

/* Without the net nobody has registered the memory. */
static void not_armed(void **state)
{
	const struct hmmu_mm_options o = {.size = sizeof(o)};
	struct mm_struct *saved = mm;

	must(hmmu_mm_open(&mm, &o) == 0);
	watch(map_anon(PAGES));
	touch(at, PAGES);
	assert_int_equal(tag(READ), -EOPNOTSUPP);
	assert_false(stands());
	unwatch();
	must(hmmu_mm_close(mm) == 0);
	mm = saved;
}

static void never_without_the_flag(void **state)
{
	watch(map_anon(PAGES));
	touch(at, PAGES);
	retag(READ);
	range.flags = 0;
	assert_false(stands());
	assert_false(hmm_range_valid(NULL));
	unwatch();
}

/* Holes between pages that are there, more regions than one question answers. */
static void patchwork(void **state)
{
	static unsigned long many[1024];
	unsigned char *memory = map_anon(1024);

	must(mmu_interval_notifier_insert(&sub, mm, (unsigned long)memory, 1024 * PAGE,
					  &quiet_ops) == 0);
	for (int i = 0; i < 1024; i += 2)
		memory[i * PAGE] = 1;
	range = (struct hmm_range){
		.notifier = &sub,
		.start = (unsigned long)memory,
		.end = (unsigned long)memory + 1024 * PAGE,
		.hmm_pfns = many,
		.flags = HMM_RANGE_TAG,
	};
	do
		range.notifier_seq = mmu_interval_read_begin(&sub);
	while (hmm_range_fault(&range) == -EBUSY);
	for (int i = 0; i < 1024; i++)
		assert_pfn(memory + i * PAGE, many[i], i % 2 ? 0 : RDWR);
	assert_true(stands());
	memory[1022 * PAGE] = 2;
	assert_false(stands());
	mmu_interval_notifier_remove(&sub);
	munmap(memory, 1024 * PAGE);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_keep_it),
		cmocka_unit_test(each_write_ends_it),
		cmocka_unit_test(dropped),
		cmocka_unit_test(replaced),
		cmocka_unit_test(permissions),
		cmocka_unit_test(absent_pages_do_not_count),
		cmocka_unit_test(other_kinds),
		cmocka_unit_test(not_armed),
		cmocka_unit_test(never_without_the_flag),
		cmocka_unit_test(patchwork),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, tagged_setup, tagged_teardown);
}
