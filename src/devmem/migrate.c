// SPDX-License-Identifier: MIT
/*
 * migrate.c - a driver's migration: setup, pages, finalize. devmem.h argues.
 *
 * The range is taken apart into parts, one per mapping that could have pages to migrate. Each
 * has the sequence of its watch, taken after everybody was told.
 */
#include <errno.h>
#include <string.h>

#include "../export.h"
#include "../instance.h"
#include "../notifier/pool.h"
#include "../source/userfaultfd/userfaultfd.h"
#include "devmem.h"

static bool goes_out(const struct migrate_vma *args)
{
	return args->flags & MIGRATE_VMA_SELECT_SYSTEM;
}

/* ---- setup ------------------------------------------------------------- */

static int check(const struct migrate_vma *args)
{
	struct hmmu_devmem *dm = hmmu_load_acquire(&hmmu_devmem);

	if (!args || !args->src || !args->dst || !args->mm || !args->pagemap ||
	    args->start >= args->end || (args->start | args->end) & (DM_PAGE - 1) ||
	    args->end > DM_ADDR_END ||
	    (args->flags != MIGRATE_VMA_SELECT_SYSTEM &&
	     args->flags != MIGRATE_VMA_SELECT_DEVICE_PRIVATE))
		return -EINVAL;
	if (!hmmu_mm_alive(args->mm) || !dm || !hmmu_load_acquire(&args->pagemap->base))
		return -ENODEV;
	if (args->pgmap_owner != args->pagemap->owner || args->mm != args->pagemap->mm)
		return -EINVAL;
	return hmmu_load_acquire(&hmmu_uffd->lost) ? -ENODEV : 0;
}

static void forget_parts(struct hmmu_migration *m)
{
	if (m->parts != m->few)
		hmmu_unmap(m->parts, m->room * sizeof(*m->parts));
}

static int add_part(struct hmmu_migration *m, const struct dm_mapping *map, uint64_t start,
		    uint64_t end)
{
	struct dm_part *parts;

	if (m->nparts == m->room) {
		size_t room = m->room * 2 + DM_PAGE / sizeof(*parts);

		parts = hmmu_map_kept(room * sizeof(*parts));
		if (!parts)
			return -ENOMEM;
		memcpy(parts, m->parts, m->nparts * sizeof(*parts));
		forget_parts(m);
		m->parts = parts;
		m->room = room;
	}
	m->parts[m->nparts++] = (struct dm_part){
		.start = start > map->start ? start : map->start,
		.end = end < map->end ? end : map->end,
		.whole_start = map->start,
		.whole_end = map->end,
	};
	return 0;
}

static int find_parts(struct hmmu_migration *m, uint64_t start, uint64_t end)
{
	struct dm_mapping map;
	int ret;

	for (uint64_t at = start; at < end; at = map.end) {
		ret = dm_mapping_find(at, &map);
		if (ret == -ENOENT || (!ret && map.start >= end))
			return 0;
		if (!ret && map.plain && map.readable && map.writable)
			ret = add_part(m, &map, at, end);
		if (ret)
			return ret;
	}
	return 0;
}

/* Subscribed, armed, and touches told of: nothing of it happens unheard from now on. */
static int arm_part(struct hmmu_devmem *dm, struct dm_part *p)
{
	int ret = dm_watch_get(dm, p->whole_start, p->whole_end, &p->watch);

	if (!ret)
		ret = dm_cover(dm, p->start, p->end);
	if (!ret)
		ret = hmmu_read_begin(&p->watch->sub, &p->seq, NULL);
	if (!ret)
		ret = hmmu_uffd_arm_touches(p->whole_start, p->whole_end);
	return ret;
}

/* Everybody who subscribed, but not our own. */
static void tell_start(struct hmmu_devmem *dm, struct migrate_vma *args,
		       struct hmmu_migration *m)
{
	struct hmmu_instance *inst = hmmu_instance_peek();
	struct mm_struct *mm;

	for_each_watched (inst, mm) {
		struct mmu_notifier_range *range = &m->range[m->nranges];

		if (mm == dm->mm)
			continue;
		mmu_notifier_range_init_owner(
			range, m->alone ? MMU_NOTIFY_EXCLUSIVE : MMU_NOTIFY_MIGRATE, 0, mm,
			args->start, args->end, args->pgmap_owner);
		if (!mmu_notifier_invalidate_range_start(range))
			m->nranges++;
	}
}

