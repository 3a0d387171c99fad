// SPDX-License-Identifier: MIT
/*
 * test_meet.c - who meets whom: changes between the steps of a journey, each forced by a gate
 * or inside a callback of the driver.
 */
#include "meet.h"

#include <sys/syscall.h>

/* ---- a change between setup and pages ---------------------------------- */

static struct trip *between_setup_and_pages(struct world *w, void (*change)(void *))
{
	struct trip *t = trip_new(&w->dev, w->p, N, MIGRATE_VMA_SELECT_SYSTEM);

	trip_setup(t);
	must(trip_alloc(t) == N);
	change(w);
	trip_pages(t);
	return t;
}

ISOLATED(setup_then_unmap)
{
	struct world *w = world();

	must(trip_finalize(between_setup_and_pages(w, libc_unmap)) == 0);
	none_away(w);
	world_end(w);
}

ISOLATED(setup_then_raw_unmap)
{
	struct world *w = world();

	must(trip_finalize(between_setup_and_pages(w, raw_unmap)) == 0);
	none_away(w);
	world_end(w);
}

ISOLATED(setup_then_replaced)
{
	struct world *w = world();

	trip_finalize(between_setup_and_pages(w, raw_replace));
	must(pages_are(w->p, N, 8));
	none_away(w);
	world_end(w);
}

ISOLATED(setup_then_protect)
{
	struct world *w = world();

	trip_finalize(between_setup_and_pages(w, libc_protect));
	must(pages_are(w->p, N, 1));
	world_end(w);
}

ISOLATED(setup_then_drop)
{
	struct world *w = world();

	trip_finalize(between_setup_and_pages(w, raw_drop_and_fill));
	must(pages_are(w->p, N, 8));
	none_away(w);
	world_end(w);
}

ISOLATED(setup_then_move)
{
	struct world *w = world();

	must(trip_finalize(between_setup_and_pages(w, raw_move)) == 0);
	net_quiet();
	must(pages_are(FAR(w), N, 1));
	none_away(w);
	world_end(w);
}

ISOLATED(setup_then_fork)
{
	struct world *w = world();

	trip_finalize(between_setup_and_pages(w, child_reads));
	must(pages_are(w->p, N, 1));
	none_away(w);
	world_end(w);
}

/* It is over: they leave after all, as they are now. */
ISOLATED(setup_then_drop_over)
{
	struct world *w = world();
	struct trip *t = trip_new(&w->dev, w->p, N, MIGRATE_VMA_SELECT_SYSTEM);

	trip_setup(t);
	must(trip_alloc(t) == N);
	libc_drop(w);
	fill_pages(w->p, N, 8);
	net_quiet();
	trip_pages(t);
	must(trip_finalize(t) == N);
	must(pages_are(w->p, N, 8));
	none_away(w);
	world_end(w);
}

/* A change is under way when the pages are to leave: it has called everybody already. */
static void protected_by_explicit_bracket(struct world *w)
{
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, hmmu_devmem->mm,
				(unsigned long)w->p, (unsigned long)w->p + N * PAGE);
	must(mmu_notifier_invalidate_range_start(&range) == 0);
	dev_release(DM_GATE_CLAIM);
	runner_join(&w->s);
	/* Here it changes: nothing may be away. Planted: DM_NO_RETRY. */
	must(dev_stat(&w->dev).resident == 0);
	mmu_notifier_invalidate_range_end(&range);
}

ISOLATED(claim_inside_a_change)
{
	struct world *w = world();

	dev_hold(DM_GATE_CLAIM, w->p);
	runner_start(&w->s, go_out, w);
	dev_reached(DM_GATE_CLAIM);
	protected_by_explicit_bracket(w);
	must(pages_are(w->p, N, 1));
	none_away(w);
	world_end(w);
}

/* ---- a change between pages and finalize: it waits ---------------------- */

