// SPDX-License-Identifier: MIT
/*
 * core.c - the protocol itself, hmmu beside the reference: reading, start + end,
 * overlaps, insert + remove, memory.
 *
 * Subscriptions are half a page long, one in every fourth page: the page two away
 * from each is the gap that shares no cell of hmmu's summary with a neighbour, and
 * the other half of its own page is the worst case, a false alarm.
 */
#include "bench.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "atomic.h"
#include "side.h"

#define HALF (PAGE / 2)

static const struct side *const sides[2] = {&side_hmmu, &side_reference};

/* The worlds, per side, by size. */
enum { ONE, THOUSAND, MANY, SIZES };
static struct world *worlds[2][SIZES];

static size_t size_of(int which)
{
	return which == ONE ? 1 : which == THOUSAND ? 1000 : options.many;
}

static const char *size_name(int which)
{
	static char many[32];
	size_t n = options.many;

	if (which == ONE)
		return "1";
	if (which == THOUSAND)
		return "1e3";
	snprintf(many, sizeof(many), n == 1000000 ? "1e6" : "%zu", n);
	return many;
}

static void make_worlds(void)
{
	for (int size = 0; size < SIZES; size++)
		for (int side = 0; side < 2; side++)
			worlds[side][size] = sides[side]->make(size_of(size), HALF);
}

static void drop_worlds(void)
{
	for (int size = 0; size < SIZES; size++)
		for (int side = 0; side < 2; side++)
			sides[side]->drop(worlds[side][size]);
}

/* ---- one thread ---- */

static void compare(struct line *line, size_t loop, struct job job, int size)
{
	struct batch batches[2] = {{.run = NULL}};
	struct job jobs[2] = {job, job};

	if (!wanted(line->group, line->name))
		return;
	for (int side = 0; side < 2; side++) {
		/* Both sides have the same members: pick the loop by its offset. */
		memcpy(&batches[side].run, (const char *)sides[side] + loop,
		       sizeof(batches[side].run));
		jobs[side].world = worlds[side][size];
		batches[side].arg = &jobs[side];
	}
	measure(line, &batches[0], &batches[1]);
	report(line);
}
#define LOOP(member) offsetof(struct side, member)

static void bench_read(void)
{
	struct line line = line_of("reading", "read_begin + read_retry, 1 thread");

	goal(&line, GOAL_NS, 2);
	compare(&line, LOOP(read), (struct job){.which = 500}, THOUSAND);
}

static void bench_unwatched(void)
{
	struct line line;

	for (int size = 0; size < SIZES; size++) {
		line = line_of("start + end", "nobody watches, among %s", size_name(size));
		if (size == MANY)
			goal(&line, GOAL_NS, 25);
		compare(&line, LOOP(bracket), (struct job){.start = FAR_AWAY, .length = PAGE},
			size);
	}
	line = line_of("start + end", "in a random gap among %s", size_name(MANY));
	goal(&line, GOAL_NS, 25);
	compare(&line, LOOP(bracket_random),
		(struct job){.start = BASE + 2 * PAGE, .length = PAGE, .places = options.many},
		MANY);
	line = line_of("start + end", "false alarm (a neighbour shares the cell), hot");
	compare(&line, LOOP(bracket),
		(struct job){.start = BASE + 700 * STRIDE + HALF, .length = HALF}, MANY);
	line = line_of("start + end", "false alarm, random");
	compare(&line, LOOP(bracket_random),
		(struct job){.start = BASE + HALF, .length = HALF, .places = options.many},
		MANY);
}

static void bench_overlap(void)
{
	static const size_t counts[] = {1, 10, 1000};

	for (size_t i = 0; i < 3; i++) {
		size_t k = counts[i];
		struct job job = {.length = k * STRIDE - HALF, .callbacks = k};
		struct line line;

		for (int size = 0; size < SIZES; size++) {
			size_t n = size_of(size);

			if (n < k)
				continue;
			job.start = BASE + (n - k) / 2 * STRIDE;
			line = line_of("overlap", "of %zu, hot, among %s", k, size_name(size));
			goal(&line, GOAL_NS, 200 + 25 * (double)k);
			compare(&line, LOOP(bracket), job, size);
		}
		job.start = BASE;
		job.places = options.many - k;
		line = line_of("overlap", "of %zu, random, among %s", k, size_name(MANY));
		compare(&line, LOOP(bracket_random), job, MANY);
	}
}

