// SPDX-License-Identifier: MIT
/* describe.c - which change by whom is seen how exactly, for one mm. */
#include <errno.h>

#include "../export.h"
#include "../source/source.h"
#include "notifier.h"

/* The last event of such a change comes when the pages are gone and another thread can
 * have the address: exact only if somebody asks before it is used. */
static bool frees_addresses(unsigned int op)
{
	return op == HMMU_OP_MUNMAP || op == HMMU_OP_MREMAP || op == HMMU_OP_BRK;
}

static unsigned int exactness(const struct mm_struct *mm, const struct hmmu_source *source,
			      unsigned int op, unsigned int caller)
{
	unsigned int exact = source->exactness(op, caller);

	if (exact == HMMU_BY_RETURN && frees_addresses(op) &&
	    !(hmmu_load_relaxed(&mm->epoch) & EPOCH_PROBE))
		return HMMU_BY_RETURN_REUSE_OPEN;
	return exact;
}

struct hmmu_coverage hmmu_coverage(const struct mm_struct *mm, unsigned int op,
				   unsigned int caller)
{
	struct hmmu_coverage best = {
		.operation = (uint16_t)op,
		.caller = (uint16_t)caller,
		.memory = HMMU_MEMORY_ANY,
		.exactness = HMMU_UNWATCHED,
	};

	if (caller == HMMU_CALLER_EXPLICIT) {
		best.exactness = HMMU_BRACKETED; /* by start and end, whatever the source */
		return best;
	}
	for (unsigned int i = 0; i < HMMU_SOURCES; i++) {
		const struct hmmu_source *source = hmmu_sources[i];
		unsigned int exact;

		if (!(mm->sources & source->bit))
			continue;
		exact = exactness(mm, source, op, caller);
		if (exact > best.exactness) {
			best.exactness = (uint16_t)exact;
			best.source = source->bit;
		}
	}
	return best;
}

HMMU_EXPORT int hmmu_mm_describe(struct mm_struct *mm, struct hmmu_coverage *cells, size_t n)
{
	size_t total = 0;

	if (!mm || (!cells && n))
		return -EINVAL;
	if (!hmmu_mm_alive(mm))
		return -ENODEV;
	for (unsigned int op = 0; op < HMMU_OP_NR; op++) {
		for (unsigned int caller = 0; caller < HMMU_CALLER_NR; caller++, total++) {
			if (total < n)
				cells[total] = hmmu_coverage(mm, op, caller);
		}
	}
	return (int)total;
}
