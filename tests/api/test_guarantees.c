// SPDX-License-Identifier: MIT
/*
 * test_guarantees.c - G2, G3, G5, G6: each line of the header's list by a forced
 * interleaving. G1 has test_meetings.c, G4 test_progress.c.
 */
#include "api.h"

#define A 0x100000UL
#define B 0x9000000UL
#define LENGTH (16 * PAGE)

/* ---- G2: no missed range ---- */

static void test_g2_insert_while_open_waits_for_its_end(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range range;
	struct probe probe;

	range_open(&range, mm, A, A + LENGTH);
	probe_add(&probe, mm, A + PAGE, PAGE);
	assert_int_equal(probe_poll(&probe), -ETIMEDOUT);
	range_close(&range);
	assert_int_equal(probe_poll(&probe), 0);
	probe_remove(&probe);
	close_mm(mm);
}

static void test_g2_insert_while_open_sleeps_until_its_end(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range range;
	struct probe probe;
	struct sleeper sleeper = {.probe = &probe};
	struct runner run;

	range_open(&range, mm, A, A + LENGTH);
	probe_add(&probe, mm, A + LENGTH - 1, PAGE);
	runner_start(&run, sleeper_read, &sleeper);
	assert_true(runner_sleeps(&run));
	atomic_store(&sleeper.ended, true);
	range_close(&range);
	runner_join(&run);
	assert_false(mmu_interval_read_retry(&probe.sub, sleeper.seq));
	probe_remove(&probe);
	close_mm(mm);
}

static void test_g2_insert_beside_an_open_range_does_not_wait(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range range;
	struct probe before, after, one;

	range_open(&range, mm, A + 1, A + 2);
	probe_add(&before, mm, A - PAGE, PAGE + 1);
	probe_add(&after, mm, A + 2, PAGE);
	probe_add(&one, mm, A + 1, 1);
	assert_int_equal(probe_poll(&before), 0);
	assert_int_equal(probe_poll(&after), 0);
	assert_int_equal(probe_poll(&one), -ETIMEDOUT);
	range_close(&range);
	assert_int_equal(probe_poll(&one), 0);
	probe_remove(&one);
	probe_remove(&after);
	probe_remove(&before);
	close_mm(mm);
}

static void insert_from_callback(struct probe *probe, const struct mmu_notifier_range *range)
{
	struct probe *other = probe->arg;

	if (!other)
		return;
	probe->arg = NULL;
	probe_add(other, range->mm, A + PAGE, PAGE);
}

/* The invalidation that is calling back now: its list of callees was made already. */
static void test_g2_insert_inside_a_callback_of_the_same(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range range;
	struct probe probe, other;

	probe_add(&probe, mm, A, LENGTH);
	probe.hook = insert_from_callback;
	probe.arg = &other;
	range_open(&range, mm, A, A + LENGTH);
	assert_null(probe.arg);
	assert_int_equal(probe_poll(&other), -ETIMEDOUT);
	range_close(&range);
	assert_int_equal(probe_poll(&other), 0);
	invalidate(mm, A + PAGE, A + PAGE + 1);
	assert_true(atomic_load(&other.calls) >= 1);
	probe_remove(&other);
	probe_remove(&probe);
	close_mm(mm);
}

static void test_g2_insert_inside_a_refused_nonblocking_start(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range range;
	struct probe probe, other;

	probe_add(&probe, mm, A, LENGTH);
	probe.hook = insert_from_callback;
	probe.arg = &other;
	probe.refuse = true;
	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, mm, A, A + LENGTH);
	assert_int_equal(quiet(mmu_notifier_invalidate_range_start_nonblock(&range)), -EAGAIN);
	assert_null(probe.arg);
	assert_int_equal(probe_poll(&other), 0); /* its count was undone too */
	assert_int_equal(probe_poll(&probe), 0);
	probe_remove(&other);
	probe_remove(&probe);
	close_mm(mm);
}

#define MANY 40

