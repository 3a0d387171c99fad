/* SPDX-License-Identifier: MIT */
/*
 * meet.h - one range of a world, on a device or not, and those who meet there: what they take
 * is the world, so that each can be a thread or a callback.
 */
#ifndef HMMU_TEST_DEVMEM_MEET_H
#define HMMU_TEST_DEVMEM_MEET_H

#include "dev.h"

#define N 16
#define ARENA 256
#define FAR(w) ((w)->p + 64 * PAGE)

struct world {
	struct mm_struct *mm;
	struct dev dev;
	char *p; /* N pages that hold (1, i) */
	struct trip *t;
	struct runner r, s;
	struct touch touch, touch2;
};

struct world *world(void);
/* Nothing is in use any more, and the sums hold. */
void world_end(struct world *w);
/* Nor are pages of the range, or of FAR. */
void none_away(struct world *w);

/* Changes of the range: bracketed, and not. */
void libc_unmap(void *arg);
void libc_protect(void *arg);
void libc_drop(void *arg);
void raw_unmap(void *arg);
/* ... and something else comes there. */
void raw_replace(void *arg);
void raw_drop(void *arg);
void raw_drop_and_fill(void *arg);
void raw_move(void *arg);
void raw_move_keeping(void *arg);
/* By fork() of libc. */
void child_reads(void *arg);

/* Journeys, and touches by w->r. */
void go_out(void *arg);
void go_home(void *arg);
void start_touch(struct world *w, size_t page);
bool touch_saw(struct world *w, uint64_t seed, size_t page);
/* One page, raw. */
void drop_page(void *page);

#endif /* HMMU_TEST_DEVMEM_MEET_H */
