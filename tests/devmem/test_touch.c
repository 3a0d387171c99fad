// SPDX-License-Identifier: MIT
/*
 * test_touch.c - a CPU touches a page, and meets a journey, another touch, a change, or the
 * device that is writing there: each forced by a gate or inside a callback of the driver.
 */
#include "meet.h"

/* Between pages and finalize: it waits, then has the content. Planted: DM_NO_WAKE. */
ISOLATED(touch_waits_for_finalize)
{
	struct world *w = world();

	w->t = trip_new(&w->dev, w->p, N, MIGRATE_VMA_SELECT_SYSTEM);
	trip_setup(w->t);
	must(trip_alloc(w->t) == N);
	trip_pages(w->t);
	start_touch(w, 3);
	must(runner_blocked(&w->r));
	must(w->dev.revoked == 0);
	must(!dev_at(&w->dev, w->p + 3 * PAGE)); /* not the device's yet */
	trip_finalize(w->t);
	runner_join(&w->r);
	must(touch_saw(w, 1, 3));
	dev_settle(&w->dev);
	must(w->dev.revoked == 1);
	must(pages_are(w->p, N, 1));
	none_away(w);
	world_end(w);
}

/*
 * The page that a touch finds empty is filled while a migration would take it along. By a touch
 * that is asked again (at first a change was unread): nothing is undecided then.
 */
ISOLATED(touch_of_empty_overtaken)
{
	struct world *w = world();
	char *q = raw_mmap(w->p + N * PAGE, N * PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);
	struct trip *t;
	bool went;

	must(dev_out(&w->dev, w->p, 1) == 1); /* touches of the mapping are told of */
	w->touch = (struct touch){.p = q, .value = 77};
	net_hold(UFFD_GATE_POLLED, NULL);
	dev_hold_after(DM_GATE_FILL, q, 2); /* read, asked again before the event, after */
	/* The reader has been woken by the drop: the touch is read first. */
	runner_start(&w->s, drop_page, w->p + 8 * PAGE);
	net_reached(UFFD_GATE_POLLED);
	must(runner_blocked(&w->s));
	runner_start(&w->r, touch_read, &w->touch);
	must(runner_blocked(&w->r));
	net_release(UFFD_GATE_POLLED);
	dev_reached(DM_GATE_FILL);
	runner_join(&w->s);
	t = trip_new(&w->dev, q, 1, MIGRATE_VMA_SELECT_SYSTEM);
	trip_setup(t);
	must(trip_alloc(t) == 1);
	trip_pages(t);
	if (t->src[0] & MIGRATE_PFN_MIGRATE) /* it went: its device writes */
		fill_pages((char *)(migrate_pfn_to_pfn(t->dst[0]) * PAGE), 1, 9);
	went = trip_finalize(t);
	dev_release(DM_GATE_FILL);
	runner_join(&w->r);
	net_quiet();
	/* What the device wrote is there. Planted: DM_NO_FILLING. */
	must(went ? pages_are(q, 1, 9) : pages_zero(q, 1));
	must(pages_are(w->p, 8, 1));
	none_away(w);
	world_end(w);
}

/* Inside revoke(), by the reader: a second one touches the same page. */
static void revoke_touch(struct dev *d, unsigned long addr, enum mmu_notifier_event why)
{
	struct world *w = (struct world *)((char *)d - offsetof(struct world, dev));

	d->on_revoke = NULL;
	w->touch2 = (struct touch){.p = (char *)addr, .value = 77};
	runner_start(&w->s, touch_read, &w->touch2);
	must(runner_blocked(&w->s));
}

ISOLATED(two_touch_one)
{
	struct world *w = world();

	must(dev_out(&w->dev, w->p, N) == N);
	w->dev.on_revoke = revoke_touch;
	start_touch(w, 2);
	runner_join(&w->r);
	runner_join(&w->s);
	must(touch_saw(w, 1, 2) && w->touch2.value == w->touch.value);
	dev_settle(&w->dev);
	must(w->dev.revoked == 1 && dev_stat(&w->dev).touched == 1);
	must(pages_are(w->p, N, 1));
	world_end(w);
}

