/* SPDX-License-Identifier: MIT */
/*
 * litmus.h - two threads, millions of rounds, one pair of src/ at a time.
 *
 * Stress misses a store that is not an exchange and a look that comes too early: the
 * window is a store buffer wide, and open once in each round only if both threads come
 * to it at once. So here they do nothing else:
 *
 *	left (the main thread)		right
 *	left() -----------------------	right()		at once, after random delays
 *	both have returned
 *	settle(): is what must hold true? false: a violation. End, remove, heal.
 *
 * No verdict depends on time. A right() that never returns is found by what it does: left
 * is through and will wake nobody, the scheduler says that right sleeps: it was lost.
 *
 * Each program first runs the code as it is, which must show nothing, then bugs that
 * are planted (src/plant.h). Where the bug is a weaker access, the same program is built
 * with one file of src/ whose access a header of weak/ replaces (LITMUS_WEAK). On x86 only
 * a store that passes a later load can be seen.
 *
 * How soon a machine shows a bug is the machine's: seconds here, never there. So a bug that
 * has not shown is no failure but a skip, which says that the clean run proved nothing
 * there. The same bugs die by seed, on every machine, under a scheduler with store buffers:
 * `sched-core buffered`, tests/mutants. What no store buffer shows dies in models/relacy/.
 */
#ifndef HMMU_LITMUS_H
#define HMMU_LITMUS_H

#include <stdbool.h>
#include <stdint.h>

struct litmus {
	const char *name;
	const char *pair;	 /* which, for the table */
	void (*warm_left)(void); /* before the delays: what to have in the cache */
	void (*warm_right)(void);
	void (*left)(void);
	void (*right)(void);
	bool (*settle)(void);	/* by left, right waits; false: a violation */
	void (*rescue)(void);	/* right sleeps for ever: wake it. NULL: it never sleeps */
	unsigned int left_bits; /* delays: so long that the two meet in the middle */
	unsigned int right_bits;
};

/* Up to @rounds, or until @stop violations (0: none stops it). How many. */
uint64_t litmus_run(const struct litmus *l, uint64_t rounds, uint64_t stop);

enum {
	LITMUS_FAILED = 1,
	LITMUS_NOT_SHOWN = 2,
};

/* As it is: @rounds must show nothing, or LITMUS_FAILED. Printed. */
int litmus_clean(const struct litmus *l, uint64_t rounds);
/* With a bug, until it has shown; LITMUS_NOT_SHOWN: not in HMMU_LITMUS_SECONDS (15). Printed.
 */
int litmus_broken(const struct litmus *l, const char *bug);

/* For main() to return: 0; 1, something failed; 77, a bug was not shown. */
int litmus_status(int found);

/* Nobody knows how long, at most 2^@bits spins; then sometimes litmus_fill(). */
void litmus_delay(unsigned int bits);
/* Stores to lines of this side's that the other one wrote last (it took them when the round
 * began): whatever is stored next waits behind them, for longer than a load takes. */
void litmus_fill(void);
void litmus_take(unsigned int side); /* 0 left's, 1 right's */
/* This thread's dice. */
uint32_t litmus_random(void);

/* The scheduler's word: does thread @tid sleep? */
bool litmus_sleeps(int tid);

#endif /* HMMU_LITMUS_H */
