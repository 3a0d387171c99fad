// SPDX-License-Identifier: MIT
/*
 * entries.c - /proc/self/pagemap, an entry for each page: 17 ns each, where PAGEMAP_SCAN
 * needs none for a page like its neighbour. So it is read for what only it tells.
 *
 * Without PAGEMAP_SCAN (before 6.7) it tells all but two things: the order, which is
 * answered 0 then; and the zero page, which looks as a page that somebody else has, too: no
 * file's, not alone. /proc/kpageflags knows it by its frame, which needs CAP_SYS_ADMIN;
 * without it HMM_PFN_ZERO is not answered. Neither has HMM_PFN_WRITE.
 *
 * ALONE counts mappings. Another process may have the page without mapping it, as an entry
 * that says where it lies swapped out: forked from us while it was out, or reclaimed from
 * both and brought in by us alone. Then a write goes to another page. Who has addresses is
 * not hurt, they lead to whichever it is; who asked for frames would write into the other
 * process's page. For him the frame is asked whether it is still in the swap cache, as every
 * page is that somebody else may yet bring in. Asked after the entry:
 *
 *	here				the kernel, for the other process
 *	entry: mapped once
 *					page swapped out, brought in here: one mapping
 *	no swap in use, or the frame is not in the cache
 *
 * Had the other one an entry when ours was read, the question would find it.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/sysinfo.h>

#include "arch/syscall.h"
#include "hmm/walk.h"

#define KPF_SWAPCACHE (1ULL << 13)
#define KPF_ZERO_PAGE (1ULL << 24)

/* -errno, or how many were read: one at least. */
static long read_at(long fd, void *buf, size_t size, unsigned long page)
{
	long n;

	do {
		n = hmmu_syscall(SYS_pread64, fd, buf, size, page * sizeof(uint64_t));
	} while (n == -EINTR);
	if (n == -ENOMEM)
		return n;
	n /= (long)sizeof(uint64_t);
	return n > 0 ? n : -EOPNOTSUPP;
}

int hmm_entries_read(struct hmm_walk *w, unsigned long addr, unsigned long end)
{
	unsigned long page = addr >> HMM_SHIFT;
	size_t many = (end - addr) >> HMM_SHIFT;
	long n;

	if (many > HMM_ENTRIES)
		many = HMM_ENTRIES;
	w->entries_n = 0;
	w->swap = SWAP_UNKNOWN;
	n = read_at(w->pagemap, w->entries, many * sizeof(uint64_t), page);
	if (n < 0)
		return (int)n;
	w->entries_at = page;
	w->entries_n = (unsigned int)n;
	return 0;
}

/* /proc/kpageflags of a frame; false: it may not be read. */
static bool frame_flags(struct hmm_walk *w, uint64_t frame, uint64_t *flags)
{
	*flags = 0;
	if (w->kpageflags == HMM_NOT_OPENED)
		w->kpageflags = hmmu_syscall(SYS_openat, AT_FDCWD, "/proc/kpageflags",
					     O_RDONLY | O_CLOEXEC);
	return w->kpageflags >= 0 && read_at(w->kpageflags, flags, sizeof(*flags), frame) > 0;
}

/* May anything have been swapped out when the entries were read? */
static bool swap_in_use(struct hmm_walk *w)
{
	struct sysinfo info = {0}; /* the analyzer does not see who fills it */

	if (w->swap == SWAP_UNKNOWN)
		w->swap = hmmu_syscall(SYS_sysinfo, &info) || info.freeswap != info.totalswap
				  ? SWAP_USED
				  : SWAP_NONE;
	return w->swap == SWAP_USED;
}

/* Who asked for a frame: may somebody have this page as an entry of the swap's? Out of the way
 * of those who did not ask. */
__attribute__((cold, noinline)) static bool maybe_swapped_elsewhere(struct hmm_walk *w,
								    uint64_t entry)
{
	uint64_t flags;

	if (w->populated || !swap_in_use(w))
		return false;
	return !frame_flags(w, entry & HMMU_ENTRY_FRAME, &flags) || (flags & KPF_SWAPCACHE);
}

