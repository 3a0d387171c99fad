// SPDX-License-Identifier: MIT
/*
 * run.c - the driver: each N in a process of its own, with a watchdog.
 *
 *	fault			every N once, the errnos of its kind in turn
 *	fault --share=K		every K-th of them
 *	fault --all		every N, each errno, once and for ever
 *	      --scenario=, --mode=	of those, these only
 *	fault --plants		each planted bug is found, by the invariant named with it
 *	fault --one=SCENARIO,once|ever|kind,N,ERRNO
 *				one of them, in this process
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "inject.h"
#include "life.h"
#include "plants.h"
#include "wraps.h"

#define JOBS_MAX 8
#define LIFTED_AFTER 1.5 /* s: what fails for ever ends */
#define N_MAX 20000
#define ERRORS_MAX 5
#define ERRORS_EVER 2

static const char *const modes[FAULT_MODES] = {"none", "once", "ever", "kind"};

enum what {
	WHAT_MM,
	WHAT_MIRROR,
	WHAT_WRITER,
	WHAT_CACHE,
	WHAT_HMM,
	WHAT_TAGS,
	WHAT_DEVMIRROR,
	WHAT_DIRTY,
	WHAT_DEVMEM,
};

struct scenario {
	const char *name;
	enum what what;
	unsigned int sources;
	unsigned int step; /* without --all: not every N, but every @step-th; 0: all */
	/* what came of it */
	bool skipped;
	char why[160];
	struct fault_normal normal;
	uint32_t calls[KIND_NR];
	uint32_t reached[FAULT_MODES];
	uint32_t runs, failures, unwatched, waits;
	double seconds;
};

static struct scenario scenarios[] = {
	{.name = "explicit", .sources = HMMU_SOURCE_EXPLICIT},
	{.name = "hooks", .sources = HMMU_SOURCE_HOOKS},
	{.name = "userfaultfd", .sources = HMMU_SOURCE_USERFAULTFD},
	{.name = "hooks+userfaultfd", .sources = HMMU_SOURCE_HOOKS | HMMU_SOURCE_USERFAULTFD},
	/* The code of the one before, but for the choice. */
	{.name = "best", .sources = ~0U, .step = 3},
	{.name = "seccomp", .sources = HMMU_SOURCE_SECCOMP},
#ifdef HAVE_MIRROR
	{.name = "mirror", .what = WHAT_MIRROR},
#endif
	{.name = "writer", .what = WHAT_WRITER},
	{.name = "regcache", .what = WHAT_CACHE},
	{.name = "hmm", .what = WHAT_HMM},
	{.name = "hmm-tags", .what = WHAT_TAGS, .sources = HMMU_SOURCE_USERFAULTFD, .step = 2},
	{.name = "devmirror", .what = WHAT_DEVMIRROR},
	{.name = "devmirror-dirty",
	 .what = WHAT_DIRTY,
	 .sources = HMMU_SOURCE_USERFAULTFD,
	 .step = 2},
	{.name = "devmem",
	 .what = WHAT_DEVMEM,
	 .sources = HMMU_SOURCE_HOOKS | HMMU_SOURCE_USERFAULTFD,
	 .step = 2},
};
#define NR_SCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

struct job {
	struct fault_run *run;
	pid_t pid; /* 0: none */
	pid_t group;
	double since;
};

static struct job job[JOBS_MAX];
static unsigned int jobs = 4; /* they sleep most of the time */
static bool json, verbose;
static uint32_t share = 1;
static double seconds = 20;	 /* no run lasts longer */
static unsigned int which = ~0U; /* 1 << enum fault_mode */
static unsigned int shown;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* ---- one run -------------------------------------------------------------- */

static void live_twice(const struct scenario *s)
{
	struct life life = {.sources = s->sources};

	for (int i = 0; i < REGIONS; i++)
		region_new(&life.region[i], fresh(REGION));
	fault_arm();
	life_run(&life);
	fault_disarm();
	check_end(s->sources, &life);
	stage("second life");
	life.again = true;
	life_run(&life);
	check_end(s->sources, &life);
}

