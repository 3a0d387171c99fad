// SPDX-License-Identifier: MIT
/* expected.c - reads expected.txt: the rules of the file are in its head. */
#include "expected.h"

#include <stdio.h>
#include <string.h>

#define MAX_LINES 256
#define SOURCES 4

static struct line {
	char op[24], caller[12], memory[80], symbol[SOURCES];
} lines[MAX_LINES];
static int nlines;

bool expected_load(const char *path)
{
	FILE *f = fopen(path, "re");
	char text[256];

	if (!f) {
		perror(path);
		return false;
	}
	while (fgets(text, sizeof(text), f)) {
		struct line *l = &lines[nlines];

		if (text[0] == '#' || text[0] == '\n')
			continue;
		if (nlines == MAX_LINES ||
		    sscanf(text, "%23s %11s %79s %c %c %c %c", l->op, l->caller, l->memory,
			   &l->symbol[0], &l->symbol[1], &l->symbol[2],
			   &l->symbol[3]) != 3 + SOURCES) {
			printf("%s: not understood: %s", path, text);
			return false;
		}
		nlines++;
	}
	fclose(f);
	return nlines != 0;
}

static bool in_list(const char *list, const char *name)
{
	size_t n = strlen(name);

	if (!strcmp(list, "all"))
		return true;
	for (; *list; list += strcspn(list, ","), list += *list == ',')
		if (strcspn(list, ",") == n && !strncmp(list, name, n))
			return true;
	return false;
}

static char by(int column, const char *op, const char *caller, const char *memory)
{
	for (int i = 0; i < nlines; i++)
		if (!strcmp(lines[i].op, op) && !strcmp(lines[i].caller, caller) &&
		    in_list(lines[i].memory, memory))
			return lines[i].symbol[column];
	return '-';
}

char expected(const char *source, const char *op, const char *caller, const char *memory)
{
	static const char *const names[SOURCES] = {"hooks", "userfaultfd", "hooks+userfaultfd",
						   "seccomp"};

	/* The program's own start and end: around whatever it calls. */
	if (!strcmp(source, "explicit"))
		return by(0, op, "libc", memory) == '-' ? '-' : 'B';
	for (int i = 0; i < SOURCES; i++)
		if (!strcmp(names[i], source))
			return by(i, op, caller, memory);
	return '?';
}
