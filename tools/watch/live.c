// SPDX-License-Identifier: MIT
/*
 * live.c - --live: what happens, full-screen, on the terminal itself.
 *
 * The program may write to the same terminal. It is not kept from doing so; the whole
 * screen is drawn anew each time, and the man page says to redirect its output.
 */
#include "watch.h"

#ifdef HMMU_NCURSES
#include <curses.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_OF_PROCESSES 6u

struct watch_live {
	SCREEN *screen;
	FILE *in, *out;
	double last;
	uint64_t before[WATCH_OP_NR];
	uint64_t calls_before;
};

struct watch_live *watch_live_open(void)
{
	struct watch_live *l = watch_alloc(1, sizeof(*l));

	l->in = fopen("/dev/tty", "re");
	l->out = fopen("/dev/tty", "we");
	/* newterm() ends the process where it does not know the terminal's name. */
	if (l->in && l->out && getenv("TERM"))
		l->screen = newterm(NULL, l->out, l->in);
	if (!l->screen) {
		if (l->in)
			fclose(l->in);
		if (l->out)
			fclose(l->out);
		free(l);
		return NULL;
	}
	set_term(l->screen);
	cbreak();
	noecho();
	nodelay(stdscr, TRUE);
	curs_set(0);
	return l;
}

static int draw_operations(struct watch_live *l, const struct watch *w, double passed, int y)
{
	char size[32];

	attron(A_BOLD);
	mvprintw(y++, 0, "%-18s %10s %10s %8s", "operation", "calls/s", "calls", "size");
	attroff(A_BOLD);
	for (unsigned int op = 0; op < WATCH_OP_NR; op++) {
		struct watch_count sum = {0};

		for (uint32_t i = 0; i < w->nr_processes; i++)
			watch_count_add(&sum, &w->processes[i]->op[op]);
		if (!sum.ranges)
			continue;
		mvprintw(y++, 0, "%-18s %10.0f %10llu %8s", watch_op_names[op],
			 (double)(sum.calls - l->before[op]) / passed,
			 (unsigned long long)sum.calls,
			 op == WATCH_OP_FORK ? "all"
					     : watch_size(sum.bytes, size, sizeof(size)));
		l->before[op] = sum.calls;
	}
	return y + 1;
}

static int draw_processes(const struct watch *w, int y)
{
	unsigned int shown = 0, alive = 0;

	for (uint32_t i = 0; i < w->nr_processes; i++)
		alive += !w->processes[i]->ended;
	attron(A_BOLD);
	mvprintw(y++, 0, "%7s %-16s %10s %8s   (%u alive, %u in all)", "pid", "command",
		 "calls", "dropped", alive, w->nr_processes);
	attroff(A_BOLD);
	for (uint32_t i = w->nr_processes; i-- > 0 && shown < ROWS_OF_PROCESSES;) {
		const struct watch_process *p = w->processes[i];

		if (p->ended)
			continue;
		mvprintw(y++, 0, "%7d %-16s %10llu %8llu", p->pid, p->comm,
			 (unsigned long long)p->all.calls, (unsigned long long)p->dropped);
		shown++;
	}
	return y + 1;
}

static void draw_site(const struct watch *w, const struct watch_site *s, int y, int columns)
{
	char line[512];
	int n = snprintf(line, sizeof(line), "%10llu ", (unsigned long long)s->all.calls);

	for (uint32_t i = 0; i < s->nr_frames && n < (int)sizeof(line) - 1; i++)
		n += snprintf(line + n, sizeof(line) - (size_t)n, "%s%s", i ? " < " : "",
			      watch_frame_text(s->frames[i]));
	mvaddnstr(y, 0, line, columns);
}

static void draw_sites(const struct watch *w, int y, int lines, int columns)
{
	uint32_t n, *order = watch_sites_sorted(w, false, &n);

	attron(A_BOLD);
	mvprintw(y++, 0, "%10s call sites (%u)", "calls", n);
	attroff(A_BOLD);
	if (n > (uint32_t)lines)
		n = (uint32_t)lines;
	watch_resolve(w, order, n, 4);
	for (uint32_t i = 0; i < n && y < lines - 1; i++)
		draw_site(w, &w->sites[order[i]], y++, columns);
	free(order);
}

void watch_live_draw(struct watch_live *l, const struct watch *w)
{
	double now = watch_seconds(), passed = l->last > 0 ? now - l->last : now - w->begun;
	uint64_t calls = 0, dropped = 0, hook = 0;
	int lines, columns, y;

	getmaxyx(stdscr, lines, columns);
	for (uint32_t i = 0; i < w->nr_processes; i++) {
		calls += w->processes[i]->all.calls;
		dropped += w->processes[i]->dropped;
		hook += w->processes[i]->hook_tsc;
	}
	erase();
	attron(A_REVERSE);
	mvprintw(0, 0, "hmmu watch: %.30s  %.0f s  %.0f calls/s  hooks %.2f us  %llu dropped",
		 w->options.command[0], now - w->begun,
		 (double)(calls - l->calls_before) / (passed > 0 ? passed : 1),
		 calls ? watch_tsc_seconds(w, hook) * 1e6 / (double)calls : 0,
		 (unsigned long long)dropped);
	attroff(A_REVERSE);
	y = draw_operations(l, w, passed > 0 ? passed : 1, 2);
	y = draw_processes(w, y);
	draw_sites(w, y, lines, columns);
	mvaddnstr(lines - 1, 0, "q leaves this view; the program goes on", columns);
	clearok(stdscr, TRUE);
	refresh();
	l->calls_before = calls;
	l->last = now;
}

bool watch_live_poll(struct watch_live *l)
{
	int key = getch();

	return key != 'q' && key != 'Q';
}

void watch_live_close(struct watch_live *l)
{
	if (!l)
		return;
	endwin();
	delscreen(l->screen);
	fclose(l->in);
	fclose(l->out);
	free(l);
}
#else
struct watch_live *watch_live_open(void)
{
	return NULL;
}

void watch_live_draw(struct watch_live *l, const struct watch *w)
{
}

bool watch_live_poll(struct watch_live *l)
{
	return false;
}

void watch_live_close(struct watch_live *l)
{
}
#endif
