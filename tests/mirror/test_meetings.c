// SPDX-License-Identifier: MIT
/*
 * test_meetings.c - the three meetings of mapping and invalidating, each forced, and each
 * with a bug planted that the same scene must show. (The plant build.)
 */
#include "bed.h"

#include "mirror/mirror.h"
#include "plant.h"

static struct bed bed;
static int stops;
static struct gate stopped, go;

static void plant(enum hmmu_mirror_plant bug)
{
	hmmu_mirror_planted = bug;
}

static void nothing_planted(void)
{
	hmmu_mirror_planted = MIRROR_PLANT_NONE;
	hmmu_planted = HMMU_PLANT_NONE;
	hmmu_mirror_gate = NULL;
}

/* The device's last word: after everything is over. */
static long finally(unsigned long page)
{
	long seen;

	nothing_planted();
	seen = bed_access(&bed, page);
	bed_close(&bed);
	return seen;
}

static void map_one(void *arg)
{
	(void)arg;
	must(bed_map(&bed, 3, 1, 0) == 0);
}

/* 1. Between the read of the page tables and the lock. */
static void change_once(enum hmmu_mirror_gate gate)
{
	if (gate == MIRROR_GATE_FAULTED && !stops++)
		bed_change(&bed, 3, 1, 2);
}

static void stop_once(enum hmmu_mirror_gate gate)
{
	if (gate == MIRROR_GATE_FAULTED && !stops++) {
		gate_open(&stopped);
		gate_pass(&go);
	}
}

static void test_retry_after_end(void **state)
{
	stops = 0;
	assert_true(bed_open(&bed, HMMU_SOURCE_EXPLICIT));
	hmmu_mirror_gate = change_once;
	map_one(NULL);
	assert_int_equal(stops, 2);
	assert_int_equal(bed_stats(&bed).retries, 1);
	assert_int_equal(finally(3), 2);
}

static void play_retry_before_end(bool sleeps)
{
	struct mmu_notifier_range range;
	struct runner run;

	stops = 0;
	gate_init(&stopped);
	gate_init(&go);
	assert_true(bed_open(&bed, HMMU_SOURCE_EXPLICIT));
	hmmu_mirror_gate = stop_once;
	runner_start(&run, map_one, NULL);
	gate_pass(&stopped);
	range_open(&range, bed.mm, bed_addr(&bed, 3), bed_addr(&bed, 4));
	gate_open(&go);
	assert_int_equal(runner_sleeps(&run), sleeps);
	bed_remap(&bed, 3, 1, 2);
	range_close(&range);
	runner_join(&run);
}

static void test_retry_before_end(void **state)
{
	play_retry_before_end(true);
	assert_int_equal(finally(3), 2);
}

static void test_planted_no_retry(void **state)
{
	plant(MIRROR_PLANT_NO_RETRY);
	play_retry_before_end(false);
	assert_int_equal(finally(3), 1);
}

/* What cannot be mapped while it changes can be afterwards. */
static struct mmu_notifier_range away;

static void away_for_a_moment(enum hmmu_mirror_gate gate)
{
	void *at = bed.mem + 3 * PAGE;

	if (gate == MIRROR_GATE_LOOKED && !stops++) {
		range_open(&away, bed.mm, bed_addr(&bed, 3), bed_addr(&bed, 4));
		must(munmap(at, PAGE) == 0);
	} else if (gate == MIRROR_GATE_FAULTED && stops++ == 1) {
		bed_remap(&bed, 3, 1, 2);
		range_close(&away);
	}
}

static void test_error_of_a_moment(void **state)
{
	stops = 0;
	assert_true(bed_open(&bed, HMMU_SOURCE_EXPLICIT));
	hmmu_mirror_gate = away_for_a_moment;
	map_one(NULL);
	assert_int_equal(finally(3), 2);
}

/* A hole, which a change fills after it was found. */
static void filled_since(enum hmmu_mirror_gate gate)
{
	if (gate == MIRROR_GATE_LOOKED && !stops++)
		must(munmap(bed.mem + 3 * PAGE, PAGE) == 0);
	else if (gate == MIRROR_GATE_FAULTED && stops++ == 1)
		bed_change(&bed, 3, 1, 2);
}

static void test_error_that_is_over(void **state)
{
	stops = 0;
	assert_true(bed_open(&bed, HMMU_SOURCE_EXPLICIT));
	hmmu_mirror_gate = filled_since;
	map_one(NULL);
	assert_int_equal(finally(3), 2);
}

/* A change at each try: the deadline ends it. */
static void change_always(enum hmmu_mirror_gate gate)
{
	if (gate == MIRROR_GATE_FAULTED)
		bed_change(&bed, 3, 1, 2);
}

