// SPDX-License-Identifier: MIT
/* test_refused.c - what libibverbs or the options refuse, and that nothing leaks by it. */
#include "bed.h"

#include <sys/resource.h>

static int open_with(struct hmmu_verbs_options *o, struct mm_struct *mm)
{
	struct hmmu_verbs *v;
	int ret;

	o->mm = mm;
	ret = quiet(hmmu_verbs_open(&v, &card_pd, o));
	if (!ret)
		must(quiet(hmmu_verbs_close(v)) == 0);
	return ret;
}

/* Options that are the defaults but for one thing. */
#define WITH(mm, what)                                             \
	({                                                         \
		struct hmmu_verbs_options o = HMMU_VERBS_DEFAULTS; \
		o.what;                                            \
		open_with(&o, mm);                                 \
	})

static void options_refused(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct hmmu_verbs *v;

	assert_int_equal(quiet(hmmu_verbs_open(NULL, &card_pd, NULL)), -EINVAL);
	assert_int_equal(quiet(hmmu_verbs_open(&v, NULL, NULL)), -EINVAL);
	assert_int_equal(WITH(mm, size = 0), -EINVAL);
	assert_int_equal(WITH(mm, size++), -EINVAL);
	assert_int_equal(WITH(mm, flags = 4), -EINVAL);
	for (int i = 0; i < 6; i++)
		assert_int_equal(WITH(mm, reserved[i] = 1), -EINVAL);
	assert_int_equal(WITH(mm, alignment = 100), -EINVAL);
	assert_int_equal(WITH(mm, max_regions = 0), -EINVAL);
	assert_int_equal(WITH(mm, max_bytes = 0), -EINVAL);
	assert_int_equal(WITH(mm, max_locked = 0), -EINVAL);
	assert_int_equal(WITH(mm, max_merged = 0), -EINVAL);
	assert_int_equal(WITH(mm, flags = 3), 0);
	close_mm(mm);
}

/* Nothing is left behind, and errno is as it was. */
static void no_memory(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct rlimit all, none;

	must(getrlimit(RLIMIT_AS, &all) == 0);
	none = (struct rlimit){1, all.rlim_max};
	must(setrlimit(RLIMIT_AS, &none) == 0);
	assert_int_equal(WITH(mm, access = 0), -ENOMEM);
	must(setrlimit(RLIMIT_AS, &all) == 0);
	assert_int_equal(WITH(mm, access = 0), 0);
	close_mm(mm);
}

static void access_refused(void **state)
{
	struct mm_struct *mm = open_mm(0);

	assert_int_equal(WITH(mm, access = 0), 0);
	assert_int_equal(WITH(mm, access = 1u << 8), -EINVAL);
	assert_int_equal(WITH(mm, access = 1u << 31), -EINVAL);
	assert_int_equal(WITH(mm, access = IBV_ACCESS_REMOTE_WRITE), -EINVAL);
	assert_int_equal(WITH(mm, access = IBV_ACCESS_REMOTE_ATOMIC), -EINVAL);
	assert_int_equal(WITH(mm, access = IBV_ACCESS_REMOTE_READ), 0);
	assert_int_equal(WITH(mm, access |= IBV_ACCESS_REMOTE_WRITE), 0);
	assert_int_equal(WITH(mm, access |= IBV_ACCESS_ON_DEMAND), -EOPNOTSUPP);
	assert_int_equal(WITH(mm, access |= IBV_ACCESS_HUGETLB), -EOPNOTSUPP);
	assert_int_equal(WITH(mm, access |= IBV_ACCESS_ZERO_BASED), -EOPNOTSUPP);
	assert_int_equal(WITH(mm, access |= IBV_ACCESS_ON_DEMAND | 1u << 8), -EINVAL);
	close_mm(mm);
}

