// SPDX-License-Identifier: MIT
/*
 * test_locked.c - mlocked pages leave, and come home, whoever locks and unlocks meanwhile.
 *
 * Where a page is moved nothing stays in its slot; where it is copied its slot keeps a page.
 * That is how the tests know which it was.
 */
#include "locked.h"

#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>

/* ---- out, and home by every way ---------------------------------------- */

static struct locked_world *world_away(void)
{
	struct locked_world *w = locked_world();

	lock(w->p, N);
	must(dev_out(&w->dev, w->p, N) == N);
	must(away(w, 1) == N && slots_locked(w) == N);
	return w;
}

ISOLATED(out_and_home)
{
	struct locked_world *w = world_away();

	must(locks == 1);
	must(dev_home(&w->dev, w->p, N) == N);
	must(pages_are(w->p, N, 1) && is_locked(w->p));
	must(unlocks == 1);
	moved_not_copied(w);
	/* By a touch: the others stay locked, on the device as at home. */
	must(dev_out(&w->dev, w->p, N) == N);
	must(pages_are(w->p, 4, 1) && away(w, 1) == N - 4);
	dev_settle(&w->dev);
	must(unlocks == 1 && slots_locked(w) == N);
	moved_not_copied(w);
	must(pages_are(w->p, N, 1));
	moved_not_copied(w);
	/* By a change. */
	must(dev_out(&w->dev, w->p, N) == N);
	must(mprotect(w->p, N * PAGE, PROT_READ) == 0);
	must(pages_are(w->p, N, 1) && dev_stat(&w->dev).brought == N);
	moved_not_copied(w);
	must(dev_stat(&w->dev).refused == 0);
	locked_world_end(w);
}

/* Empty pages of memory that is locked when it is there. */
ISOLATED(empty_ones)
{
	struct locked_world *w = locked_world();
	char *p = raw_mmap(NULL, N * PAGE, RW, ANON, -1, 0);

	lock_on_fault(p, N);
	fill_pages(p, N / 2, 1);
	must(dev_out(&w->dev, p, N) == N);
	must(slots_locked(w) == N);
	must(pages_zero(dev_at(&w->dev, p + N / 2 * PAGE), N / 2));
	must(pages_are(p, N / 2, 1) && pages_zero(p + N / 2 * PAGE, N / 2));
	moved_not_copied(w);
	locked_world_end(w);
}

/* A transparent huge page; and runs longer than a word of the bitmap. */
ISOLATED(huge)
{
	struct locked_world *w = locked_world_of(1024);
	char *raw = raw_mmap(NULL, 4UL << 20, RW, ANON, -1, 0);
	char *p = (char *)(((unsigned long)raw + (2UL << 20) - 1) & -(2UL << 20));

	must(raw_madvise(p, 2UL << 20, MADV_HUGEPAGE) == 0);
	fill_pages(p, 512, 1);
	lock(p, 512);
	must(dev_out(&w->dev, p, 512) == 512 && slots_locked(w) == 512);
	for (size_t i = 0; i < 512; i++)
		must(away_is(&w->dev, p, i, 1));
	must(pages_are(p, 100, 1));
	unlock(p, 200);
	must(dev_home(&w->dev, p, 512) == 412);
	must(pages_are(p, 512, 1));
	moved_not_copied(w);
	locked_world_end(w);
}

/* Its own for the device; the slots of memory that is not locked are not, either. */
ISOLATED(exclusive)
{
	struct locked_world *w = locked_world();
	unsigned long pfns[N];

	lock(w->p + 4 * PAGE, 4);
	must(make_device_exclusive_range(w->dev.map, (unsigned long)w->p,
					 (unsigned long)w->p + N * PAGE, pfns) == N);
	must(away(w, 1) == N && slots_locked(w) == 4);
	must(pages_are(w->p, N, 1));
	moved_not_copied(w);
	locked_world_end(w);
}

