// SPDX-License-Identifier: MIT
/*
 * scenarios.c - what is scheduled: one rule or two each, as small as they can be. Combined
 * ones: whole.c.
 */
#include <errno.h>
#include <string.h>

#include "instance.h"
#include "scenarios.h"
#include "source/source.h"

/* ---- scenarios -------------------------------------------------------- */

static void change0(void *arg)
{
	world_change(0, 0);
	world_change(0, 0);
}

static void change0_once(void *arg)
{
	world_change(0, 0);
}

static void read0(void *arg)
{
	world_read(0);
	world_read(0);
}

static void setup_one(void)
{
	world_open();
	world_insert(0, 0);
}

/* G1, G4: the three meetings, with two invalidators. */
static const struct sched_program reader = {
	.name = "a reader and two invalidators",
	.names = {"reader", "inv", "inv"},
	.setup = setup_one,
	.enter = world_enter,
	.state = world_state,
	.threads = {read0, change0, change0},
	.check = world_close,
	.calm = true,
};

static void insert_read(void *arg)
{
	world_insert(0, 0);
	world_read(0);
}

/* G2: an insert meets an invalidation of the same page. */
static const struct sched_program insert = {
	.name = "an insert, a read, an invalidator",
	.names = {"driver", "inv"},
	.setup = world_open,
	.enter = world_enter,
	.state = world_state,
	.threads = {insert_read, change0},
	.check = world_close,
};

static void insert_two_read(void *arg)
{
	world_insert(0, 0);
	world_insert(1, 0);
	world_read(0);
	world_read(1);
}

/* G2, G4: the first comes too late, or not; the second finds what it left in the slot. */
static const struct sched_program ends = {
	.name = "two inserts meet an end",
	.names = {"driver", "inv"},
	.setup = world_open,
	.enter = world_enter,
	.state = world_state,
	.threads = {insert_two_read, change0_once},
	.check = world_close,
};

static void setup_neighbour(void)
{
	world_open();
	world_insert(1, 1);
}

static void change01(void *arg)
{
	world_change(0, 1);
}

/* G2, G4: an insert meets one that walks because of somebody else. */
static const struct sched_program limit = {
	.name = "an insert meets a walk",
	.names = {"driver", "inv", "inv"},
	.setup = setup_neighbour,
	.enter = world_enter,
	.state = world_state,
	.threads = {insert_read, change01, change01},
	.check = world_close,
};

static void setup_many(void)
{
	world_open();
	for (unsigned int i = 0; i < 40; i++)
		world_insert(i, i);
}

static void change_many(void *arg)
{
	world_change(0, WORLD_SUBS - 1);
}

static void insert_late(void *arg)
{
	world_insert(41, 41);
	world_read(41);
}

/* More than one batch: inserts come between the batches of start's and end's walk. */
static const struct sched_program batches = {
	.name = "an insert between the batches of a walk",
	.names = {"inv", "driver"},
	.setup = setup_many,
	.enter = world_enter,
	.state = world_state,
	.threads = {change_many, insert_late},
	.check = world_close,
	.length = 400,
};

static void remove_one(void *arg)
{
	world_remove(1);
}

static void setup_two(void)
{
	world_open();
	world_insert(0, 0);
	world_insert(1, 1);
	world_insert(2, 1);
}

/* G3: remove meets callbacks, first of a batch and later. */
static const struct sched_program removal = {
	.name = "remove meets callbacks",
	.names = {"inv", "remove", "inv"},
	.setup = setup_two,
	.enter = world_enter,
	.state = world_state,
	.threads = {change01, remove_one, change01},
	.check = world_close,
	.calm = true,
};

static void setup_two_full(void)
{
	setup_two();
	world_fill_slots();
}

static const struct sched_program removal_overflow = {
	.name = "remove meets callbacks of invalidations without a slot",
	.names = {"inv", "remove", "inv"},
	.setup = setup_two_full,
	.enter = world_enter,
	.state = world_state,
	.threads = {change01, remove_one, change01},
	.check = world_close,
	.calm = true,
};

static void insert_full(void)
{
	world_open();
	world_fill_slots();
}

