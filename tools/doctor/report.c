// SPDX-License-Identifier: MIT
/*
 * report.c - the tables, in 80 columns: one for each source set, operations down, callers
 * across. Kinds of memory share a row as far as they agree; a kind for which there is no
 * such path agrees with any.
 */
#include "doctor.h"

#include <errno.h>
#include <string.h>

#define LABEL 19
#define WIDTH 9

enum color { PLAIN, GREEN, YELLOW, RED, DIM };

static const char *word(const struct cell *c)
{
	switch (c->live) {
	case VERDICT_REFUSED:
		return "refused";
	case VERDICT_BROKEN:
		return "broken";
	case VERDICT_UNWATCHED:
		return c->says_so ? "declined" : "unwatched";
	case VERDICT_REUSE_OPEN:
		return "return*";
	case VERDICT_BY_RETURN:
		return "return";
	case VERDICT_BRACKETED:
		return "bracketed";
	default:
		return "-";
	}
}

static enum color color_of(const struct cell *c)
{
	if (c->weaker || c->live == VERDICT_BROKEN)
		return RED;
	switch (c->live) {
	case VERDICT_BRACKETED:
		return GREEN;
	case VERDICT_REUSE_OPEN:
	case VERDICT_BY_RETURN:
		return YELLOW;
	case VERDICT_UNWATCHED:
		return PLAIN;
	default:
		return DIM;
	}
}

static void paint(const struct doctor *d, enum color color, const char *text, int width)
{
	static const char *const codes[] = {"", "\033[32m", "\033[33m", "\033[1;31m",
					    "\033[2m"};

	if (d->color && color != PLAIN)
		printf("%s%s\033[0m%*s", codes[color], text,
		       width > (int)strlen(text) ? width - (int)strlen(text) : 0, "");
	else
		printf("%-*s", width, text);
}

static bool agree(const struct cell *a, const struct cell *b)
{
	if (a->live == VERDICT_NONE || b->live == VERDICT_NONE)
		return true;
	return a->live == b->live && a->weaker == b->weaker && a->says_so == b->says_so;
}

/* The kinds of one row, and what stands in it. */
struct row {
	unsigned int kinds;
	struct cell cell[HMMU_CALLER_NR];
};

static bool exists(const struct set *s, unsigned int op, unsigned int memory)
{
	for (unsigned int caller = 0; caller < HMMU_CALLER_NR; caller++)
		if (s->cell[op][caller][memory].live != VERDICT_NONE)
			return true;
	return false;
}

static bool join(struct row *row, const struct set *s, unsigned int op, unsigned int memory)
{
	for (unsigned int caller = 0; row->kinds && caller < HMMU_CALLER_NR; caller++)
		if (!agree(&row->cell[caller], &s->cell[op][caller][memory]))
			return false;
	for (unsigned int caller = 0; caller < HMMU_CALLER_NR; caller++)
		if (row->cell[caller].live == VERDICT_NONE)
			row->cell[caller] = s->cell[op][caller][memory];
	row->kinds |= 1u << memory;
	return true;
}

static unsigned int rows_of(const struct set *s, unsigned int op, struct row *row)
{
	unsigned int n = 0, i;

	memset(row, 0, HMMU_MEMORY_NR * sizeof(*row));
	for (unsigned int memory = 1; memory < HMMU_MEMORY_NR; memory++) {
		if (!exists(s, op, memory))
			continue;
		for (i = 0; i < HMMU_MEMORY_NR; i++)
			if (join(&row[i], s, op, memory))
				break;
		n = i + 1 > n ? i + 1 : n;
	}
	return n;
}

static void print_cells(const struct doctor *d, enum source_set set, const struct row *row)
{
	for (unsigned int caller = 0; caller < HMMU_CALLER_NR; caller++) {
		const struct cell *c = &row->cell[caller];

		if ((set == SET_EXPLICIT) != (caller == HMMU_CALLER_EXPLICIT))
			continue;
		putchar(c->weaker ? '!' : ' ');
		paint(d, color_of(c), word(c),
		      set == SET_EXPLICIT || caller == HMMU_CALLER_NR - 1 ? 0 : WIDTH);
	}
	putchar('\n');
}

/* A line of their own if they are many. */
static void print_kinds(unsigned int kinds)
{
	char text[80];

	kinds_text(kinds, text, sizeof(text));
	if (strlen(text) + 2 < LABEL)
		printf("  %-*s", LABEL - 2, text);
	else
		printf("  %s\n%*s", text, LABEL, "");
}

