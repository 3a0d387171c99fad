// SPDX-License-Identifier: MIT
/*
 * planted.c - each bug of src/plant.h and the scenario that must kill it, by an assertion, a
 * deadlock or a livelock: by random schedules, and by exploring, at which bound. A bug
 * without a killer fails the test.
 */
#include <stdlib.h>
#include <string.h>

#include "scenarios.h"

#define SEEDS_PLANTED 30000
#define EXPLORED 30000
#define BOUND_MAX 2

static const char *const killer[HMMU_PLANT_NR] = {
	[HMMU_PLANT_NO_RETRY] = "reader",
	[HMMU_PLANT_NO_WAIT] = "reader",
	[HMMU_PLANT_START_ONLY] = "reader",
	[HMMU_PLANT_CALLBACK_SKIPPED] = "reader",
	[HMMU_PLANT_INSERT_IGNORES_OPEN] = "insert",
	[HMMU_PLANT_SCAN_BEFORE_PUBLISH] = "insert",
	[HMMU_PLANT_SUMMARY_BEFORE_SLOT] = "insert",
	[HMMU_PLANT_NO_LIMIT] = "limit",
	[HMMU_PLANT_END_COUNTS_LATE] = "batches",
	[HMMU_PLANT_HEAL_DROPS_WATCHED] = "heal",
	[HMMU_PLANT_LEAF_BEFORE_BITS] = "leaf-grows",
	[HMMU_PLANT_REMOVE_NO_WAIT] = "removal",
	[HMMU_PLANT_NO_HAZARD_RECHECK] = "removal",
	[HMMU_PLANT_REMOVE_WAITS_END] = "remove-open",
	[HMMU_PLANT_NO_WAKE] = "reader",
	[HMMU_PLANT_NO_REMOVE_WAKE] = "removal",
	[HMMU_PLANT_EAGAIN_NO_UNDO] = "refuse",
	[HMMU_PLANT_EAGAIN_NO_END] = "refuse-whole",
	[HMMU_PLANT_REGISTER_NO_WAIT] = "registering",
	[HMMU_PLANT_DEFER_LOST] = "defer",
	[HMMU_PLANT_SIGNAL_IGNORED] = "handler",
	[HMMU_PLANT_SEQ_COMES_AGAIN] = "again",
	[HMMU_PLANT_SINGLE_GONE] = "remove-only",
	[HMMU_PLANT_ATTACH_NO_WAIT] = "attaching",
	[HMMU_PLANT_RC_NO_RETRY] = "cache-miss",
	[HMMU_PLANT_RC_NO_RECHECK] = "cache-hit",
	[HMMU_PLANT_RC_NO_EPOCH] = "cache-handler",
	[HMMU_PLANT_RC_WORDS_STAY] = "cache-hit",
	[HMMU_PLANT_RC_PINS_IGNORED] = "cache-held",
	[HMMU_PLANT_RC_NO_POKE] = "cache-held",
	[HMMU_PLANT_RC_PAIR_STAYS] = "cache-parts-pair",
};

static const char *const plant_name[HMMU_PLANT_NR] = {
#define NAME(name, text) [HMMU_PLANT_##name] = #name,
	HMMU_PLANT_LIST(NAME)
#undef NAME
};
static const char *const plant_text[HMMU_PLANT_NR] = {
#define TEXT(name, text) [HMMU_PLANT_##name] = text,
	HMMU_PLANT_LIST(TEXT)
#undef TEXT
};

static bool killed(enum sched_verdict v)
{
	return v == SCHED_FAILED || v == SCHED_DEADLOCK || v == SCHED_LIVELOCK;
}

/* The lowest bound that finds it; -1: none. */
static int bound_that_kills(const struct sched_program *program, struct sched_result *res)
{
	for (unsigned int bound = 0; bound <= BOUND_MAX; bound++) {
		sched_explore(res, program, bound, EXPLORED);
		if (killed(res->verdict))
			return (int)bound;
	}
	return -1;
}

struct death {
	struct sched_result seed, pct, explored;
	int bound;
};

static void try(const struct sched_program *program, int bug, struct death *death)
{
	unsigned int k;

	hmmu_planted = HMMU_PLANT_NONE;
	k = sched_measure(program);
	hmmu_planted = (enum hmmu_plant)bug;
	sched_search(&death->seed, program, 1, SEEDS_PLANTED);
	sched_pct_k(&death->pct, program, 0, k, 1, SEEDS_PLANTED);
	death->bound = bound_that_kills(program, &death->explored);
}

static int printed;

static void print_death(int p, const struct scenario *s, const struct death *d, bool json)
{
	bool dead = killed(d->seed.verdict) && (d->bound >= 0 || killed(d->pct.verdict));

	if (json)
		printf("%s{\"bug\": \"%s\", \"scenario\": \"%s\", \"killed\": %s, "
		       "\"by\": \"%s\", \"seed\": %llu, \"pct_seed\": %llu, \"bound\": %d, "
		       "\"explored\": %llu}",
		       printed++ ? ",\n" : "", plant_name[p], s->key, dead ? "true" : "false",
		       sched_verdict_name(d->seed.verdict), (unsigned long long)d->seed.seed,
		       (unsigned long long)d->pct.seed, d->bound,
		       (unsigned long long)d->explored.runs + 1);
	else
		printf("%s: %s (%s): by %s, seed %llu, PCT seed %llu (depth %u), "
		       "bound %d (schedule %llu), %s\n",
		       dead ? "killed" : "SURVIVED", plant_name[p], plant_text[p],
		       sched_verdict_name(d->seed.verdict), (unsigned long long)d->seed.seed,
		       (unsigned long long)d->pct.seed, d->pct.depth, d->bound,
		       (unsigned long long)d->explored.runs + 1, d->seed.message);
	fflush(stdout);
}

int run_planted(const struct options *o)
{
	int survivors = 0;

	if (o->json)
		printf("{\"command\": \"planted\", \"bugs\": [\n");
	/* Those from there on need the kernel's page tables: tests/devmem. */
	for (int p = HMMU_PLANT_NONE + 1; p < HMMU_PLANT_DEVMEM; p++) {
		const struct scenario *s = killer[p] ? scenario_find(killer[p]) : NULL;
		struct death death;

		if (o->only && strcmp(o->only, plant_name[p]) != 0)
			continue;
		if (!s) {
			printf("SURVIVED: %s: no scenario\n", plant_name[p]);
			survivors++;
			continue;
		}
		try(s->program, p, &death);
		print_death(p, s, &death, o->json);
		survivors += !killed(death.seed.verdict) ||
			     (death.bound < 0 && !killed(death.pct.verdict));
	}
	if (o->json)
		printf("\n ], \"failed\": %d}\n", survivors);
	else
		printf("%d failed\n", survivors);
	return survivors;
}
