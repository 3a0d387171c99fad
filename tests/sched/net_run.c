// SPDX-License-Identifier: MIT
/* net_run.c - see net_run.h. */
#include "net_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "source/hooks/hooks.h"

#define SEEDS_CLEAN 500
#define SEEDS_PLANTED 20000

static bool killed(enum sched_verdict v)
{
	return v == SCHED_FAILED || v == SCHED_DEADLOCK || v == SCHED_LIVELOCK;
}

static void report(const char *what, const char *name, const struct sched_program *program,
		   const struct sched_result *res)
{
	printf("%s: %s%s\"%s\": %s, seed %llu, %s\n", what, name, *name ? ", in " : "",
	       program->name, sched_verdict_name(res->verdict), (unsigned long long)res->seed,
	       res->message);
}

static int run_clean(const struct net_suite *s, const char *only, bool buffered)
{
	enum sched_verdict (*search)(struct sched_result *, const struct sched_program *,
				     uint64_t, uint64_t) =
		buffered ? sched_search_buffered : sched_search;
	unsigned long long runs = 0, steps = 0;
	struct sched_result res;
	int failed = 0;

	for (size_t i = 0; i < s->nscenarios; i++) {
		const struct sched_program *program = &s->scenarios[i];

		if (only && strcmp(only, program->name) != 0)
			continue;
		search(&res, program, 1, SEEDS_CLEAN);
		if (res.verdict != SCHED_OK) {
			sched_print(stdout, &res, program);
			failed++;
		}
		runs += res.runs;
		steps += res.total;
		printf("%s: %s: %llu schedules, %llu of them distinct, %llu steps\n",
		       res.verdict == SCHED_OK ? "ok" : "FAILED", program->name,
		       (unsigned long long)res.runs, (unsigned long long)res.counts.schedules,
		       (unsigned long long)res.total);
	}
	printf("%zu scenarios, %llu schedules, %llu steps\n", s->nscenarios, runs, steps);
	return failed;
}

static int run_planted(const struct net_suite *s, const char *only)
{
	struct sched_result res;
	int survivors = 0;

	for (size_t i = 0; i < s->nplanted; i++) {
		const struct net_planted *p = &s->planted[i];

		if (only && strcmp(only, p->name) != 0)
			continue;
		hmmu_uffd_planted = p->uffd;
		hmmu_hook_planted = p->hook;
		hmmu_planted = p->core;
		sched_search(&res, p->killer, 1, SEEDS_PLANTED);
		if (only)
			sched_print(stdout, &res, p->killer);
		survivors += !killed(res.verdict);
		report(killed(res.verdict) ? "killed" : "SURVIVED", p->name, p->killer, &res);
	}
	hmmu_uffd_planted = UFFD_PLANT_NONE;
	hmmu_hook_planted = HMMU_HOOK_PLANT_NONE;
	hmmu_planted = HMMU_PLANT_NONE;
	return survivors;
}

static int run_wrong(const struct net_suite *s, const char *only)
{
	struct sched_result res;
	int missed = 0;

	for (size_t i = 0; i < s->nwrong; i++) {
		const struct net_wrong *w = &s->wrong[i];

		if (only && strcmp(only, w->program.name) != 0)
			continue;
		sched_search(&res, &w->program, 1, SEEDS_PLANTED);
		if (only)
			sched_print(stdout, &res, &w->program);
		missed += res.verdict != w->verdict;
		report(res.verdict == w->verdict ? "found" : "MISSED", "", &w->program, &res);
	}
	return missed;
}

int net_run(const struct net_suite *suite, int argc, char **argv)
{
	int failed;

	if (argc > 1 && !strcmp(argv[1], "planted"))
		failed = run_planted(suite, argv[2]) + run_wrong(suite, argv[2]);
	else if (argc > 1 && !strcmp(argv[1], "buffered"))
		failed = run_clean(suite, argv[2], true);
	else
		failed = run_clean(suite, argv[1], false);
	printf("%d failed\n", failed);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
