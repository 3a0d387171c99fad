// SPDX-License-Identifier: MIT
/*
 * test_meetings.c - G1: the three ways a reader and an invalidator can meet, each
 * forced, on a real page whose translation really changes: a file's page 0
 * (generation 1) is mapped, the change maps page 1 (generation 2) over it.
 *
 * Every scene is played by the right driver and by a wrong one, which has to end
 * with generation 1 in its shadow: a scene that cannot show the bug shows nothing.
 */
#include "api.h"

#include <sys/mman.h>

enum driver {
	RIGHT,
	NO_RETRY,   /* installs without asking */
	START_ONLY, /* a sequence of its own that moves at start; waits for no end */
	NO_LOCK,    /* the callback drops the shadow without the driver lock */
};

struct scene {
	struct mmu_interval_notifier sub;
	struct mm_struct *mm;
	enum driver driver;
	int file;
	long *page;		/* the truth */
	pthread_mutex_t lock;	/* the driver lock */
	long shadow;		/* 0: nothing. Guarded by @lock */
	unsigned long seq;	/* what it was installed under. Guarded by @lock */
	atomic_ulong start_seq; /* START_ONLY's */
	bool paused;		/* the reader's: stopped once already */
	int rounds;		/* the reader's */
	struct gate has_read, go;
	struct mmu_notifier_range range;
	long at_change; /* the shadow when the page was about to change */
};

static bool scene_invalidate(struct mmu_interval_notifier *sub,
			     const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	struct scene *scene = (struct scene *)sub;

	atomic_fetch_add(&scene->start_seq, 1);
	if (scene->driver == NO_LOCK) {
		mmu_interval_set_seq(sub, cur_seq);
		__atomic_store_n(&scene->shadow, 0, __ATOMIC_RELAXED);
		return true;
	}
	pthread_mutex_lock(&scene->lock);
	mmu_interval_set_seq(sub, cur_seq);
	scene->shadow = 0;
	pthread_mutex_unlock(&scene->lock);
	return true;
}

static const struct mmu_interval_notifier_ops scene_ops = {.invalidate = scene_invalidate};

static unsigned long scene_begin(struct scene *scene)
{
	if (scene->driver == START_ONLY)
		return atomic_load(&scene->start_seq);
	return mmu_interval_read_begin(&scene->sub);
}

static bool scene_retry(struct scene *scene, unsigned long seq)
{
	if (scene->driver == NO_RETRY)
		return false;
	if (scene->driver == START_ONLY)
		return atomic_load(&scene->start_seq) != seq;
	return mmu_interval_read_retry(&scene->sub, seq);
}

static void map_generation(struct scene *scene, long generation)
{
	must(mmap(scene->page, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, scene->file,
		  (generation - 1) * (off_t)PAGE) == (void *)scene->page);
}

static void scene_open(struct scene *scene, enum driver driver)
{
	const long generations[] = {1, 2};

	memset(scene, 0, sizeof(*scene));
	scene->driver = driver;
	pthread_mutex_init(&scene->lock, NULL);
	gate_init(&scene->has_read);
	gate_init(&scene->go);
	scene->file = memfd_create("truth", 0);
	must(scene->file >= 0 && ftruncate(scene->file, 2 * PAGE) == 0);
	must(pwrite(scene->file, &generations[0], sizeof(long), 0) == sizeof(long));
	must(pwrite(scene->file, &generations[1], sizeof(long), PAGE) == sizeof(long));
	scene->page = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(scene->page != MAP_FAILED);
	map_generation(scene, 1);
	scene->mm = open_mm(0);
	must(mmu_interval_notifier_insert(&scene->sub, scene->mm, (unsigned long)scene->page,
					  PAGE, &scene_ops) == 0);
}

static void scene_close(struct scene *scene)
{
	mmu_interval_notifier_remove(&scene->sub);
	close_mm(scene->mm);
	munmap(scene->page, PAGE);
	close(scene->file);
}

static long shadow_of(struct scene *scene)
{
	long shadow;

	pthread_mutex_lock(&scene->lock);
	shadow = scene->shadow;
	pthread_mutex_unlock(&scene->lock);
	return shadow;
}

static void scene_start(struct scene *scene)
{
	range_open(&scene->range, scene->mm, (unsigned long)scene->page,
		   (unsigned long)scene->page + PAGE);
}

