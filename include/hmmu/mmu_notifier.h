/* SPDX-License-Identifier: MIT */
/*
 * hmmu/mmu_notifier.h - who caches translations of this memory must be told
 * before the memory changes.
 *
 * The design is Linux's mmu_interval_notifier (mm/mmu_notifier.c, merged in
 * 5.5), for user space; where Linux has a name it is used with Linux's
 * meaning, and what Linux has no name for starts with hmmu_.
 *
 * WHO TAKES PART
 *
 *   mm            one watched address space: the truth. Its translations
 *                 change at any time, from any thread. A translation is what
 *                 the process would read and write at an address, not a frame
 *                 number.
 *   subscription  struct mmu_interval_notifier: "I cache translations of
 *                 [start, start + length)".
 *   driver        owns a shadow of some translations (a device page table, an
 *                 RDMA registration, a pinned buffer) and ONE lock that guards
 *                 it: "the driver lock".
 *   source        whoever calls invalidate_range_start() and _end() around a
 *                 change: the program itself (explicit) or hooks on libc.
 *
 * THE READER'S LOOP
 *
 *	again:
 *		seq = mmu_interval_read_begin(&sub);
 *		... read the translations; may sleep, may fault ...
 *		lock(driver);
 *		if (mmu_interval_read_retry(&sub, seq)) {
 *			unlock(driver);
 *			goto again;
 *		}
 *		... install them in the shadow ...
 *		unlock(driver);
 *
 * and the callback takes the driver lock, calls mmu_interval_set_seq(), drops
 * the shadow of the range, unlocks and answers true. Before each use of a
 * shadow entry: hmmu_access_ok(); at completion once more.
 *
 * WHAT IS GUARANTEED (tests, models and comments cite the numbers)
 *
 *   G1  coherence. From the moment the translations start to change until the
 *       end, no shadow holds the old translation and none is installed that
 *       was read before the change. Sources that bracket give exactly this
 *       (HMMU_BRACKETED); a source that is told afterwards gives it from the
 *       return of the changing call on (HMMU_BY_RETURN). An access in flight
 *       at start may finish on the old pages: check again at completion. The one
 *       exception: a signal handler that changes memory while its own thread is
 *       inside this library's lock. Checked accesses (hmmu_access_ok(), the
 *       reader's loop) stay exact; the callbacks come right after, phase LOST.
 *       A device without checks MUST NOT serve memory that handlers unmap.
 *   G2  no missed range. A subscription inserted while an overlapping
 *       invalidation is open behaves as if it had been hit by it: its readers
 *       wait for that end.
 *   G3  lifetime. Once remove() returns no callback of it runs or will run, and
 *       no callback touches a removed subscription. "Runs" = begun and not
 *       returned, nested ones included.
 *   G4  progress. No reader, insert or remove waits for an invalidation that
 *       does not overlap it. remove() waits only for its own running
 *       callbacks, never for an end. Invalidations nest, in any order, also
 *       from inside a callback, without deadlock. The non-blocking start never
 *       sleeps and answers -EAGAIN only if a callback refused. (A reader whose
 *       own range is invalidated without pause starves: bound it by
 *       hmmu_read_begin()'s deadline. Readers of an mm that a signal handler made
 *       undecided wait until everybody has been told.)
 *   G5  order. What an invalidator wrote before end happens-before what a
 *       reader reads after a read_begin that waited for it.
 *   G6  wrap. Sequences have 64 bits.
 *
 * CONTEXTS (docs/contexts.md has the whole table)
 *
 *   Nothing here is called with a lock of hmmu's held that the caller could
 *   see: callbacks run with none. A callback may run inside libc with an
 *   allocator's lock held (hooks): it MUST NOT allocate, free, or take a lock
 *   that is ever held across an allocation. Under the driver lock never
 *   allocate, free or unmap.
 *
 * ERRORS: 0 or -errno; errno itself is left as it was.
 */
#ifndef HMMU_MMU_NOTIFIER_H
#define HMMU_MMU_NOTIFIER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Opaque: one watched address space. Opened by hmmu_mm_open(). */
struct mm_struct;
struct mmu_interval_notifier;
struct mmu_notifier;

