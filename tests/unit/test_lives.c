// SPDX-License-Identifier: MIT
/*
 * What outlives what: sequences of removed subscriptions and closed mms, deferred work
 * that closes and synchronises, ranges left open, errno.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "notifier/notifier.h"

static struct mm_struct *mm;
static int ran[4];

static bool hear(struct mmu_interval_notifier *sub, const struct mmu_notifier_range *range,
		 unsigned long cur_seq)
{
	mmu_interval_set_seq(sub, cur_seq);
	return true;
}

static const struct mmu_interval_notifier_ops ops = {.invalidate = hear};

static struct mm_struct *open_mm(unsigned int sources, unsigned int flags)
{
	struct hmmu_mm_options o = {.size = sizeof(o), .sources = sources, .flags = flags};
	struct mm_struct *new;

	assert_int_equal(hmmu_mm_open(&new, &o), 0);
	return new;
}

static void invalidate(unsigned int times)
{
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, 4096, 8192);
	while (times-- > 0) {
		assert_int_equal(mmu_notifier_invalidate_range_start(&range), 0);
		mmu_notifier_invalidate_range_end(&range);
	}
}

/* G6: a sequence is good for nothing once its subscription was removed, also if the same
 * object comes back and is invalidated any number of times. */
static void test_no_sequence_comes_again(void **state)
{
	struct mmu_interval_notifier sub;
	unsigned long seq;

	for (unsigned int before = 0; before < 4; before++) {
		for (int reopen = 0; reopen < 2; reopen++) {
			mm = open_mm(HMMU_SOURCE_EXPLICIT, HMMU_MM_OWN_RECLAIM);
			mmu_interval_notifier_insert(&sub, mm, 4096, 4096, &ops);
			invalidate(before);
			seq = mmu_interval_read_begin(&sub);
			mmu_interval_notifier_remove(&sub);
			if (reopen) {
				assert_int_equal(hmmu_mm_close(mm), 0);
				mm = open_mm(HMMU_SOURCE_EXPLICIT, HMMU_MM_OWN_RECLAIM);
			}
			mmu_interval_notifier_insert(&sub, mm, 4096, 4096, &ops);
			for (int i = 0; i < 600; i++) {
				assert_false(hmmu_access_ok(&sub, seq));
				assert_true(mmu_interval_read_retry(&sub, seq));
				invalidate(1);
			}
			mmu_interval_notifier_remove(&sub);
			assert_int_equal(hmmu_mm_close(mm), 0);
		}
	}
}

static void count(struct hmmu_work *work)
{
	ran[work->reserved]++;
}

static int closed;

static void close_it(struct hmmu_work *work)
{
	struct mm_struct *own = work->mm;

	hmmu_reclaim(own); /* one level deeper */
	closed = hmmu_mm_close(own);
}

/* Close from inside a work: what was deferred before and behind it runs first. */
static void test_close_from_a_work(void **state)
{
	struct hmmu_work before = {.reserved = 0}, closing = {0}, behind = {.reserved = 1};

	mm = open_mm(HMMU_SOURCE_EXPLICIT, HMMU_MM_OWN_RECLAIM);
	ran[0] = ran[1] = 0;
	closed = 1;
	hmmu_defer(mm, &before, count);
	hmmu_defer(mm, &closing, close_it);
	hmmu_defer(mm, &behind, count);
	hmmu_reclaim(mm);
	assert_int_equal(closed, 0);
	assert_int_equal(ran[0], 1);
	assert_int_equal(ran[1], 1);
}

static struct mmu_notifier *alloc(struct mm_struct *m)
{
	return calloc(1, sizeof(struct mmu_notifier));
}

static int freed;

static void free_it(struct mmu_notifier *n)
{
	freed++;
	free(n);
}

static int hear_start(struct mmu_notifier *n, const struct mmu_notifier_range *range)
{
	return 0;
}

static const struct mmu_notifier_ops whole_ops = {
	.invalidate_range_start = hear_start,
	.alloc_notifier = alloc,
	.free_notifier = free_it,
};

static void synchronize(struct hmmu_work *work)
{
	mmu_notifier_synchronize();
	assert_int_equal(freed, 1);
}

/* Synchronize from a work with the owed free behind it in the same queue. */
static void test_synchronize_from_a_work(void **state)
{
	struct hmmu_work work = {0};
	struct mmu_notifier *n;

	mm = open_mm(HMMU_SOURCE_EXPLICIT, HMMU_MM_OWN_RECLAIM);
	freed = 0;
	assert_int_equal(mmu_notifier_get(&whole_ops, mm, &n), 0);
	hmmu_defer(mm, &work, synchronize);
	mmu_notifier_put(n);
	hmmu_reclaim(mm);
	assert_int_equal(freed, 1);
	assert_int_equal(hmmu_mm_close(mm), 0);
}

