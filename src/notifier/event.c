// SPDX-License-Identifier: MIT
/*
 * event.c - one event count per mm: somebody's callbacks, or the invalidations that
 * a registration waits for, may be over.
 *
 * Dekker: the waiter counts itself, then looks at its condition; the signaller makes
 * the condition true, then looks for waiters. Rare (remove while a callback runs), so
 * one word for all and everybody wakes.
 */
#include <limits.h>

#include "../futex.h"
#include "notifier.h"

void hmmu_event_wait(struct mm_struct *mm, bool (*cond)(struct mm_struct *, const void *),
		     const void *arg)
{
	/* Pairs with the load in hmmu_event_signal(). models/spin/event.pml EV1 */
	hmmu_add_seqcst(&mm->event_waiters, 1);
	for (;;) {
		/* event.pml EV2 EV3 EV4 */
		uint32_t seen = hmmu_load_seqcst(&mm->event);

		if (cond(mm, arg))
			break;
		hmmu_futex_wait(&mm->event, seen, NULL);
	}
	hmmu_add_seqcst(&mm->event_waiters, (uint32_t)-1);
}

/* The caller has made some condition true by a seqcst store. */
void hmmu_event_signal(struct mm_struct *mm)
{
	/* Pairs with the count in hmmu_event_wait(). event.pml EV5 EV6 */
	if (hmmu_load_seqcst(&mm->event_waiters) == 0)
		return;
	if (HMMU_PLANTED(NO_REMOVE_WAKE))
		return;
	hmmu_add_seqcst(&mm->event, 1);
	hmmu_futex_wake(&mm->event, INT_MAX);
}
