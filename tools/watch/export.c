// SPDX-License-Identifier: MIT
/*
 * export.c - --record: the stored events as a recording (tools/record/).
 *
 * Addresses become areas: all ranges of a process, sorted; those less than GAP apart are
 * one area. So what lay near each other in the run does so in a replay, and nothing tells
 * where in the address space it was.
 */
#include <stdlib.h>
#include <string.h>

#include "../record/record.h"
#include "watch.h"

#define GAP (UINT64_C(16) << 20)
#define THREADS 65535u

/* The format's values are promised, the ring's are not. */
_Static_assert((int)WATCH_OP_MUNMAP == RECORD_MUNMAP && (int)WATCH_OP_FREE == RECORD_FREE &&
		       (int)WATCH_OP_BRK == RECORD_BRK && (int)WATCH_OP_FORK == RECORD_FORK &&
		       (int)WATCH_OP_NR == RECORD_OP_NR,
	       "record.h: operations");
_Static_assert((int)WATCH_SECOND == RECORD_SECOND && (int)WATCH_CREATES == RECORD_CREATES &&
		       (int)WATCH_FAILED == RECORD_FAILED && (int)WATCH_LOST == RECORD_LOST &&
		       (int)WATCH_ALL == RECORD_ALL,
	       "record.h: flags");

struct extent {
	uint64_t start, end;
	uint32_t process;
};

struct extents {
	struct extent *list;
	uint64_t n, room;
};

static bool whole(const struct watch_stored *e)
{
	return (e->flags & (WATCH_ALL | WATCH_LOST)) || e->start >= e->end ||
	       e->start % RECORD_PAGE || e->end % RECORD_PAGE ||
	       e->end - e->start > RECORD_MAX_AREA;
}

static int by_place(const void *a, const void *b)
{
	const struct extent *x = a, *y = b;

	if (x->process != y->process)
		return x->process < y->process ? -1 : 1;
	return x->start < y->start ? -1 : x->start > y->start;
}

static void collect(const struct watch *w, struct extents *x)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < w->nr_stored; i++) {
		const struct watch_stored *e = &w->stored[i];

		if (whole(e))
			continue;
		x->list = watch_grow(x->list, &x->room, x->n + 1, sizeof(*x->list));
		x->list[x->n++] = (struct extent){e->start, e->end, e->process};
	}
	if (x->n)
		qsort(x->list, x->n, sizeof(*x->list), by_place);
	for (uint64_t i = 0; i < x->n; i++) {
		struct extent *last = n ? &x->list[n - 1] : NULL, it = x->list[i];

		if (last && last->process == it.process && it.start < last->end + GAP &&
		    (it.end > last->end ? it.end : last->end) - last->start <= RECORD_MAX_AREA)
			last->end = it.end > last->end ? it.end : last->end;
		else
			x->list[n++] = it;
	}
	x->n = n;
}

static uint32_t find(const struct extents *x, const struct watch_stored *e)
{
	uint64_t low = 0, high = x->n;

	while (high - low > 1) {
		uint64_t middle = (low + high) / 2;
		const struct extent *it = &x->list[middle];

		if (it->process > e->process ||
		    (it->process == e->process && it->start > e->start))
			high = middle;
		else
			low = middle;
	}
	return (uint32_t)low;
}

static uint64_t ns_since(const struct watch *w, uint64_t tsc)
{
	double ns = tsc <= w->begun_tsc ? 0 : watch_tsc_seconds(w, tsc - w->begun_tsc) * 1e9;

	/* A program that scribbles may have any clock. */
	return ns < 0x1p63 ? (uint64_t)ns : UINT64_C(1) << 63;
}

static void put_processes(const struct watch *w, struct recording *r)
{
	r->processes = watch_alloc(w->nr_processes, sizeof(*r->processes));
	for (uint32_t i = 0; i < w->nr_processes; i++) {
		const struct watch_process *p = w->processes[i];
		struct record_process *to = &r->processes[i];

		to->pid = (uint32_t)p->pid;
		to->parent = RECORD_NO_PARENT;
		to->born = ns_since(w, p->born);
		memcpy(to->comm, p->comm, sizeof(to->comm) - 1);
		/* The latest before it: a pid names several once exec has been called. */
		for (uint32_t k = 0; k < i; k++)
			if (w->processes[k]->pid == p->ppid)
				to->parent = k;
	}
}

/* Threads by the order in which they come, of each process. */
static uint16_t thread_of(uint32_t *seen, uint64_t *n, uint32_t process, uint32_t tid,
			  uint64_t room)
{
	uint16_t index = 0;

	for (uint64_t i = 0; i < *n; i++) {
		if (seen[2 * i] != process)
			continue;
		if (seen[2 * i + 1] == tid)
			return index;
		index += index < THREADS;
	}
	if (*n < room) {
		seen[2 * *n] = process;
		seen[2 * (*n)++ + 1] = tid;
	}
	return index;
}

static void put_events(const struct watch *w, const struct extents *x, struct recording *r)
{
	const uint64_t room = 4096;
	uint32_t *seen = watch_alloc(2 * room, sizeof(*seen));
	uint64_t n = 0;

	r->events = watch_alloc(w->nr_stored, sizeof(*r->events));
	for (uint64_t i = 0; i < w->nr_stored; i++) {
		const struct watch_stored *e = &w->stored[i];
		struct record_event *to = &r->events[i];

		to->time = ns_since(w, e->tsc);
		to->detail = e->detail;
		to->process = e->process;
		to->thread = thread_of(seen, &n, e->process, e->tid, room);
		to->op = e->op;
		to->flags = (uint8_t)(e->flags & ~WATCH_CUT);
		if (whole(e)) {
			to->flags |= RECORD_ALL;
			continue;
		}
		to->area = find(x, e);
		to->offset = e->start - x->list[to->area].start;
		to->length = e->end - e->start;
	}
	free(seen);
}

int watch_export(const struct watch *w, const char *path)
{
	struct extents x = {0};
	struct recording r = {0};
	int ret;

	if (w->nr_processes > RECORD_MAX_PROCESSES) {
		fprintf(stderr, "hmmu watch: --record: more than %u processes\n",
			RECORD_MAX_PROCESSES);
		return -1;
	}
	collect(w, &x);
	put_processes(w, &r);
	put_events(w, &x, &r);
	r.areas = watch_alloc(x.n, sizeof(*r.areas));
	for (uint64_t i = 0; i < x.n; i++) {
		r.areas[i].size = x.list[i].end - x.list[i].start;
		r.areas[i].process = x.list[i].process;
	}
	r.header.nr_events = w->nr_stored;
	r.header.nr_areas = (uint32_t)x.n;
	r.header.nr_processes = w->nr_processes;
	r.header.duration = ns_since(w, w->ended_tsc);
	for (uint32_t i = 0; i < w->nr_processes; i++)
		r.header.dropped += w->processes[i]->dropped;
	ret = record_write(path, &r);
	if (ret)
		fprintf(stderr, "hmmu watch: %s: %s\n", path, strerror(-ret));
	free(x.list);
	free(r.processes);
	free(r.areas);
	free(r.events);
	return ret ? -1 : 0;
}
