// SPDX-License-Identifier: MIT
/* measure.c - clock, CPUs, rounds. See bench.h. */
#include "bench.h"

#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

double getppid_ns;

double now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* The CPUs that the process may use, as it was started. */
static const cpu_set_t *allowed(void)
{
	static cpu_set_t set;
	static bool known;

	if (!known && sched_getaffinity(0, sizeof(set), &set))
		CPU_ZERO(&set);
	known = true;
	return &set;
}

int cpus(void)
{
	return CPU_COUNT(allowed());
}

bool pin(int n)
{
	cpu_set_t one;

	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, allowed()) || n-- > 0)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		return sched_setaffinity(0, sizeof(one), &one) == 0;
	}
	return false;
}

double resident_bytes(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	unsigned long size, resident = 0;

	if (!file)
		return NAN;
	if (fscanf(file, "%lu %lu", &size, &resident) != 2)
		resident = 0;
	fclose(file);
	return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double percentile(double *values, size_t n, double p)
{
	qsort(values, n, sizeof(*values), compare);
	return n ? values[(size_t)(p * (double)(n - 1) + 0.5)] : NAN;
}

struct stat stat_of(double *values, size_t n)
{
	return (struct stat){
		.median = percentile(values, n, 0.5),
		.p10 = percentile(values, n, 0.1),
		.p90 = percentile(values, n, 0.9),
	};
}

static double time_batch(struct batch *batch, uint64_t iters)
{
	double from;

	if (batch->time)
		return batch->time(batch, iters);
	from = now_ns();
	batch->run(batch->arg, iters);
	return now_ns() - from;
}

/* As many operations as last BATCH_NS. */
static void calibrate(struct batch *batch)
{
	uint64_t iters = 1;
	double ns;

	while ((ns = time_batch(batch, iters)) < BATCH_NS / 4 && iters < 1ull << 40)
		iters *= 2;
	iters = (uint64_t)((double)iters * BATCH_NS / ns);
	batch->iters = iters ? iters : 1;
}

static double one_batch(struct batch *batch)
{
	return time_batch(batch, batch->iters) / (double)batch->iters;
}

void measure(struct line *line, struct batch *hmmu, struct batch *base)
{
	static double a[MAX_ROUNDS], b[MAX_ROUNDS], ratio[MAX_ROUNDS], more[MAX_ROUNDS];
	bool slower = line->goal == GOAL_TIMES || line->goal == GOAL_MORE;
	size_t n = (size_t)options.rounds;

	calibrate(hmmu);
	if (base)
		calibrate(base);
	for (size_t i = 0; i < n; i++) {
		if (i % 2)
			a[i] = one_batch(hmmu);
		if (base)
			b[i] = one_batch(base);
		if (i % 2 == 0)
			a[i] = one_batch(hmmu);
		ratio[i] = slower ? a[i] / b[i] : b[i] / a[i];
		more[i] = a[i] - b[i];
	}
	line->hmmu = stat_of(a, n);
	line->has_base = base != NULL;
	if (!base)
		return;
	line->base = stat_of(b, n);
	line->ratio = stat_of(ratio, n);
	line->more = stat_of(more, n);
}

void measure_in(int rounds, struct line *line, struct batch *hmmu, struct batch *base)
{
	int all = options.rounds;

	if (rounds < all)
		options.rounds = rounds;
	measure(line, hmmu, base);
	options.rounds = all;
}

void measure_sides(struct batch *const sides[], size_t n, struct stat *time, struct stat *ratio)
{
	static double ns[MAX_SIDES][MAX_ROUNDS], times[MAX_SIDES][MAX_ROUNDS];
	size_t rounds = (size_t)options.rounds;

	for (size_t i = 0; i < n; i++)
		calibrate(sides[i]);
	for (size_t round = 0; round < rounds; round++) {
		for (size_t i = 0; i < n; i++) {
			size_t side = (round + (round % 2 ? n - i : i)) % n;

			ns[side][round] = one_batch(sides[side]);
		}
		for (size_t i = 0; i < n; i++)
			times[i][round] = ns[i][round] / ns[0][round];
	}
	for (size_t i = 0; i < n; i++) {
		time[i] = stat_of(ns[i], rounds);
		ratio[i] = stat_of(times[i], rounds);
	}
}
