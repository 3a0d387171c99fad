// SPDX-License-Identifier: MIT
/*
 * test_changes.c - memory changes: before, while, and after a region is got, used, put. Each
 * interleaving is forced: from inside reg, or by a second thread that is seen asleep.
 */
#include "world.h"

#include <fcntl.h>
#include <sys/mman.h>

#define N 64

static const struct timespec past = {0, 0};

/* Told of a change by return: the region may go a moment later. */
static void until_stat(struct world *w, size_t offset, uint64_t value)
{
	struct hmmu_regcache_stats stats;

	do {
		stats = stats_of(w);
	} while (*(uint64_t *)((char *)&stats + offset) != value);
}
#define until_stats(w, field, value) \
	until_stat((w), offsetof(struct hmmu_regcache_stats, field), (value))

/* One page of many: the region is dead as a whole. */
static void one_page_drops_the_whole(void)
{
	static const size_t hit[] = {0, 31, N - 1};
	struct hmmu_region_ref ref;
	struct world w;
	size_t i;

	world_open(&w, N, NULL);
	for (i = 0; i < 3; i++) {
		get_put(&w, 0, N, RW);
		world_remap(&w, hit[i], 1);
		assert_int_equal(get_now(&w, (hit[i] + 20) % N, 1, RW, &ref), -EAGAIN);
		world_reap(&w, 0);
		until_stats(&w, invalidated, i + 1);
		assert_int_equal(stats_of(&w).regions + stats_of(&w).bytes, 0);
	}
	get_put(&w, 0, N, RW);
	assert_int_equal(w.dev.calls, 4);
	world_close(&w);
}

/* ---- each way in which memory changes ---- */

static void by_map_fixed(struct world *w)
{
	must(mmap(w->area, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
	     w->area);
}

static void by_unmap_and_map(struct world *w)
{
	must(munmap(w->area, PAGE) == 0);
	by_map_fixed(w);
}

static void by_dontneed(struct world *w)
{
	must(madvise(w->area, PAGE, MADV_DONTNEED) == 0);
}

static void by_move_away(struct world *w)
{
	char *to = mremap(w->area, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
			  w->reserved + w->reserved_length - PAGE);

	must(to != MAP_FAILED);
	by_map_fixed(w);
}

static void by_move_onto(struct world *w)
{
	world_fresh(w, 0, 1, RW);
}

static void by_dontneed_of_more(struct world *w)
{
	must(madvise(w->area, 3 * PAGE, MADV_DONTNEED) == 0);
}

static void each_way_to_change(void)
{
	void (*const way[])(struct world * w) = {by_map_fixed, by_unmap_and_map,
						 by_dontneed,  by_move_away,
						 by_move_onto, by_dontneed_of_more};
	struct hmmu_region_ref held, ref;
	struct change c;
	struct world w;
	size_t i;

	world_open(&w, N, NULL);
	for (i = 0; i < sizeof(way) / sizeof(way[0]); i++) {
		world_remap(&w, 0, 4);
		get(&w, 0, 4, RW, &held);
		change_begin(&w, &c, 0, 3);
		way[i](&w);
		change_end(&w, &c);
		assert_false(valid(&w, &held));
		assert_int_equal(get_now(&w, 0, 1, RW, &ref), -EAGAIN);
		get(&w, 0, 4, RW, &ref);
		assert_true(held.region != ref.region || held.pin != ref.pin);
		put(&w, &ref);
		put(&w, &held);
	}
	world_close(&w);
}

/* A file's pages go away under all mappings of it; fallocate is told of by hooks. */
static void by_punching_a_hole(void)
{
	struct hmmu_region_ref held, ref;
	struct change c;
	struct world w;
	int fd;

	world_open(&w, N, NULL);
	fd = memfd_create("regcache", 0);
	assert_true(fd >= 0 && ftruncate(fd, 4 * PAGE) == 0);
	change_begin(&w, &c, 0, 4);
	must(mmap(w.area, 4 * PAGE, RW, MAP_SHARED | MAP_FIXED, fd, 0) == w.area);
	*(uint64_t *)(w.area + PAGE) = 77;
	change_end(&w, &c);
	get(&w, 0, 4, RW, &held);
	change_begin(&w, &c, 0, 4);
	must(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, PAGE) == 0);
	change_end(&w, &c);
	assert_false(valid(&w, &held));
	get(&w, 1, 1, RW, &ref);
	put(&w, &ref);
	put(&w, &held);
	world_remap(&w, 0, 4);
	close(fd);
	world_close(&w);
}

