// SPDX-License-Identifier: MIT
/*
 * test_huge.c - pages of hugetlb, which the machine lends: private and shared, of 2 MiB and
 * of 1 GiB. One such page is 512 answers (or 262144), all the same but for the number.
 */
#include <linux/memfd.h>

#include "real.h"

#define POOL "/proc/sys/vm/nr_hugepages"
#define POOL_1G "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages"
#define PAGES_1G (1UL << 18)
#define LENT "8"

static unsigned long pfns[PAGES_1G];

static unsigned char *map_huge(size_t n, int prot, int flags, int fd)
{
	unsigned char *at = mmap(NULL, n * THP, prot,
				 flags | MAP_HUGETLB | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);

	must(at != MAP_FAILED);
	return at;
}

static void unmap(void *at, size_t n)
{
	assert_int_equal(munmap(at, n * THP), 0);
}

/* All of a huge page, and its order: without PAGEMAP_SCAN none is known. */
static void whole(const unsigned char *at, const unsigned long *pfn, unsigned long flags)
{
	unsigned int order = ORDER(9);

	for (size_t i = 0; i < HUGE_PAGES; i++) {
		assert_pfn(at + i * PAGE, pfn[i], flags);
		assert_int_equal(hmm_pfn_to_map_order(pfn[i]), (flags & VALID) ? order : 0);
	}
}

static void private_pages(void **state)
{
	unsigned char *at = map_huge(3, RW, MAP_PRIVATE, -1);

	assert_int_equal(ask(at, 3 * HUGE_PAGES, pfns, 0), 0);
	for (int i = 0; i < 3; i++)
		whole(at + i * THP, &pfns[i * HUGE_PAGES], 0);
	/* A part of the second is wanted: all of it comes, and no other. */
	assert_int_equal(ask(at + THP + 5 * PAGE, 3, pfns, READ), 0);
	assert_pfn(at + THP + 7 * PAGE, pfns[2], RDWR);
	assert_int_equal(ask(at, 3 * HUGE_PAGES, pfns, 0), 0);
	whole(at, pfns, 0);
	whole(at + THP, &pfns[HUGE_PAGES], RDWR);
	whole(at + 2 * THP, &pfns[2 * HUGE_PAGES], 0);
	assert_true(written_in_place(at + THP + 9 * PAGE));
	/* All of them, across their borders. */
	assert_int_equal(ask(at + THP - PAGE, 2 * HUGE_PAGES, pfns, WRITE), 0);
	assert_int_equal(ask(at, 3 * HUGE_PAGES, pfns, 0), 0);
	for (int i = 0; i < 3; i++)
		whole(at + i * THP, &pfns[i * HUGE_PAGES], RDWR);
	assert_int_equal(at[THP + 9 * PAGE], 1);
	unmap(at, 3);
}

/* Nothing comes before it is asked for, and what is given back is gone. */
static void given_back(void **state)
{
	unsigned char *at = map_huge(2, RW, MAP_PRIVATE, -1);

	at[0] = 1;
	at[THP] = 2;
	assert_int_equal(ask(at, 2 * HUGE_PAGES, pfns, 0), 0);
	whole(at, pfns, RDWR);
	if (madvise(at, THP, MADV_DONTNEED)) {
		assert_int_equal(errno, EINVAL); /* before 5.18 */
		unmap(at, 2);
		skip();
	}
	assert_int_equal(ask(at, 2 * HUGE_PAGES, pfns, 0), 0);
	whole(at, pfns, 0);
	whole(at + THP, &pfns[HUGE_PAGES], RDWR);
	assert_false(is_present(at));
	assert_int_equal(ask(at, HUGE_PAGES, pfns, WRITE), 0);
	assert_int_equal(at[0], 0);
	unmap(at, 2);
	assert_int_equal(ask(at, 2 * HUGE_PAGES, pfns, 0), 0);
	whole(at, pfns, HMM_PFN_ERROR);
	assert_int_equal(ask(at, 1, pfns, READ), -EFAULT);
}

