// SPDX-License-Identifier: MIT
/*
 * test_hostile.c - three at once: a journey, a raw change in the middle of it, and somebody who
 * waits for the page; and drivers that break the rules. Nobody waits for ever, and what belongs
 * to others is left alone.
 */
#include "meet.h"

#include <sys/syscall.h>

#define FARTHER(w) ((w)->p + 128 * PAGE)

static void touch_sleeps(struct world *w, char *p)
{
	w->touch = (struct touch){.p = p, .value = 77};
	runner_start(&w->r, touch_read, &w->touch);
	must(runner_blocked(&w->r));
}

static void move_keeping(char *from, char *to, size_t pages)
{
	must(raw_mremap(from, pages * PAGE, pages * PAGE,
			MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to) == to);
}

static void move(char *from, char *to, size_t pages)
{
	must(raw_mremap(from, pages * PAGE, pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) ==
	     to);
}

/* ---- who waits for a page, and the page goes another way ------------------ */

/* The driver brings it home, somebody waits for it, and it is dropped. */
static void while_coming(struct world *w, void (*change)(void *))
{
	must(dev_out(&w->dev, w->p, N) == N);
	dev_hold(DM_GATE_BRING, w->p);
	runner_start(&w->s, go_home, w);
	dev_reached(DM_GATE_BRING);
	touch_sleeps(w, w->p + 5 * PAGE);
	change(w);
	net_quiet();
	dev_release(DM_GATE_BRING);
	runner_join(&w->s);
	runner_join(&w->r); /* hangs if nobody wakes it */
	net_quiet();
}

ISOLATED(awaited_then_dropped)
{
	struct world *w = world();

	while_coming(w, raw_drop);
	must(w->touch.value == 0);
	must(pages_zero(w->p, N));
	world_end(w);
}

ISOLATED(awaited_then_moved)
{
	struct world *w = world();

	while_coming(w, raw_move_keeping);
	must(w->touch.value == 0);
	must(pages_zero(w->p, N));
	must(pages_are(FAR(w), N, 1));
	world_end(w);
}

/* Between pages and finalize. */
static void pages(struct world *w)
{
	w->t = trip_new(&w->dev, w->p, N, MIGRATE_VMA_SELECT_SYSTEM);
	trip_setup(w->t);
	must(trip_alloc(w->t) == N);
	trip_pages(w->t);
}

/* Somebody waits where it was taken to, and it is dropped there. */
ISOLATED(moved_awaited_dropped)
{
	struct world *w = world();

	pages(w);
	move(w->p, FAR(w), N);
	touch_sleeps(w, FAR(w) + 5 * PAGE);
	must(raw_madvise(FAR(w), N * PAGE, MADV_DONTNEED) == 0);
	net_quiet();
	trip_finalize(w->t);
	runner_join(&w->r);
	must(w->touch.value == 0);
	must(pages_zero(FAR(w), N));
	world_end(w);
}

ISOLATED(moved_awaited_moved)
{
	struct world *w = world();

	pages(w);
	move(w->p, FAR(w), N);
	touch_sleeps(w, FAR(w) + 5 * PAGE);
	move_keeping(FAR(w), FARTHER(w), N);
	net_quiet();
	trip_finalize(w->t);
	runner_join(&w->r);
	must(w->touch.value == 0);
	must(pages_zero(FAR(w), N));
	must(pages_are(FARTHER(w), N, 1));
	world_end(w);
}

/* What is not finalized is unmapped, and another's pages that are away come there. */
ISOLATED(gone_then_another_comes)
{
	struct world *w = world();
	char *q = raw_mmap(FAR(w), N * PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);

	fill_pages(q, N, 2);
	must(dev_out(&w->dev, q, N) == N);
	pages(w);
	move(q, w->p, N);
	net_quiet();
	trip_finalize(w->t);
	must(pages_are(w->p, N, 2));
	dev_settle(&w->dev);
	world_end(w);
}

/* ---- changes that no callback of ours was called for ----------------------- */

static struct world *unmapper;

static void unmap_pages(struct watch *w, const struct mmu_notifier_range *range)
{
	(void)range;
	w->hook = NULL;
	must(munmap(unmapper->p, N * PAGE) == 0);
}