/* A touch while the driver brings it home. */
ISOLATED(touch_while_coming)
{
	struct world *w = world();

	must(dev_out(&w->dev, w->p, N) == N);
	dev_hold(DM_GATE_BRING, w->p);
	runner_start(&w->s, go_home, w);
	dev_reached(DM_GATE_BRING);
	start_touch(w, 5);
	must(runner_blocked(&w->r));
	dev_release(DM_GATE_BRING);
	runner_join(&w->s);
	runner_join(&w->r);
	must(touch_saw(w, 1, 5) && w->dev.revoked == 0);
	must(pages_are(w->p, N, 1));
	none_away(w);
	world_end(w);
}

/* The driver's migration home while the reader brings one page of it. */
static void revoke_home(struct dev *d, unsigned long addr, enum mmu_notifier_event why)
{
	struct world *w = (struct world *)((char *)d - offsetof(struct world, dev));

	d->on_revoke = NULL;
	runner_start(&w->s, go_home, w);
	runner_join(&w->s);
	must(dev_stat(d).moved_back == N - 1);
}

ISOLATED(home_while_touched)
{
	struct world *w = world();

	must(dev_out(&w->dev, w->p, N) == N);
	w->dev.on_revoke = revoke_home;
	start_touch(w, 5);
	runner_join(&w->r);
	must(touch_saw(w, 1, 5));
	must(pages_are(w->p, N, 1));
	none_away(w);
	world_end(w);
}

/* Changes inside revoke(), of a page that a touch brings home: libc's waits for the page. */
static void (*inside)(void *);
static bool waits;

static void revoke_change(struct dev *d, unsigned long addr, enum mmu_notifier_event why)
{
	struct world *w = (struct world *)((char *)d - offsetof(struct world, dev));

	d->on_revoke = NULL;
	runner_start(&w->s, inside, w);
	must(runner_blocked(&w->s) || !waits);
}

static void change_inside_touch(struct world *w, void (*change)(void *))
{
	must(dev_out(&w->dev, w->p, N) == N);
	inside = change;
	waits = true;
	w->dev.on_revoke = revoke_change;
	start_touch(w, 5);
	runner_join(&w->r);
	runner_join(&w->s);
	net_quiet();
}

ISOLATED(touch_then_protect)
{
	struct world *w = world();

	change_inside_touch(w, libc_protect);
	must(touch_saw(w, 1, 5));
	must(pages_are(w->p, N, 1));
	none_away(w);
	world_end(w);
}

ISOLATED(touch_then_drop)
{
	struct world *w = world();

	change_inside_touch(w, libc_drop);
	must(touch_saw(w, 1, 5) || w->touch.value == 0);
	must(pages_zero(w->p, N));
	none_away(w);
	world_end(w);
}

ISOLATED(touch_then_raw_drop)
{
	struct world *w = world();

	change_inside_touch(w, raw_drop);
	must(touch_saw(w, 1, 5) || w->touch.value == 0);
	must(pages_zero(w->p, N));
	none_away(w);
	world_end(w);
}

ISOLATED(touch_then_fork)
{
	struct world *w = world();

	change_inside_touch(w, child_reads);
	must(touch_saw(w, 1, 5));
	must(pages_are(w->p, N, 1));
	none_away(w);
	world_end(w);
}

/* A changer brings home, and a touch comes inside revoke(). */
static sem_t touch_now;

static void touch_when_told(void *arg)
{
	while (sem_wait(&touch_now))
		;
	touch_read(arg);
}

static void revoke_tell(struct dev *d, unsigned long addr, enum mmu_notifier_event why)
{
	struct world *w = (struct world *)((char *)d - offsetof(struct world, dev));
	uint64_t seen = net_marked();

	d->on_revoke = NULL;
	w->touch2.p = (char *)addr;
	sem_post(&touch_now);
	/* Its touch has been read. No stdio in here. */
	while (net_marked() == seen)
		hmmu_uffd_pause(50000);
}

ISOLATED(change_then_touch)
{
	struct world *w = world();

	must(dev_out(&w->dev, w->p, N) == N);
	sem_init(&touch_now, 0, 0);
	runner_start(&w->s, touch_when_told, &w->touch2);
	w->dev.on_revoke = revoke_tell;
	runner_start(&w->r, libc_protect, w);
	runner_join(&w->r);
	runner_join(&w->s);
	must(pages_are(w->p, N, 1));
	none_away(w);
	world_end(w);
}