/* Insert k between the k-th and the k+1st start: waits for the first k only. */
static void test_g2_insert_between_start_and_end_of_several(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range range[MANY];
	struct probe probe[MANY + 1];
	int i, k;

	for (k = 0; k <= MANY; k++) {
		probe_add(&probe[k], mm, A + k, LENGTH);
		if (k < MANY)
			range_open(&range[k], mm, A + 2 * PAGE, A + 3 * PAGE + k);
	}
	for (k = 0; k < MANY; k++) {
		for (i = 0; i <= MANY; i++)
			assert_int_equal(probe_poll(&probe[i]), -ETIMEDOUT);
		range_close(&range[k]);
	}
	for (k = 0; k <= MANY; k++) {
		assert_int_equal(probe_poll(&probe[k]), 0);
		assert_true(atomic_load(&probe[k].calls) >= MANY - k);
		probe_remove(&probe[k]);
	}
	close_mm(mm);
}

/* What was counted for one life of the structure does not count in the next. */
static void test_g2_reinsert_elsewhere_counts_anew(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range first, second;
	struct probe probe;

	probe_add(&probe, mm, A, LENGTH);
	range_open(&first, mm, A, A + LENGTH);
	range_open(&second, mm, B, B + LENGTH);
	probe_remove(&probe);
	probe_add(&probe, mm, B, LENGTH);
	assert_int_equal(probe_poll(&probe), -ETIMEDOUT);
	range_close(&first); /* not the one it waits for */
	assert_int_equal(probe_poll(&probe), -ETIMEDOUT);
	probe_remove(&probe);
	probe_add(&probe, mm, A, LENGTH); /* nothing is open there now */
	assert_int_equal(probe_poll(&probe), 0);
	range_close(&second);
	assert_int_equal(probe_poll(&probe), 0);
	probe_remove(&probe);
	close_mm(mm);
}

/* ---- G3: lifetime ---- */

static void held_remove(void *arg)
{
	struct held *held = arg;

	probe_remove(held->probe);
	must(atomic_load(&held->probe->running) == 0);
	atomic_store(&held->removed, 1);
}

static void test_g3_remove_waits_for_its_running_callback(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct held held;
	struct runner starting, removing;
	struct probe probe;

	held_init(&held, mm, A, A + LENGTH);
	held.probe = &probe;
	probe_add(&probe, mm, A, LENGTH);
	probe.hook = held_callback;
	probe.arg = &held;
	runner_start(&starting, held_start, &held);
	gate_pass(&held.inside);
	runner_start(&removing, held_remove, &held);
	assert_true(runner_sleeps(&removing));
	gate_open(&held.go);
	runner_join(&removing); /* the range is still open: not for an end */
	runner_join(&starting);
	assert_int_equal(atomic_load(&held.removed), 1);
	range_close(&held.range);
	invalidate(mm, A, A + LENGTH);
	assert_int_equal(atomic_load(&probe.calls), 1);
	close_mm(mm);
}

static void test_g3_remove_waits_for_all_threads_inside(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct held held[2];
	struct runner starting[2], removing;
	struct probe probe;
	int i;

	probe_add(&probe, mm, A, LENGTH);
	probe.hook = held_callback;
	for (i = 0; i < 2; i++) {
		held_init(&held[i], mm, A, A + LENGTH);
		held[i].probe = &probe;
		probe.arg = &held[i];
		runner_start(&starting[i], held_start, &held[i]);
		gate_pass(&held[i].inside);
	}
	runner_start(&removing, held_remove, &held[0]);
	assert_true(runner_sleeps(&removing));
	gate_open(&held[1].go);
	runner_join(&starting[1]);
	assert_true(runner_sleeps(&removing));
	gate_open(&held[0].go);
	runner_join(&removing);
	runner_join(&starting[0]);
	range_close(&held[0].range);
	range_close(&held[1].range);
	assert_int_equal(atomic_load(&probe.calls), 2);
	close_mm(mm);
}

/* Depth 0 starts depth 1 of itself; one of both stops at the gate. */
struct nested {
	struct held held;
	int stop_at, depth;
};

static void nest_in_callback(struct probe *probe, const struct mmu_notifier_range *range)
{
	struct nested *nested = probe->arg;
	int depth = nested->depth++;

	if (depth == 0)
		invalidate(range->mm, A, A + PAGE);
	if (depth == nested->stop_at) {
		gate_open(&nested->held.inside);
		gate_pass(&nested->held.go);
	}
}

