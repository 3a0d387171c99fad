// SPDX-License-Identifier: MIT
/* test_hits.c - what is found again, what is merged, what is looked at. */
#include "world.h"

#define N 64

static void same_region_again(void)
{
	struct hmmu_region_ref ref, again;
	const struct hmmu_region *region;
	struct hmmu_regcache_stats stats;
	struct world w;

	world_open(&w, N, NULL);
	get(&w, 0, 4, RW, &ref);
	region = ref.region;
	assert_int_equal(region->flags, 0);
	assert_int_equal(region->start, at(&w, 0));
	assert_int_equal(region->end, at(&w, 4));
	assert_int_equal(region->prot, RW);
	put(&w, &ref);
	get(&w, 0, 4, RW, &ref);
	get(&w, 1, 2, PROT_READ, &again);
	assert_ptr_equal(ref.region, region);
	assert_ptr_equal(again.region, region);
	put(&w, &again);
	put(&w, &ref);
	assert_int_equal(w.dev.calls, 1);
	stats = stats_of(&w);
	assert_int_equal(stats.hits, 2);
	assert_int_equal(stats.misses, 1);
	assert_int_equal(stats.regs, 1);
	assert_int_equal(stats.regions, 1);
	assert_int_equal(stats.bytes, 4 * PAGE);
	assert_int_equal(stats.locked, 4 * PAGE);
	assert_int_equal(stats.deregs + stats.dying + stats.once + stats.merged, 0);
	world_close(&w);
}

static void bytes_in_pages(void)
{
	static const struct {
		unsigned long at, len;
	} ask[] = {{0, 1},	    {4095, 1}, {4095, 2}, {4 * PAGE - 1, 1}, {1, 4 * PAGE - 1},
		   {PAGE, 3 * PAGE}};
	struct hmmu_region_ref ref;
	struct world w;
	size_t i;

	world_open(&w, N, NULL);
	assert_int_equal(hmmu_regcache_get(w.cache, w.area + 100, 3 * PAGE, RW, &ref), 0);
	assert_int_equal(ref.region->start, at(&w, 0));
	assert_int_equal(ref.region->end, at(&w, 4));
	quiet_void(hmmu_regcache_put(w.cache, &ref));
	for (i = 0; i < sizeof(ask) / sizeof(ask[0]); i++) {
		assert_int_equal(
			hmmu_regcache_get(w.cache, w.area + ask[i].at, ask[i].len, RW, &ref),
			0);
		assert_true(ref.region->start <= at(&w, 0) + ask[i].at);
		assert_true(ref.region->end >= at(&w, 0) + ask[i].at + ask[i].len);
		quiet_void(hmmu_regcache_put(w.cache, &ref));
	}
	assert_int_equal(w.dev.calls, 1);
	/* one byte more than there is */
	assert_int_equal(hmmu_regcache_get(w.cache, w.area, 4 * PAGE + 1, RW, &ref), 0);
	assert_int_equal(w.dev.calls, 2);
	assert_true(ref.region->end >= at(&w, 5));
	quiet_void(hmmu_regcache_put(w.cache, &ref));
	world_close(&w);
}

/* A copy of a reference is the reference; putting a NULL one does nothing. */
static void copies_and_nulls(void)
{
	struct hmmu_region_ref ref, copy, null = {NULL, NULL};
	struct world w;

	world_open(&w, N, NULL);
	quiet_void(hmmu_regcache_put(w.cache, &null));
	assert_null(null.region);
	get(&w, 0, 1, RW, &ref);
	memcpy(&copy, &ref, sizeof(copy));
	memset(&ref, 0xee, sizeof(ref));
	assert_int_equal(quiet(hmmu_regcache_destroy(w.cache)), -EBUSY);
	put(&w, &copy);
	quiet_void(hmmu_regcache_put(w.cache, &copy));
	assert_int_equal(sizeof(copy), 16);
	world_close(&w);
}

struct give {
	struct world *w;
	struct hmmu_region_ref *ref;
	size_t page;
};

static void get_one(void *arg)
{
	struct give *g = arg;

	get(g->w, g->page, 1, RW, g->ref);
}

