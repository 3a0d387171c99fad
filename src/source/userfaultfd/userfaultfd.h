/* SPDX-License-Identifier: MIT */
/*
 * userfaultfd.h - the net: the kernel tells what it has done to registered mappings.
 *
 * One userfaultfd for the process, in the form of Linux 6.7: registered for write
 * protection alone, asynchronous, and nothing is ever protected. So no fault is ever
 * delivered, every kind of memory can be registered, no privilege is needed, and what
 * remains are the events. Who changes a registered mapping is blocked in the kernel until
 * its event has been read:
 *
 *	UNMAP	the pages are gone already	by return is exact
 *	REMAP	moved already			the same; an UNMAP follows
 *	REMOVE	the pages go AFTER the read	the end must be found: removal.c
 *
 * THREADS, all with every signal blocked
 *
 *	reader		its own descriptor table (no closefrom() of the program can give its
 *			number to a pipe, whose bytes it would eat; and it closes there what
 *			it inherited, so that it keeps nobody's pipe open). Reads, and takes
 *			no lock: whoever is blocked on an event may hold any.
 *	dispatcher	the program's table: callbacks run here, and may unmap watched memory
 *			or wait for a lock whose holder is blocked on an event.
 *	census		the reader's table; reads /proc, finds out who has left the kernel.
 *
 * THE THREE MEETINGS, by return. Undecided = the low bits of each mm's epoch.
 *
 * 1. Retry.	reader of translations		A in munmap(X)		monitor
 *		seq = read_begin: armed
 *		reads the translation
 *						pages gone, event queued,
 *						A sleeps
 *									all mms undecided
 *									read(): A may go on
 *						returns
 *									queue it
 *		lock; read_retry() == true: undecided [Required]
 *									dispatcher: start(X)
 *									begun moves
 *									callbacks; end
 *									decided
 *		... read_retry() == true: begun has moved [Required]
 *
 *    Undecided before read(): only the read tells which range, and it releases A. Marked
 *    after it, A could return and look at what is not yet invalidated.
 *
 * 2. Block.	lock(driver)			pages gone, A sleeps
 *		probe: EAGAIN, not yet told: read_retry() == true [Required]
 *    or, with hooks, no probe: it installs what is dead already. A has not returned, and
 *    who is given the address by a hooked mmap waits first until all has been told
 *    (hmmu_source_handed_out()). The callback takes it out, before A or the new owner
 *    can ask: undecided until then.
 *
 * 3. Wait.	A returned, event not dispatched: read_begin waits until the mm is decided.
 *		Inside start ... end it waits as ever.
 *
 * REMOVE, the fourth: pages go between the read and A's return. Start as above, but the
 * end comes only when A has been seen outside the kernel:
 *
 *		A in madvise(X)			monitor			reader of translations
 *		event queued, A sleeps
 *						undecided; read
 *		runs; pages still there
 *						start(X); decided
 *									read_begin waits
 *		pages go
 *		returns
 *						census: A is outside
 *						end(X)
 *									begins, reads the new
 *
 * REGISTRATION is by whole mapping: a part would split it, and then the program's own
 * mremap() of the whole fails. hmmu_uffd.extents is a superset of what is registered,
 * sorted, read without a lock (hooks ask it whether a change would be told), written under
 * `lock`. A mapping stays registered while somebody subscribes to a part of it. When the
 * process has three quarters of the mappings that it may have, no more are registered:
 * what is not is unwatched, and says so.
 *
 * Which mapping covers an address is read from /proc, without a lock: while a mapping is
 * replaced there is none for a moment. So after all were registered the kernel is asked once
 * more, under its lock, whether the whole range is (PAGEMAP_SCAN). A range with a hole cannot
 * be watched (-ENXIO): what is mapped there, read, and unmapped again, nobody tells of, and
 * no look afterwards can find it.
 *
 * A replaced mapping is not registered any more, and its registration went with an event or
 * with a hook's bracket: either moved `begun` and left the subscription unarmed
 * (notifier.h), so that the next read_begin arms it again before the truth is read.
 *
 * WITH HOOKS, what is bracketed is not told again: of a change that replaces mappings the
 * hook takes the registration away first (UFFDIO_UNREGISTER; then the kernel has nothing
 * to tell). Of a REMOVE it cannot without splitting the mapping for good: the hook leaves a
 * note (mute.c) and the dispatcher knows the event by it.
 *
 * LIFETIME. All is unregistered before the last descriptor is closed: a forked child may
 * hold a copy for ever, and the parent's next munmap would wait for a reader that is gone.
 * EVENT_FORK is not asked for: a child starts unregistered. The state lies in memory
 * that a child finds zeroed, and the child closes its copy of the descriptor.
 *
 * LOST. If the program closes the descriptor, nothing can be registered or asked any more:
 * every mm of this source becomes unwatched and everybody gets LOST. The number may be
 * another file's by then: its inode is compared where something is registered, a mark on the
 * file where it is asked. A kernel that never says "all is read" again is lost, too: stuck.c.
 */
