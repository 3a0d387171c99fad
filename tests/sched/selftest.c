// SPDX-License-Identifier: MIT
/*
 * selftest.c - the scheduler finds what it is for, and only that.
 *
 * Each broken program must fail with the verdict that its bug deserves within a
 * number of seeds; the same program repaired must pass all of them. The replay
 * of a failing seed must give the same schedule, in this process and in another.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "atomic.h"
#include "futex.h"
#include "lock.h"
#include "scheduler.h"

#define SEEDS 2000

static uint32_t counter, flag, ready;
static struct hmmu_lock lock_a, lock_b;
static int inside;

static void reset(void)
{
	counter = flag = ready = 0;
	inside = 0;
	lock_a.word = lock_b.word = HMMU_LOCK_FREE;
}

/* ---- lost update ---- */

static void add_racy(void *arg)
{
	for (int i = 0; i < 2; i++) {
		uint32_t seen = hmmu_load_relaxed(&counter);

		hmmu_store_relaxed(&counter, seen + 1);
	}
}

static void add_atomic(void *arg)
{
	hmmu_add_relaxed(&counter, 1);
	hmmu_add_relaxed(&counter, 1);
}

static void add_locked(void *arg)
{
	for (int i = 0; i < 2; i++) {
		hmmu_lock(&lock_a);
		sched_assert(!inside);
		inside = 1;
		hmmu_store_relaxed(&counter, hmmu_load_relaxed(&counter) + 1);
		inside = 0;
		hmmu_unlock(&lock_a);
	}
}

static void check_four(void)
{
	sched_assert(counter == 4);
}

static void check_six(void)
{
	sched_assert(counter == 6);
}

/* ---- lost wake-up: the waiter looks, then sleeps whatever has come since ---- */

static void wait_broken(void *arg)
{
	if (!hmmu_load_acquire(&ready)) {
		uint32_t now = hmmu_load_relaxed(&flag);

		while (hmmu_futex_wait(&flag, now, NULL) && hmmu_load_acquire(&flag) == now)
			;
	}
}

static void wait_right(void *arg)
{
	for (;;) {
		uint32_t now = hmmu_load_acquire(&flag);

		if (hmmu_load_acquire(&ready))
			return;
		hmmu_futex_wait(&flag, now, NULL);
	}
}

static void signal_ready(void *arg)
{
	hmmu_store_release(&ready, 1);
	hmmu_add_seqcst(&flag, 1);
	hmmu_futex_wake(&flag, 1);
}

/* ---- a waiter that takes every wake-up for a real one ---- */

static void wait_credulous(void *arg)
{
	if (!hmmu_load_acquire(&ready)) {
		hmmu_futex_wait(&flag, 0, NULL);
		sched_assert(hmmu_load_acquire(&ready));
	}
}

/* ---- locks in two orders ---- */

static void lock_ab(void *arg)
{
	hmmu_lock(&lock_a);
	hmmu_lock(&lock_b);
	hmmu_unlock(&lock_b);
	hmmu_unlock(&lock_a);
}

static void lock_ba(void *arg)
{
	hmmu_lock(&lock_b);
	hmmu_lock(&lock_a);
	hmmu_unlock(&lock_a);
	hmmu_unlock(&lock_b);
}

/* ---- one sleeps on what nobody sets; one spins on it ---- */

static void sleep_for_ever(void *arg)
{
	while (!hmmu_load_acquire(&flag))
		hmmu_futex_wait(&flag, 0, NULL);
}

static void spin_for_flag(void *arg)
{
	while (!hmmu_load_acquire(&flag))
		hmmu_cpu_relax();
}

static void spin_hard(void *arg)
{
	while (!hmmu_load_acquire(&flag))
		; /* no relax: fairness must end it */
}

static void set_flag(void *arg)
{
	hmmu_store_release(&flag, 1);
}

static void nothing(void *arg)
{
}

/* ---- deadlines ---- */

static void wait_until(void *arg)
{
	struct timespec later = {.tv_sec = 1000000000}, now = {0};
	long answer;

	sched_assert(hmmu_futex_wait(&flag, 0, &now) == -ETIMEDOUT);
	do
		answer = hmmu_futex_wait(&flag, 0, &later);
	while (answer != -ETIMEDOUT);
	hmmu_add_relaxed(&counter, 1);
}

/* ---- a bug of depth three, among three threads ---- */

static void deep_first(void *arg)
{
	hmmu_store_release(&flag, 1);
	hmmu_store_release(&flag, 2);
	hmmu_store_release(&flag, 3);
}

