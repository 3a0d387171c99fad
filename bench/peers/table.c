// SPDX-License-Identifier: MIT
/* table.c - the rows: measured, printed, kept for the goals, JSON and the plots. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "peers.h"

#define MAX_ROWS 96

struct row rows[MAX_ROWS];
int nr_rows;

const struct peer *const peers[NR_SIDES] = {
	[SIDE_HMMU] = &peer_hmmu,
	[SIDE_UCX] = &peer_ucx,
	[SIDE_TREE] = &peer_tree,
	[SIDE_NONE] = &peer_none,
};

/* The table goes where the JSON does not. */
FILE *table_file(void)
{
	return options.json ? stderr : stdout;
}

struct row *row_new(const char *group, const char *fmt, ...)
{
	struct row *row = &rows[nr_rows];
	va_list ap;

	if (nr_rows++ == MAX_ROWS)
		abort();
	row->group = group;
	va_start(ap, fmt);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): clang-tidy 14 is wrong */
	vsnprintf(row->name, sizeof(row->name), fmt, ap);
	va_end(ap);
	return row;
}

void table_head(void)
{
	FILE *out = table_file();

	fprintf(out,
		"nanoseconds per get + put, or per munmap: median (10th-90th percentile) of %d "
		"rounds;\n"
		"the sides take turns. tree: a mutex and a red-black tree; none: no cache; xU, "
		"xT: "
		"what UCX\nand the tree take divided by what hmmu takes\n\n",
		options.rounds);
	fprintf(out, "%-33s %6s %-11s %6s %-11s %6s %-11s %6s %5s %-9s %5s\n", "", "hmmu", "",
		"UCX", "", "tree", "", "none", "xU", "", "xT");
}

void table_note(const char *fmt, ...)
{
	va_list ap;

	fputs("  ", table_file());
	va_start(ap, fmt);
	vfprintf(table_file(), fmt, ap);
	va_end(ap);
	fputc('\n', table_file());
}

/* At most five characters. */
static void short_figure(double value, char *text, size_t size)
{
	if (value >= 99950)
		snprintf(text, size, "%.0fk", value / 1e3);
	else if (value >= 9995)
		snprintf(text, size, "%.1fk", value / 1e3);
	else if (value >= 99.5)
		snprintf(text, size, "%.0f", value);
	else
		snprintf(text, size, "%.*f", value >= 9.95 ? 1 : 2, value);
}

static void cell(FILE *out, const struct row *row, int side)
{
	const struct stat *stat = &row->time[side];
	char median[16], p10[16], p90[16], spread[40];

	if (!row->has[side]) {
		fprintf(out, " %6s %-11s", "n/a", "");
		return;
	}
	short_figure(stat->median, median, sizeof(median));
	short_figure(stat->p10, p10, sizeof(p10));
	short_figure(stat->p90, p90, sizeof(p90));
	snprintf(spread, sizeof(spread), "%s-%s", p10, p90);
	if (side == SIDE_NONE)
		fprintf(out, " %6s", median);
	else
		fprintf(out, " %6s %-11s", median, spread);
}

static void ratio(FILE *out, const struct row *row, int side)
{
	const struct stat *times = &row->times[side];
	char median[16], p10[16], p90[16], spread[40];

	if (!row->has[side]) {
		fprintf(out, " %5s %-9s", "", "");
		return;
	}
	short_figure(times->median, median, sizeof(median));
	short_figure(times->p10, p10, sizeof(p10));
	short_figure(times->p90, p90, sizeof(p90));
	snprintf(spread, sizeof(spread), "%s-%s", p10, p90);
	fprintf(out, " %5s %-9s", median, spread);
}

static void print(const struct row *row)
{
	static const char *group;
	FILE *out = table_file();

	if (!group || strcmp(group, row->group) != 0) {
		fprintf(out, "%s\n", row->group);
		group = row->group;
	}
	fprintf(out, "  %-31s", row->name);
	for (int side = 0; side < NR_SIDES; side++)
		cell(out, row, side);
	ratio(out, row, SIDE_UCX);
	ratio(out, row, SIDE_TREE);
	if (row->has[SIDE_ALONE])
		fprintf(out, "  %.2f of one", 1 / row->times[SIDE_ALONE].median);
	fputc('\n', out);
	fflush(out);
}

void row_measure(struct row *row, struct child *const children[NR_SIDES + 1], int operation,
		 int alone)
{
	struct batch batches[NR_SIDES + 1];
	struct batch *sides[NR_SIDES + 1];
	struct job jobs[NR_SIDES + 1];
	struct stat time[NR_SIDES + 1], times[NR_SIDES + 1];
	size_t n = 0;

	/* hmmu first: the ratios are to the first. */
	for (int side = 0; side <= NR_SIDES; side++) {
		if (!children[side])
			continue;
		jobs[n] = (struct job){children[side], side == SIDE_ALONE ? alone : operation};
		batches[n] = (struct batch){.time = child_time, .arg = &jobs[n]};
		sides[n] = &batches[n];
		n++;
	}
	measure_sides(sides, n, time, times);
	n = 0;
	for (int side = 0; side <= NR_SIDES; side++) {
		row->has[side] = children[side] != NULL;
		if (!children[side])
			continue;
		row->time[side] = time[n];
		row->times[side] = times[n++];
	}
	print(row);
}
