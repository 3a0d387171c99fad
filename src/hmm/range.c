// SPDX-License-Identifier: MIT
/*
 * range.c - hmm_range_fault(): requests in, answers out. See walk.h.
 *
 * The entries are requests at first and answers at last. In between they are both: the
 * request moves to two bits that no answer uses, and is taken out at the end. Where all
 * requests are default_flags the entries are written only.
 */
#include <errno.h>
#include <fcntl.h>

#include "arch/syscall.h"
#include "devmem/find.h"
#include "export.h"
#include "hmm/walk.h"
#include "lockdep.h"
#include "notifier/notifier.h"

#define FLAGS (HMM_RANGE_PHYSICAL | HMM_RANGE_TAG)

static int check(const struct hmm_range *range)
{
	const struct hmmu_sub *sub;
	uint64_t epoch;

	if (!range || !range->notifier || !range->notifier->mm || !range->hmm_pfns ||
	    (range->flags & ~FLAGS))
		return -EINVAL;
	for (size_t i = 0; i < sizeof(range->reserved) / sizeof(range->reserved[0]); i++)
		if (range->reserved[i])
			return -EINVAL;
	if ((range->start | range->end) % HMM_PAGE || range->start >= range->end)
		return -EINVAL;
	sub = (const struct hmmu_sub *)range->notifier;
	/* A forked child's is 0; where a source was lost every sequence is void for ever. */
	epoch = hmmu_load_acquire(&sub->mm->epoch);
	if (!epoch || (epoch & EPOCH_UNWATCHED))
		return -ENODEV;
	if (range->start < sub->start || range->end - 1 > sub->last)
		return -EINVAL;
	return 0;
}

static int refused(long ret)
{
	return ret == -EMFILE || ret == -ENFILE ? -EMFILE
	       : ret == -ENOMEM			? -ENOMEM
						: -EOPNOTSUPP;
}

int hmm_walk_open(struct hmm_walk *w, struct hmm_range *range)
{
	long fd =
		hmmu_syscall(SYS_openat, AT_FDCWD, "/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return refused(fd);
	w->range = range;
	w->want = 0;
	w->kept = 0;
	w->populated = false;
	w->faulted = false;
	w->device = hmmu_devmem_any();
	w->pagemap = (int)fd;
	w->no_scan = false;
	w->categories = ~0UL;
	w->alone = ALONE_UNKNOWN;
	w->kpageflags = HMM_NOT_OPENED;
	w->entries_n = 0;
	fd = hmm_mappings_open(&w->mappings);
	if (!fd)
		return 0;
	hmmu_syscall(SYS_close, w->pagemap);
	return refused(fd);
}

void hmm_walk_close(struct hmm_walk *w)
{
	hmm_mappings_close(&w->mappings);
	if (w->kpageflags >= 0)
		hmmu_syscall(SYS_close, w->kpageflags);
	hmmu_syscall(SYS_close, w->pagemap);
}

/* Who may not know frames is shown 0. This function's stack is present. */
static int check_frames(struct hmm_walk *w)
{
	unsigned long here = (unsigned long)&here & -HMM_PAGE;
	uint64_t entry = 0;
	int ret = hmm_entry_read(w, here, here + HMM_PAGE, &entry);

	if (ret)
		return ret;
	return entry & HMMU_ENTRY_FRAME ? 0 : -EPERM;
}

static unsigned long wanted(unsigned long request)
{
	/* As Linux has it: who wants to write asks for a fault as well. */
	if (!(request & HMM_PFN_REQ_FAULT))
		return 0;
	return HMM_WANT_READ | (request & HMM_PFN_REQ_WRITE ? HMM_WANT_WRITE : 0);
}

/* True: somebody wants something. */
static bool take_requests(struct hmm_walk *w)
{
	const struct hmm_range *range = w->range;
	size_t n = (range->end - range->start) >> HMM_SHIFT;
	unsigned long any = 0;

	if (!(range->pfn_flags_mask & (HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE))) {
		w->want = wanted(range->default_flags);
		return w->want;
	}
	w->kept = HMM_WANT;
	for (size_t i = 0; i < n; i++) {
		unsigned long *pfn = &range->hmm_pfns[i];

		*pfn = wanted((*pfn & range->pfn_flags_mask) | range->default_flags);
		any |= *pfn;
	}
	return any;
}

static void drop_requests(const struct hmm_walk *w)
{
	const struct hmm_range *range = w->range;
	size_t n = (range->end - range->start) >> HMM_SHIFT;

	for (size_t i = 0; w->kept && i < n; i++)
		range->hmm_pfns[i] &= ~HMM_WANT;
}

static int look(struct hmm_walk *w, bool any)
{
	int ret = hmm_look(w, w->range->start, w->range->end);

	return !ret && any ? hmm_fault(w) : ret;
}

/* Mostly nothing has to be faulted in: one look will do, and it comes after the tags. What was
 * faulted in has none; what goes once more comes back untagged. */
static int walk(struct hmm_walk *w)
{
	bool any = take_requests(w);
	int ret, tagged = 0;

	if (w->range->flags & HMM_RANGE_TAG)
		tagged = hmm_tag(w);
	ret = look(w, any);
	if (ret || tagged || !(w->range->flags & HMM_RANGE_TAG) || !w->faulted)
		return ret ? ret : tagged;
	ret = hmm_tag(w);
	return ret ? ret : look(w, any);
}

HMMU_EXPORT int hmm_range_fault(struct hmm_range *range)
{
	struct hmm_walk w;
	int ret = check(range);

	if (ret)
		return ret;
	(void)HMMU_CONTEXT("hmm-range-fault", HMMU_NOT_ANY, range->notifier);
	if (mmu_interval_check_retry(range->notifier, range->notifier_seq))
		return -EBUSY;
	ret = hmm_walk_open(&w, range);
	if (ret)
		return ret;
	if (range->flags & HMM_RANGE_PHYSICAL)
		ret = check_frames(&w);
	if (!ret)
		ret = walk(&w);
	if (!ret)
		drop_requests(&w);
	hmm_walk_close(&w);
	if (!ret && mmu_interval_check_retry(range->notifier, range->notifier_seq))
		ret = -EBUSY;
	return ret;
}
