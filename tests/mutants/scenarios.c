// SPDX-License-Identifier: MIT
/*
 * scenarios.c - schedules that mutants of src/ asked for: each of these found one that
 * every other test let pass. Which: tests/mutants/catalogue/, killer: scenarios.
 *
 *	scenarios		all of them, clean
 *	scenarios NAME		that one
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "instance.h"
#include "notifier/slot.h"
#include "source/source.h"
#include "source/userfaultfd/userfaultfd.h"
#include "world.h"

#define SEEDS 3000

static void read_zero(void *arg)
{
	(void)arg;
	world_read(0);
	world_read(0);
}

static void read_two(void *arg)
{
	(void)arg;
	world_read(2);
	world_read(2);
}

static void change_zero(void *arg)
{
	(void)arg;
	world_change(0, 0);
	world_change(0, 0);
}

static void change_both(void *arg)
{
	(void)arg;
	world_change(0, 1);
}

static void remove_one(void *arg)
{
	(void)arg;
	world_remove(1);
}

static void setup_three(void)
{
	world_open();
	world_insert(0, 0);
	world_insert(1, 1);
	world_insert(2, 1);
}

/* G1, G3: a walk finds one that has gone, and still calls those behind it. */
static const struct sched_program behind = {
	.name = "behind one that was removed",
	.names = {"inv", "remove", "reader"},
	.setup = setup_three,
	.enter = world_enter,
	.threads = {change_both, remove_one, read_two},
	.check = world_close,
};

static void setup_shared(void)
{
	world_open();
	world_insert(0, 0);
	world_insert(2, 0);
}

/* G4: two subscriptions to one page, each with a reader that may sleep. */
static const struct sched_program shared = {
	.name = "two readers of a page",
	.names = {"reader", "reader", "inv"},
	.setup = setup_shared,
	.enter = world_enter,
	.threads = {read_zero, read_two, change_zero},
	.check = world_close,
	.calm = true,
};

static void setup_apart(void)
{
	world_open();
	world_insert(0, 0);
	world_insert(1, 100);
}

/* G1: when one goes, the gate of its level stays for the other. */
static const struct sched_program gate = {
	.name = "one of two levels' own is removed",
	.names = {"remove", "reader", "inv"},
	.setup = setup_apart,
	.enter = world_enter,
	.threads = {remove_one, read_zero, change_zero},
	.check = world_close,
};

static void start_and_wait(void *arg)
{
	struct mmu_notifier_range range;

	(void)arg;
	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, WORLD_BASE, WORLD_BASE + PAGE);
	sched_assert(mmu_notifier_invalidate_range_start(&range) == 0);
	while (!hmmu_load_relaxed(&driver[0].removed))
		hmmu_cpu_relax();
	mmu_notifier_invalidate_range_end(&range);
}

static void remove_zero(void *arg)
{
	(void)arg;
	world_remove(0);
}

static void setup_only(void)
{
	world_open();
	world_insert(0, 0);
}

/* G4: the callback is over, the invalidation stays open until remove has returned. */
static const struct sched_program woken = {
	.name = "remove is woken before the end",
	.names = {"inv", "remove"},
	.setup = setup_only,
	.enter = world_enter,
	.threads = {start_and_wait, remove_zero},
	.check = world_close,
	.calm = true,
};

/* ---- one slot for all -------------------------------------------------- */

static void same_slot(int index)
{
	(void)index;
	hmmu_tls = (struct hmmu_tls){.slot_hint = 1};
}

static void insert_read(void *arg)
{
	(void)arg;
	world_insert(0, 0);
	world_read(0);
}

static void change_other_zero(void *arg)
{
	(void)arg;
	world_change(7, 7);
	world_change(0, 0);
}

static void change_zero_other(void *arg)
{
	(void)arg;
	world_change(0, 0);
	world_change(7, 7);
}

/* G2: what insert reads of a slot may be of two uses. */
static const struct sched_program reuse = {
	.name = "a slot is used again while an insert looks",
	.names = {"driver", "inv", "inv"},
	.setup = world_open,
	.enter = same_slot,
	.threads = {insert_read, change_other_zero, change_zero_other},
	.check = world_close,
};

static void insert_change(void *arg)
{
	(void)arg;
	world_insert(0, 0);
	world_change(7, 7);
	world_change(0, 0);
}

