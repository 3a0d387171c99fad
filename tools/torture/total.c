// SPDX-License-Identifier: MIT
/* total.c - sums over the threads, and what they say. */
#include "cache.h"

#include <stdio.h>
#include <string.h>

/* struct uring_mirror_stats is nothing but 64-bit counts. */
static void add_words(void *sum, const void *part, size_t size)
{
	uint64_t *to = sum;
	const uint64_t *from = part;

	for (size_t i = 0; i < size / sizeof(*to); i++)
		to[i] += from[i];
}

_Static_assert(sizeof(struct counts) % sizeof(uint64_t) == 0, "counts are words");

void totals(const struct torture *t, struct total total[NR_COLUMNS])
{
	memset(total, 0, NR_COLUMNS * sizeof(*total));
	for (enum column c = 0; c < NR_COLUMNS; c++) {
		struct total *sum = &total[c];

		for (unsigned int i = 0; i < t->nr_devices; i++)
			add_words(&sum->counts, &t->devices[i].counts[c], sizeof(sum->counts));
		for (unsigned int i = 0; i < t->nr_regions; i++) {
			sum->changes += t->regions[i].changes[c];
			sum->met += t->regions[i].met[c];
		}
		sum->accesses = sum->counts.reads + sum->counts.writes;
		sum->stale = sum->counts.stale_reads + sum->counts.stale_writes;
		sum->seconds = t->seconds[c];
	}
}

uint64_t cell_stale(const struct torture *t, const struct region *r, enum column c)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < t->nr_devices; i++)
		sum += t->devices[i].counts[c].stale_cell[r->id];
	return sum;
}

const struct region *region_at(const struct torture *t, enum op op, enum memory memory)
{
	for (unsigned int i = 0; i < t->nr_regions; i++)
		if (t->regions[i].op == op && t->regions[i].memory == memory)
			return &t->regions[i];
	return NULL;
}

static bool anything_shows(const struct torture *t)
{
	for (unsigned int i = 0; i < t->nr_regions; i++)
		if (t->regions[i].cell->shows)
			return true;
	return false;
}

static enum outcome proved_nothing(const struct torture *t, const struct total *total,
				   char *why, size_t size)
{
	if (!anything_shows(t))
		snprintf(why, size, "none of the cells chosen can show a stale access");
	else if (!total[COL_HMMU].accesses || !total[COL_HMMU].changes)
		snprintf(why, size, "the hmmu column had no access, or no invalidation");
	else if (!total[COL_HMMU].counts.mirror.callbacks)
		snprintf(why, size, "the hmmu column heard of no invalidation");
	else if (t->cache && !cache_worked(t))
		snprintf(why, size, "the library's caches had no hit, or no invalidation");
	else if (!total[COL_UNPROTECTED].stale)
		snprintf(why, size, "the unprotected column showed no stale access");
	else if (!total[COL_START_ONLY].stale && source_brackets(t))
		snprintf(why, size, "the start-only column showed no stale access");
	else
		return OUTCOME_PASSED;
	return OUTCOME_PROVED_NOTHING;
}

enum outcome outcome_of(const struct torture *t, const struct total total[NR_COLUMNS],
			char *why, size_t size)
{
	const char *fatal = atomic_load(&t->fatal);
	int error = atomic_load(&t->fatal_error);

	why[0] = '\0';
	if (total[COL_HMMU].stale) {
		snprintf(why, size, "%llu stale accesses in the hmmu column; the first: %s",
			 (unsigned long long)total[COL_HMMU].stale, t->first);
		return OUTCOME_STALE;
	}
	if (fatal) {
		snprintf(why, size, "%s%s%s", fatal, error ? ": " : "",
			 error ? strerror(error) : "");
		return OUTCOME_BROKEN;
	}
	if (t->cache) {
		bool stale;
		const char *wrong = cache_wrong(t, &stale);

		snprintf(why, size, "%s", wrong ? wrong : "");
		if (wrong)
			return stale ? OUTCOME_STALE : OUTCOME_BROKEN;
	}
	for (enum column c = 0; c < NR_COLUMNS; c++) {
		if (!total[c].counts.wrong)
			continue;
		snprintf(why, size, "%llu accesses of mapped memory failed in the %s column",
			 (unsigned long long)total[c].counts.wrong, column_names[c]);
		return OUTCOME_BROKEN;
	}
	return proved_nothing(t, total, why, size);
}
