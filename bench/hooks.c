// SPDX-License-Identifier: MIT
/*
 * hooks.c - what hooked libc calls cost: two forked children on one CPU, one plain and
 * one that watches itself through hooks, told in turns by pipe to make so many calls.
 * They are the same process but for the hooks: same addresses, same heap.
 */
#include "child.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <hmmu/mmu_notifier.h>

#define PAGE 4096ul
/* Where the kernel puts nothing of its own accord; a hint puts it there. */
#define WATCHED (1ul << 36)
#define SUBSCRIPTIONS 1000

enum operation {
	UNWATCHED,
	UNWATCHED_TOUCHED,
	WATCHED_ONE,
	/* Not the mean: what one munmap in so many takes at least. */
	LATENCY_P50,
	LATENCY_P99,
	LATENCY_P999,
	OPERATIONS
};
#define SAMPLES_EACH 20 /* of a latency, for each operation of the batch */

/* ---- in the child ---- */

static uint64_t callbacks;

static bool invalidate(struct mmu_interval_notifier *sub,
		       const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	mmu_interval_set_seq(sub, cur_seq);
	callbacks++;
	return true;
}

static const struct mmu_interval_notifier_ops ops = {.invalidate = invalidate};

static struct mmu_interval_notifier subs[SUBSCRIPTIONS + 1];

/* 0 or -errno. */
static int watch(void)
{
	struct hmmu_mm_options wish = {.size = sizeof(wish), .sources = HMMU_SOURCE_HOOKS};
	struct mm_struct *mm;
	int err = hmmu_mm_open(&mm, &wish);

	for (unsigned long i = 0; i < SUBSCRIPTIONS && !err; i++)
		err = mmu_interval_notifier_insert(&subs[i], mm, WATCHED * 2 + i * 4 * PAGE,
						   PAGE, &ops);
	if (!err)
		err = mmu_interval_notifier_insert(&subs[SUBSCRIPTIONS], mm, WATCHED, PAGE,
						   &ops);
	return err;
}

static void die(const char *what)
{
	perror(what);
	_exit(1);
}

static void map_and_unmap(enum operation operation, void *hint, size_t size)
{
	char *p = mmap(hint, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || (hint && p != hint))
		die("bench: mmap");
	if (operation == UNWATCHED_TOUCHED)
		for (size_t i = 0; i < size; i += PAGE)
			p[i] = 1;
	if (munmap(p, size))
		die("bench: munmap");
}

/* A percentile of munmap, watched, times the operations: the mean of the batch is it. */
static double latency(const struct order *order)
{
	static const double p[OPERATIONS] = {
		[LATENCY_P50] = 0.5, [LATENCY_P99] = 0.99, [LATENCY_P999] = 0.999};
	size_t n = order->iters * SAMPLES_EACH;
	double *ns = malloc(n * sizeof(*ns)), result;

	if (!ns)
		die("bench: malloc");
	for (size_t i = 0; i < n; i++) {
		char *page = mmap((void *)WATCHED, PAGE, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (page != (char *)WATCHED)
			die("bench: mmap");
		ns[i] = now_ns();
		if (munmap(page, PAGE))
			die("bench: munmap");
		ns[i] = now_ns() - ns[i];
	}
	result = percentile(ns, n, p[order->operation]) * (double)order->iters;
	free(ns);
	return result;
}

static double carry_out(const struct order *order, bool hooked)
{
	size_t size = order->operation == UNWATCHED_TOUCHED ? 16 * PAGE : PAGE;
	void *hint = order->operation == WATCHED_ONE ? (void *)WATCHED : NULL;
	uint64_t before = callbacks, expected;
	double from = now_ns(), ns;

	for (uint64_t i = 0; i < order->iters; i++)
		map_and_unmap((enum operation)order->operation, hint, size);
	ns = now_ns() - from;
	expected = hooked && order->operation == WATCHED_ONE ? order->iters : 0;
	if (callbacks - before != expected) {
		fprintf(stderr, "bench: %llu callbacks, not %llu\n",
			(unsigned long long)(callbacks - before), (unsigned long long)expected);
		_exit(1);
	}
	return ns;
}

static int set_up(const void *arg)
{
	return *(const bool *)arg ? watch() : 0;
}

static double obey(const void *arg, const struct order *order)
{
	if (order->operation >= LATENCY_P50)
		return latency(order);
	return carry_out(order, *(const bool *)arg);
}

/* ---- in the parent ---- */

static const struct {
	const char *name;
	enum goal goal;
	double value;
} what[OPERATIONS] = {
	[UNWATCHED] = {"mmap + munmap, unwatched, a page", GOAL_TIMES, 1.05},
	[UNWATCHED_TOUCHED] = {"... unwatched, 16 pages written", GOAL_TIMES, 1.05},
	[WATCHED_ONE] = {"... watched, one callback", GOAL_MORE, 1000},
	[LATENCY_P50] = {"munmap as its thread sees it, watched: p50", GOAL_NONE, 0},
	[LATENCY_P99] = {"... p99", GOAL_NONE, 0},
	[LATENCY_P999] = {"... p99.9", GOAL_NONE, 0},
};

static struct line hook_line(enum operation operation)
{
	struct line line = line_of("hooked (against unhooked)", "%s", what[operation].name);

	goal(&line, what[operation].goal, what[operation].value);
	line.base_name = "unhooked";
	return line;
}

static void compare(struct child *plain, struct child *hooked, enum operation operation)
{
	struct line line = hook_line(operation);
	struct job jobs[2] = {{hooked, (int)operation}, {plain, (int)operation}};
	struct batch a = {.time = child_time, .arg = &jobs[0]};
	struct batch b = {.time = child_time, .arg = &jobs[1]};

	if (!wanted(line.group, line.name))
		return;
	if (operation >= LATENCY_P50)
		measure_in(FEW_ROUNDS, &line, &a, &b);
	else
		measure(&line, &a, &b);
	report(&line);
}

void bench_hooks(void)
{
	static const bool no = false, yes = true;
	struct child plain, hooked;
	int err = child_spawn(&plain, "plain", set_up, obey, &no);

	if (err) {
		fprintf(stderr, "bench: %s\n", strerror(-err));
		return;
	}
	err = child_spawn(&hooked, "hooked", set_up, obey, &yes);
	for (int i = 0; i < OPERATIONS; i++) {
		struct line line = hook_line((enum operation)i);

		if (!err) {
			compare(&plain, &hooked, (enum operation)i);
			continue;
		}
		if (!wanted(line.group, line.name))
			continue;
		line.not_available = true;
		snprintf(line.note, sizeof(line.note), "hooks: %s", strerror(-err));
		report(&line);
	}
	child_end(&hooked);
	child_end(&plain);
}
