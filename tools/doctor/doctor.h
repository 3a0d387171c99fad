/* SPDX-License-Identifier: MIT */
/*
 * doctor.h - hmmu doctor: which change of memory, made by whom, is seen how exactly on
 * this machine, by each source; found out by making the change.
 *
 * A PROBE is one change under one source set, in a process of its own (probe.c), so that
 * only one source set is ever open in a process. Its threads:
 *
 *	changer		opens, subscribes, reads, makes the change
 *	witness		says what a reader on another thread sees (watch.c); between
 *			questions it runs the reader's loop without pause
 *	callback	runs wherever the library runs it; asks the witness
 *	the doctor	stops the other threads at each system call (trace.c); asks too
 *
 * No step is left to luck: whoever asks the witness stands still until it has answered.
 *
 *	bracketed	a callback found the old translation and the invalidation open,
 *			in the very thread that made the change afterwards (so that the
 *			change could not overtake it), and it was still open when that
 *			thread came out of the kernel with the change made
 *	by return	when the call returned, the sequence was no longer good, the next
 *			reader began after a callback, and nothing that a reader had
 *			found in between is still believed
 *	unwatched	otherwise, or -ENODEV before the change: the library says so
 *
 * "Reuse open" is about another thread's race for the address. It cannot be disproven by
 * a probe: it is taken from the claim where the probe found "by return".
 *
 *	variant		one way to make an operation (madvise: dontneed, free, remove)
 *	cell		operation x caller x memory: the weakest of its variants
 */
#ifndef HMMU_DOCTOR_H
#define HMMU_DOCTOR_H

#include <hmmu/mmu_notifier.h>

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/types.h>

#define PAGE 4096UL
#define PAGES 16UL
#define LENGTH (PAGES * PAGE)
#define PATIENCE 20 /* seconds: then a probe hangs, which is a finding */
#define MAX_CLAIMS 4096
#define MAX_VARIANTS 6 /* of one cell */

enum verdict {
	VERDICT_NONE = 0,  /* no such path */
	VERDICT_REFUSED,   /* the kernel does not do it */
	VERDICT_BROKEN,	   /* could not be found out */
	VERDICT_UNWATCHED, /* from here on ordered as enum hmmu_exactness */
	VERDICT_REUSE_OPEN,
	VERDICT_BY_RETURN,
	VERDICT_BRACKETED,
};

/* ---- names.c ---------------------------------------------------------- */

enum source_set {
	SET_EXPLICIT, /* first: the others are compared with what the kernel did here */
	SET_HOOKS,
	SET_USERFAULTFD,
	SET_BOTH,
	SET_SECCOMP,
	SET_NR,
};

extern const char *const set_names[SET_NR];
extern const unsigned int set_masks[SET_NR];
extern const char *const operation_names[HMMU_OP_NR];
extern const char *const caller_names[HMMU_CALLER_NR];
extern const char *const kind_names[HMMU_MEMORY_NR];
const char *verdict_name(enum verdict v);

/* ---- the shared page: the doctor and one probe -------------------------- */

/* What a reader sees at one moment. */
struct look {
	int begin; /* hmmu_read_begin() with a deadline that has been reached */
	int ok;	   /* hmmu_access_ok() of the sequence from before the change */
	int old;   /* the translation has not changed yet */
};

enum asker { ASK_CHANGER, ASK_CALLBACK, ASK_TRACER, ASK_NR };

enum stage {
	STAGE_START,
	STAGE_READY, /* the probe waits for the tracer */
	STAGE_GO,
	STAGE_DONE,
};

struct shared {
	_Atomic uint32_t stage; /* futex; enum stage */
	_Atomic uint32_t bell;	/* futex: the witness sleeps on it */
	_Atomic uint32_t asked[ASK_NR];
	_Atomic uint32_t answered[ASK_NR]; /* futex */
	struct look look[ASK_NR];
	_Atomic uint32_t begun;	 /* the change is under way, or over */
	_Atomic uint32_t window; /* it is under way */
	_Atomic pid_t witness, changer;

	/* What came of it; each written by one. */
	int open_error, setup_error; /* -errno */
	char setup_what[48];
	int begin;	   /* before the change */
	int call;	   /* of the change: 0 or -errno */
	int claims;	   /* in claim[] */
	struct look after; /* at the return of the call */
	int later;	   /* hmmu_read_begin() after the return, with a deadline */
	bool told_by_then;
	bool stale; /* a sequence that the witness got over old memory is still good */
	_Atomic uint32_t armed; /* the reader has begun: there is a sequence to lose */
	bool late;		/* it begins in the middle of the call */
	long entry_nr;		/* where the tracer has stopped whom */
	pid_t entry_by;

	_Atomic uint32_t callbacks;
	_Atomic pid_t before_by; /* a callback with the old memory, open: its thread */

	bool traced;
	pid_t changed_by;    /* whose system call ended with the change made */
	struct look changed; /* at that moment */

	struct hmmu_coverage claim[MAX_CLAIMS];
};

/* ---- one probe ----------------------------------------------------------- */

enum state_kind { STATE_PAGE, STATE_RIGHTS, STATE_LAZY, STATE_CHILD };

struct probe;

/* One system call; -errno on failure. Through libc, or bare. */
typedef long call_fn(struct probe *p, long nr, long a, long b, long c, long d, long e, long f);