static void tell_end(struct hmmu_migration *m)
{
	while (m->nranges)
		mmu_notifier_invalidate_range_end(&m->range[--m->nranges]);
}

static bool collect_out(struct hmmu_devmem *dm, struct migrate_vma *args,
			const struct dm_part *p)
{
	unsigned long flags = MIGRATE_PFN_MIGRATE | MIGRATE_PFN_WRITE, n = 0;
	unsigned long *src = &args->src[(p->start - args->start) >> DM_PAGE_SHIFT];
	bool busy = false;

	for (uint64_t at = p->start, end; at < p->end; at = end) {
		uint64_t *word = dm_find_word(dm, at);

		end = at + (dm_run(at) << DM_PAGE_SHIFT);
		if (end > p->end)
			end = p->end;
		for (; at < end; at += DM_PAGE, src++, word++) {
			uint64_t w = hmmu_load_acquire(word);

			if (w && dm_state(w) != DM_FILLING) {
				busy |= dm_state(w) == DM_LEAVING;
				continue;
			}
			*src = migrate_pfn(at >> DM_PAGE_SHIFT) | flags;
			n++;
		}
	}
	args->cpages += n;
	return busy;
}

static bool collect_home(struct hmmu_devmem *dm, struct migrate_vma *args)
{
	uint64_t at = args->start, *word, first = dm_arena_of(args)->base >> DM_PAGE_SHIFT;
	unsigned int number = (unsigned int)(dm_arena_of(args) - dm->arena);
	bool busy = false;

	while ((word = dm_next_word(dm, &at, args->end)) != NULL) {
		unsigned long *src = &args->src[(at - args->start) >> DM_PAGE_SHIFT];
		uint64_t n = dm_run(at), left = (args->end - at) >> DM_PAGE_SHIFT;

		n = n < left ? n : left;
		at += n << DM_PAGE_SHIFT;
		for (; n; n--, src++, word++) {
			uint64_t w = hmmu_load_acquire(word);

			busy |= dm_state(w) == DM_LEAVING;
			if (w != dm_word(DM_THERE, number, dm_slot(w)) &&
			    w != dm_word(DM_ALONE, number, dm_slot(w)))
				continue;
			*src = migrate_pfn(first + dm_slot(w)) | MIGRATE_PFN_MIGRATE |
			       MIGRATE_PFN_WRITE;
			args->cpages++;
		}
	}
	return busy;
}

static void release(struct migrate_vma *args)
{
	struct hmmu_migration *m = args->private_data;

	tell_end(m);
	for (size_t i = 0; i < m->nparts; i++)
		dm_watch_put(m->parts[i].watch);
	forget_parts(m);
	if (hmmu_mm_alive(args->mm))
		m = hmmu_xchg_seqcst(&dm_arena_of(args)->spare, m);
	if (m)
		hmmu_unmap(m, sizeof(*m));
	args->private_data = NULL;
	/* Last: close looks at it, and takes the spare one away. */
	hmmu_add_seqcst(&dm_arena_of(args)->migrations, (uint64_t)-1);
}

static struct hmmu_migration *begin(struct dev_pagemap *arena, bool alone)
{
	struct hmmu_migration *m;

	hmmu_add_seqcst(&arena->migrations, 1);
	m = hmmu_xchg_seqcst(&arena->spare, NULL);
	if (!m)
		m = hmmu_map_kept(sizeof(*m));
	if (!m) {
		hmmu_add_seqcst(&arena->migrations, (uint64_t)-1);
		return NULL;
	}
	m->parts = m->few;
	m->nparts = 0;
	m->room = sizeof(m->few) / sizeof(m->few[0]);
	m->alone = alone;
	m->moved = false;
	m->nranges = 0;
	return m;
}

static int prepare_out(struct hmmu_devmem *dm, struct migrate_vma *args,
		       struct hmmu_migration *m)
{
	int ret = find_parts(m, args->start, args->end);

	/* What has vanished since it was found, or cannot be watched, stays. */
	for (size_t i = 0; !ret && i < m->nparts; i++) {
		ret = arm_part(dm, &m->parts[i]);
		if (ret && ret != -ENOMEM && !hmmu_load_acquire(&hmmu_uffd->lost)) {
			m->parts[i].end = m->parts[i].start;
			ret = 0;
		}
	}
	return ret;
}

