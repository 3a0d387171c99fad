// SPDX-License-Identifier: MIT
/* slot.c - the table of registered buffers: taking, pinning, emptying, tags. */
#include "mirror.h"

#include <errno.h>

/* Neighbouring slots are emptied by one call of at most so many. */
#define RUN 32

/*
 * Empty one slot: the last is no special case. The first time also binds the
 * call that callbacks make, and proves that the kernel knows it.
 */
int slots_init(struct uring_mirror *m)
{
	static const struct iovec nothing;
	int ret = io_uring_register_buffers_sparse(&m->ring, m->nr_slots);

	if (ret < 0)
		return ret;
	ret = io_uring_register_buffers_update_tag(&m->ring, 0, &nothing, NULL, 1);
	if (ret != 1)
		return ret < 0 ? ret : -EIO;
	for (uint32_t s = 0; s < m->nr_slots; s++)
		m->free[s] = s;
	m->nr_free = m->nr_slots;
	return 0;
}

static void push_free(struct uring_mirror *m, uint32_t slot)
{
	m->free[(m->free_head + m->nr_free++) % m->nr_slots] = slot;
}

/* The FILLING slot, if nothing was pinned. */
void slot_give_back(struct uring_mirror *m)
{
	if (m->filling != SLOT_NONE)
		push_free(m, m->filling);
	m->filling = SLOT_NONE;
}

/* A tag: the last request on what the slot held has completed. */
void slot_tag(struct uring_mirror *m, uint64_t user_data)
{
	push_free(m, (uint32_t)(user_data & ~TAG_BIT));
}

/* Driver lock held. In no table any more; somebody who may sleep empties it. */
void slot_kill(struct uring_mirror *m, uint32_t slot)
{
	m->slots[slot].live = false;
	atomic_store_explicit(&m->slots[slot].next, m->dead, memory_order_relaxed);
	m->dead = slot;
	atomic_store_explicit(&m->nr_dead,
			      atomic_load_explicit(&m->nr_dead, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

/* Driver lock held. Who takes the list MUST bury it. */
uint32_t slots_take_dead(struct uring_mirror *m)
{
	uint32_t list = m->dead;

	m->dead = SLOT_NONE;
	atomic_store_explicit(&m->nr_dead, 0, memory_order_relaxed);
	return list;
}

static uint32_t next_of(struct uring_mirror *m, uint32_t slot)
{
	return atomic_load_explicit(&m->slots[slot].next, memory_order_relaxed);
}

/* Not emptied (old kernels allocate for it): no look-up finds them, and the owner's next call
 * tries again. Until then their pages stay pinned. */
static void bury_later(struct uring_mirror *m, uint32_t first, uint32_t n)
{
	pthread_mutex_lock(&m->lock);
	while (n--)
		slot_kill(m, first++);
	pthread_mutex_unlock(&m->lock);
}

/*
 * Driver lock NOT held. Any thread, callbacks included: system calls only. 0, or -errno: some
 * are left for later.
 *
 * A slot's ->next is read before the slot is emptied: from then on its tag may be
 * reaped by the owner, and the slot be live, and dead again on another list.
 * The list is last in, first out, so a run goes downwards.
 */
int slots_bury(struct uring_mirror *m, uint32_t list)
{
	static const struct iovec nothing[RUN];
	int err = 0;

	while (list != SLOT_NONE) {
		uint32_t first = list, last = list, n = 1;
		int ret;

		list = next_of(m, list);
		while (n < RUN && list != SLOT_NONE &&
		       (list + 1 == first || list == last + 1)) {
			if (list + 1 == first)
				first = list;
			else
				last = list;
			list = next_of(m, list);
			n++;
		}
		ret = io_uring_register_buffers_update_tag(&m->ring, first, nothing, NULL, n);
		if (ret == (int)n)
			continue;
		err = ret < 0 ? ret : -EIO;
		ret = ret < 0 ? 0 : ret;
		bury_later(m, first + (uint32_t)ret, n - (uint32_t)ret);
	}
	return err;
}

/* The owner. Empties what callbacks that might not sleep left behind. */
int slots_sweep(struct uring_mirror *m)
{
	uint32_t list;

	/* Relaxed, unlocked: a slot missed now is found by the next call. */
	if (!atomic_load_explicit(&m->nr_dead, memory_order_relaxed))
		return 0;
	pthread_mutex_lock(&m->lock);
	list = slots_take_dead(m);
	pthread_mutex_unlock(&m->lock);
	return slots_bury(m, list);
}

/* The next slot after the clock's hand that is live and that no access uses: a copy. */
static bool find_victim(struct uring_mirror *m, struct slot *victim)
{
	bool found = false;

	pthread_mutex_lock(&m->lock);
	for (unsigned int i = 0; i < m->nr_slots && !found; i++) {
		const struct slot *slot = &m->slots[m->clock];

		m->clock = (m->clock + 1) % m->nr_slots;
		found = slot->live && !slot->busy;
		if (found) {
			victim->window = slot->window;
			victim->addr = slot->addr;
		}
	}
	pthread_mutex_unlock(&m->lock);
	return found;
}

/*
 * Make room. 0; -ENOENT: nothing can be emptied; -errno. An invalidation may come first:
 * then its callback has emptied the slot, and since only the owner installs, nothing else is
 * at that address. Either way a tag will come, unless something could not be emptied.
 */
static int evict(struct uring_mirror *m)
{
	struct slot victim;

	if (!find_victim(m, &victim))
		return -ENOENT;
	uring_mirror_drop(victim.window, victim.addr, 1);
	m->stats.evicted++;
	return slots_sweep(m);
}

/*
 * The owner. A free slot becomes the FILLING one.
 * With requests queued nothing is evicted, since a queued request names its slot by
 * number: -EAGAIN, submit first. With requests in flight that hold every slot:
 * -EAGAIN, reap first. Otherwise waits for a tag.
 */
int slot_take(struct uring_mirror *m, const struct timespec *deadline)
{
	int ret = slots_sweep(m);

	if (!m->nr_free)
		reap_ready(m);
	while (!m->nr_free) {
		if (m->queued)
			return -EAGAIN;
		/* What cannot be emptied has no tag to wait for. */
		if (!ret)
			ret = evict(m);
		if (ret == -ENOENT && m->flying)
			return -EAGAIN;
		if (ret && ret != -ENOENT)
			return ret;
		ret = reap_wait(m, deadline);
		if (ret)
			return ret;
	}
	m->filling = m->free[m->free_head];
	m->free_head = (m->free_head + 1) % m->nr_slots;
	m->nr_free--;
	return 0;
}

/* Reads the truth: faults the block in for writing and pins it. */
int slot_pin(struct uring_mirror *m, uint32_t slot, unsigned long addr)
{
	struct iovec iov = {(void *)addr, (size_t)1 << m->block_shift};
	__u64 tag = TAG_BIT | slot;
	int ret = io_uring_register_buffers_update_tag(&m->ring, slot, &iov, &tag, 1);

	if (ret == 1)
		return 0;
	return ret < 0 ? ret : -EIO;
}

/* Pinned, and then not installed: its tag will make it free. */
void slot_undo(struct uring_mirror *m, uint32_t slot)
{
	static const struct iovec nothing;

	if (io_uring_register_buffers_update_tag(&m->ring, slot, &nothing, NULL, 1) != 1)
		bury_later(m, slot, 1);
}
