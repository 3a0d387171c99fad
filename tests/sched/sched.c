// SPDX-License-Identifier: MIT
/*
 * sched.c - who runs next. See scheduler.h.
 *
 * Everything in `run` belongs to the holder of the baton (the runner before the
 * run starts and after it is over): plain accesses are enough, because passing
 * the baton orders them.
 *
 * The fast path of a point is one compare: `next_look` is the step at which
 * there is something to decide again. Between two looks nothing can become
 * better to run but by a wake, and a wake sets next_look to now.
 */
#include "scheduler.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "baton.h"

#define DEFAULT_MAX_STEPS 100000

/* Priorities: at first above BAND, changed ones inside it, relaxed ones below 0. */
#define BAND (1 << 20)

/* One in so many looks wakes a sleeper that nobody woke. */
#define ODDS_SPURIOUS 32

enum thread_state {
	RUNNABLE = 0,
	SLEEPING,
	DONE,
};

struct sched_thread {
	struct baton go; /* passed to it: run */
	int index;
	enum thread_state state;
	int priority;
	bool timed;	/* SLEEPING with a deadline */
	uint32_t *word; /* SLEEPING on it */
	long answer;	/* of its futex_wait */
	void (*enter)(int index);
	void (*fn)(void *arg);
	void *arg;
	uint32_t spins; /* events when it last wrote SCHED_EV_RELAX; 0 never */
	bool once;	/* program.fresh: ends after one run */
	pthread_t handle;
};

static struct {
	struct sched_thread *threads[SCHED_MAX_THREADS]; /* of this run */
	struct sched_result *res;
	int n;
	int live;	  /* not DONE */
	uint32_t no_spin; /* events when somebody last wrote another kind */
	int lowest;	  /* the last priority that relax gave */
	unsigned int next_look;
	unsigned int next_change; /* a priority change point */
	unsigned int next_walk;	  /* a random switch */
	unsigned int changes;	  /* left */
	unsigned int length;	  /* from here on a fair random walk */
	unsigned int gap;	  /* mean steps between random switches; 0: none */
	unsigned int max_steps;
	bool fair; /* length is reached */
	bool calm;
	uint64_t random;
	struct baton over; /* passed to the runner */
} run;

/* Threads of earlier runs; thread i always has index i. Emptied by a failure and
 * in a forked child, where they do not exist. */
static struct sched_thread *pool[SCHED_MAX_THREADS];
static pid_t pool_pid;

static __thread struct sched_thread *self;

void (*sched_fail_outside)(const char *message);

/* ---- chance ---- */

/* Steele, Lea, Flood: SplitMix64. */
static uint64_t random64(void)
{
	uint64_t z = run.random += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static unsigned int below(unsigned int n)
{
	return (unsigned int)(((random64() >> 32) * n) >> 32);
}

static void mix(uint64_t value)
{
	run.res->hash = (run.res->hash ^ value) * 0x100000001b3;
}

/* ---- the trace ---- */

static struct sched_event *event(const struct sched_thread *thread, enum sched_event_kind kind,
				 const void *pc)
{
	struct sched_event *ev = &run.res->trace[run.res->events++ % SCHED_TRACE];

	ev->step = run.res->steps;
	ev->thread = (uint8_t)thread->index;
	ev->kind = (uint8_t)kind;
	ev->pc = pc;
	ev->word = thread->word;
	ev->count = 0;
	ev->note[0] = '\0';
	if (kind != SCHED_EV_RELAX)
		run.no_spin = run.res->events;
	return ev;
}

/* Threads that spin in turns write one line each, with a count. */
static void event_relax(const void *pc)
{
	struct sched_event *last = &run.res->trace[(self->spins - 1) % SCHED_TRACE];

	if (self->spins > run.no_spin && last->pc == pc) {
		last->count++;
		return;
	}
	event(self, SCHED_EV_RELAX, pc);
	self->spins = run.res->events;
}

/* ---- the end of a run ---- */

static void end_failed(enum sched_verdict verdict) __attribute__((noreturn));
static void end_failed(enum sched_verdict verdict)
{
	run.res->verdict = verdict;
	event(self, SCHED_EV_FAILED, NULL);
	/* Nobody holds the baton any more: the run's threads stand for ever. */
	memset(pool, 0, sizeof(pool));
	baton_pass(&run.over);
	for (;;)
		pause();
}

void sched_fail(const char *fmt, ...)
{
	char message[sizeof(run.res->message)];
	va_list ap;

	va_start(ap, fmt);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): clang-tidy 14 is wrong */
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	if (self) {
		memcpy(run.res->message, message, sizeof(message));
		end_failed(SCHED_FAILED);
	}
	if (sched_fail_outside)
		sched_fail_outside(message);
	fprintf(stderr, "sched: outside a run: %s\n", message);
	abort();
}

