// SPDX-License-Identifier: MIT
/* access.c - look-up, filling on a miss, and queueing. */
#include "mirror.h"

#include <errno.h>

/*
 * A slot first: what waits for room must not hold up the reader's loop, and an eviction while
 * it runs would count as a change (hmmu_mirror_drop()). The loop is the library's; it turns
 * until nothing collides, with a fresh slot each time (-ESTALE, table.c's fault()).
 */
static int fill(struct uring_window *w, unsigned long addr, const struct timespec *deadline)
{
	struct uring_mirror *m = w->mirror;
	int ret;

	do {
		ret = slot_take(m, deadline);
		if (ret)
			return ret;
		ret = hmmu_mirror_map(w->table, addr, 1, HMMU_MIRROR_WRITE, NULL, deadline);
		slot_give_back(m);
	} while (ret == -ESTALE);
	return ret;
}

static int miss(struct uring_window *w, unsigned long addr, const struct timespec *deadline)
{
	struct uring_mirror_stats *stats = &w->mirror->stats;
	int ret = fill(w, addr, deadline);

	switch (ret) {
	case 0:
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

static int look_up(struct uring_access *a, const struct timespec *deadline)
{
	struct uring_window *w = a->window;
	struct uring_mirror *m = w->mirror;
	int ret, turns = 0;

	m->stats.lookups++;
	while ((ret = table_look(w, a->addr, &a->entry)) == -EAGAIN) {
		/* Others change it without pause. */
		if (turns++ && deadline && !time_left(deadline, NULL))
			return -ETIMEDOUT;
		ret = m->coherence->settle(w, deadline);
		if (ret)
			break;
	}
	if (!ret) {
		m->stats.hits++;
	} else if (ret == -ENOENT) {
		ret = miss(w, block_of(m, a->addr), deadline);
		a->entry = m->installed;
	} else {
		m->stats.refused += ret == -ENODEV;
	}
	return ret;
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
	return block_of(m, a->addr) == block_of(m, a->addr + a->len - 1);
}

static void queue(struct uring_mirror *m, struct uring_access *a)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&m->ring);
	bool at_fd = a->flags & URING_AT_FD;
	int fd = at_fd ? a->fd : m->staging_fd;
	int slot = (int)entry_slot(a->entry);
	__u64 offset = at_fd ? (__u64)-1 : (__u64)a->index << m->block_shift;

	/* The device's write is a read of the file, and the other way about. */
	if (a->flags & URING_WRITE)
		io_uring_prep_read_fixed(sqe, fd, (void *)a->addr, a->len, offset, slot);
	else
		io_uring_prep_write_fixed(sqe, fd, (void *)a->addr, a->len, offset, slot);
	io_uring_sqe_set_data(sqe, a);
	a->next = NULL;
	*m->queue_tail = a;
	m->queue_tail = &a->next;
	m->queued++;
	a->window->busy++;
	m->slots[slot].busy++;
}

int uring_mirror_prep(struct uring_mirror *m, struct uring_access *a,
		      const struct timespec *deadline)
{
	int ret;

	if (!access_fits(m, a))
		return -EINVAL;
	if (m->queued + m->flying >= m->depth || !io_uring_sq_space_left(&m->ring))
		return -EAGAIN;
	ret = look_up(a, deadline);
	a->result = ret;
	if (!ret)
		queue(m, a);
	return ret;
}