static void remove_while_nested(int stop_at)
{
	struct mm_struct *mm = open_mm(0);
	struct nested nested = {.stop_at = stop_at};
	struct runner starting, removing;
	struct probe probe;

	held_init(&nested.held, mm, A, A + LENGTH);
	nested.held.probe = &probe;
	probe_add(&probe, mm, A, LENGTH);
	probe.hook = nest_in_callback;
	probe.arg = &nested;
	runner_start(&starting, held_start, &nested.held);
	gate_pass(&nested.held.inside);
	assert_int_equal(atomic_load(&probe.running), stop_at ? 2 : 1);
	runner_start(&removing, held_remove, &nested.held);
	assert_true(runner_sleeps(&removing));
	gate_open(&nested.held.go);
	runner_join(&removing);
	runner_join(&starting);
	range_close(&nested.held.range);
	assert_int_equal(atomic_load(&probe.calls), 2);
	close_mm(mm);
}

static void test_g3_remove_waits_for_the_inner_of_nested_callbacks(void **state)
{
	remove_while_nested(1);
}

static void test_g3_remove_waits_for_the_outer_of_nested_callbacks(void **state)
{
	remove_while_nested(0);
}

static void test_g3_remove_does_not_wait_for_an_end(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range range;
	struct probe probe;
	const unsigned char *byte = (const unsigned char *)&probe.sub;
	size_t i;

	probe_add(&probe, mm, A, LENGTH);
	range_open(&range, mm, A, A + LENGTH);
	probe_remove(&probe);
	memset(&probe, 0x5a, sizeof(probe));
	range_close(&range); /* must not touch what it had called */
	for (i = 0; i < sizeof(probe.sub); i++)
		assert_int_equal(byte[i], 0x5a);
	close_mm(mm);
}

/*
 * Two subscriptions; whichever is called first stops. The other is queued, which
 * is not running: its remove returns, and it is not called any more.
 */
static struct probe *first_called;

static void block_the_first(struct probe *probe, const struct mmu_notifier_range *range)
{
	struct held *held = probe->arg;

	if (!first_called) {
		first_called = probe;
		gate_open(&held->inside);
		gate_pass(&held->go);
	}
}

static void test_g3_remove_does_not_wait_for_a_queued_callback(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct held held;
	struct runner starting;
	struct probe probe[2], *other;
	int i;

	first_called = NULL;
	held_init(&held, mm, A, A + LENGTH);
	for (i = 0; i < 2; i++) {
		probe_add(&probe[i], mm, A + i * PAGE, LENGTH);
		probe[i].hook = block_the_first;
		probe[i].arg = &held;
	}
	runner_start(&starting, held_start, &held);
	gate_pass(&held.inside);
	other = first_called == &probe[0] ? &probe[1] : &probe[0];
	assert_int_equal(atomic_load(&other->calls), 0);
	probe_remove(other);
	gate_open(&held.go);
	runner_join(&starting);
	assert_int_equal(atomic_load(&other->calls), 0);
	range_close(&held.range);
	probe_remove(first_called);
	close_mm(mm);
}

static void test_g3_no_callback_after_remove(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct probe probe[64];
	int i, k;

	for (i = 0; i < 64; i++)
		probe_add(&probe[i], mm, A + i, LENGTH);
	for (i = 0; i < 64; i++) {
		probe_remove(&probe[(i * 37) % 64]);
		memset(&probe[(i * 37) % 64], 0x5a, sizeof(probe[0]));
		invalidate(mm, A, A + LENGTH);
		for (k = 0; k <= i; k++)
			assert_int_equal(atomic_load(&probe[(k * 37) % 64].calls), 0x5a5a5a5a);
	}
	close_mm(mm);
}

/* ---- G5: order. Plain data: a race detector has nothing but the library ---- */

struct letter {
	struct probe *probe;
	int words[64];
	int sum;
};

static void read_letter(void *arg)
{
	struct letter *letter = arg;
	int i;

	mmu_interval_read_begin(&letter->probe->sub);
	for (i = 0; i < 64; i++)
		letter->sum += letter->words[i];
}

