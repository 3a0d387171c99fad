// SPDX-License-Identifier: MIT
/*
 * test_progress.c - G4: who waits for whom, and who must not. "Does not wait" is
 * shown by returning while the other side is held.
 */
#include "api.h"

#define A 0x100000UL
#define B 0x9000000UL
#define LENGTH (16 * PAGE)
#define MANY 40

#define OPEN 1000

static void test_g4_nobody_waits_for_unrelated_open_ranges(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range *range = calloc(OPEN, sizeof(*range));
	struct probe probe, other;
	unsigned long seq;
	int i;

	probe_add(&probe, mm, B, PAGE);
	for (i = 0; i < OPEN; i++) /* around it, touching it on both sides */
		range_open(&range[i], mm, i % 2 ? B + PAGE : B - 1 - i * PAGE,
			   i % 2 ? B + PAGE + 1 + i * PAGE : B);
	seq = mmu_interval_read_begin(&probe.sub);
	assert_false(mmu_interval_read_retry(&probe.sub, seq));
	probe_add(&other, mm, B + 1, PAGE - 1);
	seq = mmu_interval_read_begin(&other.sub);
	assert_false(mmu_interval_read_retry(&other.sub, seq));
	invalidate(mm, B + 1, B + 2);
	assert_int_equal(atomic_load(&other.calls), 1);
	assert_int_equal(atomic_load(&probe.calls), 1);
	probe_remove(&other);
	probe_remove(&probe);
	for (i = 0; i < OPEN; i++)
		range_close(&range[i]);
	free(range);
	close_mm(mm);
}

/* The same while another thread stands inside a callback of a start. */
static void test_g4_nobody_waits_for_an_unrelated_callback(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range range;
	struct held held;
	struct runner starting;
	struct probe probe, other, more[64];
	unsigned long seq;
	int i;

	held_init(&held, mm, A, A + LENGTH);
	probe_add(&probe, mm, A, LENGTH);
	probe.hook = held_callback;
	probe.arg = &held;
	probe_add(&other, mm, B, LENGTH);
	runner_start(&starting, held_start, &held);
	gate_pass(&held.inside);
	seq = mmu_interval_read_begin(&other.sub);
	assert_false(mmu_interval_read_retry(&other.sub, seq));
	invalidate(mm, B, B + PAGE);
	assert_int_equal(atomic_load(&other.calls), 1);
	for (i = 0; i < 64; i++)
		probe_add(&more[i], mm, B + i * PAGE, PAGE);
	for (i = 0; i < 64; i++)
		probe_remove(&more[i]);
	probe_remove(&other);
	/* inserting where the other's range is open does not wait either */
	probe_add(&other, mm, A + PAGE, PAGE);
	assert_int_equal(probe_poll(&other), -ETIMEDOUT);
	probe_remove(&other);
	/* nor does an overlapping invalidation wait for the callback */
	probe.arg = NULL;
	range_open(&range, mm, A, A + 1);
	range_close(&range);
	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, mm, A, A + 1);
	assert_int_equal(quiet(mmu_notifier_invalidate_range_start_nonblock(&range)), 0);
	range_close(&range);
	assert_int_equal(atomic_load(&probe.calls), 3);
	assert_int_equal(atomic_load(&probe.running), 1);
	gate_open(&held.go);
	runner_join(&starting);
	assert_int_equal(probe_poll(&probe), -ETIMEDOUT);
	range_close(&held.range);
	assert_int_equal(probe_poll(&probe), 0);
	probe_remove(&probe);
	close_mm(mm);
}

static void test_g4_reader_waits_for_its_own_range_only(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range range[2];
	struct probe probe[2];
	struct sleeper sleeper[2];
	struct runner run[2];
	int i;

	for (i = 0; i < 2; i++) {
		unsigned long start = i ? B : A;

		probe_add(&probe[i], mm, start, LENGTH);
		range_open(&range[i], mm, start, start + LENGTH);
		memset(&sleeper[i], 0, sizeof(sleeper[i]));
		sleeper[i].probe = &probe[i];
		runner_start(&run[i], sleeper_read, &sleeper[i]);
		assert_true(runner_sleeps(&run[i]));
	}
	atomic_store(&sleeper[1].ended, true);
	range_close(&range[1]);
	runner_join(&run[1]);
	assert_true(runner_sleeps(&run[0]));
	atomic_store(&sleeper[0].ended, true);
	range_close(&range[0]);
	runner_join(&run[0]);
	for (i = 0; i < 2; i++)
		probe_remove(&probe[i]);
	close_mm(mm);
}

