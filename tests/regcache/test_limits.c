// SPDX-License-Identifier: MIT
/* test_limits.c - limits by count, by bytes, by locked memory; who goes, who is asked. */
#include "world.h"

#define N 128

static struct hmmu_regcache_options defaults(void)
{
	struct hmmu_regcache_options o = HMMU_REGCACHE_DEFAULTS;

	return o;
}

static void by_count(void)
{
	struct hmmu_regcache_options o = defaults();
	struct world w;
	size_t i;

	o.max_regions = 4;
	world_open(&w, N, &o);
	for (i = 0; i < 20; i++) {
		get_put(&w, i * 2, 1, RW);
		assert_true(stats_of(&w).regions <= 4);
		assert_true(stats_of(&w).regions == (i < 4 ? i + 1 : 4));
	}
	world_reap(&w, 4);
	assert_int_equal(stats_of(&w).evicted, 16);
	assert_int_equal(stats_of(&w).once, 0);
	world_close(&w);
}

static void by_bytes(void)
{
	struct hmmu_regcache_options o = defaults();
	struct hmmu_region_ref ref;
	struct world w;
	size_t i;

	o.max_bytes = 8 * PAGE;
	world_open(&w, N, &o);
	for (i = 0; i < 10; i++) {
		get_put(&w, i * 6, 1 + i % 4, RW);
		assert_true(stats_of(&w).bytes <= 8 * PAGE);
	}
	get_put(&w, 100, 8, RW); /* all of it */
	assert_int_equal(stats_of(&w).regions, 1);
	/* larger than all: not kept */
	get(&w, 80, 9, RW, &ref);
	assert_int_equal(ref.region->flags, HMMU_REGION_ONCE);
	assert_true(stats_of(&w).bytes <= 8 * PAGE);
	put(&w, &ref);
	check_idle(&w);
	assert_int_equal(get_now(&w, 80, 9, RW, &ref), -EAGAIN);
	assert_int_equal(stats_of(&w).once, 1);
	world_close(&w);
}

/* Everything in use: the new one is for one use. */
static void once(void)
{
	struct hmmu_regcache_options o = defaults();
	struct hmmu_region_ref ref[3], one, again;
	struct world w;
	size_t i;

	o.max_regions = 3;
	world_open(&w, N, &o);
	for (i = 0; i < 3; i++)
		get(&w, i * 2, 1, RW, &ref[i]);
	get(&w, 20, 1, RW, &one);
	assert_int_equal(one.region->flags, HMMU_REGION_ONCE);
	assert_int_equal(get_now(&w, 20, 1, RW, &again), -EAGAIN);
	assert_int_equal(stats_of(&w).regions, 3);
	assert_int_equal(stats_of(&w).locked, 4 * PAGE);
	assert_int_equal(stats_of(&w).once, 1);
	assert_true(valid(&w, &one)); /* it is watched */
	get(&w, 20, 1, RW, &again);
	assert_true(record_of(&again) != record_of(&one));
	world_remap(&w, 20, 1);
	assert_false(valid(&w, &one));
	assert_false(valid(&w, &again));
	put(&w, &one);
	world_reap(&w, 4);
	put(&w, &again);
	world_reap(&w, 3); /* by itself */
	for (i = 0; i < 3; i++)
		put(&w, &ref[i]);
	get(&w, 20, 1, RW, &one);
	assert_int_equal(one.region->flags, 0);
	put(&w, &one);
	world_close(&w);
}

/*
 * What is found all the time survives those that are not: a first eviction may be wrong about
 * each of them ("roughly"), and after it they stay.
 */
