// SPDX-License-Identifier: MIT
/*
 * test_inflight.c - requests that are under way when the memory changes, slots that
 * wait for them, callbacks that may not sleep, and what is left after the end.
 *
 * A request is kept in flight by a pipe: the device writes memory from an empty pipe,
 * or reads memory into a full one.
 */
#include "uring_test.h"

struct scene {
	struct mm_struct *mm;
	struct uring_mirror *m;
	struct uring_window *w;
	unsigned char *at;
	int pipe[2];
};

static void set_up_slots(struct scene *s, unsigned int slots)
{
	s->mm = test_mm();
	s->m = test_mirror(s->mm, NULL, slots, 4);
	s->at = test_pages(2, 'A');
	assert_int_equal(pipe2(s->pipe, O_CLOEXEC), 0);
	assert_int_equal(uring_mirror_watch(s->m, (unsigned long)s->at, 2 * PAGE, &s->w), 0);
}

static void tear_down(struct scene *s)
{
	uring_mirror_close(s->m);
	assert_int_equal(hmmu_mm_close(s->mm), 0);
	close(s->pipe[0]);
	close(s->pipe[1]);
	munmap(s->at, 2 * PAGE);
}

/* The device's write of 4 bytes from the (empty) pipe, in flight. */
static void launch_write(struct scene *s, struct uring_access *a)
{
	*a = (struct uring_access){.window = s->w,
				   .addr = (unsigned long)s->at,
				   .len = 4,
				   .flags = URING_WRITE | URING_AT_FD,
				   .fd = s->pipe[0]};
	assert_int_equal(uring_mirror_prep(s->m, a, NULL), 0);
	assert_int_equal(uring_mirror_submit(s->m), 1);
}

static void write_overtaken(void **state)
{
	struct uring_access a, *done;
	struct scene s;

	set_up_slots(&s, 8);
	launch_write(&s, &a);
	test_remap(s.mm, s.at, 1, 'N');
	/* Dropped from the shadow, but the request still holds the dead page. */
	assert_false(uring_mirror_cached(s.w, (unsigned long)s.at));
	assert_int_equal(test_stats(s.m).zapped, 1);
	assert_int_equal(write(s.pipe[1], "dead", 4), 4);
	assert_int_equal(uring_mirror_reap(s.m, &done, NULL), 1);
	assert_ptr_equal(done, &a);
	assert_int_equal(a.result, -ESTALE);
	assert_int_equal(test_stats(s.m).discarded, 1);
	assert_int_equal(test_stats(s.m).raced, 1);
	assert_memory_equal(s.at, "NNNN", 4); /* it went into the dead page */
	test_settle(s.m, 0);		      /* whose tag came after the request */
	tear_down(&s);
}

/* The plant: without the check at completion the device would say 4 bytes are there. */
static bool always_good(const struct uring_access *a)
{
	(void)a;
	return true;
}

static void write_overtaken_unchecked_is_a_lie(void **state)
{
	struct uring_coherence unchecked = uring_coherence_hmmu;
	struct uring_access a, *done;
	struct scene s;

	unchecked.good = always_good;
	set_up_slots(&s, 8);
	s.m->coherence = &unchecked;
	launch_write(&s, &a);
	test_remap(s.mm, s.at, 1, 'N');
	assert_int_equal(write(s.pipe[1], "dead", 4), 4);
	assert_int_equal(uring_mirror_reap(s.m, &done, NULL), 1);
	assert_int_equal(a.result, 4);
	assert_memory_equal(s.at, "NNNN", 4);
	tear_down(&s);
}

/* What was not hit arrives, though its neighbour in the window was. */
static void write_not_overtaken(void **state)
{
	struct uring_access a, *done;
	struct scene s;

	set_up_slots(&s, 8);
	launch_write(&s, &a);
	test_remap(s.mm, s.at + PAGE, 1, 'N');
	assert_int_equal(write(s.pipe[1], "live", 4), 4);
	assert_int_equal(uring_mirror_reap(s.m, &done, NULL), 1);
	assert_int_equal(a.result, 4);
	assert_memory_equal(s.at, "live", 4);
	assert_int_equal(test_stats(s.m).discarded, 0);
	tear_down(&s);
}