/* What a device has written into a slot that was free, and locked. */
ISOLATED(dirty_slots)
{
	struct locked_world *w = world_away();

	must(dev_home(&w->dev, w->p, N / 2) == N / 2);
	must(slots_locked(w) == N);
	for (size_t i = 0; i < ARENA; i++)
		if (!hmmu_load_acquire(&w->dev.map->holds[i]))
			memset(slot(w, i), 0x55, PAGE);
	out_of_full_slots(w);
	must(pages_are(w->p, N, 1));
	locked_world_end(w);
}

/* ... and between the look and the move. */
ISOLATED(dirtied_meanwhile)
{
	struct locked_world *w = locked_world();
	struct trip *t = trip_new(&w->dev, w->p, N, MIGRATE_VMA_SELECT_SYSTEM);

	lock(w->p, N);
	trip_setup(t);
	must(trip_alloc(t) == N);
	dev_hold(DM_GATE_LEAVE, w->p);
	runner_start(&w->r, (void (*)(void *))trip_pages, t);
	dev_reached(DM_GATE_LEAVE);
	lock_on_fault(slot(w, 0), ARENA);
	memset(slot(w, 0), 0x55, ARENA * PAGE);
	dev_release(DM_GATE_LEAVE);
	runner_join(&w->r);
	must(trip_finalize(t) == N);
	must(away(w, 1) == N);
	unlock(slot(w, 0), ARENA);
	must(pages_are(w->p, N, 1));
	locked_world_end(w);
}

/* ---- home is unlocked, or locked, while pages are away ------------------ */

ISOLATED(unlocked_while_away)
{
	struct locked_world *w = world_away();

	unlock(w->p, N);
	must(pages_are(w->p, 4, 1)); /* a touch each */
	moved_not_copied(w);
	must(slots_locked(w) == N - 4);
	must(dev_home(&w->dev, w->p, 8) == 4);
	must(pages_are(w->p, 8, 1));
	moved_not_copied(w);
	must(munmap(w->p + 8 * PAGE, 4 * PAGE) == 0);
	must(pages_are(w->p + 12 * PAGE, 0, 1));
	must(mprotect(w->p + 12 * PAGE, 4 * PAGE, PROT_READ) == 0);
	for (size_t i = 12; i < N; i++)
		must(*(volatile uint64_t *)(w->p + i * PAGE) == page_word(1, i));
	moved_not_copied(w);
	must(unlocks == 0); /* none was left to be unlocked */
	locked_world_end(w);
}

ISOLATED(locked_while_away)
{
	struct locked_world *w = locked_world();

	must(dev_out(&w->dev, w->p, N) == N && slots_locked(w) == 0);
	lock(w->p, 4); /* touches */
	must(dev_at(&w->dev, w->p + 3 * PAGE) == NULL);
	must(pages_are(w->p, 4, 1));
	moved_not_copied(w);
	lock_on_fault(w->p + 4 * PAGE, N - 4);
	must(away(w, 1) == N - 4);
	must(pages_are(w->p, 6, 1));
	moved_not_copied(w);
	dev_settle(&w->dev);
	hmmu_store_seqcst(&locks, 0);
	must(dev_home(&w->dev, w->p, N) == N - 6);
	must(hmmu_load_seqcst(&locks) == 1); /* a run */
	must(pages_are(w->p, N, 1));
	moved_not_copied(w);
	locked_world_end(w);
}

/* A run of both kinds, each where it does not fit. */
ISOLATED(half_each)
{
	struct locked_world *w = locked_world();

	lock(w->p, N / 2);
	must(dev_out(&w->dev, w->p, N) == N && slots_locked(w) == N / 2);
	unlock(w->p, N / 2);
	lock_on_fault(w->p + N / 2 * PAGE, N / 2);
	must(dev_home(&w->dev, w->p, N) == N);
	must(pages_are(w->p, N, 1));
	moved_not_copied(w);
	locked_world_end(w);
}

/* Between the look at the mappings and the way out. */
ISOLATED(changed_in_between)
{
	struct locked_world *w = locked_world();
	struct trip *t = trip_new(&w->dev, w->p, N, MIGRATE_VMA_SELECT_SYSTEM);

	trip_setup(t);
	must(trip_alloc(t) == N);
	for (size_t i = 0; i < N; i += 2)
		lock(w->p + i * PAGE, 1);
	trip_pages(t);
	must(trip_finalize(t) == N);
	must(away(w, 1) == N && slots_locked(w) == N / 2);
	unlock(w->p, N);
	lock_on_fault(w->p, N);
	must(dev_home(&w->dev, w->p, N) == N);
	must(pages_are(w->p, N, 1));
	moved_not_copied(w);
	locked_world_end(w);
}

