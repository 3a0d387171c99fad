/* SPDX-License-Identifier: MIT */
/*
 * side.h - the two that are compared: hmmu and the reference. Each is compiled from
 * the same loops (side_loops.h) with its own calls in them; nothing indirect stands
 * inside a loop.
 *
 * A world is an address space with n subscriptions of @length bytes, one at every
 * STRIDE bytes from BASE on, inserted in random order, so that neighbours in the
 * address space are not neighbours in memory.
 */
#ifndef HMMU_BENCH_SIDE_H
#define HMMU_BENCH_SIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE 4096ul
#define STRIDE (4 * PAGE)
#define BASE (1ul << 36)
#define FAR_AWAY (1ul << 35) /* nothing is ever subscribed near it */

struct world;
struct storm;

/* What a loop works on. */
struct job {
	struct world *world;
	unsigned long start;  /* first byte of the range; for random ones of the first */
	unsigned long length; /* of the range */
	size_t places;	      /* random: one of so many, STRIDE apart */
	size_t which;	      /* which subscription reads, or the thread's number */
	uint64_t callbacks;   /* expected of each operation; checked */
};

/* [start, end): a change that is replayed, or what is subscribed to. */
struct extent {
	unsigned long start, end;
};

#define READ_HOT 16 /* no world that is replayed has fewer subscriptions */

/* Changes, in turn and over again. */
struct replay {
	struct world *world;
	const struct extent *changes;
	size_t n;
	size_t next;	    /* the one that comes */
	size_t reads;	    /* after each: read_begin + read_retry, of READ_HOT in turn */
	uint64_t callbacks; /* so far */
};

struct side {
	const char *name;
	struct world *(*make)(size_t n, unsigned long length);
	/* Exactly these; no loop but replay() goes over them. */
	struct world *(*make_of)(const struct extent *extents, size_t n);
	void (*drop)(struct world *world);
	/* All are batch_fn: arg is a struct job, but where it says another. */
	void (*read)(void *job, uint64_t iters);    /* read_begin + read_retry */
	void (*bracket)(void *job, uint64_t iters); /* init + start + end, one range */
	void (*bracket_random)(void *job, uint64_t iters);
	void (*churn)(void *job, uint64_t iters); /* insert + remove near by */
	void (*churn_random)(void *job, uint64_t iters);
	void (*replay)(void *replay, uint64_t iters); /* arg is a struct replay */
	/* storm.c */
	void (*storm)(struct world *world, struct storm *storm);
	void (*storm_read)(struct world *world, struct storm *storm);
	void (*storm_churn)(struct world *world, struct storm *storm);
	/* Resident bytes that inserting took, of all subscriptions, beside their own
	 * structures. */
	double (*memory)(const struct world *world);
	size_t size; /* of the caller's structure */
};

extern const struct side side_hmmu, side_reference;
extern const struct side side_tree; /* loads/: make_of, drop, replay */

/*
 * A storm: one thread keeps invalidations of watched ranges open without a pause,
 * each beginning before the last one ends, until `deadline`; another one measures.
 */
struct storm {
	double deadline; /* now_ns() */
	uint32_t raging; /* atomic: 0 not yet, 1 the first is open, 2 over */
	uint64_t rounds; /* the storm's */
	size_t max;	 /* samples */
	size_t n;	 /* samples made */
	size_t in_time;	 /* of those, before the deadline */
	double *first;	 /* read_begin + read_retry; or remove */
	double *second;	 /* remove + insert */
};

#endif /* HMMU_BENCH_SIDE_H */