static void run_twice(void (*what)(bool again), unsigned int sources)
{
	fault_arm();
	what(false);
	fault_disarm();
	check_end(sources, NULL);
	what(true);
	check_end(sources, NULL);
}

static void run(const struct scenario *s, struct fault_run *r)
{
	fault_init(r);
	check_begin();
	if (s->what == WHAT_MM)
		live_twice(s);
	else if (s->what == WHAT_WRITER)
		run_twice(writer_run, 0);
	else if (s->what == WHAT_CACHE)
		run_twice(cache_run, 0);
	else if (s->what == WHAT_HMM)
		run_twice(hmm_run, 0);
	else if (s->what == WHAT_TAGS)
		run_twice(hmm_tags_run, s->sources);
	else if (s->what == WHAT_DEVMIRROR)
		run_twice(devmirror_run, 0);
	else if (s->what == WHAT_DIRTY)
		run_twice(devmirror_dirty_run, s->sources);
	else if (s->what == WHAT_DEVMEM)
		run_twice(devmem_run, s->sources);
#ifdef HAVE_MIRROR
	else
		run_twice(mirror_run, 0);
#endif
	r->finished = 1;
}

/* ---- many ------------------------------------------------------------------ */

static void start(struct job *j, const struct scenario *s, const struct fault_plan *plan,
		  int plant)
{
	memset(j->run, 0, sizeof(*j->run));
	j->run->plan = *plan;
	j->run->plant = plant;
	j->run->normal = s->normal;
	fflush(NULL);
	j->since = now();
	j->group = j->pid = fork();
	if (j->pid) {
		setpgid(j->pid, j->pid);
		return;
	}
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	run(s, j->run);
	_exit(0);
}

/* Where each of its threads is. */
static void where(pid_t pid, char *text, size_t size)
{
	char command[160];
	FILE *p;
	size_t n;

	snprintf(command, sizeof(command),
		 "for t in /proc/%d/task/*; do echo \"$(cat $t/comm): $(cut -d' ' -f1 "
		 "$t/syscall) $(cat $t/wchan);\"; done | tr '\\n' ' '",
		 (int)pid);
	p = popen(command, "r");
	n = p ? fread(text, 1, size - 1, p) : 0;
	text[n] = '\0';
	if (p)
		pclose(p);
}

/* It has not ended in time. */
static void hangs(struct job *j)
{
	struct fault_run *r = j->run;
	char text[sizeof(r->failure) - 16];

	where(j->pid, text, sizeof(text));
	kill(j->pid, SIGKILL);
	if (!r->failure[0])
		snprintf(r->failure, sizeof(r->failure), "hang: %s", text);
}

/* Who waits while it lasts has to go on when it is over. */
static void lift(struct job *j)
{
	struct fault_run *r = j->run;

	if (r->plan.mode == FAULT_ONCE || now() - j->since < LIFTED_AFTER ||
	    !__atomic_exchange_n(&r->armed, 0, __ATOMIC_SEQ_CST))
		return;
	r->waits++;
	if (verbose)
		fprintf(stderr, "waits: %s for %s\n", r->stage, kinds[r->kind].name);
}

/* Has it ended? */
static bool ended(struct job *j)
{
	struct fault_run *r = j->run;
	int status;

	if (waitpid(j->pid, &status, WNOHANG) != j->pid) {
		lift(j);
		if (now() - j->since < seconds)
			return false;
		hangs(j);
		waitpid(j->pid, &status, 0);
	}
	j->pid = 0;
	/* A child of its own may hang on. */
	kill(-j->group, SIGKILL);
	if (!r->failure[0] && WIFSIGNALED(status))
		snprintf(r->failure, sizeof(r->failure), "crash: signal %d", WTERMSIG(status));
	else if (!r->failure[0] && !r->finished)
		snprintf(r->failure, sizeof(r->failure), "crash: it left with %d",
			 WEXITSTATUS(status));
	return true;
}

