// SPDX-License-Identifier: MIT
/*
 * A signal handler changes memory at any access of ours: between any two of them a real
 * signal is raised whose handler does start, change, end. For every operation and every
 * preemption point k = 1, 2, ... until the operation has none left: no hang (the lock may
 * be held by the very thread), no stale shadow that a check would let through (G1), and
 * the callback has come when the reclaimer was through.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "futex.h"
#include "notifier/notifier.h"

static struct mm_struct *mm, *mm2;
static struct mmu_interval_notifier sub, extra, sub2;
static uint64_t truth, shadow;
static unsigned long seq, seq2; /* of the shadow, of mm2 */
static int fire_at, point, in_handler, fired, undecided, called, lost;
static int driver_locked; /* the operation runs under the driver lock */

/* ---- the doors of atomic.h and futex.h -------------------------------- */

void hmmu_sched_point(const volatile void *at, bool writes)
{
	if (fire_at && !in_handler && ++point == fire_at)
		raise(SIGUSR1);
}

void hmmu_sched_store(volatile void *at, size_t size, bool release)
{
}

void hmmu_sched_locked(const volatile void *at, size_t size, bool all)
{
}

void hmmu_sched_membarrier(void)
{
}

void hmmu_sched_relax(void)
{
}

long hmmu_sched_futex_wait(uint32_t *word, uint32_t value, const struct timespec *deadline)
{
	fail_msg("nobody may sleep in a single thread");
	return 0;
}

void hmmu_sched_futex_wake(uint32_t *word, int n)
{
}

/* ---- the driver ------------------------------------------------------- */

static bool hear(struct mmu_interval_notifier *s, const struct mmu_notifier_range *range,
		 unsigned long cur_seq)
{
	mmu_interval_set_seq(s, cur_seq);
	/* Nobody is called late from where a callback is not expected. */
	assert_false(driver_locked && !in_handler);
	if (s == &sub) {
		shadow = 0;
		called++;
		lost += range->phase == HMMU_PHASE_LOST;
	}
	return true;
}

static const struct mmu_interval_notifier_ops ops = {.invalidate = hear};

static void handler(int sig)
{
	struct mmu_notifier_range range;

	in_handler = 1;
	fired = 1;
	undecided += hmmu_tls.held == mm;
	/* Another mm's lock is not taken either: it may be anybody's. */
	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm2, 4096, 8192);
	assert_int_equal(mmu_notifier_invalidate_range_start(&range), 0);
	assert_false(hmmu_access_ok(&sub2, seq2));
	mmu_notifier_invalidate_range_end(&range);
	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, 4096, 8192);
	assert_int_equal(mmu_notifier_invalidate_range_start(&range), 0);
	assert_false(hmmu_access_ok(&sub, seq)); /* G1: before the change already */
	truth++;
	mmu_notifier_invalidate_range_end(&range);
	assert_false(hmmu_access_ok(&sub, seq));
	in_handler = 0;
}

static void load_shadow(void)
{
	do {
		seq = mmu_interval_read_begin(&sub);
		shadow = truth;
	} while (mmu_interval_read_retry(&sub, seq));
	seq2 = mmu_interval_read_begin(&sub2);
}

/* ---- the operations that are interrupted ------------------------------ */

static void insert_remove(void)
{
	driver_locked = 1; /* legal for insert */
	assert_int_equal(mmu_interval_notifier_insert(&extra, mm, 4096, 4096, &ops), 0);
	driver_locked = 0;
	mmu_interval_notifier_remove(&extra);
}

static void invalidate_watched(void)
{
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, 0, 1 << 20);
	assert_int_equal(mmu_notifier_invalidate_range_start(&range), 0);
	mmu_notifier_invalidate_range_end(&range);
}

static void invalidate_nonblock(void)
{
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, 0, 1 << 20);
	assert_int_equal(mmu_notifier_invalidate_range_start_nonblock(&range), 0);
	mmu_notifier_invalidate_range_end(&range);
	/* The nonblocking form leaves what is owed to the next. */
	insert_remove();
}

static void invalidate_unwatched(void)
{
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, 1 << 30, (1 << 30) + 1);
	assert_int_equal(mmu_notifier_invalidate_range_start(&range), 0);
	mmu_notifier_invalidate_range_end(&range);
}

static int hear_whole(struct mmu_notifier *n, const struct mmu_notifier_range *range)
{
	return 0;
}

static const struct mmu_notifier_ops whole_ops = {.invalidate_range_start = hear_whole};

