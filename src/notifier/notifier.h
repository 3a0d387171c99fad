/* SPDX-License-Identifier: MIT */
/*
 * notifier.h - the protocol's inside: what lies in a subscription, in an open
 * invalidation and in an address space, and the argument that G1-G6 hold.
 * docs/design.md tells the same at length.
 *
 * A SUBSCRIPTION has two counts, written only with mm->lock held:
 *
 *	begun	invalidations of it that have started
 *	ended	those of them that are over		ended <= begun, always
 *
 *	open	 <=> begun != ended	read_begin waits (G1, meeting 3)
 *	collided <=> begun moved	read_retry answers true (G1, meeting 1)
 *
 * The reader loads `ended` first, then `begun`: equal means that none was open when
 * `begun` was loaded, since ended <= begun and both only grow. No reader writes
 * anything that is shared.
 *
 * AN OPEN INVALIDATION has a slot in mm->slots (64, a cache line each), or, when
 * all are taken, a place in mm->overflow. A slot's word:
 *
 *	FREE	 nobody's
 *	BUSY	 claimed, its range is being written: a few stores
 *	OPEN	 its range is valid
 *	ENDING	 the change is done: inserts ignore it, unless it was pinned before
 *
 *	FREE -> BUSY -> OPEN -> ENDING -> FREE		the last two by plain stores
 *
 * and `pinned`, written under the lock only: the OPEN state (so of one use only) whose end
 * must take the lock, for it is counted in somebody. Start pins its own when it takes the lock
 * to walk; an insert that overlaps it, when it counts itself. End turns ENDING, looks whether
 * it is pinned, and if not it frees the slot. How that is safe with no locked instruction:
 * settle_ends() in slot.c.
 *
 * WHO CARES ABOUT THIS RANGE? is answered from a summary, bits per cell (summary.h),
 * a superset of the tree. Start claims its slot, then reads the summary; insert
 * writes the summary, then reads the slots. Dekker: all four accesses are seqcst,
 * one of the two sees the other (G2):
 *
 *	start					insert (mm->lock held)
 *	slot.state = BUSY	[seqcst RMW]	summary |= my cells	[seqcst RMW]
 *	slot.range = ...; state = OPEN		any slot BUSY: membarrier (slot.c)
 *	load summary		[seqcst]	into the tree
 *	  sees cells: lock, pin, walk the tree	each slot OPEN and mine: [seqcst] pin it;
 *						  membarrier; OPEN still: count myself
 *	  else: nobody			[Required: one of the two counts it]
 *
 * Nobody waits for BUSY: its owner may have lost the CPU, or sit in a signal handler that
 * wants the lock.
 *
 * Counted exactly once: ids grow with each insert. The walk counts subscriptions
 * with id < inv.limit, in key order, as far as inv.progress; limit is the next id
 * when the walk begins, or lower: the id of the first insert that attached before
 * it. Everyone who inserts with id >= limit while the slot is OPEN, or pinned, attaches. So
 *
 *	counted(inv, sub) <=> sub.id >= inv.limit || key(sub) <= inv.progress
 *
 * and end adds 1 to `ended` of every overlapping subscription in the tree that is
 * counted and has id < inv.end_limit (the next id when end took the lock).
 *
 * CALLBACKS run with no lock held, one at a time, each under a hazard (the slot's
 * or the overflow entry's) so that remove can wait for it, and only for it (G3):
 *
 *	runner					remove
 *	slot.hazard = sub	[release]	lock; take sub off the tree; mm->removals++
 *	load mm->removals			a slot that overlaps is batched; unlock
 *	  moved since the walk: do not call,	  so: membarrier: a full barrier in every
 *	  lock, walk again from here		  thread, somewhere in the runner's column
 *	  not moved: call			load each hazard
 *						  == sub: wait until it is not
 *
 * Before "load removals", which then sees the count; or after it, and then the hazard was
 * stored before and is seen. [Required: one of them sees the other. models/relacy/hazard.cpp]
 *
 * The first of a batch is published with the lock held and needs neither a second look (so each
 * round of a walk calls at least one, whatever others remove: G4) nor that barrier: who removes
 * it has the lock later. Only a batch of more asks for it: a remove beside those that are being
 * called one after the other. What has no slot, or was claimed where there is no membarrier,
 * stores its hazards seqcst instead. The waiter is woken likewise: hazard changes, then
 * mm->event_waiters is loaded (event.c).
 *
 * WAITING READERS sleep on the low half of their own `ended`; `waiters` is guarded
 * by the lock, under which end adds to `ended`: end wakes those of its own range
 * and nobody else (G4). A waiter's memory is the subscription: remove is not
 * legal with a reader inside.
 *
 * SIGNAL HANDLERS may change memory while their thread holds an mm->lock (tls.held), of
 * this mm or another. Start then touches atomics only: the mm becomes undecided (epoch's
 * low bits count): every check fails, every reader waits. End leaves it so and pokes the
 * reclaimer; it, or a reader that waits, calls everybody with phase LOST and then decides
 * the mm. Nobody else does, as callbacks may run only where they are expected. Checked
 * accesses stay exact; the callbacks come after the change instead of before it.
 *
 * A FORKED CHILD finds the mm zeroed (MADV_WIPEONFORK): epoch 0 is "not watched",
 * whatever was in flight in the parent.
 *
 * LOCKS: mm->lock nests inside everything and nothing nests inside it: no callback,
 * no system call but the futex's own and insert's membarrier, no driver lock. Open and close
 * are serialised by the instance's lock (instance.h), outside mm->lock.
 */
