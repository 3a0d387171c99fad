// SPDX-License-Identifier: MIT
/*
 * What subscriptions cost beside their structure of 128 bytes, however far they lie from one
 * another: as much again at most, tree, summary and all, as the kernel counts pages.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include <hmmu/mmu_notifier.h>

#define PAGE 4096UL
#define N 40000UL
#define MOST 128.0

static struct mmu_interval_notifier *subs;

static bool invalidate(struct mmu_interval_notifier *sub,
		       const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	mmu_interval_set_seq(sub, cur_seq);
	return true;
}

static const struct mmu_interval_notifier_ops ops = {.invalidate = invalidate};

static double resident(void)
{
	unsigned long size, pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	assert_non_null(file);
	assert_int_equal(fscanf(file, "%lu %lu", &size, &pages), 2);
	fclose(file);
	return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

/* In an order of their own. 7919 is prime and no factor of N. */
static double cost(unsigned long stride, unsigned long size)
{
	struct hmmu_mm_options o = {.size = sizeof(o), .flags = HMMU_MM_OWN_RECLAIM};
	struct mm_struct *mm;
	double before;

	if (hmmu_mm_open(&mm, &o))
		return 0;
	before = resident();
	for (unsigned long i = 0; i < N; i++)
		if (mmu_interval_notifier_insert(&subs[i], mm, PAGE + i * 7919 % N * stride,
						 size, &ops))
			return 0;
	return (resident() - before) / N;
}

/* A child each: what was mapped for one is used again by the next. */
static void expect_cheap(unsigned long stride, unsigned long size)
{
	pid_t pid = fork();
	int status = -1;

	if (!pid) {
		double bytes = cost(stride, size);

		printf("%7lu KiB, one per %7lu KiB: %5.1f bytes\n", size >> 10, stride >> 10,
		       bytes);
		fflush(stdout);
		/* An entry of the tree is 24: else nothing was measured. */
		_exit(bytes > 24 && bytes <= MOST ? 0 : 1);
	}
	assert_true(pid > 0 && waitpid(pid, &status, 0) == pid);
	assert_int_equal(status, 0);
}

static void test_bytes_per_subscription(void **state)
{
	(void)state;
	/* 71 distances: between two of them no table has become twice as full. */
	expect_cheap(2 * PAGE, PAGE);
	for (double stride = 4 * PAGE; stride < 3.5e9; stride *= 1.195)
		expect_cheap((unsigned long)stride & -PAGE, PAGE);
	expect_cheap(1UL << 30, PAGE);
}

/* Larger ones that nobody is near: a leaf would be 8 KiB for each. */
static void test_bytes_of_large_ones(void **state)
{
	(void)state;
	for (unsigned long size = 65 * PAGE; size <= 1UL << 30; size *= 4)
		expect_cheap(2UL << 30, size);
}

/* Who comes and goes at one place, a thousand times, beside one that stays, leaves no more
 * behind than that. */
static void test_churn_in_a_table(void **state)
{
	struct hmmu_mm_options o = {.size = sizeof(o), .flags = HMMU_MM_OWN_RECLAIM};
	struct mm_struct *mm;
	double before;

	(void)state;
	assert_int_equal(hmmu_mm_open(&mm, &o), 0);
	for (unsigned long gib = 0; gib < 50; gib++)
		assert_int_equal(mmu_interval_notifier_insert(&subs[50 + gib], mm,
							      (gib << 30) + (1 << 20), PAGE,
							      &ops),
				 0);
	for (int i = 0; i < 1000; i++) {
		for (unsigned long gib = 0; gib < 50; gib++)
			assert_int_equal(mmu_interval_notifier_insert(&subs[gib], mm, gib << 30,
								      PAGE, &ops),
					 0);
		if (i == 0)
			before = resident();
		for (unsigned long gib = 0; gib < 50; gib++)
			mmu_interval_notifier_remove(&subs[gib]);
	}
	/* A leaf would be two pages for each. */
	assert_true(resident() - before < 50 * PAGE);
	for (unsigned long gib = 0; gib < 50; gib++)
		mmu_interval_notifier_remove(&subs[50 + gib]);
	assert_int_equal(hmmu_mm_close(mm), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes_per_subscription),
		cmocka_unit_test(test_bytes_of_large_ones),
		cmocka_unit_test(test_churn_in_a_table),
	};

	subs = calloc(N, sizeof(*subs));
	if (!subs)
		return 1;
	memset(subs, 1, N * sizeof(*subs));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
