// SPDX-License-Identifier: MIT
/*
 * remap.c - mremap: up to two ranges, both opened before the call.
 *
 *	what			source			destination
 *	MREMAP_FIXED		[old, old + old_len)	[new, new + new_len)
 *	DONTUNMAP		[old, old + old_len)	-  (a fresh place)
 *	may move, grows		[old, old + old_len)	-
 *	shrinks in place	[old + new_len, old + old_len)
 *	old_len 0: a duplicate	-			[new, new + new_len) if fixed
 *	grows, may not move	-			-
 *	same size, may not move	-			-
 *
 * The two ends come in the reverse order of the starts. Two invalidations of one
 * thread that overlap (the kernel refuses such a call) are allowed: they nest.
 */
#include <errno.h>
#include <sys/mman.h>

#include "arch/syscall.h"
#include "source/hooks/hooks.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

/* The part of the old mapping whose translations go. */
HMMU_HOOK static bool source_range(const void *old, size_t old_len, size_t new_len, int flags,
				   unsigned long *start, unsigned long *end)
{
	unsigned long kept = (new_len + HMMU_PAGE - 1) & -HMMU_PAGE;

	if (!new_len || !hmmu_hook_range(old, old_len, start, end))
		return false;
	if (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP))
		return true;
	if (kept >= new_len && kept < *end - *start) {
		*start += kept;
		return true;
	}
	return kept > *end - *start && (flags & MREMAP_MAYMOVE);
}

HMMU_HOOK void *hmmu_hook_mremap(void *old, size_t old_len, size_t new_len, int flags,
				 void *fixed)
{
	struct hmmu_source_event source, destination;
	unsigned long from = 0, from_end = 0, to = 0, to_end = 0;
	bool takes, covers;
	long ret;

	hmmu_hook_saw(HMMU_HOOK_MREMAP);
	if (!hmmu_hook_watched()) {
		ret = hmmu_syscall(SYS_mremap, old, old_len, new_len, flags, fixed);
		return (void *)hmmu_hook_answer(ret);
	}
	takes = source_range(old, old_len, new_len, flags, &from, &from_end);
	covers = (flags & MREMAP_FIXED) && hmmu_hook_range(fixed, new_len, &to, &to_end);
	if (HMMU_HOOK_PLANTED(NO_TARGET))
		covers = false;
	if (takes)
		hmmu_source_start(&source, MMU_NOTIFY_UNMAP, from, from_end);
	if (covers)
		hmmu_source_start(&destination, MMU_NOTIFY_UNMAP, to, to_end);
	ret = hmmu_syscall(SYS_mremap, old, old_len, new_len, flags, fixed);
	if (covers)
		hmmu_source_end(&destination);
	if (takes)
		hmmu_source_end(&source);
	return (void *)hmmu_hook_answer(ret);
}
