// SPDX-License-Identifier: MIT
/* write.c - a recording into a file: beside its name first, so that none is ever half. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checksum.h"
#include "record.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the format is little-endian; this writer and its reader copy structures"
#endif

static uint64_t checksum(const struct recording *r)
{
	const struct record_header *h = &r->header;
	uint64_t sum = RECORD_SUM_START;

	sum = record_sum(sum, r->processes, h->nr_processes * sizeof(*r->processes));
	sum = record_sum(sum, r->areas, h->nr_areas * sizeof(*r->areas));
	return record_sum(sum, r->events, h->nr_events * sizeof(*r->events));
}

static int put(FILE *f, const void *data, size_t size, size_t n)
{
	return n && fwrite(data, size, n, f) != n ? -1 : 0;
}

int record_write(const char *path, struct recording *r)
{
	struct record_header *h = &r->header;
	char *beside;
	FILE *f;
	int ret;

	memcpy(h->magic, RECORD_MAGIC, sizeof(h->magic));
	h->version = RECORD_VERSION;
	h->header_size = sizeof(*h);
	h->event_size = sizeof(struct record_event);
	h->page_size = RECORD_PAGE;
	h->checksum = checksum(r);
	if (asprintf(&beside, "%s.part", path) < 0)
		return -ENOMEM;
	f = fopen(beside, "we");
	if (!f) {
		ret = -errno;
		free(beside);
		return ret;
	}
	ret = put(f, h, sizeof(*h), 1) ||
	      put(f, r->processes, sizeof(*r->processes), h->nr_processes) ||
	      put(f, r->areas, sizeof(*r->areas), h->nr_areas) ||
	      put(f, r->events, sizeof(*r->events), h->nr_events);
	if (fclose(f) || ret || rename(beside, path)) {
		ret = errno ? -errno : -EIO;
		remove(beside);
	}
	free(beside);
	return ret;
}
