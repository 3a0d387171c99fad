// SPDX-License-Identifier: MIT
/*
 * shared.c - the watcher's end of layout.h: makes the memory, drains the rings.
 *
 * What is read here was written by programs that may do anything: every number is
 * checked against what this side knows, events are copied out before they are looked
 * at, and a place that was reserved and never written (its writer was killed) is passed
 * over once its process has ended.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "atomic.h"
#include "watch.h"

int watch_shared_open(struct watch *w)
{
	uint64_t region = watch_region_size(w->options.buffer);
	struct watch_header *h;

	w->fd = memfd_create("hmmu-watch", MFD_CLOEXEC);
	if (w->fd < 0 || ftruncate(w->fd, (off_t)(WATCH_HEADER_SIZE + region * WATCH_SLOTS)))
		return -errno;
	h = mmap(NULL, WATCH_HEADER_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, w->fd, 0);
	if (h == MAP_FAILED)
		return -errno;
	h->events = w->options.buffer;
	h->window = w->options.window;
	h->region_size = region;
	h->creates = w->options.what_if || w->options.record;
	h->magic = WATCH_MAGIC;
	w->header = h;
	return 0;
}

static struct watch_region *region_of(struct watch *w, uint32_t slot)
{
	uint64_t size = watch_region_size(w->options.buffer);
	void *at;

	if (w->region[slot])
		return w->region[slot];
	at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, w->fd,
		  (off_t)watch_region_offset(size, slot));
	if (at == MAP_FAILED)
		return NULL;
	w->region[slot] = at;
	return at;
}

/* The memory goes back, and reads as zeros for whoever comes next. */
void watch_slot_free(struct watch *w, uint32_t slot)
{
	uint64_t size = watch_region_size(w->options.buffer);

	fallocate(w->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		  (off_t)watch_region_offset(size, slot), (off_t)size);
	w->at[slot] = NULL;
	hmmu_store_relaxed(&w->header->slot[slot].pid, 0);
	/* Pairs with the compare-and-swap of the module's claim(). */
	hmmu_store_release(&w->header->slot[slot].state, WATCH_SLOT_FREE);
}

static void take_event(struct watch *w, struct watch_process *p, const struct watch_event *from)
{
	struct watch_event e = *from;

	if (e.op >= WATCH_OP_NR || (e.flags & ~WATCH_FLAGS) || e.end < e.start ||
	    e.stack > WATCH_STACKS || e.tsc < p->born)
		return;
	if (e.flags & WATCH_CREATES) {
		watch_store(w, p, &e);
		return;
	}
	watch_count(&p->op[e.op], &e);
	watch_count(&p->all, &e);
	p->call_tsc += e.call_tsc;
	p->hook_tsc += e.hook_tsc;
	p->lost += (e.flags & WATCH_LOST) != 0;
	p->no_stack += !e.stack && w->options.window;
	p->cut_stacks += (e.flags & WATCH_CUT) != 0;
	watch_stack_event(w, p, &e);
	watch_store(w, p, &e);
}

static bool drain_events(struct watch *w, struct watch_process *p, struct watch_region *r)
{
	const struct watch_event *events =
		(const struct watch_event *)((char *)r + watch_events_offset());
	uint64_t tail = r->tail, n = w->options.buffer;
	/* Pairs with the compare-and-swap in watch_event_reserve(). */
	uint64_t head = hmmu_load_acquire(&r->head);
	bool any = false;

	if (head - tail > n)
		tail = head - n; /* scribbled over */
	for (; tail != head; tail++) {
		const struct watch_event *e = &events[tail & (n - 1)];

		/* Pairs with the release in watch_event_commit(). */
		if (hmmu_load_acquire(&e->commit) != tail + 1) {
			if (!p->ended)
				break;
			p->dropped++;
			continue;
		}
		take_event(w, p, e);
		any = true;
		if (tail % 64 == 63)
			hmmu_store_release(&r->tail, tail + 1);
	}
	/* Pairs with the acquire in watch_event_reserve(). */
	hmmu_store_release(&r->tail, tail);
	return any;
}