/* Home is unlocked after it was looked at, before its slots are locked. */
static void out_overtaken(size_t pages)
{
	struct locked_world *w = locked_world();
	struct trip *t = trip_new(&w->dev, w->p, pages, MIGRATE_VMA_SELECT_SYSTEM);

	lock(w->p, N);
	trip_setup(t);
	must(trip_alloc(t) == pages);
	dev_hold(DM_GATE_LOCK, NULL);
	runner_start(&w->r, (void (*)(void *))trip_pages, t);
	dev_reached(DM_GATE_LOCK);
	unlock(w->p, N);
	dev_release(DM_GATE_LOCK);
	runner_join(&w->r);
	must(trip_finalize(t) == pages);
	must(away(w, 1) == pages && slots_locked(w) == 0);
	must(pages_are(w->p, N, 1));
	locked_world_end(w);
}

ISOLATED(out_overtaken_many)
{
	out_overtaken(N);
}

ISOLATED(out_overtaken_one)
{
	out_overtaken(1);
}

static void go_home(void *arg)
{
	struct locked_world *w = arg;

	must(dev_home(&w->dev, w->p, N) == N);
}

/* The same on the way home. */
ISOLATED(home_overtaken)
{
	struct locked_world *w = locked_world();

	must(dev_out(&w->dev, w->p, N) == N);
	lock_on_fault(w->p, N);
	dev_hold(DM_GATE_LOCK, NULL);
	runner_start(&w->r, go_home, w);
	dev_reached(DM_GATE_LOCK);
	unlock(w->p, N);
	dev_release(DM_GATE_LOCK);
	runner_join(&w->r);
	must(pages_are(w->p, N, 1));
	moved_not_copied(w);
	locked_world_end(w);
}

static void lock_all(void *arg)
{
	struct locked_world *w = arg;

	lock(w->p, N);
}

/* mlock() touches: it waits for finalize, as every touch. */
ISOLATED(locked_between_pages_and_finalize)
{
	struct locked_world *w = locked_world();
	struct trip *t = trip_new(&w->dev, w->p, N, MIGRATE_VMA_SELECT_SYSTEM);

	trip_setup(t);
	must(trip_alloc(t) == N);
	trip_pages(t);
	runner_start(&w->r, lock_all, w);
	must(runner_blocked(&w->r));
	must(trip_finalize(t) == N);
	runner_join(&w->r);
	must(pages_are(w->p, N, 1) && is_locked(w->p));
	moved_not_copied(w);
	must(dev_stat(&w->dev).touched == N);
	locked_world_end(w);
}

/* Read-only, and locked: a copy, which fits into either. */
ISOLATED(read_only)
{
	struct locked_world *w = world_away();

	must(hmmu_syscall(SYS_mprotect, w->p, N * PAGE, PROT_READ) == 0);
	must(pages_are(w->p, 4, 1));
	unlock(w->p, N);
	must(pages_are(w->p, 8, 1));
	must(dev_home(&w->dev, w->p, N) == N - 8);
	must(pages_are(w->p, N, 1));
	/* The kernel fills what is locked when it becomes writable, without waiting. */
	must(hmmu_syscall(SYS_mprotect, w->p, N * PAGE, RW) == 0);
	lock(w->p, N);
	out_of_full_slots(w);
	must(hmmu_syscall(SYS_mprotect, w->p, N * PAGE, PROT_READ) == 0);
	must(hmmu_syscall(SYS_mprotect, w->p, N * PAGE, RW) == 0);
	must(pages_are(w->p, N, 1));
	locked_world_end(w);
}

/* ---- changes ------------------------------------------------------------ */

