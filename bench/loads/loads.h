/* SPDX-License-Identifier: MIT */
/*
 * loads.h - what programs did to their memory, recorded by `hmmu watch` (../record.sh),
 * replayed against hmmu, the reference, and a mutex with a red-black tree.
 *
 * LAYOUT. A recording has areas and no addresses. They are laid out here one after another, a
 * process's together, AREA_GAP apart as a recording's own areas are at least. fork is a change
 * of all the process's areas. What failed, or made a mapping where nothing was, is no change.
 *
 * SUBSCRIPTIONS, all disjoint. Those a cache of this program's memory would have: half of them,
 * at most NEAR_MAX, lie where the recording changes something, as far as there is room: the
 * first pages of a change, SUB_PAGES at most. The others are a page each, one in every fourth,
 * elsewhere: they are only many.
 */
#ifndef HMMU_BENCH_LOADS_H
#define HMMU_BENCH_LOADS_H

#include "../side.h"
#include "record/record.h"

#define AREA_GAP (16ul << 20)
#define ELSEWHERE (1ul << 45)
#define NEAR_MAX 1000
#define SUB_PAGES 16

struct load {
	struct extent *changes;
	size_t nr_changes;
	struct extent *subs; /* by address */
	size_t nr_subs;
	size_t nr_near; /* of them, where something changes */
};

/* unpack.c: DIRECTORY/NAME.rec.gz or .rec. 0; or -1 and what is wrong. */
int load_read(const char *directory, const char *name, struct recording *r, char *why,
	      size_t size);
/* choose.c: false: no memory, or nothing changes in it. */
bool load_choose(struct load *load, const struct recording *r, size_t subscriptions);
void load_free(struct load *load);

#endif /* HMMU_BENCH_LOADS_H */
