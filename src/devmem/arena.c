// SPDX-License-Identifier: MIT
/*
 * arena.c - a device's memory: addresses, of which a slot is a page.
 *
 * The arena is registered with the net's userfaultfd, which UFFDIO_MOVE demands of the place
 * that it moves to; nothing in it is ever protected, and an access to an empty slot gets
 * zeros. dm->open serialises open and close, and nests outside everything else of ours.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "../arch/syscall.h"
#include "../export.h"
#include "../notifier/pool.h"
#include "../source/userfaultfd/userfaultfd.h"
#include "devmem.h"

struct hmmu_devmem *hmmu_devmem;
#ifdef HMMU_PLANT
void (*hmmu_devmem_gate)(enum dm_gate gate, uint64_t addr);
#endif

bool hmmu_devmem_any(void)
{
	struct hmmu_devmem *dm = hmmu_load_acquire(&hmmu_devmem);

	return dm && hmmu_load_relaxed(&dm->arenas);
}

bool hmmu_devmem_find(unsigned long addr, void *owner, unsigned long *pfn)
{
	struct hmmu_devmem *dm = hmmu_load_acquire(&hmmu_devmem);
	uint64_t *word = dm ? dm_find_word(dm, addr) : NULL;
	uint64_t w = word ? hmmu_load_acquire(word) : 0;

	if (dm_state(w) != DM_THERE && dm_state(w) != DM_ALONE)
		return false;
	if (dm_arena(dm, w)->owner != owner)
		return false;
	*pfn = dm_place(dm, w) >> DM_PAGE_SHIFT;
	return true;
}

/* ---- slots ------------------------------------------------------------- */

static bool alive(const struct dev_pagemap *arena)
{
	return arena && hmmu_load_acquire(&arena->base);
}

/* Of the free slots among 64, the lowest @n: taken. */
static uint64_t take(uint64_t *word, unsigned int n, uint64_t exist)
{
	uint64_t free = ~hmmu_load_relaxed(word) & exist, mine = free;

	if (n < (unsigned int)__builtin_popcountll(free)) {
		for (mine = 0; n; n--) {
			mine |= free & -free;
			free &= free - 1;
		}
	}
	/* What another took meanwhile is his. */
	return mine ? mine & ~hmmu_or_seqcst(word, mine) : 0;
}

/* Those of the @i-th word of the bitmap that may be taken. */
static uint64_t existing(const struct dev_pagemap *arena, uint64_t i)
{
	uint64_t left = arena->nslots - i * 64;

	return left < 64 ? (1UL << left) - 1 : ~0UL;
}

/* Up to @n of those of the @i-th word that @exist has: *base + their bits. */
static uint64_t take_in(struct dev_pagemap *arena, uint64_t i, unsigned int n, uint64_t exist,
			uint64_t *base)
{
	uint64_t got = take(&arena->taken[i], n, exist);

	if (got) {
		hmmu_store_relaxed(&arena->hint, i);
		*base = i * 64;
	}
	return got;
}

/* Up to 64 slots of one word of the bitmap: *base + their bits; 0: none is free. Neighbours
 * to who asks again and again: runs of slots are moved by one call. */
static uint64_t take_some(struct dev_pagemap *arena, unsigned int n, uint64_t *base)
{
	uint64_t words = (arena->nslots + 63) / 64, first = hmmu_load_relaxed(&arena->hint);

	for (uint64_t k = 0; k < words; k++) {
		uint64_t i = (first + k) % words, exist = existing(arena, i), got;

		while (~hmmu_load_relaxed(&arena->taken[i]) & exist) {
			got = take_in(arena, i, n, exist, base);
			if (got)
				return got;
		}
	}
	return 0;
}

/* The same, the first for page number @page: its place in its page table as in the other, so
 * that a move need not change tables twice as often. 0: there is none like that. */
static uint64_t take_alike(struct dev_pagemap *arena, uint64_t page, unsigned int n,
			   uint64_t *base)
{
	const uint64_t table = DM_TABLE / 64;
	uint64_t words = (arena->nslots + 63) / 64, first = page % 64;
	uint64_t hint = hmmu_load_relaxed(&arena->hint);
	uint64_t i = hint / table * table + page % DM_TABLE / 64;

	if (i < hint)
		i += table; /* behind what was taken just now */
	for (uint64_t k = 0; k <= words; k += table, i += table) {
		uint64_t exist, got;

		if (i >= words)
			i %= table;
		if (i >= words)
			return 0; /* less than a table */
		if (hmmu_load_relaxed(&arena->taken[i]) & 1UL << first)
			continue;
		exist = existing(arena, i) & ~0UL << first;
		got = take_in(arena, i, n, exist, base);
		if (got)
			return got;
	}
	return 0;
}

