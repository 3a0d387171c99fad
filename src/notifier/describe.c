// SPDX-License-Identifier: MIT
/* describe.c - which change by whom is seen how exactly, for one mm. */
#include <errno.h>

#include "../export.h"
#include "../source/source.h"
#include "notifier.h"

HMMU_EXPORT int hmmu_mm_describe(struct mm_struct *mm, struct hmmu_coverage *cells, size_t n)
{
	size_t total = 0;

	if (!mm || (!cells && n))
		return -EINVAL;
	if (!hmmu_mm_alive(mm))
		return -ENODEV;
	for (uint16_t op = 0; op < HMMU_OP_NR; op++, total++) {
		if (total < n)
			cells[total] = (struct hmmu_coverage){
				.operation = op,
				.caller = HMMU_CALLER_EXPLICIT,
				.memory = HMMU_MEMORY_ANY,
				.exactness = HMMU_BRACKETED,
			};
	}
	if (mm->sources & HMMU_SOURCE_HOOKS)
		total += (size_t)hmmu_source_hooks.describe(total < n ? cells + total : NULL,
							    total < n ? n - total : 0);
	return (int)total;
}