static void put_one(void *arg)
{
	struct give *g = arg;

	put(g->w, g->ref);
}

/* Threads that have ended left their references behind; others put them. */
static void put_by_others(void)
{
	enum { THREADS = 150 };
	struct hmmu_region_ref ref[THREADS];
	struct runner run;
	struct give g;
	struct world w;
	int i;

	world_open(&w, N, NULL);
	for (i = 0; i < THREADS; i++) {
		g = (struct give){&w, &ref[i], (size_t)(i % 5) * 2};
		runner_start(&run, get_one, &g);
		runner_join(&run);
	}
	assert_int_equal(w.dev.live, 5);
	world_remap(&w, 0, 1);
	for (i = 0; i < THREADS; i++) {
		assert_int_equal(valid(&w, &ref[i]), i % 5 != 0);
		if (i < THREADS / 2) {
			put(&w, &ref[i]);
			continue;
		}
		g = (struct give){&w, &ref[i], 0};
		runner_start(&run, put_one, &g);
		runner_join(&run);
	}
	world_reap(&w, 4);
	world_close(&w);
}

/* Far more than a thread's slots, on one region and on many, put in another order. */
static void many_references(void)
{
	enum { REFS = 700 };
	struct hmmu_region_ref ref[REFS];
	struct world w;
	size_t i, at_once = 32;

	world_open(&w, N, NULL);
	for (i = 0; i < REFS; i++)
		get(&w, i % at_once * 2, 1, RW, &ref[i]);
	assert_int_equal(w.dev.calls, at_once);
	assert_int_equal(w.dev.live, at_once);
	world_remap(&w, 0, N);
	for (i = 0; i < REFS; i++)
		assert_false(valid(&w, &ref[i]));
	/* Each region goes with its own last reference, and not before (record->used). */
	for (i = 0; i < at_once; i++) {
		size_t k = (i * 7) % at_once, j;

		for (j = k; j < REFS; j += at_once)
			put(&w, &ref[j]);
		world_reap(&w, (long)(at_once - i) - 1);
	}
	world_close(&w);
}

static void nested(void)
{
	struct hmmu_region_ref ref[8], other;
	struct world w;
	int i, j;

	world_open(&w, N, NULL);
	for (i = 0; i < 8; i++) {
		get(&w, 0, 8, RW, &ref[i]);
		for (j = 0; j <= i; j++) {
			get(&w, 10 + (size_t)j * 2, 1, RW, &other);
			put(&w, &other);
		}
	}
	while (i--)
		put(&w, &ref[i]);
	assert_int_equal(w.dev.live, 9);
	world_close(&w);
}

static void expect_merge(struct world *w, size_t page, size_t n, size_t first, size_t last)
{
	struct hmmu_region_ref ref;

	get(w, page, n, RW, &ref);
	assert_int_equal(ref.region->start, at(w, first));
	assert_int_equal(ref.region->end, at(w, last));
	put(w, &ref);
}

static void merged_to_the_union(void)
{
	struct world w;

	world_open(&w, N, NULL);
	expect_merge(&w, 10, 4, 10, 14);
	expect_merge(&w, 12, 4, 10, 16); /* overlaps */
	expect_merge(&w, 16, 1, 10, 17); /* touches the end */
	expect_merge(&w, 8, 2, 8, 17);	 /* touches the beginning */
	expect_merge(&w, 6, 20, 6, 26);	 /* around it */
	expect_merge(&w, 30, 2, 30, 32);
	expect_merge(&w, 26, 4, 6, 32); /* a bridge */
	expect_merge(&w, 7, 3, 6, 32);
	assert_int_equal(w.dev.calls, 7);
	world_reap(&w, 1);
	assert_int_equal(stats_of(&w).merged, 5);
	assert_int_equal(stats_of(&w).replaced, 6);
	assert_int_equal(stats_of(&w).invalidated, 0);
	world_close(&w);
}

