/* SPDX-License-Identifier: MIT */
/* reclaim.h - deferred clean-up, for the inside. */
#ifndef HMMU_RECLAIM_H
#define HMMU_RECLAIM_H

#include "../instance.h"

/* The two halves of hmmu_defer(): the first is legal with mm->lock held, the second, which
 * may wake the reclaimer, is not. Both are legal in a signal handler. */
void hmmu_defer_push(struct mm_struct *mm, struct hmmu_work *work,
		     void (*fn)(struct hmmu_work *));
void hmmu_defer_wake(struct mm_struct *mm);

/* Something that mmu_notifier_synchronize() may be waiting for has happened. */
void hmmu_progress(struct hmmu_instance *inst);

/* Said by a work: more of its kind will come, and it does not mind a millisecond. */
void hmmu_reclaim_more(void);

/* Nothing of @mm is queued, and none but works that this thread is inside of run. */
bool hmmu_reclaim_idle(struct mm_struct *mm);
/* Runs what is queued for @mm and waits for what others run of it: until idle. */
void hmmu_reclaim_drain(struct mm_struct *mm);

#endif /* HMMU_RECLAIM_H */
