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
 * A patched libc's sbrk is left alone: it calls brk's entry (selftest.c). hmmu_hook_sbrk()
 * is for interposition, and for the place of another library's patch.
 */
#include <errno.h>

#include "arch/syscall.h"
#include "atomic.h"
#include "source/hooks/hooks.h"

extern void *__curbrk __attribute__((weak));

static void *own_curbrk;

HMMU_HOOK void **hmmu_hook_curbrk(void)
{
	return &__curbrk ? &__curbrk : &own_curbrk;
}

/* What libc's own does; 0 or -ENOMEM. */
HMMU_HOOK static long bare_brk(const struct hmmu_change *c)
{
	unsigned long now = (unsigned long)hmmu_syscall(SYS_brk, c->arg[0]);

	*hmmu_hook_curbrk() = (void *)now;
	return now >= (unsigned long)c->arg[0] ? 0 : -ENOMEM;
}

/* A shrink to @addr; brk(0) asks. */
HMMU_HOOK static void add_shrink(struct hmmu_change *c, unsigned long addr)
{
	unsigned long start = (addr + HMMU_PAGE - 1) & -HMMU_PAGE, now;

	if (!addr || !start || !hmmu_change_wanted(c))
		return;
	now = (unsigned long)hmmu_syscall(SYS_brk, 0);
	hmmu_change_add(c, MMU_NOTIFY_UNMAP, start, (now + HMMU_PAGE - 1) & -HMMU_PAGE);
}

HMMU_HOOK int hmmu_hook_brk(void *addr)
{
	struct hmmu_change c;

	hmmu_hook_saw(HMMU_HOOK_BRK);
	hmmu_change(&c, HMMU_HOOK_BRK, SYS_brk, addr);
	c.bare = bare_brk;
	add_shrink(&c, (unsigned long)addr);
	return (int)hmmu_hook_answer(hmmu_hook_make(&c));
}

HMMU_HOOK static long bare_sbrk(const struct hmmu_change *c)
{
	struct hmmu_change brk;
	long old = (long)*hmmu_hook_curbrk(), err;

	hmmu_change(&brk, HMMU_HOOK_BRK, SYS_brk, old + c->arg[0]);
	err = bare_brk(&brk);
	return err ? err : old;
}

/* Another library answers sbrk by itself (UCX: ucm_orig_sbrk(), src/ucm/util/replace.c). */
HMMU_HOOK static void *foreign_sbrk(intptr_t increment, uintptr_t to)
{
	struct hmmu_change c;

	hmmu_change(&c, HMMU_HOOK_SBRK, SYS_brk, increment);
	c.bare = bare_sbrk;
	add_shrink(&c, to);
	return (void *)hmmu_hook_answer(hmmu_hook_make(&c));
}

HMMU_HOOK void *hmmu_hook_sbrk(intptr_t increment)
{
	uintptr_t old, change = (uintptr_t)increment;

	hmmu_hook_saw(HMMU_HOOK_SBRK);
	if (!*hmmu_hook_curbrk() && hmmu_hook_brk(NULL))
		return (void *)-1;
	old = (uintptr_t)*hmmu_hook_curbrk();
	if (!increment)
		return (void *)old;
	if (increment > 0 ? old + change < old : old < -change) {
		errno = ENOMEM;
		return (void *)-1;
	}
	/* Pairs with the release in patch.c. */
	if (hmmu_load_acquire(&hmmu_hook_foreign[HMMU_HOOK_SBRK]))
		return foreign_sbrk(increment, old + change);
	return hmmu_hook_brk((void *)(old + change)) ? (void *)-1 : (void *)old;
}