static const struct sched_program insert_overflow = {
	.name = "an insert meets invalidations without a slot",
	.names = {"driver", "inv", "inv"},
	.setup = insert_full,
	.enter = world_enter,
	.state = world_state,
	.threads = {insert_read, change0, change01},
	.check = world_close,
};

static void remove_inside(void *arg)
{
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, WORLD_BASE, WORLD_BASE + PAGE);
	sched_assert(mmu_notifier_invalidate_range_start(&range) == 0);
	world_remove(0); /* G4: waits for no end */
	driver[0].removed = 0;
	world_insert(0, 0);
	mmu_notifier_invalidate_range_end(&range);
}

static const struct sched_program remove_open = {
	.name = "remove between start and end",
	.names = {"thread"},
	.setup = setup_one,
	.enter = world_enter,
	.state = world_state,
	.threads = {remove_inside},
	.check = world_close,
	.calm = true,
};

static void remove_zero(void *arg)
{
	world_remove(0);
}

/* G3: the only one that start found is gone when end comes. */
static const struct sched_program remove_only = {
	.name = "the only one is removed between start and end",
	.names = {"inv", "remove"},
	.setup = setup_one,
	.enter = world_enter,
	.state = world_state,
	.threads = {change0_once, remove_zero},
	.check = world_close,
};

/* ---- refusals and the whole-mm form ----------------------------------- */

static struct {
	struct mmu_notifier n;
	int started;
	int ended;
	bool refuse;
	uint64_t registered;
} whole[2];
static __thread bool told;

static int whole_start(struct mmu_notifier *n, const struct mmu_notifier_range *range)
{
	int i = (void *)n == (void *)&whole[1];

	if (whole[i].refuse && !mmu_notifier_range_blockable(range))
		return -EAGAIN;
	whole[i].started++;
	told = true;
	return 0;
}

static void whole_end(struct mmu_notifier *n, const struct mmu_notifier_range *range)
{
	whole[(void *)n == (void *)&whole[1]].ended++;
}

static const struct mmu_notifier_ops whole_ops = {
	.invalidate_range_start = whole_start,
	.invalidate_range_end = whole_end,
};

static void setup_whole(void)
{
	world_open();
	memset(whole, 0, sizeof(whole));
	whole[0].n.ops = whole[1].n.ops = &whole_ops;
}

static void refused(void *arg)
{
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, WORLD_BASE,
				WORLD_BASE + 2 * PAGE);
	sched_assert(mmu_notifier_invalidate_range_start_nonblock(&range) == -EAGAIN);
}

static void setup_refuse(void)
{
	setup_two();
	driver[1].refuse = true;
}

static void read_once(void *arg)
{
	world_read(0);
}

/* G4: a refused start leaves nothing behind. */
static const struct sched_program refuse = {
	.name = "a refused start",
	.names = {"nonblock", "inv", "reader"},
	.setup = setup_refuse,
	.enter = world_enter,
	.state = world_state,
	.threads = {refused, change01, read_once},
	.check = world_close,
};

static void setup_refuse_whole(void)
{
	setup_whole();
	sched_assert(mmu_notifier_register(&whole[0].n, mm) == 0);
	sched_assert(mmu_notifier_register(&whole[1].n, mm) == 0);
	whole[1].refuse = true;
}

static void check_whole(void)
{
	sched_assert(whole[0].started == whole[0].ended);
	sched_assert(whole[1].started == whole[1].ended);
	mmu_notifier_unregister(&whole[0].n, mm);
	mmu_notifier_unregister(&whole[1].n, mm);
	world_close();
}

static const struct sched_program refuse_whole = {
	.name = "a start refused by the second of two",
	.names = {"nonblock", "inv"},
	.setup = setup_refuse_whole,
	.enter = world_enter,
	.state = world_state,
	.threads = {refused, change01},
	.check = check_whole,
};

static void register_both(void *arg)
{
	for (int i = 0; i < 2; i++) {
		sched_assert(mmu_notifier_register(&whole[i].n, mm) == 0);
		hmmu_store_release(&whole[i].registered, 1);
	}
}

static void change_told(void *arg)
{
	struct mmu_notifier_range range;

	for (int i = 0; i < 2; i++) {
		told = false;
		mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, WORLD_BASE,
					WORLD_BASE + 1);
		sched_assert(mmu_notifier_invalidate_range_start(&range) == 0);
		/* G2: who is registered knows what is open. */
		sched_assert(!hmmu_load_acquire(&whole[0].registered) || told);
		mmu_notifier_invalidate_range_end(&range);
	}
}