ISOLATED(changes_raw)
{
	struct locked_world *w = world_away();
	char *far = w->p + 64 * PAGE;

	must(raw_munmap(w->p, 4 * PAGE) == 0);
	must(raw_madvise(w->p + 4 * PAGE, 4 * PAGE, MADV_DONTNEED_LOCKED) == 0);
	dev_settle(&w->dev);
	must(dev_stat(&w->dev).dropped == 8);
	must(raw_mremap(w->p + 8 * PAGE, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
			far) == far);
	for (size_t i = 0; i < 8; i++)
		must(*(volatile uint64_t *)(far + i * PAGE) == page_word(1, i + 8));
	must(is_locked(far));
	must(pages_zero(w->p + 4 * PAGE, 4));
	locked_world_end(w);
}

ISOLATED(changes_libc)
{
	struct locked_world *w = world_away();
	char *far = w->p + 64 * PAGE;
	int status;
	pid_t pid;

	must(munmap(w->p, 4 * PAGE) == 0);
	must(mremap(w->p + 8 * PAGE, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, far) ==
	     far);
	for (size_t i = 0; i < 8; i++)
		must(*(volatile uint64_t *)(far + i * PAGE) == page_word(1, i + 8));
	must(dev_out(&w->dev, far, 8) == 8);
	pid = fork();
	if (!pid) {
		alarm(10);
		for (size_t i = 0; i < 8; i++)
			if (*(volatile uint64_t *)(far + i * PAGE) != page_word(1, i + 8))
				_exit(1);
		_exit(0);
	}
	must(waitpid(pid, &status, 0) == pid && status == 0);
	must(munmap(far, 8 * PAGE) == 0);
	must(munmap(w->p + 4 * PAGE, 4 * PAGE) == 0);
	moved_not_copied(w);
	locked_world_end(w);
}

/* ---- slots ---------------------------------------------------------------- */

/* One that was locked, for a page that is not. */
ISOLATED(next_user_is_not_locked)
{
	struct locked_world *w = world_away();
	char *p = raw_mmap(NULL, N * PAGE, RW, ANON, -1, 0);
	unsigned long other[ARENA];
	size_t n = 0;

	fill_pages(p, N, 2);
	must(dev_home(&w->dev, w->p + PAGE, N - 1) == N - 1);
	must(slots_locked(w) == N); /* for the sake of one */
	for (unsigned long pfn; (pfn = hmmu_devmem_alloc(w->dev.map)) != 0;)
		other[n++] = pfn;
	must(n == ARENA - 1);
	for (size_t i = 0; i < n; i++)
		if (is_locked((char *)(other[i] * PAGE))) {
			hmmu_devmem_free(w->dev.map, other[i]);
			other[i] = 0;
		}
	must(dev_out(&w->dev, p, N) == N - 1);
	must(slots_locked(w) == 1);
	for (size_t i = 0; i < N - 1; i++)
		must(away_is(&w->dev, p, i, 2));
	must(pages_are(p, N, 2) && pages_are(w->p, N, 1));
	moved_not_copied(w);
	for (size_t i = 0; i < n; i++)
		hmmu_devmem_free(w->dev.map, other[i]);
	locked_world_end(w);
}

/* All slots are the test's; page @page and its neighbours go to @slot and its. */
static size_t out_to(struct locked_world *w, size_t page, size_t pages, size_t slot)
{
	struct trip *t =
		trip_new(&w->dev, w->p + page * PAGE, pages, MIGRATE_VMA_SELECT_SYSTEM);

	dev_settle(&w->dev);
	while (hmmu_devmem_alloc(w->dev.map))
		;
	trip_setup(t);
	for (size_t i = 0; i < pages; i++)
		t->dst[i] = migrate_pfn(w->dev.map->base / PAGE + slot + i);
	trip_pages(t);
	return trip_finalize(t);
}

static void free_all(struct locked_world *w)
{
	for (size_t i = 0; i < w->dev.map->nslots; i++)
		hmmu_devmem_free(w->dev.map, w->dev.map->base / PAGE + i);
}

