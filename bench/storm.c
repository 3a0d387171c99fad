// SPDX-License-Identifier: MIT
/*
 * storm.c - G4 in figures: what a reader and a remove() take while another thread
 * keeps invalidations of other, watched ranges open without a pause. The reference is
 * given one second of storm: what has not returned by then returns because the storm
 * is over.
 */
#include "bench.h"

#include <pthread.h>
#include <stdlib.h>

#include "side.h"

#define SAMPLES 50000
#define STORM_NS 1e9
#define STORM_ROUNDS 7

static int storms(void)
{
	return options.quick ? 3 : STORM_ROUNDS;
}

struct storm_arg {
	const struct side *side;
	struct world *world;
	struct storm *storm;
};

static void *storm_main(void *arg)
{
	const struct storm_arg *a = arg;

	pin(1);
	a->side->storm(a->world, a->storm);
	return NULL;
}

typedef void storm_fn(struct world *world, struct storm *storm);

static void rage(const struct side *side, struct world *world, struct storm *storm,
		 storm_fn *victim)
{
	struct storm_arg arg = {side, world, storm};
	pthread_t thread;

	storm->max = options.quick ? SAMPLES / 10 : SAMPLES;
	storm->raging = 0;
	storm->deadline = now_ns() + STORM_NS;
	if (pthread_create(&thread, NULL, storm_main, &arg))
		abort();
	victim(world, storm);
	storm->deadline = 0; /* enough: a plain store, read each 64 rounds */
	pthread_join(thread, NULL);
}

static void note_reference(struct line *line, storm_fn *victim, struct storm *storm)
{
	struct world *world = side_reference.make(1000, PAGE);

	rage(&side_reference, world, storm, victim);
	if (storm->in_time)
		snprintf(line->note, sizeof(line->note), "reference: %zu returned in 1 s",
			 storm->in_time);
	else
		snprintf(line->note, sizeof(line->note),
			 "reference: never returned, cut after 1 s");
	side_reference.drop(world);
}

/* @p99s[i] of each round; with @second, of the other samples. */
static void rounds(storm_fn *victim, struct storm *storm, struct stat *first,
		   struct stat *second)
{
	struct world *world = side_hmmu.make(1000, PAGE);
	double a[STORM_ROUNDS], b[STORM_ROUNDS];
	size_t n = (size_t)storms();

	for (size_t i = 0; i < n; i++) {
		rage(&side_hmmu, world, storm, victim);
		a[i] = percentile(storm->first, storm->n, 0.99);
		if (second)
			b[i] = percentile(storm->second, storm->n, 0.99);
	}
	*first = stat_of(a, n);
	if (second)
		*second = stat_of(b, n);
	side_hmmu.drop(world);
}

static void bench_reader(struct storm *storm)
{
	struct line line = line_of("storm elsewhere", "reader's p99, %d storms", storms());

	if (!wanted(line.group, line.name))
		return;
	goal(&line, GOAL_NS, 1000);
	rounds(side_hmmu.storm_read, storm, &line.hmmu, NULL);
	note_reference(&line, side_reference.storm_read, storm);
	report(&line);
}

static void bench_remove(struct storm *storm)
{
	struct line line = line_of("storm elsewhere", "remove's p99, %d storms", storms());
	struct line both = line_of("storm elsewhere", "remove + insert, p99");

	if (!wanted(line.group, line.name) && !wanted(both.group, both.name))
		return;
	goal(&line, GOAL_NS, 1000);
	rounds(side_hmmu.storm_churn, storm, &line.hmmu, &both.hmmu);
	note_reference(&line, side_reference.storm_churn, storm);
	report(&line);
	report(&both);
}

void bench_storm(void)
{
	struct storm storm = {.max = 0};

	if (cpus() < 2) {
		struct line line = line_of("storm elsewhere", "p99");

		line.not_available = true;
		snprintf(line.note, sizeof(line.note), "needs two CPUs");
		report(&line);
		return;
	}
	storm.first = calloc(SAMPLES, sizeof(double));
	storm.second = calloc(SAMPLES, sizeof(double));
	if (!storm.first || !storm.second)
		abort();
	bench_reader(&storm);
	bench_remove(&storm);
	free(storm.first);
	free(storm.second);
}