static void deep_second(void *arg)
{
	if (hmmu_load_acquire(&flag) == 1)
		hmmu_store_release(&ready, 1);
}

static void deep_third(void *arg)
{
	if (hmmu_load_acquire(&ready) == 1 && hmmu_load_acquire(&flag) == 2)
		sched_fail("reached");
}

static void crash(void *arg)
{
	if (hmmu_load_acquire(&flag))
		raise(SIGSEGV);
}

/* ------------------------------------------------------------------------ */

#define PROGRAM(label, checker, ...)                                                           \
	{                                                                                      \
		.name = (label), .setup = reset, .threads = {__VA_ARGS__}, .check = (checker), \
	}

static const struct {
	struct sched_program program;
	enum sched_verdict verdict;
} cases[] = {
	{PROGRAM("lost update", check_four, add_racy, add_racy), SCHED_FAILED},
	{PROGRAM("atomic update", check_four, add_atomic, add_atomic), SCHED_OK},
	{PROGRAM("locked update", check_six, add_locked, add_locked, add_locked), SCHED_OK},
	{PROGRAM("lost wake-up", NULL, wait_broken, signal_ready), SCHED_DEADLOCK},
	{PROGRAM("wake-up", NULL, wait_right, signal_ready), SCHED_OK},
	{PROGRAM("one wake-up for two", NULL, wait_right, wait_right, signal_ready),
	 SCHED_DEADLOCK},
	{PROGRAM("spurious wake-up", NULL, wait_credulous, signal_ready), SCHED_FAILED},
	{PROGRAM("AB and BA", NULL, lock_ab, lock_ba), SCHED_DEADLOCK},
	{PROGRAM("AB and AB", NULL, lock_ab, lock_ab, lock_ab), SCHED_OK},
	{PROGRAM("nobody wakes", NULL, sleep_for_ever, nothing), SCHED_DEADLOCK},
	{PROGRAM("spin", NULL, spin_for_flag, spin_for_flag, set_flag), SCHED_OK},
	{PROGRAM("spin without relax", NULL, spin_hard, spin_hard, set_flag), SCHED_OK},
	{PROGRAM("livelock", NULL, spin_for_flag, spin_hard), SCHED_LIVELOCK},
	{PROGRAM("deadlines", check_four, wait_until, wait_until, wait_until, wait_until),
	 SCHED_OK},
	{PROGRAM("depth three", NULL, deep_first, deep_second, deep_third), SCHED_FAILED},
	{PROGRAM("crash", NULL, set_flag, crash), SCHED_CRASHED},
};

static void test_verdicts(void **state)
{
	struct sched_result res;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const struct sched_program *program = &cases[i].program;

		sched_search(&res, program, 1, SEEDS);
		printf("%-20s %-16s %6llu runs, %llu steps\n", program->name,
		       sched_verdict_name(res.verdict), (unsigned long long)res.runs,
		       (unsigned long long)res.total);
		if (res.verdict != cases[i].verdict)
			sched_print(stdout, &res, program);
		assert_int_equal(res.verdict, cases[i].verdict);
	}
}

/* The failing seed fails again, alike: in another process, here, and with new
 * threads. (Searches first: TSan allows no threads after a fork with threads.) */
static void test_replay(void **state)
{
	static const size_t which[] = {3, 5, 7, 9, 14};
	struct sched_result found[5], again, here;

	for (int i = 0; i < 5; i++) {
		const struct sched_program *program = &cases[which[i]].program;

		sched_search(&found[i], program, 1, SEEDS);
		assert_int_not_equal(found[i].verdict, SCHED_OK);
		sched_search(&again, program, found[i].seed, 1);
		assert_int_equal(found[i].hash, again.hash);
	}
	for (int i = 0; i < 10; i++) {
		struct sched_program program = cases[which[i / 2]].program;
		const struct sched_result *was = &found[i / 2];

		program.fresh = i % 2;
		program.setup();
		sched_run(&here, &program, was->seed);
		assert_int_equal(was->hash, here.hash);
		assert_int_equal(was->steps, here.steps);
		assert_string_equal(was->message, here.message);
		assert_int_equal(was->events, here.events);
		for (uint32_t j = 0; j < SCHED_TRACE && j < was->events; j++)
			assert_int_equal(was->trace[j].step, here.trace[j].step);
	}
}

/* A program whose steps depend on how often it ran: the replay runs as often. */
static unsigned int earlier_runs;

static void set_up_history(void)
{
	reset();
	earlier_runs++;
}