static const struct sched_program registering = {
	.name = "register meets invalidations",
	.names = {"register", "inv", "inv"},
	.setup = setup_whole,
	.enter = world_enter,
	.state = world_state,
	.threads = {register_both, change_told, change_told},
	.check = check_whole,
};

/* ---- the summary, clean-up, signals ----------------------------------- */

/* Whom nothing of all this concerns, in the same GiB. */
static struct mmu_interval_notifier others[2];

static bool hear_nothing(struct mmu_interval_notifier *sub,
			 const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	sched_assert(false);
	return true;
}

static void insert_other(unsigned int i)
{
	static const struct mmu_interval_notifier_ops ops = {.invalidate = hear_nothing};

	sched_assert(mmu_interval_notifier_insert(
			     &others[i], mm, WORLD_BASE + ((i + 1ul) << 20), PAGE, &ops) == 0);
}

/* With one, who comes is not alone: there are bits to heal. */
static void open_with_other(void)
{
	world_open();
	memset(others, 0, sizeof(others));
	insert_other(0);
}

static void check_other(void)
{
	mmu_interval_notifier_remove(&others[0]);
	world_close();
}

static void twice(unsigned long start, unsigned long length)
{
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, WORLD_BASE + start,
				WORLD_BASE + start + length);
	for (int i = 0; i < 2; i++) {
		sched_assert(mmu_notifier_invalidate_range_start(&range) == 0);
		mmu_notifier_invalidate_range_end(&range);
	}
}

/* Another byte of the same page: a false alarm, which heals what it may. */
static void half_page(void *arg)
{
	twice(3 * PAGE, 1);
}

static void insert_half_change(void *arg)
{
	world_insert_half(0, 3);
	world_read(0);
	world_change(3, 3);
}

/* The whole page and those beside it. Who inserts meanwhile counts itself: a walk that leaves
 * it out has not found nobody. */
static void three_pages(void *arg)
{
	twice(2 * PAGE, 3 * PAGE);
}

static void insert_change(void *arg)
{
	world_insert(0, 3);
	world_read(0);
	world_change(3, 3);
}

static const struct sched_program heal = {
	.name = "a false alarm heals",
	.names = {"alarm", "driver"},
	.setup = open_with_other,
	.enter = world_enter,
	.state = world_state,
	.threads = {half_page, insert_half_change},
	.check = check_other,
};

static const struct sched_program heal_attached = {
	.name = "an alarm meets who counts itself",
	.names = {"alarm", "driver"},
	.setup = open_with_other,
	.enter = world_enter,
	.state = world_state,
	.threads = {three_pages, insert_change},
	.check = check_other,
};

/* Others come to the GiB: who was alone gets a table, and that a larger one. */
static void grow(void *arg)
{
	memset(others, 0, sizeof(others));
	for (unsigned int i = 0; i < 2; i++)
		insert_other(i);
}

static void open_with_one(void)
{
	world_open();
	world_insert(0, 3);
}

static void read_change(void *arg)
{
	world_read(0);
	world_change(3, 3);
}

static void check_grown(void)
{
	mmu_interval_notifier_remove(&others[1]);
	check_other();
}

static const struct sched_program leaf_grows = {
	.name = "a table of the summary grows",
	.names = {"insert", "change"},
	.setup = open_with_one,
	.enter = world_enter,
	.state = world_state,
	.threads = {grow, read_change},
	.check = check_grown,
};

static unsigned int ran;
static struct hmmu_work work[4];

static void run(struct hmmu_work *w)
{
	ran++;
}

static void defer_two(void *arg)
{
	struct hmmu_work *w = arg;

	hmmu_defer(mm, &w[0], run);
	hmmu_defer(mm, &w[1], run);
}

static void setup_defer(void)
{
	world_open();
	ran = 0;
}

static void check_defer(void)
{
	hmmu_reclaim(mm);
	sched_assert(ran == 4);
	world_close();
}

static const struct sched_program defer = {
	.name = "two threads defer",
	.names = {"a", "b"},
	.setup = setup_defer,
	.enter = world_enter,
	.state = world_state,
	.threads = {defer_two, defer_two},
	.args = {&work[0], &work[2]},
	.check = check_defer,
};

