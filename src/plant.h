/* SPDX-License-Identifier: MIT */
/*
 * plant.h - bugs planted on purpose, one per concurrent rule.
 *
 * HMMU_PLANTED(X) is a constant false but in the test build (HMMU_SCHED or
 * HMMU_PLANT), where one bug at a time is switched on by name. Each must be
 * killed by an assertion of a test (tests/sched/planted.c, tests/litmus/): a
 * bug that survives is a missing test.
 */
#ifndef HMMU_PLANT_H
#define HMMU_PLANT_H

#include <stdbool.h>

#define HMMU_PLANT_LIST(X)                                                               \
	X(NONE, "no bug")                                                                \
	X(NO_RETRY, "read_retry answers false always (G1, meeting 1)")                   \
	X(NO_WAIT, "read_begin does not wait for an open invalidation (G1, meeting 3)")  \
	X(START_ONLY, "end does not count: nothing stays open (G1, HMM's old bug)")      \
	X(CALLBACK_SKIPPED, "start returns without calling back (G1, meeting 2)")        \
	X(INSERT_IGNORES_OPEN, "insert does not look at open invalidations (G2)")        \
	X(SCAN_BEFORE_PUBLISH, "insert looks at the slots, then publishes (G2)")         \
	X(SUMMARY_BEFORE_SLOT, "start reads the summary, then claims its slot (G2)")     \
	X(NO_LIMIT, "start's walk counts those that counted themselves (G4)")            \
	X(END_COUNTS_LATE, "end's walk counts those inserted after it began (G1)")       \
	X(HEAL_DROPS_WATCHED, "a false alarm clears a cell somebody watches (G1)")       \
	X(REMOVE_NO_WAIT, "remove does not wait for running callbacks (G3)")             \
	X(NO_HAZARD_RECHECK, "a callback runs without the removal check (G3)")           \
	X(REMOVE_WAITS_END, "remove waits for the end of an open invalidation (G4)")     \
	X(NO_WAKE, "end does not wake the readers that wait (G4)")                       \
	X(NO_REMOVE_WAKE, "a finished callback does not wake remove (G4)")               \
	X(EAGAIN_NO_UNDO, "a refused start leaves its counts behind (G4)")               \
	X(EAGAIN_NO_END, "a refused start ends none of those who accepted (G4)")         \
	X(REGISTER_NO_WAIT, "register does not wait for what is open (G2, pairs)")       \
	X(DEFER_LOST, "defer overwrites the list's head (clean-up is lost)")             \
	X(SEQ_COMES_AGAIN, "a new life of a subscription counts from the start (G6)")    \
	X(SINGLE_GONE,                                                                   \
	  "end trusts the only one that start found, though some were removed (G3)")     \
	X(ATTACH_NO_WAIT, "an mm that begins to watch ignores changes in flight (G2)")   \
	X(SIGNAL_IGNORED, "a change from a signal handler inside the lock is lost (G1)") \
	X(RC_NO_RETRY, "a registration is installed though it collided (G1)")            \
	X(RC_NO_RECHECK, "a get trusts the word that it read before it pinned (G1)")     \
	X(RC_NO_EPOCH, "a get does not look whether the mm is undecided (G1)")           \
	X(RC_WORDS_STAY, "an invalidation leaves the words in the table (G1)")           \
	X(RC_PINS_IGNORED, "a region in use is deregistered (G3)")                       \
	X(RC_NO_POKE, "a put tells nobody that a dead region is free (G4)")              \
	X(LEAF_BEFORE_BITS, "a larger leaf is to be seen before it has the bits (G2)")   \
	X(RC_PAIR_STAYS, "two parts are found together though one is gone (G1)")         \
	X(DM_NO_RETRY, "a page leaves though its memory has begun to change (G1)")       \
	X(DM_NO_FILLING, "a page may leave while an empty one gets zeros (G1)")          \
	X(DM_NO_REVOKE, "a page comes home while its device uses it (G1)")               \
	X(DM_NO_WAKE, "finalize wakes nobody who touched meanwhile (G4)")                \
	X(DM_UNREGISTERED, "a mapping is given back while pages are away (G1)")          \
	X(DM_NO_STRAYS, "a change finds pages away that a raw mremap() has moved (G1)")  \
	X(DM_NO_GATE, "an event is read while content moves (G1)")                       \
	X(DM_LOCKED_EARLY, "a slot is known to be locked before it is (G4)")

enum hmmu_plant {
#define HMMU_PLANT_ENUM(name, text) HMMU_PLANT_##name,
	HMMU_PLANT_LIST(HMMU_PLANT_ENUM)
#undef HMMU_PLANT_ENUM
		HMMU_PLANT_NR,
	HMMU_PLANT_DEVMEM = HMMU_PLANT_DM_NO_RETRY, /* the first of devmem/'s, which are last */
};

#if defined(HMMU_SCHED) || defined(HMMU_PLANT)
extern enum hmmu_plant hmmu_planted; /* set by one thread before others start */
#define HMMU_PLANTED(name) (hmmu_planted == HMMU_PLANT_##name)
#else
#define HMMU_PLANTED(name) false
#endif

#endif /* HMMU_PLANT_H */
