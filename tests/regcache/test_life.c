// SPDX-License-Identifier: MIT
/* test_life.c - created, destroyed, forked, full; what is left behind. */
#include "world.h"

#include <malloc.h>
#include <dirent.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define N 32

static unsigned int mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned int n = 0;
	int c;

	must(maps != NULL);
	while ((c = fgetc(maps)) != EOF)
		n += c == '\n';
	fclose(maps);
	return n;
}

static unsigned int entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned int n = 0;

	must(dir != NULL);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* ---- create and destroy ---- */

static void destroy_while_held(void)
{
	struct hmmu_regcache_options o = HMMU_REGCACHE_DEFAULTS;
	struct hmmu_region_ref ref, dead, one;
	struct world w;

	o.max_regions = 1;
	world_open(&w, N, &o);
	get(&w, 0, 2, RW, &ref);
	assert_int_equal(quiet(hmmu_regcache_destroy(w.cache)), -EBUSY);
	assert_int_equal(quiet(hmmu_mm_close(w.mm)), -EBUSY);
	get(&w, 10, 2, RW, &one);
	assert_true(one.region->flags & HMMU_REGION_ONCE);
	assert_int_equal(get_now(&w, 0, 2, RW, &dead), 0);
	put(&w, &dead);
	put(&w, &ref);
	assert_int_equal(quiet(hmmu_regcache_destroy(w.cache)), -EBUSY);
	put(&w, &one);
	get(&w, 0, 2, RW, &dead);
	world_remap(&w, 0, 1);
	assert_int_equal(quiet(hmmu_regcache_destroy(w.cache)), -EBUSY);
	assert_true(record_of(&dead)->live);
	put(&w, &dead);
	get_put(&w, 0, 2, RW); /* nothing changed by the refusals */
	get_put(&w, 20, 2, RW);
	assert_int_equal(quiet(hmmu_regcache_destroy(w.cache)), 0);
	assert_int_equal(w.dev.live, 0);
	device_fini(&w.dev);
	close_mm(w.mm);
	area_unmap(&w);
}

/* Destroyed at once after a change, whoever was about to deregister. */
static void destroy_in_the_middle(void)
{
	struct world w;
	int i;

	for (i = 0; i < 30; i++) {
		world_open(&w, N, NULL);
		get_put(&w, 0, 2, RW);
		get_put(&w, 4, 2, RW);
		get_put(&w, 8, 2, RW);
		world_remap(&w, 0, 6);
		assert_int_equal(quiet(hmmu_regcache_destroy(w.cache)), 0);
		assert_int_equal(w.dev.live, 0);
		device_fini(&w.dev);
		close_mm(w.mm);
		area_unmap(&w);
	}
}

static void again_and_again(void)
{
	unsigned int maps = 0, threads = 0, files = 0;
	struct hmmu_regcache_options o = HMMU_REGCACHE_DEFAULTS;
	struct hmmu_region_ref ref;
	struct world w;
	int i;

	memset(&w, 0, sizeof(w));
	w.mm = source_mm(0);
	area_map(&w, N);
	o.mm = w.mm;
	for (i = 0; i < 1000; i++) {
		device_init(&w.dev);
		must(hmmu_regcache_create(&w.cache, &device_ops, &w.dev, &o) == 0);
		get_put(&w, 0, 2, RW);
		get(&w, 6, 2, RW, &ref);
		if (i % 3 == 0)
			world_remap(&w, 0, N);
		put(&w, &ref);
		must(hmmu_regcache_destroy(w.cache) == 0);
		device_fini(&w.dev);
		if (i == 100) {
			maps = mappings();
			threads = entries("/proc/self/task");
			files = entries("/proc/self/fd");
		}
	}
	assert_true(mappings() <= maps + 2); /* the heap may grow by one */
	assert_int_equal(entries("/proc/self/task"), threads);
	assert_int_equal(entries("/proc/self/fd"), files);
	close_mm(w.mm);
	area_unmap(&w);
}

