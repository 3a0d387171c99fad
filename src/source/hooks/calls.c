// SPDX-License-Identifier: MIT
/*
 * calls.c - munmap, mmap, mprotect, pkey_mprotect, remap_file_pages: one range, known from
 * the arguments.
 *
 * What the kernel will refuse (an unaligned address, an empty or wrapping length) is
 * passed on without a bracket: nothing changes. A call that fails for another
 * reason has been bracketed for nothing, which costs its readers one more read.
 */
#include <errno.h>
#include <sys/mman.h>

#include "arch/syscall.h"
#include "source/hooks/hooks.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#define HUGE_2M (2UL << 20)
#define HUGE_1G (1UL << 30)

__thread uint32_t hmmu_hook_seen __attribute__((tls_model("initial-exec")));

/*
 * libc ends a thread with all signals blocked, its own two included, which nobody else
 * blocks; TSan's state of the thread is gone by then. The calls that libc makes there
 * (madvise of the stack, munmap of other stacks) stay unbracketed in a TSan build, and
 * describe() says so. (It also runs signal handlers with all blocked: what those unmap
 * is not bracketed either. A TSan build is for tests.)
 */
HMMU_HOOK bool hmmu_hook_thread_gone(void)
{
	uint64_t blocked = 0;
	const unsigned int sigcancel = 32;

	hmmu_syscall(SYS_rt_sigprocmask, 0, NULL, &blocked, sizeof(blocked));
	return (blocked >> (sigcancel - 1)) & 1;
}

HMMU_HOOK int hmmu_hook_munmap(void *addr, size_t len)
{
	struct hmmu_change c;
	unsigned long start, end;

	hmmu_hook_saw(HMMU_HOOK_MUNMAP);
	hmmu_change(&c, HMMU_HOOK_MUNMAP, SYS_munmap, addr, len);
	if (hmmu_hook_range(addr, len, &start, &end))
		hmmu_change_add(&c, MMU_NOTIFY_UNMAP, start, end);
	return (int)hmmu_hook_answer(hmmu_hook_make(&c));
}

/* Only MAP_FIXED without NOREPLACE takes away what is there. */
HMMU_HOOK static bool mmap_replaces(int flags)
{
	return (flags & MAP_FIXED) && !(flags & MAP_FIXED_NOREPLACE);
}

/* A mapping of huge pages is as long as whole ones; a file may have them without a flag.
 * It begins at a multiple of such a page, which tells the rounding that is never too
 * small. */
HMMU_HOOK static size_t mmap_length(unsigned long addr, size_t len, int flags)
{
	unsigned long page = HMMU_PAGE;

	if ((flags & MAP_ANONYMOUS) && !(flags & MAP_HUGETLB))
		return len;
	if (addr % HUGE_1G == 0 && (flags & MAP_HUGETLB))
		page = HUGE_1G;
	else if (addr % HUGE_2M == 0)
		page = HUGE_2M;
	return len + page - 1 >= len ? (len + page - 1) & -page : len;
}

HMMU_HOOK void *hmmu_hook_mmap(void *addr, size_t len, int prot, int flags, int fd, long offset)
{
	struct hmmu_change c;
	unsigned long start, end;
	long ret;

	hmmu_hook_saw(HMMU_HOOK_MMAP);
	hmmu_change(&c, HMMU_HOOK_MMAP, SYS_mmap, addr, len, prot, flags, fd, offset);
	if (mmap_replaces(flags) && len &&
	    hmmu_hook_range(addr, mmap_length((unsigned long)addr, len, flags), &start, &end))
		hmmu_change_add(&c, MMU_NOTIFY_UNMAP, start, end);
	if (HMMU_HOOK_PLANTED(HANDED_EARLY) && c.n)
		hmmu_hook_handed_out(start, end);
	ret = hmmu_hook_make(&c);
	if (!hmmu_is_err(ret) && !HMMU_HOOK_PLANTED(HANDED_EARLY) &&
	    hmmu_hook_range((void *)ret, mmap_length((unsigned long)ret, len, flags), &start,
			    &end))
		hmmu_hook_handed_out(start, end);
	return (void *)hmmu_hook_answer(ret);
}

/* The kernel stretches these to the end of the mapping, wherever that is. */
HMMU_HOOK static void add_protected(struct hmmu_change *c, const void *addr, size_t len,
				    int prot)
{
	unsigned long start, end;

	if (!hmmu_hook_range(addr, len, &start, &end))
		return;
	if (prot & PROT_GROWSDOWN)
		start = 0;
	if (prot & PROT_GROWSUP)
		end = HMMU_TOP;
	hmmu_change_add(c, MMU_NOTIFY_PROTECTION_VMA, start, end);
}

HMMU_HOOK int hmmu_hook_mprotect(void *addr, size_t len, int prot)
{
	struct hmmu_change c;

	hmmu_hook_saw(HMMU_HOOK_MPROTECT);
	hmmu_change(&c, HMMU_HOOK_MPROTECT, SYS_mprotect, addr, len, prot);
	add_protected(&c, addr, len, prot);
	return (int)hmmu_hook_answer(hmmu_hook_make(&c));
}

/* Without a key it is mprotect, as in libc: also where the kernel knows no keys. */
HMMU_HOOK int hmmu_hook_pkey_mprotect(void *addr, size_t len, int prot, int pkey)
{
	struct hmmu_change c;

	hmmu_hook_saw(HMMU_HOOK_PKEY_MPROTECT);
	if (pkey == -1)
		return hmmu_hook_mprotect(addr, len, prot);
	hmmu_change(&c, HMMU_HOOK_PKEY_MPROTECT, SYS_pkey_mprotect, addr, len, prot, pkey);
	add_protected(&c, addr, len, prot);
	return (int)hmmu_hook_answer(hmmu_hook_make(&c));
}

/* The kernel rounds both down; what it refuses for an empty range is refused here, for it
 * writes a line in its log for every process that asks it. */
HMMU_HOOK int hmmu_hook_remap_file_pages(void *addr, size_t size, int prot, size_t pgoff,
					 int flags)
{
	struct hmmu_change c;
	unsigned long start = (unsigned long)addr & -HMMU_PAGE;
	unsigned long end = start + (size & -HMMU_PAGE);

	hmmu_hook_saw(HMMU_HOOK_REMAP_FILE_PAGES);
	if (end <= start)
		return (int)hmmu_hook_answer(-EINVAL);
	hmmu_change(&c, HMMU_HOOK_REMAP_FILE_PAGES, SYS_remap_file_pages, addr, size, prot,
		    pgoff, flags);
	hmmu_change_add(&c, MMU_NOTIFY_UNMAP, start, end < HMMU_TOP ? end : HMMU_TOP);
	return (int)hmmu_hook_answer(hmmu_hook_make(&c));
}
