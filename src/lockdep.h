/* SPDX-License-Identifier: MIT */
/*
 * lockdep.h - locks and contexts, checked in debug builds (HMMU_DEBUG): the wrong nesting is
 * reported the first time it is possible, not when two threads at last meet in it.
 * docs/contexts.md tells how to read a report and how to declare a lock of one's own.
 *
 * A CLASS is all locks of one use: `&mm->lock` of every mm is one. Real classes are
 *
 *	hmmu's own	by the text of the argument of hmmu_lock(), as it is written there
 *	driver locks	by the ops of the subscription (hmmu_driver_lock_acquired())
 *	others'		by name (hmmu_debug_lock())
 *
 * and fake ones stand for waiting that is no lock, as Linux has one in mm/mmu_notifier.c:
 *
 *	class		held				waited for
 *	invalidation	from start to end		read_begin, register
 *	callback	while a callback runs		start that may block, remove
 *	change		from source start to end	open, close
 *	inside libc	while a hooked call starts;	opening allocates
 *			an allocator's lock may be held
 *	deferred work	while one runs			close, reclaim, synchronize
 *
 * They are taken where the wait is possible, also when this time nobody is there to be
 * waited for: a munmap under the driver lock is wrong though nothing overlaps it.
 *
 * AN EDGE A -> B: somebody held A and waited for B. The edge that closes a cycle is reported,
 * with the stack of each edge in it, be they years apart. How fake classes nest in each
 * other follows from the design and is not learned but written down (rules[], lockdep.c):
 * so half of a cycle is known before anything has happened. The wrong uses that are fake
 * inside fake (a read in a callback) are the context's to report, below. Not checked: two
 * locks of one class.
 *
 * CONTEXT of all this: wherever hmmu is, an allocator and a signal handler included. No
 * malloc, no stdio, no lock but one of its own that is taken for a new edge only; tables of
 * fixed size, which say so once when they are full. A handler that interrupts it is not
 * checked. Nothing here is a preemption point of tests/sched/. The tables are zeros in a
 * forked child: it starts with nothing held and nothing known.
 *
 * hmmu's locks, outermost first (also in docs/contexts.md):
 *
 *	&inst->lock		instance.h: open, close, attach
 *	  &sup->lock		seccomp.h: lists; nothing nests inside it
 *	  &u->lock		userfaultfd.h: arm, disarm; never in a hook
 *	    &mm->lock		notifier.h: nothing nests inside it
 *	&cache->reap_lock	regcache.h: membarrier, and
 *	  &cache->lock		regcache.h: a driver lock; nothing nests inside it
 *	&mm->reclaim_lock	reclaim.c: nothing nests inside it
 */
#ifndef HMMU_LOCKDEP_H
#define HMMU_LOCKDEP_H

#include <stdbool.h>
#include <stdint.h>

enum hmmu_class {
	HMMU_CLASS_NONE = 0,
	HMMU_CLASS_INVALIDATION,
	HMMU_CLASS_CALLBACK,
	HMMU_CLASS_CHANGE,
	HMMU_CLASS_LIBC,
	HMMU_CLASS_WORK,
	HMMU_CLASS_REAL, /* the first that is no fake */
	HMMU_CLASS_INSTANCE = HMMU_CLASS_REAL,
	HMMU_CLASS_UFFD,
	HMMU_CLASS_SECCOMP,
	HMMU_CLASS_RECLAIM,
	HMMU_CLASS_MM,
	HMMU_CLASS_KNOWN, /* from here on they are found as they come */
	HMMU_CLASSES = 64,
};

/* Contexts in which a call is not allowed. */
#define HMMU_NOT_CALLBACK (1u << 0)
#define HMMU_NOT_DRIVER_LOCK (1u << 1)
#define HMMU_NOT_SIGNAL (1u << 2)
#define HMMU_NOT_VFORK (1u << 3)
#define HMMU_NOT_ANY 15u

#ifdef HMMU_DEBUG
#define HMMU_LOCKDEP_TRY (1u << 0)	/* does not wait: makes no edge to it */
#define HMMU_LOCKDEP_NONBLOCK (1u << 1) /* a callback that must not sleep */

/* A place in the source that takes a lock; static, its class is looked up once. */
struct hmmu_lock_site {
	const char *text;
	uint32_t class;
	uint32_t life; /* of the tables that class is of */
};

/* Before it is waited for. @key: which one; what release is given. */
void hmmu_lockdep_acquire(unsigned int class, const void *key, unsigned int flags);
void hmmu_lockdep_acquire_site(struct hmmu_lock_site *site, const void *key,
			       unsigned int flags);
void hmmu_lockdep_release(const void *key);
/* Somebody of @class may be waited for here. */
void hmmu_lockdep_might(unsigned int class);

/* An invalidation: its end may come from another thread. */
void hmmu_lockdep_start(const void *range, bool blockable);
void hmmu_lockdep_end(const void *range);
/* Its end does not depend on this thread any more. */
void hmmu_lockdep_give(const void *range);
/* Has this thread an invalidation of @mm open that overlaps [start, last]? */
bool hmmu_lockdep_in_own(const void *mm, uint64_t start, uint64_t last);

/* A hooked call is going to change memory, called from @caller; @from_libc: it is libc's
 * allocator for certain. Released with @key. */
void hmmu_lockdep_libc(const void *key, const void *caller, bool from_libc);

/* This thread has taken @sub's driver lock; @ops: its class. */
void hmmu_lockdep_driver_lock(const void *sub, const void *ops, const void *caller);

/* True: not allowed here, and reported. names: one for each bit. */
bool hmmu_context_check(const char *const names[4], unsigned int forbidden,
			const void *subject);
#define HMMU_CONTEXT(name, forbidden, subject)                      \
	({                                                          \
		static const char *const names_[4] = {              \
			name "-in-callback",                        \
			name "-under-driver-lock",                  \
			name "-in-signal-handler",                  \
			name "-in-vfork-child",                     \
		};                                                  \
		hmmu_context_check(names_, (forbidden), (subject)); \
	})

/* How much was seen. */
struct hmmu_lockdep_stats {
	unsigned int classes;
	unsigned int edges; /* rules included */
	unsigned int rules;
	unsigned int deepest; /* held at once by one thread */
	unsigned int missed;  /* in signal handlers that interrupted the checking */
};
void hmmu_lockdep_stats(struct hmmu_lockdep_stats *stats);
#else
/* Nothing is left of it, arguments included. */
#define hmmu_lockdep_acquire(class, key, flags) ((void)0)
#define hmmu_lockdep_release(key) ((void)0)
#define hmmu_lockdep_might(class) ((void)0)
#define hmmu_lockdep_start(range, blockable) ((void)0)
#define hmmu_lockdep_end(range) ((void)0)
#define hmmu_lockdep_give(range) ((void)0)
#define hmmu_lockdep_in_own(mm, start, last) false
#define hmmu_lockdep_libc(key, caller, from_libc) ((void)0)
#define hmmu_lockdep_driver_lock(sub, ops, caller) ((void)0)
#define HMMU_CONTEXT(name, forbidden, subject) false
#endif

#endif /* HMMU_LOCKDEP_H */
