// SPDX-License-Identifier: MIT
/*
 * leave.c - migrate_vma_pages(), out: pages leave, run by run. devmem.h argues.
 *
 * A run is claimed (LEAVING), moved in the gate (LEFT), and finalized by migrate.c. Page by
 * page where one call does not do: a slot that is not empty, an empty page, one that was shared
 * by fork.
 */
#include <errno.h>
#include <sys/mman.h>

#include "../arch/syscall.h"
#include "../source/userfaultfd/userfaultfd.h"
#include "devmem.h"

#define EAGAIN_TRIES 10000 /* 20 us each: what an unread event may take */
#define AGAIN_TRIES 1000   /* 100 us each */
#define ALIKE_TRIES 8

/* ---- pages: out -------------------------------------------------------- */

static void refuse(struct migrate_vma *args, uint64_t i)
{
	args->src[i] &= ~MIGRATE_PFN_MIGRATE;
	hmmu_add_relaxed(&dm_arena_of(args)->refused, 1);
}

/* From @i on: how many with neighbouring slots of the arena that are nobody's. */
static uint64_t side_by_side(const struct migrate_vma *args, uint64_t i, uint64_t end)
{
	const struct dev_pagemap *arena = dm_arena_of(args);
	const unsigned long *src = &args->src[i], *dst = &args->dst[i];
	uint64_t slot = dm_slot_of(args, i), n = 0, most;

	if (slot >= arena->nslots)
		return 0;
	most = arena->nslots - slot;
	most = most < end - i ? most : end - i;
	/* Neighbours' mpfns, too, differ by one page. */
	while (n < most && (src[n] & MIGRATE_PFN_MIGRATE) &&
	       dst[n] == dst[0] + (n << MIGRATE_PFN_SHIFT) &&
	       !hmmu_load_acquire(&arena->holds[slot + n]))
		n++;
	return n;
}

/* Their words become LEAVING: how many, from the first. With the lock and in the gate nobody
 * else takes a page out of HOME: no need to compare and exchange. */
static uint64_t claim(struct hmmu_devmem *dm, struct migrate_vma *args, struct dm_part *p,
		      uint64_t i, uint64_t n)
{
	struct dev_pagemap *arena = dm_arena_of(args);
	uint64_t addr = args->start + (i << DM_PAGE_SHIFT), k = 0;

	DM_GATE(CLAIM, addr);
	dm_lock(dm);
	/* The driver's half of devmem.h's second picture. */
	dm_gate_enter(dm);
	if (!mmu_interval_read_retry(&p->watch->sub, p->seq) || HMMU_PLANTED(DM_NO_RETRY)) {
		uint64_t *word = dm_find_word(dm, addr), w = dm_claimed(dm, args, i);

		for (; k < n; k++) {
			if (hmmu_load_acquire(word + k))
				break;
			/* Before the word: who finds it may look. */
			hmmu_store_release(&arena->holds[dm_slot(w) + k],
					   addr + (k << DM_PAGE_SHIFT));
			hmmu_store_release(word + k, dm_nth(w, k));
		}
	}
	dm_gate_leave(dm);
	dm_unlock(dm);
	return k;
}

/* It stays at home after all, unless the reader has taken the word. */
static void unclaim(struct hmmu_devmem *dm, struct migrate_vma *args, uint64_t i)
{
	uint64_t addr = args->start + (i << DM_PAGE_SHIFT), mine = dm_claimed(dm, args, i);

	hmmu_store_release(&dm_arena_of(args)->holds[dm_slot_of(args, i)], 0);
	hmmu_cas_seqcst(dm_word_of(dm, args, i), &mine, 0);
	dm_wake(addr, addr + DM_PAGE);
	dm_signal(dm);
}

/* In the gate. How many of @n are still claimed, from the first. */
static uint64_t still(struct hmmu_devmem *dm, const struct migrate_vma *args, uint64_t i,
		      uint64_t n)
{
	return dm_still(dm_word_of(dm, args, i), dm_claimed(dm, args, i), n);
}