#ifndef HMMU_NOTIFIER_H
#define HMMU_NOTIFIER_H

#include <hmmu/mmu_notifier.h>

#include "../atomic.h"
#include "../lock.h"
#include "../plant.h"
#include "../report.h"
#include "../tls.h"
#include "itree.h"
#include "overflow.h"
#include "pool.h"
#include "summary.h"

#define HMMU_SLOTS 64
/* Subscriptions per hold of the lock. */
#ifdef HMMU_SCHED
#define HMMU_BATCH 32 /* scenarios have more than one */
#else
#define HMMU_BATCH 64
#endif
#define HMMU_SEQ_NONE (~0UL) /* a sequence that always retries */

enum hmmu_slot_kind {
	SLOT_FREE = 0,
	SLOT_BUSY = 1,
	SLOT_OPEN = 2,
	SLOT_ENDING = 3,
	SLOT_KIND = 3, /* mask */
	SLOT_PAYS = 4, /* flag, from OPEN on: no membarrier, it pays for its barriers itself */
	SLOT_GENERATION = 8 /* one more for each use */
};

struct hmmu_slot {
	uint64_t state; /* generation | flag | kind */
	/* Release stores while BUSY; valid while OPEN, if the state is still the same
	 * when it is pinned. */
	uint64_t start;
	uint64_t last;
	struct hmmu_inv *inv; /* safe to follow with mm->lock held and pinned */
	const void *hazard;   /* whose callback runs in the owner; written by the owner */
	/* It may be about to call one whom its hazard does not name yet. Set under mm->lock by
	 * the owner, who clears it. */
	uint64_t batched;
	uint64_t pinned; /* the OPEN state whose end must take the lock; written under it */
	uint64_t pad;
};
_Static_assert(sizeof(struct hmmu_slot) == 64, "a slot is a cache line");

/*
 * Whom the walk of a slot found. It is the owner's alone, and true as long as nobody was
 * inserted or removed: end need not search again, nor the next walk, if it is for the same
 * range. Programs change the same places again and again.
 */
#define HMMU_FOUND 1024 /* more are searched for each time */
struct hmmu_found {
	uint64_t start;
	uint64_t last;
	uint64_t next_id;  /* mm's then */
	uint64_t removals; /* mm's then; UINT64_MAX: it is not good */
	uint64_t n;
	uint64_t pad[3];
	struct hmmu_match match[HMMU_FOUND];
};

/* What a range object is to its caller: see enum values. */
enum hmmu_inv_state {
	INV_INIT = 0x68696e76, /* initialised: start may be called */
	INV_OPEN,	       /* in a slot or in the overflow list */
	INV_UNDECIDED,	       /* opened inside the lock, by a signal handler */
	INV_NOTHING,	       /* opened where nothing is watched (a forked child) */
	INV_DONE,	       /* ended, or refused */
};