/* Locked already: nothing to be done; some of a run: one call. */
ISOLATED(next_user_is_locked)
{
	struct locked_world *w = locked_world_of(8);

	lock(w->p, N);
	must(out_to(w, 0, 2, 3) == 2 && locks == 1);
	must(dev_home(&w->dev, w->p, 1) == 1);
	must(slots_locked(w) == 2); /* 4 is used */
	must(out_to(w, 2, 1, 3) == 1 && locks == 1);
	must(dev_home(&w->dev, w->p + 2 * PAGE, 1) == 1);
	must(out_to(w, 5, 3, 1) == 3 && locks == 2);
	must(slots_locked(w) == 4 && away(w, 1) == 4);
	must(pages_are(w->p, N, 1));
	moved_not_copied(w);
	free_all(w);
	locked_world_end(w);
}

static void pages_of(void *arg)
{
	struct locked_world *w = arg;

	trip_pages(w->t);
}

static void first_home(void *arg)
{
	struct locked_world *w = arg;

	must(dev_home(&w->dev, w->p, 1) == 1);
}

/* locked.c's picture: a slot is unlocked by who has freed it, and locked by its next user. */
ISOLATED(freed_while_locked)
{
	struct locked_world *w = locked_world_of(2);

	lock(w->p, N);
	must(dev_out(&w->dev, w->p, 1) == 1 && slots_locked(w) == 1);
	w->t = trip_new(&w->dev, w->p + PAGE, 2, MIGRATE_VMA_SELECT_SYSTEM);
	trip_setup(w->t);
	dev_hold(DM_GATE_UNLOCK, NULL);
	runner_start(&w->r, first_home, w);
	dev_reached(DM_GATE_UNLOCK);
	must(trip_alloc(w->t) == 2); /* the slot is free */
	dev_hold(DM_GATE_LOCK, NULL);
	runner_start(&w->s, pages_of, w);
	dev_reached(DM_GATE_LOCK);
	dev_release(DM_GATE_UNLOCK);
	runner_join(&w->r);
	dev_release(DM_GATE_LOCK);
	runner_join(&w->s);
	must(trip_finalize(w->t) == 2 && slots_locked(w) == 2);
	must(dev_home(&w->dev, w->p, 3) == 2);
	must(pages_are(w->p, N, 1));
	must(slots_locked(w) == 0);
	moved_not_copied(w);
	locked_world_end(w);
}

/* ... and its next user is in it when it is unlocked. */
ISOLATED(unlocked_while_used)
{
	struct locked_world *w = locked_world_of(1);

	lock(w->p, N);
	must(dev_out(&w->dev, w->p, 1) == 1);
	w->t = trip_new(&w->dev, w->p + PAGE, 1, MIGRATE_VMA_SELECT_SYSTEM);
	trip_setup(w->t);
	dev_hold(DM_GATE_UNLOCK, NULL);
	runner_start(&w->r, first_home, w);
	dev_reached(DM_GATE_UNLOCK);
	must(trip_alloc(w->t) == 1);
	trip_pages(w->t);
	must(trip_finalize(w->t) == 1 && slots_locked(w) == 1);
	dev_release(DM_GATE_UNLOCK);
	runner_join(&w->r);
	must(slots_locked(w) == 0 && away_is(&w->dev, w->p, 1, 1));
	must(pages_are(w->p, N, 1));
	moved_not_copied(w);
	locked_world_end(w);
}

/* Locked for a page that stays after all: unlocked with the slot. */
ISOLATED(locked_for_nothing)
{
	struct locked_world *w = locked_world();
	struct trip *t = trip_new(&w->dev, w->p, 1, MIGRATE_VMA_SELECT_SYSTEM);

	lock(w->p, N);
	trip_setup(t);
	must(trip_alloc(t) == 1);
	must(hmmu_syscall(SYS_mprotect, w->p, N * PAGE, PROT_READ) == 0);
	trip_pages(t);
	must(slots_locked(w) == 1 && slots_held(w) == 0);
	must(trip_finalize(t) == 0);
	must(slots_locked(w) == 0);
	must(pages_are(w->p, N, 1));
	locked_world_end(w);
}