static void add_with_history(void *arg)
{
	for (unsigned int i = 0; i < earlier_runs % 64; i++)
		hmmu_load_relaxed(&flag);
	add_racy(arg);
}

static void test_replay_with_history(void **state)
{
	struct sched_program program =
		PROGRAM("with history", check_four, add_with_history, add_with_history);
	struct sched_result found, again;
	char seed[32];

	program.setup = set_up_history;
	for (uint64_t first = 1; first < 2000; first = found.seed + 1) {
		sched_search(&found, &program, first, SEEDS);
		assert_int_equal(found.verdict, SCHED_FAILED);
		snprintf(seed, sizeof(seed), "%llu", (unsigned long long)found.seed);
		setenv("HMMU_SCHED_SEED", seed, 1);
		sched_search(&again, &program, first, SEEDS);
		unsetenv("HMMU_SCHED_SEED");
		assert_int_equal(again.seed, found.seed);
		assert_int_equal(again.hash, found.hash);
	}
}

/* Different seeds are different schedules, and all of a small program's occur:
 * two threads of two steps each interleave in six ways. */
static void test_variety(void **state)
{
	const struct sched_program *program = &cases[1].program;
	struct sched_result res;
	uint64_t hashes[64];
	int n = 0;

	for (uint64_t seed = 0; seed < 500; seed++) {
		int i;

		program->setup();
		assert_int_equal(sched_run(&res, program, seed), SCHED_OK);
		for (i = 0; i < n && hashes[i] != res.hash; i++)
			;
		if (i == n && n < 64)
			hashes[n++] = res.hash;
	}
	assert_in_range(n, 6, 64);
}

/* A thread that no run started is not touched by one. */
static void test_outside(void **state)
{
	struct timespec past = {.tv_sec = 1};

	reset();
	assert_int_equal(sched_self(), -1);
	assert_int_equal(hmmu_futex_wait(&flag, 1, NULL), -EAGAIN);
	assert_int_equal(hmmu_futex_wait(&flag, 0, &past), -ETIMEDOUT);
	hmmu_futex_wake(&flag, 1);
	hmmu_cpu_relax();
	hmmu_lock(&lock_a);
	hmmu_unlock(&lock_a);
	sched_note("nobody listens");
}

static void test_trace(void **state)
{
	struct sched_program program = cases[7].program;
	struct sched_result res;
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	program.names[0] = "a, then b";
	program.names[1] = "b, then a";
	sched_search(&res, &program, 1, SEEDS);
	sched_print(out, &res, &program);
	fclose(out);
	assert_non_null(strstr(text, "HMMU_SCHED_SEED="));
	assert_non_null(strstr(text, "sleeps on A"));
	assert_non_null(strstr(text, "sleeps on B"));
	assert_non_null(strstr(text, "0 a, then b"));
	printf("%s", text);
	free(text);
}

/* ---- exploring ---------------------------------------------------------- */

static uint64_t words[3];

static void reset_words(void)
{
	reset();
	memset(words, 0, sizeof(words));
}

/* args: which word, so often. */
static void add_alone(void *arg)
{
	uint64_t *word = arg;

	for (long i = 0; i < 1 + (word - words); i++)
		hmmu_add_relaxed(word, 1);
}

#define ALONE(n)                                                                       \
	{                                                                              \
		.name = "alone", .setup = reset_words,                                 \
		.threads = {add_alone, add_alone, n > 2 ? add_alone : NULL}, .args = { \
			&words[0],                                                     \
			&words[1],                                                     \
			&words[2]                                                      \
		}                                                                      \
	}

/* How many ways are there for threads with so many pieces left (one more than points), the
 * last of which @at ran, with so many preemptions? */
static uint64_t ways(unsigned int *pieces, int n, int at, unsigned int left)
{
	bool on = at >= 0 && pieces[at] > 0;
	uint64_t sum = 0;
	int over = 0;

	for (int i = 0; i < n; i++) {
		unsigned int cost = on && i != at;

		over += !pieces[i];
		if (!pieces[i] || cost > left)
			continue;
		pieces[i]--;
		sum += ways(pieces, n, i, left - cost);
		pieces[i]++;
	}
	return over == n ? 1 : sum;
}