#ifndef HMMU_USERFAULTFD_H
#define HMMU_USERFAULTFD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "atomic.h"
#include "lock.h"
#include "source/source.h"
#include "source/userfaultfd/abi.h"

#define UFFD_PAGE 4096UL
#define UFFD_TOP (-UFFD_PAGE) /* one past the last page that a range can name */

#ifdef HMMU_SCHED /* each place that is looked at is a step of the schedule */
#define UFFD_EXTENTS 64
#define UFFD_RING 16
#define UFFD_READ_MAX 3
#define UFFD_REMOVALS 2
#define UFFD_MUTES 3
extern uint64_t hmmu_uffd_room; /* how much of the ring a test lets be used */
#define UFFD_ROOM hmmu_uffd_room
#else
#define UFFD_EXTENTS 65536 /* more mappings than a process may have */
#define UFFD_RING 1024
#define UFFD_READ_MAX 16 /* events of one read */
#define UFFD_REMOVALS 32
#define UFFD_MUTES 64
#define UFFD_ROOM (UFFD_RING - 1)
#endif

struct uffd_extent {
	uint64_t start;
	uint64_t end;
};

enum uffd_what {
	UFFD_NOTHING, /* a number without an event */
	UFFD_GONE,    /* UNMAP */
	UFFD_MOVED,   /* REMAP */
	UFFD_GOING,   /* REMOVE */
	UFFD_SPILLED, /* the ring was full: whatever it was */
};

/* One event, from reader to dispatcher. */
struct uffd_event {
	uint64_t number; /* of its read: 1, 2, ...; as `marked` then */
	enum uffd_what what;
	bool more;	/* another of the same read follows: monitor.c */
	unsigned int n; /* mms that the read holds undecided: who is told of it */
	struct mm_struct *mm[HMMU_WATCHED_MAX];
	uint64_t start, end; /* GONE, GOING; from where, MOVED */
	uint64_t to, to_end; /* MOVED */
	bool along;	     /* ... pages on a device, too */
};

/* hmmu_uffd.changes: += CHANGING before something is registered or unregistered, += CHANGED
 * after. In between it is not known what the kernel tells. */
#define UFFD_CHANGING 1ULL
#define UFFD_CHANGED ((1ULL << 16) - UFFD_CHANGING)
#define UFFD_CHANGING_MASK ((1ULL << 16) - 1)

enum uffd_removal_state {
	REMOVAL_FREE = 0,
	REMOVAL_OPEN, /* filled by the dispatcher; the census's until it is free */
};

struct uffd_removal {
	uint32_t state; /* enum uffd_removal_state */
	uint64_t number;
	unsigned int n;
	struct mmu_notifier_range range[HMMU_WATCHED_MAX];
};

/*
 * Pages on devices (devmem/): whoever touches one that is away is told of as events are, by
 * the reader, who must not wait for anybody: no lock, no sleep.
 * touched: true: not yet, ask again. gone, moved: a change that has happened, or (madvise)
 * happens next; its caller sleeps until the reader is done.
 */
struct hmmu_uffd_device {
	bool (*touched)(unsigned long addr);
	void (*gone)(unsigned long start, unsigned long end);
	/* True: pages that are away have come along; arrived() is to follow. */
	bool (*moved)(unsigned long from, unsigned long to, unsigned long length);
	/* Around the reading of what may be an event, and the two above. */
	void (*reading)(bool yes);
	/* The dispatcher, of where something has moved: may wait, as a callback. */
	void (*arrived)(unsigned long start, unsigned long end);
	/* A bracketed change is open in every mm, and has not happened yet. Its context. */
	void (*before)(unsigned long start, unsigned long end);
	/* Is anything of [start, end) on a device? Any thread. */
	bool (*away)(unsigned long start, unsigned long end);
	/* May anything be on a device? Any thread. */
	bool (*serving)(void);
};