/* struct mmu_notifier_range seen from inside. */
struct hmmu_inv {
	struct mm_struct *mm;
	uint64_t start;
	uint64_t end;
	uint32_t flags;
	uint32_t event;
	uint32_t phase;
	uint32_t state; /* enum hmmu_inv_state; the caller's thread */
	void *owner;
	/* Guarded by mm->lock from here on, and valid only if it is pinned or in the overflow
	 * list; but slot and slot_state, which only start writes, before it returns. */
	uint16_t slot;	  /* index + 1, 0 = overflow */
	uint8_t attached; /* somebody counted himself */
	uint8_t walked;	  /* limit is final */
	uint8_t ending;
	uint8_t pad[3];
	uint64_t slot_state; /* what end expects in the slot */
	uint64_t limit;
	uint64_t end_limit;
	struct hmmu_key progress;
	uint64_t whole_progress; /* id of the last whole-mm notifier that accepted */
	struct hmmu_inv *next;	 /* mm->overflow */
	struct hmmu_inv **link;
	const void *hazard; /* of an overflow entry; as slot.hazard */
} __attribute__((may_alias));
_Static_assert(sizeof(struct hmmu_inv) == sizeof(struct mmu_notifier_range), "ABI: range");

/* struct mmu_interval_notifier seen from inside. */
struct hmmu_sub {
	uint64_t begun; /* release stores under mm->lock */
	uint64_t ended; /* the same; its low half is the readers' futex */
	struct mm_struct *mm;
	const struct mmu_interval_notifier_ops *ops;
	uint64_t start;
	uint64_t last;
	uint64_t id;
	uint32_t waiters; /* readers asleep; mm->lock */
	uint8_t level;	  /* of its cells in the summary */
	/* mm->lock; only where the mm has a net: its range may not be registered, and one
	 * of the open ones in begun is for that: read_begin arms, then ends it. */
	uint8_t unarmed;
	uint16_t cookie; /* HMMU_SUB_LIVE, HMMU_SUB_DEAD */
	uint64_t reserved[8];
} __attribute__((may_alias));
_Static_assert(sizeof(struct hmmu_sub) == sizeof(struct mmu_interval_notifier), "ABI: sub");

#define HMMU_SUB_LIVE 0x5b5b
#define HMMU_SUB_DEAD 0xdead

/* struct mmu_notifier seen from inside. */
struct hmmu_whole {
	const struct mmu_notifier_ops *ops;
	struct mm_struct *mm;
	struct hmmu_work work;
	/* All guarded by mm->lock. */
	uint64_t id;
	struct hmmu_whole *next; /* by id */
	uint64_t users;		 /* gets less puts; 0 for register */
	uint64_t owed;		 /* invalidations open since before it came */
	uint64_t reserved[6];
} __attribute__((may_alias));
_Static_assert(sizeof(struct hmmu_whole) == sizeof(struct mmu_notifier), "ABI: whole");

/*
 * epoch: + EPOCH_STEP when watching was lost, + EPOCH_MARK when the mm becomes
 * undecided, + EPOCH_CLEAR when that is over. The steps only grow; the low bits are how
 * many hold it undecided, and two flags. Never 0 but in a forked child.
 *
 * A sequence is begun + epoch without PROBE, taken when nothing was undecided. Undecided
 * comes and goes without a trace: what was decided meanwhile has moved `begun` of those it
 * hit, before the mark was taken back, and a check loads epoch first:
 *
 *	who was told of a change		hmmu_access_ok(), read_retry()
 *	epoch + MARK		[seqcst]	load epoch	[acquire]
 *	  the change's caller goes on		load begun	[acquire]
 *	begun + 1		[release]
 *	epoch + CLEAR		[seqcst]
 *	[Required: a check that began after the caller went on fails. It finds the mark; or
 *	 its taking back, and then begun.]
 */
#define EPOCH_BASE (1ULL << 63)
#define EPOCH_STEP (1ULL << 24)
#define EPOCH_MARK 1ULL
#define EPOCH_CLEAR (-EPOCH_MARK)
#define EPOCH_UNDECIDED (EPOCH_UNWATCHED - 1)
#define EPOCH_UNWATCHED (1ULL << 22) /* a source was lost: nothing is watched any more */
#define EPOCH_PROBE (1ULL << 23)     /* each check asks the source: never inlined */
#define EPOCH_LOW (EPOCH_STEP - 1)