static void take_blob(struct watch *w, struct watch_process *p, const struct watch_blob *b,
		      uint64_t room)
{
	struct watch_blob head = *b;

	if (head.used > room - sizeof(head))
		return;
	if (head.kind == WATCH_BLOB_STACK && head.stack && head.stack <= WATCH_STACKS)
		watch_stack_copied(w, p, head.stack, b + 1, head.used);
	else if (head.kind == WATCH_BLOB_MAPS)
		watch_process_maps(w, p, (const char *)(b + 1), head.used);
}

static void drain_blobs(struct watch *w, struct watch_process *p, struct watch_region *r)
{
	const char *blobs = (const char *)r + watch_blobs_offset(w->options.buffer);
	uint64_t tail = r->blob_tail;
	uint64_t head = hmmu_load_acquire(&r->blob_head);

	if (head - tail > WATCH_BLOBS || tail % WATCH_BLOB_ALIGN)
		tail = head;
	while (tail != head) {
		uint64_t at = tail & (WATCH_BLOBS - 1);
		const struct watch_blob *b = (const struct watch_blob *)(blobs + at);
		uint32_t size;

		/* Pairs with the release in watch_blob_commit(). */
		if (hmmu_load_acquire(&b->commit) != tail + 1)
			break; /* of a process that ended nothing can follow either */
		size = hmmu_load_relaxed(&b->size);
		if (size < sizeof(*b) || size % WATCH_BLOB_ALIGN || size > WATCH_BLOBS - at ||
		    size > head - tail) {
			tail = head;
			break;
		}
		take_blob(w, p, b, size);
		tail += size;
	}
	/* Pairs with the acquire in watch_blob_reserve(). */
	hmmu_store_release(&r->blob_tail, tail);
}

void watch_drain_one(struct watch *w, struct watch_process *p)
{
	struct watch_region *r = w->region[p->slot];

	drain_blobs(w, p, r);
	drain_events(w, p, r);
}

/* Newcomers in slots, and the old one of the same pid that exec has ended. */
static void scan_slots(struct watch *w)
{
	for (uint32_t i = 0; i < WATCH_SLOTS; i++) {
		struct watch_process *p;
		uint32_t state;

		/* Pairs with the release in the module's go_live(). */
		state = hmmu_load_acquire(&w->header->slot[i].state);
		if (state != WATCH_SLOT_LIVE || w->at[i] || !region_of(w, i))
			continue;
		p = watch_process_new(w, i);
		for (uint32_t k = 0; k < WATCH_SLOTS; k++) {
			struct watch_process *old = w->at[k];

			if (!old || old == p || old->pid != p->pid)
				continue;
			old->execed = true;
			watch_process_end(w, old);
		}
	}
}

bool watch_drain(struct watch *w)
{
	bool any = false;

	scan_slots(w);
	for (uint32_t i = 0; i < WATCH_SLOTS; i++) {
		if (!w->at[i])
			continue;
		drain_blobs(w, w->at[i], w->region[i]);
		any |= drain_events(w, w->at[i], w->region[i]);
	}
	return any;
}

static void add_code(struct watch_code *code, uint64_t start, uint64_t end)
{
	if (code->n && code->range[code->n - 1][1] == start) {
		code->range[code->n - 1][1] = end;
	} else if (code->n < WATCH_RANGES) {
		code->range[code->n][0] = start;
		code->range[code->n++][1] = end;
	}
	if (end - start > UINT64_C(1) << 34)
		end = start + (UINT64_C(1) << 34);
	for (uint64_t bit = start >> 21; bit <= (end - 1) >> 21; bit++)
		code->bloom[(bit & (WATCH_BLOOM - 1)) / 64] |= UINT64_C(1) << (bit % 64);
}

/* Where code is now, for the module's hash: into the table that is not in use. */
void watch_code_publish(struct watch *w, struct watch_process *p)
{
	struct watch_region *r = w->region[p->slot];
	uint32_t next = !(r->active & 1);
	struct watch_code *code = &r->code[next];
	const char *line = p->maps;

	memset(code, 0, sizeof(*code));
	while (line && *line) {
		unsigned long start, end;
		char perms[5];

		if (sscanf(line, "%lx-%lx %4s", &start, &end, perms) == 3 && perms[2] == 'x' &&
		    end > start)
			add_code(code, start, end);
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	/* Pairs with the acquire in hash_stack(). */
	hmmu_store_release(&r->active, next);
}
