// SPDX-License-Identifier: MIT
/*
 * test_parts.c - options->split: a large registration is found in parts of PART pages, and a
 * change of one page costs a part. What is found is alive as a whole: a part, two of them,
 * all of them.
 */
#include "world.h"

#include <sys/wait.h>

#define PART 4 /* pages; the area begins at a multiple of it */
#define PARTS 16
#define N (PART * PARTS)
#define SPARE 64 /* pages behind */
#define HIT (5 * PART + 1)

static struct hmmu_regcache_options split(void)
{
	struct hmmu_regcache_options o = HMMU_REGCACHE_DEFAULTS;

	o.split = PART * PAGE;
	return o;
}

static void open_split(struct world *w)
{
	struct hmmu_regcache_options o = split();

	world_open(w, N + SPARE, &o);
}

/* Registered as one, with one call. */
static struct record *fill(struct world *w)
{
	struct hmmu_region_ref ref;
	struct record *record;

	get(w, 0, N, RW, &ref);
	record = record_of(&ref);
	must(ref.region->start == at(w, 0) && ref.region->end == at(w, N));
	must(ref.region->key[0] == record->start && ref.region->key[3] == ~record->end);
	must(w->dev.calls == 1 && stats_of(w).regions == 1);
	put(w, &ref);
	return record;
}

/* It is found exactly if @there, in [first, last) parts, as a part of @record. */
static void found(struct world *w, size_t page, size_t n, bool there, size_t first, size_t last,
		  const struct record *record)
{
	struct hmmu_region_ref ref;
	int err = get_now(w, page, n, RW, &ref);

	must(err == (there ? 0 : -EAGAIN));
	if (err)
		return;
	check_ref(w, page, n, RW, &ref);
	must(valid(w, &ref) && record_of(&ref) == record);
	must(ref.region->start == at(w, first * PART));
	must(ref.region->end == at(w, last * PART));
	must(ref.region->key[0] == record->start && ref.region->flags == 0);
	put(w, &ref);
}

/* Everything that was not hit is found, where it was, without a call of the device. */
static void all_but(struct world *w, size_t dead, const struct record *record)
{
	long calls = w->dev.calls;
	size_t i;

	for (i = 0; i < PARTS; i++) {
		found(w, i * PART, 1, i != dead, i, i + 1, record);
		found(w, i * PART, PART, i != dead, i, i + 1, record);
		if (i + 1 < PARTS)
			found(w, i * PART + PART - 1, 2, i != dead && i + 1 != dead, i, i + 2,
			      record);
	}
	found(w, 0, N, dead == PARTS, 0, PARTS, record);
	found(w, PART - 1, PART + 2, dead == PARTS, 0, PARTS, record);
	must(w->dev.calls == calls);
}

static void one_page_costs_a_part(void)
{
	struct record *record;
	struct world w;

	open_split(&w);
	record = fill(&w);
	all_but(&w, PARTS, record);
	world_remap(&w, HIT, 1);
	world_reap(&w, 1);
	all_but(&w, HIT / PART, record);
	assert_int_equal(stats_of(&w).regions, 1);
	assert_int_equal(stats_of(&w).bytes, (N - PART) * PAGE);
	assert_int_equal(stats_of(&w).locked, N * PAGE);
	assert_int_equal(stats_of(&w).invalidated, 0);
	/* what was hit is registered anew, and no more of it than was asked for */
	get_put(&w, HIT, 1, RW);
	assert_int_equal(w.dev.calls, 2);
	assert_int_equal(stats_of(&w).bytes, (N - PART + 1) * PAGE);
	assert_int_equal(stats_of(&w).replaced, 0);
	world_close(&w);
}

/* At each border, and over several of them. */
static void each_page(void)
{
	size_t page, n, i;
	struct world w;

	for (n = 1; n < 2 * PART + 2; n += PART) {
		for (page = 0; page < 3 * PART; page++) {
			struct record *record;

			open_split(&w);
			record = fill(&w);
			world_remap(&w, page, n);
			for (i = 0; i < PARTS; i++)
				found(&w, i * PART, PART,
				      (i + 1) * PART <= page || i * PART >= page + n, i, i + 1,
				      record);
			for (i = 0; i + 1 < PARTS; i++)
				found(&w, i * PART + 1, PART,
				      (i + 2) * PART <= page || i * PART >= page + n, i, i + 2,
				      record);
			found(&w, 0, N, false, 0, PARTS, record);
			world_close(&w);
		}
	}
}

