// SPDX-License-Identifier: MIT
/*
 * recordings.c - the reader of recordings (tools/record/): a good one comes back as it
 * was; each table entry that is wrong is refused for its own reason; every truncation and
 * every flipped bit is refused.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checksum.h"
#include "record.h"

static int failures;

#define CHECK(condition, ...)                                  \
	do {                                                   \
		if (!(condition)) {                            \
			printf("%s:%d: ", __FILE__, __LINE__); \
			printf(__VA_ARGS__);                   \
			puts("");                              \
			failures++;                            \
		}                                              \
	} while (0)

struct file {
	struct record_header header;
	struct record_process processes[2];
	struct record_area areas[2];
	struct record_event events[3];
};
_Static_assert(sizeof(struct file) == 64 + 2 * 32 + 2 * 16 + 3 * 40, "no padding");

static void seal(struct file *f)
{
	f->header.checksum =
		record_sum(RECORD_SUM_START, f->processes, sizeof(*f) - sizeof(f->header));
}

static void make(struct file *f)
{
	memset(f, 0, sizeof(*f));
	memcpy(f->header.magic, RECORD_MAGIC, 8);
	f->header.version = RECORD_VERSION;
	f->header.header_size = sizeof(f->header);
	f->header.event_size = sizeof(f->events[0]);
	f->header.page_size = RECORD_PAGE;
	f->header.nr_events = 3;
	f->header.nr_areas = 2;
	f->header.nr_processes = 2;
	f->processes[0].parent = RECORD_NO_PARENT;
	strcpy(f->processes[0].comm, "first");
	strcpy(f->processes[1].comm, "second");
	f->areas[0].size = 16 * RECORD_PAGE;
	f->areas[1].size = RECORD_PAGE;
	f->areas[1].process = 1;
	f->events[0] = (struct record_event){.length = 16 * RECORD_PAGE, .op = RECORD_MUNMAP};
	f->events[1] = (struct record_event){.time = 5,
					     .offset = 15 * RECORD_PAGE,
					     .length = RECORD_PAGE,
					     .op = RECORD_FREE};
	f->events[2] = (struct record_event){
		.time = 5, .process = 1, .area = 1, .op = RECORD_FORK, .flags = RECORD_ALL};
	seal(f);
}

static bool refused(const struct file *f, size_t n, const char *words)
{
	struct recording r;
	char why[256] = "";

	if (!record_parse(f, n, &r, why, sizeof(why))) {
		record_free(&r);
		printf("accepted, and should be refused: %s\n", words);
		return false;
	}
	if (!strstr(why, words))
		printf("refused with '%s' instead of '%s'\n", why, words);
	return strstr(why, words) != NULL;
}

static void good(void)
{
	char path[] = "/tmp/hmmu-recordings-XXXXXX", why[256] = "";
	struct recording r, back;
	struct file f;
	int fd = mkstemp(path);

	make(&f);
	CHECK(!record_parse(&f, sizeof(f), &r, why, sizeof(why)), "%s", why);
	CHECK(r.header.nr_events == 3 && !memcmp(r.events, f.events, sizeof(f.events)) &&
		      !memcmp(r.areas, f.areas, sizeof(f.areas)) &&
		      !strcmp(r.processes[1].comm, "second"),
	      "it is another one");
	CHECK(fd >= 0 && !close(fd) && !record_write(path, &r), "writing it");
	CHECK(!record_read(path, &back, why, sizeof(why)), "%s", why);
	CHECK(back.header.checksum == f.header.checksum, "what was written is another one");
	record_free(&r);
	record_free(&back);
	unlink(path);
}

/* One wrong thing each, under a right checksum. */
#define WRONG(change, words)                                         \
	do {                                                         \
		struct file f_;                                      \
		struct file *f = &f_;                                \
		make(f);                                             \
		change;                                              \
		seal(f);                                             \
		CHECK(refused(f, sizeof(*f), words), "%s", #change); \
	} while (0)

static void wrong(void)
{
	WRONG(f->header.magic[0] = 'x', "not a recording");
	WRONG(f->header.version = 2, "version 2");
	WRONG(f->header.version = 0, "version 0");
	WRONG(f->header.header_size = 72, "header of 72");
	WRONG(f->header.event_size = 48, "events of 48");
	WRONG(f->header.page_size = 0, "pages of 0");
	WRONG(f->header.nr_events = 1, "too many");
	WRONG(f->header.nr_events = 4, "truncated");
	WRONG(f->header.nr_events = UINT64_MAX, "announced");
	/* (2^64 + 40) / 40: the product would wrap to something small. */
	WRONG(f->header.nr_events = UINT64_MAX / 40 + 1, "announced");
	WRONG(f->header.nr_areas = UINT32_MAX, "truncated");
	WRONG(f->header.nr_processes = UINT32_MAX, "processes");
	WRONG(f->processes[1].parent = 1, "does not come before");
	WRONG(memset(f->processes[0].comm, 'a', 16), "does not end");
	WRONG(f->areas[0].process = 2, "of process 2");
	WRONG(f->areas[0].size = 0, "size of 0");
	WRONG(f->areas[0].size = 100, "size of 100");
	WRONG(f->areas[0].size = UINT64_C(1) << 63, "size of");
	WRONG(f->areas[1].reserved = 1, "reserved");
	WRONG(f->events[0].op = RECORD_OP_NR, "operation 15");
	WRONG(f->events[0].flags = 64, "unknown flags");
	WRONG(f->events[0].process = 2, "process 2");
	WRONG(f->events[0].area = 2, "area 2");
	WRONG(f->events[0].area = 1, "another process");
	WRONG(f->events[0].time = 6, "before the one before");
	WRONG(f->events[0].offset = 1, "bytes at 1");
	WRONG(f->events[0].offset = RECORD_PAGE, "bytes at 4096");
	WRONG(f->events[0].offset = UINT64_MAX - RECORD_PAGE + 1, "bytes at");
	WRONG(f->events[0].length = 0, "0 bytes");
	WRONG(f->events[0].length = 17 * RECORD_PAGE, "bytes at 0");
	WRONG(f->events[0].length = UINT64_MAX - RECORD_PAGE + 1, "bytes at 0");
}

static void damaged(void)
{
	struct file f;
	struct recording r;
	char why[256];

	make(&f);
	for (size_t n = 0; n < sizeof(f); n++)
		CHECK(record_parse(&f, n, &r, why, sizeof(why)), "truncated to %zu", n);
	for (size_t bit = 0; bit < 8 * sizeof(f); bit++) {
		/* Duration and drops are in nobody's way. */
		if (bit / 8 >= 40 && bit / 8 < 56)
			continue;
		((unsigned char *)&f)[bit / 8] ^= 1u << bit % 8;
		CHECK(record_parse(&f, sizeof(f), &r, why, sizeof(why)), "bit %zu", bit);
		((unsigned char *)&f)[bit / 8] ^= 1u << bit % 8;
	}
}

int main(void)
{
	good();
	wrong();
	damaged();
	printf("%d failures\n", failures);
	return failures != 0;
}