/* Every schedule once, without pruning: as many as can be counted otherwise. */
static void test_explore_counts(void **state)
{
	static const struct sched_program two = ALONE(2), three = ALONE(3);
	struct sched_result res;

	setenv("HMMU_SCHED_PRUNE", "0", 1);
	for (unsigned int bound = 0; bound < 8; bound++) {
		unsigned int pieces[] = {2, 3, 4};

		sched_explore(&res, &two, bound, 100000);
		assert_int_equal(res.verdict, SCHED_OK);
		assert_true(res.complete);
		assert_int_equal(res.runs, ways(pieces, 2, -1, bound));
		assert_int_equal(res.counts.schedules, res.runs);
		sched_explore(&res, &three, bound, 100000);
		assert_true(res.complete);
		assert_int_equal(res.runs, ways(pieces, 3, -1, bound));
		assert_int_equal(res.counts.schedules, res.runs);
		printf("bound %u: %llu schedules of three threads\n", bound,
		       (unsigned long long)res.runs);
	}
	unsetenv("HMMU_SCHED_PRUNE");
	/* They have nothing in common: one order, whatever the schedule. */
	sched_explore(&res, &three, 7, 100000);
	assert_int_equal(res.counts.orders, 1);
}

static uint64_t hash_all(uint64_t hash)
{
	hash = sched_hash(hash, words, sizeof(words));
	hash = sched_hash_word(hash, counter | (uint64_t)flag << 32);
	return sched_hash_word(hash, ready | (uint64_t)lock_a.word << 32);
}

static void add_two(void *arg)
{
	hmmu_add_relaxed(&counter, 1);
	hmmu_add_relaxed(&counter, 1);
}

/* Each of two threads stands before its first or its second addition when the other one has
 * not begun, stands before one of its own, or has returned: 2 * 2 * 4, and those where both
 * stand, four, are met from both sides. */
static void test_states(void **state)
{
	static const struct sched_program program = {.name = "states",
						     .setup = reset_words,
						     .threads = {add_two, add_two},
						     .state = hash_all};
	struct sched_result res;

	sched_explore(&res, &program, 6, 100000);
	assert_true(res.complete);
	assert_int_equal(res.counts.states, 12);
}

/* Reads what it wrote last: its own hash and the word's are the same one. */
static void write_read(void *arg)
{
	hmmu_store_release(&flag, 1);
	hmmu_store_relaxed(&counter, hmmu_load_acquire(&flag));
	hmmu_add_relaxed(&ready, 1);
}

static void look_plainly(void *arg)
{
	hmmu_load_relaxed(&words[0]);
	sched_touch(&counter, false);
	words[1] = counter; /* says so: it races with write_read() */
	hmmu_load_relaxed(&words[2]);
}

/* Pruned or not: the same states are reached, at each bound. */
static void test_pruning(void **state)
{
	static const struct sched_program programs[] = {
		{.name = "racy", .threads = {add_racy, add_racy, add_two}},
		{.name = "locked", .threads = {lock_ab, lock_ab, add_two}},
		{.name = "wake-up", .threads = {wait_right, signal_ready, add_racy}},
		{.name = "own write", .threads = {write_read, write_read, look_plainly}},
		{.name = "spin", .threads = {spin_for_flag, set_flag, add_racy}},
	};

	for (size_t i = 0; i < 4 * sizeof(programs) / sizeof(programs[0]); i++) {
		struct sched_program program = programs[i / 4];
		struct sched_result all, pruned;

		program.setup = reset_words;
		program.state = hash_all;
		setenv("HMMU_SCHED_PRUNE", "0", 1);
		sched_explore(&all, &program, i % 4, 100000);
		unsetenv("HMMU_SCHED_PRUNE");
		sched_explore(&pruned, &program, i % 4, 100000);
		printf("%-10s bound %u: %6llu schedules, pruned %5llu, %llu orders, %llu "
		       "states\n",
		       program.name, (unsigned int)(i % 4), (unsigned long long)all.runs,
		       (unsigned long long)pruned.runs, (unsigned long long)all.counts.orders,
		       (unsigned long long)all.counts.states);
		assert_true(all.complete && pruned.complete);
		assert_int_equal(all.counts.states, pruned.counts.states);
		assert_int_equal(all.counts.orders, pruned.counts.orders);
		assert_true(pruned.runs <= all.runs);
	}
}

/* ---- a bug that needs two preemptions: one in each thread --------------- */

static void pass_over(void *arg)
{
	hmmu_store_release(&flag, 1);
	if (hmmu_load_acquire(&ready))
		sched_fail("both inside");
	hmmu_store_release(&flag, 0);
}

static void answer(void *arg)
{
	if (!hmmu_load_acquire(&flag))
		return;
	hmmu_store_release(&ready, 1);
	hmmu_store_release(&ready, 0);
}

