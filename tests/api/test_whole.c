// SPDX-License-Identifier: MIT
/*
 * test_whole.c - the whole-mm form: register, unregister, get, put, synchronize.
 * Starts and ends pair (G1), lifetime is G3's, and nobody waits who need not (G4).
 */
#include "api.h"

#define A 0x100000UL
#define B 0x900000UL

struct whole {
	struct mmu_notifier sub;
	atomic_int starts, accepted, ends, released, running;
	bool refuse;
	struct gate *inside, *go; /* the next start stops there */
	unsigned long seen_start, seen_end;
};

static int whole_start(struct mmu_notifier *sub, const struct mmu_notifier_range *range)
{
	struct whole *whole = (struct whole *)sub;
	struct gate *inside = whole->inside;

	atomic_fetch_add(&whole->running, 1);
	atomic_fetch_add(&whole->starts, 1);
	whole->seen_start = range->start;
	whole->seen_end = range->end;
	if (inside) {
		whole->inside = NULL;
		gate_open(inside);
		gate_pass(whole->go);
	}
	atomic_fetch_sub(&whole->running, 1);
	if (whole->refuse && !mmu_notifier_range_blockable(range))
		return -EAGAIN;
	atomic_fetch_add(&whole->accepted, 1);
	return 0;
}

static void whole_end(struct mmu_notifier *sub, const struct mmu_notifier_range *range)
{
	struct whole *whole = (struct whole *)sub;

	atomic_fetch_add(&whole->ends, 1);
}

static void whole_release(struct mmu_notifier *sub, struct mm_struct *mm)
{
	struct whole *whole = (struct whole *)sub;

	must(mm == whole->sub.mm);
	atomic_fetch_add(&whole->released, 1);
}

static const struct mmu_notifier_ops whole_ops = {
	.release = whole_release,
	.invalidate_range_start = whole_start,
	.invalidate_range_end = whole_end,
};

static void whole_add(struct whole *whole, struct mm_struct *mm)
{
	memset(whole, 0, sizeof(*whole));
	whole->sub.ops = &whole_ops;
	assert_int_equal(quiet(mmu_notifier_register(&whole->sub, mm)), 0);
}

static void whole_remove(struct whole *whole, struct mm_struct *mm)
{
	quiet_void(mmu_notifier_unregister(&whole->sub, mm));
	assert_int_equal(atomic_load(&whole->released), 1);
}

/* ---- register, unregister ---- */

static void test_told_of_everything(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range range;
	struct whole whole;

	whole_add(&whole, mm);
	assert_ptr_equal(whole.sub.mm, mm);
	range_open(&range, mm, A, A + 1);
	assert_int_equal(whole.seen_start, A);
	assert_int_equal(whole.seen_end, A + 1);
	assert_int_equal(atomic_load(&whole.starts), 1);
	assert_int_equal(atomic_load(&whole.ends), 0);
	range_close(&range);
	assert_int_equal(atomic_load(&whole.ends), 1);
	invalidate(mm, 0, 1);
	invalidate(mm, 0, ULONG_MAX);
	invalidate(mm, ULONG_MAX - 1, ULONG_MAX);
	assert_int_equal(atomic_load(&whole.starts), 4);
	assert_int_equal(atomic_load(&whole.ends), 4);
	assert_int_equal(atomic_load(&whole.released), 0);
	whole_remove(&whole, mm);
	invalidate(mm, A, A + 1);
	assert_int_equal(atomic_load(&whole.starts), 4);
	close_mm(mm);
}

static void test_other_mm_is_not_told(void **state)
{
	struct mm_struct *mm = open_mm(0), *other = open_mm(0);
	struct whole whole;
	struct probe probe;

	whole_add(&whole, mm);
	probe_add(&probe, mm, A, PAGE);
	invalidate(other, A, A + PAGE);
	assert_int_equal(atomic_load(&whole.starts), 0);
	assert_int_equal(atomic_load(&probe.calls), 0);
	probe_remove(&probe);
	whole_remove(&whole, mm);
	close_mm(other);
	close_mm(mm);
}

