/* SPDX-License-Identifier: MIT */
/*
 * world.h - a small world for schedules of the real code: one mm, subscriptions with a
 * shadow each, and a truth that invalidators change. The invariants that every scenario
 * asserts:
 *
 *   G1	when the truth of a range changes, no shadow holds the old one; nothing is
 *	installed that is not the truth of that moment
 *   G3	no callback of a subscription that remove() has returned from
 *   G4	when all is over, nobody is blocked: begun == ended
 */
#ifndef TESTS_SCHED_WORLD_H
#define TESTS_SCHED_WORLD_H

#include "notifier/notifier.h"
#include "scheduler.h"

#define WORLD_SUBS 48
#define WORLD_BASE 0x10000UL
#define PAGE 4096UL

struct driver {
	struct mmu_interval_notifier sub;
	struct hmmu_lock lock; /* the driver lock */
	uint64_t shadow;       /* lock; 0: nothing */
	uint64_t ended;	       /* the subscription's count when it was removed */
	uint64_t removed;      /* remove() has returned: "freed" */
	uint64_t busy;	       /* points inside the callback */
	unsigned int page;
	unsigned int called;
	void (*inside)(struct driver *d); /* by the callback, without the driver lock */
	bool refuse;			  /* when not blockable */
	bool inserted;
};

extern struct mm_struct *mm;
extern struct driver driver[WORLD_SUBS];
extern uint64_t truth[WORLD_SUBS + 1]; /* by page; never 0 */

void world_enter(int index);	     /* program.enter */
uint64_t world_state(uint64_t hash); /* program.state */
void world_open(void);		     /* an mm of its own, everything zero */
void world_renew(struct mm_struct *m);
void world_check(unsigned int page); /* G1, at the moment of the change */
void world_insert(unsigned int i, unsigned int page);
void world_insert_half(unsigned int i, unsigned int page); /* the upper half of it */
void world_remove(unsigned int i);
void world_close(void);	     /* asserts G4, removes what is inserted, closes */
void world_fill_slots(void); /* invalidations start in the overflow list from now on */

/* Change pages [first, last] by the rules; asserts G1 at the moment of the change. */
void world_change(unsigned int first, unsigned int last);
/* The reader's loop for driver i, once; asserts G1 at the install. */
void world_read(unsigned int i);

#endif /* TESTS_SCHED_WORLD_H */
