// SPDX-License-Identifier: MIT
/*
 * meet.c - the window held open: a reader has pinned (read the truth) and not yet
 * installed while the memory changes.
 *
 * A mutator asks one device at a time for one page, by a word: device->lure. Two
 * kinds:
 *
 *	LURE	before the change. The device drops the page, misses, pins it, says
 *		"seen" and waits until the change has passed. Meeting 1 of the protocol:
 *		the sequence moves between begin and the lock. Unprotected installs
 *		the dead page; start-only and hmmu must retry.
 *
 *	HOLD	inside the invalidation: the callback, with everything of its own
 *		done and unlocked, waits for the device of that very mirror. Meeting 3:
 *
 *		device					mutator
 *							start: sequence moves
 *							callback: zap; lure; wait
 *		begin (start-only: does not wait)
 *		pin the old page
 *		seen; wait				callback returns
 *							the translations change; end
 *		retry == false: install			[start-only's bug]
 *
 *		An hmmu device says "seen" before it begins, since begin sleeps until
 *		the end.
 *
 * The word's life: 0 -> value (mutator, CAS) -> 0 (device when served or declined,
 * or the mutator when its patience is over, CAS). Values are never reused within
 * 2^15 lures. Every wait ends by itself after t->patience: nothing here can deadlock,
 * a meeting that did not come about is only not counted. All accesses seq_cst:
 * these are a dozen words in a path that sleeps anyway.
 *
 * A callback may wait here although it may run inside libc: devices take no lock and
 * allocate nothing between meet_wanted() and "seen".
 */
#include "torture.h"

#include <sched.h>
#include <unistd.h>

enum { LURE = 0, HOLD = 1 };

/* What the mutator of this thread wants of the callbacks that it runs. */
static __thread struct {
	struct region *region;
	unsigned int first, pages;
	bool met;
	struct mutator *mutator;
} hold;

static uint32_t value_of(struct mutator *m, const struct region *r, unsigned int page, int kind)
{
	uint32_t token = (uint32_t)torture_random(&m->rng) & 0x7fff;

	return (token << 16 | r->id << 8 | page << 1 | (uint32_t)kind) + 1;
}

static struct region *region_in(struct torture *t, uint32_t value)
{
	return &t->regions[((value - 1) >> 8) & 0xff];
}

static unsigned int page_in(uint32_t value)
{
	return ((value - 1) >> 1) & 0x7f;
}

static int kind_in(uint32_t value)
{
	return (int)((value - 1) & 1);
}

static bool impatient(const struct torture *t, double since)
{
	sched_yield();
	return atomic_load(&t->stop) || torture_now() - since > t->patience;
}

/* Is it there? Or, for HOLD, in begin on this region already, on another errand. */
static bool arrived(struct device *d, uint32_t value)
{
	if (atomic_load(&d->seen) == value)
		return true;
	return kind_in(value) == HOLD &&
	       atomic_load(&d->begins) == region_in(d->t, value)->id + 1;
}

/* Lure @d and wait until it is there. */
static bool lure(struct torture *t, struct device *d, uint32_t value)
{
	double since = torture_now();
	uint32_t expected = 0;
	bool met;

	if (!atomic_compare_exchange_strong(&d->lure, &expected, value))
		return false;
	while (!(met = arrived(d, value)) && atomic_load(&d->lure) == value)
		if (impatient(t, since))
			break;
	if (met && atomic_load(&d->seen) == value)
		return true; /* it takes the lure off itself */
	expected = value;
	atomic_compare_exchange_strong(&d->lure, &expected, 0);
	return met;
}

bool meet_lure(struct mutator *m, struct region *r, unsigned int page)
{
	struct torture *t = m->t;
	struct device *d = &t->devices[torture_random(&m->rng) % t->nr_devices];

	return lure(t, d, value_of(m, r, page, LURE));
}

/* From now until meet_over() a callback on these pages holds the window open. */
void meet_want_hold(struct mutator *m, struct region *r, unsigned int first, unsigned int pages)
{
	hold.region = r;
	hold.first = first;
	hold.pages = pages;
	hold.met = false;
	hold.mutator = m;
}

bool meet_over(struct mutator *m)
{
	hold.region = NULL;
	return hold.met;
}

/* At the end of a callback, no lock held: once per change, for one mirror. */
void meet_hold(struct uring_window *w)
{
	struct device *d = w->user;
	struct region *r = hold.region;
	unsigned int page;

	if (!r || (unsigned long)r->base != w->start)
		return;
	hold.region = NULL;
	page = hold.first + (unsigned int)(torture_random(&hold.mutator->rng) % hold.pages);
	hold.met = lure(d->t, d, value_of(hold.mutator, r, page, HOLD));
}

/* A device, about to fill a batch: which page is wanted of it? @fresh: pin it anew. */
struct region *meet_wanted(struct device *d, unsigned int *page, bool *fresh)
{
	uint32_t value = atomic_load(&d->lure);

	if (!value)
		return NULL;
	if (value == atomic_load(&d->seen)) { /* met by chance, on another errand */
		meet_declined(d);
		return NULL;
	}
	*page = page_in(value);
	*fresh = kind_in(value) == LURE;
	return region_in(d->t, value);
}

/* It went there; whether it met anybody or not, the lure is over. */
void meet_declined(struct device *d)
{
	atomic_store(&d->lure, 0);
}

/* hmmu: about to settle, which may sleep until the end; and back from it. */
void meet_begin(struct uring_window *w)
{
	struct device *d = w->user;
	uint32_t value = atomic_load(&d->lure);

	atomic_store(&d->begins, region_of(d->t, w->start)->id + 1);
	if (value && kind_in(value) == HOLD &&
	    (unsigned long)region_in(d->t, value)->base == w->start)
		atomic_store(&d->seen, value);
}

void meet_begun(struct uring_window *w)
{
	struct device *d = w->user;

	atomic_store(&d->begins, 0);
}

/* Between the reading of the truth and the driver lock. */
void meet_pinned(struct uring_window *w, unsigned long addr)
{
	struct device *d = w->user;
	uint32_t value = atomic_load(&d->lure);
	struct region *r;
	double since;
	uint64_t then, now;

	if (!value || value == atomic_load(&d->seen))
		return;
	r = region_in(d->t, value);
	if ((unsigned long)r->base + page_in(value) * (unsigned long)sysconf(_SC_PAGESIZE) !=
	    addr)
		return;
	then = atomic_load(&r->pub[page_in(value)]);
	since = torture_now();
	atomic_store(&d->seen, value);
	do {
		now = atomic_load(&r->pub[page_in(value)]);
	} while ((now == then || (now & 1)) && !impatient(d->t, since));
}
