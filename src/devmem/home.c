// SPDX-License-Identifier: MIT
/*
 * home.c - pages come home. Context: any that a callback may run in, the reader included.
 *
 * In each of these the words are COMING, and the caller's. What MOVE answers:
 *
 *	0		home; it has woken whoever touched it
 *	EAGAIN		a change of the mm has not been read yet: again, unless the reader asks
 *	EINVAL		home was mlocked or munlocked meanwhile: again, when its slot is as
 *			home is (locked.c). Otherwise the CPU's memory is read-only, and with
 *	EBUSY		somebody has pinned the device's page: copied. The slot keeps a page,
 *			which the next one to use the slot throws away (leave.c)
 *	EEXIST, ENOENT	the memory that it was of is gone, or replaced: dropped
 *	others		(no memory for a page table) it stays
 */
#include <errno.h>
#include <limits.h>

#include "../futex.h"
#include "../source/userfaultfd/userfaultfd.h"
#include "devmem.h"

#define TRIES 5000 /* a millisecond each, for memory */

void dm_signal(struct hmmu_devmem *dm)
{
	/* Pairs with dm_wait(): the words were changed before, and this is a full barrier. */
	hmmu_add_seqcst(&dm->journeys, 1);
	if (hmmu_load_seqcst(&dm->waiting))
		hmmu_futex_wake(&dm->journeys, INT_MAX);
}

uint32_t dm_journeys(struct hmmu_devmem *dm)
{
	return hmmu_load_seqcst(&dm->journeys);
}

void dm_wait(struct hmmu_devmem *dm, uint32_t seen)
{
	hmmu_add_seqcst(&dm->waiting, 1);
	hmmu_futex_wait(&dm->journeys, seen, NULL);
	hmmu_add_seqcst(&dm->waiting, (uint32_t)-1);
}

static void revoke_one(struct hmmu_devmem *dm, uint64_t addr, uint64_t w)
{
	struct dev_pagemap *arena = dm_arena(dm, w);

	if (HMMU_PLANTED(DM_NO_REVOKE))
		return;
	arena->ops.revoke(arena->context, addr, dm_place(dm, w) >> DM_PAGE_SHIFT,
			  w & DM_ALONE_NEXT ? MMU_NOTIFY_EXCLUSIVE : MMU_NOTIFY_MIGRATE);
}

/* In the gate. @n neighbours: nobody's content is in their slots any more. */
static void arrived(struct hmmu_devmem *dm, uint64_t *word, uint64_t w, uint64_t n,
		    uint64_t *count)
{
	/* Before dm_signal(), which is a full barrier; in the gate's order for the reader. */
	for (uint64_t i = 0; i < n; i++)
		hmmu_store_release(word + i, 0);
	hmmu_add_relaxed(count, n);
	dm_slots_put(dm, w, n);
}

static void stays(uint64_t *word, uint64_t w)
{
	hmmu_cas_seqcst(word, &w, dm_turn(w, dm_away(w)));
}

/* In the gate, or the reader: how many of @n, from the first. 0: *why. */
static uint64_t move(struct hmmu_devmem *dm, uint64_t addr, uint64_t w, uint64_t n, long *why)
{
	uint64_t done = dm_move(addr, dm_place(dm, w), n, why);

	if (!done && *why == -EINVAL && dm_slots_alike(dm_arena(dm, w), dm_slot(w), addr, n))
		done = dm_move(addr, dm_place(dm, w), n, why);
	return done;
}

/* In the gate, or the reader: one page, by whatever works. */
static long one(struct hmmu_devmem *dm, uint64_t addr, uint64_t *word, uint64_t w,
		uint64_t *count)
{
	long ret;

	move(dm, addr, w, 1, &ret);
	if (ret == -EBUSY || ret == -EINVAL)
		ret = dm_copy_home(addr, dm_place(dm, w));
	if (ret == -EEXIST || ret == -ENOENT) {
		arrived(dm, word, w, 1, &dm_arena(dm, w)->dropped);
		dm_wake(addr, addr + DM_PAGE);
		return 0;
	}
	if (!ret)
		arrived(dm, word, w, 1, count);
	return ret;
}

long dm_bring(struct hmmu_devmem *dm, uint64_t addr, uint64_t *word, uint64_t w)
{
	long ret;

	revoke_one(dm, addr, w);
	ret = one(dm, addr, word, w, &dm_arena(dm, w)->touched);
	if (ret)
		stays(word, w);
	dm_signal(dm);
	return ret;
}

