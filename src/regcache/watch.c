// SPDX-License-Identifier: MIT
/*
 * watch.c - subscriptions, apart from what they are for.
 *
 * A region that was invalidated needs its subscription no more, though somebody may hold it for
 * long; and most often the same range is registered again at once, as memory that is freed
 * and allocated again. So the subscription changes hands without being removed and inserted:
 *
 *	free -> a region's -> idle -> another region's -> ...
 *		region released or failed: removed, free
 *			      idle too long, or covered by another range: retired, removed, free
 *
 * Idle ones are in order of age; their number is bounded (RC_IDLE_MAX). With lock held:
 *
 *	a watch is idle <=> the words of all its pages name it, with protection 0
 */
#include <errno.h>

#include "../notifier/pool.h"
#include "regcache.h"

/* ---- the slab --------------------------------------------------------- */

/* With lock. */
static struct rc_watch *take_free(struct hmmu_regcache *cache)
{
	struct rc_watch *watch = cache->free_watch;
	uint32_t id = cache->next_watch;

	if (watch) {
		cache->free_watch = watch->next;
		return watch;
	}
	if (id > RC_ID_MAX || !hmmu_load_acquire(&cache->watches[id >> RC_CHUNK_SHIFT]))
		return NULL;
	hmmu_store_relaxed(&cache->next_watch, id + 1);
	watch = &cache->watches[id >> RC_CHUNK_SHIFT]->watch[id & (RC_CHUNK - 1)];
	watch->id = id;
	watch->cache = cache;
	return watch;
}

static bool grow(struct hmmu_regcache *cache)
{
	uint32_t id = hmmu_load_relaxed(&cache->next_watch);
	struct rc_watches *chunk, *nobody = NULL;

	if (id > RC_ID_MAX)
		return false;
	chunk = hmmu_map(sizeof(*chunk), true);
	if (!chunk)
		return false;
	if (!hmmu_cas_seqcst(&cache->watches[id >> RC_CHUNK_SHIFT], &nobody, chunk))
		hmmu_unmap(chunk, sizeof(*chunk));
	return true;
}

static void give_back(struct hmmu_regcache *cache, struct rc_watch *watch)
{
	rc_lock(cache);
	watch->region = NULL;
	watch->next = cache->free_watch;
	cache->free_watch = watch;
	rc_unlock(cache);
}

void rc_watch_free(struct hmmu_regcache *cache)
{
	for (uint32_t i = 0; i < RC_CHUNKS; i++) {
		if (cache->watches[i])
			hmmu_unmap(cache->watches[i], sizeof(struct rc_watches));
	}
}

/* ---- idle ones; with lock --------------------------------------------- */

static void unlink_idle(struct hmmu_regcache *cache, struct rc_watch *watch)
{
	*watch->link = watch->next;
	if (watch->next)
		watch->next->link = watch->link;
	else
		cache->idle_tail = watch->link;
	cache->nr_idle--;
}

static void to_retired(struct hmmu_regcache *cache, struct rc_watch *watch)
{
	watch->next = cache->retired;
	hmmu_store_relaxed(&cache->retired, watch);
}

static void retire(struct hmmu_regcache *cache, struct rc_watch *watch)
{
	unlink_idle(cache, watch);
	rc_table_set(cache, watch->start, watch->end - 1, 0);
	to_retired(cache, watch);
}

void rc_watch_idle(struct hmmu_regcache *cache, struct rc_region *region)
{
	struct rc_watch *watch = region->watch;

	region->watch = NULL;
	watch->region = NULL;
	watch->next = NULL;
	watch->link = cache->idle_tail;
	*cache->idle_tail = watch;
	cache->idle_tail = &watch->next;
	if (++cache->nr_idle > RC_IDLE_MAX)
		retire(cache, cache->idle);
}

