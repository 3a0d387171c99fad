/* SPDX-License-Identifier: MIT */
/*
 * seccomp.h - the seccomp source, inside: every changing system call of the process
 * arrives here, whoever makes it. docs/seccomp.md is the user's side.
 *
 *	a thread of the process, or a child that shares its memory
 *	   |  syscall instruction; the filter (filter.c) answers USER_NOTIF
 *	   v
 *	receiver	takes the notification into a slot; where nobody has to be called
 *			it serves short calls itself, others it queues
 *	   v
 *	executor	start, the call itself through the gate, end (serve.c)
 *	   v
 *	answerer	hands the result to the caller
 *
 * WHY THREE. The listener must survive a closefrom() of the application, so receiver and
 * answerer have a descriptor table of their own. Callbacks are the application's code and
 * use its descriptors (a ring, a device), so executors share the application's. Only
 * threads of the first kind can touch the listener; only those of the second run
 * callbacks. Receiver and answerer run nothing that could wait for a notified call:
 * they make no call that is filtered but through the gate, and take no lock but
 * sup->lock, under which nobody waits.
 *
 * THE GATE is one syscall instruction; the filter lets calls from it through. An executor
 * performs there. Whatever else it runs (a callback that unmaps, that allocates) is
 * notified like any other thread's call and served by another executor: there is always
 * one more, made by the spawner (execute.c).
 *
 * A SLOT (under sup->lock; one that is FILLING is the receiver's alone)
 *
 *	FREE -> FILLING -> FREE				a foreign process: CONTINUE
 *		FILLING -> PERFORMING -> DONE -> FREE	the receiver serves it itself
 *		FILLING -> QUEUED -> STARTING -> PERFORMING -> DONE -> FREE
 *	QUEUED, STARTING -> TAKEN [-> ABANDONED] -> FREE	the guard, below
 *
 * notif.id is not 0 from the moment the kernel hands it over until it was answered.
 *
 * AT MOST ONCE. WAIT_KILLABLE_RECV: once received, only death interrupts the caller. A
 * kernel that breaks this (version.c) is refused. A signal before that makes the caller
 * ask again, and nothing has been done yet.
 *
 * THE GUARD (in the answerer) keeps a program that breaks the contract from hanging for
 * ever: a callback waits for a lock whose holder is itself inside a notified call of
 * watched memory. After hmmu_seccomp_patience_ms:
 *
 *	executor				answerer
 *	STARTING: hmmu_source_start()
 *	  callback waits for the driver lock
 *						STARTING -> TAKEN	[lock]
 *						start without callbacks: the mm is
 *						undecided; the call; end; the answer
 *	  the lock is free; start returns	TAKEN -> ABANDONED	[lock]
 *	STARTING? no: [lock]
 *	  end; free the slot	[Required: one of them performs, never both]
 *
 * THE KEEPER is a process: tasks with the filter may outlive the application, or be what
 * it exec'ed. While nobody holds the listener every filtered call answers ENOSYS.
 *
 *	supervisor				keeper
 *	pipe; clone(CLONE_FILES), no filter yet	waits for `go`
 *	filter in, listener in the shared table
 *	go		[futex]			own table; closes the write end; drops its
 *						memory; ready
 *	waits for ready				polls the read end
 *	  dies, or exec: its table goes		HUP: answers what was received and not
 *						answered, then CONTINUE to everybody,
 *						until nobody uses the filter (HUP)
 *		[Required: never two receivers; no received call unanswered]
 *
 * The slots lie in memory that both share, so that the keeper sees what was received:
 * the kernel writes a notification there before the receiver can die.
 */
#ifndef HMMU_SECCOMP_H
#define HMMU_SECCOMP_H

#include <linux/seccomp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "lock.h"
#include "source/source.h"
#include "source/tasks.h"

/* As many calls can be under way; one more caller waits. */
#define SECCOMP_SLOTS 256
#define SECCOMP_EXECUTORS_FIRST 3
#define SECCOMP_EXECUTORS_MAX 256
#define SECCOMP_KEEPER_STACK 16384
#define SECCOMP_X32 0x40000000 /* numbers from here on: x32 callers */

enum hmmu_seccomp_state {
	SLOT_SEC_FREE = 0,
	SLOT_SEC_FILLING,
	SLOT_SEC_QUEUED,
	SLOT_SEC_STARTING,
	SLOT_SEC_PERFORMING,
	SLOT_SEC_DONE,
	SLOT_SEC_TAKEN,
	SLOT_SEC_ABANDONED,
};

struct hmmu_seccomp_slot {
	union {
		struct seccomp_notif notif;
		unsigned char room[192]; /* a younger kernel's may be larger */
	};
	union {
		struct seccomp_notif_resp resp;
		unsigned char resp_room[64];
	};
	uint64_t since; /* ms: when it was received */
	uint32_t state; /* enum hmmu_seccomp_state */
	uint32_t next;	/* in the list it is in: index + 1 */
};

