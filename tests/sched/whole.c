// SPDX-License-Identifier: MIT
/*
 * whole.c - combined scenarios: readers, invalidators, comings and goings, callbacks that
 * themselves change memory or insert, in one program.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "instance.h"
#include "scenarios.h"
#include "source/hooks/hooks.h"
#include "source/source.h"

#define CHILD_SECONDS 20

#define PROGRAM(label, set_up, done)                                               \
	.name = (label), .setup = (set_up), .enter = world_enter, .check = (done), \
	.state = world_state, .calm = true

/* ---- a reader, two invalidators, one who comes and goes ---------------- */

static void read0(void *arg)
{
	world_read(0);
}

static void change0(void *arg)
{
	world_change(0, 0);
}

static void change01(void *arg)
{
	world_change(0, 1);
}

/* Driver 1 leaves, driver 2 comes, on the same page. */
static void go_and_come(void *arg)
{
	world_remove(1);
	world_insert(2, 1);
	world_read(2);
}

static void setup_two(void)
{
	world_open();
	world_insert(0, 0);
	world_insert(1, 1);
}

static const struct sched_program traffic = {
	PROGRAM("a reader, two invalidators, one goes and one comes", setup_two, world_close),
	.names = {"reader", "inv 0", "inv 0-1", "go, come"},
	.threads = {read0, change0, change01, go_and_come},
};

/* ---- callbacks that change memory, and that insert --------------------- */

static void change1_inside(struct driver *d)
{
	world_change(1, 1);
}

static void setup_nested(void)
{
	setup_two();
	driver[0].inside = change1_inside;
}

static void read1(void *arg)
{
	world_read(1);
}

/* The inner one overlaps what the second invalidator changes, and driver 1's remove. */
static const struct sched_program nested = {
	PROGRAM("a callback that changes memory", setup_nested, world_close),
	.names = {"reader 1", "inv 0", "inv 0-1"},
	.threads = {read1, change0, change01},
};

static void remove_one(void *arg)
{
	world_remove(1);
}

static const struct sched_program nested_removal = {
	PROGRAM("remove meets the callback of a callback's change", setup_nested, world_close),
	.names = {"inv 0", "remove 1", "inv 0-1"},
	.threads = {change0, remove_one, change01},
};

static uint64_t inserted_inside;

/* Once: a driver that follows the change. */
static void insert_inside(struct driver *d)
{
	if (!hmmu_add_relaxed(&inserted_inside, 1))
		world_insert(2, 1);
}

static void setup_insert_inside(void)
{
	setup_two();
	inserted_inside = 0;
	driver[0].inside = insert_inside;
}

static const struct sched_program insert_nested = {
	PROGRAM("a callback that inserts", setup_insert_inside, world_close),
	.names = {"inv 0-1", "inv 0", "reader 1"},
	.threads = {change01, change0, read1},
};

/* ---- the whole-mm form beside subscriptions ---------------------------- */

static struct mmu_notifier everything;
static uint64_t starts, ends;

static int heard_start(struct mmu_notifier *n, const struct mmu_notifier_range *range)
{
	hmmu_add_relaxed(&starts, 1);
	return 0;
}

static void heard_end(struct mmu_notifier *n, const struct mmu_notifier_range *range)
{
	hmmu_add_relaxed(&ends, 1);
}

static const struct mmu_notifier_ops everything_ops = {
	.invalidate_range_start = heard_start,
	.invalidate_range_end = heard_end,
};

static void setup_everything(void)
{
	setup_two();
	memset(&everything, 0, sizeof(everything));
	everything.ops = &everything_ops;
	starts = ends = 0;
}

/* Nothing is called once unregister has returned; what was called started is owed no end
 * then, so only the other order is an error. */
static void come_and_go_whole(void *arg)
{
	uint64_t s, e;

	sched_assert(mmu_notifier_register(&everything, mm) == 0);
	mmu_notifier_unregister(&everything, mm);
	s = hmmu_load_relaxed(&starts);
	e = hmmu_load_relaxed(&ends);
	sched_assert(e <= s);
	sched_note("whole-mm: %u starts, %u ends", (unsigned int)s, (unsigned int)e);
	everything.ops = NULL; /* "freed" */
}

static const struct sched_program whole_mm = {
	PROGRAM("a whole-mm notifier comes and goes", setup_everything, world_close),
	.names = {"whole", "inv 0", "inv 0-1"},
	.threads = {come_and_go_whole, change0, change01},
};

