/* SPDX-License-Identifier: MIT */
/*
 * hmmu/hmm.h - what the CPU's page tables say, for a device that follows them.
 *
 * hmm_range_fault() has Linux's fields, flags and errors (include/linux/hmm.h). It is the
 * middle of the reader's loop of mmu_notifier.h:
 *
 *	again:
 *		range.notifier_seq = mmu_interval_read_begin(range.notifier);
 *		ret = hmm_range_fault(&range);
 *		if (ret == -EBUSY)
 *			goto again;
 *		... other errors: give up ...
 *		lock(driver);
 *		if (mmu_interval_read_retry(range.notifier, range.notifier_seq)) {
 *			unlock(driver);
 *			goto again;
 *		}
 *		... range.hmm_pfns[] goes into the device's page table ...
 *		unlock(driver);
 *
 * WHAT A PFN IS HERE. The number of the page of this process's address space through which
 * the content is reached: of a page in ordinary memory the number of its own address, of a
 * page that is on a device (migrate.h) that of its place in the device's arena. It is no
 * frame number: those change without any event, and a translation is what the process would
 * read and write. hmm_pfn_to_addr() is where to look, under the driver lock and as long as
 * the entry is valid. HMM_RANGE_PHYSICAL asks for frame numbers, for drivers that pin what
 * they use; it needs CAP_SYS_ADMIN. Where memory is swapped out, HMM_PFN_WRITE is then said
 * only of frames that nobody else may have as well, or after a fault to write.
 */
#ifndef HMMU_HMM_H
#define HMMU_HMM_H

#include <hmmu/mmu_notifier.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An entry of hmm_pfns: flags, order, number. As an answer (docs/hmm.md: per kind of memory):
 */
#define HMM_PFN_VALID (1UL << 63) /* may be read */
#define HMM_PFN_WRITE (1UL << 62) /* may be written: a write goes to this page */
#define HMM_PFN_ERROR (1UL << 61) /* nothing there that could be: a hole, PROT_NONE */
#define HMM_PFN_ORDER_SHIFT 56	  /* five bits: part of a page of 2^order small ones */
/* Not Linux's, which finds them in struct page: */
#define HMM_PFN_ZERO (1UL << 55)   /* the zero page: a write would go elsewhere */
#define HMM_PFN_DEVICE (1UL << 54) /* on the device of dev_private_owner */
#define HMM_PFN_FILE (1UL << 53)   /* of a file, or shared */
#define HMM_PFN_NUMBER ((1UL << 53) - 1)
/* As a request, in default_flags or in an entry under pfn_flags_mask: */
#define HMM_PFN_REQ_FAULT HMM_PFN_VALID
#define HMM_PFN_REQ_WRITE HMM_PFN_WRITE
#define HMM_PFN_FLAGS (HMM_PFN_VALID | HMM_PFN_WRITE | HMM_PFN_ERROR)

static inline unsigned int hmm_pfn_to_map_order(unsigned long pfn)
{
	return (unsigned int)(pfn >> HMM_PFN_ORDER_SHIFT) & 31;
}

static inline void *hmm_pfn_to_addr(unsigned long pfn)
{
	return (void *)((pfn & HMM_PFN_NUMBER) << 12);
}

/* range->flags */
#define HMM_RANGE_PHYSICAL (1u << 0) /* frame numbers, but of device pages */
#define HMM_RANGE_TAG (1u << 1)	     /* pages remember: hmm_range_valid() */

/*
 * struct hmm_range
 * @notifier:	a subscription that covers [start, end); its mm is the one looked at
 * @notifier_seq: what mmu_interval_read_begin() answered
 * @start, @end: page-aligned
 * @hmm_pfns:	one entry per page; requests in, answers out
 * @default_flags: HMM_PFN_REQ_* for every page; 0: a snapshot, nothing is faulted in.
 *		REQ_WRITE goes with REQ_FAULT; alone it requests nothing, as in Linux
 * @pfn_flags_mask: which requests are taken from the entries as well
 * @dev_private_owner: pages of this owner's devices are answered HMM_PFN_DEVICE; those of
 *		others come back to the CPU if a fault is requested, and are 0 otherwise
 * @flags:	HMM_RANGE_*
 */
struct hmm_range {
	struct mmu_interval_notifier *notifier;
	unsigned long notifier_seq;
	unsigned long start;
	unsigned long end;
	unsigned long *hmm_pfns;
	unsigned long default_flags;
	unsigned long pfn_flags_mask;
	void *dev_private_owner;
	unsigned int flags;
	unsigned int reserved[3];
};

/*
 * hmm_range_fault() - Context: ordinary thread, no driver lock; sleeps, faults.
 * Return: 0: every entry is answered; an entry that nothing was requested for may be 0 (not
 * present) or HMM_PFN_ERROR. Otherwise hmm_pfns is undefined:
 *  -EINVAL	range or a field NULL, not aligned, empty, outside the subscription, unknown
 *		flags
 *  -EBUSY	the range was invalidated since notifier_seq: begin again
 *  -EFAULT	a fault was requested for a page that cannot be: a hole, PROT_NONE, beyond
 *		the end of a file, a guard page, poisoned, no huge page left for hugetlb
 *  -EPERM	a write was requested of memory that is read-only; or HMM_RANGE_PHYSICAL
 *		without CAP_SYS_ADMIN
 *  -ENOMEM	no memory for the pages, or so little that they go as fast as they come
 *  -EMFILE	no descriptor is free: two are needed while it runs (a third, where frames
 *		are asked for, is done without: fewer HMM_PFN_WRITE and _ZERO)
 *  -ENODEV	not watched: a forked child, whose mm is its parent's; or a source was lost
 *  -EOPNOTSUPP	/proc/self cannot be read; a fault was requested and the kernel has no
 *		MADV_POPULATE (before 5.14); HMM_RANGE_TAG, and the range is not private
 *		anonymous memory that userfaultfd watches (6.7)
 * Of two errors that of the lower address is answered. No memory is allocated but the stack
 * (8 KiB), and nothing is printed.
 */
int hmm_range_fault(struct hmm_range *range);

/*
 * hmm_range_valid() - under the driver lock, beside mmu_interval_read_retry(): is every page
 * that was answered with HMM_RANGE_TAG still what it was, unwritten, and permitted? It asks
 * the pages themselves, so it is exact also where nobody was told of a change (a raw
 * mprotect, watched by userfaultfd alone). A write is a change here. Pages of a device are
 * not looked at. False also if it cannot be known; sometimes without need.
 * Cost: 3 us and 10 ns a page, of huge pages next to nothing; a tagged page's next write takes
 * 1 to 2 us, and splits a huge page.
 */
bool hmm_range_valid(const struct hmm_range *range);

#ifdef __cplusplus
}
#endif

#endif /* HMMU_HMM_H */
