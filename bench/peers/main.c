// SPDX-License-Identifier: MIT
/*
 * main.c - hmmu-peers: see peers.h. Two minutes on two quiet CPUs, a few seconds with
 * --quick. A goal that was missed is said and is no failure.
 */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "../options.h"
#include "peers.h"

struct options options = {.rounds = 31, .many = 1000000};

static const char usage[] =
	"usage: hmmu-peers [--json] [--quick] [--rounds N] [--regions N] [--only WORD]\n"
	"                  [--plots DIR]\n";

static int parse_one(int option, const char **directory)
{
	unsigned long value;

	switch (option) {
	case 'j':
		options.json = true;
		return 0;
	case 'q':
		options.quick = true;
		options.rounds = 3;
		options.many = 50000;
		return 0;
	case 'r':
		if (!read_number(optarg, 3, MAX_ROUNDS, &value))
			return bad_option("--rounds", optarg);
		options.rounds = (int)value;
		return 0;
	case 'n':
		if (!read_number(optarg, 20000, 2000000, &value))
			return bad_option("--regions", optarg);
		options.many = value;
		return 0;
	case 'o':
		options.only = optarg;
		return 0;
	case 'p':
		if (!*optarg || strchr(optarg, '\''))
			return bad_option("--plots", optarg);
		*directory = optarg;
		return 0;
	case 'h':
		fputs(usage, stdout);
		exit(0);
	default:
		return 2;
	}
}

static int parse(int argc, char **argv, const char **directory)
{
	static const struct option longs[] = {
		{"json", no_argument, NULL, 'j'},
		{"quick", no_argument, NULL, 'q'},
		{"rounds", required_argument, NULL, 'r'},
		{"regions", required_argument, NULL, 'n'},
		{"only", required_argument, NULL, 'o'},
		{"plots", required_argument, NULL, 'p'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int c, err;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == '?')
			return bad_option(argv[optind - 1], NULL);
		err = parse_one(c, directory);
		if (err)
			return err;
	}
	return optind < argc ? bad_option(argv[optind], NULL) : 0;
}

int main(int argc, char **argv)
{
	const char *directory = NULL;
	int err = parse(argc, argv, &directory);

	if (err)
		return err;
#ifndef HAVE_CJSON
	if (options.json)
		return bad_option("--json", "(built without libcjson)");
#endif
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	table_head();
	table_note("getppid(), a bare system call: %.0f; a locked instruction: %.2f",
		   measure_getppid().median, measure_locked().median / 2);
	peers_hit();
	peers_miss();
	peers_merge();
	peers_unmap();
	goals_print();
	if (directory)
		plots(directory);
	return options.json ? json_print() : 0;
}
