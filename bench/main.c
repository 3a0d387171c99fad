// SPDX-License-Identifier: MIT
/*
 * main.c - hmmu-bench: the figures, both sides of each ratio in one run. Half a minute
 * on two quiet CPUs, a few seconds with --quick. A goal that was missed is
 * said and is no failure: exit 0 whenever the figures could be made.
 */
#include "bench.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"

struct options options = {.rounds = 51, .many = 1000000, .loads = LOADS};

static const char usage[] =
	"usage: hmmu-bench [--json] [--quick] [--rounds N] [--subscriptions N] [--only WORD]\n"
	"		  [--loads DIRECTORY] [--results DIRECTORY] [--plots DIRECTORY]\n"
	"--only: rows with WORD in the name of their group or in their own; loads: only the\n"
	"	recordings of programs, replayed: *.rec.gz or *.rec of --loads "
	"(bench/record.sh)\n";

static int parse(int argc, char **argv)
{
	static const struct option longs[] = {
		{"json", no_argument, NULL, 'j'},
		{"quick", no_argument, NULL, 'q'},
		{"rounds", required_argument, NULL, 'r'},
		{"subscriptions", required_argument, NULL, 'n'},
		{"only", required_argument, NULL, 'o'},
		{"loads", required_argument, NULL, 'l'},
		{"results", required_argument, NULL, 'R'},
		{"plots", required_argument, NULL, 'p'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	unsigned long value;
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'j':
			options.json = true;
			break;
		case 'q':
			options.quick = true;
			options.rounds = 5;
			options.many = 100000;
			break;
		case 'r':
			if (!read_number(optarg, 3, MAX_ROUNDS, &value))
				return bad_option("--rounds", optarg);
			options.rounds = (int)value;
			break;
		case 'n':
			if (!read_number(optarg, 2000, 4000000, &value))
				return bad_option("--subscriptions", optarg);
			options.many = value;
			break;
		case 'o':
			options.only = optarg;
			break;
		case 'R':
			options.results = optarg;
			break;
		case 'p':
			options.plots = optarg;
			break;
		case 'l':
			options.loads = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			exit(0);
		default:
			return bad_option(argv[optind - 1], NULL);
		}
	}
	return optind < argc ? bad_option(argv[optind], NULL) : 0;
}

static void groups(void)
{
	/* First: they fork, and want a process without a large heap. */
	bench_hooks();
	bench_sources();
	bench_devmem();
	bench_core();
	bench_storm();
	bench_regcache();
	bench_hmm();
	bench_mirror();
}

int main(int argc, char **argv)
{
	int err = parse(argc, argv), missed;

	if (err)
		return err;
#ifndef HAVE_CJSON
	if (options.json || options.results)
		return bad_option("--json, --results", "(built without libcjson)");
#endif
	pin(0);
	report_head();
	measure_machine();
	if (!options.only || strcmp(options.only, "loads") != 0)
		groups();
	bench_loads();
	missed = report_sum();
	if (options.plots)
		plots(options.plots);
	return json_end(missed);
}
