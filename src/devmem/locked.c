// SPDX-License-Identifier: MIT
/*
 * locked.c - slots for pages of mlocked memory.
 *
 * UFFDIO_MOVE wants both mappings mlocked or neither. So the slots of what is mlocked at home
 * are mlocked, too. Nobody is asked before MOVE has answered EINVAL, which it does for other
 * reasons as well: read-only memory, a range of more than one mapping. msync(MS_INVALIDATE)
 * says what is mlocked, and does nothing to private memory; one system call each.
 *
 * mlock2() and munlock() of slots wait for the kernel's map lock, whose holders never wait for
 * an event, and cause no event. Nor do they touch empty slots, which the reader would have to
 * fill: MLOCK_ONFAULT, and should an mlockall() undo that meanwhile, those in the gate and the
 * reader's own have a page. So the gate and the reader may call them. They fail where
 * RLIMIT_MEMLOCK is reached, or the limit of mappings; then who leaves stays, who comes home is
 * copied, and a slot stays as it is.
 *
 * WHICH SLOTS MAY BE LOCKED is known by a bit each. No move depends on the bits (MOVE is the
 * judge, and munlockall() may have come since): they are there to end what counts against the
 * limits. A page that comes home leaves its slot locked, for a munlock() in the middle of a
 * mapping costs as much as the journey, and may cost a mapping. When no page is in a locked
 * slot of 64 neighbours, all of them are unlocked at once. (The pieces become one mapping
 * again, having one anon_vma: the first MOVE, which was refused, gave it to the whole arena.)
 * Slots may be locked and unlocked at the same time; what must not be is one that is locked and
 * unknown for good:
 *
 *	owner of the slot		who has freed another of the 64
 *	mlock2				bit = 0
 *	bit = 1				munlock
 *	[Required: munlock comes after mlock2, or bit = 1 after bit = 0]
 *
 * If its bit is set and it is not locked, or a page is in a slot that was unlocked meanwhile:
 * MOVE says EINVAL, and what is said above begins again.
 */
#include <errno.h>
#include <sys/mman.h>

#include "../arch/syscall.h"
#include "devmem.h"

/* Is any of it? (A hole is not.) */
static bool any_locked(uint64_t start, uint64_t n)
{
	return hmmu_syscall(SYS_msync, start, n << DM_PAGE_SHIFT, MS_INVALIDATE) == -EBUSY;
}

static bool all_known(const struct dev_pagemap *arena, uint64_t slot, uint64_t n)
{
	uint64_t bits, k;

	for (; n; slot += k, n -= k) {
		k = dm_in_word(slot, n, &bits);
		if (bits & ~hmmu_load_seqcst(&arena->locked[slot / 64]))
			return false;
	}
	return true;
}

static void know(struct dev_pagemap *arena, uint64_t slot, uint64_t n)
{
	uint64_t bits, k;

	/* Before the bits: who puts the slot looks at this first. */
	hmmu_store_seqcst(&arena->locks, 1);
	for (; n; slot += k, n -= k) {
		k = dm_in_word(slot, n, &bits);
		hmmu_or_seqcst(&arena->locked[slot / 64], bits);
	}
}

static void forget(struct dev_pagemap *arena, uint64_t slot, uint64_t n)
{
	uint64_t bits, k;

	for (; n; slot += k, n -= k) {
		k = dm_in_word(slot, n, &bits);
		hmmu_and_seqcst(&arena->locked[slot / 64], ~bits);
	}
}

/* The picture's left side. What of them has been locked when it fails is known, too. */
static bool lock_slots(struct dev_pagemap *arena, uint64_t slot, uint64_t n)
{
	uint64_t start = arena->base + (slot << DM_PAGE_SHIFT);
	long ret;

	if (HMMU_PLANTED(DM_LOCKED_EARLY))
		know(arena, slot, n);
	DM_GATE(LOCK, start);
	ret = hmmu_syscall(SYS_mlock2, start, n << DM_PAGE_SHIFT, MLOCK_ONFAULT);
	if (!HMMU_PLANTED(DM_LOCKED_EARLY))
		know(arena, slot, n);
	return !ret;
}

static bool unlock_slots(struct dev_pagemap *arena, uint64_t slot, uint64_t n)
{
	uint64_t start = arena->base + (slot << DM_PAGE_SHIFT);

	forget(arena, slot, n);
	if (!hmmu_syscall(SYS_munlock, start, n << DM_PAGE_SHIFT))
		return true;
	know(arena, slot, n);
	return false;
}

bool dm_slots_alike(struct dev_pagemap *arena, uint64_t slot, uint64_t addr, uint64_t n)
{
	bool there = any_locked(arena->base + (slot << DM_PAGE_SHIFT), n);

	if (!any_locked(addr, n))
		return there && unlock_slots(arena, slot, n);
	/* Not all of them may be. */
	if (there && all_known(arena, slot, n))
		return false;
	return lock_slots(arena, slot, n);
}

/* The picture's right side. */
void dm_slots_unlock(struct dev_pagemap *arena, uint64_t i)
{
	uint64_t known = hmmu_load_seqcst(&arena->locked[i]), first, n;

	/* Of two who free the last ones one finds none taken. */
	if (!known || (known & hmmu_load_seqcst(&arena->taken[i])))
		return;
	DM_GATE(UNLOCK, arena->base + (i * 64 << DM_PAGE_SHIFT));
	known &= hmmu_and_seqcst(&arena->locked[i], ~known);
	if (!known)
		return;
	first = (uint64_t)__builtin_ctzll(known);
	n = 64 - (uint64_t)__builtin_clzll(known) - first;
	/* Others' slots in between find that out, as above. */
	if (hmmu_syscall(SYS_munlock, arena->base + ((i * 64 + first) << DM_PAGE_SHIFT),
			 n << DM_PAGE_SHIFT))
		hmmu_or_seqcst(&arena->locked[i], known);
}

void dm_arena_unlock(uint64_t start, uint64_t bytes)
{
	hmmu_syscall(SYS_munlock, start, bytes);
}