/* Touches of what a raw munmap takes away: who touches dies, as ever. */
ISOLATED(touch_then_raw_unmap)
{
	int status = -1;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid) {
		struct world *w = world();

		signal(SIGSEGV, SIG_DFL); /* not cmocka's */
		alarm(10);
		change_inside_touch(w, raw_unmap);
		/* It had been home before it went. */
		_exit(touch_saw(w, 1, 5) ? 0 : 1);
	}
	must(waitpid(pid, &status, 0) == pid);
	must(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV));
}

/* ---- a device that writes while its page is called home ------------------ */

/*
 * The device writes through its table, under its lock. By the time that revoke() has
 * returned it has written its last; whatever it wrote is there. Planted: DM_NO_REVOKE.
 */
static struct dev *engine;
static uint32_t stop_engine;
static uint64_t written[N];
static uint32_t rounds;

static void device_runs(void *arg)
{
	while (!hmmu_load_seqcst(&stop_engine)) {
		pthread_mutex_lock(&engine->lock);
		for (size_t i = 0; i < N; i++)
			if (engine->table[i])
				*(volatile uint64_t *)(engine->table[i] + 64) = ++written[i];
		pthread_mutex_unlock(&engine->lock);
		hmmu_add_seqcst(&rounds, 1);
	}
}

static void device_against(void (*calls_home)(struct world *w))
{
	struct world *w = world();
	struct runner e;

	engine = &w->dev;
	dev_table(engine, w->p, N);
	must(dev_out(engine, w->p, N) == N);
	runner_start(&e, device_runs, NULL);
	while (!hmmu_load_seqcst(&written[N - 1]))
		usleep(50);
	calls_home(w);
	dev_settle(engine);
	/* Two more rounds: what it would write now is lost. */
	for (uint32_t seen = hmmu_load_seqcst(&rounds); hmmu_load_seqcst(&rounds) < seen + 2;)
		usleep(50);
	hmmu_store_seqcst(&stop_engine, 1);
	runner_join(&e);
	must(dev_stat(engine).resident == 0);
	for (size_t i = 0; i < N; i++)
		must(*(volatile uint64_t *)(w->p + i * PAGE + 64) == written[i]);
	for (size_t i = 0; i < N; i++)
		must(!engine->table[i]);
	world_end(w);
}

static void by_touches(struct world *w)
{
	for (size_t i = 0; i < N; i++)
		must(*(volatile uint64_t *)(w->p + i * PAGE) == page_word(1, i));
}

static void by_mprotect(struct world *w)
{
	libc_protect(w);
}

ISOLATED(device_against_touches)
{
	device_against(by_touches);
}

ISOLATED(device_against_a_change)
{
	device_against(by_mprotect);
}

/* By then nothing has moved yet. */
static uint32_t early;

static void revoke_looks(struct dev *d, unsigned long addr, enum mmu_notifier_event why)
{
	uint64_t w = hmmu_load_acquire(dm_find_word(hmmu_devmem, addr));

	if (dm_state(w) == DM_COMING && dm_any_page(dm_place(hmmu_devmem, w), PAGE) == 1)
		hmmu_add_seqcst(&early, 1);
}

ISOLATED(revoke_comes_first)
{
	struct world *w = world();

	must(dev_out(&w->dev, w->p, N) == N);
	w->dev.on_revoke = revoke_looks;
	must(pages_are(w->p, N / 2, 1));
	libc_protect(w);
	dev_settle(&w->dev);
	must(w->dev.revoked == N && early == N);
	must(pages_are(w->p, N, 1));
	world_end(w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(touch_waits_for_finalize),
		cmocka_unit_test(touch_of_empty_overtaken),
		cmocka_unit_test(two_touch_one),
		cmocka_unit_test(touch_while_coming),
		cmocka_unit_test(home_while_touched),
		cmocka_unit_test(touch_then_protect),
		cmocka_unit_test(touch_then_drop),
		cmocka_unit_test(touch_then_raw_drop),
		cmocka_unit_test(touch_then_fork),
		cmocka_unit_test(change_then_touch),
		cmocka_unit_test(touch_then_raw_unmap),
		cmocka_unit_test(device_against_touches),
		cmocka_unit_test(device_against_a_change),
		cmocka_unit_test(revoke_comes_first),
	};

	dev_init(argc, argv);
	return cmocka_run_group_tests_name("devmem-touch", tests, NULL, NULL);
}
