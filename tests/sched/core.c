// SPDX-License-Identifier: MIT
/*
 * core.c - schedules of the real code.
 *
 *	sched-core [NAME]	   random schedules of all scenarios, or of that one
 *	sched-core buffered [NAME] the same with store buffers
 *	sched-core explore [NAME]  all schedules with at most 0, 1, ... --bound preemptions
 *	sched-core pct [NAME]	   random priorities, depth 1 to 5
 *	sched-core planted [BUG]   each bug of src/plant.h must die
 *	sched-core forks [NAME]	   fork at every point
 *	sched-core points	   where no thread was ever preempted, or never was at all
 *
 *	--bound N   explore: the highest (2)
 *	--count N   schedules of each scenario; explore: at most, of each bound
 *	--json	    the table for programs
 *
 * A scenario is named by its key, in the table, or by its words. Scenarios run side by
 * side, as many as there are processors.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scenarios.h"

#define SEEDS_CLEAN 1000
#define SEEDS_PCT 1000
#define EXPLORED 5000 /* of a higher bound than 1, which is explored wholly */
#define EXPLORED_WHOLE 100000
#define SCENARIOS_MAX 64

const struct scenario *scenario_at(unsigned int i)
{
	static const struct scenario *const lists[] = {scenarios_small, scenarios_whole,
						       scenarios_cache, scenarios_cache_rules,
						       scenarios_cache_parts};

	for (size_t l = 0; l < sizeof(lists) / sizeof(lists[0]); l++)
		for (const struct scenario *s = lists[l]; s->key; s++)
			if (i-- == 0)
				return s;
	return NULL;
}

const struct scenario *scenario_find(const char *name)
{
	const struct scenario *s;

	for (unsigned int i = 0; (s = scenario_at(i)) != NULL; i++)
		if (!strcmp(s->key, name) || !strcmp(s->program->name, name))
			return s;
	return NULL;
}

/* ---- one scenario ------------------------------------------------------ */

struct row {
	enum sched_verdict verdict;
	bool done;
	int bound; /* completed; -1: none */
	unsigned int k;
	uint64_t runs, steps, schedules, orders, states;
	bool more;
	struct sched_point *points;
};

static struct row *rows; /* by scenario; shared with the workers */
static struct row *current;

static void add(struct row *row, const struct sched_result *res, const struct scenario *s)
{
	row->runs += res->runs;
	row->steps += res->total;
	/* A bound includes the lower ones. */
	if (res->counts.schedules > row->schedules)
		row->schedules = res->counts.schedules;
	if (res->counts.orders > row->orders)
		row->orders = res->counts.orders;
	if (res->counts.states > row->states)
		row->states = res->counts.states;
	row->more |= res->counts.more;
	row->k = res->k;
	row->verdict = res->verdict;
	if (res->verdict != SCHED_OK)
		sched_print(stderr, res, s->program);
}

static uint64_t count_of(const struct scenario *s, const struct options *o, uint64_t usual)
{
	uint64_t count = o->count ? o->count : usual;
	/* The cache's cost ten times as much; one that is asked for by name gets all. */
	bool slow = s->forks || (o->count && !o->only && !strncmp(s->key, "cache-", 6));

	return slow ? count / 10 + 1 : count;
}

/* The cache's make one each time, and are many: a quarter of the seeds, and one preemption,
 * unless more is asked for, or that one alone. */
static bool spared(const struct scenario *s, const struct options *o)
{
	return !o->only && !o->count && !strncmp(s->key, "cache-", 6);
}

static uint64_t seeds(const struct scenario *s, const struct options *o, uint64_t usual)
{
	return count_of(s, o, spared(s, o) ? usual / 4 : usual);
}

static void do_mixed(const struct scenario *s, struct row *row, const struct options *o)
{
	struct sched_result res;

	sched_search(&res, s->program, 1, seeds(s, o, SEEDS_CLEAN));
	add(row, &res, s);
}

static void do_buffered(const struct scenario *s, struct row *row, const struct options *o)
{
	struct sched_result res;

	sched_search_buffered(&res, s->program, 1, seeds(s, o, SEEDS_CLEAN));
	add(row, &res, s);
}

static void do_pct(const struct scenario *s, struct row *row, const struct options *o)
{
	struct sched_result res;

	sched_pct(&res, s->program, 0, 1, seeds(s, o, SEEDS_PCT));
	add(row, &res, s);
}

static void do_explore(const struct scenario *s, struct row *row, const struct options *o)
{
	struct sched_result res;

	for (unsigned int bound = 0; bound <= o->bound; bound++) {
		sched_explore(&res, s->program, bound,
			      count_of(s, o, bound < 2 ? EXPLORED_WHOLE : EXPLORED));
		add(row, &res, s);
		if (res.verdict != SCHED_OK || !res.complete)
			return;
		row->bound = (int)bound;
	}
}