bool rc_watch_take(struct hmmu_regcache *cache, struct rc_region *region)
{
	struct rc_watch *watch = rc_table_idle(cache, region->pub.start);

	if (!watch || watch->start != region->pub.start || watch->end != region->pub.end)
		return false;
	unlink_idle(cache, watch);
	rc_table_set(cache, watch->start, watch->end - 1, 0);
	watch->region = region;
	region->watch = watch;
	return true;
}

void rc_watch_cover(struct hmmu_regcache *cache, const struct rc_region *region)
{
	for (uint64_t at = region->pub.start; at < region->pub.end;
	     at += 1UL << RC_PAGE_SHIFT) {
		struct rc_watch *watch = rc_table_idle(cache, at);

		if (watch)
			retire(cache, watch);
	}
}

void rc_watch_retire_all(struct hmmu_regcache *cache)
{
	while (cache->idle)
		retire(cache, cache->idle);
}

/* ---- subscribing and removing; without lock --------------------------- */

int rc_watch_new(struct hmmu_regcache *cache, struct rc_region *region)
{
	struct rc_watch *watch;
	int ret;

	do {
		rc_lock(cache);
		watch = take_free(cache);
		rc_unlock(cache);
	} while (!watch && grow(cache));
	if (!watch)
		return -ENOMEM;
	watch->start = region->pub.start;
	watch->end = region->pub.end;
	watch->region = region; /* before the first callback: insert publishes it */
	ret = mmu_interval_notifier_insert(&watch->sub, cache->mm, watch->start,
					   watch->end - watch->start, &rc_sub_ops);
	if (ret)
		give_back(cache, watch);
	else
		region->watch = watch;
	return ret;
}

void rc_watch_drop(struct hmmu_regcache *cache, struct rc_region *region)
{
	struct rc_watch *watch = region->watch;

	bool read;

	region->watch = NULL;
	rc_lock(cache);
	watch->region = NULL; /* no callback sees the region again */
	/* Of an earlier life of the watch, as idle one: a getter may wait in it still. */
	read = hmmu_load_acquire(&watch->readers) != 0;
	if (read)
		to_retired(cache, watch);
	rc_unlock(cache);
	if (read)
		return;
	mmu_interval_notifier_remove(&watch->sub); /* G3 */
	give_back(cache, watch);
}

/* Off the list, the first that nobody waits in. Nobody comes any more: it is no region's. */
static struct rc_watch *take_retired(struct hmmu_regcache *cache)
{
	struct rc_watch **link = &cache->retired, *watch;

	rc_lock(cache);
	while ((watch = *link) != NULL && hmmu_load_acquire(&watch->readers))
		link = &watch->next;
	if (watch)
		hmmu_store_relaxed(link, watch->next);
	rc_unlock(cache);
	return watch;
}

void rc_watch_prune(struct hmmu_regcache *cache, unsigned int n)
{
	struct rc_watch *watch;

	while (n-- && (watch = take_retired(cache)) != NULL) {
		mmu_interval_notifier_remove(&watch->sub);
		give_back(cache, watch);
	}
}

/* It must not come to removal while somebody is in here, so the region is looked at again:
 * a live one's is not removed, and one that was given up meanwhile has a reader. */
int rc_watch_wait(struct hmmu_regcache *cache, struct rc_region *region,
		  const struct timespec *deadline)
{
	struct rc_watch *watch;
	unsigned long seq;
	int ret;

	/* A zero time is a progress loop's, which does not wait for a lock either. */
	if (deadline && !deadline->tv_sec && !deadline->tv_nsec) {
		if (!rc_trylock(cache))
			return -ETIMEDOUT;
	} else {
		rc_lock(cache);
	}
	watch = region->state == RC_LIVE ? region->watch : NULL;
	if (watch)
		hmmu_add_seqcst(&watch->readers, 1);
	rc_unlock(cache);
	if (!watch)
		return -EAGAIN;
	ret = hmmu_read_begin(&watch->sub, &seq, deadline);
	/* Pairs with rc_watch_prune(). The region is pinned: it is not released, and does not
	 * drop a watch that it kept. */
	hmmu_add_seqcst(&watch->readers, (uint32_t)-1);
	return ret;
}
