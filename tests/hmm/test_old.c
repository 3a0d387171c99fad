// SPDX-License-Identifier: MIT
/* test_old.c - kernels that lack something, and calls that are refused. */
#include <sys/sysinfo.h>
#include <sys/syscall.h>

#include "play.h"
#include "world.h"

#include "arch/syscall.h"
#include "source/userfaultfd/abi.h"

#ifndef EHWPOISON
#define EHWPOISON 133
#endif

static unsigned long pfns[128];

static int playing(void **state)
{
	play(0);
	return 0;
}

/* A row of everything; the same answers whatever is missing. */
static void the_same(unsigned int without, bool zeros)
{
	unsigned char *at = map_anon(8);
	unsigned long zero = VALID | (zeros ? HMM_PFN_ZERO : 0);

	touch(at, 4);
	assert_int_equal(look_into(at + 4 * PAGE), 0);
	assert_int_equal(mprotect(at + PAGE, PAGE, PROT_READ), 0);
	assert_int_equal(mprotect(at + 2 * PAGE, PAGE, PROT_NONE), 0);
	assert_int_equal(munmap(at + 6 * PAGE, PAGE), 0);
	play(without);
	snapshot(at - PAGE, 10, pfns);
	assert_int_equal(play_refused > 0, without != 0 && without != NO_FRAMES);
	assert_pfn(at - PAGE, pfns[0], HMM_PFN_ERROR);
	assert_pfn(at, pfns[1], RDWR);
	assert_pfn(at + PAGE, pfns[2], VALID);
	assert_pfn(at + 2 * PAGE, pfns[3], HMM_PFN_ERROR);
	assert_pfn(at + 3 * PAGE, pfns[4], RDWR);
	assert_pfn(at + 4 * PAGE, pfns[5], zero);
	assert_pfn(at + 5 * PAGE, pfns[6], 0);
	assert_pfn(at + 6 * PAGE, pfns[7], HMM_PFN_ERROR);
	assert_pfn(at + 7 * PAGE, pfns[8], 0);
	assert_pfn(at + 8 * PAGE, pfns[9], HMM_PFN_ERROR);
	assert_int_equal(fault(at + 3 * PAGE, 3, pfns, WRITE, 0), 0);
	for (int i = 0; i < 3; i++)
		assert_pfn(at + (i + 3) * PAGE, pfns[i], RDWR);
	assert_int_equal(fault(at, 3, pfns, READ, 0), -EFAULT);
	assert_int_equal(fault(at, 3, pfns, WRITE, 0), -EPERM);
	munmap(at, 8 * PAGE);
}

static void all_there(void **state)
{
	the_same(0, true);
}

static void no_query(void **state)
{
	the_same(NO_QUERY, true);
}

static void no_guard(void **state)
{
	the_same(NO_GUARD, true);
}

static void no_scan(void **state)
{
	the_same(NO_SCAN, geteuid() == 0);
	the_same(NO_SCAN | NO_QUERY, geteuid() == 0);
}

/* Who may not know frames does not know the zero page. */
static void no_scan_unprivileged(void **state)
{
	the_same(NO_SCAN | NO_FRAMES, false);
}

static void no_frames(void **state)
{
	the_same(NO_FRAMES, have_scan());
	assert_int_equal(fault_flags(pfns, 1, pfns + 64, 0, 0, HMM_RANGE_PHYSICAL), -EINVAL);
	assert_int_equal(fault_flags((void *)((unsigned long)pfns & -PAGE), 1, pfns + 64, 0, 0,
				     HMM_RANGE_PHYSICAL),
			 -EPERM);
}

static void no_populate(void **state)
{
	unsigned char *at = map_anon(4);

	touch(at, 2);
	play(NO_POPULATE);
	assert_int_equal(fault(at, 2, pfns, WRITE, 0), 0); /* all is there */
	assert_int_equal(fault(at, 4, pfns, WRITE, 0), -EOPNOTSUPP);
	assert_int_equal(fault(at, 4, pfns, READ, 0), -EOPNOTSUPP);
	assert_int_equal(fault(at, 5, pfns, 0, 0), 0);
	/* What cannot be is told as ever. */
	assert_int_equal(fault(at - PAGE, 1, pfns, READ, 0), -EFAULT);
	assert_int_equal(mprotect(at, PAGE, PROT_READ), 0);
	assert_int_equal(fault(at, 4, pfns, WRITE, 0), -EPERM);
	munmap(at, 4 * PAGE);
}

/* ---- the sizes of hugetlb's pages, as the kernel says them ------------------- */

static uint64_t page_size;
static unsigned int said;

static void sizes(long nr, const long args[6], long ret)
{
	struct hmmu_procmap_query *q = (void *)args[2];

	if (nr == SYS_ioctl && (unsigned long)args[1] == HMMU_PROCMAP_QUERY && !ret) {
		q->vma_page_size = page_size;
		said++;
	}
}

