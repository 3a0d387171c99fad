// SPDX-License-Identifier: MIT
/* cache.c - caches come and go, and are asked about themselves. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "../arch/syscall.h"
#include "../export.h"
#include "../instance.h"
#include "../notifier/pool.h"
#include "../reclaim/reclaim.h"
#include "regcache.h"

/* ---- create ----------------------------------------------------------- */

static int check_options(const struct hmmu_regcache_options *o, uint64_t page)
{
	static const unsigned int none[4];

	if (o->size != sizeof(*o) || memcmp(o->reserved, none, sizeof(none)) != 0 ||
	    (o->flags & ~(HMMU_REGCACHE_REG_CHECKS | HMMU_REGCACHE_NO_MERGE)))
		return -EINVAL;
	if (o->alignment < page || (o->alignment & (o->alignment - 1)))
		return -EINVAL;
	if (o->split && (o->split < o->alignment || (o->split & (o->split - 1))))
		return -EINVAL;
	if (!o->max_regions || !o->max_bytes || !o->max_locked || !o->max_merged)
		return -EINVAL;
	return 0;
}

/* A place in pins->hits. */
static int take_index(struct hmmu_regcache *cache, struct hmmu_instance *inst)
{
	uint64_t used = hmmu_load_relaxed(&inst->caches);
	unsigned int i;

	cache->index = RC_CACHES;
	/* Never 0, and another cache's never comes again while a pin of it may be left. */
	cache->tag = (hmmu_add_seqcst(&inst->cache_tags, 1) + 1) << 32;

	do {
		if (used == ~0ULL)
			return -EMFILE;
		i = (unsigned int)__builtin_ctzll(~used);
	} while (!hmmu_cas_seqcst(&inst->caches, &used, used | 1ULL << i));
	cache->index = i;
	return 0;
}

int rc_enter(struct hmmu_regcache *cache)
{
	struct hmmu_instance *inst = hmmu_instance();
	int ret = inst ? take_index(cache, inst) : -ENOMEM;

	if (!ret)
		cache->hits_before = rc_pins_hits(cache);
	return ret;
}

static void leave(struct hmmu_regcache *cache)
{
	struct hmmu_instance *inst = hmmu_instance_peek();

	if (inst && cache->index < RC_CACHES)
		hmmu_and_seqcst(&inst->caches, ~(1ULL << cache->index));
}

void rc_start(struct hmmu_regcache *cache)
{
	cache->next_id = 1;
	cache->hand = 0;
	cache->next_watch = 1;
	cache->idle_tail = &cache->idle;
	cache->limited = cache->options.max_regions != HMMU_NO_LIMIT ||
			 cache->options.max_bytes != HMMU_NO_LIMIT ||
			 cache->options.max_locked != HMMU_NO_LIMIT;
	cache->splits = cache->options.split != 0;
#ifdef __SANITIZE_THREAD__
	cache->fenced = 1;
#else
	cache->fenced = !hmmu_membarrier_register();
#endif
}

/* The instance's page tells whether the kernel has MADV_POPULATE. */
static int can_check(const struct hmmu_regcache *cache)
{
	if (cache->options.flags & HMMU_REGCACHE_REG_CHECKS)
		return 0;
	return hmmu_syscall(SYS_madvise, cache->life, cache->page, MADV_POPULATE_READ)
		       ? -EOPNOTSUPP
		       : 0;
}

static int set_up(struct hmmu_regcache *cache)
{
	int ret;

	cache->life = hmmu_map(cache->page, true);
	cache->root = hmmu_map_kept(RC_ROOTS * sizeof(*cache->root));
	if (!cache->life || !cache->root)
		return -ENOMEM;
	ret = can_check(cache);
	if (ret)
		return ret;
	cache->own_mm = !cache->options.mm;
	cache->mm = cache->options.mm;
	if (cache->own_mm)
		ret = hmmu_mm_open(&cache->mm, NULL);
	if (ret)
		return ret;
	ret = rc_enter(cache);
	if (ret && cache->own_mm)
		hmmu_mm_close(cache->mm);
	return ret;
}

