// SPDX-License-Identifier: MIT
/*
 * record.c - the reader of recordings (tools/record/read.c), of any bytes. What it accepts
 * keeps the format's promises, comes back from the writer byte by byte, and folds onto a
 * torture region (tools/torture/replay.c) without leaving it.
 *
 * The mutator seals what it changed: magic, sizes, counts and checksum are put right most
 * of the time, each now and then not.
 */
#include "fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

#include "checksum.h"
#include "record.h"

#ifdef FUZZ_REPLAY
#include "torture.h"
#endif

static char path[32]; /* a file in memory: record_write() makes another beside it */

/* ---- what a file that was accepted has to keep ----------------------------- */

static void check_event(const struct recording *r, uint64_t i)
{
	const struct record_event *e = &r->events[i];

	FUZZ_CHECK(e->op < RECORD_OP_NR && e->process < r->header.nr_processes);
	FUZZ_CHECK(!i || e->time >= e[-1].time);
	if (e->flags & RECORD_ALL)
		return;
	FUZZ_CHECK(e->area < r->header.nr_areas);
	FUZZ_CHECK(r->areas[e->area].process == e->process);
	FUZZ_CHECK(e->length && e->length <= r->areas[e->area].size);
	FUZZ_CHECK(e->offset + e->length >= e->offset);
	FUZZ_CHECK(e->offset + e->length <= r->areas[e->area].size);
	FUZZ_CHECK((e->offset | e->length) % RECORD_PAGE == 0);
}

static void check_tables(const struct recording *r)
{
	for (uint32_t i = 0; i < r->header.nr_processes; i++) {
		const struct record_process *p = &r->processes[i];

		FUZZ_CHECK(strnlen(p->comm, sizeof(p->comm)) < sizeof(p->comm));
		FUZZ_CHECK(p->parent == RECORD_NO_PARENT || p->parent < i);
	}
	for (uint32_t i = 0; i < r->header.nr_areas; i++) {
		const struct record_area *a = &r->areas[i];

		FUZZ_CHECK(a->size && a->size % RECORD_PAGE == 0 && !a->reserved);
		FUZZ_CHECK(a->size <= RECORD_MAX_AREA && a->process < r->header.nr_processes);
	}
	for (uint64_t i = 0; i < r->header.nr_events; i++)
		check_event(r, i);
}

/* ---- round: the writer, and the reader of files ------------------------------ */

static void check_round(struct recording *r, const uint8_t *data, size_t size)
{
	struct recording back;
	uint8_t *file = malloc(size + 1);
	char why[256];
	FILE *f;

	FUZZ_CHECK(!record_write(path, r));
	f = fopen(path, "r");
	FUZZ_CHECK(f && fread(file, 1, size + 1, f) == size && !memcmp(file, data, size));
	fclose(f);
	free(file);
	FUZZ_CHECK(!record_read(path, &back, why, sizeof(why)));
	check_tables(&back);
	record_free(&back);
}

#ifdef FUZZ_REPLAY
static void check_replay(const struct recording *r)
{
	static FILE *nowhere;
	FILE *said = stderr;
	struct torture t = {.options = {.replay = path}};
	struct mutator m = {.t = &t};
	unsigned int first, pages;

	if (!nowhere)
		nowhere = fopen("/dev/null", "w");
	memset(t.options.ops, 1, sizeof(t.options.ops));
	stderr = nowhere;
	if (!replay_open(&t)) {
		for (uint64_t i = 0; i < r->header.nr_events + 2; i++) {
			replay_next(&m, &first, &pages);
			FUZZ_CHECK(pages >= 1 && pages <= PAGES && first <= PAGES - pages);
		}
	}
	stderr = said;
	replay_close(&t);
}

uint64_t torture_random(uint64_t *state)
{
	return 0; /* nobody asks: there are no regions */
}
#else
static void check_replay(const struct recording *r)
{
}
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char why[256];
	struct recording r;

	memset(why, 'x', sizeof(why));
	if (record_parse(data, size, &r, why, sizeof(why))) {
		/* Nothing to free, and words that end. */
		FUZZ_CHECK(!r.memory && strnlen(why, sizeof(why)) < sizeof(why) && why[0]);
		return 0;
	}
	FUZZ_CHECK(r.memory != data);
	check_tables(&r);
	check_round(&r, data, size);
	check_replay(&r);
	record_free(&r);
	return 0;
}