static const char *error_name(int error)
{
	static const char *const how[] = {"", "short", "done, but EINTR"};

	return error >= 0x1000 ? how[error - 0x1000] : strerrorname_np(error);
}

static void show(const struct scenario *s, const struct fault_run *r)
{
	char site[128];

	site_name(r->site, site, sizeof(site));
	fprintf(stderr, "%s,%s,%u,%u: %s %s at %s, in \"%s\": %s\n", s->name,
		modes[r->plan.mode], r->plan.n, r->plan.error,
		r->hit ? kinds[r->kind].name : "nothing", r->hit ? error_name(r->error) : "",
		r->hit ? site : "-", r->stage, r->failure);
	shown++;
}

/* What came of one. True: its N was reached. */
static bool judge(struct scenario *s, const struct fault_run *r)
{
	s->runs += !r->tried;
	s->unwatched += r->unwatched;
	s->waits += r->waits;
	if (r->failure[0]) {
		s->failures++;
		show(s, r);
	}
	if (r->hit && r->plan.n > s->reached[r->plan.mode])
		s->reached[r->plan.mode] = r->plan.n;
	return r->hit;
}

static struct job *next_done(void)
{
	for (;;) {
		for (unsigned int i = 0; i < jobs; i++)
			if (job[i].pid && ended(&job[i]))
				return &job[i];
		usleep(500);
	}
}

static struct job *idle_job(void)
{
	for (unsigned int i = 0; i < jobs; i++)
		if (!job[i].pid)
			return &job[i];
	return NULL;
}

static bool busy(void)
{
	for (unsigned int i = 0; i < jobs; i++)
		if (job[i].pid)
			return true;
	return false;
}

/* N = 1, 2, ... until two of them in turn were not reached. @rotate: the errnos in turn. */
static void sweep(struct scenario *s, enum fault_mode mode, uint32_t error, bool rotate)
{
	uint32_t step = rotate ? share * (s->step ? s->step : 1) : 1;
	uint32_t n = 1, missed = 0;

	while (missed < 2 || busy()) {
		struct job *j = missed < 2 && n < N_MAX ? idle_job() : NULL;

		if (j) {
			struct fault_plan plan = {mode, n, rotate ? n % ERRORS_MAX : error,
						  !rotate};

			start(j, s, &plan, PLANT_NONE);
			n += step;
			continue;
		}
		if (!busy())
			break;
		j = next_done();
		if (judge(s, j->run))
			missed = missed < 2 ? 0 : missed;
		else
			missed++;
	}
}

/* A life without a failure: what it holds, what it calls. */
static bool calibrate(struct scenario *s)
{
	struct fault_plan plan = {.mode = FAULT_ONCE};
	struct fault_run *r = job[0].run;

	start(&job[0], s, &plan, PLANT_NONE);
	while (!ended(&job[0]))
		usleep(500);
	if (r->failure[0]) {
		s->skipped = !strncmp(r->failure, "open answered -95", 17);
		snprintf(s->why, sizeof(s->why), "%.150s", r->failure);
		if (!s->skipped) {
			s->failures++;
			show(s, r);
		}
		return false;
	}
	s->normal = r->now;
	memcpy(s->calls, r->calls, sizeof(s->calls));
	return true;
}

static void run_all(struct scenario *s, bool all)
{
	double begun = now();

	if (!calibrate(s))
		return;
	if (!all && (which & 1 << FAULT_ONCE))
		sweep(s, FAULT_ONCE, 0, true);
	for (uint32_t e = 0; all && e < ERRORS_MAX; e++)
		if (which & 1 << FAULT_ONCE)
			sweep(s, FAULT_ONCE, e, false);
	for (uint32_t e = 0; all && e < ERRORS_EVER; e++) {
		if (which & 1 << FAULT_EVER)
			sweep(s, FAULT_EVER, e, false);
		if (which & 1 << FAULT_KIND)
			sweep(s, FAULT_KIND, e, false);
	}
	s->seconds = now() - begun;
}

