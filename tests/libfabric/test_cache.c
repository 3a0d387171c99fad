// SPDX-License-Identifier: MIT
/*
 * test_cache.c - libfabric's cache (standin.h) over the monitor: is what it gives out what the
 * memory holds? Each interleaving is forced from inside the registration.
 */
#include "fi_test.h"

#include "monitor.h"

#define OWN HMMU_MM_OWN_RECLAIM

static void remap_inside(struct bench *b)
{
	standin_hooks.pinned = bench_remap;
	standin_hooks.arg = b;
}

/* What libfabric does with each of its own monitors, asked for by name. */
static void test_window_open_is_stale(void **state)
{
	struct bench b;
	struct fid_mr *first, *second;

	bench_open(&b, HMMU_SOURCE_EXPLICIT, 0, HMMU_FI_WINDOW_OPEN);
	remap_inside(&b);
	first = plain_reg(&b);
	second = plain_reg(&b);
	assert_true(standin_was_hit(second));
	assert_true(stale(&b, second));
	mr_close(first);
	mr_close(second);
	bench_close(&b);
}

/* The same program and the same moment: not kept, so the next is a new one. */
static void test_plain_is_used_once(void **state)
{
	struct bench b;
	struct fid_mr *mr[4];

	bench_open(&b, HMMU_SOURCE_EXPLICIT, 0, 0);
	remap_inside(&b);
	mr[0] = plain_reg(&b);
	assert_true(stale(&b, mr[0])); /* nobody asked: only the wrapper could tell */
	assert_int_equal(standin_cached(b.domain), 0);
	assert_int_equal(stats().once_window, 1);
	mr[1] = plain_reg(&b);
	assert_false(standin_was_hit(mr[1]));
	assert_false(stale(&b, mr[1]));
	/* the second one was watched from before its beginning, and stays */
	assert_int_equal(standin_cached(b.domain), 1);
	assert_int_equal(stats().cached, 1);
	mr[2] = plain_reg(&b);
	assert_true(standin_was_hit(mr[2]));
	assert_false(stale(&b, mr[2]));
	/* and a remap inside a registration that was watched is noticed, too */
	bench_remap(&b);
	settle(&b, false);
	mr_close(plain_reg(&b));
	remap_inside(&b);
	mr[3] = plain_reg(&b);
	assert_int_equal(standin_cached(b.domain), 0);
	for (int i = 0; i < 4; i++)
		mr_close(mr[i]);
	bench_close(&b);
}

static void test_wrapper_is_fresh(void **state)
{
	static const unsigned int flags[] = {0, HMMU_FI_WRAPPED_ONLY, HMMU_FI_WINDOW_OPEN};
	struct hmmu_fi_mr *mr;
	struct fid_mr *again;
	struct bench b;

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		bench_open(&b, HMMU_SOURCE_EXPLICIT, 0, flags[i]);
		remap_inside(&b);
		mr = wrapped_reg(&b);
		assert_false(stale(&b, hmmu_fi_mr_fid(mr)));
		assert_true(hmmu_fi_mr_valid(mr));
		assert_int_equal(stats().collisions, 1);
		again = plain_reg(&b);
		assert_false(stale(&b, again));
		bench_remap(&b);
		assert_false(hmmu_fi_mr_valid(mr));
		mr_close(again);
		assert_int_equal(hmmu_fi_mr_close(mr), 0);
		bench_close(&b);
	}
}

/* Without anything in its way a wrapped registration is cached the first time. */
static void test_wrapper_is_cached(void **state)
{
	struct hmmu_fi_mr *mr[2];
	struct bench b;

	bench_open(&b, HMMU_SOURCE_EXPLICIT, 0, HMMU_FI_WRAPPED_ONLY);
	mr_close(plain_reg(&b));
	mr_close(plain_reg(&b));
	assert_int_equal(standin_cached(b.domain), 0);
	mr[0] = wrapped_reg(&b);
	assert_int_equal(standin_cached(b.domain), 1);
	mr[1] = wrapped_reg(&b);
	assert_true(standin_was_hit(hmmu_fi_mr_fid(mr[1])));
	assert_int_equal(stats().collisions, 0);
	assert_int_equal(hmmu_fi_mr_close(mr[0]), 0);
	assert_int_equal(hmmu_fi_mr_close(mr[1]), 0);
	bench_close(&b);
}

