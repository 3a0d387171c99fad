/* SPDX-License-Identifier: MIT */
/*
 * adapter.h - inside the io_uring adapter. include/hmmu/uring.h states the design.
 *
 *	adapter.c  open, close, statistics
 *	slots.c	   the ring's table: which slots are free, which are dead, emptying them
 *	region.c   the cache's device: reg fills a slot, dereg empties it
 *	request.c  prepare, complete
 */
#ifndef HMMU_URING_ADAPTER_H
#define HMMU_URING_ADAPTER_H

#include <pthread.h>
#include <stdatomic.h>

#include <hmmu/uring.h>

#define PUBLIC __attribute__((visibility("default")))

#define SLOT_WORDS (HMMU_URING_MAX_SLOTS / 64)

/*
 * A slot's life: where its bit is.
 *
 *	FREE	-> FILLING  slot_take()		in neither map
 *	FILLING -> LIVE	    slot_fill()		a region's key[0]
 *	FILLING -> FREE	    slot_give_back()	nothing was pinned
 *	LIVE	-> FREE	    slot_release()	not a SINGLE_ISSUER ring
 *	LIVE	-> DEAD	    slot_release()	... or it is, or the kernel refused
 *	DEAD	-> FREE	    slots_sweep()	who took its bit empties it
 *
 * Whoever has a slot that is in neither map is the only one who registers on it.
 * @lock guards the maps; it is never held across a system call.
 */
struct slots {
	pthread_mutex_t lock;
	unsigned int nr;
	unsigned int nr_free;
	unsigned int hint;	      /* where the last free one was found */
	_Atomic unsigned int nr_dead; /* written with lock; peeked at without */
	uint64_t free[SLOT_WORDS];
	uint64_t dead[SLOT_WORDS];
};

/* Relaxed: they order nothing. */
enum counter {
	COUNT_FIXED,
	COUNT_ROOM,
	COUNT_SIZE,
	COUNT_CHANGING,
	COUNT_UNWATCHED,
	COUNT_UNPINNED,
	COUNT_OTHERS,
	COUNT_STALE,
	COUNT_EMPTIED,
	COUNT_EMPTY_FAILED,
	COUNT_NR,
};

struct hmmu_uring {
	struct io_uring *ring;
	struct hmmu_regcache *cache;
	/* Not 0; 0 in a forked child, whoever forked it: a page that the kernel wipes. */
	const volatile uint64_t *ours;
	bool single_issuer;
	unsigned long max_wait_ns;
	/* Who prepared last: the issuer, if there is one. A hint for complete() only: who is
	 * wrong is told -EEXIST by the kernel. */
	_Atomic pthread_t issuer;
	_Atomic uint64_t counts[COUNT_NR];
	struct slots slots;
};

static inline void count(struct hmmu_uring *u, enum counter which, uint64_t n)
{
	atomic_fetch_add_explicit(&u->counts[which], n, memory_order_relaxed);
}

static inline bool in_child(const struct hmmu_uring *u)
{
	return !*u->ours;
}

/* slots.c */
int slots_open(struct hmmu_uring *u, unsigned int nr);
void slots_close(struct hmmu_uring *u);
int slot_take(struct hmmu_uring *u, unsigned int *slot);
int slot_fill(struct hmmu_uring *u, unsigned int slot, void *addr, size_t len);
void slot_give_back(struct hmmu_uring *u, unsigned int slot);
void slot_release(struct hmmu_uring *u, unsigned int slot);
int slots_empty_dead(struct hmmu_uring *u);

/* One load if there is nothing to do; a dead slot that is missed now is found next time. */
static inline int slots_sweep(struct hmmu_uring *u)
{
	if (!atomic_load_explicit(&u->slots.nr_dead, memory_order_relaxed))
		return 0;
	return slots_empty_dead(u);
}

/* region.c */
extern const struct hmmu_regcache_ops region_ops;

#endif /* HMMU_URING_ADAPTER_H */
