// SPDX-License-Identifier: MIT
/*
 * test_sources.c - under sources that see the process's system calls: to fault in is no
 * change, and what is one is told. In a child: a filter stays, and libc stays patched.
 */
#include <sys/wait.h>

#include "world.h"

#define PAGES 64

static unsigned long pfns[PAGES];

static int fault_in(struct probe *probe, unsigned char *at, unsigned long want)
{
	struct hmm_range range = {
		.notifier = &probe->sub,
		.start = (unsigned long)at,
		.end = (unsigned long)at + PAGES * PAGE,
		.hmm_pfns = pfns,
		.default_flags = want,
	};
	int ret;

	do {
		range.notifier_seq = mmu_interval_read_begin(&probe->sub);
		ret = quiet(hmm_range_fault(&range));
	} while (ret == -EBUSY);
	return ret;
}

static int child(unsigned int source)
{
	const struct hmmu_mm_options o = {.size = sizeof(o), .sources = source};
	unsigned char *at = map_anon(PAGES);
	struct mm_struct *own;
	struct probe probe;
	int ret = hmmu_mm_open(&own, &o);

	api_guard(20);
	if (ret == -EOPNOTSUPP)
		return 77;
	must(ret == 0);
	probe_add(&probe, own, (unsigned long)at, PAGES * PAGE);
	must(fault_in(&probe, at, READ) == 0);
	must(FLAGS_OF(pfns[0]) == (VALID | HMM_PFN_ZERO));
	must(fault_in(&probe, at, WRITE) == 0);
	must(FLAGS_OF(pfns[PAGES - 1]) == RDWR);
	must(atomic_load(&probe.calls) == 0);
	must(madvise(at, PAGE, MADV_DONTNEED) == 0);
	must(fault_in(&probe, at, 0) == 0);
	must(atomic_load(&probe.calls) > 0);
	must(pfns[0] == 0 && FLAGS_OF(pfns[1]) == RDWR);
	probe_remove(&probe);
	must(hmmu_mm_close(own) == 0);
	return 0;
}

static void under(unsigned int source)
{
	pid_t pid = fork();
	int status;

	must(pid >= 0);
	if (!pid)
		_exit(child(source));
	must(waitpid(pid, &status, 0) == pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(status, 0);
}

static void under_hooks(void **state)
{
	under(HMMU_SOURCE_HOOKS);
}

static void under_userfaultfd(void **state)
{
	under(HMMU_SOURCE_USERFAULTFD);
}

static void under_both(void **state)
{
	under(HMMU_SOURCE_BEST);
}

static void under_seccomp(void **state)
{
	under(HMMU_SOURCE_SECCOMP);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(under_hooks),
		cmocka_unit_test(under_userfaultfd),
		cmocka_unit_test(under_both),
		cmocka_unit_test(under_seccomp),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