int dm_migrate_setup(struct migrate_vma *args, bool alone)
{
	struct hmmu_devmem *dm = hmmu_load_acquire(&hmmu_devmem);
	struct hmmu_migration *m;
	int ret = check(args);
	bool busy = false;

	if (ret)
		return ret;
	args->cpages = 0;
	args->npages = (args->end - args->start) >> DM_PAGE_SHIFT;
	memset(args->src, 0, args->npages * sizeof(*args->src));
	memset(args->dst, 0, args->npages * sizeof(*args->dst));
	m = begin(dm_arena_of(args), alone);
	if (!m)
		return -ENOMEM;
	args->private_data = m;
	if (goes_out(args))
		ret = prepare_out(dm, args, m);
	if (ret)
		goto err;
	tell_start(dm, args, m);
	if (!goes_out(args))
		busy = collect_home(dm, args);
	for (size_t i = 0; i < m->nparts; i++)
		busy |= collect_out(dm, args, &m->parts[i]);
	if (!busy)
		return 0;
	ret = -EAGAIN;
err:
	release(args);
	return ret;
}

HMMU_EXPORT int migrate_vma_setup(struct migrate_vma *args)
{
	return dm_migrate_setup(args, false);
}

/* ---- pages: home ------------------------------------------------------- */

/* Those of @args from @i on that become COMING; neighbours in the arena. @first: the word. With
 * the lock and in the gate nobody else does that. */
static uint64_t claim_home(struct hmmu_devmem *dm, struct migrate_vma *args, uint64_t i,
			   uint64_t *first)
{
	uint64_t base = dm_arena_of(args)->base >> DM_PAGE_SHIFT, n = 0, end = args->npages;
	uint64_t many = dm_run(args->start + (i << DM_PAGE_SHIFT));
	uint64_t *word = dm_word_of(dm, args, i);
	uint64_t place = dm_word(DM_COMING, (unsigned int)(dm_arena_of(args) - dm->arena),
				 migrate_pfn_to_pfn(args->src[i]) - base);

	dm_lock(dm);
	dm_gate_enter(dm);
	for (; n < many && i + n < end && dm_wanted(args, i + n); n++) {
		uint64_t w = hmmu_load_acquire(word + n), coming = dm_coming(w);

		if (!n)
			*first = coming;
		if ((dm_state(w) != DM_THERE && dm_state(w) != DM_ALONE) ||
		    dm_turn(w, DM_COMING) != dm_nth(place, n) || coming != dm_nth(*first, n))
			break;
		hmmu_store_release(word + n, coming);
	}
	dm_gate_leave(dm);
	dm_unlock(dm);
	return n;
}

static void pages_home(struct hmmu_devmem *dm, struct migrate_vma *args)
{
	uint64_t i = 0, n, w = 0, stay;

	while (i < args->npages) {
		n = dm_wanted(args, i) ? claim_home(dm, args, i, &w) : 0;
		if (!n) {
			/* Not asked for; or a CPU touch was faster: it is home. */
			args->src[i++] &= ~MIGRATE_PFN_MIGRATE;
			continue;
		}
		stay = dm_bring_run(dm, args->start + (i << DM_PAGE_SHIFT), n, w,
				    &dm_arena_of(args)->moved_back);
		for (uint64_t k = n - stay; k < n; k++)
			args->src[i + k] &= ~MIGRATE_PFN_MIGRATE;
		i += n;
	}
}

/* A forked child, and its parent's migration. */
static void nothing_goes(struct migrate_vma *args)
{
	for (uint64_t i = 0; i < args->npages; i++)
		args->src[i] &= ~MIGRATE_PFN_MIGRATE;
}

HMMU_EXPORT void migrate_vma_pages(struct migrate_vma *args)
{
	struct hmmu_devmem *dm = hmmu_load_acquire(&hmmu_devmem);
	struct hmmu_migration *m = args ? args->private_data : NULL;
	uint64_t old;

	if (!m || m->moved)
		return;
	if (!hmmu_mm_alive(args->mm)) {
		nothing_goes(args);
		return;
	}
	m->moved = true;
	old = dm_quiet();
	if (!goes_out(args))
		pages_home(dm, args);
	for (size_t i = 0; i < m->nparts; i++)
		dm_part_out(dm, args, &m->parts[i]);
	dm_loud(old);
}

/* ---- finalize ---------------------------------------------------------- */

static uint64_t address_of(const struct migrate_vma *args, uint64_t i)
{
	return args->start + (i << DM_PAGE_SHIFT);
}

