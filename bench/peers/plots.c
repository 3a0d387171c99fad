// SPDX-License-Identifier: MIT
/* plots.c - --plots DIR: SVG, drawn by gnuplot; without it, a word and no plots. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "peers.h"

static const char *const colours[NR_SIDES] = {"#1b6ca8", "#c0392b", "#7f8c8d", "#bdb76b"};

static const char preamble[] = "set encoding utf8\n"
			       "set border 3 lw 0.8\n"
			       "set tics nomirror out\n"
			       "set grid ytics lc rgb '#dddddd' lt 1\n"
			       "set style fill solid 0.9\n";

/* One row of hits: what a line is made of. */
static bool is_hit(const struct row *row, int threads, bool shared, enum pattern pattern)
{
	if (!row->regions || row->threads != threads || row->pattern != pattern)
		return false;
	return threads == 1 || row->shared == shared || row->regions == 1;
}

/* A block of data per side; those that are there are noted. */
static void hit_data(FILE *out, const char *block, int threads, bool shared,
		     enum pattern pattern)
{
	for (int side = 0; side < NR_SIDES; side++) {
		fprintf(out, "$%s%d << EOD\n", block, side);
		for (int i = 0; i < nr_rows; i++) {
			const struct stat *s = &rows[i].time[side];

			if (is_hit(&rows[i], threads, shared, pattern) && rows[i].has[side])
				fprintf(out, "%zu %g %g %g\n", rows[i].regions, s->median,
					s->p10, s->p90);
		}
		fprintf(out, "EOD\n");
	}
}

static void hit_panel(FILE *out, const char *block, const char *title, bool key)
{
	const char *separator = "plot";

	fprintf(out, "set title '%s' font ',12'\n%s\n", title,
		key ? "set key top left Left reverse samplen 2" : "unset key");
	for (int side = 0; side < NR_SIDES; side++) {
		fprintf(out,
			"%s $%s%d using 1:2:3:4 with yerrorlines lw 2 pt 7 ps 0.5 lc rgb '%s' "
			"title '%s'",
			separator, block, side, colours[side], peers[side]->name);
		separator = ",";
	}
	fputc('\n', out);
}

struct panel {
	const char *title;
	int threads;
	bool shared;
	enum pattern pattern;
};

static void hit_plot(FILE *out, const char *file, const char *title, const struct panel *panels)
{
	fprintf(out, "set terminal svg size 1080,400 font 'sans,11' background 'white'\n");
	fprintf(out, "set output '%s'\n%s", file, preamble);
	fprintf(out, "set logscale xy\nset xrange [0.7:1500000]\nset yrange [1:100000]\n"
		     "set format '10^{%%L}'\nset xlabel 'regions'\n"
		     "set ylabel 'nanoseconds per get + put'\n");
	for (int i = 0; i < 3; i++) {
		char block[16];

		snprintf(block, sizeof(block), "d%d_", i);
		hit_data(out, block, panels[i].threads, panels[i].shared, panels[i].pattern);
	}
	fprintf(out, "set multiplot layout 1,3 title '%s' font ',13'\n", title);
	for (int i = 0; i < 3; i++) {
		char block[16];

		snprintf(block, sizeof(block), "d%d_", i);
		hit_panel(out, block, panels[i].title, i == 0);
	}
	fprintf(out, "unset multiplot\nunset output\nreset\n");
}

static bool has_rows(int threads)
{
	for (int i = 0; i < nr_rows; i++)
		if (rows[i].regions && rows[i].threads == threads)
			return true;
	return false;
}

static bool is_cost(const struct row *row)
{
	return !row->regions;
}

static void cost_plot(FILE *out, const char *file)
{
	const char *separator = "plot";

	fprintf(out, "set terminal svg size 1080,460 font 'sans,11' background 'white'\n");
	fprintf(out, "set output '%s'\n%s", file, preamble);
	fprintf(out, "$costs << EOD\n");
	for (int i = 0; i < nr_rows; i++) {
		if (!is_cost(&rows[i]))
			continue;
		fprintf(out, "\"%s: %s\"", rows[i].group[0] == 'm' ? "miss" : "munmap",
			rows[i].name);
		for (int side = 0; side < NR_SIDES; side++) {
			const struct stat *s = &rows[i].time[side];

			if (rows[i].has[side])
				fprintf(out, " %g %g %g", s->median, s->p10, s->p90);
			else
				fprintf(out, " NaN NaN NaN");
		}
		fputc('\n', out);
	}
	fprintf(out, "EOD\n");
	fprintf(out, "set style data histogram\n"
		     "set style histogram errorbars gap 1 lw 1\n"
		     "set boxwidth 0.9\nset xtics rotate by -25 font ',9'\n"
		     "set rmargin 12\nset bmargin 8\n"
		     "set ylabel 'nanoseconds'\nset logscale y\nset yrange [1:]\nset format y "
		     "'10^{%%L}'\n"
		     "set key top left horizontal\n"
		     "set title 'a miss (get + put), and munmap of a registered page'\n");
	for (int side = 0; side < NR_SIDES; side++) {
		fprintf(out, "%s $costs using %d:%d:%d%s lc rgb '%s' title '%s'", separator,
			2 + 3 * side, 3 + 3 * side, 4 + 3 * side, side ? "" : ":xtic(1)",
			colours[side], peers[side]->name);
		separator = ",";
	}
	fprintf(out, "\nunset output\nreset\n");
}

static bool have_costs(void)
{
	for (int i = 0; i < nr_rows; i++)
		if (is_cost(&rows[i]))
			return true;
	return false;
}

static void draw(FILE *out)
{
	static const struct panel one[3] = {
		{"16 hot ones of them", 1, false, HOT_SET},
		{"random", 1, false, RANDOM},
		{"random, depends on the last answer", 1, false, DEPENDENT},
	};
	static const struct panel two[3] = {
		{"random, each on its half", 2, false, RANDOM},
		{"random, both on all of them", 2, true, RANDOM},
		{"16 hot ones, the same for both", 2, true, HOT_SET},
	};

	if (has_rows(1))
		hit_plot(out, "hit-1-thread.svg", "A hit, one thread", one);
	if (has_rows(2))
		hit_plot(out, "hit-2-threads.svg", "A hit, two threads", two);
	if (have_costs())
		cost_plot(out, "miss-and-munmap.svg");
}

void plots(const char *directory)
{
	char command[8300];
	FILE *out;

	if (system("command -v gnuplot >/dev/null 2>&1") != 0) {
		table_note("no plots: gnuplot (package gnuplot-nox) is not installed");
		return;
	}
	if ((size_t)snprintf(command, sizeof(command), "mkdir -p '%s' && cd '%s' && gnuplot",
			     directory, directory) >= sizeof(command)) {
		table_note("no plots: the directory's name is too long");
		return;
	}
	fflush(NULL);
	out = popen(command, "w");
	if (!out) {
		table_note("no plots: gnuplot: %s", strerror(errno));
		return;
	}
	draw(out);
	if (pclose(out))
		table_note("no plots: gnuplot failed");
	else
		table_note("plots: %s/*.svg", directory);
}