#define UFFD_TOUCHES 256 /* pages that are asked for again; others are woken to touch again */

enum uffd_stuck { STUCK_CLEAR = 0, STUCK_FIRST, STUCK_ASKED, STUCK_SECOND };

/* mute.c: a bracketed REMOVE under way, or over but its events not yet dispatched. */
enum uffd_mute_state {
	MUTE_FREE = 0,
	MUTE_CLAIMED,
	MUTE_IN,	    /* the call has not returned */
	MUTE_OUT,	    /* it has; valid for events up to `until` */
	MUTE_KIND = 3,	    /* mask */
	MUTE_GENERATION = 4 /* one more for each use */
};

struct uffd_mute {
	uint32_t state;
	uint32_t failed;  /* the call did: it may have told of nothing */
	uint32_t matched; /* dispatcher: an event has been known by it */
	uint64_t start, end;
	uint64_t changes; /* hmmu_uffd.changes when it came */
	uint64_t from;	  /* events up to this one were read before */
	uint64_t until;
	uint64_t match_end; /* dispatcher: where the last of those ended */
};

struct hmmu_uffd {
	/* Set by open, before anything can be armed. -1 in a forked child: users is 0. */
	int fd;
	uint32_t users; /* mms; the instance's lock */
	pid_t pid;
	dev_t dev;
	ino_t ino;
	uint32_t lost;	    /* the descriptor is gone: set once per open */
	uint32_t stopping;  /* reader: unregister all, close, leave */
	uint32_t stop_told; /* who stops it waits for no event of the page any more */
	uint32_t running;   /* futex: threads that have not left */
	int started;	    /* futex: 1 the reader is up, else -errno */
	void *stop_page;    /* registered: its munmap wakes the reader */
	int signal;	    /* for the census's question */
	uint32_t user_only; /* touches inside system calls are refused: no privilege */
	uint32_t moves;	    /* the kernel has UFFDIO_MOVE */

	/* touch.c: the reader's. */
	uint32_t ntouches;
	uint64_t touches[UFFD_TOUCHES];
	uint64_t unkept, unkept_end; /* among these are those for which there was no room */
	pthread_t reader, dispatcher, census;

	/* Ring: head written by the reader, tail by the dispatcher. */
	uint64_t marked __attribute__((aligned(64))); /* reads begun */
	uint64_t head;
	uint32_t head_futex;
	uint32_t lost_told; /* the dispatcher has called everybody */
	uint64_t tail __attribute__((aligned(64)));
	uint64_t dispatched; /* the number of the last read whose events all are */
	uint64_t spilled;    /* the number of the last one that found the ring full */
	uint64_t spill_done; /* all of those up to this one were dispatched */
	struct uffd_event ring[UFFD_RING];
	/* 1: spilled events left a mark on that mm. */
	struct mm_struct *spill_mm[HMMU_WATCHED_MAX];
	uint64_t spill[HMMU_WATCHED_MAX];

	struct uffd_removal removals[UFFD_REMOVALS];
	uint32_t removal_futex;
	uint64_t removals_done; /* ever */
	uint32_t answers[64];	/* the handler's: which question was answered last */

	uint32_t stuck;	 /* stuck.c: enum uffd_stuck */
	uint32_t leaked; /* lost for that reason */
	uint64_t stuck_marked;
	uint64_t stuck_time, stuck_last; /* ns */

	struct uffd_mute mutes[UFFD_MUTES];
	uint64_t changes; /* of what is registered: how many, UFFD_CHANGING under way */

	struct hmmu_lock lock __attribute__((aligned(64))); /* extents; not in a hook */
	uint32_t unnoted; /* something registered may be in none of the extents; for good */
	uint64_t extents_version; /* odd: being written */
	uint64_t nextents;
	uint64_t armed_since_count; /* lock */
	uint32_t full;		    /* lock: too many mappings, at the last count */
	struct uffd_extent extents[UFFD_EXTENTS];
};

/* Zeroed in a forked child; NULL before the first open. */
extern struct hmmu_uffd *hmmu_uffd;

