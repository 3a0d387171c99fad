// SPDX-License-Identifier: MIT
/* world.c - see world.h. */
#include "world.h"

#include <errno.h>
#include <string.h>

struct mm_struct *mm;
struct driver driver[WORLD_SUBS];
uint64_t truth[WORLD_SUBS + 1];

static struct mmu_notifier_range filler[HMMU_SLOTS];
static bool filled;
static const struct timespec never_sleep;

void world_enter(int index)
{
	/* Distinct slots from the start, the same in each run. */
	hmmu_tls = (struct hmmu_tls){.slot_hint = (uint32_t)index + 1};
}

static bool hear(struct mmu_interval_notifier *sub, const struct mmu_notifier_range *range,
		 unsigned long cur_seq)
{
	struct driver *d = (struct driver *)sub;

	sched_assert(!hmmu_load_relaxed(&d->removed)); /* G3 */
	if (!mmu_notifier_range_blockable(range) && d->refuse)
		return false;
	hmmu_lock(&d->lock);
	mmu_interval_set_seq(sub, cur_seq);
	d->shadow = 0;
	d->called++;
	hmmu_unlock(&d->lock);
	for (int i = 0; i < 3; i++) /* still running */
		hmmu_add_relaxed(&d->busy, 1);
	sched_assert(!hmmu_load_relaxed(&d->removed)); /* G3 */
	return true;
}

static const struct mmu_interval_notifier_ops ops = {.invalidate = hear};

void world_open(void)
{
	struct hmmu_mm_options o = {.size = sizeof(o), .flags = HMMU_MM_OWN_RECLAIM};

	memset(driver, 0, sizeof(driver));
	for (unsigned int i = 0; i <= WORLD_SUBS; i++)
		truth[i] = 1;
	filled = false;
	sched_assert(hmmu_mm_open(&mm, &o) == 0);
}

void world_insert(unsigned int i, unsigned int page)
{
	struct driver *d = &driver[i];

	d->page = page;
	sched_assert(mmu_interval_notifier_insert(&d->sub, mm, WORLD_BASE + page * PAGE, PAGE,
						  &ops) == 0);
	d->inserted = true;
}

void world_remove(unsigned int i)
{
	struct driver *d = &driver[i];

	hmmu_lock(&d->lock);
	d->shadow = 0;
	hmmu_unlock(&d->lock);
	mmu_interval_notifier_remove(&d->sub);
	d->ended = ((struct hmmu_sub *)&d->sub)->ended;
	hmmu_store_relaxed(&d->removed, 1);
	d->inserted = false;
}

void world_fill_slots(void)
{
	for (unsigned int i = 0; i < HMMU_SLOTS; i++) {
		mmu_notifier_range_init(&filler[i], MMU_NOTIFY_UNMAP, 0, mm, 1, 2);
		mmu_notifier_invalidate_range_start(&filler[i]);
	}
	filled = true;
}

void world_close(void)
{
	unsigned long seq;

	for (unsigned int i = 0; filled && i < HMMU_SLOTS; i++)
		mmu_notifier_invalidate_range_end(&filler[i]);
	for (unsigned int i = 0; i < WORLD_SUBS; i++) {
		if (driver[i].removed) /* G3: "freed", nobody has written to it */
			sched_assert(((struct hmmu_sub *)&driver[i].sub)->ended ==
				     driver[i].ended);
		if (!driver[i].inserted)
			continue;
		sched_assert(hmmu_read_begin(&driver[i].sub, &seq, &never_sleep) == 0); /* G4 */
		mmu_interval_notifier_remove(&driver[i].sub);
	}
	sched_assert(hmmu_mm_close(mm) == 0);
}

void world_change(unsigned int first, unsigned int last)
{
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, WORLD_BASE + first * PAGE,
				WORLD_BASE + (last + 1) * PAGE);
	sched_assert(mmu_notifier_invalidate_range_start(&range) == 0);
	for (unsigned int page = first; page <= last; page++) {
		hmmu_store_release(&truth[page], truth[page] + 1);
		for (unsigned int i = 0; i < WORLD_SUBS; i++) {
			if (driver[i].page == page && driver[i].inserted)
				sched_assert(driver[i].shadow == 0); /* G1 */
		}
	}
	mmu_notifier_invalidate_range_end(&range);
}

void world_read(unsigned int i)
{
	struct driver *d = &driver[i];
	unsigned long seq;
	uint64_t value;

	for (;;) {
		seq = mmu_interval_read_begin(&d->sub);
		value = hmmu_load_acquire(&truth[d->page]);
		hmmu_lock(&d->lock);
		if (!mmu_interval_read_retry(&d->sub, seq))
			break;
		hmmu_unlock(&d->lock);
	}
	d->shadow = value;
	sched_assert(value == truth[d->page]); /* G1 */
	hmmu_unlock(&d->lock);
}