/* A start and an end in the middle of a part. */
static void odd_ends(void)
{
	struct hmmu_region_ref ref;
	struct world w;

	open_split(&w);
	get(&w, 3, N - 5, RW, &ref);
	put(&w, &ref);
	assert_int_equal(get_now(&w, 2, 1, RW, &ref), -EAGAIN);
	assert_int_equal(get_now(&w, N - 2, 1, RW, &ref), -EAGAIN);
	world_remap(&w, 2, 1); /* beside it */
	get(&w, 3, N - 5, RW, &ref);
	assert_int_equal(w.dev.calls, 1);
	put(&w, &ref);
	world_remap(&w, 3, 1);
	assert_int_equal(get_now(&w, 3, 2, RW, &ref), -EAGAIN);
	get_put(&w, 4, N - 6 < 2 * PART ? 1 : 2 * PART, RW);
	get_put(&w, N - PART, 2, RW);
	assert_int_equal(w.dev.calls, 1);
	world_remap(&w, N - 3, 1);
	assert_int_equal(get_now(&w, N - PART, 1, RW, &ref), -EAGAIN);
	get_put(&w, N - 2 * PART, PART, RW);
	assert_int_equal(w.dev.calls, 1);
	world_close(&w);
}

/* ---- in use ---- */

static void valid_by_itself(void)
{
	static const struct {
		size_t page, n;
		bool stays;
	} held[] = {
		{0, N, false},
		{5 * PART, PART, false},
		{4 * PART, PART, true},
		{5 * PART - 1, 2, false},
		{6 * PART - 1, 2, false},
		{4 * PART - 1, 2, true},
		{7 * PART - 1, 2, true},
		{0, 1, true},
		{6 * PART, 1, true},
		{5 * PART + 3, 1, false},
		{3 * PART, 3 * PART, false},
		{N - 1, 1, true},
	};
	struct hmmu_region_ref ref[sizeof(held) / sizeof(held[0])];
	struct world w;
	size_t i;

	open_split(&w);
	fill(&w);
	for (i = 0; i < sizeof(held) / sizeof(held[0]); i++)
		get(&w, held[i].page, held[i].n, RW, &ref[i]);
	assert_int_equal(w.dev.calls, 1);
	world_remap(&w, HIT, 1);
	for (i = 0; i < sizeof(held) / sizeof(held[0]); i++)
		assert_int_equal(valid(&w, &ref[i]), held[i].stays);
	for (i = 0; i < sizeof(held) / sizeof(held[0]); i++)
		put(&w, &ref[i]);
	world_close(&w);
}

/* Dropped, it is what the process sees until that changes. */
static void dropped_while_held(void)
{
	struct hmmu_region_ref part, pair, no;
	struct world w;

	open_split(&w);
	fill(&w);
	get(&w, 2 * PART, 1, RW, &part);
	get(&w, 3 * PART - 1, 2, RW, &pair);
	assert_int_equal(quiet(hmmu_regcache_drop(w.cache, (void *)at(&w, 2 * PART), 1)), 1);
	assert_int_equal(get_now(&w, 2 * PART, 1, RW, &no), -EAGAIN);
	assert_int_equal(get_now(&w, 3 * PART - 1, 2, RW, &no), -EAGAIN);
	assert_true(valid(&w, &part) && valid(&w, &pair));
	world_remap(&w, 3 * PART, 1);
	assert_true(valid(&w, &part));
	assert_false(valid(&w, &pair));
	world_remap(&w, 2 * PART, 1);
	assert_false(valid(&w, &part));
	put(&w, &part);
	put(&w, &pair);
	get_put(&w, 0, 2 * PART, RW);
	assert_int_equal(w.dev.calls, 1);
	world_close(&w);
}

static void come_by(struct world *w)
{
	quiet(hmmu_regcache_shrink(w->cache, HMMU_NO_LIMIT));
	quiet(hmmu_reclaim(w->mm));
	quiet(hmmu_regcache_shrink(w->cache, HMMU_NO_LIMIT));
}

#define MANY 70 /* references: more than a thread has slots */

/* Undone once, when the last part is dead and the last reference is put: a part's, a pair's,
 * the whole's; in a slot or counted. */