/* ---- get and put ------------------------------------------------------- */

static struct mmu_notifier got_one;
static uint64_t allocated, freed;

static struct mmu_notifier *alloc_one(struct mm_struct *m)
{
	/* Two may ask at once; the slower one's is given back unused. */
	static struct mmu_notifier second;

	return hmmu_add_relaxed(&allocated, 1) ? &second : &got_one;
}

static void free_one(struct mmu_notifier *n)
{
	hmmu_add_relaxed(&freed, 1);
}

static const struct mmu_notifier_ops counted_ops = {
	.invalidate_range_start = heard_start,
	.alloc_notifier = alloc_one,
	.free_notifier = free_one,
};

static void setup_counted(void)
{
	setup_everything();
	allocated = freed = 0;
}

static void get_put(void *arg)
{
	struct mmu_notifier *n;

	sched_assert(mmu_notifier_get(&counted_ops, mm, &n) == 0);
	sched_assert(hmmu_load_relaxed(&freed) < hmmu_load_relaxed(&allocated));
	mmu_notifier_put(n);
	mmu_notifier_synchronize();
}

static void check_counted(void)
{
	hmmu_reclaim(mm);
	sched_assert(allocated == freed);
	world_close();
}

static const struct sched_program counted = {
	PROGRAM("get, put and synchronize, twice", setup_counted, check_counted),
	.names = {"a", "b", "inv"},
	.threads = {get_put, get_put, change0},
};

/* ---- clean-up ---------------------------------------------------------- */

static struct hmmu_work works[3];
static uint64_t worked[3];

static void work_done(struct hmmu_work *w)
{
	hmmu_add_relaxed(&worked[w - works], 1);
}

static void defer_inside(struct driver *d)
{
	hmmu_defer(mm, &works[0], work_done);
}

static void setup_cleanup(void)
{
	setup_two();
	memset(worked, 0, sizeof(worked));
	driver[1].inside = defer_inside;
}

static void change1(void *arg)
{
	world_change(1, 1);
}

static void defer_reclaim(void *arg)
{
	hmmu_defer(mm, &works[1], work_done);
	hmmu_reclaim(mm);
	hmmu_defer(mm, &works[2], work_done);
}

static void reclaim_twice(void *arg)
{
	hmmu_reclaim(mm);
	hmmu_reclaim(mm);
}

static void check_cleanup(void)
{
	world_close(); /* closing runs what is left */
	for (int i = 0; i < 3; i++)
		sched_assert(worked[i] == 1);
}

static const struct sched_program cleanup = {
	PROGRAM("a callback defers, two threads reclaim", setup_cleanup, check_cleanup),
	.names = {"inv 1", "defer", "reclaim"},
	.threads = {change1, defer_reclaim, reclaim_twice},
};

/* ---- refusals among all the others ------------------------------------- */

static void nonblock01(void *arg)
{
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, WORLD_BASE,
				WORLD_BASE + 2 * PAGE);
	/* Refused: nothing may change, and nothing is open. */
	sched_assert(mmu_notifier_invalidate_range_start_nonblock(&range) == -EAGAIN);
}

static void nonblock0(void *arg)
{
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, WORLD_BASE, WORLD_BASE + PAGE);
	if (mmu_notifier_invalidate_range_start_nonblock(&range))
		return;
	hmmu_add_seqcst(&truth[0], 1);
	world_check(0);
	mmu_notifier_invalidate_range_end(&range);
}

static void setup_refusing(void)
{
	setup_two();
	driver[1].refuse = true;
}

static const struct sched_program refusals = {
	PROGRAM("one start is refused, another is not, a reader", setup_refusing, world_close),
	.names = {"refused", "accepted", "reader"},
	.threads = {nonblock01, nonblock0, read0},
};

/* ---- what a signal handler left, and who tells it ---------------------- */

/* As a handler that has interrupted the holder of the lock. */
static void change_in_handler(void *arg)
{
	hmmu_mm_lock(mm);
	world_change(0, 0);
	hmmu_mm_unlock(mm);
}

static void reclaim_once(void *arg)
{
	hmmu_reclaim(mm);
}

static void check_lost(void)
{
	hmmu_reclaim(mm);
	sched_assert(driver[0].called > 0);
	world_close();
}

