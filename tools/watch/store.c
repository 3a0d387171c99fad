// SPDX-License-Identifier: MIT
/* store.c - the events one by one, where a report or a recording needs them. */
#include <stdlib.h>

#include "watch.h"

void watch_store(struct watch *w, const struct watch_process *p, const struct watch_event *e)
{
	const struct watch_options *o = &w->options;
	struct watch_stored *to;

	if (!o->events && !o->record && !o->what_if)
		return;
	w->stored = watch_grow(w->stored, &w->room_stored, w->nr_stored + 1, sizeof(*to));
	to = &w->stored[w->nr_stored++];
	*to = (struct watch_stored){
		.tsc = e->tsc,
		.start = e->start,
		.end = e->end,
		.caller = e->caller,
		.process = p->index,
		.stack = e->stack,
		.tid = e->tid,
		.detail = e->detail,
		.call_tsc = e->call_tsc,
		.hook_tsc = e->hook_tsc,
		.op = e->op,
		.flags = e->flags,
	};
}

static int by_time(const void *a, const void *b)
{
	const struct watch_stored *x = a, *y = b;

	if (x->tsc != y->tsc)
		return x->tsc < y->tsc ? -1 : 1;
	return 0;
}

void watch_store_sort(struct watch *w)
{
	if (w->nr_stored)
		qsort(w->stored, w->nr_stored, sizeof(*w->stored), by_time);
}
