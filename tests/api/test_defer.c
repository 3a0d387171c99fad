// SPDX-License-Identifier: MIT
/*
 * test_defer.c - hmmu_defer() and hmmu_reclaim(): each work runs once, in the order
 * it was queued in, never in the middle of the call that queued it.
 */
#include "api.h"

#define A 0x100000UL

struct item {
	struct hmmu_work work;
	int number;
	atomic_int ran;
	struct mm_struct *mm;
	struct item *next; /* to be deferred by this one's fn */
};

static int order[256], n_order;

static void note(struct hmmu_work *work)
{
	struct item *item = (struct item *)work;

	must(n_order < 256);
	order[n_order++] = item->number;
	atomic_fetch_add(&item->ran, 1);
}

static void queue(struct mm_struct *mm, struct item *item, void (*fn)(struct hmmu_work *))
{
	item->mm = mm;
	memset(&item->work, 0xa5, sizeof(item->work)); /* nothing to initialise */
	quiet_void(hmmu_defer(mm, &item->work, fn));
}

static void test_nothing_runs_until_reclaim(void **state)
{
	struct mm_struct *mm = open_mm(HMMU_MM_OWN_RECLAIM);
	struct item item[100];
	int i;

	n_order = 0;
	memset(item, 0, sizeof(item));
	assert_int_equal(quiet(hmmu_reclaim(mm)), 0);
	for (i = 0; i < 100; i++) {
		item[i].number = i;
		queue(mm, &item[i], note);
		assert_int_equal(n_order, 0);
	}
	assert_int_equal(quiet(hmmu_reclaim(mm)), 100);
	for (i = 0; i < 100; i++)
		assert_int_equal(order[i], i);
	assert_int_equal(quiet(hmmu_reclaim(mm)), 0);
	queue(mm, &item[7], note); /* once it ran it may be queued again */
	assert_int_equal(hmmu_reclaim(mm), 1);
	assert_int_equal(atomic_load(&item[7].ran), 2);
	assert_int_equal(quiet(hmmu_reclaim(NULL)), -EINVAL);
	close_mm(mm);
}

static void test_reclaim_runs_its_own_mm_only(void **state)
{
	struct mm_struct *mm = open_mm(HMMU_MM_OWN_RECLAIM);
	struct mm_struct *other = open_mm(HMMU_MM_OWN_RECLAIM);
	struct item a = {.number = 1}, b = {.number = 2};

	n_order = 0;
	queue(mm, &a, note);
	queue(other, &b, note);
	assert_int_equal(hmmu_reclaim(other), 1);
	assert_int_equal(order[0], 2);
	assert_int_equal(hmmu_reclaim(mm), 1);
	assert_int_equal(order[1], 1);
	close_mm(other);
	close_mm(mm);
}

static struct gate ran_gate;
static pthread_t ran_in;

static void open_gate(struct hmmu_work *work)
{
	ran_in = pthread_self();
	gate_open(&ran_gate);
}

static void test_the_reclaimer_runs_them(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct item item = {0};
	int i;

	for (i = 0; i < 50; i++) { /* also when it has gone to sleep in between */
		gate_init(&ran_gate);
		queue(mm, &item, open_gate);
		gate_pass(&ran_gate);
		assert_false(pthread_equal(ran_in, pthread_self()));
		if (i % 8 == 0)
			usleep(1000);
	}
	assert_int_equal(hmmu_reclaim(mm), 0);
	close_mm(mm);
}

static void free_it(struct hmmu_work *work)
{
	n_order++;
	memset(work, 0x5a, sizeof(struct item));
	free(work);
}

static void test_fn_may_free(void **state)
{
	struct mm_struct *mm = open_mm(HMMU_MM_OWN_RECLAIM);
	int i;

	n_order = 0;
	for (i = 0; i < 100; i++)
		queue(mm, calloc(1, sizeof(struct item)), free_it);
	assert_int_equal(hmmu_reclaim(mm), 100);
	assert_int_equal(n_order, 100);
	close_mm(mm);
}

static void again(struct hmmu_work *work)
{
	struct item *item = (struct item *)work;

	if (atomic_fetch_add(&item->ran, 1) < 4)
		queue(item->mm, item, again); /* itself */
	else if (item->next)
		queue(item->mm, item->next, again); /* another */
}

static void test_fn_may_defer_again(void **state)
{
	struct mm_struct *mm = open_mm(HMMU_MM_OWN_RECLAIM);
	struct item a = {0}, b = {0};
	int total = 0, ran;

	a.next = &b;
	queue(mm, &a, again);
	while ((ran = hmmu_reclaim(mm)) > 0)
		total += ran;
	assert_int_equal(ran, 0);
	assert_int_equal(total, 10);
	assert_int_equal(atomic_load(&a.ran), 5);
	assert_int_equal(atomic_load(&b.ran), 5);
	close_mm(mm);
}