static void arguments_refused(void **state)
{
	struct hmmu_region_ref ref = {0};
	struct hmmu_verbs_stats stats;
	struct bed b;

	bed_open(&b, NULL);
	assert_int_equal(quiet(hmmu_verbs_get(NULL, at(&b, 0), 1, RW, &ref)), -EINVAL);
	assert_int_equal(quiet(hmmu_verbs_get(b.v, at(&b, 0), 0, RW, &ref)), -EINVAL);
	assert_int_equal(quiet(hmmu_verbs_get(b.v, at(&b, 0), 1, 0, &ref)), -EINVAL);
	assert_int_equal(quiet(hmmu_verbs_get(b.v, at(&b, 0), 1, 4, &ref)), -EINVAL);
	assert_int_equal(quiet(hmmu_verbs_get(b.v, at(&b, 0), ~0UL, RW, &ref)), -EINVAL);
	assert_int_equal(quiet(hmmu_verbs_get(b.v, at(&b, 0), 1, RW, NULL)), -EINVAL);
	assert_int_equal(quiet(hmmu_verbs_get_until(NULL, at(&b, 0), 1, RW, NULL, &ref)),
			 -EINVAL);
	assert_int_equal(quiet(hmmu_verbs_get_nonblock(NULL, at(&b, 0), 1, RW, &ref)), -EINVAL);
	assert_int_equal(quiet(hmmu_verbs_flush(NULL)), -EINVAL);
	assert_false(quiet(hmmu_verbs_valid(NULL, &ref)));
	assert_false(quiet(hmmu_verbs_valid(b.v, &ref)));
	quiet_void(hmmu_verbs_put(NULL, &ref));
	quiet_void(hmmu_verbs_put(b.v, &ref));
	quiet_void(hmmu_verbs_stat(NULL, &stats));
	quiet_void(hmmu_verbs_stat(b.v, NULL));
	assert_int_equal(stats.registered, 0);
	bed_close(&b);
}

/* ---- ibv_reg_mr() fails ------------------------------------------------ */

static void errno_is_the_answer(void **state)
{
	static const int errors[] = {EINVAL, EOPNOTSUPP, EPERM, ENOMEM, EFAULT, EIO};
	struct hmmu_region_ref ref;
	struct bed b;

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		bed_open(&b, NULL);
		card.fail_at = 1;
		card.fail_errno = errors[i];
		assert_int_equal(try_get(&b, 0, 4, RW, &ref), -errors[i]);
		assert_int_equal(card.live, 0);
		assert_int_equal(bed_stats(&b).cache.regions, 0);
		assert_int_equal(bed_stats(&b).cache.locked, 0);
		get_put(&b, 0, 4, RW);
		bed_close(&b);
	}
	bed_open(&b, NULL);
	card.fail_at = 1; /* NULL, and no errno */
	assert_int_equal(try_get(&b, 0, 4, RW, &ref), -EIO);
	bed_close(&b);
}

/* The card's tables, or RLIMIT_MEMLOCK: what nobody uses makes room. */
static void no_room(void **state)
{
	struct hmmu_verbs_options o = HMMU_VERBS_DEFAULTS;
	struct hmmu_region_ref ref, held;
	struct bed b;

	o.max_merged = PAGE;
	bed_open(&b, &o);
	get(&b, 20, 1, RW, &held);
	get_put(&b, 10, 1, RW);
	card.fail_at = 1;
	card.fail_errno = ENOMEM;
	get(&b, 0, 1, RW, &ref);
	assert_int_equal(card.deregs, 1);
	card.fail_at = 1;
	assert_int_equal(try_get(&b, 30, 1, RW, &(struct hmmu_region_ref){0}), -ENOMEM);
	put(&b, &ref);
	put(&b, &held);
	bed_close(&b);
}

/* The same steps with the first call failing, the second, ...: each is right, or refused. */
static void the_nth_fails(void **state)
{
	static const size_t pages[] = {0, 8, 2, 16, 4, 0, 12};
	long nth, calls = 0;

	for (nth = 1; nth <= calls || nth == 1; nth++) {
		int refused = 0, changed = 0;
		struct bed b;

		bed_open(&b, NULL);
		card.fail_at = nth;
		card.fail_errno = EPERM;
		for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
			struct hmmu_region_ref ref;
			int ret = try_get(&b, pages[i], 4, RW, &ref);

			assert_true(ret == 0 || ret == -EPERM);
			refused += ret != 0;
			if (ret)
				continue;
			for (size_t k = 0; k < 4; k++)
				assert_int_equal(card_reads(&ref, at(&b, pages[i] + k)),
						 word_at(at(&b, pages[i] + k)));
			put(&b, &ref);
			if (i == 3)
				remap(&b, 0, 1 + (size_t)changed++);
		}
		assert_true(refused <= 1);
		bed_reclaim(&b);
		assert_int_equal(card.live, bed_stats(&b).cache.regions);
		if (card.calls > calls)
			calls = card.calls;
		bed_close(&b);
	}
	assert_true(calls >= 5);
}