/* All of it is gone, and what comes there next is its own. */
static void must_be_gone(struct world *w)
{
	net_quiet();
	must(dev_stat(&w->dev).dropped == N);
	must(w->dev.revoked == N);
	must(raw_mmap(w->p, N * PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0) == w->p);
	must(!dev_at(&w->dev, w->p));
	fill_pages(w->p, N, 8);
	must(dev_out(&w->dev, w->p, N) == N);
	must(pages_are(w->p, N, 8));
	dev_settle(&w->dev);
}

/* A callback, in the dispatcher, unmaps what is away. */
ISOLATED(unmapped_by_the_dispatcher)
{
	struct world *w = unmapper = world();
	static struct watch watch;
	char *x = raw_mmap(FAR(w), PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);

	watch_add(&watch, w->mm, x, PAGE);
	watch_begin(&watch);
	watch.hook = unmap_pages;
	watch.no_lock = true;
	must(dev_out(&w->dev, w->p, N) == N);
	must(raw_munmap(x, PAGE) == 0);
	net_quiet();
	must(!watch.hook);
	must_be_gone(w);
	watch_remove(&watch);
	world_end(w);
}

/* As a signal handler does that interrupted a thread inside a lock of ours. */
static void inside_a_lock(struct world *w)
{
	hmmu_tls.held = w->mm;
}

ISOLATED(unmapped_inside_a_lock)
{
	struct world *w = world();

	must(dev_out(&w->dev, w->p, N) == N);
	inside_a_lock(w);
	must(munmap(w->p, N * PAGE) == 0);
	hmmu_tls.held = NULL;
	must_be_gone(w);
	world_end(w);
}

ISOLATED(moved_inside_a_lock)
{
	struct world *w = world();

	must(dev_out(&w->dev, w->p, N) == N);
	inside_a_lock(w);
	must(mremap(w->p, N * PAGE, N * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, FAR(w)) == FAR(w));
	hmmu_tls.held = NULL;
	must(pages_are(FAR(w), N, 1));
	dev_settle(&w->dev);
	world_end(w);
}

/* ---- a signal handler, while finalize keeps the reader from reading -------- */

static char *changed;

static void change_something(int number)
{
	(void)number;
	raw_madvise(changed, PAGE, MADV_DONTNEED);
	changed = NULL;
}

static void finalize(void *arg)
{
	struct world *w = arg;

	trip_finalize(w->t);
}

ISOLATED(handler_inside_finalize)
{
	struct world *w = world();
	static struct watch watch;
	struct sigaction act = {.sa_handler = change_something};

	changed = raw_mmap(FAR(w), PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);
	watch_add(&watch, w->mm, changed, PAGE);
	watch_begin(&watch);
	must(sigaction(SIGUSR1, &act, NULL) == 0);
	pages(w);
	dev_hold(DM_GATE_SETTLE, w->p);
	runner_start(&w->r, finalize, w);
	dev_reached(DM_GATE_SETTLE);
	must(pthread_kill(w->r.thread, SIGUSR1) == 0);
	must(runner_blocked(&w->r));
	dev_release(DM_GATE_SETTLE);
	runner_join(&w->r);
	must(!changed);
	watch_remove(&watch);
	must(pages_are(w->p, N, 1));
	dev_settle(&w->dev);
	world_end(w);
}

/* ---- exclusive stays exclusive -------------------------------------------- */

static void alone(struct world *w)
{
	unsigned long pfns[N];

	must(make_device_exclusive_range(w->dev.map, (unsigned long)w->p,
					 (unsigned long)w->p + N * PAGE, pfns) == N);
}

ISOLATED(alone_taken_along)
{
	struct world *w = world();

	alone(w);
	move(w->p, FAR(w), N);
	must(pages_are(FAR(w), N, 1));
	dev_settle(&w->dev);
	must(w->dev.why[MMU_NOTIFY_EXCLUSIVE] == N && !w->dev.why[MMU_NOTIFY_MIGRATE]);
	world_end(w);
}