/* No world_read(): an undecided mm is told afterwards, so that only checked accesses are
 * exact (the handler scenario). Here: nobody hangs, nobody is forgotten. */
static void begin_only(void *arg)
{
	unsigned long seq;

	sched_assert(hmmu_read_begin(&driver[0].sub, &seq, NULL) == 0);
	sched_assert(hmmu_read_begin(&driver[1].sub, &seq, NULL) == 0);
}

static const struct sched_program lost = {
	PROGRAM("a reader and a reclaimer after a handler's change", setup_two, check_lost),
	.names = {"handler", "reader", "reclaim"},
	.threads = {change_in_handler, begin_only, reclaim_once},
};

/* ---- an mm comes and goes under hooks ---------------------------------- */

static void setup_hooks(void)
{
	world_open();
	sched_assert(hmmu_instance() && hmmu_source_anchor() == 0);
	world_renew(hmmu_instance()->anchor);
	hmmu_instance()->nwatched = 0;
}

/* After detach nothing is open in it, and nobody is called. */
static void watch_leave(void *arg)
{
	sched_assert(hmmu_source_attach(mm) == 0);
	world_insert(0, 0);
	world_read(0);
	hmmu_source_detach(mm);
	for (unsigned int i = 0; i < hmmu_load_relaxed(&mm->slots_high); i++)
		sched_assert((hmmu_load_relaxed(&mm->slots[i].state) & SLOT_KIND) == SLOT_FREE);
	world_remove(0);
}

static void hooked_change(void *arg)
{
	struct hmmu_source_event ev;

	hmmu_source_start(&ev, MMU_NOTIFY_UNMAP, WORLD_BASE, WORLD_BASE + PAGE);
	hmmu_add_seqcst(&truth[0], 1);
	if (ev.n > 1) /* else it began before, and attach has waited, or after the end */
		world_check(0);
	hmmu_source_end(&ev);
}

static const struct sched_program leaving = {
	PROGRAM("an mm begins and ceases to watch", setup_hooks, world_close),
	.names = {"driver", "hook", "hook"},
	.threads = {watch_leave, hooked_change, hooked_change},
};

/* ---- fork, as libc makes it, while the others are in the middle -------- */

/* Between the hooks' prepare and the copy, which moves the parent's pages, too. */
static void at_copy(void)
{
	if (sched_self() < 0)
		return;
	hmmu_add_seqcst(&truth[0], 1);
	world_check(0);
}

static void setup_fork(void)
{
	static bool ready;

	setup_hooks();
	/* Before the hooks' own: so ours comes after theirs in prepare, and before them in
	 * the child, whose accesses are no points. */
	if (!ready)
		sched_assert(pthread_atfork(at_copy, NULL, sched_leave) == 0 &&
			     hmmu_hooks_fork_init() == 0);
	ready = true;
	sched_assert(hmmu_source_attach(mm) == 0);
	world_insert(0, 0);
	world_insert(1, 1);
}

static void fork_once(void *arg)
{
	int status = -1;
	pid_t child = fork();

	sched_assert(child >= 0);
	if (!child) {
		signal(SIGALRM, SIG_DFL);
		alarm(CHILD_SECONDS);
		forked_child();
		_exit(0);
	}
	while (waitpid(child, &status, 0) < 0)
		sched_assert(errno == EINTR);
	sched_assert(status == 0);
}

static void check_fork(void)
{
	hmmu_source_detach(mm);
	world_close();
}

static void read_go_and_come(void *arg)
{
	world_read(0);
	go_and_come(NULL);
}

static const struct sched_program forking = {
	PROGRAM("a fork among a reader, a change, one goes and one comes", setup_fork,
		check_fork),
	.names = {"fork", "reader", "hook"},
	.threads = {fork_once, read_go_and_come, hooked_change},
};

const struct scenario scenarios_whole[] = {
	{"traffic", &traffic, false},
	{"nested", &nested, false},
	{"nested-removal", &nested_removal, false},
	{"insert-nested", &insert_nested, false},
	{"whole-mm", &whole_mm, false},
	{"counted", &counted, false},
	{"cleanup", &cleanup, false},
	{"refusals", &refusals, false},
	{"lost", &lost, false},
	{"leaving", &leaving, false},
	{"forking", &forking, true},
	{NULL, NULL, false},
};
