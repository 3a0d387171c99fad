// SPDX-License-Identifier: MIT
/* test_errors.c - each answer but 0, and which of two. */
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "world.h"

static unsigned long pfns[64];

static struct hmm_range good(unsigned char *at)
{
	return (struct hmm_range){
		.notifier = &all,
		.notifier_seq = mmu_interval_read_begin(&all),
		.start = (unsigned long)at,
		.end = (unsigned long)at + PAGE,
		.hmm_pfns = pfns,
	};
}

#define assert_einval(change)                                          \
	do {                                                           \
		struct hmm_range r = good(at);                         \
		change;                                                \
		assert_int_equal(quiet(hmm_range_fault(&r)), -EINVAL); \
	} while (0)

static void arguments(void **state)
{
	struct mmu_interval_notifier no_mm = {0};
	unsigned char *at = map_anon(4);
	struct hmm_range range = good(at);

	assert_int_equal(quiet(hmm_range_fault(&range)), 0);
	assert_int_equal(quiet(hmm_range_fault(NULL)), -EINVAL);
	assert_einval(r.notifier = NULL);
	assert_einval(r.notifier = &no_mm);
	assert_einval(r.hmm_pfns = NULL);
	assert_einval(r.start++);
	assert_einval(r.end--);
	assert_einval(r.end = r.start);
	assert_einval(r.end = r.start - PAGE);
	assert_einval(r.flags = 1U << 31);
	assert_einval(r.reserved[0] = 1);
	assert_einval(r.reserved[2] = 1);
	/* Outside of what is subscribed to. */
	assert_einval(r.start = 0; r.end = PAGE);
	assert_einval(r.end = 1UL << 47);
	assert_einval(r.start = -2 * PAGE; r.end = -PAGE);
	munmap(at, 4 * PAGE);
}

static void part_of_subscription(void **state)
{
	struct probe probe;
	unsigned char *at = map_anon(4);
	struct hmm_range range = good(at);

	probe_add(&probe, mm, (unsigned long)at + PAGE, 2 * PAGE);
	range.notifier = &probe.sub;
	range.notifier_seq = mmu_interval_read_begin(&probe.sub);
	range.start += PAGE;
	range.end = range.start + 2 * PAGE;
	assert_int_equal(hmm_range_fault(&range), 0);
	range.start -= PAGE;
	assert_int_equal(hmm_range_fault(&range), -EINVAL);
	range.start += PAGE;
	range.end += PAGE;
	assert_int_equal(hmm_range_fault(&range), -EINVAL);
	probe_remove(&probe);
	munmap(at, 4 * PAGE);
}

static void nothing_there(void **state)
{
	unsigned char *at = map_anon(4);

	assert_int_equal(fault(at - PAGE, 1, pfns, READ, 0), -EFAULT);
	assert_int_equal(fault(at - PAGE, 1, pfns, WRITE, 0), -EFAULT);
	assert_int_equal(fault(at, 5, pfns, READ, 0), -EFAULT);
	assert_int_equal(fault((void *)((1UL << 47) - 8 * PAGE), 2, pfns, READ, 0), -EFAULT);
	assert_int_equal(mprotect(at + PAGE, PAGE, PROT_NONE), 0);
	assert_int_equal(fault(at, 4, pfns, READ, 0), -EFAULT);
	assert_int_equal(fault(at + PAGE, 1, pfns, WRITE, 0), -EFAULT);
	/* Nobody wants that page. */
	memset(pfns, 0, sizeof(pfns));
	pfns[0] = WRITE;
	assert_int_equal(fault(at, 4, pfns, 0, WRITE), 0);
	assert_pfn(at, pfns[0], RDWR);
	assert_pfn(at + PAGE, pfns[1], HMM_PFN_ERROR);
	munmap(at, 4 * PAGE);
}

static void read_only(void **state)
{
	unsigned char *at = map_anon(4);

	touch(at, 4);
	assert_int_equal(mprotect(at + 2 * PAGE, PAGE, PROT_READ), 0);
	assert_int_equal(fault(at, 4, pfns, READ, 0), 0);
	assert_int_equal(fault(at, 4, pfns, WRITE, 0), -EPERM);
	assert_int_equal(fault(at + 2 * PAGE, 1, pfns, WRITE, 0), -EPERM);
	/* The lower one is told. */
	assert_int_equal(munmap(at + 3 * PAGE, PAGE), 0);
	assert_int_equal(fault(at, 4, pfns, WRITE, 0), -EPERM);
	assert_int_equal(munmap(at, PAGE), 0);
	assert_int_equal(fault(at, 4, pfns, WRITE, 0), -EFAULT);
	munmap(at, 4 * PAGE);
}

