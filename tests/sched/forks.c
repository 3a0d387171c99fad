// SPDX-License-Identifier: MIT
/*
 * forks.c - fork at every point. In a run of each scenario the process is forked for real
 * wherever a thread stands at a point: the child has that one thread, and the memory as the
 * others left it in the middle of what they do. There
 *
 *   - every check fails, every retry is true, nobody waits (-ENODEV)
 *   - what is done with the parent's mm does nothing, and does not hang
 *   - an mm of the child's own works: insert, read, invalidate, remove, close
 *
 * The thread is looked at as one that was idle when it forked (its thread-local state is
 * zero), and, for the checks, as a signal handler that interrupted it. The parent goes on and
 * is asserted as always.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arch/syscall.h"
#include "instance.h"
#include "scenarios.h"

#define SEEDS_FORKED 2
#define CHILD_SECONDS 20

static uint64_t *forked; /* shared with the searching child */
static struct driver own;

static bool hear(struct mmu_interval_notifier *sub, const struct mmu_notifier_range *range,
		 unsigned long cur_seq)
{
	mmu_interval_set_seq(sub, cur_seq);
	own.called++;
	return true;
}

static const struct mmu_interval_notifier_ops ops = {.invalidate = hear};

/* Any context. */
static void expect_invalid(struct mmu_interval_notifier *sub)
{
	const struct timespec zero = {0, 0};
	unsigned long seq = 0;

	for (unsigned long guess = 0; guess < 8; guess++)
		sched_assert(!hmmu_access_ok(sub, EPOCH_BASE + guess));
	sched_assert(hmmu_read_begin(sub, &seq, &zero) == -ENODEV);
	sched_assert(mmu_interval_read_retry(sub, seq));
	sched_assert(mmu_interval_check_retry(sub, seq));
}

/* Not being removed. */
static bool alive(const struct driver *d)
{
	return d->inserted && ((const struct hmmu_sub *)&d->sub)->cookie == HMMU_SUB_LIVE;
}

static void expect_nothing(struct mm_struct *parents)
{
	struct mmu_interval_notifier fresh;
	struct mmu_notifier_range range;
	struct mmu_notifier whole = {.ops = NULL};
	struct hmmu_work work;
	unsigned long seq;

	for (unsigned int i = 0; i < WORLD_SUBS; i++) {
		if (!alive(&driver[i]))
			continue;
		sched_assert(hmmu_read_begin(&driver[i].sub, &seq, NULL) == -ENODEV);
		mmu_interval_notifier_remove(&driver[i].sub);
	}
	sched_assert(mmu_interval_notifier_insert(&fresh, parents, WORLD_BASE, PAGE, &ops) ==
		     -ENODEV);
	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, parents, 0, ~0ul);
	sched_assert(mmu_notifier_invalidate_range_start(&range) == 0);
	mmu_notifier_invalidate_range_end(&range);
	mmu_notifier_unregister(&whole, parents);
	hmmu_defer(parents, &work, NULL);
	sched_assert(hmmu_reclaim(parents) == 0);
	mmu_notifier_synchronize();
	sched_assert(hmmu_mm_close(parents) == 0);
}

static void use_own(void)
{
	struct hmmu_mm_options o = {.size = sizeof(o), .flags = HMMU_MM_OWN_RECLAIM};
	struct mmu_notifier_range range;
	struct mm_struct *m;
	unsigned long seq;

	memset(&own, 0, sizeof(own));
	sched_assert(hmmu_mm_open(&m, &o) == 0);
	sched_assert(mmu_interval_notifier_insert(&own.sub, m, WORLD_BASE, PAGE, &ops) == 0);
	seq = mmu_interval_read_begin(&own.sub);
	sched_assert(!mmu_interval_read_retry(&own.sub, seq));
	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, m, WORLD_BASE, WORLD_BASE + 1);
	sched_assert(mmu_notifier_invalidate_range_start(&range) == 0);
	sched_assert(own.called == 1 && mmu_interval_read_retry(&own.sub, seq));
	mmu_notifier_invalidate_range_end(&range);
	sched_assert(hmmu_access_ok(&own.sub, mmu_interval_read_begin(&own.sub)));
	mmu_interval_notifier_remove(&own.sub);
	sched_assert(hmmu_mm_close(m) == 0);
}

