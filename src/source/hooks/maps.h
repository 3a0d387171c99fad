/* SPDX-License-Identifier: MIT */
/*
 * maps.h - reads /proc/self/maps line by line.
 *
 * Context: inside a hook too. Raw system calls, a buffer on the caller's stack,
 * nothing allocated. The kernel gives out whole lines, each true at one moment; the
 * list as a whole is not a snapshot.
 */
#ifndef HMMU_HOOKS_MAPS_H
#define HMMU_HOOKS_MAPS_H

#include <stdbool.h>
#include <stddef.h>

#define HMMU_MAPS_NAME 16

struct hmmu_mapping {
	unsigned long start;
	unsigned long end;
	unsigned long offset;
	unsigned long inode; /* 0: no file */
	unsigned int major;
	unsigned int minor;
	int prot; /* PROT_* */
	bool shared;
	char name[HMMU_MAPS_NAME]; /* its first bytes, "" for none */
};

struct hmmu_maps {
	int fd;
	unsigned int pos;
	unsigned int len;
	bool failed; /* the list broke off */
	char buf[1024];
};

bool hmmu_maps_open(struct hmmu_maps *maps);
/* false at the end, or on an error (maps->failed) */
bool hmmu_maps_next(struct hmmu_maps *maps, struct hmmu_mapping *m);
void hmmu_maps_close(struct hmmu_maps *maps);

/* Where the System V segment ends that is attached at @addr, all its pieces that an
 * attachment there would have; HMMU_TOP (hooks.h): not known. */
unsigned long hmmu_maps_segment_end(unsigned long addr);

#endif /* HMMU_HOOKS_MAPS_H */
