/* SPDX-License-Identifier: MIT */
/*
 * dmirror.h - a device in software that shares the process's address space, on hmmu's
 * public headers alone.
 *
 *	process		one mm, two devices
 *	device		an arena of its own, its memory; the driver lock
 *	dmirror		an open file of a device: a page table, windows
 *	window		a subscription to the range of an ioctl; it stays, for the next one
 *
 * Why windows, where Linux's device subscribes to the whole address space at once: the
 * kernel's net (userfaultfd) watches whole mappings, and a range with holes not at all. So
 * the device names what it uses.
 *
 * LOCKS, outermost first
 *
 *	process.lock		open and close
 *	device.migration	arena opened and closed; pages under way, out or home
 *	dmirror.windows_lock	which windows there are; held over insert and remove
 *	device.access		held while ordinary memory is used through an entry;
 *				invalidate() takes it: nothing changes under an access
 *	device.lock		the page tables of this device, and the use of its own
 *				memory; revoke() takes this one only
 *
 * The last two are the driver lock. Under them nothing is allocated, and only memory that
 * an entry names is touched: never the caller's buffer, which may be on the device itself.
 *
 * Why two. revoke() may run in the thread that gives zeros to whoever touches an empty page.
 * A raw madvise() may empty one that is being used:
 *
 *	user of the page		madvise, raw		the library's thread
 *	access; entry: ordinary memory
 *					the page goes
 *	copies: sleeps until it is filled
 *								revoke() of another page:
 *								takes lock [Required: not
 *								access, it would wait for
 *								who waits for it]
 *								fills
 *	goes on
 *
 * WHAT GUARDS AN ENTRY. Of ordinary memory: a window that covers it; whoever drops the
 * window drops the entry first. On the device (ENTRY_DEVICE): revoke(), whether or not there
 * is a window. A reader that has seen a page on the device and installs it after revoke() has
 * been there would keep it for ever:
 *
 *	reader				CPU touches the page
 *	revokes = device.revokes
 *	hmm_range_fault(): on the device
 *					revoke(): lock; nothing to drop; revokes++; unlock
 *					the page is home
 *	lock; revokes have moved: again				[Required]
 *
 * A FORKED CHILD finds the process's structure zeroed (MADV_WIPEONFORK, preload.c), which is
 * how it looks when nothing was ever opened.
 */
#ifndef HMMU_DMIRROR_H
#define HMMU_DMIRROR_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include <hmmu/hmm.h>
#include <hmmu/migrate.h>
#include <hmmu/mmu_notifier.h>

#include "abi.h"

#define MIR_PAGE 4096UL
#define MIR_TOP (1UL << 47) /* no address is above */
#define MIR_DEVICES 2
#define MIR_WINDOWS 64
#define MIR_CHUNK 512UL /* pages that are asked for at once: an array of them on the stack */
#define MIR_ARENA (1UL << 30) /* addresses */
#define MIR_TIMEOUT_NS                                                         \
	1000000000 /* so long a range may be invalidated without pause: -EBUSY \
		    */

/* ---- table.c: two levels, a leaf for each GiB -------------------------------------- */

/* An entry: where the page's content is, and: */
#define ENTRY_VALID (1UL << 0)
#define ENTRY_WRITE (1UL << 1)
#define ENTRY_DEVICE (1UL << 2)
#define ENTRY_EXCLUSIVE (1UL << 3)

struct mir_table {
	uint64_t **leaves;
};

int mir_table_init(struct mir_table *table);
void mir_table_free(struct mir_table *table);
/* Room for the entries of [start, end): 0 or -ENOMEM. Not under the driver lock. */
int mir_table_reserve(struct mir_table *table, unsigned long start, unsigned long end);

/* The rest with device.lock. */
uint64_t mir_table_get(const struct mir_table *table, unsigned long addr); /* 0: none */
void mir_table_set(struct mir_table *table, unsigned long addr, uint64_t entry);
void mir_table_drop(struct mir_table *table, unsigned long start, unsigned long end,
		    uint64_t but); /* entries with this bit stay */

static inline char *mir_entry_at(uint64_t entry)
{
	return (char *)(entry & -MIR_PAGE);
}

/* ---- the structures ------------------------------------------------------------------ */

struct dmirror;

struct mir_window {
	struct mmu_interval_notifier sub;
	struct dmirror *dm;
	unsigned long start;
	unsigned long end;
	unsigned long seq; /* access; what the entries were read under */
	bool begun;	   /* access; seq is one */
	uint64_t drops;	   /* device.lock; invalidations; read without, too */
	bool used;	   /* these three: windows_lock */
	unsigned int users;
	uint64_t age;
};

struct mir_device {
	pthread_mutex_t migration;
	pthread_mutex_t access;
	pthread_mutex_t lock;
	struct dmirror *open;	   /* lock */
	uint64_t revokes;	   /* lock; read without, too */
	struct dev_pagemap *arena; /* migration; NULL until it is needed */
	struct mir_process *process;
};

struct dmirror {
	struct mir_device *device;
	struct dmirror *next; /* device.lock */
	struct mir_table table;
	pthread_mutex_t windows_lock;
	uint64_t age;
	struct mir_window windows[MIR_WINDOWS];
};

struct mir_process {
	pthread_mutex_t lock;
	unsigned int users; /* open files */
	struct mm_struct *mm;
	struct mir_device device[MIR_DEVICES];
};

/* ---- device.c ---------------------------------------------------------------------------- */