static void waits_for_finalize(struct world *w, void (*change)(void *))
{
	w->t = trip_new(&w->dev, w->p, N, MIGRATE_VMA_SELECT_SYSTEM);
	trip_setup(w->t);
	must(trip_alloc(w->t) == N);
	trip_pages(w->t);
	runner_start(&w->r, change, w);
	must(runner_blocked(&w->r));
	for (size_t i = 0; i < N; i++)
		must(*(uint64_t *)(migrate_pfn_to_pfn(w->t->dst[i]) * PAGE) == page_word(1, i));
	must(trip_finalize(w->t) == N);
	runner_join(&w->r);
	none_away(w);
}

ISOLATED(pages_then_unmap)
{
	struct world *w = world();

	waits_for_finalize(w, libc_unmap);
	world_end(w);
}

ISOLATED(pages_then_protect)
{
	struct world *w = world();

	waits_for_finalize(w, libc_protect);
	must(pages_are(w->p, N, 1));
	must(dev_stat(&w->dev).brought == N);
	world_end(w);
}

ISOLATED(pages_then_drop)
{
	struct world *w = world();

	waits_for_finalize(w, libc_drop);
	must(pages_zero(w->p, N));
	world_end(w);
}

ISOLATED(pages_then_fork)
{
	struct world *w = world();

	waits_for_finalize(w, child_reads);
	must(pages_are(w->p, N, 1));
	world_end(w);
}

/* Raw: it does not wait. What was there is gone. */
static void pages_then(struct world *w, void (*change)(void *))
{
	w->t = trip_new(&w->dev, w->p, N, MIGRATE_VMA_SELECT_SYSTEM);
	trip_setup(w->t);
	must(trip_alloc(w->t) == N);
	trip_pages(w->t);
	runner_start(&w->r, change, w);
	runner_join(&w->r);
	net_quiet();
	trip_finalize(w->t);
}

ISOLATED(pages_then_raw_unmap)
{
	struct world *w = world();

	pages_then(w, raw_unmap);
	none_away(w);
	world_end(w);
}

ISOLATED(pages_then_raw_replaced)
{
	struct world *w = world();

	pages_then(w, raw_replace);
	must(pages_are(w->p, N, 8));
	none_away(w);
	world_end(w);
}

ISOLATED(pages_then_raw_drop)
{
	struct world *w = world();

	pages_then(w, raw_drop_and_fill);
	must(pages_are(w->p, N, 8));
	none_away(w);
	world_end(w);
}

ISOLATED(pages_then_raw_move)
{
	struct world *w = world();

	pages_then(w, raw_move);
	/* Home by finalize: nobody subscribes to where they are. */
	must(dev_stat(&w->dev).used == 0);
	must(pages_are(FAR(w), N, 1));
	none_away(w);
	world_end(w);
}

/* ---- raw changes between the claim and the move, out --------------------- */

static void before_leave(struct world *w, void (*change)(void *))
{
	dev_hold(DM_GATE_LEAVE, w->p);
	runner_start(&w->s, go_out, w);
	dev_reached(DM_GATE_LEAVE);
	runner_start(&w->r, change, w);
	/* It may wait for the migration (a touch), or not. */
	runner_blocked(&w->r);
	dev_release(DM_GATE_LEAVE);
	runner_join(&w->s);
	runner_join(&w->r);
	net_quiet();
}

ISOLATED(leaving_then_raw_replaced)
{
	struct world *w = world();

	before_leave(w, raw_replace);
	must(pages_are(w->p, N, 8));
	none_away(w);
	world_end(w);
}

ISOLATED(leaving_then_raw_drop)
{
	struct world *w = world();

	before_leave(w, raw_drop_and_fill);
	must(pages_are(w->p, N, 8));
	none_away(w);
	must(dev_out(&w->dev, w->p, N) == N && pages_are(w->p, N, 8));
	world_end(w);
}