static void tear_down(struct hmmu_regcache *cache)
{
	if (cache->life)
		hmmu_unmap(cache->life, cache->page);
	rc_slab_free(cache);
	rc_watch_free(cache);
	rc_table_free(cache);
	hmmu_unmap(cache, sizeof(*cache));
}

HMMU_EXPORT int hmmu_regcache_create(struct hmmu_regcache **out,
				     const struct hmmu_regcache_ops *ops, void *context,
				     const struct hmmu_regcache_options *options)
{
	static const struct hmmu_regcache_options defaults = HMMU_REGCACHE_DEFAULTS;
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct hmmu_regcache *cache;
	int ret;

	if (!out || !ops || !ops->reg || !ops->dereg)
		return -EINVAL;
	ret = options ? check_options(options, page) : 0;
	if (ret)
		return ret;
	cache = hmmu_map_kept(sizeof(*cache));
	if (!cache)
		return -ENOMEM;
	cache->ops = *ops;
	cache->context = context;
	cache->options = options ? *options : defaults;
	if (cache->options.alignment < page)
		cache->options.alignment = page;
	cache->page = page;
	ret = set_up(cache);
	if (ret) {
		tear_down(cache);
		return ret;
	}
	rc_start(cache);
	hmmu_store_release(cache->life, RC_LIFE_ON);
	*out = cache;
	return 0;
}

/* ---- destroy ---------------------------------------------------------- */

static bool referenced(struct hmmu_regcache *cache)
{
	size_t found;

	hmmu_lock(&cache->reap_lock);
	found = rc_pins_mark(cache);
	hmmu_unlock(&cache->reap_lock);
	for (uint32_t id = 1; !found && id < cache->next_id; id++)
		found = hmmu_load_seqcst(&rc_region_of(cache, id)->count) != 0;
	return found;
}

static unsigned int kill_between(struct hmmu_regcache *cache, uint64_t start, uint64_t last)
{
	struct rc_region *region;
	unsigned int n = 0;

	rc_lock(cache);
	for (; (region = rc_table_next(cache, &start, last)) != NULL; n++)
		rc_kill(cache, region, RC_DROPPED);
	rc_unlock(cache);
	return n;
}

/* Nobody is inside, nobody holds anything: no barrier is needed, but by those who went on
 * to deregister. */
static void empty(struct hmmu_regcache *cache)
{
	struct rc_region *region;

	kill_between(cache, 0, ~0ULL);
	rc_reap(cache);
	/* A callback that has just killed, or the work that it queued. */
	for (;;) {
		hmmu_reclaim_drain(cache->mm);
		rc_wait_gone(cache);
		rc_lock(cache);
		region = cache->dead;
		if (region)
			cache->dead = region->next;
		rc_unlock(cache);
		if (!region)
			break;
		rc_release(cache, region, true); /* there was no membarrier */
	}
	rc_lock(cache);
	rc_watch_retire_all(cache);
	rc_unlock(cache);
	rc_watch_prune(cache, ~0U);
	/* A callback that had killed has come back only now: remove() waited for it. */
	hmmu_reclaim_drain(cache->mm);
}

HMMU_EXPORT int hmmu_regcache_destroy(struct hmmu_regcache *cache)
{
	int saved = errno;

	if (!cache)
		return -EINVAL;
	(void)HMMU_CONTEXT("regcache-destroy", HMMU_NOT_ANY, cache);
	if (hmmu_load_acquire(cache->life) == RC_LIFE_ON) {
		if (referenced(cache))
			return -EBUSY;
		empty(cache);
		leave(cache);
		/* Nobody else's; a change that a signal handler made may not be told yet. */
		while (cache->own_mm && hmmu_mm_close(cache->mm) == -EBUSY)
			hmmu_reclaim(cache->mm);
	}
	tear_down(cache);
	errno = saved;
	return 0;
}

