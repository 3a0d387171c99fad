// SPDX-License-Identifier: MIT
/*
 * fault.c - what was requested and is not there. Looked at first, always: that is cheap where
 * nothing is there, and saves a tenfold where all is. Then, upwards, each longest run of
 * pages that lack the same is given to MADV_POPULATE_READ or _WRITE and looked at again.
 *
 *	again = first page, from the last one on, that lacks what was requested
 *	collided: -EBUSY
 *	nothing can be there (HMM_PFN_ERROR): -EFAULT
 *	populate the run, CHUNK at most; look at it
 *	its first page has not come: try that page alone, then say why
 *
 * The kernel says that a run failed, not where. But it goes upwards, and the look shows how
 * far it got: each failure either moves the beginning or is the first page's own.
 *
 * It ends: the beginning moves, or the page is tried again TRIES times at most. (It came and
 * went before the look: memory is so short that pages go as fast as they come. -ENOMEM.)
 *
 * A look after a populate for writing does not ask whether the pages are alone: they were
 * made so. What comes after is a fork, which invalidates.
 *
 * MADV_POPULATE came with 5.14. Before it, nothing faults pages in for writing but a write:
 * -EOPNOTSUPP.
 */
#include <errno.h>
#include <sys/mman.h>

#include "arch/syscall.h"
#include "hmm/walk.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

#define CHUNK (32UL << 20) /* between two looks at the sequence: some milliseconds */
#define GAP (8 * HMM_PAGE)
#define TRIES 64

static bool lacks(const struct hmm_walk *w, unsigned long addr)
{
	unsigned long want = hmm_want(w, addr), pfn = *hmm_entry(w, addr);

	if (!(want & HMM_WANT_READ))
		return false;
	return want & HMM_WANT_WRITE ? !(pfn & HMM_PFN_WRITE) : !(pfn & HMM_PFN_VALID);
}

static unsigned long first_lacking(const struct hmm_walk *w, unsigned long addr)
{
	while (addr < w->range->end && !lacks(w, addr))
		addr += HMM_PAGE;
	return addr;
}

/* Where the pages end that lack what the one at @addr lacks. Some between them that lack
 * nothing of it are taken along, cheaper than another call for the next; not those that it
 * would bring home. */
static unsigned long run_end(const struct hmm_walk *w, unsigned long addr)
{
	unsigned long want = hmm_want(w, addr), end = w->range->end, last;

	if (end - addr > CHUNK)
		end = addr + CHUNK;
	addr += HMM_PAGE;
	for (last = addr; addr < end && addr - last < GAP; addr += HMM_PAGE) {
		if (hmm_want(w, addr) != want ||
		    (*hmm_entry(w, addr) & (HMM_PFN_ERROR | HMM_PFN_DEVICE)))
			break;
		if (lacks(w, addr))
			last = addr + HMM_PAGE;
	}
	return last;
}

/* The one page at @addr cannot be had: @ret of madvise(). */
static int why(struct hmm_walk *w, unsigned long addr, bool write, int ret)
{
	struct hmm_mapping m;
	int err = hmm_mapping_find(&w->mappings, addr, &m);

	if (err && err != -ENOENT)
		return -EOPNOTSUPP;
	if (err || m.start > addr || !m.read)
		return -EFAULT;
	if (write && !m.write)
		return -EPERM;
	/* No length: a kernel that has it answers 0. */
	if (ret == -EINVAL && hmmu_syscall(SYS_madvise, addr, 0, MADV_POPULATE_READ))
		return -EOPNOTSUPP;
	return ret == -ENOMEM ? -ENOMEM : -EFAULT;
}

static int populate(struct hmm_walk *w, unsigned long start, unsigned long end, bool write)
{
	long ret = hmmu_syscall(SYS_madvise, start, end - start,
				write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
	int err;

	w->faulted = true;
	w->populated = write && !ret;
	err = hmm_look(w, start, end);
	w->populated = false;
	if (err)
		return err;
	if (!ret || ret == -EINTR || ret == -EAGAIN || !lacks(w, start))
		return 0;
	return end - start > HMM_PAGE ? -EAGAIN : why(w, start, write, (int)ret);
}

int hmm_fault(struct hmm_walk *w)
{
	struct hmm_range *range = w->range;
	unsigned long at = range->start, last = ~0UL;
	unsigned int tries = 0;
	bool alone = false;

	for (;;) {
		bool write;
		int ret;

		at = first_lacking(w, at);
		if (at == range->end)
			return 0;
		tries = at == last ? tries + 1 : 0;
		last = at;
		if (mmu_interval_check_retry(range->notifier, range->notifier_seq))
			return -EBUSY;
		if (*hmm_entry(w, at) & HMM_PFN_ERROR)
			return -EFAULT;
		if (tries > TRIES)
			return -ENOMEM;
		write = hmm_want(w, at) & HMM_WANT_WRITE;
		ret = populate(w, at, alone ? at + HMM_PAGE : run_end(w, at), write);
		if (ret && ret != -EAGAIN)
			return ret;
		alone = ret == -EAGAIN;
		if (tries)
			hmmu_syscall(SYS_sched_yield);
	}
}