static void test_start_or_end_alone(void **state)
{
	static const struct mmu_notifier_ops start_only = {
		.release = whole_release,
		.invalidate_range_start = whole_start,
	};
	static const struct mmu_notifier_ops end_only = {
		.release = whole_release,
		.invalidate_range_end = whole_end,
	};
	struct mm_struct *mm = open_mm(0);
	struct whole a, b;

	memset(&a, 0, sizeof(a));
	memset(&b, 0, sizeof(b));
	a.sub.ops = &start_only;
	b.sub.ops = &end_only;
	assert_int_equal(mmu_notifier_register(&a.sub, mm), 0);
	assert_int_equal(mmu_notifier_register(&b.sub, mm), 0);
	invalidate(mm, A, A + 1);
	assert_int_equal(atomic_load(&a.starts), 1);
	assert_int_equal(atomic_load(&b.ends), 1);
	whole_remove(&a, mm);
	whole_remove(&b, mm);
	close_mm(mm);
}

static void test_register_errors(void **state)
{
	static const struct mmu_notifier_ops neither = {.release = whole_release};
	struct mm_struct *mm = open_mm(0);
	struct whole whole;

	memset(&whole, 0, sizeof(whole));
	assert_int_equal(quiet(mmu_notifier_register(&whole.sub, mm)), -EINVAL);
	whole.sub.ops = &neither;
	assert_int_equal(quiet(mmu_notifier_register(&whole.sub, mm)), -EINVAL);
	whole.sub.ops = &whole_ops;
	assert_int_equal(quiet(mmu_notifier_register(&whole.sub, NULL)), -EINVAL);
	assert_int_equal(quiet(mmu_notifier_register(NULL, mm)), -EINVAL);
	invalidate(mm, A, A + 1);
	assert_int_equal(atomic_load(&whole.starts), 0);
	close_mm(mm);
}

#ifndef HMMU_DEBUG
static struct mmu_notifier *alloc_never(struct mm_struct *mm)
{
	(void)mm;
	return NULL;
}

static void free_never(struct mmu_notifier *sub)
{
	(void)sub;
}

static struct {
	struct mm_struct *mm;
	struct whole *other;
	int answer[2];
} nested;

static int register_inside(struct mmu_notifier *sub, const struct mmu_notifier_range *range)
{
	struct mmu_notifier *got;

	(void)sub;
	(void)range;
	nested.answer[0] = mmu_notifier_register(&nested.other->sub, nested.mm);
	nested.answer[1] = mmu_notifier_get(nested.other->sub.ops, nested.mm, &got);
	return 0;
}

/* It would wait for the invalidation that it is called from. (Debug builds report it.) */
static void test_register_in_a_callback_is_refused(void **state)
{
	static const struct mmu_notifier_ops calls = {.invalidate_range_start =
							      register_inside};
	static const struct mmu_notifier_ops gets = {
		.invalidate_range_start = whole_start,
		.alloc_notifier = alloc_never,
		.free_notifier = free_never,
	};
	struct mm_struct *mm = open_mm(0);
	struct whole whole = {.sub.ops = &calls}, other = {.sub.ops = &gets};

	nested.mm = mm;
	nested.other = &other;
	assert_int_equal(mmu_notifier_register(&whole.sub, mm), 0);
	invalidate(mm, A, A + 1);
	assert_int_equal(nested.answer[0], -EDEADLK);
	assert_int_equal(nested.answer[1], -EDEADLK);
	invalidate(mm, A, A + 1);
	assert_int_equal(atomic_load(&other.starts), 0);
	mmu_notifier_unregister(&whole.sub, mm);
	close_mm(mm);
}
#endif

struct registering {
	struct mm_struct *mm;
	struct whole whole;
	atomic_bool ended;
};

static void register_later(void *arg)
{
	struct registering *registering = arg;

	registering->whole.sub.ops = &whole_ops;
	must(mmu_notifier_register(&registering->whole.sub, registering->mm) == 0);
	must(atomic_load(&registering->ended));
}

static void test_register_waits_for_open_ones(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range range;
	struct registering registering;
	struct runner run;

	memset(&registering, 0, sizeof(registering));
	registering.mm = mm;
	range_open(&range, mm, A, A + 1);
	runner_start(&run, register_later, &registering);
	assert_true(runner_sleeps(&run));
	atomic_store(&registering.ended, true);
	range_close(&range);
	runner_join(&run);
	assert_int_equal(atomic_load(&registering.whole.starts), 0);
	assert_int_equal(atomic_load(&registering.whole.ends), 0); /* neither of the pair */
	invalidate(mm, A, A + 1);
	assert_int_equal(atomic_load(&registering.whole.starts), 1);
	assert_int_equal(atomic_load(&registering.whole.ends), 1);
	whole_remove(&registering.whole, mm);
	close_mm(mm);
}

