// SPDX-License-Identifier: MIT
/*
 * hazard.c - a walk against a remove and the reuse of what was removed (G3), and the wake
 * of a remove that waits (G4).
 *
 *	left: start over A and B		right: remove(B), reuse its memory
 *	hazard = B				removals++; membarrier
 *	load removals: moved? not called	load hazards: B? wait
 *	call B; hazard = none			B is another's
 *	load event_waiters: wake
 *		[Required: B's callback does not run when it is another's; remove returns]
 */
#include <stdio.h>

#include "futex.h"
#include "litmus.h"
#include "notifier/notifier.h"

#define PAGE 4096ul
#define BASE (PAGE << 20)

static struct mm_struct *mm;
static struct mmu_interval_notifier a, b;
static struct mmu_notifier_range range;
static uint32_t gone;
static uint64_t touched; /* left's */

static bool drop_a(struct mmu_interval_notifier *sub, const struct mmu_notifier_range *r,
		   unsigned long seq)
{
	mmu_interval_set_seq(sub, seq);
	return true;
}

static bool drop_b(struct mmu_interval_notifier *sub, const struct mmu_notifier_range *r,
		   unsigned long seq)
{
	touched += hmmu_load_relaxed(&gone);
	mmu_interval_set_seq(sub, seq);
	for (uint32_t n = litmus_random() & 63; n > 0; n--)
		hmmu_cpu_relax();
	touched += hmmu_load_relaxed(&gone);
	return true;
}

static bool another(struct mmu_interval_notifier *sub, const struct mmu_notifier_range *r,
		    unsigned long seq)
{
	mmu_interval_set_seq(sub, seq);
	touched++;
	return true;
}

static const struct mmu_interval_notifier_ops ops_a = {drop_a}, ops_b = {drop_b},
					      ops_another = {another};

static void warm_left(void)
{
	(void)hmmu_load_relaxed(&mm->removals);
	(void)hmmu_load_relaxed(&mm->event_waiters);
}

static void warm_right(void)
{
	for (uint32_t i = 0; i < hmmu_load_relaxed(&mm->slots_high); i++)
		(void)hmmu_load_relaxed(&mm->slots[i].hazard);
}

static void start(void)
{
	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, BASE, BASE + 2 * PAGE);
	mmu_notifier_invalidate_range_start(&range);
}

static void remove_b(void)
{
	mmu_interval_notifier_remove(&b);
	hmmu_store_relaxed(&gone, 1);
	hmmu_store_relaxed(&b.ops, &ops_another);
}

static int insert_b(void)
{
	hmmu_store_relaxed(&gone, 0);
	return mmu_interval_notifier_insert(&b, mm, BASE + PAGE, PAGE, &ops_b);
}

static bool settle(void)
{
	bool good = touched == 0;

	touched = 0;
	mmu_notifier_invalidate_range_end(&range);
	return insert_b() == 0 && good;
}

static void rescue(void)
{
	hmmu_add_seqcst(&mm->event, 1);
	hmmu_futex_wake(&mm->event, 1);
}

static const struct litmus l = {"hazard",  "callback x remove and reuse",
				warm_left, warm_right,
				start,	   remove_b,
				settle,	   rescue,
				7,	   9};

int main(void)
{
	const struct hmmu_mm_options options = {.size = sizeof(options),
						.flags = HMMU_MM_OWN_RECLAIM};
	int bad = 0;

	if (hmmu_mm_open(&mm, &options) ||
	    mmu_interval_notifier_insert(&a, mm, BASE, PAGE, &ops_a) || insert_b())
		return 1;
#ifdef LITMUS_WEAK
	bad |= litmus_broken(&l, LITMUS_WEAK);
#else
	bad |= litmus_clean(&l, 1000000);
	hmmu_planted = HMMU_PLANT_NO_HAZARD_RECHECK;
	bad |= litmus_broken(&l, "NO_HAZARD_RECHECK");
	hmmu_planted = HMMU_PLANT_REMOVE_NO_WAIT;
	bad |= litmus_broken(&l, "REMOVE_NO_WAIT");
	hmmu_planted = HMMU_PLANT_NO_REMOVE_WAKE;
	bad |= litmus_broken(&l, "NO_REMOVE_WAKE");
#endif
	return litmus_status(bad);
}
