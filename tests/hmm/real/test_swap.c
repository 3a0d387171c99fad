// SPDX-License-Identifier: MIT
/*
 * test_swap.c - pages that are swapped out: not there for a snapshot, which leaves them
 * where they are; a requested fault brings them in, with their content. The swap is whichever
 * the machine has switched on, memory or a disk (oracle/real).
 */
#include <sys/swap.h>

#include "real.h"

#define PAGES 64
#define TRIES 50

static unsigned long pfns[PAGES * 16];

/* No page of zeros: one in a huge page that is split may become the zero page (6.12). */
static unsigned char content(size_t page)
{
	return (unsigned char)(page % 255 + 1);
}

static void fill(unsigned char *at, size_t pages)
{
	for (size_t i = 0; i < pages; i++)
		memset(at + i * PAGE, content(i), PAGE);
}

static void filled(const unsigned char *at, size_t pages)
{
	for (size_t i = 0; i < pages; i++) {
		assert_int_equal(at[i * PAGE], content(i));
		assert_int_equal(at[i * PAGE + PAGE - 1], content(i));
	}
}

static size_t still_there(const unsigned char *at, size_t pages)
{
	size_t n = 0;

	for (size_t i = 0; i < pages; i++)
		n += is_present(at + i * PAGE);
	return n;
}

/* A page that is being written to the disk goes when that is done. */
static void out(unsigned char *at, size_t pages)
{
	for (int i = 0; i < TRIES && still_there(at, pages); i++) {
		must(madvise(at, pages * PAGE, MADV_PAGEOUT) == 0);
		if (i)
			usleep(10000);
	}
	for (size_t i = 0; i < pages; i++)
		if (is_present(at + i * PAGE))
			fail_msg("page %zu of %zu stays", i, pages);
}

static void all_swapped(const unsigned char *at, size_t pages)
{
	for (size_t i = 0; i < pages; i++)
		assert_true(is_swapped(at + i * PAGE));
}

static void all_are(const unsigned char *at, size_t pages, unsigned long flags)
{
	for (size_t i = 0; i < pages; i++)
		assert_pfn(at + i * PAGE, pfns[i], flags);
}

static unsigned char *swapped_anon(void)
{
	unsigned char *at = map_anon(PAGES);

	fill(at, PAGES);
	out(at, PAGES);
	all_swapped(at, PAGES);
	return at;
}

static void unmap(void *at)
{
	assert_int_equal(munmap(at, PAGES * PAGE), 0);
}

static void comes_to_be_read(void **state)
{
	unsigned char *at = swapped_anon();

	assert_int_equal(ask(at, PAGES, pfns, 0), 0);
	all_are(at, PAGES, 0);
	/* Nobody was brought in by being looked at. */
	all_swapped(at, PAGES);
	assert_int_equal(ask(at, PAGES, pfns, READ), 0);
	for (int i = 0; i < PAGES; i++)
		assert_pfn(at + i * PAGE, pfns[i] | HMM_PFN_WRITE, RDWR);
	filled(at, PAGES);
	unmap(at);
}

static void comes_to_be_written(void **state)
{
	unsigned char *at = swapped_anon();

	assert_int_equal(ask(at, PAGES, pfns, WRITE), 0);
	all_are(at, PAGES, RDWR);
	filled(at, PAGES);
	for (int i = 0; i < PAGES; i++)
		assert_true(written_in_place(at + i * PAGE));
	/* And goes again. */
	fill(at, PAGES);
	out(at, PAGES);
	assert_int_equal(ask(at, PAGES, pfns, 0), 0);
	all_are(at, PAGES, 0);
	unmap(at);
}

/* Each page for itself: what nobody asked for stays out. */
static void some_come(void **state)
{
	unsigned char *at = swapped_anon();

	memset(pfns, 0, sizeof(pfns));
	for (int i = 0; i < PAGES; i += 4) {
		pfns[i] = READ;
		pfns[i + 1] = WRITE;
	}
	assert_int_equal(fault(at, PAGES, pfns, 0, WRITE), 0);
	for (int i = 0; i < PAGES; i++) {
		bool wanted = i % 4 < 2;

		assert_int_equal(is_swapped(at + i * PAGE), !wanted);
		assert_int_equal(!!(pfns[i] & VALID), wanted);
		if (i % 4 == 1)
			assert_pfn(at + i * PAGE, pfns[i], RDWR);
	}
	assert_int_equal(ask(at, PAGES, pfns, 0), 0);
	assert_int_equal(ask(at, PAGES, pfns, READ), 0);
	filled(at, PAGES);
	unmap(at);
}