struct mm_struct {
	/* Read by every reader and every start; written rarely. */
	uint64_t epoch;
	uint64_t gate;		/* SUMMARY level bits and GATE_WHOLE: Dekker, as summary */
	uint32_t slots_high;	/* slots [0, slots_high) may be in use; only grows */
	uint32_t sources;	/* HMMU_SOURCE_* in use; set by open */
	uint32_t mm_flags;	/* HMMU_MM_*; set by open */
	uint32_t no_membarrier; /* set once */
	uint64_t lost_pending;	/* changes made by signal handlers inside the lock, over, of
				 * which nobody has been told: each holds the mm undecided */
	const struct hmmu_source *net; /* whose ranges must be armed; NULL; set by open */
	uint32_t lost_sources;	       /* HMMU_SOURCE_*: why it is unwatched */
	uint32_t pad0[3];

	/* Looked at by each runner of callbacks. */
	uint64_t removals __attribute__((aligned(64))); /* written under lock */
	uint32_t event; /* futex: a hazard or an owed count went away */
	uint32_t event_waiters;

	struct hmmu_lock lock __attribute__((aligned(64)));
	/* Guarded by lock. What a walk writes lies in the lock's line. */
	uint64_t next_id;
	struct hmmu_itree tree;
	uint64_t seq_floor; /* above every count of a removed one: no sequence comes again */
	uint64_t nsubs;
	struct hmmu_arena arena; /* of small tables of the summary */
	struct hmmu_overflow overflow;
	struct hmmu_whole *whole;
	uint64_t level_subs[SUMMARY_LEVELS];

	/* reclaim.c */
	struct hmmu_work *deferred __attribute__((aligned(64))); /* newest first; no lock */
	struct hmmu_lock reclaim_lock;
	uint32_t reclaiming;	/* reclaim_lock: works that run */
	struct hmmu_work *fifo; /* reclaim_lock: oldest first */
	/* instance.h: guarded by the instance's lock. */
	struct mm_struct *next_open;
	struct mm_struct *next_free;

	struct hmmu_slot slots[HMMU_SLOTS] __attribute__((aligned(64)));
	struct hmmu_found found[HMMU_SLOTS] __attribute__((aligned(64)));
	struct hmmu_summary summary __attribute__((aligned(64)));
};

_Static_assert(offsetof(struct mm_struct, tree.free) <= offsetof(struct mm_struct, lock) + 64,
	       "what a walk writes lies in the lock's line");
/* What the inlined readers of the public header rest on. */
_Static_assert(offsetof(struct mm_struct, epoch) == 0, "ABI: the mm's first word");
_Static_assert(offsetof(struct hmmu_sub, begun) == 0 && offsetof(struct hmmu_sub, ended) == 8 &&
		       offsetof(struct hmmu_sub, mm) == 16,
	       "ABI: the subscription's first words");
_Static_assert(EPOCH_LOW == 0xffffff, "ABI: the mm's first word");

#define GATE_WHOLE (1ULL << 32)

/* The lock is never nested: a handler that interrupts a holder takes no lock of ours. Before
 * it is taken: a signal handler that comes in between takes the undecided way for nothing,
 * which is sound; after would be a deadlock. */
static inline void hmmu_mm_hold(struct mm_struct *mm)
{
	hmmu_tls.held = mm;
	hmmu_signal_fence();
}

static inline void hmmu_mm_lock(struct mm_struct *mm)
{
	hmmu_mm_hold(mm);
	hmmu_lock(&mm->lock);
}

static inline void hmmu_mm_lock_nonblock(struct mm_struct *mm)
{
	hmmu_mm_hold(mm);
	hmmu_lock_spin(&mm->lock);
}

static inline void hmmu_mm_unlock(struct mm_struct *mm)
{
	hmmu_unlock(&mm->lock);
	hmmu_signal_fence();
	hmmu_tls.held = NULL;
	hmmu_signal_fence();
}

/* mm.c */
/* Without a lock, where callbacks may run: what signal handlers left. */
void hmmu_mm_deliver_lost(struct mm_struct *mm);
/* The same: everybody is called with phase LOST, and every sequence is void. */
void hmmu_mm_tell_lost(struct mm_struct *mm);
/* Does anybody watch [start, last], perhaps? Context: any. */
bool hmmu_mm_watches(struct mm_struct *mm, uint64_t start, uint64_t last);

static inline bool hmmu_mm_alive(struct mm_struct *mm)
{
	return hmmu_load_relaxed(&mm->epoch) != 0;
}

