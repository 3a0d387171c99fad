// SPDX-License-Identifier: MIT
/* window.c - what is mirrored, and dropping a range of it from the shadow. */
#include "mirror.h"

#include <errno.h>
#include <stdlib.h>

void mirror_lock(struct uring_window *w)
{
	pthread_mutex_lock(&w->mirror->lock);
	if (w->subscribed)
		hmmu_driver_lock_acquired(&w->sub);
}

bool mirror_trylock(struct uring_window *w)
{
	if (pthread_mutex_trylock(&w->mirror->lock))
		return false;
	if (w->subscribed)
		hmmu_driver_lock_acquired(&w->sub);
	return true;
}

void mirror_unlock(struct uring_window *w)
{
	if (w->subscribed)
		hmmu_driver_lock_released(&w->sub);
	pthread_mutex_unlock(&w->mirror->lock);
}

/*
 * Driver lock held. Takes the slots of the blocks that [start, end) touches out of
 * the index and onto the dead list. No system call. Return: how many.
 */
static unsigned int shadow_zap(struct uring_window *w, unsigned long start, unsigned long end)
{
	unsigned long last = w->start + w->length - 1;
	unsigned int n = 0;

	/* Clip. end - 1, since the window may end where addresses do. */
	if (start < w->start)
		start = w->start;
	if (end - 1 < last)
		last = end - 1;
	if (start > last)
		return 0;
	for (size_t b = window_block(w, start); b <= window_block(w, last); b++) {
		uint32_t entry = atomic_load_explicit(&w->index[b], memory_order_relaxed);

		if (!entry)
			continue;
		atomic_store_explicit(&w->index[b], 0, memory_order_relaxed);
		slot_kill(w->mirror, entry - 1);
		n++;
	}
	return n;
}

/*
 * The body of a callback. Emptying happens after the lock is released: the slots
 * on the list taken are this thread's alone, no look-up finds them, and a lock that
 * is held across no system call is one that a non-blockable range rarely has to
 * refuse for. The mirror outlives it: remove() waits for a running callback, and
 * close() removes first.
 */
bool shadow_invalidate(struct uring_window *w, const struct mmu_notifier_range *range,
		       unsigned long cur_seq)
{
	struct uring_mirror *m = w->mirror;
	bool may_sleep = mmu_notifier_range_blockable(range);
	uint32_t list = SLOT_NONE;

	if (may_sleep) {
		mirror_lock(w);
	} else if (!mirror_trylock(w)) {
		atomic_fetch_add_explicit(&m->busy_callbacks, 1, memory_order_relaxed);
		return false;
	}
	mmu_interval_set_seq(&w->sub, cur_seq);
	m->zapped += shadow_zap(w, range->start, range->end);
	m->callbacks++;
	if (may_sleep)
		list = slots_take_dead(m);
	mirror_unlock(w);
	slots_bury(m, list);
	return true;
}

void uring_mirror_drop(struct uring_window *w, unsigned long addr, size_t length)
{
	uint32_t list;

	if (!length)
		return;
	mirror_lock(w);
	shadow_zap(w, addr, addr + length);
	list = slots_take_dead(w->mirror);
	mirror_unlock(w);
	slots_bury(w->mirror, list);
}

bool uring_mirror_cached(struct uring_window *w, unsigned long addr)
{
	return addr - w->start < w->length &&
	       atomic_load_explicit(&w->index[window_block(w, addr)], memory_order_relaxed) !=
		       0;
}

int uring_mirror_watch(struct uring_mirror *m, unsigned long start, size_t length,
		       struct uring_window **window)
{
	unsigned long mask = (1ul << m->block_shift) - 1;
	struct uring_window *w;
	size_t blocks = length >> m->block_shift;
	int ret;

	if (!window || !length || ((start | length) & mask) || start + length - 1 < start)
		return -EINVAL;
	w = calloc(1, sizeof(*w) + blocks * sizeof(w->index[0]));
	if (!w)
		return -ENOMEM;
	w->mirror = m;
	w->start = start;
	w->length = length;
	w->user = m->user;
	ret = m->coherence->insert(w);
	if (ret) {
		free(w);
		return ret;
	}
	w->next = m->windows;
	w->link = &m->windows;
	if (w->next)
		w->next->link = &w->next;
	m->windows = w;
	*window = w;
	return 0;
}

void window_forget(struct uring_window *w)
{
	*w->link = w->next;
	if (w->next)
		w->next->link = w->link;
	free(w);
}

int uring_mirror_unwatch(struct uring_window *w)
{
	if (w->busy)
		return -EBUSY;
	/* The shadow first: after remove() nothing protects it (G3). */
	uring_mirror_drop(w, w->start, w->length);
	w->mirror->coherence->remove(w);
	window_forget(w);
	return 0;
}
