// SPDX-License-Identifier: MIT
/* test_mirror.c - the device itself: reads, writes, hits, misses, eviction, bad input. */
#include "uring_test.h"

static void reads_and_writes(void **state)
{
	struct mm_struct *mm = test_mm();
	struct uring_mirror *m = test_mirror(mm, NULL, 0, 0);
	unsigned char *at = test_pages(4, 'a');
	struct uring_mirror_stats s;
	struct uring_window *w;

	assert_int_equal(uring_mirror_watch(m, (unsigned long)at, 4 * PAGE, &w), 0);
	assert_false(uring_mirror_cached(w, (unsigned long)at));
	for (int i = 0; i < 4; i++)
		assert_int_equal(test_read(m, w, at + i * PAGE + 17), 'a' + i);
	assert_true(uring_mirror_cached(w, (unsigned long)at));
	/* What the CPU stores, the device sees, and the other way about. */
	at[5] = 'X';
	assert_int_equal(test_read(m, w, at + 5), 'X');
	assert_int_equal(test_write(m, w, at + 6, 'Y'), 1);
	assert_int_equal(at[6], 'Y');
	s = test_stats(m);
	assert_int_equal(s.lookups, 6);
	assert_int_equal(s.hits, 2);
	assert_int_equal(s.misses, 4);
	assert_int_equal(s.pins, 4);
	assert_int_equal(s.pinned, 4);
	assert_int_equal(s.refused + s.discarded + s.retries + s.waits, 0);
	assert_int_equal(uring_mirror_unwatch(w), 0);
	test_settle(m, 0);
	uring_mirror_close(m);
	assert_int_equal(hmmu_mm_close(mm), 0);
	munmap(at, 4 * PAGE);
}

/* G1, and that a callback clips the range to the window and touches nothing else. */
static void invalidation_drops_exactly_its_pages(void **state)
{
	struct mm_struct *mm = test_mm();
	struct uring_mirror *m = test_mirror(mm, NULL, 0, 0);
	unsigned char *at = test_pages(8, 'a');
	struct uring_window *w;

	/* The window is pages 1 to 6. */
	assert_int_equal(uring_mirror_watch(m, (unsigned long)at + PAGE, 6 * PAGE, &w), 0);
	for (int i = 1; i < 7; i++)
		assert_int_equal(test_read(m, w, at + i * PAGE), 'a' + i);
	test_remap(mm, at + 2 * PAGE, 2, 'K');
	for (unsigned int i = 1; i < 7; i++)
		assert_int_equal(uring_mirror_cached(w, (unsigned long)at + i * PAGE),
				 i != 2 && i != 3);
	test_remap(mm, at, 2, 'P'); /* pages 0 and 1: clipped at the front */
	assert_false(uring_mirror_cached(w, (unsigned long)at + PAGE));
	assert_true(uring_mirror_cached(w, (unsigned long)at + 4 * PAGE));
	test_remap(mm, at + 6 * PAGE, 2, 'T'); /* 6 and 7: at the back */
	assert_int_equal(test_stats(m).zapped, 4);
	assert_int_equal(test_read(m, w, at + 1 * PAGE), 'Q');
	assert_int_equal(test_read(m, w, at + 2 * PAGE), 'K');
	assert_int_equal(test_read(m, w, at + 3 * PAGE), 'L');
	assert_int_equal(test_read(m, w, at + 5 * PAGE), 'f');
	assert_int_equal(test_read(m, w, at + 6 * PAGE), 'T');
	uring_mirror_close(m); /* with a window watched: it unwatches */
	assert_int_equal(hmmu_mm_close(mm), 0);
	munmap(at, 8 * PAGE);
}

static void fewer_slots_than_pages(void **state)
{
	struct mm_struct *mm = test_mm();
	struct uring_mirror *m = test_mirror(mm, NULL, 2, 8);
	unsigned char *at = test_pages(8, 'a');
	struct uring_access a[8];
	struct uring_window *w;

	assert_int_equal(uring_mirror_watch(m, (unsigned long)at, 8 * PAGE, &w), 0);
	for (int round = 0; round < 50; round++) {
		for (unsigned int i = 0; i < 8; i++)
			a[i] = (struct uring_access){
				.window = w, .addr = (unsigned long)at + i * PAGE, .len = PAGE};
		assert_int_equal(uring_mirror_run(m, a, 8, NULL), 0);
		for (unsigned int i = 0; i < 8; i++) {
			assert_int_equal(a[i].result, PAGE);
			assert_memory_equal(uring_mirror_buffer(m, i), at + i * PAGE, PAGE);
		}
		assert_true(test_stats(m).pinned <= 2);
	}
	assert_true(test_stats(m).evicted > 0);
	uring_mirror_close(m);
	hmmu_mm_close(mm);
	munmap(at, 8 * PAGE);
}