static void end_deadlock(void) __attribute__((noreturn));
static void end_deadlock(void)
{
	snprintf(run.res->message, sizeof(run.res->message), "%d of %d threads sleep for ever",
		 run.live, run.n);
	end_failed(SCHED_DEADLOCK);
}

static void end_livelock(void) __attribute__((noreturn));
static void end_livelock(void)
{
	snprintf(run.res->message, sizeof(run.res->message),
		 "not done after %u steps, the last %u under a fair schedule", run.res->steps,
		 run.res->steps > run.length ? run.res->steps - run.length : 0);
	end_failed(SCHED_LIVELOCK);
}

/* ---- choosing ---- */

static void wake(struct sched_thread *thread, long answer)
{
	thread->state = RUNNABLE;
	thread->answer = answer;
	thread->word = NULL;
	run.next_look = 0;
}

static struct sched_thread *any_runnable(const struct sched_thread *except)
{
	int offset = (int)below((unsigned int)run.n);

	for (int i = 0; i < run.n; i++) {
		struct sched_thread *thread = run.threads[(i + offset) % run.n];

		if (thread->state == RUNNABLE && thread != except)
			return thread;
	}
	return NULL;
}

static struct sched_thread *highest_runnable(const struct sched_thread *except)
{
	struct sched_thread *best = NULL;

	for (int i = 0; i < run.n; i++) {
		struct sched_thread *thread = run.threads[i];

		if (thread->state == RUNNABLE && thread != except &&
		    (!best || thread->priority > best->priority))
			best = thread;
	}
	return best;
}

/* A sleeper that nobody woke. @timeout: one with a deadline, which has passed. */
static bool wake_some_sleeper(bool timeout)
{
	int offset = (int)below((unsigned int)run.n);

	for (int i = 0; i < run.n; i++) {
		struct sched_thread *thread = run.threads[(i + offset) % run.n];

		if (thread->state != SLEEPING || (timeout && !thread->timed))
			continue;
		event(thread, timeout ? SCHED_EV_TIMEOUT : SCHED_EV_SPURIOUS, NULL);
		wake(thread, timeout ? -ETIMEDOUT : 0);
		return true;
	}
	return false;
}

/* Geometric would be exact; uniform with the same mean does as well. */
static unsigned int draw_gap(unsigned int mean)
{
	return 1 + below(2 * mean);
}

static void plan_next_look(void)
{
	unsigned int step = run.res->steps;
	unsigned int look = run.max_steps;

	if (step >= run.next_walk)
		run.next_walk = run.gap ? step + draw_gap(run.gap) : UINT_MAX;
	if (!run.fair && look > run.length)
		look = run.length; /* fairness begins */
	if (look > run.next_change)
		look = run.next_change;
	if (look > run.next_walk)
		look = run.next_walk;
	run.next_look = look;
}

/* Priority change point: the running thread falls, or all are dealt anew. */
static void change_priorities(struct sched_thread *current)
{
	if (below(4)) {
		current->priority = (int)below(BAND);
	} else {
		for (int i = 0; i < run.n; i++)
			run.threads[i]->priority = BAND + (int)below(BAND);
		run.lowest = 0;
	}
	run.changes--;
	run.next_change = UINT_MAX;
	if (run.changes && run.length > run.res->steps)
		run.next_change = run.res->steps + 1 + below(run.length - run.res->steps);
}

static void become_fair(void)
{
	run.fair = true;
	run.next_change = UINT_MAX;
	run.gap = 4;
	if (run.next_walk == UINT_MAX)
		run.next_walk = run.res->steps;
}

/*
 * The thread to run next; never NULL: nobody left but sleepers is a deadlock,
 * unless one of them has a deadline. @except: it may not be chosen if another
 * can run.
 */
