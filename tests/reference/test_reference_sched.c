// SPDX-License-Identifier: MIT
/*
 * test_reference_sched.c - G1, G2 and G3 of the reference under the seeded
 * scheduler: two invalidators, a reader, and one who subscribes and leaves. Then
 * with its start skipping the callbacks: the oracle must notice.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../sched/scheduler.h"
#include "atomic.h"
#include "lock.h"
#include "reference.h"

#define FROM 0x1000ul
#define TO 0x3000ul

static struct ref_mm *mm;
static unsigned long truth; /* what a translation reads; an invalidator adds one */

struct mirror {
	struct ref_sub sub;
	struct hmmu_lock lock;
	unsigned long shadow; /* 0: none. Guarded by lock, as all of these */
	bool dead;
};

static struct mirror fixed, passing;
static bool forget; /* the planted bug */

/* The invariant: no shadow holds what is no longer true. */
static void check_shadow(const struct mirror *mirror)
{
	/* Plain: one thread runs at a time, and an oracle is no step of it. */
	sched_assert(!mirror->shadow || mirror->shadow == truth);
}

static bool invalidate(struct ref_sub *sub, const struct ref_range *range,
		       unsigned long cur_seq)
{
	struct mirror *mirror = (struct mirror *)sub;

	sched_assert(!mirror->dead);
	if (forget)
		return true;
	hmmu_lock(&mirror->lock);
	ref_set_seq(sub, cur_seq);
	mirror->shadow = 0;
	hmmu_unlock(&mirror->lock);
	sched_assert(!mirror->dead);
	return true;
}

static const struct ref_ops ops = {.invalidate = invalidate};

static void change(void *arg)
{
	for (int i = 0; i < 2; i++) {
		struct ref_range range;

		ref_range_init(&range, mm, FROM, TO);
		ref_invalidate_start(&range);
		hmmu_add_seqcst(&truth, 1);
		check_shadow(&fixed);
		check_shadow(&passing);
		ref_invalidate_end(&range);
	}
}

static void mirror_once(struct mirror *mirror)
{
	for (int tries = 0; tries < 3; tries++) {
		unsigned long seq = ref_read_begin(&mirror->sub);
		unsigned long seen = hmmu_load_acquire(&truth);
		bool done;

		hmmu_lock(&mirror->lock);
		done = !ref_read_retry(&mirror->sub, seq);
		if (done) {
			mirror->shadow = seen;
			check_shadow(mirror);
		}
		hmmu_unlock(&mirror->lock);
		if (done)
			return;
	}
}

static void reader(void *arg)
{
	mirror_once(&fixed);
	mirror_once(&fixed);
}

static void come_and_go(void *arg)
{
	for (int i = 0; i < 2; i++) {
		passing.dead = false;
		ref_interval_insert(&passing.sub, mm, FROM, TO - FROM, &ops);
		mirror_once(&passing);
		hmmu_lock(&passing.lock);
		passing.shadow = 0;
		hmmu_unlock(&passing.lock);
		ref_interval_remove(&passing.sub);
		passing.dead = true;
	}
}

static void set_up(void)
{
	fixed = (struct mirror){.shadow = 0};
	passing = (struct mirror){.dead = true};
	truth = 1;
	ref_mm_open(&mm);
	ref_interval_insert(&fixed.sub, mm, FROM, TO - FROM, &ops);
}

static void check(void)
{
	ref_interval_remove(&fixed.sub);
	sched_assert(ref_mm_close(mm) == 0);
}

static const struct sched_program program = {
	.name = "the reference",
	.names = {"invalidator", "invalidator", "reader", "comes and goes"},
	.setup = set_up,
	.threads = {change, change, reader, come_and_go},
	.check = check,
	.length = 200,
};

static void test_right(void **state)
{
	struct sched_result res;

	forget = false;
	if (sched_search(&res, &program, 1, 20000) != SCHED_OK) {
		sched_print(stdout, &res, &program);
		fail();
	}
	printf("%llu schedules, %llu steps\n", (unsigned long long)res.runs,
	       (unsigned long long)res.total);
}

static void test_wrong(void **state)
{
	struct sched_result res;

	forget = true;
	assert_int_equal(sched_search(&res, &program, 1, 3000), SCHED_FAILED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_right),
		cmocka_unit_test(test_wrong),
	};

	return cmocka_run_group_tests_name("reference under the scheduler", tests, NULL, NULL);
}
