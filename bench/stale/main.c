// SPDX-License-Identifier: MIT
/*
 * main.c - hmmu-stale: registration caches side by side, each under the same stress (stale.h),
 * in turns, in one run.
 */
#include "../options.h"
#include "stale.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TURNS 10
#define SLOWEST 256u /* us */
#define SKIP 77

static const char usage[] =
	"usage: hmmu-stale [--json] [--remaps N] [--enough N]\n"
	"\n"
	"How often do registration caches hand out memory that is gone? One thread maps,\n"
	"writes, unmaps and maps again one address; another looks it up and compares what\n"
	"the pinned page holds with what the process reads. First as fast as it goes, then\n"
	"slowed more and more, until the cache that is known for it has shown enough.\n"
	"\n"
	"  --remaps N  of each cache (100000); slowed, a tenth of them\n"
	"  --enough N  stale generations without which nothing is proven (100)\n"
	"  --json      the result as JSON\n"
	"\n"
	"Exit: 0 shown, and none with hmmu; 1 some with hmmu, or nothing proven; 2 bad "
	"option;\n"
	"77 this machine refuses what the test needs.\n";

static const struct side *const sides[] = {&side_ucx, &side_ucx_hmmu, &side_hmmu};
#define N_SIDES (sizeof(sides) / sizeof(sides[0]))

static struct {
	bool json;
	uint64_t remaps;
	uint64_t enough;
} options = {.remaps = 100000, .enough = 100};

struct speed {
	unsigned int slow_us;
	struct count count[N_SIDES];
};

#define MAX_SPEEDS 8
static struct speed speeds[MAX_SPEEDS];
static unsigned int n_speeds;

static struct worker workers[N_SIDES];

/* ---- options -------------------------------------------------------------------- */

static void bad(const char *option, const char *value)
{
	exit(bad_option(option, value));
}

static uint64_t number(const char *option, const char *text, uint64_t low)
{
	unsigned long value;

	if (!read_number(text, low, 1000000000, &value))
		bad(option, text);
	return value;
}

static void parse(int argc, char **argv)
{
	static const struct option longs[] = {
		{"json", no_argument, NULL, 'j'},
		{"remaps", required_argument, NULL, 'r'},
		{"enough", required_argument, NULL, 'e'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'j':
			options.json = true;
			break;
		case 'r':
			options.remaps = number("--remaps", optarg, TURNS);
			break;
		case 'e':
			options.enough = number("--enough", optarg, 1);
			break;
		case 'h':
			fputs(usage, stdout);
			exit(0);
		default:
			bad(argv[optind - 1], NULL);
		}
	}
	if (optind < argc)
		bad(argv[optind], NULL);
}

/* ---- the run --------------------------------------------------------------------- */

static void stop_workers(void)
{
	for (size_t i = 0; i < N_SIDES; i++)
		worker_stop(&workers[i]);
}

static void give_up(const struct side *side, int ret)
{
	fprintf(stderr, "hmmu-stale: %s: %s\n", side->name, strerror(-ret));
	stop_workers();
	exit(ret == -EPROTO ? 1 : SKIP);
}

static void progress(const struct speed *speed, int turn)
{
	if (!isatty(STDERR_FILENO))
		return;
	if (turn == TURNS)
		fputs("\r\033[K", stderr);
	else
		fprintf(stderr, "\rslowed by %u us: %d of %d, stale %" PRIu64 "\033[K",
			speed->slow_us, turn, TURNS, speed->count[0].stale);
}

static void add(struct count *sum, const struct count *c)
{
	sum->remaps += c->remaps;
	sum->lookups += c->lookups;
	sum->moved += c->moved;
	sum->stale += c->stale;
	sum->zero += c->zero;
	sum->wrong += c->wrong;
	sum->seconds += c->seconds;
}

/* A slowed remap takes longer and shows more. */
static uint64_t remaps_at(const struct speed *speed)
{
	uint64_t n = options.remaps / 10;

	if (!speed->slow_us)
		return options.remaps;
	if (n < 2 * options.enough)
		n = 2 * options.enough;
	return n < options.remaps ? n : options.remaps;
}

/* In turns: what the machine does meanwhile happens to all of them. */
static void run(struct speed *speed)
{
	struct order order = {remaps_at(speed) / TURNS, speed->slow_us};
	struct count count;

	for (int turn = 0; turn < TURNS; turn++) {
		progress(speed, turn);
		for (size_t i = 0; i < N_SIDES; i++) {
			size_t n = turn % 2 ? N_SIDES - 1 - i : i;
			int ret = worker_do(&workers[n], &order, &count);

			if (ret)
				give_up(sides[n], ret);
			add(&speed->count[n], &count);
		}
	}
	progress(speed, TURNS);
}