/*
 * Why the range changes. Values and meanings are Linux's
 * (include/linux/mmu_notifier.h): UNMAP munmap, mremap, MAP_FIXED over, shmdt,
 * brk; CLEAR the mapping stays and its pages go (madvise); PROTECTION_VMA
 * mprotect; PROTECTION_PAGE copy-on-write armed (fork). The others are not
 * produced by the sources of this version.
 */
enum mmu_notifier_event {
	MMU_NOTIFY_UNMAP = 0,
	MMU_NOTIFY_CLEAR,
	MMU_NOTIFY_PROTECTION_VMA,
	MMU_NOTIFY_PROTECTION_PAGE,
	MMU_NOTIFY_SOFT_DIRTY,
	MMU_NOTIFY_RELEASE,
	MMU_NOTIFY_MIGRATE,
	MMU_NOTIFY_EXCLUSIVE,
};

/* range->flags: callbacks may sleep. start() sets it, start_nonblock() clears. */
#define MMU_NOTIFIER_RANGE_BLOCKABLE (1u << 0)

/* When the callback runs, relative to the change. */
enum hmmu_phase {
	HMMU_PHASE_BEFORE = 0, /* the old pages are still there */
	HMMU_PHASE_AFTER = 1,  /* they are gone already */
	HMMU_PHASE_LOST = 2,   /* watching ended: forget everything in the range */
};

/*
 * struct mmu_notifier_range - one invalidation, open from start to end.
 *
 * The caller's own (its stack will do), 128 bytes. Fill it with
 * mmu_notifier_range_init(); while it is open it carries the invalidation's
 * state: MUST NOT be moved, copied over or freed between start and end. After the
 * end, or a refused start, it may be started again as it is. Start and end may be
 * called by different threads, and pairs need not nest in order.
 * Callbacks see the whole range of the change, not clipped to the subscription:
 * they clip it themselves.
 */
struct mmu_notifier_range {
	struct mm_struct *mm;
	unsigned long start; /* first byte */
	unsigned long end;   /* one past the last byte */
	unsigned int flags;
	enum mmu_notifier_event event;
	enum hmmu_phase phase;
	unsigned int reserved0;
	void *owner;	   /* lets a driver know its own migration; NULL: nobody's */
	uint64_t priv[10]; /* the library's, between start and end */
};

/*
 * struct mmu_interval_notifier_ops
 * @invalidate: drop what the shadow holds of the range. Take the driver lock,
 *	call mmu_interval_set_seq(sub, cur_seq), drop, unlock, return true. If
 *	!mmu_notifier_range_blockable(range) it MUST NOT sleep: a lock that is
 *	not free at once means return false, with nothing changed.
 *	Context: any thread, possibly inside libc with an allocator's lock held.
 *	May call start/end (they nest) and insert; MUST NOT remove, nor begin a
 *	read. The subscription lives until it returns (G3).
 */
struct mmu_interval_notifier_ops {
	bool (*invalidate)(struct mmu_interval_notifier *sub,
			   const struct mmu_notifier_range *range, unsigned long cur_seq);
};

/*
 * struct mmu_interval_notifier - a subscription, embedded in the caller's
 * structure. 128 bytes, ABI. Nothing to initialise: insert does it. Only
 * @ops and @mm are for the caller to read.
 */
struct mmu_interval_notifier {
	uint64_t priv0[2]; /* begun, ended: ABI of the inlined readers below */
	struct mm_struct *mm;
	const struct mmu_interval_notifier_ops *ops;
	uint64_t priv1[4];
	uint64_t reserved[8];
};

/* Both layouts are ABI. */
#ifdef __cplusplus
#define HMMU_STATIC_ASSERT static_assert
#else
#define HMMU_STATIC_ASSERT _Static_assert
#endif
HMMU_STATIC_ASSERT(sizeof(void *) == 8, "hmmu needs 64-bit addresses");
HMMU_STATIC_ASSERT(sizeof(struct mmu_notifier_range) == 128, "ABI: range");
HMMU_STATIC_ASSERT(sizeof(struct mmu_interval_notifier) == 128, "ABI: subscription");

/* ------------------------------------------------------------------------
 * The address space
 */