/* In the gate: their content is in the slots. */
static void left(struct hmmu_devmem *dm, const struct migrate_vma *args, uint64_t i, uint64_t n)
{
	uint64_t *word = dm_word_of(dm, args, i), w = dm_claimed(dm, args, i) | DM_LEFT;

	/* For the reader, in the gate's order; all others wait for LEAVING to end. */
	for (uint64_t k = 0; k < n; k++)
		hmmu_store_release(word + k, dm_nth(w, k));
	hmmu_add_seqcst(&dm_arena_of(args)->resident, n);
	hmmu_add_relaxed(&dm_arena_of(args)->moved_out, n);
}

/* Zeros to an empty page: in the gate, while it is ours. It might be away with another device
 * by now. */
static long zero(struct hmmu_devmem *dm, const struct migrate_vma *args, uint64_t i)
{
	long ret = -ESTALE;

	dm_gate_enter(dm);
	if (still(dm, args, i, 1))
		ret = dm_zero(args->start + (i << DM_PAGE_SHIFT));
	dm_gate_leave(dm);
	return ret;
}

/* A change is over: may pages leave again? What counts is that none is under way (claim()
 * looks again); that everybody was told holds until finalize. It may be one of our own (of a
 * slot); another's may wait for what has left already, so this does not wait for ever. */
static bool begin_again(struct dm_part *p)
{
	static const struct timespec now = {0, 0};

	for (int tries = 0; tries < AGAIN_TRIES; tries++) {
		if (!hmmu_read_begin(&p->watch->sub, &p->seq, &now))
			return !hmmu_uffd_arm_touches(p->whole_start, p->whole_end);
		hmmu_uffd_pause(100000);
	}
	return false;
}

/* claim(), also after changes that are over. 0: they stay. */
static uint64_t claim_again(struct hmmu_devmem *dm, struct migrate_vma *args, struct dm_part *p,
			    uint64_t i, uint64_t n)
{
	uint64_t got = claim(dm, args, p, i, n);

	if (!got && mmu_interval_check_retry(&p->watch->sub, p->seq) && begin_again(p))
		got = claim(dm, args, p, i, n);
	return got;
}

/* One that was shared by fork: a write makes it the CPU's own. Not while it is LEAVING: it
 * may be empty by now, and its touch would wait for us. False: it stays. */
static bool make_own(struct hmmu_devmem *dm, struct migrate_vma *args, struct dm_part *p,
		     uint64_t i)
{
	uint64_t addr = args->start + (i << DM_PAGE_SHIFT);

	unclaim(dm, args, i);
	hmmu_syscall(SYS_madvise, addr, DM_PAGE, MADV_POPULATE_WRITE);
	return claim_again(dm, args, p, i, 1) == 1;
}

/* What slots' last users have left in them goes, so that what is there later is what was moved
 * there (move.c). False: not known. */
static bool empty_slots(const struct migrate_vma *args, uint64_t i, uint64_t n)
{
	uint64_t to = migrate_pfn_to_pfn(args->dst[i]) << DM_PAGE_SHIFT;
	int any = dm_any_page(to, n << DM_PAGE_SHIFT);

	if (any > 0)
		any = (int)hmmu_syscall(SYS_madvise, to, n << DM_PAGE_SHIFT,
					MADV_DONTNEED_LOCKED);
	return !any;
}

/* MOVE says that there is something in the slot, and what it is was not to be known. True: it
 * is the page's content, moved and not counted, unless home has one still. (It is no loss to
 * say that it has left. Home is looked at before it comes back.) */
static bool has_left(struct hmmu_devmem *dm, const struct migrate_vma *args, uint64_t i)
{
	bool yes = false;

	dm_gate_enter(dm);
	if (still(dm, args, i, 1) &&
	    dm_any_page(args->start + (i << DM_PAGE_SHIFT), DM_PAGE) != 1) {
		left(dm, args, i, 1);
		yes = true;
	}
	dm_gate_leave(dm);
	return yes;
}

/* As many pages as one call takes. 0: *ret. -ESTALE: it is not ours any more. */
static uint64_t move_some(struct hmmu_devmem *dm, struct migrate_vma *args, uint64_t i,
			  uint64_t n, long *ret)
{
	uint64_t from = args->start + (i << DM_PAGE_SHIFT), done;
	uint64_t to = migrate_pfn_to_pfn(args->dst[i]) << DM_PAGE_SHIFT;

	*ret = -ESTALE;
	dm_gate_enter(dm);
	n = still(dm, args, i, n);
	done = n ? dm_move(to, from, n, ret) : 0;
	left(dm, args, i, done);
	dm_gate_leave(dm);
	return done;
}