static void recently_used_survive(void)
{
	struct hmmu_regcache_options o = defaults();
	struct hmmu_region_ref ref;
	struct world w;
	size_t i, k, lost = 0;

	o.max_regions = 16;
	world_open(&w, 1024, &o);
	for (k = 0; k < 4; k++)
		get_put(&w, k * 2, 1, RW);
	for (i = 0; i < 200; i++) {
		get_put(&w, 20 + i * 2, 1, RW);
		for (k = 0; k < 4; k++) {
			if (get_now(&w, k * 2, 1, RW, &ref)) {
				lost++;
				get(&w, k * 2, 1, RW, &ref);
			}
			put(&w, &ref);
		}
	}
	assert_true(lost <= 4);
	assert_int_equal(stats_of(&w).regs, 204 + lost);
	world_close(&w);
}

static void by_locked_bytes(void)
{
	struct hmmu_regcache_options o = defaults();
	struct hmmu_region_ref ref[4], no;
	struct world w;
	size_t i;

	o.max_locked = 4 * PAGE;
	world_open(&w, N, &o);
	assert_int_equal(try_get(&w, 0, 5, RW, &no), -ENOBUFS);
	for (i = 0; i < 4; i++)
		get(&w, i * 2, 1, RW, &ref[i]);
	assert_int_equal(try_get(&w, 20, 1, RW, &no), -ENOBUFS);
	assert_int_equal(get_now(&w, 20, 1, RW, &no), -EAGAIN);
	/* dead and in use: locked still */
	world_remap(&w, 0, 8);
	assert_int_equal(try_get(&w, 20, 1, RW, &no), -ENOBUFS);
	put(&w, &ref[2]);
	get(&w, 20, 1, RW, &ref[2]);
	assert_int_equal(try_get(&w, 22, 1, RW, &no), -ENOBUFS);
	for (i = 0; i < 4; i++)
		put(&w, &ref[i]);
	get_put(&w, 40, 4, RW); /* everything else goes for it */
	assert_int_equal(stats_of(&w).locked, 4 * PAGE);
	assert_int_equal(stats_of(&w).regions, 1);
	assert_int_equal(stats_of(&w).once, 0);
	world_close(&w);
}

/* Neighbours that are one region too large for a limit: what was asked for is answered. */
static void union_above_a_limit(void)
{
	struct hmmu_regcache_options o = defaults();
	struct hmmu_region_ref held, ref;
	struct world w;

	o.max_locked = 6 * PAGE;
	world_open(&w, N, &o);
	get(&w, 0, 4, RW, &held);
	get(&w, 4, 2, RW, &ref); /* the union would be 6 more */
	assert_true(stats_of(&w).locked <= 6 * PAGE);
	put(&w, &ref);
	put(&w, &held);
	get_put(&w, 0, 6, RW);
	assert_int_equal(stats_of(&w).locked, 6 * PAGE);
	world_close(&w);
}

/* ---- the call-back ---- */

struct client {
	struct world *w;
	struct hmmu_region_ref ref[4];
	size_t asked;
	int gives;
};

static size_t give_back(struct device *dev, size_t bytes)
{
	struct client *c = dev->arg;
	size_t given = 0;
	int i;

	c->asked = bytes;
	for (i = 0; i < c->gives; i++) {
		given += c->ref[i].region->end - c->ref[i].region->start;
		put(c->w, &c->ref[i]);
	}
	return given;
}

