// SPDX-License-Identifier: MIT
/* side_hmmu.c - hmmu, through the shared library: what a user gets. */
#include <hmmu/mmu_notifier.h>

static int open_explicit(struct mm_struct **mm)
{
	struct hmmu_mm_options options = {
		.size = sizeof(options),
		.sources = HMMU_SOURCE_EXPLICIT,
	};

	return hmmu_mm_open(mm, &options);
}

#define SIDE side_hmmu
#define SIDE_NAME "hmmu"
#define MM struct mm_struct
#define SUB struct mmu_interval_notifier
#define RANGE struct mmu_notifier_range
#define OPS struct mmu_interval_notifier_ops
#define OPEN open_explicit
#define CLOSE hmmu_mm_close
#define INSERT mmu_interval_notifier_insert
#define REMOVE mmu_interval_notifier_remove
#define READ_BEGIN mmu_interval_read_begin
#define READ_RETRY mmu_interval_read_retry
#define SET_SEQ mmu_interval_set_seq
#define RANGE_INIT(range, mm, start, end) \
	mmu_notifier_range_init(range, MMU_NOTIFY_UNMAP, 0, mm, start, end)
#define START mmu_notifier_invalidate_range_start
#define END mmu_notifier_invalidate_range_end
#include "side_loops.h"