struct variant {
	enum hmmu_operation op;
	const char *name;
	unsigned int callers;  /* bits */
	unsigned int memories; /* bits */
	enum state_kind state;
	/* 0 or -errno: the kernel does not do it. NULL: memory of the kind, no more. */
	int (*prepare)(struct probe *p);
	int (*change)(struct probe *p);
	bool other;	/* by a process with memory of its own; else one that shares ours */
	bool read_only; /* the pages are read, not written, before */
	bool late;	/* the reader begins in the middle of the call: needs the tracer */
	/* Late: at the entry to a system call. True: there is something to read now. */
	bool (*meanwhile)(struct probe *p);
};

struct probe {
	const struct variant *v;
	enum hmmu_caller caller;
	enum hmmu_memory memory;
	unsigned int sources;
	struct shared *shared;
	struct mm_struct *mm;
	struct mmu_interval_notifier sub;
	unsigned long seq; /* from before the change */

	char *addr; /* subscribed: [addr, addr + len) */
	size_t len;
	char *target; /* inside: the page that is looked at */
	char content; /* what it holds before; 0: it is enough that it is there */
	char rights[5];
	int fd, segment, pidfd;
	char *spare; /* as large, anonymous, holds 'B' */
	call_fn *call;
	int pagemap, byte[2];	   /* state.c; a pipe */
	int helper_in, helper_out; /* v->other: pipes */
	void *inner;		   /* inside.c, uring.c */

	_Atomic unsigned long candidate; /* the witness's last sequence over old memory; 0 */
};

/* memory.c: maps p->memory at p->addr, fills it. 0 or -errno. */
int memory_map(struct probe *p);
void memory_fill(struct probe *p, bool write);
int memory_segment(size_t size, int *id); /* goes away with its last attachment */

/* state.c: the witness's alone */
bool state_old(struct probe *p);

/* call.c */
call_fn call_libc, call_raw;
long raw6(long nr, long a, long b, long c, long d, long e, long f);
#define raw_(nr, a, b, c, d, e, f, ...) \
	raw6((nr), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define raw(...) raw_(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)
#define NR_SBRK 100000L /* no system call: libc's sbrk() */
#ifdef SYS_fork
#define NR_FORK SYS_fork
#define FORK_FLAGS 0
#else
#define NR_FORK SYS_clone
#define FORK_FLAGS SIGCHLD
#endif

/* change.c, inside.c, uring.c: ended by a variant without a name */
extern const struct variant plain_variants[], inside_variants[], uring_variants[];
int uring_prepare(struct probe *p);

/* watch.c */
int watch_start(struct probe *p); /* the witness */
int watch_insert(struct probe *p);
int watch_begin(struct probe *p); /* the subscription, the first read */
int watch_arm(struct probe *p);	  /* the reader's loop, once: 0 or -errno */
struct look watch_ask(struct shared *s, enum asker who);
void futex_wait(_Atomic uint32_t *word, uint32_t seen, int milliseconds);
void futex_wake(_Atomic uint32_t *word);

/* probe.c: in the probe's process */
_Noreturn void probe_run(struct probe *p);
/* by another process: change.c's changes, by a child that shares our memory or not */
int elsewhere_prepare(struct probe *p);
int elsewhere_change(struct probe *p);

/* trace.c: in the doctor. Returns the status of the child. */
int trace_child(pid_t pid, struct shared *s, bool trace);
bool trace_works(void);

/* ---- the doctor ---------------------------------------------------------- */

struct way { /* what one variant came to */
	const struct variant *v;
	enum verdict verdict;
	int error;
	bool says_so, proven;
	char why[80];
};

struct cell {
	enum verdict live;
	int claim; /* enum hmmu_exactness, -1: nothing is said */
	bool weaker, says_so;
	unsigned int nways;
	struct way way[MAX_VARIANTS];
};

struct set {
	bool asked, available;
	int error;
	unsigned int nclaims;
	struct hmmu_coverage claim[MAX_CLAIMS];
	struct cell cell[HMMU_OP_NR][HMMU_CALLER_NR][HMMU_MEMORY_NR];
};

struct fact {
	const char *name;
	bool good;
	char text[200];
};

#define MAX_FACTS 24

struct doctor {
	bool json, color, sets[SET_NR], ops[HMMU_OP_NR];
	bool traces;	   /* the tracer works here */
	unsigned int best; /* the sources that NULL gives */
	int best_error;
	unsigned int weaker, broken, cells;
	struct set set[SET_NR];
	unsigned int nfacts;
	struct fact fact[MAX_FACTS];
	struct shared *shared;
};

int doctor_options(struct doctor *d, int argc, char **argv, int *status);
int survey(struct doctor *d);				     /* survey.c */
enum verdict judge(const struct shared *s, struct way *way); /* judge.c */
int claim_of(const struct set *set, unsigned int op, unsigned int caller, unsigned int memory);
void machine_facts(struct doctor *d);	     /* machine.c */
void print_table(const struct doctor *d);    /* report.c */
void print_findings(const struct doctor *d); /* findings.c */
/* text.c: breaks between words, goes on at @indent; @at: how much is printed already */
void wrap(const char *text, int at, int indent);
void kinds_text(unsigned int kinds, char *text, size_t size);
void print_json(const struct doctor *d); /* json.c */

#endif /* HMMU_DOCTOR_H */
