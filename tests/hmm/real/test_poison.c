// SPDX-License-Identifier: MIT
/*
 * test_poison.c - memory that fails: the page is taken from whoever has it. A snapshot has no
 * page there, a requested fault cannot make one, and its neighbours are as they were.
 * Nothing undoes it: each failed frame is lost to the machine.
 */
#include <linux/memfd.h>

#include "real.h"

#define POOL "/proc/sys/vm/nr_hugepages"
#define PAGES 8
#define BAD 3 /* the page that fails */

static unsigned long pfns[3 * HUGE_PAGES];

static void unmap(void *at, size_t pages)
{
	assert_int_equal(munmap(at, pages * PAGE), 0);
}

static void fail_at(unsigned char *at, size_t length)
{
	assert_int_equal(fail_memory(at, length), 0);
}

/* All of @flags, but for the one at BAD. */
static void one_is_bad(unsigned char *at, unsigned long flags)
{
	assert_int_equal(ask(at, PAGES, pfns, 0), 0);
	for (int i = 0; i < PAGES; i++)
		assert_pfn(at + i * PAGE, pfns[i], i == BAD ? 0 : flags);
	assert_int_equal(ask(at, PAGES, pfns, READ), -EFAULT);
	assert_int_equal(ask(at, PAGES, pfns, WRITE), -EFAULT);
	assert_int_equal(ask(at + BAD * PAGE, 1, pfns, READ), -EFAULT);
	assert_int_equal(ask(at + BAD * PAGE, 1, pfns, WRITE), -EFAULT);
	/* Those beside it may be had. */
	assert_int_equal(ask(at, BAD, pfns, READ), 0);
	assert_int_equal(ask(at + (BAD + 1) * PAGE, PAGES - BAD - 1, pfns, READ), 0);
	/* And so may all, if nobody wants that one. */
	memset(pfns, 0, sizeof(pfns));
	for (int i = 0; i < PAGES; i++)
		pfns[i] = i == BAD ? 0 : READ;
	assert_int_equal(fault(at, PAGES, pfns, 0, WRITE), 0);
	assert_int_equal(pfns[BAD], 0);
	assert_pfn(at + (PAGES - 1) * PAGE, pfns[PAGES - 1], flags);
	assert_false(readable(at + BAD * PAGE));
	for (int i = 0; i < PAGES; i++)
		assert_true(i == BAD || at[i * PAGE] == i + 1);
}

static void fill(unsigned char *at)
{
	for (int i = 0; i < PAGES; i++)
		at[i * PAGE] = (unsigned char)(i + 1);
}

static void anonymous(void **state)
{
	unsigned char *at = map_anon(PAGES);

	fill(at);
	fail_at(at + BAD * PAGE, PAGE);
	one_is_bad(at, RDWR);
	for (int i = 0; i < PAGES; i++)
		assert_true(i == BAD || written_in_place(at + i * PAGE));
	/* The page is bad, not the address. */
	assert_int_equal(madvise(at + BAD * PAGE, PAGE, MADV_DONTNEED), 0);
	assert_int_equal(ask(at, PAGES, pfns, WRITE), 0);
	for (int i = 0; i < PAGES; i++)
		assert_pfn(at + i * PAGE, pfns[i], RDWR);
	assert_int_equal(at[BAD * PAGE], 0);
	unmap(at, PAGES);
}

static void permissions(void **state)
{
	unsigned char *at = map_anon(PAGES);

	fill(at);
	fail_at(at + BAD * PAGE, PAGE);
	assert_int_equal(mprotect(at, PAGES * PAGE, PROT_READ), 0);
	assert_int_equal(ask(at + BAD * PAGE, 1, pfns, READ), -EFAULT);
	assert_int_equal(ask(at, PAGES, pfns, READ), -EFAULT);
	assert_int_equal(ask(at, PAGES, pfns, 0), 0);
	assert_int_equal(pfns[BAD], 0);
	assert_pfn(at, pfns[0], VALID);
	assert_int_equal(mprotect(at, PAGES * PAGE, PROT_NONE), 0);
	assert_int_equal(ask_one(at + BAD * PAGE), HMM_PFN_ERROR);
	unmap(at, PAGES);
}

/* The memory is bad in each of its mappings, and stays the file's until it is cut away. */
static void shared(void **state)
{
	int fd = memfd_of(PAGES);
	unsigned char *at = map(PAGES, RW, MAP_SHARED, fd), *other;

	other = map(PAGES, RW, MAP_SHARED, fd);
	fill(at);
	assert_int_equal(ask(other, PAGES, pfns, READ), 0);
	fail_at(at + BAD * PAGE, PAGE);
	one_is_bad(at, RDWR | HMM_PFN_FILE);
	one_is_bad(other, RDWR | HMM_PFN_FILE);
	assert_int_equal(madvise(at, PAGES * PAGE, MADV_DONTNEED), 0);
	assert_int_equal(ask(at, PAGES, pfns, READ), -EFAULT);
	assert_int_equal(ask(at, BAD, pfns, READ), 0);
	assert_int_equal(ask(at, PAGES, pfns, 0), 0);
	assert_int_equal(pfns[BAD], 0);
	assert_int_equal(ftruncate(fd, BAD * PAGE), 0);
	assert_int_equal(ftruncate(fd, PAGES * PAGE), 0);
	assert_int_equal(ask(at, PAGES, pfns, WRITE), 0);
	assert_pfn(at + BAD * PAGE, pfns[BAD], RDWR | HMM_PFN_FILE);
	assert_int_equal(at[BAD * PAGE], 0);
	unmap(other, PAGES);
	unmap(at, PAGES);
	close(fd);
}

