/* SPDX-License-Identifier: MIT */
/*
 * walk.h - the inside of hmm_range_fault(): one call is one walk, on the caller's stack.
 *
 *	range.c		arguments, requests, the order of the steps
 *	look.c		what is there: mapping by mapping, PAGEMAP_SCAN in each
 *	mapping.c	PROCMAP_QUERY, or the list where the kernel has none
 *	entries.c	pagemap, read page by page: frame numbers, who is alone, and all that is
 *			known where the kernel has no PAGEMAP_SCAN
 *	alone.c		need anybody be asked whether he is alone?
 *	fault.c		what is not there and is wanted: MADV_POPULATE, then look again
 *	device.c	what is not there because it is on a device
 *	tag.c		HMM_RANGE_TAG
 *
 * NO malloc, no stdio, no lock, no memory but the stack (about 7 KiB): who calls may have
 * destroyed his heap, or hold locks of his own. Every system call goes by hmmu_syscall(): no
 * hook sees it, a test can refuse it.
 *
 * DESCRIPTORS are opened by each call and closed by it, for 4 us or so. One that stayed open
 * would be another file's number after the program's closefrom(), whose bytes would then be
 * taken for page tables; and a forked child's copy shows its parent's memory, not its own.
 *
 * WHEN IT IS TRUE. Mappings are asked first, then pages: two moments. Whoever changes either
 * in between starts an invalidation (G1), and then mmu_interval_read_retry() answers true.
 * What no source tells of (reclaim, compaction, page faults of other threads) changes no
 * translation: it may make an entry say "not present" of what is there by now, or the other
 * way round; both were so during the call. Who writes to the zero page changes a translation
 * untold (an entry with HMM_PFN_ZERO): its content is reached at the same address, so the
 * number stays right, only the flag is old.
 */
#ifndef HMMU_HMM_WALK_H
#define HMMU_HMM_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hmmu/hmm.h>

#include "hmm/mapping.h"
#include "source/userfaultfd/abi.h"

#define HMM_SHIFT 12
#define HMM_PAGE (1UL << HMM_SHIFT)
#define HMM_THP_ORDER 9
#define HMM_THP (HMM_PAGE << HMM_THP_ORDER)

/* What was requested of a page. It stays in the entry while the call lasts, above every
 * number there can be: addresses have 57 bits, frames 52, both less HMM_SHIFT. */
#define HMM_WANT_READ (1UL << 52)
#define HMM_WANT_WRITE (1UL << 51)
#define HMM_WANT (HMM_WANT_READ | HMM_WANT_WRITE)

#define HMM_ENTRIES 256
#define HMM_NOT_OPENED (-4096L)

struct hmm_walk {
	struct hmm_range *range;
	unsigned long want; /* of every page, if !kept */
	unsigned long kept; /* HMM_WANT: requests are in the entries */
	/* What was asked for has just been faulted in for writing: it is alone. */
	bool populated;
	bool faulted; /* something was, since the walk began */
	bool device;  /* somebody's pages may be on one */

	int pagemap;
	bool no_scan;		  /* this kernel has none */
	unsigned long categories; /* those that it knows */
	enum { ALONE_UNKNOWN, ALONE_ALL, ALONE_ASK } alone;
	long kpageflags; /* HMM_NOT_OPENED: yet; -errno: cannot be */

	struct hmm_mappings mappings;

	/* Of pagemap, from this page on. */
	unsigned long entries_at;
	unsigned int entries_n;
	uint64_t entries[HMM_ENTRIES];
	enum { SWAP_UNKNOWN, SWAP_NONE, SWAP_USED } swap; /* since they were read */
};

static inline unsigned long *hmm_entry(const struct hmm_walk *w, unsigned long addr)
{
	return &w->range->hmm_pfns[(addr - w->range->start) >> HMM_SHIFT];
}

static inline unsigned long hmm_want(const struct hmm_walk *w, unsigned long addr)
{
	return w->kept ? *hmm_entry(w, addr) & HMM_WANT : w->want;
}

/* range.c: 0 or -errno */
int hmm_walk_open(struct hmm_walk *w, struct hmm_range *range);
void hmm_walk_close(struct hmm_walk *w);

/* look.c: answers the entries of [start, end). */
int hmm_look(struct hmm_walk *w, unsigned long start, unsigned long end);
/* All of a mapping's pages have one answer, with their own numbers if it is VALID. */
void hmm_fill(struct hmm_walk *w, unsigned long start, unsigned long end, unsigned long answer);
/* What the kernel's categories of a page mean in @m. */
unsigned long hmm_answer(const struct hmm_mapping *m, uint64_t categories);
/* PAGEMAP_SCAN of @arg, the categories reduced to what the kernel knows; -ENOTTY: none. */
long hmm_scan(struct hmm_walk *w, struct hmmu_pm_scan *arg);

/* entries.c: the entry of @addr; those up to @end may be read with it. */
int hmm_entries_read(struct hmm_walk *w, unsigned long addr, unsigned long end);
static inline int hmm_entry_read(struct hmm_walk *w, unsigned long addr, unsigned long end,
				 uint64_t *entry)
{
	if ((addr >> HMM_SHIFT) - w->entries_at >= w->entries_n) {
		int ret = hmm_entries_read(w, addr, end);

		if (ret)
			return ret;
	}
	*entry = w->entries[(addr >> HMM_SHIFT) - w->entries_at];
	return 0;
}
/* [start, end) has this answer, but for what only pagemap tells. */
int hmm_entries_fill(struct hmm_walk *w, unsigned long start, unsigned long end,
		     unsigned long answer, bool alone);
/* Without PAGEMAP_SCAN. */
int hmm_entries_look(struct hmm_walk *w, const struct hmm_mapping *m, unsigned long start,
		     unsigned long end);

/* alone.c: may a private page of ours be another process's as well? */
bool hmm_must_ask(struct hmm_walk *w);

/* fault.c: until every request is satisfied. */
int hmm_fault(struct hmm_walk *w);

/* device.c: what is not present of [start, end) in @m. */
void hmm_device(struct hmm_walk *w, const struct hmm_mapping *m, unsigned long start,
		unsigned long end);

/* tag.c */
int hmm_tag(struct hmm_walk *w);

#endif /* HMMU_HMM_WALK_H */