enum hmmu_seccomp_go { KEEPER_WAIT = 0, KEEPER_GO, KEEPER_QUIT };
enum hmmu_seccomp_ready { KEEPER_READY = 1, KEEPER_FAILED }; /* it ends; nobody answers later */

/* First in, first out; under sup->lock. */
struct hmmu_seccomp_list {
	uint32_t first, last; /* index + 1 */
};

struct hmmu_seccomp {
	struct hmmu_lock lock;
	int listener;	   /* in the supervisor's table and the keeper's */
	int alive[2];	   /* the pipe: likewise; [1] tells that the supervisor lives */
	uint32_t lost;	   /* told; every call is bare */
	uint32_t handover; /* the keeper answers: receiver and answerer end */
	uint32_t quit;	   /* open failed: everybody ends */

	/* lock */
	struct hmmu_seccomp_list urgent, queue, done; /* execute.c */
	uint32_t queued, outstanding, executors, executors_max, idle;
	bool untimed; /* the answerer sleeps without a clock */
	/* Futex words: they count, so that no wake is missed. */
	uint32_t work, answers, frees, spawn, born, phase;
	uint32_t spawner_tid;
	uint32_t slot_waiters;
	uint32_t served; /* brackets, ever: open()'s self-test looks */

	uint32_t keeper_go;    /* futex, shared; enum hmmu_seccomp_go */
	uint32_t keeper_ready; /* futex, shared */
	int launcher;	       /* futex, shared: not 0 while its maker runs */
	int keeper;	       /* its pid, 0: none */
	int maker;	       /* the supervisor's: the keeper's parent while that lives */
	bool forgets;	       /* planted */
	int error;	       /* of the set-up: -errno */
	const char *why;

	pthread_t receiver, answerer, spawner;
	pthread_t executor[SECCOMP_EXECUTORS_FIRST];
	struct hmmu_seccomp_slot slot[SECCOMP_SLOTS];
	struct hmmu_seccomp_slot keeper_slot; /* when it answers */
	unsigned char stack[SECCOMP_KEEPER_STACK] __attribute__((aligned(4096)));
};

/* Bugs planted on purpose: see hooks.h. HMMU_SECCOMP_PLANT names one. */
enum hmmu_seccomp_plant {
	HMMU_SECCOMP_PLANT_NONE,
	HMMU_SECCOMP_PLANT_END_EARLY,	 /* end comes before the call */
	HMMU_SECCOMP_PLANT_NO_TSYNC,	 /* threads that exist are not filtered */
	HMMU_SECCOMP_PLANT_NO_KEEPER,	 /* nobody answers after the application */
	HMMU_SECCOMP_PLANT_NO_START,	 /* performs without a bracket */
	HMMU_SECCOMP_PLANT_NO_GATE,	 /* the supervisor's own calls are notified */
	HMMU_SECCOMP_PLANT_APP_TABLE,	 /* the listener is the application's to close */
	HMMU_SECCOMP_PLANT_FEW,		 /* executors are not grown */
	HMMU_SECCOMP_PLANT_NO_GUARD,	 /* nobody takes over a call that is stuck */
	HMMU_SECCOMP_PLANT_PERFORMS_ALL, /* a child's calls, in the parent's memory */
	HMMU_SECCOMP_PLANT_FORGETS,	 /* the keeper leaves what was received */
	HMMU_SECCOMP_PLANT_NO_KILLABLE,	 /* signals interrupt a call that is performed */
	HMMU_SECCOMP_PLANT_WRONG_FD,	 /* descriptors are taken from any table */
	HMMU_SECCOMP_PLANT_CLOSES,	 /* the listener is lost, soon after it came */
};
#ifdef HMMU_PLANT
extern int hmmu_seccomp_planted; /* set before the first open */
#define HMMU_SECCOMP_PLANTED(name) (hmmu_seccomp_planted == HMMU_SECCOMP_PLANT_##name)
#else
#define HMMU_SECCOMP_PLANTED(name) false
#endif

/* Why open() refused, in words; "" if it did not. */
const char *hmmu_seccomp_why(void);
/* The keeper's pid, 0: none. For tests. */
int hmmu_seccomp_keeper(void);
/* How long a call may be stuck before the guard takes it over. */
extern int hmmu_seccomp_patience_ms;

/*
 * gate.c: a system call that the filter lets through. Answers what the kernel answers.
 * Context: any. Without a filter it is an ordinary system call.
 */
long hmmu_seccomp_gate(long nr, long a, long b, long c, long d, long e, long f);
extern const char hmmu_seccomp_gate_after[]; /* what the kernel sees as its address */

/* filter.c: install it for every thread; the listener's descriptor or -errno; *why. */
int hmmu_seccomp_filter(const char **why);

/* version.c: NULL, or why this kernel cannot be used. */
const char *hmmu_seccomp_kernel(void);
/* Does the kernel with these names perform a notified call at most once? */
bool hmmu_seccomp_once(const char *release, const char *version);

/* Files, by the inodes that /proc/self/maps tells. */
#define HMMU_SECCOMP_FILES 4
struct hmmu_seccomp_files {
	unsigned int n;
	unsigned long inode[HMMU_SECCOMP_FILES];
};