/* One table for each window, one set of slots for all of them. */
static void windows_share_the_slots(void **state)
{
	struct mm_struct *mm = test_mm();
	struct uring_mirror *m = test_mirror(mm, NULL, 2, 4);
	unsigned char *at = test_pages(4, 'a');
	struct uring_window *w[2];

	for (int i = 0; i < 2; i++)
		assert_int_equal(uring_mirror_watch(m, (unsigned long)at + 2 * i * PAGE,
						    2 * PAGE, &w[i]),
				 0);
	assert_int_equal(test_read(m, w[0], at), 'a');
	assert_int_equal(test_read(m, w[0], at + PAGE), 'b');
	assert_int_equal(test_read(m, w[1], at + 2 * PAGE), 'c'); /* in the place of a */
	assert_false(uring_mirror_cached(w[0], (unsigned long)at));
	assert_int_equal(test_stats(m).evicted, 1);
	/* A change in one: the other's slots stay. */
	test_remap(mm, at, 2, 'K');
	assert_true(uring_mirror_cached(w[1], (unsigned long)at + 2 * PAGE));
	assert_int_equal(test_read(m, w[0], at + PAGE), 'L');
	assert_int_equal(uring_mirror_unwatch(w[0]), 0);
	assert_int_equal(test_read(m, w[1], at + 2 * PAGE), 'c');
	assert_int_equal(test_stats(m).hits, 1);
	test_settle(m, 1);
	uring_mirror_close(m);
	hmmu_mm_close(mm);
	munmap(at, 4 * PAGE);
}

/* A slot for four pages: hit in any of them it goes. */
static void blocks_of_several_pages(void **state)
{
	struct uring_mirror_options options = {.size = sizeof(options), .block = 4 * PAGE};
	struct mm_struct *mm = test_mm();
	unsigned char *all = test_pages(12, 'a'), *at;
	struct uring_mirror *m;
	struct uring_window *w;

	at = (unsigned char *)(((unsigned long)all + 4 * PAGE - 1) & -(4 * PAGE));
	for (int i = 0; i < 8; i++)
		at[i * PAGE] = (unsigned char)('a' + i);
	assert_int_equal(uring_mirror_open(&m, mm, &options), 0);
	assert_int_equal(uring_mirror_watch(m, (unsigned long)at + PAGE, 4 * PAGE, &w),
			 -EINVAL);
	assert_int_equal(uring_mirror_watch(m, (unsigned long)at, 8 * PAGE, &w), 0);
	for (int i = 0; i < 8; i++)
		assert_int_equal(test_read(m, w, at + i * PAGE), 'a' + i);
	assert_int_equal(test_stats(m).pins, 2);
	test_remap(mm, at + 2 * PAGE, 1, 'N');
	assert_false(uring_mirror_cached(w, (unsigned long)at));
	assert_true(uring_mirror_cached(w, (unsigned long)at + 5 * PAGE));
	assert_int_equal(test_read(m, w, at + 2 * PAGE), 'N');
	assert_int_equal(test_read(m, w, at + 3 * PAGE), 'd');
	assert_int_equal(test_read(m, w, at + 7 * PAGE), 'h');
	assert_int_equal(test_stats(m).pins, 3);
	uring_mirror_close(m);
	hmmu_mm_close(mm);
	munmap(all, 12 * PAGE);
}

static void bad_options(void **state)
{
	struct mm_struct *mm = test_mm();
	struct uring_mirror_options good = {.size = sizeof(good)}, o;
	struct uring_mirror *m;

#define BAD(field, value)            \
	o = good, o.field = (value); \
	assert_int_equal(uring_mirror_open(&m, mm, &o), -EINVAL)
	BAD(size, 8);
	BAD(slots, URING_MIRROR_MAX_SLOTS + 1);
	BAD(depth, URING_MIRROR_MAX_DEPTH + 1);
	BAD(block, 1000);
	BAD(block, 3 * 4096);
	BAD(block, 1u << 31);
	BAD(reserved[1], 1);
#undef BAD
	assert_int_equal(uring_mirror_open(NULL, mm, &good), -EINVAL);
	assert_int_equal(uring_mirror_open(&m, NULL, &good), -EINVAL);
	uring_mirror_close(NULL);
	hmmu_mm_close(mm);
}

