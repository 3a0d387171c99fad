// SPDX-License-Identifier: MIT
/* test_rules.c - what the header says, call by call. */
#include "bed.h"

#include <sys/wait.h>

static struct bed bed;
static const struct timespec now = {0, 0};

static int lookup(unsigned long addr, bool write, unsigned long *pfn)
{
	int ret;

	hmmu_mirror_lock(bed.mirror);
	ret = quiet(hmmu_mirror_lookup(bed.mirror, addr, write, pfn));
	hmmu_mirror_unlock(bed.mirror);
	return ret;
}

static int map_at(unsigned long start, unsigned long n, unsigned int flags, unsigned long *done)
{
	return quiet(hmmu_mirror_map(bed.mirror, start, n, flags, done, NULL));
}

static void test_map_and_look_up(void **state)
{
	unsigned long pfn = 0, done = 99;

	assert_true(bed_open(&bed, HMMU_SOURCE_EXPLICIT));
	assert_int_equal(lookup(bed.start, false, &pfn), -EAGAIN); /* nothing was begun */
	assert_int_equal(map_at(bed_addr(&bed, 2), 3, 0, &done), 0);
	assert_int_equal(done, 3);
	assert_int_equal(lookup(bed.start, false, &pfn), -ENOENT);
	assert_int_equal(lookup(bed_addr(&bed, 3) + 123, false, &pfn), 0);
	assert_true((pfn & HMM_PFN_VALID) && !(pfn & HMM_PFN_ERROR));
	assert_int_equal((unsigned long)hmm_pfn_to_addr(pfn), bed_addr(&bed, 3));
	assert_int_equal(lookup(bed_addr(&bed, 4) + PAGE - 1, false, NULL), 0);
	assert_int_equal(lookup(bed_addr(&bed, 5), false, NULL), -ENOENT);
	assert_int_equal(bed_stats(&bed).entries, 3);
	assert_int_equal(bed_stats(&bed).faults, 3);
	assert_int_equal(bed.installs, 1);
	/* Again: it is there. */
	assert_int_equal(map_at(bed_addr(&bed, 2), 3, 0, &done), 0);
	assert_int_equal(bed_stats(&bed).faults, 3);
	assert_int_equal(map_at(bed_addr(&bed, 3), 1, HMMU_MIRROR_WRITE, NULL), 0);
	assert_int_equal(lookup(bed_addr(&bed, 3), true, &pfn), 0);
	assert_true(pfn & HMM_PFN_WRITE);
	assert_int_equal(bed_stats(&bed).entries, 3);
	bed_close(&bed);
}

/* An entry that is put over another one is one. */
static void test_more_rights(void **state)
{
	assert_true(bed_open(&bed, HMMU_SOURCE_EXPLICIT));
	assert_int_equal(mprotect(bed.mem, PAGE, PROT_READ), 0);
	assert_int_equal(bed_map(&bed, 0, 1, 0), 0);
	assert_int_equal(lookup(bed.start, true, NULL), -EPERM);
	assert_int_equal(mprotect(bed.mem, PAGE, PROT_READ | PROT_WRITE), 0);
	assert_int_equal(bed_map(&bed, 0, 1, HMMU_MIRROR_WRITE), 0);
	assert_int_equal(lookup(bed.start, true, NULL), 0);
	assert_int_equal(bed_stats(&bed).entries, 1);
	assert_int_equal(bed_stats(&bed).faults, 2);
	bed_change(&bed, 0, 1, 2);
	assert_int_equal(bed_stats(&bed).entries, 0);
	bed_close(&bed);
}

