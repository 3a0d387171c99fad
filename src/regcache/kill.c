// SPDX-License-Identifier: MIT
/*
 * kill.c - regions die here, and are deregistered from a safe place: see regcache.h.
 *
 * The callback runs in hooks, inside allocators: it takes cache->lock, clears the words and
 * leaves the rest to the reaper, whom it wakes. The reaper is the mm's reclaimer, or who
 * else may sleep and wants room: a getter that has reached a limit, shrink, destroy.
 */
#include "../reclaim/reclaim.h"
#include "regcache.h"

/* The words may go in any order: a get needs the first and the last. Of what was invalidated
 * they name the watch from now on, which is about to be idle. pins.cpp PN3 */
void rc_kill(struct hmmu_regcache *cache, struct rc_region *region, enum rc_count why)
{
	if (region->whole) {
		rc_part_kill(cache, region, why);
		return;
	}
	if (rc_parts_of(region) && region->state != RC_NEW) {
		rc_parts_kill(cache, region, why);
		return;
	}
	if (region->state == RC_LIVE) {
		uint32_t word = why == RC_INVALIDATED ? region->watch->id << RC_PROT_BITS : 0;

		if (!HMMU_PLANTED(RC_WORDS_STAY))
			rc_table_set(cache, region->pub.start, region->pub.end - 1, word);
		hmmu_store_relaxed(&cache->regions, cache->regions - 1);
		hmmu_store_relaxed(&cache->bytes, cache->bytes - rc_bytes(region));
	}
	rc_die(cache, region, why);
}

void rc_die(struct hmmu_regcache *cache, struct rc_region *region, enum rc_count why)
{
	rc_count(cache, why, 1);
	rc_able(cache, region->id, false);
	/* Acquire and release: put and valid() look without lock. */
	hmmu_store_release(&region->state, RC_DEAD);
	region->next = cache->dead;
	cache->dead = region;
	/* Before the reaper's membarrier: pairs with the load in rc_unpin(). */
	hmmu_store_seqcst(&cache->dying, cache->dying + 1);
}

static bool invalidate(struct mmu_interval_notifier *sub,
		       const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	struct rc_watch *watch =
		(struct rc_watch *)((char *)sub - offsetof(struct rc_watch, sub));
	struct hmmu_regcache *cache = watch->cache;
	struct rc_region *region;
	bool killed;

	if (mmu_notifier_range_blockable(range))
		rc_lock(cache);
	else if (!rc_trylock(cache))
		return false;
	mmu_interval_set_seq(sub, cur_seq);
	region = watch->region;
	/* One that is being registered finds out by its sequence (G1, meeting 1).
	 * words.cpp WD5 */
	killed = region && region->state == RC_LIVE;
	if (region && region->state != RC_NEW)
		hmmu_store_release(&region->changed, 1);
	if (region && watch->parts) {
		killed = rc_parts_changed(cache, region, range->start, range->end);
	} else if (killed) {
		rc_kill(cache, region, RC_INVALIDATED);
		rc_watch_idle(cache, region);
	}
	rc_unlock(cache);
	if (killed)
		rc_poke(cache);
	return true;
}

const struct mmu_interval_notifier_ops rc_sub_ops = {.invalidate = invalidate};

static void work(struct hmmu_work *work)
{
	struct hmmu_regcache *cache =
		(struct hmmu_regcache *)((char *)work - offsetof(struct hmmu_regcache, work));

	/* Before the dead are looked at: who dies, or is put, later queues it again. Pairs
	 * with the exchange in rc_poke(). */
	hmmu_store_seqcst(&cache->queued, 0);
	rc_reap(cache);
	hmmu_reclaim_more();
}

void rc_poke(struct hmmu_regcache *cache)
{
	if (!hmmu_mm_alive(cache->mm))
		return; /* a forked child without an mm: its next get does it */
	if (hmmu_load_seqcst(&cache->queued) || hmmu_xchg_seqcst(&cache->queued, 1))
		return; /* whoever takes it off looks afterwards: pins.cpp PN6 */
	hmmu_defer(cache->mm, &cache->work, work);
}

