/* SPDX-License-Identifier: MIT */
/*
 * bed.h - a mirror and a device for tests. The memory is a file's pages: page i holds the
 * number i + 1 at its start, so that mapping another page of the file over one changes its
 * GENERATION. The device keeps, of each page that was installed, the generation that it saw
 * then, as hardware would keep a frame: an access through an entry that should be gone shows
 * the old one.
 */
#ifndef HMMU_TEST_MIRROR_BED_H
#define HMMU_TEST_MIRROR_BED_H

#include "api.h"

#include <sys/mman.h>

#include <hmmu/mirror.h>

#define BED_PAGES 64UL

struct bed {
	struct mm_struct *mm;
	struct hmmu_mirror *mirror;
	unsigned int sources;
	int file;
	unsigned char *mem;
	unsigned long start;
	/* Under the driver lock. */
	long shadow[BED_PAGES];
	unsigned long installs, invalidations;
	unsigned long last_start, last_end;
	enum mmu_notifier_event last_event;
};

/* False: the source does not work here. */
bool bed_open_mm(struct bed *bed, unsigned int sources);
/* Generation 1 everywhere; a mirror over all of it. */
bool bed_open(struct bed *bed, unsigned int sources);
void bed_mirror(struct bed *bed, const struct hmmu_mirror_ops *ops, unsigned int flags);
void bed_close(struct bed *bed);
extern const struct hmmu_mirror_ops bed_ops;

unsigned long bed_addr(const struct bed *bed, unsigned long page);
/* mmap: bracketed by the sources only, or by the test itself with @own. */
void bed_remap(struct bed *bed, unsigned long page, unsigned long n, long generation);
void bed_change(struct bed *bed, unsigned long page, unsigned long n, long generation);

int bed_map(struct bed *bed, unsigned long page, unsigned long n, unsigned int flags);
/* The device's view: what it kept; -errno of the look-up. */
long bed_look(struct bed *bed, unsigned long page);
/* As a device: looks, faults, looks. */
long bed_access(struct bed *bed, unsigned long page);
struct hmmu_mirror_stats bed_stats(struct bed *bed);

#endif /* HMMU_TEST_MIRROR_BED_H */