ISOLATED(leaving_then_raw_move)
{
	struct world *w = world();
	uint64_t slots = 0;

	before_leave(w, raw_move);
	/* No slot is said to hold a page of what was given back. */
	for (size_t i = 0; i < N; i++)
		slots += dev_at(&w->dev, FAR(w) + i * PAGE) != NULL;
	must(slots == dev_stat(&w->dev).used);
	must(pages_are(FAR(w), N, 1));
	none_away(w);
	/* And they leave from there. */
	must(dev_out(&w->dev, FAR(w), N) == N && pages_are(FAR(w), N, 1));
	world_end(w);
}

ISOLATED(leaving_then_raw_move_keeping)
{
	struct world *w = world();

	before_leave(w, raw_move_keeping);
	for (size_t i = 0; i < N; i++) {
		char *at = dev_at(&w->dev, FAR(w) + i * PAGE);

		must(!at || *(uint64_t *)at == page_word(1, i));
	}
	must(pages_are(FAR(w), N, 1) && pages_zero(w->p, N));
	none_away(w);
	world_end(w);
}

/* ---- what the kernel moved, and did not say (move.c) ---------------------- */

static char *slot(struct world *w, size_t i)
{
	return (char *)(migrate_pfn_to_pfn(w->t->dst[i]) * PAGE);
}

static void kernel_moves(char *to, char *from, size_t pages)
{
	long ret;

	must(dm_move((uint64_t)to, (uint64_t)from, pages, &ret) == pages);
}

ISOLATED(leaving_moved_unsaid)
{
	struct world *w = world();

	dev_hold(DM_GATE_LEAVE, w->p);
	runner_start(&w->s, go_out, w);
	dev_reached(DM_GATE_LEAVE);
	kernel_moves(slot(w, 4), w->p + 4 * PAGE, 5);
	kernel_moves(slot(w, 15), w->p + 15 * PAGE, 1);
	dev_release(DM_GATE_LEAVE);
	runner_join(&w->s);
	for (size_t i = 0; i < N; i++)
		must(away_is(&w->dev, w->p, i, 1));
	must(dev_stat(&w->dev).moved_out == N);
	must(pages_are(w->p, N, 1));
	none_away(w);
	world_end(w);
}

/* What is there is not the page's content. */
ISOLATED(leaving_into_a_full_slot)
{
	struct world *w = world();

	dev_hold(DM_GATE_LEAVE, w->p);
	runner_start(&w->s, go_out, w);
	dev_reached(DM_GATE_LEAVE);
	memset(slot(w, 4), 0x55, 5 * PAGE);
	dev_release(DM_GATE_LEAVE);
	runner_join(&w->s);
	for (size_t i = 0; i < N; i++)
		must(away_is(&w->dev, w->p, i, 1));
	must(pages_are(w->p, N, 1));
	none_away(w);
	world_end(w);
}

ISOLATED(coming_moved_unsaid)
{
	struct world *w = world();
	struct hmmu_devmem_stats stats;
	char *at;

	must(dev_out(&w->dev, w->p, N) == N);
	at = dev_at(&w->dev, w->p + 4 * PAGE);
	dev_hold(DM_GATE_BRING, w->p);
	runner_start(&w->s, go_home, w);
	dev_reached(DM_GATE_BRING);
	kernel_moves(w->p + 4 * PAGE, at, 5);
	dev_release(DM_GATE_BRING);
	runner_join(&w->s);
	must(pages_are(w->p, N, 1));
	stats = dev_stat(&w->dev);
	must(stats.moved_back == N && stats.dropped == 0);
	none_away(w);
	world_end(w);
}

/* ---- raw changes between the claim and the move, home -------------------- */

static void before_bring(struct world *w, void (*change)(void *))
{
	must(dev_out(&w->dev, w->p, N) == N);
	dev_hold(DM_GATE_BRING, w->p);
	runner_start(&w->s, go_home, w);
	dev_reached(DM_GATE_BRING);
	runner_start(&w->r, change, w);
	runner_blocked(&w->r);
	dev_release(DM_GATE_BRING);
	runner_join(&w->s);
	runner_join(&w->r);
	net_quiet();
}

ISOLATED(coming_then_raw_unmap)
{
	struct world *w = world();

	before_bring(w, raw_unmap);
	none_away(w);
	world_end(w);
}

