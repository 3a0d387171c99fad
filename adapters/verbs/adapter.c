// SPDX-License-Identifier: MIT
/* adapter.c - open, close, statistics, and what is handed on to the cache. */
#include "verbs_adapter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct hmmu_verbs_options defaults = HMMU_VERBS_DEFAULTS;

/* ---- open ------------------------------------------------------------- */

static int check_options(const struct hmmu_verbs_options *o)
{
	if (o->size != sizeof(*o) ||
	    memcmp(o->reserved, defaults.reserved, sizeof(o->reserved)) != 0 ||
	    (o->flags & ~(HMMU_VERBS_MERGE_REMOTE | HMMU_VERBS_ANY_SOURCE)))
		return -EINVAL;
	if (o->access & ~(unsigned int)(ACCESS_KNOWN | ACCESS_SENSELESS))
		return -EINVAL;
	if (o->access & ACCESS_SENSELESS)
		return -EOPNOTSUPP;
	if ((o->access & (IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC)) &&
	    !(o->access & IBV_ACCESS_LOCAL_WRITE))
		return -EINVAL;
	return 0;
}

static bool cell_brackets(const struct hmmu_coverage *cell)
{
	/* Of a truncation nobody can tell before: hmmu_mm_options, require. */
	unsigned int least =
		cell->operation == HMMU_OP_FTRUNCATE || cell->operation == HMMU_OP_FALLOCATE
			? HMMU_BY_RETURN
			: HMMU_BRACKETED;

	if (cell->caller != HMMU_CALLER_LIBC && cell->caller != HMMU_CALLER_LIBC_INTERNAL)
		return true;
	return cell->exactness >= least;
}

/* As hmmu_mm_open() would have required it. An mm without a source is explicit. */
static int brackets(struct mm_struct *mm)
{
	struct hmmu_coverage cells[HMMU_OP_NR * HMMU_CALLER_NR];
	size_t max = sizeof(cells) / sizeof(cells[0]);
	int n = hmmu_mm_describe(mm, cells, max);
	bool all = true;
	uint32_t sources = 0;

	if (n < 0)
		return n;
	for (int i = 0; i < n && (size_t)i < max; i++) {
		sources |= cells[i].source;
		all = all && cell_brackets(&cells[i]);
	}
	return !sources || all ? 0 : -EOPNOTSUPP;
}

static int find_mm(struct hmmu_verbs *v, const struct hmmu_verbs_options *o,
		   struct mm_struct **mm)
{
	static const struct hmmu_mm_options own = {
		.size = sizeof(own),
		.sources = HMMU_SOURCE_HOOKS,
		.require = HMMU_BRACKETED,
	};
	int ret;

	*mm = o->mm;
	if (*mm && (o->flags & HMMU_VERBS_ANY_SOURCE))
		return hmmu_mm_describe(*mm, NULL, 0) == -ENODEV ? -ENODEV : 0;
	if (*mm)
		return brackets(*mm);
	ret = hmmu_mm_open(mm, &own);
	v->own_mm = ret ? NULL : *mm;
	return ret;
}

static int open_cache(struct hmmu_verbs *v, struct mm_struct *mm,
		      const struct hmmu_verbs_options *o)
{
	struct hmmu_regcache_options cache = HMMU_REGCACHE_DEFAULTS;
	int ret;

	cache.mm = mm;
	cache.alignment = o->alignment;
	if (o->alignment == defaults.alignment)
		cache.alignment = (unsigned long)sysconf(_SC_PAGESIZE);
	cache.max_regions = o->max_regions;
	cache.max_bytes = o->max_bytes;
	cache.max_locked = o->max_locked;
	cache.max_merged = o->max_merged;
	if ((o->access & ACCESS_REMOTE) && !(o->flags & HMMU_VERBS_MERGE_REMOTE))
		cache.flags |= HMMU_REGCACHE_NO_MERGE;
	/* Not REG_CHECKS: for reading, ibv_reg_mr() registers what the process may not read
	 * (FOLL_FORCE, before Linux 6.2), and so a neighbour's PROT_NONE. */
	ret = hmmu_regcache_create(&v->cache, &verbs_region_ops, v, &cache);
	if (ret != -EOPNOTSUPP)
		return ret;
	/* Linux before 5.14 has nobody to ask. */
	cache.flags |= HMMU_REGCACHE_REG_CHECKS;
	return hmmu_regcache_create(&v->cache, &verbs_region_ops, v, &cache);
}

/* A page of its own that a forked child finds zeroed, also a child of the bare system call. */
static int mark_ours(struct hmmu_verbs *v)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint64_t *p =
		mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return -ENOMEM;
	if (madvise(p, page, MADV_WIPEONFORK)) {
		munmap(p, page);
		return -EOPNOTSUPP;
	}
	*p = 1;
	v->ours = p;
	return 0;
}

static void unmark_ours(struct hmmu_verbs *v)
{
	munmap((void *)v->ours, (size_t)sysconf(_SC_PAGESIZE));
}

