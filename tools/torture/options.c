// SPDX-License-Identifier: MIT
/* options.c - the command line. A bad option: one line that says which, exit 2. */
#include "torture.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <sys/random.h>

#include "../command.h"

#define MAX_SECONDS 86400.0
/* JSON's numbers are doubles: the largest seed that comes back as it went. */
#define MAX_SEED ((UINT64_C(1) << 53) - 1)

static const char usage[] =
	"usage: hmmu torture [OPTION]...\n"
	"\n"
	"Changes real memory while device threads access it through pinned pages, in\n"
	"three columns: unprotected, start-only (HMM's old bug) and hmmu. Passes if the\n"
	"first two show stale accesses and the third shows none.\n"
	"\n"
	"  --seconds N     all told; 15\n"
	"  --threads N     device threads, 1 to 64; 2\n"
	"  --seed N        choices of the threads; random, and printed\n"
	"  --source NAME   best, hooks, userfaultfd, both, seccomp or explicit; best\n"
	"  --callers WHO   libc, raw or mixed; what the source claims to see\n"
	"  --ops LIST      which changes: munmap,brk,... (--help=all); all\n"
	"  --memory LIST   of which memory: anon,shared,memfd,file; all\n"
	"  --disturb LIST  by signals,forks; none\n"
	"  --cache         registration caches instead of mirrors\n"
	"  --replay FILE   make the changes of a recording (hmmu watch --record)\n"
	"  --json          one JSON object on standard output instead of the table\n"
	"  --help[=all]    this; all: also what LIST may hold, and what counts as stale\n"
	"\n"
	"Exit status: 0 passed; 1 stale, or proved nothing, or it could not run; 2 a bad\n"
	"option; 77 this machine has no such source, or no io_uring.\n";

static const char lists[] =
	"\n"
	"  --source   who tells of changes: hooks, userfaultfd, both (of these), seccomp,\n"
	"             or explicit: the mutators call start and end\n"
	"  --callers  who makes them: libc (its functions), raw (system calls), mixed\n"
	"  --ops      munmap map-fixed mremap mremap-fixed dontneed madv-free remove brk\n"
	"             fork free; comma separated\n"
	"  --disturb  signals: to every thread, no call restarts; forks\n"
	"  --cache    the library's and two naive ones; also pages made read-only,\n"
	"             evictions, forked children\n"
	"\n";

static int bad(const char *option, const char *what, const char *value)
{
	fprintf(stderr, "hmmu torture: --%s: %s '%s'; see hmmu torture --help\n", option, what,
		value);
	return -1;
}

static int parse_number(const char *option, const char *text, uint64_t least, uint64_t most,
			uint64_t *value)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 0);
	if (errno || end == text || *end || text[0] == '-' || *value < least || *value > most)
		return bad(option, "not a number in range:", text);
	return 0;
}

static int parse_seconds(const char *text, double *value)
{
	char *end;

	*value = strtod(text, &end);
	if (end == text || *end || !isfinite(*value) || *value <= 0 || *value > MAX_SECONDS)
		return bad("seconds", "not a number in range:", text);
	return 0;
}

static int parse_source(struct options *o, const char *text)
{
	static const struct {
		const char *name;
		unsigned int source;
	} known[] = {
		{"best", HMMU_SOURCE_BEST},
		{"hooks", HMMU_SOURCE_HOOKS},
		{"userfaultfd", HMMU_SOURCE_USERFAULTFD},
		{"both", HMMU_SOURCE_HOOKS | HMMU_SOURCE_USERFAULTFD},
		{"seccomp", HMMU_SOURCE_SECCOMP},
		{"explicit", HMMU_SOURCE_EXPLICIT},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcmp(text, known[i].name) != 0)
			continue;
		o->source = known[i].source;
		o->explicit_source = o->source == HMMU_SOURCE_EXPLICIT;
		return 0;
	}
	return bad("source", "unknown source", text);
}

