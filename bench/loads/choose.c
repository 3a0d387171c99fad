// SPDX-License-Identifier: MIT
/* choose.c - which changes, and what is subscribed to: see loads.h. */
#include <stdlib.h>
#include <string.h>

#include "loads.h"

/* Where an area begins, and the last one of the process ends. */
static unsigned long *lay_out(const struct recording *r, struct extent *processes)
{
	unsigned long *at = calloc(r->header.nr_areas + 1, sizeof(*at)), next = BASE;

	for (uint32_t p = 0; at && p < r->header.nr_processes; p++) {
		processes[p].start = next;
		for (uint32_t a = 0; a < r->header.nr_areas; a++) {
			if (r->areas[a].process != p)
				continue;
			at[a] = next;
			next += r->areas[a].size;
			processes[p].end = next;
			next += AREA_GAP;
		}
	}
	return at;
}

static bool is_change(const struct record_event *event)
{
	return !(event->flags & (RECORD_CREATES | RECORD_FAILED | RECORD_LOST));
}

static bool changes(struct load *load, const struct recording *r)
{
	struct extent *processes = calloc(r->header.nr_processes + 1, sizeof(*processes));
	unsigned long *at = processes ? lay_out(r, processes) : NULL;

	load->changes = calloc(r->header.nr_events + 1, sizeof(*load->changes));
	for (uint64_t i = 0; at && load->changes && i < r->header.nr_events; i++) {
		const struct record_event *event = &r->events[i];
		struct extent *to = &load->changes[load->nr_changes];

		if (!is_change(event))
			continue;
		if (event->flags & RECORD_ALL) {
			*to = processes[event->process];
		} else {
			to->start = at[event->area] + event->offset;
			to->end = to->start + event->length;
		}
		/* A process without areas has nothing to change. */
		load->nr_changes += to->end > to->start;
	}
	free(at);
	free(processes);
	return load->nr_changes > 0;
}

static int by_start(const void *a, const void *b)
{
	const struct extent *x = a, *y = b;

	return (x->start > y->start) - (x->start < y->start);
}

/* Where something changes: sorted, and what overlaps another one left out. */
static void choose_near(struct load *load, size_t most)
{
	size_t kept = 0;

	for (size_t i = 0; i < load->nr_changes; i++) {
		struct extent *sub = &load->subs[i];

		*sub = load->changes[i];
		if (sub->end - sub->start > SUB_PAGES * PAGE)
			sub->end = sub->start + SUB_PAGES * PAGE;
	}
	qsort(load->subs, load->nr_changes, sizeof(*load->subs), by_start);
	for (size_t i = 0; i < load->nr_changes && kept < most; i++)
		if (!kept || load->subs[i].start >= load->subs[kept - 1].end)
			load->subs[kept++] = load->subs[i];
	load->nr_near = kept;
}

bool load_choose(struct load *load, const struct recording *r, size_t subscriptions)
{
	size_t most = subscriptions / 2 < NEAR_MAX ? subscriptions / 2 : NEAR_MAX;

	memset(load, 0, sizeof(*load));
	if (!changes(load, r))
		return false;
	load->subs = calloc(subscriptions + load->nr_changes, sizeof(*load->subs));
	if (!load->subs)
		return false;
	choose_near(load, most);
	load->nr_subs = subscriptions;
	for (size_t i = load->nr_near; i < subscriptions; i++) {
		load->subs[i].start = ELSEWHERE + i * STRIDE;
		load->subs[i].end = load->subs[i].start + PAGE;
	}
	return true;
}

void load_free(struct load *load)
{
	free(load->changes);
	free(load->subs);
}
