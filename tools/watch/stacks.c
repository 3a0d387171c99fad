// SPDX-License-Identifier: MIT
/*
 * stacks.c - from stack numbers to call sites. A copy waits in its process's queue until
 * there is time to unwind it; equal results are one site, whatever their numbers.
 */
#include <stdlib.h>
#include <string.h>

#include "watch.h"

/* Places behind the module's numbers, for events without a copy: by caller. */
#define CALLERS 1024u
#define PLACES (1 + WATCH_STACKS + CALLERS)

void watch_count(struct watch_count *c, const struct watch_event *e)
{
	c->ranges++;
	if (!(e->flags & WATCH_SECOND)) {
		c->calls++;
		c->failed += (e->flags & WATCH_FAILED) != 0;
	}
	if (!(e->flags & (WATCH_ALL | WATCH_LOST)))
		c->bytes += e->end - e->start;
}

void watch_count_add(struct watch_count *to, const struct watch_count *from)
{
	to->calls += from->calls;
	to->ranges += from->ranges;
	to->bytes += from->bytes;
	to->failed += from->failed;
}

/* Numbers are hashes, sparse; what is known of them lies close together. */
static struct watch_stack *stack_at(struct watch_process *p, uint32_t number)
{
	uint64_t room = p->room_stacks;

	if (!p->where)
		p->where = watch_alloc(PLACES, sizeof(*p->where));
	if (!p->where[number]) {
		p->stacks = watch_grow(p->stacks, &room, p->nr_stacks + 1, sizeof(*p->stacks));
		p->room_stacks = (uint32_t)room;
		memset(&p->stacks[p->nr_stacks], 0, sizeof(*p->stacks));
		p->where[number] = ++p->nr_stacks;
	}
	return &p->stacks[p->where[number] - 1];
}

static void enqueue(struct watch_process *p, uint32_t number)
{
	uint64_t room = p->room_queue;

	p->queue = watch_grow(p->queue, &room, p->nr_queue + 1, sizeof(*p->queue));
	p->room_queue = (uint32_t)room;
	p->queue[p->nr_queue++] = number;
}

/* The place of @caller; the last one is everybody's who finds none. */
static uint32_t by_caller(struct watch_process *p, uint64_t caller)
{
	uint32_t first = (uint32_t)(caller * UINT64_C(0x9e3779b97f4a7c15) >> 54);

	for (uint32_t i = 0; i < CALLERS; i++) {
		uint32_t number = 1 + WATCH_STACKS + (first + i) % CALLERS;

		struct watch_stack *s = stack_at(p, number);

		if (s->caller == caller)
			return number;
		if (s->caller)
			continue;
		s->caller = caller;
		s->cut = true;
		enqueue(p, number);
		return number;
	}
	return PLACES - 1;
}

/* Sets e->stack to the place it is counted at. */
void watch_stack_event(struct watch *w, struct watch_process *p, struct watch_event *e)
{
	struct watch_stack *s;

	if (!e->stack)
		e->stack = by_caller(p, e->caller ? e->caller : 1);
	s = stack_at(p, e->stack);
	s->caller = s->caller ? s->caller : e->caller;
	s->cut |= (e->flags & WATCH_CUT) != 0;
	watch_count(&s->op[e->op], e);
}

void watch_stack_copied(struct watch *w, struct watch_process *p, uint32_t number,
			const void *copy, uint32_t size)
{
	struct watch_stack *s = stack_at(p, number);

	if (s->copy || s->site || size < sizeof(struct watch_regs) ||
	    size > WATCH_WINDOW + sizeof(struct watch_regs))
		return;
	s->copy = watch_alloc(1, size);
	memcpy(s->copy, copy, size);
	s->size = size;
	enqueue(p, number);
}

static uint64_t hash_frames(uint32_t process, const char *const *frames, uint32_t n)
{
	uint64_t h = process + 1;

	for (uint32_t i = 0; i < n; i++) {
		h = (h ^ (uintptr_t)frames[i]) * UINT64_C(0x9e3779b97f4a7c15);
		h ^= h >> 31;
	}
	return h;
}

