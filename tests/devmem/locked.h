/* SPDX-License-Identifier: MIT */
/* locked.h - a world of mlocked pages and a device, and what is locked in it. */
#ifndef HMMU_TEST_DEVMEM_LOCKED_H
#define HMMU_TEST_DEVMEM_LOCKED_H

#include "dev.h"

#define N 16
#define ARENA 256

struct locked_world {
	struct mm_struct *mm;
	struct dev dev;
	char *p;
	struct trip *t;
	struct runner r, s;
};

/* Times that slots were locked and unlocked. */
extern uint32_t locks, unlocks;

struct locked_world *locked_world_of(size_t slots);
struct locked_world *locked_world(void);
char *slot(struct locked_world *w, size_t i);
bool is_locked(const char *p);
size_t slots_locked(struct locked_world *w);
size_t slots_held(struct locked_world *w);
/* Of /proc/self/maps, those that begin in the arena. */
size_t arena_mappings(struct locked_world *w);
size_t away(struct locked_world *w, uint64_t seed);
/* Emptying the slots is a change, whose event a busy machine may not have read in time: what
 * stays for that goes with the next. */
void out_of_full_slots(struct locked_world *w);
/* Nothing is left, neither in the slots nor of the locks. */
void locked_world_end(struct locked_world *w);
void moved_not_copied(struct locked_world *w);
void lock(char *p, size_t pages);
void lock_on_fault(char *p, size_t pages);
void unlock(char *p, size_t pages);

#endif /* HMMU_TEST_DEVMEM_LOCKED_H */