/* In the gate: as many as one call takes. How many are done with; 0: *why. */
static uint64_t some(struct hmmu_devmem *dm, uint64_t addr, uint64_t *word, uint64_t w,
		     uint64_t n, uint64_t *count, long *why)
{
	uint64_t k = dm_still(word, w, n), done;

	if (!k)
		return 1; /* the reader has dropped it, or taken it along */
	done = move(dm, addr, w, k, why);
	DM_GATE(CAME, addr);
	if (done)
		arrived(dm, word, w, done, count);
	if (done)
		return done;
	*why = one(dm, addr, word, w, count);
	return !*why;
}

/* Our descriptor, and nobody has noticed? Then it is of no use to ask again. */
static bool lost(long why)
{
	if (why != -EAGAIN && !hmmu_uffd_ours(hmmu_uffd, hmmu_uffd->fd))
		hmmu_uffd_lose(hmmu_uffd);
	return hmmu_load_acquire(&hmmu_uffd->lost);
}

uint64_t dm_bring_run(struct hmmu_devmem *dm, uint64_t addr, uint64_t n, uint64_t w,
		      uint64_t *count)
{
	uint64_t *word = dm_find_word(dm, addr), came = 0, done;
	int tries = 0;
	long why = 0;

	DM_GATE(BRING, addr);
	while (came < n) {
		dm_gate_enter(dm);
		done = some(dm, addr + (came << DM_PAGE_SHIFT), word + came, dm_nth(w, came),
			    n - came, count, &why);
		dm_gate_leave(dm);
		came += done;
		if (done)
			tries = 0;
		else if (lost(why) || ++tries > TRIES)
			break;
		else
			hmmu_uffd_pause(why == -EAGAIN ? 20000 : 1000000);
	}
	for (uint64_t i = came; i < n; i++)
		stays(word + i, dm_nth(w, i));
	if (came < n)
		dm_wake(addr + (came << DM_PAGE_SHIFT), addr + (n << DM_PAGE_SHIFT));
	dm_signal(dm);
	return n - came;
}

/* With dm->lock: a run from @addr on whose words become COMING; *w: the first. 0: what is
 * there is on a journey. */
static uint64_t claim(uint64_t *word, uint64_t addr, uint64_t end, uint64_t *first)
{
	uint64_t n = 0, many = (end - addr) >> DM_PAGE_SHIFT;

	if (many > dm_run(addr))
		many = dm_run(addr);
	for (; n < many; n++) {
		uint64_t w = hmmu_load_acquire(word + n), coming;

		if (dm_state(w) != DM_THERE && dm_state(w) != DM_ALONE)
			break;
		coming = dm_coming(w);
		if (n && coming != dm_nth(*first, n))
			break;
		if (!hmmu_cas_seqcst(word + n, &w, coming))
			break;
		if (!n)
			*first = coming;
	}
	return n;
}

static bool bring_claimed(struct hmmu_devmem *dm, uint64_t addr, uint64_t n, uint64_t w)
{
	for (uint64_t i = 0; i < n; i++)
		revoke_one(dm, addr + (i << DM_PAGE_SHIFT), dm_nth(w, i));
	return !dm_bring_run(dm, addr, n, w, &dm_arena(dm, w)->brought);
}

bool dm_bring_range(struct hmmu_devmem *dm, uint64_t start, uint64_t end, enum dm_how how)
{
	uint64_t at = start, *word, n, w = 0;
	uint32_t seen = dm_journeys(dm);
	bool all = true;

	while ((word = dm_next_word(dm, &at, end)) != NULL) {
		uint64_t old = dm_quiet();

		if (how != DM_NONBLOCK) {
			dm_lock(dm);
		} else if (!dm_trylock(dm)) {
			dm_loud(old);
			return false;
		}
		n = claim(word, at, end, &w);
		dm_unlock(dm);
		if (n)
			all &= bring_claimed(dm, at, n, w);
		dm_loud(old);
		if (n) {
			at += n << DM_PAGE_SHIFT;
		} else if (dm_state(hmmu_load_seqcst(word)) == DM_FILLING) {
			at += DM_PAGE; /* of nobody's content */
		} else if (how == DM_SKIP) {
			all = false;
			at += DM_PAGE;
		} else if (hmmu_load_seqcst(word)) {
			if (how == DM_NONBLOCK)
				return false;
			dm_wait(dm, seen);
		}
		seen = dm_journeys(dm);
	}
	return all;
}
