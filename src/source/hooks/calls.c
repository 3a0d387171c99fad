// SPDX-License-Identifier: MIT
/*
 * calls.c - munmap, mmap, madvise, mprotect: one range, known from the arguments.
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
/* Younger than the headers of Debian 12, or not in libc's. */
#define ADVICE_DONTNEED_LOCKED 24
#define ADVICE_HWPOISON 100
#define ADVICE_SOFT_OFFLINE 101
#define ADVICE_GUARD_INSTALL 102

__thread uint32_t hmmu_hook_seen __attribute__((tls_model("initial-exec")));

HMMU_HOOK long hmmu_hook_answer(long ret)
{
	if (!hmmu_is_err(ret))
		return ret;
	errno = (int)-ret;
	return -1;
}

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
	struct hmmu_source_event ev;
	unsigned long start, end;
	long ret;

	hmmu_hook_saw(HMMU_HOOK_MUNMAP);
	if (!hmmu_hook_watched() || !hmmu_hook_range(addr, len, &start, &end))
		return (int)hmmu_hook_answer(hmmu_syscall(SYS_munmap, addr, len));
	hmmu_source_start(&ev, MMU_NOTIFY_UNMAP, start, end);
	if (HMMU_HOOK_PLANTED(END_EARLY))
		hmmu_source_end(&ev);
	ret = hmmu_syscall(SYS_munmap, addr, len);
	if (!HMMU_HOOK_PLANTED(END_EARLY))
		hmmu_source_end(&ev);
	return (int)hmmu_hook_answer(ret);
}

/* Only MAP_FIXED without NOREPLACE takes away what is there. */
HMMU_HOOK static bool mmap_replaces(int flags)
{
	return (flags & MAP_FIXED) && !(flags & MAP_FIXED_NOREPLACE);
}

HMMU_HOOK void *hmmu_hook_mmap(void *addr, size_t len, int prot, int flags, int fd, long offset)
{
	struct hmmu_source_event ev;
	unsigned long start, end;
	long ret;

	hmmu_hook_saw(HMMU_HOOK_MMAP);
	if (!mmap_replaces(flags) || !hmmu_hook_watched() ||
	    !hmmu_hook_range(addr, len, &start, &end)) {
		ret = hmmu_syscall(SYS_mmap, addr, len, prot, flags, fd, offset);
		return (void *)hmmu_hook_answer(ret);
	}
	hmmu_source_start(&ev, MMU_NOTIFY_UNMAP, start, end);
	ret = hmmu_syscall(SYS_mmap, addr, len, prot, flags, fd, offset);
	hmmu_source_end(&ev);
	return (void *)hmmu_hook_answer(ret);
}

/*
 * The advices that take pages away or put something else in their place.
 * GUARD_REMOVE, COLD, PAGEOUT, COLLAPSE and the like leave what is read and written.
 */
HMMU_HOOK static bool advice_changes(int advice)
{
	switch (advice) {
	case MADV_DONTNEED:
	case MADV_FREE:
	case MADV_REMOVE:
	case ADVICE_DONTNEED_LOCKED:
	case ADVICE_HWPOISON:
	case ADVICE_SOFT_OFFLINE:
	case ADVICE_GUARD_INSTALL:
		return true;
	default:
		return false;
	}
}

HMMU_HOOK int hmmu_hook_madvise(void *addr, size_t len, int advice)
{
	struct hmmu_source_event ev;
	unsigned long start, end;
	long ret;

	hmmu_hook_saw(HMMU_HOOK_MADVISE);
	if (!advice_changes(advice) || !hmmu_hook_watched() ||
	    !hmmu_hook_range(addr, len, &start, &end))
		return (int)hmmu_hook_answer(hmmu_syscall(SYS_madvise, addr, len, advice));
	hmmu_source_start(&ev, MMU_NOTIFY_CLEAR, start, end);
	ret = hmmu_syscall(SYS_madvise, addr, len, advice);
	hmmu_source_end(&ev);
	return (int)hmmu_hook_answer(ret);
}

HMMU_HOOK int hmmu_hook_mprotect(void *addr, size_t len, int prot)
{
	struct hmmu_source_event ev;
	unsigned long start, end;
	long ret;

	hmmu_hook_saw(HMMU_HOOK_MPROTECT);
	if (!hmmu_hook_watched() || !hmmu_hook_range(addr, len, &start, &end))
		return (int)hmmu_hook_answer(hmmu_syscall(SYS_mprotect, addr, len, prot));
	/* The kernel stretches these to the end of the mapping, wherever that is. */
	if (prot & PROT_GROWSDOWN)
		start = 0;
	if (prot & PROT_GROWSUP)
		end = HMMU_TOP;
	hmmu_source_start(&ev, MMU_NOTIFY_PROTECTION_VMA, start, end);
	ret = hmmu_syscall(SYS_mprotect, addr, len, prot);
	hmmu_source_end(&ev);
	return (int)hmmu_hook_answer(ret);
}
