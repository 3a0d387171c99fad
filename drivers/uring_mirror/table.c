// SPDX-License-Identifier: MIT
/*
 * table.c - a window's page table: what <hmmu/mirror.h> asks of a driver whose entries are
 * pins. The table, the reader's loop and the callback are the library's; here is what an
 * entry is made of and how it is taken back. A driver for another device that pins would
 * start from this file.
 */
#include "mirror.h"

#include <errno.h>

static const struct timespec never_sleep = {0, 0};

static struct uring_mirror *mirror_of(void *context)
{
	return ((struct uring_window *)context)->mirror;
}

/* ---- the driver lock, one for all windows */

static void lock(void *context)
{
	pthread_mutex_lock(&mirror_of(context)->lock);
}

/* The invalidation that calls may not sleep, and unlock() will not either. */
static bool trylock(void *context)
{
	struct uring_mirror *m = mirror_of(context);

	if (pthread_mutex_trylock(&m->lock)) {
		atomic_fetch_add_explicit(&m->busy_callbacks, 1, memory_order_relaxed);
		return false;
	}
	m->hurried = true;
	return true;
}

/*
 * Whoever has had the lock empties the slots that have died, its own and those that somebody
 * in a hurry left: they are on no list but this thread's, no look-up finds them, and a lock
 * that is held across no system call is one that a non-blockable range rarely has to refuse
 * for. In a callback it happens before the callback returns. The mirror outlives it: closing a
 * table waits for a running callback, and close() closes every table first.
 */
static void unlock(void *context)
{
	struct uring_mirror *m = mirror_of(context);
	uint32_t list = SLOT_NONE;

	if (m->dead != SLOT_NONE && !m->hurried)
		list = slots_take_dead(m);
	m->hurried = false;
	pthread_mutex_unlock(&m->lock);
	slots_bury(m, list);
}

/* ---- entries */

/*
 * The owner, inside hmmu_mirror_map(): reads the truth. A slot that was pinned and abandoned
 * cannot be pinned again before its tag: -ESTALE, the owner comes with another one.
 */
static int fault(void *context, unsigned long start, unsigned long npages, unsigned int flags,
		 unsigned long *entries)
{
	struct uring_mirror *m = mirror_of(context);
	int ret;

	(void)npages; /* 1: miss() */
	(void)flags;  /* a slot is for writing, too */
	if (m->filling == SLOT_NONE)
		return -ESTALE;
	ret = slot_pin(m, m->filling, start);
	if (ret)
		return ret;
	*entries = entry_make(m->filling, m->stamp++);
	m->filling = SLOT_NONE;
	return 0;
}

static void abandon(void *context, unsigned long start, unsigned long npages,
		    const unsigned long *entries)
{
	(void)start;
	(void)npages;
	slot_undo(mirror_of(context), entry_slot(*entries));
}

/* Driver lock held, by the owner. */
static void install(void *context, unsigned long start, unsigned long npages,
		    const unsigned long *entries)
{
	struct uring_mirror *m = mirror_of(context);
	struct slot *s = &m->slots[entry_slot(*entries)];

	(void)npages;
	s->live = true;
	s->window = context;
	s->addr = start;
	m->installed = *entries;
	m->stats.pins++;
}

/* What the owner drops itself: uring_mirror_drop(), an eviction, unwatching. */
static bool own(enum mmu_notifier_event event)
{
	return event == MMU_NOTIFY_EXCLUSIVE || event == MMU_NOTIFY_RELEASE;
}

/* Driver lock held, any thread, perhaps inside libc with an allocator's lock: stores. */
static void drop(void *context, unsigned long addr, unsigned long entry,
		 enum mmu_notifier_event event)
{
	struct uring_mirror *m = mirror_of(context);

	(void)addr;
	slot_kill(m, entry_slot(entry));
	m->zapped += !own(event);
}

static void invalidate(void *context, unsigned long start, unsigned long end,
		       enum mmu_notifier_event event)
{
	(void)start;
	(void)end;
	mirror_of(context)->callbacks += !own(event);
}

const struct hmmu_mirror_ops uring_table_ops = {
	.install = install,
	.invalidate = invalidate,
	.lock = lock,
	.unlock = unlock,
	.trylock = trylock,
	.fault = fault,
	.abandon = abandon,
	.drop = drop,
};

/* ---- what the device does with it */

int table_open(struct uring_window *w, struct mm_struct *mm, const struct hmmu_mirror_ops *ops)
{
	const struct hmmu_mirror_options options = {
		.size = sizeof(options),
		.start = w->start,
		.length = w->length,
		.page_size = 1u << w->mirror->block_shift,
	};

	return hmmu_mirror_open(&w->table, mm, ops, w, &options);
}

int table_look(struct uring_window *w, unsigned long addr, unsigned long *entry)
{
	int ret;

	hmmu_mirror_lock(w->table);
	ret = hmmu_mirror_lookup(w->table, addr, true, entry);
	hmmu_mirror_unlock(w->table);
	return ret;
}

static int watch(struct uring_window *w)
{
	return table_open(w, w->mirror->mm, &uring_table_ops);
}

static void unwatch(struct uring_window *w)
{
	hmmu_mirror_close(w->table);
}

static int settle(struct uring_window *w, const struct timespec *deadline)
{
	int ret = hmmu_mirror_settle(w->table, &never_sleep);

	if (ret != -ETIMEDOUT)
		return ret;
	/* Meeting 3 of the protocol: between a start and its end. */
	w->mirror->stats.waits++;
	return hmmu_mirror_settle(w->table, deadline);
}

/*
 * The look-up comes after the completion was seen, hence after the device's last touch. An
 * invalidation that changed the translation before that touch took the entry out before it
 * changed anything. Others of the window only move its sequence; while one of them is open
 * nothing can be known, and the owner does not wait for it here.
 */
static bool good(const struct uring_access *a)
{
	struct uring_window *w = a->window;
	unsigned long entry = 0;
	int ret = table_look(w, a->addr, &entry);

	if (ret == -EAGAIN && !hmmu_mirror_settle(w->table, &never_sleep))
		ret = table_look(w, a->addr, &entry);
	return !ret && entry == a->entry;
}

const struct uring_coherence uring_coherence_hmmu = {
	.name = "hmmu",
	.watch = watch,
	.unwatch = unwatch,
	.settle = settle,
	.good = good,
};