/* G2: whoever ends, and has to wait for the lock, is still in its slot. */
static const struct sched_program waits = {
	.name = "a slot is used again while its end waits",
	.names = {"driver", "inv", "inv"},
	.setup = world_open,
	.enter = same_slot,
	.threads = {insert_change, change_zero, change_zero_other},
	.check = world_close,
};

static void setup_zero(void)
{
	world_open();
	world_insert(0, 0);
}

static const struct sched_program claim = {
	.name = "three claim one slot",
	.names = {"reader", "inv", "inv"},
	.setup = setup_zero,
	.enter = same_slot,
	.threads = {read_zero, change_zero, change_zero_other},
	.check = world_close,
};

/* ---- no slot ----------------------------------------------------------- */

static void setup_many_full(void)
{
	world_open();
	for (unsigned int i = 0; i < 40; i++)
		world_insert(i, i);
	world_fill_slots();
}

static void change_many(void *arg)
{
	(void)arg;
	world_change(0, WORLD_SUBS - 1);
}

static void insert_late(void *arg)
{
	(void)arg;
	world_insert(41, 41);
	world_read(41);
}

/* G2, G4: an insert between the batches of an end that has no slot. */
static const struct sched_program late = {
	.name = "an insert between the batches, without slots",
	.names = {"inv", "driver"},
	.setup = setup_many_full,
	.enter = world_enter,
	.threads = {change_many, insert_late},
	.check = world_close,
	.length = 400,
};

static void setup_many_read(void)
{
	world_open();
	for (unsigned int i = 0; i < 40; i++)
		world_insert(i, i);
}

static void read_last(void *arg)
{
	(void)arg;
	world_read(39);
	world_read(39);
}

/* G1: one that is not in the first batch. */
static const struct sched_program last = {
	.name = "a reader behind the first batch",
	.names = {"inv", "reader"},
	.setup = setup_many_read,
	.enter = world_enter,
	.threads = {change_many, read_last},
	.check = world_close,
	.length = 400,
};

static void setup_refuse_many(void)
{
	setup_many_read();
	driver[1].refuse = true;
}

static void refused_many(void *arg)
{
	struct mmu_notifier_range range;

	(void)arg;
	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, WORLD_BASE,
				WORLD_BASE + WORLD_SUBS * PAGE);
	sched_assert(mmu_notifier_invalidate_range_start_nonblock(&range) == -EAGAIN);
}

/* G1, G4: refused in the first batch; those of the second were never counted. */
static const struct sched_program refuse = {
	.name = "a refused start of many",
	.names = {"nonblock", "reader"},
	.setup = setup_refuse_many,
	.enter = world_enter,
	.threads = {refused_many, read_last},
	.check = world_close,
	.length = 400,
};

/* ---- what a slot's last walk found --------------------------------------- */

static void change_again(void *arg)
{
	(void)arg;
	for (int i = 0; i < 3; i++)
		world_change(0, 0);
	world_change(1, 1);
}

static void come_and_go(void *arg)
{
	(void)arg;
	world_insert(1, 0);
	world_read(1);
	world_remove(1);
	world_insert(2, 1);
	world_read(2);
}

/* G1, G3: one comes to a range that is changed again and again, and goes. */
static const struct sched_program again = {
	.name = "the same range again",
	.names = {"inv", "driver"},
	.setup = setup_zero,
	.enter = world_enter,
	.threads = {change_again, come_and_go},
	.check = world_close,
};

/* ---- sources ----------------------------------------------------------- */

static void change_page(struct hmmu_source_event *ev, unsigned int page)
{
	(void)ev;
	hmmu_add_seqcst(&truth[page], 1);
	sched_assert(!driver[0].inserted || driver[0].shadow == 0); /* G1 */
}

static void hook(void *arg)
{
	struct hmmu_source_event ev;

	(void)arg;
	for (int i = 0; i < 2; i++) {
		hmmu_source_start(&ev, MMU_NOTIFY_UNMAP, WORLD_BASE, WORLD_BASE + PAGE);
		change_page(&ev, 0);
		hmmu_source_end(&ev);
	}
}

static void hook_quiet(void *arg)
{
	struct hmmu_source_event ev;

	(void)arg;
	for (int i = 0; i < 3; i++) {
		if (!hmmu_source_start_quiet(&ev, MMU_NOTIFY_UNMAP, WORLD_BASE,
					     WORLD_BASE + PAGE))
			continue;
		change_page(&ev, 0);
		hmmu_source_end(&ev);
	}
}

