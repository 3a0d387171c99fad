/* SPDX-License-Identifier: MIT */
/*
 * baton.h - the real threads under the scheduler, and the real futexes.
 *
 * A baton is a word on which one thread sleeps until another passes it. Passing
 * it orders everything that the passer did before everything that the receiver
 * does after (release, acquire): that is why sched.c needs no lock.
 *
 * It is a file of its own because it wants the real atomic.h and futex.h, not
 * the scheduled ones.
 */
#ifndef HMMU_TESTS_BATON_H
#define HMMU_TESTS_BATON_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

struct baton {
	uint32_t word; /* 0: not here, 1: here. Set by the passer, cleared by the receiver */
} __attribute__((aligned(64)));

void baton_pass(struct baton *baton);
void baton_receive(struct baton *baton);

/* A thread that runs main(arg). Ends the process if there can be none. */
pthread_t baton_thread(void *(*main)(void *), void *arg);

/* For threads outside a run. wake() is free while nobody outside sleeps. */
long baton_real_wait(uint32_t *word, uint32_t value, const struct timespec *deadline);
void baton_real_wake(uint32_t *word, int n);
void baton_wake_outside(uint32_t *word, int n);

/* The code under test changes the word through atomics: so does the compare. */
uint32_t baton_peek(uint32_t *word);

#endif /* HMMU_TESTS_BATON_H */