void forked_child(void)
{
	hmmu_tls.frame = NULL;
	for (unsigned int i = 0; i < WORLD_SUBS; i++)
		if (alive(&driver[i]))
			expect_invalid(&driver[i].sub);
	memset(&hmmu_tls, 0, sizeof(hmmu_tls));
	use_own();
	expect_nothing(mm);
	for (unsigned int i = 0; i < WORLD_SUBS; i++)
		if (alive(&driver[i]))
			expect_invalid(&driver[i].sub);
	use_own();
}

static void fork_here(unsigned int step)
{
	int status;
	pid_t child = fork();

	sched_assert(child >= 0);
	if (!child) {
		signal(SIGALRM, SIG_DFL);
		alarm(CHILD_SECONDS);
		forked_child();
		_exit(0);
	}
	while (waitpid(child, &status, 0) < 0)
		sched_assert(errno == EINTR);
	/* An assertion of the child has left its own words. */
	if (WIFEXITED(status) && WEXITSTATUS(status))
		_exit(1);
	if (WIFSIGNALED(status))
		sched_fail("forked at step %u: the child %s", step,
			   WTERMSIG(status) == SIGALRM ? "hangs" : "crashed");
	++*forked;
}

static int run_one(const struct scenario *s, const struct options *o, uint64_t count)
{
	struct sched_program program = *s->program;
	struct sched_result res;

	*forked = 0;
	program.at_point = fork_here;
	sched_search(&res, &program, 1, count);
	if (res.verdict != SCHED_OK && !o->json)
		sched_print(stdout, &res, &program);
	if (o->json)
		printf("%s{\"scenario\": \"%s\", \"runs\": %llu, \"forks\": %llu, \"ok\": %s}",
		       s == scenario_at(0) || o->only ? "" : ",\n", s->key,
		       (unsigned long long)res.runs, (unsigned long long)*forked,
		       res.verdict == SCHED_OK ? "true" : "false");
	else
		printf("%-7s %-18s %6llu schedules, forked at %llu points\n",
		       res.verdict == SCHED_OK ? "ok" : "FAILED", s->key,
		       (unsigned long long)res.runs, (unsigned long long)*forked);
	fflush(stdout);
	return res.verdict != SCHED_OK;
}

/* A planted bug: the child inherits what its parent had. */
static long nothing_is_wiped(long nr, const long a[6])
{
	if (nr == SYS_madvise && a[2] == MADV_WIPEONFORK)
		return 0;
	return hmmu_syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static int run_planted_fork(void)
{
	struct sched_program program = *scenario_find("reader")->program;
	struct sched_result res;

	program.at_point = fork_here;
	hmmu_syscall_hook = nothing_is_wiped;
	sched_search(&res, &program, 1, SEEDS_FORKED);
	hmmu_syscall_hook = NULL;
	printf("%s: a child inherits the mm: by %s, %s\n",
	       res.verdict == SCHED_FAILED ? "killed" : "SURVIVED",
	       sched_verdict_name(res.verdict), res.message);
	return res.verdict != SCHED_FAILED;
}

int run_forks(const struct options *o)
{
	const struct scenario *s;
	int failed = 0;

	forked = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (forked == MAP_FAILED)
		return 1;
	if (!o->json && !o->only)
		failed += run_planted_fork();
	printf("%s", o->json ? "{\"command\": \"forks\", \"scenarios\": [\n" : "");
	for (unsigned int i = 0; (s = scenario_at(i)) != NULL; i++)
		if (!s->forks && (!o->only || s == scenario_find(o->only)))
			failed += run_one(s, o, o->count ? o->count : SEEDS_FORKED);
	if (o->json)
		printf("\n ], \"failed\": %d}\n", failed);
	else
		printf("%d failed\n", failed);
	return failed;
}
