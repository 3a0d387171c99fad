// SPDX-License-Identifier: MIT
/*
 * watch.c - the subcommand: options, the loop, the reports, the exit status.
 *
 * The loop looks into the rings every few milliseconds, and oftener while they fill;
 * between two looks it unwinds what has come, for a while. When the last watched process
 * has ended (or --until-exit: the command) the rest is unwound and reported.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "command.h"
#include "watch/watch.h"

#define EXIT_MISSING 127
#define EXIT_NOT_EXECUTABLE 126
#define EXIT_OWN 125
#define UNWIND 0.003 /* seconds at a time */
#define MISSED 0.1   /* seconds between two looks for what is missed */
#define DRAW 0.5
#define NAMED 100 /* call sites whose names are looked up while the program runs */

static const char usage[] =
	"usage: hmmu watch [OPTION]... [--] COMMAND [ARG]...\n"
	"\n"
	"Runs COMMAND and reports every invalidation of its memory and its children's:\n"
	"what was called, how often, on how much, and from where.\n"
	"\n"
	"  -o FILE         write the report to FILE instead of standard error\n"
	"  --events        list each invalidation, not only the summary\n"
	"  --json          one JSON document instead of text\n"
	"  --record FILE   write the invalidations to FILE (hmmu torture --replay FILE)\n"
	"  --what-if SIZE  what a registration cache over mappings of at least SIZE\n"
	"                  would have suffered; SIZE with K, M or G\n"
	"  --live          watch it happen, full-screen; q leaves the view\n"
	"  --top N         so many call sites; 10\n"
	"  --stack SIZE    copy so much of each new stack; 0: none; 16K, at most 64K\n"
	"  --buffer N      room for N unread events per process; a power of two; 16384\n"
	"  --until-exit    end with COMMAND, not with the last of its children\n"
	"  --help          this\n"
	"\n"
	"Exit status: COMMAND's own (and its signal, if it dies of one); 127 it was not\n"
	"found, 126 it cannot be executed, 125 hmmu watch failed, 2 a bad option.\n";

static int bad(const char *option, const char *value)
{
	fprintf(stderr,
		"hmmu watch: --%s: not a number in range: '%s'; see hmmu watch --help\n",
		option, value);
	return -1;
}

static int parse_size(const char *option, const char *text, uint64_t least, uint64_t most,
		      uint64_t *value)
{
	static const char suffixes[] = "KMG";
	const char *suffix;
	unsigned int shift = 0;
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 0);
	if (errno || end == text || text[0] == '-')
		return bad(option, text);
	if (*end) {
		suffix = strchr(suffixes, *end >= 'a' ? *end - 'a' + 'A' : *end);
		if (!suffix || end[1])
			return bad(option, text);
		shift = 10 * (unsigned int)(suffix - suffixes + 1);
	}
	if (*value > most >> shift || *value << shift < least)
		return bad(option, text);
	*value <<= shift;
	return 0;
}

static int parse_number(int which, const char *value, struct watch_options *o)
{
	uint64_t number = 0;
	int ret = 0;

	switch (which) {
	case 'w':
		return parse_size("what-if", value, 1, UINT64_C(1) << 46, &o->what_if);
	case 't':
		ret = parse_size("top", value, 0, 1000000, &number);
		o->top = (unsigned int)number;
		break;
	case 's':
		ret = parse_size("stack", value, 0, WATCH_WINDOW, &number);
		o->window = (unsigned int)number & ~7u;
		break;
	default:
		ret = parse_size("buffer", value, 8, 1 << 22, &number);
		if (!ret && number & (number - 1))
			ret = bad("buffer", value);
		o->buffer = (unsigned int)number;
	}
	return ret;
}