static const struct sched_program two_preemptions =
	PROGRAM("two preemptions", NULL, pass_over, answer);

static void test_bounds(void **state)
{
	const struct sched_program program = two_preemptions;
	struct sched_result res, again;
	char *text = NULL;
	size_t size;
	FILE *out;

	sched_explore(&res, &program, 1, 100000);
	assert_int_equal(res.verdict, SCHED_OK);
	assert_true(res.complete);
	sched_explore(&res, &program, 2, 100000);
	assert_int_equal(res.verdict, SCHED_FAILED);
	setenv("HMMU_SCHED_TRAIL", res.trail, 1);
	sched_explore(&again, &program, 2, 100000);
	unsetenv("HMMU_SCHED_TRAIL");
	assert_int_equal(again.verdict, SCHED_FAILED);
	assert_int_equal(again.hash, res.hash);
	assert_string_equal(again.message, res.message);
	out = open_memstream(&text, &size);
	sched_print(out, &res, &program);
	fclose(out);
	assert_non_null(strstr(text, "HMMU_SCHED_TRAIL="));
	printf("%s", text);
	free(text);
}

/* What each choice leads to is explored: a deadlock, an unlucky choice of whom to wake. */
static void test_explored_verdicts(void **state)
{
	static const struct {
		size_t program;
		unsigned int bound;
	} found[] = {{0, 1}, {3, 1}, {5, 0}, {7, 1}, {9, 0}, {15, 0}};
	struct sched_result res;

	for (size_t i = 0; i < sizeof(found) / sizeof(found[0]); i++) {
		const struct sched_program *program = &cases[found[i].program].program;

		sched_explore(&res, program, found[i].bound, 100000);
		assert_int_equal(res.verdict, cases[found[i].program].verdict);
		if (!found[i].bound)
			continue;
		sched_explore(&res, program, found[i].bound - 1, 100000);
		assert_int_equal(res.verdict, SCHED_OK);
	}
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		/* What spins without saying so has schedules without an end. */
		if (cases[i].verdict != SCHED_OK || cases[i].program.threads[0] == spin_hard)
			continue;
		sched_explore(&res, &cases[i].program, 2, 30000);
		if (res.verdict)
			sched_print(stdout, &res, &cases[i].program);
		assert_int_equal(res.verdict, SCHED_OK);
	}
}

/* A run's steps depend on how many were before: that is no program to explore. */
static void test_unrepeatable(void **state)
{
	struct sched_program program =
		PROGRAM("not the same twice", NULL, add_with_history, add_with_history);
	struct sched_result res;

	program.setup = set_up_history;
	sched_explore(&res, &program, 2, 100000);
	assert_int_equal(res.verdict, SCHED_FAILED);
	assert_non_null(strstr(res.message, "does not repeat itself"));
}

/* Two change points are depth three: found at least as often as PCT promises; with one or
 * none, never. */
static void test_pct(void **state)
{
	const struct sched_program *program = &two_preemptions;
	unsigned int k = sched_measure(program), hits = 0;
	const uint64_t seeds = 6000;
	double promised = (double)seeds * sched_pct_chance(2, k, 3);
	struct sched_result res;

	for (uint64_t seed = 0; seed < seeds; seed = res.seed + 1) {
		if (sched_pct_k(&res, program, 3, k, seed, seeds - seed) == SCHED_OK)
			break;
		assert_int_equal(res.verdict, SCHED_FAILED);
		hits++;
	}
	printf("depth three: %u of %llu seeds, at least %.1f expected (k = %u)\n", hits,
	       (unsigned long long)seeds, promised, k);
	assert_true(promised > 4);
	assert_true(hits >= 0.7 * promised); /* chance: three deviations */
	for (unsigned int depth = 1; depth < 3; depth++)
		assert_int_equal(sched_pct_k(&res, program, depth, k, 0, seeds), SCHED_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verdicts),
		cmocka_unit_test(test_trace),
		cmocka_unit_test(test_replay_with_history),
		cmocka_unit_test(test_replay),
		cmocka_unit_test(test_variety),
		cmocka_unit_test(test_outside),
		cmocka_unit_test(test_explore_counts),
		cmocka_unit_test(test_states),
		cmocka_unit_test(test_pruning),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_explored_verdicts),
		cmocka_unit_test(test_unrepeatable),
		cmocka_unit_test(test_pct),
	};

	return cmocka_run_group_tests_name("sched", tests, NULL, NULL);
}
