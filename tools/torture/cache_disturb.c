// SPDX-License-Identifier: MIT
/*
 * cache_disturb.c - --cache: what a mutator does beside changing memory.
 *
 *	protect	  pages of a region become read-only for a while; their content stays.
 *		  region->guard says it, modulo 4: 0 as ever, 1 changing, 2 read-only, 3
 *		  changing back; region->guarded says which, and is constant at 2.
 *	children  a forked child uses the cache.
 *	shrink	  everything that nobody uses goes.
 */
#include "cache.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define EVERY 16 /* changes, until something else is done */

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static struct region *own_region(struct mutator *m)
{
	struct torture *t = m->t;
	unsigned int share = (t->nr_regions - m->id + t->nr_mutators - 1) / t->nr_mutators;

	return &t->regions[m->id + torture_random(&m->rng) % share * t->nr_mutators];
}

/* ---- protect */

static int call_mprotect(void *at, size_t length, int prot)
{
	int ret;

	do {
		ret = mprotect(at, length, prot);
	} while (ret && errno == EINTR);
	return ret;
}

static const char *set_protection(struct torture *t, unsigned char *at, size_t length, int prot)
{
	struct mmu_notifier_range range;
	unsigned long start = (unsigned long)at;
	const char *wrong;

	if (!t->options.explicit_source)
		return call_mprotect(at, length, prot) ? "mprotect" : NULL;
	mmu_notifier_range_init(&range, MMU_NOTIFY_PROTECTION_VMA, 0, t->mm, start,
				start + length);
	if (mmu_notifier_invalidate_range_start(&range))
		return "mmu_notifier_invalidate_range_start";
	wrong = call_mprotect(at, length, prot) ? "mprotect" : NULL;
	mmu_notifier_invalidate_range_end(&range);
	return wrong;
}

/* Those whose mapping may be in parts for a moment, and is one again afterwards. */
static bool may_protect(const struct region *r)
{
	return !r->dead && (r->op == OP_MUNMAP || r->op == OP_MAP_FIXED ||
			    r->op == OP_DONTNEED || r->op == OP_REMOVE);
}

static bool protect(struct mutator *m)
{
	struct torture *t = m->t;
	struct region *r = own_region(m);
	unsigned int first = (unsigned int)(torture_random(&m->rng) % PAGES);
	unsigned int pages = 1 + (unsigned int)(torture_random(&m->rng) % (PAGES - first));
	unsigned char *at = r->base + first * page_size();
	const char *wrong;

	if (!may_protect(r) || !t->cache->sees_mprotect)
		return false;
	atomic_store(&r->guarded, first << 16 | pages);
	atomic_fetch_add(&r->guard, 1);
	wrong = set_protection(t, at, pages * page_size(), PROT_READ);
	atomic_fetch_add(&r->guard, 1);
	for (int i = 0; i < 20; i++)
		sched_yield();
	atomic_fetch_add(&r->guard, 1);
	if (!wrong)
		wrong = set_protection(t, at, pages * page_size(), PROT_READ | PROT_WRITE);
	atomic_fetch_add(&r->guard, 1);
	if (wrong)
		torture_fatal(t, wrong, errno);
	atomic_fetch_add(&t->cache->protections, 1);
	return true;
}

/* ---- children */

enum child_says {
	CHILD_GOOD,
	CHILD_STALE = 3,
	CHILD_NO_MM,	 /* the source does not work in a child: nothing to try */
	CHILD_NOT_EMPTY, /* the cache */
	CHILD_NO_ADOPT,
	CHILD_NO_GET,
	CHILD_NO_DEVICE,
	CHILD_NO_MEMORY,
};

/* Nobody else is here: pub is what is there. */
static enum child_says child_looks(struct cache_torture *c, struct region *r, unsigned int page)
{
	struct hmmu_regcache *cache = c->caches[0];
	struct hmmu_region_ref ref;
	struct cache_ring *ring;
	uint64_t pub = atomic_load(&r->pub[page]);
	enum child_says says = CHILD_GOOD;

