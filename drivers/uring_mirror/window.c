// SPDX-License-Identifier: MIT
/* window.c - what is mirrored. */
#include "mirror.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

void uring_mirror_drop(struct uring_window *w, unsigned long addr, size_t length)
{
	unsigned long end = addr + length;

	hmmu_mirror_drop(w->table, addr, end < addr ? ~0ul : end);
}

/* Not by the table, which does not say while the window is being invalidated. */
bool uring_mirror_cached(struct uring_window *w, unsigned long addr)
{
	struct uring_mirror *m = w->mirror;
	bool found = false;

	if (getpid() != m->pid)
		return false;
	pthread_mutex_lock(&m->lock);
	for (uint32_t s = 0; s < m->nr_slots && !found; s++)
		found = m->slots[s].live && m->slots[s].window == w &&
			m->slots[s].addr == block_of(m, addr);
	pthread_mutex_unlock(&m->lock);
	return found;
}

int uring_mirror_watch(struct uring_mirror *m, unsigned long start, size_t length,
		       struct uring_window **window)
{
	unsigned long mask = (1ul << m->block_shift) - 1;
	struct uring_window *w;
	int ret;

	if (!window || !length || ((start | length) & mask) || start + length - 1 < start)
		return -EINVAL;
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->mirror = m;
	w->start = start;
	w->length = length;
	w->user = m->user;
	ret = m->coherence->watch(w);
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
	struct hmmu_mirror_stats stats;

	hmmu_mirror_stat(w->table, &stats);
	w->mirror->stats.retries += stats.retries;
	w->mirror->coherence->unwatch(w);
	*w->link = w->next;
	if (w->next)
		w->next->link = w->link;
	free(w);
}

int uring_mirror_unwatch(struct uring_window *w)
{
	if (w->busy)
		return -EBUSY;
	window_forget(w);
	return 0;
}