/* As a signal handler that has interrupted the holder of the lock. */
static void change_in_handler(void *arg)
{
	hmmu_mm_lock(mm);
	world_change(0, 0);
	hmmu_mm_unlock(mm);
}

static void check_handler(void)
{
	hmmu_reclaim(mm); /* or a reader did it */
	sched_assert(driver[0].called > 0);
	world_close();
}

static void checked_reads(void *arg)
{
	struct driver *d = &driver[0];
	unsigned long seq;

	for (int i = 0; i < 3; i++) {
		seq = mmu_interval_read_begin(&d->sub);
		d->shadow = 0; /* its own word: what it read, checked at each use */
		if (hmmu_access_ok(&d->sub, seq)) {
			uint64_t value = hmmu_load_acquire(&truth[0]);

			/* A change may come before this; none between it and the check. */
			uint64_t now = hmmu_load_acquire(&truth[0]);

			/* Still ok: the truth was this from before the load until then. */
			if (hmmu_access_ok(&d->sub, seq))
				sched_assert(value == now);
		}
	}
}

static const struct sched_program handler = {
	.name = "a change inside the lock's holder",
	.names = {"handler", "reader"},
	.setup = setup_one,
	.enter = world_enter,
	.state = world_state,
	.threads = {change_in_handler, checked_reads},
	.check = check_handler,
};

static void live_again(void *arg)
{
	unsigned long seq = mmu_interval_read_begin(&driver[0].sub);

	world_remove(0);
	hmmu_store_relaxed(&driver[0].removed, 0);
	world_insert(0, 0);
	for (int i = 0; i < 3; i++) {
		/* G6: of another life. */
		sched_assert(!hmmu_access_ok(&driver[0].sub, seq));
		world_change(0, 0);
	}
}

static const struct sched_program again = {
	.name = "a subscription that comes again",
	.names = {"driver"},
	.setup = setup_one,
	.enter = world_enter,
	.state = world_state,
	.threads = {live_again},
	.check = world_close,
};

/* ---- sources ---------------------------------------------------------- */

static void setup_source(void)
{
	world_open();
	sched_assert(hmmu_instance() && hmmu_source_anchor() == 0);
	world_renew(hmmu_instance()->anchor);
	hmmu_instance()->nwatched = 0;
}

static void watch_read(void *arg)
{
	sched_assert(hmmu_source_attach(mm) == 0);
	world_insert(0, 0);
	world_read(0);
}

static void change_by_hook(void *arg)
{
	struct hmmu_source_event ev;

	for (int i = 0; i < 2; i++) {
		hmmu_source_start(&ev, MMU_NOTIFY_UNMAP, WORLD_BASE, WORLD_BASE + PAGE);
		hmmu_add_seqcst(&truth[0], 1);
		world_check(0);
		hmmu_source_end(&ev);
	}
}

static void check_source(void)
{
	hmmu_source_detach(mm);
	world_close();
}

/* G2: an mm begins to watch while a change is in flight. */
static const struct sched_program attaching = {
	.name = "an mm begins to watch",
	.names = {"driver", "hook", "hook"},
	.setup = setup_source,
	.enter = world_enter,
	.state = world_state,
	.threads = {watch_read, change_by_hook, change_by_hook},
	.check = check_source,
};

const struct scenario scenarios_small[] = {
	{"reader", &reader, false},
	{"insert", &insert, false},
	{"ends", &ends, false},
	{"limit", &limit, false},
	{"batches", &batches, false},
	{"removal", &removal, false},
	{"removal-overflow", &removal_overflow, false},
	{"insert-overflow", &insert_overflow, false},
	{"remove-open", &remove_open, false},
	{"refuse", &refuse, false},
	{"refuse-whole", &refuse_whole, false},
	{"registering", &registering, false},
	{"heal", &heal, false},
	{"heal-attached", &heal_attached, false},
	{"leaf-grows", &leaf_grows, false},
	{"defer", &defer, false},
	{"handler", &handler, false},
	{"again", &again, false},
	{"attaching", &attaching, false},
	{"remove-only", &remove_only, false},
	{NULL, NULL, false},
};
