// SPDX-License-Identifier: MIT
/* hmmu.c - the hmmu command: finds the subcommand and calls it. */
#include "hmmu.h"

#include <stdio.h>
#include <string.h>

#ifndef HMMU_TORTURE
int hmmu_torture(int argc, char **argv)
{
	fputs("hmmu torture: this hmmu was built without liburing and libcjson\n", stderr);
	return HMMU_EXIT_FAILED;
}
#endif

static const struct hmmu_command commands[] = {
	{"doctor", "which change of memory is noticed how exactly on this machine",
	 hmmu_doctor},
	{"torture", "change real memory under a real device and count stale accesses",
	 hmmu_torture},
	{"watch", "run a program and report every invalidation of its memory", hmmu_watch},
};

static int finish(void)
{
	return fflush(stdout) || ferror(stdout) ? HMMU_EXIT_FAILED : HMMU_EXIT_OK;
}

static int help(void)
{
	puts("usage: hmmu COMMAND [OPTION]...\n"
	     "       hmmu --help | --version\n"
	     "\n"
	     "Caches of memory translations that are never stale.\n"
	     "\n"
	     "commands:");
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		printf("  %-10s %s\n", commands[i].name, commands[i].summary);
	puts("\n"
	     "hmmu COMMAND --help says more; so does man hmmu-COMMAND.");
	return finish();
}

int main(int argc, char **argv)
{
	const char *arg = argc > 1 ? argv[1] : NULL;

	if (!arg) {
		fputs("hmmu: no command given; see hmmu --help\n", stderr);
		return HMMU_EXIT_USAGE;
	}
	if (!strcmp(arg, "--help") || !strcmp(arg, "-h"))
		return help();
	if (!strcmp(arg, "--version")) {
		puts("hmmu " HMMU_VERSION);
		return finish();
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(arg, commands[i].name))
			return commands[i].run(argc - 1, argv + 1);
	fprintf(stderr, "hmmu: unknown %s '%s'; see hmmu --help\n",
		arg[0] == '-' ? "option" : "command", arg);
	return HMMU_EXIT_USAGE;
}
