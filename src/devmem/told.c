// SPDX-License-Identifier: MIT
/*
 * told.c - touches, and changes that nobody bracketed, as the reader hears of them.
 *
 * The reader's thread: no lock, no wait, no allocation but a leaf of the table. Whoever made
 * the change sleeps until we are done with it.
 */
#include <errno.h>

#include "../futex.h"
#include "../source/userfaultfd/userfaultfd.h"
#include "devmem.h"

/* An empty page of a mapping in which pages may be away. @return: true: again later. */
static bool fill(uint64_t addr, uint64_t *word)
{
	long ret;

	DM_GATE(FILL, addr);
	ret = dm_zero(addr);
	if (!HMMU_PLANTED(DM_NO_FILLING))
		hmmu_store_seqcst(word, 0);
	dm_signal(hmmu_devmem);
	if (ret == -EAGAIN)
		return true;
	if (ret)
		dm_wake(addr, addr + DM_PAGE); /* it is there, or its mapping is gone */
	return false;
}

/* What it was. What it becomes is the reader's: FILLING, so that it cannot leave between this
 * look and the zeros, which would be put where a page has just left; or COMING. Claims are made
 * in the gate (leave.c, migrate.c, without comparing) or compare (home.c). */
static uint64_t take(struct hmmu_devmem *dm, uint64_t *word, uint64_t *mine)
{
	uint64_t w;

	dm_reading(true);
	do {
		w = hmmu_load_acquire(word);
		*mine = w;
		if (dm_state(w) == DM_HOME && !HMMU_PLANTED(DM_NO_FILLING))
			*mine = DM_FILLING;
		else if (dm_state(w) == DM_THERE || dm_state(w) == DM_ALONE)
			*mine = dm_coming(w);
	} while (*mine != w && !hmmu_cas_seqcst(word, &w, *mine));
	dm_reading(false);
	return w;
}

static bool touched(unsigned long address)
{
	struct hmmu_devmem *dm = hmmu_devmem;
	uint64_t addr = address & -DM_PAGE, *word = dm_make_word(dm, addr), w, mine;

	if (!word)
		return true;
	w = take(dm, word, &mine);
	switch (dm_state(w)) {
	case DM_HOME:
		return fill(addr, word);
	case DM_THERE:
	case DM_ALONE:
		return dm_bring(dm, addr, word, mine) != 0;
	default:
		return false; /* the owner of the journey wakes it: devmem.h */
	}
}

/* Its memory is gone, and its content is in the slot. False: the word has changed. */
static bool drop(struct hmmu_devmem *dm, uint64_t addr, uint64_t *word, uint64_t w)
{
	/* COMING: who brings it finds the word changed. */
	if (!hmmu_cas_seqcst(word, &w, 0))
		return false;
	dm_revoke_gone(dm_arena(dm, w), addr, dm_slot(w));
	hmmu_add_relaxed(&dm_arena(dm, w)->dropped, 1);
	dm_slots_put(dm, w, 1);
	dm_signal(dm);
	return true;
}

/* Its memory is gone. True: somebody else's journey ends here, and who waits for it is to be
 * woken by us. */
static bool gone_one(struct hmmu_devmem *dm, uint64_t addr, uint64_t *word)
{
	for (;;) {
		uint64_t w = hmmu_load_acquire(word);
		enum dm_state state = dm_state(w);

		if (state == DM_HOME || state == DM_FILLING)
			return false;
		if (state != DM_LEAVING) {
			if (drop(dm, addr, word, w))
				return state == DM_COMING;
			continue;
		}
		/* What has not left goes with its memory. What has left is finalize's, which
		 * finds this at the slot: the address may be another page's by then. */
		if (w & DM_LEFT)
			hmmu_store_release(&dm_arena(dm, w)->holds[dm_slot(w)], addr | DM_GONE);
		if (hmmu_cas_seqcst(word, &w, 0))
			return true;
	}
}

