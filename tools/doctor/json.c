// SPDX-License-Identifier: MIT
/*
 * json.c - one object. Every cell of every set that is available is there, also those
 * that do not exist. All strings are this program's own, or strerror()'s.
 */
#include "doctor.h"

#include <string.h>

static void string(const char *text)
{
	putchar('"');
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < ' ')
			printf("\\u%04x", c);
		else
			putchar(c);
	}
	putchar('"');
}

static void pair(const char *key, const char *value, const char *after)
{
	string(key);
	fputs(": ", stdout);
	string(value);
	fputs(after, stdout);
}

static const char *boolean(bool b)
{
	return b ? "true" : "false";
}

static const char *claim_name(int claim)
{
	return claim < 0 ? "nothing" : verdict_name((enum verdict)(claim + VERDICT_UNWATCHED));
}

static void way(const struct way *w, bool first)
{
	printf("%s\n      {", first ? "" : ",");
	pair("name", w->v->name, ", ");
	pair("live", verdict_name(w->verdict), "");
	if (w->why[0]) {
		fputs(", ", stdout);
		pair("why", w->why, "");
	}
	printf(", \"says_so\": %s, \"traced\": %s}", boolean(w->says_so), boolean(w->proven));
}

static void cell(const struct cell *c, unsigned int op, unsigned int caller,
		 unsigned int memory, bool first)
{
	printf("%s\n    {", first ? "" : ",");
	pair("operation", operation_names[op], ", ");
	pair("caller", caller_names[caller], ", ");
	pair("memory", kind_names[memory], ", ");
	pair("live", verdict_name(c->live), ", ");
	pair("claim", claim_name(c->claim), "");
	printf(", \"weaker\": %s, \"says_so\": %s, \"ways\": [", boolean(c->weaker),
	       boolean(c->says_so));
	for (unsigned int i = 0; i < c->nways; i++)
		way(&c->way[i], !i);
	fputs("]}", stdout);
}

static void cells(const struct doctor *d, enum source_set set)
{
	bool first = true;

	for (unsigned int op = 0; op < HMMU_OP_NR; op++)
		for (unsigned int caller = 0; caller < HMMU_CALLER_NR; caller++)
			for (unsigned int memory = 1; memory < HMMU_MEMORY_NR; memory++) {
				if (!d->ops[op] ||
				    (set == SET_EXPLICIT) != (caller == HMMU_CALLER_EXPLICIT))
					continue;
				cell(&d->set[set].cell[op][caller][memory], op, caller, memory,
				     first);
				first = false;
			}
}

static void source(const struct doctor *d, enum source_set set, bool first)
{
	const struct set *s = &d->set[set];

	printf("%s\n  {", first ? "" : ",");
	pair("name", set_names[set], ", ");
	printf("\"available\": %s, ", boolean(s->available));
	if (!s->available)
		pair("why", strerror(-s->error), ", ");
	fputs("\"cells\": [", stdout);
	if (s->available)
		cells(d, set);
	fputs("]}", stdout);
}

void print_json(const struct doctor *d)
{
	bool first = true;

	printf("{\"weaker\": %u, \"broken\": %u, \"measured\": %u, \"best\": [", d->weaker,
	       d->broken, d->cells);
	for (unsigned int i = SET_HOOKS; i < SET_NR; i++) {
		/* The sets of one source are its bits' names. */
		if (i == SET_BOTH || !(d->best & set_masks[i]))
			continue;
		fputs(first ? "" : ", ", stdout);
		string(set_names[i]);
		first = false;
	}
	fputs("],\n \"machine\": [", stdout);
	for (unsigned int i = 0; i < d->nfacts; i++) {
		printf("%s\n  {", i ? "," : "");
		pair("name", d->fact[i].name, ", ");
		printf("\"good\": %s, ", boolean(d->fact[i].good));
		pair("text", d->fact[i].text, "}");
	}
	fputs("],\n \"sources\": [", stdout);
	first = true;
	for (unsigned int i = 0; i < SET_NR; i++) {
		if (!d->sets[i])
			continue;
		source(d, i, first);
		first = false;
	}
	puts("]}");
}
