/* SPDX-License-Identifier: MIT */
/*
 * side_loops.h - included once per side, which has defined
 *
 *	SIDE	the struct side to define	SIDE_NAME   its name
 *	MM, SUB, RANGE, OPS			types
 *	OPEN, CLOSE, INSERT, REMOVE, READ_BEGIN, READ_RETRY, SET_SEQ,
 *	RANGE_INIT, START, END			calls
 *
 * Every loop ends with what its operations answered: nothing can be left out.
 */
#include <stdlib.h>
#include <string.h>

#include "atomic.h"
#include "bench.h"
#include "side.h"

struct entry {
	SUB sub;
} __attribute__((aligned(64)));

struct world {
	MM *mm;
	size_t n;
	unsigned long length;
	struct entry *entries; /* n, and one spare */
	uint32_t *at;	       /* entries[at[i]] lies at place i */
	double grown;	       /* resident bytes, by OPEN and INSERT */
};

/* Of this thread: what was called back. */
static __thread uint64_t callbacks;
static __thread uint64_t random_state;

static bool invalidate(SUB *sub, const RANGE *range, unsigned long cur_seq)
{
	SET_SEQ(sub, cur_seq);
	callbacks++;
	return true;
}

static const OPS ops = {.invalidate = invalidate};

static void check(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "bench: %s: %s\n", SIDE_NAME, what);
	abort();
}

/* Knuth's MMIX constants; the upper bits are the good ones. */
static inline size_t draw(size_t n)
{
	random_state = random_state * 6364136223846793005 + 1442695040888963407;
	return (size_t)(((random_state >> 32) * n) >> 32);
}

static unsigned long place(size_t i)
{
	return BASE + i * STRIDE;
}

static SUB *sub_at(struct world *world, size_t where)
{
	return &world->entries[world->at[where]].sub;
}

/* at[] is a random permutation of the places. */
static void shuffle(struct world *world)
{
	random_state = 1;
	for (size_t i = 0; i < world->n; i++) {
		size_t j = draw(i + 1);

		world->at[i] = world->at[j];
		world->at[j] = (uint32_t)i;
	}
}

static struct world *make_empty(size_t n, unsigned long length)
{
	struct world *world = calloc(1, sizeof(*world));
	int err;

	check(world, "no memory");
	world->n = n;
	world->length = length;
	world->entries = aligned_alloc(64, (n + 1) * sizeof(*world->entries));
	world->at = calloc(n, sizeof(*world->at));
	check(world->entries && world->at, "no memory");
	/* Touched here: what grows from here on is the library's. */
	memset(world->entries, 0, (n + 1) * sizeof(*world->entries));
	shuffle(world);
	world->grown = -resident_bytes();
	err = OPEN(&world->mm);
	check(!err, "open");
	return world;
}

static struct world *make_of(const struct extent *extents, size_t n)
{
	struct world *world = make_empty(n, 0);

	for (size_t i = 0; i < n; i++) {
		const struct extent *extent = &extents[world->at[i]];
		int err = INSERT(&world->entries[i].sub, world->mm, extent->start,
				 extent->end - extent->start, &ops);

		check(!err, "insert");
	}
	return world;
}

static struct world *make(size_t n, unsigned long length)
{
	struct world *world = make_empty(n, length);
	int err;

	for (size_t i = 0; i < n; i++) {
		/* An order of its own: 7919 is prime and no factor of any n used. */
		size_t where = i * 7919 % n;

		err = INSERT(sub_at(world, where), world->mm, place(where), length, &ops);
		check(!err, "insert");
	}
	world->grown += resident_bytes();
	return world;
}

static double memory(const struct world *world)
{
	return world->grown;
}

static void drop(struct world *world)
{
	for (size_t i = 0; i < world->n; i++)
		REMOVE(&world->entries[i].sub);
	check(CLOSE(world->mm) == 0, "close");
	free(world->entries);
	free(world->at);
	free(world);
}

static void loop_read(void *arg, uint64_t iters)
{
	const struct job *job = arg;
	SUB *sub = sub_at(job->world, job->which);
	uint64_t collided = 0;

	for (uint64_t i = 0; i < iters; i++) {
		unsigned long seq = READ_BEGIN(sub);

		collided += READ_RETRY(sub, seq);
	}
	check(!collided, "a read collided");
}

static void bracket(const struct job *job, uint64_t iters, bool random)
{
	uint64_t before = callbacks, failed = 0;
	unsigned long start = job->start;
	RANGE range;

	for (uint64_t i = 0; i < iters; i++) {
		if (random)
			start = job->start + draw(job->places) * STRIDE;
		RANGE_INIT(&range, job->world->mm, start, start + job->length);
		failed += START(&range) != 0;
		END(&range);
	}
	check(!failed, "a start failed");
	check(callbacks - before == iters * job->callbacks, "not the callbacks expected");
}

static void loop_bracket(void *arg, uint64_t iters)
{
	bracket(arg, iters, false);
}