/* arm.c: what was seen with @begun has been armed since, if it was not hit meanwhile; and its
 * neighbours. 0 or what the net's arm() answers. No lock; sleeps, if @wait. */
int hmmu_arm(struct hmmu_sub *sub, uint64_t begun, bool wait);

/* event.c: the mm's event count. cond is re-checked after the waiter is counted. */
void hmmu_event_wait(struct mm_struct *mm, bool (*cond)(struct mm_struct *, const void *),
		     const void *arg);
void hmmu_event_wake(struct mm_struct *mm);

/* The caller has made some condition true. */
static inline void hmmu_event_signal(struct mm_struct *mm)
{
	hmmu_signal_fence(); /* in this order for the compiler, too */
	/* Pairs with the count in hmmu_event_wait(). models/spin/event.pml EV5 */
	if (__builtin_expect(hmmu_load_seqcst(&mm->event_waiters) != 0, 0))
		hmmu_event_wake(mm);
}

/* slot.c; slot.h has the hot half */
bool hmmu_slot_search(struct mm_struct *mm, struct hmmu_inv *inv);

/* How a newcomer counts itself: what attach does with an open one it overlaps. */
struct hmmu_newcomer {
	uint64_t id;
	uint64_t start;
	uint64_t last;
	uint64_t *count; /* += 1 for each that is open and not going to count it */
};
/* With the lock, after the announcement and before the newcomer has its id. */
void hmmu_settle_busy(struct mm_struct *mm);
void hmmu_attach(struct mm_struct *mm, const struct hmmu_newcomer *who);
bool hmmu_membarrier_register(void);
bool hmmu_membarrier(void); /* a full barrier in every thread; false: not to be had */
void hmmu_barrier(struct mm_struct *mm); /* the same, by whatever means there are */

static inline bool hmmu_inv_blockable(const struct hmmu_inv *inv)
{
	return inv->flags & MMU_NOTIFIER_RANGE_BLOCKABLE;
}

static inline void hmmu_inv_lock(struct hmmu_inv *inv)
{
	if (hmmu_inv_blockable(inv))
		hmmu_mm_lock(inv->mm);
	else
		hmmu_mm_lock_nonblock(inv->mm);
}

/* Hazards: whose callback runs in the owner of @inv, which alone writes it. */
static inline const void **hmmu_inv_hazard(struct hmmu_inv *inv)
{
	return inv->slot ? &inv->mm->slots[inv->slot - 1].hazard : &inv->hazard;
}

/* With the lock: who removes it afterwards takes the lock later, and finds it. */
static inline void hmmu_hazard_set(const void **hazard, const void *first)
{
	hmmu_store_release(hazard, first);
}

/* Without it: one callback is over, @next's begins (NULL: none). Release: who waits for it may
 * free what it used. @pays: SLOT_PAYS. Pairs with the loads in callbacks_running().
 * models/spin/core.pml HZ1 */
static inline void hmmu_hazard_move(struct mm_struct *mm, const void **hazard, const void *next,
				    bool pays)
{
	if (__builtin_expect(pays, 0))
		hmmu_store_seqcst(hazard, next);
	else
		hmmu_store_release(hazard, next);
	hmmu_event_signal(mm);
}

/* invalidate.c. Called by remove after the subject left its list: waits for its callbacks.
 * @overflow: something without a slot ran them under that hold of the lock, or may have. */
void hmmu_wait_callbacks(struct mm_struct *mm, const void *subject, bool overflow);
bool hmmu_in_callback_of(const void *subject);
/* The callback of the whole-mm notifiers (whole.c). -EAGAIN: one refused. */
int hmmu_whole_start(struct hmmu_inv *inv);
void hmmu_whole_end(struct hmmu_inv *inv);

int hmmu_start_quiet(struct mmu_notifier_range *range); /* invalidate.c */

/* read.c */
void hmmu_wake_readers(uint64_t *ended);
/* Whoever was told of a change that is over has been called: what the callbacks left is
 * good (G1). Asks the source where it wants to be asked. After the caller's loads. */
bool hmmu_mm_decided(struct mm_struct *mm);
/* CLOCK_MONOTONIC; NULL: never; a zero time, or no time at all: always. */
bool hmmu_expired(const struct timespec *deadline);

#endif /* HMMU_NOTIFIER_H */
