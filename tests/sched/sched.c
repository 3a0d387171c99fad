// SPDX-License-Identifier: MIT
/*
 * sched.c - a run: its threads, and the doors through which the code under test comes.
 * See scheduler.h.
 *
 * Everything in `run` belongs to the holder of the baton (the runner before the
 * run starts and after it is over): plain accesses are enough, because passing
 * the baton orders them.
 */
#include "inside.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct sched_run sched_now;
#define run sched_now

/* Threads of earlier runs; thread i always has index i. Emptied by a failure and
 * in a forked child, where they do not exist. */
static struct sched_thread *pool[SCHED_MAX_THREADS];
static pid_t pool_pid;

static __thread struct sched_thread *self;

void (*sched_fail_outside)(const char *message);

static void mix(uint64_t value)
{
	run.res->hash = (run.res->hash ^ value) * 0x100000001b3;
}

/* ---- the trace ---- */

#define event sched_event

struct sched_event *sched_event(const struct sched_thread *thread, enum sched_event_kind kind,
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

void sched_end_failed(enum sched_verdict verdict)
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
		sched_end_failed(SCHED_FAILED);
	}
	if (sched_fail_outside)
		sched_fail_outside(message);
	fprintf(stderr, "sched: outside a run: %s\n", message);
	abort();
}

void sched_wake(struct sched_thread *thread, long answer)
{
	thread->state = RUNNABLE;
	thread->answer = answer;
	thread->word = NULL;
	run.next_look = 0;
}

/* ---- the hand-over ---- */

static void run_next(struct sched_thread *next)
{
	run.res->switches++;
	mix((uint64_t)run.res->steps << 8 | (uint64_t)next->index);
	baton_pass(&next->go);
}

static void switch_to(struct sched_thread *next)
{
	sched_buffer_out(self);
	run_next(next);
	baton_receive(&self->go);
	sched_buffer_in(self);
}

/* ---- what the code under test calls: declared in src/atomic.h, src/futex.h, whose
 * accesses are not for this file ---- */

void hmmu_sched_point(const volatile void *at, bool writes);
void hmmu_sched_relax(void);
void hmmu_sched_store(volatile void *at, size_t size, bool release);
void hmmu_sched_locked(const volatile void *at, size_t size, bool all);
void hmmu_sched_membarrier(void);
long hmmu_sched_futex_wait(uint32_t *word, uint32_t value, const struct timespec *deadline);
void hmmu_sched_futex_wake(uint32_t *word, int n);

/* A thread that goes on is in another state than one that may, also where it goes on
 * without an access. */
enum { FOLD_RELAX = 1, FOLD_START, FOLD_WOKEN };

static void look(const void *pc)
{
	struct sched_thread *next = sched_choose(self, AT_POINT);

	if (next == self)
		return;
	sched_count_point(pc, true);
	event(self, SCHED_EV_PREEMPTED, pc);
	switch_to(next);
}

static void call_at_point(void)
{
	struct sched_thread *me = self;

	self = NULL;
	run.program->at_point(run.res->steps);
	self = me;
}

/* This thread stands at @pc. */
static void stand(const void *pc)
{
	run.res->steps++;
	self->pc = pc;
	sched_count_point(pc, false);
	if (run.res->strategy != SCHED_EXPLORE || sched_explore_is_new())
		sched_count_state();
	if (run.program->at_point)
		call_at_point();
}

/* The next thing it does: others can run before. */
static void access_at(const void *pc, const volatile void *at, bool writes)
{
	stand(pc);
	sched_buffer_tick(self);
	if (run.res->steps >= run.next_look)
		look(pc);
	sched_touch(at, writes);
}

void sched_touch(const volatile void *at, bool writes)
{
	if (!self)
		return;
	sched_order_access(self->index, at, writes);
	for (int i = 0; writes && i < run.n; i++)
		if (run.threads[i] != self)
			run.threads[i]->idle = 0;
}

void hmmu_sched_point(const volatile void *at, bool writes)
{
	if (self)
		access_at(__builtin_return_address(0), at, writes);
}

void hmmu_sched_store(volatile void *at, size_t size, bool release)
{
	if (self)
		sched_buffer_store(self, at, size, release, __builtin_return_address(0));
}

void hmmu_sched_locked(const volatile void *at, size_t size, bool all)
{
	if (self)
		sched_buffer_locked(self, at, size, all);
}

void hmmu_sched_membarrier(void)
{
	if (!self || !run.res->buffered)
		return; /* there is nothing that it orders */
	access_at(__builtin_return_address(0), &run, true);
	sched_buffer_empty(self);
	sched_buffer_empty_all();
}