static void bench_churn(void)
{
	struct line line;

	line = line_of("insert + remove", "local, at %s", size_name(MANY));
	goal(&line, GOAL_NS, 300);
	compare(&line, LOOP(churn), (struct job){.which = 0}, MANY);
	line = line_of("insert + remove", "random, at %s", size_name(MANY));
	goal(&line, GOAL_NS, 1000);
	compare(&line, LOOP(churn_random), (struct job){.which = 0}, MANY);
}

static void bench_memory(void)
{
	struct line line = line_of("memory", "bytes per subscription, beside its structure");
	double hmmu = side_hmmu.memory(worlds[0][MANY]) / (double)options.many;
	double ref = side_reference.memory(worlds[1][MANY]) / (double)options.many;

	if (!wanted(line.group, line.name))
		return;
	line.unit = "bytes";
	line.hmmu = (struct stat){hmmu, hmmu, hmmu};
	snprintf(line.note, sizeof(line.note), "structure: %zu; reference: %.0f + %zu",
		 side_hmmu.size, ref > 0 ? ref : 0, side_reference.size);
	report(&line);
}

/* ---- two threads ---- */

struct two {
	batch_fn *run;
	struct job jobs[2];
	uint64_t iters;
	uint32_t ready;
	double ns[2];
};

struct two_thread {
	struct two *two;
	int index;
};

static void *two_main(void *arg)
{
	const struct two_thread *me = arg;
	struct two *two = me->two;
	double from;

	pin(me->index);
	hmmu_add_seqcst(&two->ready, 1);
	while (hmmu_load_acquire(&two->ready) != 2)
		hmmu_cpu_relax();
	from = now_ns();
	two->run(&two->jobs[me->index], two->iters);
	two->ns[me->index] = now_ns() - from;
	return NULL;
}

/* Each does iters operations; the mean of their times. */
static double two_time(struct batch *batch, uint64_t iters)
{
	struct two *two = batch->arg;
	struct two_thread me[2] = {{two, 0}, {two, 1}};
	pthread_t threads[2];

	two->iters = iters;
	two->ready = 0;
	for (int i = 0; i < 2; i++)
		if (pthread_create(&threads[i], NULL, two_main, &me[i]))
			abort();
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	return (two->ns[0] + two->ns[1]) / 2;
}

static void compare_two(struct line *line, size_t loop, struct job first, struct job second,
			int size)
{
	struct batch batches[2] = {{.time = two_time}, {.time = two_time}};
	struct two two[2] = {{.jobs = {first, second}}, {.jobs = {first, second}}};

	if (!wanted(line->group, line->name))
		return;
	if (cpus() < 2) {
		line->not_available = true;
		snprintf(line->note, sizeof(line->note), "needs two CPUs");
		report(line);
		return;
	}
	for (int side = 0; side < 2; side++) {
		memcpy(&two[side].run, (const char *)sides[side] + loop, sizeof(two[side].run));
		two[side].jobs[0].world = two[side].jobs[1].world = worlds[side][size];
		batches[side].arg = &two[side];
	}
	measure(line, &batches[0], &batches[1]);
	report(line);
}

static void bench_read_two(void)
{
	struct line line;

	line = line_of("reading", "2 threads, same subscription");
	goal(&line, GOAL_FASTER, 10);
	compare_two(&line, LOOP(read), (struct job){.which = 500}, (struct job){.which = 500},
		    THOUSAND);
	line = line_of("reading", "2 threads, different subscriptions");
	goal(&line, GOAL_FASTER, 10);
	compare_two(&line, LOOP(read), (struct job){.which = 300}, (struct job){.which = 700},
		    THOUSAND);
}

static void bench_unwatched_two(void)
{
	struct job far = {.start = FAR_AWAY, .length = PAGE}, farther = far;
	struct line line = line_of("start + end", "nobody watches, 2 threads, among 1e3");

	farther.start += 1ul << 30;
	compare_two(&line, LOOP(bracket), far, farther, THOUSAND);
}

void bench_core(void)
{
	make_worlds();
	bench_read();
	bench_read_two();
	bench_unwatched();
	bench_unwatched_two();
	bench_overlap();
	bench_churn();
	bench_memory();
	drop_worlds();
}