/* MOVE says EINVAL. True: some of the slots are as locked as home now, which they were not. */
static bool alike(const struct migrate_vma *args, uint64_t i, uint64_t n)
{
	return dm_slots_alike(dm_arena_of(args), dm_slot_of(args, i),
			      args->start + (i << DM_PAGE_SHIFT), n);
}

/* One page, by whatever works. False: it stays. */
static bool one_out(struct hmmu_devmem *dm, struct migrate_vma *args, struct dm_part *p,
		    uint64_t i)
{
	uint64_t to = migrate_pfn_to_pfn(args->dst[i]) << DM_PAGE_SHIFT;
	long ret = 0;

	for (int tries = 0; tries < EAGAIN_TRIES; tries++) {
		if (move_some(dm, args, i, 1, &ret))
			return true;
		if (ret == -EEXIST && tries < 8) {
			if (has_left(dm, args, i))
				return true;
			/* The device has written there, which it may not: thrown away. */
			hmmu_syscall(SYS_madvise, to, DM_PAGE, MADV_DONTNEED_LOCKED);
		} else if (ret == -ENOENT && tries < 8) { /* empty: a page of zeros */
			if (zero(dm, args, i) == -ENOENT)
				break; /* no mapping any more */
		} else if (ret == -EBUSY && tries < 8) {
			if (!make_own(dm, args, p, i))
				return false;
		} else if (ret == -EINVAL && tries < ALIKE_TRIES) {
			if (!alike(args, i, 1))
				break;
		} else if (ret != -EAGAIN) {
			break;
		} else {
			hmmu_uffd_pause(20000);
		}
	}
	unclaim(dm, args, i); /* -ESTALE: the slot at least */
	return false;
}

static void leave(struct hmmu_devmem *dm, struct migrate_vma *args, struct dm_part *p,
		  uint64_t i, uint64_t n)
{
	uint64_t k = 0;
	int tries = 0;
	long ret;

	DM_GATE(LEAVE, args->start + (i << DM_PAGE_SHIFT));
	while (k < n) {
		k += move_some(dm, args, i + k, n - k, &ret);
		DM_GATE(SOME, args->start + ((i + k) << DM_PAGE_SHIFT));
		if (k == n)
			break;
		if (ret == -EINVAL && tries++ < ALIKE_TRIES && alike(args, i + k, n - k))
			continue;
		if (!one_out(dm, args, p, i + k))
			refuse(args, i + k);
		k++;
	}
}

/* @n pages with neighbouring slots, which are empty. False: a change is under way still, and
 * may wait for what has left already: who is left stays. */
static bool runs_out(struct hmmu_devmem *dm, struct migrate_vma *args, struct dm_part *p,
		     uint64_t i, uint64_t n)
{
	bool quiet = true;

	for (uint64_t end = i + n, got; i < end; i += got) {
		uint64_t many = dm_run(args->start + (i << DM_PAGE_SHIFT));

		many = many < end - i ? many : end - i;
		got = quiet ? claim_again(dm, args, p, i, many) : 0;
		if (got)
			leave(dm, args, p, i, got);
		else
			refuse(args, i);
		quiet = got || !mmu_interval_check_retry(&p->watch->sub, p->seq);
		got += !got;
	}
	return quiet;
}

void dm_part_out(struct hmmu_devmem *dm, struct migrate_vma *args, struct dm_part *p)
{
	uint64_t i = (p->start - args->start) >> DM_PAGE_SHIFT;
	uint64_t end = (p->end - args->start) >> DM_PAGE_SHIFT, n;
	bool quiet = true;

	while (i < end) {
		if (!dm_wanted(args, i)) {
			args->src[i] &= ~MIGRATE_PFN_MIGRATE;
			i++;
			continue;
		}
		n = quiet ? side_by_side(args, i, end) : 0;
		if (n && empty_slots(args, i, n)) {
			quiet = runs_out(dm, args, p, i, n);
			i += n;
		} else {
			refuse(args, i++);
		}
	}
}
