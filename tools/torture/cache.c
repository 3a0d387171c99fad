// SPDX-License-Identifier: MIT
/* cache.c - --cache: opening and closing, and the subscriptions of a slice. */
#include "cache.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

static struct holder *holder_of(struct mmu_interval_notifier *sub)
{
	return (struct holder *)((char *)sub - offsetof(struct holder, sub));
}

/* The window is held open for one of the getters; see meet.c. */
static void hold(struct holder *h)
{
	struct torture *t = h->c->t;
	uint64_t n = atomic_fetch_add(&h->c->callbacks, 1);
	struct uring_window here = {.user = &t->devices[n % t->nr_devices],
				    .start = (unsigned long)h->region->base};

	meet_hold(&here);
}

static bool start_only_invalidate(struct mmu_interval_notifier *sub,
				  const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	struct holder *h = holder_of(sub);

	mmu_interval_set_seq(sub, cur_seq);
	naive_invalidate(&h->c->naive[COL_START_ONLY], h->region, range->start, range->end);
	hold(h);
	return true;
}

/* hmmu: the caches have subscriptions of their own. */
static bool hold_invalidate(struct mmu_interval_notifier *sub,
			    const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	mmu_interval_set_seq(sub, cur_seq);
	hold(holder_of(sub));
	return true;
}

static const struct mmu_interval_notifier_ops start_only_ops = {start_only_invalidate};
static const struct mmu_interval_notifier_ops hold_ops = {hold_invalidate};

void cache_watch(struct cache_torture *c, enum column column)
{
	struct torture *t = c->t;

	if (column == COL_UNPROTECTED)
		return;
	if (column == COL_START_ONLY) /* it was not told of the other columns' changes */
		naive_drop_all(c, &c->naive[COL_START_ONLY]);
	for (unsigned int i = 0; i < t->nr_regions; i++) {
		struct holder *h = &c->holders[i];
		int ret = mmu_interval_notifier_insert(
			&h->sub, t->mm, (unsigned long)t->regions[i].base,
			PAGES * (unsigned long)sysconf(_SC_PAGESIZE),
			column == COL_START_ONLY ? &start_only_ops : &hold_ops);

		h->region = ret ? NULL : &t->regions[i];
		if (ret)
			torture_fatal(t, "watching a region", -ret);
	}
}

void cache_unwatch(struct cache_torture *c, enum column column)
{
	if (column == COL_UNPROTECTED)
		return;
	for (unsigned int i = 0; i < c->t->nr_regions; i++)
		if (c->holders[i].region)
			mmu_interval_notifier_remove(&c->holders[i].sub);
}

static bool sees_mprotect(struct torture *t)
{
	struct hmmu_coverage found[HMMU_OP_NR * HMMU_CALLER_NR];
	int n = hmmu_mm_describe(t->mm, found, sizeof(found) / sizeof(found[0]));

	if (t->options.explicit_source)
		return true;
	for (int i = 0; i < n; i++)
		if (found[i].operation == HMMU_OP_MPROTECT &&
		    found[i].caller == HMMU_CALLER_LIBC)
			return found[i].exactness >= HMMU_BY_RETURN;
	return false;
}

static int open_all(struct cache_torture *c)
{
	struct torture *t = c->t;
	int ret = ring_open(&c->ring, t->nr_devices);

	if (ret) {
		torture_fatal(t, uring_mirror_why(ret), -ret);
		return ret;
	}
	c->getters = calloc(t->nr_devices, sizeof(*c->getters));
	if (!c->getters)
		return -ENOMEM;
	for (unsigned int i = 0; i < t->nr_devices; i++) {
		c->getters[i].c = c;
		c->getters[i].d = &t->devices[i];
		t->devices[i].getter = &c->getters[i];
	}
	for (unsigned int i = 0; i < MAX_REGIONS; i++)
		c->holders[i].c = c;
	for (unsigned int i = 0; i < COL_HMMU; i++)
		naive_open(&c->naive[i]);
	ret = hmmu_caches_open(c);
	if (ret)
		torture_fatal(t, "hmmu_regcache_create", -ret);
	return ret;
}

int cache_open(struct torture *t)
{
	struct cache_torture *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->t = t;
	c->owner = getpid();
	c->sees_mprotect = sees_mprotect(t);
	t->cache = c;
	return open_all(c);
}

/* All threads have ended. */
void cache_close(struct torture *t)
{
	struct cache_torture *c = t->cache;

	for (unsigned int i = 0; i < t->nr_devices; i++)
		getter_drain(&c->getters[i]);
	for (unsigned int i = 0; i < COL_HMMU; i++)
		naive_drop_all(c, &c->naive[i]);
	hmmu_caches_close(c);
	ring_close(&c->ring);
	t->devices[0].counts[COL_HMMU].mirror.callbacks = atomic_load(&c->callbacks);
}
