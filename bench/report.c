// SPDX-License-Identifier: MIT
/* report.c - the table. */
#include "bench.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LINES 192

static struct line lines[MAX_LINES];
static int nlines;

bool wanted(const char *group, const char *name)
{
	return !options.only || strstr(group, options.only) || strstr(name, options.only);
}

struct line line_of(const char *group, const char *fmt, ...)
{
	struct line line = {.group = group};
	va_list ap;

	va_start(ap, fmt);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): clang-tidy 14 is wrong */
	vsnprintf(line.name, sizeof(line.name), fmt, ap);
	va_end(ap);
	return line;
}

void goal(struct line *line, enum goal goal, double value)
{
	line->goal = goal;
	line->value = value;
}

static double scaled(const struct line *line)
{
	bool in_ns = line->goal == GOAL_NS || line->goal == GOAL_MORE;

	return in_ns ? line->value * getppid_ns / GETPPID_NS : line->value;
}

/* @limit: the goal in ns, as stated or scaled. */
static bool within(const struct line *line, double limit)
{
	switch (line->goal) {
	case GOAL_NONE:
		return true;
	case GOAL_NS:
		return line->hmmu.median <= limit;
	case GOAL_FASTER:
		return line->ratio.median >= line->value;
	case GOAL_TIMES:
		return line->ratio.median <= line->value;
	case GOAL_MORE:
		return line->more.median <= limit;
	}
	return false;
}

bool goal_reached(const struct line *line)
{
	return within(line, scaled(line));
}

/* The goals were stated for a machine that takes 250 ns to enter the kernel. One that is
 * faster at that is not faster at a locked instruction: so both are told. */
bool goal_reached_as_stated(const struct line *line)
{
	return within(line, line->value);
}

static const char *verdict(const struct line *line)
{
	if (goal_reached(line))
		return "ok";
	return goal_reached_as_stated(line) ? "ok as stated, MISSED scaled" : "MISSED";
}

void goal_text(const struct line *line, char *text, size_t size)
{
	switch (line->goal) {
	case GOAL_NONE:
		text[0] = '\0';
		break;
	case GOAL_NS:
		snprintf(text, size, "<= %.3g ns (%.4g)", scaled(line), line->value);
		break;
	case GOAL_FASTER:
		snprintf(text, size, ">= %.3g times faster", line->value);
		break;
	case GOAL_TIMES:
		snprintf(text, size, "<= %.3g times", line->value);
		break;
	case GOAL_MORE:
		snprintf(text, size, "<= %.3g ns (%.4g) more", scaled(line), line->value);
		break;
	}
}

void figure(double value, char *text, size_t size)
{
	if (value >= 1e9)
		snprintf(text, size, "%.2f s", value / 1e9);
	else if (value >= 1e6)
		snprintf(text, size, "%.2f ms", value / 1e6);
	else if (value >= 100)
		snprintf(text, size, "%.0f", value);
	else
		snprintf(text, size, "%.*f", value >= 10 ? 1 : 2, value);
}

static void cell(FILE *out, const struct stat *stat)
{
	char median[32], p10[32], p90[32], spread[70];

	figure(stat->median, median, sizeof(median));
	figure(stat->p10, p10, sizeof(p10));
	figure(stat->p90, p90, sizeof(p90));
	snprintf(spread, sizeof(spread), "(%s-%s)", p10, p90);
	fprintf(out, " %9s %-17s", median, spread);
}

/* The table goes where the JSON does not. */
static FILE *table(void)
{
	return options.json ? stderr : stdout;
}

static void print_last_columns(FILE *out, const struct line *line)
{
	char text[64];

	goal_text(line, text, sizeof(text));
	if (line->has_base)
		fprintf(out, " %7.2f", line->ratio.median);
	if (line->goal == GOAL_MORE)
		fprintf(out, "  %+.0f ns", line->more.median);
	if (line->goal != GOAL_NONE)
		fprintf(out, "  %s %s", text, verdict(line));
	if (line->note[0])
		fprintf(out, "%s%s", line->has_base || line->goal ? "; " : "  ", line->note);
	fprintf(out, "\n");
}

static void print_line(FILE *out, const struct line *line)
{
	static const char *group;

	if (!group || strcmp(group, line->group) != 0) {
		fprintf(out, "%s\n", line->group);
		group = line->group;
	}
	fprintf(out, "  %-50s", line->name);
	if (line->not_available) {
		fprintf(out, "       n/a  %s\n", line->note);
		return;
	}
	cell(out, &line->hmmu);
	if (line->has_base)
		cell(out, &line->base);
	print_last_columns(out, line);
	fflush(out);
}

void report(const struct line *line)
{
	if (nlines == MAX_LINES)
		abort();
	lines[nlines++] = *line;
	print_line(table(), line);
}

void report_head(void)
{
	FILE *out = table();

	fprintf(out,
		"nanoseconds per operation: median (10th-90th percentile) of %d rounds; "
		"both sides of a ratio in turns\n",
		options.rounds);
	fprintf(out, "%-52s %9s %-17s %9s %-17s %7s  %s\n", "", "hmmu", "", "reference", "",
		"ratio", "goal, scaled to this machine (as stated)");
}

static int count_missed(void)
{
	int missed = 0;

	for (int i = 0; i < nlines; i++)
		missed += !lines[i].not_available && !goal_reached(&lines[i]);
	return missed;
}

static int count_as_stated(int goals)
{
	for (int i = 0; i < nlines; i++)
		goals -= !lines[i].not_available && !goal_reached_as_stated(&lines[i]);
	return goals;
}

const struct line *report_lines(int *n)
{
	*n = nlines;
	return lines;
}

int report_sum(void)
{
	int goals = 0, missed = count_missed();

	for (int i = 0; i < nlines; i++)
		goals += !lines[i].not_available && lines[i].goal != GOAL_NONE;
	fprintf(table(), "%d goals: %d reached as stated, %d of them scaled, too\n", goals,
		count_as_stated(goals), goals - missed);
	return missed;
}