static void own_mm_again_and_again(void)
{
	unsigned int maps = 0, threads = 0, files = 0;
	struct world w;
	int i;

	memset(&w, 0, sizeof(w));
	area_map(&w, N);
	for (i = 0; i < 100; i++) {
		device_init(&w.dev);
		must(quiet(hmmu_regcache_create(&w.cache, &device_ops, &w.dev, NULL)) == 0);
		get_put(&w, 0, 2, RW);
		world_fresh(&w, 0, 1, RW);
		get_put(&w, 0, 2, RW);
		must(hmmu_regcache_destroy(w.cache) == 0);
		device_fini(&w.dev);
		if (i == 20) {
			maps = mappings();
			threads = entries("/proc/self/task");
			files = entries("/proc/self/fd");
		}
	}
	assert_true(mappings() <= maps + 2);
	assert_int_equal(entries("/proc/self/task"), threads);
	assert_int_equal(entries("/proc/self/fd"), files);
	area_unmap(&w);
}

static void sixty_four(void)
{
	struct hmmu_regcache *cache[64], *more = (void *)1;
	struct hmmu_regcache_options o = HMMU_REGCACHE_DEFAULTS;
	struct hmmu_region_ref ref[64];
	struct device dev;
	struct world w;
	int i, round;

	memset(&w, 0, sizeof(w));
	w.mm = source_mm(0);
	area_map(&w, N);
	o.mm = w.mm;
	device_init(&dev);
	for (round = 0; round < 2; round++) {
		for (i = 0; i < 64; i++) {
			assert_int_equal(hmmu_regcache_create(&cache[i], &device_ops, &dev, &o),
					 0);
			assert_int_equal(hmmu_regcache_get(cache[i], w.area, 1, RW, &ref[i]),
					 0);
		}
		assert_int_equal(quiet(hmmu_regcache_create(&more, &device_ops, &dev, &o)),
				 -EMFILE);
		for (i = 0; i < 64; i++)
			quiet_void(hmmu_regcache_put(cache[i], &ref[i]));
		assert_int_equal(hmmu_regcache_destroy(cache[31]), 0);
		assert_int_equal(dev.live, 63);
		assert_int_equal(hmmu_regcache_create(&cache[31], &device_ops, &dev, &o), 0);
		for (i = 0; i < 64; i++)
			assert_int_equal(hmmu_regcache_destroy(cache[i]), 0);
	}
	assert_int_equal(dev.live, 0);
	device_fini(&dev);
	close_mm(w.mm);
	area_unmap(&w);
}

/* ---- threads that come and go ---- */

static void *use_it_thread(void *arg)
{
	struct world *w = arg;

	get_put(w, 0, 4, RW);
	get_put(w, 8, 4, RW);
	return NULL;
}

/* KiB of address space. */
static long space(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	long pages = -1;

	must(f && fscanf(f, "%ld", &pages) == 1);
	fclose(f);
	return pages * 4;
}

/* What a thread leaves behind is taken over by the next: 320 of them, a page each, would show.
 * Small stacks: all of them stay in libc's cache. */
static void short_threads(void)
{
	pthread_t thread[8];
	pthread_attr_t attr;
	struct world w;
	long before = 0;
	int i, k;

	mallopt(M_ARENA_MAX, 1); /* no heaps of their own, either */
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 << 10);

	world_open(&w, N, NULL);
	for (i = 0; i < 60; i++) {
		for (k = 0; k < 8; k++)
			must(pthread_create(&thread[k], &attr, use_it_thread, &w) == 0);
		for (k = 0; k < 8; k++)
			pthread_join(thread[k], NULL);
		if (i == 20)
			before = space();
	}
	if (space() > before + 1024)
		fprintf(stderr, "space %ld to %ld KiB\n", before, space());
	assert_true(space() <= before + 1024);
	pthread_attr_destroy(&attr);
	assert_int_equal(stats_of(&w).hits + stats_of(&w).misses, 60 * 8 * 2);
	world_close(&w);
}

/* ---- fork ---- */

/*
 * The device of a child: nobody is inside it, whatever the parent's threads were doing, and
 * what they have not deregistered stays. (With hooks the fork itself is a change.)
 */
