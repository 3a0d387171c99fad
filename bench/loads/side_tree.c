// SPDX-License-Identifier: MIT
/*
 * side_tree.c - what one writes without a library: a mutex and a red-black tree of the ranges;
 * who changes memory takes the mutex and calls everybody in the range. No reader is held up
 * until the change is over, so it promises less than the two others: there is no end.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "../peers/rbtree.h"
#include "../side.h"

struct entry {
	struct rb node; /* first */
	void (*invalidate)(struct entry *entry);
	uint64_t seq;
} __attribute__((aligned(64)));

struct world {
	pthread_mutex_t lock;
	struct rb_tree tree;
	struct entry *entries;
};

static __thread uint64_t callbacks;

static void invalidate(struct entry *entry)
{
	entry->seq++;
	callbacks++;
}

static struct world *make_of(const struct extent *extents, size_t n)
{
	struct world *world = calloc(1, sizeof(*world));

	if (world)
		world->entries = aligned_alloc(64, n * sizeof(*world->entries));
	if (!world || !world->entries) {
		fprintf(stderr, "bench: no memory\n");
		abort();
	}
	pthread_mutex_init(&world->lock, NULL);
	for (size_t i = 0; i < n; i++) {
		/* 7919 is prime and no factor of any n used. */
		const struct extent *extent = &extents[i * 7919 % n];
		struct entry *entry = &world->entries[i];

		*entry = (struct entry){.invalidate = invalidate};
		entry->node.start = extent->start;
		entry->node.end = extent->end;
		rb_insert(&world->tree, &entry->node);
	}
	return world;
}

static void drop(struct world *world)
{
	pthread_mutex_destroy(&world->lock);
	free(world->entries);
	free(world);
}

static void tell(struct world *world, const struct extent *change)
{
	struct rb *node;

	pthread_mutex_lock(&world->lock);
	/* They are disjoint: only one that starts before it can reach into it. */
	node = rb_at_or_before(&world->tree, change->start);
	if (!node)
		node = rb_at_or_before(&world->tree, change->end - 1);
	else if (node->end <= change->start)
		node = rb_next(node);
	for (; node && node->start < change->end; node = rb_next(node))
		((struct entry *)node)->invalidate((struct entry *)node);
	pthread_mutex_unlock(&world->lock);
}

/* Begin and retry: both under the mutex, which guards the counts. */
static uint64_t seq_of(struct world *world, const struct entry *entry)
{
	uint64_t seq;

	pthread_mutex_lock(&world->lock);
	seq = entry->seq;
	pthread_mutex_unlock(&world->lock);
	return seq;
}

static uint64_t read_hot(struct world *world, size_t reads)
{
	uint64_t collided = 0;

	for (size_t i = 0; i < reads; i++) {
		const struct entry *entry = &world->entries[i % READ_HOT];
		uint64_t seq = seq_of(world, entry);

		collided += seq_of(world, entry) != seq;
	}
	return collided;
}

static void loop_replay(void *arg, uint64_t iters)
{
	struct replay *replay = arg;
	uint64_t before = callbacks, collided = 0;
	size_t next = replay->next;

	for (uint64_t i = 0; i < iters; i++) {
		const struct extent *change = &replay->changes[next];

		next = next + 1 == replay->n ? 0 : next + 1;
		tell(replay->world, change);
		collided += read_hot(replay->world, replay->reads);
	}
	replay->next = next;
	replay->callbacks += callbacks - before;
	if (collided)
		abort();
}

const struct side side_tree = {
	.name = "mutex + tree",
	.make_of = make_of,
	.drop = drop,
	.replay = loop_replay,
	.size = sizeof(struct entry),
};