/* Bugs planted on purpose, as in plant.h; tests/userfaultfd and tests/sched/net.c kill each. */
enum hmmu_uffd_plant {
	UFFD_PLANT_NONE,
	UFFD_PLANT_READ_THEN_MARK,   /* undecided only after the read */
	UFFD_PLANT_NO_PROBE,	     /* an access does not ask */
	UFFD_PLANT_ARM_ONCE,	     /* a replaced mapping is not armed again */
	UFFD_PLANT_REMOVE_ENDS,	     /* REMOVE ends when it was dispatched */
	UFFD_PLANT_PART,	     /* a part of a mapping is registered */
	UFFD_PLANT_CLOSE_REGISTERED, /* closed without unregistering */
	UFFD_PLANT_SHARED_TABLE,     /* the reader uses the program's table */
	UFFD_PLANT_NO_SOURCE,	     /* REMAP invalidates only where it went */
	UFFD_PLANT_NO_HANDOUT,	     /* a hooked mmap does not ask */
	UFFD_PLANT_LOST_SILENT,	     /* a lost descriptor is not told */
	UFFD_PLANT_SPILL_SILENT,     /* a full ring drops events */
	UFFD_PLANT_NO_COVER,	     /* arm believes the list of mappings */
};

/* Where a test build can stop a thread of ours. */
enum hmmu_uffd_gate {
	UFFD_GATE_POLLED,     /* reader: an event is there */
	UFFD_GATE_MARKED,     /* reader: undecided, not read */
	UFFD_GATE_READ,	      /* reader: read, not queued: its caller may go on */
	UFFD_GATE_DISPATCH,   /* dispatcher: before start */
	UFFD_GATE_STARTED,    /* dispatcher: callbacks done, still undecided */
	UFFD_GATE_DISPATCHED, /* dispatcher: decided, or more of the read to come */
	UFFD_GATE_CENSUS,     /* census: before it looks whether a removal is over */
	UFFD_GATE_FOUND,      /* arm: the mapping is known, not registered yet */
	UFFD_GATE_DISARM,     /* disarm: nobody wants the mapping, it is registered still */
	UFFD_GATE_ARMED,      /* arm: registered, the subscriptions are unarmed still */
	UFFD_GATES,
};

