// SPDX-License-Identifier: MIT
/* report.c - the progress line, the table, the matrix. */
#include "cache.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../command.h"

#define LABEL 17
#define WIDTH 16

const char *source_name(const struct torture *t)
{
	switch (t->options.source) {
	case HMMU_SOURCE_EXPLICIT:
		return "explicit";
	case HMMU_SOURCE_HOOKS:
		return "hooks";
	case HMMU_SOURCE_USERFAULTFD:
		return "userfaultfd";
	case HMMU_SOURCE_HOOKS | HMMU_SOURCE_USERFAULTFD:
		return "both";
	case HMMU_SOURCE_SECCOMP:
		return "seccomp";
	default:
		return "best";
	}
}

/* How a munmap by @caller is told. */
static struct hmmu_coverage munmap_by(const struct torture *t, enum hmmu_caller caller)
{
	struct hmmu_coverage found[HMMU_OP_NR * HMMU_CALLER_NR], none = {0};
	int n = hmmu_mm_describe(t->mm, found, sizeof(found) / sizeof(found[0]));

	for (int i = 0; i < n; i++)
		if (found[i].operation == HMMU_OP_MUNMAP && found[i].caller == caller)
			return found[i];
	return none;
}

bool source_brackets(const struct torture *t)
{
	return t->options.explicit_source ||
	       munmap_by(t, HMMU_CALLER_LIBC).exactness == HMMU_BRACKETED;
}

bool source_sees_raw(const struct torture *t)
{
	return t->options.explicit_source ||
	       munmap_by(t, HMMU_CALLER_RAW).exactness != HMMU_UNWATCHED;
}

bool source_has_net(const struct torture *t)
{
	return munmap_by(t, HMMU_CALLER_RAW).source == HMMU_SOURCE_USERFAULTFD;
}

/* What "best" has come to. */
static const char *source_found(const struct torture *t)
{
	bool hooks = munmap_by(t, HMMU_CALLER_LIBC).source == HMMU_SOURCE_HOOKS;
	bool net = munmap_by(t, HMMU_CALLER_RAW).source == HMMU_SOURCE_USERFAULTFD;

	if (hooks && net)
		return " (hooks, userfaultfd)";
	return hooks ? " (hooks)" : net ? " (userfaultfd)" : "";
}

static const char *callers_name(const struct torture *t)
{
	switch (t->options.callers) {
	case CALLERS_RAW:
		return "raw system calls";
	case CALLERS_MIXED:
		return "libc's and raw system calls";
	default:
		return "libc's calls";
	}
}

/* Racy sums on purpose: they are only looked at. */
void report_progress(const struct torture *t, double passed)
{
	uint64_t stale[NR_COLUMNS] = {0};

	if (!command_progress())
		return;
	for (unsigned int i = 0; i < t->nr_devices; i++)
		for (enum column c = 0; c < NR_COLUMNS; c++) {
			const volatile struct counts *n = &t->devices[i].counts[c];

			stale[c] += n->stale_reads + n->stale_writes;
		}
	fprintf(stderr,
		"\r%4.0f of %.0f s   stale: unprotected %" PRIu64 ", start-only %" PRIu64
		", hmmu %" PRIu64 "\033[K",
		passed, t->options.seconds, stale[0], stale[1], stale[2]);
}

/* 1234567 -> 1,234,567 */
static void group(char *out, size_t size, uint64_t value)
{
	char digits[24];
	int n = snprintf(digits, sizeof(digits), "%" PRIu64, value), at = 0;

	for (int i = 0; i < n && at + 2 < (int)size; i++) {
		if (i && (n - i) % 3 == 0)
			out[at++] = ',';
		out[at++] = digits[i];
	}
	out[at] = '\0';
}

static uint64_t rate(uint64_t n, double seconds)
{
	return seconds > 0 ? (uint64_t)((double)n / seconds) : 0;
}

static void row(const char *label, uint64_t a, uint64_t b, uint64_t c)
{
	char text[3][32];

	group(text[0], sizeof(text[0]), a);
	group(text[1], sizeof(text[1]), b);
	group(text[2], sizeof(text[2]), c);
	printf("%-*s%*s%*s%*s\n", LABEL, label, WIDTH, text[0], WIDTH, text[1], WIDTH, text[2]);
}

#define ROW(label, expression)                                    \
	do {                                                      \
		uint64_t value[NR_COLUMNS];                       \
		for (enum column c_ = 0; c_ < NR_COLUMNS; c_++) { \
			const struct total *n = &total[c_];       \
			value[c_] = (expression);                 \
		}                                                 \
		row(label, value[0], value[1], value[2]);         \
	} while (0)

static void columns(const struct total *total)
{
	printf("%-*s%*s%*s%*s\n", LABEL, "", WIDTH, column_names[0], WIDTH, column_names[1],
	       WIDTH, column_names[2]);
	printf("%-*s%*.1f%*.1f%*.1f\n", LABEL, "seconds", WIDTH, total[0].seconds, WIDTH,
	       total[1].seconds, WIDTH, total[2].seconds);
	ROW("accesses/s", rate(n->accesses, n->seconds));
	ROW("look-ups/s", rate(n->counts.mirror.lookups, n->seconds));
	ROW("invalidations/s", rate(n->changes, n->seconds));
	ROW("  window met", n->met);
	ROW("hits", n->counts.mirror.hits);
	ROW("misses", n->counts.mirror.misses);
	ROW("retries", n->counts.mirror.retries);
	ROW("waits", n->counts.mirror.waits);
	ROW("refused", n->counts.mirror.refused);
	ROW("discarded", n->counts.mirror.discarded);
	ROW("stale", n->stale);
}

