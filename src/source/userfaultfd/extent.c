// SPDX-License-Identifier: MIT
/*
 * extent.c - what may be registered: sorted extents that do not touch each other.
 *
 * Written under u->lock, one writer. Read by hooks without it, with a version that is odd
 * while the array moves: the reader looks, then looks whether the version is still the
 * same. A hook that comes while it is odd does not wait: it answers yes, which costs it a
 * system call for nothing.
 */
#include <string.h>

#include "source/userfaultfd/userfaultfd.h"

static void begin_write(struct hmmu_uffd *u)
{
	/* seqcst: the stores below come after it. Pairs with hmmu_extents_overlap(). */
	hmmu_add_seqcst(&u->extents_version, 1);
}

static void end_write(struct hmmu_uffd *u)
{
	hmmu_add_seqcst(&u->extents_version, 1);
}

/* The first extent that ends above @addr. */
static uint64_t first_above(struct hmmu_uffd *u, uint64_t n, uint64_t addr)
{
	uint64_t low = 0, high = n;

	while (low < high) {
		uint64_t mid = (low + high) / 2;

		if (hmmu_load_relaxed(&u->extents[mid].end) > addr)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

static void put(struct uffd_extent *e, uint64_t start, uint64_t end)
{
	/* Release: who loads one of them, then looks at the version, sees it odd, or moved.
	 * models/relacy/extents.cpp */
	hmmu_store_release(&e->start, start);
	hmmu_store_release(&e->end, end);
}

/* [from, to) of the array becomes @k extents at @e. */
static void splice(struct hmmu_uffd *u, uint64_t from, uint64_t to, const struct uffd_extent *e,
		   uint64_t k)
{
	uint64_t n = u->nextents, tail = n - to;

	if (k > to - from) {
		for (uint64_t i = tail; i > 0; i--)
			put(&u->extents[from + k + i - 1], u->extents[to + i - 1].start,
			    u->extents[to + i - 1].end);
	} else if (k < to - from) {
		for (uint64_t i = 0; i < tail; i++)
			put(&u->extents[from + k + i], u->extents[to + i].start,
			    u->extents[to + i].end);
	}
	for (uint64_t i = 0; i < k; i++)
		put(&u->extents[from + i], e[i].start, e[i].end);
	hmmu_store_release(&u->nextents, n - (to - from) + k);
}

void hmmu_extents_add(struct hmmu_uffd *u, uint64_t start, uint64_t end)
{
	struct uffd_extent whole = {start, end};
	uint64_t from, to;

	/* Those that touch it become one with it. */
	from = first_above(u, u->nextents, start ? start - 1 : 0);
	for (to = from; to < u->nextents && u->extents[to].start <= end; to++) {
		if (u->extents[to].start < whole.start)
			whole.start = u->extents[to].start;
		if (u->extents[to].end > whole.end)
			whole.end = u->extents[to].end;
	}
	if (to == from + 1 && whole.start == u->extents[from].start &&
	    whole.end == u->extents[from].end)
		return;
	begin_write(u);
	splice(u, from, to, &whole, 1);
	end_write(u);
}

void hmmu_extents_remove(struct hmmu_uffd *u, uint64_t start, uint64_t end)
{
	struct uffd_extent left[2];
	uint64_t from = first_above(u, u->nextents, start), to, k = 0;

	for (to = from; to < u->nextents && u->extents[to].start < end; to++)
		;
	if (to == from)
		return;
	if (u->extents[from].start < start)
		left[k++] = (struct uffd_extent){u->extents[from].start, start};
	if (u->extents[to - 1].end > end)
		left[k++] = (struct uffd_extent){end, u->extents[to - 1].end};
	/* No room for one more: it stays a superset. */
	if (u->nextents + k > UFFD_EXTENTS + (to - from))
		return;
	begin_write(u);
	splice(u, from, to, left, k);
	end_write(u);
}

uint64_t hmmu_extents_start(struct hmmu_uffd *u, uint64_t addr)
{
	uint64_t i = first_above(u, u->nextents, addr);

	return i < u->nextents && u->extents[i].start < addr ? u->extents[i].start : addr;
}

bool hmmu_extents_overlap(struct hmmu_uffd *u, uint64_t start, uint64_t end)
{
	uint64_t version = hmmu_load_seqcst(&u->extents_version);
	uint64_t n, i;
	bool yes;

	if (version & 1)
		return true;
	n = hmmu_load_relaxed(&u->nextents);
	i = first_above(u, n, start);
	yes = i < n && hmmu_load_relaxed(&u->extents[i].start) < end;
	return yes || hmmu_load_after_loads(&u->extents_version) != version;
}
