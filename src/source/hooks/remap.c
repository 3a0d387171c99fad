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

HMMU_HOOK static void *answer(const void *old, size_t old_len, size_t new_len, long ret)
{
	unsigned long start, end;

	if (!hmmu_is_err(ret) && ((const void *)ret != old || new_len > old_len) &&
	    hmmu_hook_range((void *)ret, new_len, &start, &end))
		hmmu_hook_handed_out(start, end);
	return (void *)hmmu_hook_answer(ret);
}

HMMU_HOOK void *hmmu_hook_mremap(void *old, size_t old_len, size_t new_len, int flags,
				 void *fixed)
{
	struct hmmu_change c;
	unsigned long start, end;

	hmmu_hook_saw(HMMU_HOOK_MREMAP);
	hmmu_change(&c, HMMU_HOOK_MREMAP, SYS_mremap, old, old_len, new_len, flags, fixed);
	if (source_range(old, old_len, new_len, flags, &start, &end))
		hmmu_change_add(&c, MMU_NOTIFY_UNMAP, start, end);
	if ((flags & MREMAP_FIXED) && !HMMU_HOOK_PLANTED(NO_TARGET) &&
	    hmmu_hook_range(fixed, new_len, &start, &end))
		hmmu_change_add(&c, MMU_NOTIFY_UNMAP, start, end);
	return answer(old, old_len, new_len, hmmu_hook_make(&c));
}