static void permissions(void **state)
{
	unsigned char *at = swapped_anon();

	assert_int_equal(mprotect(at, PAGES * PAGE, PROT_NONE), 0);
	assert_int_equal(ask(at, PAGES, pfns, 0), 0);
	all_are(at, PAGES, HMM_PFN_ERROR);
	assert_int_equal(ask(at, PAGES, pfns, READ), -EFAULT);
	assert_int_equal(mprotect(at, PAGES * PAGE, PROT_READ), 0);
	assert_int_equal(ask(at, PAGES, pfns, 0), 0);
	all_are(at, PAGES, 0);
	assert_int_equal(ask(at, PAGES, pfns, WRITE), -EPERM);
	assert_int_equal(ask(at, PAGES, pfns, READ), 0);
	all_are(at, PAGES, VALID);
	filled(at, PAGES);
	unmap(at);
}

static void shared_memory(void **state)
{
	const int fds[] = {-1, memfd_of(PAGES)};

	for (int i = 0; i < 2; i++) {
		unsigned char *at =
			map(PAGES, RW, MAP_SHARED | (fds[i] < 0 ? MAP_ANONYMOUS : 0), fds[i]);

		fill(at, PAGES);
		out(at, PAGES);
		assert_int_equal(ask(at, PAGES, pfns, 0), 0);
		all_are(at, PAGES, 0);
		assert_int_equal(ask(at, PAGES / 2, pfns, READ), 0);
		all_are(at, PAGES / 2, RDWR | HMM_PFN_FILE);
		assert_int_equal(ask(at, PAGES, pfns, WRITE), 0);
		all_are(at, PAGES, RDWR | HMM_PFN_FILE);
		filled(at, PAGES);
		assert_true(written_in_place(at));
		unmap(at);
	}
	close(fds[1]);
}

/* What was a file's until it was written. */
static void private_of_a_file(void **state)
{
	int fd = memfd_of(PAGES);
	unsigned char *at = map(PAGES, RW, MAP_PRIVATE, fd);

	memset(at, 0x55, PAGES * PAGE);
	out(at, PAGES);
	all_swapped(at, PAGES);
	assert_int_equal(ask(at, PAGES, pfns, 0), 0);
	all_are(at, PAGES, 0);
	assert_int_equal(ask(at, PAGES, pfns, WRITE), 0);
	all_are(at, PAGES, RDWR);
	for (int i = 0; i < PAGES; i++)
		assert_int_equal(at[i * PAGE], 0x55);
	unmap(at);
	close(fd);
}

/*
 * Swapped out, then forked: two have it, and one of them only as an entry that says where it
 * is. Brought in, the page counts one mapping, and still a write goes to another.
 */
static void forked_while_out(void **state)
{
	unsigned char *at = swapped_anon();
	unsigned long frames[PAGES];
	struct idle child;

	idle_start(&child);
	assert_int_equal(ask(at, PAGES, pfns, 0), 0);
	all_are(at, PAGES, 0);
	assert_int_equal(ask(at, PAGES, pfns, READ), 0);
	for (int i = 0; i < PAGES; i += 2)
		assert_false(written_in_place(at + i * PAGE));
	out(at, PAGES);
	/* For a device that uses frames. */
	assert_int_equal(fault_flags(at, PAGES, pfns, READ, 0, HMM_RANGE_PHYSICAL), 0);
	for (int i = 1; i < PAGES; i += 2) {
		frames[i] = pfns[i] & HMM_PFN_NUMBER;
		assert_int_equal(FLAGS_OF(pfns[i]), VALID);
	}
	assert_int_equal(fault_flags(at, PAGES, pfns, WRITE, 0, HMM_RANGE_PHYSICAL), 0);
	for (int i = 0; i < PAGES; i++) {
		assert_int_equal(FLAGS_OF(pfns[i]), RDWR);
		if (i % 2)
			assert_int_not_equal(pfns[i] & HMM_PFN_NUMBER, frames[i]);
		assert_true(written_in_place(at + i * PAGE));
	}
	idle_end(&child);
	unmap(at);
}

/* The whole process was out when it forked, and only we have come back. */
static void witnesses_were_out(void **state)
{
	unsigned char *at = swapped_anon();
	struct idle child;
	unsigned long start, end;
	char line[512], r, w, p;
	FILE *maps = fopen("/proc/self/maps", "r");

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx %c%c-%c", &start, &end, &r, &w, &p) == 5 &&
		    w == '-' && start < 1UL << 47)
			madvise((void *)start, end - start, MADV_PAGEOUT);
	fclose(maps);
	idle_start(&child);
	assert_int_equal(fault_flags(at, PAGES, pfns, READ, 0, HMM_RANGE_PHYSICAL), 0);
	for (int i = 0; i < PAGES; i++)
		assert_int_equal(FLAGS_OF(pfns[i]), VALID);
	assert_false(written_in_place(at));
	idle_end(&child);
	unmap(at);
}