/* The driver cannot bring them home. */
ISOLATED(alone_and_stays)
{
	struct world *w = world();

	alone(w);
	w->t = trip_new(&w->dev, w->p, N, MIGRATE_VMA_SELECT_DEVICE_PRIVATE);
	trip_setup(w->t);
	must(trip_alloc(w->t) == N);
	must(close(hmmu_uffd->fd) == 0);
	trip_pages(w->t);
	must(trip_finalize(w->t) == 0);
	must(pages_are(w->p, N, 1));
	dev_settle(&w->dev);
	must(w->dev.why[MMU_NOTIFY_EXCLUSIVE] == N && w->dev.revoked == N);
	must(hmmu_devmem_close(w->dev.map) == 0);
	net_close(w->mm);
}

/* ---- drivers that break the rules ------------------------------------------ */

/* An entry of src is taken back before alloc_for: no entry past the end. */
ISOLATED(entry_taken_back)
{
	struct world *w = world();
	char *arrays = raw_mmap(NULL, 2 * PAGE, RW, ANON, -1, 0);

	must(hmmu_syscall(SYS_mprotect, arrays + PAGE, PAGE, PROT_NONE) == 0);
	w->t = trip_new(&w->dev, w->p, N, MIGRATE_VMA_SELECT_SYSTEM);
	w->t->args.src = (unsigned long *)(arrays + PAGE) - N;
	trip_setup(w->t);
	w->t->args.src[3] &= ~MIGRATE_PFN_MIGRATE;
	must(hmmu_devmem_alloc_for(&w->t->args) == N - 1);
	must(!w->t->dst[3]);
	/* Those that have a page keep it. */
	must(hmmu_devmem_alloc_for(&w->t->args) == 0);
	must(dev_stat(&w->dev).used == N - 1);
	migrate_vma_pages(&w->t->args);
	hmmu_devmem_free_rest(&w->t->args);
	migrate_vma_finalize(&w->t->args);
	must(dev_stat(&w->dev).resident == N - 1);
	must(pages_are(w->p, N, 1));
	dev_settle(&w->dev);
	world_end(w);
}

/* A page that is somebody's is not given back. */
ISOLATED(freed_in_use)
{
	struct world *w = world();
	unsigned long pfn, got;

	must(dev_out(&w->dev, w->p, N) == N);
	pfn = (unsigned long)dev_at(&w->dev, w->p) / PAGE;
	hmmu_devmem_free(w->dev.map, pfn);
	while ((got = hmmu_devmem_alloc(w->dev.map)) != 0)
		must(got != pfn);
	must(pages_are(w->p, N, 1));
	dev_close(&w->dev);
	net_close(w->mm);
}

/* Nor given to another. */
ISOLATED(given_twice)
{
	struct world *w = world();
	char *q = raw_mmap(FAR(w), N * PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);

	fill_pages(q, N, 2);
	must(dev_out(&w->dev, w->p, N) == N);
	w->t = trip_new(&w->dev, q, N, MIGRATE_VMA_SELECT_SYSTEM);
	trip_setup(w->t);
	w->t->dst[3] = migrate_pfn((unsigned long)dev_at(&w->dev, w->p + 5 * PAGE) / PAGE);
	trip_pages(w->t);
	must(!(w->t->src[3] & MIGRATE_PFN_MIGRATE));
	migrate_vma_finalize(&w->t->args);
	must(pages_are(q, N, 2));
	must(pages_are(w->p, N, 1));
	dev_settle(&w->dev);
	world_end(w);
}

/* A forked child goes on with its parent's migration. */
ISOLATED(child_goes_on)
{
	struct world *w = world();

	for (int out = 0; out < 2; out++) {
		int status = -1;
		pid_t pid;

		if (!out)
			must(dev_out(&w->dev, w->p, N) == N);
		w->t = trip_new(&w->dev, w->p, N,
				out ? MIGRATE_VMA_SELECT_SYSTEM
				    : MIGRATE_VMA_SELECT_DEVICE_PRIVATE);
		trip_setup(w->t);
		must(trip_alloc(w->t) == N);
		pid = fork();
		if (!pid) {
			alarm(10);
			hmmu_devmem_alloc_for(&w->t->args);
			migrate_vma_pages(&w->t->args);
			for (size_t i = 0; i < N; i++)
				if (w->t->src[i] & MIGRATE_PFN_MIGRATE)
					_exit(2);
			hmmu_devmem_free_rest(&w->t->args);
			migrate_vma_finalize(&w->t->args);
			_exit(pages_are(w->p, N, 1) ? 0 : 1);
		}
		must(waitpid(pid, &status, 0) == pid && status == 0);
		trip_pages(w->t);
		trip_finalize(w->t);
		must(pages_are(w->p, N, 1));
	}
	dev_settle(&w->dev);
	world_end(w);
}

