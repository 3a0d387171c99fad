// SPDX-License-Identifier: MIT
/*
 * brk.c - brk and sbrk.
 *
 * libc keeps the break in __curbrk and its allocator believes it: whoever takes
 * brk's place has to keep it, also while it is still NULL (nobody has asked yet).
 * __curbrk is libc's exported variable; a libc without one gets a word of ours.
 *
 * The range of a shrink begins at the new break, rounded up, and ends at the
 * kernel's present one. It is asked for and not taken from __curbrk, which a raw
 * system call may have left behind. Two threads that move the break at once without
 * a lock of their own are the program's bug, here as in libc.
 *
 * A patched libc's sbrk is left alone: it calls brk's entry (the self-test of
 * tests/hooks/inner.c). hmmu_hook_sbrk() is for interposition.
 */
#include <errno.h>

#include "arch/syscall.h"
#include "source/hooks/hooks.h"

extern void *__curbrk __attribute__((weak));

static void *own_curbrk;

HMMU_HOOK static void **curbrk(void)
{
	return &__curbrk ? &__curbrk : &own_curbrk;
}

HMMU_HOOK static bool brk_range(const void *addr, unsigned long *start, unsigned long *end)
{
	unsigned long now;

	/* brk(0) asks. */
	if (!addr || !hmmu_hook_watched())
		return false;
	now = (unsigned long)hmmu_syscall(SYS_brk, 0);
	*start = ((unsigned long)addr + HMMU_PAGE - 1) & -HMMU_PAGE;
	*end = (now + HMMU_PAGE - 1) & -HMMU_PAGE;
	return *start && *start < *end;
}

HMMU_HOOK int hmmu_hook_brk(void *addr)
{
	struct hmmu_source_event ev;
	unsigned long start, end;
	void *now;

	hmmu_hook_saw(HMMU_HOOK_BRK);
	if (brk_range(addr, &start, &end)) {
		hmmu_source_start(&ev, MMU_NOTIFY_UNMAP, start, end);
		now = (void *)hmmu_syscall(SYS_brk, addr);
		hmmu_source_end(&ev);
	} else {
		now = (void *)hmmu_syscall(SYS_brk, addr);
	}
	*curbrk() = now;
	if ((uintptr_t)now >= (uintptr_t)addr)
		return 0;
	errno = ENOMEM;
	return -1;
}

HMMU_HOOK void *hmmu_hook_sbrk(intptr_t increment)
{
	uintptr_t old, change = (uintptr_t)increment;

	hmmu_hook_saw(HMMU_HOOK_SBRK);
	if (!*curbrk() && hmmu_hook_brk(NULL))
		return (void *)-1;
	old = (uintptr_t)*curbrk();
	if (!increment)
		return (void *)old;
	if (increment > 0 ? old + change < old : old < -change) {
		errno = ENOMEM;
		return (void *)-1;
	}
	return hmmu_hook_brk((void *)(old + change)) ? (void *)-1 : (void *)old;
}
