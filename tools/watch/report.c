// SPDX-License-Identifier: MIT
/* report.c - the report as text, 80 columns wide but for names that are longer. */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "watch.h"

#define SHOWN_PROCESSES 40u

static void plural(FILE *out, uint64_t n, const char *one, const char *many)
{
	fprintf(out, "%llu %s", (unsigned long long)n, n == 1 ? one : many);
}

static void sum_up(const struct watch *w, struct watch_count *all, struct watch_process *sum)
{
	memset(all, 0, sizeof(*all) * WATCH_OP_NR);
	memset(sum, 0, sizeof(*sum));
	for (uint32_t i = 0; i < w->nr_processes; i++) {
		const struct watch_process *p = w->processes[i];

		for (unsigned int op = 0; op < WATCH_OP_NR; op++)
			watch_count_add(&all[op], &p->op[op]);
		watch_count_add(&sum->all, &p->all);
		sum->hook_tsc += p->hook_tsc;
		sum->call_tsc += p->call_tsc;
		sum->setup += p->setup;
		sum->dropped += p->dropped;
		sum->no_stack += p->no_stack;
		sum->cut_stacks += p->cut_stacks;
		sum->lost += p->lost;
	}
}

static void head(const struct watch *w, const struct watch_process *sum, FILE *out)
{
	char size[32];

	fputs("hmmu watch:", out);
	for (char **arg = w->options.command; *arg; arg++)
		fprintf(out, " %s", *arg);
	if (!w->child_ended)
		fputs(": still running", out);
	else if (WIFSIGNALED(w->status))
		fprintf(out, ": killed by signal %d (%s)", WTERMSIG(w->status),
			strsignal(WTERMSIG(w->status)));
	else
		fprintf(out, ": exit %d", WEXITSTATUS(w->status));
	fprintf(out, ", %.3f s\n", w->ended - w->begun);
	plural(out, w->nr_processes, "process, ", "processes, ");
	plural(out, sum->all.calls, "call", "calls");
	fprintf(out, " that invalidated memory, ");
	plural(out, sum->all.ranges, "range", "ranges");
	fprintf(out, ", %s\n", watch_size(sum->all.bytes, size, sizeof(size)));
	fprintf(out, "overhead %.2f us per call, %.1f ms at the start of processes; ",
		sum->all.calls
			? watch_tsc_seconds(w, sum->hook_tsc) * 1e6 / (double)sum->all.calls
			: 0,
		watch_tsc_seconds(w, sum->setup) * 1e3);
	plural(out, sum->dropped, "event dropped\n", "events dropped\n");
}

static void cautions(const struct watch *w, const struct watch_process *sum, FILE *out)
{
	if (sum->dropped)
		fprintf(out,
			"INCOMPLETE: %llu events were dropped, the ring was full: --buffer "
			"%u\n",
			(unsigned long long)sum->dropped, w->options.buffer * 16);
	if (sum->no_stack)
		fprintf(out, "%llu events without a stack: only their caller is known\n",
			(unsigned long long)sum->no_stack);
	if (sum->cut_stacks)
		fprintf(out, "%llu events with a stack longer than what was copied (--stack)\n",
			(unsigned long long)sum->cut_stacks);
	if (sum->lost)
		fprintf(out, "%llu changes by signal handlers, of unknown range\n",
			(unsigned long long)sum->lost);
	if (w->header->missed)
		fprintf(out, "MISSED: %u processes: %u were watched at once already\n",
			w->header->missed, WATCH_SLOTS);
	for (uint32_t i = 0; i < w->nr_missed; i++)
		if (w->missed[i].seen > 1)
			fprintf(out, "MISSED: %d (%s): %s\n", w->missed[i].pid,
				w->missed[i].comm, w->missed[i].why);
	for (uint32_t i = 0; i < w->nr_processes; i++)
		if (w->processes[i]->error)
			fprintf(out, "MISSED: %d (%s): libc could not be hooked: %s\n",
				w->processes[i]->pid, w->processes[i]->comm,
				strerror(-w->processes[i]->error));
	if (!w->nr_processes)
		fprintf(out, "MISSED: nothing was watched: the module was never loaded\n");
	if (!watch_can_unwind)
		fputs("stacks are callers only: this hmmu was built without libdw\n", out);
}