/* options->sources: who tells of changes. Sources named must all work. */
#define HMMU_SOURCE_EXPLICIT 0u		  /* alone: the caller's own start/end only */
#define HMMU_SOURCE_HOOKS (1u << 0)	  /* libc's entries, in this process */
#define HMMU_SOURCE_USERFAULTFD (1u << 1) /* the kernel tells: raw calls and ld.so too */
#define HMMU_SOURCE_SECCOMP (1u << 2)	  /* every system call of the process; never in BEST */
#define HMMU_SOURCE_BEST (1u << 31)	  /* the best that works here; never explicit */

/* options->flags */
#define HMMU_MM_OWN_RECLAIM (1u << 0) /* no thread: the application calls hmmu_reclaim() */
/* Ask the kernel at each access (hmmu_access_ok(): 0.1 to 0.4 us more), also where hooks
 * close the ordinary case: then a raw munmap whose address another thread's raw mmap
 * takes at once is by return, too. Without userfaultfd it means nothing. */
#define HMMU_MM_PROBE_ACCESS (1u << 1)

/* How exact a source is, for one operation x caller x memory kind. Ordered. */
enum hmmu_exactness {
	HMMU_UNWATCHED = 0,
	HMMU_BY_RETURN_REUSE_OPEN = 1, /* by return, but another thread may reuse first */
	HMMU_BY_RETURN = 2,	       /* nothing stale begins after the call returned */
	HMMU_BRACKETED = 3,	       /* start before, end after: G1 to the letter */
};

/*
 * struct hmmu_mm_options
 * @size:	sizeof(struct hmmu_mm_options)
 * @sources:	HMMU_SOURCE_* mask
 * @require:	least enum hmmu_exactness accepted for every operation of
 *		enum hmmu_operation when called through libc, from outside or
 *		from inside libc; 0 demands nothing. HMMU_BRACKETED is
 *		what a device without any access check (a NIC) needs; of ftruncate and
 *		fallocate it demands HMMU_BY_RETURN: a file that is mapped while it is
 *		truncated cannot be told of before. An explicit mm brackets by definition.
 * @flags:	HMMU_MM_*
 */
struct hmmu_mm_options {
	size_t size;
	unsigned int sources;
	unsigned int require;
	unsigned int flags;
	unsigned int reserved[5];
};

/*
 * hmmu_mm_open() - watch this process's address space.
 * @options: NULL is { .sources = HMMU_SOURCE_BEST }.
 * Context: ordinary thread; sleeps, maps memory, may create a thread and patch
 * libc's entries. Return: 0 and *mm, or
 *  -EINVAL	  mm NULL, size wrong, an unknown bit, BEST with another source,
 *		  require above HMMU_BRACKETED, or reserved words not 0
 *  -EOPNOTSUPP	  a named source does not work here, none does (BEST), or
 *		  @require is not met
 *  -ENOMEM	  no memory for the address space or its reclaimer
 *  -EMFILE	  eight address spaces use hooks already
 */
int hmmu_mm_open(struct mm_struct **mm, const struct hmmu_mm_options *options);

/*
 * hmmu_source_why() - why @source (one HMMU_SOURCE_* bit) did not work when this process
 * last tried it, in words for a person: an old kernel, a container's filter, a policy.
 * NULL: it worked, was never tried, or is unknown. Static text. Context: any but a hook.
 */
const char *hmmu_source_why(unsigned int source);

/*
 * hmmu_mm_close() - stop watching. Runs what was deferred on it first.
 * Context: ordinary thread; sleeps. In a forked child: releases nothing of the
 * parent's and answers 0. Return: 0, or -EBUSY: something is still subscribed or
 * an explicit invalidation is open, nothing changed; -EINVAL: mm NULL.
 */
int hmmu_mm_close(struct mm_struct *mm);