/* A close that finds nobody subscribed finds what the last put has left. */
static void test_put_then_close(void **state)
{
	struct mmu_notifier *n;

	mm = open_mm(HMMU_SOURCE_EXPLICIT, HMMU_MM_OWN_RECLAIM);
	freed = 0;
	assert_int_equal(mmu_notifier_get(&whole_ops, mm, &n), 0);
	assert_int_equal(hmmu_mm_close(mm), -EBUSY);
	mmu_notifier_put(n);
	assert_int_equal(hmmu_mm_close(mm), 0);
	assert_int_equal(freed, 1);
	mmu_notifier_synchronize();
}

static void busy_with(unsigned int sources)
{
	struct mmu_interval_notifier sub;
	struct mmu_notifier_range range;
	unsigned long seq;

	mm = open_mm(sources, 0);
	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, 4096, 8192);
	assert_int_equal(mmu_notifier_invalidate_range_start(&range), 0);
	assert_int_equal(hmmu_mm_close(mm), -EBUSY);
	mmu_notifier_invalidate_range_end(&range);
	/* Nothing has changed: it still watches. */
	assert_int_equal(mmu_interval_notifier_insert(&sub, mm, 4096, 4096, &ops), 0);
	seq = mmu_interval_read_begin(&sub);
	invalidate(1);
	assert_true(mmu_interval_read_retry(&sub, seq));
	mmu_interval_notifier_remove(&sub);
	assert_int_equal(hmmu_mm_close(mm), 0);
}

static void test_close_while_open(void **state)
{
	busy_with(HMMU_SOURCE_EXPLICIT);
}

static void test_close_while_open_hooks(void **state)
{
	struct hmmu_mm_options o = {.size = sizeof(o), .sources = HMMU_SOURCE_HOOKS};

	if (hmmu_mm_open(&mm, &o))
		skip();
	assert_int_equal(hmmu_mm_close(mm), 0);
	busy_with(HMMU_SOURCE_HOOKS);
}

/* In a child with little address space: open fails or not, errno is the caller's. */
static void test_errno_out_of_memory(void **state)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct hmmu_mm_options o = {.size = sizeof(o)};
		int bad = 0;

		for (rlim_t mib = 1; mib < 64 && !bad; mib++) {
			struct rlimit lim = {mib << 20, RLIM_INFINITY};
			struct mm_struct *m;
			int ret;

			setrlimit(RLIMIT_AS, &lim);
			errno = 77;
			ret = hmmu_mm_open(&m, &o);
			bad = errno != 77 || (ret && ret != -ENOMEM);
			if (!ret)
				bad |= hmmu_mm_close(m) || errno != 77;
		}
		_exit(bad);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* -ENOMEM of insert changes nothing: the mm goes on. */
static void test_insert_out_of_memory(void **state)
{
	struct rlimit old, lim = {1 << 20, RLIM_INFINITY};
	struct mmu_interval_notifier a, b;
	unsigned long seq;

	mm = open_mm(HMMU_SOURCE_EXPLICIT, HMMU_MM_OWN_RECLAIM);
	assert_int_equal(mmu_interval_notifier_insert(&a, mm, 4096, 4096, &ops), 0);
	getrlimit(RLIMIT_AS, &old);
	lim.rlim_max = old.rlim_max;
	setrlimit(RLIMIT_AS, &lim);
	errno = 77;
	/* One of level 1 in the same GiB: its leaf cannot be mapped. */
	assert_int_equal(mmu_interval_notifier_insert(&b, mm, 1UL << 20, 65 * 4096, &ops),
			 -ENOMEM);
	assert_int_equal(errno, 77);
	setrlimit(RLIMIT_AS, &old);
	seq = mmu_interval_read_begin(&a);
	invalidate(1);
	assert_true(mmu_interval_read_retry(&a, seq));
	assert_int_equal(mmu_interval_notifier_insert(&b, mm, 1UL << 20, 65 * 4096, &ops), 0);
	mmu_interval_notifier_remove(&a);
	mmu_interval_notifier_remove(&b);
	assert_int_equal(hmmu_mm_close(mm), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_sequence_comes_again),
		cmocka_unit_test(test_close_from_a_work),
		cmocka_unit_test(test_synchronize_from_a_work),
		cmocka_unit_test(test_put_then_close),
		cmocka_unit_test(test_close_while_open),
		cmocka_unit_test(test_close_while_open_hooks),
		cmocka_unit_test(test_errno_out_of_memory),
		cmocka_unit_test(test_insert_out_of_memory),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