/* Who holds a region that a union took the place of keeps it, and learns of changes. */
static void replaced_while_held(void)
{
	struct hmmu_region_ref old, new;
	struct world w;

	world_open(&w, N, NULL);
	get(&w, 0, 4, RW, &old);
	get(&w, 2, 4, RW, &new);
	assert_ptr_not_equal(old.region, new.region);
	check_ref(&w, 0, 4, RW, &old);
	assert_true(valid(&w, &old));
	assert_int_equal(w.dev.live, 2);
	assert_int_equal(stats_of(&w).dying, 1);
	world_remap(&w, 1, 1); /* part of both */
	assert_false(valid(&w, &old));
	assert_false(valid(&w, &new));
	put(&w, &new);
	world_reap(&w, 1);
	put(&w, &old);
	world_reap(&w, 0);
	world_close(&w);
}

static void no_merge(void)
{
	struct hmmu_regcache_options o = HMMU_REGCACHE_DEFAULTS;
	struct hmmu_region_ref held;
	struct world w;

	o.flags = HMMU_REGCACHE_NO_MERGE;
	world_open(&w, N, &o);
	expect_merge(&w, 0, 4, 0, 4);
	expect_merge(&w, 4, 4, 4, 8); /* neighbours stay apart */
	assert_int_equal(w.dev.live, 2);
	get(&w, 4, 1, RW, &held);
	expect_merge(&w, 6, 4, 6, 10); /* drops [4, 8) */
	assert_int_equal(w.dev.live, 3);
	check_ref(&w, 4, 4, RW, &held);
	put(&w, &held);
	world_reap(&w, 2);
	expect_merge(&w, 3, 4, 3, 7); /* drops both */
	world_reap(&w, 1);
	assert_int_equal(stats_of(&w).merged, 0);
	assert_int_equal(stats_of(&w).replaced, 3);
	world_close(&w);
}

static void alignment_64k(void)
{
	struct hmmu_regcache_options o = HMMU_REGCACHE_DEFAULTS;
	struct world w;

	o.alignment = 16 * PAGE;
	world_open(&w, N, &o);
	expect_merge(&w, 17, 1, 16, 32);
	expect_merge(&w, 31, 1, 16, 32);
	assert_int_equal(w.dev.calls, 1);
	expect_merge(&w, 33, 1, 16, 48); /* touches, once aligned */
	expect_merge(&w, 0, 1, 0, 48);
	world_close(&w);
}

static void alignment_2m(void)
{
	struct hmmu_regcache_options o = HMMU_REGCACHE_DEFAULTS;
	struct hmmu_region_ref ref;
	struct world w;

	o.alignment = 512 * PAGE;
	world_open(&w, 512, &o);
	get(&w, 100, 1, RW, &ref);
	assert_int_equal(ref.region->start, at(&w, 0));
	assert_int_equal(ref.region->end, at(&w, 512));
	put(&w, &ref);
	get_put(&w, 511, 1, RW);
	assert_int_equal(w.dev.calls, 1);
	world_remap(&w, 300, 1);
	get_put(&w, 100, 1, RW);
	world_reap(&w, 1);
	world_close(&w);
}

/* What alignment adds may be unmapped or forbidden; what was asked for is registered. */
static void alignment_into_a_hole(void)
{
	struct hmmu_regcache_options o = HMMU_REGCACHE_DEFAULTS;
	struct hmmu_region_ref ref;
	unsigned int flags;
	struct world w;

	for (flags = 0; flags <= HMMU_REGCACHE_REG_CHECKS; flags += HMMU_REGCACHE_REG_CHECKS) {
		o.alignment = 16 * PAGE;
		o.flags = flags;
		world_open(&w, N, &o);
		world_unmap(&w, 8, 2);
		get(&w, 2, 3, RW, &ref);
		assert_true(ref.region->end <= at(&w, 8));
		put(&w, &ref);
		get(&w, 3, 1, RW, &ref); /* found again */
		put(&w, &ref);
		get_put(&w, 10, 6, RW);
		assert_int_equal(try_get(&w, 7, 2, RW, &ref), -EFAULT);
		world_fresh(&w, 8, 2, RW);
		/* and a neighbour that may only be read */
		world_remap_prot(&w, 40, 8, PROT_READ);
		get(&w, 33, 2, RW, &ref);
		assert_true(ref.region->end <= at(&w, 40));
		put(&w, &ref);
		get(&w, 41, 2, PROT_READ, &ref);
		put(&w, &ref);
		/* a hole on the area's outer sides */
		get_put(&w, N - 1, 1, RW);
		get_put(&w, 0, 1, RW);
		world_close(&w);
	}
}

