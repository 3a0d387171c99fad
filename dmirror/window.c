// SPDX-License-Identifier: MIT
/*
 * window.c - subscriptions to what the device uses, and the callback.
 */
#include <errno.h>

#include "dmirror.h"

/* The driver's own migration: what is on the device stays so, and what is home will not be. */
static bool own(const struct mir_window *w, const struct mmu_notifier_range *range)
{
	return range->owner == w->dm->device &&
	       (range->event == MMU_NOTIFY_MIGRATE || range->event == MMU_NOTIFY_EXCLUSIVE);
}

static bool invalidate(struct mmu_interval_notifier *sub,
		       const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	struct mir_window *w = (struct mir_window *)sub;
	struct mir_device *device = w->dm->device;
	unsigned long start = range->start > w->start ? range->start & -MIR_PAGE : w->start;
	unsigned long end = range->end < w->end ? range->end : w->end;

	if (mmu_notifier_range_blockable(range))
		mir_lock_both(device);
	else if (!mir_trylock_both(device))
		return false;
	mmu_interval_set_seq(sub, cur_seq);
	mir_table_drop(&w->dm->table, start, end, own(w, range) ? ENTRY_DEVICE : 0);
	w->drops++;
	mir_unlock_both(device);
	return true;
}

static const struct mmu_interval_notifier_ops ops = {.invalidate = invalidate};

/* With windows_lock; nobody uses it, so nobody installs under it. */
static void remove_window(struct mir_window *w)
{
	struct mir_device *device = w->dm->device;

	mir_lock_both(device);
	/* What other windows cover as well only costs a fault. */
	mir_table_drop(&w->dm->table, w->start, w->end, ENTRY_DEVICE);
	mir_unlock_both(device);
	mmu_interval_notifier_remove(&w->sub);
	w->used = false;
}

/* With windows_lock: a free one, or the one that was not used for longest. */
static struct mir_window *make_room(struct dmirror *dm)
{
	struct mir_window *oldest = NULL;

	for (unsigned int i = 0; i < MIR_WINDOWS; i++) {
		struct mir_window *w = &dm->windows[i];

		if (!w->used)
			return w;
		if (!w->users && (!oldest || w->age < oldest->age))
			oldest = w;
	}
	if (oldest)
		remove_window(oldest);
	return oldest;
}

static struct mir_window *find(struct dmirror *dm, unsigned long start, unsigned long end)
{
	for (unsigned int i = 0; i < MIR_WINDOWS; i++) {
		struct mir_window *w = &dm->windows[i];

		/* Exactly: in a larger one there may be a hole by now. */
		if (w->used && w->start == start && w->end == end)
			return w;
	}
	return NULL;
}

static int add(struct dmirror *dm, unsigned long start, unsigned long end,
	       struct mir_window **window)
{
	struct mir_window *w = make_room(dm);
	int ret;

	if (!w)
		return -EBUSY; /* so many threads are inside */
	w->dm = dm;
	w->start = start;
	w->end = end;
	w->begun = false;
	ret = mmu_interval_notifier_insert(&w->sub, dm->device->process->mm, start, end - start,
					   &ops);
	if (ret)
		return ret;
	w->used = true;
	*window = w;
	return 0;
}

int mir_window_get(struct dmirror *dm, unsigned long start, unsigned long end,
		   struct mir_window **window)
{
	int ret = 0;

	pthread_mutex_lock(&dm->windows_lock);
	*window = find(dm, start, end);
	if (!*window)
		ret = add(dm, start, end, window);
	if (!ret) {
		(*window)->users++;
		(*window)->age = ++dm->age;
	}
	pthread_mutex_unlock(&dm->windows_lock);
	return ret;
}

void mir_window_put(struct mir_window *w)
{
	struct dmirror *dm = w->dm;

	pthread_mutex_lock(&dm->windows_lock);
	w->users--;
	pthread_mutex_unlock(&dm->windows_lock);
}

void mir_windows_remove(struct dmirror *dm)
{
	pthread_mutex_lock(&dm->windows_lock);
	for (unsigned int i = 0; i < MIR_WINDOWS; i++) {
		if (dm->windows[i].used)
			remove_window(&dm->windows[i]);
	}
	pthread_mutex_unlock(&dm->windows_lock);
}

struct timespec mir_deadline(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_nsec += MIR_TIMEOUT_NS % 1000000000;
	ts.tv_sec += MIR_TIMEOUT_NS / 1000000000 + ts.tv_nsec / 1000000000;
	ts.tv_nsec %= 1000000000;
	return ts;
}

bool mir_expired(const struct timespec *deadline)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec > deadline->tv_sec ||
	       (now.tv_sec == deadline->tv_sec && now.tv_nsec >= deadline->tv_nsec);
}

int mir_begin(struct mmu_interval_notifier *sub, unsigned long start, unsigned long end,
	      unsigned long *seq, const struct timespec *deadline)
{
	int ret = hmmu_read_begin(sub, seq, deadline);

	if (ret == -ETIMEDOUT)
		return -EBUSY;
	if (ret == -ENODEV && !mir_mapped(start, end))
		return -EFAULT;
	return ret;
}

/* Something has been invalidated; entries that the callback left are good again once it is
 * over. */
int mir_window_refresh(struct mir_window *w, const struct timespec *deadline)
{
	struct mir_device *device = w->dm->device;
	unsigned long seq;
	int ret = mir_begin(&w->sub, w->start, w->end, &seq, deadline);

	if (ret)
		return ret;
	mir_lock_both(device);
	if (!mmu_interval_read_retry(&w->sub, seq)) {
		w->seq = seq;
		w->begun = true;
	}
	mir_unlock_both(device);
	return 0;
}