/* The rest of the arena is used, and what was apart becomes one mapping again. */
ISOLATED(one_mapping_again)
{
	struct locked_world *w = locked_world();
	char *p = raw_mmap(NULL, 2 * N * PAGE, RW, ANON, -1, 0);

	fill_pages(p, 2 * N, 2);
	lock(w->p, N);
	must(out_to(w, 0, N, 64) == N);
	free_all(w);
	must(arena_mappings(w) == 3);
	must(dev_out(&w->dev, p, N) == N);
	must(dev_out(&w->dev, p + N * PAGE, N) == N);
	must(pages_are(w->p, N, 1));
	dev_settle(&w->dev);
	must(arena_mappings(w) == 1);
	must(pages_are(p, 2 * N, 2));
	locked_world_end(w);
}

/* ---- mlockall() ------------------------------------------------------------ */

/* Its arena is not filled, nor locked. */
ISOLATED(all_in_future)
{
	struct locked_world *w;
	char *p;

	must(mlockall(MCL_FUTURE) == 0);
	w = locked_world();
	must(is_locked(w->p));
	must(slots_locked(w) == 0 && slots_held(w) == 0);
	must(dev_out(&w->dev, w->p, N) == N && slots_locked(w) == N);
	p = raw_mmap(NULL, N * PAGE, RW, ANON, -1, 0);
	fill_pages(p, N, 2);
	must(dev_out(&w->dev, p, N) == N && slots_locked(w) == 2 * N);
	must(munlockall() == 0);
	must(pages_are(w->p, N, 1));
	must(dev_home(&w->dev, p, N) == N && pages_are(p, N, 2));
	moved_not_copied(w);
	locked_world_end(w);
}

/* It fills and locks an arena that is there. */
ISOLATED(all_that_is_there)
{
	struct locked_world *w = locked_world();

	must(dev_out(&w->dev, w->p, N) == N);
	must(mlockall(MCL_CURRENT) == 0);
	must(dev_stat(&w->dev).resident == 0 && pages_are(w->p, N, 1));
	must(slots_locked(w) == ARENA && slots_held(w) == ARENA);
	out_of_full_slots(w);
	must(pages_are(w->p, 4, 1));
	unlock(w->p, N);
	must(pages_are(w->p, 8, 1));
	must(munlockall() == 0);
	must(pages_are(w->p, N, 1));
	out_of_full_slots(w);
	must(slots_locked(w) == 0 && pages_are(w->p, N, 1));
	locked_world_end(w);
}

ISOLATED(all_on_fault)
{
	struct locked_world *w = locked_world();

	must(dev_out(&w->dev, w->p, N) == N);
	must(mlockall(MCL_CURRENT | MCL_ONFAULT) == 0);
	must(away(w, 1) == N && slots_locked(w) == ARENA);
	must(pages_are(w->p, 4, 1));
	must(munlockall() == 0);
	must(dev_home(&w->dev, w->p, N) == N - 4);
	must(pages_are(w->p, N, 1));
	moved_not_copied(w);
	locked_world_end(w);
}

/* ---- limits ---------------------------------------------------------------- */

static void limit_to(size_t pages)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[2];
	struct rlimit limit;

	must(syscall(SYS_capget, &header, caps) == 0);
	caps[0].effective &= ~(1U << CAP_IPC_LOCK);
	must(syscall(SYS_capset, &header, caps) == 0);
	must(getrlimit(RLIMIT_MEMLOCK, &limit) == 0);
	limit.rlim_cur = pages * PAGE;
	must(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
}

/* As many leave as may be locked; what has come home counts no more. */
ISOLATED(too_many)
{
	struct locked_world *w;

	limit_to(N + 4);
	w = locked_world();
	lock(w->p, N);
	for (unsigned int round = 1; round <= 3; round++) {
		must(dev_out(&w->dev, w->p, N) == 4);
		must(away(w, 1) == 4 && slots_locked(w) == 4);
		must(dev_stat(&w->dev).refused == round * (N - 4));
		must(pages_are(w->p, N, 1));
		dev_settle(&w->dev);
		must(slots_locked(w) == 0);
	}
	moved_not_copied(w);
	locked_world_end(w);
}

