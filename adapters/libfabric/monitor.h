/* SPDX-License-Identifier: MIT */
/*
 * monitor.h - inside the adapter for libfabric. hmmu/libfabric.h has the contract.
 *
 *	monitor.c  what libfabric calls, what it is told, import and close
 *	record.c   the ranges that are watched for it
 *	mr.c	   the wrapper of fi_mr_reg()
 *
 * Locks, outermost first:
 *
 *	gate		held across notify(), taken by start() and stop(): none begins or
 *			runs once stop() has returned. Nobody who holds mm_lock takes it.
 *	  mm_lock	libfabric's; subscribe, unsubscribe and valid run under it
 *	    table.lock	the table and the list of free records; hmmu's insert and begin are
 * called under it, with a zero deadline: they do not wait
 *
 * A callback takes none of them: it sets a flag and defers.
 */
#ifndef HMMU_LIBFABRIC_MONITOR_H
#define HMMU_LIBFABRIC_MONITOR_H

#include <pthread.h>
#include <stdatomic.h>

#include <rdma/fi_ext.h>

#include "hmmu/libfabric.h"

#define FI_PUBLIC __attribute__((visibility("default")))
/* May be reached in a hook: no call into the dynamic linker. */
#define FI_THREAD static __thread __attribute__((tls_model("initial-exec")))

#define RECORDS 65536u
#define ROOM (RECORDS / 16) /* evict while fewer are free */

/*
 * One watched range, as libfabric named it.
 *
 *	FREE -> LIVE	birth(), table.lock	free list -> the table
 *	LIVE -> DEAD	fi_record_kill()	anyone, once; from now on valid() is false
 *	DEAD -> FREE	bury()			the reclaimer, after notify() and remove()
 *
 * A dead one stays in the table until libfabric has been told, so that nobody can
 * subscribe to its range while an old entry of it may still be in some cache.
 */
struct fi_record {
	struct mmu_interval_notifier sub;
	struct hmmu_work work; /* queued by whoever turned @dead to true */
	uintptr_t addr;	       /* as are the next ones: table.lock */
	size_t len;
	unsigned long seq; /* of its birth: alive means nothing has happened since */
	uint64_t born;	   /* tick */
	uint32_t next;	   /* index + 1: chain of a bucket, or of the free list */
	bool linked;
	bool used; /* since the hand came by */
	atomic_bool dead;
};

/*
 * In memory that a forked child finds zeroed (mm NULL: nobody goes further), so that it
 * inherits neither a lock that was held nor a record. Mapped once and never unmapped.
 */
struct fi_table {
	pthread_mutex_t gate;
	pthread_mutex_t lock;
	pthread_cond_t buried;
	struct mm_struct *mm; /* written by import and close alone */
	unsigned int flags;
	uint32_t free;	/* index + 1 */
	uint32_t fresh; /* records that were never used begin here */
	uint32_t hand;
	atomic_uint watched;
	_Atomic uint64_t cached, once_window, once_dead, once_full, once_other;
	_Atomic uint64_t hits, misses, notified, collisions;
	uint32_t bucket[RECORDS];
	struct fi_record record[RECORDS];
};

/* NULL before the first import. */
extern struct fi_table *fi_table;
extern struct fid_mem_monitor fi_monitor;

/* record.c */
int fi_watch(struct fi_table *t, uintptr_t addr, size_t len, uint64_t since);
bool fi_watched(struct fi_table *t, uintptr_t addr, size_t len);
void fi_unwatch(struct fi_table *t, uintptr_t addr, size_t len);
void fi_forget_all(struct fi_table *t);
uint64_t fi_tick(void);
bool fi_mapped(uintptr_t addr, size_t len);
/* [*addr, *addr + *len) grows to whole pages. 0, or -EOVERFLOW. */
int fi_pages(uintptr_t *addr, size_t *len);

/* monitor.c */
/* Around what libfabric calls with its mutex: what is due to it must wait. */
void fi_enter_op(void);
void fi_leave_op(void);
bool fi_in_op(void);
void fi_notify(struct fi_table *t, uintptr_t addr, size_t len);

/* mr.c: is this thread inside the wrapper, registering these pages? Then *kept says
 * whether they are as they were when it began. */
bool fi_wrapped(uintptr_t addr, size_t len, bool *kept);

#endif /* HMMU_LIBFABRIC_MONITOR_H */