/* Has every side that is known for it shown enough at this speed? */
static bool shown(const struct speed *speed)
{
	for (size_t i = 0; i < N_SIDES; i++)
		if (sides[i]->control && speed->count[i].stale < options.enough)
			return false;
	return true;
}

static uint64_t protected_stale(void)
{
	uint64_t n = 0;

	for (unsigned int s = 0; s < n_speeds; s++)
		for (size_t i = 0; i < N_SIDES; i++)
			n += sides[i]->control ? 0 : speeds[s].count[i].stale;
	return n;
}

static uint64_t wrong(void)
{
	uint64_t n = 0;

	for (unsigned int s = 0; s < n_speeds; s++)
		for (size_t i = 0; i < N_SIDES; i++)
			n += speeds[s].count[i].wrong;
	return n;
}

/* ---- the table -------------------------------------------------------------------- */

static double per_100000(const struct count *c)
{
	return c->remaps ? (double)c->stale * 1e5 / (double)c->remaps : 0;
}

static void print_head(void)
{
	printf("%-16s %-14s %10s %8s %12s %8s %10s\n", "", "", "remaps", "stale", "per 100,000",
	       "zero", "remaps/s");
}

static void print_speed(const struct speed *speed)
{
	char name[32] = "normal";

	if (speed->slow_us)
		snprintf(name, sizeof(name), "slowed, %u us", speed->slow_us);
	for (size_t i = 0; i < N_SIDES; i++) {
		const struct count *c = &speed->count[i];

		printf("%-16s %-14s %10" PRIu64 " %8" PRIu64 " %12.1f %8" PRIu64 " %10.0f\n",
		       i ? "" : name, sides[i]->name, c->remaps, c->stale, per_100000(c),
		       c->zero, c->seconds > 0 ? (double)c->remaps / c->seconds : 0);
	}
	fflush(stdout);
}

static void print_json_side(const struct speed *speed, size_t i, bool last)
{
	const struct count *c = &speed->count[i];

	printf("    {\"slow_us\": %u, \"side\": \"%s\", \"control\": %s, \"remaps\": %" PRIu64
	       ", \"lookups\": %" PRIu64 ", \"moved\": %" PRIu64 ", \"stale\": %" PRIu64
	       ", \"stale_per_100000\": %.2f, \"zero\": %" PRIu64 ", \"wrong\": %" PRIu64
	       ", \"seconds\": %.3f}%s\n",
	       speed->slow_us, sides[i]->name, sides[i]->control ? "true" : "false", c->remaps,
	       c->lookups, c->moved, c->stale, per_100000(c), c->zero, c->wrong, c->seconds,
	       last ? "" : ",");
}

static void print_json(bool proven)
{
	printf("{\n  \"program\": \"hmmu-stale\", \"enough\": %" PRIu64 ", \"proven\": %s,\n"
	       "  \"protected_stale\": %" PRIu64 ",\n  \"runs\": [\n",
	       options.enough, proven ? "true" : "false", protected_stale());
	for (unsigned int s = 0; s < n_speeds; s++)
		for (size_t i = 0; i < N_SIDES; i++)
			print_json_side(&speeds[s], i, s + 1 == n_speeds && i + 1 == N_SIDES);
	printf("  ]\n}\n");
}

static int verdict(bool proven)
{
	const char *text;
	int code = 1;

	if (wrong()) {
		text = "A pin held what was never written: the test is broken.";
	} else if (protected_stale()) {
		text = "Stale with hmmu: a bug.";
	} else if (!proven) {
		text = "Nothing proven: the unprotected cache showed too few here.";
	} else {
		text = "Shown: stale without, none with hmmu.";
		code = 0;
	}
	fprintf(options.json ? stderr : stdout, "%s\n", text);
	return code;
}

int main(int argc, char **argv)
{
	bool proven = false;

	parse(argc, argv);
	signal(SIGPIPE, SIG_IGN); /* a worker that died is an answer */
	for (size_t i = 0; i < N_SIDES; i++) {
		int ret = worker_start(&workers[i], sides[i]);

		if (ret)
			give_up(sides[i], ret);
	}
	if (!options.json)
		print_head();
	for (unsigned int us = 0; us <= SLOWEST && !proven && n_speeds < MAX_SPEEDS;
	     us = us ? us * 4 : 1) {
		struct speed *speed = &speeds[n_speeds++];

		speed->slow_us = us;
		run(speed);
		if (!options.json)
			print_speed(speed);
		/* The slowed one is always run. */
		proven = us && shown(speed);
	}
	stop_workers();
	if (options.json)
		print_json(proven);
	return verdict(proven);
}