static void cell_text(const struct torture *t, enum op op, enum memory memory, char *text,
		      size_t size)
{
	const struct region *r = region_at(t, op, memory);
	uint64_t stale[NR_COLUMNS], sum = 0;

	if (!t->options.ops[op] || !t->options.memories[memory]) {
		snprintf(text, size, ".");
		return;
	}
	for (enum column c = 0; r && c < NR_COLUMNS; c++)
		sum += stale[c] = cell_stale(t, r, c);
	/* A cell that cannot show anything, and did, says so. */
	if (cells[op][memory].note && !sum)
		snprintf(text, size, "n/a (%c)", cells[op][memory].note);
	else
		snprintf(text, size, "%" PRIu64 "/%" PRIu64 "/%" PRIu64 "%s", stale[0],
			 stale[1], stale[2], r->dead ? "!" : "");
}

static void matrix(const struct torture *t, char *notes, size_t size)
{
	size_t n = 0;

	printf("\nstale accesses, unprotected/start-only/hmmu\n%-*s", LABEL - 4, "");
	for (enum memory m = 0; m < NR_MEMORIES; m++)
		printf(" %15s", memory_names[m]);
	printf("\n");
	for (enum op op = 0; op < NR_OPS; op++) {
		if (!t->options.ops[op])
			continue;
		printf("%-*s", LABEL - 4, op_names[op]);
		for (enum memory m = 0; m < NR_MEMORIES; m++) {
			char text[80], note = t->options.memories[m] ? cells[op][m].note : 0;

			cell_text(t, op, m, text, sizeof(text));
			printf(" %15s", text);
			if (note && !strchr(notes, note) && n + 1 < size) {
				notes[n++] = note;
				notes[n] = '\0';
			}
		}
		printf("\n");
	}
}

/* Cells that should have shown something under a planted bug: more time would. */
static void not_shown(const struct torture *t)
{
	const char *separator = "not shown this time by a planted bug: ";

	for (unsigned int i = 0; i < t->nr_regions; i++) {
		const struct region *r = &t->regions[i];

		if (!r->cell->shows || r->dead ||
		    (cell_stale(t, r, COL_UNPROTECTED) && cell_stale(t, r, COL_START_ONLY)))
			continue;
		printf("%s%s x %s", separator, op_names[r->op], memory_names[r->memory]);
		separator = ", ";
	}
	if (separator[0] == ',')
		puts("");
}

static void footnotes(const struct torture *t, const struct total *total, const char *notes)
{
	uint64_t no_memory = 0;

	for (const char *note = cell_notes; *note; note++)
		if (strchr(notes, *note))
			printf("(%c) %s\n", *note, cell_note(*note));
	for (enum column c = 0; c < NR_COLUMNS; c++)
		no_memory += total[c].counts.no_memory;
	if (no_memory)
		printf("%" PRIu64 " accesses were refused by RLIMIT_MEMLOCK\n", no_memory);
	for (unsigned int i = 0; i < t->nr_regions; i++)
		if (t->regions[i].dead)
			printf("! %s x %s " REGION_DEAD "\n", op_names[t->regions[i].op],
			       memory_names[t->regions[i].memory]);
	not_shown(t);
}

void report_table(const struct torture *t, const struct total total[NR_COLUMNS])
{
	char notes[8] = "";

	printf("seed %" PRIu64 ", source %s%s\n%u device threads; mutators: %u, by %s\n\n",
	       t->options.seed, source_name(t),
	       t->options.source == HMMU_SOURCE_BEST ? source_found(t) : "", t->nr_devices,
	       t->nr_mutators, callers_name(t));
	if (!source_brackets(t))
		puts("start-only is not judged: this source is told of most changes "
		     "afterwards\n");
	columns(total);
	matrix(t, notes, sizeof(notes));
	if (t->cache)
		cache_report(t);
	footnotes(t, total, notes);
}

/* @all: what is chosen by default. */
static void replay_list(const char *option, const char *const *names, const bool *set, int n,
			bool all)
{
	const char *separator = option;
	int chosen = 0;

	for (int i = 0; i < n; i++)
		chosen += set[i];
	if (all && chosen == n)
		return;
	for (int i = 0; i < n; i++)
		if (set[i]) {
			fprintf(stderr, "%s%s", separator, names[i]);
			separator = ",";
		}
}

void report_replay(const struct torture *t)
{
	const struct options *o = &t->options;

	fprintf(stderr,
		"the same choices again: hmmu torture --seed %" PRIu64
		" --seconds %g --threads %u --source %s --callers %s",
		o->seed, o->seconds, o->threads, source_name(t),
		o->callers == CALLERS_RAW     ? "raw"
		: o->callers == CALLERS_MIXED ? "mixed"
					      : "libc");
	replay_list(" --ops ", op_names, o->ops, NR_OPS, true);
	replay_list(" --memory ", memory_names, o->memories, NR_MEMORIES, true);
	replay_list(" --disturb ", disturb_names, o->disturb, NR_DISTURB, false);
	if (o->cache)
		fputs(" --cache", stderr);
	if (o->replay)
		fprintf(stderr, " --replay %s", o->replay);
	fputs("\n", stderr);
}