/* A barrier in every thread that is inside get or put: the reaper's half of both Dekker
 * pairs. Fenced: they have their own. False: it was taken away by a filter that came later;
 * what is dead then stays registered (stats->dying) until destroy, when nobody is inside.
 * After the words were cleared, before the pins are scanned: pins.cpp PN4 */
static bool barrier(struct hmmu_regcache *cache)
{
	return cache->fenced || hmmu_membarrier();
}

/* With both locks: those of the dead that nobody has pinned, GONE. */
static struct rc_region *sort(struct hmmu_regcache *cache, struct rc_region *batch)
{
	struct rc_region *gone = NULL, *next;

	for (; batch; batch = next) {
		next = batch->next;
		if (rc_in_use(cache, batch) && !HMMU_PLANTED(RC_PINS_IGNORED)) {
			batch->next = cache->dead;
			cache->dead = batch;
			continue;
		}
		hmmu_store_release(&batch->state, RC_GONE);
		batch->next = gone;
		gone = batch;
		hmmu_add_seqcst(&cache->going, 1);
		hmmu_store_seqcst(&cache->dying, cache->dying - 1);
	}
	return gone;
}

static struct rc_region *collect(struct hmmu_regcache *cache)
{
	struct rc_region *batch, *gone = NULL;

	hmmu_lock(&cache->reap_lock);
	rc_lock(cache);
	batch = cache->dead;
	cache->dead = NULL;
	rc_unlock(cache);
	if (!batch)
		goto out;
	if (barrier(cache)) {
		rc_pins_mark(cache);
		rc_lock(cache);
		gone = sort(cache, batch);
		rc_unlock(cache);
		goto out;
	}
	rc_lock(cache);
	while (batch) {
		struct rc_region *next = batch->next;

		batch->next = cache->dead;
		cache->dead = batch;
		batch = next;
	}
	rc_unlock(cache);
out:
	hmmu_unlock(&cache->reap_lock);
	return gone;
}

/* GONE: nobody else knows it any more. */
size_t rc_release(struct hmmu_regcache *cache, struct rc_region *region, bool registered)
{
	struct rc_parts *parts = rc_parts_leave(cache, region);
	size_t bytes = rc_bytes(region);
	int ret = 0;

	if (region->watch)
		rc_watch_drop(cache, region);
	if (registered)
		ret = cache->ops.dereg(cache->context, &region->pub);
	if (parts)
		rc_parts_put(cache, parts);
	rc_lock(cache);
	if (registered)
		rc_count(cache, ret ? RC_DEREG_FAILED : RC_DEREGS, 1);
	hmmu_store_relaxed(&cache->locked, cache->locked - bytes);
	rc_region_put(cache, region);
	rc_unlock(cache);
	return ret ? 0 : bytes;
}

size_t rc_reap(struct hmmu_regcache *cache)
{
	struct rc_region *gone = collect(cache), *next;
	size_t bytes = 0;

	for (; gone; gone = next) {
		next = gone->next;
		bytes += rc_release(cache, gone, true);
		/* Pairs with rc_wait_gone(). */
		hmmu_add_seqcst(&cache->going, (uint64_t)-1);
		hmmu_add_seqcst(&cache->done, 1);
		hmmu_event_signal(cache->mm);
	}
	if (hmmu_load_relaxed(&cache->retired))
		rc_watch_prune(cache, ~0U);
	return bytes;
}

struct wait {
	const struct hmmu_regcache *cache;
	uint64_t done;
};

static bool one_done(struct mm_struct *mm, const void *arg)
{
	const struct wait *w = arg;

	(void)mm;
	return hmmu_load_seqcst(&w->cache->done) != w->done ||
	       hmmu_load_seqcst(&w->cache->going) == 0;
}

void rc_wait_done(struct hmmu_regcache *cache, uint64_t done)
{
	struct wait w = {cache, done};

	hmmu_event_wait(cache->mm, one_done, &w);
}

static bool none_going(struct mm_struct *mm, const void *arg)
{
	(void)mm;
	return hmmu_load_seqcst(&((struct hmmu_regcache *)arg)->going) == 0;
}

void rc_wait_gone(struct hmmu_regcache *cache)
{
	hmmu_event_wait(cache->mm, none_going, cache);
}