static void setup_attached(void)
{
	world_open();
	sched_assert(hmmu_instance() && hmmu_source_anchor() == 0);
	sched_assert(hmmu_source_attach(mm) == 0);
}

static void detach(void *arg)
{
	(void)arg;
	hmmu_source_detach(mm);
	for (unsigned int i = 0; i < HMMU_SLOTS; i++)
		sched_assert((hmmu_load_acquire(&mm->slots[i].state) & SLOT_KIND) == SLOT_FREE);
}

/* Whoever was detached has nothing open of a source's: close may reuse it. */
static const struct sched_program detaching = {
	.name = "an mm is detached",
	.names = {"detach", "hook", "hook"},
	.setup = setup_attached,
	.enter = world_enter,
	.threads = {detach, hook, hook},
	.check = world_close,
};

/* Whoever began has ended: a detach would wait for it for ever. */
static void check_attached(void)
{
	struct mm_struct *anchor = hmmu_instance()->anchor;

	for (unsigned int i = 0; i < HMMU_SLOTS; i++)
		sched_assert((anchor->slots[i].state & SLOT_KIND) == SLOT_FREE);
	hmmu_source_detach(mm);
	world_close();
}

/* A change that must not call back is refused, or made with nobody watching. */
static const struct sched_program quiet = {
	.name = "a quiet change meets an insert",
	.names = {"driver", "quiet", "hook"},
	.setup = setup_attached,
	.enter = world_enter,
	.threads = {insert_read, hook_quiet, hook},
	.check = check_attached,
};

static struct hmmu_inv crowd[HMMU_SLOTS];

static void setup_crowd(void)
{
	struct mm_struct *anchor;

	world_open();
	sched_assert(hmmu_instance() && hmmu_source_anchor() == 0);
	anchor = hmmu_instance()->anchor;
	for (unsigned int i = 0; i < HMMU_SLOTS; i++) {
		crowd[i] = (struct hmmu_inv){.mm = anchor, .start = 1, .end = 2};
		sched_assert(hmmu_slot_claim(anchor, &crowd[i]));
	}
}

static void end_crowd(void *arg)
{
	(void)arg;
	for (unsigned int i = 0; i < HMMU_SLOTS; i++)
		sched_assert(hmmu_slot_release(&crowd[i]));
}

static void watch_read(void *arg)
{
	(void)arg;
	sched_assert(hmmu_source_attach(mm) == 0);
	world_insert(0, 0);
	world_read(0);
}

/* G2: changes for which the anchor has no slot left are waited for, too. */
static const struct sched_program crowded = {
	.name = "an mm begins to watch in a crowd",
	.names = {"driver", "hook", "crowd"},
	.setup = setup_crowd,
	.enter = world_enter,
	.threads = {watch_read, hook, end_crowd},
	.check = check_attached,
	.length = 500,
};

/* ---- changes inside the lock ------------------------------------------- */

/* As a signal handler that has interrupted the holder of the lock. */
static void change_in_handler(void *arg)
{
	(void)arg;
	hmmu_mm_lock(mm);
	world_change(0, 0);
	hmmu_mm_unlock(mm);
}

static void checked_reads(void *arg)
{
	struct driver *d = &driver[0];

	(void)arg;
	for (int i = 0; i < 2; i++) {
		unsigned long seq = mmu_interval_read_begin(&d->sub);
		uint64_t value = hmmu_load_acquire(&truth[0]);
		/* A change may come before this; none between it and the check. */
		uint64_t now = hmmu_load_acquire(&truth[0]);

		if (hmmu_access_ok(&d->sub, seq))
			sched_assert(value == now);
	}
}

static void check_handler(void)
{
	hmmu_reclaim(mm);
	sched_assert(driver[0].called > 0);
	world_close();
}

/* Both wait; one of them delivers, and wakes the other. */
static const struct sched_program told = {
	.name = "two wait for what a handler left",
	.names = {"handler", "reader", "reader"},
	.setup = setup_zero,
	.enter = world_enter,
	.threads = {change_in_handler, checked_reads, checked_reads},
	.check = check_handler,
	.calm = true,
};

/* ---- clean-up ---------------------------------------------------------- */

static struct hmmu_work work[4];
static uint32_t ran, running;

static void run_slowly(struct hmmu_work *w)
{
	(void)w;
	hmmu_add_seqcst(&running, 1);
	hmmu_add_seqcst(&ran, 1);
	hmmu_add_seqcst(&running, (uint32_t)-1);
}

