/* SPDX-License-Identifier: MIT */
/*
 * instance.h - what there is once per process: who watches, which mms are open, the
 * reclaimer. It lies in a page that a forked child finds zeroed, so that a child
 * starts with nothing, whatever its parent held.
 *
 *	lock	open, close, attach, detach; outside every mm->lock. Held across
 *		system calls, source->open() and the wait for changes in flight:
 *		their callbacks may run meanwhile, in other threads, or in this one
 *		if opening itself changes memory. So a callback must not open, close
 *		or wait for deferred work (docs/contexts.md).
 */
#ifndef HMMU_INSTANCE_H
#define HMMU_INSTANCE_H

#include <pthread.h>
#include <stdint.h>

#include "atomic.h"
#include "lock.h"
#include "source/source.h"

struct hmmu_mirror;

struct hmmu_instance {
	struct hmmu_lock lock;
	/* The places of the mms that use the process's sources: set and cleared under
	 * lock, read by hooks; the other half of a Dekker pair, see source.c. An mm is
	 * never unmapped, so a hook may use one that has just been detached. */
	uint32_t nwatched; /* places [0, nwatched) have been used; only grows */
	struct mm_struct *watched[HMMU_WATCHED_MAX];
	struct mm_struct *anchor; /* set once, before anything is watched */
	uint32_t crowd;		  /* changes in flight for which the anchor had no slot */
	uint32_t opened;	  /* HMMU_SOURCE_*: ever; set under lock */
	uint32_t broken; /* of those: found to see nothing, to be mended by the reclaimer */
	const struct hmmu_source *net; /* while one is open; set and cleared under lock */
	/* Under lock. */
	struct mm_struct *open; /* by next_open */
	struct mm_struct *free; /* by next_free */

	/* The reclaimer: reclaim.c. */
	pthread_t thread;      /* lock */
	uint32_t thread_users; /* mms without HMMU_MM_OWN_RECLAIM; lock */
	uint32_t generation;   /* a reclaimer of another one stops */
	uint32_t work;	       /* futex: something was deferred */
	uint32_t asleep;       /* reclaimers that sleep: Dekker with mm->deferred */
	uint32_t frees_owed;   /* free_notifier calls not yet returned */
	uint32_t doze;	       /* 1: hmmu_reclaim_more() */
	uint32_t progress;     /* futex of mmu_notifier_synchronize() */

	/* Registration caches: regcache/pins.c, cache.c. */
	struct rc_pins *pins;	   /* a record per thread; pushed by CAS, never taken off */
	struct rc_pins *pins_hand; /* where the next search for a free one begins */
	uint64_t caches;	   /* bit per index in use; atomic */
	uint64_t cache_tags;	   /* how many there have been; atomic */

	/* Mirrors: mirror/. Outside the driver locks. */
	struct hmmu_lock mirror_lock;
	struct hmmu_mirror *mirrors; /* by next; mirror_lock */
};

/* Each mm in the places. Pairs with hmmu_source_attach() and hmmu_source_detach(). */
#define for_each_watched(inst, mm)                                                     \
	for (uint32_t i_ = 0, n_ = hmmu_load_seqcst(&(inst)->nwatched); i_ < n_; i_++) \
		if (((mm) = hmmu_load_seqcst(&(inst)->watched[i_])) != NULL)

/* A reclaimer that has been told to stop, to be joined without the lock. */
struct hmmu_reclaimer {
	pthread_t thread;
	int stopped;
};

/* NULL: out of memory. Context: not in a hook (the first call maps). */
struct hmmu_instance *hmmu_instance(void);
/* NULL: nobody has opened anything. Context: any. */
struct hmmu_instance *hmmu_instance_peek(void);

/* mm.c; with inst->lock. A new or a used one; NULL: out of memory. */
struct mm_struct *hmmu_mm_get(struct hmmu_instance *inst);

/* reclaim.c; any context: it has something to look at. */
void hmmu_reclaimer_poke(struct hmmu_instance *inst);
/* reclaim.c; with inst->lock. 0 or -ENOMEM. */
int hmmu_reclaimer_use(struct hmmu_instance *inst);
void hmmu_reclaimer_unuse(struct hmmu_instance *inst, struct hmmu_reclaimer *old);
/* Without it. */
void hmmu_reclaimer_join(struct hmmu_reclaimer *old);

#endif /* HMMU_INSTANCE_H */