HMMU_EXPORT unsigned long hmmu_devmem_alloc(struct dev_pagemap *arena)
{
	uint64_t base, got;

	if (!alive(arena))
		return 0;
	got = take_some(arena, 1, &base);
	if (!got)
		return 0;
	return (arena->base >> DM_PAGE_SHIFT) + base + (uint64_t)__builtin_ctzll(got);
}

static bool wants_page(const struct migrate_vma *args, unsigned long i)
{
	return (args->src[i] & MIGRATE_PFN_MIGRATE) && !args->dst[i];
}

/* From @i on, side by side; up to a word of the bitmap. */
static unsigned int wanting(const struct migrate_vma *args, unsigned long i)
{
	unsigned long end = args->npages - i < 64 ? args->npages : i + 64, at = i;

	while (at < end && wants_page(args, at))
		at++;
	return (unsigned int)(at - i);
}

HMMU_EXPORT unsigned long hmmu_devmem_alloc_for(struct migrate_vma *args)
{
	struct dev_pagemap *arena = args ? args->pagemap : NULL;
	unsigned long total = 0, i = 0;

	if (!alive(arena) || !args->private_data || args->flags != MIGRATE_VMA_SELECT_SYSTEM)
		return 0;
	while (i < args->npages) {
		unsigned int n = wanting(args, i);
		uint64_t page = (args->start >> DM_PAGE_SHIFT) + i, base, got;

		if (!n) {
			i++;
			continue;
		}
		got = take_alike(arena, page, n, &base);
		if (!got)
			got = take_some(arena, n, &base);
		if (!got)
			break;
		total += (unsigned long)__builtin_popcountll(got);
		base += arena->base >> DM_PAGE_SHIFT;
		for (; got; got &= got - 1)
			args->dst[i++] = migrate_pfn(base + (uint64_t)__builtin_ctzll(got));
	}
	return total;
}

HMMU_EXPORT void hmmu_devmem_free_rest(struct migrate_vma *args)
{
	if (!args || args->flags != MIGRATE_VMA_SELECT_SYSTEM)
		return;
	for (unsigned long i = 0; i < args->npages; i++) {
		if (!args->dst[i] || (args->src[i] & MIGRATE_PFN_MIGRATE))
			continue;
		hmmu_devmem_free(args->pagemap, migrate_pfn_to_pfn(args->dst[i]));
		args->dst[i] = 0;
	}
}

static void put(struct dev_pagemap *arena, uint64_t slot, uint64_t n)
{
	/* What was used last is used next: its tables are in the caches. */
	if (slot / 64 < hmmu_load_relaxed(&arena->hint))
		hmmu_store_relaxed(&arena->hint, slot / 64);
	while (n) {
		uint64_t bits, k = dm_in_word(slot, n, &bits);

		hmmu_and_seqcst(&arena->taken[slot / 64], ~bits);
		if (hmmu_load_relaxed(&arena->locks))
			dm_slots_unlock(arena, slot / 64);
		slot += k;
		n -= k;
	}
}

HMMU_EXPORT void hmmu_devmem_free(struct dev_pagemap *arena, unsigned long pfn)
{
	uint64_t first;

	if (!alive(arena))
		return;
	first = arena->base >> DM_PAGE_SHIFT;
	/* Not one that is a page's: it would be given to another. */
	if (pfn >= first && pfn - first < arena->nslots &&
	    !hmmu_load_acquire(&arena->holds[pfn - first]))
		put(arena, pfn - first, 1);
}

void dm_slots_put(struct hmmu_devmem *dm, uint64_t word, uint64_t n)
{
	struct dev_pagemap *arena = dm_arena(dm, word);
	uint64_t pfn = dm_place(dm, word) >> DM_PAGE_SHIFT;

	for (uint64_t i = 0; i < n; i++)
		hmmu_store_release(&arena->holds[dm_slot(word) + i], 0);
	for (uint64_t i = 0; arena->ops.page_free && i < n; i++)
		arena->ops.page_free(arena->context, pfn + i);
	DM_GATE(PUT, dm_place(dm, word));
	put(arena, dm_slot(word), n);
	/* Last: who closes the arena takes it away when there are none. */
	hmmu_add_seqcst(&arena->resident, -n);
}

