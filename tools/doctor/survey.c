// SPDX-License-Identifier: MIT
/*
 * survey.c - all the probes, one after the other; a cell is the weakest of its ways.
 *
 * A change that the kernel refuses here is no cell. But what it does between the
 * program's own start and end it must do under every source: otherwise the source has
 * broken it.
 */
#include "doctor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../command.h"

static int run(struct doctor *d, struct probe *p)
{
	struct shared *s = d->shared;
	pid_t pid;

	memset(s, 0, offsetof(struct shared, claim));
	p->shared = s;
	fflush(stdout);
	pid = fork();
	if (!pid)
		probe_run(p);
	if (pid < 0)
		return -errno;
	return trace_child(pid, s, d->traces && p->v);
}

static void died(struct way *way, int status)
{
	way->verdict = VERDICT_BROKEN;
	if (WIFSIGNALED(status) && (WTERMSIG(status) == SIGALRM || WTERMSIG(status) == SIGKILL))
		snprintf(way->why, sizeof(way->why), "it hung");
	else if (WIFSIGNALED(status))
		snprintf(way->why, sizeof(way->why), "it was killed by signal %d",
			 WTERMSIG(status));
	else
		snprintf(way->why, sizeof(way->why), "it died");
}

/* Refused with a source, done without one. */
static void compare(struct doctor *d, struct way *way, unsigned int memory)
{
	const struct cell *plain =
		&d->set[SET_EXPLICIT].cell[way->v->op][HMMU_CALLER_EXPLICIT][memory];
	char why[sizeof(way->why)];

	for (unsigned int i = 0; i < plain->nways; i++) {
		if (plain->way[i].v != way->v || plain->way[i].verdict == VERDICT_REFUSED)
			continue;
		memcpy(why, way->why, sizeof(why));
		snprintf(way->why, sizeof(way->why), "fails under this source only: %.40s",
			 why);
		way->verdict = VERDICT_BROKEN;
	}
}

static void probe(struct doctor *d, enum source_set set, const struct variant *v,
		  unsigned int caller, unsigned int memory)
{
	struct cell *cell = &d->set[set].cell[v->op][caller][memory];
	struct probe *p = calloc(1, sizeof(*p));
	struct way *way = &cell->way[cell->nways];
	int status;

	if (!p || cell->nways == MAX_VARIANTS)
		abort();
	cell->nways++;
	p->v = v;
	p->caller = caller;
	p->memory = memory;
	p->sources = set_masks[set];
	status = run(d, p);
	free(p);
	way->v = v;
	if (status || d->shared->stage != STAGE_DONE)
		died(way, status);
	else
		way->verdict = judge(d->shared, way);
	if (way->verdict == VERDICT_REFUSED && set != SET_EXPLICIT)
		compare(d, way, memory);
}

/* Weaker than claimed; without the tracer "bracketed" cannot always be shown. */
static bool is_weaker(const struct cell *cell)
{
	if (cell->live < VERDICT_UNWATCHED ||
	    (int)(cell->live - VERDICT_UNWATCHED) >= cell->claim)
		return false;
	for (unsigned int i = 0; i < cell->nways; i++)
		if (cell->way[i].verdict == VERDICT_BY_RETURN && !cell->way[i].proven &&
		    cell->live == VERDICT_BY_RETURN)
			return false;
	return true;
}

/* Of a cell of which less is claimed, what is said of a system call by this process. */
static bool reuse_open(const struct doctor *d, enum source_set set, int claim, unsigned int op,
		       unsigned int memory)
{
	if (claim < HMMU_BY_RETURN_REUSE_OPEN)
		claim = claim_of(&d->set[set], op, HMMU_CALLER_RAW, memory);
	return claim == HMMU_BY_RETURN_REUSE_OPEN;
}

