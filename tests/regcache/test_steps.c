// SPDX-License-Identifier: MIT
/*
 * test_steps.c - between any two instructions of get, put and valid: another thread changes
 * the memory, as a whole or only as far as the start of it; or a signal handler of the same
 * thread does. What has to hold after each:
 *
 *	the region that get answered is what is there now, or valid() is false for it
 *	it is live until it is put, and deregistered after it, though nobody calls
 *	the next get is what is there now
 */
#include "world.h"

#include "stepper.h"

#ifdef HAVE_STEPPER

#define N 16

struct scene {
	struct world w;
	struct worker worker;
	struct hmmu_region_ref ref;
	int err;
	bool ok;
	struct change change;
	unsigned int prot;
};

static void op_get(void *arg)
{
	struct scene *s = arg;

	s->err = hmmu_regcache_get(s->w.cache, s->w.area, 4 * PAGE, s->prot, &s->ref);
}

static void op_get_now(void *arg)
{
	struct scene *s = arg;

	s->err = hmmu_regcache_get_nonblock(s->w.cache, s->w.area, 4 * PAGE, s->prot, &s->ref);
}

static void op_put(void *arg)
{
	struct scene *s = arg;

	hmmu_regcache_put(s->w.cache, &s->ref);
}

static void op_valid(void *arg)
{
	struct scene *s = arg;

	s->ok = hmmu_regcache_valid(s->w.cache, &s->ref);
}

static void remap_job(void *arg)
{
	struct scene *s = arg;

	world_remap(&s->w, 1, 1);
}

static void drop_job(void *arg)
{
	struct scene *s = arg;

	hmmu_regcache_drop(s->w.cache, s->w.area, PAGE);
	hmmu_regcache_shrink(s->w.cache, HMMU_NO_LIMIT);
}

/*
 * The region goes, and its place is taken by one that lies over a part of what is asked for:
 * if the library gives the new one the old one's number, one word of the table reads as before.
 */
static void reuse(struct scene *s, size_t page)
{
	struct hmmu_region_ref ref;

	drop_job(s);
	must(try_get(&s->w, page, 2, RW, &ref) == 0);
	put(&s->w, &ref);
}

static void reuse_tail_job(void *arg)
{
	reuse(arg, 3);
}

static void reuse_head_job(void *arg)
{
	reuse(arg, 0);
}

static void remap_elsewhere(void *arg)
{
	struct scene *s = arg;

	worker_do(&s->worker, remap_job, s);
}

static void reuse_tail(void *arg)
{
	struct scene *s = arg;

	worker_do(&s->worker, reuse_tail_job, s);
}

static void reuse_head(void *arg)
{
	struct scene *s = arg;

	worker_do(&s->worker, reuse_head_job, s);
}

static void drop_elsewhere(void *arg)
{
	struct scene *s = arg;

	worker_do(&s->worker, drop_job, s);
}

/* What a handler may do: system calls. The pages are made beforehand. */
static char *spare;

static void make_spare(void)
{
	static uint64_t identity = 1UL << 40;

	spare = mmap(NULL, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(spare != MAP_FAILED);
	*(uint64_t *)spare = identity++;
}

static void remap_in_handler(void *arg)
{
	struct scene *s = arg;
	struct change c;

	change_begin(&s->w, &c, 2, 1);
	must(mremap(spare, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)at(&s->w, 2)) ==
	     (void *)at(&s->w, 2));
	change_end(&s->w, &c);
}

static void unmap_spare(void)
{
	munmap(spare, PAGE);
}

static void open_scene(struct scene *s)
{
	memset(s, 0, sizeof(*s));
	world_open(&s->w, N, NULL);
	worker_start(&s->worker);
	s->prot = RW;
}

static void close_scene(struct scene *s)
{
	worker_stop(&s->worker);
	world_close(&s->w);
}

/* After a get during which the memory may have changed, once or not at all */
static void check_got(struct scene *s, bool blocking)
{
	worker_wait(&s->worker);
	if (s->err) {
		must(!blocking && s->err == -EAGAIN);
	} else {
		must(record_of(&s->ref)->live);
		must(s->ref.region->start <= at(&s->w, 0) &&
		     s->ref.region->end >= at(&s->w, 4));
		atomic_fetch_add(&record_of(&s->ref)->used, 1);
		if (valid(&s->w, &s->ref))
			must(record_current(record_of(&s->ref)));
		put(&s->w, &s->ref);
	}
	get_put(&s->w, 0, 4, RW);
	world_reap(&s->w, 1);
}

/*
 * Until the call has no instruction left. @stride: every how many-th one, for calls that have
 * thousands; it moves on with each test so that they are not always the same.
 */
static void step_get(void (*op)(void *arg), void (*event)(void *arg), bool hit, long stride)
{
	struct scene s;
	long when, count;

	open_scene(&s);
	if (world_source == UFFD || world_source == PROBE)
		stride *= 4; /* a hit asks the kernel: four times the instructions */
	/* another beginning on each source */
	for (when = 1 + 29 * (long)world_source % stride;; when += stride) {
		hmmu_regcache_drop(s.w.cache, s.w.area, N * PAGE);
		world_reap(&s.w, 0);
		if (hit)
			get_put(&s.w, 0, 4, RW);
		make_spare();
		count = step_run(op, event, &s, when);
		check_got(&s, op == op_get);
		if (event != remap_in_handler || count < when)
			unmap_spare();
		if (count < when)
			break;
	}
	must(when > 20);
	close_scene(&s);
}