/* What a source catches, cell by cell. */
enum hmmu_operation {
	HMMU_OP_MUNMAP = 0,
	HMMU_OP_MMAP_FIXED, /* mmap(MAP_FIXED) over something */
	HMMU_OP_MREMAP,	    /* source and destination */
	HMMU_OP_MADVISE,    /* DONTNEED(_LOCKED), FREE, REMOVE */
	HMMU_OP_BRK,	    /* shrink, by brk or sbrk */
	HMMU_OP_SHMDT,
	HMMU_OP_SHMAT_REMAP,
	HMMU_OP_MPROTECT,
	HMMU_OP_FORK,
	HMMU_OP_FTRUNCATE,	 /* of a mapped file, by this process */
	HMMU_OP_FALLOCATE,	 /* PUNCH_HOLE, ... of a mapped file, by this process */
	HMMU_OP_MADVISE_GUARD,	 /* GUARD_INSTALL */
	HMMU_OP_PROCESS_MADVISE, /* on oneself */
	HMMU_OP_PKEY_MPROTECT,
	HMMU_OP_REMAP_FILE_PAGES,
	HMMU_OP_NR,
};
enum hmmu_caller {
	HMMU_CALLER_EXPLICIT = 0,  /* the program's own start/end */
	HMMU_CALLER_LIBC,	   /* through libc's symbol */
	HMMU_CALLER_LIBC_INTERNAL, /* libc's calls to itself: free, trim, thread exit */
	HMMU_CALLER_RAW,	   /* a syscall instruction, static code */
	HMMU_CALLER_LDSO,	   /* the dynamic linker: dlclose */
	HMMU_CALLER_IO_URING,
	HMMU_CALLER_PROCESS, /* another process: shared files; a child that shares the memory */
	HMMU_CALLER_NR,
};
enum hmmu_memory {
	HMMU_MEMORY_ANY = 0,	  /* the answer is the same for every kind */
	HMMU_MEMORY_ANON,	  /* private anonymous */
	HMMU_MEMORY_SHMEM,	  /* shared anonymous, memfd */
	HMMU_MEMORY_SYSV,	  /* shmat */
	HMMU_MEMORY_FILE_PRIVATE, /* a file, MAP_PRIVATE */
	HMMU_MEMORY_FILE_SHARED,  /* a file, MAP_SHARED */
	HMMU_MEMORY_NR,
};

struct hmmu_coverage {
	uint16_t operation; /* enum hmmu_operation */
	uint16_t caller;    /* enum hmmu_caller */
	uint16_t memory;    /* enum hmmu_memory */
	uint16_t exactness; /* enum hmmu_exactness */
	uint32_t source;    /* the HMMU_SOURCE_* that answers, 0 none or explicit */
	uint32_t reserved;
};

/*
 * hmmu_mm_describe() - what is watched, and how exactly.
 * Writes at most @n cells; cells NULL only counts. Context: any but a hook.
 * Return: the number of cells there are; -EINVAL: mm NULL, or cells NULL with n;
 * -ENODEV: in a forked child.
 */
int hmmu_mm_describe(struct mm_struct *mm, struct hmmu_coverage *cells, size_t n);

/* ------------------------------------------------------------------------
 * Subscriptions
 */

/*
 * mmu_interval_notifier_insert() - subscribe to [start, start + length).
 * Never mallocs. The addresses need not be mapped (yet). Callbacks of invalidations
 * that start meanwhile may run before it returns; for one that is open already its
 * readers wait, and it is not called (there is nothing to drop yet). Legal inside a
 * callback. The last byte of the address space can be subscribed to, but no range
 * [start, end) reaches it. Return: 0, or with nothing changed
 *  -EOVERFLOW	length 0, or start + length - 1 wraps
 *  -EINVAL	sub, mm, ops or ops->invalidate NULL
 *  -ENOMEM	the library's mapped pool cannot grow
 *  -ENODEV	mm belongs to the parent of this forked child
 */
int mmu_interval_notifier_insert(struct mmu_interval_notifier *sub, struct mm_struct *mm,
				 unsigned long start, unsigned long length,
				 const struct mmu_interval_notifier_ops *ops);

/*
 * mmu_interval_notifier_remove() - G3. Sleeps only while a callback of this
 * subscription runs in another thread. MUST NOT be called from a callback, nor
 * under the driver lock (the callback waits for it), nor while a reader is inside:
 * debug builds report each by name. Drop the shadow BEFORE: after it nothing
 * protects it. In a forked child: does nothing.
 */
void mmu_interval_notifier_remove(struct mmu_interval_notifier *sub);

/*
 * mmu_interval_read_begin() - start of the reader's loop; sleeps while an
 * invalidation of this subscription is open (G1, G4, G5). Not from a callback,
 * not under the driver lock. Where nothing watches (a forked child) it returns at
 * once and the retry stays true. Acts as an acquire barrier.
 */
unsigned long mmu_interval_read_begin(struct mmu_interval_notifier *sub);