static void defer_two(void *arg)
{
	struct hmmu_work *w = arg;

	hmmu_defer(mm, &w[0], run_slowly);
	hmmu_defer(mm, &w[1], run_slowly);
}

static void reclaim(void *arg)
{
	(void)arg;
	hmmu_reclaim(mm);
	hmmu_reclaim(mm);
}

static void setup_works(void)
{
	world_open();
	ran = running = 0;
}

static void check_works(void)
{
	hmmu_reclaim(mm);
	sched_assert(ran == 4);
	world_close();
}

static const struct sched_program reclaiming = {
	.name = "defer meets reclaim",
	.names = {"defer", "defer", "reclaim", "reclaim"},
	.setup = setup_works,
	.enter = world_enter,
	.threads = {defer_two, defer_two, reclaim, reclaim},
	.args = {&work[0], &work[2], NULL, NULL},
	.check = check_works,
};

static void setup_close(void)
{
	setup_works();
	defer_two(&work[0]);
}

static void close_mm(void *arg)
{
	(void)arg;
	sched_assert(hmmu_mm_close(mm) == 0);
	/* What was deferred is done. */
	sched_assert(hmmu_load_seqcst(&ran) == 2 && !hmmu_load_seqcst(&running));
}

/* G3: close waits for works that another thread runs. */
static const struct sched_program closing = {
	.name = "close meets reclaim",
	.names = {"close", "reclaim"},
	.setup = setup_close,
	.enter = world_enter,
	.threads = {close_mm, reclaim},
	.calm = true,
};

/* ---- the whole-mm form ------------------------------------------------- */

static struct {
	struct mmu_notifier n;
	uint32_t gone; /* unregistered: "freed" */
	uint32_t got;
	int started, ended;
	uint64_t busy;
} whole[2];
static __thread bool heard;

static int whole_start(struct mmu_notifier *n, const struct mmu_notifier_range *range)
{
	int i = (void *)n == (void *)&whole[1];

	(void)range;
	sched_assert(!hmmu_load_relaxed(&whole[i].gone)); /* G3 */
	for (int k = 0; k < 3; k++)
		hmmu_add_relaxed(&whole[i].busy, 1);
	sched_assert(!hmmu_load_relaxed(&whole[i].gone)); /* G3 */
	whole[i].started++;
	heard = true;
	return 0;
}

static void whole_end(struct mmu_notifier *n, const struct mmu_notifier_range *range)
{
	int i = (void *)n == (void *)&whole[1];

	(void)range;
	sched_assert(!hmmu_load_relaxed(&whole[i].gone)); /* G3 */
	whole[i].ended++;
}

static unsigned int allocated;

static struct mmu_notifier *whole_alloc(struct mm_struct *m)
{
	(void)m;
	return &whole[hmmu_add_seqcst(&allocated, 1)].n;
}

static void whole_free(struct mmu_notifier *n)
{
	hmmu_store_relaxed(&whole[(void *)n == (void *)&whole[1]].gone, 1);
}

static const struct mmu_notifier_ops whole_ops = {
	.invalidate_range_start = whole_start,
	.invalidate_range_end = whole_end,
	.alloc_notifier = whole_alloc,
	.free_notifier = whole_free,
};

static void setup_whole(void)
{
	world_open();
	memset(whole, 0, sizeof(whole));
	allocated = 0;
	whole[0].n.ops = whole[1].n.ops = &whole_ops;
	sched_assert(mmu_notifier_register(&whole[0].n, mm) == 0);
	sched_assert(mmu_notifier_register(&whole[1].n, mm) == 0);
}

static void unregister_one(void *arg)
{
	(void)arg;
	mmu_notifier_unregister(&whole[1].n, mm);
	hmmu_store_relaxed(&whole[1].gone, 1);
}

/* whole[0] stays: it is told of everything. */
static void change_told(void *arg)
{
	struct mmu_notifier_range range;

	(void)arg;
	for (int i = 0; i < 2; i++) {
		heard = false;
		mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, WORLD_BASE,
					WORLD_BASE + 1);
		sched_assert(mmu_notifier_invalidate_range_start(&range) == 0);
		sched_assert(heard); /* G2 */
		mmu_notifier_invalidate_range_end(&range);
	}
}

static void check_whole(void)
{
	sched_assert(whole[0].started == whole[0].ended);
	mmu_notifier_unregister(&whole[0].n, mm);
	world_close();
}

