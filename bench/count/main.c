// SPDX-License-Identifier: MIT
/*
 * main.c - hmmu-count, under a tool (see count.h):
 *
 *	hmmu-count build		what it was built with: what counts depend on
 *	hmmu-count instructions [WORD]	for callgrind; WORD: operations with it in their name
 *	hmmu-count steps [WORD]		no tool: those that valgrind cannot run
 *	hmmu-count-inside lines [WORD]	for lackey
 *
 * Standard output has one line for each operation: what hmmu-lines and budgets.py need to
 * know. "none" is one that cannot be done here, with the reason.
 */
#include <errno.h>
#include <gnu/libc-version.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <valgrind/callgrind.h>

#include "count.h"

#ifdef COUNT_INSIDE
#define COUNT_HAS_LINES true
#else
#define COUNT_HAS_LINES false
#endif
#define TIMES 400
#define WARM_UP 32
#define LINE_ROUNDS 4

static const struct operations *const groups[] = {
	&core_operations,
	&regcache_operations,
	&tag_operations,
	&hooks_operations,
};
#define GROUPS (sizeof(groups) / sizeof(*groups))

/* Lines need the static library, the others the shared one. */
static enum how { INSTRUCTIONS, STEPS, LINES, HOWS } how = HOWS;
static const char *const hows[HOWS] = {"instructions", "steps", "lines"};
static const char *word;
/* Where the next one goes; the thread's own, as it is written between two. */
static __thread volatile uint64_t *marks;

void count_check(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "hmmu-count: %s failed\n", what);
	exit(1);
}

void count_own(const void *start, size_t size)
{
	if (how == LINES)
		printf("own %lx %lx\n", (unsigned long)start, (unsigned long)start + size);
}

static void own_stack(void)
{
	pthread_attr_t attr;
	size_t size = 0;
	void *stack = NULL;

	count_check(!pthread_getattr_np(pthread_self(), &attr) &&
			    !pthread_attr_getstack(&attr, &stack, &size),
		    "pthread_getattr_np");
	pthread_attr_destroy(&attr);
	count_own(stack, size);
}

void count_once(const struct operation *op, uint64_t n, void (*edge)(const struct operation *))
{
	if (op->before)
		op->before(op->arg, n);
	if (edge)
		edge(op);
	op->run(op->arg, n);
	if (edge)
		edge(op);
	if (op->after)
		op->after(op->arg, n);
}

uint64_t count_times(const struct operation *op)
{
	return op->times ? op->times : TIMES;
}

/* What has been counted since the last one. */
static void part(const struct operation *op)
{
	CALLGRIND_DUMP_STATS_AT(op->name);
}

/* Twice as many, less as many: what stands around the loop is not counted. */
static void count_instructions(const struct operation *op)
{
	uint64_t times = count_times(op);

	printf("operation %s %s %lu\n", op->side, op->name, (unsigned long)times);
	fflush(stdout);
	count_once(op, times < WARM_UP ? times : WARM_UP, NULL);
	count_once(op, times, part);
	count_once(op, 2 * times, part);
}

static void mark(const struct operation *op)
{
	*marks++ = 1;
}

static void count_lines(const struct operation *op, uint64_t index)
{
	count_once(op, LINE_ROUNDS, NULL);
	printf("operation %s %s %lu %d\n", op->side, op->name, (unsigned long)index, op->reads);
	/* Before the store: who reads the trace looks here when it sees it. */
	fflush(stdout);
	for (int i = 0; i < LINE_ROUNDS; i++) {
		marks = (volatile uint64_t *)COUNT_MARK + 2 * index;
		count_once(op, 1, mark);
	}
}

static void count(const struct operation *op, uint64_t index)
{
	int err;

	if ((word && !strstr(op->name, word)) || op->natively != (how == STEPS) ||
	    (op->planted && !word))
		return;
	if (how == STEPS) {
		count_steps(op);
		return;
	}
	err = op->set_up ? op->set_up(op) : 0;
	if (err)
		printf("none %s %s %s\n", op->side, op->name, strerror(-err));
	else if (how == LINES)
		count_lines(op, index);
	else
		count_instructions(op);
}

static void *all(void *arg)
{
	uint64_t index = 0;

	own_stack();
	for (size_t g = 0; g < GROUPS; g++)
		for (size_t i = 0; i < groups[g]->n; i++)
			count(&groups[g]->list[i], index++);
	count_check(index <= COUNT_MAX, "room for so many operations");
	return NULL;
}

static int build(void)
{
	struct utsname name;

	uname(&name);
#ifdef __clang__
	printf("compiler clang %d.%d\n", __clang_major__, __clang_minor__);
#else
	printf("compiler gcc %d.%d\n", __GNUC__, __GNUC_MINOR__);
#endif
	printf("machine %s\n", name.machine);
	printf("libc %s\n", gnu_get_libc_version());
	printf("options %s\n", COUNT_OPTIONS);
	return 0;
}

static int usage(void)
{
	fprintf(stderr, "usage: hmmu-count build | instructions [WORD] | steps [WORD]\n"
			"       hmmu-count-inside lines [WORD]\n");
	return 2;
}

int main(int argc, char **argv)
{
	pthread_t thread;
	void *got;

	if (argc == 2 && !strcmp(argv[1], "build"))
		return build();
	for (int i = 0; argc > 1 && i < HOWS; i++)
		if (!strcmp(argv[1], hows[i]))
			how = (enum how)i;
	if (argc > 3 || how == HOWS || (how == LINES) != COUNT_HAS_LINES)
		return usage();
	word = argv[2];
	if (how == STEPS) { /* forks: no thread */
		all(NULL);
		return 0;
	}
	got = mmap((void *)COUNT_MARK, COUNT_MAX * 16, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	count_check(got == (void *)COUNT_MARK, "mmap");
	count_check(!pthread_create(&thread, NULL, all, NULL), "pthread_create");
	pthread_join(thread, NULL);
	/* What was set up ends with the process. */
	return 0;
}