static void child_device(struct device *dev)
{
	pthread_mutex_init(&dev->lock, NULL);
	pthread_cond_init(&dev->changed, NULL);
	atomic_store(&dev->inside, 0);
}

static void in_child(void (*fn)(void *arg), void *arg)
{
	int status;
	pid_t pid = fork();

	must(pid >= 0);
	if (!pid) {
		alarm(20); /* not inherited */
		fn(arg);
		_exit(0);
	}
	must(waitpid(pid, &status, 0) == pid);
	if (status)
		fprintf(stderr, "child: status %x\n", status);
	must(status == 0);
}

struct family {
	struct world w;
	struct hmmu_region_ref held;
	struct record *record; /* of held: a child finds the region wiped */
	long live, deregs;
	struct gate reached, go;
};

static void family_open(struct family *f)
{
	memset(f, 0, sizeof(*f));
	world_open(&f->w, N, NULL);
	get_put(&f->w, 8, 4, RW);
	get(&f->w, 0, 4, RW, &f->held);
	f->record = record_of(&f->held);
}

/* The child sees the parent's records by copy: it must leave them as they are. */
static void parents_untouched(struct family *f)
{
	must(f->record->live);
}

static void family_close(struct family *f)
{
	must(record_of(&f->held)->live);
	get_put(&f->w, 0, 4, RW);
	get_put(&f->w, 8, 4, RW);
	put(&f->w, &f->held);
	world_close(&f->w);
}

static void child_destroys_unused(void *arg)
{
	struct family *f = arg;

	child_device(&f->w.dev);
	f->deregs = f->w.dev.deregs;
	f->live = f->w.dev.live;
	must(quiet(hmmu_regcache_destroy(f->w.cache)) == 0);
	must(f->w.dev.deregs == f->deregs && f->w.dev.live == f->live);
}

static void child_destroys(void)
{
	struct family f;

	family_open(&f);
	put(&f.w, &f.held);
	in_child(child_destroys_unused, &f);
	get(&f.w, 0, 4, RW, &f.held);
	f.record = record_of(&f.held);
	in_child(child_destroys_unused, &f);
	family_close(&f);
}

static void once_then_adopt(void *arg)
{
	struct family *f = arg;
	struct hmmu_region_ref ref;
	struct mm_struct *mm;
	long live;

	child_device(&f->w.dev);
	f->deregs = f->w.dev.deregs;
	live = f->w.dev.live;
	must(!valid(&f->w, &f->held));
	must(get_now(&f->w, 0, 4, RW, &ref) == -EAGAIN);
	get(&f->w, 0, 4, RW, &ref);
	must(ref.region->flags & HMMU_REGION_ONCE);
	must(!valid(&f->w, &ref));
	must(get_now(&f->w, 0, 4, RW, &(struct hmmu_region_ref){0}) == -EAGAIN);
	put(&f->w, &ref);
	/* nobody has a reclaimer for it here: the next call will do */
	quiet(hmmu_regcache_shrink(f->w.cache, 0));
	device_wait_live(&f->w.dev, live);
	must(stats_of(&f->w).once == 1 && stats_of(&f->w).regs == 1);
	mm = source_mm(0);
	must(quiet(hmmu_regcache_adopt(f->w.cache, mm)) == 0);
	must(quiet(hmmu_regcache_adopt(f->w.cache, mm)) == -EBUSY);
	f->w.mm = mm;
	get(&f->w, 0, 4, RW, &ref);
	must(!ref.region->flags && valid(&f->w, &ref));
	put(&f->w, &ref);
	get_put(&f->w, 1, 2, RW);
	must(stats_of(&f->w).hits == 1 && stats_of(&f->w).regs == 2);
	get(&f->w, 0, 4, RW, &ref);
	world_remap(&f->w, 2, 1);
	must(!valid(&f->w, &ref));
	put(&f->w, &ref);
	device_wait_live(&f->w.dev, live);
	get_put(&f->w, 0, 4, RW);
	must(quiet(hmmu_regcache_destroy(f->w.cache)) == 0);
	must(f->w.dev.live == live);
	parents_untouched(f);
	close_mm(mm);
}