static void test_close_runs_what_is_left(void **state)
{
	struct item a, b;
	int own;

	for (own = 0; own < 2; own++) {
		struct mm_struct *mm = open_mm(own ? HMMU_MM_OWN_RECLAIM : 0);

		memset(&a, 0, sizeof(a));
		memset(&b, 0, sizeof(b));
		a.next = &b;
		queue(mm, &a, again);
		close_mm(mm);
		assert_int_equal(atomic_load(&a.ran), 5);
		assert_int_equal(atomic_load(&b.ran), 5);
	}
}

static void defer_in_callback(struct probe *probe, const struct mmu_notifier_range *range)
{
	struct item *item = probe->arg;

	queue(range->mm, item, note);
	must(atomic_load(&item->ran) == 0);
}

static void test_defer_from_a_callback(void **state)
{
	struct mm_struct *mm = open_mm(HMMU_MM_OWN_RECLAIM);
	struct mmu_notifier_range range;
	struct item item = {.number = 1};
	struct probe probe;

	n_order = 0;
	probe_add(&probe, mm, A, PAGE);
	probe.hook = defer_in_callback;
	probe.arg = &item;
	range_open(&range, mm, A, A + 1);
	assert_int_equal(n_order, 0);
	assert_int_equal(hmmu_reclaim(mm), 1); /* while the range is open, too */
	range_close(&range);
	probe_remove(&probe);
	close_mm(mm);
}

/* The driver's usual end: what the callback cut off is removed by the reclaimer. */
struct dying {
	struct probe probe;
	struct hmmu_work work;
};

static void bury(struct hmmu_work *work)
{
	struct dying *dying = (void *)((char *)work - offsetof(struct dying, work));

	mmu_interval_notifier_remove(&dying->probe.sub);
	memset(dying, 0x5a, sizeof(*dying));
	free(dying);
	gate_open(&ran_gate);
}

static void die(struct probe *probe, const struct mmu_notifier_range *range)
{
	struct dying *dying = (struct dying *)probe;

	probe->hook = NULL;
	hmmu_defer(range->mm, &dying->work, bury);
}

static void test_g3_the_reclaimer_removes_what_a_callback_cannot(void **state)
{
	struct mm_struct *mm = open_mm(0);
	int i;

	for (i = 0; i < 100; i++) {
		struct dying *dying = calloc(1, sizeof(*dying));
		struct mmu_notifier_range range;

		gate_init(&ran_gate);
		probe_add(&dying->probe, mm, A, PAGE);
		dying->probe.hook = die;
		range_open(&range, mm, A, A + 1);
		gate_pass(&ran_gate);
		range_close(&range);
	}
	close_mm(mm);
}

#define THREADS 4
#define WORKS (100000 / THREADS / API_SLOW)

static atomic_int total;

static void count(struct hmmu_work *work)
{
	struct item *item = (struct item *)work;

	must(atomic_fetch_add(&item->ran, 1) == 0);
	atomic_fetch_add(&total, 1);
}

struct flood {
	struct mm_struct *mm;
	struct item *item;
	bool reclaim;
};

static void flood(void *arg)
{
	struct flood *flood = arg;
	int i;

	for (i = 0; i < WORKS; i++) {
		queue(flood->mm, &flood->item[i], count);
		if (flood->reclaim && i % 64 == 0)
			must(hmmu_reclaim(flood->mm) >= 0);
	}
}

/* With the reclaimer; with threads that reclaim; with both. */
static void test_each_of_many_runs_once(void **state)
{
	int round, t, i;

	for (round = 0; round < 3; round++) {
		struct mm_struct *mm = open_mm(round == 1 ? HMMU_MM_OWN_RECLAIM : 0);
		struct runner run[THREADS];
		struct flood each[THREADS];

		atomic_store(&total, 0);
		for (t = 0; t < THREADS; t++) {
			each[t].mm = mm;
			each[t].item = calloc(WORKS, sizeof(struct item));
			each[t].reclaim = round >= 1;
			runner_start(&run[t], flood, &each[t]);
		}
		for (t = 0; t < THREADS; t++)
			runner_join(&run[t]);
		close_mm(mm);
		assert_int_equal(atomic_load(&total), THREADS * WORKS);
		for (t = 0; t < THREADS; t++) {
			for (i = 0; i < WORKS; i++)
				assert_int_equal(atomic_load(&each[t].item[i].ran), 1);
			free(each[t].item);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_runs_until_reclaim),
		cmocka_unit_test(test_reclaim_runs_its_own_mm_only),
		cmocka_unit_test(test_the_reclaimer_runs_them),
		cmocka_unit_test(test_fn_may_free),
		cmocka_unit_test(test_fn_may_defer_again),
		cmocka_unit_test(test_close_runs_what_is_left),
		cmocka_unit_test(test_defer_from_a_callback),
		cmocka_unit_test(test_g3_the_reclaimer_removes_what_a_callback_cannot),
		cmocka_unit_test(test_each_of_many_runs_once),
	};

	api_guard(60);
	return cmocka_run_group_tests_name("defer", tests, NULL, NULL);
}