/* ---- what the kernel moved and did not say, against a raw mremap() --------- */

ISOLATED(moved_unsaid_then_raw_move)
{
	struct world *w = world();
	long ret;

	dev_hold(DM_GATE_LEAVE, w->p);
	dev_hold(DM_GATE_SOME, NULL);
	runner_start(&w->s, go_out, w);
	dev_reached(DM_GATE_LEAVE);
	must(dm_move(migrate_pfn_to_pfn(w->t->dst[4]) * PAGE, (uint64_t)w->p + 4 * PAGE, 5,
		     &ret) == 5);
	dev_release(DM_GATE_LEAVE);
	dev_reached(DM_GATE_SOME);
	move(w->p, FAR(w), N);
	dev_release(DM_GATE_SOME);
	runner_join(&w->s);
	must(pages_are(FAR(w), N, 1));
	dev_settle(&w->dev);
	world_end(w);
}

/* ---- there and back, and there again, before the dispatcher has come so far - */

static void move_there(void *arg)
{
	struct world *w = arg;

	move(w->p, FAR(w), N);
}

/* It gives back the registration of where something was moved to, and has left again. What has
 * come there since must be told of. */
ISOLATED(there_back_and_there)
{
	struct world *w = world();

	must(dev_out(&w->dev, w->p, N) == N);
	net_hold(UFFD_GATE_DISPATCH, w->p);
	net_hold(UFFD_GATE_DISPATCHED, w->p);
	move(w->p, FAR(w), N);
	net_reached(UFFD_GATE_DISPATCH);
	move(FAR(w), w->p, N);
	net_hold(UFFD_GATE_POLLED, NULL);
	runner_start(&w->r, move_there, w);
	net_reached(UFFD_GATE_POLLED); /* it has moved, and nobody has read of it */
	net_release(UFFD_GATE_DISPATCH);
	net_reached(UFFD_GATE_DISPATCHED);
	net_release(UFFD_GATE_POLLED);
	runner_join(&w->r);
	must(pages_are(FAR(w), N, 1));
	net_release(UFFD_GATE_DISPATCHED);
	dev_settle(&w->dev);
	world_end(w);
}

/* ---- more who wait than the reader remembers, and a change that is not read -- */

#define MANY (2 * UFFD_TOUCHES)

static void drop_far(void *arg)
{
	struct world *w = arg;

	must(raw_madvise(FAR(w), PAGE, MADV_DONTNEED) == 0);
}

/* read() tells of touches first: they are not to come again and again before the change. */
ISOLATED(many_wait_for_a_change)
{
	struct world *w = world();
	static struct runner many[MANY];
	static struct touch touch[MANY];
	static struct watch watch;
	static struct dev d;
	char *q =
		raw_mmap(net_place(32768), MANY * PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);

	raw_mmap(FAR(w), PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);
	watch_add(&watch, w->mm, FAR(w), PAGE);
	watch_begin(&watch);
	fill_pages(q, MANY, 3);
	dev_open(&d, w->mm, MANY, &d);
	must(dev_out(&d, q, MANY) == MANY);
	net_hold(UFFD_GATE_POLLED, NULL);
	runner_start(&w->r, drop_far, w);
	net_reached(UFFD_GATE_POLLED);
	must(runner_blocked(&w->r));
	for (size_t i = 0; i < MANY; i++) {
		touch[i] = (struct touch){.p = q + i * PAGE, .value = 77};
		runner_start(&many[i], touch_read, &touch[i]);
	}
	for (size_t i = 0; i < MANY; i++)
		must(runner_blocked(&many[i]));
	net_release(UFFD_GATE_POLLED);
	runner_join(&w->r);
	for (size_t i = 0; i < MANY; i++)
		runner_join(&many[i]);
	must(pages_are(q, MANY, 3));
	watch_remove(&watch);
	dev_settle(&d);
	dev_check(&d);
	dev_close(&d);
	world_end(w);
}

/* ---- a device that knows its pages by their addresses ------------------------ */

static void no_entry_is_left(struct dev *d)
{
	for (size_t i = 0; i < d->pages; i++)
		must(!d->table[i]);
}