static void adopt_at_once(void *arg)
{
	struct family *f = arg;
	struct hmmu_region_ref ref;
	long live;

	child_device(&f->w.dev);
	live = f->w.dev.live;
	f->w.mm = source_mm(0);
	must(quiet(hmmu_regcache_adopt(f->w.cache, f->w.mm)) == 0);
	get(&f->w, 0, 4, RW, &ref);
	must(!ref.region->flags);
	world_remap(&f->w, 2, 1);
	must(!valid(&f->w, &ref));
	must(!valid(&f->w, &f->held));
	put(&f->w, &ref);
	device_wait_live(&f->w.dev, live);
	get_put(&f->w, 0, 4, RW);
	must(quiet(hmmu_regcache_destroy(f->w.cache)) == 0);
	must(f->w.dev.live == live);
	parents_untouched(f);
	close_mm(f->w.mm);
}

static void fork_and_adopt_at_once(void)
{
	struct family f;

	family_open(&f);
	in_child(adopt_at_once, &f);
	family_close(&f);
}

/* What nobody watched when it was registered is not good because somebody watches now. */
static void adopt_and_ask(void *arg)
{
	struct family *f = arg;
	struct hmmu_region_ref ref;

	child_device(&f->w.dev);
	f->live = f->w.dev.live;
	get(&f->w, 0, 4, RW, &ref);
	f->w.mm = source_mm(0);
	must(quiet(hmmu_regcache_adopt(f->w.cache, f->w.mm)) == 0);
	must(!valid(&f->w, &ref));
	put(&f->w, &ref);
	device_wait_live(&f->w.dev, f->live);
	must(quiet(hmmu_regcache_destroy(f->w.cache)) == 0);
	close_mm(f->w.mm);
}

static void fork_and_adopt_while_held(void)
{
	struct family f;

	family_open(&f);
	in_child(adopt_and_ask, &f);
	family_close(&f);
}

/* The parent's dead one is nothing that the child has to deregister. */
static void count_from_nothing(void *arg)
{
	struct family *f = arg;
	struct hmmu_regcache_stats stats;
	struct hmmu_region_ref ref;

	child_device(&f->w.dev);
	f->live = f->w.dev.live;
	f->w.mm = source_mm(0);
	must(quiet(hmmu_regcache_adopt(f->w.cache, f->w.mm)) == 0);
	get(&f->w, 0, 4, RW, &ref);
	stats = stats_of(&f->w);
	must(stats.dying == 0);
	must(stats.regions == 1 && stats.bytes == 4 * PAGE);
	must(stats.locked == 4 * PAGE);
	put(&f->w, &ref);
	must(quiet(hmmu_regcache_destroy(f->w.cache)) == 0);
	must(f->w.dev.live == f->live);
	close_mm(f->w.mm);
}

static void fork_with_a_dead_one(void)
{
	struct family f;

	family_open(&f);
	world_remap(&f.w, 0, 1);
	while (stats_of(&f.w).dying != 1) /* told by return: a moment later */
		usleep(200);
	in_child(count_from_nothing, &f);
	family_close(&f);
}

static void fork_of_a_given_mm(void)
{
	struct family f;

	family_open(&f);
	in_child(once_then_adopt, &f);
	family_close(&f);
}

static void put_the_parents(void *arg)
{
	struct family *f = arg;
	struct hmmu_region_ref ref;

	child_device(&f->w.dev);
	f->live = f->w.dev.live;
	quiet_void(hmmu_regcache_put(f->w.cache, &f->held));
	must(f->held.region == NULL);
	get(&f->w, 0, 4, RW, &ref);
	put(&f->w, &ref);
	quiet(hmmu_regcache_shrink(f->w.cache, 0));
	device_wait_live(&f->w.dev, f->live);
	must(quiet(hmmu_regcache_destroy(f->w.cache)) == 0);
	must(f->w.dev.live == f->live);
}

static void child_puts_the_parents(void)
{
	struct family f;

	family_open(&f);
	in_child(put_the_parents, &f);
	world_remap(&f.w, 0, 1);
	assert_false(valid(&f.w, &f.held));
	assert_true(record_of(&f.held)->live);
	family_close(&f);
}