/* G3, and the one that stays is told of everything. */
static const struct sched_program unregistering = {
	.name = "unregister meets callbacks",
	.names = {"unregister", "inv", "inv"},
	.setup = setup_whole,
	.enter = world_enter,
	.threads = {unregister_one, change_told, change_told},
	.check = check_whole,
};

static void setup_get(void)
{
	world_open();
	memset(whole, 0, sizeof(whole));
	allocated = 0;
}

static uint32_t got;

static void get(void *arg)
{
	struct mmu_notifier *n;

	(void)arg;
	sched_assert(mmu_notifier_get(&whole_ops, mm, &n) == 0);
	sched_assert(n == &whole[0].n || n == &whole[1].n);
	hmmu_store_release(&got, 1);
}

static void change_heard(void *arg)
{
	struct mmu_notifier_range range;

	(void)arg;
	for (int i = 0; i < 2; i++) {
		heard = false;
		mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, WORLD_BASE,
					WORLD_BASE + 1);
		sched_assert(mmu_notifier_invalidate_range_start(&range) == 0);
		/* G2: who got one knows what is open. */
		sched_assert(!hmmu_load_acquire(&got) || heard);
		mmu_notifier_invalidate_range_end(&range);
	}
}

static void setup_got(void)
{
	setup_get();
	got = 0;
}

static void check_got(void)
{
	struct mmu_notifier *n = whole[0].gone ? &whole[1].n : &whole[0].n;

	/* One for both of them: the other was freed. */
	sched_assert(allocated < 2 || whole[0].gone + whole[1].gone == 1);
	mmu_notifier_put(n);
	mmu_notifier_put(n);
	hmmu_reclaim(mm);
	sched_assert(whole[n == &whole[1].n].gone);
	world_close();
}

static const struct sched_program getting = {
	.name = "two get one notifier",
	.names = {"get", "get", "inv"},
	.setup = setup_got,
	.enter = world_enter,
	.threads = {get, get, change_heard},
	.check = check_got,
};

/* ---- the net's extents ------------------------------------------------- */

static struct hmmu_uffd net;

static void setup_extents(void)
{
	net.nextents = 0;
	hmmu_extents_add(&net, 0x50000, 0x51000);
}

static void move_extents(void *arg)
{
	(void)arg;
	for (int i = 0; i < 2; i++) {
		hmmu_extents_add(&net, 0x10000, 0x11000);
		hmmu_extents_add(&net, 0x20000, 0x21000);
		hmmu_extents_remove(&net, 0x10000, 0x21000);
	}
}

static void look_at_extents(void *arg)
{
	(void)arg;
	for (int i = 0; i < 4; i++)
		sched_assert(hmmu_extents_overlap(&net, 0x50000, 0x51000));
}

/* A hook must not take a registered range for one that nobody is told of. */
static const struct sched_program extents = {
	.name = "a hook looks while extents move",
	.names = {"arm", "hook", "hook"},
	.setup = setup_extents,
	.enter = world_enter,
	.threads = {move_extents, look_at_extents, look_at_extents},
};

static const struct sched_program *const scenarios[] = {
	&behind,  &woken,	  &refuse,    &shared,	&gate,	  &reuse, &claim,
	&late,	  &last,	  &detaching, &quiet,	&crowded, &told,  &reclaiming,
	&closing, &unregistering, &getting,   &extents, &waits,	  &again,
};

int main(int argc, char **argv)
{
	bool buffered = argc > 1 && !strcmp(argv[1], "buffered");
	const char *only = argv[1 + buffered];
	int failed = 0, n = 0;

	for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
		struct sched_result res;

		if (only && strcmp(only, scenarios[i]->name) != 0)
			continue;
		n++;
		if (buffered)
			sched_search_buffered(&res, scenarios[i], 1, SEEDS);
		else
			sched_search(&res, scenarios[i], 1, SEEDS);
		if (res.verdict != SCHED_OK) {
			sched_print(stdout, &res, scenarios[i]);
			failed++;
		}
		printf("%s: %s: %llu schedules, %llu steps\n",
		       res.verdict == SCHED_OK ? "ok" : "FAILED", scenarios[i]->name,
		       (unsigned long long)res.runs, (unsigned long long)res.total);
	}
	printf("%d failed\n", failed);
	return failed || !n ? EXIT_FAILURE : EXIT_SUCCESS;
}