static int open_with(struct hmmu_verbs **answer, struct ibv_pd *pd,
		     const struct hmmu_verbs_options *o)
{
	struct hmmu_verbs *v = calloc(1, sizeof(*v));
	struct mm_struct *mm;
	int ret = -ENOMEM;

	if (!v)
		return ret;
	v->pd = pd;
	v->access = o->access;
	refused_init(&v->refused);
	ret = mark_ours(v);
	if (ret)
		goto err_free;
	ret = find_mm(v, o, &mm);
	if (ret)
		goto err_unmark;
	ret = open_cache(v, mm, o);
	if (ret)
		goto err_mm;
	*answer = v;
	return 0;

err_mm:
	if (v->own_mm)
		hmmu_mm_close(v->own_mm);
err_unmark:
	unmark_ours(v);
err_free:
	pthread_mutex_destroy(&v->refused.lock);
	free(v);
	return ret;
}

PUBLIC int hmmu_verbs_open(struct hmmu_verbs **v, struct ibv_pd *pd,
			   const struct hmmu_verbs_options *options)
{
	const struct hmmu_verbs_options *o = options ? options : &defaults;
	int saved = errno, ret = v && pd ? check_options(o) : -EINVAL;

	if (!ret)
		ret = open_with(v, pd, o);
	errno = saved;
	return ret;
}

/* ---- close ------------------------------------------------------------ */

/* 0: nothing is registered any more. */
static int empty(struct hmmu_verbs *v)
{
	int ret = v->cache ? hmmu_regcache_destroy(v->cache) : 0;

	if (ret)
		return ret;
	v->cache = NULL;
	if (in_child(v)) /* its parent's, the lock too */
		return 0;
	refused_retry(v, UINT64_MAX);
	return v->refused.head ? -EBUSY : 0;
}

PUBLIC int hmmu_verbs_close(struct hmmu_verbs *v)
{
	int saved = errno, ret = v ? empty(v) : -EINVAL;

	if (!ret) {
		if (v->own_mm)
			hmmu_mm_close(v->own_mm);
		unmark_ours(v);
		pthread_mutex_destroy(&v->refused.lock);
		free(v);
	}
	errno = saved;
	return ret;
}

/* ---- handed on -------------------------------------------------------- */

/* Not mentioned: a NULL cache is -EINVAL, or nothing, there. */
PUBLIC struct hmmu_regcache *hmmu_verbs_cache(struct hmmu_verbs *v)
{
	return v ? v->cache : NULL;
}

PUBLIC int hmmu_verbs_get(struct hmmu_verbs *v, const void *addr, size_t len, unsigned int prot,
			  struct hmmu_region_ref *ref)
{
	return hmmu_regcache_get(hmmu_verbs_cache(v), addr, len, prot, ref);
}

PUBLIC int hmmu_verbs_get_until(struct hmmu_verbs *v, const void *addr, size_t len,
				unsigned int prot, const struct timespec *deadline,
				struct hmmu_region_ref *ref)
{
	return hmmu_regcache_get_until(hmmu_verbs_cache(v), addr, len, prot, deadline, ref);
}

PUBLIC int hmmu_verbs_get_nonblock(struct hmmu_verbs *v, const void *addr, size_t len,
				   unsigned int prot, struct hmmu_region_ref *ref)
{
	return hmmu_regcache_get_nonblock(hmmu_verbs_cache(v), addr, len, prot, ref);
}

PUBLIC void hmmu_verbs_put(struct hmmu_verbs *v, struct hmmu_region_ref *ref)
{
	hmmu_regcache_put(hmmu_verbs_cache(v), ref);
}

PUBLIC bool hmmu_verbs_valid(struct hmmu_verbs *v, const struct hmmu_region_ref *ref)
{
	return hmmu_regcache_valid(hmmu_verbs_cache(v), ref);
}

PUBLIC int hmmu_verbs_flush(struct hmmu_verbs *v)
{
	if (!v)
		return -EINVAL;
	if (in_child(v))
		return -ENODEV;
	refused_retry(v, UINT64_MAX);
	return (int)atomic_load_explicit(&v->refused.nr, memory_order_relaxed);
}

PUBLIC void hmmu_verbs_stat(struct hmmu_verbs *v, struct hmmu_verbs_stats *stats)
{
	if (!stats)
		return;
	memset(stats, 0, sizeof(*stats));
	if (!v || in_child(v))
		return;
	stats->registered = atomic_load_explicit(&v->registered, memory_order_relaxed);
	stats->deregistered = atomic_load_explicit(&v->deregistered, memory_order_relaxed);
	stats->refused = atomic_load_explicit(&v->refused.nr, memory_order_relaxed);
	stats->refused_bytes = atomic_load_explicit(&v->refused.bytes, memory_order_relaxed);
	hmmu_regcache_stat(v->cache, &stats->cache);
}
