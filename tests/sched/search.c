// SPDX-License-Identifier: MIT
/*
 * search.c - run seeds in child processes until one fails. See scheduler.h.
 *
 * A child writes every result into a page shared with its parent, and each run
 * begins with its seed there: whatever ends the child, the parent knows which
 * seed and how far. A pipe that the child holds open tells its end; `runs` that
 * stands still tells that it hangs.
 */
#include "scheduler.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static struct sched_result *shared;

/* The child counts, the parent only looks whether it still does: any value will
 * do, if it is read anew each time. */
static volatile uint64_t *runs_made(void)
{
	return &shared->runs;
}

/* setup() or check() failed, in the child. */
static void fail_outside(const char *message)
{
	shared->verdict = SCHED_FAILED;
	snprintf(shared->message, sizeof(shared->message), "%s", message);
	_exit(1);
}

/* Handing the baton on within one CPU is a context switch; to another CPU it is
 * an interrupt as well: ten times as slow. */
static void stay_on_one_cpu(void)
{
	int cpu = sched_getcpu();
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void search_in_child(const struct sched_program *program, uint64_t first, uint64_t end)
{
	sched_fail_outside = fail_outside;
	stay_on_one_cpu();
	for (uint64_t seed = first; seed < end; seed++) {
		shared->seed = seed;
		if (program->setup)
			program->setup();
		if (sched_run(shared, program, seed) != SCHED_OK)
			_exit(1);
		if (program->check)
			program->check();
		shared->total += shared->steps;
		*runs_made() += 1;
	}
	_exit(0);
}

/* true: the child has ended; false: it made no run for SCHED_HANG_SECONDS. */
static bool wait_for_end(int pipe_fd)
{
	struct pollfd pfd = {.fd = pipe_fd, .events = POLLIN};
	uint64_t before = UINT64_MAX;

	for (;;) {
		int ready = poll(&pfd, 1, SCHED_HANG_SECONDS * 1000);
		uint64_t runs = *runs_made();

		if (ready > 0)
			return true;
		if (ready < 0 && errno == EINTR)
			continue;
		if (runs == before)
			return false;
		before = runs;
	}
}

static void judge_child(pid_t child, bool ended)
{
	int status;

	if (!ended)
		kill(child, SIGKILL);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (!ended) {
		shared->verdict = SCHED_HUNG;
		snprintf(shared->message, sizeof(shared->message),
			 "no progress for %d seconds: a loop without a point?",
			 SCHED_HANG_SECONDS);
	} else if (WIFSIGNALED(status)) {
		shared->verdict = SCHED_CRASHED;
		shared->signal = WTERMSIG(status);
		snprintf(shared->message, sizeof(shared->message), "%s",
			 strsignal(shared->signal));
	} else if (WEXITSTATUS(status) && shared->verdict == SCHED_OK) {
		/* A sanitizer's exit, or the code under test called exit(). */
		shared->verdict = SCHED_CRASHED;
		snprintf(shared->message, sizeof(shared->message), "exit status %d",
			 WEXITSTATUS(status));
	}
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

static void die(const char *what)
{
	perror(what);
	abort();
}

/* One child for the seeds [first, end). */
static void search_block(const struct sched_program *program, uint64_t first, uint64_t end)
{
	pid_t child;
	int fds[2];

	if (pipe(fds))
		die("sched: pipe");
	fflush(NULL);
	child = fork();
	if (child < 0)
		die("sched: fork");
	if (!child) {
		close(fds[0]);
		search_in_child(program, first, end);
	}
	close(fds[1]);
	judge_child(child, wait_for_end(fds[0]));
	close(fds[0]);
}

enum sched_verdict sched_search(struct sched_result *res, const struct sched_program *program,
				uint64_t first, uint64_t count)
{
	uint64_t end = first + from_environment("HMMU_SCHED_COUNT", count);

	if (getenv("HMMU_SCHED_SEED")) {
		uint64_t seed = from_environment("HMMU_SCHED_SEED", 0);
		uint64_t block = seed - seed % SCHED_BLOCK;

		/* Its history too, as it was when it was found. */
		first = seed < first || block > first ? block : first;
		end = seed + 1;
	}
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	if (shared == MAP_FAILED)
		die("sched: mmap");
	while (first < end && shared->verdict == SCHED_OK) {
		uint64_t next = first - first % SCHED_BLOCK + SCHED_BLOCK;

		search_block(program, first, next < end ? next : end);
		first = next;
	}
	*res = *shared;
	munmap(shared, sizeof(*shared));
	shared = NULL;
	return res->verdict;
}