static void by_mprotect(void)
{
	struct hmmu_region_ref held, ref;
	struct world w;

	world_open(&w, N, NULL);
	get(&w, 0, 4, RW, &held);
	world_mprotect(&w, 2, 1, PROT_READ);
	assert_false(valid(&w, &held));
	assert_int_equal(get_now(&w, 0, 1, PROT_READ, &ref), -EAGAIN);
	assert_int_equal(try_get(&w, 0, 4, RW, &ref), -EFAULT);
	get_put(&w, 0, 4, PROT_READ);
	world_mprotect(&w, 1, 1, PROT_NONE);
	assert_int_equal(try_get(&w, 0, 4, PROT_READ, &ref), -EFAULT);
	get_put(&w, 2, 1, PROT_READ);
	put(&w, &held);
	world_mprotect(&w, 0, 4, RW);
	world_close(&w);
}

/* ---- in use while it changes ---- */

/* Dead at once, kept until the last put, then deregistered though nobody calls. */
static void invalidated_while_held(void)
{
	struct hmmu_region_ref ref[3], fresh, no;
	struct world w;
	int i;

	world_open(&w, N, NULL);
	for (i = 0; i < 3; i++)
		get(&w, 0, 8, RW, &ref[i]);
	world_remap(&w, 5, 1);
	assert_false(valid(&w, &ref[0]));
	assert_int_equal(get_now(&w, 0, 1, RW, &no), -EAGAIN);
	until_stats(&w, dying, 1);
	assert_int_equal(stats_of(&w).regions, 0);
	assert_int_equal(stats_of(&w).locked, 8 * PAGE);
	/* everybody who could deregister it comes by */
	assert_int_equal(quiet(hmmu_regcache_shrink(w.cache, HMMU_NO_LIMIT)), 0);
	quiet(hmmu_reclaim(w.mm));
	assert_int_equal(device_live(&w.dev), 1);
	get(&w, 0, 8, RW, &fresh);
	assert_true(record_of(&fresh) != record_of(&ref[0]));
	assert_int_equal(stats_of(&w).locked, 16 * PAGE);
	for (i = 0; i < 3; i++) {
		assert_true(record_of(&ref[i])->live);
		assert_int_equal(device_live(&w.dev), 2);
		put(&w, &ref[i]);
	}
	device_wait_live(&w.dev, 1); /* the condition variable: nobody calls the cache */
	assert_true(valid(&w, &fresh));
	put(&w, &fresh);
	world_close(&w);
}

/*
 * The reaper has been there and has left the region, for it was in use: it is the put that
 * calls it again. (Those who go in the same batch are deregistered after it was sorted.)
 */
static void put_calls_the_reaper(void)
{
	struct hmmu_region_ref ref[2];
	struct world w;

	world_open(&w, N, NULL);
	get(&w, 0, 8, RW, &ref[0]);
	get(&w, 0, 8, RW, &ref[1]);
	get_put(&w, 20, 8, RW);
	world_remap(&w, 0, N);
	device_wait_live(&w.dev, 1);
	put(&w, &ref[0]);
	assert_true(record_of(&ref[1])->live);
	put(&w, &ref[1]);
	device_wait_live(&w.dev, 0);
	world_close(&w);
}

static void idle_cache(void)
{
	struct world w;

	world_open(&w, N, NULL);
	get_put(&w, 0, 8, RW);
	get_put(&w, 20, 8, RW);
	world_unmap(&w, 7, 14);
	device_wait_live(&w.dev, 0);
	world_remap(&w, 0, N);
	world_close(&w);
}

/* Without a thread of the library's, dereg is called by who calls hmmu_reclaim(). */
static void own_reclaim(void)
{
	struct hmmu_region_ref ref;
	struct world w;

	world_open_mm(&w, N, NULL, HMMU_MM_OWN_RECLAIM);
	get(&w, 0, 8, RW, &ref);
	get_put(&w, 10, 8, RW);
	world_remap(&w, 0, 20);
	assert_int_equal(get_now(&w, 10, 1, RW, &(struct hmmu_region_ref){0}), -EAGAIN);
	while (device_live(&w.dev) != 1) /* the event may be on its way (userfaultfd) */
		must(quiet(hmmu_reclaim(w.mm)) >= 0);
	quiet(hmmu_reclaim(w.mm));
	put(&w, &ref);
	while (device_live(&w.dev))
		must(quiet(hmmu_reclaim(w.mm)) >= 0);
	get_put(&w, 0, 20, RW);
	world_close(&w);
}