ISOLATED(coming_then_raw_replaced)
{
	struct world *w = world();

	before_bring(w, raw_replace);
	must(pages_are(w->p, N, 8));
	none_away(w);
	world_end(w);
}

/* Old content does not come back. */
ISOLATED(coming_then_raw_drop)
{
	struct world *w = world();

	before_bring(w, raw_drop);
	must(pages_zero(w->p, N));
	none_away(w);
	world_end(w);
}

ISOLATED(coming_then_raw_drop_and_fill)
{
	struct world *w = world();

	before_bring(w, raw_drop_and_fill);
	must(pages_are(w->p, N, 8));
	none_away(w);
	world_end(w);
}

ISOLATED(coming_then_raw_move)
{
	struct world *w = world();
	char *q = raw_mmap(w->p + 256 * PAGE, 2 * N * PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1,
			   0);

	fill_pages(q, 2 * N, 4); /* in the arena's first slots, among others */
	must(dev_out(&w->dev, q, 2 * N) == 2 * N);
	before_bring(w, raw_move);
	must(pages_are(FAR(w), N, 1));
	must(pages_are(q, 2 * N, 4));
	none_away(w);
	world_end(w);
}

/* ---- after a raw mremap(), before anybody has brought home what went along - */

static void moved_then(struct world *w, void (*change)(void *))
{
	must(dev_out(&w->dev, w->p, N) == N);
	net_hold(UFFD_GATE_DISPATCH, w->p);
	raw_move(w);
	net_reached(UFFD_GATE_DISPATCH);
	w->p = FAR(w);
	runner_start(&w->r, change, w);
	/* It may wait for the dispatcher, or not. */
	runner_blocked(&w->r);
	net_release(UFFD_GATE_DISPATCH);
	runner_join(&w->r);
	net_quiet();
}

static void libc_move(void *arg)
{
	struct world *w = arg;

	must(mremap(w->p, N * PAGE, N * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, FAR(w)) == FAR(w));
	w->p = FAR(w);
}

ISOLATED(moved_then_libc_move)
{
	struct world *w = world();

	moved_then(w, libc_move);
	must(pages_are(w->p, N, 1));
	none_away(w);
	world_end(w);
}

static void libc_replace(void *arg)
{
	struct world *w = arg;

	must(munmap(w->p, N * PAGE) == 0);
	must(mmap(w->p, N * PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0) == w->p);
	must(pages_zero(w->p, N));
}

ISOLATED(moved_then_libc_replace)
{
	struct world *w = world();

	moved_then(w, libc_replace);
	must(pages_zero(w->p, N));
	none_away(w);
	world_end(w);
}

/* ---- after the move, before the words ----------------------------------- */

/* What came has been dropped and is touched again, before its journey is over. */
static void after_came(struct world *w, void (*change)(void *))
{
	must(dev_out(&w->dev, w->p, N) == N);
	dev_hold(DM_GATE_CAME, w->p);
	runner_start(&w->s, go_home, w);
	dev_reached(DM_GATE_CAME);
	runner_start(&w->r, change, w);
	runner_blocked(&w->r);
	dev_release(DM_GATE_CAME);
	runner_join(&w->s);
	runner_join(&w->r); /* hangs if nobody wakes it */
	net_quiet();
}

ISOLATED(came_then_raw_drop_and_fill)
{
	struct world *w = world();

	after_came(w, raw_drop_and_fill);
	must(pages_are(w->p, N, 8));
	none_away(w);
	world_end(w);
}

ISOLATED(came_then_raw_move)
{
	struct world *w = world();

	after_came(w, raw_move);
	must(pages_are(FAR(w), N, 1));
	none_away(w);
	world_end(w);
}

ISOLATED(came_then_raw_replaced)
{
	struct world *w = world();

	after_came(w, raw_replace);
	must(pages_are(w->p, N, 8));
	none_away(w);
	world_end(w);
}

/* ---- given back while pages are away ---------------------------------------- */

static struct watch other;