/* Of a file that is read-only, and of one that is not there yet. */
static void read_only_file(void **state)
{
	int fd = file_of(2);
	unsigned char *at = map(2, PROT_READ, MAP_SHARED, fd);

	assert_int_equal(fault(at, 2, pfns, WRITE, 0), -EPERM);
	assert_int_equal(fault(at, 2, pfns, READ, 0), 0);
	munmap(at, 2 * PAGE);
	close(fd);
}

static void beyond_the_end(int fd, int flags)
{
	unsigned char *at = map(4, RW, flags, fd);

	assert_int_equal(ftruncate(fd, PAGE), 0);
	assert_int_equal(fault(at, 1, pfns, WRITE, 0), 0);
	assert_snap(at + PAGE, 0);
	assert_int_equal(fault(at, 4, pfns, READ, 0), -EFAULT);
	assert_int_equal(fault(at, 4, pfns, WRITE, 0), -EFAULT);
	assert_int_equal(fault(at + 3 * PAGE, 1, pfns, READ, 0), -EFAULT);
	munmap(at, 4 * PAGE);
	close(fd);
}

static void end_of_file(void **state)
{
	beyond_the_end(file_of(4), MAP_SHARED);
	beyond_the_end(file_of(4), MAP_PRIVATE);
	beyond_the_end(memfd_of(4), MAP_SHARED);
}

/* What was done before the error stays done; errno was looked at by quiet(). */
static void undefined_but_bounded(void **state)
{
	unsigned char *at = map_anon(2);

	pfns[2] = 0x1234;
	assert_int_equal(fault(at, 2, pfns, WRITE, 0), 0);
	assert_int_equal(pfns[2], 0x1234);
	munmap(at, 2 * PAGE);
}

static void no_descriptor(void **state)
{
	struct rlimit limit, none;
	unsigned char *at = map_anon(1);
	int lowest = dup(0), one;

	assert_true(lowest >= 0);
	close(lowest);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = (rlim_t)lowest;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(fault(at, 1, pfns, 0, 0), -EMFILE);
	/* One is not enough, and is given back. */
	none.rlim_cur = (rlim_t)lowest + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(fault(at, 1, pfns, 0, 0), -EMFILE);
	one = dup(0);
	assert_int_equal(one, lowest);
	close(one);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(fault(at, 1, pfns, 0, 0), 0);
	munmap(at, PAGE);
}

static void forked_child(void **state)
{
	unsigned char *at = map_anon(1);
	struct hmm_range range = good(at);
	pid_t pid = fork();
	int status;

	if (!pid) {
		int ret = quiet(hmm_range_fault(&range));

		_exit(ret == -ENODEV ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	munmap(at, PAGE);
}

static void frames_unprivileged(void **state)
{
	unsigned char *at = map_anon(1);
	pid_t pid;
	int status;

	if (geteuid())
		skip();
	touch(at, 1);
	pid = fork();
	if (!pid) {
		int ret;

		if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
			_exit(77);
		/* Who has changed his user may not read his own pagemap until this. */
		if (fault(at, 1, pfns, 0, 0) != -ENODEV || prctl(PR_SET_DUMPABLE, 1))
			_exit(1);
		ret = world_open(HMMU_SOURCE_EXPLICIT);
		if (ret)
			_exit(2);
		if (fault_flags(at, 1, pfns, 0, 0, HMM_RANGE_PHYSICAL) != -EPERM)
			_exit(3);
		if (fault(at, 1, pfns, READ, 0) || !(pfns[0] & VALID))
			_exit(4);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	munmap(at, PAGE);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(arguments),
		cmocka_unit_test(part_of_subscription),
		cmocka_unit_test(nothing_there),
		cmocka_unit_test(read_only),
		cmocka_unit_test(read_only_file),
		cmocka_unit_test(end_of_file),
		cmocka_unit_test(undefined_but_bounded),
		cmocka_unit_test(no_descriptor),
		cmocka_unit_test(forked_child),
		cmocka_unit_test(frames_unprivileged),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
