/* SPDX-License-Identifier: MIT */
/*
 * mirror.h - inside the io_uring mirror. uring_mirror.h states the design.
 *
 *	table.c	     the page table: what <hmmu/mirror.h> asks of this driver; the check
 *	mirror.c     open and close
 *	window.c     watch, unwatch, drop
 *	slot.c	     take, pin, unpin, evict; tags
 *	access.c     look-up, filling on a miss, queueing
 *	complete.c   submit, reap, run
 */
#ifndef HMMU_URING_MIRROR_INTERNAL_H
#define HMMU_URING_MIRROR_INTERNAL_H

#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include <hmmu/mirror.h>

#include "uring_mirror.h"

/*
 * How a window is kept coherent. The driver has one answer, uring_coherence_hmmu: the public
 * calls. It is a table so that `hmmu torture` can run the same device under wrong answers
 * and show what they cost; a driver of one's own would call the library directly.
 *
 * @watch:   opens w->table; 0 or -errno
 * @unwatch: closes it
 * @settle:  hmmu_mirror_settle()
 * @good:    is what was looked up for a completed access there still?
 */
struct uring_coherence {
	const char *name;
	int (*watch)(struct uring_window *w);
	void (*unwatch)(struct uring_window *w);
	int (*settle)(struct uring_window *w, const struct timespec *deadline);
	bool (*good)(const struct uring_access *a);
};

extern const struct uring_coherence uring_coherence_hmmu;

/*
 * A slot's life. Only "live" is written down; the others are where its number is.
 *
 *	FREE	-> FILLING  slot_take()		owner	m->free -> m->filling
 *	FILLING -> LIVE	    fault(), install()	owner, lock	-> an entry of a table
 *	FILLING -> FREE	    slot_give_back()	owner	(nothing was pinned)
 *	FILLING -> FREE	    abandon(), tag	owner	(pinned, then collided)
 *	LIVE	-> DEAD	    drop()		lock	-> m->dead
 *	DEAD	-> FREE	    slots_bury(), tag	who took the dead list; then owner
 *
 * A callback reaches slots through the table only, hence LIVE ones only. From the
 * burial to the tag the order between two threads is the kernel's: its update of
 * the table happens before the completion that announces it.
 */
#define SLOT_NONE UINT32_MAX

struct slot {
	bool live;		     /* lock */
	struct uring_window *window; /* lock; of a LIVE slot */
	unsigned long addr;	     /* lock; of a LIVE slot */
	unsigned int busy;	     /* the owner's: accesses queued or in flight */
	/* Written with the lock, on m->dead; read by who took the list. Relaxed: the
	 * lock and the tag order it, this only says so to a race detector. */
	_Atomic uint32_t next;
};

/* An entry: the slot's number, and above it a count that no other pin has. */
#define ENTRY_SLOT_BITS 14
_Static_assert(URING_MIRROR_MAX_SLOTS == 1u << ENTRY_SLOT_BITS, "a slot's number fits");

static inline unsigned long entry_make(uint32_t slot, uint64_t stamp)
{
	return HMM_PFN_VALID | HMM_PFN_WRITE |
	       ((stamp << ENTRY_SLOT_BITS | slot) & HMM_PFN_NUMBER);
}

static inline uint32_t entry_slot(unsigned long entry)
{
	return (uint32_t)entry & (URING_MIRROR_MAX_SLOTS - 1);
}

/* CQEs of tags carry this bit; those of accesses carry a pointer. */
#define TAG_BIT (UINT64_C(1) << 63)
#define CANCEL_DATA UINT64_MAX

struct uring_mirror {
	struct mm_struct *mm;
	const struct uring_coherence *coherence;
	pid_t pid; /* who opened it: a forked child leaves the ring alone */
	unsigned int block_shift;
	unsigned int nr_slots;
	unsigned int depth;

	/* The driver lock of every window's table. Nesting: see uring_mirror.h. */
	pthread_mutex_t lock;
	struct slot *slots;		 /* states: lock */
	uint32_t dead;			 /* lock: first of the list of DEAD slots */
	bool hurried;			 /* lock: its holder may not sleep */
	_Atomic uint32_t nr_dead;	 /* written with lock; the owner peeks */
	uint64_t callbacks, zapped;	 /* lock */
	_Atomic uint64_t busy_callbacks; /* counted by those that did not get it */

	/* The owner's from here on. */
	struct io_uring ring; /* its register calls: any thread */
	uint32_t *free;	      /* FIFO: runs of neighbours are emptied by one call */
	unsigned int free_head, nr_free;
	unsigned int clock;	 /* the eviction's hand */
	uint32_t filling;	 /* the FILLING slot, not pinned yet; or SLOT_NONE */
	uint64_t stamp;		 /* of the next entry */
	unsigned long installed; /* the last entry that was */
	unsigned int queued;	 /* prepared, not submitted: == length of @queue */
	unsigned int nops;	 /* abandoned, still in the submission queue */
	unsigned int flying;	 /* submitted, not completed */
	struct uring_access *queue, **queue_tail; /* FIFO, as the ring's */
	struct uring_access *done, **done_tail;	  /* completed, not reaped */
	int staging_fd;
	unsigned char *staging;
	struct uring_window *windows;
	struct uring_mirror_stats stats; /* @retries: of closed windows */
	void *user; /* for a coherence of the caller's own; inherited by windows */
};

struct uring_window {
	struct hmmu_mirror *table;
	struct uring_mirror *mirror;
	struct uring_window *next, **link; /* the owner's list */
	unsigned long start;
	size_t length;
	unsigned int busy;		  /* accesses queued or in flight; the owner's */
	void *user;			  /* for a coherence of the caller's own */
	struct mmu_interval_notifier own; /* the same */
};

/* mirror.c */
int uring_mirror_open_with(struct uring_mirror **mirror, struct mm_struct *mm,
			   const struct uring_mirror_options *options,
			   const struct uring_coherence *coherence);

/* The block of @addr: its first byte. */
static inline unsigned long block_of(const struct uring_mirror *m, unsigned long addr)
{
	return addr >> m->block_shift << m->block_shift;
}

/* table.c */
extern const struct hmmu_mirror_ops uring_table_ops; /* context: the window */
int table_open(struct uring_window *w, struct mm_struct *mm, const struct hmmu_mirror_ops *ops);
/* hmmu_mirror_lookup(), with the lock taken for it. */
int table_look(struct uring_window *w, unsigned long addr, unsigned long *entry);

/* window.c */
void window_forget(struct uring_window *w);

/* slot.c */
int slots_init(struct uring_mirror *m);
int slot_take(struct uring_mirror *m, const struct timespec *deadline);
int slot_pin(struct uring_mirror *m, uint32_t slot, unsigned long addr);
void slot_undo(struct uring_mirror *m, uint32_t slot);
void slot_give_back(struct uring_mirror *m);
void slot_kill(struct uring_mirror *m, uint32_t slot);
void slot_tag(struct uring_mirror *m, uint64_t user_data);
int slots_bury(struct uring_mirror *m, uint32_t list);
uint32_t slots_take_dead(struct uring_mirror *m);
int slots_sweep(struct uring_mirror *m);

/* access.c */
bool access_fits(const struct uring_mirror *m, const struct uring_access *a);

/* complete.c */
void reap_ready(struct uring_mirror *m);
void queue_abandon(struct uring_mirror *m);
int reap_wait(struct uring_mirror *m, const struct timespec *deadline);
/* False: it has passed; *left otherwise, unless NULL. */
bool time_left(const struct timespec *deadline, struct __kernel_timespec *left);

#endif /* HMMU_URING_MIRROR_INTERNAL_H */