static void permissions(void **state)
{
	unsigned char *at = map_huge(2, RW, MAP_PRIVATE, -1);

	at[0] = 1;
	at[THP] = 2;
	assert_int_equal(mprotect(at, THP, PROT_READ), 0);
	assert_int_equal(ask(at, 2 * HUGE_PAGES, pfns, 0), 0);
	whole(at, pfns, VALID);
	whole(at + THP, &pfns[HUGE_PAGES], RDWR);
	assert_int_equal(ask(at, HUGE_PAGES, pfns, READ), 0);
	assert_int_equal(ask(at, HUGE_PAGES, pfns, WRITE), -EPERM);
	assert_int_equal(ask(at + THP, HUGE_PAGES, pfns, WRITE), 0);
	assert_int_equal(mprotect(at, THP, PROT_NONE), 0);
	assert_int_equal(ask(at, 2 * HUGE_PAGES, pfns, 0), 0);
	whole(at, pfns, HMM_PFN_ERROR);
	assert_int_equal(ask(at, 2 * HUGE_PAGES, pfns, READ), -EFAULT);
	unmap(at, 2);
	/* Never written, and may not be. */
	at = map_huge(1, PROT_READ, MAP_PRIVATE, -1);
	assert_int_equal(ask(at, 1, pfns, WRITE), -EPERM);
	assert_int_equal(ask(at, HUGE_PAGES, pfns, 0), 0);
	whole(at, pfns, 0);
	assert_int_equal(ask(at, 1, pfns, READ), 0);
	assert_int_equal(ask(at, HUGE_PAGES, pfns, 0), 0);
	whole(at, pfns, VALID);
	unmap(at, 1);
}

static int huge_file(size_t n)
{
	int fd = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);

	must(fd >= 0 && ftruncate(fd, (off_t)(n * THP)) == 0);
	return fd;
}

static void shared_pages(void **state)
{
	int fd = huge_file(2);
	unsigned char *at = map_huge(2, RW, MAP_SHARED, fd), *ro;

	assert_int_equal(ask(at, 2 * HUGE_PAGES, pfns, 0), 0);
	whole(at, pfns, 0);
	assert_int_equal(ask(at, 1, pfns, READ), 0);
	assert_int_equal(ask(at, 2 * HUGE_PAGES, pfns, 0), 0);
	whole(at, pfns, RDWR | HMM_PFN_FILE);
	whole(at + THP, &pfns[HUGE_PAGES], 0);
	assert_true(written_in_place(at + PAGE));
	/* Another mapping of it has a page table of its own. */
	ro = map_huge(2, PROT_READ, MAP_SHARED, fd);
	assert_int_equal(ask(ro, HUGE_PAGES, pfns, 0), 0);
	whole(ro, pfns, 0);
	assert_int_equal(ask(ro, HUGE_PAGES, pfns, READ), 0);
	whole(ro, pfns, VALID | HMM_PFN_FILE);
	assert_int_equal(ask(ro, HUGE_PAGES, pfns, WRITE), -EPERM);
	assert_int_equal(frame_of(ro + PAGE), frame_of(at + PAGE));
	unmap(ro, 2);
	unmap(at, 2);
	close(fd);
	at = map_huge(1, RW, MAP_SHARED, -1);
	assert_int_equal(ask(at, HUGE_PAGES, pfns, WRITE), 0);
	whole(at, pfns, RDWR | HMM_PFN_FILE);
	unmap(at, 1);
}

/* A file's, private: its page until it is written. */
static void private_of_a_file(void **state)
{
	int fd = huge_file(1);
	unsigned char *shared = map_huge(1, RW, MAP_SHARED, fd);
	unsigned char *at = map_huge(1, RW, MAP_PRIVATE, fd);

	shared[PAGE] = 9;
	assert_int_equal(ask(at, HUGE_PAGES, pfns, READ), 0);
	whole(at, pfns, VALID | HMM_PFN_FILE);
	assert_int_equal(ask(at, HUGE_PAGES, pfns, WRITE), 0);
	whole(at, pfns, RDWR);
	assert_int_not_equal(frame_of(at), frame_of(shared));
	assert_int_equal(at[PAGE], 9);
	assert_true(written_in_place(at));
	assert_int_equal(shared[0], 0);
	unmap(at, 1);
	unmap(shared, 1);
	close(fd);
}