void hmmu_sched_relax(void)
{
	struct sched_thread *next;

	if (!self)
		return;
	stand(__builtin_return_address(0));
	sched_buffer_tick(self);
	self->priority = --run.lowest;
	self->idle++;
	next = sched_choose(self, AT_RELAX);
	if (next != self) {
		sched_count_point(self->pc, true);
		event_relax(self->pc);
		switch_to(next);
	}
	sched_order_fold(self->index, FOLD_RELAX);
}

/* One in so many waits returns for no reason. */
#define ODDS_SPURIOUS 32

/* Does this wait return at once, for no reason or because its time is over? */
static bool wait_is_short(const struct timespec *deadline, long *answer)
{
	*answer = -ETIMEDOUT;
	if (deadline && !deadline->tv_sec && !deadline->tv_nsec)
		return true;
	if (run.calm)
		return false;
	if (deadline && !sched_below(8))
		return true;
	*answer = sched_below(2) ? 0 : -EINTR;
	return !sched_below(ODDS_SPURIOUS);
}

long hmmu_sched_futex_wait(uint32_t *word, uint32_t value, const struct timespec *deadline)
{
	const void *pc = __builtin_return_address(0);
	struct sched_thread *next;
	long answer;

	if (!self)
		return baton_real_wait(word, value, deadline);
	/* A write: it joins a queue. */
	access_at(pc, word, true);
	sched_buffer_empty(self);
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
	next = sched_choose(self, AT_SLEEP);
	if (next != self) /* else it was woken for no reason */
		switch_to(next);
	sched_order_fold(self->index, FOLD_WOKEN);
	return self->answer;
}

void hmmu_sched_futex_wake(uint32_t *word, int n)
{
	const void *pc = __builtin_return_address(0);
	struct sched_thread *thread;
	struct sched_event *ev;
	int woken = 0;

	if (!self) {
		baton_real_wake(word, n);
		return;
	}
	access_at(pc, word, true);
	sched_buffer_empty(self);
	while (woken < n && (thread = sched_choose_sleeper(word)) != NULL) {
		sched_order_fold(thread->index, sched_order_of(self->index));
		sched_order_fold(self->index, (uint64_t)thread->index);
		sched_wake(thread, 0);
		woken++;
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

void sched_leave(void)
{
	self = NULL;
}

int sched_self(void)
{
	return self ? self->index : -1;
}

unsigned int sched_step_count(void)
{
	if (!self)
		return 0;
	sched_order_fold(self->index, run.res->steps);
	return run.res->steps;
}

/* Explored, chance must not depend on what the others did. */
unsigned int sched_random(unsigned int n)
{
	if (!self)
		return 0;
	if (run.res->strategy == SCHED_EXPLORE) {
		sched_order_fold(self->index, n);
		return (unsigned int)((sched_order_of(self->index) >> 32) * n >> 32);
	}
	return sched_below(n);
}

/* ---- a run ---- */

static void thread_returned(void)
{
	sched_buffer_out(self); /* its last stores may still come late */
	self->state = DONE;
	self->pc = NULL;
	event(self, SCHED_EV_RETURNED, NULL);
	if (--run.live) {
		run_next(sched_choose(self, AT_RETURN));
		return;
	}
	sched_buffer_empty_all();
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
		sched_order_fold(thread->index, FOLD_START);
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
	run.program = program;
	sched_order_begin();
	if (pool_pid != getpid()) {
		memset(pool, 0, sizeof(pool));
		pool_pid = getpid();
	}
	sched_draw(program, seed);
	for (run.n = 0; run.n < SCHED_MAX_THREADS && program->threads[run.n]; run.n++) {
		struct sched_thread *thread = get_thread(run.n, program->fresh);

		thread->state = RUNNABLE;
		thread->priority = SCHED_BAND + (int)sched_below(SCHED_BAND);
		thread->word = NULL;
		thread->spins = 0;
		thread->pc = NULL;
		thread->idle = 0;
		thread->buffer.n = 0;
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

enum sched_verdict sched_run_as(struct sched_result *res, const struct sched_program *program,
				uint64_t seed)
{
	begin(res, program, seed);
	if (!run.n)
		return SCHED_OK;
	run_next(sched_choose(run.threads[0], AT_START));
	baton_receive(&run.over);
	if (program->fresh && res->verdict == SCHED_OK)
		end_threads();
	return res->verdict;
}

enum sched_verdict sched_run(struct sched_result *res, const struct sched_program *program,
			     uint64_t seed)
{
	res->strategy = SCHED_MIXED;
	return sched_run_as(res, program, seed);
}