static void orders(void **state)
{
	unsigned char *at = map_anon(4);

	touch(at, 3);
	play(0);
	play_after = sizes;
	for (unsigned int order = 0; order <= 18; order += 9) {
		page_size = PAGE << order;
		snapshot(at, 4, pfns);
		if (!said)
			break; /* before 6.11 */
		assert_pfn(at + 2 * PAGE, pfns[2], RDWR);
		assert_int_equal(hmm_pfn_to_map_order(pfns[2]), order);
		assert_int_equal(pfns[3], 0);
	}
	munmap(at, 4 * PAGE);
	if (!said)
		skip();
}

/* ---- a page that another process has swapped out ------------------------------ */

#define KPF_SWAPCACHE (1ULL << 13)

static long kpageflags, asked;
static bool swap_used, in_cache;

static bool knows_swap(long nr, const long args[6], long *ret)
{
	struct sysinfo *info = (void *)args[0];

	if (nr == SYS_openat && !strcmp((const char *)args[1], "/proc/kpageflags") &&
	    kpageflags < 0) {
		*ret = kpageflags;
		return true;
	}
	if (nr != SYS_sysinfo)
		return false;
	info->totalswap = 2;
	info->freeswap = swap_used ? 1 : 2;
	*ret = 0;
	return true;
}

static void says_flags(long nr, const long args[6], long ret)
{
	if (nr == SYS_openat && !strcmp((const char *)args[1], "/proc/kpageflags"))
		kpageflags = ret;
	if (nr == SYS_pread64 && args[0] == kpageflags && kpageflags > 0) {
		asked++;
		*(uint64_t *)args[1] = in_cache ? KPF_SWAPCACHE : 0;
	}
}

static unsigned int lacking;

/* @openable: may /proc/kpageflags be read? */
static unsigned long frame_flags(unsigned char *at, bool used, bool cache, bool openable,
				 unsigned long want)
{
	play(lacking);
	play_before = knows_swap;
	play_after = says_flags;
	swap_used = used;
	in_cache = cache;
	kpageflags = openable ? 0 : -EPERM;
	asked = 0;
	assert_int_equal(fault_flags(at, 64, pfns, want, 0, HMM_RANGE_PHYSICAL), 0);
	for (int i = 1; i < 64; i++)
		assert_int_equal(FLAGS_OF(pfns[i]), FLAGS_OF(pfns[0]));
	return FLAGS_OF(pfns[0]);
}

static void whose_frames(unsigned char *at)
{
	assert_int_equal(frame_flags(at, true, true, true, 0), VALID);
	assert_int_equal(asked, 64);
	assert_int_equal(frame_flags(at, true, true, true, READ), VALID);
	assert_int_equal(frame_flags(at, true, false, true, READ), RDWR);
	/* Not known: not said. */
	assert_int_equal(frame_flags(at, true, false, false, READ), VALID);
	/* Nobody has anything there: nobody is asked. */
	assert_int_equal(frame_flags(at, false, true, true, READ), RDWR);
	assert_int_equal(asked, 0);
	/* Made one's own by the fault: no more doubt. */
	assert_int_equal(frame_flags(at, true, true, true, WRITE), RDWR);
	assert_int_equal(frame_flags(at, true, true, false, WRITE), RDWR);
}

static void swapped_elsewhere(void **state)
{
	unsigned char *at = map_anon(64);
	int before = dup(0), after;

	close(before);
	if (geteuid()) {
		munmap(at, 64 * PAGE);
		skip(); /* frames */
	}
	touch(at, 64);
	lacking = 0;
	whose_frames(at);
	lacking = NO_SCAN;
	whose_frames(at);
	after = dup(0);
	assert_int_equal(before, after);
	close(after);
	munmap(at, 64 * PAGE);
}

/* ---- refusals ---------------------------------------------------------------- */

static struct {
	long nr, request, answer;
	unsigned int times; /* that many are refused; ~0: all */
} refuse;

static bool refuses(long nr, const long args[6], long *ret)
{
	if (nr != refuse.nr || (nr == SYS_ioctl && args[1] != refuse.request) || !refuse.times)
		return false;
	if (nr == SYS_madvise && !args[1])
		return false; /* is it known? */
	if (refuse.times != ~0U)
		refuse.times--;
	*ret = refuse.answer;
	return true;
}

static int refused(unsigned char *at, long nr, long request, long answer, unsigned int times,
		   unsigned long want)
{
	refuse.nr = nr;
	refuse.request = request;
	refuse.answer = answer;
	refuse.times = times;
	play(0);
	play_before = refuses;
	return fault(at, 4, pfns, want, 0);
}

static void populate_refused(void **state)
{
	static const struct {
		int answer, once, ever;
	} rows[] = {
		{-ENOMEM, 0, -ENOMEM}, {-EHWPOISON, 0, -EFAULT}, {-EFAULT, 0, -EFAULT},
		{-EINTR, 0, -ENOMEM},  {-EAGAIN, 0, -ENOMEM},	 {-EINVAL, 0, -EFAULT},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned char *at = map_anon(4);

		assert_int_equal(refused(at, SYS_madvise, 0, rows[i].answer, ~0U, WRITE),
				 rows[i].ever);
		assert_int_equal(refused(at, SYS_madvise, 0, rows[i].answer, ~0U, READ),
				 rows[i].ever);
		assert_int_equal(refused(at, SYS_madvise, 0, rows[i].answer, 1, WRITE),
				 rows[i].once);
		assert_pfn(at + 3 * PAGE, pfns[3], RDWR);
		munmap(at, 4 * PAGE);
	}
}