/* They go home where they are now: the device is told of where they were. */
ISOLATED(moved_away_from_the_table)
{
	struct world *w = world();

	dev_table(&w->dev, w->p, N);
	must(dev_out(&w->dev, w->p, N) == N);
	net_hold(UFFD_GATE_DISPATCH, w->p);
	move(w->p, FAR(w), N);
	net_reached(UFFD_GATE_DISPATCH);
	must(pages_are(FAR(w), N, 1));
	no_entry_is_left(&w->dev);
	net_release(UFFD_GATE_DISPATCH);
	dev_settle(&w->dev);
	world_end(w);
}

ISOLATED(moved_before_the_table)
{
	struct world *w = world();

	dev_table(&w->dev, w->p, N);
	pages(w);
	move(w->p, FAR(w), N);
	net_quiet();
	must(raw_munmap(FAR(w), PAGE) == 0); /* one of them goes there */
	net_quiet();
	trip_finalize(w->t);
	no_entry_is_left(&w->dev);
	dev_settle(&w->dev);
	world_end(w);
}

/* ---- events for which there was no room ------------------------------------ */

static void child_reads_at(char *p)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		alarm(10);
		_exit(pages_are(p, N, 1) ? 0 : 1);
	}
	must(waitpid(pid, &status, 0) == pid && status == 0);
}

static struct watch watch;

/* The range goes out, then FAR by a raw mremap() whose event finds no room: the dispatcher is
 * held at another's, of which the ring is full. */
static void move_spilled(struct world *w)
{
	char *x = raw_mmap(FARTHER(w), PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);

	watch_add(&watch, w->mm, x, PAGE);
	watch_begin(&watch);
	must(dev_out(&w->dev, w->p, N) == N);
	net_hold(UFFD_GATE_DISPATCH, x);
	for (int i = 0; i < UFFD_RING + 8; i++)
		must(raw_madvise(x, PAGE, MADV_DONTNEED) == 0);
	net_reached(UFFD_GATE_DISPATCH);
	move(w->p, FAR(w), N);
	must(hmmu_load_seqcst(&hmmu_uffd->spilled));
}

static void let_dispatch(struct world *w)
{
	net_release(UFFD_GATE_DISPATCH);
	must(pages_are(FAR(w), N, 1));
	watch_remove(&watch);
	dev_settle(&w->dev);
}

/* Nobody is told that they have come there: the next change brings them home. */
ISOLATED(moved_and_spilled)
{
	struct world *w = world();

	move_spilled(w);
	child_reads_at(FAR(w));
	must(dev_stat(&w->dev).brought == N);
	let_dispatch(w);
	world_end(w);
}

/* What is registered when the last mm closes must not wait for a reader that is gone: a child
 * in which no handler of libc's ran holds the descriptor, so closing it unregisters nothing. */
