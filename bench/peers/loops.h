/* SPDX-License-Identifier: MIT */
/*
 * loops.h - included once per side, which has defined
 *
 *	PEER, PEER_NAME			the struct peer to define
 *	CACHE, REF			types
 *	OPEN(variant)			0 or -errno
 *	CREATE(&cache, limit)		the same; limit: 0, or how many regions, if MERGES
 *	GET(cache, addr, len, &ref)	0 or not
 *	PUT(cache, &ref)
 *	ANSWER(ref), NEXT(ref)		the region's address; what its handle says, a number
 *	KEEPS_NOTHING, MERGES, TELL, SETTLE	see struct peer
 *
 * and may have SETUP(arg). Nothing indirect stands in a loop. Every loop ends with what its
 * operations answered, so nothing can be left out.
 */
#include <stdlib.h>
#include <sys/mman.h>

#include "peers.h"

struct world {
	CACHE cache;
};

static void check(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "hmmu-peers: %s: %s\n", PEER_NAME, what);
	abort();
}

static int open_side(enum variant variant)
{
	return OPEN(variant);
}

static struct world *make(unsigned long limit)
{
	struct world *world = calloc(1, sizeof(*world));

	check(world, "no memory");
	check(CREATE(&world->cache, limit) == 0, "create");
	return world;
}

/* Knuth's MMIX constants; the upper bits are the good ones. */
static inline uint64_t step(uint64_t state)
{
	return state * 6364136223846793005 + 1442695040888963407;
}

static inline unsigned long place(const struct span *span, uint64_t state)
{
	return span->base + (((state >> 32) * span->n) >> 32) * STRIDE;
}

static void loop_hot(struct world *world, struct span *span, uint64_t iters)
{
	unsigned long hot[HOT];
	uint64_t failed = 0;

	for (size_t i = 0; i < HOT; i++)
		hot[i] = span->base + i * span->n / HOT * STRIDE;
	for (uint64_t i = 0; i < iters; i++) {
		REF ref;

		failed += GET(world->cache, hot[i % HOT], PAGE, &ref) != 0;
		PUT(world->cache, &ref);
	}
	check(!failed, "a get failed");
}

static void loop_random(struct world *world, struct span *span, uint64_t iters)
{
	uint64_t failed = 0, state = span->random;

	for (uint64_t i = 0; i < iters; i++) {
		REF ref;

		state = step(state);
		failed += GET(world->cache, place(span, state), PAGE, &ref) != 0;
		PUT(world->cache, &ref);
	}
	span->random = state;
	check(!failed, "a get failed");
}

static void loop_dependent(struct world *world, struct span *span, uint64_t iters)
{
	uint64_t failed = 0, state = span->random;

	for (uint64_t i = 0; i < iters; i++) {
		REF ref;

		failed += GET(world->cache, place(span, state), PAGE, &ref) != 0;
		/* The top bit of an address is 0, which the compiler cannot know. */
		state = step(state + ((uint64_t)ANSWER(ref) >> 63));
		PUT(world->cache, &ref);
	}
	span->random = state;
	check(!failed, "a get failed");
}

static void loop_handle(struct world *world, struct span *span, uint64_t iters)
{
	uint64_t failed = 0, state = span->random, sum = 0;

	for (uint64_t i = 0; i < iters; i++) {
		REF ref;

		state = step(state);
		failed += GET(world->cache, place(span, state), PAGE, &ref) != 0;
		sum += NEXT(ref);
		PUT(world->cache, &ref);
	}
	span->random = state;
	check(!failed && sum < iters + 1, "a get failed");
}

static inline void each(struct world *world, unsigned long start, size_t n,
			unsigned long stride, size_t length)
{
	uint64_t failed = 0;

	for (size_t i = 0; i < n; i++) {
		REF ref;

		failed += GET(world->cache, start + i * stride, length, &ref) != 0;
		PUT(world->cache, &ref);
	}
	check(!failed, "a get failed");
}

static void walk(struct world *world, unsigned long start, size_t n)
{
	each(world, start, n, STRIDE, PAGE);
}

static void bridge(struct world *world, unsigned long start, size_t n)
{
	each(world, start, n, 2 * STRIDE, STRIDE + PAGE);
}

static void unmap(struct world *world, unsigned long start, size_t n)
{
	uint64_t failed = 0;

	for (size_t i = 0; i < n; i++) {
		TELL(world, start + i * STRIDE, PAGE);
		failed += munmap((void *)(start + i * STRIDE), PAGE) != 0;
	}
	check(!failed, "a munmap failed");
}

const struct peer PEER = {
	.name = PEER_NAME,
	.keeps_nothing = KEEPS_NOTHING,
	.open = open_side,
	.make = make,
	.hit = {loop_hot, loop_random, loop_dependent, loop_handle},
	.merges = MERGES,
	.walk = walk,
	.bridge = bridge,
	.unmap = unmap,
	.tell = TELL,
	.settle = SETTLE,
};