static void scene_change(struct scene *scene)
{
	scene->at_change = shadow_of(scene);
	map_generation(scene, 2);
}

/* The reader's loop; between its first read and the lock it stops at the gate. */
static void reader(void *arg)
{
	struct scene *scene = arg;
	unsigned long seq;
	long seen;

	for (;;) {
		scene->rounds++;
		seq = scene_begin(scene);
		seen = *(volatile long *)scene->page;
		if (!scene->paused) {
			scene->paused = true;
			gate_open(&scene->has_read);
			gate_pass(&scene->go);
		}
		pthread_mutex_lock(&scene->lock);
		if (!scene_retry(scene, seq))
			break;
		pthread_mutex_unlock(&scene->lock);
	}
	scene->shadow = seen;
	scene->seq = seq;
	pthread_mutex_unlock(&scene->lock);
}

/* 1. Retry: start falls between begin and the lock; the reader goes on before end. */
static void play_retry(struct scene *scene, enum driver driver, bool after_end)
{
	struct runner run;
	bool asleep = false;

	scene_open(scene, driver);
	runner_start(&run, reader, scene);
	gate_pass(&scene->has_read);
	scene_start(scene);
	if (!after_end) {
		gate_open(&scene->go);
		asleep = runner_sleeps(&run); /* the second round waits for end */
		assert_int_equal(asleep, driver == RIGHT);
	}
	scene_change(scene);
	range_close(&scene->range);
	if (after_end)
		gate_open(&scene->go);
	runner_join(&run);
}

/* 2. Block: the reader has the lock first; start's callback waits for it. */
static void play_block_writer(void *arg)
{
	struct scene *scene = arg;

	scene_start(scene);
	scene_change(scene);
	range_close(&scene->range);
}

static void play_block(struct scene *scene, enum driver driver)
{
	struct runner run;
	unsigned long seq;
	long seen;

	scene_open(scene, driver);
	seq = scene_begin(scene);
	seen = *(volatile long *)scene->page;
	pthread_mutex_lock(&scene->lock);
	assert_false(scene_retry(scene, seq)); /* nothing has started */
	runner_start(&run, play_block_writer, scene);
	/* Both drivers' writers stop at the lock: in the callback, or after it. */
	assert_true(runner_sleeps(&run));
	assert_int_equal(*(volatile long *)scene->page, 1);
	__atomic_store_n(&scene->shadow, seen, __ATOMIC_RELAXED);
	scene->seq = seq;
	pthread_mutex_unlock(&scene->lock);
	runner_join(&run);
}

/* 3. Wait: the reader begins between start and the change. */
static void play_wait(struct scene *scene, enum driver driver)
{
	struct runner run;

	scene_open(scene, driver);
	gate_open(&scene->go);
	scene_start(scene);
	runner_start(&run, reader, scene);
	assert_int_equal(runner_sleeps(&run), driver == RIGHT);
	scene_change(scene);
	if (driver == RIGHT)
		assert_true(runner_sleeps(&run)); /* the change alone releases nobody */
	range_close(&scene->range);
	runner_join(&run);
}

static void expect_fresh(struct scene *scene)
{
	assert_int_equal(scene->at_change, 0);
	assert_int_equal(shadow_of(scene), 2);
	assert_true(hmmu_access_ok(&scene->sub, scene->seq));
	scene_close(scene);
}

static void expect_stale(struct scene *scene)
{
	assert_int_equal(*(volatile long *)scene->page, 2);
	assert_int_equal(shadow_of(scene), 1);
	scene_close(scene);
}

static void test_g1_retry_before_end(void **state)
{
	struct scene scene;

	play_retry(&scene, RIGHT, false);
	assert_int_equal(scene.rounds, 2);
	expect_fresh(&scene);
}

static void test_g1_retry_after_end(void **state)
{
	struct scene scene;

	play_retry(&scene, RIGHT, true);
	assert_int_equal(scene.rounds, 2);
	expect_fresh(&scene);
}

static void test_g1_block(void **state)
{
	struct scene scene;

	play_block(&scene, RIGHT);
	assert_int_equal(scene.at_change, 0);
	assert_int_equal(shadow_of(&scene), 0);
	assert_false(hmmu_access_ok(&scene.sub, scene.seq));
	scene_close(&scene);
}

