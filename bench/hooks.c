// SPDX-License-Identifier: MIT
/*
 * hooks.c - what hooked libc calls cost: two forked children on one CPU, one plain and
 * one that watches itself through hooks, told in turns by pipe to make so many calls.
 * They are the same process but for the hooks: same addresses, same heap.
 */
#include "bench.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <hmmu/mmu_notifier.h>

#define PAGE 4096ul
/* Where the kernel puts nothing of its own accord; a hint puts it there. */
#define WATCHED (1ul << 36)
#define SUBSCRIPTIONS 1000

enum operation { UNWATCHED, UNWATCHED_TOUCHED, WATCHED_ONE, OPERATIONS };

struct order {
	enum operation operation;
	uint64_t iters;
};

struct child {
	pid_t pid;
	int orders;
	int answers;
	bool hooked;
};

struct job {
	struct child *child;
	enum operation operation;
};

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

static double carry_out(const struct order *order, bool hooked)
{
	size_t size = order->operation == UNWATCHED_TOUCHED ? 16 * PAGE : PAGE;
	void *hint = order->operation == WATCHED_ONE ? (void *)WATCHED : NULL;
	uint64_t before = callbacks, expected;
	double from = now_ns(), ns;

	for (uint64_t i = 0; i < order->iters; i++)
		map_and_unmap(order->operation, hint, size);
	ns = now_ns() - from;
	expected = hooked && order->operation == WATCHED_ONE ? order->iters : 0;
	if (callbacks - before != expected) {
		fprintf(stderr, "bench: %llu callbacks, not %llu\n",
			(unsigned long long)(callbacks - before), (unsigned long long)expected);
		_exit(1);
	}
	return ns;
}

static void child_main(int orders, int answers, bool hooked)
{
	double answer = hooked ? watch() : 0;
	struct order order;

	if (write(answers, &answer, sizeof(answer)) != sizeof(answer) || answer < 0)
		_exit(0);
	while (read(orders, &order, sizeof(order)) == sizeof(order)) {
		answer = carry_out(&order, hooked);
		if (write(answers, &answer, sizeof(answer)) != sizeof(answer))
			break;
	}
	_exit(0);
}

/* ---- in the parent ---- */

static double ask(struct child *child, enum operation operation, uint64_t iters)
{
	struct order order = {operation, iters};
	double answer;

	if (write(child->orders, &order, sizeof(order)) != sizeof(order) ||
	    read(child->answers, &answer, sizeof(answer)) != sizeof(answer)) {
		fprintf(stderr, "bench: the %s child is gone\n",
			child->hooked ? "hooked" : "plain");
		exit(1);
	}
	return answer;
}

static double time_child(struct batch *batch, uint64_t iters)
{
	const struct job *job = batch->arg;

	return ask(job->child, job->operation, iters);
}

/* 0, or the -errno with which the child could not watch itself. */
static int spawn(struct child *child, bool hooked)
{
	int orders[2], answers[2];
	double answer;

	child->hooked = hooked;
	if (pipe(orders) || pipe(answers))
		return -errno;
	fflush(NULL);
	child->pid = fork();
	if (child->pid < 0)
		return -errno;
	if (!child->pid) {
		close(orders[1]);
		close(answers[0]);
		child_main(orders[0], answers[1], hooked);
	}
	close(orders[0]);
	close(answers[1]);
	child->orders = orders[1];
	child->answers = answers[0];
	if (read(child->answers, &answer, sizeof(answer)) != sizeof(answer))
		return -EIO;
	return (int)answer;
}

static void end_child(struct child *child)
{
	close(child->orders);
	close(child->answers);
	if (child->pid > 0)
		waitpid(child->pid, NULL, 0);
}

static const struct {
	const char *name;
	enum goal goal;
	double value;
} what[OPERATIONS] = {
	[UNWATCHED] = {"mmap + munmap, unwatched, a page", GOAL_TIMES, 1.05},
	[UNWATCHED_TOUCHED] = {"... unwatched, 16 pages written", GOAL_TIMES, 1.05},
	[WATCHED_ONE] = {"... watched, one callback", GOAL_MORE, 1000},
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
	struct job jobs[2] = {{hooked, operation}, {plain, operation}};
	struct batch a = {.time = time_child, .arg = &jobs[0]};
	struct batch b = {.time = time_child, .arg = &jobs[1]};

	if (!wanted(line.group, line.name))
		return;
	measure(&line, &a, &b);
	report(&line);
}

void bench_hooks(void)
{
	struct child plain = {.orders = -1, .answers = -1}, hooked = plain;
	int err = spawn(&plain, false);

	if (err) {
		fprintf(stderr, "bench: %s\n", strerror(-err));
		return;
	}
	err = spawn(&hooked, true);
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
	end_child(&hooked);
	end_child(&plain);
}
