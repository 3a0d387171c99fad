// SPDX-License-Identifier: MIT
/* options.c - the command line. A bad option: one line that says which, exit 2. */
#include "doctor.h"

#include "../command.h"

static const char usage[] =
	"usage: hmmu doctor [OPTION]...\n"
	"\n"
	"Changes memory in every way that there is, under each source of the library,\n"
	"and shows what the library noticed on this machine, and when.\n"
	"\n"
	"  --source NAME     explicit, hooks, userfaultfd, hooks+userfaultfd or\n"
	"                    seccomp; all\n"
	"  --operation NAME  munmap, mmap_fixed, mremap, madvise, brk, shmdt,\n"
	"                    shmat_remap, mprotect, fork, ftruncate, fallocate,\n"
	"                    madvise_guard, process_madvise, pkey_mprotect or\n"
	"                    remap_file_pages; all\n"
	"  --json            one JSON object on standard output instead of the tables\n"
	"  --help            this\n"
	"\n"
	"Exit status: 0; 1 something is weaker than the library claims, or could not be\n"
	"found out; 2 a bad option; 77 the source that was named is not available here.\n";

static int choose(const char *option, const char *name, const char *const *names, size_t n,
		  bool *set)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(names[i], name) != 0)
			continue;
		memset(set, 0, n * sizeof(*set));
		set[i] = true;
		return 0;
	}
	fprintf(stderr, "hmmu doctor: --%s: unknown name '%.64s'; see hmmu doctor --help\n",
		option, name);
	return -1;
}

static int parse_one(struct doctor *d, int which, const char *value)
{
	switch (which) {
	case 's':
		return choose("source", value, set_names, SET_NR, d->sets);
	case 'o':
		return choose("operation", value, operation_names, HMMU_OP_NR, d->ops);
	default:
		d->json = true;
		return 0;
	}
}

/* 0: go on; -1: exit with *status. */
int doctor_options(struct doctor *d, int argc, char **argv, int *status)
{
	static const struct option longs[] = {
		{"source", required_argument, NULL, 's'},
		{"operation", required_argument, NULL, 'o'},
		{"json", no_argument, NULL, 'j'},
		COMMAND_HELP,
		{NULL, 0, NULL, 0},
	};
	int which;

	memset(d->sets, 1, sizeof(d->sets));
	memset(d->ops, 1, sizeof(d->ops));
	d->color = command_colors();
	*status = HMMU_EXIT_USAGE;
	opterr = 0;
	while ((which = getopt_long(argc, argv, ":h", longs, NULL)) != -1) {
		if (which == '?' || which == ':') {
			command_bad_option("hmmu doctor", which, argv);
			return -1;
		}
		if (which == 'h') {
			*status = command_help("hmmu doctor", usage, NULL);
			return -1;
		}
		if (parse_one(d, which, optarg))
			return -1;
	}
	if (optind < argc) {
		fprintf(stderr,
			"hmmu doctor: unknown argument '%.64s'; see hmmu doctor --help\n",
			argv[optind]);
		return -1;
	}
	return 0;
}
