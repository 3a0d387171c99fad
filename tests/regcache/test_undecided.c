// SPDX-License-Identifier: MIT
/*
 * test_undecided.c - userfaultfd has told that something changed, and nobody knows yet what:
 * held there by the gates of its threads (HMMU_PLANT). The change's caller has returned, so
 * nothing of before may be found (by return), although no callback has come.
 */
#include "world.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#include "arch/syscall.h"
#include "instance.h"
#include "notifier/notifier.h"
#include "source/userfaultfd/userfaultfd.h"

#define N 16

static struct gate reached, go;
static enum hmmu_uffd_gate held_at;
static atomic_bool armed;

static void stop(enum hmmu_uffd_gate gate, uint64_t start, uint64_t end)
{
	if (gate != held_at || !atomic_exchange(&armed, false))
		return;
	gate_open(&reached);
	gate_pass(&go);
}

static void hold(enum hmmu_uffd_gate gate)
{
	gate_init(&reached);
	gate_init(&go);
	held_at = gate;
	hmmu_uffd_gate = stop;
	atomic_store(&armed, true);
}

/* No hook sees it. */
static void map_over(void *arg)
{
	struct world *w = arg;

	must(syscall(SYS_mmap, w->area, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		     0L) == (long)w->area);
}

struct getter {
	struct world *w;
	struct hmmu_region_ref ref;
	atomic_bool may_return;
};

static void get_in_thread(void *arg)
{
	struct getter *g = arg;

	get(g->w, 0, 4, RW, &g->ref);
	must(atomic_load(&g->may_return));
}

static void told_and_unknown(enum hmmu_uffd_gate gate)
{
	static const struct timespec past;
	struct hmmu_region_ref held, ref;
	struct runner change, ra;
	struct getter g;
	struct world w;

	world_open(&w, N, NULL);
	get(&w, 0, 4, RW, &held);
	hold(gate);
	runner_start(&change, map_over, &w);
	gate_pass(&reached);
	runner_join(&change);
	must(!record_current(record_of(&held)));
	must(!valid(&w, &held));
	must(get_now(&w, 0, 4, RW, &ref) == -EAGAIN);
	must(get_now(&w, 2, 1, RW, &ref) == -EAGAIN);
	must(hmmu_regcache_get_until(w.cache, w.area, PAGE, RW, &past, &ref) == -ETIMEDOUT);
	g = (struct getter){.w = &w};
	runner_start(&ra, get_in_thread, &g);
	must(runner_sleeps(&ra));
	atomic_store(&g.may_return, true);
	gate_open(&go);
	runner_join(&ra);
	put(&w, &g.ref);
	put(&w, &held);
	hmmu_uffd_gate = NULL;
	world_close(&w);
}

static void read_and_not_dispatched(void)
{
	told_and_unknown(UFFD_GATE_READ);
}

static void before_the_callbacks(void)
{
	told_and_unknown(UFFD_GATE_DISPATCH);
}

/* A change elsewhere: it was a false alarm for the region, which is found again after it. */
static void false_alarm(void)
{
	struct hmmu_region_ref held;
	struct runner change;
	struct world w, other;

	world_open(&w, N, NULL);
	other = w;
	other.area += 10 * PAGE;
	get_put(&w, 10, 1, RW);
	get(&w, 0, 4, RW, &held);
	hold(UFFD_GATE_READ);
	runner_start(&change, map_over, &other);
	gate_pass(&reached);
	runner_join(&change);
	must(get_now(&w, 10, 1, RW, &(struct hmmu_region_ref){0}) == -EAGAIN);
	gate_open(&go);
	world_reap(&w, 1);
	get_put(&w, 0, 4,
		RW); /* waits until the mm is decided, which valid() does not for long */
	must(valid(&w, &held));
	must(w.dev.calls == 2);
	put(&w, &held);
	hmmu_uffd_gate = NULL;
	world_close(&w);
}

static const struct world_case cases[] = {
	CASE(read_and_not_dispatched, ONLY(UFFD) | ONLY(BOTH) | ONLY(PROBE)),
	CASE(before_the_callbacks, ONLY(UFFD) | ONLY(BOTH) | ONLY(PROBE)),
	CASE(false_alarm, ONLY(UFFD) | ONLY(BOTH) | ONLY(PROBE)),
};

int main(int argc, char **argv)
{
	api_guard(60);
	return world_main("regcache-undecided", cases, sizeof(cases) / sizeof(cases[0]), argc,
			  argv);
}