/*
 * hmmu_read_begin() - the same with a deadline and an answer.
 * @deadline: CLOCK_MONOTONIC; NULL waits; a zero time never sleeps. One that is past,
 * or no valid time, is a deadline that has been reached.
 * Return: 0 and *seq; -ETIMEDOUT: an invalidation is still open; -ENODEV: not
 * watched: use the translation once and install nothing. On either *seq is one
 * that retries for ever.
 */
int hmmu_read_begin(struct mmu_interval_notifier *sub, unsigned long *seq,
		    const struct timespec *deadline);

/*
 * mmu_interval_read_retry() - under the driver lock: true = collided, unlock and
 * read again. Answers exactly "something started since read_begin", a start that was
 * refused later included.
 */
bool mmu_interval_read_retry(struct mmu_interval_notifier *sub, unsigned long seq);

/*
 * mmu_interval_check_retry() - the same without the driver lock, to give up
 * early. True is reliable. False is not: it only suggests going on.
 */
bool mmu_interval_check_retry(struct mmu_interval_notifier *sub, unsigned long seq);

/*
 * mmu_interval_set_seq() - called by invalidate() under the driver lock with the
 * cur_seq it was given. It marks the moment for the debug build, which reports a
 * callback that answers true without it. Callbacks that nest may hand in an older
 * cur_seq after a newer one: that is fine.
 */
void mmu_interval_set_seq(struct mmu_interval_notifier *sub, unsigned long cur_seq);

/*
 * hmmu_access_ok() - may a device use what was installed under @seq, now? Loads
 * only. False: run the reader's loop again; entries that the callback left are
 * still good. Any context. Call it before the access and, for an access
 * that takes time, again at completion (G1).
 */
bool hmmu_access_ok(struct mmu_interval_notifier *sub, unsigned long seq);

/*
 * The same four, inlined: two library calls cost more than the five loads that they
 * make. The names above remain as functions, for their address and for other languages;
 * debug builds (HMMU_DEBUG: of the program, not only of the library) and
 * -DHMMU_NO_INLINE call them. x86-64 keeps loads in order; the barriers keep the
 * compiler from moving the caller's accesses over them, in either direction: the check
 * at completion comes after the access. Elsewhere, and under ThreadSanitizer, which
 * cannot know that, these are not used.
 *
 * ABI that this rests on: the first two words of a subscription are the counts of its
 * invalidations begun and ended, the first word of an mm is its epoch (0: not watched; low
 * 24 bits not 0: ask the library). The epoch is loaded first. Where the kernel must be
 * asked at each access no sequence ever equals the sum, so that the library is called.
 */
#if defined(__SANITIZE_THREAD__) && !defined(HMMU_NO_INLINE)
#define HMMU_NO_INLINE
#elif defined(__has_feature) && !defined(HMMU_NO_INLINE)
#if __has_feature(thread_sanitizer)
#define HMMU_NO_INLINE
#endif
#endif
#if defined(__x86_64__) && defined(__GNUC__) && !defined(HMMU_NO_INLINE) && !defined(HMMU_DEBUG)
static inline uint64_t hmmu_inline_load(const void *p)
{
	uint64_t v;

	__asm__ __volatile__("" ::: "memory");
	v = *(const volatile uint64_t *)p;
	__asm__ __volatile__("" ::: "memory");
	return v;
}

static inline unsigned long hmmu_inline_read_begin(struct mmu_interval_notifier *sub)
{
	uint64_t ended = hmmu_inline_load(&sub->priv0[1]);
	uint64_t begun = hmmu_inline_load(&sub->priv0[0]);
	uint64_t epoch = hmmu_inline_load(sub->mm);

	if (__builtin_expect(ended == begun && epoch && !(epoch & 0xffffff), 1))
		return begun + epoch;
	return (mmu_interval_read_begin)(sub);
}

static inline bool hmmu_inline_moved(struct mmu_interval_notifier *sub, unsigned long seq)
{
	uint64_t epoch = hmmu_inline_load(sub->mm);

	return hmmu_inline_load(&sub->priv0[0]) + epoch != seq;
}

#define mmu_interval_read_begin(sub) hmmu_inline_read_begin(sub)
static inline bool hmmu_inline_read_retry(struct mmu_interval_notifier *sub, unsigned long seq)
{
	return __builtin_expect(hmmu_inline_moved(sub, seq), 0) &&
	       (mmu_interval_read_retry)(sub, seq);
}