struct other {
	struct bench *b;
	bool was_stale;
	int regs;
};

static void other_thread(void *arg)
{
	struct other *o = arg;
	struct fid_mr *mr;

	for (int i = 0; i < o->regs; i++) {
		mr = plain_reg(o->b);
		o->was_stale = stale(o->b, mr);
		mr_close(mr);
	}
}

static void run_other(void *arg)
{
	struct runner r = {.fn = other_thread};

	runner_start(&r, other_thread, arg);
	runner_join(&r);
}

static struct other elsewhere;

static void look_up_elsewhere(void *arg)
{
	run_other(&elsewhere);
}

/*
 *	wrapper				another thread
 *	pins; remap; subscribes
 *					looks the range up
 *			[Required: does not find it]
 *	read_retry: again
 */
static void test_nobody_finds_a_collided_one(void **state)
{
	struct hmmu_fi_mr *mr;
	struct bench b;

	bench_open(&b, HMMU_SOURCE_EXPLICIT, 0, 0);
	elsewhere = (struct other){&b, true, 1};
	remap_inside(&b);
	standin_hooks.subscribed = look_up_elsewhere;
	mr = wrapped_reg(&b);
	assert_false(elsewhere.was_stale);
	assert_int_equal(stats().collisions, 1);
	assert_int_equal(hmmu_fi_mr_close(mr), 0);
	bench_close(&b);
}

static void remap_and_register(void *arg)
{
	bench_remap(arg);
	run_other(&elsewhere);
}

/*
 *	plain registration		another thread
 *	pins the old pages
 *					remap; registers the same range in another
 *					  domain, twice: its watch is alive, and young
 *	subscribes: the watch is alive
 *			[Required: not kept, it began before the watch]
 */
static void test_watch_that_began_in_between(void **state)
{
	struct bench b, c;
	struct fid_mr *mr;

	bench_open(&b, HMMU_SOURCE_EXPLICIT, 0, 0);
	c = b;
	c.domain = standin_domain_open();
	elsewhere = (struct other){&c, false, 2};
	standin_hooks.pinned = remap_and_register;
	standin_hooks.arg = &b;
	mr = plain_reg(&b);
	assert_int_equal(standin_cached(c.domain), 1);
	assert_int_equal(standin_cached(b.domain), 0);
	mr_close(mr);
	mr = plain_reg(&b);
	assert_false(stale(&b, mr));
	mr_close(mr);
	standin_domain_close(c.domain);
	bench_close(&b);
}

static void unsubscribe_inside(void *arg)
{
	struct bench *b = arg;

	remap_and_register(arg);
	standin_lock();
	fi_monitor.export_ops->unsubscribe(&fi_monitor, b->buf, PAGES * PAGE);
	standin_unlock();
}

/* The same, and room is made in the cache while the provider registers (2.1:234 -> 137): that
 * call says nothing of when the registration began. */
static void test_unsubscribe_in_between(void **state)
{
	struct bench b, c;

	bench_open(&b, HMMU_SOURCE_EXPLICIT, 0, 0);
	c = b;
	c.domain = standin_domain_open();
	elsewhere = (struct other){&c, false, 2};
	standin_hooks.pinned = unsubscribe_inside;
	standin_hooks.arg = &b;
	mr_close(plain_reg(&b));
	assert_int_equal(standin_cached(c.domain), 1);
	assert_int_equal(standin_cached(b.domain), 0);
	standin_domain_close(c.domain);
	bench_close(&b);
}

/* The provider registers a page more than it was asked for; that page changes meanwhile. */
static void test_more_than_was_asked_for(void **state)
{
	struct hmmu_fi_mr *mr;
	struct bench b;

	bench_open(&b, HMMU_SOURCE_EXPLICIT, 0, 0);
	standin_hooks.expand = PAGE;
	assert_int_equal(
		hmmu_fi_mr_reg(b.mm, b.domain, b.buf, PAGE, FI_SEND, 0, 0, 0, &mr, NULL), 0);
	assert_int_equal(stats().once_window, 1);
	assert_int_equal(standin_cached(b.domain), 0);
	assert_int_equal(hmmu_fi_mr_close(mr), 0);
	bench_close(&b);
}