static bool same_site(const struct watch_site *s, uint32_t process, const char *const *frames,
		      uint32_t n)
{
	return s->process == process && s->nr_frames == n &&
	       !memcmp(s->frames, frames, n * sizeof(*frames));
}

static uint64_t hash_of_site(const struct watch_site *s)
{
	return hash_frames(s->process, s->frames, s->nr_frames);
}

static void grow_table(struct watch *w)
{
	w->site_mask = w->site_mask ? w->site_mask * 2 + 1 : 1023;
	free(w->site_table);
	w->site_table = watch_alloc(w->site_mask + 1, sizeof(*w->site_table));
	for (uint32_t i = 0; i < w->nr_sites; i++) {
		uint64_t at = hash_of_site(&w->sites[i]);

		while (w->site_table[at & w->site_mask])
			at++;
		w->site_table[at & w->site_mask] = i + 1;
	}
}

/* 1 + its index. */
static uint32_t site(struct watch *w, uint32_t process, const char *const *frames, uint32_t n,
		     bool cut)
{
	uint64_t at, room = w->room_sites;
	struct watch_site *s;

	if (w->nr_sites * 2 >= w->site_mask)
		grow_table(w);
	for (at = hash_frames(process, frames, n); w->site_table[at & w->site_mask]; at++) {
		uint32_t i = w->site_table[at & w->site_mask];

		if (same_site(&w->sites[i - 1], process, frames, n))
			return i;
	}
	w->sites = watch_grow(w->sites, &room, w->nr_sites + 1, sizeof(*w->sites));
	w->room_sites = (uint32_t)room;
	s = &w->sites[w->nr_sites++];
	memset(s, 0, sizeof(*s));
	s->process = process;
	s->nr_frames = n;
	s->cut = cut;
	s->frames = watch_alloc(n, sizeof(*frames));
	memcpy(s->frames, frames, n * sizeof(*frames));
	w->site_table[at & w->site_mask] = w->nr_sites;
	return w->nr_sites;
}

static void settle_counts(struct watch *w, struct watch_stack *s)
{
	struct watch_site *to = &w->sites[s->site - 1];

	for (unsigned int op = 0; op < WATCH_OP_NR; op++) {
		watch_count_add(&to->op[op], &s->op[op]);
		watch_count_add(&to->all, &s->op[op]);
		memset(&s->op[op], 0, sizeof(s->op[op]));
	}
}

static void unwind_next(struct watch *w, struct watch_process *p)
{
	struct watch_stack *s = stack_at(p, p->queue[p->at_queue++]);
	const char *frames[WATCH_FRAMES];
	bool whole = false;
	unsigned int n;

	n = watch_unwind(p, s, frames, WATCH_FRAMES, &whole);
	s->site = site(w, p->index, frames, n, !whole);
	free(s->copy);
	s->copy = NULL;
	settle_counts(w, s);
}

bool watch_stacks_unwind(struct watch *w, double seconds)
{
	double until = watch_seconds() + seconds;

	for (uint32_t i = 0; i < w->nr_processes; i++) {
		struct watch_process *p = w->processes[i];

		while (p->at_queue < p->nr_queue) {
			unwind_next(w, p);
			if (watch_seconds() > until)
				return false;
		}
		/* No more will come, and its modules cost memory. */
		if (p->ended && p->image)
			watch_image_free(p);
	}
	return true;
}

/* What was counted since, or never had a copy that arrived. For the report. */
void watch_stacks_settle(struct watch *w)
{
	for (uint32_t i = 0; i < w->nr_processes; i++) {
		struct watch_process *p = w->processes[i];

		for (uint32_t k = 0; k < p->nr_stacks; k++) {
			struct watch_stack *s = &p->stacks[k];

			if (!s->site) {
				const char *frame = watch_intern("(its stack was not copied)");

				s->site = site(w, i, &frame, 1, true);
			}
			settle_counts(w, s);
		}
	}
}

uint32_t watch_site_of(const struct watch *w, uint32_t process, uint32_t stack)
{
	const struct watch_process *p = w->processes[process];

	return p->where && stack < PLACES && p->where[stack]
		       ? p->stacks[p->where[stack] - 1].site
		       : 0;
}
