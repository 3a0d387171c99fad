/* SPDX-License-Identifier: MIT */
/*
 * stepper.h - something happens between any two instructions of a call.
 *
 * step_run() runs op(arg) with the processor's trap flag: after instruction number @when the
 * event is called from the trap's handler, in the same thread; for it the call is in progress.
 * Then it goes on at full speed. Answers how many instructions have been counted: fewer than
 * @when means that the call has none left, and the event did not happen.
 *
 * worker_do() is an event in another thread: it returns when the job is done, or when the
 * worker is seen asleep (it waits for the thread that stands there; worker_wait() later).
 * System calls only: it is called in the handler.
 */
#ifndef HMMU_TEST_REGCACHE_STEPPER_H
#define HMMU_TEST_REGCACHE_STEPPER_H

#include "api.h"

#if defined(__x86_64__) && API_SLOW == 1
#define HAVE_STEPPER 1
#endif

long step_run(void (*op)(void *arg), void (*event)(void *arg), void *arg, long when);

struct worker {
	pthread_t thread;
	atomic_int state; /* 0 idle, 1 has a job, 2 is done, 3 goes home */
	int tid;
	void (*job)(void *arg);
	void *arg;
};
void worker_start(struct worker *worker);
void worker_do(struct worker *worker, void (*job)(void *arg), void *arg);
void worker_wait(struct worker *worker);
void worker_stop(struct worker *worker);

#endif /* HMMU_TEST_REGCACHE_STEPPER_H */