HMMU_EXPORT void hmmu_devmem_stat(struct dev_pagemap *arena, struct hmmu_devmem_stats *stats)
{
	if (!stats)
		return;
	memset(stats, 0, sizeof(*stats));
	if (!alive(arena))
		return;
	stats->pages = arena->nslots;
	for (uint64_t i = 0; i < (arena->nslots + 63) / 64; i++)
		stats->used +=
			(uint64_t)__builtin_popcountll(hmmu_load_relaxed(&arena->taken[i]));
	stats->resident = hmmu_load_relaxed(&arena->resident);
	stats->moved_out = hmmu_load_relaxed(&arena->moved_out);
	stats->moved_back = hmmu_load_relaxed(&arena->moved_back);
	stats->touched = hmmu_load_relaxed(&arena->touched);
	stats->brought = hmmu_load_relaxed(&arena->brought);
	stats->dropped = hmmu_load_relaxed(&arena->dropped);
	stats->refused = hmmu_load_relaxed(&arena->refused);
}

/* ---- open -------------------------------------------------------------- */

/* The state of the process, once. With no lock: who is later gives his back. */
static struct hmmu_devmem *get_state(void)
{
	struct hmmu_devmem *dm = hmmu_load_acquire(&hmmu_devmem), *nobody = NULL;

	if (dm)
		return dm;
	dm = hmmu_map(sizeof(*dm), true);
	if (!dm)
		return NULL;
	if (hmmu_cas_seqcst(&hmmu_devmem, &nobody, dm))
		return dm;
	hmmu_unmap(dm, sizeof(*dm));
	return nobody;
}

/* With dm->open: what the first arena needs. */
static int open_first(struct hmmu_devmem *dm, const struct mm_struct *mm)
{
	struct hmmu_mm_options options = {.size = sizeof(options), .sources = mm->sources};
	int ret;

	if (!dm->root)
		dm->root = hmmu_map(DM_ROOTS * sizeof(*dm->root), true);
	if (!dm->root)
		return -ENOMEM;
	ret = hmmu_mm_open(&dm->mm, &options);
	if (ret)
		return ret;
	ret = dm->mm->net ? hmmu_uffd_serve(&dm_uffd_device) : -EOPNOTSUPP;
	if (ret) {
		hmmu_mm_close(dm->mm);
		dm->mm = NULL;
	}
	return ret;
}

static size_t bitmap_bytes(uint64_t nslots)
{
	return ((nslots + 63) / 64 * 8 + DM_PAGE - 1) & -DM_PAGE;
}