static struct fi_ops_mr *theirs;
static struct bench *remap_after;

static int reg_and_remap(struct fid *fid, const void *buf, size_t len, uint64_t access,
			 uint64_t offset, uint64_t key, uint64_t flags, struct fid_mr **mr,
			 void *context)
{
	int ret = theirs->reg(fid, buf, len, access, offset, key, flags, mr, context);

	if (remap_after)
		bench_remap(remap_after);
	remap_after = NULL;
	return ret;
}

/* The wrapper gets a cached one, and then the memory changes: the caches are told by the
 * wrapper itself, before it asks again. */
static void test_collision_after_a_hit(void **state)
{
	struct fi_ops_mr mine;
	struct hmmu_fi_mr *mr;
	struct bench b;

	bench_open(&b, HMMU_SOURCE_EXPLICIT, OWN, 0);
	mr_close(plain_reg(&b));
	mr_close(plain_reg(&b));
	assert_int_equal(standin_cached(b.domain), 1);
	theirs = b.domain->mr;
	mine = *theirs;
	mine.reg = reg_and_remap;
	b.domain->mr = &mine;
	remap_after = &b;
	mr = wrapped_reg(&b);
	b.domain->mr = theirs;
	assert_int_equal(stats().collisions, 1);
	assert_int_equal(standin_notified(), 1);
	assert_false(stale(&b, hmmu_fi_mr_fid(mr)));
	assert_int_equal(hmmu_fi_mr_close(mr), 0);
	bench_close(&b);
}

/*
 * Two caches have the range. It changes, and libfabric has not been told yet. If the second
 * could subscribe to it anew now, the first one's old entry would be valid again.
 */
static void test_dead_range_is_refused(void **state)
{
	struct bench b, c;
	struct fid_mr *mr;

	bench_open(&b, HMMU_SOURCE_EXPLICIT, OWN, 0);
	c = b;
	c.domain = standin_domain_open();
	for (int i = 0; i < 2; i++) {
		mr_close(plain_reg(&b));
		mr_close(plain_reg(&c));
	}
	assert_int_equal(standin_cached(b.domain), 1);
	assert_int_equal(standin_cached(c.domain), 1);
	bench_remap(&b);
	for (int i = 0; i < 3; i++) {
		mr = plain_reg(&c);
		assert_false(standin_was_hit(mr));
		assert_false(stale(&b, mr));
		mr_close(mr);
	}
	assert_int_equal(standin_notified(), 0);
	mr = plain_reg(&b);
	assert_false(standin_was_hit(mr));
	assert_false(stale(&b, mr));
	mr_close(mr);
	assert_true(stats().once_dead > 0);
	/* told once, however often it was hit */
	bench_remap(&b);
	settle(&b, true);
	assert_int_equal(standin_notified(), 1);
	assert_int_equal(stats().notified, 1);
	mr_close(plain_reg(&b));
	mr_close(plain_reg(&b));
	assert_int_equal(standin_cached(b.domain), 1);
	standin_domain_close(c.domain);
	bench_close(&b);
}

/* A look-up while the change is open, and the pages are the old ones still: a miss (G1). */
static void test_miss_while_open(void **state)
{
	struct mmu_notifier_range range;
	struct fid_mr *mr;
	struct bench b;

	bench_open(&b, HMMU_SOURCE_EXPLICIT, 0, 0);
	mr_close(plain_reg(&b));
	mr_close(plain_reg(&b));
	range_open(&range, b.mm, (unsigned long)b.buf, (unsigned long)b.buf + PAGE);
	mr = plain_reg(&b);
	assert_false(standin_was_hit(mr));
	assert_int_equal(standin_cached(b.domain), 0);
	mr_close(mr);
	range_close(&range);
	bench_close(&b);
}

static struct bench *asked;
static int answers;

static void ask(struct probe *probe, const struct mmu_notifier_range *range)
{
	answers++;
	must(!fi_monitor.export_ops->valid(&fi_monitor, asked->buf, PAGES * PAGE));
}

