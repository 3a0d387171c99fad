// SPDX-License-Identifier: MIT
/* read.c - the reader: checks everything before it hands out anything. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "checksum.h"
#include "record.h"

const char *const record_op_names[RECORD_OP_NR] = {
	"munmap",	  "mmap fixed",	   "mremap",	"madvise DONTNEED", "madvise FREE",
	"madvise REMOVE", "madvise other", "brk",	"mprotect",	    "shmdt",
	"shmat remap",	  "fork",	   "ftruncate", "fallocate",	    "other",
};

struct parser {
	char *why;
	size_t size;
};

__attribute__((format(printf, 2, 3))) static bool refuse(const struct parser *p,
							 const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(p->why, p->size, format, args);
	va_end(args);
	return false;
}

static bool good_header(const struct parser *p, const struct record_header *h, size_t n)
{
	uint64_t tables;

	if (n < sizeof(*h))
		return refuse(p, "truncated: %zu bytes, and the header alone has %zu", n,
			      sizeof(*h));
	if (memcmp(h->magic, RECORD_MAGIC, sizeof(h->magic)) != 0)
		return refuse(p, "not a recording: it does not begin with \"hmmurec\"");
	if (h->version != RECORD_VERSION)
		return refuse(p, "version %" PRIu32 ", and this reader knows version %u",
			      h->version, RECORD_VERSION);
	if (h->header_size != sizeof(*h) || h->event_size != sizeof(struct record_event))
		return refuse(p,
			      "header of %" PRIu32 " bytes and events of %" PRIu32
			      ": version %u has %zu and %zu",
			      h->header_size, h->event_size, RECORD_VERSION, sizeof(*h),
			      sizeof(struct record_event));
	if (h->page_size != RECORD_PAGE)
		return refuse(p, "pages of %" PRIu32 " bytes: version %u has %u", h->page_size,
			      RECORD_VERSION, RECORD_PAGE);
	if (h->nr_processes > RECORD_MAX_PROCESSES)
		return refuse(p, "%" PRIu32 " processes: at most %u are allowed",
			      h->nr_processes, RECORD_MAX_PROCESSES);
	/* Before any product can overflow. */
	if (h->nr_events > n / sizeof(struct record_event))
		return refuse(p, "%" PRIu64 " events announced, and the file has %zu bytes",
			      h->nr_events, n);
	tables = h->nr_processes * (uint64_t)sizeof(struct record_process) +
		 h->nr_areas * (uint64_t)sizeof(struct record_area) +
		 h->nr_events * (uint64_t)sizeof(struct record_event);
	if (tables > n - sizeof(*h))
		return refuse(p,
			      "truncated: the tables announced need %" PRIu64
			      " bytes, %zu are there",
			      tables, n - sizeof(*h));
	if (tables < n - sizeof(*h))
		return refuse(p, "%" PRIu64 " bytes too many at the end",
			      (uint64_t)(n - sizeof(*h)) - tables);
	return true;
}

static bool good_processes(const struct parser *p, const struct recording *r)
{
	for (uint32_t i = 0; i < r->header.nr_processes; i++) {
		const struct record_process *it = &r->processes[i];

		if (it->parent != RECORD_NO_PARENT && it->parent >= i)
			return refuse(p,
				      "process %" PRIu32 ": its parent %" PRIu32
				      " does not come before it",
				      i, it->parent);
		if (!memchr(it->comm, '\0', sizeof(it->comm)))
			return refuse(p, "process %" PRIu32 ": its name does not end", i);
	}
	return true;
}

static bool good_areas(const struct parser *p, const struct recording *r)
{
	for (uint32_t i = 0; i < r->header.nr_areas; i++) {
		const struct record_area *it = &r->areas[i];

		if (it->process >= r->header.nr_processes)
			return refuse(p,
				      "area %" PRIu32 ": of process %" PRIu32
				      ", there are %" PRIu32,
				      i, it->process, r->header.nr_processes);
		if (!it->size || it->size % RECORD_PAGE || it->size > RECORD_MAX_AREA)
			return refuse(p, "area %" PRIu32 ": a size of %" PRIu64, i, it->size);
		if (it->reserved)
			return refuse(p, "area %" PRIu32 ": a reserved word is not 0", i);
	}
	return true;
}