/* By its own number of schedules every scenario is explored wholly with one preemption. */
static void do_explore_test(const struct scenario *s, struct row *row, const struct options *o)
{
	struct options own = *o;

	if (spared(s, o) && own.bound > 1)
		own.bound = 1;
	do_explore(s, row, &own);
	if (row->verdict == SCHED_OK && !o->count && o->bound && row->bound < 1) {
		fprintf(stderr, "%s: too many schedules with one preemption\n", s->key);
		row->verdict = SCHED_FAILED;
	}
}

static void do_points(const struct scenario *s, struct row *row, const struct options *o)
{
	do_explore(s, row, o);
	do_mixed(s, row, o);
	do_pct(s, row, o);
}

/* ---- all of them, side by side ----------------------------------------- */

typedef void (*work_fn)(const struct scenario *s, struct row *row, const struct options *o);

static void follow(const struct sched_result *now)
{
	current->steps = now->runs; /* until it is added up */
}

static void *shared_memory(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

static void work(work_fn fn, const struct options *o, uint32_t *next)
{
	const struct scenario *s;
	unsigned int i;

	sched_progress = follow;
	while ((s = scenario_at(i = __sync_fetch_and_add(next, 1))) != NULL) {
		if (o->only && s != scenario_find(o->only))
			continue;
		current = &rows[i];
		current->bound = -1;
		sched_points_use(current->points);
		fn(s, current, o);
		current->done = true;
	}
	_exit(0);
}

static void show_progress(void)
{
	unsigned int all = 0, done = 0;
	uint64_t runs = 0;

	if (!isatty(STDERR_FILENO))
		return;
	for (; scenario_at(all); all++) {
		done += rows[all].done;
		runs += rows[all].runs + (rows[all].done ? 0 : rows[all].steps);
	}
	fprintf(stderr, "\r%u of %u scenarios, %llu schedules ", done, all,
		(unsigned long long)runs);
}

static void run_workers(work_fn fn, const struct options *o)
{
	long workers = sysconf(_SC_NPROCESSORS_ONLN), left = workers;
	uint32_t *next = shared_memory(sizeof(*next));

	rows = shared_memory(SCENARIOS_MAX * sizeof(*rows));
	for (unsigned int i = 0; scenario_at(i); i++) {
		rows[i].points = sched_points_new();
		rows[i].verdict = SCHED_CRASHED; /* unless it comes to an end */
	}
	fflush(NULL);
	for (long i = 0; i < workers; i++) {
		pid_t pid = fork();

		if (!pid)
			work(fn, o, next);
		left -= pid < 0;
	}
	while (left > 0) {
		if (waitpid(-1, NULL, WNOHANG) > 0)
			left--;
		else
			usleep(100000);
		show_progress();
	}
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r%50s\r", "");
}

/* ---- the table --------------------------------------------------------- */

static void count_points(const struct sched_point *table, unsigned int *passed,
			 unsigned int *preempted)
{
	*passed = *preempted = 0;
	for (unsigned int i = 0; i < SCHED_POINTS; i++) {
		*passed += table[i].pc && table[i].passed;
		*preempted += table[i].pc && table[i].preempted;
	}
}

static void print_row(const struct scenario *s, const struct row *row)
{
	unsigned int passed, preempted;

	count_points(row->points, &passed, &preempted);
	printf("%-7s %-18s", row->verdict == SCHED_OK ? "ok" : "FAILED", s->key);
	if (row->bound >= 0)
		printf(" %5d", row->bound);
	else
		printf("     -");
	printf(" %9llu %9llu %8llu %9llu%s %4u of %3u\n", (unsigned long long)row->runs,
	       (unsigned long long)row->schedules, (unsigned long long)row->orders,
	       (unsigned long long)row->states, row->more ? "+" : " ", preempted, passed);
}

static void print_row_json(const struct scenario *s, const struct row *row, bool first)
{
	unsigned int passed, preempted;

	count_points(row->points, &passed, &preempted);
	printf("%s\n  {\"scenario\": \"%s\", \"name\": \"%s\", \"ok\": %s, \"bound\": %d, "
	       "\"threads\": %u, \"k\": %u, \"runs\": %llu, \"steps\": %llu, "
	       "\"schedules\": %llu, \"orders\": %llu, \"states\": %llu, \"at_least\": %s, "
	       "\"points_passed\": %u, \"points_preempted\": %u}",
	       first ? "" : ",", s->key, s->program->name,
	       row->verdict == SCHED_OK ? "true" : "false", row->bound,
	       sched_threads(s->program), row->k, (unsigned long long)row->runs,
	       (unsigned long long)row->steps, (unsigned long long)row->schedules,
	       (unsigned long long)row->orders, (unsigned long long)row->states,
	       row->more ? "true" : "false", passed, preempted);
}

static void print_chances(const struct scenario *s, const struct row *row)
{
	printf("        %-18s n = %u, k = %u: a bug of depth d is found by a run with at least",
	       "", sched_threads(s->program), row->k);
	for (unsigned int d = 1; d <= 5; d++)
		printf(" %.0e", sched_pct_chance(sched_threads(s->program), row->k, d));
	printf("\n");
}

static struct sched_point *all_points(void)
{
	struct sched_point *all = sched_points_new();

	for (unsigned int i = 0; scenario_at(i); i++)
		sched_points_merge(all, rows[i].points);
	return all;
}

static void print_sum(const struct options *o, const struct row *sum, int failed)
{
	unsigned int passed, preempted;

	count_points(all_points(), &passed, &preempted);
	if (o->json)
		printf("\n ], \"runs\": %llu, \"schedules\": %llu, \"orders\": %llu, "
		       "\"states\": %llu, \"points_passed\": %u, \"points_preempted\": %u, "
		       "\"failed\": %d}\n",
		       (unsigned long long)sum->runs, (unsigned long long)sum->schedules,
		       (unsigned long long)sum->orders, (unsigned long long)sum->states, passed,
		       preempted, failed);
	else
		printf("%llu runs, %llu distinct schedules, %llu distinct orders, "
		       "%llu distinct states, %u of %u points preempted\n%d failed\n",
		       (unsigned long long)sum->runs, (unsigned long long)sum->schedules,
		       (unsigned long long)sum->orders, (unsigned long long)sum->states,
		       preempted, passed, failed);
}

static int print_table(const char *command, const struct options *o)
{
	struct row sum = {.runs = 0};
	bool first = true;
	int failed = 0;

	if (o->json)
		printf("{\"command\": \"%s\", \"scenarios\": [", command);
	else
		printf("        %-18s bound      runs schedules   orders    states   points\n",
		       command);
	for (unsigned int i = 0; scenario_at(i); i++) {
		const struct scenario *s = scenario_at(i);

		if (o->only && s != scenario_find(o->only))
			continue;
		if (o->json)
			print_row_json(s, &rows[i], first);
		else
			print_row(s, &rows[i]);
		if (!o->json && !strcmp(command, "pct"))
			print_chances(s, &rows[i]);
		first = false;
		sum.runs += rows[i].runs;
		sum.schedules += rows[i].schedules;
		sum.orders += rows[i].orders;
		sum.states += rows[i].states;
		failed += rows[i].verdict != SCHED_OK;
	}
	print_sum(o, &sum, failed);
	return failed;
}

/* ---- commands ---------------------------------------------------------- */

static int run_scenarios(const char *command, work_fn fn, const struct options *o)
{
	if (o->only && !scenario_find(o->only)) {
		fprintf(stderr, "sched-core: no scenario '%s'\n", o->only);
		return 1;
	}
	run_workers(fn, o);
	return print_table(command, o);
}

static int run_points(const struct options *o)
{
	int failed = run_scenarios("points", do_points, o);
	struct sched_point *all = all_points();

	sched_points_exist(all);
	/* The other sources have tests of their own. */
	sched_points_print(stdout, all,
			   "/src/notifier/:/src/reclaim/:/src/source/source.c:/src/lock.:"
			   "/src/source/hooks/fork.c");
	return failed;
}

static int run(const char *command, const struct options *o)
{
	static const struct {
		const char *name;
		work_fn fn;
	} searches[] = {{"random", do_mixed},
			{"buffered", do_buffered},
			{"explore", do_explore_test},
			{"pct", do_pct}};

	if (!strcmp(command, "planted"))
		return run_planted(o);
	if (!strcmp(command, "forks"))
		return run_forks(o);
	if (!strcmp(command, "points"))
		return run_points(o);
	for (size_t i = 0; i < sizeof(searches) / sizeof(searches[0]); i++)
		if (!strcmp(command, searches[i].name))
			return run_scenarios(command, searches[i].fn, o);
	return -1;
}

static bool is_command(const char *word)
{
	static const char *const commands[] = {"random",  "buffered", "explore", "pct",
					       "planted", "forks",    "points"};

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(word, commands[i]))
			return true;
	return false;
}

int main(int argc, char **argv)
{
	struct options o = {.bound = 2};
	const char *command = "random";

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--json"))
			o.json = true;
		else if (!strcmp(argv[i], "--bound") && i + 1 < argc)
			o.bound = (unsigned int)strtoul(argv[++i], NULL, 10);
		else if (!strcmp(argv[i], "--count") && i + 1 < argc)
			o.count = strtoull(argv[++i], NULL, 10);
		else if (i == 1 && is_command(argv[i]))
			command = argv[i];
		else
			o.only = argv[i];
	}
	return run(command, &o) ? EXIT_FAILURE : EXIT_SUCCESS;
}