static void gone(void)
{
	unlink(path);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	snprintf(path, sizeof(path), "/dev/shm/hmmu-fuzz-%d", (int)getpid());
	atexit(gone);
	return 0;
}

/* ---- the mutator ------------------------------------------------------------- */

static void seal_counts(struct record_header *h, size_t room)
{
	size_t used;

	h->nr_processes %= 4;
	h->nr_areas %= 8;
	used = h->nr_processes * sizeof(struct record_process) +
	       h->nr_areas * sizeof(struct record_area);
	h->nr_events = used < room ? (room - used) / sizeof(struct record_event) : 0;
}

/* Indices and sizes of the tables, so that not everything is refused for one of them. */
static void mend_tables(uint8_t *data, unsigned int seed)
{
	struct record_header *h = (struct record_header *)data;
	struct record_process *p = (struct record_process *)(h + 1);
	struct record_area *a = (struct record_area *)(p + h->nr_processes);
	struct record_event *e = (struct record_event *)(a + h->nr_areas);

	for (uint32_t i = 0; i < h->nr_processes; i++) {
		p[i].comm[15] = '\0';
		if (p[i].parent >= i)
			p[i].parent = i ? p[i].parent % i : RECORD_NO_PARENT;
	}
	for (uint32_t i = 0; i < h->nr_areas; i++) {
		a[i].process %= h->nr_processes ? h->nr_processes : 1;
		a[i].reserved = 0;
		a[i].size =
			(a[i].size % RECORD_MAX_AREA & -(uint64_t)RECORD_PAGE) + RECORD_PAGE;
	}
	for (uint64_t i = 0; i < h->nr_events; i++) {
		const struct record_area *of = &a[h->nr_areas ? e[i].area % h->nr_areas : 0];

		e[i].time = i ? e[i - 1].time + e[i].time % 1000 : 0;
		e[i].op %= RECORD_OP_NR + (seed % 8 == 7);
		e[i].flags &= RECORD_FLAGS;
		if (!h->nr_areas) {
			e[i].process = 0;
			continue;
		}
		e[i].area %= h->nr_areas;
		e[i].process = of->process;
		e[i].length = (e[i].length % of->size & -(uint64_t)RECORD_PAGE) + RECORD_PAGE;
		if (e[i].length > of->size)
			e[i].length = of->size;
		e[i].offset = e[i].offset % (of->size - e[i].length + RECORD_PAGE) &
			      -(uint64_t)RECORD_PAGE;
		if (seed / 64 % 8 == i % 8) /* where the sum of the two wraps */
			e[i].offset = -e[i].length;
	}
}

static size_t tables_size(const struct record_header *h)
{
	return sizeof(*h) + h->nr_processes * sizeof(struct record_process) +
	       h->nr_areas * sizeof(struct record_area) +
	       h->nr_events * sizeof(struct record_event);
}

static size_t seal(uint8_t *data, size_t size, unsigned int seed)
{
	struct record_header *h = (struct record_header *)data;

	if (seed % 16 < 12) {
		memcpy(h->magic, RECORD_MAGIC, sizeof(h->magic));
		h->version = RECORD_VERSION;
		h->header_size = sizeof(*h);
		h->event_size = sizeof(struct record_event);
		h->page_size = RECORD_PAGE;
	}
	if (seed / 16 % 16 < 14) {
		seal_counts(h, size - sizeof(*h));
		if (tables_size(h) <= size) {
			size = tables_size(h);
			if (seed / 256 % 4)
				mend_tables(data, seed);
		}
	}
	if (seed / 1024 % 16)
		h->checksum = record_sum(RECORD_SUM_START, h + 1, size - sizeof(*h));
	return size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned int seed)
{
	size_t n = LLVMFuzzerMutate(data, size, max);
	uint8_t *copy;

	if (n < sizeof(struct record_header))
		return n;
	copy = malloc(n); /* aligned */
	memcpy(copy, data, n);
	n = seal(copy, n, seed);
	memcpy(data, copy, n);
	free(copy);
	return n;
}