/* What stays is the CPU's, and its slot free again. */
ISOLATED(too_many_exclusive)
{
	unsigned long pfns[N];
	struct locked_world *w;

	limit_to(4);
	w = locked_world();
	lock(w->p + 4 * PAGE, 4);
	must(make_device_exclusive_range(w->dev.map, (unsigned long)w->p,
					 (unsigned long)w->p + N * PAGE, pfns) == N - 4);
	for (size_t i = 0; i < N; i++)
		must(!pfns[i] == (i >= 4 && i < 8));
	must(dev_stat(&w->dev).used == N - 4);
	must(pages_are(w->p, N, 1));
	locked_world_end(w);
}

/* Home may be locked, and nothing else: by a copy. */
ISOLATED(too_many_to_come)
{
	struct locked_world *w;

	limit_to(N);
	w = locked_world();
	must(dev_out(&w->dev, w->p, N) == N);
	lock(w->p, N / 2);
	moved_not_copied(w); /* nor is its slot locked still */
	lock_on_fault(w->p, N);
	must(dev_stat(&w->dev).resident == N / 2);
	must(dev_home(&w->dev, w->p + N / 2 * PAGE, 3) == 3);
	must(pages_are(w->p, N, 1));
	dev_settle(&w->dev);
	must(slots_locked(w) == 0 && slots_held(w) == N / 2);
	locked_world_end(w);
}

#define MOST 1000000UL /* mappings */

/* No mapping can be torn apart any more. */
static char *fill_maps(size_t *bytes)
{
	char *p;

	*bytes = 2 * MOST * PAGE;
	p = raw_mmap(NULL, *bytes, PROT_NONE, ANON | MAP_NORESERVE, -1, 0);
	for (size_t i = 1; i < 2 * MOST; i += 2)
		if (hmmu_syscall(SYS_mprotect, p + i * PAGE, PAGE, PROT_READ))
			return p;
	_exit(77); /* who has so many is not to be waited for */
}

/* Out: it stays. */
ISOLATED_FOR(no_more_mappings, 60)
{
	struct locked_world *w = locked_world();
	struct trip *t = trip_new(&w->dev, w->p, N, MIGRATE_VMA_SELECT_SYSTEM);
	struct hmmu_devmem_stats s;
	size_t bytes;
	char *full;

	lock(w->p, N);
	trip_setup(t);
	must(trip_alloc(t) == N);
	full = fill_maps(&bytes);
	trip_pages(t);
	s = dev_stat(&w->dev);
	must(trip_finalize(t) == 0 && s.refused == N);
	must(raw_munmap(full, bytes) == 0);
	must(pages_are(w->p, N, 1) && slots_locked(w) == 0);
	must(dev_out(&w->dev, w->p, N) == N);
	must(pages_are(w->p, N, 1));
	locked_world_end(w);
}

/* Home: by a copy, and its slot is unlocked when that can be. */
ISOLATED_FOR(unlocked_later, 60)
{
	struct locked_world *w = locked_world();
	size_t bytes;
	char *full;

	lock(w->p, N);
	must(out_to(w, 0, 5, 62) == 5);
	unlock(w->p, N);
	full = fill_maps(&bytes);
	must(*(volatile uint64_t *)(w->p + 2 * PAGE) == page_word(1, 2));
	dev_settle(&w->dev);
	must(dev_stat(&w->dev).resident == 4 && slots_locked(w) == 5 && slots_held(w) == 5);
	must(raw_munmap(full, bytes) == 0);
	must(dev_home(&w->dev, w->p, N) == 4);
	must(pages_are(w->p, N, 1));
	must(slots_locked(w) == 0 && slots_held(w) == 1);
	free_all(w);
	locked_world_end(w);
}

/* All of 64 at once: likewise. */
ISOLATED_FOR(freed_unlocked_later, 60)
{
	struct locked_world *w = locked_world();
	size_t bytes;
	char *full;

	must(raw_munmap(w->p, N * PAGE) == 0);
	must(raw_mmap(w->p, 66 * PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0) == w->p);
	fill_pages(w->p, 66, 1);
	lock(w->p, 66);
	must(out_to(w, 0, 66, 63) == 66 && slots_locked(w) == 66);
	full = fill_maps(&bytes);
	for (size_t i = 1; i < 65; i++)
		must(*(volatile uint64_t *)(w->p + i * PAGE) == page_word(1, i));
	dev_settle(&w->dev);
	must(dev_stat(&w->dev).resident == 2 && slots_locked(w) == 66);
	must(raw_munmap(full, bytes) == 0);
	must(dev_home(&w->dev, w->p, 66) == 2);
	must(slots_locked(w) == 64);
	must(out_to(w, 0, 1, 70) == 1); /* whoever is the next there */
	must(pages_are(w->p, 66, 1));
	moved_not_copied(w);
	free_all(w);
	locked_world_end(w);
}