/* The neighbour's is open still: its callback may be on its way to us, for all we know. */
static void write_beside_an_open_change(void **state)
{
	struct mmu_notifier_range range;
	struct uring_access a, *done;
	struct scene s;

	set_up_slots(&s, 8);
	launch_write(&s, &a);
	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, s.mm, (unsigned long)s.at + PAGE,
				(unsigned long)s.at + 2 * PAGE);
	assert_int_equal(mmu_notifier_invalidate_range_start(&range), 0);
	assert_int_equal(write(s.pipe[1], "live", 4), 4);
	assert_int_equal(uring_mirror_reap(s.m, &done, NULL), 1); /* and does not wait */
	assert_int_equal(a.result, -ESTALE);
	assert_memory_equal(s.at, "live", 4);
	mmu_notifier_invalidate_range_end(&range);
	assert_true(uring_mirror_cached(s.w, (unsigned long)s.at));
	tear_down(&s);
}

/* Out and in again while a request is under way: its page is not the one that is there now,
 * though the block is. */
static void pinned_again_meanwhile(void **state)
{
	struct uring_access a, b, *done;
	struct scene s;

	set_up_slots(&s, 8);
	launch_write(&s, &a);
	test_remap(s.mm, s.at, 1, 'N');
	b = (struct uring_access){
		.window = s.w, .addr = (unsigned long)s.at, .len = 1, .index = 1};
	assert_int_equal(uring_mirror_prep(s.m, &b, NULL), 0);
	assert_int_equal(uring_mirror_submit(s.m), 1);
	assert_int_equal(uring_mirror_reap(s.m, &done, NULL), 1);
	assert_ptr_equal(done, &b);
	assert_int_equal(b.result, 1);
	assert_int_equal(*(char *)uring_mirror_buffer(s.m, 1), 'N');
	assert_true(uring_mirror_cached(s.w, (unsigned long)s.at));
	assert_int_equal(write(s.pipe[1], "dead", 4), 4);
	assert_int_equal(uring_mirror_reap(s.m, &done, NULL), 1);
	assert_ptr_equal(done, &a);
	assert_int_equal(a.result, -ESTALE);
	assert_memory_equal(s.at, "NNNN", 4);
	tear_down(&s);
}

/* Dropped by the owner: from then on nobody would say what becomes of the page. */
static void dropped_meanwhile(void **state)
{
	struct uring_access a, *done;
	struct scene s;

	set_up_slots(&s, 8);
	launch_write(&s, &a);
	uring_mirror_drop(s.w, (unsigned long)s.at, 1);
	assert_int_equal(write(s.pipe[1], "gone", 4), 4);
	assert_int_equal(uring_mirror_reap(s.m, &done, NULL), 1);
	assert_int_equal(a.result, -ESTALE);
	tear_down(&s);
}

/* Hence the mirror itself, when it makes room, leaves alone what is in use. */
static void in_use_is_not_evicted(void **state)
{
	static const struct timespec now = {0, 0};
	struct uring_access a, b, *done;
	struct scene s;

	set_up_slots(&s, 1);
	launch_write(&s, &a);
	b = (struct uring_access){
		.window = s.w, .addr = (unsigned long)s.at + PAGE, .len = 1, .index = 1};
	assert_int_equal(uring_mirror_prep(s.m, &b, &now), -EAGAIN);
	assert_int_equal(test_stats(s.m).evicted, 0);
	assert_int_equal(write(s.pipe[1], "here", 4), 4);
	assert_int_equal(uring_mirror_reap(s.m, &done, NULL), 1);
	assert_int_equal(a.result, 4);
	assert_int_equal(test_read(s.m, s.w, s.at + PAGE), 'B');
	assert_int_equal(test_stats(s.m).evicted, 1);
	tear_down(&s);
}