static struct sched_thread *choose(struct sched_thread *current,
				   const struct sched_thread *except)
{
	struct sched_thread *next = NULL;
	bool walk = run.res->steps >= run.next_walk;

	if (run.res->steps >= run.max_steps)
		end_livelock();
	if (!run.fair && run.res->steps >= run.length)
		become_fair();
	else if (run.res->steps >= run.next_change)
		change_priorities(current);
	if (!run.calm && !below(ODDS_SPURIOUS))
		wake_some_sleeper(below(2));
	if (walk || run.fair)
		next = any_runnable(except);
	if (!next)
		next = highest_runnable(except);
	if (!next && current->state == RUNNABLE)
		next = current;
	if (!next && wake_some_sleeper(true))
		next = any_runnable(NULL);
	if (!next)
		end_deadlock();
	plan_next_look();
	return next;
}

static void run_next(struct sched_thread *next)
{
	run.res->switches++;
	mix((uint64_t)run.res->steps << 8 | (uint64_t)next->index);
	baton_pass(&next->go);
}

static void switch_to(struct sched_thread *next)
{
	run_next(next);
	baton_receive(&self->go);
}

/* ---- what the code under test calls: declared in src/atomic.h, src/futex.h, whose
 * accesses are not for this file ---- */

void hmmu_sched_point(void);
void hmmu_sched_relax(void);
long hmmu_sched_futex_wait(uint32_t *word, uint32_t value, const struct timespec *deadline);
void hmmu_sched_futex_wake(uint32_t *word, int n);

static void look(const void *pc)
{
	struct sched_thread *next = choose(self, NULL);

	if (next == self)
		return;
	event(self, SCHED_EV_PREEMPTED, pc);
	switch_to(next);
}

void hmmu_sched_point(void)
{
	if (!self)
		return;
	if (++run.res->steps >= run.next_look)
		look(__builtin_return_address(0));
}

void hmmu_sched_relax(void)
{
	struct sched_thread *next;

	if (!self)
		return;
	run.res->steps++;
	self->priority = --run.lowest;
	next = choose(self, self);
	if (next == self)
		return;
	event_relax(__builtin_return_address(0));
	switch_to(next);
}

/* Does this wait return at once, for no reason or because its time is over? */
static bool wait_is_short(const struct timespec *deadline, long *answer)
{
	*answer = -ETIMEDOUT;
	if (deadline && !deadline->tv_sec && !deadline->tv_nsec)
		return true;
	if (run.calm)
		return false;
	if (deadline && !below(8))
		return true;
	*answer = below(2) ? 0 : -EINTR;
	return !below(ODDS_SPURIOUS);
}

long hmmu_sched_futex_wait(uint32_t *word, uint32_t value, const struct timespec *deadline)
{
	const void *pc = __builtin_return_address(0);
	struct sched_thread *next;
	long answer;

	if (!self)
		return baton_real_wait(word, value, deadline);
	if (++run.res->steps >= run.next_look)
		look(pc);
	if (baton_peek(word) != value)
		return -EAGAIN;
	self->word = word;
	if (wait_is_short(deadline, &answer)) {
		event(self, answer == -ETIMEDOUT ? SCHED_EV_TIMEOUT : SCHED_EV_SPURIOUS, pc);
		self->word = NULL;
		return answer;
	}
	event(self, SCHED_EV_SLEEP, pc);
	self->timed = deadline != NULL;
	self->state = SLEEPING;
	next = choose(self, NULL);
	if (next != self) /* else it was woken for no reason */
		switch_to(next);
	return self->answer;
}

void hmmu_sched_futex_wake(uint32_t *word, int n)
{
	const void *pc = __builtin_return_address(0);
	struct sched_event *ev;
	int offset, woken = 0;

	if (!self) {
		baton_real_wake(word, n);
		return;
	}
	if (++run.res->steps >= run.next_look)
		look(pc);
	offset = (int)below((unsigned int)run.n);
	for (int i = 0; i < run.n && woken < n; i++) {
		struct sched_thread *thread = run.threads[(i + offset) % run.n];

		if (thread->state == SLEEPING && thread->word == word) {
			wake(thread, 0);
			woken++;
		}
	}
	baton_wake_outside(word, n);
	ev = event(self, SCHED_EV_WAKES, pc);
	ev->word = word;
	ev->count = (uint16_t)woken;
}

void sched_note(const char *fmt, ...)
{
	struct sched_event *ev;
	va_list ap;

	if (!self)
		return;
	ev = event(self, SCHED_EV_NOTE, NULL);
	va_start(ap, fmt);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): clang-tidy 14 is wrong */
	vsnprintf(ev->note, sizeof(ev->note), fmt, ap);
	va_end(ap);
}

