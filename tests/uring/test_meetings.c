// SPDX-License-Identifier: MIT
/*
 * test_meetings.c - the three ways a reader and an invalidator can meet, each forced
 * on the real device; and the driver's own rules broken on purpose, each of which must
 * make its meeting fail.
 *
 * The door into the middle of the reader's loop is what the library asks of the driver:
 * door.pinned runs in fault, between the reading of the truth and the driver lock, door.locked
 * in install, under it. The plants are the library's (the plant build).
 */
#include "uring_test.h"

#include "mirror/mirror.h"
#include "plant.h"

struct scene {
	struct mm_struct *mm;
	struct uring_mirror *m;
	struct uring_window *w;
	unsigned char *at;
};

static struct {
	struct scene *scene;
	pthread_t owner;
	int met; /* how often the door was gone through; reader's thread only */
	void (*pinned)(struct scene *s);
	void (*locked)(struct scene *s);
	void (*called)(struct scene *s); /* another's callback, about to take the lock */
	void (*settles)(struct scene *s);
} door;

static int door_fault(void *context, unsigned long start, unsigned long npages,
		      unsigned int flags, unsigned long *entries)
{
	int ret = uring_table_ops.fault(context, start, npages, flags, entries);

	if (door.pinned && !door.met++)
		door.pinned(door.scene);
	return ret;
}

static void door_install(void *context, unsigned long start, unsigned long npages,
			 const unsigned long *entries)
{
	uring_table_ops.install(context, start, npages, entries);
	if (door.locked && !door.met++)
		door.locked(door.scene);
}

static void door_lock(void *context)
{
	if (door.called && !pthread_equal(pthread_self(), door.owner))
		door.called(door.scene);
	uring_table_ops.lock(context);
}

static int door_watch(struct uring_window *w)
{
	struct hmmu_mirror_ops ops = uring_table_ops;

	ops.fault = door_fault;
	ops.install = door_install;
	ops.lock = door_lock;
	return table_open(w, w->mirror->mm, &ops);
}

static int door_settle(struct uring_window *w, const struct timespec *deadline)
{
	if (door.settles)
		door.settles(door.scene);
	return uring_coherence_hmmu.settle(w, deadline);
}

static struct uring_coherence door_policy;

static int set_up(void **state)
{
	struct scene *s = calloc(1, sizeof(*s));

	memset(&door, 0, sizeof(door));
	door.scene = s;
	door.owner = pthread_self();
	door_policy = uring_coherence_hmmu;
	door_policy.watch = door_watch;
	door_policy.settle = door_settle;
	s->mm = test_mm();
	s->m = test_mirror(s->mm, &door_policy, 8, 4);
	s->at = test_pages(1, 'A');
	assert_int_equal(uring_mirror_watch(s->m, (unsigned long)s->at, PAGE, &s->w), 0);
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct scene *s = *state;

	hmmu_mirror_planted = MIRROR_PLANT_NONE;
	hmmu_planted = HMMU_PLANT_NONE;
	uring_mirror_close(s->m);
	assert_int_equal(hmmu_mm_close(s->mm), 0);
	munmap(s->at, PAGE);
	free(s);
	return 0;
}

/* ---- meeting 1: retry. The invalidation happens between pin and lock. */

static void remap_now(struct scene *s)
{
	test_remap(s->mm, s->at, 1, 'B');
}

static void meeting_1_retry(void **state)
{
	struct scene *s = *state;

	door.pinned = remap_now;
	assert_int_equal(test_read(s->m, s->w, s->at), 'B');
	assert_int_equal(test_stats(s->m).retries, 1);
	assert_int_equal(test_stats(s->m).pins, 1);
	assert_int_equal(test_stats(s->m).zapped, 0); /* it was not installed yet */
	test_settle(s->m, 1);			      /* the dead page was let go */
	assert_int_equal(uring_mirror_unwatch(s->w), 0);
	assert_int_equal(test_stats(s->m).retries, 1); /* remembered */
}

