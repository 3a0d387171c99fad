/* SPDX-License-Identifier: MIT */
/*
 * sequence.h - the model beside the library: flat tables, looked through from end to end.
 *
 *	sequence.c	bytes -> steps
 *	sequence_act.c	one step of the library and of the model, compared
 *	sequence_told.c	the callbacks: who may be called, and what they do there
 *
 * One thread. What is predicted, by step:
 *
 *	start	0, or -EAGAIN exactly if somebody it overlaps refuses and may; called back
 *		exactly those that overlap and were there before, once, then the whole-mm
 *		notifiers in the order of their coming; nobody after one that refused
 *	end	called: those whole-mm notifiers that accepted and are still there
 *	begin	-ETIMEDOUT exactly while something that overlaps is open, or the mm is
 *		undecided (G1, G2, G4)
 *	retry	MUST be true if a start came since that called it, or watching was lost
 *		(G1); MUST be false if none came that overlaps it; in between (a start that
 *		was refused before its turn came) it MAY be either
 *	remove	never called back again (G3); its sequences are void for ever (G6)
 *	defer	run once, in order, by reclaim or close
 *	close	-EBUSY exactly if somebody is subscribed or something open
 *
 * A callback may insert, start, end, defer: the same steps, the same predictions, nested.
 * A "handler" starts and ends with an mm's lock held by its own thread, as a signal's
 * would that interrupts the library.
 */
#ifndef TESTS_FUZZ_SEQUENCE_H
#define TESTS_FUZZ_SEQUENCE_H

#include <errno.h>

#include <hmmu/mmu_notifier.h>

#include "fuzz.h"

#define SPACES 2
#define SUBS 128
#define RANGES 96 /* more than there are slots */
#define REGISTERED 4
#define GOTTEN 8
#define WHOLES (REGISTERED + GOTTEN)
#define WORKS 8
#define QUEUE (WORKS + GOTTEN)
#define LOST RANGES /* the library's own range, when watching was lost */

enum act { ACT_NONE, ACT_INSERT, ACT_LEAVE_OPEN, ACT_OPEN_CLOSE, ACT_TRY, ACT_END, ACT_DEFER };
enum since { SINCE_SAME, SINCE_MOVED, SINCE_EITHER };
enum range_state { RANGE_CLOSED, RANGE_BUSY, RANGE_OPEN, RANGE_HELD };

/* What somebody does when it is called next; once. */
struct armed {
	enum act act;
	unsigned int what;
	unsigned long first, last;
};

struct entry {
	struct mmu_interval_notifier sub;
	bool live, refuse;
	unsigned int space;
	unsigned long first, last;
	bool has_seq;
	struct mm_struct *seq_mm;
	unsigned long seq;
	enum since since;
	struct armed armed;
};

struct whole {
	struct mmu_notifier notifier; /* first: a callback finds the rest by it */
	bool live, refuse, freeing;
	unsigned int space, ops, users;
	uint64_t order;		   /* in which they came */
	bool accepted[RANGES + 1]; /* told of its start */
	struct armed armed;
};

struct work {
	struct hmmu_work work;
	bool queued;
	struct armed armed;
};

struct invalidation {
	struct mmu_notifier_range range;
	enum range_state state;
	unsigned int space;
	bool inited; /* may be started again as it is */
};

/* A queue's entry: a work, or a gotten notifier to be freed. */
struct owed {
	unsigned int what; /* works, then WORKS + notifiers */
	bool late;	   /* came while works ran: for the next time */
};

struct space {
	struct mm_struct *mm;
	unsigned int held;   /* open, and begun by a handler */
	unsigned int untold; /* over, and nobody has been told */
	struct owed queue[QUEUE];
	unsigned int queued, ran, running;
	bool draining; /* by close: until nothing is left */
};

/* A start or an end that is going on; the innermost first. */
struct walk {
	unsigned int range; /* or LOST */
	bool ending, refused;
	bool nonblock; /* what is called may not sleep, nor start what may */
	bool whole;    /* all subscriptions are through */
	uint64_t order;
	bool expect[SUBS], called[SUBS];
	bool expect_whole[WHOLES], called_whole[WHOLES];
	struct walk *outer;
};

struct world {
	struct space space[SPACES];
	struct entry entry[SUBS];
	struct invalidation inv[RANGES];
	struct whole whole[WHOLES];
	struct work work[WORKS];
	struct walk *walk;
	uint64_t order;
	const char *misuse; /* the report that has to come now */
};

extern struct world world;

/* sequence_told.c */
extern const struct mmu_interval_notifier_ops sequence_ops;
extern const struct mmu_notifier_ops sequence_whole_ops[3];
extern const struct mmu_notifier_ops sequence_get_ops[2];
void sequence_work(struct hmmu_work *work);
void sequence_report(const char *name, const void *subject);
void sequence_act(struct armed *armed, unsigned int space);

/* sequence_act.c */
bool sequence_overlaps(const struct entry *e, unsigned int space, unsigned long first,
		       unsigned long last);
bool sequence_is_open(unsigned int space, unsigned long first, unsigned long last);
void sequence_open(unsigned int space);
void sequence_insert(unsigned int i, unsigned int space, unsigned long first,
		     unsigned long last);
void sequence_remove(unsigned int i);
/* @again: as it is, if it may be. */
void sequence_start(unsigned int j, unsigned int space, unsigned long first, unsigned long last,
		    bool nonblock, bool again);
void sequence_end(unsigned int j);
void sequence_handler(unsigned int j, unsigned int space, unsigned long first,
		      unsigned long last);
void sequence_begin(unsigned int i);
void sequence_check(unsigned int i);
void sequence_whole(unsigned int i, unsigned int space);
void sequence_get(unsigned int ops, unsigned int space, bool fail);
void sequence_put(unsigned int i);
void sequence_defer(unsigned int w, unsigned int space, bool in_handler);
void sequence_reclaim(unsigned int space);
void sequence_close(unsigned int space);
void sequence_lost_over(void);
extern bool sequence_no_memory; /* alloc_notifier answers NULL */
extern struct whole *sequence_allocated;
/* What a walk that begins now has to call. */
void sequence_walk_begin(struct walk *w, unsigned int range, unsigned int space,
			 unsigned long first, unsigned long last);
void sequence_walk_over(struct walk *w);

#endif /* TESTS_FUZZ_SEQUENCE_H */