/* @process and @dm are zeroed by the caller. 0 or -errno of hmmu_mm_open(). */
int mir_open(struct mir_process *process, struct dmirror *dm, unsigned int device);
/* No ioctl is inside. The last one of a device brings its pages home. */
void mir_close(struct mir_process *process, struct dmirror *dm);
/* 0 or -errno. @arg: a struct hmm_dmirror_cmd of the caller's; any address. */
int mir_ioctl(struct dmirror *dm, unsigned long request, void *arg);

/* device.lock */
void mir_lock(struct mir_device *device);
bool mir_trylock(struct mir_device *device);
void mir_unlock(struct mir_device *device);
void mir_lock_access(struct mir_device *device);
void mir_unlock_access(struct mir_device *device);
/* device.access and device.lock: for those who install, and who drop ordinary entries. */
void mir_lock_both(struct mir_device *device);
bool mir_trylock_both(struct mir_device *device);
void mir_unlock_both(struct mir_device *device);

/* The arena, opened if there is none. device.migration is held. */
int mir_arena(struct mir_device *device);

/* ---- memory.c: the caller's memory, from any context that may sleep; no lock ------------- */

int mir_from_user(void *to, uint64_t from, size_t n); /* 0 or -EFAULT */
int mir_to_user(uint64_t to, const void *from, size_t n);
/* Is every page of it mapped? */
bool mir_mapped(unsigned long start, unsigned long end);
void *mir_map(size_t n); /* zeros; NULL */
void mir_unmap(void *p, size_t n);

/* ---- window.c -----------------------------------------------------------------------------
 */

/* One that covers it, for the caller until it is put: 0 or -errno. */
int mir_window_get(struct dmirror *dm, unsigned long start, unsigned long end,
		   struct mir_window **window);
void mir_window_put(struct mir_window *window);
void mir_windows_remove(struct dmirror *dm);

struct timespec mir_deadline(void);
bool mir_expired(const struct timespec *deadline);
/* 0 and *seq; -EBUSY: @deadline; -EFAULT: there is a hole; -ENODEV: nobody watches it. */
int mir_begin(struct mmu_interval_notifier *sub, unsigned long start, unsigned long end,
	      unsigned long *seq, const struct timespec *deadline);

/* Entries that the callbacks left are good again: 0 or -errno as mir_begin(). */
int mir_window_refresh(struct mir_window *window, const struct timespec *deadline);

/* ---- follow.c ------------------------------------------------------------------------- */

/*
 * struct mir_follow
 * @request:	HMM_PFN_REQ_* for all pages; 0: as they are
 * @entry:	what to install of page @i instead of @entry; NULL: that
 */
struct mir_follow {
	struct mir_window *window;
	unsigned long request;
	uint64_t (*entry)(const struct mir_follow *follow, unsigned long i, unsigned long pfn,
			  uint64_t entry);
};
/* [start, end): a chunk of the window at most, for which there is room in the table. 0;
 * -EBUSY: it changes without pause; -errno as hmm_range_fault(), mir_begin(). */
int mir_follow(struct mir_follow *follow, unsigned long start, unsigned long end);

/* ---- access.c -------------------------------------------------------------------------------
 */

int mir_read(struct dmirror *dm, struct hmm_dmirror_cmd *cmd);
int mir_write(struct dmirror *dm, struct hmm_dmirror_cmd *cmd);
/* Follows [start, end), a chunk, and copies it to @buffer. -ENOENT: not all of it is to be
 * installed. */
int mir_collect(struct mir_follow *follow, unsigned long start, unsigned long end,
		char *buffer);

/* ---- snapshot.c
 * ------------------------------------------------------------------------------ */

/* What is there, by hmm_range_fault() without a request: 0 or -errno. */
int mir_look(struct dmirror *dm, unsigned long start, unsigned long end, unsigned long *pfns);
int mir_snapshot(struct dmirror *dm, struct hmm_dmirror_cmd *cmd);

/* ---- migrate.c, exclusive.c
 * -------------------------------------------------------------------- */

/* Chunk by chunk: @run makes it the device's and collects it; then all goes to the caller. */
int mir_to_device(struct dmirror *dm, struct hmm_dmirror_cmd *cmd,
		  int (*run)(struct mir_window *w, unsigned long start, unsigned long end,
			     char *buffer));
int mir_migrate_to_device(struct dmirror *dm, struct hmm_dmirror_cmd *cmd);
int mir_migrate_to_system(struct dmirror *dm, struct hmm_dmirror_cmd *cmd);
int mir_exclusive(struct dmirror *dm, struct hmm_dmirror_cmd *cmd);
int mir_check_exclusive(struct dmirror *dm, struct hmm_dmirror_cmd *cmd);
int mir_release(struct dmirror *dm, struct hmm_dmirror_cmd *cmd);

static inline unsigned long mir_end(const struct hmm_dmirror_cmd *cmd)
{
	return cmd->addr + cmd->npages * MIR_PAGE;
}

static inline unsigned long mir_chunk_end(unsigned long at, unsigned long end)
{
	return end - at > MIR_CHUNK * MIR_PAGE ? at + MIR_CHUNK * MIR_PAGE : end;
}

#ifdef DMIRROR_PLANT
extern bool dmirror_plant_no_revoke; /* revoke() does nothing */
extern void (*dmirror_gate)(void);   /* called between looking and installing; NULL */
#endif

#endif /* HMMU_DMIRROR_H */