#define READERS 6

static void test_g4_one_end_releases_all_its_readers(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range range;
	struct probe probe;
	struct sleeper sleeper = {.probe = &probe};
	struct sleeper each[READERS];
	struct runner run[READERS];
	int i;

	probe_add(&probe, mm, A, LENGTH);
	range_open(&range, mm, A, A + PAGE);
	for (i = 0; i < READERS; i++) {
		each[i] = sleeper;
		runner_start(&run[i], sleeper_read, &each[i]);
		assert_true(runner_sleeps(&run[i]));
	}
	for (i = 0; i < READERS; i++)
		atomic_store(&each[i].ended, true);
	range_close(&range);
	for (i = 0; i < READERS; i++) {
		runner_join(&run[i]);
		assert_false(mmu_interval_read_retry(&probe.sub, each[i].seq));
	}
	probe_remove(&probe);
	close_mm(mm);
}

static void test_g4_pairs_need_not_nest_in_order(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range range[MANY];
	struct probe probe[MANY], whole;
	int i, k, last;

	probe_add(&whole, mm, A, 2 * MANY * PAGE);
	for (i = 0; i < MANY; i++) {
		probe_add(&probe[i], mm, A + 2 * i * PAGE, PAGE);
		range_open(&range[i], mm, A + 2 * i * PAGE, A + (2 * i + 1) * PAGE);
	}
	for (i = 0; i < MANY; i++) {
		last = (i * 17) % MANY; /* a permutation */
		assert_int_equal(probe_poll(&probe[last]), -ETIMEDOUT);
		assert_int_equal(probe_poll(&whole), -ETIMEDOUT);
		range_close(&range[last]);
		for (k = 0; k < MANY; k++)
			if (k == last)
				assert_int_equal(probe_poll(&probe[k]), 0);
	}
	assert_int_equal(probe_poll(&whole), 0);
	assert_int_equal(atomic_load(&whole.calls), MANY);
	for (i = 0; i < MANY; i++)
		probe_remove(&probe[i]);
	probe_remove(&whole);
	close_mm(mm);
}

static void end_range(void *arg)
{
	range_close(arg);
}

static void test_g4_end_from_another_thread(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range range[2];
	struct runner run;
	struct probe probe;
	int round;

	probe_add(&probe, mm, A, LENGTH);
	for (round = 0; round < 50; round++) {
		range_open(&range[0], mm, A, A + LENGTH);
		range_open(&range[1], mm, A, A + LENGTH);
		runner_start(&run, end_range, &range[round % 2]);
		runner_join(&run);
		assert_int_equal(probe_poll(&probe), -ETIMEDOUT);
		range_close(&range[!(round % 2)]);
		assert_int_equal(probe_poll(&probe), 0);
	}
	probe_remove(&probe);
	close_mm(mm);
}

/* The thread that called start is gone when end is called, and may be reused. */
static void test_g4_end_after_the_starting_thread_is_gone(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct held held[8];
	struct runner run;
	struct probe probe;
	int i;

	probe_add(&probe, mm, A, LENGTH);
	for (i = 0; i < 8; i++) {
		held_init(&held[i], mm, A, A + LENGTH);
		runner_start(&run, held_start, &held[i]);
		runner_join(&run);
	}
	for (i = 0; i < 8; i++) {
		assert_int_equal(probe_poll(&probe), -ETIMEDOUT);
		range_close(&held[i].range);
	}
	assert_int_equal(probe_poll(&probe), 0);
	probe_remove(&probe);
	close_mm(mm);
}

/* ---- G4: the non-blocking start ---- */

static void test_g4_nonblock_accepted_is_an_ordinary_start(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range range;
	struct probe probe;

	probe_add(&probe, mm, A, LENGTH);
	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, mm, A, A + LENGTH);
	assert_int_equal(quiet(mmu_notifier_invalidate_range_start_nonblock(&range)), 0);
	assert_int_equal(atomic_load(&probe.calls), 1);
	assert_int_equal(probe_poll(&probe), -ETIMEDOUT);
	range_close(&range);
	assert_int_equal(probe_poll(&probe), 0);
	probe_remove(&probe);
	close_mm(mm);
}

