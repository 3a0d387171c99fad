// SPDX-License-Identifier: MIT
/*
 * region.c - addresses by name, so that the logs of two runs can be compared.
 *
 *	w+N	page N of the window, a place that nothing else is mapped near
 *	b+N	page N above the break that the script started with
 */
#define _GNU_SOURCE
#include "play.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A page above a multiple of 1 GiB: at w+511 lies a multiple of 2 MiB, and of no more. */
#define WINDOW_AT 0x2000001000UL

static struct region {
	char name;
	unsigned long base;
} regions[] = {{'w', WINDOW_AT}, {'b', 0}};

/* The break is moved to a page's begin: what is above belongs to the script. */
void regions_init(void)
{
	unsigned long now = (unsigned long)sbrk(0);

	regions[1].base = (now + PAGE - 1) & -PAGE;
	if (brk((void *)regions[1].base)) {
		perror("brk");
		_exit(5);
	}
}

/* pages[:bytes] */
static unsigned long size_of(const struct line *line, const char *p, char until)
{
	char *end;
	unsigned long value = strtoul(p, &end, 0) * PAGE;

	if (end == p)
		script_bad(line, "a number is expected");
	if (*end == ':')
		value += strtoul(end + 1, &end, 0);
	if (*end != until)
		script_bad(line, "a number is expected");
	return value;
}

unsigned long length_of(const struct line *line, int word)
{
	return size_of(line, line->word[word], '\0');
}

unsigned long address_of(const struct line *line, int word)
{
	const char *p = line->word[word];

	for (size_t i = 0; i < sizeof(regions) / sizeof(*regions); i++) {
		if (p[0] != regions[i].name || (p[1] != '+' && p[1] != '-'))
			continue;
		if (p[1] == '-')
			return regions[i].base - size_of(line, p + 2, '\0');
		return regions[i].base + size_of(line, p + 2, '\0');
	}
	if (!strcmp(p, "null"))
		return 0;
	script_bad(line, "an address is expected");
}

static const struct region *region_of(unsigned long addr)
{
	for (size_t i = 0; i < sizeof(regions) / sizeof(*regions); i++)
		if (addr >= regions[i].base && addr < regions[i].base + WINDOW * PAGE)
			return &regions[i];
	return NULL;
}

void address_name(unsigned long addr, char *name, size_t n)
{
	const struct region *r = region_of(addr);

	if (r)
		snprintf(name, n, "%c+%lu", r->name, (addr - r->base) / PAGE);
	else
		snprintf(name, n, "away");
}

static bool clip(const struct region *r, unsigned long *start, unsigned long *end)
{
	unsigned long top = r->base + WINDOW * PAGE;

	if (*start < r->base)
		*start = r->base;
	if (*end > top)
		*end = top;
	return *start < *end;
}

void range_name(unsigned long start, unsigned long end, char *name, size_t n)
{
	const struct region *found = NULL;

	for (size_t i = 0; i < sizeof(regions) / sizeof(*regions); i++) {
		unsigned long from = start, to = end;

		if (!clip(&regions[i], &from, &to))
			continue;
		if (found) {
			snprintf(name, n, "all");
			return;
		}
		found = &regions[i];
	}
	if (!found) {
		snprintf(name, n, "else");
		return;
	}
	clip(found, &start, &end);
	snprintf(name, n, "%c %lu %lu", found->name, (start - found->base) / PAGE,
		 (end - found->base + PAGE - 1) / PAGE);
}

bool range_of(char *name, unsigned long *start, unsigned long *end)
{
	unsigned long from, to;
	char region;

	if (!strncmp(name, "all", 3)) {
		*start = PAGE;
		*end = -PAGE;
		return true;
	}
	if (sscanf(name, "%c %lu %lu", &region, &from, &to) != 3)
		return false;
	for (size_t i = 0; i < sizeof(regions) / sizeof(*regions); i++) {
		if (region != regions[i].name)
			continue;
		*start = regions[i].base + from * PAGE;
		*end = regions[i].base + to * PAGE;
		return true;
	}
	return false;
}

bool range_clip(unsigned int id, unsigned long start, unsigned long end, char *name, size_t n)
{
	const struct subscribed *s = &subscribed[id];
	unsigned long from = s->start & -PAGE;
	unsigned long to = (s->start + s->length + PAGE - 1) & -PAGE;

	if (start > from)
		from = start;
	if (end < to)
		to = end;
	if (from >= to)
		return false;
	range_name(from, to, name, n);
	return true;
}