int sched_self(void)
{
	return self ? self->index : -1;
}

unsigned int sched_step_count(void)
{
	return self ? run.res->steps : 0;
}

unsigned int sched_random(unsigned int n)
{
	return self ? below(n) : 0;
}

/* ---- a run ---- */

static void thread_returned(void)
{
	self->state = DONE;
	event(self, SCHED_EV_RETURNED, NULL);
	if (--run.live)
		run_next(choose(self, NULL));
	else
		baton_pass(&run.over);
}

static void *thread_main(void *arg)
{
	struct sched_thread *thread = arg;

	for (;;) {
		bool once;

		baton_receive(&thread->go);
		once = thread->once;
		if (thread->enter)
			thread->enter(thread->index);
		self = thread;
		thread->fn(thread->arg);
		/* From here on the baton, and with it the structure's next life,
		 * is another's: self first, then the hand-over. */
		thread_returned();
		self = NULL;
		if (once) {
			/* Its destructors run alone, too: see end_threads(). */
			baton_receive(&thread->go);
			return NULL;
		}
	}
}

static struct sched_thread *new_thread(int index)
{
	struct sched_thread *thread = aligned_alloc(64, sizeof(*thread));

	if (!thread)
		abort();
	memset(thread, 0, sizeof(*thread));
	thread->index = index;
	thread->handle = baton_thread(thread_main, thread);
	return thread;
}

static struct sched_thread *get_thread(int index, bool fresh)
{
	struct sched_thread *thread;

	if (fresh) {
		thread = new_thread(index);
		thread->once = true;
		return thread;
	}
	if (!pool[index])
		pool[index] = new_thread(index);
	return pool[index];
}

static void draw_strategy(const struct sched_program *program)
{
	unsigned int kind;

	run.max_steps = program->max_steps ? program->max_steps : DEFAULT_MAX_STEPS;
	run.length = program->length;
	if (!run.length)
		run.length = 1u << (3 + below(9));
	/* Half to twice the length that was asked for: nobody knows it exactly. */
	run.length = run.length / 2 + below(run.length + run.length / 2 + 1);
	kind = below(4);
	run.changes = kind == 0 ? 0 : 1 + below(5);
	run.gap = kind == 0 ? 1u << below(6) : kind == 1 ? 8u << below(4) : 0;
	run.next_change = run.changes ? 1 + below(run.length + 1) : UINT_MAX;
	run.next_walk = run.gap ? draw_gap(run.gap) : UINT_MAX;
	run.next_look = 0;
	run.lowest = 0;
	run.no_spin = 0;
	run.fair = false;
	run.calm = program->calm;
}

static void begin(struct sched_result *res, const struct sched_program *program, uint64_t seed)
{
	res->verdict = SCHED_OK;
	res->seed = seed;
	res->hash = 0xcbf29ce484222325;
	res->steps = 0;
	res->switches = 0;
	res->events = 0;
	res->message[0] = '\0';
	run.res = res;
	run.random = seed * 0xd1342543de82ef95 + 1;
	if (pool_pid != getpid()) {
		memset(pool, 0, sizeof(pool));
		pool_pid = getpid();
	}
	draw_strategy(program);
	for (run.n = 0; run.n < SCHED_MAX_THREADS && program->threads[run.n]; run.n++) {
		struct sched_thread *thread = get_thread(run.n, program->fresh);

		thread->state = RUNNABLE;
		thread->priority = BAND + (int)below(BAND);
		thread->word = NULL;
		thread->spins = 0;
		thread->enter = program->enter;
		thread->fn = program->threads[run.n];
		thread->arg = program->args[run.n];
		run.threads[run.n] = thread;
	}
	run.live = run.n;
}

/* One after the other, so that destructors of thread-local state are ordered. */
static void end_threads(void)
{
	for (int i = 0; i < run.n; i++) {
		baton_pass(&run.threads[i]->go);
		pthread_join(run.threads[i]->handle, NULL);
		free(run.threads[i]);
	}
}

enum sched_verdict sched_run(struct sched_result *res, const struct sched_program *program,
			     uint64_t seed)
{
	begin(res, program, seed);
	if (!run.n)
		return SCHED_OK;
	run_next(choose(run.threads[0], NULL));
	baton_receive(&run.over);
	if (program->fresh && res->verdict == SCHED_OK)
		end_threads();
	return res->verdict;
}
