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
 * are planted (src/plant.h), which must show. Where the bug is a weaker access, the
 * same program is built with one file of src/ whose access a header of weak/ replaces
 * (LITMUS_WEAK): it must find it, or else the clean runs have proved nothing. On x86 only
 * a store that passes a later load can be seen: acquire for seqcst loads, acq_rel for
 * seqcst RMWs and release for relaxed are the same instructions. Those are shown by the
 * Relacy models (models/relacy/: SLOT_ACQUIRE, CLAIM_ACQ_REL, END_RELAXED and so on).
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

/* As it is: @rounds must show nothing. 0 or 1, printed. */
int litmus_clean(const struct litmus *l, uint64_t rounds);
/* With a bug: must show within @rounds. 0 or 1, printed. */
int litmus_broken(const struct litmus *l, uint64_t rounds, const char *bug);

/* With a bug that some machines hardly ever show: did it show within @seconds? If not, nothing
 * has been proved: a skip. */
int litmus_shown(const struct litmus *l, unsigned int seconds, const char *bug);

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
