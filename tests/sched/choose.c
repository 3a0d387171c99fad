// SPDX-License-Identifier: MIT
/*
 * choose.c - who runs next. See scheduler.h for the strategies.
 *
 * By seed there is something to decide only now and then: between two looks nothing can
 * become better to run but by a wake. Explored, every point is looked at.
 */
#include "inside.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#define DEFAULT_MAX_STEPS 100000

/* One in so many looks wakes a sleeper that nobody woke. */
#define ODDS_SPURIOUS 32

/* A thread may relax so often while nobody writes. */
#define IDLE_MAX 2

#define run sched_now

/* ---- chance ---- */

/* Steele, Lea, Flood: SplitMix64. */
static uint64_t random64(void)
{
	uint64_t z = run.random += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

unsigned int sched_below(unsigned int n)
{
	return (unsigned int)(((random64() >> 32) * n) >> 32);
}

#define below sched_below

/* ---- ends ---- */

static void end_deadlock(void) __attribute__((noreturn));
static void end_deadlock(void)
{
	snprintf(run.res->message, sizeof(run.res->message), "%d of %d threads sleep for ever",
		 run.live, run.n);
	sched_end_failed(SCHED_DEADLOCK);
}

static void end_livelock(void) __attribute__((noreturn));
static void end_livelock(void)
{
	unsigned int fair = 0;

	if (run.res->strategy != SCHED_EXPLORE && run.res->steps > run.length)
		fair = run.res->steps - run.length;
	snprintf(run.res->message, sizeof(run.res->message),
		 "not done after %u steps, the last %u under a fair schedule", run.res->steps,
		 fair);
	sched_end_failed(SCHED_LIVELOCK);
}

/* ---- by seed ---- */

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
		sched_event(thread, timeout ? SCHED_EV_TIMEOUT : SCHED_EV_SPURIOUS, NULL);
		sched_wake(thread, timeout ? -ETIMEDOUT : 0);
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

static void pct_plan_change(void)
{
	unsigned int i = run.nchanged;

	run.next_change = i < run.changes ? run.change[i].step : UINT_MAX;
}

/* The running thread falls below all that have not fallen; among those chance decides. */
static void pct_change(struct sched_thread *current)
{
	while (run.nchanged < run.changes && run.change[run.nchanged].step <= run.res->steps)
		current->priority = run.change[run.nchanged++].priority;
	pct_plan_change();
}

/* Priority change point: the running thread falls, or all are dealt anew. */
static void change_priorities(struct sched_thread *current)
{
	if (run.res->strategy == SCHED_PCT) {
		pct_change(current);
		return;
	}
	if (below(4)) {
		current->priority = (int)below(SCHED_BAND);
	} else {
		for (int i = 0; i < run.n; i++)
			run.threads[i]->priority = SCHED_BAND + (int)below(SCHED_BAND);
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

static struct sched_thread *choose_by_seed(struct sched_thread *current, enum sched_why why)
{
	/* It may not be chosen if another can run. */
	const struct sched_thread *except = why == AT_RELAX ? current : NULL;
	struct sched_thread *next = NULL;
	bool walk = run.res->steps >= run.next_walk;

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

/* ---- explored ---- */

static unsigned int bits_of(enum sched_thread_state state, bool timed, unsigned int idle_max)
{
	unsigned int bits = 0;

	for (int i = 0; i < run.n; i++) {
		const struct sched_thread *thread = run.threads[i];

		if (thread->state == state && thread->idle <= idle_max &&
		    (!timed || thread->timed))
			bits |= 1u << i;
	}
	return bits;
}

/* Idleness is no part of the order: what a thread has read, not when others wrote. */
static int explored_choice(unsigned int can, unsigned int costly, int usual)
{
	uint64_t state = sched_order();

	for (int i = 0; i < run.n; i++)
		state = sched_hash_word(state, run.threads[i]->idle);
	return sched_explore_choice(can, costly, usual, state);
}

/* All that can run spin, and nobody writes: whoever has spun least. */
static struct sched_thread *least_idle(void)
{
	struct sched_thread *best = NULL;

	for (int i = 0; i < run.n; i++) {
		struct sched_thread *thread = run.threads[i];

		if (thread->state == RUNNABLE && (!best || thread->idle < best->idle))
			best = thread;
	}
	return best;
}

static struct sched_thread *time_out(void)
{
	unsigned int can = bits_of(SLEEPING, true, UINT_MAX);
	struct sched_thread *thread;

	if (!can)
		end_deadlock();
	thread = run.threads[explored_choice(can, 0, __builtin_ctz(can))];
	sched_event(thread, SCHED_EV_TIMEOUT, NULL);
	sched_order_fold(thread->index, (uint64_t)-ETIMEDOUT);
	sched_wake(thread, -ETIMEDOUT);
	return thread;
}

static struct sched_thread *choose_explored(struct sched_thread *current, enum sched_why why)
{
	unsigned int can = bits_of(RUNNABLE, false, IDLE_MAX), others;
	unsigned int me = 1u << current->index;

	if (why == AT_POINT)
		return run.threads[explored_choice(can | me, ~me, current->index)];
	if (!can && !bits_of(RUNNABLE, false, UINT_MAX))
		return time_out();
	if (!can)
		return least_idle();
	others = why == AT_RELAX && (can & ~me) ? can & ~me : can;
	return run.threads[explored_choice(can, 0, __builtin_ctz(others))];
}

/* ---- both ---- */

struct sched_thread *sched_choose(struct sched_thread *current, enum sched_why why)
{
	if (run.res->steps >= run.max_steps)
		end_livelock();
	if (run.res->strategy == SCHED_EXPLORE)
		return choose_explored(current, why);
	return choose_by_seed(current, why);
}

struct sched_thread *sched_choose_sleeper(const uint32_t *word)
{
	unsigned int can = 0;
	int offset;

	for (int i = 0; i < run.n; i++)
		if (run.threads[i]->state == SLEEPING && run.threads[i]->word == word)
			can |= 1u << i;
	if (!can)
		return NULL;
	if (run.res->strategy == SCHED_EXPLORE)
		return run.threads[explored_choice(can, 0, __builtin_ctz(can))];
	offset = (int)below((unsigned int)run.n);
	while (!(can >> offset & 1))
		offset = (offset + 1) % run.n;
	return run.threads[offset];
}

/* ---- drawing a strategy ---- */

static void draw_mixed(const struct sched_program *program)
{
	unsigned int kind;

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
}

static int by_step(const void *a, const void *b)
{
	const struct sched_change *x = a, *y = b;

	if (x->step != y->step)
		return x->step < y->step ? -1 : 1;
	return x->priority - y->priority;
}

static void draw_pct(void)
{
	run.changes = run.res->depth - 1;
	for (unsigned int i = 0; i < run.changes; i++)
		run.change[i] = (struct sched_change){1 + below(run.res->k), (int)i};
	qsort(run.change, run.changes, sizeof(run.change[0]), by_step);
	run.nchanged = 0;
	pct_plan_change();
	/* What has not ended by then needs fairness to end. */
	run.length = 4 * run.res->k + 64;
	run.gap = 0;
	run.next_walk = UINT_MAX;
}

void sched_draw(const struct sched_program *program, uint64_t seed)
{
	run.random = seed * 0xd1342543de82ef95 + 1;
	run.max_steps = program->max_steps ? program->max_steps : DEFAULT_MAX_STEPS;
	run.next_look = 0;
	run.lowest = 0;
	run.no_spin = 0;
	run.fair = false;
	run.calm = program->calm || run.res->strategy != SCHED_MIXED;
	if (run.res->strategy == SCHED_MIXED)
		draw_mixed(program);
	else if (run.res->strategy == SCHED_PCT)
		draw_pct();
	sched_buffer_draw();
}
