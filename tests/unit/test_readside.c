// SPDX-License-Identifier: MIT
/*
 * The read side writes no shared line. Shown by the hardware: the address space and the
 * subscription are made read-only, and reading goes on. The same page protection kills a
 * reader that must wait (it writes), so the test can fail: shown in a child.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "notifier/notifier.h"

static bool hear(struct mmu_interval_notifier *sub, const struct mmu_notifier_range *range,
		 unsigned long cur_seq)
{
	mmu_interval_set_seq(sub, cur_seq);
	return true;
}

static const struct mmu_interval_notifier_ops ops = {.invalidate = hear};

static size_t whole_pages(size_t size)
{
	return (size + 4095) & ~4095UL;
}

static void protect(struct mm_struct *mm, void *sub, int prot)
{
	assert_int_equal(mprotect(mm, whole_pages(sizeof(*mm)), prot), 0);
	assert_int_equal(mprotect(sub, 4096, prot), 0);
}

static void *page(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(p != MAP_FAILED);
	return p;
}

static struct mm_struct *open_mm(void)
{
	struct hmmu_mm_options o = {.size = sizeof(o), .flags = HMMU_MM_OWN_RECLAIM};
	struct mm_struct *mm;

	assert_int_equal(hmmu_mm_open(&mm, &o), 0);
	return mm;
}

static sigjmp_buf before_the_write;

static void wrote(int sig)
{
	siglongjmp(before_the_write, sig);
}

static void test_reads_write_nothing(void **state)
{
	struct mmu_interval_notifier *sub = page();
	struct mm_struct *mm = open_mm();
	unsigned long seq;

	(void)state;
	assert_int_equal(mmu_interval_notifier_insert(sub, mm, 4096, 4096, &ops), 0);
	protect(mm, sub, PROT_READ);
	signal(SIGSEGV, wrote);
	assert_false(sigsetjmp(before_the_write, 1));
	for (int i = 0; i < 1000; i++) {
		seq = mmu_interval_read_begin(sub);
		assert_false(mmu_interval_read_retry(sub, seq));
		assert_false(mmu_interval_check_retry(sub, seq));
		assert_true(hmmu_access_ok(sub, seq));
		assert_int_equal(hmmu_read_begin(sub, &seq, NULL), 0);
		/* The functions, where the above were inlined. */
		assert_true(seq == (mmu_interval_read_begin)(sub));
		assert_false((mmu_interval_read_retry)(sub, seq));
		assert_false((mmu_interval_check_retry)(sub, seq));
		assert_true((hmmu_access_ok)(sub, seq));
	}
	signal(SIGSEGV, SIG_DFL);
	protect(mm, sub, PROT_READ | PROT_WRITE);
	mmu_interval_notifier_remove(sub);
	assert_int_equal(hmmu_mm_close(mm), 0);
}

/* The probe proves itself: waiting for an end does write. */
static void test_the_probe_sees_writes(void **state)
{
	struct mmu_interval_notifier *sub = page();
	struct mmu_notifier_range range;
	struct mm_struct *mm;
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		const struct timespec soon = {1, 0}; /* long past */
		unsigned long seq;

		signal(SIGSEGV, SIG_DFL);
		mm = open_mm();
		if (mmu_interval_notifier_insert(sub, mm, 4096, 4096, &ops))
			_exit(1);
		mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, 4096, 8192);
		mmu_notifier_invalidate_range_start(&range);
		if (hmmu_read_begin(sub, &seq, &soon) != -ETIMEDOUT)
			_exit(2);
		mprotect(sub, 4096, PROT_READ);
		mmu_notifier_invalidate_range_end(&range); /* adds to ended */
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads_write_nothing),
		cmocka_unit_test(test_the_probe_sees_writes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