/* ---- what came of it --------------------------------------------------------- */

static uint32_t total(const struct scenario *s)
{
	uint32_t sum = 0;

	for (int k = 0; k < KIND_NR; k++)
		sum += s->calls[k];
	return sum;
}

static void print_text(const struct scenario *s)
{
	unsigned int column = 0;

	if (s->skipped) {
		printf("%-18s skipped: %s\n", s->name, s->why);
		return;
	}
	printf("%-18s %5u %6u %6u %6u %7u %6u %5u %7.1f  %8u\n", s->name, total(s),
	       s->reached[FAULT_ONCE], s->reached[FAULT_EVER], s->reached[FAULT_KIND], s->runs,
	       s->unwatched, s->waits, s->seconds, s->failures);
	for (int k = 0; verbose && k < KIND_NR; k++)
		if (s->calls[k])
			printf("%s%s %u",
			       column++ % 6 ? ", "
			       : column > 1 ? ",\n    "
					    : "    ",
			       kinds[k].name, s->calls[k]);
	if (column)
		printf("\n");
}

static void print_json(const struct scenario *s, bool last)
{
	bool first = true;

	printf("  {\"scenario\": \"%s\", \"skipped\": %s, \"calls\": %u, \"once\": %u, "
	       "\"ever\": %u, \"kind\": %u, \"runs\": %u, \"unwatched\": %u, \"waits\": %u, "
	       "\"seconds\": %.1f, \"failures\": %u, \"kinds\": {",
	       s->name, s->skipped ? "true" : "false", total(s), s->reached[FAULT_ONCE],
	       s->reached[FAULT_EVER], s->reached[FAULT_KIND], s->runs, s->unwatched, s->waits,
	       s->seconds, s->failures);
	for (int k = 0; k < KIND_NR; k++) {
		if (!s->calls[k])
			continue;
		printf("%s\"%s\": %u", first ? "" : ", ", kinds[k].name, s->calls[k]);
		first = false;
	}
	printf("}}%s\n", last ? "" : ",");
}

static struct scenario *scenario_named(const char *name)
{
	for (size_t i = 0; i < NR_SCENARIOS; i++)
		if (!strcmp(scenarios[i].name, name))
			return &scenarios[i];
	return NULL;
}

static int run_scenarios(const char *only, bool all)
{
	unsigned int failures = 0, runs = 0;

	if (json)
		printf("[\n");
	else
		printf("scenario           calls   once   ever   kind    runs  unwat. waits "
		       "seconds  failures\n");
	for (size_t i = 0; i < NR_SCENARIOS; i++) {
		struct scenario *s = &scenarios[i];

		if (only && strcmp(only, s->name))
			continue;
		run_all(s, all);
		if (json)
			print_json(s, only || i + 1 == NR_SCENARIOS);
		else
			print_text(s);
		fflush(stdout);
		failures += s->failures;
		runs += s->runs;
	}
	if (json)
		printf("]\n");
	else
		printf("%u runs, %u failures\n", runs, failures);
	return failures ? 1 : 0;
}

/* ---- the planted bugs ---------------------------------------------------------- */

static const struct {
	const char *name, *where, *finds, *what;
} plants[PLANT_NR] = {
#define X(id, where, mode, finds, what) [PLANT_##id] = {#id, where, finds, what},
	PLANTS(X)
#undef X
};

