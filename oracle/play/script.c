// SPDX-License-Identifier: MIT
/* script.c - a script: its lines, and the loop over them. */
#define _GNU_SOURCE
#include "play.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINES 2048

static struct line lines[LINES];
static int nlines;

void script_bad(const struct line *line, const char *what)
{
	fprintf(stderr, "%s: operation %u (%s): %s\n", play_script, line->nr, line->text, what);
	_exit(6);
}

static void split(struct line *line, const char *text)
{
	static char words[LINES][sizeof(line->text)];
	char *p = words[line - lines];

	while (isspace((unsigned char)*text))
		text++;
	line->held = *text == '|';
	text += line->held;
	while (isspace((unsigned char)*text))
		text++;
	snprintf(line->text, sizeof(line->text), "%s", text);
	memcpy(p, line->text, sizeof(line->text));
	for (char *w = strtok(p, " \t\n"); w; w = strtok(NULL, " \t\n")) {
		if (line->n == WORDS)
			script_bad(line, "too many words");
		line->word[line->n++] = w;
	}
}

static const struct operation *find_in(const struct operation *op, const char *name)
{
	for (; op->name; op++)
		if (!strcmp(op->name, name))
			return op;
	return NULL;
}

const struct operation *operation_find(const struct line *line)
{
	static const struct operation *const tables[] = {memory_operations, change_operations,
							 protocol_operations};
	const struct operation *op = NULL;

	for (size_t i = 0; i < sizeof(tables) / sizeof(*tables) && !op; i++)
		op = find_in(tables[i], line->word[0]);
	if (!op)
		script_bad(line, "no such operation");
	if (line->n <= op->words)
		script_bad(line, "words are missing");
	return op;
}

int script_load(const char *path)
{
	FILE *file = fopen(path, "r");
	char buf[256];

	if (!file) {
		perror(path);
		return -errno;
	}
	nlines = 0;
	memset(lines, 0, sizeof(lines));
	while (fgets(buf, sizeof(buf), file)) {
		struct line *line = &lines[nlines];

		buf[strcspn(buf, "#\n")] = '\0';
		line->nr = (unsigned int)nlines + 1;
		line->n = 0;
		split(line, buf);
		if (!line->n)
			continue;
		if (++nlines == LINES) {
			fprintf(stderr, "%s: too long\n", path);
			break;
		}
	}
	fclose(file);
	return nlines < LINES ? 0 : -EINVAL;
}

static void print_answer(const struct answer *a)
{
	char name[32];

	if (a->text) {
		log_line("= %s", a->text);
	} else if (a->ret < 0 && a->ret >= -4095) {
		log_line("= -%s", strerrorname_np((int)-a->ret));
	} else if (a->address) {
		address_name((unsigned long)a->ret, name, sizeof(name));
		log_line("= %s", name);
	} else {
		log_line("= %ld", a->ret);
	}
}

/* The lines that belong to @i: those that begin with '|'. */
static int held_lines(int i)
{
	int n = 0;

	while (i + 1 + n < nlines && lines[i + 1 + n].held)
		n++;
	return n;
}

void script_play(void)
{
	for (int i = 0; i < nlines; i++) {
		const struct line *line = &lines[i];
		const struct operation *op = operation_find(line);
		struct answer answer = {0};
		int n = held_lines(i);

		log_line("op %u %s", line->nr, line->text);
		if (!strcmp(op->name, "while")) {
			play_held(line, line + 1, n);
			i += n;
			continue;
		}
		side.perform(op, line, &answer);
		side.settle();
		print_answer(&answer);
	}
}
