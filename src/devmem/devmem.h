/* SPDX-License-Identifier: MIT */
/*
 * devmem.h - pages on devices: the inside of <hmmu/migrate.h>.
 *
 * WHERE A PAGE IS is said by one word per page of address space (words.c): state, arena, slot
 * in the arena. No word: it is home. Whoever takes a page out of a state owns its journey: by
 * compare-and-exchange, or with the lock and in the gate (below), where nobody else claims. Its
 * owner changes it by stores in the gate, or compares, since the reader may have taken it:
 *
 *	HOME	no word. The CPU's page, or nothing
 *	FILLING	the reader gives an empty page zeros: nobody migrates it meanwhile
 *	LEAVING	a migration's, from migrate_vma_pages() to _finalize()
 *	THERE	on the device
 *	ALONE	the same, exclusive
 *	COMING	somebody brings it home
 *
 *	HOME -> LEAVING -> THERE, ALONE	 migrate.c; -> HOME if it could not be moved
 *	HOME -> FILLING -> HOME		 told.c
 *	THERE, ALONE -> COMING -> HOME	 a touch (told.c), a change (home.c), a driver;
 *					 -> THERE again if that failed
 *	any -> gone			 its memory is gone (told.c)
 *
 * ITS CONTENT is moved by UFFDIO_MOVE, which takes it from one address and puts it to the
 * other under the kernel's lock of that page: it is always in exactly one place, whoever
 * writes meanwhile, and whoever dies. MOVE does so as long as no change of the memory is
 * untold, which nothing else looks at: what it refuses (read-only memory, pages that are
 * pinned) stays. To copy it and drop what was copied would lose what is written meanwhile: of a
 * raw mprotect() the kernel tells nobody; mremap() takes pages as atomically, but also those of
 * who has got the address since. What the kernel says of a move is not always what it did
 * (move.c), so slots are empty before anything goes there.
 *
 * WHO TOUCHES A PAGE THAT IS AWAY sleeps in the kernel, which tells the net's reader thread
 * (userfaultfd.h). The reader must not wait for anybody who could be waiting for memory: it
 * takes no lock here. LEAVING, COMING, FILLING: it leaves the touch alone; who owns the
 * journey wakes everybody when it ends:
 *
 *	toucher			reader			owner of the journey
 *	queued, sleeps
 *				reads the touch
 *							word = THERE
 *							wakes the page: [Required: the
 *							toucher, queued before it was
 *				load word		read, touches again]
 *
 * MIGRATION AGAINST A CHANGE (G1). A change that is bracketed brings home what is away
 * before it happens; no page may leave between that and its end:
 *
 *	migrate_vma_pages()			start of munmap
 *	lock					begun moves
 *	collided since setup? stop		callback: lock
 *	words = LEAVING				  LEAVING? unlock, wait, again
 *	unlock					  words THERE -> COMING
 *	MOVE, finalize				unlock; MOVE home
 *	[Required: the migration sees that begun has moved, or the callback sees LEAVING]
 *
 * The subscriptions (watch.c) are on an mm of our own: the driver's migration tells all
 * others, and must not collide with itself. The lock is the driver lock of those
 * subscriptions; nothing sleeps under it.
 *
 * A CHANGE THAT IS NOT BRACKETED is heard of by the reader, before its caller goes on. What
 * it does to a page depends on where the content is, so moving content and saying so is one
 * step against reading an event (gate.c):
 *
 *	mover				reader
 *	movers++	[seqcst]	reading = 1	[seqcst]
 *	reading? movers--, again	movers? wait
 *	word still mine?		read the event; gone(), moved()
 *	MOVE; change the word		reading = 0
 *	movers--
 *	[Required: no event is read between the two]
 *
 * The reader may wait for that: MOVE waits for the kernel's map lock at most, whose holders
 * never wait for an event. (So do mlock2() and munlock() of slots.) Then in gone() and moved()
 * the content of
 *
 *	COMING, THERE, ALONE	is in the slot: dropped, or taken along to the new address
 *	LEAVING			is the CPU's: the word goes, and the page with its memory
 *	LEAVING | LEFT		is in the slot: its slot is marked GONE and the word goes, or
 *				it is taken along
 *
 * and who finds his word changed leaves the page alone; the reader has woken who waited there.
 * What a raw mremap() took along comes home at once (the dispatcher), since nobody subscribes
 * to where it is now. A bracketed change before that, of the same thread or ordered after it,
 * brings it itself:
 *
 *	change					reader
 *	start in every mm			reading = 1
 *	reading? wait				read the event: its caller goes on
 *	strays? bring what is in the range	strays++, reading = 0
 *	[Required: a change that follows the raw call finds reading, or strays]
 *
 * MLOCKED MEMORY. MOVE wants both mappings mlocked, or neither. Slots are made as home is when
 * it has said EINVAL, on either way, so whoever locks or unlocks home while a page is away is
 * of no matter; what cannot be made so stays where it is, or is copied home (locked.c).
 *
 * UNREGISTERED MEMORY. Of an untold mremap() nobody knows what it brought where: as long as an
 * arena is open, nothing is unregistered (arm.c: wanted()). That what leaves is registered is
 * known from setup on: whoever puts something else there unmaps it first, of which there is an
 * event, and the words, or the sequence, change with it.
 *
 * A FORKED CHILD finds all of this zeroed, and the arenas absent. Before fork() of libc all
 * pages are home.
 */