static void test_part_is_dropped(void **state)
{
	assert_true(bed_open(&bed, HMMU_SOURCE_EXPLICIT));
	assert_int_equal(bed_map(&bed, 0, BED_PAGES, 0), 0);
	bed_change(&bed, 10, 5, 2);
	assert_int_equal(bed.invalidations, 1);
	assert_int_equal(bed.last_start, bed_addr(&bed, 10));
	assert_int_equal(bed.last_end, bed_addr(&bed, 15));
	assert_int_equal(bed.last_event, MMU_NOTIFY_UNMAP);
	assert_int_equal(bed_stats(&bed).entries, BED_PAGES - 5);
	assert_int_equal(bed_stats(&bed).dropped, 5);
	assert_int_equal(bed_look(&bed, 9), -EAGAIN);
	/* Nothing is read again for the rest. */
	assert_int_equal(bed_map(&bed, 9, 1, 0), 0);
	assert_int_equal(bed_stats(&bed).faults, BED_PAGES);
	for (unsigned long i = 0; i < BED_PAGES; i++)
		assert_int_equal(bed_look(&bed, i), i >= 10 && i < 15 ? -ENOENT : 1);
	assert_int_equal(bed_access(&bed, 12), 2);
	/* A change that reaches over both ends is clipped. */
	invalidate(bed.mm, bed.start - 7 * PAGE, bed_addr(&bed, 3));
	assert_int_equal(bed.last_start, bed.start);
	assert_int_equal(bed.last_end, bed_addr(&bed, 3));
	invalidate(bed.mm, bed_addr(&bed, 60), bed_addr(&bed, BED_PAGES) + 5 * PAGE);
	assert_int_equal(bed.last_end, bed_addr(&bed, BED_PAGES));
	/* Bytes are rounded to pages. */
	invalidate(bed.mm, bed_addr(&bed, 20) + 5, bed_addr(&bed, 20) + 6);
	assert_int_equal(bed.last_start, bed_addr(&bed, 20));
	assert_int_equal(bed.last_end, bed_addr(&bed, 21));
	bed_close(&bed);
}

static void test_what_cannot_be_mapped(void **state)
{
	unsigned long done;

	assert_true(bed_open(&bed, HMMU_SOURCE_EXPLICIT));
	assert_int_equal(munmap(bed.mem + 5 * PAGE, PAGE), 0);
	assert_int_equal(mprotect(bed.mem + 20 * PAGE, PAGE, PROT_NONE), 0);
	assert_int_equal(mprotect(bed.mem + 40 * PAGE, PAGE, PROT_READ), 0);
	assert_int_equal(map_at(bed.start, BED_PAGES, 0, &done), -EFAULT);
	assert_int_equal(done, 5);
	assert_int_equal(bed_stats(&bed).entries, 5);
	assert_int_equal(map_at(bed_addr(&bed, 6), 20, 0, &done), -EFAULT);
	assert_int_equal(done, 14);
	assert_int_equal(map_at(bed_addr(&bed, 21), 30, HMMU_MIRROR_WRITE, &done), -EPERM);
	assert_int_equal(done, 19);
	assert_int_equal(lookup(bed_addr(&bed, 39), true, NULL), 0);
	assert_int_equal(lookup(bed_addr(&bed, 40), false, NULL), -ENOENT);
	assert_int_equal(bed_map(&bed, 40, 1, 0), 0);
	assert_int_equal(lookup(bed_addr(&bed, 40), true, NULL), -EPERM);
	assert_int_equal(lookup(bed_addr(&bed, 40), false, NULL), 0);
	assert_int_equal(map_at(bed_addr(&bed, 5), 1, 0, &done), -EFAULT);
	assert_int_equal(done, 0);
	bed_close(&bed);
}

/* Nobody was told: the copying finds out, and the answer is what it would have been. */
static void test_gone_without_a_word(void **state)
{
	char buf[16] = "";

	assert_true(bed_open(&bed, HMMU_SOURCE_EXPLICIT));
	assert_int_equal(bed_map(&bed, 0, 4, HMMU_MIRROR_WRITE), 0);
	assert_int_equal(mprotect(bed.mem, PAGE, PROT_READ), 0);
	assert_int_equal(hmmu_mirror_write(bed.mirror, bed.start, buf, 8, NULL), -EPERM);
	assert_int_equal(hmmu_mirror_read(bed.mirror, bed.start, buf, 8, NULL), 8);
	assert_int_equal(munmap(bed.mem + PAGE, PAGE), 0);
	assert_int_equal(hmmu_mirror_read(bed.mirror, bed_addr(&bed, 1), buf, 8, NULL),
			 -EFAULT);
	assert_int_equal(lookup(bed_addr(&bed, 1), false, NULL), -ENOENT);
	/* Up to it. */
	assert_int_equal(hmmu_mirror_read(bed.mirror, bed_addr(&bed, 1) - 5, buf, 16, NULL), 5);
	assert_int_equal(hmmu_mirror_read(bed.mirror, bed_addr(&bed, 1) - 5, buf, 16, NULL), 5);
	/* One of two that were mapped. */
	assert_int_equal(munmap(bed.mem + 3 * PAGE, PAGE), 0);
	assert_int_equal(hmmu_mirror_read(bed.mirror, bed_addr(&bed, 3) - 5, buf, 16, NULL), 5);
	bed_close(&bed);
}