/* On an explicit mm nothing is on its way: one call is enough, and none is none. */
static void own_reclaim_at_once(void)
{
	struct hmmu_region_ref ref;
	struct world w;

	world_open_mm(&w, N, NULL, HMMU_MM_OWN_RECLAIM);
	get(&w, 0, 8, RW, &ref);
	world_remap(&w, 0, 1);
	must(quiet(hmmu_reclaim(w.mm)) >= 0);
	assert_int_equal(device_live(&w.dev), 1);
	put(&w, &ref);
	assert_true(quiet(hmmu_reclaim(w.mm)) >= 1);
	assert_int_equal(device_live(&w.dev), 0);
	assert_int_equal(stats_of(&w).dying + stats_of(&w).locked, 0);
	world_close(&w);
}

/* ---- while it is registered ---- */

struct inside {
	struct world *w;
	int times; /* how often still */
	size_t page, n;
	struct gate reached, go;
	struct mmu_notifier_range range;
};

static int remap_inside(struct device *dev, struct hmmu_region *region)
{
	struct inside *in = dev->arg;

	if (in->times > 0) {
		in->times--;
		world_remap(in->w, in->page, in->n);
	}
	return 0;
}

static void changed_inside_reg(void)
{
	struct hmmu_region_ref ref;
	struct inside in;
	struct world w;
	int times, before;

	for (before = 0; before < 2; before++) {
		for (times = 1; times < 4; times++) {
			world_open(&w, N, NULL);
			in = (struct inside){.w = &w, .times = times, .page = 2, .n = 1};
			w.dev.arg = &in;
			if (before)
				w.dev.before = remap_inside;
			else
				w.dev.after = remap_inside;
			get(&w, 0, 8, RW, &ref);
			assert_int_equal(w.dev.calls, times + 1);
			assert_true(stats_of(&w).retries >= (uint64_t)times);
			assert_int_equal(w.dev.live, 1);
			put(&w, &ref);
			get_put(&w, 0, 8, RW);
			assert_int_equal(w.dev.calls, times + 1);
			world_close(&w);
		}
	}
}

/* What is merged is registered anew, whichever part changes meanwhile. */
static void changed_inside_a_merge(void)
{
	struct hmmu_region_ref ref, old;
	struct inside in;
	struct world w;
	size_t page;

	for (page = 0; page < 6; page++) {
		world_open(&w, N, NULL);
		get(&w, 0, 4, RW, &old);
		in = (struct inside){.w = &w, .times = 1, .page = page, .n = 1};
		w.dev.arg = &in;
		w.dev.after = remap_inside;
		get(&w, 4, 2, RW, &ref);
		assert_int_equal(valid(&w, &old), page >= 4);
		put(&w, &ref);
		put(&w, &old);
		get_put(&w, 0, 6, RW);
		get_put(&w, 4, 2, RW);
		world_close(&w);
	}
}

static int unmap_inside(struct device *dev, struct hmmu_region *region)
{
	struct inside *in = dev->arg;

	if (in->times > 0) {
		in->times--;
		world_unmap(in->w, in->page, in->n);
	}
	return 0;
}

/* Gone while it is registered: reg's answer comes too late to be believed. */
static void unmapped_inside_reg(void)
{
	struct hmmu_region_ref ref;
	struct inside in;
	struct world w;
	int before;

	for (before = 0; before < 2; before++) {
		world_open(&w, N, NULL);
		in = (struct inside){.w = &w, .times = 1, .page = 2, .n = 1};
		w.dev.arg = &in;
		if (before)
			w.dev.before = unmap_inside;
		else
			w.dev.after = unmap_inside;
		assert_int_equal(try_get(&w, 0, 8, RW, &ref), -EFAULT);
		world_reap(&w, 0);
		assert_int_equal(stats_of(&w).regions + stats_of(&w).locked, 0);
		get_put(&w, 3, 5, RW);
		world_close(&w);
	}
}

/* reg failed, but over memory that changed meanwhile: asked again. */
static int fail_after_remap(struct device *dev, struct hmmu_region *region)
{
	struct inside *in = dev->arg;

	if (!in->times)
		return 0;
	in->times--;
	world_remap(in->w, in->page, in->n);
	return -EFAULT;
}