#ifndef HMMU_DEVMEM_H
#define HMMU_DEVMEM_H

#include <hmmu/migrate.h>

#include "../atomic.h"
#include "../lock.h"
#include "../notifier/notifier.h"
#include "../plant.h"
#include "../source/source.h"
#include "../tls.h"
#include "find.h"

#define DM_PAGE_SHIFT 12
#define DM_PAGE (1UL << DM_PAGE_SHIFT)
#ifdef __x86_64__
#define DM_ADDR_BITS 47
#else
#define DM_ADDR_BITS 48
#endif
#define DM_ADDR_END (1UL << DM_ADDR_BITS)
#define DM_LEAF_SHIFT 30
#define DM_ROOTS (1UL << (DM_ADDR_BITS - DM_LEAF_SHIFT))
#define DM_LEAF_WORDS (1UL << (DM_LEAF_SHIFT - DM_PAGE_SHIFT))
#define DM_RUN 1024  /* pages that are moved at once; words of a run are side by side */
#define DM_TABLE 512 /* pages of a page table: what the kernel moves at once, at most */

enum dm_state {
	DM_HOME = 0,
	DM_FILLING,
	DM_LEAVING,
	DM_THERE,
	DM_ALONE,
	DM_COMING,
	DM_STATE = 7, /* mask */
};
#define DM_GONE (1UL << 3)	 /* holds[]: left, not finalized, and its memory is gone */
#define DM_ALONE_NEXT (1UL << 4) /* LEAVING, COMING: it is, or was, exclusive */
#define DM_LEFT (1UL << 5)	 /* LEAVING: the content is in the slot */
#define DM_BACK (1UL << 6)	 /* LEAVING: taken along by mremap(): home after finalize */
#define DM_ARENA_SHIFT 8
#define DM_SLOT_SHIFT 16

static inline uint64_t dm_word(enum dm_state state, unsigned int arena, uint64_t slot)
{
	return state | (uint64_t)arena << DM_ARENA_SHIFT | slot << DM_SLOT_SHIFT;
}

static inline enum dm_state dm_state(uint64_t word)
{
	return word & DM_STATE;
}

static inline uint64_t dm_slot(uint64_t word)
{
	return word >> DM_SLOT_SHIFT;
}

/* The same place in another state, without marks. */
static inline uint64_t dm_turn(uint64_t word, enum dm_state state)
{
	return (word & ~0xffUL) | state;
}

/* That of the @i-th of a run, if the first is @w. */
static inline uint64_t dm_nth(uint64_t w, uint64_t i)
{
	return w + (i << DM_SLOT_SHIFT);
}

/* How many pages a run from @addr on has at most: it ends where a page table does. */
static inline uint64_t dm_run(uint64_t addr)
{
	return DM_RUN - ((addr >> DM_PAGE_SHIFT) & (DM_RUN - 1));
}

/* On the device: as it was, or is to be, when it does not move. */
static inline enum dm_state dm_away(uint64_t word)
{
	return dm_state(word) == DM_ALONE || (word & DM_ALONE_NEXT) ? DM_ALONE : DM_THERE;
}

/* THERE, ALONE: the same, coming home. */
static inline uint64_t dm_coming(uint64_t word)
{
	return dm_turn(word, DM_COMING) | (dm_state(word) == DM_ALONE ? DM_ALONE_NEXT : 0);
}