static void operations(const struct watch_count *all, FILE *out)
{
	char size[32];

	fprintf(out, "\n%-18s %10s %10s %8s %8s\n", "operation", "calls", "ranges", "size",
		"failed");
	for (unsigned int op = 0; op < WATCH_OP_NR; op++) {
		if (!all[op].ranges)
			continue;
		fprintf(out, "%-18s %10llu %10llu %8s %8llu\n", watch_op_names[op],
			(unsigned long long)all[op].calls, (unsigned long long)all[op].ranges,
			op == WATCH_OP_FORK ? "all"
					    : watch_size(all[op].bytes, size, sizeof(size)),
			(unsigned long long)all[op].failed);
	}
}

static void processes(const struct watch *w, FILE *out)
{
	char size[32];

	fprintf(out, "\n%7s %7s %-16s %8s %7s %7s %7s %6s\n", "pid", "parent", "command",
		"calls", "munmap", "madvise", "other", "size");
	for (uint32_t i = 0; i < w->nr_processes && i < SHOWN_PROCESSES; i++) {
		const struct watch_process *p = w->processes[i];
		uint64_t advice = 0;

		for (unsigned int op = WATCH_OP_DONTNEED; op <= WATCH_OP_MADVISE; op++)
			advice += p->op[op].calls;
		fprintf(out, "%7d %7d %-16s %8llu %7llu %7llu %7llu %6s%s%s\n", p->pid, p->ppid,
			p->comm, (unsigned long long)p->all.calls,
			(unsigned long long)p->op[WATCH_OP_MUNMAP].calls,
			(unsigned long long)advice,
			(unsigned long long)(p->all.calls - advice -
					     p->op[WATCH_OP_MUNMAP].calls),
			watch_size(p->all.bytes, size, sizeof(size)),
			p->how == WATCH_FORKED ? " fork" : "",
			p->ended ? (p->execed ? " exec" : "") : " runs");
	}
	if (w->nr_processes > SHOWN_PROCESSES)
		fprintf(out, "... and %u more (--json has all)\n",
			w->nr_processes - SHOWN_PROCESSES);
}

static void show_frames(const struct watch_site *s, FILE *out)
{
	for (uint32_t i = 0; i < s->nr_frames && i < WATCH_SHOWN_FRAMES; i++)
		fprintf(out, "        %s\n", watch_frame_text(s->frames[i]));
	if (s->nr_frames > WATCH_SHOWN_FRAMES)
		fprintf(out, "        ... %u more\n", s->nr_frames - WATCH_SHOWN_FRAMES);
	else if (s->cut)
		fputs("        ...\n", out);
}

static void site_operations(const struct watch_site *s, FILE *out)
{
	const char *separator = "";

	for (unsigned int op = 0; op < WATCH_OP_NR; op++) {
		if (!s->op[op].calls)
			continue;
		fprintf(out, "%s%s", separator, watch_op_names[op]);
		separator = ", ";
	}
}

static void sites(const struct watch *w, FILE *out)
{
	uint32_t n, *order = watch_sites_sorted(w, false, &n);
	char size[32];
	uint32_t shown = n < w->options.top ? n : w->options.top;

	if (shown)
		fprintf(out, "\ncall sites, %u of %u\n", shown, n);
	watch_resolve(w, order, shown, WATCH_SHOWN_FRAMES);
	for (uint32_t i = 0; i < shown; i++) {
		const struct watch_site *s = &w->sites[order[i]];

		fprintf(out, "%7llu ", (unsigned long long)s->all.calls);
		site_operations(s, out);
		if (s->all.bytes)
			fprintf(out, ", %s", watch_size(s->all.bytes, size, sizeof(size)));
		fprintf(out, ", in %s (%d)\n", w->processes[s->process]->comm,
			w->processes[s->process]->pid);
		show_frames(s, out);
	}
	free(order);
}