static void test_g1_wait(void **state)
{
	struct scene scene;

	play_wait(&scene, RIGHT);
	assert_int_equal(scene.rounds, 1);
	expect_fresh(&scene);
}

static void test_wrong_driver_without_retry_is_stale(void **state)
{
	struct scene scene;

	play_retry(&scene, NO_RETRY, false);
	expect_stale(&scene);
	play_retry(&scene, NO_RETRY, true);
	expect_stale(&scene);
}

static void test_wrong_driver_without_lock_is_stale(void **state)
{
	struct scene scene;

	play_block(&scene, NO_LOCK);
	assert_int_equal(scene.at_change, 1); /* held while the page changed */
	expect_stale(&scene);
}

/* HMM's old bug. Its retry is right, and still it keeps generation 1. */
static void test_wrong_driver_start_only_is_stale(void **state)
{
	struct scene scene;

	play_wait(&scene, START_ONLY);
	assert_int_equal(scene.rounds, 1);
	expect_stale(&scene);
}

/* An access through what was installed: right before start, wrong from start on. */
static void test_g1_access(void **state)
{
	struct scene scene;
	unsigned long seq;

	scene_open(&scene, RIGHT);
	gate_open(&scene.go);
	reader(&scene);
	seq = scene.seq;
	assert_true(hmmu_access_ok(&scene.sub, seq));
	scene_start(&scene);
	assert_false(hmmu_access_ok(&scene.sub, seq));
	assert_true(mmu_interval_check_retry(&scene.sub, seq));
	scene_change(&scene);
	assert_int_equal(scene.at_change, 0);
	range_close(&scene.range);
	assert_false(hmmu_access_ok(&scene.sub, seq));
	assert_true(mmu_interval_check_retry(&scene.sub, seq));
	reader(&scene);
	assert_false(mmu_interval_check_retry(&scene.sub, scene.seq));
	expect_fresh(&scene);
}

/*
 * The check at completion comes after the access, for the compiler too. The access
 * faults; the fault's handler lets a whole invalidation pass; the access is done again
 * and is over: a check that had looked before it would not have seen anything.
 */
static struct scene *fault_scene;

static void on_fault(int sig)
{
	must(mprotect(fault_scene->page, PAGE, PROT_READ) == 0);
	scene_start(fault_scene);
	range_close(&fault_scene->range);
}

__attribute__((noinline)) static long access_checked(struct scene *scene, unsigned long seq,
						     int i, long **translation)
{
	long value = *translation[i];

	if (!hmmu_access_ok(&scene->sub, seq))
		return -1;
	return value;
}

__attribute__((noinline)) static long read_checked(struct scene *scene, unsigned long seq,
						   int i, long **translation)
{
	long value = *translation[i];

	if (mmu_interval_check_retry(&scene->sub, seq))
		return -1;
	return value;
}

static void test_g1_check_comes_after_the_access(void **state)
{
	long (*const checked[])(struct scene *, unsigned long, int, long **) = {access_checked,
										read_checked};
	struct sigaction action = {.sa_handler = on_fault}, old;
	struct scene scene;
	unsigned long seq;
	long *translation[1];
	int i;

	scene_open(&scene, RIGHT);
	translation[0] = scene.page;
	fault_scene = &scene;
	assert_int_equal(sigaction(SIGSEGV, &action, &old), 0);
	for (i = 0; i < 2; i++) {
		seq = mmu_interval_read_begin(&scene.sub);
		assert_int_equal(checked[i](&scene, seq, 0, translation), 1);
		must(mprotect(scene.page, PAGE, PROT_NONE) == 0);
		assert_int_equal(checked[i](&scene, seq, 0, translation), -1);
	}
	sigaction(SIGSEGV, &old, NULL);
	scene_close(&scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_g1_retry_before_end),
		cmocka_unit_test(test_g1_retry_after_end),
		cmocka_unit_test(test_g1_block),
		cmocka_unit_test(test_g1_wait),
		cmocka_unit_test(test_g1_access),
		cmocka_unit_test(test_g1_check_comes_after_the_access),
		cmocka_unit_test(test_wrong_driver_without_retry_is_stale),
		cmocka_unit_test(test_wrong_driver_without_lock_is_stale),
		cmocka_unit_test(test_wrong_driver_start_only_is_stale),
	};

	api_guard(60);
	return cmocka_run_group_tests_name("meetings", tests, NULL, NULL);
}