static inline bool hmmu_inline_check_retry(struct mmu_interval_notifier *sub, unsigned long seq)
{
	return __builtin_expect(hmmu_inline_moved(sub, seq), 0) &&
	       (mmu_interval_check_retry)(sub, seq);
}

static inline bool hmmu_inline_access_ok(struct mmu_interval_notifier *sub, unsigned long seq)
{
	return __builtin_expect(!hmmu_inline_moved(sub, seq), 1) || (hmmu_access_ok)(sub, seq);
}

#define mmu_interval_read_retry(sub, seq) hmmu_inline_read_retry((sub), (seq))
#define mmu_interval_check_retry(sub, seq) hmmu_inline_check_retry((sub), (seq))
#define hmmu_access_ok(sub, seq) hmmu_inline_access_ok((sub), (seq))
#endif

/*
 * hmmu_driver_lock_acquired() / _released() - optional: tell debug builds that
 * this thread holds @sub's driver lock, so that the wrong nesting (remove,
 * read_begin under it) is reported when it is possible, not when it deadlocks.
 * The idea is Linux's lockdep map in mmu_notifier.c. Release builds: nothing.
 */
void hmmu_driver_lock_acquired(struct mmu_interval_notifier *sub);
void hmmu_driver_lock_released(struct mmu_interval_notifier *sub);

/*
 * hmmu_debug_lock() / _unlock() - the same for any other lock that callbacks take, or that
 * is held where this library is called. @lock: which; @name: all locks of one name are one
 * kind, of which an order is learned. Call it before the lock is waited for; after a
 * successful try with @trylock. Debug builds only, docs/contexts.md; any context. Release
 * builds: nothing.
 */
void hmmu_debug_lock(const void *lock, const char *name, bool trylock);
void hmmu_debug_unlock(const void *lock);

/* ------------------------------------------------------------------------
 * Invalidations
 */

/* range_init: phase BEFORE, owner NULL. [start, end) in bytes. */
void mmu_notifier_range_init(struct mmu_notifier_range *range, enum mmu_notifier_event event,
			     unsigned int flags, struct mm_struct *mm, unsigned long start,
			     unsigned long end);
void mmu_notifier_range_init_owner(struct mmu_notifier_range *range,
				   enum mmu_notifier_event event, unsigned int flags,
				   struct mm_struct *mm, unsigned long start, unsigned long end,
				   void *owner);

static inline bool mmu_notifier_range_blockable(const struct mmu_notifier_range *range)
{
	return (range->flags & MMU_NOTIFIER_RANGE_BLOCKABLE) != 0;
}

/*
 * mmu_notifier_invalidate_range_start() - the translations of the range are
 * about to change. When it returns 0 every overlapping subscription has been
 * called and its readers wait (G1). Allocates nothing. Context: any thread, inside
 * libc too; sleeps if a callback does. In a forked child, on its parent's mm: 0, and
 * nobody is called. Return: 0, or -EINVAL: empty or reversed range, mm NULL, or range
 * not initialised or open already; then this call has opened nothing.
 */
int mmu_notifier_invalidate_range_start(struct mmu_notifier_range *range);

/*
 * mmu_notifier_invalidate_range_start_nonblock() - never sleeps. -EAGAIN: a
 * callback refused; nothing is open, the translations MUST NOT change, no end is
 * called. Otherwise as above.
 */
int mmu_notifier_invalidate_range_start_nonblock(struct mmu_notifier_range *range);

/*
 * mmu_notifier_invalidate_range_end() - the change is done. Any thread. Without
 * an open start: reported by debug builds, otherwise nothing. Acts as a release
 * barrier (G5).
 */
void mmu_notifier_invalidate_range_end(struct mmu_notifier_range *range);

/* ------------------------------------------------------------------------
 * The whole-mm form: told of every invalidation, keeps its own counts.
 */

/*
 * struct mmu_notifier_ops
 * @release:	called by mmu_notifier_unregister(): forget everything.
 * @invalidate_range_start: 0, or -EAGAIN if the range is not blockable and this
 *	would have to sleep.
 * @invalidate_range_end: once for each start that answered 0. (Not for those
 *	that were open when the notifier was unregistered.)
 * @alloc_notifier, @free_notifier: for mmu_notifier_get() and _put();
 *	alloc_notifier answers NULL when out of memory.
 * Context of the first three: as invalidate() above. @release and either of start and
 * end may be NULL; get needs alloc_notifier and free_notifier.
 */
