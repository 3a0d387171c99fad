// SPDX-License-Identifier: MIT
/*
 * replay.c - --replay: the mutators make the changes of a recording, in its order.
 *
 * The judge needs regions that it knows to the byte, so a recorded range is folded onto
 * the region of the same operation: as many pages as it had, at most all, at its place
 * modulo the region. What remains of the run is what it did to whom next: the mix of
 * operations, their order, the sizes, neighbourhood within an area. What torture has no
 * cell for (mprotect, shmdt, ftruncate, failed calls, mappings made) is passed over, and
 * said. Times are not kept: the changes come as fast as they can.
 *
 * One cursor per column, shared by the mutators; at the end it begins anew.
 */
#include "torture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../record/record.h"

struct replay {
	struct recording recording;
	uint64_t *makeable; /* indices of events */
	uint64_t n;
	_Atomic uint64_t cursor[NR_COLUMNS];
};

/* NR_OPS: there is none. */
static enum op op_of(const struct record_event *e)
{
	if (e->flags & (RECORD_CREATES | RECORD_FAILED | RECORD_LOST))
		return NR_OPS;
	switch (e->op) {
	case RECORD_MUNMAP:
		return OP_MUNMAP;
	case RECORD_MMAP:
		return OP_MAP_FIXED;
	case RECORD_MREMAP:
		return e->flags & RECORD_SECOND ? OP_MREMAP_FIXED : OP_MREMAP;
	case RECORD_DONTNEED:
		return OP_DONTNEED;
	case RECORD_FREE:
		return OP_MADV_FREE;
	case RECORD_REMOVE:
		return OP_REMOVE;
	case RECORD_BRK:
		return OP_BRK;
	case RECORD_FORK:
		return OP_FORK;
	default:
		return NR_OPS;
	}
}

int replay_open(struct torture *t)
{
	const char *path = t->options.replay;
	bool recorded[NR_OPS] = {false};
	struct replay *p;
	char why[256];

	if (!path)
		return 0;
	p = calloc(1, sizeof(*p));
	if (!p || record_read(path, &p->recording, why, sizeof(why))) {
		fprintf(stderr, "hmmu torture: --replay: %s: %s\n", path,
			p ? why : "out of memory");
		free(p);
		return -1;
	}
	t->replay = p;
	p->makeable = calloc(p->recording.header.nr_events + 1, sizeof(*p->makeable));
	for (uint64_t i = 0; p->makeable && i < p->recording.header.nr_events; i++) {
		enum op op = op_of(&p->recording.events[i]);

		if (op >= NR_OPS || !t->options.ops[op])
			continue;
		p->makeable[p->n++] = i;
		recorded[op] = true;
	}
	/* Rows of what is not in it would show nothing. */
	memcpy(t->options.ops, recorded, sizeof(recorded));
	if (!p->n) {
		fprintf(stderr,
			"hmmu torture: --replay: %s: none of its %llu events can be made\n",
			path, (unsigned long long)p->recording.header.nr_events);
		return -1;
	}
	fprintf(stderr, "hmmu torture: replaying %llu of %llu recorded events\n",
		(unsigned long long)p->n, (unsigned long long)p->recording.header.nr_events);
	return 0;
}

void replay_close(struct torture *t)
{
	if (!t->replay)
		return;
	record_free(&t->replay->recording);
	free(t->replay->makeable);
	free(t->replay);
	t->replay = NULL;
}

/* One of the mutator's own, of any memory. */
static struct region *region_for(struct mutator *m, enum op op)
{
	struct torture *t = m->t;
	struct region *found = NULL;
	unsigned int n = 0;

	for (unsigned int i = m->id; i < t->nr_regions; i += t->nr_mutators)
		if (t->regions[i].op == op && torture_random(&m->rng) % ++n == 0)
			found = &t->regions[i];
	return found;
}

struct region *replay_next(struct mutator *m, unsigned int *first, unsigned int *pages)
{
	struct replay *p = m->t->replay;
	uint64_t i = atomic_fetch_add(&p->cursor[m->column], 1) % p->n;
	const struct record_event *e = &p->recording.events[p->makeable[i]];
	enum op op = op_of(e);
	uint64_t length = e->flags & RECORD_ALL ? PAGES : e->length / RECORD_PAGE;

	*pages = length < PAGES ? (unsigned int)length : PAGES;
	*first = e->flags & RECORD_ALL ? 0 : (unsigned int)(e->offset / RECORD_PAGE % PAGES);
	if (op == OP_MREMAP || op == OP_MREMAP_FIXED)
		*pages = PAGES;
	if (*first + *pages > PAGES)
		*first = PAGES - *pages;
	if (op == OP_BRK)
		*pages = PAGES - *first;
	return region_for(m, op);
}