static void loop_bracket_random(void *arg, uint64_t iters)
{
	bracket(arg, iters, true);
}

static uint64_t read_hot(struct world *world, size_t reads)
{
	uint64_t collided = 0;

	for (size_t i = 0; i < reads; i++) {
		SUB *sub = &world->entries[i % READ_HOT].sub;
		unsigned long seq = READ_BEGIN(sub);

		collided += READ_RETRY(sub, seq);
	}
	return collided;
}

static void loop_replay(void *arg, uint64_t iters)
{
	struct replay *replay = arg;
	uint64_t before = callbacks, failed = 0;
	size_t next = replay->next;
	RANGE range;

	for (uint64_t i = 0; i < iters; i++) {
		const struct extent *change = &replay->changes[next];

		next = next + 1 == replay->n ? 0 : next + 1;
		RANGE_INIT(&range, replay->world->mm, change->start, change->end);
		failed += START(&range) != 0;
		END(&range);
		failed += read_hot(replay->world, replay->reads);
	}
	replay->next = next;
	replay->callbacks += callbacks - before;
	check(!failed, "a start failed, or a read collided");
}

/* Near by: within 64 places of one that stays. */
static void churn(const struct job *job, uint64_t iters, bool random)
{
	struct world *world = job->world;
	SUB *spare = &world->entries[world->n].sub;
	uint64_t failed = 0;

	for (uint64_t i = 0; i < iters; i++) {
		size_t where = draw(random ? world->n : world->n < 64 ? world->n : 64);

		failed += INSERT(spare, world->mm, place(where) + PAGE, PAGE, &ops) != 0;
		REMOVE(spare);
	}
	check(!failed, "an insert failed");
}

static void loop_churn(void *arg, uint64_t iters)
{
	churn(arg, iters, false);
}

static void loop_churn_random(void *arg, uint64_t iters)
{
	churn(arg, iters, true);
}

/* ---- the storm: places 0 and 1 ---- */

static void open_range(RANGE *range, struct world *world, size_t where)
{
	RANGE_INIT(range, world->mm, place(where), place(where) + PAGE);
	check(START(range) == 0, "a start failed");
}

static void loop_storm(struct world *world, struct storm *storm)
{
	RANGE a, b;

	open_range(&a, world, 0);
	hmmu_store_release(&storm->raging, 1);
	for (storm->rounds = 0; storm->rounds % 64 || now_ns() < storm->deadline;
	     storm->rounds++) {
		open_range(&b, world, 1);
		END(&a);
		open_range(&a, world, 0);
		END(&b);
	}
	hmmu_store_release(&storm->raging, 2);
	END(&a);
}

static void wait_for_storm(struct storm *storm)
{
	while (!hmmu_load_acquire(&storm->raging))
		hmmu_cpu_relax();
}

static bool more_samples(const struct storm *storm)
{
	return storm->n < storm->max && now_ns() < storm->deadline;
}

/* A reader that was hit once, before, and whose range has been quiet since. */
static void loop_storm_read(struct world *world, struct storm *storm)
{
	size_t where = world->n / 2;
	SUB *sub = sub_at(world, where);
	RANGE range;

	wait_for_storm(storm);
	for (storm->n = storm->in_time = 0; more_samples(storm);) {
		double from, to;
		unsigned long seq;

		open_range(&range, world, where);
		END(&range);
		from = now_ns();
		seq = READ_BEGIN(sub);
		check(!READ_RETRY(sub, seq), "a read collided");
		to = now_ns();
		storm->first[storm->n++] = to - from;
		storm->in_time += to < storm->deadline;
	}
}

static void loop_storm_churn(struct world *world, struct storm *storm)
{
	SUB *spare = &world->entries[world->n].sub;
	unsigned long where = place(world->n / 2) + PAGE;

	check(INSERT(spare, world->mm, where, PAGE, &ops) == 0, "insert");
	wait_for_storm(storm);
	for (storm->n = storm->in_time = 0; more_samples(storm);) {
		double from = now_ns(), between, to;

		REMOVE(spare);
		between = now_ns();
		check(INSERT(spare, world->mm, where, PAGE, &ops) == 0, "insert");
		to = now_ns();
		storm->first[storm->n] = between - from;
		storm->second[storm->n++] = to - from;
		storm->in_time += to < storm->deadline;
	}
	REMOVE(spare);
}

const struct side SIDE = {
	.name = SIDE_NAME,
	.make = make,
	.make_of = make_of,
	.drop = drop,
	.read = loop_read,
	.bracket = loop_bracket,
	.bracket_random = loop_bracket_random,
	.churn = loop_churn,
	.churn_random = loop_churn_random,
	.replay = loop_replay,
	.storm = loop_storm,
	.storm_read = loop_storm_read,
	.storm_churn = loop_storm_churn,
	.memory = memory,
	.size = sizeof(SUB),
};
