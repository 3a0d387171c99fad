// SPDX-License-Identifier: MIT
/*
 * search.c - run seeds in child processes until one fails. See scheduler.h.
 *
 * A child writes every result into a page shared with its parent, and each run
 * begins with its seed there: whatever ends the child, the parent knows which
 * seed and how far. A pipe that the child holds open tells its end; `runs` that
 * stands still tells that it hangs.
 */
#include "inside.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct sched_result *shared;
void (*sched_progress)(const struct sched_result *now);

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

static bool warming;

/* Setup, a run, check; the child ends with the first that fails. */
static void run_once(const struct sched_program *program, uint64_t seed)
{
	shared->seed = seed;
	if (program->setup)
		program->setup();
	if (sched_run_as(shared, program, seed) != SCHED_OK)
		_exit(1);
	if (program->check)
		program->check();
	shared->total += shared->steps;
	if (!warming)
		sched_count_run(shared);
	*runs_made() += 1;
}

/* What a child does. */
struct job {
	const struct sched_program *program;
	uint64_t first, end; /* seeds; explore: 0, the most runs */
	unsigned int depth;  /* PCT; 0: by seed */
	void (*run)(const struct job *job);
};

static void run_seeds(const struct job *job)
{
	for (uint64_t seed = job->first; seed < job->end; seed++) {
		if (shared->strategy == SCHED_PCT)
			shared->depth = job->depth ? job->depth : (unsigned int)(seed % 5) + 1;
		run_once(job->program, seed);
	}
}

/* How many steps has a run? As many as the longest of some. */
static void measure(const struct job *job)
{
	for (uint64_t seed = job->first; seed < job->end; seed++) {
		run_once(job->program, seed);
		if (shared->steps > shared->k)
			shared->k = shared->steps;
	}
}

/* What the first runs of a process leave behind (mappings, free lists) is there before
 * what is to be repeated. */
static void warm_up(const struct job *job)
{
	warming = true;
	for (int i = 0; i < 2; i++) {
		sched_explore_begin(0, false, 0);
		sched_explore_start_run();
		run_once(job->program, 0);
	}
	warming = false;
}

static void check_explorer(void)
{
	if (!sched_explore_problem())
		return;
	shared->verdict = SCHED_FAILED;
	snprintf(shared->message, sizeof(shared->message), "%s", sched_explore_problem());
	_exit(1);
}

static void replay(const struct job *job)
{
	warm_up(job);
	sched_explore_begin(0, false, 0);
	sched_explore_replay(getenv("HMMU_SCHED_TRAIL"));
	sched_explore_start_run();
	sched_explore_trail(shared->trail, sizeof(shared->trail));
	run_once(job->program, 0);
}

static void explore(const struct job *job)
{
	const char *prune = getenv("HMMU_SCHED_PRUNE");
	bool more = true;

	snprintf(shared->trail, sizeof(shared->trail), "-");
	warm_up(job);
	shared->runs = shared->total = 0;
	sched_explore_begin(shared->bound, !prune || *prune != '0', job->end);
	while (more && shared->runs < job->end) {
		sched_explore_start_run();
		sched_explore_trail(shared->trail, sizeof(shared->trail));
		run_once(job->program, 0);
		check_explorer();
		more = sched_explore_next();
	}
	shared->complete = !more;
}

/* Of a processor: others may keep the child from it for long. */
static double seconds_used(pid_t child)
{
	struct timespec used = {0, 0};
	clockid_t clock;

	if (clock_getcpuclockid(child, &clock) == 0)
		clock_gettime(clock, &used);
	return (double)used.tv_sec + (double)used.tv_nsec * 1e-9;
}

/*
 * true: the child has ended; false: it made no run in SCHED_HANG_SECONDS of its own time, or
 * in so many of the world's that it waits for what never comes.
 */
static bool wait_for_end(int pipe_fd, pid_t child)
{
	struct pollfd pfd = {.fd = pipe_fd, .events = POLLIN};
	uint64_t before = UINT64_MAX;
	double used = 0;
	int seconds = 0;

	for (;;) {
		int ready = poll(&pfd, 1, 1000);
		uint64_t runs = *runs_made();

		if (ready > 0)
			return true;
		if (ready < 0 && errno == EINTR)
			continue;
		if (sched_progress)
			sched_progress(shared);
		if (runs != before) {
			before = runs;
			used = seconds_used(child);
			seconds = 0;
			continue;
		}
		if (seconds_used(child) - used >= SCHED_HANG_SECONDS ||
		    ++seconds >= 10 * SCHED_HANG_SECONDS)
			return false;
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

static void in_child(const struct job *job)
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
		sched_fail_outside = fail_outside;
		stay_on_one_cpu();
		job->run(job);
		_exit(0);
	}
	close(fds[1]);
	judge_child(child, wait_for_end(fds[0], child));
	close(fds[0]);
}