static void max_merged(void)
{
	struct hmmu_regcache_options o = HMMU_REGCACHE_DEFAULTS;
	struct world w;
	long calls;

	o.max_merged = 4 * PAGE;
	world_open(&w, N, &o);
	expect_merge(&w, 0, 3, 0, 3);
	expect_merge(&w, 3, 3, 3, 6); /* 6 would be too large */
	assert_int_equal(w.dev.live, 2);
	calls = w.dev.calls;
	get_put(&w, 0, 3, RW);
	get_put(&w, 3, 3, RW);
	assert_int_equal(w.dev.calls, calls);
	expect_merge(&w, 6, 1, 3, 7); /* exactly as large as allowed */
	expect_merge(&w, 20, 20, 20, 40);
	get_put(&w, 25, 10, RW);
	assert_int_equal(w.dev.calls, calls + 2);
	get_put(&w, 5, 4, RW); /* overlaps, and the union is too large */
	get_put(&w, 5, 4, RW);
	assert_int_equal(w.dev.calls, calls + 3);
	world_close(&w);
}

/* ---- protection ---- */

static void read_then_write(void)
{
	struct hmmu_region_ref reader, ref;
	struct world w;

	world_open(&w, N, NULL);
	get(&w, 0, 4, PROT_READ, &reader);
	assert_int_equal(reader.region->prot, PROT_READ);
	get(&w, 0, 4, PROT_WRITE, &ref); /* not a hit */
	assert_int_equal(w.dev.calls, 2);
	check_ref(&w, 0, 4, PROT_READ, &reader); /* still there for its holder */
	put(&w, &ref);
	put(&w, &reader);
	get_put(&w, 0, 4, PROT_READ); /* both are served by one now */
	get_put(&w, 1, 2, PROT_WRITE);
	get_put(&w, 0, 4, RW);
	world_reap(&w, 1);
	assert_int_equal(w.dev.calls, 2);
	world_close(&w);
}

static void memory_that_is_read_only(void)
{
	struct hmmu_region_ref ref;
	unsigned int flags;
	struct world w;

	for (flags = 0; flags <= HMMU_REGCACHE_REG_CHECKS; flags += HMMU_REGCACHE_REG_CHECKS) {
		struct hmmu_regcache_options o = HMMU_REGCACHE_DEFAULTS;

		o.flags = flags;
		world_open(&w, N, &o);
		world_remap_prot(&w, 0, 8, PROT_READ);
		get_put(&w, 0, 8, PROT_READ);
		assert_int_equal(try_get(&w, 0, 8, PROT_WRITE, &ref), -EFAULT);
		assert_int_equal(try_get(&w, 0, 8, RW, &ref), -EFAULT);
		assert_int_equal(try_get(&w, 7, 2, RW, &ref), -EFAULT);
		assert_int_equal(get_now(&w, 0, 1, PROT_WRITE, &ref), -EAGAIN);
		assert_int_equal(get_now(&w, 0, 8, PROT_READ, &ref), 0);
		put(&w, &ref);
		world_close(&w);
	}
}

/* A neighbour of other protection, that the memory does not allow to be one with it. */
static void neighbours_of_other_protection(void)
{
	struct hmmu_region_ref held, ref;
	struct world w;
	long calls;

	world_open(&w, N, NULL);
	world_remap_prot(&w, 4, 4, PROT_READ);
	get_put(&w, 0, 4, RW);
	get_put(&w, 4, 4, PROT_READ);
	calls = w.dev.calls;
	get_put(&w, 0, 4, RW); /* was not dropped for it */
	get_put(&w, 4, 4, PROT_READ);
	assert_int_equal(w.dev.calls, calls);
	assert_int_equal(w.dev.live, 2);
	/* the same where they overlap: what is asked for is answered */
	get(&w, 0, 4, RW, &held);
	get(&w, 2, 4, PROT_READ, &ref);
	assert_int_equal(ref.region->prot & PROT_WRITE, 0);
	put(&w, &ref);
	get_put(&w, 0, 4, RW);
	get_put(&w, 2, 4, PROT_READ);
	put(&w, &held);
	world_close(&w);
}