/* ranges.c */
struct hmmu_seccomp_change {
	unsigned int n; /* ranges, opened in order, closed in reverse */
	struct {
		enum mmu_notifier_event event;
		unsigned long start, end;
	} range[2];			 /* of MADV_REMOVE the second is where its hole shows */
	struct hmmu_seccomp_files files; /* MADV_REMOVE: which have the hole */
};
/* What a call changes, from its arguments. Context: an executor; may open /proc/self/maps. */
void hmmu_seccomp_ranges(int nr, const uint64_t *args, struct hmmu_seccomp_change *c);
/* The shrink, if it is one. Context: any of ours. */
void hmmu_seccomp_brk_range(unsigned long addr, struct hmmu_seccomp_change *c);

/* files.c: which of a call's arguments is a descriptor; -1: none. @flags: the fourth. */
int hmmu_seccomp_fd_arg(int nr, unsigned long flags);
/* Can only an executor make the call, for its descriptor table? */
bool hmmu_seccomp_needs_table(int nr, unsigned long flags);
/* The caller's @fd in this thread's table: *own: to be closed. -EBADF: the caller has
 * none; -EOPNOTSUPP: it cannot be had. */
int hmmu_seccomp_fd(int caller, int fd, bool *own);
/* Where the file is mapped: [*start, *end), empty if nowhere. O_PATH will do. */
void hmmu_seccomp_mapped(int fd, unsigned long *start, unsigned long *end);
/* MADV_REMOVE of [from, to) makes a hole in the files that are mapped there: they are noted
 * in @f, and [*start, *end) has all mappings of those and of what was noted before; empty if
 * there is no file. */
void hmmu_seccomp_shown(struct hmmu_seccomp_files *f, unsigned long from, unsigned long to,
			unsigned long *start, unsigned long *end);

/* paths.c: what a path led to. */
struct hmmu_seccomp_opened {
	int fd; /* O_PATH; negative: none */
	uint64_t inode, mount;
	uint32_t major, minor;
	char name[HMMU_PROC_NAME]; /* a path that leads there, for this thread */
};
/* The caller's @path. -EOPNOTSUPP: it is not known what it leads to. Another -errno: the
 * answer. Context: an executor. */
int hmmu_seccomp_open_path(int caller, const char *path, struct hmmu_seccomp_opened *f);
/* Is the descriptor still that file's? */
bool hmmu_seccomp_still(const struct hmmu_seccomp_opened *f);
void hmmu_seccomp_close_path(const struct hmmu_seccomp_opened *f);

/* serve.c: the call of @slot between start and end. -ECANCELED: the guard has taken it.
 * -EOPNOTSUPP: it cannot be performed. 0: slot->resp is the answer. Context: executor. */
int hmmu_seccomp_serve(struct hmmu_seccomp *sup, struct hmmu_seccomp_slot *slot);
/* The same for a thread that must not wait: no callbacks; the mm is undecided until the
 * reclaimer has told everybody. False: not for this call. Context: the answerer. */
bool hmmu_seccomp_serve_undecided(struct hmmu_seccomp_slot *slot);
void hmmu_seccomp_answer(struct hmmu_seccomp_slot *slot, long ret);
void hmmu_seccomp_continue(struct hmmu_seccomp_slot *slot);

/* serve.c: @slot's call, at once, if it is short and nobody has to be called. */
bool hmmu_seccomp_serve_quiet(struct hmmu_seccomp *sup, struct hmmu_seccomp_slot *slot);

/* receive.c and execute.c: the threads' functions; arg is the sup. */
void *hmmu_seccomp_receiver(void *arg);
void *hmmu_seccomp_answerer(void *arg);
void *hmmu_seccomp_executor(void *arg);
void *hmmu_seccomp_spawner(void *arg);
bool hmmu_seccomp_send(struct hmmu_seccomp *sup, struct hmmu_seccomp_slot *slot);
/* With sup->lock. */
void hmmu_seccomp_push(struct hmmu_seccomp *sup, struct hmmu_seccomp_list *list,
		       struct hmmu_seccomp_slot *slot);
struct hmmu_seccomp_slot *hmmu_seccomp_pop(struct hmmu_seccomp *sup,
					   struct hmmu_seccomp_list *list);
/* false: it is not in it */
bool hmmu_seccomp_remove(struct hmmu_seccomp *sup, struct hmmu_seccomp_list *list,
			 struct hmmu_seccomp_slot *slot);
void hmmu_seccomp_put(struct hmmu_seccomp *sup, struct hmmu_seccomp_slot *slot);
/* Without it: @word moves on and @n of its sleepers wake. */
void hmmu_seccomp_kick(uint32_t *word, int n);

/* keeper.c: its pid or -errno. Context: the receiver, before the filter. */
int hmmu_seccomp_keep(struct hmmu_seccomp *sup);

/* filter.c: does this advice take pages away? */
bool hmmu_seccomp_advice(int advice);

#endif /* HMMU_SECCOMP_H */