static void end_of_file(void **state)
{
	int fd = huge_file(1);
	unsigned char *at = map_huge(2, RW, MAP_SHARED, fd);

	assert_int_equal(ftruncate(fd, THP), 0); /* to map it made it longer */
	assert_int_equal(ask(at, HUGE_PAGES, pfns, WRITE), 0);
	assert_int_equal(ask(at, 2 * HUGE_PAGES, pfns, READ), -EFAULT);
	assert_int_equal(ask(at + THP, 1, pfns, WRITE), -EFAULT);
	assert_int_equal(ask(at, 2 * HUGE_PAGES, pfns, 0), 0);
	whole(at + THP, &pfns[HUGE_PAGES], 0);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(ask(at, 2 * HUGE_PAGES, pfns, 0), 0);
	whole(at, pfns, 0);
	unmap(at, 2);
	close(fd);
}

static void forked(void **state)
{
	unsigned char *at = map_huge(1, RW, MAP_PRIVATE, -1);
	struct idle child;

	at[0] = 5;
	assert_int_equal(ask(at, HUGE_PAGES, pfns, 0), 0);
	whole(at, pfns, RDWR);
	idle_start(&child);
	assert_int_equal(ask(at, HUGE_PAGES, pfns, 0), 0);
	whole(at, pfns, VALID);
	assert_int_equal(ask(at, HUGE_PAGES, pfns, READ), 0);
	whole(at, pfns, VALID);
	assert_int_equal(ask(at + 3 * PAGE, 1, pfns, WRITE), 0);
	assert_int_equal(ask(at, HUGE_PAGES, pfns, 0), 0);
	whole(at, pfns, RDWR);
	assert_true(written_in_place(at));
	assert_int_equal(at[0], 6);
	idle_end(&child);
	unmap(at, 1);
}

/* Mapped without a reservation, and the pool is empty. */
static void none_left(void **state)
{
	unsigned char *at;

	at = map_huge(1, RW, MAP_PRIVATE | MAP_NORESERVE, -1);
	set(POOL, "0");
	assert_int_equal(setting(POOL), 0);
	assert_int_equal(ask(at, HUGE_PAGES, pfns, 0), 0);
	whole(at, pfns, 0);
	assert_int_equal(ask(at, 1, pfns, READ), -EFAULT);
	assert_int_equal(ask(at, HUGE_PAGES, pfns, WRITE), -EFAULT);
	assert_false(readable(at));
	set(POOL, LENT);
	assert_int_equal(ask(at, HUGE_PAGES, pfns, WRITE), 0);
	whole(at, pfns, RDWR);
	unmap(at, 1);
}

/* Order 18: with PROCMAP_QUERY (6.11) it is told; with PAGEMAP_SCAN alone it would be 9. */
static void of_1g(void **state)
{
	unsigned char *at;
	struct {
		size_t page;
		unsigned long flags;
	} rows[] = {{0, RDWR}, {511, RDWR}, {512, RDWR}, {PAGES_1G - 1, RDWR}};

	if (setting(POOL_1G) < 1)
		skip();
	at = mmap(NULL, 1UL << 30, RW,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | 30 << MAP_HUGE_SHIFT, -1, 0);
	assert_ptr_not_equal(at, MAP_FAILED);
	assert_int_equal(ask_one(at + THP), 0);
	assert_int_equal(ask(at, PAGES_1G, pfns, WRITE), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t page = rows[i].page;

		assert_pfn(at + page * PAGE, pfns[page], rows[i].flags);
		assert_int_equal(hmm_pfn_to_map_order(pfns[page]), ORDER(18));
	}
	assert_true(written_in_place(at + (1UL << 30) - 1));
	assert_int_equal(munmap(at, 1UL << 30), 0);
}

static int lend(void **state)
{
	set(POOL, LENT);
	must(setting(POOL) == atol(LENT));
	return real_setup(state);
}

static int give_back(void **state)
{
	set(POOL, "0");
	return real_teardown(state);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(private_pages),
		cmocka_unit_test(given_back),
		cmocka_unit_test(permissions),
		cmocka_unit_test(shared_pages),
		cmocka_unit_test(private_of_a_file),
		cmocka_unit_test(end_of_file),
		cmocka_unit_test(forked),
		cmocka_unit_test(none_left),
		cmocka_unit_test(of_1g),
	};

	if (!machine_is_own())
		return 77;
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, lend, give_back);
}
