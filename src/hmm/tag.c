// SPDX-License-Identifier: MIT
/*
 * tag.c - HMM_RANGE_TAG: the pages themselves remember.
 *
 * The userfaultfd source has registered the range for write protection, asynchronous. A page
 * that is protected so is TAGGED: the kernel takes the tag away with the first write, without
 * telling anybody. A page that goes, comes, or is another one has none. So "present, tagged,
 * and the mapping still permits what was answered" says that nothing has changed since it
 * was tagged, whether anybody was told or not.
 *
 *	hmm_range_fault()			who changes memory
 *	tag
 *						writes, drops, replaces: the tag is gone
 *	look: what is there now
 *						the same
 *	hmm_range_valid() == false [Required, both times]
 *
 * Tagged before it is looked at, or the first of those changes would be lost. What comes
 * between tag and look was never tagged: false, without need.
 *
 * HUGE PAGES. One that lies in the range as a whole has one tag and needs one question, and
 * stays whole. Its next write splits it, and takes the tag of the small page that was written;
 * the others keep theirs, as they do when it is split for another reason (a permission, a hole,
 * reclaim). So what is asked is each page's own tag, in whatever size: exact. A huge page that
 * is made of small ones (MADV_COLLAPSE) has none. To tag a part of one splits it.
 *
 * PERMISSIONS are no page's: userfaultfd does not tell of mprotect(), so the mappings are
 * asked once more.
 *
 * PRIVATE ANONYMOUS MEMORY ONLY: of shared memory the tag survives a truncation and comes
 * back with the next page.
 */
#include <errno.h>

#include "arch/syscall.h"
#include "export.h"
#include "hmm/cleared.h"
#include "hmm/walk.h"

#define REGIONS 128

static int check_kinds(struct hmm_walk *w)
{
	unsigned long at = w->range->start;

	while (at < w->range->end) {
		struct hmm_mapping m;
		int ret = hmm_mapping_find(&w->mappings, at, &m);

		if (ret == -ENOENT || (!ret && m.start >= w->range->end))
			return 0;
		if (ret || !m.anonymous)
			return -EOPNOTSUPP;
		at = m.end;
	}
	return 0;
}

int hmm_tag(struct hmm_walk *w)
{
	struct hmmu_pm_region r[REGIONS];
	unsigned long at = w->range->start, end = w->range->end;
	int ret = check_kinds(w);

	while (!ret && at < end) {
		struct hmmu_pm_scan arg = {
			.size = sizeof(arg),
			.flags = HMMU_PM_WP_MATCHING | HMMU_PM_CHECK_WPASYNC,
			.start = at,
			.end = end,
			.vec = (uint64_t)r,
			.vec_len = REGIONS,
			.category_mask = HMMU_PM_PRESENT | HMMU_PM_WRITTEN,
			.return_mask = HMMU_PM_PRESENT,
		};
		long n = hmm_scan(w, &arg);

		/* What was written is marked now: those who track that must know. */
		for (long i = 0; i < n; i++)
			hmmu_mirror_cleared(r[i].start, r[i].end);
		if (n < 0)
			hmmu_mirror_cleared(at, end);
		/* EPERM: nobody has registered it so. */
		if (n < 0)
			ret = n == -ENOMEM ? -ENOMEM : -EOPNOTSUPP;
		else
			at = n < REGIONS ? end : r[n - 1].end;
	}
	return ret;
}

/* Is nothing answered of [start, end) that must be there with these flags? */
static bool none(const struct hmm_walk *w, unsigned long start, unsigned long end,
		 unsigned long flags)
{
	for (; start < end; start += HMM_PAGE) {
		unsigned long pfn = *hmm_entry(w, start);

		if ((pfn & flags) && !(pfn & HMM_PFN_DEVICE))
			return false;
	}
	return true;
}

static bool permitted(struct hmm_walk *w)
{
	unsigned long at = w->range->start, end = w->range->end;

	while (at < end) {
		struct hmm_mapping m;
		int ret = hmm_mapping_find(&w->mappings, at, &m);

		if (ret && ret != -ENOENT)
			return false;
		if (ret || m.start >= end)
			return none(w, at, end, HMM_PFN_VALID);
		if (m.start > at && !none(w, at, m.start, HMM_PFN_VALID))
			return false;
		if (m.start > at)
			at = m.start;
		if (m.end > end)
			m.end = end;
		if (!m.read && !none(w, at, m.end, HMM_PFN_VALID))
			return false;
		if (!m.write && !none(w, at, m.end, HMM_PFN_WRITE))
			return false;
		at = m.end;
	}
	return true;
}

static bool tagged(struct hmm_walk *w)
{
	struct hmmu_pm_region r[REGIONS];
	unsigned long at = w->range->start, end = w->range->end;

	while (at < end) {
		struct hmmu_pm_scan arg = {
			.size = sizeof(arg),
			.start = at,
			.end = end,
			.vec = (uint64_t)r,
			.vec_len = REGIONS,
			.category_inverted = HMMU_PM_WRITTEN,
			.category_mask = HMMU_PM_PRESENT | HMMU_PM_WPALLOWED | HMMU_PM_WRITTEN,
			.return_mask = HMMU_PM_PRESENT,
		};
		long n = hmm_scan(w, &arg);

		if (n < 0)
			return false;
		for (long i = 0; i < n; i++) {
			if (!none(w, at, r[i].start, HMM_PFN_VALID))
				return false;
			at = r[i].end;
		}
		if (n < REGIONS)
			return none(w, at, end, HMM_PFN_VALID);
	}
	return true;
}

HMMU_EXPORT bool hmm_range_valid(const struct hmm_range *range)
{
	struct hmm_walk w;
	bool ok;

	if (!range || !(range->flags & HMM_RANGE_TAG) ||
	    hmm_walk_open(&w, (struct hmm_range *)range))
		return false;
	/* Pages first: who takes a permission away and gives it back changed nothing. */
	ok = tagged(&w) && permitted(&w);
	hmm_walk_close(&w);
	return ok;
}