static void sum_up(struct doctor *d, enum source_set set, unsigned int op, unsigned int caller,
		   unsigned int memory)
{
	struct cell *cell = &d->set[set].cell[op][caller][memory];
	bool broken = false;

	cell->claim = claim_of(&d->set[set], op, caller, memory);
	for (unsigned int i = 0; i < cell->nways; i++) {
		const struct way *way = &cell->way[i];

		broken |= way->verdict == VERDICT_BROKEN;
		if (way->verdict >= VERDICT_UNWATCHED &&
		    (cell->live < VERDICT_UNWATCHED || way->verdict < cell->live)) {
			cell->live = way->verdict;
			cell->says_so = way->says_so;
		}
		if (way->verdict == VERDICT_REFUSED && cell->live == VERDICT_NONE)
			cell->live = VERDICT_REFUSED;
	}
	if (broken)
		cell->live = VERDICT_BROKEN;
	if (cell->live == VERDICT_BY_RETURN && reuse_open(d, set, cell->claim, op, memory))
		cell->live = VERDICT_REUSE_OPEN;
	cell->weaker = is_weaker(cell);
	if (d->sets[set]) {
		d->broken += broken;
		d->weaker += cell->weaker;
		d->cells += cell->live != VERDICT_NONE;
	}
}

static void progress(enum source_set set, unsigned int op)
{
	if (command_progress())
		fprintf(stderr, "\r%s: %s\033[K", set_names[set], operation_names[op]);
}

static void survey_variant(struct doctor *d, enum source_set set, const struct variant *v)
{
	if (!d->ops[v->op])
		return;
	progress(set, v->op);
	for (unsigned int caller = 0; caller < HMMU_CALLER_NR; caller++)
		for (unsigned int memory = 1; memory < HMMU_MEMORY_NR; memory++)
			if ((v->callers & 1u << caller) && (v->memories & 1u << memory) &&
			    (set == SET_EXPLICIT) == (caller == HMMU_CALLER_EXPLICIT))
				probe(d, set, v, caller, memory);
}

static void survey_set(struct doctor *d, enum source_set set)
{
	static const struct variant *const lists[] = {plain_variants, inside_variants,
						      uring_variants};

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		for (const struct variant *v = lists[i]; v->name; v++)
			survey_variant(d, set, v);
	for (unsigned int op = 0; op < HMMU_OP_NR; op++)
		for (unsigned int caller = 0; caller < HMMU_CALLER_NR; caller++)
			for (unsigned int memory = 0; memory < HMMU_MEMORY_NR; memory++)
				sum_up(d, set, op, caller, memory);
}

/* Opens it, asks what it claims, closes it: -errno of the open. */
static int ask_claims(struct doctor *d, unsigned int sources, struct set *set)
{
	struct probe *p = calloc(1, sizeof(*p));
	struct shared *s = d->shared;
	int status;

	if (!p)
		abort();
	p->sources = sources;
	status = run(d, p);
	free(p);
	if (status || s->stage != STAGE_DONE)
		return -ECHILD;
	if (s->open_error)
		return s->open_error;
	set->nclaims = s->claims < MAX_CLAIMS ? (unsigned int)s->claims : MAX_CLAIMS;
	memcpy(set->claim, s->claim, set->nclaims * sizeof(set->claim[0]));
	return 0;
}

static void ask_best(struct doctor *d)
{
	struct set *best = calloc(1, sizeof(*best));

	if (!best)
		abort();
	d->best_error = ask_claims(d, HMMU_SOURCE_BEST, best);
	for (unsigned int i = 0; i < best->nclaims; i++)
		d->best |= best->claim[i].source;
	free(best);
}

int survey(struct doctor *d)
{
	d->shared = mmap(NULL, sizeof(*d->shared), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (d->shared == MAP_FAILED)
		return -errno;
	d->traces = trace_works();
	ask_best(d);
	for (unsigned int i = 0; i < SET_NR; i++) {
		struct set *set = &d->set[i];

		if (!d->sets[i] && i != SET_EXPLICIT)
			continue;
		set->error = ask_claims(d, set_masks[i], set);
		set->available = !set->error;
		if (set->available)
			survey_set(d, i);
	}
	command_progress_over();
	return 0;
}
