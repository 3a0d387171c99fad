// SPDX-License-Identifier: MIT
/* Debug builds report wrong use by name, when it is possible, and carry on. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "notifier/notifier.h"

static const char *reported;
static const void *about;
static int reports;

static void hook(const char *name, const void *subject)
{
	reported = name;
	about = subject;
	reports++;
}

static void expect(const char *name, const void *subject)
{
	assert_int_equal(reports, 1);
	assert_string_equal(reported, name);
	assert_ptr_equal(about, subject);
	reports = 0;
}

static enum { HEAR, FORGET_SEQ, REMOVE_SELF, REMOVE_OTHER, BEGIN, REFUSE } act;
static struct mmu_interval_notifier other;

static bool hear(struct mmu_interval_notifier *sub, const struct mmu_notifier_range *range,
		 unsigned long cur_seq)
{
	if (act != FORGET_SEQ)
		mmu_interval_set_seq(sub, cur_seq);
	if (act == REMOVE_SELF)
		mmu_interval_notifier_remove(sub);
	if (act == REMOVE_OTHER)
		mmu_interval_notifier_remove(&other);
	if (act == BEGIN)
		mmu_interval_read_begin(&other);
	return act != REFUSE;
}

static const struct mmu_interval_notifier_ops ops = {.invalidate = hear};
static struct mm_struct *mm;
static struct mmu_interval_notifier sub;

static int setup(void **state)
{
	struct hmmu_mm_options o = {.size = sizeof(o)};

	(void)state;
	reports = 0;
	act = HEAR;
	return hmmu_mm_open(&mm, &o) ||
	       mmu_interval_notifier_insert(&sub, mm, 4096, 4096, &ops) ||
	       mmu_interval_notifier_insert(&other, mm, 40960, 4096, &ops);
}

static int teardown(void **state)
{
	(void)state;
	if (sub.mm == mm)
		mmu_interval_notifier_remove(&sub);
	if (other.mm == mm)
		mmu_interval_notifier_remove(&other);
	hmmu_report_hook = hook;
	return hmmu_mm_close(mm);
}

static void pair(void *owner)
{
	struct mmu_notifier_range range;

	mmu_notifier_range_init_owner(&range, MMU_NOTIFY_UNMAP, 0, mm, 4096, 8192, owner);
	assert_int_equal(mmu_notifier_invalidate_range_start(&range), 0);
	mmu_notifier_invalidate_range_end(&range);
}

static void test_right_use(void **state)
{
	(void)state;
	pair(NULL);
	act = FORGET_SEQ;
	pair(&act); /* a driver may know its own change */
	assert_int_equal(reports, 0);
}

static void test_set_seq_forgotten(void **state)
{
	(void)state;
	act = FORGET_SEQ;
	pair(NULL);
	expect("callback-without-set-seq", &sub);
}

static void test_refused_though_blockable(void **state)
{
	(void)state;
	act = REFUSE;
	pair(NULL);
	expect("refused-blockable", &sub);
}

static void test_removed_twice(void **state)
{
	(void)state;
	mmu_interval_notifier_remove(&sub);
	assert_int_equal(reports, 0);
	mmu_interval_notifier_remove(&sub);
	expect("removed-twice", &sub);
}

static void test_removed_used(void **state)
{
	unsigned long seq;

	(void)state;
	seq = mmu_interval_read_begin(&sub);
	mmu_interval_notifier_remove(&sub);
	assert_false(hmmu_access_ok(&sub, seq)); /* and it is refused */
	expect("removed-subscription-used", &sub);
	seq = mmu_interval_read_begin(&sub);
	expect("removed-subscription-used", &sub);
	assert_true(mmu_interval_read_retry(&sub, seq));
}

static void test_remove_in_callback(void **state)
{
	(void)state;
	act = REMOVE_OTHER;
	pair(NULL);
	expect("remove-in-callback", &other);
	act = REMOVE_SELF; /* does not hang either */
	pair(NULL);
	expect("remove-in-callback", &sub);
}

static void test_begin_in_callback(void **state)
{
	(void)state;
	act = BEGIN;
	pair(NULL);
	expect("read-begin-in-callback", &other);
}

static void test_under_driver_lock(void **state)
{
	(void)state;
	hmmu_driver_lock_acquired(&sub);
	mmu_interval_read_begin(&sub);
	expect("read-begin-under-driver-lock", &sub);
	mmu_interval_notifier_remove(&sub);
	expect("remove-under-driver-lock", &sub);
	hmmu_driver_lock_released(&sub);
}

static void test_end_without_start(void **state)
{
	struct mmu_notifier_range range;

	(void)state;
	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, 4096, 8192);
	mmu_notifier_invalidate_range_end(&range);
	expect("end-without-start", &range);
	assert_int_equal(mmu_notifier_invalidate_range_start(&range), 0);
	assert_int_not_equal(mmu_notifier_invalidate_range_start(&range), 0);
	expect("start-without-init", &range);
	mmu_notifier_invalidate_range_end(&range);
	mmu_notifier_invalidate_range_end(&range);
	expect("end-without-start", &range);
}

/* Without a hook it is a line on descriptor 2. */
static void test_report_is_a_line(void **state)
{
	char line[200] = "";
	int fds[2], saved = dup(2);

	(void)state;
	assert_int_equal(pipe(fds), 0);
	hmmu_report_hook = NULL;
	dup2(fds[1], 2);
	mmu_interval_notifier_remove(&sub);
	mmu_interval_notifier_remove(&sub);
	dup2(saved, 2);
	assert_true(read(fds[0], line, sizeof(line) - 1) > 0);
	assert_ptr_equal(strstr(line, "hmmu: misuse: removed-twice 0x"), line);
	assert_int_equal(line[strlen(line) - 1], '\n');
	close(fds[0]);
	close(fds[1]);
	close(saved);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_right_use),
		TEST(test_set_seq_forgotten),
		TEST(test_refused_though_blockable),
		TEST(test_removed_twice),
		TEST(test_removed_used),
		TEST(test_remove_in_callback),
		TEST(test_begin_in_callback),
		TEST(test_under_driver_lock),
		TEST(test_end_without_start),
		TEST(test_report_is_a_line),
	};

	hmmu_report_hook = hook;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