static void bad_windows_and_accesses(void **state)
{
	struct mm_struct *mm = test_mm();
	struct uring_mirror *m = test_mirror(mm, NULL, 4, 4);
	unsigned char *at = test_pages(2, 'a');
	unsigned long base = (unsigned long)at;
	struct uring_window *w;
	struct uring_access good = {.addr = base, .len = 8}, a, many[5];

	assert_int_equal(uring_mirror_watch(m, base, 0, &w), -EINVAL);
	assert_int_equal(uring_mirror_watch(m, base + 1, PAGE, &w), -EINVAL);
	assert_int_equal(uring_mirror_watch(m, base, PAGE + 1, &w), -EINVAL);
	assert_int_equal(uring_mirror_watch(m, -PAGE, 2 * PAGE, &w), -EINVAL);
	assert_int_equal(uring_mirror_watch(m, base, 2 * PAGE, &w), 0);
	good.window = w;
#define BAD(field, value)            \
	a = good, a.field = (value); \
	assert_int_equal(uring_mirror_prep(m, &a, NULL), -EINVAL)
	BAD(window, NULL);
	BAD(len, 0);
	BAD(len, PAGE + 1); /* two blocks */
	BAD(addr, base + PAGE - 4);
	BAD(addr, base - 1);
	BAD(addr, base + 2 * PAGE);
	BAD(addr, base + 2 * PAGE - 4);
	BAD(index, 4);
	BAD(flags, 1u << 5);
#undef BAD
	for (int i = 0; i < 5; i++)
		many[i] = good;
	assert_int_equal(uring_mirror_run(m, many, 5, NULL), -EINVAL); /* more than depth */
	assert_int_equal(uring_mirror_run(m, many, 4, NULL), 0);
	assert_null(uring_mirror_buffer(m, 4));
	uring_mirror_close(m);
	hmmu_mm_close(mm);
	munmap(at, 2 * PAGE);
}

/* G2: subscribed inside an open invalidation; never sleeps with a zero deadline. */
static void watched_while_open(void **state)
{
	static const struct timespec now = {0, 0};
	struct mm_struct *mm = test_mm();
	struct uring_mirror *m = test_mirror(mm, NULL, 4, 4);
	unsigned char *at = test_pages(1, 'a');
	struct mmu_notifier_range range;
	struct uring_access a = {.addr = (unsigned long)at, .len = 1};

	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, mm, (unsigned long)at,
				(unsigned long)at + PAGE);
	assert_int_equal(mmu_notifier_invalidate_range_start(&range), 0);
	assert_int_equal(uring_mirror_watch(m, (unsigned long)at, PAGE, &a.window), 0);
	assert_int_equal(uring_mirror_prep(m, &a, &now), -ETIMEDOUT);
	assert_int_equal(a.result, -ETIMEDOUT);
	assert_int_equal(test_stats(m).waits, 1);
	assert_int_equal(test_stats(m).pinned, 0);
	mmu_notifier_invalidate_range_end(&range);
	assert_int_equal(test_read(m, a.window, at), 'a');
	uring_mirror_close(m);
	hmmu_mm_close(mm);
	munmap(at, PAGE);
}

struct family {
	struct uring_mirror *m;
	struct uring_window *w;
	unsigned char *at;
};

static int child_side(void *arg)
{
	struct family *f = arg;
	struct uring_access a = {.window = f->w, .addr = (unsigned long)f->at, .len = 1};
	struct uring_access *done;

	CHILD_CHECK(uring_mirror_prep(f->m, &a, NULL) == -ENODEV);
	CHILD_CHECK(uring_mirror_submit(f->m) == -ENODEV);
	CHILD_CHECK(uring_mirror_reap(f->m, &done, NULL) == -ENODEV);
	uring_mirror_close(f->m);
	return 0;
}

static void a_forked_child_leaves_the_ring_alone(void **state)
{
	struct mm_struct *mm = test_mm();
	struct family f = {.m = test_mirror(mm, NULL, 4, 4), .at = test_pages(2, 'a')};

	assert_int_equal(uring_mirror_watch(f.m, (unsigned long)f.at, 2 * PAGE, &f.w), 0);
	assert_int_equal(test_read(f.m, f.w, f.at), 'a');
	assert_int_equal(test_in_child(child_side, &f), 0);
	/* Nothing of the parent's was dropped. */
	assert_true(uring_mirror_cached(f.w, (unsigned long)f.at));
	assert_int_equal(test_read(f.m, f.w, f.at), 'a');
	assert_int_equal(test_read(f.m, f.w, f.at + PAGE), 'b');
	uring_mirror_close(f.m);
	hmmu_mm_close(mm);
	munmap(f.at, 2 * PAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_and_writes),
		cmocka_unit_test(invalidation_drops_exactly_its_pages),
		cmocka_unit_test(fewer_slots_than_pages),
		cmocka_unit_test(windows_share_the_slots),
		cmocka_unit_test(blocks_of_several_pages),
		cmocka_unit_test(bad_options),
		cmocka_unit_test(bad_windows_and_accesses),
		cmocka_unit_test(watched_while_open),
		cmocka_unit_test(a_forked_child_leaves_the_ring_alone),
	};

	if (uring_refused())
		return SKIP;
	return cmocka_run_group_tests_name("uring mirror", tests, NULL, NULL);
}
