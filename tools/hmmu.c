// SPDX-License-Identifier: MIT
/* hmmu.c - the hmmu command: finds the subcommand and calls it. */
#include "hmmu.h"

#include <stdio.h>
#include <string.h>

#include "arch/patch.h"
#include "command.h"

#ifndef HMMU_TORTURE
int hmmu_torture(int argc, char **argv)
{
	fputs("hmmu torture: this hmmu was built without liburing and libcjson\n", stderr);
	return HMMU_EXIT_REFUSED;
}
#endif

static const struct hmmu_command commands[] = {
	{"doctor", "which change of memory is noticed how exactly on this machine",
	 hmmu_doctor},
	{"torture", "change real memory under a real device and count stale accesses",
	 hmmu_torture},
	{"watch", "run a program and report every invalidation of its memory", hmmu_watch},
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

/* What this build has. @how: beside yes or no. */
struct part {
	const char *name;
	bool there;
	const char *how;
};

static const struct part sources[] = {
	{"explicit", true, ""},
	{"hooks", true, HMMU_ARCH_PATCHES ? "" : "by interposition alone"},
	{"userfaultfd", true, ""},
#ifdef HMMU_SECCOMP
	{"seccomp", true, ""},
#else
	{"seccomp", false, "it is not written for this architecture"},
#endif
};

static const struct part parts[] = {
#ifdef HMMU_TORTURE
	{"torture", true, ""},
#else
	{"torture", false, "liburing, libcjson"},
#endif
#ifdef HMMU_DOCTOR_URING
	{"io_uring in doctor", true, ""},
#else
	{"io_uring in doctor", false, "liburing"},
#endif
#ifdef HMMU_LIBDW
	{"stacks in watch", true, ""},
#else
	{"stacks in watch", false, "libdw"},
#endif
#ifdef HMMU_NCURSES
	{"watch --live", true, ""},
#else
	{"watch --live", false, "ncurses"},
#endif
#ifdef HMMU_CJSON
	{"watch --json", true, ""},
#else
	{"watch --json", false, "libcjson"},
#endif
};

static void print_parts(const char *title, const struct part *part, size_t n, bool json)
{
	printf(json ? ",\n  \"%s\": {" : "%s\n", title);
	for (size_t i = 0; i < n; i++)
		if (json)
			printf("%s\"%s\": %s", i ? ", " : "", part[i].name,
			       part[i].there ? "true" : "false");
		else
			printf("  %-20s %s%s%s\n", part[i].name, part[i].there ? "yes" : "no",
			       *part[i].how ? ": " : "", part[i].how);
	if (json)
		putchar('}');
}

static int version(bool json)
{
	printf(json ? "{\n  \"version\": \"%s\"" : "hmmu %s\n", HMMU_VERSION);
	print_parts("sources", sources, sizeof(sources) / sizeof(sources[0]), json);
	print_parts("parts", parts, sizeof(parts) / sizeof(parts[0]), json);
	if (json)
		puts("\n}");
	return command_flushed("hmmu");
}

static int help(void)
{
	puts("usage: hmmu COMMAND [OPTION]...\n"
	     "\n"
	     "Caches of memory translations that are never stale.\n");
	for (size_t i = 0; i < COMMANDS; i++)
		printf("  %-10s %s\n", commands[i].name, commands[i].summary);
	puts("\n"
	     "  help [COMMAND]      this, or what a command's --help says\n"
	     "  --help              this\n"
	     "  --version [--json]  the version, and what was compiled in\n"
	     "\n"
	     "hmmu COMMAND --help says more, man hmmu-COMMAND all.\n"
	     "\n"
	     "Exit status: 0; 1 what was looked for was found, or it failed; 2 a bad command\n"
	     "or option; 77 this machine does not have what was asked for. hmmu watch ends as\n"
	     "the command that it ran.");
	return command_flushed("hmmu");
}

static const struct hmmu_command *find(const char *name)
{
	for (size_t i = 0; i < COMMANDS; i++)
		if (!strcmp(name, commands[i].name))
			return &commands[i];
	fprintf(stderr, "hmmu: unknown %s '%.64s'; see hmmu --help\n",
		name[0] == '-' ? "option" : "command", name);
	return NULL;
}

/* Nothing may follow. */
static int last(int argc, char **argv, int at)
{
	if (argc <= at)
		return 0;
	fprintf(stderr, "hmmu: unexpected argument '%.64s'; see hmmu --help\n", argv[at]);
	return -1;
}

static int help_on(int argc, char **argv)
{
	char option[] = "--help";
	char *words[] = {argv[2], option, NULL};
	const struct hmmu_command *command;

	if (argc < 3)
		return help();
	command = find(argv[2]);
	if (!command || last(argc, argv, 3))
		return HMMU_EXIT_USAGE;
	return command->run(2, words);
}

int main(int argc, char **argv)
{
	const char *arg = argc > 1 ? argv[1] : NULL;
	const struct hmmu_command *command;
	bool json;

	if (!arg) {
		fputs("hmmu: no command given; see hmmu --help\n", stderr);
		return HMMU_EXIT_USAGE;
	}
	if (!strcmp(arg, "--help") || !strcmp(arg, "-h"))
		return last(argc, argv, 2) ? HMMU_EXIT_USAGE : help();
	if (!strcmp(arg, "help"))
		return help_on(argc, argv);
	if (!strcmp(arg, "--version")) {
		json = argc > 2 && !strcmp(argv[2], "--json");
		return last(argc, argv, 2 + json) ? HMMU_EXIT_USAGE : version(json);
	}
	command = find(arg);
	return command ? command->run(argc - 1, argv + 1) : HMMU_EXIT_USAGE;
}
