// SPDX-License-Identifier: MIT
/* baton.c - see baton.h. */
#undef HMMU_SCHED /* the real accesses and the real futexes */
#include "atomic.h"
#include "futex.h"

#include "baton.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How many threads outside a run may sleep in a real futex. */
static uint32_t sleepers_outside;

void baton_pass(struct baton *baton)
{
	/* Pairs with the load in baton_receive(). */
	hmmu_store_release(&baton->word, 1);
	hmmu_futex_wake(&baton->word, 1);
}

void baton_receive(struct baton *baton)
{
	/* Pairs with the store in baton_pass(). */
	while (!hmmu_load_acquire(&baton->word))
		hmmu_futex_wait(&baton->word, 0, NULL);
	/* Nobody passes it again before this thread has passed on its own. */
	hmmu_store_relaxed(&baton->word, 0);
}

pthread_t baton_thread(void *(*main)(void *), void *arg)
{
	pthread_attr_t attr;
	pthread_t thread;
	int err;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 * 1024);
	err = pthread_create(&thread, &attr, main, arg);
	pthread_attr_destroy(&attr);
	if (err) {
		fprintf(stderr, "sched: pthread_create: %s\n", strerror(err));
		abort();
	}
	return thread;
}

long baton_real_wait(uint32_t *word, uint32_t value, const struct timespec *deadline)
{
	long ret;

	/* Counted before the kernel compares the word, read after a waker has
	 * changed it: a wake that finds 0 here has a waiter that finds the change. */
	hmmu_add_seqcst(&sleepers_outside, 1);
	ret = hmmu_futex_wait(word, value, deadline);
	hmmu_add_seqcst(&sleepers_outside, -1);
	return ret;
}

void baton_real_wake(uint32_t *word, int n)
{
	hmmu_futex_wake(word, n);
}

void baton_wake_outside(uint32_t *word, int n)
{
	if (hmmu_load_seqcst(&sleepers_outside))
		hmmu_futex_wake(word, n);
}

uint32_t baton_peek(uint32_t *word)
{
	return hmmu_load_seqcst(word);
}