/* The explicit source, as it has to be. */
static bool trivial(const struct doctor *d)
{
	const struct set *s = &d->set[SET_EXPLICIT];

	for (unsigned int op = 0; op < HMMU_OP_NR; op++)
		for (unsigned int m = 0; m < HMMU_MEMORY_NR; m++) {
			enum verdict v = s->cell[op][HMMU_CALLER_EXPLICIT][m].live;

			if (v == VERDICT_BROKEN ||
			    (v >= VERDICT_UNWATCHED && v != VERDICT_BRACKETED))
				return false;
		}
	return true;
}

static void print_set(const struct doctor *d, enum source_set set)
{
	const struct set *s = &d->set[set];
	struct row row[HMMU_MEMORY_NR];

	if (set == SET_EXPLICIT && trivial(d)) {
		printf("\n%-*s bracketed, whatever is between its start and end\n", LABEL,
		       set_names[set]);
		return;
	}
	printf("\n%-*s", LABEL, set_names[set]);
	for (unsigned int caller = 0; caller < HMMU_CALLER_NR; caller++)
		if ((set == SET_EXPLICIT) == (caller == HMMU_CALLER_EXPLICIT))
			printf(" %-*s", caller == HMMU_CALLER_NR - 1 ? 0 : WIDTH,
			       set == SET_EXPLICIT ? "the program's own start and end"
						   : caller_names[caller]);
	putchar('\n');
	for (unsigned int op = 0; op < HMMU_OP_NR; op++) {
		unsigned int n = d->ops[op] ? rows_of(s, op, row) : 0;

		if (n)
			printf("%-*s", n > 1 ? 0 : LABEL, operation_names[op]);
		if (n > 1)
			putchar('\n');
		for (unsigned int i = 0; i < n; i++) {
			if (n > 1)
				print_kinds(row[i].kinds);
			print_cells(d, set, &row[i]);
		}
	}
}

static void print_missing(const struct doctor *d, enum source_set set)
{
	const char *name = set_names[set];
	int error = d->set[set].error, at;
	char text[400];
	const char *fact = "";

	for (unsigned int i = 0; i < d->nfacts; i++)
		if (!d->fact[i].good && strstr(name, d->fact[i].name))
			fact = d->fact[i].text;
	snprintf(text, sizeof(text), "not available: %s%s%s%s", strerror(-error),
		 error == -EINVAL ? " (this library does not have it)" : "", *fact ? ": " : "",
		 fact);
	at = printf("\n%-*s ", LABEL, name);
	wrap(text, at - 1, LABEL + 1);
}

static void legend(void)
{
	puts("\n"
	     "bracketed  told before the change, and open until it was made\n"
	     "return     nothing stale begins once the changing call has returned\n"
	     "return*    the same, but another thread may get the address first (as claimed)\n"
	     "unwatched  nobody was told\n"
	     "declined   unwatched, and hmmu_read_begin() says so (-ENODEV)\n"
	     "refused    this kernel does not do it; -: there is no such path\n"
	     "!          weaker than hmmu_mm_describe() claims\n"
	     "\n"
	     "libc: its symbol; glibc: free, malloc_trim, a thread's exit; raw: a system call\n"
	     "instruction; ld.so: dlopen, dlclose; process: another one with the file, or a\n"
	     "child that shares the memory. shmem: shared anonymous, memfd; sysv: shmat.");
}

static void best(const struct doctor *d)
{
	const char *separator = "hmmu_mm_open() with NULL options gives: ";

	if (d->best_error) {
		printf("hmmu_mm_open() with NULL options: %s\n", strerror(-d->best_error));
		return;
	}
	for (unsigned int i = SET_HOOKS; i < SET_NR; i++) {
		if (i == SET_BOTH || !(d->best & set_masks[i]))
			continue;
		printf("%s%s", separator, set_names[i]);
		separator = "+";
	}
	putchar('\n');
}

void print_table(const struct doctor *d)
{
	best(d);
	for (unsigned int i = 0; i < d->nfacts; i++) {
		int at = printf("%-11s ", d->fact[i].name);

		wrap(d->fact[i].text, at, 12);
	}
	for (unsigned int i = 0; i < SET_NR; i++) {
		enum source_set set = (i + 1) % SET_NR; /* the trivial one last */

		if (!d->sets[set])
			continue;
		if (d->set[set].available)
			print_set(d, set);
		else
			print_missing(d, set);
	}
	legend();
	putchar('\n');
	print_findings(d);
	printf("%u cells measured; %u weaker than claimed, %u could not be found out\n",
	       d->cells, d->weaker, d->broken);
}
