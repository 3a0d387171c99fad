/* SPDX-License-Identifier: MIT */
/* track.h - private memory, a mirror that tracks it, and a replica that dirty() keeps up. */
#ifndef HMMU_TEST_MIRROR_TRACK_H
#define HMMU_TEST_MIRROR_TRACK_H

#include "bed.h"

#define TRACK_PAGES 1024UL /* two page tables */
#define TRACK_BYTES (TRACK_PAGES * PAGE)

struct track {
	struct mm_struct *mm;
	struct hmmu_mirror *mirror;
	unsigned char *mem; /* 2 MiB aligned; between two inaccessible pages */
	unsigned char *replica;
	unsigned char told[TRACK_PAGES]; /* by the last collect */
	unsigned long runs, pages;
	unsigned long last_end;
	int refuse; /* fn answers that */
};

/* False: the sources do not work here. */
bool track_open(struct track *t, unsigned int sources, const struct hmmu_mirror_ops *ops);
void track_close(struct track *t);
/* dirty() of [page, page + n); what it tells is copied to the replica. */
int track_collect(struct track *t, unsigned long page, unsigned long n,
		  const struct timespec *deadline);
int track_all(struct track *t);
/* Replaces [page, page + n) by fresh zeros, past libc where @raw. */
void track_replace(struct track *t, unsigned long page, unsigned long n, bool raw);
/* The first page that differs; TRACK_PAGES: none. */
unsigned long track_differs(struct track *t);

#endif /* HMMU_TEST_MIRROR_TRACK_H */
