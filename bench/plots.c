// SPDX-License-Identifier: MIT
/*
 * plots.c - --plots DIR: an SVG for each group that has figures with a peer beside them, drawn
 * by gnuplot: bars of medians from the 10th to the 90th percentile, on a logarithmic scale.
 */
#include "bench.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_drawn(const struct line *line, const char *group)
{
	return line->has_base && !line->not_available && !strcmp(line->group, group);
}

/* A name as gnuplot and a file can have it. */
static void plain(const char *from, char *to, size_t size, bool file)
{
	size_t n = 0;

	for (; *from && n + 1 < size; from++) {
		bool odd = strchr("\"'\\/(){}<>^_@&~,+", *from) || *from == ' ';

		if (!file)
			to[n++] = strchr("\"'\\{}^_@&~", *from) ? ' ' : *from;
		else if (!odd)
			to[n++] = *from;
		else if (n && to[n - 1] != '-')
			to[n++] = '-';
	}
	while (file && n && to[n - 1] == '-')
		n--;
	to[n] = '\0';
}

/* The rows, from above; @low: the power of ten below all of them. How many. */
static int data(FILE *out, const char *group, double *low)
{
	const struct line *lines;
	double least = INFINITY;
	int n, drawn = 0;
	char name[80];

	lines = report_lines(&n);
	fprintf(out, "$rows << EOD\n");
	for (int i = 0; i < n; i++) {
		const struct line *l = &lines[i];

		if (!is_drawn(l, group))
			continue;
		plain(l->name, name, sizeof(name), false);
		fprintf(out, "\"%s\" %g %g %g %g %g %g\n", name, l->hmmu.median, l->hmmu.p10,
			l->hmmu.p90, l->base.median, l->base.p10, l->base.p90);
		least = fmin(least, fmin(l->hmmu.p10, l->base.p10));
		drawn++;
	}
	fprintf(out, "EOD\n");
	*low = pow(10, floor(log10(least)));
	return drawn;
}

/* Bars that lie, with their names beside them: those are long. */
static void draw(FILE *out, const struct line *first)
{
	char file[80], title[80];
	double low;
	int rows = data(out, first->group, &low);

	plain(first->group, file, sizeof(file), true);
	plain(first->group, title, sizeof(title), false);
	fprintf(out,
		"set terminal svg size 900,%d font 'sans,12' background 'white'\n"
		"set output '%s.svg'\nset encoding utf8\nset border 1 lw 0.8\n"
		"set tics nomirror out\nset grid xtics lc rgb '#dddddd' lt 1\n"
		"set ytics scale 0\nset style fill solid 0.9 noborder\n"
		"set xlabel 'nanoseconds'\nset logscale x\nset format x '10^{%%L}'\n"
		"set xrange [%g:*]\nset yrange [%g:0.7]\nset key above right horizontal\n"
		"set title '%s' offset 0,-1\n"
		"plot $rows using 2:(-$0):(%g):2:(-$0+0.02):(-$0+0.38):ytic(1) with "
		"boxxyerror lc rgb '#1b6ca8' title 'hmmu', "
		"$rows using 5:(-$0):(%g):5:(-$0-0.38):(-$0-0.02) with boxxyerror "
		"lc rgb '#c0392b' title '%s', "
		"$rows using 2:(-$0+0.2):3:4 with xerrorbars pt -1 lc rgb '#222222' notitle, "
		"$rows using 5:(-$0-0.2):6:7 with xerrorbars pt -1 lc rgb '#222222' notitle\n"
		"unset output\nreset\n",
		130 + 38 * rows, file, low, 0.3 - rows, title, low, low,
		first->base_name ? "beside it" : "reference");
}

static void draw_all(FILE *out)
{
	const struct line *lines;
	int n;

	lines = report_lines(&n);
	for (int i = 0; i < n; i++) {
		bool first = lines[i].has_base && !lines[i].not_available;

		for (int j = 0; j < i; j++)
			first = first && !is_drawn(&lines[j], lines[i].group);
		if (first)
			draw(out, &lines[i]);
	}
}

void plots(const char *directory)
{
	char command[8300];
	FILE *out;

	if (system("command -v gnuplot >/dev/null 2>&1") != 0) {
		fprintf(stderr, "no plots: gnuplot (package gnuplot-nox) is not installed\n");
		return;
	}
	if ((size_t)snprintf(command, sizeof(command), "mkdir -p '%s' && cd '%s' && gnuplot",
			     directory, directory) >= sizeof(command)) {
		fprintf(stderr, "no plots: the directory's name is too long\n");
		return;
	}
	fflush(NULL);
	out = popen(command, "w");
	if (!out) {
		fprintf(stderr, "no plots: gnuplot: %s\n", strerror(errno));
		return;
	}
	draw_all(out);
	if (pclose(out))
		fprintf(stderr, "no plots: gnuplot failed\n");
	else
		fprintf(stderr, "plots: %s/*.svg\n", directory);
}
