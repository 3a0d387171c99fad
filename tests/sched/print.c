// SPDX-License-Identifier: MIT
/*
 * print.c - a schedule for people: one column per thread, time downwards. Words
 * that threads sleep on are called A, B, C... in order of appearance. Places are
 * resolved by addr2line where it is installed; else they are offsets in the
 * program.
 */
#include "scheduler.h"

#include <string.h>
#include <unistd.h>

#define COLUMN 34

/* The linker's: where the program's image begins. */
extern const char __executable_start[];

const char *sched_verdict_name(enum sched_verdict verdict)
{
	static const char *const names[] = {
		[SCHED_OK] = "ok",
		[SCHED_FAILED] = "assertion failed",
		[SCHED_DEADLOCK] = "deadlock",
		[SCHED_LIVELOCK] = "livelock",
		[SCHED_CRASHED] = "crashed",
		[SCHED_HUNG] = "hung",
	};

	return (unsigned int)verdict < sizeof(names) / sizeof(*names) ? names[verdict] : "?";
}

/*
 * "file.c:12", or the offset. The call is before the return address: - 1. Of
 * inlined calls addr2line tells the innermost first: the accessors say nothing.
 */
static void place(const void *pc, char *text, size_t size)
{
	unsigned long offset = (unsigned long)((const char *)pc - __executable_start) - 1;
	char command[160], line[64];
	FILE *pipe;
	char *end;

	snprintf(text, size, "+%#lx", offset);
	snprintf(command, sizeof(command), "addr2line -i -s -e /proc/%d/exe %#lx 2>/dev/null",
		 (int)getpid(), offset);
	pipe = popen(command, "r");
	if (!pipe)
		return;
	while (fgets(line, sizeof(line), pipe) && line[0] != '?') {
		end = strpbrk(line, " \n");
		if (end)
			*end = '\0';
		snprintf(text, size, "%s", line);
		if (strncmp(line, "atomic.h", 8) != 0 && strncmp(line, "futex.h", 7) != 0)
			break;
	}
	pclose(pipe);
}

static char letter(const void *word, const void **words)
{
	for (int i = 0; i < 25; i++) {
		if (!words[i])
			words[i] = word;
		if (words[i] == word)
			return (char)('A' + i);
	}
	return 'Z';
}

static void describe(const struct sched_event *ev, const void **words, char *text, size_t size)
{
	char where[64] = ""; /* as long as place()'s line */

	if (ev->pc)
		place(ev->pc, where, sizeof(where));
	switch ((enum sched_event_kind)ev->kind) {
	case SCHED_EV_PREEMPTED:
		snprintf(text, size, "preempted before %s", where);
		break;
	case SCHED_EV_RELAX:
		snprintf(text, size, "spins %ux %s", ev->count + 1u, where);
		break;
	case SCHED_EV_SLEEP:
		snprintf(text, size, "sleeps on %c %s", letter(ev->word, words), where);
		break;
	case SCHED_EV_WAKES:
		snprintf(text, size, "wakes %u on %c %s", ev->count, letter(ev->word, words),
			 where);
		break;
	case SCHED_EV_SPURIOUS:
		snprintf(text, size, "woken spuriously %s", where);
		break;
	case SCHED_EV_TIMEOUT:
		snprintf(text, size, "timed out %s", where);
		break;
	case SCHED_EV_STORED:
		snprintf(text, size, "seen from now: %s", where);
		break;
	case SCHED_EV_NOTE:
		snprintf(text, size, "%s", ev->note);
		break;
	case SCHED_EV_RETURNED:
		snprintf(text, size, "returns");
		break;
	case SCHED_EV_FAILED:
		snprintf(text, size, "*** the run ends here");
		break;
	}
}

static void print_head(FILE *out, const struct sched_program *program)
{
	fprintf(out, "    step  ");
	for (int i = 0; i < SCHED_MAX_THREADS && program->threads[i]; i++)
		fprintf(out, "%d %-*s", i, COLUMN - 2,
			program->names[i] ? program->names[i] : "");
	fprintf(out, "\n");
}

static void print_what(FILE *out, const struct sched_result *res,
		       const struct sched_program *program)
{
	fprintf(out, "%s: %s", program->name ? program->name : "program",
		sched_verdict_name(res->verdict));
	if (res->strategy == SCHED_EXPLORE)
		fprintf(out, " after %llu schedules with at most %u preemptions: %s\n",
			(unsigned long long)res->runs, res->bound, res->message);
	else
		fprintf(out, " at seed %llu: %s\n", (unsigned long long)res->seed,
			res->message);
	fprintf(out, "  %u steps, %u switches, schedule %016llx; replay: ", res->steps,
		res->switches, (unsigned long long)res->hash);
	if (res->strategy == SCHED_EXPLORE)
		fprintf(out, "HMMU_SCHED_TRAIL=%s (explore)\n", res->trail);
	else
		fprintf(out, "HMMU_SCHED_SEED=%llu%s\n", (unsigned long long)res->seed,
			res->strategy == SCHED_PCT ? " (pct)"
			: !res->buffered	   ? ""
			: res->weak		   ? " (buffered, a weak order)"
						   : " (buffered, as x86)");
}

void sched_print(FILE *out, const struct sched_result *res, const struct sched_program *program)
{
	uint32_t first = res->events > SCHED_TRACE ? res->events - SCHED_TRACE : 0;
	const void *words[26] = {NULL};
	char text[128];

	print_what(out, res, program);
	print_head(out, program);
	for (uint32_t i = first; i < res->events; i++) {
		const struct sched_event *ev = &res->trace[i % SCHED_TRACE];

		describe(ev, words, text, sizeof(text));
		fprintf(out, "%8u  %*s%s\n", ev->step, ev->thread * COLUMN, "", text);
	}
}
