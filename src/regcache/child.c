// SPDX-License-Identifier: MIT
/*
 * child.c - a forked child finds its parent's cache empty, and may use it.
 *
 * It inherits struct hmmu_regcache, the root and the chunk pointers as they were at the fork,
 * whatever the parent's threads were doing, locks held included; leaves, regions, pins and
 * the word `life` it finds zeroed. Nothing of the parent's is deregistered or put.
 */
#include <errno.h>

#include "../arch/syscall.h"
#include "../export.h"
#include "regcache.h"

static void reset(struct hmmu_regcache *cache)
{
	cache->lock = (struct hmmu_lock){0};
	cache->reap_lock = (struct hmmu_lock){0};
	cache->free = NULL;
	cache->dead = NULL;
	cache->free_watch = NULL;
	cache->idle = NULL;
	cache->retired = NULL;
	cache->nr_idle = 0;
	cache->dying = 0;
	cache->going = 0;
	cache->regions = 0;
	cache->bytes = 0;
	cache->locked = 0;
	cache->queued = 0;
	for (unsigned int i = 0; i < RC_COUNTS; i++)
		cache->count[i] = 0;
	rc_start(cache);
	rc_enter(cache); /* no index: its hits are not told apart */
}

void rc_child(struct hmmu_regcache *cache)
{
	uint64_t child = RC_LIFE_CHILD;

	if (hmmu_cas_seqcst(cache->life, &child, RC_LIFE_RESETTING)) {
		reset(cache);
		/* Refused: the parent's mm stays, dead; every get is once. */
		if (cache->own_mm) {
			struct mm_struct *mm;

			if (!hmmu_mm_open(&mm, NULL))
				cache->mm = mm;
			else
				cache->own_mm = 0;
		}
		hmmu_store_release(cache->life, RC_LIFE_ON);
	}
	while (hmmu_load_acquire(cache->life) != RC_LIFE_ON) {
		hmmu_syscall(SYS_sched_yield);
		hmmu_cpu_relax();
	}
}

HMMU_EXPORT int hmmu_regcache_adopt(struct hmmu_regcache *cache, struct mm_struct *mm)
{
	if (!cache || !mm)
		return -EINVAL;
	rc_check_life(cache);
	if (hmmu_mm_alive(cache->mm))
		return -EBUSY;
	/* Pairs with the loads of cache->mm on every path. */
	hmmu_store_release(&cache->mm, mm);
	if (hmmu_load_seqcst(&cache->dying))
		rc_poke(cache);
	return 0;
}