/* ---- all at once ------------------------------------------------------------ */

static uint32_t over;

static uint64_t random_of(uint64_t *seed, uint64_t n)
{
	*seed = *seed * 6364136223846793005UL + 1442695040888963407UL;
	return (*seed >> 33) % n;
}

static void toggle(void *arg)
{
	struct locked_world *w = arg;
	uint64_t seed = 7;

	while (!hmmu_load_seqcst(&over)) {
		uint64_t i = random_of(&seed, N), n = 1 + random_of(&seed, N - i);

		switch (random_of(&seed, 4)) {
		case 0:
			lock(w->p + i * PAGE, n);
			break;
		case 1:
			lock_on_fault(w->p + i * PAGE, n);
			break;
		default:
			unlock(w->p + i * PAGE, n);
		}
	}
}

static void store(void *arg)
{
	struct locked_world *w = arg;
	uint64_t seed = 9, truth[N] = {0};

	while (!hmmu_load_seqcst(&over)) {
		uint64_t i = random_of(&seed, N);
		volatile uint64_t *p = (uint64_t *)(w->p + i * PAGE) + 1;

		must(*p == truth[i]);
		*p = ++truth[i];
	}
}

ISOLATED_FOR(all_at_once, 60)
{
	struct locked_world *w = locked_world();
	size_t went = 0;

	runner_start(&w->r, toggle, w);
	runner_start(&w->s, store, w);
	for (int i = 0; i < 400; i++) {
		went += trip_all(trip_new(&w->dev, w->p, N, MIGRATE_VMA_SELECT_SYSTEM));
		if (i & 1)
			trip_all(trip_new(&w->dev, w->p, N, MIGRATE_VMA_SELECT_DEVICE_PRIVATE));
	}
	hmmu_store_seqcst(&over, 1);
	runner_join(&w->r);
	runner_join(&w->s);
	must(went > 0);
	must(pages_are(w->p, N, 1));
	unlock(w->p, N);
	dev_settle(&w->dev);
	locked_world_end(w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(out_and_home),
		cmocka_unit_test(empty_ones),
		cmocka_unit_test(huge),
		cmocka_unit_test(exclusive),
		cmocka_unit_test(dirty_slots),
		cmocka_unit_test(dirtied_meanwhile),
		cmocka_unit_test(unlocked_while_away),
		cmocka_unit_test(locked_while_away),
		cmocka_unit_test(half_each),
		cmocka_unit_test(changed_in_between),
		cmocka_unit_test(out_overtaken_many),
		cmocka_unit_test(out_overtaken_one),
		cmocka_unit_test(home_overtaken),
		cmocka_unit_test(locked_between_pages_and_finalize),
		cmocka_unit_test(read_only),
		cmocka_unit_test(changes_raw),
		cmocka_unit_test(changes_libc),
		cmocka_unit_test(next_user_is_not_locked),
		cmocka_unit_test(next_user_is_locked),
		cmocka_unit_test(freed_while_locked),
		cmocka_unit_test(unlocked_while_used),
		cmocka_unit_test(locked_for_nothing),
		cmocka_unit_test(one_mapping_again),
		cmocka_unit_test(all_in_future),
		cmocka_unit_test(all_that_is_there),
		cmocka_unit_test(all_on_fault),
		cmocka_unit_test(too_many),
		cmocka_unit_test(too_many_to_come),
		cmocka_unit_test(too_many_exclusive),
		cmocka_unit_test(no_more_mappings),
		cmocka_unit_test(unlocked_later),
		cmocka_unit_test(freed_unlocked_later),
		cmocka_unit_test(all_at_once),
	};

	dev_init(argc, argv);
	return cmocka_run_group_tests_name("devmem-locked", tests, NULL, NULL);
}