/* An arena. Its place in dm->arena[] is its number. */
struct dev_pagemap {
	uint64_t base; /* 0: none; set last, cleared first (arena.c) */
	uint64_t nslots;
	uint64_t map, mapped; /* what it lies in, bytes */
	uint64_t *taken;      /* bit per slot; atomic */
	uint64_t *holds; /* per slot: whose page, an address; written by who owns the word */
	uint64_t hint;	 /* where the search for a free slot begins */
	struct mm_struct *mm; /* the driver's */
	void *owner;
	void *context;
	struct dev_pagemap_ops ops;
	/* locked.c; atomic. */
	uint64_t *locked; /* bit per slot: it may be mlocked */
	uint64_t locks;	  /* one has been */
	/* Counters: atomic. */
	uint64_t resident, moved_out, moved_back, touched, brought, dropped, refused;
	uint64_t migrations;	      /* between setup and finalize */
	struct hmmu_migration *spare; /* of one that is over, for the next; by exchange */
};

/* A subscription to what is, or was, a mapping with pages that were away. With dm->open. */
struct dm_watch {
	struct mmu_interval_notifier sub;
	uint64_t start;
	uint64_t end;
	uint64_t users; /* migrations; atomic */
	struct dm_watch *next;
};

struct dm_mapping {
	uint64_t start;
	uint64_t end;
	bool readable;
	bool writable;
	bool plain; /* private, anonymous, small pages */
};

/* What of a migration lies in one mapping. */
struct dm_part {
	uint64_t start;
	uint64_t end;
	uint64_t whole_start; /* the mapping */
	uint64_t whole_end;
	struct dm_watch *watch;
	unsigned long seq;
};

struct hmmu_migration {
	struct dm_part few[8]; /* mostly enough */
	struct dm_part *parts; /* those, or mapped */
	size_t nparts;
	size_t room;
	bool alone; /* exclusive */
	bool moved; /* migrate_vma_pages() was called */
	unsigned int nranges;
	struct mmu_notifier_range range[HMMU_WATCHED_MAX];
};

struct dm_leaf {
	uint64_t word[DM_LEAF_WORDS];
};

struct hmmu_devmem {
	struct dm_leaf **root;	  /* DM_ROOTS; a leaf is set once */
	struct mm_struct *mm;	  /* ours: for the watches */
	uint32_t arenas;	  /* open ones */
	uint32_t journeys;	  /* futex: moves when one ends */
	uint32_t waiting;	  /* for that */
	struct dm_watch *watches; /* open */
	uint64_t nwatches, prune; /* open; prune at that many */
	uint32_t movers;	  /* gate.c */
	uint32_t reading;	  /* futex: enum dm_read */
	uint64_t strays; /* raw mremap()s that took pages along, which are not yet home */
	struct hmmu_lock lock __attribute__((aligned(64))); /* the driver lock */
	struct hmmu_lock open __attribute__((aligned(64))); /* arenas, watches; may sleep */
	struct dev_pagemap arena[HMMU_DEVMEM_MAX];
};

/* The reader and an event. Only it makes it READING, and not so; who waits, AWAITED. */
enum dm_read { DM_NOT_READING, DM_READING, DM_AWAITED };

/* Where a test build can stop a thread of ours. */
enum dm_gate {
	DM_GATE_FILL,	/* reader: an empty page is about to get zeros */
	DM_GATE_CLAIM,	/* migrate_vma_pages(): before the look whether it collided */
	DM_GATE_LEAVE,	/* ... claimed, not moved yet */
	DM_GATE_SOME,	/* ... some were moved, not all */
	DM_GATE_BRING,	/* a run is COMING, not moved yet */
	DM_GATE_CAME,	/* ... moved, its words say COMING; in the gate */
	DM_GATE_PUT,	/* a slot is about to be free */
	DM_GATE_SETTLE, /* finalize: in the gate */
	DM_GATE_TAKE,	/* reader: what is away goes along with a raw mremap() */
	DM_GATE_LOCK,	/* slots are about to be mlocked */
	DM_GATE_UNLOCK, /* ... unlocked: none of 64 has a page; not known to be unlocked yet */
	DM_GATES,
};