static void proc_refused(void **state)
{
	unsigned char *at = map_anon(4);
	const long scan = (long)HMMU_PAGEMAP_SCAN, query = (long)HMMU_PROCMAP_QUERY;

	touch(at, 4);
	assert_int_equal(refused(at, SYS_openat, 0, -EACCES, ~0U, 0), -EOPNOTSUPP);
	assert_int_equal(refused(at, SYS_openat, 0, -ENOENT, ~0U, 0), -EOPNOTSUPP);
	assert_int_equal(refused(at, SYS_openat, 0, -EMFILE, 1, 0), -EMFILE);
	assert_int_equal(refused(at, SYS_openat, 0, -ENFILE, 1, 0), -EMFILE);
	assert_int_equal(refused(at, SYS_openat, 0, -ENOMEM, 1, 0), -ENOMEM);
	assert_int_equal(refused(at, SYS_ioctl, scan, -ENOMEM, ~0U, 0), -ENOMEM);
	assert_int_equal(refused(at, SYS_ioctl, scan, -EINTR, 3, 0), 0);
	/* Others do what it did not. */
	assert_int_equal(refused(at, SYS_ioctl, scan, -EPERM, ~0U, 0), 0);
	assert_pfn(at + 3 * PAGE, pfns[3], RDWR);
	assert_int_equal(refused(at, SYS_ioctl, query, -ESRCH, ~0U, 0), 0);
	assert_pfn(at + 3 * PAGE, pfns[3], RDWR);
	assert_int_equal(refused(at, SYS_pread64, 0, -EIO, ~0U, 0), -EOPNOTSUPP);
	assert_int_equal(refused(at, SYS_pread64, 0, 0, ~0U, 0), -EOPNOTSUPP);
	assert_int_equal(refused(at, SYS_pread64, 0, -ENOMEM, ~0U, 0), -ENOMEM);
	assert_int_equal(refused(at, SYS_pread64, 0, -EINTR, 3, 0), 0);
	munmap(at, 4 * PAGE);
}

static void list_refused(void **state)
{
	unsigned char *at = map_anon(4);

	refuse.nr = SYS_read;
	refuse.answer = -EIO;
	refuse.times = ~0U;
	play(NO_QUERY);
	play_before = refuses;
	assert_int_equal(fault(at, 4, pfns, 0, 0), -EOPNOTSUPP);
	munmap(at, 4 * PAGE);
}

/* Pages that go as fast as they come. */
static void take_away(long nr, const long args[6], long ret)
{
	if (nr == SYS_madvise && args[1] && (args[2] == 22 || args[2] == 23))
		hmmu_syscall6(SYS_madvise, args[0], args[1], MADV_DONTNEED, 0, 0, 0);
}

static void no_memory_for_long(void **state)
{
	unsigned char *at = map_anon(4);

	play(0);
	play_after = take_away;
	assert_int_equal(fault(at, 4, pfns, WRITE, 0), -ENOMEM);
	assert_true(played < 1000);
	play(0);
	assert_int_equal(fault(at, 4, pfns, WRITE, 0), 0);
	munmap(at, 4 * PAGE);
}

/* No descriptor stays, whatever failed. */
static void descriptors_given_back(void **state)
{
	unsigned char *at = map_anon(4);
	int before = dup(0), after;

	assert_true(before >= 0);
	close(before);
	touch(at, 2);
	for (unsigned int n = 0; n < 30; n++) {
		refused(at, SYS_openat, 0, -EMFILE, n, WRITE);
		refused(at, SYS_ioctl, (long)HMMU_PAGEMAP_SCAN, -ENOMEM, n, WRITE);
		refused(at, SYS_pread64, 0, -EIO, n, WRITE);
		refused(at, SYS_madvise, 0, -ENOMEM, n, WRITE);
		play(NO_SCAN | NO_QUERY);
		fault(at, 5, pfns, n % 2 ? READ : WRITE, 0);
	}
	after = dup(0);
	assert_int_equal(before, after);
	close(after);
	munmap(at, 4 * PAGE);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(all_there, playing),
		cmocka_unit_test_setup(no_query, playing),
		cmocka_unit_test_setup(no_guard, playing),
		cmocka_unit_test_setup(no_scan, playing),
		cmocka_unit_test_setup(no_scan_unprivileged, playing),
		cmocka_unit_test_setup(no_frames, playing),
		cmocka_unit_test_setup(no_populate, playing),
		cmocka_unit_test_setup(orders, playing),
		cmocka_unit_test_setup(swapped_elsewhere, playing),
		cmocka_unit_test_setup(populate_refused, playing),
		cmocka_unit_test_setup(proc_refused, playing),
		cmocka_unit_test_setup(list_refused, playing),
		cmocka_unit_test_setup(no_memory_for_long, playing),
		cmocka_unit_test_setup(descriptors_given_back, playing),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