static void fill_pipe(int fd)
{
	static const char junk[PAGE];

	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	while (write(fd, junk, sizeof(junk)) > 0)
		;
	assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
}

static void read_overtaken(void **state)
{
	struct uring_access a, *done;
	struct scene s;
	char drain[PAGE];

	set_up_slots(&s, 8);
	fill_pipe(s.pipe[1]);
	a = (struct uring_access){.window = s.w,
				  .addr = (unsigned long)s.at,
				  .len = 4,
				  .flags = URING_AT_FD,
				  .fd = s.pipe[1]};
	assert_int_equal(uring_mirror_prep(s.m, &a, NULL), 0);
	assert_int_equal(uring_mirror_submit(s.m), 1);
	test_remap(s.mm, s.at, 1, 'N');
	assert_int_equal(read(s.pipe[0], drain, PAGE), PAGE);
	assert_int_equal(uring_mirror_reap(s.m, &done, NULL), 1);
	assert_int_equal(a.result, -ESTALE);
	assert_int_equal(test_stats(s.m).raced, 0);
	assert_int_equal(test_read(s.m, s.w, s.at), 'N');
	tear_down(&s);
}

/* A dying slot is not given to another page while a request holds it. */
static void slot_waits_for_its_tag(void **state)
{
	struct uring_access a, b, *done;
	struct scene s;

	set_up_slots(&s, 1);
	launch_write(&s, &a);
	test_remap(s.mm, s.at, 1, 'N');
	assert_int_equal(test_stats(s.m).pinned, 1);
	b = (struct uring_access){
		.window = s.w, .addr = (unsigned long)s.at + PAGE, .len = 1, .index = 1};
	assert_int_equal(uring_mirror_prep(s.m, &b, NULL), -EAGAIN);
	assert_int_equal(test_stats(s.m).pinned, 1);
	assert_int_equal(write(s.pipe[1], "dead", 4), 4);
	assert_int_equal(uring_mirror_reap(s.m, &done, NULL), 1);
	assert_int_equal(a.result, -ESTALE);
	assert_int_equal(test_read(s.m, s.w, s.at + PAGE), 'B');
	tear_down(&s);
}

static void busy_window(void **state)
{
	struct uring_access a, *done;
	struct scene s;

	set_up_slots(&s, 8);
	launch_write(&s, &a);
	assert_int_equal(uring_mirror_unwatch(s.w), -EBUSY);
	assert_int_equal(write(s.pipe[1], "here", 4), 4);
	assert_int_equal(uring_mirror_reap(s.m, &done, NULL), 1);
	assert_int_equal(a.result, 4);
	assert_int_equal(uring_mirror_unwatch(s.w), 0);
	tear_down(&s);
}

/* ---- a range that is not blockable */

static int start_nonblock(struct scene *s, struct mmu_notifier_range *range)
{
	mmu_notifier_range_init(range, MMU_NOTIFY_CLEAR, 0, s->mm, (unsigned long)s->at,
				(unsigned long)s->at + PAGE);
	return mmu_notifier_invalidate_range_start_nonblock(range);
}

static void *start_nonblock_thread(void *arg)
{
	struct mmu_notifier_range range;
	int ret = start_nonblock(arg, &range);

	if (!ret)
		mmu_notifier_invalidate_range_end(&range);
	return (void *)(intptr_t)ret;
}

static void nonblock_refused_under_the_lock(void **state)
{
	pthread_t thread;
	struct scene s;
	void *answer;

	set_up_slots(&s, 8);
	assert_int_equal(test_read(s.m, s.w, s.at), 'A');
	hmmu_mirror_lock(s.w->table);
	assert_int_equal(pthread_create(&thread, NULL, start_nonblock_thread, &s), 0);
	pthread_join(thread, &answer); /* it cannot have waited for us */
	hmmu_mirror_unlock(s.w->table);
	assert_int_equal((int)(intptr_t)answer, -EAGAIN);
	assert_int_equal(test_stats(s.m).busy, 1);
	assert_int_equal(test_stats(s.m).zapped, 0);
	/* Nothing is open: a reader neither waits nor loses what it has. */
	assert_true(uring_mirror_cached(s.w, (unsigned long)s.at));
	assert_int_equal(test_read(s.m, s.w, s.at), 'A');
	assert_int_equal(test_stats(s.m).misses, 1);
	tear_down(&s);
}

