/* SPDX-License-Identifier: MIT */
/*
 * mirror.h - inside the io_uring mirror. uring_mirror.h states the design.
 *
 *	coherence.c  the protocol: subscription, callback, begin / retry / ok
 *	mirror.c     open and close
 *	window.c     watch, unwatch, dropping a range from the shadow
 *	slot.c	     take, pin, unpin, evict; tags
 *	access.c     look-up, the reader's loop, queueing
 *	complete.c   submit, reap, the check at completion, run
 */
#ifndef HMMU_URING_MIRROR_INTERNAL_H
#define HMMU_URING_MIRROR_INTERNAL_H

#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "uring_mirror.h"

/*
 * How a window is kept coherent. The driver has one answer,
 * uring_coherence_hmmu: each function is the public call of the same name. It is
 * a table so that `hmmu torture` can run the same device under wrong answers and
 * show what they cost; a driver of one's own would call the library directly.
 *
 * @insert:  0 or -errno
 * @remove:  the shadow is empty already
 * @begin:   hmmu_read_begin()
 * @pinned:  NULL, or called between the reading of the truth and the driver lock
 * @retry:   mmu_interval_read_retry(); driver lock held
 * @ok:	     hmmu_access_ok()
 */
struct uring_coherence {
	const char *name;
	int (*insert)(struct uring_window *window);
	void (*remove)(struct uring_window *window);
	int (*begin)(struct uring_window *window, unsigned long *seq,
		     const struct timespec *deadline);
	void (*pinned)(struct uring_window *window, unsigned long addr);
	bool (*retry)(struct uring_window *window, unsigned long seq);
	bool (*ok)(struct uring_window *window, unsigned long seq);
};

extern const struct uring_coherence uring_coherence_hmmu;

/*
 * A slot's life. Only "live" is written down; the others are where its number is.
 *
 *	FREE	-> FILLING  slot_take()		owner	m->free -> a local
 *	FILLING -> LIVE	    install()		owner, lock	-> the index
 *	FILLING -> FREE	    slot_give_back()	owner	(nothing was pinned)
 *	FILLING -> FREE	    slot_undo(), tag	owner	(pinned, then collided)
 *	LIVE	-> DEAD	    slot_kill()		lock	-> m->dead
 *	DEAD	-> FREE	    slots_bury(), tag	who took the dead list; then owner
 *
 * A callback reaches slots through the index only, hence LIVE ones only. From the
 * burial to the tag the order between two threads is the kernel's: its update of
 * the table happens before the completion that announces it.
 */
#define SLOT_NONE UINT32_MAX

struct slot {
	bool live;		     /* lock */
	struct uring_window *window; /* lock; of a LIVE slot */
	size_t block;		     /* lock; of a LIVE slot */
	/* Written with the lock, on m->dead; read by who took the list. Relaxed: the
	 * lock and the tag order it, this only says so to a race detector. */
	_Atomic uint32_t next;
};

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

	/* The driver lock. Nesting: see uring_mirror.h. */
	pthread_mutex_t lock;
	struct slot *slots;		 /* states: lock */
	uint32_t dead;			 /* lock: first of the list of DEAD slots */
	_Atomic uint32_t nr_dead;	 /* written with lock; the owner peeks */
	uint64_t callbacks, zapped;	 /* lock */
	_Atomic uint64_t busy_callbacks; /* counted by those that did not get it */

	/* The owner's from here on. */
	struct io_uring ring; /* its register calls: any thread */
	uint32_t *free;	      /* FIFO: runs of neighbours are emptied by one call */
	unsigned int free_head, nr_free;
	unsigned int clock;  /* the eviction's hand */
	unsigned int queued; /* prepared, not submitted: == length of @queue */
	unsigned int nops;   /* abandoned, still in the submission queue */
	unsigned int flying; /* submitted, not completed */
	struct uring_access *queue, **queue_tail; /* FIFO, as the ring's */
	struct uring_access *done, **done_tail;	  /* completed, not reaped */
	int staging_fd;
	unsigned char *staging;
	struct uring_window *windows;
	struct uring_mirror_stats stats;
	void *user; /* for a coherence of the caller's own; inherited by windows */
};

struct uring_window {
	struct mmu_interval_notifier sub;
	struct uring_mirror *mirror;
	struct uring_window *next, **link; /* the owner's list */
	unsigned long start;
	size_t length;
	unsigned int busy;	    /* accesses queued or in flight; the owner's */
	bool subscribed;	    /* set by coherence->insert(), then constant */
	bool has_seq;		    /* the owner's */
	unsigned long seq;	    /* the owner's: the sequence under which @index holds */
	void *user;		    /* for a coherence of the caller's own */
	_Atomic unsigned long word; /* the same */
	/*
	 * block -> slot + 1, 0 = not pinned. Written with the driver lock held;
	 * the owner also reads it without: relaxed, since what orders an entry
	 * against its invalidation is the access check, not this load.
	 */
	_Atomic uint32_t index[];
};

/* mirror.c */
int uring_mirror_open_with(struct uring_mirror **mirror, struct mm_struct *mm,
			   const struct uring_mirror_options *options,
			   const struct uring_coherence *coherence);

static inline size_t window_block(const struct uring_window *w, unsigned long addr)
{
	return (addr - w->start) >> w->mirror->block_shift;
}

/* The driver lock, and a word to debug builds of the library. */
void mirror_lock(struct uring_window *w);
bool mirror_trylock(struct uring_window *w);
void mirror_unlock(struct uring_window *w);

/* window.c */
bool shadow_invalidate(struct uring_window *w, const struct mmu_notifier_range *range,
		       unsigned long cur_seq);
void window_forget(struct uring_window *w);

/* slot.c */
int slots_init(struct uring_mirror *m);
int slot_take(struct uring_mirror *m, const struct timespec *deadline, uint32_t *slot);
int slot_pin(struct uring_mirror *m, uint32_t slot, unsigned long addr);
void slot_undo(struct uring_mirror *m, uint32_t slot);
void slot_give_back(struct uring_mirror *m, uint32_t slot);
void slot_kill(struct uring_mirror *m, uint32_t slot);
void slot_tag(struct uring_mirror *m, uint64_t user_data);
void slots_bury(struct uring_mirror *m, uint32_t list);
uint32_t slots_take_dead(struct uring_mirror *m);
void slots_sweep(struct uring_mirror *m);

/* access.c */
bool access_fits(const struct uring_mirror *m, const struct uring_access *a);

/* complete.c */
void reap_ready(struct uring_mirror *m);
void queue_abandon(struct uring_mirror *m);
int reap_wait(struct uring_mirror *m, const struct timespec *deadline);

#endif /* HMMU_URING_MIRROR_INTERNAL_H */