static int parse_one(int which, const char *value, struct watch_options *o)
{
	switch (which) {
	case 'o':
		o->output = value;
		return 0;
	case 'r':
		o->record = value;
		return 0;
	case 'e':
		o->events = true;
		return 0;
	case 'j':
		o->json = true;
		return 0;
	case 'l':
		o->live = true;
		return 0;
	case 'u':
		o->until_exit = true;
		return 0;
	default:
		return parse_number(which, value, o);
	}
}

static int parse(struct watch_options *o, int argc, char **argv, int *status)
{
	static const struct option longs[] = {
		{"events", no_argument, NULL, 'e'},
		{"json", no_argument, NULL, 'j'},
		{"record", required_argument, NULL, 'r'},
		{"what-if", required_argument, NULL, 'w'},
		{"live", no_argument, NULL, 'l'},
		{"top", required_argument, NULL, 't'},
		{"stack", required_argument, NULL, 's'},
		{"buffer", required_argument, NULL, 'b'},
		{"until-exit", no_argument, NULL, 'u'},
		COMMAND_HELP,
		{NULL, 0, NULL, 0},
	};
	int c;

	*o = (struct watch_options){.top = 10, .window = 16 << 10, .buffer = 16384};
	*status = HMMU_EXIT_USAGE;
	opterr = 0;
	while ((c = getopt_long(argc, argv, "+:ho:", longs, NULL)) != -1) {
		if (c == 'h') {
			*status = command_help("hmmu watch", usage, NULL);
			return -1;
		}
		if (c == '?' || c == ':') {
			command_bad_option("hmmu watch", c, argv);
			return -1;
		}
		if (parse_one(c, optarg, o))
			return -1;
	}
	o->command = argv + optind;
	if (optind < argc)
		return 0;
	fputs("hmmu watch: no command given; see hmmu watch --help\n", stderr);
	return -1;
}

/* How long until the next look, in ms: short while a ring fills. */
static int nap(const struct watch *w, bool any)
{
	uint64_t most = 0;

	for (uint32_t i = 0; i < WATCH_SLOTS; i++)
		if (w->at[i] && w->region[i]->head - w->region[i]->tail > most)
			most = w->region[i]->head - w->region[i]->tail;
	if (most > w->options.buffer / 8)
		return 0;
	return any ? 2 : 5;
}

static bool over(const struct watch *w)
{
	if (!w->child_ended)
		return false;
	return w->options.until_exit || w->told_to_end || !watch_processes_alive(w);
}

static void say_waiting(const struct watch *w, bool *said)
{
	unsigned int n = 0;

	if (*said || !w->child_ended || w->options.until_exit || w->options.live)
		return;
	*said = true;
	for (uint32_t i = 0; i < WATCH_SLOTS; i++)
		n += w->at[i] != NULL;
	if (n && command_progress())
		fprintf(stderr,
			"hmmu watch: %s has ended; %u of its processes go on: interrupt to "
			"report now\n",
			w->options.command[0], n);
}

static void loop(struct watch *w, int signals, struct watch_live *live)
{
	struct pollfd fd = {.fd = signals, .events = POLLIN};
	double now, missed = 0, draw = 0;
	bool any, unwound, said = false;
	uint32_t named = 0;

	while (!over(w)) {
		any = watch_drain(w);
		watch_processes_look(w);
		unwound = watch_stacks_unwind(w, UNWIND);
		/* Nothing to do: names ahead, those that the report will likely show. */
		if (!any && unwound && w->nr_sites > named) {
			watch_resolve(w, NULL, w->nr_sites < NAMED ? w->nr_sites : NAMED,
				      WATCH_SHOWN_FRAMES);
			named = w->nr_sites;
		}
		any |= !unwound;
		poll(&fd, 1, nap(w, any));
		watch_on_signals(w, signals);
		now = watch_seconds();
		if (now - missed > MISSED) {
			if (missed > 0)
				say_waiting(w, &said);
			watch_missed_look(w);
			missed = now;
		}
		if (live && now - draw > DRAW) {
			w->ended_tsc = watch_now();
			w->tsc_rate = (double)(w->ended_tsc - w->begun_tsc) / (now - w->begun);
			watch_live_draw(live, w);
			draw = now;
		}
		if (live && !watch_live_poll(live)) {
			watch_live_close(live);
			live = NULL;
		}
	}
	watch_live_close(live);
	watch_drain(w);
}

