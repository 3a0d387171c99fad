// SPDX-License-Identifier: MIT
/*
 * event.c - the mm's event count (G4).
 *
 *	left: signal				right: wait
 *	condition = true			event_waiters++; membarrier
 *	load event_waiters: event++, wake	load event, condition: sleep
 *		[Required: right does not sleep when left is through]
 */
#include <stdio.h>
#include <string.h>

#include "futex.h"
#include "litmus.h"
#include "notifier/notifier.h"

static struct mm_struct *mm;
static struct {
	uint32_t word __attribute__((aligned(64)));
} condition;

static bool is_true(struct mm_struct *unused, const void *arg)
{
	return hmmu_load_seqcst(&condition.word);
}

static void warm_left(void)
{
	(void)hmmu_load_relaxed(&mm->event_waiters);
}

static void warm_right(void)
{
	(void)hmmu_load_relaxed(&condition.word);
}

static void signal_it(void)
{
	litmus_fill();
	hmmu_store_release(&condition.word, 1);
	hmmu_event_signal(mm);
}

static void wait_for_it(void)
{
	hmmu_event_wait(mm, is_true, NULL);
}

static bool settle(void)
{
	hmmu_store_relaxed(&condition.word, 0);
	return hmmu_load_relaxed(&mm->event_waiters) == 0;
}

static void rescue(void)
{
	hmmu_add_seqcst(&mm->event, 1);
	hmmu_futex_wake(&mm->event, 1);
}

static const struct litmus l = {"event",     "signal x wait", warm_left, warm_right, signal_it,
				wait_for_it, settle,	      rescue,	 6,	     6};

int main(void)
{
	const struct hmmu_mm_options options = {.size = sizeof(options),
						.flags = HMMU_MM_OWN_RECLAIM};
	int bad = 0;

	if (hmmu_mm_open(&mm, &options))
		return 1;
#ifdef LITMUS_WEAK
	bad |= litmus_broken(&l, LITMUS_WEAK);
#else
	bad |= litmus_clean(&l, 1000000);
	hmmu_planted = HMMU_PLANT_NO_REMOVE_WAKE;
	bad |= litmus_broken(&l, "NO_REMOVE_WAKE");
#endif
	return litmus_status(bad);
}
