// SPDX-License-Identifier: MIT
/* crew.c - the processes of the sides, and the two threads in each. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "atomic.h"
#include "peers.h"

static struct {
	pthread_barrier_t begin, end;
	work_fn *work;
	void *arg;
	int threads;
	uint32_t ready;
	double ns[2];
} crew;

static void *crew_main(void *arg)
{
	int me = (int)(intptr_t)arg;

	pin(me);
	for (;;) {
		double from;

		pthread_barrier_wait(&crew.begin);
		if (me < crew.threads) {
			hmmu_add_seqcst(&crew.ready, 1);
			while (hmmu_load_acquire(&crew.ready) < (uint32_t)crew.threads)
				hmmu_cpu_relax();
			from = now_ns();
			crew.work(crew.arg, me);
			crew.ns[me] = now_ns() - from;
		}
		pthread_barrier_wait(&crew.end);
	}
	return NULL;
}

int crew_open(void)
{
	pthread_barrier_init(&crew.begin, NULL, 3);
	pthread_barrier_init(&crew.end, NULL, 3);
	for (int i = 0; i < 2; i++) {
		pthread_t thread;
		int err = pthread_create(&thread, NULL, crew_main, (void *)(intptr_t)i);

		if (err)
			return -err;
	}
	return 0;
}

double crew_run(work_fn *work, void *arg, int threads)
{
	double sum = 0;

	crew.work = work;
	crew.arg = arg;
	crew.threads = threads;
	crew.ready = 0;
	pthread_barrier_wait(&crew.begin);
	pthread_barrier_wait(&crew.end);
	for (int i = 0; i < threads; i++)
		sum += crew.ns[i];
	return sum / threads;
}

int member_spawn(struct member *member, child_setup *setup, child_obey *obey)
{
	const struct peer *peer = member->peer;
	int err;

	if (peer->absent) {
		table_note("%s: %s", peer->name, peer->absent);
		return -ENOENT;
	}
	err = child_spawn(&member->child, peer->name, setup, obey, member);
	if (err) {
		table_note("%s: %s", peer->name, strerror(-err));
		child_end(&member->child);
		return err;
	}
	member->there = true;
	return 0;
}

void member_end(struct member *member)
{
	if (member->there)
		child_end(&member->child);
	member->there = false;
}