/* Not even while others are being called back, before or after the range's own. */
static void test_miss_before_the_callback(void **state)
{
	struct probe probe[2];
	struct bench b;

	bench_open(&b, HMMU_SOURCE_EXPLICIT, 0, 0);
	asked = &b;
	for (int i = 0; i < 2; i++) {
		probe_init(&probe[i]);
		probe[i].hook = ask;
	}
	probe_insert(&probe[0], b.mm, (unsigned long)b.buf - PAGE, 2 * PAGE);
	mr_close(plain_reg(&b));
	mr_close(plain_reg(&b));
	probe_insert(&probe[1], b.mm, (unsigned long)b.buf + PAGE, PAGE);
	assert_int_equal(standin_cached(b.domain), 1);
	bench_remap(&b);
	assert_int_equal(answers, 2);
	probe_remove(&probe[0]);
	probe_remove(&probe[1]);
	bench_close(&b);
}

static struct bench *change_at_insert;
static struct runner gravedigger;
static struct gate was_told;
static uintptr_t told;

static void reclaim(void *mm)
{
	hmmu_reclaim(mm);
}

int __real_mmu_interval_notifier_insert(struct mmu_interval_notifier *sub, struct mm_struct *mm,
					unsigned long start, unsigned long length,
					const struct mmu_interval_notifier_ops *sub_ops);
int __wrap_mmu_interval_notifier_insert(struct mmu_interval_notifier *sub, struct mm_struct *mm,
					unsigned long start, unsigned long length,
					const struct mmu_interval_notifier_ops *sub_ops);

int __wrap_mmu_interval_notifier_insert(struct mmu_interval_notifier *sub, struct mm_struct *mm,
					unsigned long start, unsigned long length,
					const struct mmu_interval_notifier_ops *sub_ops)
{
	int ret = __real_mmu_interval_notifier_insert(sub, mm, start, length, sub_ops);

	if (change_at_insert) {
		bench_remap(change_at_insert);
		runner_start(&gravedigger, reclaim, mm);
		gate_pass(&was_told);
	}
	change_at_insert = NULL;
	return ret;
}

static void note_notify(struct fid_mem_monitor *monitor, const void *addr, size_t len)
{
	told = (uintptr_t)addr;
	gate_open(&was_told);
}

/* Hit before subscribe() has finished with it: refused, and told of by its right name. */
static void test_change_at_birth(void **state)
{
	static struct fi_ops_mem_notify noting = {sizeof(noting), note_notify};
	struct fi_ops_mem_notify *old;
	struct fid_mr *mr;
	struct bench b;

	bench_open(&b, HMMU_SOURCE_EXPLICIT, OWN, HMMU_FI_WINDOW_OPEN);
	old = fi_monitor.import_ops;
	fi_monitor.import_ops = &noting;
	gate_init(&was_told);
	change_at_insert = &b;
	/* a place that no record has had */
	assert_int_equal(fi_mr_reg(b.domain, b.buf + 3, 8, FI_SEND, 0, 0, 0, &mr, NULL), 0);
	mr_close(mr);
	runner_join(&gravedigger);
	assert_int_equal(standin_cached(b.domain), 0);
	assert_int_equal(stats().once_dead, 1);
	assert_int_equal(told, b.buf + 3);
	assert_int_equal(stats().watched, 0);
	fi_monitor.import_ops = old;
	bench_close(&b);
}

static unsigned int notified_inside;

static void unmap_watched(void *arg)
{
	struct bench *b = arg;

	/* libfabric's mutex is this thread's: munmap() here is what its malloc() does */
	bench_remap(b);
	notified_inside = standin_notified();
	assert_false(fi_monitor.export_ops->valid(&fi_monitor, b->buf, PAGES * PAGE));
}

