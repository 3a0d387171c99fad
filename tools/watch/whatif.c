// SPDX-License-Identifier: MIT
/*
 * whatif.c - --what-if SIZE: a registration cache is imagined beside each process.
 *
 *	a mapping of SIZE or more, writable, is made	it is registered, as a whole
 *	an invalidation overlaps it			the registration is lost; what is
 *							still mapped of it, in pieces of at
 *							least SIZE, is registered again
 *	fork						all of the parent's are lost, and
 *							registered again
 *
 * What malloc carves from the heap is not seen being made. A range of at least SIZE that
 * is given up and holds no registration (a trimmed heap, a mapping made before the
 * watching began) counts as one lost.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "watch.h"

struct registration {
	uint64_t start, end;
};

/* Sorted, disjoint. One per process. */
struct cache {
	struct registration *list;
	uint64_t n, room;
};

/* The first that ends above @at. */
static uint64_t first_above(const struct cache *c, uint64_t at)
{
	uint64_t low = 0, high = c->n;

	while (low < high) {
		uint64_t middle = (low + high) / 2;

		if (c->list[middle].end <= at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void insert(struct cache *c, uint64_t start, uint64_t end)
{
	uint64_t at = first_above(c, start);

	/* Something was unmapped unseen and mapped anew: what is there is old. */
	while (at < c->n && c->list[at].start < end) {
		memmove(&c->list[at], &c->list[at + 1], (c->n - at - 1) * sizeof(*c->list));
		c->n--;
	}
	c->list = watch_grow(c->list, &c->room, c->n + 1, sizeof(*c->list));
	memmove(&c->list[at + 1], &c->list[at], (c->n - at) * sizeof(*c->list));
	c->list[at] = (struct registration){start, end};
	c->n++;
}

static bool gives_up(const struct watch_stored *e)
{
	return e->op == WATCH_OP_MUNMAP || e->op == WATCH_OP_MMAP || e->op == WATCH_OP_MREMAP ||
	       e->op == WATCH_OP_BRK || e->op == WATCH_OP_SHMDT || e->op == WATCH_OP_SHMAT;
}

struct result {
	uint64_t hit, again;
};

static void again(struct watch *w, struct cache *c, uint64_t start, uint64_t end,
		  struct result *result)
{
	if (start >= end || end - start < w->options.what_if)
		return;
	insert(c, start, end);
	result->again += end - start;
}

static struct result invalidate(struct watch *w, struct cache *c, const struct watch_stored *e)
{
	struct result result = {0};
	uint64_t at, start = e->start, end = e->end;

	if (e->flags & (WATCH_ALL | WATCH_LOST)) {
		start = 0;
		end = UINT64_MAX;
	}
	for (at = first_above(c, start); at < c->n && c->list[at].start < end; at++) {
		struct registration old = c->list[at];

		result.hit++;
		if (!gives_up(e)) {
			result.again += old.end - old.start;
			continue;
		}
		memmove(&c->list[at], &c->list[at + 1], (c->n - at - 1) * sizeof(*c->list));
		c->n--;
		again(w, c, old.start, start, &result);
		again(w, c, end, old.end, &result);
		at = first_above(c, old.end) - 1;
	}
	if (!result.hit && gives_up(e) && !(e->flags & WATCH_ALL) &&
	    end - start >= w->options.what_if)
		result.hit = 1;
	return result;
}

static bool writable(const struct watch_stored *e)
{
	return e->op != WATCH_OP_MMAP || (e->detail & PROT_WRITE);
}

/* A forked child has its parent's mappings, and registrations of none of them. */
int watch_what_if(struct watch *w)
{
	struct cache *caches = watch_alloc(w->nr_processes, sizeof(*caches));

	for (uint64_t i = 0; i < w->nr_stored; i++) {
		const struct watch_stored *e = &w->stored[i];
		struct cache *c = &caches[e->process];
		struct result result;
		uint32_t site;

		if (e->flags & WATCH_CREATES) {
			if (e->end - e->start < w->options.what_if || !writable(e))
				continue;
			insert(c, e->start, e->end);
			w->registrations++;
			continue;
		}
		if (e->flags & WATCH_FAILED)
			continue;
		result = invalidate(w, c, e);
		w->hit += result.hit;
		w->again += result.again;
		site = watch_site_of(w, e->process, e->stack);
		if (site) {
			w->sites[site - 1].hit += result.hit;
			w->sites[site - 1].again += result.again;
		}
	}
	for (uint32_t i = 0; i < w->nr_processes; i++)
		free(caches[i].list);
	free(caches);
	return 0;
}