static void begin(enum sched_strategy strategy, uint64_t expected)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	if (shared == MAP_FAILED)
		die("sched: mmap");
	shared->strategy = strategy;
	sched_count_begin(expected);
}

static enum sched_verdict end(struct sched_result *res)
{
	sched_count_end(shared);
	*res = *shared;
	munmap(shared, sizeof(*shared));
	shared = NULL;
	return res->verdict;
}

static void search_seeds(struct job *job, uint64_t first, uint64_t count)
{
	uint64_t last = first + count;

	if (getenv("HMMU_SCHED_SEED")) {
		uint64_t seed = from_environment("HMMU_SCHED_SEED", 0);
		uint64_t block = seed - seed % SCHED_BLOCK;

		/* Its history too, as it was when it was found. */
		first = seed < first || block > first ? block : first;
		last = seed + 1;
	}
	job->run = run_seeds;
	while (first < last && shared->verdict == SCHED_OK) {
		uint64_t next = first - first % SCHED_BLOCK + SCHED_BLOCK;

		job->first = first;
		job->end = next < last ? next : last;
		in_child(job);
		first = next;
	}
}

static enum sched_verdict search(struct sched_result *res, const struct sched_program *program,
				 bool buffered, uint64_t first, uint64_t count)
{
	struct job job = {.program = program};

	count = from_environment("HMMU_SCHED_COUNT", count);
	begin(SCHED_MIXED, count);
	shared->buffered = buffered;
	search_seeds(&job, first, count);
	return end(res);
}

enum sched_verdict sched_search(struct sched_result *res, const struct sched_program *program,
				uint64_t first, uint64_t count)
{
	return search(res, program, false, first, count);
}

enum sched_verdict sched_search_buffered(struct sched_result *res,
					 const struct sched_program *program, uint64_t first,
					 uint64_t count)
{
	return search(res, program, true, first, count);
}

#define MEASURED 64

unsigned int sched_measure(const struct sched_program *program)
{
	struct job job = {.program = program, .first = 1, .end = 1 + MEASURED, .run = measure};
	struct sched_result res;

	begin(SCHED_MIXED, MEASURED);
	in_child(&job);
	end(&res);
	return res.k > res.steps ? res.k : res.steps;
}

enum sched_verdict sched_pct_k(struct sched_result *res, const struct sched_program *program,
			       unsigned int depth, unsigned int k, uint64_t first,
			       uint64_t count)
{
	struct job job = {.program = program};

	count = from_environment("HMMU_SCHED_COUNT", count);
	begin(SCHED_PCT, count);
	shared->k = k ? k : 1;
	job.depth = depth < SCHED_PCT_DEPTH_MAX ? depth : SCHED_PCT_DEPTH_MAX;
	search_seeds(&job, first, count);
	return end(res);
}

enum sched_verdict sched_pct(struct sched_result *res, const struct sched_program *program,
			     unsigned int depth, uint64_t first, uint64_t count)
{
	return sched_pct_k(res, program, depth, sched_measure(program), first, count);
}

double sched_pct_chance(unsigned int threads, unsigned int k, unsigned int depth)
{
	double chance = 1.0 / (threads ? threads : 1);

	while (depth-- > 1)
		chance /= k ? k : 1;
	return chance;
}

unsigned int sched_threads(const struct sched_program *program)
{
	unsigned int n = 0;

	while (n < SCHED_MAX_THREADS && program->threads[n])
		n++;
	return n;
}

enum sched_verdict sched_explore(struct sched_result *res, const struct sched_program *program,
				 unsigned int bound, uint64_t max_runs)
{
	struct job job = {.program = program, .end = max_runs, .run = explore};

	begin(SCHED_EXPLORE, max_runs);
	shared->bound = bound;
	if (getenv("HMMU_SCHED_TRAIL"))
		job.run = replay;
	in_child(&job);
	return end(res);
}
