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
 *   pct	sched_pct(): the priorities of Burckhardt et al. (ASPLOS 2010). n threads get
 *		random priorities, d - 1 of the k steps are change points at which the running
 *		one falls below all others: a bug of depth d is found by a run with a
 *		probability of at least 1 / (n * k^(d-1)). k is measured first.
 *   explore	sched_explore(): every schedule with at most so many preemptions, below.
 *
 * What these show is sequential consistency: one thread runs at a time and the hand-off
 * orders everything. sched_search_buffered() gives each thread a store buffer as well
 * (buffer.c): stores that are late are found by seed, like all else. Late or early loads
 * are for the models, real processors for the litmus programs.
 *
 * EXPLORATION (explore.c). A preemption is a switch away from a thread that could run on;
 * who runs next when one sleeps, relaxes or returns, and whom a wake-up wakes, is free.
 * sched_explore() goes through all choices with at most `bound` preemptions, depth first,
 * each schedule run from its start. Most bugs need few (Musuvathi, Qadeer: PLDI 2007).
 * No spurious wake-ups, no time-out while a thread can run.
 *
 * PRUNING (order.c). Each access says which word it touches and whether it may write it.
 * From that the scheduler keeps, by hashes, the partial order of a run: which access came
 * after which of the same word, and in its own thread. Threads are deterministic, and what
 * is not atomic is guarded by what is; so two beginnings with the same partial order have
 * led every thread and every word to the same state, and whatever can follow one can
 * follow the other. "This partial order, that thread next, so many preemptions left" is
 * therefore explored once (more left includes less). It rests on
 *   - 64-bit hashes without a collision (n^2 / 2^65: one in 10^5 for ten million);
 *   - no plain access that races: an oracle that looks at what others write plainly
 *     says so with sched_touch();
 *   - nothing else that tells a thread how others have run: sched_step_count() and
 *     sched_random() count as such and are folded in.
 * HMMU_SCHED_PRUNE=0 explores without; the selftest compares the two.
 * A thread that relaxes twice with nobody writing meanwhile waits until somebody has
 * written: another look would find the same. (Twice, as a lock spins, then sleeps.)
 *
 * WHAT IS COUNTED. Distinct schedules (who ran from which step on); distinct orders (the
 * partial orders above, of whole runs); distinct states, if the program has a `state`: where
 * each thread stands and what it hashes of the memory, looked at at each point. And places
 * in the code: those that a thread came by and those where one was preempted.
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
#include <stddef.h>
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
 * @state:	hash (sched_hash()) of the memory that matters, addresses replaced by
 *		what they mean; may be NULL: states are not counted
 * @at_point:	at each point of each thread, before the decision, outside the run (its own
 *		accesses are no points); may be NULL
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
	uint64_t (*state)(uint64_t hash);
	void (*at_point)(unsigned int step);
};

enum sched_event_kind {
	SCHED_EV_PREEMPTED = 0,
	SCHED_EV_RELAX,
	SCHED_EV_SLEEP,
	SCHED_EV_WAKES,
	SCHED_EV_SPURIOUS,
	SCHED_EV_TIMEOUT,
	SCHED_EV_STORED, /* what it stored before reaches memory */
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
	/* Of sched_search(), sched_pct(), sched_explore(): what the runs had of each. */
	struct sched_counts {
		uint64_t schedules;
		uint64_t orders;
		uint64_t states;
		uint32_t longest; /* steps of a run */
		bool more;	  /* the tables are full: at least so many */
	} counts;
	enum sched_strategy { SCHED_MIXED = 0, SCHED_PCT, SCHED_EXPLORE } strategy;
	bool buffered;	    /* with store buffers */
	bool weak;	    /* buffered: not x86's order, a weaker one */
	unsigned int depth; /* PCT: d */
	unsigned int k;	    /* PCT: steps */
	unsigned int bound; /* explore: the one that is or was being explored */
	bool complete;	    /* explore: nothing within the bound is left */
	char trail[512];    /* explore: the choices that were not the usual ones */
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

/* The same with store buffers: for code whose order against other processors is in doubt. */
enum sched_verdict sched_search_buffered(struct sched_result *res,
					 const struct sched_program *program, uint64_t first,
					 uint64_t count);

/*
 * sched_pct() - the same with PCT at depth @depth; 0: seed % 5 + 1. HMMU_SCHED_SEED and
 * HMMU_SCHED_COUNT as above.
 */
enum sched_verdict sched_pct(struct sched_result *res, const struct sched_program *program,
			     unsigned int depth, uint64_t first, uint64_t count);
/* With a k that is known: at least the steps of a run. sched_measure() runs some. */
enum sched_verdict sched_pct_k(struct sched_result *res, const struct sched_program *program,
			       unsigned int depth, unsigned int k, uint64_t first,
			       uint64_t count);
unsigned int sched_measure(const struct sched_program *program);
/* At least: that a run with PCT finds a given bug of that depth. */
double sched_pct_chance(unsigned int threads, unsigned int k, unsigned int depth);

/*
 * sched_explore() - every schedule with at most @bound preemptions (and each lower bound
 * is included), in one child; at most @max_runs runs: res->complete says whether that was
 * enough. HMMU_SCHED_TRAIL runs that one schedule instead.
 */
enum sched_verdict sched_explore(struct sched_result *res, const struct sched_program *program,
				 unsigned int bound, uint64_t max_runs);

/* Called once a second while a search works; may be NULL. */
extern void (*sched_progress)(const struct sched_result *now);

/* How many of its threads are there. */
unsigned int sched_threads(const struct sched_program *program);

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

/* In a forked child: this thread is in no run any more. */
void sched_leave(void);

/* A line in the trace. Outside a run: nothing. */
void sched_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

int sched_self(void);			       /* index in program.threads; -1: not in a run */
unsigned int sched_step_count(void);	       /* of the run so far; also "when", for oracles */
unsigned int sched_random(unsigned int below); /* from the run's seed; 0 outside */

/* A plain access of *at that others may make at the same time: see PRUNING. No point. */
void sched_touch(const volatile void *at, bool writes);

/* For program.state. */
uint64_t sched_hash(uint64_t hash, const void *data, size_t size);
/* Mixed before and after: what is hashed may be a hash itself, the same one. */
static inline uint64_t sched_hash_word(uint64_t hash, uint64_t word)
{
	hash = (hash + 0x632be59bd9b4e019) * 0x9e3779b97f4a7c15;
	hash = (hash ^ hash >> 32 ^ word) * 0xd6e8feb86659fd93;
	return hash ^ hash >> 29;
}

/*
 * Where threads were: by the address after the call in the code under test. A table is
 * shared with children; the one in use counts, NULL: none.
 */
struct sched_point {
	const void *pc;
	uint32_t passed;    /* a thread stood there */
	uint32_t preempted; /* and another one ran */
};
#define SCHED_POINTS 8192 /* a table's size */
struct sched_point *sched_points_new(void);
void sched_points_use(struct sched_point *table);
/* Adds those of @from. */
void sched_points_merge(struct sched_point *to, const struct sched_point *from);
/* All call sites of this program that are points, passed or not; needs objdump. */
void sched_points_exist(struct sched_point *table);
/* One line per place in the source, its path having one of @paths (a:b:c) in it, that no
 * thread passed, or where none was preempted, and the sum; needs addr2line. */
void sched_points_print(FILE *out, const struct sched_point *table, const char *paths);

/* ------------------------------------------------------------------------
 * Between sched.c, search.c and print.c
 */
extern void (*sched_fail_outside)(const char *message);

#endif /* HMMU_TESTS_SCHED_H */
