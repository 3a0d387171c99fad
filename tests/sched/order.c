// SPDX-License-Identifier: MIT
/*
 * order.c - the partial order of a run, as hashes.
 *
 * Every access becomes a hash of what came before it: in its thread, and of the same
 * word (a write comes after the last write and the reads since, a read after the last
 * write). A thread's hash is that of its last access; all of them together are the
 * partial order. Addresses need not go in: which word a thread touches next follows from
 * what it has done and read. Words are eight bytes: two futexes in one of them are
 * taken to be the same, which keeps apart more than needed.
 */
#include "inside.h"

#include <stdlib.h>
#include <string.h>

#define PLACES (1u << 14)

struct place {
	uintptr_t word;
	uint64_t wrote;
	uint64_t read; /* a sum: reads have no order among them */
	uint64_t run;
};

static struct place places[PLACES];
static uint64_t this_run;
static unsigned int used;
static uint64_t threads[SCHED_MAX_THREADS];

void sched_order_begin(void)
{
	this_run++;
	used = 0;
	for (int i = 0; i < SCHED_MAX_THREADS; i++)
		threads[i] = (uint64_t)i + 1;
}

static struct place *find(uintptr_t word)
{
	unsigned int i = (unsigned int)((word * 0x9e3779b97f4a7c15) >> 50);

	while (places[i].run == this_run && places[i].word != word)
		i = (i + 1) % PLACES;
	if (places[i].run != this_run) {
		if (++used > PLACES / 2)
			abort(); /* a run that touches so much is none to explore */
		places[i] = (struct place){.word = word, .run = this_run};
	}
	return &places[i];
}

void sched_order_access(int thread, const volatile void *at, bool writes)
{
	struct place *place = find((uintptr_t)at >> 3);
	uint64_t hash = sched_hash_word(threads[thread], place->wrote);

	if (writes) {
		hash = sched_hash_word(hash, place->read + 1);
		place->wrote = hash;
		place->read = 0;
	} else {
		place->read += hash;
	}
	threads[thread] = hash;
}

void sched_order_fold(int thread, uint64_t value)
{
	threads[thread] = sched_hash_word(threads[thread], value);
}

uint64_t sched_order_of(int thread)
{
	return threads[thread];
}

uint64_t sched_order(void)
{
	return sched_hash(0, threads, sizeof(threads));
}
