// SPDX-License-Identifier: MIT
/*
 * event.c - one event count per mm: somebody's callbacks, or the invalidations that
 * a registration waits for, may be over.
 *
 * Dekker, and who waits pays for both sides: the signaller makes the condition true by a plain
 * release store, then looks for waiters by a plain load; the waiter counts itself, and the
 * barrier that would have to be between those two is made from here:
 *
 *	signaller				waiter
 *	condition = true	[release]	event_waiters++
 *	load event_waiters			membarrier: a full barrier in every thread,
 *	  none: done				  somewhere in the signaller's column
 *	event++, wake				load event; load condition: sleep
 *
 * Before "load event_waiters", which then sees the count; or after it, and then the condition
 * was made true before and is seen here. Whoever signals later sees the count anyway: one
 * membarrier is enough for all that is waited for. Rare (remove while a callback runs), so one
 * word for all and everybody wakes.
 */
#include <limits.h>

#include "../futex.h"
#include "notifier.h"

void hmmu_event_wait(struct mm_struct *mm, bool (*cond)(struct mm_struct *, const void *),
		     const void *arg)
{
	/* Pairs with the load in hmmu_event_signal(). models/spin/event.pml EV1 */
	hmmu_add_seqcst(&mm->event_waiters, 1);
	hmmu_barrier(mm);
	for (;;) {
		/* event.pml EV2 EV3 EV4 */
		uint32_t seen = hmmu_load_seqcst(&mm->event);

		if (cond(mm, arg))
			break;
		hmmu_futex_wait(&mm->event, seen, NULL);
	}
	hmmu_add_seqcst(&mm->event_waiters, (uint32_t)-1);
}

/* event.pml EV6 */
void hmmu_event_wake(struct mm_struct *mm)
{
	if (HMMU_PLANTED(NO_REMOVE_WAKE))
		return;
	hmmu_add_seqcst(&mm->event, 1);
	hmmu_futex_wake(&mm->event, INT_MAX);
}