static void test_bad_arguments(void **state)
{
	struct hmmu_mirror *m = bed.mirror;
	unsigned long pfn, done = 1;
	char byte;

	assert_true(bed_open(&bed, HMMU_SOURCE_EXPLICIT));
	m = bed.mirror;
	assert_int_equal(map_at(bed.start + 1, 1, 0, NULL), -EINVAL);
	assert_int_equal(map_at(bed.start, 0, 0, &done), -EINVAL);
	assert_int_equal(done, 0);
	assert_int_equal(map_at(bed.start, BED_PAGES + 1, 0, NULL), -EINVAL);
	assert_int_equal(map_at(bed.start - PAGE, 1, 0, NULL), -EINVAL);
	assert_int_equal(map_at(bed_addr(&bed, BED_PAGES), 1, 0, NULL), -EINVAL);
	assert_int_equal(map_at(bed.start, ~0UL, 0, NULL), -EINVAL);
	assert_int_equal(map_at(bed.start, 1UL << 52, 0, NULL), -EINVAL);
	assert_int_equal(map_at(bed.start, 1, 2, NULL), -EINVAL);
	assert_int_equal(hmmu_mirror_map(NULL, bed.start, 1, 0, NULL, NULL), -EINVAL);
	assert_int_equal(lookup(bed.start - 1, false, &pfn), -EINVAL);
	assert_int_equal(lookup(bed_addr(&bed, BED_PAGES), false, &pfn), -EINVAL);
	assert_int_equal(hmmu_mirror_lookup(NULL, bed.start, false, &pfn), -EINVAL);
	assert_int_equal(hmmu_mirror_read(m, bed.start - 1, &byte, 1, NULL), -EINVAL);
	assert_int_equal(hmmu_mirror_read(m, bed_addr(&bed, BED_PAGES) - 1, &byte, 2, NULL),
			 -EINVAL);
	assert_int_equal(hmmu_mirror_read(m, bed.start, &byte, ~0UL, NULL), -EINVAL);
	assert_int_equal(hmmu_mirror_read(m, bed.start, NULL, 1, NULL), -EINVAL);
	assert_int_equal(hmmu_mirror_read(NULL, bed.start, &byte, 1, NULL), -EINVAL);
	assert_int_equal(hmmu_mirror_read(m, bed.start, NULL, 0, NULL), 0);
	assert_int_equal(hmmu_mirror_write(NULL, bed.start, &byte, 1, NULL), -EINVAL);
	assert_int_equal(hmmu_mirror_dirty(m, bed.start, PAGE, NULL, NULL, NULL), -EINVAL);
	assert_int_equal(hmmu_mirror_mark(m, bed.start, PAGE), -EINVAL);
	hmmu_mirror_drop(m, 0, bed.start);
	hmmu_mirror_drop(m, bed.start, bed.start);
	assert_int_equal(bed.invalidations, 0);
	hmmu_mirror_close(NULL);
	bed_close(&bed);
}

static int open_with(unsigned long start, unsigned long length, unsigned int flags)
{
	const struct hmmu_mirror_options o = {
		.size = sizeof(o), .start = start, .length = length, .flags = flags};
	struct hmmu_mirror *m = NULL;
	int ret = quiet(hmmu_mirror_open(&m, bed.mm, NULL, NULL, &o));

	if (!ret)
		hmmu_mirror_close(m);
	return ret;
}

static void lock_nothing(void *context)
{
	(void)context;
}

