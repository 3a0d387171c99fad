// SPDX-License-Identifier: MIT
/*
 * ring.c - what `hmmu watch` reads from memory that the watched programs can write
 * (tools/watch/shared.c, process.c, stacks.c, store.c): a program that scribbles in it.
 * Nothing is read beyond the region, what is counted adds up, and it comes to an end; the
 * recording that is written of it is one that the reader takes (export.c, tools/record/).
 *
 * Records of the input are places and bytes to be written there; or an event, or a blob,
 * as the module would write them, with fields of any value.
 */
#include "fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

#include "record.h"
#include "watch.h"

#define EVENTS 16

static struct watch w;
static char path[48];

static struct watch_region *region(unsigned int slot)
{
	uint64_t size = watch_region_size(EVENTS);

	return (void *)((char *)w.header + watch_region_offset(size, slot));
}

/* As watch_event_reserve() and _commit(), and then perhaps wrong. */
static void put_event(struct fuzz *f, struct watch_region *r)
{
	struct watch_event *events = (void *)((char *)r + watch_events_offset());
	struct watch_event *e = &events[r->head % EVENTS];
	uint8_t how = fuzz_byte(f);

	e->tsc = how & 16 ? fuzz_word(f) : fuzz_number(f, 2);
	e->start = fuzz_word(f);
	e->end = e->start + (how & 1 ? fuzz_word(f) : 4096);
	e->caller = fuzz_byte(f) * 64; /* few: their texts are kept for ever */
	e->stack = (uint32_t)(how & 4 ? fuzz_word(f) : fuzz_byte(f));
	e->tid = fuzz_byte(f);
	e->detail = fuzz_byte(f);
	e->op = fuzz_byte(f) % (WATCH_OP_NR + (how >> 7));
	e->flags = fuzz_byte(f);
	e->commit = how & 8 ? fuzz_word(f) : r->head + 1;
	r->head++;
}

static void put_blob(struct fuzz *f, struct watch_region *r)
{
	char *blobs = (char *)r + watch_blobs_offset(EVENTS);
	struct watch_blob *b = (void *)(blobs + r->blob_head % WATCH_BLOBS);
	uint8_t how = fuzz_byte(f);
	uint32_t used = fuzz_byte(f);
	uint32_t size =
		(uint32_t)(sizeof(*b) + used + WATCH_BLOB_ALIGN - 1) & -WATCH_BLOB_ALIGN;

	if (r->blob_head % WATCH_BLOB_ALIGN || r->blob_head % WATCH_BLOBS > WATCH_BLOBS / 2)
		return;
	b->used = how & 1 ? (uint32_t)fuzz_word(f) : used;
	b->size = how & 2 ? (uint32_t)fuzz_word(f) : size;
	b->kind = fuzz_byte(f) % 4;
	b->stack = (uint32_t)(how & 4 ? fuzz_word(f) : fuzz_byte(f));
	for (uint32_t i = 0; i < used; i++)
		((char *)(b + 1))[i] = (char)fuzz_byte(f);
	b->commit = how & 8 ? fuzz_word(f) : r->blob_head + 1;
	r->blob_head += size;
}

/* Words of the region's head: pids, names, heads, tails. */
static void scribble(struct fuzz *f, struct watch_region *r)
{
	uint64_t *word[] = {&r->head, &r->tail, &r->blob_head, &r->blob_tail, &r->born};
	uint8_t which = fuzz_byte(f);

	if (which < 128)
		*word[which % 5] = fuzz_word(f);
	else if (which < 160)
		memset(r->args, fuzz_byte(f), fuzz_byte(f));
	else if (which < 192)
		memset(r->exe, fuzz_byte(f), sizeof(r->exe));
	else if (which < 224)
		memset(r->comm, fuzz_byte(f), sizeof(r->comm));
	else
		r->active = (uint32_t)fuzz_word(f);
}

static void turn_live(struct fuzz *f)
{
	unsigned int slot = fuzz_byte(f) % 3;
	struct watch_region *r = region(slot);

	if (w.header->slot[slot].state != WATCH_SLOT_FREE)
		return;
	r->pid = 0x7ffffff0u + slot; /* nobody's */
	r->ppid = 0x7ffffff0u + fuzz_byte(f) % 3;
	r->how = fuzz_byte(f) % 3;
	w.header->slot[slot].state = WATCH_SLOT_LIVE;
}

