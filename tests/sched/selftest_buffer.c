// SPDX-License-Identifier: MIT
/*
 * selftest_buffer.c - store buffers show what processors may do with stores, and no more.
 *
 * The field's small programs by their names (Alglave, Maranget, Sarkar, Sewell: "Litmus",
 * TACAS 2011). What an order allows must be found; what C11 forbids, never.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "atomic.h"
#include "futex.h"
#include "lock.h"
#include "scheduler.h"

#define SEEDS 4000

static uint32_t x, y;
static uint32_t seen[4];
static uint64_t wide;
static uint32_t plain;
static struct hmmu_lock lock;

static void reset(void)
{
	x = y = plain = 0;
	wide = 0;
	for (int i = 0; i < 4; i++)
		seen[i] = UINT32_MAX;
	lock.word = HMMU_LOCK_FREE;
}

/* ---- SB: each stores its own and loads the other's ---- */

static void sb_left(void *arg)
{
	hmmu_store_release(&x, 1);
	seen[0] = hmmu_load_acquire(&y);
}

static void sb_right(void *arg)
{
	hmmu_store_release(&y, 1);
	seen[1] = hmmu_load_acquire(&x);
}

static void sb_left_seqcst(void *arg)
{
	hmmu_store_seqcst(&x, 1);
	seen[0] = hmmu_load_seqcst(&y);
}

static void sb_right_seqcst(void *arg)
{
	hmmu_store_seqcst(&y, 1);
	seen[1] = hmmu_load_seqcst(&x);
}

/* An exchange of another word: a barrier on x86, and in C11 if it is seqcst. */
static void sb_right_locked(void *arg)
{
	hmmu_store_release(&y, 1);
	(void)hmmu_xchg_seqcst(&wide, 1);
	seen[1] = hmmu_load_acquire(&x);
}

static void sb_right_locked_acquire(void *arg)
{
	hmmu_store_release(&y, 1);
	(void)hmmu_xchg_acquire(&wide, 1);
	seen[1] = hmmu_load_acquire(&x);
}

/* The whole barrier on one side. */
static void sb_left_membarrier(void *arg)
{
	hmmu_store_release(&x, 1);
	hmmu_sched_membarrier();
	seen[0] = hmmu_load_acquire(&y);
}

/* The system call's own. */
static void sb_right_futex(void *arg)
{
	hmmu_store_release(&y, 1);
	hmmu_futex_wake(&plain, 1);
	seen[1] = hmmu_load_acquire(&x);
}

static void sb_check(void)
{
	sched_assert(seen[0] || seen[1]);
	sched_assert(x == 1 && y == 1); /* none is lost */
}

/* ---- MP: what was stored first is seen first ---- */

static void mp_relaxed(void *arg)
{
	hmmu_store_relaxed(&x, 1);
	hmmu_store_relaxed(&y, 1);
}

static void mp_release(void *arg)
{
	hmmu_store_relaxed(&x, 1);
	hmmu_store_release(&y, 1);
}

static void mp_locked_release(void *arg)
{
	hmmu_store_relaxed(&x, 1);
	(void)hmmu_xchg_release(&y, 1);
}

static void mp_locked_relaxed(void *arg)
{
	hmmu_store_relaxed(&x, 1);
	hmmu_add_relaxed(&y, 1);
}

static void mp_reader(void *arg)
{
	seen[0] = hmmu_load_acquire(&y);
	seen[1] = hmmu_load_acquire(&x);
}

static void mp_check(void)
{
	sched_assert(!(seen[0] == 1 && seen[1] == 0));
}

/* ---- coherence: of one word everybody sees the same order ---- */

static void co_writer(void *arg)
{
	hmmu_store_relaxed(&x, 1);
	hmmu_store_relaxed(&x, 2);
}

static void co_reader(void *arg)
{
	for (int i = 0; i < 4; i++)
		seen[i] = hmmu_load_relaxed(&x);
}

static void co_check(void)
{
	for (int i = 1; i < 4; i++)
		sched_assert(seen[i - 1] <= seen[i]);
	sched_assert(x == 2);
}

/* ---- a thread sees its own, atomically, plainly, in parts; a plain store is not lost ---- */

static void own(void *arg)
{
	hmmu_store_relaxed(&wide, 0x0000000500000007);
	sched_assert(hmmu_load_relaxed(&wide) == 0x0000000500000007);
	hmmu_store_relaxed((uint32_t *)&wide + 1, 6);
	sched_assert(hmmu_load_relaxed(&wide) == 0x0000000600000007);
	hmmu_store_relaxed(&plain, 1);
	for (int i = 0; i < 4; i++)
		(void)hmmu_load_relaxed(&y);
	sched_assert(plain == 1);
	plain = 2;
	for (int i = 0; i < 4; i++)
		(void)hmmu_load_relaxed(&y);
	sched_assert(plain == 2);
}

static void touch_y(void *arg)
{
	for (int i = 0; i < 8; i++)
		hmmu_add_relaxed(&y, 1);
}