static void test_open_refuses(void **state)
{
	struct hmmu_mirror_options o = {.size = sizeof(o)};
	const struct hmmu_mirror_ops half = {.lock = lock_nothing};
	struct hmmu_mirror *m;

	assert_true(bed_open(&bed, HMMU_SOURCE_EXPLICIT));
	assert_int_equal(open_with(bed.start, PAGE, 0), 0);
	assert_int_equal(open_with(bed.start, 0, 0), -EINVAL);
	assert_int_equal(open_with(bed.start + 8, PAGE, 0), -EINVAL);
	assert_int_equal(open_with(bed.start, PAGE + 8, 0), -EINVAL);
	assert_int_equal(open_with(1UL << 48, PAGE, 0), -EINVAL);
	assert_int_equal(open_with(bed.start, 1UL << 48, 0), -EINVAL);
	assert_int_equal(open_with(bed.start, PAGE, 4), -EINVAL);
	assert_int_equal(open_with(bed.start, PAGE, HMMU_MIRROR_DIRTY), -EOPNOTSUPP);
	o.size--;
	assert_int_equal(hmmu_mirror_open(&m, bed.mm, NULL, NULL, &o), -EINVAL);
	o.size++;
	o.reserved[3] = 1;
	assert_int_equal(hmmu_mirror_open(&m, bed.mm, NULL, NULL, &o), -EINVAL);
	assert_int_equal(hmmu_mirror_open(&m, bed.mm, &half, NULL, NULL), -EINVAL);
	assert_int_equal(hmmu_mirror_open(NULL, bed.mm, NULL, NULL, NULL), -EINVAL);
	assert_int_equal(hmmu_mirror_open(&m, NULL, NULL, NULL, NULL), -EINVAL);
	/* Somebody is subscribed. */
	assert_int_equal(hmmu_mm_close(bed.mm), -EBUSY);
	bed_close(&bed);
}

static void test_deadline(void **state)
{
	struct mmu_notifier_range range;
	struct timespec soon;
	char byte;

	assert_true(bed_open(&bed, HMMU_SOURCE_EXPLICIT));
	range_open(&range, bed.mm, bed_addr(&bed, 3), bed_addr(&bed, 4));
	assert_int_equal(quiet(hmmu_mirror_map(bed.mirror, bed.start, 1, 0, NULL, &now)),
			 -ETIMEDOUT);
	assert_int_equal(quiet(hmmu_mirror_read(bed.mirror, bed.start, &byte, 1, &now)),
			 -ETIMEDOUT);
	clock_gettime(CLOCK_MONOTONIC, &soon);
	soon.tv_nsec += 20000000;
	if (soon.tv_nsec >= 1000000000) {
		soon.tv_nsec -= 1000000000;
		soon.tv_sec++;
	}
	assert_int_equal(quiet(hmmu_mirror_map(bed.mirror, bed.start, 1, 0, NULL, &soon)),
			 -ETIMEDOUT);
	range_close(&range);
	assert_int_equal(hmmu_mirror_map(bed.mirror, bed.start, 1, 0, NULL, &now), 0);
	assert_int_equal(hmmu_mirror_read(bed.mirror, bed.start, &byte, 1, &now), 1);
	bed_close(&bed);
}

struct attempt {
	struct mmu_notifier_range *range;
	int ret;
};

static void start_nonblock(void *arg)
{
	struct attempt *attempt = arg;

	attempt->ret = mmu_notifier_invalidate_range_start_nonblock(attempt->range);
}

/* From another thread: a driver does not change memory under its lock. */
static int attempt(struct mmu_notifier_range *range)
{
	struct attempt a = {.range = range};
	struct runner run;

	runner_start(&run, start_nonblock, &a);
	runner_join(&run);
	return a.ret;
}

static void test_nonblock(void **state)
{
	struct mmu_notifier_range range;

	assert_true(bed_open(&bed, HMMU_SOURCE_EXPLICIT));
	assert_int_equal(bed_map(&bed, 3, 1, 0), 0);
	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, bed.mm, bed_addr(&bed, 3),
				bed_addr(&bed, 4));
	hmmu_mirror_lock(bed.mirror);
	assert_int_equal(attempt(&range), -EAGAIN);
	assert_int_equal(bed.shadow[3], 1);
	hmmu_mirror_unlock(bed.mirror);
	assert_int_equal(bed_stats(&bed).refused, 1);
	assert_int_equal(mmu_notifier_invalidate_range_start_nonblock(&range), 0);
	mmu_notifier_invalidate_range_end(&range);
	assert_int_equal(bed.shadow[3], 0);
	bed_close(&bed);
}

static pthread_mutex_t own_lock = PTHREAD_MUTEX_INITIALIZER;
static int own_locks;

static void own_take(void *context)
{
	(void)context;
	pthread_mutex_lock(&own_lock);
	own_locks++;
}

static void own_release(void *context)
{
	(void)context;
	pthread_mutex_unlock(&own_lock);
}