static void remove_other(void *arg)
{
	(void)arg;
	watch_remove(&other);
}

/* Nobody wants a mapping any more; what a raw mremap() brings there meanwhile must stay
 * registered. Planted: DM_UNREGISTERED. */
ISOLATED(moved_where_given_back)
{
	struct world *w = world();
	char *q = FAR(w);

	raw_mmap(q, N * PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);
	watch_add(&other, w->mm, q, N * PAGE);
	watch_begin(&other);
	must(dev_out(&w->dev, w->p, N) == N);
	net_hold(UFFD_GATE_DISARM, q);
	runner_start(&w->s, remove_other, NULL);
	while (!runner_done(&w->s) && !runner_blocked(&w->s))
		;
	must(raw_munmap(q, N * PAGE) == 0);
	net_hold(UFFD_GATE_DISPATCH, w->p);
	raw_move(w);
	net_release(UFFD_GATE_DISARM);
	runner_join(&w->s);
	must(pages_are(q, N, 1));
	net_release(UFFD_GATE_DISPATCH);
	net_quiet();
	none_away(w);
	world_end(w);
}

/* ---- a libc fork right after a raw mremap() -------------------------------- */

/* The dispatcher has not brought home yet what went along: fork() does. Planted: DM_NO_STRAYS.
 */
ISOLATED(moved_then_fork)
{
	struct world *w = world();

	must(dev_out(&w->dev, w->p, N) == N);
	net_hold(UFFD_GATE_DISPATCH, w->p);
	raw_move(w);
	net_reached(UFFD_GATE_DISPATCH);
	w->p = FAR(w);
	child_reads(w);
	w->p -= 64 * PAGE;
	net_release(UFFD_GATE_DISPATCH);
	net_quiet();
	must(pages_are(FAR(w), N, 1));
	none_away(w);
	world_end(w);
}

/* ---- inside the reader ------------------------------------------------------ */

/* While it reads nothing changes that is bracketed: threads are made before. */
static sem_t reading, read_on, move_now;

static void fork_when_told(void *arg)
{
	while (sem_wait(&move_now))
		;
	child_reads(arg);
}

/* It has read of the move, whose caller goes on, and nothing has been taken along yet: a
 * change that follows waits for it. */
ISOLATED(taken_then_fork)
{
	struct world *w = world();

	must(dev_out(&w->dev, w->p, N) == N);
	sem_init(&move_now, 0, 0);
	runner_start(&w->r, fork_when_told, w);
	must(runner_blocked(&w->r));
	dev_hold(DM_GATE_TAKE, w->p);
	raw_move_keeping(w); /* one event: of the others the caller waits for the second */
	dev_reached(DM_GATE_TAKE);
	w->p = FAR(w);
	sem_post(&move_now);
	must(runner_blocked(&w->r));
	dev_release(DM_GATE_TAKE);
	runner_join(&w->r);
	net_quiet();
	must(pages_are(w->p, N, 1));
	none_away(w);
	world_end(w);
}

/* It has read that they are dropped, and has dropped the first: the others do not go home. */

static void revoke_stop(struct dev *d, unsigned long addr, enum mmu_notifier_event why)
{
	d->on_revoke = NULL;
	sem_post(&reading);
	while (sem_wait(&read_on))
		;
}

static void pages_when_told(void *arg)
{
	struct world *w = arg;

	while (sem_wait(&move_now))
		;
	trip_pages(w->t);
}

ISOLATED(dropping_then_home)
{
	struct world *w = world();

	must(dev_out(&w->dev, w->p, N) == N);
	sem_init(&reading, 0, 0);
	sem_init(&read_on, 0, 0);
	sem_init(&move_now, 0, 0);
	w->t = trip_new(&w->dev, w->p, N, MIGRATE_VMA_SELECT_DEVICE_PRIVATE);
	trip_setup(w->t);
	must(trip_alloc(w->t) == N);
	runner_start(&w->s, pages_when_told, w);
	w->dev.on_revoke = revoke_stop;
	runner_start(&w->r, raw_drop, w);
	while (sem_wait(&reading))
		;
	while (!runner_done(&w->r)) /* dropped; no thread ends before the reader goes on */
		usleep(50);
	sem_post(&move_now);
	must(runner_blocked(&w->s));
	sem_post(&read_on);
	runner_join(&w->s);
	runner_join(&w->r);
	trip_finalize(w->t);
	net_quiet();
	must(pages_zero(w->p, N));
	none_away(w);
	must(dev_stat(&w->dev).dropped == N);
	world_end(w);
}