struct mmu_notifier_ops {
	void (*release)(struct mmu_notifier *sub, struct mm_struct *mm);
	int (*invalidate_range_start)(struct mmu_notifier *sub,
				      const struct mmu_notifier_range *range);
	void (*invalidate_range_end)(struct mmu_notifier *sub,
				     const struct mmu_notifier_range *range);
	struct mmu_notifier *(*alloc_notifier)(struct mm_struct *mm);
	void (*free_notifier)(struct mmu_notifier *sub);
};

/*
 * struct hmmu_work - clean-up for later, embedded in what is to be cleaned.
 * @fn is called once, in the reclaimer's thread or in hmmu_reclaim(); it may
 * free the structure, sleep, allocate and unmap.
 */
struct hmmu_work {
	struct hmmu_work *next;
	void (*fn)(struct hmmu_work *work);
	struct mm_struct *mm;
	uint64_t reserved;
};

struct mmu_notifier {
	const struct mmu_notifier_ops *ops;
	struct mm_struct *mm;
	struct hmmu_work work;
	uint64_t priv[4];
	uint64_t reserved[6];
};
HMMU_STATIC_ASSERT(sizeof(struct mmu_notifier) == 128, "ABI: whole-mm notifier");

/*
 * mmu_notifier_register() - sub->ops set by the caller. Waits for invalidations
 * that are open when it is called, so that starts and ends pair (every one of
 * them overlaps the whole mm): MUST NOT be called between start and end of the
 * caller's own, nor in a callback. Userfaultfd tells only of what is registered with it,
 * which is what interval subscriptions name. Return: 0, -EINVAL (NULL, or both range ops
 * NULL), -ENODEV (forked child), -EOPNOTSUPP (the mm's only source is userfaultfd),
 * -EDEADLK (in a callback: it would wait for itself).
 */
int mmu_notifier_register(struct mmu_notifier *sub, struct mm_struct *mm);

/* mmu_notifier_unregister() - calls ops->release, then as G3. */
void mmu_notifier_unregister(struct mmu_notifier *sub, struct mm_struct *mm);

/*
 * mmu_notifier_get() - the mm's notifier with these ops, allocated and registered
 * by the first caller, counted. (Linux answers an ERR_PTR; there is none here.)
 * mmu_notifier_put() drops the count; the last one takes it off at once and has
 * free_notifier called later by the reclaimer; it does not call release.
 * mmu_notifier_synchronize() waits until every free_notifier so owed has returned; it
 * runs those itself that nobody else is about to run (HMMU_MM_OWN_RECLAIM).
 * get: 0, -EINVAL (NULL, no alloc_notifier or free_notifier), -ENOMEM (it answered
 * NULL), and what register answers.
 */
int mmu_notifier_get(const struct mmu_notifier_ops *ops, struct mm_struct *mm,
		     struct mmu_notifier **sub);
void mmu_notifier_put(struct mmu_notifier *sub);
void mmu_notifier_synchronize(void);

/* ------------------------------------------------------------------------
 * Clean-up
 */

/*
 * hmmu_defer() - have fn(work) called soon from a place where everything is
 * allowed. Allocates nothing, never sleeps; legal in a callback inside libc. The
 * work is the library's until fn is called, then it may be queued again. Works of one
 * mm run in the order of their arrival, if only one thread runs them. In a forked child,
 * on its parent's mm: nothing, fn is never called.
 */
void hmmu_defer(struct mm_struct *mm, struct hmmu_work *work, void (*fn)(struct hmmu_work *));

/*
 * hmmu_reclaim() - run what was deferred on @mm, now, here, and call those who are
 * owed a callback with phase LOST. For applications that opened it with
 * HMMU_MM_OWN_RECLAIM, legal for all. Not from a callback, not under the driver lock.
 * Return: how many ran; -EINVAL: mm NULL.
 */
int hmmu_reclaim(struct mm_struct *mm);

#ifdef __cplusplus
}
#endif

#endif /* HMMU_MMU_NOTIFIER_H */