static bool own_try(void *context)
{
	(void)context;
	return !pthread_mutex_trylock(&own_lock);
}

static void test_own_lock(void **state)
{
	struct hmmu_mirror_ops ops = bed_ops;
	struct mmu_notifier_range range;

	ops.lock = own_take;
	ops.unlock = own_release;
	assert_true(bed_open(&bed, HMMU_SOURCE_EXPLICIT));
	for (int try = 0; try < 2; try++) {
		hmmu_mirror_close(bed.mirror);
		ops.trylock = try ? own_try : NULL;
		bed_mirror(&bed, &ops, 0);
		own_locks = 0;
		assert_int_equal(bed_map(&bed, 3, 1, 0), 0);
		assert_true(own_locks > 0);
		hmmu_mirror_lock(bed.mirror);
		assert_int_equal(pthread_mutex_trylock(&own_lock), EBUSY);
		hmmu_mirror_unlock(bed.mirror);
		mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, bed.mm, bed_addr(&bed, 3),
					bed_addr(&bed, 4));
		assert_int_equal(mmu_notifier_invalidate_range_start_nonblock(&range),
				 try ? 0 : -EAGAIN);
		if (try)
			mmu_notifier_invalidate_range_end(&range);
		assert_int_equal(bed.shadow[3], try ? 0 : 1);
		bed_change(&bed, 3, 1, 2);
		assert_int_equal(bed_access(&bed, 3), 2);
	}
	bed_close(&bed);
}

/* Close with entries: the device is told, and nothing is held. */
static void test_close_drops(void **state)
{
	assert_true(bed_open(&bed, HMMU_SOURCE_EXPLICIT));
	assert_int_equal(bed_map(&bed, 0, BED_PAGES, 0), 0);
	hmmu_mirror_close(bed.mirror);
	assert_int_equal(bed.last_event, MMU_NOTIFY_RELEASE);
	assert_int_equal(bed.last_start, bed.start);
	assert_int_equal(bed.last_end, bed_addr(&bed, BED_PAGES));
	for (unsigned long i = 0; i < BED_PAGES; i++)
		assert_int_equal(bed.shadow[i], 0);
	bed.mirror = NULL;
	bed_close(&bed);
}

static void test_two_mirrors(void **state)
{
	struct hmmu_mirror_options o = {.size = sizeof(o)};
	struct hmmu_mirror_stats stats;
	struct hmmu_mirror *other, *whole;
	struct timespec second;
	long value;

	clock_gettime(CLOCK_MONOTONIC, &second);
	second.tv_sec++;
	assert_true(bed_open(&bed, HMMU_SOURCE_EXPLICIT));
	o.start = bed_addr(&bed, 8);
	o.length = 8 * PAGE;
	assert_int_equal(hmmu_mirror_open(&other, bed.mm, NULL, NULL, &o), 0);
	assert_int_equal(quiet(hmmu_mirror_open(&whole, bed.mm, NULL, NULL, NULL)), 0);
	assert_int_equal(bed_map(&bed, 0, 20, 0), 0);
	assert_int_equal(hmmu_mirror_map(other, bed_addr(&bed, 8), 8, 0, NULL, NULL), 0);
	assert_int_equal(hmmu_mirror_map(whole, bed_addr(&bed, 10), 40, 0, NULL, NULL), 0);
	/* Far apart: another leaf. */
	assert_int_equal(
		hmmu_mirror_map(whole, (unsigned long)&value & -PAGE, 1, 0, NULL, NULL), 0);
	bed_change(&bed, 12, 2, 3);
	assert_int_equal(bed_stats(&bed).entries, 18);
	hmmu_mirror_stat(other, &stats);
	assert_int_equal(stats.entries, 6);
	hmmu_mirror_stat(whole, &stats);
	assert_int_equal(stats.entries, 39);
	/* Outside the other's. */
	bed_change(&bed, 17, 1, 3);
	hmmu_mirror_stat(other, &stats);
	assert_int_equal(stats.invalidations, 1);
	assert_int_equal(stats.entries, 6);
	assert_int_equal(hmmu_mirror_read(whole, bed_addr(&bed, 12), &value, 8, NULL), 8);
	assert_int_equal(value, 3);
	assert_int_equal(hmmu_mirror_map(whole, 0, 1, 0, NULL, &second), -EFAULT);
	invalidate(bed.mm, 0, -PAGE);
	hmmu_mirror_stat(whole, &stats);
	assert_int_equal(stats.entries, 0);
	hmmu_mirror_close(other);
	hmmu_mirror_close(whole);
	bed_close(&bed);
}