/* Addresses, from the begin of a page table on. A gap on both sides: it merges with nothing. */
static bool reserve(struct dev_pagemap *arena, size_t bytes, uint64_t *base)
{
	const uint64_t table = DM_TABLE * DM_PAGE;
	uint64_t mapped = bytes + table + DM_PAGE;
	long p = hmmu_syscall(SYS_mmap, NULL, mapped, PROT_NONE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (hmmu_is_err(p))
		return false;
	arena->map = (uint64_t)p;
	arena->mapped = mapped;
	*base = (arena->map + DM_PAGE + table - 1) & -table;
	return true;
}

static int map_arena(struct dev_pagemap *arena, size_t bytes, uint64_t *base)
{
	int ret;

	if (!reserve(arena, bytes, base))
		return -ENOMEM;
	dm_arena_unlock(arena->map, arena->mapped);
	ret = (int)hmmu_syscall(SYS_mprotect, *base, bytes, PROT_READ | PROT_WRITE);
	if (!ret)
		ret = (int)hmmu_syscall(SYS_madvise, *base, bytes, MADV_DONTFORK);
	if (!ret)
		ret = hmmu_uffd_register(hmmu_uffd->fd, *base, *base + bytes);
	if (ret) {
		ret = ret == -ENOMEM ? -ENOMEM : -EOPNOTSUPP;
		goto err;
	}
	arena->nslots = bytes >> DM_PAGE_SHIFT;
	arena->taken = hmmu_map(bitmap_bytes(arena->nslots), true);
	arena->holds = hmmu_map(arena->nslots * sizeof(uint64_t), true);
	arena->locked = hmmu_map(bitmap_bytes(arena->nslots), true);
	if (arena->taken && arena->holds && arena->locked)
		return 0;
	ret = -ENOMEM;
err:
	if (arena->taken)
		hmmu_unmap(arena->taken, bitmap_bytes(arena->nslots));
	if (arena->holds)
		hmmu_unmap(arena->holds, arena->nslots * sizeof(uint64_t));
	if (arena->locked)
		hmmu_unmap(arena->locked, bitmap_bytes(arena->nslots));
	hmmu_uffd_unregister(hmmu_uffd->fd, *base, *base + bytes);
	hmmu_unmap((void *)arena->map, arena->mapped);
	return ret;
}

static int open_locked(struct hmmu_devmem *dm, struct dev_pagemap *arena,
		       const struct dev_pagemap *from, size_t bytes)
{
	uint64_t base = 0;
	int ret = 0;

	if (!dm->arenas)
		ret = open_first(dm, from->mm);
	else if (from->mm->sources & ~dm->mm->sources)
		ret = -EBUSY;
	if (ret)
		return ret;
	*arena = *from;
	ret = map_arena(arena, bytes, &base);
	if (ret) {
		if (!dm->arenas) {
			hmmu_mm_close(dm->mm);
			dm->mm = NULL;
		}
		return ret;
	}
	hmmu_add_seqcst(&dm->arenas, 1);
	/* Release: who finds a base finds the rest. Pairs with alive(). */
	hmmu_store_release(&arena->base, base);
	return 0;
}

HMMU_EXPORT int hmmu_devmem_open(struct dev_pagemap **pagemap, struct mm_struct *mm,
				 const struct dev_pagemap_ops *ops, void *context,
				 const struct dev_pagemap_options *options)
{
	struct dev_pagemap from = {.mm = mm, .context = context};
	struct hmmu_devmem *dm;
	int ret = -EMFILE;

	if (!pagemap || !mm || !ops || !ops->revoke || !options ||
	    options->size != sizeof(*options) || !options->bytes || options->flags ||
	    options->bytes & (DM_PAGE - 1) || options->bytes >= DM_ADDR_END / 2 ||
	    options->reserved[0] || options->reserved[1] || options->reserved[2])
		return -EINVAL;
	if (!hmmu_mm_alive(mm))
		return -ENODEV;
	if (!mm->net)
		return -EOPNOTSUPP;
	dm = get_state();
	if (!dm)
		return -ENOMEM;
	from.ops = *ops;
	from.owner = options->owner;
	hmmu_lock(&dm->open);
	for (unsigned int i = 0; i < HMMU_DEVMEM_MAX; i++) {
		if (dm->arena[i].base || dm->arena[i].nslots)
			continue;
		ret = open_locked(dm, &dm->arena[i], &from, options->bytes);
		if (ret)
			memset(&dm->arena[i], 0, sizeof(dm->arena[i]));
		else
			*pagemap = &dm->arena[i];
		break;
	}
	hmmu_unlock(&dm->open);
	return ret;
}

/* ---- close ------------------------------------------------------------- */

/* All of its pages. False: one could not. */
static bool all_home(struct hmmu_devmem *dm, struct dev_pagemap *arena)
{
	for (;;) {
		for (uint64_t slot = 0; slot < arena->nslots; slot++) {
			uint64_t addr = hmmu_load_acquire(&arena->holds[slot]);

			if (addr && !dm_bring_range(dm, addr, addr + DM_PAGE, DM_WAIT))
				return false;
		}
		/* The last ones may not have been counted yet by who brought them; and one that
		 * a raw mremap() took along between the two looks is elsewhere. */
		if (!hmmu_load_seqcst(&arena->resident))
			return true;
		hmmu_uffd_pause(50000);
	}
}

HMMU_EXPORT int hmmu_devmem_close(struct dev_pagemap *arena)
{
	struct hmmu_devmem *dm = hmmu_load_acquire(&hmmu_devmem);
	uint64_t bytes, base;
	struct mm_struct *mm = NULL;
	int ret = 0;

	if (!arena)
		return -EINVAL;
	if (!dm || !alive(arena))
		return 0; /* a forked child: it is the parent's */
	hmmu_lock(&dm->open);
	if (hmmu_load_seqcst(&arena->migrations) || !all_home(dm, arena)) {
		ret = -EBUSY;
		goto out;
	}
	base = arena->base;
	bytes = arena->nslots << DM_PAGE_SHIFT;
	hmmu_store_seqcst(&arena->base, 0);
	hmmu_uffd_unregister(hmmu_uffd->fd, base, base + bytes);
	hmmu_unmap((void *)arena->map, arena->mapped);
	hmmu_unmap(arena->taken, bitmap_bytes(arena->nslots));
	hmmu_unmap(arena->holds, arena->nslots * sizeof(uint64_t));
	hmmu_unmap(arena->locked, bitmap_bytes(arena->nslots));
	if (arena->spare)
		hmmu_unmap(arena->spare, sizeof(*arena->spare));
	memset(arena, 0, sizeof(*arena));
	if (hmmu_add_seqcst(&dm->arenas, (uint32_t)-1) == 1) {
		dm_watches_drop(dm);
		hmmu_uffd_disarm_all();
		mm = dm->mm;
		dm->mm = NULL;
	}
out:
	hmmu_unlock(&dm->open);
	if (mm)
		hmmu_mm_close(mm);
	return ret;
}