static void undone_with_the_last(void)
{
	static const size_t what[][2] = {{3, 1}, {PART - 1, 2}, {0, N}};
	static struct hmmu_region_ref ref[MANY];
	struct world w;
	size_t k, i, n;

	for (k = 0; k < 6; k++) {
		n = k < 3 ? 1 : MANY;
		open_split(&w);
		fill(&w);
		for (i = 0; i < n; i++)
			get(&w, what[k % 3][0], what[k % 3][1], RW, &ref[i]);
		world_remap(&w, PART, N - PART);
		world_remap(&w, 0, PART);
		come_by(&w);
		assert_int_equal(device_live(&w.dev), 1);
		while (stats_of(&w).regions || stats_of(&w).dying != 1)
			;
		assert_int_equal(stats_of(&w).bytes, 0);
		assert_int_equal(stats_of(&w).locked, N * PAGE);
		for (i = 0; i < n; i++) {
			come_by(&w);
			assert_int_equal(device_live(&w.dev), 1);
			assert_false(valid(&w, &ref[i]));
			put(&w, &ref[i]);
		}
		device_wait_live(&w.dev, 0); /* nobody calls the cache */
		assert_int_equal(w.dev.regs, 1);
		assert_int_equal(stats_of(&w).invalidated, 1);
		world_close(&w);
	}
}

/* ---- replaced, by a get over more than two parts of what is not whole ---- */

static void replaced(void)
{
	struct hmmu_region_ref held, ref;
	struct record *record;
	struct world w;
	size_t i;

	open_split(&w);
	record = fill(&w);
	world_remap(&w, HIT, 1);
	world_reap(&w, 1);
	get(&w, 8 * PART, 1, RW, &held);
	get(&w, 7 * PART + 2, 3 * PART, RW, &ref);
	assert_int_equal(w.dev.calls, 2);
	assert_true(ref.region->start == at(&w, 7 * PART + 2));
	assert_true(ref.region->end == at(&w, 10 * PART + 2));
	assert_true(valid(&w, &held)); /* nothing has changed */
	put(&w, &ref);
	for (i = 0; i < PARTS; i++)
		if (i != HIT / PART && (i < 7 || i > 10))
			found(&w, i * PART, PART, true, i, i + 1, record);
	assert_int_equal(w.dev.live, 2);
	put(&w, &held);
	/* the last of the first one's: it goes */
	world_remap(&w, 0, 7 * PART);
	world_remap(&w, 11 * PART, 5 * PART);
	world_reap(&w, 1);
	get_put(&w, 7 * PART + 2, 3 * PART, RW);
	assert_int_equal(w.dev.calls, 2);
	world_close(&w);
}

/* What is split grows no more; and what is larger than a part and touches is by itself. */
static void not_merged(void)
{
	struct record *record;
	struct world w;

	open_split(&w);
	record = fill(&w);
	get_put(&w, N, 2, RW);
	assert_int_equal(stats_of(&w).merged + stats_of(&w).replaced, 0);
	get_put(&w, N + 2, 2, RW); /* these two are merged */
	assert_int_equal(w.dev.calls, 3);
	all_but(&w, PARTS, record);
	world_close(&w);
}

/* Of less than is asked for in protection none is an answer. */
static void protection(void)
{
	struct hmmu_region_ref ref;
	struct world w;

	open_split(&w);
	get_put(&w, 0, N, PROT_READ);
	get_put(&w, PART - 1, 2, PROT_READ);
	assert_int_equal(get_now(&w, 0, N, RW, &ref), -EAGAIN);
	assert_int_equal(get_now(&w, PART - 1, 2, RW, &ref), -EAGAIN);
	assert_int_equal(get_now(&w, 1, 1, RW, &ref), -EAGAIN);
	assert_int_equal(w.dev.calls, 1);
	get_put(&w, 0, N, RW);
	assert_int_equal(w.dev.calls, 2);
	world_reap(&w, 1);
	world_close(&w);
}

/* ---- limits, failures ---- */

static void limits(void)
{
	struct hmmu_regcache_options o = split();
	struct hmmu_region_ref held;
	struct world w;
	size_t i;

	o.max_regions = 2;
	world_open(&w, N + SPARE, &o);
	fill(&w);
	get_put(&w, N + 4, 1, RW);
	assert_int_equal(stats_of(&w).regions, 2);
	assert_int_equal(stats_of(&w).evicted, 0);
	get(&w, PART, 1, RW, &held); /* all of it is in use */
	get_put(&w, N + 8, 1, RW);
	get_put(&w, N + 12, 1, RW);
	get_put(&w, N + 16, 1, RW);
	get_put(&w, 3 * PART, 1, RW);
	assert_int_equal(w.dev.calls, 5);
	assert_int_equal(stats_of(&w).regions, 2);
	assert_int_equal(stats_of(&w).evicted, 3);
	put(&w, &held);
	world_reap(&w, 2);
	world_remap(&w, HIT, 1);
	/* until the hand, which has passed it once, comes by again */
	for (i = 0; stats_of(&w).bytes > 4 * PAGE; i++) {
		assert_true(i < 16);
		get_put(&w, N + 20 + i % 8 * 4, 2, RW);
		assert_int_equal(stats_of(&w).regions, 2);
		world_reap(&w, 2); /* their numbers are free again: the hand gets round */
		while (stats_of(&w).dying)
			;
	}
	assert_int_equal(get_now(&w, 3 * PART, 1, RW, &held), -EAGAIN);
	world_reap(&w, 2);
	world_close(&w);
}