/*
 * Only for those open when it was called: others start, end and stay open while it
 * waits, and it returns all the same. Each of theirs is told of whole or not at all.
 */
static void test_register_does_not_wait_for_later_ones(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range before, later, last;
	struct registering registering;
	struct probe probe;
	struct runner run;

	memset(&registering, 0, sizeof(registering));
	registering.mm = mm;
	probe_add(&probe, mm, B, PAGE);
	range_open(&before, mm, A, A + 1);
	runner_start(&run, register_later, &registering);
	assert_true(runner_sleeps(&run));
	invalidate(mm, B, B + 1); /* nobody else waits meanwhile */
	assert_int_equal(probe_poll(&probe), 0);
	range_open(&later, mm, B, B + 1);
	atomic_store(&registering.ended, true);
	range_close(&before);
	runner_join(&run); /* @later is still open */
	range_open(&last, mm, B, B + 1);
	range_close(&later);
	range_close(&last);
	assert_true(atomic_load(&registering.whole.starts) >= 1);
	assert_int_equal(atomic_load(&registering.whole.starts),
			 atomic_load(&registering.whole.ends));
	whole_remove(&registering.whole, mm);
	probe_remove(&probe);
	close_mm(mm);
}

static void test_no_end_for_those_open_at_unregister(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range range;
	struct whole gone, stays;

	whole_add(&gone, mm);
	whole_add(&stays, mm);
	range_open(&range, mm, A, A + 1);
	whole_remove(&gone, mm); /* does not wait for the end */
	memset(&gone, 0x5a, sizeof(gone));
	range_close(&range);
	assert_int_equal(atomic_load(&gone.ends), 0x5a5a5a5a);
	assert_int_equal(atomic_load(&stays.ends), 1);
	whole_remove(&stays, mm);
	close_mm(mm);
}

struct blocked {
	struct mm_struct *mm;
	struct whole *whole;
	struct mmu_notifier_range range;
};

static void blocked_start(void *arg)
{
	struct blocked *blocked = arg;

	range_open(&blocked->range, blocked->mm, A, A + 1);
}

static void blocked_unregister(void *arg)
{
	struct blocked *blocked = arg;

	mmu_notifier_unregister(&blocked->whole->sub, blocked->mm);
	must(atomic_load(&blocked->whole->running) == 0);
}

static void test_g3_unregister_waits_for_its_running_callback(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct gate inside, go;
	struct whole whole;
	struct blocked blocked = {.mm = mm, .whole = &whole};
	struct runner starting, leaving;

	gate_init(&inside);
	gate_init(&go);
	whole_add(&whole, mm);
	whole.go = &go;
	whole.inside = &inside;
	runner_start(&starting, blocked_start, &blocked);
	gate_pass(&inside);
	runner_start(&leaving, blocked_unregister, &blocked);
	assert_true(runner_sleeps(&leaving));
	gate_open(&go);
	runner_join(&leaving);
	runner_join(&starting);
	assert_int_equal(atomic_load(&whole.released), 1);
	range_close(&blocked.range);
	assert_int_equal(atomic_load(&whole.ends), 0);
	close_mm(mm);
}

/* G4: while a whole-mm callback stands still, everybody else goes on. */
static void test_g4_nobody_waits_for_a_whole_mm_callback(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct gate inside, go;
	struct whole whole, other;
	struct blocked blocked = {.mm = mm, .whole = &whole};
	struct runner starting;
	struct probe probe;

	gate_init(&inside);
	gate_init(&go);
	whole_add(&whole, mm);
	whole_add(&other, mm);
	whole.go = &go;
	whole.inside = &inside;
	runner_start(&starting, blocked_start, &blocked);
	gate_pass(&inside);
	probe_add(&probe, mm, B, PAGE);
	mmu_interval_read_begin(&probe.sub);
	invalidate(mm, B, B + 1);
	assert_int_equal(atomic_load(&probe.calls), 1);
	probe_remove(&probe);
	whole_remove(&other, mm);
	gate_open(&go);
	runner_join(&starting);
	range_close(&blocked.range);
	assert_int_equal(atomic_load(&whole.starts), 2);
	assert_int_equal(atomic_load(&whole.ends), 2);
	whole_remove(&whole, mm);
	close_mm(mm);
}

