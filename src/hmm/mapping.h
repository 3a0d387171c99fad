/* SPDX-License-Identifier: MIT */
/* mapping.h - mappings one by one, upwards: what is there, and what may be done with it. */
#ifndef HMMU_HMM_MAPPING_H
#define HMMU_HMM_MAPPING_H

#include <stdbool.h>

#include "source/hooks/maps.h"

struct hmm_mapping {
	unsigned long start;
	unsigned long end;
	unsigned int order; /* of hugetlb's pages, else 0 (or not known) */
	bool read, write, shared;
	bool anonymous; /* of no file, and private */
};

/* A walk's place. About 1 KiB, on the caller's stack. */
struct hmm_mappings {
	struct hmmu_maps maps;
	bool no_query;
	struct hmmu_mapping line; /* of the list; end 0: none yet */
	unsigned long asked;	  /* the last address */
};

/* 0, or -errno of the open; then there is nothing to be closed. */
int hmm_mappings_open(struct hmm_mappings *list);
void hmm_mappings_close(struct hmm_mappings *list);
/* That of @addr, or the next above; -ENOENT: there is none. */
int hmm_mapping_find(struct hmm_mappings *list, unsigned long addr, struct hmm_mapping *m);

#endif /* HMMU_HMM_MAPPING_H */