/* A part that is used keeps the rest, for one round. */
static void used_in_part(void)
{
	struct hmmu_regcache_options o = split();
	struct world w;
	size_t i;

	o.max_regions = 4;
	world_open(&w, N + SPARE, &o);
	fill(&w);
	for (i = 0; i < 12; i++) {
		get_put(&w, N + 4 + 4 * i, 1, RW);
		get_put(&w, i % PARTS * PART, 1, RW);
	}
	assert_int_equal(w.dev.calls, 13);
	world_close(&w);
}

/* However many numbers one registration has, the hand passes them: who comes after it is
 * cached, and the locked limit is answered by an eviction. */
static void hand_passes_parts(void)
{
	struct hmmu_regcache_options o = HMMU_REGCACHE_DEFAULTS;
	const size_t n = 4096;
	struct hmmu_region_ref held, ref;
	struct world w;
	size_t i;

	o.split = PAGE;
	o.max_regions = 2;
	o.max_locked = (n + 2) * PAGE;
	world_open(&w, n + SPARE, &o);
	get(&w, 0, n, RW, &held); /* 8191 of them, all in use */
	for (i = 0; i < 8; i++) {
		get(&w, n + 2 + 4 * i, 1, RW, &ref);
		assert_int_equal(ref.region->flags, 0);
		put(&w, &ref);
		get(&w, n + 4 + 4 * i, 1, RW, &ref);
		assert_int_equal(ref.region->flags, 0);
		put(&w, &ref);
	}
	get_put(&w, n + 40, 2, RW); /* locked: what is not in use goes */
	put(&w, &held);
	/* all of it goes as soon as nobody has it */
	get(&w, n + 44, 4, RW, &ref);
	assert_int_equal(ref.region->flags, 0);
	assert_int_equal(stats_of(&w).once, 0);
	put(&w, &ref);
	world_close(&w);
}

static void locked(void)
{
	struct hmmu_regcache_options o = split();
	struct hmmu_region_ref ref, held;
	struct world w;

	o.max_locked = (N + 8) * PAGE;
	world_open(&w, N + SPARE, &o);
	fill(&w);
	world_remap(&w, HIT, 1);
	get(&w, 0, 1, RW, &held);
	/* a part is in use: all of it stays locked */
	assert_int_equal(try_get(&w, N + 4, 9, RW, &ref), -ENOBUFS);
	get_put(&w, N + 4, 8, RW);
	assert_int_equal(stats_of(&w).locked, (N + 8) * PAGE);
	put(&w, &held);
	get_put(&w, N + 20, 30, RW);
	assert_true(stats_of(&w).locked <= (N + 8) * PAGE);
	world_close(&w);
}

/* The device fails where a part was hit: errno, and the other parts stay. */
static void reg_fails(void)
{
	struct hmmu_region_ref ref;
	struct record *record;
	struct world w;

	open_split(&w);
	w.dev.fail_at = 1;
	w.dev.fail_errno = -EIO;
	assert_int_equal(try_get(&w, 0, N, RW, &ref), -EIO);
	check_idle(&w);
	assert_int_equal(stats_of(&w).locked + stats_of(&w).regions, 0);
	w.dev.calls = 0;
	record = fill(&w);
	world_remap(&w, HIT, 1);
	w.dev.fail_at = 1;
	assert_int_equal(try_get(&w, HIT, 1, RW, &ref), -EIO);
	assert_int_equal(stats_of(&w).locked, N * PAGE);
	all_but(&w, HIT / PART, record);
	w.dev.fail_at = 1;
	assert_int_equal(try_get(&w, 4 * PART, 3 * PART, RW, &ref), -EIO);
	all_but(&w, HIT / PART, record); /* nothing was replaced */
	world_unmap(&w, HIT, 1);
	assert_int_equal(try_get(&w, HIT, 1, RW, &ref), -EFAULT);
	get_put(&w, HIT + 1, 1, RW);
	world_remap(&w, HIT, 1);
	w.dev.dereg_errno = -EIO;
	world_remap(&w, 0, N);
	check_idle(&w);
	assert_int_equal(stats_of(&w).dereg_failed, 2);
	assert_int_equal(stats_of(&w).locked, 0);
	w.dev.dereg_errno = 0;
	world_close(&w);
}

