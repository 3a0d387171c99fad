// SPDX-License-Identifier: MIT
/* points.c - the points of a program by their places in the source. */
#include "inside.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The linker's: where the program's image begins. */
extern const char __executable_start[];

void sched_points_exist(struct sched_point *table)
{
	struct sched_point *found = sched_points_new();
	char command[160], line[256];
	bool call = false;
	FILE *pipe;

	snprintf(command, sizeof(command),
		 "objdump -d --no-show-raw-insn /proc/%d/exe 2>/dev/null", (int)getpid());
	pipe = popen(command, "r");
	for (unsigned int n = 0; pipe && n < SCHED_POINTS && fgets(line, sizeof(line), pipe);) {
		if (call)
			found[n++].pc = __executable_start + strtoul(line, NULL, 16);
		call = strstr(line, "call") && strstr(line, "<hmmu_sched_point>");
	}
	if (pipe)
		pclose(pipe);
	sched_points_merge(table, found);
}

struct place {
	char text[96]; /* file:line */
	struct sched_point sum;
};

static int by_text(const void *a, const void *b)
{
	return strverscmp(((const struct place *)a)->text, ((const struct place *)b)->text);
}

static bool in_paths(const char *line, const char *paths)
{
	while (*paths) {
		size_t n = strcspn(paths, ":");

		if (memmem(line, strlen(line), paths, n))
			return true;
		paths += n + (paths[n] == ':');
	}
	return false;
}

/* Of inlined calls the innermost comes first; the accessors say nothing. @paths decide. */
static bool read_place(FILE *pipe, char *text, size_t size, const char *paths)
{
	char line[512];
	bool found = false;

	while (fgets(line, sizeof(line), pipe) && strncmp(line, "0x", 2) != 0) {
		char *name = strrchr(line, '/'), *end;

		if (found || !name || !in_paths(line, paths) || strstr(name, "/atomic.h:") ||
		    strstr(name, "/futex.h:"))
			continue;
		end = strpbrk(name, " \n");
		if (end)
			*end = '\0';
		snprintf(text, size, "%s", name + 1);
		found = true;
	}
	return found;
}

/* All addresses in one go: addr2line reads the debug information once. */
static FILE *resolve(const struct sched_point *table)
{
	char list[] = "/tmp/sched-points-XXXXXX", command[256];
	int fd = mkstemp(list);
	FILE *out = fd < 0 ? NULL : fdopen(fd, "w");

	if (!out)
		return NULL;
	for (unsigned int i = 0; i < SCHED_POINTS; i++)
		if (table[i].pc)
			fprintf(out, "%#lx\n",
				(unsigned long)((const char *)table[i].pc -
						__executable_start) -
					1);
	fclose(out);
	snprintf(command, sizeof(command),
		 "addr2line -a -i -e /proc/%d/exe <%s 2>/dev/null; rm -f %s", (int)getpid(),
		 list, list);
	return popen(command, "r");
}

static void print_places(FILE *out, struct place *places, unsigned int n)
{
	unsigned int all = 0, passed = 0, preempted = 0;

	qsort(places, n, sizeof(*places), by_text);
	for (unsigned int i = 0; i < n; all++) {
		struct sched_point sum = {NULL, 0, 0};
		const char *text = places[i].text;

		for (; i < n && !strcmp(places[i].text, text); i++) {
			sum.passed += places[i].sum.passed;
			sum.preempted += places[i].sum.preempted;
		}
		passed += sum.passed > 0;
		preempted += sum.preempted > 0;
		if (!sum.passed)
			fprintf(out, "never passed     %s\n", text);
		else if (!sum.preempted)
			fprintf(out, "never preempted  %s (passed %u times)\n", text,
				sum.passed);
	}
	fprintf(out, "%u of %u places preempted, %u passed\n", preempted, all, passed);
}

void sched_points_print(FILE *out, const struct sched_point *table, const char *paths)
{
	struct place *places = calloc(SCHED_POINTS, sizeof(*places));
	FILE *pipe = places ? resolve(table) : NULL;
	char first[512];
	unsigned int n = 0;

	/* The first line is the first address; each place ends with the next one's. */
	if (pipe && fgets(first, sizeof(first), pipe)) {
		for (unsigned int i = 0; i < SCHED_POINTS; i++) {
			if (!table[i].pc)
				continue;
			if (!read_place(pipe, places[n].text, sizeof(places[n].text), paths))
				continue;
			places[n++].sum = table[i];
		}
	}
	if (pipe)
		pclose(pipe);
	print_places(out, places, n);
	free(places);
}