static void gone(unsigned long start, unsigned long end)
{
	struct hmmu_devmem *dm = hmmu_devmem;
	uint64_t at = start, *word;
	bool awaited = false;

	if (!hmmu_load_relaxed(&dm->arenas))
		return;
	for (; (word = dm_next_word(dm, &at, end)) != NULL; at += DM_PAGE)
		awaited |= gone_one(dm, at, word);
	if (!awaited)
		return;
	dm_signal(dm);
	if (!HMMU_PLANTED(DM_NO_WAKE))
		dm_wake(start, end);
}

/* One page, unless its content is the CPU's and has moved already. Has it come along? */
static bool take_along(struct hmmu_devmem *dm, uint64_t from, uint64_t to, uint64_t *word)
{
	uint64_t w = hmmu_load_acquire(word), *other, next;

	while (dm_state(w) != DM_HOME && dm_state(w) != DM_FILLING) {
		bool left = dm_state(w) != DM_LEAVING || (w & DM_LEFT);

		next = dm_state(w) == DM_LEAVING ? w | DM_BACK : dm_turn(w, dm_away(w));
		other = left ? dm_make_word(dm, to) : NULL;
		if (left && !other) {
			gone_one(dm, from, word);
			return false;
		}
		if (left) {
			/* Finalize looks where the slot says. */
			hmmu_store_release(&dm_arena(dm, w)->holds[dm_slot(w)], to);
			hmmu_store_seqcst(other, next);
		}
		if (hmmu_cas_seqcst(word, &w, 0)) {
			/* The device may know it by its old address. Nobody brings it home
			 * before we have read. (LEAVING: finalize says so.) */
			if (dm_state(w) != DM_LEAVING)
				dm_revoke_gone(dm_arena(dm, w), from, dm_slot(w));
			return left;
		}
		if (left)
			hmmu_store_seqcst(other, 0);
	}
	return false;
}

/* A raw mremap(): what is away goes along. */
static bool moved(unsigned long from, unsigned long to, unsigned long length)
{
	struct hmmu_devmem *dm = hmmu_devmem;
	uint64_t at = from, *word;
	bool any = false;

	if (!hmmu_load_relaxed(&dm->arenas))
		return false;
	DM_GATE(TAKE, from);
	for (; (word = dm_next_word(dm, &at, from + length)) != NULL; at += DM_PAGE)
		any |= take_along(dm, at, at - from + to, word);
	/* arrived() counts down. Before reading ends: pairs with before(). */
	if (any)
		hmmu_add_seqcst(&dm->strays, 1);
	dm_signal(dm);
	/* Who waits for a page there: its journey ends elsewhere. */
	if (!HMMU_PLANTED(DM_NO_WAKE))
		dm_wake(from, from + length);
	return any;
}

/* The dispatcher: what was taken along there comes home, but what is not finalized yet. Then
 * every change looks for it from now on. */
static void arrived(unsigned long start, unsigned long end)
{
	struct hmmu_devmem *dm = hmmu_devmem;

	if (dm_bring_range(dm, start, end, DM_SKIP))
		hmmu_add_seqcst(&dm->strays, (uint64_t)-1);
}

/* devmem.h, last picture. A handler that interrupted us takes the undecided way (notifier.h),
 * and the dispatcher must not wait for what it brings home itself. */
static void before(unsigned long start, unsigned long end)
{
	struct hmmu_devmem *dm = hmmu_devmem;

	if (!hmmu_load_relaxed(&dm->arenas) || hmmu_tls.held || hmmu_uffd_dispatching())
		return;
	while (hmmu_load_seqcst(&dm->reading))
		dm_wait_reading(dm);
	if (hmmu_load_seqcst(&dm->strays) && !HMMU_PLANTED(DM_NO_STRAYS))
		dm_bring_range(dm, start, end, DM_WAIT);
}

static bool away(unsigned long start, unsigned long end)
{
	uint64_t at = start;

	return dm_next_word(hmmu_devmem, &at, end) != NULL;
}

static bool serving(void)
{
	return hmmu_devmem_any() && !HMMU_PLANTED(DM_UNREGISTERED);
}

const struct hmmu_uffd_device dm_uffd_device = {
	.touched = touched,
	.gone = gone,
	.moved = moved,
	.arrived = arrived,
	.before = before,
	.away = away,
	.serving = serving,
	.reading = dm_reading,
};
