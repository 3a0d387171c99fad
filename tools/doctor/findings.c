// SPDX-License-Identifier: MIT
/*
 * findings.c - the lines after the tables: what is weaker than claimed or could not be
 * found out, and what this machine refuses to do and which one would not. Kinds of memory
 * for which it is the same share a line, which stands where the first of them is.
 */
#include "doctor.h"

#include <errno.h>
#include <string.h>

static bool is_wrong(const struct cell *c, const struct way *w)
{
	return w->verdict == VERDICT_BROKEN || (c->weaker && w->verdict == c->live);
}

/* Is it wrong in @c just as @w is in @like? */
static bool wrong_alike(const struct cell *c, const struct cell *like, const struct way *w)
{
	for (unsigned int i = 0; i < c->nways; i++)
		if (c->way[i].v == w->v && is_wrong(c, &c->way[i]) && c->claim == like->claim &&
		    c->way[i].verdict == w->verdict && !strcmp(c->way[i].why, w->why))
			return true;
	return false;
}

static void print_wrong(enum source_set set, unsigned int caller, const struct cell *cells,
			unsigned int memory, const struct way *w)
{
	const struct cell *c = &cells[memory];
	const bool broken = w->verdict == VERDICT_BROKEN;
	unsigned int alike = 0;
	char kinds[80], text[400];

	for (unsigned int m = 1; m < HMMU_MEMORY_NR; m++)
		if (wrong_alike(&cells[m], c, w))
			alike |= 1u << m;
	if (alike & ((1u << memory) - 1))
		return;
	kinds_text(alike, kinds, sizeof(kinds));
	snprintf(text, sizeof(text), "%s: %s (%s) by %s on %s: %s%s%s%s%s", set_names[set],
		 operation_names[w->v->op], w->v->name, caller_names[caller], kinds,
		 broken ? "could not be found out" : verdict_name(c->live),
		 w->why[0] ? ": " : "", w->why, broken ? "" : "; claimed: ",
		 broken ? "" : verdict_name((enum verdict)(c->claim + VERDICT_UNWATCHED)));
	printf("! ");
	wrap(text, 2, 2);
}

static void find_wrong(const struct doctor *d, enum source_set set)
{
	for (unsigned int op = 0; op < HMMU_OP_NR; op++)
		for (unsigned int caller = 0; caller < HMMU_CALLER_NR; caller++) {
			const struct cell *cells = d->set[set].cell[op][caller];

			for (unsigned int m = 1; m < HMMU_MEMORY_NR; m++)
				for (unsigned int i = 0; i < cells[m].nways; i++)
					if (is_wrong(&cells[m], &cells[m].way[i]))
						print_wrong(set, caller, cells, m,
							    &cells[m].way[i]);
		}
}

/* Who does it. */
static const char *since(const struct way *w, unsigned int caller)
{
	if (w->v->late)
		return "";
	switch (w->v->op) {
	case HMMU_OP_MADVISE_GUARD:
		return "; Linux 6.13 does it, of files 6.15";
	case HMMU_OP_PROCESS_MADVISE:
		return "; Linux 6.13 does it on oneself";
	case HMMU_OP_PKEY_MPROTECT:
		return "; it takes a processor with protection keys";
	case HMMU_OP_FTRUNCATE:
		return caller == HMMU_CALLER_IO_URING ? "; Linux 6.9 does it" : "";
	default:
		return "";
	}
}

/* Of one variant, once: where it is the kernel that refuses, it is by all alike. */
static void print_refused(const struct doctor *d, const struct variant *v)
{
	char text[200];

	for (unsigned int set = 0; set < SET_NR; set++)
		for (unsigned int caller = 0; d->sets[set] && caller < HMMU_CALLER_NR; caller++)
			for (unsigned int m = 1; m < HMMU_MEMORY_NR; m++) {
				const struct cell *c = &d->set[set].cell[v->op][caller][m];

				for (unsigned int i = 0; i < c->nways; i++) {
					const struct way *w = &c->way[i];

					if (w->v != v || w->verdict != VERDICT_REFUSED)
						continue;
					snprintf(text, sizeof(text),
						 "%s (%s)%s is refused here: %s%s",
						 operation_names[v->op], v->name,
						 caller == HMMU_CALLER_IO_URING ? " by io_uring"
										: "",
						 w->why, since(w, caller));
					fputs("- ", stdout);
					wrap(text, 2, 2);
					return;
				}
			}
}

void print_findings(const struct doctor *d)
{
	static const struct variant *const lists[] = {plain_variants, inside_variants,
						      uring_variants};

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		for (const struct variant *v = lists[i]; v->name; v++)
			print_refused(d, v);
	for (unsigned int i = 0; i < SET_NR; i++)
		if (d->sets[i])
			find_wrong(d, i);
}