static void own_check(void)
{
	sched_assert(wide == 0x0000000600000007 && plain == 2 && y == 8);
}

/* ---- two write one word: the later one stays, of both or of none ---- */

static void both_write(void *arg)
{
	uint32_t mine = (uint32_t)(uintptr_t)arg;

	hmmu_store_relaxed(&x, mine);
	sched_assert(hmmu_load_relaxed(&x) != 0);
	hmmu_store_relaxed(&x, mine + 1);
	sched_assert(hmmu_load_relaxed(&x) != mine);
}

static void both_check(void)
{
	sched_assert(x == 11 || x == 21);
}

/* ---- what a lock guards is whole ---- */

static void locked(void *arg)
{
	for (int i = 0; i < 3; i++) {
		hmmu_lock(&lock);
		hmmu_store_relaxed(&x, hmmu_load_relaxed(&x) + 1);
		plain++;
		hmmu_unlock(&lock);
	}
}

static void locked_check(void)
{
	sched_assert(x == 9 && plain == 9);
}

/* ---- the table ---- */

static const struct {
	struct sched_program program;
	enum { NEVER, ANY, WEAK } found;
} cases[] = {
#define CASE(text, how, checks, ...)                           \
	{                                                      \
		.program = {.name = (text),                    \
			    .setup = reset,                    \
			    .threads = {__VA_ARGS__},          \
			    .check = (checks),                 \
			    .args = {(void *)10, (void *)20}}, \
		.found = (how)                                 \
	}
	CASE("SB", ANY, sb_check, sb_left, sb_right),
	CASE("SB, one side exchanges", ANY, sb_check, sb_left_seqcst, sb_right),
	CASE("SB, both exchange", NEVER, sb_check, sb_left_seqcst, sb_right_seqcst),
	CASE("SB, exchange of another", NEVER, sb_check, sb_left_seqcst, sb_right_locked),
	CASE("SB, acquire of another", WEAK, sb_check, sb_left_seqcst, sb_right_locked_acquire),
	CASE("SB, membarrier", NEVER, sb_check, sb_left_membarrier, sb_right),
	CASE("SB, a system call", NEVER, sb_check, sb_left_seqcst, sb_right_futex),
	CASE("MP, relaxed", WEAK, mp_check, mp_relaxed, mp_reader),
	CASE("MP, release", NEVER, mp_check, mp_release, mp_reader),
	CASE("MP, an exchange", NEVER, mp_check, mp_locked_release, mp_reader),
	CASE("MP, a relaxed add", WEAK, mp_check, mp_locked_relaxed, mp_reader),
	CASE("CoRR", NEVER, co_check, co_writer, co_reader),
	CASE("CoRR, two writers", NEVER, both_check, both_write, both_write),
	CASE("own stores", NEVER, own_check, own, touch_y),
	CASE("a lock", NEVER, locked_check, locked, locked, locked),
};

static void test_orders(void **state)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const struct sched_program *program = &cases[i].program;
		struct sched_result res;
		bool good = true;

		sched_search_buffered(&res, program, 0, SEEDS);
		if (cases[i].found == NEVER)
			good = res.verdict == SCHED_OK;
		else
			good = res.verdict == SCHED_FAILED;
		if (!good)
			sched_print(stdout, &res, program);
		assert_true(good);
	}
}

/* What only a weaker order than x86's shows is shown by no seed that is as x86. */
static void test_weak(void **state)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const struct sched_program *program = &cases[i].program;
		unsigned int hits = 0;
		struct sched_result res;

		if (cases[i].found != WEAK)
			continue;
		for (uint64_t seed = 0; seed < SEEDS; seed = res.seed + 1, hits++) {
			if (sched_search_buffered(&res, program, seed, SEEDS - seed) ==
			    SCHED_OK)
				break;
			assert_true(res.weak);
		}
		assert_true(hits > 1);
	}
}

/* Without buffers none of it, and the same schedules as ever. */
static void test_without(void **state)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct sched_result res;

		sched_search(&res, &cases[i].program, 0, SEEDS);
		if (res.verdict)
			sched_print(stdout, &res, &cases[i].program);
		assert_int_equal(res.verdict, SCHED_OK);
	}
}

/* A seed is a schedule, its buffers included. */
static void test_replay(void **state)
{
	struct sched_result first, again;

	assert_int_equal(sched_search_buffered(&first, &cases[0].program, 0, SEEDS),
			 SCHED_FAILED);
	assert_int_equal(sched_search_buffered(&again, &cases[0].program, first.seed, 1),
			 SCHED_FAILED);
	assert_true(first.hash == again.hash);
	assert_int_equal(first.steps, again.steps);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_orders),
		cmocka_unit_test(test_weak),
		cmocka_unit_test(test_without),
		cmocka_unit_test(test_replay),
	};

	return cmocka_run_group_tests_name("sched buffers", tests, NULL, NULL);
}