	if (hmmu_regcache_get(cache, r->base, PAGES * page_size(), PROT_READ | PROT_WRITE,
			      &ref))
		return CHILD_NO_GET;
	ring = ref.region->handle;
	if (ring == &c->ring ||
	    ring_access(ring, (uint32_t)ref.region->key[0],
			(unsigned long)r->base + page * page_size(), page_size(), 0, false))
		says = CHILD_NO_DEVICE;
	else if (page_judge(c->t, r, page, pub, pub, ring->staging) == STALE)
		says = CHILD_STALE;
	hmmu_regcache_put(cache, &ref);
	return says;
}

/* The next generation, in memory that is new. */
static bool child_changes(struct cache_torture *c, struct region *r, unsigned int page)
{
	unsigned char *at = r->base + page * page_size();
	void *got;

	if (munmap(at, page_size()))
		return false;
	got = mmap(at, page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (got != at)
		return false;
	page_store(c->t, r, page, at, (atomic_load(&r->pub[page]) >> 1) + 1);
	atomic_fetch_add(&r->pub[page], 2);
	return true;
}

static enum child_says child_main(struct cache_torture *c, struct region *r, unsigned int page)
{
	struct hmmu_mm_options options = {.size = sizeof(options)};
	struct hmmu_regcache_stats stats;
	struct mm_struct *mm;
	enum child_says says;

	alarm(20);
	options.sources = c->t->options.source;
	if (hmmu_mm_open(&mm, &options))
		return CHILD_NO_MM;
	hmmu_regcache_stat(c->caches[0], &stats);
	if (hmmu_regcache_adopt(c->caches[0], mm))
		return CHILD_NO_ADOPT;
	says = child_looks(c, r, page);
	hmmu_regcache_stat(c->caches[0], &stats);
	if (says == CHILD_GOOD && stats.regions != 1)
		return CHILD_NOT_EMPTY;
	/* An explicit source has nobody here who calls start and end. */
	if (says != CHILD_GOOD || c->t->options.explicit_source)
		return says;
	if (!child_changes(c, r, page))
		return CHILD_NO_MEMORY;
	return child_looks(c, r, page);
}

static void note_child(struct cache_torture *c, int status)
{
	int says = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);

	atomic_fetch_add(&c->children, 1);
	if (says == CHILD_GOOD)
		return;
	if (says == CHILD_NO_MM) {
		atomic_fetch_add(&c->children_skipped, 1);
		return;
	}
	atomic_store(&c->child_status, says);
	atomic_fetch_add(says == CHILD_STALE ? &c->children_stale : &c->children_failed, 1);
}

static bool make_child(struct mutator *m)
{
	struct torture *t = m->t;
	struct region *r = own_region(m);
	unsigned int page = (unsigned int)(torture_random(&m->rng) % PAGES);
	int status = 0;
	pid_t pid;

	/* The child's own memory, that nobody changes while fork copies it. */
	if (m->column != COL_HMMU || !may_protect(r) || r->memory != MEM_ANON)
		return false;
	pthread_mutex_lock(&t->hole);
	pid = fork();
	if (!pid)
		_exit((int)child_main(t->cache, r, page));
	pthread_mutex_unlock(&t->hole);
	if (pid < 0) {
		if (errno != EAGAIN)
			torture_fatal(t, "fork", errno);
		return true;
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return true;
	note_child(t->cache, status);
	return true;
}

bool cache_mutate(struct mutator *m)
{
	struct cache_torture *c = m->t->cache;
	unsigned int dice;

	if (!c || torture_random(&m->rng) % EVERY)
		return false;
	dice = (unsigned int)(torture_random(&m->rng) % 16);
	if (dice < 2)
		return make_child(m);
	if (dice < 4 && m->column == COL_HMMU) {
		hmmu_regcache_shrink(c->caches[dice % NR_CACHES], HMMU_NO_LIMIT);
		return true;
	}
	return protect(m);
}
