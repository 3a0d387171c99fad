// SPDX-License-Identifier: MIT
/*
 * look.c - what is there, mapping by mapping.
 *
 *	no mapping, one that cannot be read, a guard page	HMM_PFN_ERROR
 *	not present						0, or a device's
 *	present							VALID, and
 *	  the zero page						ZERO
 *	  not of an anonymous page, or shared			FILE
 *	  a write goes to this very page			WRITE
 *
 * WRITE. The kernel does not tell whether an entry of the page table may be written, nor
 * would that be it: what is clean or tracked is write-protected, and written in place all
 * the same. A write goes to the page itself if the mapping may be written and the page is
 * shared memory; or private, no file's and nobody else's (alone.c). It is not known of pages
 * that KSM has merged: they count as the process's own.
 */
#include <errno.h>

#include "arch/syscall.h"
#include "hmm/walk.h"

#define REGIONS 128
#define CATEGORIES \
	(HMMU_PM_PRESENT | HMMU_PM_FILE | HMMU_PM_PFNZERO | HMMU_PM_HUGE | HMMU_PM_GUARD)

void hmm_fill(struct hmm_walk *w, unsigned long start, unsigned long end, unsigned long answer)
{
	unsigned long *pfn = hmm_entry(w, start);
	unsigned long number = start >> HMM_SHIFT;
	size_t n = (end - start) >> HMM_SHIFT;

	/* A zero stays one. */
	const unsigned long step = answer & HMM_PFN_VALID ? 1 : 0;

	answer |= step ? number : 0;
	if (!w->kept) {
		for (size_t i = 0; i < n; i++, answer += step)
			pfn[i] = answer;
		return;
	}
	for (size_t i = 0; i < n; i++, answer += step)
		pfn[i] = (pfn[i] & HMM_WANT) | answer;
}

unsigned long hmm_answer(const struct hmm_mapping *m, uint64_t categories)
{
	unsigned long order = m->order, answer = HMM_PFN_VALID;

	if (categories & HMMU_PM_GUARD)
		return HMM_PFN_ERROR;
	if (!(categories & HMMU_PM_PRESENT))
		return 0;
	if (!order && (categories & HMMU_PM_HUGE))
		order = HMM_THP_ORDER;
	if (categories & HMMU_PM_PFNZERO)
		answer |= HMM_PFN_ZERO;
	else if (m->write && (m->shared || !(categories & HMMU_PM_FILE)))
		answer |= HMM_PFN_WRITE;
	if ((categories & HMMU_PM_FILE) || m->shared)
		answer |= HMM_PFN_FILE;
	return answer | order << HMM_PFN_ORDER_SHIFT;
}

long hmm_scan(struct hmm_walk *w, struct hmmu_pm_scan *arg)
{
	long ret;

	for (;;) {
		arg->category_anyof_mask &= w->categories;
		arg->return_mask &= w->categories;
		ret = hmmu_syscall(SYS_ioctl, w->pagemap, HMMU_PAGEMAP_SCAN, arg);
		if (ret == -EINTR)
			continue;
		/* 6.7 to 6.14 do not know of guards. */
		if (ret != -EINVAL || !(w->categories & HMMU_PM_GUARD))
			return ret;
		w->categories &= ~(unsigned long)HMMU_PM_GUARD;
	}
}

/* Neighbours that have the same categories. */
static int region(struct hmm_walk *w, const struct hmm_mapping *m,
		  const struct hmmu_pm_region *r)
{
	unsigned long answer = hmm_answer(m, r->categories);
	bool alone = (answer & HMM_PFN_WRITE) && !m->shared && !w->populated;

	/* The walk begins with `alone` unknown. */
	if (alone)
		alone = hmm_must_ask(w);
	if (alone || ((w->range->flags & HMM_RANGE_PHYSICAL) && (answer & HMM_PFN_VALID)))
		return hmm_entries_fill(w, r->start, r->end, answer, alone);
	hmm_fill(w, r->start, r->end, answer);
	return 0;
}

static void absent(struct hmm_walk *w, const struct hmm_mapping *m, unsigned long start,
		   unsigned long end)
{
	if (start == end)
		return;
	hmm_fill(w, start, end, 0);
	if (w->device)
		hmm_device(w, m, start, end);
}

/* [*at, end) up to where the regions were too few. -ENOTTY: this kernel cannot. */
static int scan_some(struct hmm_walk *w, const struct hmm_mapping *m, unsigned long *at,
		     unsigned long end)
{
	struct hmmu_pm_region r[REGIONS];
	struct hmmu_pm_scan arg = {
		.size = sizeof(arg),
		.start = *at,
		.end = end,
		.vec = (uint64_t)r,
		.vec_len = REGIONS,
		.category_anyof_mask = HMMU_PM_PRESENT | HMMU_PM_GUARD,
		.return_mask = CATEGORIES,
	};
	long n = hmm_scan(w, &arg);
	int ret = 0;

	if (n < 0)
		return n == -ENOMEM ? -ENOMEM : -ENOTTY;
	for (long i = 0; i < n && !ret; i++) {
		absent(w, m, *at, r[i].start);
		ret = region(w, m, &r[i]);
		*at = r[i].end;
	}
	if (ret)
		return ret;
	/* As far as the regions sufficed. */
	if (arg.walk_end < *at || arg.walk_end > end || (!n && arg.walk_end == *at))
		return -ENOTTY;
	absent(w, m, *at, arg.walk_end);
	*at = arg.walk_end;
	return 0;
}

static int look_at(struct hmm_walk *w, const struct hmm_mapping *m, unsigned long start,
		   unsigned long end)
{
	if (!m->read) {
		hmm_fill(w, start, end, HMM_PFN_ERROR);
		return 0;
	}
	while (!w->no_scan && start < end) {
		int ret = scan_some(w, m, &start, end);

		if (ret == -ENOTTY)
			w->no_scan = true;
		else if (ret)
			return ret;
	}
	return start < end ? hmm_entries_look(w, m, start, end) : 0;
}

static unsigned long least(unsigned long a, unsigned long b)
{
	return a < b ? a : b;
}

int hmm_look(struct hmm_walk *w, unsigned long start, unsigned long end)
{
	w->entries_n = 0;
	while (start < end) {
		struct hmm_mapping m;
		int ret = hmm_mapping_find(&w->mappings, start, &m);

		if (ret && ret != -ENOENT)
			return ret == -ENOMEM ? ret : -EOPNOTSUPP;
		if (ret) {
			m.start = end;
			m.end = end;
		}
		if (m.start > start) {
			unsigned long upto = least(m.start, end);

			hmm_fill(w, start, upto, HMM_PFN_ERROR);
			start = upto;
		}
		if (start < end) {
			unsigned long upto = least(m.end, end);

			ret = look_at(w, &m, start, upto);
			if (ret)
				return ret;
			start = upto;
		}
	}
	return 0;
}