static void have_a_child(void *arg)
{
	in_child(once_then_adopt, arg);
	once_then_adopt(arg);
}

static void grandchild(void)
{
	struct family f;

	family_open(&f);
	in_child(have_a_child, &f);
	family_close(&f);
}

static int stop_in_reg(struct device *dev, struct hmmu_region *region)
{
	struct family *f = dev->arg;

	dev->after = NULL;
	gate_open(&f->reached);
	gate_pass(&f->go);
	return 0;
}

static void get_far(void *arg)
{
	struct family *f = arg;

	get_put(&f->w, 20, 4, RW);
}

/* A thread is in reg, and another waits in get: neither is there in the child. */
static void fork_while_registering(void)
{
	struct runner ra, rb;
	struct family f;

	family_open(&f);
	gate_init(&f.reached);
	gate_init(&f.go);
	f.w.dev.arg = &f;
	f.w.dev.after = stop_in_reg;
	runner_start(&ra, get_far, &f);
	gate_pass(&f.reached);
	runner_start(&rb, get_far, &f);
	in_child(once_then_adopt, &f);
	gate_open(&f.go);
	runner_join(&ra);
	runner_join(&rb);
	get_put(&f.w, 20, 4, RW);
	family_close(&f);
}

/* A cache with an mm of its own: the child caches again, by itself. */
static void cache_again(void *arg)
{
	struct world *w = arg;
	struct hmmu_region_ref ref;
	long live, regs;

	child_device(&w->dev);
	live = w->dev.live;
	regs = w->dev.regs;
	must(get_now(w, 0, 4, RW, &ref) == -EAGAIN);
	get(w, 0, 4, RW, &ref);
	must(!ref.region->flags && w->dev.regs == regs + 1);
	put(w, &ref);
	get_put(w, 0, 4, RW);
	must(w->dev.regs == regs + 1 && stats_of(w).hits == 1);
	get(w, 0, 4, RW, &ref);
	world_fresh(w, 1, 1, RW);
	must(!valid(w, &ref));
	put(w, &ref);
	device_wait_live(&w->dev, live);
	get_put(w, 0, 4, RW);
	must(quiet(hmmu_regcache_destroy(w->cache)) == 0);
	must(w->dev.live == live);
}

static void cache_again_twice(void *arg)
{
	in_child(cache_again, arg);
	cache_again(arg);
}

static void fork_of_an_own_mm(void)
{
	struct hmmu_region_ref held;
	struct world w;
	int i;

	memset(&w, 0, sizeof(w));
	area_map(&w, N);
	device_init(&w.dev);
	must(hmmu_regcache_create(&w.cache, &device_ops, &w.dev, NULL) == 0);
	get_put(&w, 8, 4, RW);
	get(&w, 0, 4, RW, &held);
	for (i = 0; i < 3; i++) {
		in_child(i == 1 ? cache_again_twice : cache_again, &w);
		must(record_of(&held)->live);
		get_put(&w, 0, 4, RW);
	}
	put(&w, &held);
	must(hmmu_regcache_destroy(w.cache) == 0);
	device_fini(&w.dev);
	area_unmap(&w);
}

static const struct world_case cases[] = {
	CASE(destroy_while_held, EVERY),
	CASE(destroy_in_the_middle, EVERY),
	CASE(again_and_again, EVERY),
	CASE(own_mm_again_and_again, ONLY(BOTH)),
	CASE(sixty_four, EVERY),
	CASE(short_threads, EVERY),
	CASE(child_destroys, EVERY),
	CASE(fork_and_adopt_at_once, EVERY),
	CASE(fork_of_a_given_mm, EVERY),
	CASE(fork_and_adopt_while_held, EVERY),
	CASE(fork_with_a_dead_one, EVERY),
	CASE(child_puts_the_parents, EVERY),
	CASE(grandchild, EVERY),
	CASE(fork_while_registering, EVERY),
	CASE(fork_of_an_own_mm, ONLY(BOTH)),
};

int main(int argc, char **argv)
{
	api_guard(100);
	if (API_SLOW > 1)
		return 77; /* sanitizers hold locks of their own across a fork */
	return world_main("regcache-life", cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