/* ---- the non-blocking start ---- */

static void start_refused(struct mm_struct *mm)
{
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, mm, A, A + 1);
	assert_int_equal(quiet(mmu_notifier_invalidate_range_start_nonblock(&range)), -EAGAIN);
}

/* Whoever refuses among several: all that had accepted get their end, once. */
static void test_g4_refused_by_a_whole_mm_notifier(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct whole whole[4];
	struct probe probe;
	int i, k, accepted;

	for (i = 0; i < 4; i++)
		whole_add(&whole[i], mm);
	probe_add(&probe, mm, A, PAGE);
	for (i = 0; i < 4; i++) {
		whole[i].refuse = true;
		start_refused(mm);
		for (k = 0; k < 4; k++) {
			accepted = atomic_load(&whole[k].accepted);
			assert_int_equal(atomic_load(&whole[k].ends), accepted);
		}
		assert_true(atomic_load(&whole[i].starts) > atomic_load(&whole[i].accepted));
		assert_int_equal(probe_poll(&probe), 0);
		whole[i].refuse = false;
	}
	probe_remove(&probe);
	for (i = 0; i < 4; i++)
		whole_remove(&whole[i], mm);
	close_mm(mm);
}

static void test_g4_refused_by_a_subscription(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct whole whole[3];
	struct probe probe;
	int i;

	probe_add(&probe, mm, A, PAGE);
	probe.refuse = true;
	for (i = 0; i < 3; i++)
		whole_add(&whole[i], mm);
	start_refused(mm);
	for (i = 0; i < 3; i++)
		assert_int_equal(atomic_load(&whole[i].ends), atomic_load(&whole[i].accepted));
	assert_int_equal(atomic_load(&probe.calls), 1);
	assert_int_equal(probe_poll(&probe), 0);
	invalidate(mm, A, A + 1);
	for (i = 0; i < 3; i++) {
		assert_int_equal(atomic_load(&whole[i].ends), atomic_load(&whole[i].accepted));
		assert_true(atomic_load(&whole[i].ends) >= 1);
		whole_remove(&whole[i], mm);
	}
	probe_remove(&probe);
	close_mm(mm);
}

/* ---- get, put, synchronize ---- */

static atomic_int allocated, freed;
static bool no_memory;
static struct gate *alloc_inside, *alloc_go;

static struct mmu_notifier *counted_alloc(struct mm_struct *mm)
{
	struct whole *whole;

	if (no_memory)
		return NULL;
	whole = calloc(1, sizeof(*whole));
	must(whole != NULL);
	atomic_fetch_add(&allocated, 1);
	if (alloc_inside) {
		struct gate *inside = alloc_inside;

		alloc_inside = NULL;
		gate_open(inside);
		gate_pass(alloc_go);
	}
	return &whole->sub;
}

static void counted_free(struct mmu_notifier *sub)
{
	must(atomic_load(&((struct whole *)sub)->running) == 0);
	memset(sub, 0x5a, sizeof(struct whole));
	free(sub);
	atomic_fetch_add(&freed, 1);
}

static const struct mmu_notifier_ops get_ops = {
	.invalidate_range_start = whole_start,
	.invalidate_range_end = whole_end,
	.release = whole_release,
	.alloc_notifier = counted_alloc,
	.free_notifier = counted_free,
};

static void reset_counts(void)
{
	atomic_store(&allocated, 0);
	atomic_store(&freed, 0);
	no_memory = false;
	alloc_inside = NULL;
}

static struct whole *get(struct mm_struct *mm)
{
	struct mmu_notifier *sub = NULL;

	assert_int_equal(quiet(mmu_notifier_get(&get_ops, mm, &sub)), 0);
	assert_non_null(sub);
	assert_ptr_equal(sub->ops, &get_ops);
	assert_ptr_equal(sub->mm, mm);
	return (struct whole *)sub;
}