static void test_changes_without_pause(void **state)
{
	static const struct timespec now = {0, 0};
	unsigned long done = 9;

	assert_true(bed_open(&bed, HMMU_SOURCE_EXPLICIT));
	hmmu_mirror_gate = change_always;
	assert_int_equal(hmmu_mirror_map(bed.mirror, bed_addr(&bed, 3), 1, 0, &done, &now),
			 -ETIMEDOUT);
	assert_int_equal(done, 0);
	assert_int_equal(bed_stats(&bed).entries, 0);
	assert_int_equal(bed_stats(&bed).retries, 1);
	assert_int_equal(finally(3), 2);
}

/* 2. The device is under its lock: the change waits. */
static void change_three(void *arg)
{
	(void)arg;
	bed_change(&bed, 3, 1, 2);
}

static void play_block(void)
{
	struct runner run;

	assert_true(bed_open(&bed, HMMU_SOURCE_EXPLICIT));
	map_one(NULL);
	hmmu_mirror_lock(bed.mirror);
	assert_int_equal(hmmu_mirror_lookup(bed.mirror, bed_addr(&bed, 3) + 17, false, NULL),
			 0);
	runner_start(&run, change_three, NULL);
	assert_true(runner_sleeps(&run));
	assert_int_equal(*(volatile long *)(bed.mem + 3 * PAGE), 1);
	assert_int_equal(bed.shadow[3], 1);
	/* It has begun: no further access, though it waits for the last one. */
	assert_int_equal(hmmu_mirror_lookup(bed.mirror, bed_addr(&bed, 3), false, NULL),
			 -EAGAIN);
	hmmu_mirror_unlock(bed.mirror);
	runner_join(&run);
}

static void test_block(void **state)
{
	play_block();
	assert_int_equal(bed_look(&bed, 3), -EAGAIN);
	assert_int_equal(bed.shadow[3], 0);
	assert_int_equal(finally(3), 2);
}

static void test_planted_keeps(void **state)
{
	plant(MIRROR_PLANT_KEEPS);
	play_block();
	assert_int_equal(finally(3), 1);
}

/* 1, of who only wants to know what is left: what was good before is not taken for it. */
static void change_begun(enum hmmu_mirror_gate gate)
{
	if (gate == MIRROR_GATE_BEGUN && !stops++)
		bed_change(&bed, 3, 1, 2);
}

static void play_settle(int answer)
{
	static const struct timespec now = {0, 0};

	stops = 0;
	assert_true(bed_open(&bed, HMMU_SOURCE_EXPLICIT));
	hmmu_mirror_gate = change_begun;
	assert_int_equal(hmmu_mirror_settle(bed.mirror, &now), answer);
	assert_int_equal(bed_look(&bed, 5), -EAGAIN);
	stops = 0;
	assert_int_equal(hmmu_mirror_settle(bed.mirror, NULL), 0);
	assert_int_equal(stops, answer ? 2 : 1);
}

static void test_settle(void **state)
{
	play_settle(-ETIMEDOUT);
	assert_int_equal(bed_stats(&bed).retries, 2);
	assert_int_equal(bed_look(&bed, 5), -ENOENT);
	assert_int_equal(finally(3), 2);
}

static void test_planted_settle(void **state)
{
	plant(MIRROR_PLANT_NO_RETRY);
	play_settle(0);
	assert_int_equal(bed_look(&bed, 5), -EAGAIN);
	nothing_planted();
	bed_close(&bed);
}

/* 3. The device faults while a change is open. */
static void play_wait(bool sleeps)
{
	struct mmu_notifier_range range;
	struct runner run;

	assert_true(bed_open(&bed, HMMU_SOURCE_EXPLICIT));
	range_open(&range, bed.mm, bed_addr(&bed, 3), bed_addr(&bed, 4));
	runner_start(&run, map_one, NULL);
	assert_int_equal(runner_sleeps(&run), sleeps);
	bed_remap(&bed, 3, 1, 2);
	assert_int_equal(runner_sleeps(&run), sleeps);
	range_close(&range);
	runner_join(&run);
}

static void test_wait(void **state)
{
	play_wait(true);
	assert_int_equal(finally(3), 2);
}

static void test_planted_no_wait(void **state)
{
	hmmu_planted = HMMU_PLANT_NO_WAIT;
	play_wait(false);
	assert_int_equal(finally(3), 1);
}

/* A page given back while it is being installed: what was read before does not count. */
static void drop_once(enum hmmu_mirror_gate gate)
{
	if (gate == MIRROR_GATE_FAULTED && !stops++)
		hmmu_mirror_drop(bed.mirror, bed_addr(&bed, 3), bed_addr(&bed, 4));
}

static int play_drop(void)
{
	stops = 0;
	assert_true(bed_open(&bed, HMMU_SOURCE_EXPLICIT));
	hmmu_mirror_gate = drop_once;
	map_one(NULL);
	nothing_planted();
	bed_close(&bed);
	return stops;
}