static bool good_event(const struct parser *p, const struct recording *r, uint64_t i)
{
	const struct record_event *e = &r->events[i];
	const struct record_area *area;

	if (e->op >= RECORD_OP_NR)
		return refuse(p, "event %" PRIu64 ": operation %u is not known", i, e->op);
	if (e->flags & ~RECORD_FLAGS)
		return refuse(p, "event %" PRIu64 ": unknown flags 0x%x", i, e->flags);
	if (e->process >= r->header.nr_processes)
		return refuse(p, "event %" PRIu64 ": process %" PRIu32 ", there are %" PRIu32,
			      i, e->process, r->header.nr_processes);
	if (i && e->time < r->events[i - 1].time)
		return refuse(p, "event %" PRIu64 ": it comes before the one before it", i);
	if (e->flags & RECORD_ALL)
		return true;
	if (e->area >= r->header.nr_areas)
		return refuse(p, "event %" PRIu64 ": area %" PRIu32 ", there are %" PRIu32, i,
			      e->area, r->header.nr_areas);
	area = &r->areas[e->area];
	if (area->process != e->process)
		return refuse(p, "event %" PRIu64 ": the area is another process's", i);
	if (e->offset % RECORD_PAGE || e->length % RECORD_PAGE || !e->length ||
	    e->length > area->size || e->offset > area->size - e->length)
		return refuse(p,
			      "event %" PRIu64 ": %" PRIu64 " bytes at %" PRIu64
			      " of an area of %" PRIu64,
			      i, e->length, e->offset, area->size);
	return true;
}

static bool good_tables(const struct parser *p, const struct recording *r)
{
	if (!good_processes(p, r) || !good_areas(p, r))
		return false;
	for (uint64_t i = 0; i < r->header.nr_events; i++)
		if (!good_event(p, r, i))
			return false;
	return true;
}

/* @memory: @n bytes, the recording's from here on. */
static int parse_own(void *memory, size_t n, struct recording *r, const struct parser *p)
{
	struct record_header *h = &r->header;
	char *at = (char *)memory + sizeof(*h);

	memset(r, 0, sizeof(*r));
	if (n >= sizeof(*h))
		memcpy(h, memory, sizeof(*h));
	if (!good_header(p, h, n))
		goto bad;
	if (record_sum(RECORD_SUM_START, at, n - sizeof(*h)) != h->checksum) {
		refuse(p, "its checksum is wrong: it was changed or damaged");
		goto bad;
	}
	r->memory = memory;
	r->processes = (void *)at;
	r->areas = (void *)(r->processes + h->nr_processes);
	r->events = (void *)(r->areas + h->nr_areas);
	if (good_tables(p, r))
		return 0;
bad:
	free(memory);
	memset(r, 0, sizeof(*r));
	return -1;
}

int record_parse(const void *data, size_t n, struct recording *r, char *why, size_t size)
{
	const struct parser p = {why, size};
	void *copy = malloc(n ? n : 1);

	if (!copy) {
		refuse(&p, "no memory for %zu bytes", n);
		return -1;
	}
	memcpy(copy, data, n);
	return parse_own(copy, n, r, &p);
}

int record_read(const char *path, struct recording *r, char *why, size_t size)
{
	const struct parser p = {why, size};
	FILE *f = fopen(path, "re");
	void *memory = NULL;
	struct stat st;

	if (!f || fstat(fileno(f), &st)) {
		refuse(&p, "%s", strerror(errno));
		goto bad;
	}
	if (!S_ISREG(st.st_mode)) {
		refuse(&p, "not a regular file");
		goto bad;
	}
	memory = malloc(st.st_size ? (size_t)st.st_size : 1);
	if (!memory) {
		refuse(&p, "no memory for %lld bytes", (long long)st.st_size);
		goto bad;
	}
	if (fread(memory, 1, (size_t)st.st_size, f) != (size_t)st.st_size) {
		refuse(&p, "it could not be read to its end");
		goto bad;
	}
	fclose(f);
	return parse_own(memory, (size_t)st.st_size, r, &p);
bad:
	if (f)
		fclose(f);
	free(memory);
	return -1;
}

void record_free(struct recording *r)
{
	free(r->memory);
	memset(r, 0, sizeof(*r));
}