static void hit_and_remap(void)
{
	step_get(op_get, remap_elsewhere, true, 1);
}

static void hit_and_drop(void)
{
	step_get(op_get, drop_elsewhere, true, 1);
}

static void hit_and_reuse(void)
{
	step_get(op_get, reuse_tail, true, 1);
	step_get(op_get, reuse_head, true, 1);
}

static void nonblock_and_remap(void)
{
	step_get(op_get_now, remap_elsewhere, true, 1);
}

static void hit_and_handler(void)
{
	step_get(op_get, remap_in_handler, true, 1);
}

static void nonblock_and_handler(void)
{
	step_get(op_get_now, remap_in_handler, true, 1);
}

static void miss_and_remap(void)
{
	step_get(op_get, remap_elsewhere, false, 151);
}

static void miss_and_handler(void)
{
	step_get(op_get, remap_in_handler, false, 211);
}

static void step_put(void (*event)(void *arg), bool dead)
{
	struct scene s;
	long when, count;

	open_scene(&s);
	for (when = 1;; when++) {
		struct hmmu_region_ref held;

		get(&s.w, 0, 4, RW, &held);
		make_spare();
		if (dead)
			world_remap(&s.w, 0, 1);
		s.ref = held;
		atomic_fetch_sub(&record_of(&held)->used, 1);
		count = step_run(op_put, event, &s, when);
		worker_wait(&s.worker);
		must(s.ref.region == NULL);
		if (event != remap_in_handler || count < when)
			unmap_spare();
		if (dead || (count >= when && event != drop_elsewhere))
			device_wait_live(&s.w.dev, 0); /* nobody calls the cache */
		if (count < when)
			break;
	}
	must(when > 5);
	close_scene(&s);
}

static void put_and_remap(void)
{
	step_put(remap_elsewhere, false);
}

static void put_dead_and_remap(void)
{
	step_put(remap_elsewhere, true);
}

static void put_dead_and_drop(void)
{
	step_put(drop_elsewhere, true);
}

static void put_and_handler(void)
{
	step_put(remap_in_handler, false);
}

static void put_dead_and_handler(void)
{
	step_put(remap_in_handler, true);
}

static void valid_and_remap(void)
{
	struct scene s;
	long when, count;

	open_scene(&s);
	for (when = 1;; when++) {
		get(&s.w, 0, 4, RW, &s.ref);
		count = step_run(op_valid, remap_elsewhere, &s, when);
		worker_wait(&s.worker);
		must(valid(&s.w, &s.ref) == (count < when));
		put(&s.w, &s.ref);
		if (count < when)
			break;
		world_reap(&s.w, 0);
	}
	must(s.ok); /* nothing happened in the last one */
	close_scene(&s);
}

/* Only the start happens inside: found before it or not at all, and no one waits for ever. */
static void start_elsewhere_job(void *arg)
{
	struct scene *s = arg;

	range_open(&s->change.range, s->w.mm, at(&s->w, 1), at(&s->w, 2));
}

static void start_elsewhere(void *arg)
{
	struct scene *s = arg;

	worker_do(&s->worker, start_elsewhere_job, s);
}

static void nonblock_and_start(void)
{
	struct scene s;
	long when, count;

	open_scene(&s);
	for (when = 1;; when++) {
		get_put(&s.w, 0, 4, RW);
		count = step_run(op_get_now, start_elsewhere, &s, when);
		worker_wait(&s.worker);
		if (s.err) {
			must(s.err == -EAGAIN && count >= when);
		} else {
			must(record_of(&s.ref)->live);
			atomic_fetch_add(&record_of(&s.ref)->used, 1);
			must(valid(&s.w, &s.ref) == (count < when));
			must(record_current(record_of(&s.ref)));
			if (count >= when) {
				world_fresh(&s.w, 1, 1, RW);
				must(get_now(&s.w, 0, 4, RW, &(struct hmmu_region_ref){0}) ==
				     -EAGAIN);
			}
			put(&s.w, &s.ref);
		}
		if (count < when)
			break;
		range_close(&s.change.range);
	}
	close_scene(&s);
}

static const struct world_case cases[] = {
	CASE(hit_and_remap, EVERY),
	CASE(hit_and_drop, ONLY(EXPLICIT)),
	CASE(hit_and_reuse, ONLY(EXPLICIT)),
	CASE(nonblock_and_remap, EVERY),
	CASE(hit_and_handler, EVERY),
	CASE(nonblock_and_handler, EVERY),
	CASE(miss_and_remap, EVERY),
	CASE(miss_and_handler, EVERY),
	CASE(put_and_remap, EVERY),
	CASE(put_dead_and_remap, EVERY),
	CASE(put_dead_and_drop, ONLY(EXPLICIT)),
	CASE(put_and_handler, EVERY),
	CASE(put_dead_and_handler, EVERY),
	CASE(valid_and_remap, EVERY),
	CASE(nonblock_and_start, ONLY(EXPLICIT)),
};

int main(int argc, char **argv)
{
	api_guard(120);
	return world_main("regcache-steps", cases, sizeof(cases) / sizeof(cases[0]), argc,
			  argv);
}
#else
int main(void)
{
	return 77; /* the trap flag is x86's, and a sanitizer's run would take too long */
}
#endif
