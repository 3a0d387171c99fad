/* SPDX-License-Identifier: MIT */
/*
 * mirror.h - a device's page table, inside. The promises are include/hmmu/mirror.h's.
 *
 *	open.c		life, forked children, figures
 *	table.c		entries: root -> leaf (1 GiB) -> block (2 MiB, counted) -> word
 *	lock.c		the driver lock, the callback
 *	map.c		the reader's loop
 *	access.c	look up, read, write
 *	copy.c		copying that answers -EFAULT
 *	dirty.c, scan.c	what has changed
 *
 * LOCKS, outermost first
 *
 *	m->dirty_lock	one dirty() at a time; `pending`; sleeps, faults
 *	inst->mirror_lock	the list of mirrors; held over the next one, never while waiting
 *			for an invalidation
 *	the driver lock	table, `seq`, `noted`, figures; what mmu_notifier.h says
 *
 * THE TABLE'S SEQUENCE. `seq` is the youngest that was found good under the lock. Whatever
 * moves it has called back first, so what is in the table when a later sequence is found good
 * is good under that: nothing was open, and everything that began before has taken its part
 * out. So one sequence does for all entries, and an invalidation of one page costs the others
 * one read_begin.
 *
 *	mapper			lock	invalidator
 *	s = read_begin			(waits if one is open)
 *	hmm_range_fault
 *					start: begun moves
 *					callback: lock, drops what is there, unlock
 *	lock
 *	read_retry(s) == true [Required: G1, meeting 1]; again
 *   or
 *	lock; !read_retry(s); install
 *					callback waits for the lock, then drops it [meeting 2]
 *   or
 *					start ... callback ... the memory changes
 *	read_begin waits for the end [meeting 3]
 *
 * A DRIVER'S OWN ENTRIES (ops->fault): made without the lock, between read_begin and it, as
 * what hmm_range_fault() answers; but each of them is something that must be taken back, so
 * none may get lost. It is in the hands of fault, then of try_piece(), which installs it or
 * hands it to abandon, then the table's; whatever writes a word of the table (dm_table_set(),
 * dm_table_drop()) hands the old one to ops->drop, with the lock.
 *
 * hmmu_mirror_drop() is no invalidation: begun does not move. `drops` does, under the lock,
 * and is compared like the sequence (a page that goes home while it is being installed).
 */
#ifndef HMMU_SRC_MIRROR_H
#define HMMU_SRC_MIRROR_H

#include <stdbool.h>
#include <stdint.h>

#include <hmmu/mirror.h>

#include "../atomic.h"
#include "../lock.h"

#define MIRROR_PAGE 4096UL
#define MIRROR_PAGE_MAX (1UL << 30)
#define MIRROR_TOP (1UL << 48) /* what no user's address reaches */
#define MIRROR_BLOCK 512UL     /* entries */
#define MIRROR_BLOCKS 512UL    /* per leaf */
#define MIRROR_LEAF (MIRROR_BLOCK * MIRROR_BLOCKS)
#define MIRROR_PIECE 512UL /* pages that are mapped at a time */
#define MIRROR_COPY 16UL   /* pages that are copied at a time */

/* Zeroed pages: what nobody has touched costs addresses only. In pages of 4 KiB it is 1 GiB,
 * and a block 2 MiB; a mirror of larger pages has as many entries in each. */
struct dm_leaf {
	uint16_t used[MIRROR_BLOCKS]; /* entries in each block */
	uint64_t entry[MIRROR_LEAF];
};

/* One bit per page of the mirror. [low, high): words that may have any. */
struct dm_bits {
	uint64_t *word;
	uint64_t low, high;
};

struct hmmu_mirror {
	struct mmu_interval_notifier sub; /* first */
	struct mm_struct *mm;
	uint32_t *life; /* a page that a forked child finds zeroed */
	struct hmmu_mirror_ops ops;
	void *context;
	void *owner;
	unsigned int shift; /* of a page: an entry of the table */
	uint64_t start, end;
	struct hmmu_mirror *next; /* inst->mirror_lock */

	struct hmmu_lock lock; /* the driver lock, if it is ours */
	/* Under the driver lock. */
	struct mm_struct *outer; /* what the holder's hmmu_tls.held was */
	uint64_t seq;
	uint64_t drops;
	struct dm_leaf **root;	      /* set once each, with the lock */
	uint64_t leaf_low, leaf_high; /* [low, high): leaves there may be */
	struct dm_bits noted;
	struct hmmu_mirror_stats stats;

	struct hmmu_lock dirty_lock;
	/* Under dirty_lock. */
	struct dm_bits pending;
	bool started; /* everything has been scanned once */
	bool tracks;  /* set by open */
	bool judged;  /* every mapping was private memory, under private_seq */
	unsigned long private_seq;

	bool by_pipe; /* copy.c; set by open */
	int pipe[2];
	struct hmmu_lock pipe_lock;
};