static void failed_over_a_change(void)
{
	struct inside in;
	struct world w;

	world_open(&w, N, NULL);
	in = (struct inside){.w = &w, .times = 2, .page = 0, .n = 8};
	w.dev.arg = &in;
	w.dev.after = fail_after_remap;
	get_put(&w, 0, 8, RW);
	get_put(&w, 0, 8, RW);
	world_close(&w);
}

static int stop_inside(struct device *dev, struct hmmu_region *region)
{
	struct inside *in = dev->arg;

	gate_open(&in->reached);
	gate_pass(&in->go);
	return 0;
}

struct getter {
	struct world *w;
	size_t page, n;
	struct hmmu_region_ref ref;
	atomic_bool may_return;
	int err;
	const struct timespec *deadline;
};

static void get_in_thread(void *arg)
{
	struct getter *g = arg;

	g->err = try_get(g->w, g->page, g->n, RW, &g->ref);
	must(atomic_load(&g->may_return));
}

/*
 *	A				B			main
 *	get: reg() has read the pages
 *				get of the same
 *								remaps
 *	reg() returns
 *			[Required: both get what is there now; nothing old is found]
 */
static void two_get_while_it_changes(void)
{
	struct getter a, b;
	struct runner ra, rb;
	struct inside in;
	struct world w;

	world_open(&w, N, NULL);
	memset(&in, 0, sizeof(in));
	gate_init(&in.reached);
	gate_init(&in.go);
	w.dev.arg = &in;
	w.dev.after = stop_inside;
	a = (struct getter){.w = &w, .n = 8, .may_return = true};
	b = a;
	runner_start(&ra, get_in_thread, &a);
	gate_pass(&in.reached);
	runner_start(&rb, get_in_thread, &b);
	assert_true(runner_sleeps(&rb));
	world_remap(&w, 3, 1);
	assert_int_equal(get_now(&w, 0, 8, RW, &a.ref), -EAGAIN);
	gate_open(&in.go);
	runner_join(&ra);
	runner_join(&rb);
	assert_int_equal(a.err | b.err, 0);
	check_ref(&w, 0, 8, RW, &a.ref);
	check_ref(&w, 0, 8, RW, &b.ref);
	put(&w, &a.ref);
	put(&w, &b.ref);
	get_put(&w, 0, 8, RW);
	world_reap(&w, 1);
	world_close(&w);
}

/* Who registers does not keep others from what is there, and elsewhere from registering. */
static void others_while_one_registers(void)
{
	struct getter a;
	struct runner ra;
	struct inside in;
	struct world w;

	world_open(&w, N, NULL);
	get_put(&w, 30, 4, RW);
	memset(&in, 0, sizeof(in));
	gate_init(&in.reached);
	gate_init(&in.go);
	w.dev.arg = &in;
	w.dev.after = stop_inside;
	a = (struct getter){.w = &w, .n = 8, .may_return = true};
	runner_start(&ra, get_in_thread, &a);
	gate_pass(&in.reached);
	get_put(&w, 30, 4, RW);
	w.dev.after = NULL;
	get_put(&w, 50, 4, RW); /* "several at once" */
	assert_int_equal(quiet(hmmu_regcache_drop(w.cache, w.area + 30 * PAGE, 1)), 1);
	world_remap(&w, 50, 1);
	assert_true(quiet(hmmu_regcache_shrink(w.cache, HMMU_NO_LIMIT)) <= 8 * PAGE);
	stats_of(&w);
	gate_open(&in.go);
	runner_join(&ra);
	check_ref(&w, 0, 8, RW, &a.ref);
	put(&w, &a.ref);
	world_close(&w);
}

/* ---- an invalidation that is open (explicit) ---- */

/* Opened while reg runs, by another thread, and closed once the getter waits for it. */
static void opened_inside_reg(void)
{
	struct mmu_notifier_range range;
	struct getter a;
	struct runner ra;
	struct inside in;
	struct world w;

	world_open(&w, N, NULL);
	memset(&in, 0, sizeof(in));
	gate_init(&in.reached);
	gate_init(&in.go);
	w.dev.arg = &in;
	w.dev.after = stop_inside;
	a = (struct getter){.w = &w, .n = 8};
	runner_start(&ra, get_in_thread, &a);
	gate_pass(&in.reached);
	range_open(&range, w.mm, at(&w, 3), at(&w, 4));
	gate_open(&in.go);
	assert_true(runner_sleeps(&ra));
	assert_int_equal(w.dev.calls, 1);
	world_fresh(&w, 3, 1, RW);
	assert_int_equal(get_now(&w, 0, 8, RW, &a.ref), -EAGAIN);
	atomic_store(&a.may_return, true);
	range_close(&range);
	runner_join(&ra);
	assert_int_equal(a.err, 0);
	check_ref(&w, 0, 8, RW, &a.ref);
	put(&w, &a.ref);
	assert_int_equal(w.dev.calls, 2);
	world_close(&w);
}

