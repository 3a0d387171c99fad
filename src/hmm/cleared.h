/* SPDX-License-Identifier: MIT */
/* cleared.h - for whoever else in this library marks pages: the trackers must know. */
#ifndef HMMU_HMM_CLEARED_H
#define HMMU_HMM_CLEARED_H

#include <stdint.h>

/*
 * Pages of [start, end) that had been written were marked anew by a PAGEMAP_SCAN that was not
 * dirty()'s: it tells of them at the next call. (A call that runs between the scan and this
 * does not.) Context: ordinary thread, no lock that a callback takes.
 */
void hmmu_mirror_cleared(uint64_t start, uint64_t end);

#endif /* HMMU_HMM_CLEARED_H */