static void in_child(void)
{
	struct hmmu_mirror_stats stats;
	unsigned long pfn;
	char byte;

	must(bed_map(&bed, 3, 1, 0) == -ENODEV);
	hmmu_mirror_lock(bed.mirror);
	must(hmmu_mirror_lookup(bed.mirror, bed.start, false, &pfn) == -ENODEV);
	hmmu_mirror_unlock(bed.mirror);
	must(hmmu_mirror_read(bed.mirror, bed.start, &byte, 1, NULL) == -ENODEV);
	must(hmmu_mirror_write(bed.mirror, bed.start, &byte, 1, NULL) == -ENODEV);
	hmmu_mirror_drop(bed.mirror, bed.start, bed.start + PAGE);
	hmmu_mirror_stat(bed.mirror, &stats);
	must(!stats.entries && !stats.faults);
	must(bed.invalidations == 0);
	hmmu_mirror_close(bed.mirror);
	must(bed.invalidations == 0);
	must(hmmu_mm_close(bed.mm) == 0);
	/* One of its own. */
	must(bed_open(&bed, HMMU_SOURCE_EXPLICIT));
	must(bed_access(&bed, 3) == 1);
	bed_close(&bed);
	_exit(0);
}

/* With the lock held at the fork: the child does not wait for it. */
static void test_fork(void **state)
{
	int status = 0;
	pid_t pid;

	assert_true(bed_open(&bed, HMMU_SOURCE_EXPLICIT));
	assert_int_equal(bed_map(&bed, 0, 8, 0), 0);
	hmmu_mirror_lock(bed.mirror);
	pid = fork();
	if (!pid)
		in_child();
	hmmu_mirror_unlock(bed.mirror);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(bed_stats(&bed).entries, 8);
	assert_int_equal(bed_access(&bed, 3), 1);
	bed_close(&bed);
}

/* More than a piece, over two leaves. */
static void test_large(void **state)
{
	unsigned long n = 3000, start = 0;
	unsigned long gib = 1UL << 30, done;
	struct hmmu_mirror_options o = {.size = sizeof(o), .length = 2 * gib};
	unsigned char *mem;

	assert_true(bed_open_mm(&bed, HMMU_SOURCE_EXPLICIT));
	mem = mmap(NULL, 2 * gib, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_true(mem != MAP_FAILED);
	bed.start = o.start = (unsigned long)mem;
	assert_int_equal(hmmu_mirror_open(&bed.mirror, bed.mm, NULL, NULL, &o), 0);
	start = o.start + gib - 1500 * PAGE;
	assert_int_equal(map_at(start, n, HMMU_MIRROR_WRITE, &done), 0);
	assert_int_equal(done, n);
	assert_int_equal(bed_stats(&bed).entries, n);
	assert_int_equal(lookup(start + (n - 1) * PAGE, true, NULL), 0);
	assert_int_equal(lookup(start + n * PAGE, true, NULL), -ENOENT);
	invalidate(bed.mm, start + PAGE, start + (n - 1) * PAGE);
	assert_int_equal(bed_stats(&bed).entries, 2);
	munmap(mem, 2 * gib);
	invalidate(bed.mm, o.start, o.start + 2 * gib);
	assert_int_equal(bed_stats(&bed).entries, 0);
	bed_close(&bed);
}

/* An argument: a pattern of the tests to be run. */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_map_and_look_up),
		cmocka_unit_test(test_more_rights),
		cmocka_unit_test(test_part_is_dropped),
		cmocka_unit_test(test_what_cannot_be_mapped),
		cmocka_unit_test(test_gone_without_a_word),
		cmocka_unit_test(test_bad_arguments),
		cmocka_unit_test(test_open_refuses),
		cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_nonblock),
		cmocka_unit_test(test_own_lock),
		cmocka_unit_test(test_close_drops),
		cmocka_unit_test(test_two_mirrors),
		cmocka_unit_test(test_fork),
		cmocka_unit_test(test_large),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	api_guard(60);
	return cmocka_run_group_tests_name("mirror rules", tests, NULL, NULL);
}