static void what_if(const struct watch *w, FILE *out)
{
	uint32_t n, shown, *order;
	char size[32], again[32];

	if (!w->options.what_if)
		return;
	fprintf(out, "\na registration cache over mappings of %s and more would have seen\n",
		watch_size(w->options.what_if, size, sizeof(size)));
	fprintf(out, "%10llu registrations of mappings\n",
		(unsigned long long)w->registrations);
	fprintf(out, "%10llu registrations invalidated\n", (unsigned long long)w->hit);
	fprintf(out, "%10s registered again\n", watch_size(w->again, again, sizeof(again)));
	order = watch_sites_sorted(w, true, &n);
	shown = n < w->options.top ? n : w->options.top;
	if (shown)
		fputs("\ncauses\n", out);
	watch_resolve(w, order, shown, WATCH_SHOWN_FRAMES);
	for (uint32_t i = 0; i < shown; i++) {
		const struct watch_site *s = &w->sites[order[i]];

		fprintf(out, "%7llu invalidated, %s again: ", (unsigned long long)s->hit,
			watch_size(s->again, again, sizeof(again)));
		site_operations(s, out);
		fprintf(out, ", in %s (%d)\n", w->processes[s->process]->comm,
			w->processes[s->process]->pid);
		show_frames(s, out);
	}
	free(order);
}

/* Sites by their number in the list of all, [n], as --json counts them too. */
static void events(const struct watch *w, FILE *out)
{
	char name[64], range[64], took[32];

	if (!w->options.events)
		return;
	fprintf(out, "\n%11s %7s %7s  %-18s %s\n", "time", "pid", "thread", "operation",
		"range, size, time taken, [call site]");
	for (uint64_t i = 0; i < w->nr_stored; i++) {
		const struct watch_stored *e = &w->stored[i];

		if (e->flags & WATCH_CREATES)
			continue;
		watch_operation(e, name, sizeof(name));
		if (e->flags & WATCH_ALL)
			snprintf(range, sizeof(range), "%llx-top",
				 (unsigned long long)e->start);
		else
			snprintf(range, sizeof(range), "%llx-%llx %s",
				 (unsigned long long)e->start, (unsigned long long)e->end,
				 watch_size(e->end - e->start, took, sizeof(took)));
		fprintf(out, "%11.6f %7d %7u  %-18s %s %.1fus [%u]%s\n",
			watch_tsc_seconds(w, e->tsc - w->begun_tsc),
			w->processes[e->process]->pid, e->tid, name, range,
			watch_tsc_seconds(w, e->call_tsc) * 1e6,
			watch_site_of(w, e->process, e->stack),
			e->flags & WATCH_FAILED ? " failed" : "");
	}
	fputs("\ncall sites by number\n", out);
	watch_resolve(w, NULL, w->nr_sites, WATCH_SHOWN_FRAMES);
	for (uint32_t i = 0; i < w->nr_sites; i++) {
		fprintf(out, "[%u] in %s (%d)\n", i + 1,
			w->processes[w->sites[i].process]->comm,
			w->processes[w->sites[i].process]->pid);
		show_frames(&w->sites[i], out);
	}
}

void watch_report(const struct watch *w, FILE *out)
{
	struct watch_count all[WATCH_OP_NR];
	struct watch_process sum;

	sum_up(w, all, &sum);
	events(w, out);
	if (w->options.events)
		fputc('\n', out);
	head(w, &sum, out);
	cautions(w, &sum, out);
	if (sum.all.ranges)
		operations(all, out);
	processes(w, out);
	sites(w, out);
	what_if(w, out);
}
