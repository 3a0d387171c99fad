/* SPDX-License-Identifier: MIT */
/*
 * scheduler.h - a seeded scheduler of real threads. (Not sched.h: <pthread.h>
 * includes <sched.h>, and meson puts a target's own directory first.)
 *
 * In the HMMU_SCHED build every access of src/atomic.h is a preemption point
 * and every wait of src/futex.h comes here. During a run exactly one of the
 * run's threads executes: it holds the baton. At a point the scheduler may hand
 * the baton on. All choices come from one generator, so a seed is a schedule:
 *
 *   strategy	drawn by the seed: random priorities with a few random change
 *		points (bugs of small depth are found with a known probability),
 *		a random walk, or priorities with noise.
 *   fairness	after the length that the seed was drawn for the schedule is a
 *		random walk: what fails to end then is a livelock, not bad luck.
 *   relax	the caller becomes the lowest of all: a spin loop ends.
 *   futexes	wait compares under the baton; wake picks among the waiters by
 *		seed; waits return for no reason, or time out, when the seed says
 *		so, and time out when nothing else can run.
 *   verdicts	an assertion, a deadlock (all blocked), a livelock (step limit);
 *		from sched_search() also a crash and a hang of the process.
 *
 * What the scheduler shows is sequential consistency: one thread runs at a time
 * and the hand-off orders everything. A weaker order is for the models and the
 * litmus programs.
 *
 * WHICH THREADS. Only those that the run started. Others pass through: points do
 * nothing and futexes are real. A run's thread may wake an outside one; the
 * reverse is not supported: no run may depend on an outside thread (open the mm
 * with HMMU_MM_OWN_RECLAIM). A callback runs in its caller's thread.
 *
 * REPLAY. The same seed gives the same schedule, hash included, as long as the
 * program is the same: addresses it computes with, thread-local state and what
 * earlier runs left behind (a pool that has grown, an object that is reused) must
 * not differ. sched_search() therefore runs seeds in blocks of SCHED_BLOCK, each
 * block in a new child process from its first seed on, and a replay runs the
 * earlier seeds of its block before: the same history. Threads are reused from a
 * pool, where thread i of a run is always the same one, and keep their thread-local
 * state; program.enter resets it, or program.fresh starts new threads for each run
 * (half as fast).
 *
 * AFTER A FAILURE the run's threads stand somewhere inside the code under test,
 * with its locks held: nothing can unwind them. So a failed run abandons them
 * (parked for ever, the next run gets new ones) and whatever they touched must
 * be abandoned with them. sched_search() works in children, so nothing of that is
 * left; one child per block, not per seed: a fork costs as much as several runs, and
 * only the last run of a search can fail. The record lives in shared memory, so that
 * a crash leaves its seed and its trace behind, too.
 */
#ifndef HMMU_TESTS_SCHED_H
#define HMMU_TESTS_SCHED_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#define SCHED_MAX_THREADS 8
#define SCHED_TRACE 64 /* a power of two */

enum sched_verdict {
	SCHED_OK = 0,
	SCHED_FAILED,	/* sched_fail() or sched_assert() */
	SCHED_DEADLOCK, /* every thread that is not done sleeps without a deadline */
	SCHED_LIVELOCK, /* the step limit, most of it under a fair schedule */
	SCHED_CRASHED,	/* sched_search() only: a signal ended the child */
	SCHED_HUNG,	/* sched_search() only: no progress for SCHED_HANG_SECONDS */
};

/* How many seeds share a child, and a history. */
#define SCHED_BLOCK 256

/* A loop without any point (or a real lock that a parked thread holds). */
#define SCHED_HANG_SECONDS 20