static int reports(struct watch *w)
{
	FILE *out = w->out;
	int ret = 0;

	while (!watch_stacks_unwind(w, 1))
		;
	watch_stacks_settle(w);
	watch_store_sort(w);
	if (w->options.what_if)
		watch_what_if(w);
	if (w->options.record)
		ret = watch_export(w, w->options.record);
	if (w->options.json)
		ret |= watch_json(w, out);
	else
		watch_report(w, out);
	if (fflush(out) || ferror(out) || (out != stderr && fclose(out))) {
		fprintf(stderr, "hmmu watch: writing the report: %s\n", strerror(errno));
		ret = -1;
	}
	return ret;
}

static int not_found(const char *name, int error)
{
	if (error == -ENOENT) {
		fprintf(stderr, "hmmu watch: %s: command not found\n", name);
		return EXIT_MISSING;
	}
	fprintf(stderr, "hmmu watch: %s: cannot be executed: %s\n", name, strerror(-error));
	return EXIT_NOT_EXECUTABLE;
}

static void warn_unreachable(const char *path)
{
	const char *why = watch_unreachable(path);

	if (why)
		fprintf(stderr,
			"hmmu watch: %s: %s: it will not be watched, its children may be. "
			"What hooks cannot reach, libhmmu's HMMU_SOURCE_SECCOMP can, from "
			"inside the program.\n",
			path, why);
}

static int run(struct watch *w, const char *path, const char *module)
{
	struct watch_live *live = NULL;
	int signals, ret;

	ret = watch_shared_open(w);
	if (ret) {
		fprintf(stderr, "hmmu watch: making shared memory: %s\n", strerror(-ret));
		return EXIT_OWN;
	}
	signals = watch_signals();
	w->begun = watch_seconds();
	w->begun_tsc = watch_now();
	ret = watch_spawn(w, path, module);
	if (ret)
		return not_found(w->options.command[0], ret);
	if (w->options.window && (w->options.top || w->options.json))
		watch_resolve_ahead();
	if (w->options.live) {
		live = watch_live_open();
		if (!live)
			fputs("hmmu watch: --live: no terminal, or built without ncurses\n",
			      stderr);
	}
	loop(w, signals, live);
	w->ended = watch_seconds();
	w->ended_tsc = watch_now();
	w->tsc_rate = (double)(w->ended_tsc - w->begun_tsc) / (w->ended - w->begun);
	if (reports(w) && WIFEXITED(w->status) && !WEXITSTATUS(w->status))
		return EXIT_OWN;
	return watch_exit(w);
}

int hmmu_watch(int argc, char **argv)
{
	static struct watch w;
	char path[PATH_MAX], module[PATH_MAX + 64];
	int status = HMMU_EXIT_FAILED, ret;

	if (parse(&w.options, argc, argv, &status))
		return status;
	ret = watch_find_command(w.options.command[0], path, sizeof(path));
	if (ret)
		return not_found(w.options.command[0], ret);
	if (watch_find_module(module, sizeof(module))) {
		fprintf(stderr, "hmmu watch: libhmmu-watch.so is not where it was installed\n");
		return EXIT_OWN;
	}
	w.name = path;
	/* Before the command runs: a long run must not end without its report. */
	w.out = w.options.output ? fopen(w.options.output, "we") : stderr;
	if (!w.out) {
		fprintf(stderr, "hmmu watch: %s: %s\n", w.options.output, strerror(errno));
		return EXIT_OWN;
	}
	warn_unreachable(path);
	return run(&w, path, module);
}