#if defined(HMMU_PLANT) || defined(HMMU_SCHED)
extern enum hmmu_uffd_plant hmmu_uffd_planted;
extern void (*hmmu_uffd_gate)(enum hmmu_uffd_gate gate, uint64_t start, uint64_t end);
#define UFFD_PLANTED(name) (hmmu_uffd_planted == UFFD_PLANT_##name)
extern unsigned int hmmu_uffd_read_max; /* how much of UFFD_READ_MAX a test lets be used */
#define UFFD_AT_ONCE hmmu_uffd_read_max
#define UFFD_GATE(name, start, end)                                       \
	do {                                                              \
		if (hmmu_uffd_gate)                                       \
			hmmu_uffd_gate(UFFD_GATE_##name, (start), (end)); \
	} while (0)
#else
#define UFFD_PLANTED(name) false
#define UFFD_AT_ONCE UFFD_READ_MAX
#define UFFD_GATE(name, start, end) ((void)0)
#endif

/* descriptor.c. open: 0 or -errno and why. */
int hmmu_uffd_open(struct hmmu_uffd *u, const char **why);
/* Is the number still ours, in this thread's table? */
bool hmmu_uffd_ours(const struct hmmu_uffd *u, int fd);
/* 0 all was told, -EAGAIN, -ENODEV: not ours any more. Any context. */
int hmmu_uffd_probe(struct hmmu_uffd *u);
/* stuck.c: the same; -ENODEV also when it has been -EAGAIN for too long. */
int hmmu_uffd_settle(struct hmmu_uffd *u);
/* The dispatcher: waits for changes under way, if that was asked for. */
void hmmu_uffd_wait_changes(struct hmmu_uffd *u);
/* The same of a file that is ours. */
bool hmmu_uffd_untold(int fd);
int hmmu_uffd_register(int fd, uint64_t start, uint64_t end);
int hmmu_uffd_unregister(int fd, uint64_t start, uint64_t end);
void hmmu_uffd_fork_child(void);

/* arm.c: touches of empty pages of the mapping [start, end) are told of, too. 0 or -errno.
 * Context: as arm. */
int hmmu_uffd_arm_touches(uint64_t start, uint64_t end);
/* touch.c. @device is told from now on, for good. 0, -EPERM, -EOPNOTSUPP. */
int hmmu_uffd_serve(const struct hmmu_uffd_device *device);
/* The reader: */
void hmmu_uffd_touched(struct hmmu_uffd *u, uint64_t addr);
/* @more: there may be touches to be read. */
void hmmu_uffd_touched_again(struct hmmu_uffd *u, bool more);
void hmmu_uffd_tell_device(struct uffd_event *ev);
/* Any thread: before a change that is bracketed. */
void hmmu_uffd_before(unsigned long start, unsigned long end);
/* The device that is told; NULL: none. */
const struct hmmu_uffd_device *hmmu_uffd_device(void);

/* Is this the dispatcher's thread? */
bool hmmu_uffd_dispatching(void);

/* mapping.c: the mapping that covers @addr or the next one above. 0; -ENOENT: none;
 * -errno. Context: not in a hook of a signal handler. */
int hmmu_mapping_find(uint64_t addr, struct uffd_extent *found);
/* registered.c: looks at [start, end) at one moment, under the kernel's lock, as the list of
 * mappings is not: while one is replaced that shows a hole.
 * covered: 1 all of it is mapped and registered; 0 not. registered: 1 all that is mapped is.
 * -errno: not to be known. (By whom is not told: UFFDIO_REGISTER answers EBUSY.) */
int hmmu_mapping_covered(uint64_t start, uint64_t end);
int hmmu_mapping_registered(uint64_t start, uint64_t end);
/* Calls @fn for each mapping of the process; false stops. */
int hmmu_mapping_each(bool (*fn)(const struct uffd_extent *, void *), void *arg);

/* extent.c; add and remove with u->lock. */
void hmmu_extents_add(struct hmmu_uffd *u, uint64_t start, uint64_t end);
void hmmu_extents_remove(struct hmmu_uffd *u, uint64_t start, uint64_t end);
/* Where the one that covers @addr begins; @addr if none does. */
uint64_t hmmu_extents_start(struct hmmu_uffd *u, uint64_t addr);
/* May a change of [start, end) be told? Lock-free. */
bool hmmu_extents_overlap(struct hmmu_uffd *u, uint64_t start, uint64_t end);

/* arm.c: the source's operations. */
int hmmu_uffd_arm(struct mm_struct *mm, unsigned long start, unsigned long last, bool wait);
void hmmu_uffd_disarm(struct mm_struct *mm, unsigned long start, unsigned long last);
/* What nobody subscribes to. */
void hmmu_uffd_disarm_all(void);
/* The dispatcher: a registered mapping was moved to [start, end). */
void hmmu_uffd_moved(struct hmmu_uffd *u, uint64_t start, uint64_t end);
/* With the table of @fd: nothing is registered any more. */
void hmmu_uffd_unregister_all(struct hmmu_uffd *u, int fd);

/* monitor.c, dispatch.c, removal.c */
void *hmmu_uffd_reader(void *u);
void *hmmu_uffd_dispatcher(void *u);
void *hmmu_uffd_census(void *u);
/* In the census's table, before it starts: the program may go where there is no /proc. */
int hmmu_census_prepare(void);
/* The descriptor is gone. Any context: nobody passes a check from now on; the dispatcher
 * calls everybody. */
void hmmu_uffd_lose(struct hmmu_uffd *u);
/* Any context: the dispatcher has something to look at. */
void hmmu_uffd_poke(struct hmmu_uffd *u);
/* 0 or -errno: a signal for the census is in place. */
int hmmu_removal_init(struct hmmu_uffd *u);
/* The dispatcher: keep @ranges open until nobody is inside the call. */
struct uffd_removal *hmmu_removal_get(struct hmmu_uffd *u);
void hmmu_removal_start(struct hmmu_uffd *u, struct uffd_removal *r);

/* mute.c */
void hmmu_uffd_mute(struct hmmu_source_event *ev);
void hmmu_uffd_unmute(struct hmmu_source_event *ev);
/* The dispatcher: is this REMOVE one that a bracket covers? */
bool hmmu_uffd_muted(struct hmmu_uffd *u, const struct uffd_event *ev);
void hmmu_mutes_sweep(struct hmmu_uffd *u);

void hmmu_uffd_pause(long nanoseconds);

#endif /* HMMU_USERFAULTFD_H */