static int get_until(struct world *w, size_t page, const struct timespec *deadline,
		     struct hmmu_region_ref *ref)
{
	int err = quiet(hmmu_regcache_get_until(w->cache, (void *)at(w, page), PAGE, RW,
						deadline, ref));

	if (!err)
		atomic_fetch_add(&record_of(ref)->used, 1);
	return err;
}

static void get_waits_for_the_end(void)
{
	struct hmmu_region_ref held, ref;
	struct mmu_notifier_range range;
	struct getter a;
	struct runner ra;
	struct world w;
	long calls;

	world_open(&w, N, NULL);
	get(&w, 0, 8, RW, &held);
	range_open(&range, w.mm, at(&w, 7), at(&w, 8));
	calls = w.dev.calls;
	assert_false(valid(&w, &held));
	assert_int_equal(get_now(&w, 7, 1, RW, &ref), -EAGAIN);
	assert_int_equal(get_now(&w, 0, 1, RW, &ref), -EAGAIN);
	assert_int_equal(get_until(&w, 7, &past, &ref), -ETIMEDOUT);
	assert_int_equal(w.dev.calls, calls);
	a = (struct getter){.w = &w, .page = 6, .n = 3};
	runner_start(&ra, get_in_thread, &a);
	assert_true(runner_sleeps(&ra));
	/* what does not overlap does not wait (G4) */
	get_put(&w, 0, 6, RW);
	get_put(&w, 20, 6, RW);
	assert_true(runner_sleeps(&ra));
	world_fresh(&w, 7, 1, RW);
	atomic_store(&a.may_return, true);
	range_close(&range);
	runner_join(&ra);
	assert_int_equal(a.err, 0);
	check_ref(&w, 6, 3, RW, &a.ref);
	put(&w, &a.ref);
	put(&w, &held);
	world_close(&w);
}

/* The neighbour that would be merged is being invalidated: no reason to wait for it. */
static void open_on_a_neighbour(void)
{
	struct hmmu_regcache_options o = HMMU_REGCACHE_DEFAULTS;
	struct mmu_notifier_range range;
	struct hmmu_region_ref ref;
	struct world w;

	o.alignment = 16 * PAGE;
	world_open(&w, N, &o);
	get_put(&w, 0, 4, RW);
	range_open(&range, w.mm, at(&w, 40), at(&w, 41));
	get_put(&w, 16, 4, RW);
	range_close(&range);
	assert_int_equal(get_until(&w, 40, &past, &ref), 0);
	put(&w, &ref);
	world_close(&w);
}

static void deadlines(void)
{
	const struct timespec bad = {0, 2000000000}, none = {-5, 0};
	struct mmu_notifier_range range;
	struct hmmu_region_ref ref;
	struct timespec soon;
	struct inside in;
	struct world w;

	world_open(&w, N, NULL);
	/* nothing to wait for: a deadline that is past is none */
	assert_int_equal(get_until(&w, 0, &past, &ref), 0);
	put(&w, &ref);
	assert_int_equal(get_until(&w, 0, NULL, &ref), 0);
	put(&w, &ref);
	range_open(&range, w.mm, at(&w, 0), at(&w, 1));
	assert_int_equal(get_until(&w, 0, &bad, &ref), -ETIMEDOUT);
	assert_int_equal(get_until(&w, 0, &none, &ref), -ETIMEDOUT);
	clock_gettime(CLOCK_MONOTONIC, &soon);
	soon.tv_nsec += 5000000;
	if (soon.tv_nsec >= 1000000000) {
		soon.tv_sec++;
		soon.tv_nsec -= 1000000000;
	}
	assert_int_equal(get_until(&w, 0, &soon, &ref), -ETIMEDOUT);
	range_close(&range);
	world_reap(&w, 0);
	/* it comes again each time */
	in = (struct inside){.w = &w, .times = 1000000, .page = 0, .n = 1};
	w.dev.arg = &in;
	w.dev.after = remap_inside;
	assert_int_equal(get_until(&w, 0, &past, &ref), -ETIMEDOUT);
	w.dev.after = NULL;
	world_reap(&w, 0);
	world_close(&w);
}