static void test_g4_nonblock_refused_by_each_in_turn(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range range;
	struct probe probe[8], outside;
	int i, k;

	for (i = 0; i < 8; i++)
		probe_add(&probe[i], mm, A + i, LENGTH);
	probe_add(&outside, mm, B, LENGTH);
	outside.refuse = true; /* never asked */
	for (i = 0; i < 8; i++) {
		probe[i].refuse = true;
		mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, mm, A, A + LENGTH);
		assert_int_equal(quiet(mmu_notifier_invalidate_range_start_nonblock(&range)),
				 -EAGAIN);
		for (k = 0; k < 8; k++) /* nothing is open */
			assert_int_equal(probe_poll(&probe[k]), 0);
		assert_int_equal(atomic_load(&probe[i].running), 0);
		/* the blocking start does not take the answer for a refusal */
		invalidate(mm, A, A + LENGTH);
		probe[i].refuse = false;
	}
	assert_int_equal(atomic_load(&outside.calls), 0);
	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, mm, A, A + LENGTH);
	assert_int_equal(quiet(mmu_notifier_invalidate_range_start_nonblock(&range)), 0);
	for (i = 0; i < 8; i++)
		assert_int_equal(probe_poll(&probe[i]), -ETIMEDOUT);
	range_close(&range);
	for (i = 0; i < 8; i++)
		probe_remove(&probe[i]);
	probe_remove(&outside);
	close_mm(mm);
}

static void see_blockable(struct probe *probe, const struct mmu_notifier_range *range)
{
	must(mmu_notifier_range_blockable(range) == (probe->arg != NULL));
}

static void test_g4_blockable_is_what_the_start_says(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range range;
	struct probe probe;

	probe_add(&probe, mm, A, LENGTH);
	probe.hook = see_blockable;
	probe.arg = NULL;
	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, MMU_NOTIFIER_RANGE_BLOCKABLE, mm, A,
				A + LENGTH);
	assert_int_equal(mmu_notifier_invalidate_range_start_nonblock(&range), 0);
	range_close(&range);
	probe.arg = &probe;
	range_open(&range, mm, A, A + 1);
	range_close(&range);
	assert_int_equal(atomic_load(&probe.calls), 2);
	probe_remove(&probe);
	close_mm(mm);
}

/* A refused start leaves other open ranges of the same subscription counted. */
static void test_g4_nonblock_refused_keeps_the_open_ones(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range open, refused;
	struct probe probe, other;
	struct sleeper sleeper = {.probe = &other};
	struct runner run;

	probe_add(&probe, mm, A, LENGTH);
	probe_add(&other, mm, A, LENGTH);
	range_open(&open, mm, A, A + PAGE);
	runner_start(&run, sleeper_read, &sleeper);
	assert_true(runner_sleeps(&run));
	probe.refuse = true;
	mmu_notifier_range_init(&refused, MMU_NOTIFY_CLEAR, 0, mm, A, A + LENGTH);
	assert_int_equal(mmu_notifier_invalidate_range_start_nonblock(&refused), -EAGAIN);
	assert_int_equal(probe_poll(&probe), -ETIMEDOUT);
	assert_int_equal(probe_poll(&other), -ETIMEDOUT);
	assert_true(runner_sleeps(&run));
	atomic_store(&sleeper.ended, true);
	range_close(&open);
	runner_join(&run);
	assert_int_equal(probe_poll(&probe), 0);
	probe_remove(&probe);
	probe_remove(&other);
	close_mm(mm);
}

/* A reader that fell asleep while the refused start was calling back wakes up. */
struct refuse_late {
	struct runner run;
	struct sleeper sleeper;
};

static void refuse_with_a_sleeper(struct probe *probe, const struct mmu_notifier_range *range)
{
	struct refuse_late *late = probe->arg;

	runner_start(&late->run, sleeper_read, &late->sleeper);
	must(runner_sleeps(&late->run));
	atomic_store(&late->sleeper.ended, true);
}

static void test_g4_nonblock_refused_wakes_readers(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range range;
	struct refuse_late late;
	struct probe probe;

	memset(&late, 0, sizeof(late));
	late.sleeper.probe = &probe;
	probe_add(&probe, mm, A, LENGTH);
	probe.refuse = true;
	probe.arg = &late;
	probe.hook = refuse_with_a_sleeper;
	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, mm, A, A + LENGTH);
	assert_int_equal(mmu_notifier_invalidate_range_start_nonblock(&range), -EAGAIN);
	runner_join(&late.run);
	probe_remove(&probe);
	close_mm(mm);
}

/* ---- G4: many open, nested in callbacks ---- */

