// SPDX-License-Identifier: MIT
/*
 * side_tree.c - a mutex, a red-black tree of regions, a count of users in each. Nothing
 * tells it of changes: the loops do, by hand, at no cost of hooks. No merging, no lists.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "peers.h"

struct region {
	struct rb rb;
	unsigned long users;
	bool dead;
	uintptr_t handle;
};

struct cache {
	pthread_mutex_t lock;
	struct rb_tree tree;
};

static int create(struct cache **cache)
{
	*cache = calloc(1, sizeof(**cache));
	if (!*cache)
		return -ENOMEM;
	pthread_mutex_init(&(*cache)->lock, NULL);
	return 0;
}

static int no_op(struct region *region)
{
	region->handle = 0;
	return 0;
}

/* Through a pointer, as the others call theirs. */
static int (*volatile reg)(struct region *) = no_op;
static int (*volatile dereg)(struct region *) = no_op;

/* Lock held. */
static struct region *add(struct cache *cache, unsigned long start, unsigned long end)
{
	struct region *region = calloc(1, sizeof(*region));

	if (!region)
		return NULL;
	region->rb.start = start;
	region->rb.end = end;
	if (reg(region)) {
		free(region);
		return NULL;
	}
	rb_insert(&cache->tree, &region->rb);
	return region;
}

static int get(struct cache *cache, unsigned long addr, size_t len, struct region **found)
{
	struct region *region;

	pthread_mutex_lock(&cache->lock);
	region = (struct region *)rb_at_or_before(&cache->tree, addr);
	if (!region || region->rb.end < addr + len)
		region = add(cache, addr, addr + len);
	if (region)
		region->users++;
	pthread_mutex_unlock(&cache->lock);
	*found = region;
	return region ? 0 : -ENOMEM;
}

/* Lock held; nobody uses it. */
static void bury(struct region *region)
{
	dereg(region);
	free(region);
}

static void put(struct cache *cache, struct region *region)
{
	pthread_mutex_lock(&cache->lock);
	if (!--region->users && region->dead)
		bury(region);
	pthread_mutex_unlock(&cache->lock);
}

static void invalidate(struct cache *cache, unsigned long start, unsigned long end)
{
	struct rb *rb, *next;

	pthread_mutex_lock(&cache->lock);
	rb = rb_at_or_before(&cache->tree, end - 1);
	while (rb && rb->end > start && rb->start >= start) {
		struct region *region = (struct region *)rb;

		/* From the end: the one before it is sought anew. */
		next = rb->start ? rb_at_or_before(&cache->tree, rb->start - 1) : NULL;
		rb_erase(&cache->tree, rb);
		region->dead = true;
		if (!region->users)
			bury(region);
		rb = next;
	}
	pthread_mutex_unlock(&cache->lock);
}

#define PEER peer_tree
#define PEER_NAME "mutex + tree"
#define CACHE struct cache *
#define REF struct region *
#define OPEN(variant) 0
#define CREATE(cache, limit) create(cache)
#define GET(cache, addr, len, ref) get(cache, addr, len, ref)
#define PUT(cache, ref) put(cache, *(ref))
#define ANSWER(ref) (uintptr_t)(ref)
#define NEXT(ref) (ref)->handle
#define KEEPS_NOTHING false
#define MERGES false
#define TELL tell
#define SETTLE settle

static void tell(struct world *world, unsigned long start, size_t length);

static void settle(struct world *world)
{
}

#include "loops.h"

static void tell(struct world *world, unsigned long start, size_t length)
{
	invalidate(world->cache, start, start + length);
}