#ifdef HMMU_PLANT
extern void (*hmmu_devmem_gate)(enum dm_gate gate, uint64_t addr);
#define DM_GATE(name, addr)                                       \
	do {                                                      \
		if (hmmu_devmem_gate)                             \
			hmmu_devmem_gate(DM_GATE_##name, (addr)); \
	} while (0)
#else
#define DM_GATE(name, addr) ((void)0)
#endif

extern struct hmmu_devmem *hmmu_devmem; /* NULL before the first arena; zeros in a child */

static inline struct dev_pagemap *dm_arena(struct hmmu_devmem *dm, uint64_t word)
{
	return &dm->arena[word >> DM_ARENA_SHIFT & 0xff];
}

static inline uint64_t dm_place(struct hmmu_devmem *dm, uint64_t word)
{
	return dm_arena(dm, word)->base + (dm_slot(word) << DM_PAGE_SHIFT);
}

/* In the gate: how many from the first are still as they were claimed; @w: the first. */
static inline uint64_t dm_still(const uint64_t *word, uint64_t w, uint64_t n)
{
	uint64_t k = 0;

	while (k < n && hmmu_load_acquire(word + k) == dm_nth(w, k))
		k++;
	return k;
}

/* Of @n slots from @slot on, those that one word of a bitmap has: how many, and their bits. */
static inline uint64_t dm_in_word(uint64_t slot, uint64_t n, uint64_t *bits)
{
	uint64_t k = 64 - slot % 64 < n ? 64 - slot % 64 : n;

	*bits = (k == 64 ? ~0UL : (1UL << k) - 1) << slot % 64;
	return k;
}

/* Nothing of the device's is at @addr any more. */
static inline void dm_revoke_gone(struct dev_pagemap *arena, uint64_t addr, uint64_t slot)
{
	arena->ops.revoke(arena->context, addr, (arena->base >> DM_PAGE_SHIFT) + slot,
			  MMU_NOTIFY_UNMAP);
}

/* As rc_lock(): a handler that changes memory while this thread holds it takes the
 * undecided way (notifier.h). */
static inline void dm_lock(struct hmmu_devmem *dm)
{
	hmmu_tls.held = dm->mm;
	hmmu_signal_fence();
	hmmu_lock(&dm->lock);
}

static inline bool dm_trylock(struct hmmu_devmem *dm)
{
	bool got;

	hmmu_tls.held = dm->mm;
	hmmu_signal_fence();
	got = hmmu_trylock(&dm->lock);
	if (!got)
		hmmu_tls.held = NULL;
	return got;
}

static inline void dm_unlock(struct hmmu_devmem *dm)
{
	hmmu_unlock(&dm->lock);
	hmmu_signal_fence();
	hmmu_tls.held = NULL;
	hmmu_signal_fence();
}

/* words.c */
/* NULL: it has no leaf, hence is home. */
uint64_t *dm_find_word(struct hmmu_devmem *dm, uint64_t addr);
/* The same with a leaf; NULL: no memory. Maps: not in a hook. */
uint64_t *dm_make_word(struct hmmu_devmem *dm, uint64_t addr);
int dm_cover(struct hmmu_devmem *dm, uint64_t start, uint64_t end);
/* The first page in [*at, end) that has a word; *at is its address. NULL: none. */
uint64_t *dm_next_word(struct hmmu_devmem *dm, uint64_t *at, uint64_t end);

/* mapping.c: what covers @addr, or is the next above. 0, -ENOENT, -errno. */
int dm_mapping_find(uint64_t addr, struct dm_mapping *m);

/* migrate.c; @alone: for exclusive.c */
int dm_migrate_setup(struct migrate_vma *args, bool alone);

/* move.c: the kernel's part; 0 or -errno. */
/* How many of @n pages, from the first; why not the next: *ret. In the gate, or the reader. */
uint64_t dm_move(uint64_t to, uint64_t from, uint64_t n, long *ret);
long dm_copy_home(uint64_t to, uint64_t from);
long dm_zero(uint64_t addr);
/* Is a page there, in memory or swapped out: 1, 0, -errno. A file is opened for it. */
int dm_any_page(uint64_t start, uint64_t bytes);
void dm_wake(uint64_t start, uint64_t end);

/* arena.c */
/* The slots of @n pages from @word's on hold nobody's content any more. Any context. */
void dm_slots_put(struct hmmu_devmem *dm, uint64_t word, uint64_t n);

/* locked.c; any context, the gate and the reader included */
/* MOVE has answered EINVAL between the @n pages at @addr and the slots, which the caller owns:
 * slots are locked as home is. True: something has changed, ask MOVE again. */
bool dm_slots_alike(struct dev_pagemap *arena, uint64_t slot, uint64_t addr, uint64_t n);
/* A slot of the @i-th 64 is free. */
void dm_slots_unlock(struct dev_pagemap *arena, uint64_t i);
/* A new arena: mlockall(MCL_FUTURE) is not for it, who would fill it all when it becomes
 * writable. */
void dm_arena_unlock(uint64_t start, uint64_t bytes);

/* gate.c */
/* A handler that changed memory would wait for what its own thread has claimed: no signals
 * from the claim to the end of the journey. Answers what loud() wants. */
uint64_t dm_quiet(void);
void dm_loud(uint64_t old);
/* Content moves, and the words say so, between these two. Nothing in there may wait for an
 * event: no madvise of a registered mapping. Not the reader, who needs none. */
void dm_gate_enter(struct hmmu_devmem *dm);
void dm_gate_leave(struct hmmu_devmem *dm);
/* The reader, around the read of what may be an event. */
void dm_reading(bool yes);
void dm_wait_reading(struct hmmu_devmem *dm); /* the callers look again */

/* home.c */
/* The reader: @addr, whose word @w it has just made COMING, home. 0; -errno: it is there
 * still, its state back, and nobody has been woken. */
long dm_bring(struct hmmu_devmem *dm, uint64_t addr, uint64_t *word, uint64_t w);
/* All that is away in [start, end). False: something is still away: what is on another
 * journey (DM_SKIP leaves it, DM_NONBLOCK gives up), or could not come. */
enum dm_how { DM_WAIT, DM_NONBLOCK, DM_SKIP };
bool dm_bring_range(struct hmmu_devmem *dm, uint64_t start, uint64_t end, enum dm_how how);
/* @n neighbours whose words the caller has made COMING; @w is what the first one is now.
 * *count grows by what arrives. How many of them are away still. */
uint64_t dm_bring_run(struct hmmu_devmem *dm, uint64_t addr, uint64_t n, uint64_t w,
		      uint64_t *count);
/* A journey has ended: whoever waits looks again. */
void dm_signal(struct hmmu_devmem *dm);
uint32_t dm_journeys(struct hmmu_devmem *dm); /* before a look */
void dm_wait(struct hmmu_devmem *dm, uint32_t seen);

/* watch.c */
extern const struct mmu_interval_notifier_ops dm_watch_ops;
/* The watch of the mapping [start, end), armed and with touches told of. 0 or -errno. */
int dm_watch_get(struct hmmu_devmem *dm, uint64_t start, uint64_t end, struct dm_watch **watch);
void dm_watch_put(struct dm_watch *watch); /* or NULL */
void dm_watches_drop(struct hmmu_devmem *dm);

/* told.c: the reader's; it takes no lock. */
extern const struct hmmu_uffd_device dm_uffd_device;

/* ---- of a migration ---- */

static inline struct dev_pagemap *dm_arena_of(const struct migrate_vma *args)
{
	return args->pagemap;
}

static inline bool dm_wanted(const struct migrate_vma *args, uint64_t i)
{
	return (args->src[i] & MIGRATE_PFN_MIGRATE) && (args->dst[i] & MIGRATE_PFN_VALID);
}

static inline uint64_t dm_slot_of(const struct migrate_vma *args, uint64_t i)
{
	return migrate_pfn_to_pfn(args->dst[i]) - (dm_arena_of(args)->base >> DM_PAGE_SHIFT);
}

static inline uint64_t *dm_word_of(struct hmmu_devmem *dm, const struct migrate_vma *args,
				   uint64_t i)
{
	return dm_find_word(dm, args->start + (i << DM_PAGE_SHIFT));
}

/* What claim() made of page @i: LEAVING, content at home. */
static inline uint64_t dm_claimed(struct hmmu_devmem *dm, const struct migrate_vma *args,
				  uint64_t i)
{
	return dm_word(DM_LEAVING, (unsigned int)(dm_arena_of(args) - dm->arena),
		       dm_slot_of(args, i)) |
	       (args->private_data->alone ? DM_ALONE_NEXT : 0);
}

/* leave.c: what of @p has been given a page of the arena leaves. */
void dm_part_out(struct hmmu_devmem *dm, struct migrate_vma *args, struct dm_part *p);

#endif /* HMMU_DEVMEM_H */
