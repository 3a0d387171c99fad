// SPDX-License-Identifier: MIT
/*
 * lines.c - hmmu-lines MAP [NAME] < TRACE: distinct lines that each operation wrote, of the
 * thread's own and of others, from lackey's trace of all stores. MAP is what hmmu-count said
 * meanwhile: which operation has which mark, and which addresses are its own. It is read
 * again whenever a mark comes that is not known.
 *
 * One line for each operation: "lines SIDE NAME SHARED OWN READS", means over its rounds.
 * NAME: first the shared lines of that one, by address.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "count.h"

#define MAX_OWN 64
#define MAX_LINES 65536

static struct {
	unsigned long start, end;
} own[MAX_OWN];
static size_t nr_own;

static struct {
	bool known;
	char side[32], name[64];
	int reads;
	unsigned long rounds, shared, owned;
} operations[COUNT_MAX];

static unsigned long seen[MAX_LINES];
static size_t nr_seen;
static const char *map, *show;

static void die(const char *what)
{
	fprintf(stderr, "hmmu-lines: %s\n", what);
	exit(1);
}

static void read_operation(const char *text)
{
	unsigned long index;
	char side[32], name[64];
	int reads;

	if (sscanf(text, "operation %31s %63s %lu %d", side, name, &index, &reads) != 4 ||
	    index >= COUNT_MAX)
		die("the map makes no sense");
	memcpy(operations[index].side, side, sizeof(side));
	memcpy(operations[index].name, name, sizeof(name));
	operations[index].reads = reads;
	operations[index].known = true;
}

static void read_map(void)
{
	FILE *file = fopen(map, "r");
	char text[256];

	if (!file)
		die("no map");
	for (nr_own = 0; fgets(text, sizeof(text), file);) {
		if (!strncmp(text, "operation ", 10))
			read_operation(text);
		else if (nr_own < MAX_OWN &&
			 sscanf(text, "own %lx %lx", &own[nr_own].start, &own[nr_own].end) == 2)
			nr_own++;
	}
	fclose(file);
}

static bool is_own(unsigned long line)
{
	for (size_t i = 0; i < nr_own; i++)
		if (line >= own[i].start / COUNT_LINE && line <= (own[i].end - 1) / COUNT_LINE)
			return true;
	return false;
}

static void store(unsigned long addr, unsigned long size)
{
	for (unsigned long l = addr / COUNT_LINE; l <= (addr + size - 1) / COUNT_LINE; l++) {
		size_t i = 0;

		while (i < nr_seen && seen[i] != l)
			i++;
		if (i == MAX_LINES)
			die("an operation writes too many lines");
		seen[i] = l;
		nr_seen += i == nr_seen;
	}
}

static void end(unsigned long index)
{
	if (!operations[index].known)
		die("a mark of no operation");
	for (size_t i = 0; i < nr_seen; i++) {
		bool mine = is_own(seen[i]);

		operations[index].owned += mine;
		operations[index].shared += !mine;
		if (show && !mine && !strcmp(show, operations[index].name))
			printf("%s %s %lx\n", operations[index].side, show,
			       seen[i] * COUNT_LINE);
	}
	operations[index].rounds++;
}

/* Stores between the two marks. */
static void read_trace(void)
{
	unsigned long addr, size, at;
	bool inside = false;
	char text[256];

	while (fgets(text, sizeof(text), stdin)) {
		/* Stores, and what loads and stores: a fraction of it all. */
		if (text[0] != ' ' || (text[1] != 'S' && text[1] != 'M') ||
		    sscanf(text + 2, " %lx,%lu", &addr, &size) != 2)
			continue;
		at = addr - COUNT_MARK;
		if (at >= COUNT_MAX * 16) {
			if (inside)
				store(addr, size);
			continue;
		}
		inside = !(at & 8);
		if (inside) {
			nr_seen = 0;
			if (!operations[at / 16].known)
				read_map();
		} else {
			end(at / 16);
		}
	}
}

int main(int argc, char **argv)
{
	if (argc < 2 || argc > 3)
		die("usage: hmmu-lines MAP [NAME] < TRACE");
	map = argv[1];
	show = argv[2];
	read_trace();
	for (size_t i = 0; i < COUNT_MAX; i++) {
		double n = (double)operations[i].rounds;

		if (operations[i].rounds)
			printf("lines %s %s %.4g %.4g %d\n", operations[i].side,
			       operations[i].name, (double)operations[i].shared / n,
			       (double)operations[i].owned / n, operations[i].reads);
	}
	return 0;
}