/* *w: what its word was; 0: it is not ours any more. In the gate: while the reader takes it
 * along it is in neither place. False: it has been taken along, and the device is not @told. */
static bool settle_word(struct hmmu_devmem *dm, struct migrate_vma *args, uint64_t i,
			uint64_t *addr, uint64_t *w, bool told)
{
	uint64_t mine = dm_claimed(dm, args, i) | DM_LEFT, *word, at;

	dm_gate_enter(dm);
	DM_GATE(SETTLE, address_of(args, i));
	at = hmmu_load_acquire(&dm_arena_of(args)->holds[dm_slot_of(args, i)]);
	*addr = at & -DM_PAGE;
	told |= !at || *addr == address_of(args, i);
	word = told && at && !(at & DM_GONE) ? dm_find_word(dm, at) : NULL;
	*w = word ? hmmu_load_acquire(word) : 0;
	if (word && (*w & ~DM_BACK) == mine)
		hmmu_store_seqcst(word, dm_turn(*w, dm_away(*w)));
	else
		*w = at & DM_GONE ? mine | DM_GONE : 0;
	dm_gate_leave(dm);
	return told;
}

/* From @i on, those whose words nobody has changed: most. How many. */
static uint64_t settle_many(struct hmmu_devmem *dm, struct migrate_vma *args, uint64_t i)
{
	uint64_t many = dm_run(address_of(args, i)), left = args->npages - i, n = 0;
	uint64_t *word = dm_word_of(dm, args, i), mine = dm_claimed(dm, args, i) | DM_LEFT;
	enum dm_state state = args->private_data->alone ? DM_ALONE : DM_THERE;
	const unsigned long *src = &args->src[i], *dst = &args->dst[i];

	many = many < left ? many : left;
	dm_gate_enter(dm);
	DM_GATE(SETTLE, address_of(args, i));
	for (; n < many && (src[n] & MIGRATE_PFN_MIGRATE) && (dst[n] & MIGRATE_PFN_VALID);
	     n++) {
		uint64_t w = dm_nth(mine, (dst[n] - dst[0]) >> MIGRATE_PFN_SHIFT);

		if (hmmu_load_acquire(word + n) != w)
			break;
		/* Before dm_signal(), a full barrier, and the waking of touches. */
		hmmu_store_release(word + n, dm_turn(w, state));
	}
	dm_gate_leave(dm);
	return n;
}

static void settle(struct hmmu_devmem *dm, struct migrate_vma *args, uint64_t i)
{
	struct dev_pagemap *arena = dm_arena_of(args);
	uint64_t addr, w;

	/* Its driver has put it into its tables where it was: told before it can go home. */
	if (!settle_word(dm, args, i, &addr, &w, false)) {
		dm_revoke_gone(arena, address_of(args, i), dm_slot_of(args, i));
		settle_word(dm, args, i, &addr, &w, true);
	}
	if (w & DM_GONE) {
		dm_revoke_gone(arena, addr, dm_slot(w));
		hmmu_add_relaxed(&arena->dropped, 1);
		dm_slots_put(dm, w, 1);
	} else if (w & DM_BACK) {
		dm_bring_range(dm, addr, addr + DM_PAGE, DM_SKIP);
	}
}

static void settle_all(struct hmmu_devmem *dm, struct migrate_vma *args)
{
	struct hmmu_migration *m = args->private_data;
	/* A handler that changed memory in the gate would wait for the reader, who waits for
	 * us. */
	uint64_t old = dm_quiet();

	for (uint64_t i = 0; i < args->npages;) {
		uint64_t n = dm_wanted(args, i) ? settle_many(dm, args, i) : 1;

		if (!n)
			settle(dm, args, i);
		i += n ? n : 1;
	}
	/* Who touched them meanwhile touches again: devmem.h, first picture. (What was taken
	 * along is home.) */
	for (size_t i = 0; i < m->nparts && !HMMU_PLANTED(DM_NO_WAKE); i++)
		dm_wake(m->parts[i].start, m->parts[i].end);
	dm_signal(dm);
	dm_loud(old);
}

HMMU_EXPORT void migrate_vma_finalize(struct migrate_vma *args)
{
	struct hmmu_devmem *dm = hmmu_load_acquire(&hmmu_devmem);
	struct hmmu_migration *m = args ? args->private_data : NULL;

	if (!m)
		return;
	if (goes_out(args) && m->moved && hmmu_mm_alive(args->mm))
		settle_all(dm, args);
	release(args);
}