/* It only marks: the slot is out of the shadow at once and emptied by the owner. */
static void nonblock_marks_and_the_owner_empties(void **state)
{
	struct mmu_notifier_range range;
	struct scene s;

	set_up_slots(&s, 8);
	assert_int_equal(test_read(s.m, s.w, s.at), 'A');
	assert_int_equal(start_nonblock(&s, &range), 0);
	assert_false(uring_mirror_cached(s.w, (unsigned long)s.at));
	assert_int_equal(atomic_load(&s.m->nr_dead), 1);
	assert_int_equal(test_stats(s.m).pinned, 1);
	madvise(s.at, PAGE, MADV_DONTNEED);
	s.at[0] = 'N';
	mmu_notifier_invalidate_range_end(&range);
	assert_int_equal(test_read(s.m, s.w, s.at), 'N');
	assert_int_equal(atomic_load(&s.m->nr_dead), 0);
	test_settle(s.m, 1);
	/* The next blockable callback does it as well. */
	assert_int_equal(start_nonblock(&s, &range), 0);
	mmu_notifier_invalidate_range_end(&range);
	assert_int_equal(atomic_load(&s.m->nr_dead), 1);
	test_remap(s.mm, s.at + PAGE, 1, 'Q');
	assert_int_equal(atomic_load(&s.m->nr_dead), 0);
	test_settle(s.m, 0);
	tear_down(&s);
}

/* ---- the end */

static void close_cancels(void **state)
{
	struct uring_access a[3];
	struct scene s;

	set_up_slots(&s, 8);
	launch_write(&s, &a[0]);
	launch_write(&s, &a[1]);
	a[2] = a[1];
	assert_int_equal(uring_mirror_prep(s.m, &a[2], NULL), 0); /* never submitted */
	tear_down(&s);
	for (int i = 0; i < 3; i++)
		assert_int_equal(a[i].result, -ECANCELED);
}

static void nothing_is_left(void **state)
{
	unsigned int fds = test_open_fds();
	unsigned long pinned = test_pinned_kb();
	struct uring_access a;
	struct scene s;

	for (int i = 0; i < 20; i++) {
		set_up_slots(&s, 8);
		assert_int_equal(test_read(s.m, s.w, s.at + PAGE), 'B');
		launch_write(&s, &a);
		assert_int_equal(test_pinned_kb(), pinned + 8);
		if (i % 2) /* and a page that only the request holds */
			test_remap(s.mm, s.at, 1, 'N');
		tear_down(&s);
		assert_int_equal(a.result, -ECANCELED);
		assert_int_equal(test_open_fds(), fds);
		assert_int_equal(test_pinned_kb(), pinned);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(write_overtaken),
		cmocka_unit_test(write_overtaken_unchecked_is_a_lie),
		cmocka_unit_test(write_not_overtaken),
		cmocka_unit_test(write_beside_an_open_change),
		cmocka_unit_test(pinned_again_meanwhile),
		cmocka_unit_test(dropped_meanwhile),
		cmocka_unit_test(in_use_is_not_evicted),
		cmocka_unit_test(read_overtaken),
		cmocka_unit_test(slot_waits_for_its_tag),
		cmocka_unit_test(busy_window),
		cmocka_unit_test(nonblock_refused_under_the_lock),
		cmocka_unit_test(nonblock_marks_and_the_owner_empties),
		cmocka_unit_test(close_cancels),
		cmocka_unit_test(nothing_is_left),
	};

	if (uring_refused())
		return SKIP;
	return cmocka_run_group_tests_name("uring in flight", tests, NULL, NULL);
}