static void test_g4_many_open_at_once_in_one_thread(void **state)
{
	const int n = 70000 / API_SLOW; /* more than 16 bits count, when not slowed */
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range *range = calloc(n, sizeof(*range));
	struct probe probe, late;
	int i;

	probe_add(&probe, mm, A, LENGTH);
	for (i = 0; i < n; i++)
		range_open(&range[i], mm, A + i % 7, A + LENGTH + i % 5);
	assert_int_equal(atomic_load(&probe.calls), n);
	probe_add(&late, mm, A + 7, 1);
	for (i = 0; i < n; i++) {
		if (i < 300 || i > n - 300) {
			assert_int_equal(probe_poll(&probe), -ETIMEDOUT);
			assert_int_equal(probe_poll(&late), -ETIMEDOUT);
		}
		range_close(&range[i]);
	}
	assert_int_equal(probe_poll(&probe), 0);
	assert_int_equal(probe_poll(&late), 0);
	probe_remove(&probe);
	probe_remove(&late);
	free(range);
	close_mm(mm);
}

#define DEPTH 300

struct tower {
	struct probe *probe; /* DEPTH + 1 of them */
	int depth;
};

static void climb(struct probe *probe, const struct mmu_notifier_range *range)
{
	struct tower *tower = probe->arg;
	struct mmu_notifier_range next;
	int depth = ++tower->depth;

	must(probe == &tower->probe[depth - 1]);
	if (depth == DEPTH)
		return;
	range_open(&next, range->mm, A + depth * PAGE, A + (depth + 1) * PAGE);
	must(atomic_load(&tower->probe[depth].calls) == 1);
	range_close(&next);
}

static void test_g4_nesting_from_inside_callbacks(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct probe *probe = calloc(DEPTH, sizeof(*probe));
	struct tower tower = {.probe = probe};
	int i;

	for (i = 0; i < DEPTH; i++) {
		probe_add(&probe[i], mm, A + i * PAGE, PAGE);
		probe[i].hook = climb;
		probe[i].arg = &tower;
	}
	invalidate(mm, A, A + PAGE);
	for (i = 0; i < DEPTH; i++) {
		assert_int_equal(atomic_load(&probe[i].calls), 1);
		assert_int_equal(probe_poll(&probe[i]), 0);
		probe_remove(&probe[i]);
	}
	free(probe);
	close_mm(mm);
}

struct recursion {
	int depth;
	struct mmu_notifier_range left_open; /* by the innermost, ended by the test */
};

static void recurse(struct probe *probe, const struct mmu_notifier_range *range)
{
	struct recursion *recursion = probe->arg;

	recursion->depth++;
	if (recursion->depth < DEPTH)
		invalidate(range->mm, A, A + PAGE);
	else if (recursion->depth == DEPTH)
		range_open(&recursion->left_open, range->mm, A, A + PAGE);
}

static void test_g4_a_callback_that_invalidates_itself(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct recursion recursion = {0};
	struct mmu_notifier_range range;
	struct probe probe;

	probe_add(&probe, mm, A, LENGTH);
	probe.hook = recurse;
	probe.arg = &recursion;
	range_open(&range, mm, A, A + PAGE);
	assert_int_equal(atomic_load(&probe.calls), DEPTH + 1);
	range_close(&range);
	assert_int_equal(probe_poll(&probe), -ETIMEDOUT); /* the inner one outlives it */
	range_close(&recursion.left_open);
	assert_int_equal(probe_poll(&probe), 0);
	probe_remove(&probe);
	close_mm(mm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_g4_nobody_waits_for_unrelated_open_ranges),
		cmocka_unit_test(test_g4_nobody_waits_for_an_unrelated_callback),
		cmocka_unit_test(test_g4_reader_waits_for_its_own_range_only),
		cmocka_unit_test(test_g4_one_end_releases_all_its_readers),
		cmocka_unit_test(test_g4_pairs_need_not_nest_in_order),
		cmocka_unit_test(test_g4_end_from_another_thread),
		cmocka_unit_test(test_g4_end_after_the_starting_thread_is_gone),
		cmocka_unit_test(test_g4_nonblock_accepted_is_an_ordinary_start),
		cmocka_unit_test(test_g4_nonblock_refused_by_each_in_turn),
		cmocka_unit_test(test_g4_blockable_is_what_the_start_says),
		cmocka_unit_test(test_g4_nonblock_refused_keeps_the_open_ones),
		cmocka_unit_test(test_g4_nonblock_refused_wakes_readers),
		cmocka_unit_test(test_g4_many_open_at_once_in_one_thread),
		cmocka_unit_test(test_g4_nesting_from_inside_callbacks),
		cmocka_unit_test(test_g4_a_callback_that_invalidates_itself),
	};

	api_guard(100);
	return cmocka_run_group_tests_name("progress", tests, NULL, NULL);
}
