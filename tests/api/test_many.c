// SPDX-License-Identifier: MIT
/*
 * test_many.c - ranges with one to thousands of subscriptions, changed again and again: whom an
 * invalidation calls and releases is the same whether it searches for them or knows them from
 * the last time, and however many batches they are.
 */
#include "api.h"

#define BASE 0x40000000UL
#define MOST 3000

static struct probe probe[MOST + 1];
static const size_t sizes[] = {1, 2, 63, 64, 65, 128, 129, 1000, 1023, 1024, 1025, 1088, MOST};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]) / (API_SLOW > 1 ? 2 : 1))

static unsigned long page(size_t i)
{
	return BASE + i * PAGE;
}

static struct mm_struct *many(size_t n)
{
	struct mm_struct *mm = open_mm(0);

	for (size_t i = 0; i < n; i++)
		probe_add(&probe[i], mm, page(i), PAGE);
	return mm;
}

static void none(struct mm_struct *mm, size_t n)
{
	for (size_t i = 0; i < n; i++)
		probe_remove(&probe[i]);
	close_mm(mm);
}

/* [first, last] was called @times since; nobody is open. */
static void called(size_t first, size_t last, int times)
{
	for (size_t i = first; i <= last; i++) {
		assert_int_equal(atomic_exchange(&probe[i].calls, 0), times);
		assert_int_equal(probe_poll(&probe[i]), 0);
	}
}

static void test_many_again(void **state)
{
	for (size_t s = 0; s < SIZES; s++) {
		size_t n = sizes[s];
		struct mm_struct *mm = many(n);

		for (int i = 0; i < 3; i++)
			invalidate(mm, page(0), page(n));
		called(0, n - 1, 3);
		if (n > 2) {
			/* The same beginning, the same end. */
			invalidate(mm, page(0), page(n - 1));
			called(0, n - 2, 1);
			called(n - 1, n - 1, 0);
			invalidate(mm, page(1), page(n - 1));
			called(0, 0, 0);
			called(1, n - 2, 1);
		}
		none(mm, n);
	}
}

static void test_many_are_open_until_the_end(void **state)
{
	for (size_t s = 0; s < SIZES; s++) {
		size_t n = sizes[s];
		struct mm_struct *mm = many(n);
		struct mmu_notifier_range range;

		for (int again = 0; again < 2; again++) {
			range_open(&range, mm, page(0), page(n));
			for (size_t i = 0; i < n; i++)
				assert_int_equal(probe_poll(&probe[i]), -ETIMEDOUT);
			range_close(&range);
			called(0, n - 1, 1);
		}
		none(mm, n);
	}
}

/* One goes and comes between two changes, and inside of one. */
static void test_many_one_goes(void **state)
{
	for (size_t s = 1; s < SIZES; s++) {
		size_t n = sizes[s], gone = n / 2;
		struct mm_struct *mm = many(n);
		struct mmu_notifier_range range;

		invalidate(mm, page(0), page(n));
		probe_remove(&probe[gone]);
		invalidate(mm, page(0), page(n));
		assert_int_equal(atomic_load(&probe[gone].calls), 1);
		probe_insert(&probe[gone], mm, page(gone), PAGE);
		invalidate(mm, page(0), page(n));
		assert_int_equal(atomic_exchange(&probe[gone].calls, 3), 2);
		called(0, n - 1, 3);
		range_open(&range, mm, page(0), page(n));
		probe_remove(&probe[gone]);
		range_close(&range);
		probe_insert(&probe[gone], mm, page(gone), PAGE);
		called(0, n - 1, 1);
		none(mm, n);
	}
}

static void refused(struct mm_struct *mm, size_t n, size_t by)
{
	struct mmu_notifier_range range;

	probe[by].refuse = true;
	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, page(0), page(n));
	assert_int_equal(mmu_notifier_invalidate_range_start_nonblock(&range), -EAGAIN);
	probe[by].refuse = false;
	for (size_t i = 0; i < n; i++)
		assert_int_equal(atomic_exchange(&probe[i].calls, 0), i <= by);
	called(0, n - 1, 0);
}

static void test_many_and_one_refuses(void **state)
{
	for (size_t s = 0; s < SIZES; s++) {
		size_t n = sizes[s];
		struct mm_struct *mm = many(n);

		refused(mm, n, n / 3);
		invalidate(mm, page(0), page(n));
		called(0, n - 1, 1);
		refused(mm, n, 0);
		invalidate(mm, page(0), page(n));
		called(0, n - 1, 1);
		refused(mm, n, n - 1);
		refused(mm, n, n / 3);
		none(mm, n);
	}
}

static void insert_one_more(struct probe *mine, const struct mmu_notifier_range *range)
{
	struct probe *other = mine->arg;

	if (!other)
		return;
	mine->arg = NULL;
	probe_add(other, range->mm, range->end - PAGE, PAGE);
}

/* It has counted itself: it is not called, but open like the others. */
static void test_many_and_one_comes(void **state)
{
	for (size_t s = 0; s < SIZES; s++) {
		size_t n = sizes[s];
		struct mm_struct *mm = many(n);
		struct mmu_notifier_range range;

		for (int known = 0; known < 2; known++) {
			probe[n / 3].hook = insert_one_more;
			probe[n / 3].arg = &probe[n];
			range_open(&range, mm, page(0), page(n));
			assert_int_equal(probe_poll(&probe[n]), -ETIMEDOUT);
			range_close(&range);
			called(0, n - 1, 1);
			called(n, n, 0);
			invalidate(mm, page(0), page(n));
			called(0, n, 1);
			probe_remove(&probe[n]);
			invalidate(mm, page(0), page(n));
			called(0, n - 1, 1);
		}
		none(mm, n);
	}
}

static void change_beside(struct probe *mine, const struct mmu_notifier_range *range)
{
	invalidate(range->mm, range->end + PAGE, range->end + 2 * PAGE);
}

/* Late in the walk of many, another one elsewhere. */
static void test_many_and_one_inside(void **state)
{
	for (size_t s = 0; s < SIZES; s++) {
		size_t n = sizes[s];
		struct mm_struct *mm = many(n);

		probe_add(&probe[n], mm, page(n + 1), PAGE);
		probe[n - 1].hook = change_beside;
		for (int i = 0; i < 2; i++)
			invalidate(mm, page(0), page(n));
		called(0, n, 2);
		probe_remove(&probe[n]);
		none(mm, n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many_again),
		cmocka_unit_test(test_many_are_open_until_the_end),
		cmocka_unit_test(test_many_one_goes),
		cmocka_unit_test(test_many_and_one_refuses),
		cmocka_unit_test(test_many_and_one_comes),
		cmocka_unit_test(test_many_and_one_inside),
	};

	api_guard(100);
	return cmocka_run_group_tests_name("many", tests, NULL, NULL);
}