static void test_g5_what_was_written_before_end_is_read(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range range;
	struct letter letter;
	struct runner run;
	struct probe probe;
	int i, round;

	probe_add(&probe, mm, A, LENGTH);
	for (round = 0; round < 50 / API_SLOW; round++) {
		memset(&letter, 0, sizeof(letter));
		letter.probe = &probe;
		range_open(&range, mm, A, A + PAGE);
		runner_start(&run, read_letter, &letter);
		assert_true(runner_sleeps(&run));
		for (i = 0; i < 64; i++)
			letter.words[i] = i;
		range_close(&range);
		runner_join(&run);
		assert_int_equal(letter.sum, 64 * 63 / 2);
	}
	probe_remove(&probe);
	close_mm(mm);
}

/* The reader that finds the range closed already is ordered just so. */
static void test_g5_without_sleeping(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range range;
	struct letter letter;
	struct runner run;
	struct probe probe;
	int i, round;

	probe_add(&probe, mm, A, LENGTH);
	for (round = 0; round < 500 / API_SLOW; round++) {
		memset(&letter, 0, sizeof(letter));
		letter.probe = &probe;
		range_open(&range, mm, A, A + PAGE);
		runner_start(&run, read_letter, &letter);
		for (i = 0; i < 64; i++)
			letter.words[i] = i;
		range_close(&range);
		runner_join(&run);
		assert_int_equal(letter.sum, 64 * 63 / 2);
	}
	probe_remove(&probe);
	close_mm(mm);
}

/* ---- G6: wrap ---- */

static void test_g6_sequences_have_64_bits(void **state)
{
	assert_int_equal(sizeof(mmu_interval_read_begin(NULL)) * CHAR_BIT, 64);
}

static void test_g6_an_old_sequence_never_becomes_good_again(void **state)
{
	const int rounds = (1 << 20) / API_SLOW;
	struct mm_struct *mm = open_mm(0);
	struct probe probe;
	unsigned long first, seq, last;
	int i;

	probe_add(&probe, mm, A, LENGTH);
	first = last = mmu_interval_read_begin(&probe.sub);
	for (i = 0; i < rounds; i++) {
		invalidate(mm, A, A + 1);
		assert_true(mmu_interval_read_retry(&probe.sub, first));
		assert_false(hmmu_access_ok(&probe.sub, first));
		assert_true(mmu_interval_read_retry(&probe.sub, last));
		seq = mmu_interval_read_begin(&probe.sub);
		assert_false(mmu_interval_read_retry(&probe.sub, seq));
		assert_true(seq != first && seq != last);
		last = seq;
	}
	probe_remove(&probe);
	close_mm(mm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_g2_insert_while_open_waits_for_its_end),
		cmocka_unit_test(test_g2_insert_while_open_sleeps_until_its_end),
		cmocka_unit_test(test_g2_insert_beside_an_open_range_does_not_wait),
		cmocka_unit_test(test_g2_insert_inside_a_callback_of_the_same),
		cmocka_unit_test(test_g2_insert_inside_a_refused_nonblocking_start),
		cmocka_unit_test(test_g2_insert_between_start_and_end_of_several),
		cmocka_unit_test(test_g2_reinsert_elsewhere_counts_anew),
		cmocka_unit_test(test_g3_remove_waits_for_its_running_callback),
		cmocka_unit_test(test_g3_remove_waits_for_all_threads_inside),
		cmocka_unit_test(test_g3_remove_waits_for_the_inner_of_nested_callbacks),
		cmocka_unit_test(test_g3_remove_waits_for_the_outer_of_nested_callbacks),
		cmocka_unit_test(test_g3_remove_does_not_wait_for_an_end),
		cmocka_unit_test(test_g3_remove_does_not_wait_for_a_queued_callback),
		cmocka_unit_test(test_g3_no_callback_after_remove),
		cmocka_unit_test(test_g5_what_was_written_before_end_is_read),
		cmocka_unit_test(test_g5_without_sleeping),
		cmocka_unit_test(test_g6_sequences_have_64_bits),
		cmocka_unit_test(test_g6_an_old_sequence_never_becomes_good_again),
	};

	api_guard(100);
	return cmocka_run_group_tests_name("guarantees", tests, NULL, NULL);
}
