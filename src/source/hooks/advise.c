// SPDX-License-Identifier: MIT
/*
 * advise.c - madvise and process_madvise.
 *
 * process_madvise on another process takes nothing away (the kernel allows COLD, PAGEOUT
 * and the like there); on oneself it is madvise of several ranges. Which of the two a
 * pidfd means is not asked: a pidfd of the parent of a vfork child, of another thread, or
 * one of the kernel's negative names may mean this memory as well. A foreign one is
 * bracketed for nothing.
 *
 * REMOVE makes a hole in the file: whatever other mappings show those pages change, too.
 *
 * The ranges are read up front, by the kernel: an array that cannot be read is the call's
 * to refuse. One bracket goes over all of them. Whoever changes the array meanwhile has
 * that race with the kernel's own reading, too.
 */
#include <limits.h>
#include <sys/mman.h>

#include "arch/syscall.h"
#include "source/hooks/hooks.h"

/* Younger than the headers of Debian 12, or not in libc's. */
#define ADVICE_DONTNEED_LOCKED 24
#define ADVICE_HWPOISON 100
#define ADVICE_SOFT_OFFLINE 101
#define ADVICE_GUARD_INSTALL 102

#ifndef IOV_MAX
#define IOV_MAX 1024
#endif
#define PIECE 16

/* GUARD_REMOVE, COLD, PAGEOUT, COLLAPSE and the like leave what is read and written. */
HMMU_HOOK bool hmmu_advice_changes(int advice)
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
	struct hmmu_change c;
	unsigned long start, end;

	hmmu_hook_saw(HMMU_HOOK_MADVISE);
	hmmu_change(&c, HMMU_HOOK_MADVISE, SYS_madvise, addr, len, advice);
	if (hmmu_advice_changes(advice) && hmmu_hook_range(addr, len, &start, &end))
		hmmu_change_add(&c, MMU_NOTIFY_CLEAR, start, end);
	if (advice == MADV_REMOVE && c.n && hmmu_change_wanted(&c))
		return (int)hmmu_hook_answer(hmmu_hook_make_hole(&c, start, end));
	return (int)hmmu_hook_answer(hmmu_hook_make(&c));
}

/* What a piece of the array names, added to [*start, *end). */
HMMU_HOOK static void hull(const struct iovec *piece, size_t n, unsigned long *start,
			   unsigned long *end)
{
	for (size_t i = 0; i < n; i++) {
		unsigned long from, to;

		if (!hmmu_hook_range(piece[i].iov_base, piece[i].iov_len, &from, &to))
			continue;
		if (HMMU_HOOK_PLANTED(FIRST_ONLY) && *end)
			continue;
		if (from < *start)
			*start = from;
		if (to > *end)
			*end = to;
	}
}

/* false: the array cannot be read. */
HMMU_HOOK static bool read_ranges(const struct iovec *iov, size_t n, unsigned long *start,
				  unsigned long *end)
{
	struct iovec piece[PIECE];

	*start = ~0UL;
	*end = 0;
	for (size_t done = 0; done < n; done += PIECE) {
		size_t count = n - done < PIECE ? n - done : PIECE;
		struct iovec to = {piece, count * sizeof(*piece)};
		struct iovec from = {(void *)(iov + done), to.iov_len};
		long got = hmmu_syscall(SYS_process_vm_readv, hmmu_syscall(SYS_getpid), &to, 1,
					&from, 1, 0);

		if (got != (long)to.iov_len)
			return false;
		hull(piece, count, start, end);
	}
	return true;
}

HMMU_HOOK ssize_t hmmu_hook_process_madvise(int pidfd, const struct iovec *iov, size_t n,
					    int advice, unsigned int flags)
{
	struct hmmu_change c;
	unsigned long start, end;

	hmmu_hook_saw(HMMU_HOOK_PROCESS_MADVISE);
	hmmu_change(&c, HMMU_HOOK_PROCESS_MADVISE, SYS_process_madvise, pidfd, iov, n, advice,
		    flags);
	if (n && n <= IOV_MAX && hmmu_advice_changes(advice) && hmmu_change_wanted(&c)) {
		if (!read_ranges(iov, n, &start, &end)) {
			start = 0;
			end = HMMU_TOP;
		}
		hmmu_change_add(&c, MMU_NOTIFY_CLEAR, start, end);
		if (advice == MADV_REMOVE && c.n)
			return hmmu_hook_answer(hmmu_hook_make_hole(&c, start, end));
	}
	return hmmu_hook_answer(hmmu_hook_make(&c));
}
