/* SPDX-License-Identifier: MIT */
/* hmmu.h - the command: one function per subcommand. */
#ifndef HMMU_TOOLS_HMMU_H
#define HMMU_TOOLS_HMMU_H

/* (`hmmu watch` ends as its command does: watch.c.) */
enum hmmu_exit {
	HMMU_EXIT_OK = 0,
	HMMU_EXIT_FAILED = 1,
	HMMU_EXIT_USAGE = 2,	/* one line on stderr says which option */
	HMMU_EXIT_REFUSED = 77, /* this machine, or this build, does not have it */
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