/* A hook that fires while this thread holds libfabric's mutex, which is not recursive. */
static void test_munmap_under_the_mutex(void **state)
{
	static unsigned long small;
	struct fid_mr *mr, *extra;
	struct bench b;

	bench_open(&b, HMMU_SOURCE_HOOKS, 0, 0);
	mr_close(plain_reg(&b));
	mr_close(plain_reg(&b));
	assert_int_equal(standin_cached(b.domain), 1);
	standin_hooks.locked = unmap_watched;
	standin_hooks.arg = &b;
	assert_int_equal(
		fi_mr_reg(b.domain, &small, sizeof(small), FI_SEND, 0, 0, 0, &extra, NULL), 0);
	assert_int_equal(notified_inside, 0);
	settle(&b, false);
	assert_int_equal(standin_notified(), 1); /* not lost */
	mr = plain_reg(&b);
	assert_false(standin_was_hit(mr));
	assert_false(stale(&b, mr));
	mr_close(mr);
	mr_close(extra);
	bench_close(&b);
}

/*
 *	main				another thread
 *	holds libfabric's mutex
 *					munmap() of a watched range, as free() does with
 *					  the allocator's lock held
 *	waits for that thread: the allocator's lock
 *			[Required: it comes back]
 */
static void test_munmap_while_others_hold_the_mutex(void **state)
{
	struct runner r = {0};
	struct fid_mr *mr;
	struct bench b;

	bench_open(&b, HMMU_SOURCE_HOOKS, 0, 0);
	mr_close(plain_reg(&b));
	mr_close(plain_reg(&b));
	standin_lock();
	runner_start(&r, bench_remap, &b);
	runner_join(&r);
	assert_false(fi_monitor.export_ops->valid(&fi_monitor, b.buf, PAGES * PAGE));
	standin_unlock();
	settle(&b, false);
	assert_int_equal(standin_notified(), 1);
	mr = plain_reg(&b);
	assert_false(stale(&b, mr));
	mr_close(mr);
	bench_close(&b);
}

/* Deferred work that comes to run inside a call of libfabric's waits for the next time. */
static void test_no_notify_inside_a_call(void **state)
{
	struct bench b;

	bench_open(&b, HMMU_SOURCE_EXPLICIT, OWN, 0);
	mr_close(plain_reg(&b));
	bench_remap(&b);
	fi_enter_op();
	assert_int_equal(hmmu_reclaim(b.mm), 1);
	assert_int_equal(standin_notified(), 0);
	fi_leave_op();
	assert_int_equal(hmmu_reclaim(b.mm), 1);
	assert_int_equal(standin_notified(), 1);
	bench_close(&b);
}

/* From 2.1 notify() calls unsubscribe() back, and a failed subscribe() is followed by one. */
static void test_unsubscribe_inside_notify(void **state)
{
	struct fid_mr *mr;
	struct bench b;

	standin_version = 210;
	bench_open(&b, HMMU_SOURCE_EXPLICIT, OWN, 0);
	mr_close(plain_reg(&b));
	assert_int_equal(standin_unsubscribed(), 1);
	mr_close(plain_reg(&b));
	assert_int_equal(standin_cached(b.domain), 1);
	bench_remap(&b);
	assert_int_equal(hmmu_reclaim(b.mm), 1);
	assert_int_equal(standin_unsubscribed(), 2);
	assert_int_equal(standin_cached(b.domain), 0);
	assert_int_equal(stats().watched, 0);
	mr = plain_reg(&b);
	assert_false(stale(&b, mr));
	mr_close(mr);
	bench_close(&b);
	standin_version = 117;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_window_open_is_stale),
		cmocka_unit_test(test_plain_is_used_once),
		cmocka_unit_test(test_wrapper_is_fresh),
		cmocka_unit_test(test_wrapper_is_cached),
		cmocka_unit_test(test_nobody_finds_a_collided_one),
		cmocka_unit_test(test_watch_that_began_in_between),
		cmocka_unit_test(test_unsubscribe_in_between),
		cmocka_unit_test(test_more_than_was_asked_for),
		cmocka_unit_test(test_collision_after_a_hit),
		cmocka_unit_test(test_dead_range_is_refused),
		cmocka_unit_test(test_miss_while_open),
		cmocka_unit_test(test_miss_before_the_callback),
		cmocka_unit_test(test_change_at_birth),
		cmocka_unit_test(test_munmap_under_the_mutex),
		cmocka_unit_test(test_munmap_while_others_hold_the_mutex),
		cmocka_unit_test(test_no_notify_inside_a_call),
		cmocka_unit_test(test_unsubscribe_inside_notify),
	};

	api_guard(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