static void meeting_1_without_retry_is_stale(void **state)
{
	struct scene *s = *state;

	hmmu_mirror_planted = MIRROR_PLANT_NO_RETRY;
	door.pinned = remap_now;
	assert_int_equal(test_read(s->m, s->w, s->at), 'A');
	assert_int_equal(s->at[0], 'B');
}

/* The same for a device's write: the new page must have it. */
static void meeting_1_write(void **state)
{
	struct scene *s = *state;

	door.pinned = remap_now;
	assert_int_equal(test_write(s->m, s->w, s->at + 1, 'W'), 1);
	assert_int_equal(s->at[1], 'W');
}

/* A pin that fails inside an invalidation is not a refusal: read again. */
static void unmap_half(struct scene *s)
{
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, s->mm, (unsigned long)s->at,
				(unsigned long)s->at + PAGE);
	mmu_notifier_invalidate_range_start(&range);
	mprotect(s->at, PAGE, PROT_READ | PROT_WRITE);
	mmu_notifier_invalidate_range_end(&range);
}

static void meeting_1_failed_pin(void **state)
{
	struct scene *s = *state;

	assert_int_equal(mprotect(s->at, PAGE, PROT_NONE), 0);
	door.pinned = unmap_half;
	assert_int_equal(test_read(s->m, s->w, s->at), 'A');
	assert_int_equal(test_stats(s->m).refused, 0);
	assert_int_equal(test_stats(s->m).retries, 1);
}

/* ---- meeting 2: block. The reader has the lock; the callback waits for it. */

static struct {
	pthread_t thread;
	sem_t called;
} other;

static void *remap_thread(void *arg)
{
	struct scene *s = arg;

	test_remap(s->mm, s->at, 1, 'B');
	return NULL;
}

static void say_called(struct scene *s)
{
	sem_post(&other.called);
}

/* Under the driver lock, retry said false: start an invalidator, and go on only when
 * its callback runs: then it is waiting for the lock, or will. */
static void start_invalidator(struct scene *s)
{
	assert_int_equal(pthread_create(&other.thread, NULL, remap_thread, s), 0);
	sem_wait(&other.called);
}

static int prep_under_fire(struct scene *s, struct uring_access *a)
{
	*a = (struct uring_access){.window = s->w, .addr = (unsigned long)s->at, .len = 1};
	sem_init(&other.called, 0, 0);
	/* The first look-up settles: let it, before the door opens. */
	assert_int_equal(test_read(s->m, s->w, s->at), 'A');
	uring_mirror_drop(s->w, (unsigned long)s->at, PAGE);
	door.called = say_called;
	door.locked = start_invalidator;
	assert_int_equal(uring_mirror_prep(s->m, a, NULL), 0);
	/* The change has passed. */
	pthread_join(other.thread, NULL);
	assert_int_equal(s->at[0], 'B');
	return uring_mirror_submit(s->m);
}

static void meeting_2_block(void **state)
{
	struct scene *s = *state;
	struct uring_access a, *done;

	assert_int_equal(prep_under_fire(s, &a), 1);
	/* Installed while the callback waited, and removed by it. */
	assert_int_equal(test_stats(s->m).retries, 0);
	assert_int_equal(test_stats(s->m).zapped, 1);
	assert_false(uring_mirror_cached(s->w, (unsigned long)s->at));
	/* The access that was looked up meanwhile is discarded. */
	assert_int_equal(uring_mirror_reap(s->m, &done, NULL), 1);
	assert_ptr_equal(done, &a);
	assert_int_equal(a.result, -ESTALE);
	assert_int_equal(test_read(s->m, s->w, s->at), 'B');
}

/* Without the zap the dead slot stays. */
static void meeting_2_deaf_is_stale(void **state)
{
	struct scene *s = *state;
	struct uring_access a, *done;

	hmmu_mirror_planted = MIRROR_PLANT_KEEPS;
	assert_int_equal(prep_under_fire(s, &a), 1);
	assert_int_equal(uring_mirror_reap(s->m, &done, NULL), 1);
	assert_true(uring_mirror_cached(s->w, (unsigned long)s->at));
	assert_int_equal(test_read(s->m, s->w, s->at), 'A');
}