static void register_unregister(void)
{
	struct mmu_notifier n = {.ops = &whole_ops};

	assert_int_equal(mmu_notifier_register(&n, mm), 0);
	mmu_notifier_unregister(&n, mm);
}

/* Whoever was not called before the change is called by the reclaimer, here ourselves. */
static void check(void)
{
	assert_true(hmmu_reclaim(mm) >= 0 && hmmu_reclaim(mm2) >= 0);
	if (fired) {
		assert_true(called > 0);
		assert_false(hmmu_access_ok(&sub, seq));
		load_shadow();
		assert_true(hmmu_access_ok(&sub, seq));
	}
	assert_true(!hmmu_access_ok(&sub, seq) || shadow == truth);
	load_shadow();
}

static void at_every_point(void (*op)(void))
{
	int points = 0;

	undecided = lost = 0;
	load_shadow();
	for (fire_at = 1;; fire_at++) {
		int at = fire_at;

		fired = called = point = 0;
		op();
		fire_at = 0; /* not while checking */
		check();
		fire_at = at;
		if (!fired)
			break;
		points++;
	}
	fire_at = 0;
	assert_true(points > 3);
	print_message("  %d points, in %d of them with the lock held, %d told LOST\n", points,
		      undecided, lost);
}

static void test_insert_remove(void **state)
{
	at_every_point(insert_remove);
	assert_true(undecided > 5 && lost >= undecided);
}

static void test_watched(void **state)
{
	at_every_point(invalidate_watched);
	assert_true(undecided > 5 && lost >= undecided);
}

static void test_nonblock(void **state)
{
	at_every_point(invalidate_nonblock);
	assert_true(undecided > 5 && lost >= undecided);
}

static void test_unwatched(void **state)
{
	at_every_point(invalidate_unwatched);
	assert_int_equal(undecided, 0);
}

static void test_whole(void **state)
{
	at_every_point(register_unregister);
	assert_true(undecided > 3 && lost >= undecided);
}

/* However many: the mm stays undecided until they were delivered. */
static void test_many_in_one_hold(void **state)
{
	const struct timespec no_sleep = {0, 0};
	struct mmu_notifier_range range;
	unsigned long now;

	load_shadow();
	hmmu_mm_lock(mm);
	for (int i = 0; i < 1000; i++) {
		mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, 4096, 8192);
		mmu_notifier_invalidate_range_start(&range);
		assert_int_equal(hmmu_read_begin(&sub, &now, &no_sleep), -ETIMEDOUT);
		assert_false(hmmu_access_ok(&sub, seq));
		mmu_notifier_invalidate_range_end(&range);
		assert_int_equal(hmmu_read_begin(&sub, &now, &no_sleep), -ETIMEDOUT);
	}
	hmmu_mm_unlock(mm);
	assert_int_equal(hmmu_read_begin(&sub, &now, &no_sleep), -ETIMEDOUT);
	called = 0;
	hmmu_reclaim(mm);
	assert_int_equal(called, 1);
	assert_int_equal(hmmu_read_begin(&sub, &now, &no_sleep), 0);
}

/* The test sees what it is for. */
static void test_planted(void **state)
{
	struct mmu_notifier_range range;

	hmmu_planted = HMMU_PLANT_SIGNAL_IGNORED;
	load_shadow();
	hmmu_mm_lock(mm);
	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, 4096, 8192);
	mmu_notifier_invalidate_range_start(&range);
	mmu_notifier_invalidate_range_end(&range);
	hmmu_mm_unlock(mm);
	assert_true(hmmu_access_ok(&sub, seq)); /* the bug: stale and let through */
	hmmu_planted = HMMU_PLANT_NONE;
}

static int setup(void **state)
{
	struct hmmu_mm_options o = {.size = sizeof(o), .flags = HMMU_MM_OWN_RECLAIM};
	struct sigaction sa = {.sa_handler = handler};

	truth = 1;
	sigaction(SIGUSR1, &sa, NULL);
	return hmmu_mm_open(&mm, &o) || hmmu_mm_open(&mm2, &o) ||
	       mmu_interval_notifier_insert(&sub, mm, 4096, 4096, &ops) ||
	       mmu_interval_notifier_insert(&sub2, mm2, 4096, 4096, &ops);
}

static int teardown(void **state)
{
	mmu_interval_notifier_remove(&sub);
	mmu_interval_notifier_remove(&sub2);
	return hmmu_mm_close(mm) || hmmu_mm_close(mm2);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_insert_remove),    TEST(test_watched), TEST(test_nonblock),
		TEST(test_unwatched),	     TEST(test_whole),	 TEST(test_planted),
		TEST(test_many_in_one_hold),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