/* Writable memory next to each other, asked for differently: whatever is done is covered. */
static void mixed_on_writable_memory(void)
{
	struct world w;
	int i;

	world_open(&w, N, NULL);
	for (i = 0; i < 3; i++) {
		get_put(&w, 0, 4, PROT_READ);
		get_put(&w, 4, 4, PROT_WRITE);
		get_put(&w, 2, 4, PROT_READ);
		get_put(&w, 3, 3, RW);
		get_put(&w, 0, 8, PROT_WRITE);
	}
	assert_true(w.dev.calls <= 6); /* it comes to rest */
	world_close(&w);
}

/* ---- looking ---- */

struct seen {
	struct world *w;
	int n, stop_after;
	unsigned long start[8];
};

static int see(void *arg, const struct hmmu_region *region, const char *text)
{
	struct seen *seen = arg;
	char expected[32];

	must(seen->n < 8);
	seen->start[seen->n++] = region->start;
	snprintf(expected, sizeof(expected), "%lu pages", (region->end - region->start) / PAGE);
	must(strcmp(expected, text) == 0);
	/* it is referenced meanwhile: a change does not take it away */
	if (seen->n == 1)
		world_remap(seen->w, 20, 1);
	must(((struct record *)region->handle)->live);
	return seen->n == seen->stop_after ? -71 : 0;
}

static void walk(void)
{
	struct seen seen;
	struct world w;

	world_open(&w, N, NULL);
	seen = (struct seen){&w, 0, 0, {0}};
	get_put(&w, 20, 1, RW);
	get_put(&w, 40, 5, RW);
	get_put(&w, 30, 2, RW);
	assert_int_equal(quiet(hmmu_regcache_walk(w.cache, see, &seen)), 0);
	assert_int_equal(seen.n, 3);
	assert_int_equal(seen.start[0], at(&w, 20));
	assert_int_equal(seen.start[1], at(&w, 30));
	assert_int_equal(seen.start[2], at(&w, 40));
	world_reap(&w, 2);
	seen = (struct seen){&w, 0, 1, {0}};
	assert_int_equal(quiet(hmmu_regcache_walk(w.cache, see, &seen)), -71);
	assert_int_equal(seen.n, 1);
	assert_int_equal(quiet(hmmu_regcache_walk(w.cache, NULL, NULL)), -EINVAL);
	assert_int_equal(quiet(hmmu_regcache_walk(NULL, see, &seen)), -EINVAL);
	world_close(&w);
}

static int put_in_walk(void *arg, const struct hmmu_region *region, const char *text)
{
	struct give *g = arg;

	if (g->ref->region == region) {
		must(valid(g->w, g->ref));
		put(g->w, g->ref);
	}
	return 0;
}

static void put_inside_a_walk(void)
{
	struct hmmu_region_ref ref;
	struct world w;
	struct give g = {&w, &ref, 0};

	world_open(&w, N, NULL);
	get(&w, 3, 1, RW, &ref);
	assert_int_equal(hmmu_regcache_walk(w.cache, put_in_walk, &g), 0);
	assert_null(ref.region);
	world_close(&w);
}