static void test_drop(void **state)
{
	assert_int_equal(play_drop(), 2);
	plant(MIRROR_PLANT_NO_DROPS);
	assert_int_equal(play_drop(), 1);
}

/* What is read while the memory changes is read again. */
static void change_copied(enum hmmu_mirror_gate gate)
{
	if (gate == MIRROR_GATE_COPIED && !stops++)
		bed_change(&bed, 3, 1, 2);
}

static long play_copied(void)
{
	long value = 0;

	stops = 0;
	assert_true(bed_open(&bed, HMMU_SOURCE_EXPLICIT));
	hmmu_mirror_gate = change_copied;
	must(hmmu_mirror_read(bed.mirror, bed_addr(&bed, 3), &value, sizeof(value), NULL) ==
	     sizeof(value));
	nothing_planted();
	bed_close(&bed);
	return value;
}

static void test_read_is_checked(void **state)
{
	assert_int_equal(play_copied(), 2);
	assert_int_equal(stops, 2);
	plant(MIRROR_PLANT_NO_CHECK);
	assert_int_equal(play_copied(), 1);
}

/* Others' changes, one at each copying: after some it copies under the lock. */
static void change_other(enum hmmu_mirror_gate gate)
{
	if (gate == MIRROR_GATE_COPIED) {
		stops++;
		bed_change(&bed, 9, 1, 2);
	}
}

static void test_read_gets_through(void **state)
{
	long value = 0;

	stops = 0;
	assert_true(bed_open(&bed, HMMU_SOURCE_EXPLICIT));
	hmmu_mirror_gate = change_other;
	assert_int_equal(
		hmmu_mirror_read(bed.mirror, bed_addr(&bed, 3), &value, sizeof(value), NULL),
		sizeof(value));
	assert_true(stops > 1);
	assert_int_equal(finally(3), 1);
	assert_int_equal(value, 1);
}

/* A write under way: a bracketed change waits, and the write does not hit the new page. */
static struct runner writer_run;

static void start_change(enum hmmu_mirror_gate gate)
{
	if (gate != MIRROR_GATE_PINNED || stops++)
		return;
	runner_start(&writer_run, change_three, NULL);
	must(runner_sleeps(&writer_run));
}

static void test_write_is_under_the_lock(void **state)
{
	long value = 77;

	stops = 0;
	assert_true(bed_open(&bed, HMMU_SOURCE_EXPLICIT));
	bed_change(&bed, 3, 1, 4000); /* a page of the file that nobody else has */
	hmmu_mirror_gate = start_change;
	assert_int_equal(
		hmmu_mirror_write(bed.mirror, bed_addr(&bed, 3), &value, sizeof(value), NULL),
		sizeof(value));
	runner_join(&writer_run);
	assert_int_equal(*(volatile long *)(bed.mem + 3 * PAGE), 2);
	assert_int_equal(pread(bed.file, &value, sizeof(value), 3999 * (off_t)PAGE),
			 sizeof(value));
	assert_int_equal(value, 77);
	assert_int_equal(finally(3), 2);
}

/* A hit on a part leaves the rest. */
static uint64_t play_part(void)
{
	uint64_t entries;

	assert_true(bed_open(&bed, HMMU_SOURCE_EXPLICIT));
	assert_int_equal(bed_map(&bed, 0, BED_PAGES, 0), 0);
	bed_change(&bed, 10, 5, 2);
	entries = bed_stats(&bed).entries;
	nothing_planted();
	bed_close(&bed);
	return entries;
}

static void test_planted_loses_rest(void **state)
{
	assert_int_equal(play_part(), BED_PAGES - 5);
	plant(MIRROR_PLANT_LOSES_REST);
	assert_int_equal(play_part(), 0);
}

/* An argument: a pattern of the tests to be run. */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_retry_after_end),
		cmocka_unit_test(test_retry_before_end),
		cmocka_unit_test(test_planted_no_retry),
		cmocka_unit_test(test_error_of_a_moment),
		cmocka_unit_test(test_error_that_is_over),
		cmocka_unit_test(test_changes_without_pause),
		cmocka_unit_test(test_block),
		cmocka_unit_test(test_planted_keeps),
		cmocka_unit_test(test_settle),
		cmocka_unit_test(test_planted_settle),
		cmocka_unit_test(test_wait),
		cmocka_unit_test(test_planted_no_wait),
		cmocka_unit_test(test_drop),
		cmocka_unit_test(test_read_is_checked),
		cmocka_unit_test(test_read_gets_through),
		cmocka_unit_test(test_write_is_under_the_lock),
		cmocka_unit_test(test_planted_loses_rest),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	api_guard(60);
	return cmocka_run_group_tests_name("mirror meetings", tests, NULL, NULL);
}
