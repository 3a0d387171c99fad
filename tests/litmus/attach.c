// SPDX-License-Identifier: MIT
/*
 * attach.c - a change of the process against an mm that begins to watch (source.c).
 *
 *	left: source_start, change, source_end	right: attach
 *	slot in the anchor			place = mm
 *	load places: open in mm			slot in the anchor: wait for its end
 *		[Required: attach has not returned while a change goes on that did not
 *		 find the mm]
 */
#include <stdio.h>

#include "instance.h"
#include "litmus.h"
#include "notifier/notifier.h"

static struct mm_struct *mm;
static struct hmmu_instance *inst;
static uint64_t attached, missed;

static void warm_left(void)
{
	(void)hmmu_load_relaxed(&inst->watched[0]);
	(void)hmmu_load_relaxed(&inst->nwatched);
}

static void warm_right(void)
{
	for (uint32_t i = 0; inst->anchor && i < hmmu_load_relaxed(&inst->anchor->slots_high);
	     i++)
		(void)hmmu_load_relaxed(&inst->anchor->slots[i].state);
}

static void change(void)
{
	struct hmmu_source_event ev;

	hmmu_source_start(&ev, MMU_NOTIFY_UNMAP, 4096, 8192);
	/* Only in the anchor: nobody may begin to watch now. */
	if (ev.n == 1) {
		for (uint32_t n = 8 + (litmus_random() & 31); n > 0; n--) {
			hmmu_cpu_relax();
			missed += hmmu_load_acquire(&attached);
		}
	}
	hmmu_source_end(&ev);
}

static void attach(void)
{
	hmmu_lock(&inst->lock);
	hmmu_source_attach(mm);
	hmmu_store_release(&attached, 1);
	hmmu_unlock(&inst->lock);
}

static bool settle(void)
{
	bool good = missed == 0;

	missed = 0;
	hmmu_store_relaxed(&attached, 0);
	hmmu_lock(&inst->lock);
	hmmu_source_detach(mm);
	hmmu_unlock(&inst->lock);
	return good;
}

static const struct litmus l = {
	"attach", "change x attach", warm_left, warm_right, change, attach, settle, NULL, 8, 6};

int main(void)
{
	const struct hmmu_mm_options options = {.size = sizeof(options),
						.flags = HMMU_MM_OWN_RECLAIM};
	int bad = 0;

	if (hmmu_mm_open(&mm, &options))
		return 1;
	inst = hmmu_instance();
	/* Changes that began before there was an anchor are not ours. */
	if (hmmu_source_anchor())
		return 1;
#ifdef LITMUS_WEAK
	bad |= litmus_broken(&l, LITMUS_WEAK);
#else
	bad |= litmus_clean(&l, 100000);
	hmmu_planted = HMMU_PLANT_ATTACH_NO_WAIT;
	bad |= litmus_broken(&l, "ATTACH_NO_WAIT");
#endif
	return litmus_status(bad);
}