/* Found at the first N at which it shows. */
static bool find_plant(int p)
{
	struct scenario *s = scenario_named(plants[p].where);
	struct fault_run *r = job[0].run;

	if (!s->normal.maps && !calibrate(s)) {
		printf("%-18s skipped: %s\n", plants[p].name, s->why);
		return true;
	}
	for (uint32_t n = 1; n < N_MAX; n++) {
		struct fault_plan plan = {FAULT_ONCE, n, n % ERRORS_MAX, 0};

		start(&job[0], s, &plan, p);
		while (!ended(&job[0]))
			usleep(500);
		if (r->failure[0] &&
		    !strncmp(r->failure, plants[p].finds, strlen(plants[p].finds))) {
			printf("%-18s %-18s N %-5u %s\n", plants[p].name, s->name, n,
			       r->failure);
			return true;
		}
		if (!r->hit)
			break;
	}
	printf("%-18s SURVIVES: %s\n", plants[p].name, plants[p].what);
	return false;
}

static int run_plants(void)
{
	unsigned int found = 0;

	seconds = 6;
	for (int p = 1; p < PLANT_NR; p++)
		found += find_plant(p);
	printf("%u of %d planted bugs found\n", found, PLANT_NR - 1);
	return found == PLANT_NR - 1 ? 0 : 1;
}

static enum fault_mode mode_named(const char *name)
{
	int m = 0;

	while (m < FAULT_MODES - 1 && strcmp(name, modes[m]))
		m++;
	return (enum fault_mode)m;
}

static int run_one(char *text)
{
	struct scenario *s = scenario_named(strtok(text, ","));
	const char *mode = strtok(NULL, ","), *n = strtok(NULL, ","), *e = strtok(NULL, ",");
	struct fault_plan plan = {.mode = FAULT_ONCE};

	if (!s || !mode || !n)
		return 2;
	if (!calibrate(s))
		return 77;
	plan.mode = mode_named(mode);
	plan.n = (uint32_t)atoi(n);
	plan.error = e ? (uint32_t)atoi(e) : plan.n % ERRORS_MAX;
	start(&job[0], s, &plan, PLANT_NONE);
	while (!ended(&job[0]))
		usleep(500);
	judge(s, job[0].run);
	if (!shown)
		show(s, job[0].run);
	return s->failures ? 1 : 0;
}

static bool map_runs(void)
{
	for (unsigned int i = 0; i < JOBS_MAX; i++) {
		job[i].run =
			__real_mmap64(NULL, sizeof(struct fault_run), PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (job[i].run == MAP_FAILED)
			return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"all", 0, NULL, 'a'},	 {"plants", 0, NULL, 'p'},
		{"one", 1, NULL, '1'},	 {"scenario", 1, NULL, 's'},
		{"jobs", 1, NULL, 'j'},	 {"mode", 1, NULL, 'm'},
		{"json", 0, NULL, 'J'},	 {"verbose", 0, NULL, 'v'},
		{"share", 1, NULL, 'S'}, {0}};
	bool all = getenv("HMMU_FAULT_ALL") != NULL;
	const char *only = NULL;
	char *one = NULL;
	int c, mode = 0;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'a':
			all = true;
			break;
		case 'p':
			mode = 'p';
			break;
		case '1':
			one = optarg;
			break;
		case 's':
			only = optarg;
			break;
		case 'j':
			jobs = (unsigned int)atoi(optarg);
			break;
		case 'm':
			which = 1U << mode_named(optarg);
			break;
		case 'J':
			json = true;
			break;
		case 'v':
			verbose = true;
			break;
		case 'S':
			share = (uint32_t)atoi(optarg);
			break;
		default:
			return 2;
		}
	}
	if (jobs < 1 || jobs > JOBS_MAX)
		jobs = 4;
	if (share < 1 || share % ERRORS_MAX == 0) {
		fprintf(stderr, "--share: a number that is no multiple of %d: each errno\n",
			ERRORS_MAX);
		return 2;
	}
	sites_read();
	if (!map_runs())
		return 2;
	if (one)
		return run_one(one);
	return mode == 'p' ? run_plants() : run_scenarios(only, all);
}
