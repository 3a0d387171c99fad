/* SPDX-License-Identifier: MIT */
/* hmmu.h - the command: one function per subcommand. */
#ifndef HMMU_TOOLS_HMMU_H
#define HMMU_TOOLS_HMMU_H

enum hmmu_exit {
	HMMU_EXIT_OK = 0,
	HMMU_EXIT_FAILED = 1,
	HMMU_EXIT_USAGE = 2, /* one line on stderr says which option */
};

struct hmmu_command {
	const char *name;
	const char *summary;
	int (*run)(int argc, char **argv); /* argv[0] is the subcommand's name */
};

int hmmu_doctor(int argc, char **argv);
int hmmu_torture(int argc, char **argv);
int hmmu_watch(int argc, char **argv);

#endif /* HMMU_TOOLS_HMMU_H */