/* ---- a change that nobody has read: nothing moves --------------------------- */

static void hold_the_reader(struct world *w)
{
	net_hold(UFFD_GATE_POLLED, NULL);
	runner_start(&w->s, drop_page, w->p + 8 * PAGE);
	net_reached(UFFD_GATE_POLLED);
	must(runner_blocked(&w->s));
}

static void let_it_read(struct world *w)
{
	net_release(UFFD_GATE_POLLED);
	runner_join(&w->s);
	net_quiet();
}

ISOLATED_FOR(out_while_unread, 60) /* ten thousand sleeps */
{
	struct world *w = world();
	struct trip *t = trip_new(&w->dev, w->p, 1, MIGRATE_VMA_SELECT_SYSTEM);

	trip_setup(t);
	must(trip_alloc(t) == 1);
	hold_the_reader(w);
	trip_pages(t);
	must(trip_finalize(t) == 0);
	must(dev_stat(&w->dev).refused == 1 && dev_stat(&w->dev).used == 0);
	let_it_read(w);
	must(pages_are(w->p, 8, 1));
	must(dev_out(&w->dev, w->p, 1) == 1 && pages_are(w->p, 1, 1));
	world_end(w);
}

ISOLATED(home_while_unread)
{
	struct world *w = world();
	struct trip *t = trip_new(&w->dev, w->p, 4, MIGRATE_VMA_SELECT_DEVICE_PRIVATE);

	must(dev_out(&w->dev, w->p, 4) == 4);
	trip_setup(t);
	must(trip_alloc(t) == 4);
	hold_the_reader(w);
	trip_pages(t);
	must(trip_finalize(t) == 0);
	for (size_t i = 0; i < 4; i++)
		must(away_is(&w->dev, w->p, i, 1));
	let_it_read(w);
	must(pages_are(w->p, 8, 1));
	none_away(w);
	world_end(w);
}

/* The touch is read first: it is asked again. */
ISOLATED(touch_while_unread)
{
	struct world *w = world();

	must(dev_out(&w->dev, w->p, 1) == 1);
	hold_the_reader(w);
	start_touch(w, 0);
	must(runner_blocked(&w->r));
	let_it_read(w);
	runner_join(&w->r);
	must(touch_saw(w, 1, 0));
	none_away(w);
	must(w->dev.revoked >= 2 && dev_stat(&w->dev).touched == 1);
	world_end(w);
}

/* ---- signals wait until the end of a journey --------------------------------- */

static bool blocks_signals(const struct runner *r)
{
	unsigned long blocked = 0;
	char path[64], line[256];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", r->tid);
	file = fopen(path, "r");
	must(file != NULL);
	while (fgets(line, sizeof(line), file))
		if (!strncmp(line, "SigBlk:", 7))
			blocked = strtoul(line + 7, NULL, 16);
	fclose(file);
	return blocked & 1UL << (SIGUSR1 - 1);
}

static void blocks_at(struct world *w, enum dm_gate gate, void (*journey)(void *))
{
	dev_hold(gate, w->p);
	runner_start(&w->s, journey, w);
	dev_reached(gate);
	must(blocks_signals(&w->s));
	dev_release(gate);
	runner_join(&w->s);
}