static void shrink_call_back(void)
{
	struct hmmu_regcache_options o = defaults();
	struct hmmu_region_ref ref;
	struct client c;
	struct world w;
	size_t i;
	int locked;

	for (locked = 0; locked < 2; locked++) {
		o = defaults();
		if (locked)
			o.max_locked = 4 * PAGE;
		else
			o.max_regions = 4;
		world_open(&w, N, &o);
		c = (struct client){.w = &w, .gives = 0};
		w.dev.arg = &c;
		w.dev.shrink = give_back;
		for (i = 0; i < 4; i++)
			get(&w, i * 2, 1, RW, &c.ref[i]);
		assert_int_equal(w.dev.shrinks, 0);
		/* one that has nothing to give: asked once */
		if (locked) {
			assert_int_equal(try_get(&w, 20, 1, RW, &ref), -ENOBUFS);
		} else {
			get(&w, 20, 1, RW, &ref);
			assert_int_equal(ref.region->flags, HMMU_REGION_ONCE);
			put(&w, &ref);
			world_reap(&w, 4);
		}
		assert_int_equal(w.dev.shrinks, 1);
		assert_true(c.asked >= PAGE);
		/* one that gives two */
		c.gives = 2;
		get(&w, 30, 1, RW, &ref);
		assert_int_equal(ref.region->flags, 0);
		assert_int_equal(w.dev.shrinks, 2);
		put(&w, &ref);
		c.gives = 0;
		put(&w, &c.ref[2]);
		put(&w, &c.ref[3]);
		/* nobody is asked where something can be evicted */
		get_put(&w, 40, 1, RW);
		get_put(&w, 42, 1, RW);
		get_put(&w, 44, 1, RW);
		assert_int_equal(w.dev.shrinks, 2);
		world_close(&w);
	}
}

static void shrink(void)
{
	struct hmmu_region_ref held, ref;
	struct world w;
	size_t i;

	world_open(&w, N, NULL);
	assert_int_equal(quiet(hmmu_regcache_shrink(w.cache, HMMU_NO_LIMIT)), 0);
	for (i = 0; i < 10; i++)
		get_put(&w, i * 4, 2, RW);
	get(&w, 0, 1, RW, &held);
	assert_int_equal(quiet(hmmu_regcache_shrink(w.cache, 0)), 0);
	assert_int_equal(device_live(&w.dev), 10);
	assert_int_equal(quiet(hmmu_regcache_shrink(w.cache, 1)), 2 * PAGE);
	assert_int_equal(device_live(&w.dev), 9);
	assert_int_equal(quiet(hmmu_regcache_shrink(w.cache, 3 * PAGE)), 4 * PAGE);
	assert_int_equal(device_live(&w.dev), 7);
	assert_int_equal(quiet(hmmu_regcache_shrink(w.cache, HMMU_NO_LIMIT)), 12 * PAGE);
	assert_int_equal(device_live(&w.dev), 1);
	assert_int_equal(get_now(&w, 0, 2, RW, &ref), 0); /* in use: stays, and is found */
	put(&w, &ref);
	put(&w, &held);
	assert_int_equal(quiet(hmmu_regcache_shrink(w.cache, HMMU_NO_LIMIT)), 2 * PAGE);
	assert_int_equal(stats_of(&w).evicted, 10);
	world_close(&w);
}

/* A limit of one of each, and everything at once */
static void smallest_limits(void)
{
	struct hmmu_regcache_options o = defaults();
	struct hmmu_region_ref ref, other;
	struct world w;
	size_t i;

	o.max_regions = 1;
	o.max_bytes = 1;
	o.max_merged = 1;
	world_open(&w, N, &o);
	for (i = 0; i < 4; i++) {
		get(&w, i, 1, RW, &ref);
		get(&w, i + 1, 1, RW, &other);
		assert_true(other.region->flags & HMMU_REGION_ONCE);
		put(&w, &ref);
		put(&w, &other);
	}
	world_close(&w);
	o = defaults();
	o.max_locked = 1;
	world_open(&w, N, &o);
	assert_int_equal(try_get(&w, 0, 1, RW, &ref), -ENOBUFS);
	world_close(&w);
}

static const struct world_case cases[] = {
	CASE(by_count, EVERY),
	CASE(by_bytes, EVERY),
	CASE(once, EVERY),
	CASE(recently_used_survive, ONLY(EXPLICIT) | ONLY(HOOKS)),
	CASE(by_locked_bytes, EVERY),
	CASE(union_above_a_limit, EVERY),
	CASE(shrink_call_back, EVERY),
	CASE(shrink, EVERY),
	CASE(smallest_limits, EVERY),
};

int main(int argc, char **argv)
{
	api_guard(60);
	return world_main("regcache-limits", cases, sizeof(cases) / sizeof(cases[0]), argc,
			  argv);
}