static void end_with_a_child(struct world *w, char *there)
{
	pid_t pid;

	dev_settle(&w->dev);
	pid = raw_fork();
	if (!pid)
		for (;;)
			hmmu_uffd_pause(100000000);
	world_end(w);
	must(raw_munmap(there, N * PAGE) == 0);
	must(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
}

ISOLATED(spilled_then_closed)
{
	struct world *w = world();

	move_spilled(w);
	let_dispatch(w);
	end_with_a_child(w, FAR(w));
}

/* No room to note where a mapping has moved. */
ISOLATED(unnoted_then_closed)
{
	struct world *w = world();

	must(dev_out(&w->dev, w->p, N) == N);
	hmmu_lock(&hmmu_uffd->lock);
	for (uint64_t at = PAGE; hmmu_uffd->nextents < UFFD_EXTENTS - 1; at += 2 * PAGE)
		hmmu_extents_add(hmmu_uffd, at, at + PAGE);
	hmmu_unlock(&hmmu_uffd->lock);
	move(w->p, FAR(w), N);
	must(pages_are(FAR(w), N, 1));
	end_with_a_child(w, FAR(w));
}

/* ---- lives ------------------------------------------------------------------ */

static void close_it(void *arg)
{
	struct world *w = arg;

	must(hmmu_devmem_close(w->dev.map) == 0);
}

/* What a raw mremap() took along is not home yet. */
ISOLATED(closed_with_strays)
{
	struct world *w = world();

	must(dev_out(&w->dev, w->p, N) == N);
	net_hold(UFFD_GATE_DISPATCH, w->p);
	move(w->p, FAR(w), N);
	net_reached(UFFD_GATE_DISPATCH);
	runner_start(&w->r, close_it, w);
	runner_pending(&w->r);
	net_release(UFFD_GATE_DISPATCH);
	runner_join(&w->r);
	must(pages_are(FAR(w), N, 1));
	net_close(w->mm);
}

/* ---- where the table of words has a seam -------------------------------------- */

ISOLATED(across_a_leaf)
{
	struct world *w = world();
	char *p = net_place((DM_LEAF_WORDS - N / 2));

	raw_mmap(p, N * PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);
	fill_pages(p, N, 4);
	must(dev_out(&w->dev, p, N) == N);
	must(mprotect(p, N * PAGE, PROT_READ) == 0 && mprotect(p, N * PAGE, RW) == 0);
	must(pages_are(p, N, 4) && dev_stat(&w->dev).brought == N);
	must(dev_out(&w->dev, p, N) == N);
	must(dev_home(&w->dev, p, N) == N);
	must(pages_are(p, N, 4));
	must(dev_out(&w->dev, p, N) == N);
	move(p, p + 32 * PAGE, N);
	move(p + 32 * PAGE, p, N);
	must(pages_are(p, N, 4));
	must(dev_out(&w->dev, p, N) == N);
	must(raw_munmap(p, N * PAGE) == 0);
	dev_settle(&w->dev);
	must(dev_stat(&w->dev).dropped == N);
	world_end(w);
}

/* ---- a hole between setup and pages -------------------------------------------- */

static void hole_after_setup(bool raw)
{
	struct world *w = world();
	char *hole = w->p + 4 * PAGE;

	w->t = trip_new(&w->dev, w->p, N, MIGRATE_VMA_SELECT_SYSTEM);
	trip_setup(w->t);
	must(trip_alloc(w->t) == N);
	must((raw ? raw_munmap(hole, 4 * PAGE) : munmap(hole, 4 * PAGE)) == 0);
	trip_pages(w->t);
	for (size_t i = 4; i < 8; i++)
		must(!(w->t->src[i] & MIGRATE_PFN_MIGRATE));
	trip_finalize(w->t);
	must(pages_are(w->p, 4, 1));
	raw_mmap(hole, 4 * PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);
	fill_pages(w->p, N, 9);
	must(pages_are(w->p, N, 9));
	dev_settle(&w->dev);
	world_end(w);
}

ISOLATED(hole_after_setup_libc)
{
	hole_after_setup(false);
}

ISOLATED(hole_after_setup_raw)
{
	hole_after_setup(true);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(awaited_then_dropped),
		cmocka_unit_test(awaited_then_moved),
		cmocka_unit_test(moved_awaited_dropped),
		cmocka_unit_test(moved_awaited_moved),
		cmocka_unit_test(gone_then_another_comes),
		cmocka_unit_test(unmapped_by_the_dispatcher),
		cmocka_unit_test(unmapped_inside_a_lock),
		cmocka_unit_test(moved_inside_a_lock),
		cmocka_unit_test(handler_inside_finalize),
		cmocka_unit_test(alone_taken_along),
		cmocka_unit_test(alone_and_stays),
		cmocka_unit_test(entry_taken_back),
		cmocka_unit_test(freed_in_use),
		cmocka_unit_test(given_twice),
		cmocka_unit_test(child_goes_on),
		cmocka_unit_test(moved_unsaid_then_raw_move),
		cmocka_unit_test(there_back_and_there),
		cmocka_unit_test(many_wait_for_a_change),
		cmocka_unit_test(moved_away_from_the_table),
		cmocka_unit_test(moved_before_the_table),
		cmocka_unit_test(moved_and_spilled),
		cmocka_unit_test(spilled_then_closed),
		cmocka_unit_test(unnoted_then_closed),
		cmocka_unit_test(closed_with_strays),
		cmocka_unit_test(across_a_leaf),
		cmocka_unit_test(hole_after_setup_libc),
		cmocka_unit_test(hole_after_setup_raw),
	};

	dev_init(argc, argv);
	return cmocka_run_group_tests_name("devmem-hostile", tests, NULL, NULL);
}
