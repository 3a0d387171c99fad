// SPDX-License-Identifier: MIT
/* mutator.c - a thread that changes memory. The regions are dealt out: each has one
 * mutator for ever, which alone writes its pub and stores into it. */
#include "cache.h"

/* fork costs as much as a hundred others, and a hooked one invalidates everything. */
static bool skip(struct mutator *m, const struct region *r)
{
	return r->dead || (r->op == OP_FORK && torture_random(&m->rng) % 16);
}

/* Which pages: some, unless the operation is of one mapping as a whole. */
static void choose(struct mutator *m, const struct region *r, unsigned int *first,
		   unsigned int *pages)
{
	bool whole = r->op == OP_MREMAP || r->op == OP_MREMAP_FIXED || r->op == OP_FREE;

	*first = 0;
	*pages = PAGES;
	if (whole)
		return;
	*first = (unsigned int)(torture_random(&m->rng) % PAGES);
	if (r->op == OP_BRK) /* the break goes down: to the end */
		*pages = PAGES - *first;
	else
		*pages = 1 + (unsigned int)(torture_random(&m->rng) % (PAGES - *first));
}

enum kind { PLAIN, LURED, HELD };

/* Half of the changes hold the window open. Start-only's bug needs HELD; unprotected
 * runs no callback that could hold. */
static enum kind choose_kind(struct mutator *m)
{
	unsigned int dice = (unsigned int)(torture_random(&m->rng) % 8);

	if (dice >= 4)
		return PLAIN;
	if (m->column == COL_START_ONLY)
		return dice ? HELD : LURED;
	return m->column == COL_HMMU && dice % 2 ? HELD : LURED;
}

/* This one's share of the regions. */
static struct region *any_region(struct mutator *m)
{
	struct torture *t = m->t;
	unsigned int share = (t->nr_regions - m->id + t->nr_mutators - 1) / t->nr_mutators;

	return &t->regions[m->id + torture_random(&m->rng) % share * t->nr_mutators];
}

/* A meeting takes about a time slice, so they go where there were fewest, and where
 * they can show something. */
static struct region *poorest_region(struct mutator *m)
{
	struct region *best = any_region(m);

	for (int i = 0; i < 4; i++) {
		struct region *r = any_region(m);

		if (r->cell->shows > best->cell->shows ||
		    (r->cell->shows == best->cell->shows &&
		     r->met[m->column] < best->met[m->column]))
			best = r;
	}
	return best;
}

static bool past_libc(struct mutator *m)
{
	switch (m->t->options.callers) {
	case CALLERS_RAW:
		return true;
	case CALLERS_MIXED:
		return torture_random(&m->rng) % 2;
	default:
		return false;
	}
}

static void change_one(struct mutator *m)
{
	enum kind kind = choose_kind(m);
	unsigned int first, pages;
	struct region *r;
	bool met = false;

	if (cache_mutate(m))
		return;
	if (m->t->replay) {
		r = replay_next(m, &first, &pages);
		if (!r || r->dead)
			return;
	} else {
		r = kind == PLAIN ? any_region(m) : poorest_region(m);
		if (skip(m, r))
			return;
		choose(m, r, &first, &pages);
	}
	if (kind == LURED)
		met = meet_lure(m, r, first + (unsigned int)(torture_random(&m->rng) % pages));
	if (kind == HELD)
		meet_want_hold(m, r, first, pages);
	change(m->t, r, first, pages, past_libc(m));
	if (kind == HELD)
		met = meet_over(m);
	r->changes[m->column] += !r->dead;
	r->met[m->column] += met;
}

void *mutator_main(void *arg)
{
	struct mutator *m = arg;
	struct torture *t = m->t;

	for (;;) {
		pthread_barrier_wait(&t->barrier); /* the column is set */
		if (t->quit)
			return NULL;
		m->column = t->column;
		pthread_barrier_wait(&t->barrier); /* the devices watch */
		while (!atomic_load(&t->stop))
			change_one(m);
		pthread_barrier_wait(&t->barrier); /* all quiet */
	}
}