static void test_get_is_shared_and_counted(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct whole *whole;
	int i;

	reset_counts();
	whole = get(mm);
	for (i = 0; i < 99; i++)
		assert_ptr_equal(get(mm), whole);
	assert_int_equal(atomic_load(&allocated), 1);
	invalidate(mm, A, A + 1);
	assert_int_equal(atomic_load(&whole->starts), 1); /* registered once */
	for (i = 0; i < 99; i++)
		quiet_void(mmu_notifier_put(&whole->sub));
	quiet_void(mmu_notifier_synchronize()); /* owes nothing yet */
	assert_int_equal(atomic_load(&freed), 0);
	invalidate(mm, A, A + 1);
	assert_int_equal(atomic_load(&whole->starts), 2);
	assert_int_equal(atomic_load(&whole->ends), 2);
	mmu_notifier_put(&whole->sub);
	quiet_void(mmu_notifier_synchronize());
	assert_int_equal(atomic_load(&freed), 1);
	mmu_notifier_synchronize();
	close_mm(mm);
	assert_int_equal(atomic_load(&freed), 1);
}

static void test_get_is_per_mm_and_per_ops(void **state)
{
	static const struct mmu_notifier_ops same_but_other = {
		.invalidate_range_start = whole_start,
		.alloc_notifier = counted_alloc,
		.free_notifier = counted_free,
	};
	struct mm_struct *mm = open_mm(0), *other = open_mm(0);
	struct whole *a, *b;
	struct mmu_notifier *c;

	reset_counts();
	a = get(mm);
	b = get(other);
	assert_int_equal(mmu_notifier_get(&same_but_other, mm, &c), 0);
	assert_ptr_not_equal(a, b);
	assert_ptr_not_equal(a, c);
	assert_int_equal(atomic_load(&allocated), 3);
	mmu_notifier_put(&a->sub);
	mmu_notifier_put(&b->sub);
	mmu_notifier_put(c);
	mmu_notifier_synchronize();
	assert_int_equal(atomic_load(&freed), 3);
	close_mm(other);
	close_mm(mm);
}

static void test_put_frees_later(void **state)
{
	struct mm_struct *mm = open_mm(HMMU_MM_OWN_RECLAIM);
	struct mmu_notifier_range range;
	struct whole *whole, *again;

	reset_counts();
	whole = get(mm);
	range_open(&range, mm, A, A + 1);
	mmu_notifier_put(&whole->sub);
	assert_int_equal(atomic_load(&freed), 0); /* not here, but it is off */
	range_close(&range);
	invalidate(mm, A, A + 1);
	assert_int_equal(atomic_load(&whole->starts), 1);
	assert_int_equal(atomic_load(&whole->ends), 0);
	assert_int_equal(atomic_load(&whole->released), 0);
	again = get(mm); /* a new one */
	assert_ptr_not_equal(again, whole);
	assert_int_equal(atomic_load(&allocated), 2);
	assert_true(quiet(hmmu_reclaim(mm)) >= 1);
	assert_int_equal(atomic_load(&freed), 1);
	mmu_notifier_put(&again->sub);
	close_mm(mm); /* runs what is owed */
	assert_int_equal(atomic_load(&freed), 2);
}

static void synchronize(void *arg)
{
	mmu_notifier_synchronize();
	must(atomic_load(&freed) == 1);
}

static void test_synchronize_waits_for_the_free(void **state)
{
	struct mm_struct *mm = open_mm(HMMU_MM_OWN_RECLAIM);
	struct runner run;

	reset_counts();
	mmu_notifier_put(&get(mm)->sub);
	runner_start(&run, synchronize, NULL);
	if (runner_sleeps(&run)) /* it may help itself, or wait for somebody who does */
		assert_int_equal(hmmu_reclaim(mm), 1);
	runner_join(&run);
	assert_int_equal(hmmu_reclaim(mm), 0);
	close_mm(mm);
}

/* G3: what a callback is still inside of is not freed. */
static void test_g3_free_waits_for_a_running_callback(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct gate inside, go;
	struct whole *whole;
	struct blocked blocked = {.mm = mm};
	struct runner starting, waiting;

	reset_counts();
	gate_init(&inside);
	gate_init(&go);
	whole = get(mm);
	whole->go = &go;
	whole->inside = &inside;
	runner_start(&starting, blocked_start, &blocked);
	gate_pass(&inside);
	/* Where put may not wait for the callback, synchronize does. */
	mmu_notifier_put(&whole->sub);
	runner_start(&waiting, synchronize, NULL);
	assert_true(runner_sleeps(&waiting));
	assert_int_equal(atomic_load(&freed), 0);
	gate_open(&go);
	runner_join(&waiting);
	runner_join(&starting);
	range_close(&blocked.range);
	assert_int_equal(atomic_load(&freed), 1);
	close_mm(mm);
}