static int remap_once(struct device *dev, struct hmmu_region *region)
{
	struct world *w = dev->arg;

	if (dev->calls == 1)
		world_remap(w, HIT, 1);
	return 0;
}

/* A change of one page while all is registered: begun again, no part of the first is found. */
static void changed_inside_reg(void)
{
	struct hmmu_region_ref ref;
	struct world w;

	open_split(&w);
	w.dev.arg = &w;
	w.dev.after = remap_once;
	get(&w, 0, N, RW, &ref);
	assert_int_equal(w.dev.calls, 2);
	all_but(&w, PARTS, record_of(&ref));
	put(&w, &ref);
	world_close(&w);
}

/* More parts than one may have: they are larger. */
static void many_pages(void)
{
	struct hmmu_regcache_options o = HMMU_REGCACHE_DEFAULTS;
	const size_t n = 4096 + 2;
	struct hmmu_region_ref ref;
	struct world w;

	o.split = PAGE;
	world_open(&w, n, &o);
	get_put(&w, 0, n, RW);
	world_remap(&w, 100, 1);
	assert_int_equal(get_now(&w, 101, 1, RW, &ref), -EAGAIN);
	get(&w, 102, 1, RW, &ref);
	assert_true(ref.region->start == at(&w, 102) && ref.region->end == at(&w, 104));
	put(&w, &ref);
	assert_int_equal(w.dev.calls, 1);
	world_close(&w);
}

static void in_a_child(void)
{
	struct world w;
	int status;
	pid_t pid;

	open_split(&w);
	fill(&w);
	world_remap(&w, HIT, 1);
	pid = fork();
	must(pid >= 0);
	if (!pid) {
		struct hmmu_region_ref ref;

		if (get_now(&w, 0, 1, RW, &ref) != -EAGAIN)
			_exit(1);
		if (quiet(hmmu_regcache_get(w.cache, w.area, N * PAGE, RW, &ref)))
			_exit(2);
		quiet_void(hmmu_regcache_put(w.cache, &ref));
		_exit(0);
	}
	must(waitpid(pid, &status, 0) == pid);
	assert_int_equal(status, 0);
	world_close(&w);
}

static void bad_options(void)
{
	static const unsigned int bad[] = {1, 2048, 4097, 12288, 3u << 30};
	struct mm_struct *mm = source_mm(0);
	struct hmmu_regcache_options o = split();
	struct hmmu_regcache *cache;
	size_t i;

	o.mm = mm;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		o.split = bad[i];
		assert_int_equal(quiet(hmmu_regcache_create(&cache, &device_ops, NULL, &o)),
				 -EINVAL);
	}
	o.split = PART * PAGE;
	o.alignment = 2 * PART * PAGE;
	assert_int_equal(quiet(hmmu_regcache_create(&cache, &device_ops, NULL, &o)), -EINVAL);
	o.alignment = PART * PAGE;
	assert_int_equal(quiet(hmmu_regcache_create(&cache, &device_ops, NULL, &o)), 0);
	assert_int_equal(quiet(hmmu_regcache_destroy(cache)), 0);
	must(quiet(hmmu_mm_close(mm)) == 0);
}

/* By return, what was hit is gone a moment later. */
#define AT_ONCE (ONLY(EXPLICIT) | ONLY(HOOKS))

static const struct world_case cases[] = {
	CASE(one_page_costs_a_part, EVERY),
	CASE(each_page, ONLY(EXPLICIT)),
	CASE(odd_ends, AT_ONCE),
	CASE(valid_by_itself, EVERY),
	CASE(dropped_while_held, EVERY),
	CASE(undone_with_the_last, EVERY),
	CASE(replaced, AT_ONCE),
	CASE(not_merged, EVERY),
	CASE(protection, EVERY),
	CASE(limits, AT_ONCE),
	CASE(used_in_part, EVERY),
	CASE(hand_passes_parts, ONLY(EXPLICIT)),
	CASE(locked, AT_ONCE),
	CASE(reg_fails, AT_ONCE),
	CASE(changed_inside_reg, EVERY),
	CASE(many_pages, ONLY(EXPLICIT)),
	CASE(in_a_child, ONLY(EXPLICIT)),
	CASE(bad_options, ONLY(EXPLICIT)),
};

int main(int argc, char **argv)
{
	api_guard(60);
	return world_main("regcache-parts", cases, sizeof(cases) / sizeof(cases[0]), argc,
			  argv);
}