static int parse_callers(struct options *o, const char *text)
{
	if (!strcmp(text, "libc"))
		o->callers = CALLERS_LIBC;
	else if (!strcmp(text, "raw"))
		o->callers = CALLERS_RAW;
	else if (!strcmp(text, "mixed"))
		o->callers = CALLERS_MIXED;
	else
		return bad("callers", "not libc, raw or mixed:", text);
	return 0;
}

static int parse_list(const char *option, const char *text, const char *const *names, size_t n,
		      bool *set)
{
	memset(set, 0, n * sizeof(*set));
	for (;;) {
		size_t length = strcspn(text, ","), i;

		for (i = 0; i < n; i++)
			if (strlen(names[i]) == length && !strncmp(names[i], text, length))
				break;
		if (i == n) {
			fprintf(stderr,
				"hmmu torture: --%s: unknown name '%.*s'; see hmmu torture "
				"--help\n",
				option, (int)(length < 64 ? length : 64), text);
			return -1;
		}
		set[i] = true;
		if (!text[length])
			return 0;
		text += length + 1;
	}
}

static int parse_one(struct options *o, int which, const char *value)
{
	uint64_t number;
	int ret = 0;

	switch (which) {
	case 's':
		return parse_seconds(value, &o->seconds);
	case 't':
		ret = parse_number("threads", value, 1, MAX_DEVICES, &number);
		o->threads = (unsigned int)number;
		return ret;
	case 'e':
		return parse_number("seed", value, 0, MAX_SEED, &o->seed);
	case 'o':
		return parse_source(o, value);
	case 'c':
		return parse_callers(o, value);
	case 'p':
		return parse_list("ops", value, op_names, NR_OPS, o->ops);
	case 'r':
		o->replay = value;
		return 0;
	case 'd':
		return parse_list("disturb", value, disturb_names, NR_DISTURB, o->disturb);
	case 'm':
		return parse_list("memory", value, memory_names, NR_MEMORIES, o->memories);
	case 'C':
		o->cache = true;
		return 0;
	default:
		o->json = true;
		return 0;
	}
}

static void print_more(void)
{
	fputs(lists, stdout);
	fputs(legality_table, stdout);
	fputs("\n", stdout);
	for (const char *note = cell_notes; *note; note++)
		printf("  (%c) %s\n", *note, cell_note(*note));
}

static void set_defaults(struct options *o)
{
	uint32_t seed = 1;

	*o = (struct options){.seconds = 15, .threads = 2, .source = HMMU_SOURCE_BEST};
	if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) < 0)
		seed = (uint32_t)(torture_now() * 1e6);
	o->seed = seed;
	memset(o->ops, 1, sizeof(o->ops));
	memset(o->memories, 1, sizeof(o->memories));
}

int options_parse(struct options *o, int argc, char **argv, int *status)
{
	static const struct option longs[] = {
		{"seconds", required_argument, NULL, 's'},
		{"threads", required_argument, NULL, 't'},
		{"seed", required_argument, NULL, 'e'},
		{"source", required_argument, NULL, 'o'},
		{"callers", required_argument, NULL, 'c'},
		{"ops", required_argument, NULL, 'p'},
		{"memory", required_argument, NULL, 'm'},
		{"disturb", required_argument, NULL, 'd'},
		{"replay", required_argument, NULL, 'r'},
		{"cache", no_argument, NULL, 'C'},
		{"json", no_argument, NULL, 'j'},
		COMMAND_HELP,
		{NULL, 0, NULL, 0},
	};
	int c;

	set_defaults(o);
	*status = HMMU_EXIT_USAGE;
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":h", longs, NULL)) != -1) {
		if (c == 'h') {
			*status = command_help("hmmu torture", usage, print_more);
			return -1;
		}
		if (c == '?' || c == ':') {
			command_bad_option("hmmu torture", c, argv);
			return -1;
		}
		if (parse_one(o, c, optarg))
			return -1;
	}
	if (optind < argc) {
		fprintf(stderr,
			"hmmu torture: unexpected argument '%s'; see hmmu torture --help\n",
			argv[optind]);
		return -1;
	}
	return 0;
}