/* ---- ibv_dereg_mr() fails ---------------------------------------------- */

/* A region that the card does not give back is not forgotten: the next miss tries again. */
static void refused_and_tried_again(void **state)
{
	static const int answers[] = {EBUSY, EINVAL, -1};
	struct hmmu_verbs_stats s;
	struct bed b;

	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		bed_open(&b, NULL);
		get_put(&b, 0, 4, RW);
		card.refuse = answers[i];
		remap(&b, 0, 1);
		bed_reclaim(&b);
		s = bed_stats(&b);
		assert_int_equal(s.refused, 1);
		assert_int_equal(s.refused_bytes, 4 * PAGE);
		assert_int_equal(s.cache.dereg_failed, 1);
		assert_int_equal(s.cache.locked, 0);
		get_put(&b, 20, 1, RW); /* still refused */
		assert_int_equal(card.refusals, 2);
		assert_int_equal(quiet(hmmu_verbs_flush(b.v)), 1);
		get_put(&b, 20, 1, RW); /* a hit asks nobody */
		assert_int_equal(card.refusals, 3);
		card.refuse = 0;
		get_put(&b, 30, 1, RW);
		assert_int_equal(bed_stats(&b).refused, 0);
		assert_int_equal(bed_stats(&b).refused_bytes, 0);
		assert_int_equal(card.live, 2);
		bed_close(&b);
	}
}

/* One that is never given back does not keep the others waiting. */
static void one_stays_refused(void **state)
{
	struct hmmu_verbs_options o = HMMU_VERBS_DEFAULTS;
	struct hmmu_region_ref ref;
	struct bed b;
	uint32_t stuck;

	o.max_merged = PAGE;
	bed_open(&b, &o);
	get(&b, 0, 1, RW, &ref);
	stuck = hmmu_verbs_lkey(&ref);
	put(&b, &ref);
	card.refuse = EBUSY;
	remap(&b, 0, 1);
	bed_reclaim(&b);
	for (size_t i = 1; i < 4; i++)
		get_put(&b, 2 * i, 1, RW);
	remap(&b, 1, 8);
	bed_reclaim(&b);
	assert_int_equal(bed_stats(&b).refused, 4);
	card.refuse_only = stuck;
	for (size_t i = 0; i < 4; i++) { /* each miss tries one, the oldest */
		get_put(&b, 20 + 2 * i, 1, RW);
		assert_int_equal(bed_stats(&b).refused, 4 - i);
	}
	assert_int_equal(quiet(hmmu_verbs_flush(b.v)), 1);
	card.refuse = 0;
	assert_int_equal(quiet(hmmu_verbs_flush(b.v)), 0);
	assert_int_equal(card.live, 4);
	bed_close(&b);
}

static void close_in_two_steps(void **state)
{
	struct hmmu_region_ref ref;
	struct bed b;

	bed_open(&b, NULL);
	get_put(&b, 0, 4, RW);
	get_put(&b, 8, 4, RW);
	card.refuse = EBUSY;
	assert_int_equal(quiet(hmmu_verbs_close(b.v)), -EBUSY);
	assert_int_equal(bed_stats(&b).refused, 2);
	assert_int_equal(bed_stats(&b).refused_bytes, 8 * PAGE);
	assert_int_equal(try_get(&b, 0, 4, RW, &ref), -EINVAL);
	assert_null(hmmu_verbs_cache(b.v));
	assert_int_equal(quiet(hmmu_verbs_close(b.v)), -EBUSY);
	assert_int_equal(card.live, 2);
	card.refuse = 0;
	assert_int_equal(quiet(hmmu_verbs_close(b.v)), 0);
	assert_int_equal(card.live, 0);
	close_mm(b.mm);
	bed_area_gone(&b);
	card_reset();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_refused),
		cmocka_unit_test(no_memory),
		cmocka_unit_test(access_refused),
		cmocka_unit_test(arguments_refused),
		cmocka_unit_test(errno_is_the_answer),
		cmocka_unit_test(no_room),
		cmocka_unit_test(the_nth_fails),
		cmocka_unit_test(refused_and_tried_again),
		cmocka_unit_test(one_stays_refused),
		cmocka_unit_test(close_in_two_steps),
	};

	api_guard(60);
	return cmocka_run_group_tests_name("verbs-refused", tests, NULL, NULL);
}