/* Bugs planted on purpose, as in plant.h; tests/mirror kills each. */
enum hmmu_mirror_plant {
	MIRROR_PLANT_NONE,
	MIRROR_PLANT_NO_RETRY,	 /* installs though it collided (G1, meeting 1) */
	MIRROR_PLANT_KEEPS,	 /* the callback drops nothing (G1, meeting 2) */
	MIRROR_PLANT_NO_DROPS,	 /* a page given back while it is installed stays */
	MIRROR_PLANT_LOSES_REST, /* a hit on one page takes all entries */
	MIRROR_PLANT_NO_CHECK,	 /* what was read while it changed is not discarded */
	MIRROR_PLANT_NO_ARM,	 /* dirty() scans without arming */
	MIRROR_PLANT_NO_SCAN,	 /* dirty() knows only what the callback was told */
	MIRROR_PLANT_NO_NOTES,	 /* dirty() forgets what the callback was told */
	MIRROR_PLANT_NO_BARRIER, /* dirty() does not wait for a device's write */
};

/* Where a test build can stop a thread. */
enum hmmu_mirror_gate {
	MIRROR_GATE_LOOKED,  /* map: not all of it is in the table */
	MIRROR_GATE_FAULTED, /* map: before the lock */
	MIRROR_GATE_BEGUN,   /* settle: before the lock */
	MIRROR_GATE_COPIED,  /* read: before the check */
	MIRROR_GATE_PINNED,  /* write: in the middle of it */
	MIRROR_GATE_WAITED,  /* dirty: nothing is open, the lock not taken yet */
	MIRROR_GATE_SETTLED, /* dirty: before the scan */
	MIRROR_GATE_SCANNED, /* dirty: after the scan */
};

#if defined(HMMU_PLANT)
extern enum hmmu_mirror_plant hmmu_mirror_planted;
extern void (*hmmu_mirror_gate)(enum hmmu_mirror_gate gate);
#define MIRROR_PLANTED(name) (hmmu_mirror_planted == MIRROR_PLANT_##name)
#define MIRROR_GATE(name)                                     \
	do {                                                  \
		if (hmmu_mirror_gate)                         \
			hmmu_mirror_gate(MIRROR_GATE_##name); \
	} while (0)
#else
#define MIRROR_PLANTED(name) false
#define MIRROR_GATE(name) ((void)0)
#endif

/* Is this the process that opened it? */
static inline bool dm_alive(const struct hmmu_mirror *m)
{
	return hmmu_load_relaxed(m->life) != 0;
}

static inline uint64_t dm_page(const struct hmmu_mirror *m)
{
	return 1ULL << m->shift;
}

/* [start, start + length) is pages of the mirror, and not empty. */
static inline bool dm_has(const struct hmmu_mirror *m, uint64_t start, uint64_t length)
{
	return start >= m->start && start < m->end && length && length <= m->end - start &&
	       !((start | length) & (dm_page(m) - 1));
}

static inline uint64_t dm_index(const struct hmmu_mirror *m, uint64_t addr)
{
	return (addr - m->start) >> m->shift;
}

/* lock.c */
void dm_lock(struct hmmu_mirror *m);
bool dm_trylock(struct hmmu_mirror *m);
void dm_unlock(struct hmmu_mirror *m);
extern const struct mmu_interval_notifier_ops dm_sub_ops;
/* With the lock: [start, end), clipped already, is dropped and told. */
void dm_zap(struct hmmu_mirror *m, uint64_t start, uint64_t end, enum mmu_notifier_event event);

/* table.c. The lock is held, but by reserve and free. */
int dm_table_init(struct hmmu_mirror *m);
void dm_table_free(struct hmmu_mirror *m);
/* The leaves of pages [first, first + n) are there afterwards. 0 or -ENOMEM. */
int dm_table_reserve(struct hmmu_mirror *m, uint64_t first, uint64_t n);
uint64_t dm_table_get(const struct hmmu_mirror *m, uint64_t index);
void dm_table_set(struct hmmu_mirror *m, uint64_t index, uint64_t pfn);
/* How many there were in [first, last]. */
uint64_t dm_table_drop(struct hmmu_mirror *m, uint64_t first, uint64_t last,
		       enum mmu_notifier_event event);

/* access.c; the lock is held. As hmmu_mirror_lookup(), of @n pages; the first's pfn. */
int dm_check(struct hmmu_mirror *m, uint64_t index, uint64_t n, bool write);

/* copy.c. Each part in a page; the kernel looks, so that nothing faults. 0 or -errno. */
struct dm_part {
	void *mirrored;
	void *own;
	size_t len;
	bool device; /* the mirrored one is in an arena: always there */
};
int dm_copy_init(struct hmmu_mirror *m);
void dm_copy_exit(struct hmmu_mirror *m);
int dm_copy(struct hmmu_mirror *m, const struct dm_part *part, unsigned int n, bool write);

/* dirty.c: with the driver lock. */
void dm_note(struct hmmu_mirror *m, uint64_t start, uint64_t end);
/* The bits of @pages; not in a callback. 0 or -ENOMEM. */
int dm_bits_init(struct dm_bits *bits, uint64_t pages);
void dm_bits_free(struct dm_bits *bits, uint64_t pages);
void dm_bits_set(struct dm_bits *bits, uint64_t first, uint64_t n);
/* scan.c. Marks in m->pending what was written, or (@all) is there. 0; -EAGAIN: a mapping
 * is not registered any more; -errno. */
int dm_scan(struct hmmu_mirror *m, uint64_t start, uint64_t end, bool all);
/* 0: private anonymous memory only; -EOPNOTSUPP; -EAGAIN: a hole; -errno. */
int dm_kinds(uint64_t start, uint64_t end);

#endif /* HMMU_SRC_MIRROR_H */