/* ---- asked about itself ----------------------------------------------- */

HMMU_EXPORT int hmmu_regcache_drop(struct hmmu_regcache *cache, const void *addr, size_t len)
{
	uint64_t start = (uint64_t)(uintptr_t)addr;
	unsigned int n;

	if (!cache || !len || start + len - 1 < start)
		return -EINVAL;
	rc_check_life(cache);
	rc_lock(cache);
	hmmu_store_seqcst(&cache->drops, cache->drops + 1); /* what is being registered, too */
	rc_unlock(cache);
	n = kill_between(cache, start, start + len - 1);
	if (n)
		rc_poke(cache);
	return (int)n;
}

HMMU_EXPORT size_t hmmu_regcache_shrink(struct hmmu_regcache *cache, size_t bytes)
{
	int saved = errno;
	size_t freed;

	if (!cache)
		return 0;
	rc_check_life(cache);
	freed = rc_evict(cache, bytes);
	errno = saved;
	return freed;
}

HMMU_EXPORT void hmmu_regcache_stat(struct hmmu_regcache *cache,
				    struct hmmu_regcache_stats *stats)
{
	const uint64_t *c;

	if (!cache || !stats)
		return;
	c = cache->count;
	rc_check_life(cache);
	*stats = (struct hmmu_regcache_stats){
		.hits = rc_pins_hits(cache) - cache->hits_before,
		.misses = hmmu_load_relaxed(&c[RC_MISSES]),
		.regs = hmmu_load_relaxed(&c[RC_REGS]),
		.reg_failed = hmmu_load_relaxed(&c[RC_REG_FAILED]),
		.retries = hmmu_load_relaxed(&c[RC_RETRIES]),
		.merged = hmmu_load_relaxed(&c[RC_MERGED]),
		.replaced = hmmu_load_relaxed(&c[RC_REPLACED]),
		.invalidated = hmmu_load_relaxed(&c[RC_INVALIDATED]),
		.evicted = hmmu_load_relaxed(&c[RC_EVICTED]),
		.dropped = hmmu_load_relaxed(&c[RC_DROPPED]),
		.once = hmmu_load_relaxed(&c[RC_ONCE]),
		.deregs = hmmu_load_relaxed(&c[RC_DEREGS]),
		.dereg_failed = hmmu_load_relaxed(&c[RC_DEREG_FAILED]),
		.revalidated = hmmu_load_relaxed(&c[RC_REVALIDATED]),
		.regions = hmmu_load_relaxed(&cache->regions),
		.bytes = hmmu_load_relaxed(&cache->bytes),
		.dying = hmmu_load_seqcst(&cache->dying) + hmmu_load_seqcst(&cache->going),
		.locked = hmmu_load_relaxed(&cache->locked),
	};
}

/* The next live region from *at on, pinned. */
static bool next_live(struct hmmu_regcache *cache, uint64_t *at, struct hmmu_region_ref *ref)
{
	struct rc_region *region;

	rc_pins_mine();
	rc_lock(cache);
	region = rc_table_next(cache, at, ~0ULL);
	if (region) {
		ref->pin = rc_pin(cache, region);
		ref->region = &region->pub;
	}
	rc_unlock(cache);
	return region != NULL;
}

HMMU_EXPORT int hmmu_regcache_walk(struct hmmu_regcache *cache,
				   int (*fn)(void *arg, const struct hmmu_region *region,
					     const char *text),
				   void *arg)
{
	struct hmmu_region_ref ref;
	uint64_t at = 0;
	char text[256];
	int ret = 0;

	if (!cache || !fn)
		return -EINVAL;
	rc_check_life(cache);
	while (!ret && next_live(cache, &at, &ref)) {
		text[0] = '\0';
		if (cache->ops.describe)
			cache->ops.describe(cache->context, ref.region, text, sizeof(text));
		ret = fn(arg, ref.region, text);
		hmmu_regcache_put(cache, &ref);
	}
	return ret;
}
