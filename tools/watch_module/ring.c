// SPDX-License-Identifier: MIT
/*
 * ring.c - places in the two rings (layout.h draws the protocol).
 *
 * A full ring is waited for a moment, as long as its reader may need to come round, but
 * only while somebody is reading: once a wait was in vain nobody waits again until the
 * tail has moved.
 */
#include "module.h"

#include "atomic.h"

#define PATIENCE 2000 /* pauses: about 50 us */

/* The tail at which a wait was in vain, + 1. */
static uint64_t gave_up;

/* True: there is room now. */
static bool wait_for_room(const uint64_t *tail, uint64_t least)
{
	uint64_t seen = hmmu_load_acquire(tail);

	if (hmmu_load_relaxed(&gave_up) == seen + 1)
		return seen >= least;
	for (int i = 0; i < PATIENCE; i++) {
		/* Pairs with the release in the watcher's drain. */
		seen = hmmu_load_acquire(tail);
		if (seen >= least)
			return true;
		hmmu_cpu_relax();
	}
	hmmu_store_relaxed(&gave_up, seen + 1);
	return false;
}

struct watch_event *watch_event_reserve(uint64_t *index)
{
	struct watch_region *r = watch_region;
	struct watch_event *events = (struct watch_event *)((char *)r + watch_events_offset());
	uint64_t n = watch_header->events;
	uint64_t head = hmmu_load_relaxed(&r->head);

	do {
		/* Pairs with the release in the watcher's drain. */
		if (head - hmmu_load_acquire(&r->tail) >= n &&
		    !wait_for_room(&r->tail, head - n + 1)) {
			hmmu_add_relaxed(&r->dropped, 1);
			return NULL;
		}
	} while (!hmmu_cas_acquire(&r->head, &head, head + 1));
	*index = head;
	return &events[head & (n - 1)];
}

void watch_event_commit(struct watch_event *e, uint64_t index)
{
	/* Pairs with the acquire in the watcher's drain. */
	hmmu_store_release(&e->commit, index + 1);
}

static struct watch_blob *blob_at(uint64_t place)
{
	char *blobs = (char *)watch_region + watch_blobs_offset(watch_header->events);

	return (struct watch_blob *)(blobs + (place & (WATCH_BLOBS - 1)));
}

/* A blob does not wrap: what is left before the end becomes padding. */
struct watch_blob *watch_blob_reserve(uint32_t payload, uint64_t *place)
{
	struct watch_region *r = watch_region;
	uint64_t size = (sizeof(struct watch_blob) + payload + WATCH_BLOB_ALIGN - 1) &
			~(uint64_t)(WATCH_BLOB_ALIGN - 1);
	uint64_t head = hmmu_load_relaxed(&r->blob_head), pad;

	do {
		pad = WATCH_BLOBS - (head & (WATCH_BLOBS - 1));
		if (pad >= size)
			pad = 0;
		if (head + pad + size - hmmu_load_acquire(&r->blob_tail) > WATCH_BLOBS) {
			hmmu_add_relaxed(&r->blobs_dropped, 1);
			return NULL;
		}
	} while (!hmmu_cas_acquire(&r->blob_head, &head, head + pad + size));
	if (pad) {
		struct watch_blob *filler = blob_at(head);

		filler->size = (uint32_t)pad;
		watch_blob_commit(filler, head, 0, WATCH_BLOB_PAD, 0);
	}
	*place = head + pad;
	blob_at(*place)->size = (uint32_t)size;
	return blob_at(*place);
}

void watch_blob_commit(struct watch_blob *b, uint64_t place, uint32_t used, uint32_t kind,
		       uint32_t stack)
{
	b->used = used;
	b->kind = kind;
	b->stack = stack;
	/* Pairs with the acquire in the watcher's drain. */
	hmmu_store_release(&b->commit, place + 1);
}
