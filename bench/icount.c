// SPDX-License-Identifier: MIT
/*
 * icount.c - one operation, so many times, for a tool that counts instructions:
 * instructions.sh runs it twice and divides the difference. Repeatable where times
 * are not.
 *
 *	hmmu-icount SIDE OPERATION TIMES	hmmu-icount --list
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "side.h"

#define SUBSCRIPTIONS 2000
#define HALF (PAGE / 2)

/* What measure.c reads; nothing is measured here. */
struct options options;

static const struct {
	const char *name;
	size_t loop;
	struct job job;
} operations[] = {
	{"read_begin+read_retry", offsetof(struct side, read), {.which = 500}},
	{"unwatched-start+end",
	 offsetof(struct side, bracket),
	 {.start = FAR_AWAY, .length = PAGE}},
	{"gap-start+end",
	 offsetof(struct side, bracket_random),
	 {.start = BASE + 2 * PAGE, .length = PAGE, .places = SUBSCRIPTIONS}},
	{"false-alarm-start+end",
	 offsetof(struct side, bracket),
	 {.start = BASE + 700 * STRIDE + HALF, .length = HALF}},
	{"overlap-of-1",
	 offsetof(struct side, bracket),
	 {.start = BASE + 700 * STRIDE, .length = HALF, .callbacks = 1}},
	{"overlap-of-10",
	 offsetof(struct side, bracket),
	 {.start = BASE + 700 * STRIDE, .length = 10 * STRIDE - HALF, .callbacks = 10}},
	{"insert+remove-local", offsetof(struct side, churn), {.which = 0}},
	{"insert+remove-random", offsetof(struct side, churn_random), {.which = 0}},
};
#define OPERATIONS (sizeof(operations) / sizeof(*operations))

static int list(void)
{
	for (size_t i = 0; i < OPERATIONS; i++)
		puts(operations[i].name);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--list"))
		return list();
	for (size_t i = 0; argc == 4 && i < OPERATIONS; i++) {
		const struct side *side =
			!strcmp(argv[1], side_hmmu.name) ? &side_hmmu : &side_reference;
		struct job job = operations[i].job;
		batch_fn *run;

		if (strcmp(argv[2], operations[i].name) != 0)
			continue;
		memcpy(&run, (const char *)side + operations[i].loop, sizeof(run));
		job.world = side->make(SUBSCRIPTIONS, HALF);
		run(&job, strtoull(argv[3], NULL, 10));
		/* The world ends with the process. */
		return 0;
	}
	fprintf(stderr, "usage: hmmu-icount hmmu|reference OPERATION TIMES | --list\n");
	return 2;
}