/* A child has it, too: both have lost it. */
static void forked(void **state)
{
	unsigned char *at = map_anon(PAGES);
	struct idle child;

	fill(at);
	idle_start(&child);
	fail_at(at + BAD * PAGE, PAGE);
	one_is_bad(at, VALID);
	assert_int_equal(ask(at, BAD, pfns, WRITE), 0);
	assert_pfn(at, pfns[0], RDWR);
	idle_end(&child);
	one_is_bad(at, RDWR);
	unmap(at, PAGES);
}

/* One of the small pages of a huge one. */
static void of_a_huge_page(void **state)
{
	unsigned char *at = map(3 * HUGE_PAGES, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	unsigned char *h = (unsigned char *)(((unsigned long)at + THP - 1) & -THP);

	set(HUGE, "madvise");
	must(madvise(at, 3 * THP, MADV_HUGEPAGE) == 0);
	memset(h, 1, THP); /* pages of zeros might become the zero page (6.12) */
	fill(h);
	assert_int_equal(hmm_pfn_to_map_order(ask_one(h)), ORDER(9));
	fail_at(h + BAD * PAGE, PAGE);
	one_is_bad(h, RDWR);
	assert_int_equal(hmm_pfn_to_map_order(ask_one(h)), 0);
	assert_int_equal(ask(h, HUGE_PAGES, pfns, 0), 0);
	for (int i = PAGES; i < (int)HUGE_PAGES; i++)
		assert_pfn(h + i * PAGE, pfns[i], RDWR);
	assert_int_equal(munmap(at, 3 * THP), 0);
	set(HUGE, "never");
}

/* hugetlb fails as a whole. */
static void hugetlb(void **state)
{
	unsigned char *at;

	set(POOL, "6");
	at = mmap(NULL, 3 * THP, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	assert_ptr_not_equal(at, MAP_FAILED);
	memset(at, 1, 3 * THP);
	fail_at(at + THP, THP);
	assert_int_equal(ask(at, 3 * HUGE_PAGES, pfns, 0), 0);
	for (size_t i = 0; i < 3 * HUGE_PAGES; i++)
		assert_pfn(at + i * PAGE, pfns[i], i / HUGE_PAGES == 1 ? 0 : RDWR);
	assert_int_equal(ask(at, 3 * HUGE_PAGES, pfns, READ), -EFAULT);
	assert_int_equal(ask(at + THP, 1, pfns, READ), -EFAULT);
	assert_int_equal(ask(at + 2 * THP - PAGE, 1, pfns, WRITE), -EFAULT);
	assert_int_equal(ask(at, HUGE_PAGES, pfns, WRITE), 0);
	assert_int_equal(ask(at + 2 * THP, HUGE_PAGES, pfns, WRITE), 0);
	assert_false(readable(at + THP));
	assert_int_equal(at[2 * THP - PAGE - THP], 1);
	assert_int_equal(munmap(at, 3 * THP), 0);
	set(POOL, "0");
}

/* The kernel takes a frame that is about to fail: another one, and the same answer. */
static void soft_offline(void **state)
{
	unsigned char *at = map_anon(PAGES);
	unsigned long before, after;

	fill(at);
	assert_int_equal(fault_flags(at + BAD * PAGE, 1, &before, READ, 0, HMM_RANGE_PHYSICAL),
			 0);
	if (madvise(at + BAD * PAGE, PAGE, MADV_SOFT_OFFLINE))
		fail_msg("MADV_SOFT_OFFLINE: %s", strerror(errno));
	assert_int_equal(ask(at, PAGES, pfns, READ), 0);
	for (int i = 0; i < PAGES; i++)
		assert_pfn(at + i * PAGE, pfns[i], RDWR);
	assert_int_equal(fault_flags(at + BAD * PAGE, 1, &after, READ, 0, HMM_RANGE_PHYSICAL),
			 0);
	assert_int_equal(FLAGS_OF(after), RDWR);
	assert_int_not_equal(before & HMM_PFN_NUMBER, after & HMM_PFN_NUMBER);
	assert_int_equal(at[BAD * PAGE], BAD + 1);
	unmap(at, PAGES);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(anonymous),	cmocka_unit_test(permissions),
		cmocka_unit_test(shared),	cmocka_unit_test(forked),
		cmocka_unit_test(hugetlb),	cmocka_unit_test(of_a_huge_page),
		cmocka_unit_test(soft_offline),
	};

	if (!machine_is_own())
		return 77;
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, real_setup, real_teardown);
}