static void nonblock_never_registers(void)
{
	struct hmmu_region_ref ref;
	struct world w;
	long calls;

	world_open(&w, N, NULL);
	assert_int_equal(get_now(&w, 0, 4, RW, &ref), -EAGAIN);
	get_put(&w, 0, 4, PROT_READ);
	calls = w.dev.calls;
	assert_int_equal(get_now(&w, 0, 4, RW, &ref), -EAGAIN);
	assert_int_equal(get_now(&w, 0, 5, PROT_READ, &ref), -EAGAIN);
	assert_int_equal(get_now(&w, 3, 2, PROT_READ, &ref), -EAGAIN);
	assert_int_equal(get_now(&w, 1, 3, PROT_READ, &ref), 0);
	check_ref(&w, 1, 3, PROT_READ, &ref);
	put(&w, &ref);
	world_remap(&w, 0, 1);
	assert_int_equal(get_now(&w, 1, 1, PROT_READ, &ref), -EAGAIN);
	assert_int_equal(w.dev.calls, calls);
	world_close(&w);
}

/*
 * The change stands inside another subscriber's callback: the region is not found, and who
 * wants a new one waits. For the sources that bracket.
 */
struct stop {
	struct probe probe;
	struct gate inside, go;
};

static void stop_there(struct probe *probe, const struct mmu_notifier_range *range)
{
	struct stop *stop = probe->arg;

	gate_open(&stop->inside);
	gate_pass(&stop->go);
}

static void remap_in_thread(void *arg)
{
	struct world *w = arg;

	must(madvise(w->area, 4 * PAGE, MADV_DONTNEED) == 0);
	*(uint64_t *)w->area = 99;
}

static void get_while_another_is_told(void)
{
	struct hmmu_region_ref held, ref;
	struct runner change, ra;
	struct getter a;
	struct stop stop;
	struct world w;

	world_open(&w, N, NULL);
	get(&w, 0, 8, RW, &held);
	gate_init(&stop.inside);
	gate_init(&stop.go);
	probe_init(&stop.probe);
	stop.probe.hook = stop_there;
	stop.probe.arg = &stop;
	probe_insert(&stop.probe, w.mm, at(&w, 0), PAGE);
	probe_poll(&stop.probe);
	runner_start(&change, remap_in_thread, &w);
	gate_pass(&stop.inside);
	assert_false(valid(&w, &held));
	assert_int_equal(get_now(&w, 0, 1, RW, &ref), -EAGAIN);
	assert_int_equal(get_until(&w, 0, &past, &ref), -ETIMEDOUT);
	a = (struct getter){.w = &w, .n = 4};
	runner_start(&ra, get_in_thread, &a);
	assert_true(runner_sleeps(&ra));
	atomic_store(&a.may_return, true);
	gate_open(&stop.go);
	runner_join(&change);
	runner_join(&ra);
	assert_int_equal(a.err, 0);
	put(&w, &a.ref);
	put(&w, &held);
	probe_remove(&stop.probe);
	world_close(&w);
}

static const struct world_case cases[] = {
	CASE(one_page_drops_the_whole, EVERY),
	CASE(each_way_to_change, EVERY),
	CASE(by_punching_a_hole, HOOKED),
	CASE(by_mprotect, HOOKED),
	CASE(invalidated_while_held, EVERY),
	CASE(put_calls_the_reaper, EVERY),
	CASE(idle_cache, EVERY),
	CASE(own_reclaim, EVERY),
	CASE(own_reclaim_at_once, ONLY(EXPLICIT) | ONLY(HOOKS)),
	CASE(changed_inside_reg, EVERY),
	CASE(changed_inside_a_merge, EVERY),
	CASE(unmapped_inside_reg, EVERY),
	CASE(failed_over_a_change, EVERY),
	CASE(two_get_while_it_changes, EVERY),
	CASE(others_while_one_registers, EVERY),
	CASE(opened_inside_reg, ONLY(EXPLICIT)),
	CASE(get_waits_for_the_end, ONLY(EXPLICIT)),
	CASE(open_on_a_neighbour, ONLY(EXPLICIT)),
	CASE(deadlines, ONLY(EXPLICIT)),
	CASE(nonblock_never_registers, EVERY),
	CASE(get_while_another_is_told, ONLY(HOOKS) | ONLY(BOTH)),
};

int main(int argc, char **argv)
{
	api_guard(100);
	return world_main("regcache-changes", cases, sizeof(cases) / sizeof(cases[0]), argc,
			  argv);
}
