/* SPDX-License-Identifier: MIT */
/* command.h - what the subcommands share of their command line and of the terminal. */
#ifndef HMMU_TOOLS_COMMAND_H
#define HMMU_TOOLS_COMMAND_H

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hmmu.h"

/* --help, and --help=all where there is more than a screen. */
#define COMMAND_HELP                                 \
	{                                            \
		"help", optional_argument, NULL, 'h' \
	}

static inline bool command_terminal(int fd)
{
	const char *term = getenv("TERM");

	return isatty(fd) && term && *term && strcmp(term, "dumb") != 0;
}

/* no-color.org: set and not empty, on whatever terminal */
static inline bool command_colors(void)
{
	const char *plain = getenv("NO_COLOR");

	return command_terminal(STDOUT_FILENO) && !(plain && *plain);
}

/* A line on standard error that is written over: where somebody sees it. */
static inline bool command_progress(void)
{
	return command_terminal(STDERR_FILENO);
}

static inline void command_progress_over(void)
{
	if (command_progress())
		fputs("\r\033[K", stderr);
}

/* Standard output is out, all of it. */
static inline int command_flushed(const char *command)
{
	if (!fflush(stdout) && !ferror(stdout))
		return HMMU_EXIT_OK;
	fprintf(stderr, "%s: writing standard output: %m\n", command);
	return HMMU_EXIT_FAILED;
}

/* After getopt_long() answered '?' or ':'. */
static inline void command_bad_option(const char *command, int c, char **argv)
{
	/* optind is past the option; a short one may be inside its word. */
	const char *word = argv[optind - 1];
	const char *what = "unknown option";

	if (c == ':')
		what = "a value is missing after";
	else if (!strncmp(word, "--", 2) && optopt)
		what = "it takes no value:";
	fprintf(stderr, "%s: %s '%.64s'; see %s --help\n", command, what, word, command);
}

/* @more: what --help=all says beside it, or NULL. The exit status. */
static inline int command_help(const char *command, const char *usage, void (*more)(void))
{
	if (optarg && strcmp(optarg, "all") != 0) {
		fprintf(stderr, "%s: --help: not 'all': '%.64s'; see %s --help\n", command,
			optarg, command);
		return HMMU_EXIT_USAGE;
	}
	fputs(usage, stdout);
	if (optarg && more)
		more();
	return command_flushed(command);
}

#endif /* HMMU_TOOLS_COMMAND_H */