ISOLATED(signals_wait)
{
	struct world *w = world();
	sigset_t set;

	blocks_at(w, DM_GATE_LEAVE, go_out);
	blocks_at(w, DM_GATE_BRING, go_home);
	must(dev_out(&w->dev, w->p, N) == N);
	blocks_at(w, DM_GATE_BRING, libc_protect);
	must(mprotect(w->p, N * PAGE, RW) == 0);
	must(dev_out(&w->dev, w->p, N) == N && dev_home(&w->dev, w->p, N / 2) == N / 2);
	must(mprotect(w->p, N * PAGE, PROT_READ) == 0);
	must(pthread_sigmask(SIG_BLOCK, NULL, &set) == 0 && !sigismember(&set, SIGUSR1));
	must(pages_are(w->p, N, 1));
	none_away(w);
	world_end(w);
}

/* ---- lives ----------------------------------------------------------------- */

/* close() while the reader gives a slot back. */
static void close_it(void *arg)
{
	struct world *w = arg;
	int ret;

	while ((ret = hmmu_devmem_close(w->dev.map)) == -EBUSY)
		usleep(100);
	must(ret == 0);
}

ISOLATED(close_while_a_slot_is_freed)
{
	struct world *w = world();

	must(dev_out(&w->dev, w->p, 1) == 1);
	dev_hold(DM_GATE_PUT, NULL);
	start_touch(w, 0);
	dev_reached(DM_GATE_PUT);
	runner_join(&w->r);
	runner_start(&w->s, close_it, w);
	must(runner_pending(&w->s) && w->dev.map->base);
	dev_release(DM_GATE_PUT);
	runner_join(&w->s);
	must(pages_are(w->p, N, 1));
	net_close(w->mm);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(setup_then_unmap),
		cmocka_unit_test(setup_then_raw_unmap),
		cmocka_unit_test(setup_then_replaced),
		cmocka_unit_test(setup_then_protect),
		cmocka_unit_test(setup_then_drop),
		cmocka_unit_test(setup_then_move),
		cmocka_unit_test(setup_then_fork),
		cmocka_unit_test(setup_then_drop_over),
		cmocka_unit_test(claim_inside_a_change),
		cmocka_unit_test(pages_then_unmap),
		cmocka_unit_test(pages_then_protect),
		cmocka_unit_test(pages_then_drop),
		cmocka_unit_test(pages_then_fork),
		cmocka_unit_test(pages_then_raw_unmap),
		cmocka_unit_test(pages_then_raw_replaced),
		cmocka_unit_test(pages_then_raw_drop),
		cmocka_unit_test(pages_then_raw_move),
		cmocka_unit_test(leaving_then_raw_replaced),
		cmocka_unit_test(leaving_then_raw_drop),
		cmocka_unit_test(leaving_then_raw_move),
		cmocka_unit_test(leaving_then_raw_move_keeping),
		cmocka_unit_test(leaving_moved_unsaid),
		cmocka_unit_test(leaving_into_a_full_slot),
		cmocka_unit_test(coming_moved_unsaid),
		cmocka_unit_test(coming_then_raw_unmap),
		cmocka_unit_test(coming_then_raw_replaced),
		cmocka_unit_test(coming_then_raw_drop),
		cmocka_unit_test(coming_then_raw_drop_and_fill),
		cmocka_unit_test(coming_then_raw_move),
		cmocka_unit_test(moved_then_libc_move),
		cmocka_unit_test(moved_then_libc_replace),
		cmocka_unit_test(came_then_raw_drop_and_fill),
		cmocka_unit_test(came_then_raw_move),
		cmocka_unit_test(came_then_raw_replaced),
		cmocka_unit_test(moved_where_given_back),
		cmocka_unit_test(moved_then_fork),
		cmocka_unit_test(taken_then_fork),
		cmocka_unit_test(dropping_then_home),
		cmocka_unit_test(out_while_unread),
		cmocka_unit_test(home_while_unread),
		cmocka_unit_test(touch_while_unread),
		cmocka_unit_test(signals_wait),
		cmocka_unit_test(close_while_a_slot_is_freed),
	};

	dev_init(argc, argv);
	return cmocka_run_group_tests_name("devmem-meet", tests, NULL, NULL);
}