static void check(void)
{
	for (uint32_t i = 0; i < w.nr_processes; i++) {
		const struct watch_process *p = w.processes[i];
		struct watch_count sum = {0};

		for (unsigned int op = 0; op < WATCH_OP_NR; op++)
			watch_count_add(&sum, &p->op[op]);
		FUZZ_CHECK(!memcmp(&sum, &p->all, sizeof(sum)));
		FUZZ_CHECK(strlen(p->comm) < sizeof(p->comm));
		FUZZ_CHECK(strlen(p->exe) < sizeof(p->exe));
		FUZZ_CHECK(strlen(p->args) < sizeof(p->args));
	}
	for (uint64_t i = 0; i < w.nr_stored; i++)
		FUZZ_CHECK(w.stored[i].op < WATCH_OP_NR &&
			   w.stored[i].process < w.nr_processes);
}

/* What was kept is exported, and read back. */
static void check_export(void)
{
	struct recording r;
	char why[256];

	watch_store_sort(&w);
	FUZZ_CHECK(!watch_export(&w, path));
	if (record_read(path, &r, why, sizeof(why))) {
		fprintf(stderr, "ring: its own recording is refused: %s\n", why);
		abort();
	}
	record_free(&r);
}

static void forget_process(struct watch_process *p)
{
	for (uint32_t k = 0; k < p->nr_stacks; k++)
		free(p->stacks[k].copy);
	free(p->stacks);
	free(p->where);
	free(p->queue);
	free(p->maps);
	free(p);
}

static void forget(void)
{
	uint32_t n = w.nr_sites;

	for (uint32_t i = 0; i < w.nr_processes; i++)
		forget_process(w.processes[i]);
	for (uint32_t i = 0; i < n; i++)
		free(w.sites[i].frames);
	free(w.sites);
	free(w.site_table);
	free(w.processes);
	free(w.stored);
	/* The memory stays mapped, and is empty again. */
	for (uint32_t slot = 0; slot < 3; slot++)
		if (w.header->slot[slot].state != WATCH_SLOT_FREE)
			watch_slot_free(&w, slot);
	w = (struct watch){
		.options = w.options, .fd = w.fd, .header = w.header, .tsc_rate = 1e9};
	for (uint32_t slot = 0; slot < 3; slot++)
		w.region[slot] = region(slot);
}

static void step(struct fuzz *f)
{
	uint8_t what = fuzz_byte(f);
	struct watch_region *r = region(what / 8 % 3);

	switch (what % 8) {
	case 0:
		turn_live(f);
		break;
	case 1:
	case 2:
		put_event(f, r);
		break;
	case 3:
	case 4:
		put_blob(f, r);
		break;
	case 5:
		scribble(f, r);
		break;
	case 6:
		watch_drain(&w);
		break;
	default: /* its process has gone */
		if (w.at[what / 8 % 3])
			watch_process_end(&w, w.at[what / 8 % 3]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz f = {data, size};

	while (f.left) {
		step(&f);
		check();
	}
	watch_drain(&w);
	for (unsigned int slot = 0; slot < 3; slot++)
		if (w.at[slot])
			watch_process_end(&w, w.at[slot]);
	watch_stacks_unwind(&w, 60);
	watch_stacks_settle(&w);
	check();
	check_export();
	forget();
	return 0;
}

static void gone(void)
{
	unlink(path);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	uint64_t size = WATCH_HEADER_SIZE + watch_region_size(EVENTS) * 3;

	snprintf(path, sizeof(path), "/dev/shm/hmmu-fuzz-ring-%d", (int)getpid());
	atexit(gone);
	w.options = (struct watch_options){
		.buffer = EVENTS, .window = 4096, .events = true, .record = path};
	w.fd = memfd_create("hmmu-fuzz", MFD_CLOEXEC);
	FUZZ_CHECK(w.fd >= 0 && !ftruncate(w.fd, (off_t)size));
	w.header = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, w.fd, 0);
	FUZZ_CHECK(w.header != MAP_FAILED);
	forget();
	return 0;
}