static void drop(void)
{
	struct hmmu_region_ref held;
	struct world w;
	int i;

	world_open(&w, N, NULL);
	for (i = 0; i < 8; i++)
		get_put(&w, (size_t)i * 4, 2, RW);
	get(&w, 4, 1, RW, &held);
	assert_int_equal(quiet(hmmu_regcache_drop(w.cache, w.area + 2 * PAGE, PAGE)), 0);
	assert_int_equal(quiet(hmmu_regcache_drop(w.cache, w.area + 5 * PAGE, 3 * PAGE + 1)),
			 2);
	assert_int_equal(quiet(hmmu_regcache_drop(w.cache, w.area + 5 * PAGE, 3 * PAGE + 1)),
			 0);
	assert_int_equal(stats_of(&w).dropped, 2);
	check_ref(&w, 4, 2, RW, &held);
	assert_int_equal(get_now(&w, 4, 1, RW, &(struct hmmu_region_ref){0}), -EAGAIN);
	world_remap(&w, 4, 1); /* who holds it still learns of changes */
	assert_false(valid(&w, &held));
	put(&w, &held);
	world_reap(&w, 6);
	assert_int_equal(quiet(hmmu_regcache_drop(w.cache, w.area, 0)), -EINVAL);
	assert_int_equal(quiet(hmmu_regcache_drop(w.cache, w.area, -1UL)), -EINVAL);
	assert_int_equal(quiet(hmmu_regcache_drop(NULL, w.area, 1)), -EINVAL);
	assert_int_equal(quiet(hmmu_regcache_drop(w.cache, NULL, 1UL << 47)), 6);
	world_reap(&w, 0);
	assert_int_equal(stats_of(&w).invalidated, 0);
	world_close(&w);
}

static void several_caches(void)
{
	struct hmmu_regcache_options o = HMMU_REGCACHE_DEFAULTS;
	struct hmmu_region_ref ref[5];
	struct hmmu_regcache *first;
	struct hmmu_regcache *cache[4];
	struct device dev[4];
	struct world w;
	int i, k;

	world_open(&w, N, NULL);
	first = w.cache;
	o.mm = w.mm;
	for (i = 0; i < 4; i++) {
		device_init(&dev[i]);
		assert_int_equal(hmmu_regcache_create(&cache[i], &device_ops, &dev[i], &o), 0);
	}
	get(&w, 0, 4, RW, &ref[4]);
	for (i = 0; i < 4; i++) {
		assert_int_equal(hmmu_regcache_get(cache[i], w.area, PAGE, RW, &ref[i]), 0);
		assert_int_equal(dev[i].live, 1);
		assert_ptr_equal(record_of(&ref[i])->dev, &dev[i]);
	}
	assert_int_equal(hmmu_regcache_drop(cache[1], w.area, 1), 1);
	world_remap(&w, 0, 1);
	for (i = 0; i < 4; i++) {
		assert_false(hmmu_regcache_valid(cache[i], &ref[i]));
		for (k = 0; k < 4; k++)
			assert_int_equal(dev[k].live, k >= i);
		hmmu_regcache_put(cache[i], &ref[i]);
		device_wait_live(&dev[i], 0);
	}
	for (i = 0; i < 4; i++) {
		assert_int_equal(quiet(hmmu_regcache_destroy(cache[i])), 0);
		device_fini(&dev[i]);
	}
	assert_ptr_equal(w.cache, first);
	put(&w, &ref[4]);
	world_close(&w);
}

static const struct world_case cases[] = {
	CASE(same_region_again, EVERY),
	CASE(bytes_in_pages, EVERY),
	CASE(copies_and_nulls, ONLY(EXPLICIT)),
	CASE(put_by_others, EVERY),
	CASE(many_references, EVERY),
	CASE(nested, EVERY),
	CASE(merged_to_the_union, EVERY),
	CASE(replaced_while_held, EVERY),
	CASE(no_merge, EVERY),
	CASE(alignment_64k, EVERY),
	CASE(alignment_2m, EVERY),
	CASE(alignment_into_a_hole, EVERY),
	CASE(max_merged, EVERY),
	CASE(read_then_write, EVERY),
	CASE(memory_that_is_read_only, EVERY),
	CASE(neighbours_of_other_protection, EVERY),
	CASE(mixed_on_writable_memory, EVERY),
	CASE(walk, EVERY),
	CASE(put_inside_a_walk, ONLY(EXPLICIT)),
	CASE(drop, EVERY),
	CASE(several_caches, EVERY),
};

int main(int argc, char **argv)
{
	api_guard(60);
	return world_main("regcache-hits", cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
