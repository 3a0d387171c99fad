/* SPDX-License-Identifier: MIT */
/*
 * inside.h - between the scheduler's own files.
 *
 *	sched.c	  the doors of the code under test, the threads, a run
 *	buffer.c  store buffers
 *	choose.c  who runs next, by seed (mixed, PCT) or as explored
 *	explore.c which choice comes next: the depth-first search
 *	order.c	  the partial order of a run, as hashes
 *	count.c	  what was distinct
 *	search.c  many runs, in child processes
 *	print.c	  for people
 */
#ifndef HMMU_TESTS_SCHED_INSIDE_H
#define HMMU_TESTS_SCHED_INSIDE_H

#include <pthread.h>

#include "baton.h"
#include "scheduler.h"

/* Priorities: at first above BAND, changed ones inside it, relaxed ones below 0. */
#define SCHED_BAND (1 << 20)

enum sched_thread_state {
	RUNNABLE = 0,
	SLEEPING,
	DONE,
};

/* buffer.c */
struct sched_store {
	void *at;
	/* While its thread runs: what the others see there. Else: what it stored. */
	uint64_t other;
	unsigned int size;
	bool release;
	bool age;	/* a point of its thread's has passed since */
	const void *pc; /* whence */
};
#define SCHED_STORES 40 /* that a processor holds back */
struct sched_buffer {
	unsigned int n;
	struct sched_store store[SCHED_STORES]; /* by age */
};

struct sched_thread {
	struct baton go; /* passed to it: run */
	int index;
	enum sched_thread_state state;
	int priority;
	bool timed;	   /* SLEEPING with a deadline */
	uint32_t *word;	   /* SLEEPING on it */
	long answer;	   /* of its futex_wait */
	const void *pc;	   /* where it stands; NULL: not started, or returned */
	unsigned int idle; /* relaxed so often since another one wrote */
	void (*enter)(int index);
	void (*fn)(void *arg);
	void *arg;
	uint32_t spins; /* events when it last wrote SCHED_EV_RELAX; 0 never */
	bool once;	/* program.fresh: ends after one run */
	pthread_t handle;
	struct sched_buffer buffer;
};

#define SCHED_PCT_DEPTH_MAX 8

struct sched_run {
	struct sched_thread *threads[SCHED_MAX_THREADS]; /* of this run */
	const struct sched_program *program;
	struct sched_result *res;
	int n;
	int live;		  /* not DONE */
	uint32_t no_spin;	  /* events when somebody last wrote another kind */
	int lowest;		  /* the last priority that relax gave */
	unsigned int next_look;	  /* 0: at every point */
	unsigned int next_change; /* a priority change point */
	unsigned int next_walk;	  /* a random switch */
	unsigned int changes;	  /* left */
	unsigned int length;	  /* from here on a fair random walk */
	unsigned int gap;	  /* mean steps between random switches; 0: none */
	unsigned int max_steps;
	struct sched_change {
		unsigned int step;
		int priority;
	} change[SCHED_PCT_DEPTH_MAX]; /* PCT: by step */
	unsigned int nchanged;
	bool fair;	   /* length is reached */
	unsigned int lazy; /* buffered: one in so many own points lets a store out */
	bool calm;
	uint64_t random;
	struct baton over; /* passed to the runner */
};
extern struct sched_run sched_now;

/* sched.c */
struct sched_event *sched_event(const struct sched_thread *thread, enum sched_event_kind kind,
				const void *pc);
void sched_end_failed(enum sched_verdict verdict) __attribute__((noreturn));
void sched_wake(struct sched_thread *thread, long answer);
/* How: strategy, depth, k, bound of @res. */
enum sched_verdict sched_run_as(struct sched_result *res, const struct sched_program *program,
				uint64_t seed);

/* choose.c */
enum sched_why { AT_START, AT_POINT, AT_RELAX, AT_SLEEP, AT_RETURN };
unsigned int sched_below(unsigned int n);
void sched_draw(const struct sched_program *program, uint64_t seed);
/* The thread to run next; never NULL: nobody left but sleepers is a deadlock, unless one
 * of them has a deadline. */
struct sched_thread *sched_choose(struct sched_thread *current, enum sched_why why);
/* One of those that sleep on @word, to be woken; NULL: none. */
struct sched_thread *sched_choose_sleeper(const uint32_t *word);

/* explore.c: one of the bits of @can; those in @costly are preemptions. @state: all that
 * the future depends on but who runs next and the preemptions left. */
void sched_explore_begin(unsigned int bound, bool prune, uint64_t max_runs);
void sched_explore_start_run(void);
int sched_explore_choice(unsigned int can, unsigned int costly, int usual, uint64_t state);
bool sched_explore_is_new(void); /* not the beginning of an earlier run */
/* After a run: is there another one? */
bool sched_explore_next(void);
void sched_explore_trail(char *text, size_t size);
void sched_explore_replay(const char *text);
const char *sched_explore_problem(void); /* NULL: none */

/* buffer.c: its head comment. Nothing is done but in a buffered run. */
void sched_buffer_draw(void);
void sched_buffer_tick(struct sched_thread *self);
void sched_buffer_store(struct sched_thread *self, volatile void *at, size_t size, bool release,
			const void *pc);
void sched_buffer_locked(struct sched_thread *self, const volatile void *at, size_t size,
			 bool all);
void sched_buffer_out(struct sched_thread *self); /* another one runs */
void sched_buffer_in(struct sched_thread *self);
void sched_buffer_empty(struct sched_thread *self);
void sched_buffer_empty_all(void); /* nobody runs, or who does has emptied its own */

/* order.c */
void sched_order_begin(void);
void sched_order_access(int thread, const volatile void *at, bool writes);
void sched_order_fold(int thread, uint64_t value);
uint64_t sched_order_of(int thread);
uint64_t sched_order(void);

/* count.c */
struct sched_set;
struct sched_set *sched_set_new(uint64_t expected); /* shared with children */
void sched_set_free(struct sched_set *set);
bool sched_set_add(struct sched_set *set, uint64_t key); /* false: was in it */
/* Not explored yet with so many preemptions left? Then it counts as explored from now. */
bool sched_set_raise(struct sched_set *set, uint64_t key, unsigned int left);
uint64_t sched_set_count(const struct sched_set *set);
bool sched_set_full(const struct sched_set *set);
void sched_count_point(const void *pc, bool preempted);
void sched_count_begin(uint64_t expected);
void sched_count_state(void);
void sched_count_run(const struct sched_result *res);
void sched_count_end(struct sched_result *res);

#endif /* HMMU_TESTS_SCHED_INSIDE_H */