/* ---- meeting 3: wait. The reader begins between start and end. */

static sem_t reader_arrived;

static void say_arrived(struct scene *s)
{
	sem_post(&reader_arrived);
}

/* This try found it open; the one that follows sleeps. */
static void try_and_say_so(struct scene *s)
{
	static const struct timespec never_sleep = {0, 0};

	if (hmmu_mirror_settle(s->w->table, &never_sleep) == -ETIMEDOUT)
		sem_post(&reader_arrived);
}

static void *read_thread(void *arg)
{
	struct scene *s = arg;

	return (void *)(intptr_t)test_read(s->m, s->w, s->at);
}

/* Start; a reader arrives; the change; end. Answers what the reader saw. */
static int read_inside(struct scene *s, bool wait_for_pin)
{
	struct mmu_notifier_range range;
	pthread_t reader;
	void *seen;

	sem_init(&reader_arrived, 0, 0);
	if (wait_for_pin)
		door.pinned = say_arrived;
	else
		door.settles = try_and_say_so;
	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, s->mm, (unsigned long)s->at,
				(unsigned long)s->at + PAGE);
	assert_int_equal(mmu_notifier_invalidate_range_start(&range), 0);
	assert_int_equal(pthread_create(&reader, NULL, read_thread, s), 0);
	sem_wait(&reader_arrived);
	if (wait_for_pin) /* the bug: it does not wait; let it have its way */
		pthread_join(reader, &seen);
	assert_int_equal(madvise(s->at, PAGE, MADV_DONTNEED), 0);
	s->at[0] = 'B';
	mmu_notifier_invalidate_range_end(&range);
	if (!wait_for_pin)
		pthread_join(reader, &seen);
	return (int)(intptr_t)seen;
}

static void meeting_3_wait(void **state)
{
	struct scene *s = *state;

	assert_int_equal(read_inside(s, false), 'B');
	assert_int_equal(test_stats(s->m).retries, 0);
	assert_int_equal(test_read(s->m, s->w, s->at), 'B');
}

/* HMM's old bug: it keeps the page for ever. */
static void meeting_3_without_wait_is_stale(void **state)
{
	struct scene *s = *state;

	hmmu_planted = HMMU_PLANT_NO_WAIT;
	assert_int_equal(read_inside(s, true), 'A');
	assert_int_equal(s->at[0], 'B');
	assert_int_equal(test_read(s->m, s->w, s->at), 'A');
}

/* A deadline bounds the wait: nothing is pinned, nothing installed. */
static void meeting_3_deadline(void **state)
{
	static const struct timespec now = {0, 0}, past = {1, 0};
	struct scene *s = *state;
	struct uring_access a = {.window = s->w, .addr = (unsigned long)s->at, .len = 1};
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, s->mm, (unsigned long)s->at,
				(unsigned long)s->at + PAGE);
	assert_int_equal(mmu_notifier_invalidate_range_start(&range), 0);
	assert_int_equal(uring_mirror_prep(s->m, &a, &now), -ETIMEDOUT);
	assert_int_equal(uring_mirror_prep(s->m, &a, &past), -ETIMEDOUT);
	mmu_notifier_invalidate_range_end(&range);
	assert_int_equal(test_stats(s->m).pinned, 0);
	assert_int_equal(test_read(s->m, s->w, s->at), 'A');
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(meeting_1_retry),	  TEST(meeting_1_without_retry_is_stale),
		TEST(meeting_1_write),	  TEST(meeting_1_failed_pin),
		TEST(meeting_2_block),	  TEST(meeting_2_deaf_is_stale),
		TEST(meeting_3_wait),	  TEST(meeting_3_without_wait_is_stale),
		TEST(meeting_3_deadline),
	};

	if (uring_refused())
		return SKIP;
	return cmocka_run_group_tests_name("uring meetings", tests, NULL, NULL);
}