/*
 * struct sched_program - what is run.
 * @name:	for the report
 * @names:	of the threads, for the report's columns; may be NULL each
 * @setup:	before each run, by the runner, outside the run; may be NULL
 * @enter:	in each thread before its function, outside the run: for putting
 *		thread-local state into a known one (see REPLAY); may be NULL
 * @threads:	the thread functions; the first NULL ends the list
 * @args:	theirs
 * @check:	after a run in which all of them returned, by the runner, outside
 *		the run: frees what setup made, too; may be NULL
 * @length:	about how many steps an interesting run has; 0: the seed draws it
 *		from 8 to 2048. A good value finds deep bugs sooner.
 * @max_steps:	the step limit; 0: 100,000
 * @fresh:	new threads for each run
 * @calm:	no spurious wake-ups, and no time-outs while a thread can run
 */
struct sched_program {
	const char *name;
	const char *names[SCHED_MAX_THREADS];
	void (*setup)(void);
	void (*enter)(int index);
	void (*threads[SCHED_MAX_THREADS])(void *arg);
	void *args[SCHED_MAX_THREADS];
	void (*check)(void);
	unsigned int length;
	unsigned int max_steps;
	bool fresh;
	bool calm;
};

enum sched_event_kind {
	SCHED_EV_PREEMPTED = 0,
	SCHED_EV_RELAX,
	SCHED_EV_SLEEP,
	SCHED_EV_WAKES,
	SCHED_EV_SPURIOUS,
	SCHED_EV_TIMEOUT,
	SCHED_EV_NOTE,
	SCHED_EV_RETURNED,
	SCHED_EV_FAILED,
};

/* One line of the trace: what thread did at step, and where (pc). */
struct sched_event {
	uint32_t step;
	uint8_t thread;
	uint8_t kind; /* enum sched_event_kind */
	uint16_t count;
	const void *pc;
	const void *word;
	char note[40];
};

struct sched_result {
	enum sched_verdict verdict;
	uint64_t seed;
	uint64_t hash;	/* of the schedule: which thread ran from which step on */
	uint64_t runs;	/* sched_search(): how many were made */
	uint64_t total; /* sched_search(): steps of all runs */
	uint32_t steps;
	uint32_t switches;
	uint32_t events; /* ever written to the trace */
	int signal;	 /* SCHED_CRASHED */
	char message[256];
	struct sched_event trace[SCHED_TRACE]; /* a ring */
};

/* ------------------------------------------------------------------------
 * For tests. Called from one ordinary thread at a time.
 */

/* One run, in this process. Return: res->verdict. */
enum sched_verdict sched_run(struct sched_result *res, const struct sched_program *program,
			     uint64_t seed);

/*
 * sched_search() - setup, run, check for the seeds [first, first + count), in child
 * processes, until one fails. HMMU_SCHED_SEED in the environment replays that one
 * seed instead (after the earlier ones of its block, not before @first),
 * HMMU_SCHED_COUNT replaces @count. The calling process should not have used the code
 * under test: its state is where every child begins.
 * Return: the verdict of the failing seed (res tells which), or SCHED_OK.
 */
enum sched_verdict sched_search(struct sched_result *res, const struct sched_program *program,
				uint64_t first, uint64_t count);

/* Verdict, seed, message and the last switches in columns by thread. */
void sched_print(FILE *out, const struct sched_result *res,
		 const struct sched_program *program);
const char *sched_verdict_name(enum sched_verdict verdict);

/* ------------------------------------------------------------------------
 * For the code of a run
 */

/* Ends the run as failed; outside a run the search, else the process. */
void sched_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

#define sched_assert(cond)                                                  \
	do {                                                                \
		if (!(cond))                                                \
			sched_fail("%s:%d: %s", __FILE__, __LINE__, #cond); \
	} while (0)

/* A line in the trace. Outside a run: nothing. */
void sched_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

int sched_self(void);			       /* index in program.threads; -1: not in a run */
unsigned int sched_step_count(void);	       /* of the run so far; also "when", for oracles */
unsigned int sched_random(unsigned int below); /* from the run's seed; 0 outside */

/* ------------------------------------------------------------------------
 * Between sched.c, search.c and print.c
 */
extern void (*sched_fail_outside)(const char *message);

#endif /* HMMU_TESTS_SCHED_H */