/* What pagemap says more of one page. */
static unsigned long refine(struct hmm_walk *w, unsigned long addr, unsigned long answer,
			    bool alone, uint64_t entry)
{
	/* It went after it was seen. */
	if (!(entry & HMMU_ENTRY_PRESENT))
		return 0;
	if (alone && !(entry & HMMU_ENTRY_ALONE))
		answer &= ~HMM_PFN_WRITE;
	if (!(w->range->flags & HMM_RANGE_PHYSICAL))
		return answer | addr >> HMM_SHIFT;
	if (alone && (answer & HMM_PFN_WRITE) && maybe_swapped_elsewhere(w, entry))
		answer &= ~HMM_PFN_WRITE;
	return answer | (entry & HMMU_ENTRY_FRAME);
}

static void store(struct hmm_walk *w, unsigned long addr, unsigned long answer)
{
	unsigned long *pfn = hmm_entry(w, addr);

	*pfn = (*pfn & w->kept) | answer;
}

int hmm_entries_fill(struct hmm_walk *w, unsigned long start, unsigned long end,
		     unsigned long answer, bool alone)
{
	for (; start < end; start += HMM_PAGE) {
		uint64_t entry = 0;
		int ret = hmm_entry_read(w, start, end, &entry);

		if (ret)
			return ret;
		store(w, start, refine(w, start, answer, alone, entry));
	}
	return 0;
}

/* ---- without PAGEMAP_SCAN ---------------------------------------------------------- */

struct zeros {
	uint64_t frame; /* the last that was asked */
	bool is_zero;
};

static bool is_zero(struct hmm_walk *w, struct zeros *z, uint64_t frame)
{
	uint64_t flags;

	if (!frame)
		return false;
	if (frame == z->frame)
		return z->is_zero;
	if (!frame_flags(w, frame, &flags))
		return false;
	z->frame = frame;
	z->is_zero = flags & KPF_ZERO_PAGE;
	return z->is_zero;
}

/* One page of no file counts as a file's: the huge zero page. (The vdso is a file's, and
 * smaller.) */
static bool is_huge_zero(const struct hmm_mapping *m, unsigned long addr)
{
	unsigned long first = addr & -HMM_THP;

	return m->anonymous && first >= m->start && first + HMM_THP <= m->end;
}

static uint64_t categories(struct hmm_walk *w, const struct hmm_mapping *m, unsigned long addr,
			   uint64_t entry, struct zeros *z)
{
	uint64_t c = 0;

	if (entry & HMMU_ENTRY_GUARD)
		return HMMU_PM_GUARD;
	if (!(entry & HMMU_ENTRY_PRESENT))
		return 0;
	c = HMMU_PM_PRESENT;
	if (entry & HMMU_ENTRY_FILE)
		c |= is_huge_zero(m, addr) ? HMMU_PM_PFNZERO : HMMU_PM_FILE;
	else if (!(entry & HMMU_ENTRY_ALONE) && is_zero(w, z, entry & HMMU_ENTRY_FRAME))
		c |= HMMU_PM_PFNZERO;
	return c;
}

int hmm_entries_look(struct hmm_walk *w, const struct hmm_mapping *m, unsigned long start,
		     unsigned long end)
{
	struct zeros z = {0};
	unsigned long begun = start;
	int ret = 0;

	for (; start < end; start += HMM_PAGE) {
		unsigned long answer;
		uint64_t entry = 0;

		ret = hmm_entry_read(w, start, end, &entry);
		if (ret)
			break;
		answer = hmm_answer(m, categories(w, m, start, entry, &z));
		if (answer & HMM_PFN_VALID)
			answer = refine(w, start, answer, !m->shared, entry);
		store(w, start, answer);
	}
	if (!ret && w->device)
		hmm_device(w, m, begun, end);
	return ret;
}
