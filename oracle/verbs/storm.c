// SPDX-License-Identifier: MIT
/*
 * storm.c - a thread puts page after page at one address, each filled with its generation;
 * the other sends what is there. The remapper waits for a transfer to begin and for one to
 * end, by turns, so that remaps fall into transfers and between them, whatever the speed.
 *
 *	sender				remapper
 *	least = published		generation g appears at the address
 *	get, transfer			published = g
 *	last = published
 *	valid()
 *
 *	[Required: what arrived is not older than least; if valid(), not older than last]
 */
#include "stale.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define REMAPS 400

struct run {
	struct side *side;
	uint64_t *source;
	atomic_uint_fast64_t published, begun, ended;
	atomic_bool over;
	atomic_ulong discarded_old;
	unsigned long sent, stale, discarded, remaps;
};

static void wait_for(atomic_uint_fast64_t *count)
{
	uint64_t was = atomic_load(count);

	while (atomic_load(count) == was)
		sched_yield();
}

/* Until some have gone to old pages, or valid() has not been asked anything. */
static bool lacks(struct run *r)
{
	return r->side->v && atomic_load(&r->discarded_old) < 10;
}

static void *remapper(void *arg)
{
	struct run *r = arg;

	for (uint64_t g = 2; r->remaps < REMAPS || lacks(r); g++) {
		wait_for(g % 2 ? &r->begun : &r->ended);
		fresh(r->source, g);
		atomic_store(&r->published, g);
		r->remaps++;
	}
	atomic_store(&r->over, true);
	return NULL;
}

static void send_one(struct run *r, uint64_t *to, const struct keys *target)
{
	uint64_t least = atomic_load(&r->published), last, word;
	struct keys keys;
	bool good;

	side_get(r->side, r->source, &keys);
	atomic_fetch_add(&r->begun, 1);
	transfer(r->side, IBV_WR_RDMA_WRITE, r->source, keys.lkey, to, target->rkey);
	last = atomic_load(&r->published);
	good = side_put(r->side, &keys);
	atomic_fetch_add(&r->ended, 1);
	word = word_of(to);
	r->sent++;
	if (word < least || (good && word < last))
		r->stale++;
	if (!good) {
		r->discarded++;
		if (word < last)
			atomic_fetch_add(&r->discarded_old, 1);
	}
}

static void run(struct run *r, struct side *side)
{
	uint64_t *to = fresh(NULL, 0);
	struct keys target;
	pthread_t thread;

	r->side = side;
	r->source = fresh(NULL, 1);
	atomic_store(&r->published, 1);
	side_get(side, to, &target);
	need(!pthread_create(&thread, NULL, remapper, r), "pthread_create");
	while (!atomic_load(&r->over))
		send_one(r, to, &target);
	pthread_join(thread, NULL);
	need(side_put(side, &target), "the target stays");
}

void storm(struct side *kept, struct side *safe)
{
	static struct run without, with;
	char text[3][64];

	run(&without, kept);
	run(&with, safe);
	snprintf(text[0], sizeof(text[0]), "%lu remaps by another thread", with.remaps);
	snprintf(text[1], sizeof(text[1]), "%lu of %lu STALE", without.stale, without.sent);
	snprintf(text[2], sizeof(text[2]), "%lu of %lu stale", with.stale, with.sent);
	judge(without.stale && !with.stale, "%-33s %-22s %s", text[0], text[1], text[2]);
	judge(with.discarded_old > 0, "%-56s %lu, of them %lu old",
	      "  remapped on the way: valid() was false", with.discarded, with.discarded_old);
}