static void test_get_errors(void **state)
{
	static const struct mmu_notifier_ops no_alloc = {.invalidate_range_end = whole_end};
	static const struct mmu_notifier_ops no_range_ops = {
		.alloc_notifier = counted_alloc,
		.free_notifier = counted_free,
	};
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier *sub;

	reset_counts();
	assert_int_equal(quiet(mmu_notifier_get(NULL, mm, &sub)), -EINVAL);
	assert_int_equal(quiet(mmu_notifier_get(&get_ops, NULL, &sub)), -EINVAL);
	assert_int_equal(quiet(mmu_notifier_get(&get_ops, mm, NULL)), -EINVAL);
	assert_int_equal(quiet(mmu_notifier_get(&no_alloc, mm, &sub)), -EINVAL);
	assert_int_equal(quiet(mmu_notifier_get(&no_range_ops, mm, &sub)), -EINVAL);
	no_memory = true;
	assert_int_equal(quiet(mmu_notifier_get(&get_ops, mm, &sub)), -ENOMEM);
	no_memory = false;
	mmu_notifier_synchronize();
	assert_int_equal(atomic_load(&allocated), atomic_load(&freed));
	mmu_notifier_put(&get(mm)->sub); /* nothing was left behind */
	mmu_notifier_synchronize();
	close_mm(mm);
}

struct getter {
	struct mm_struct *mm;
	struct mmu_notifier *sub;
};

static void get_in_thread(void *arg)
{
	struct getter *getter = arg;

	must(mmu_notifier_get(&get_ops, getter->mm, &getter->sub) == 0);
}

/* A second get while the first stands in alloc_notifier: one notifier for both. */
static void test_get_at_the_same_time(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct gate inside, go;
	struct getter getter[2] = {{.mm = mm}, {.mm = mm}};
	struct runner run[2];
	struct whole *whole;

	reset_counts();
	gate_init(&inside);
	gate_init(&go);
	alloc_go = &go;
	alloc_inside = &inside;
	runner_start(&run[0], get_in_thread, &getter[0]);
	gate_pass(&inside);
	runner_start(&run[1], get_in_thread, &getter[1]);
	runner_sleeps(&run[1]); /* waits for the first, or has one of its own by now */
	gate_open(&go);
	runner_join(&run[0]);
	runner_join(&run[1]);
	assert_ptr_equal(getter[0].sub, getter[1].sub);
	whole = (struct whole *)getter[0].sub;
	invalidate(mm, A, A + 1);
	assert_int_equal(atomic_load(&whole->starts), 1);
	mmu_notifier_put(&whole->sub);
	invalidate(mm, A, A + 1);
	assert_int_equal(atomic_load(&whole->starts), 2);
	mmu_notifier_put(&whole->sub);
	mmu_notifier_synchronize();
	assert_int_equal(atomic_load(&allocated), atomic_load(&freed));
	close_mm(mm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_told_of_everything),
		cmocka_unit_test(test_other_mm_is_not_told),
		cmocka_unit_test(test_start_or_end_alone),
		cmocka_unit_test(test_register_errors),
#ifndef HMMU_DEBUG
		cmocka_unit_test(test_register_in_a_callback_is_refused),
#endif
		cmocka_unit_test(test_register_waits_for_open_ones),
		cmocka_unit_test(test_register_does_not_wait_for_later_ones),
		cmocka_unit_test(test_no_end_for_those_open_at_unregister),
		cmocka_unit_test(test_g3_unregister_waits_for_its_running_callback),
		cmocka_unit_test(test_g4_nobody_waits_for_a_whole_mm_callback),
		cmocka_unit_test(test_g4_refused_by_a_whole_mm_notifier),
		cmocka_unit_test(test_g4_refused_by_a_subscription),
		cmocka_unit_test(test_get_is_shared_and_counted),
		cmocka_unit_test(test_get_is_per_mm_and_per_ops),
		cmocka_unit_test(test_put_frees_later),
		cmocka_unit_test(test_synchronize_waits_for_the_free),
		cmocka_unit_test(test_g3_free_waits_for_a_running_callback),
		cmocka_unit_test(test_get_errors),
		cmocka_unit_test(test_get_at_the_same_time),
	};

	api_guard(60);
	return cmocka_run_group_tests_name("whole", tests, NULL, NULL);
}