/* After the child has gone the page is one's own. */
static void child_gone(void **state)
{
	unsigned char *at = swapped_anon();
	struct idle child;

	idle_start(&child);
	assert_int_equal(ask(at, PAGES, pfns, READ), 0);
	idle_end(&child);
	assert_int_equal(ask(at, PAGES, pfns, WRITE), 0);
	all_are(at, PAGES, RDWR);
	filled(at, PAGES);
	for (int i = 0; i < PAGES; i++)
		assert_true(written_in_place(at + i * PAGE));
	unmap(at);
}

static void huge_page(void **state)
{
	unsigned char *at = map(3 * HUGE_PAGES, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	unsigned char *h = (unsigned char *)(((unsigned long)at + THP - 1) & -THP);

	set(HUGE, "madvise");
	must(madvise(at, 3 * THP, MADV_HUGEPAGE) == 0);
	fill(h, HUGE_PAGES);
	assert_int_equal(ask(h, HUGE_PAGES, pfns, 0), 0);
	all_are(h, HUGE_PAGES, RDWR);
	assert_int_equal(hmm_pfn_to_map_order(pfns[7]), ORDER(9));
	/* A part of it: the huge page is split. */
	out(h + 8 * PAGE, 8);
	assert_int_equal(ask(h, HUGE_PAGES, pfns, 0), 0);
	all_are(h, 8, RDWR);
	for (int i = 8; i < 16; i++)
		assert_int_equal(pfns[i], 0);
	assert_pfn(h + 16 * PAGE, pfns[16], RDWR);
	out(h, HUGE_PAGES);
	assert_int_equal(ask(h, HUGE_PAGES, pfns, 0), 0);
	all_are(h, HUGE_PAGES, 0);
	assert_int_equal(ask(h, HUGE_PAGES, pfns, WRITE), 0);
	all_are(h, HUGE_PAGES, RDWR);
	filled(h, HUGE_PAGES);
	assert_int_equal(munmap(at, 3 * THP), 0);
	set(HUGE, "never");
}

/* Tagged pages keep their tag while they are out, and lose it by a write all the same. */
static void tags(void **state)
{
	unsigned char *at = map_anon(PAGES);
	struct mm_struct *watched;
	struct probe probe;
	struct hmm_range range = {
		.notifier = &probe.sub,
		.start = (unsigned long)at,
		.end = (unsigned long)at + PAGES * PAGE,
		.hmm_pfns = pfns,
		.default_flags = READ,
		.flags = HMM_RANGE_TAG,
	};
	const struct hmmu_mm_options o = {.size = sizeof(o),
					  .sources = HMMU_SOURCE_USERFAULTFD};
	int ret = hmmu_mm_open(&watched, &o);

	if (ret) {
		assert_int_equal(ret, -EOPNOTSUPP);
		skip();
	}
	fill(at, PAGES);
	probe_add(&probe, watched, range.start, PAGES * PAGE);
	do {
		range.notifier_seq = mmu_interval_read_begin(&probe.sub);
		ret = hmm_range_fault(&range);
	} while (ret == -EBUSY);
	assert_int_equal(ret, 0);
	assert_true(hmm_range_valid(&range));
	out(at, PAGES);
	assert_false(hmm_range_valid(&range)); /* it cannot be known */
	filled(at, PAGES);
	assert_true(hmm_range_valid(&range));
	out(at, PAGES);
	at[5 * PAGE] = 99;
	filled(at, 5);
	for (int i = 6; i < PAGES; i++)
		assert_int_equal(at[i * PAGE], i + 1);
	assert_false(hmm_range_valid(&range));
	assert_int_equal(atomic_load(&probe.calls), 0);
	probe_remove(&probe);
	assert_int_equal(hmmu_mm_close(watched), 0);
	unmap(at);
}

static int need_swap(void **state)
{
	char line[256];
	FILE *f = fopen("/proc/swaps", "r");
	bool any = f && fgets(line, sizeof(line), f) && fgets(line, sizeof(line), f);

	must(any);
	fclose(f);
	print_message("swap: %s", line);
	set("/proc/sys/vm/page-cluster", "0"); /* nobody is brought in who was not asked for */
	return real_setup(state);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(comes_to_be_read),
		cmocka_unit_test(comes_to_be_written),
		cmocka_unit_test(some_come),
		cmocka_unit_test(permissions),
		cmocka_unit_test(shared_memory),
		cmocka_unit_test(private_of_a_file),
		cmocka_unit_test(forked_while_out),
		cmocka_unit_test(witnesses_were_out),
		cmocka_unit_test(child_gone),
		cmocka_unit_test(huge_page),
		cmocka_unit_test(tags),
	};

	if (!machine_is_own())
		return 77;
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, need_swap, real_teardown);
}
