// SPDX-License-Identifier: MIT
/* access.c - look-up, the reader's loop on a miss, and queueing. */
#include "mirror.h"

#include <errno.h>

/*
 * The window's sequence has moved: run the loop of a reader that reads nothing.
 * Entries that the callbacks left are good under the new sequence: whatever started
 * before read_begin has called back and ended (G1), and read_retry under the driver
 * lock says that nothing started since.
 */
static int refresh(struct uring_window *w, const struct timespec *deadline)
{
	const struct uring_coherence *c = w->mirror->coherence;
	unsigned long seq;
	bool collided;
	int ret;

	do {
		ret = c->begin(w, &seq, deadline);
		if (ret)
			return ret;
		mirror_lock(w);
		collided = c->retry(w, seq);
		mirror_unlock(w);
		w->mirror->stats.retries += collided;
	} while (collided);
	w->seq = seq;
	w->has_seq = true;
	return 0;
}

/* Driver lock held, read_retry said false. */
static void install(struct uring_window *w, size_t block, uint32_t slot, unsigned long seq)
{
	struct slot *s = &w->mirror->slots[slot];

	s->live = true;
	s->window = w;
	s->block = block;
	atomic_store_explicit(&w->index[block], slot + 1, memory_order_relaxed);
	w->seq = seq;
	w->has_seq = true;
}

/*
 * One turn of the reader's loop. -EAGAIN is slot_take()'s: nothing was tried;
 * -ESTALE: collided, nothing is left behind, turn again.
 *
 * A pin that fails is refused only if nothing collided: inside an invalidation
 * the memory may just be away for a moment.
 */
static int fill(struct uring_window *w, size_t block, const struct timespec *deadline,
		uint32_t *slot)
{
	struct uring_mirror *m = w->mirror;
	const struct uring_coherence *c = m->coherence;
	unsigned long addr = w->start + (block << m->block_shift), seq;
	bool collided;
	int ret, pin;

	ret = slot_take(m, deadline, slot);
	if (ret)
		return ret;
	ret = c->begin(w, &seq, deadline);
	if (ret) {
		slot_give_back(m, *slot);
		return ret;
	}
	pin = slot_pin(m, *slot, addr);
	if (c->pinned)
		c->pinned(w, addr);

	mirror_lock(w);
	collided = c->retry(w, seq);
	if (!collided && !pin)
		install(w, block, *slot, seq);
	mirror_unlock(w);

	if (pin)
		slot_give_back(m, *slot);
	else if (collided)
		slot_undo(m, *slot);
	if (collided)
		return -ESTALE;
	return pin;
}

static int miss(struct uring_window *w, size_t block, const struct timespec *deadline,
		uint32_t *slot)
{
	struct uring_mirror_stats *stats = &w->mirror->stats;
	int ret;

	while ((ret = fill(w, block, deadline, slot)) == -ESTALE)
		stats->retries++;
	switch (ret) {
	case 0:
		stats->pins++;
		break;
	case -EAGAIN:
		stats->lookups--; /* did not happen: the caller comes again */
		return ret;
	case -ETIMEDOUT:
		return ret;
	default:
		stats->refused++;
	}
	stats->misses++;
	return ret;
}

static int look_up(struct uring_window *w, size_t block, const struct timespec *deadline,
		   uint32_t *slot)
{
	struct uring_mirror *m = w->mirror;
	uint32_t entry;
	int ret;

	m->stats.lookups++;
	if (!w->has_seq || !m->coherence->ok(w, w->seq)) {
		ret = refresh(w, deadline);
		if (ret) {
			m->stats.refused += ret == -ENODEV;
			return ret;
		}
	}
	/* Relaxed: see struct uring_window. */
	entry = atomic_load_explicit(&w->index[block], memory_order_relaxed);
	if (!entry)
		return miss(w, block, deadline, slot);
	*slot = entry - 1;
	m->stats.hits++;
	return 0;
}

bool access_fits(const struct uring_mirror *m, const struct uring_access *a)
{
	const struct uring_window *w = a->window;
	unsigned long offset;

	if (!w || w->mirror != m || !a->len || (a->flags & ~(URING_WRITE | URING_AT_FD)))
		return false;
	if (!(a->flags & URING_AT_FD) && a->index >= m->depth)
		return false;
	offset = a->addr - w->start;
	if (offset >= w->length || a->len > w->length - offset)
		return false;
	return window_block(w, a->addr) == window_block(w, a->addr + a->len - 1);
}

static void queue(struct uring_mirror *m, struct uring_access *a)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&m->ring);
	bool at_fd = a->flags & URING_AT_FD;
	int fd = at_fd ? a->fd : m->staging_fd;
	__u64 offset = at_fd ? (__u64)-1 : (__u64)a->index << m->block_shift;

	/* The device's write is a read of the file, and the other way about. */
	if (a->flags & URING_WRITE)
		io_uring_prep_read_fixed(sqe, fd, (void *)a->addr, a->len, offset,
					 (int)a->slot);
	else
		io_uring_prep_write_fixed(sqe, fd, (void *)a->addr, a->len, offset,
					  (int)a->slot);
	io_uring_sqe_set_data(sqe, a);
	a->next = NULL;
	*m->queue_tail = a;
	m->queue_tail = &a->next;
	m->queued++;
	a->window->busy++;
}

int uring_mirror_prep(struct uring_mirror *m, struct uring_access *a,
		      const struct timespec *deadline)
{
	struct uring_window *w = a->window;
	uint32_t slot;
	int ret;

	if (!access_fits(m, a))
		return -EINVAL;
	slots_sweep(m);
	if (m->queued + m->flying >= m->depth || !io_uring_sq_space_left(&m->ring))
		return -EAGAIN;
	ret = look_up(w, window_block(w, a->addr), deadline, &slot);
	a->result = ret;
	if (ret)
		return ret;
	a->slot = slot;
	a->seq = w->seq;
	queue(m, a);
	return 0;
}
