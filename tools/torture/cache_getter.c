// SPDX-License-Identifier: MIT
/*
 * cache_getter.c - a getter thread: asks the cache, lets the device look, judges.
 *
 * It never touches the regions with the CPU. What it holds it puts itself, or leaves in the
 * next getter's box, who puts it: later, perhaps when it is long dead.
 */
#include "cache.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define WRITE_EVERY 16	  /* one access in so many is a write */
#define NONBLOCK_EVERY 4  /* one get in so many asks without waiting first */
#define ELSEWHERE_EVERY 4 /* one put in so many is another's */
#define WRITE_AT 1024u	  /* in the page: eight bytes per getter */

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

void held_put(struct cache_torture *c, struct held *held)
{
	if (held->column == COL_HMMU)
		hmmu_regcache_put(c->caches[held->cache], &held->ref);
	else
		naive_put(c, held);
}

void getter_drain(struct getter *g)
{
	if (atomic_load(&g->box.state) != 2)
		return;
	held_put(g->c, &g->box.held);
	atomic_store(&g->box.state, 0);
}

/* The next one puts it, if its box is free. */
static void put_somewhere(struct getter *g, struct held *held)
{
	struct torture *t = g->c->t;
	struct getter *next = &g->c->getters[(g->d->id + 1) % t->nr_devices];
	int empty = 0;

	if (torture_random(&g->d->rng) % ELSEWHERE_EVERY ||
	    !atomic_compare_exchange_strong(&next->box.state, &empty, 1)) {
		held_put(g->c, held);
		return;
	}
	next->box.held = *held;
	atomic_store(&next->box.state, 2);
	g->counts[held->column].elsewhere++;
}

static bool choose(struct getter *g, struct wish *wish, bool *fresh)
{
	struct device *d = g->d;
	struct torture *t = g->c->t;
	struct region *r = meet_wanted(d, &wish->page, fresh);
	bool wanted = r != NULL;

	if (!wanted) {
		*fresh = false;
		r = &t->regions[torture_random(&d->rng) % t->nr_regions];
		wish->page = (unsigned int)(torture_random(&d->rng) % PAGES);
	}
	wish->region = r;
	/* Some pages around it. */
	wish->first = (unsigned int)(torture_random(&d->rng) % (wish->page + 1));
	wish->pages = wish->page - wish->first + 1;
	wish->pages += (unsigned int)(torture_random(&d->rng) %
				      (PAGES - wish->first - wish->pages + 1));
	wish->prot = torture_random(&d->rng) % 4 ? PROT_READ | PROT_WRITE : PROT_READ;
	wish->cache = (unsigned int)(torture_random(&d->rng) % NR_CACHES);
	return wanted;
}

/* The generations of what is asked for, and its protection. */
struct before {
	uint64_t pub[PAGES];
	uint32_t guard;
};

static void note_before(const struct wish *wish, struct before *before)
{
	before->guard = atomic_load(&wish->region->guard);
	for (unsigned int p = wish->first; p < wish->first + wish->pages; p++)
		before->pub[p] = atomic_load(&wish->region->pub[p]);
}

/* Was all of it there, for writing, from then until now? */
static bool steady(const struct wish *wish, const struct before *before)
{
	if (before->guard % 4 || atomic_load(&wish->region->guard) != before->guard)
		return false;
	for (unsigned int p = wish->first; p < wish->first + wish->pages; p++)
		if (before->pub[p] % 2 || atomic_load(&wish->region->pub[p]) != before->pub[p])
			return false;
	return true;
}

/* Is all of region->guarded read-only since then, and does the wish touch it? */
static bool was_read_only(const struct wish *wish, const struct before *before)
{
	uint32_t range = atomic_load(&wish->region->guarded);
	unsigned int first = range >> 16, pages = range & 0xffff;

	return before->guard % 4 == 2 && atomic_load(&wish->region->guard) == before->guard &&
	       wish->first < first + pages && first < wish->first + wish->pages;
}

static void judge_refusal(struct getter *g, const struct wish *wish,
			  const struct before *before, int error, enum column column)
{
	struct counts *counts = &g->d->counts[column];

	counts->mirror.refused++;
	if (error == -ENOMEM)
		counts->no_memory++;
	else if (error == -ETIMEDOUT)
		counts->timeouts++;
	else if (error == -ENOBUFS && wish->cache == 1)
		g->counts[column].no_room++;
	else if (error != -EFAULT || steady(wish, before))
		counts->wrong++;
}

static int ask(struct getter *g, const struct wish *wish, enum column column, struct held *held)
{
	struct cache_counts *counts = &g->counts[column];
	int ret;

	if (column != COL_HMMU)
		return naive_get(g, wish, column, held);
	if (torture_random(&g->d->rng) % NONBLOCK_EVERY == 0) {
		counts->nonblock++;
		ret = hmmu_cache_get(g, wish, true, held);
		if (ret != -EAGAIN)
			return ret;
		counts->again++;
	}
	return hmmu_cache_get(g, wish, false, held);
}

static void note_stale(struct getter *g, const struct wish *wish, uint64_t before,
		       uint64_t after, const unsigned char *bytes, enum column column)
{
	struct torture *t = g->c->t;
	const struct region *r = wish->region;
	struct counts *counts = &g->d->counts[column];
	char saw[64] = "";

	counts->stale_cell[r->id]++;
	if (bytes)
		counts->stale_reads++;
	else
		counts->stale_writes++;
	if (column != COL_HMMU)
		return;
	if (bytes)
		record_describe(bytes, saw, sizeof(saw));
	pthread_mutex_lock(&t->first_lock);
	if (!t->first[0])
		snprintf(t->first, sizeof(t->first),
			 "%s x %s, page %u, cache %u: %s%s; legal were generations %llu to "
			 "%llu%s",
			 op_names[r->op], memory_names[r->memory], wish->page, wish->cache,
			 bytes ? "saw " : "a device's write was lost", saw,
			 (unsigned long long)before >> 1, (unsigned long long)(after + 1) >> 1,
			 before == after && !(after & 1) ? "" : ", changing");
	pthread_mutex_unlock(&t->first_lock);
}

/* Still good at completion? The naive ones cannot say, and are believed. */
static bool still_good(struct getter *g, const struct held *held)
{
	return held->column != COL_HMMU ||
	       hmmu_regcache_valid(g->c->caches[held->cache], &held->ref);
}

static void look(struct getter *g, const struct wish *wish, const struct before *before,
		 const struct held *held)
{
	struct torture *t = g->c->t;
	struct device *d = g->d;
	struct counts *counts = &d->counts[held->column];
	const unsigned char *bytes = g->c->ring.staging + d->id * page_size();
	uint64_t first = before->pub[wish->page], second, after;
	unsigned long addr = (unsigned long)wish->region->base + wish->page * page_size();
	bool good;
	int ret;

	second = atomic_load(&wish->region->pub[wish->page]);
	ret = ring_access(&g->c->ring, held->slot, addr, page_size(), d->id, false);
	good = still_good(g, held);
	after = atomic_load(&wish->region->pub[wish->page]);
	if (ret) {
		counts->wrong++;
		return;
	}
	counts->reads++;
	counts->mirror.discarded += !good;
	if (page_judge(t, wish->region, wish->page, first, after, bytes) == STALE)
		note_stale(g, wish, first, after, bytes, held->column);
	else if (held->column == COL_HMMU && good &&
		 page_judge(t, wish->region, wish->page, second, after, bytes) == STALE)
		note_stale(g, wish, second, after, bytes, held->column);
}

/* What a CPU would read there; false: nothing is mapped. */
static bool read_truth(unsigned long addr, uint64_t *value)
{
	struct iovec to = {value, sizeof(*value)};
	struct iovec from = {(void *)addr, sizeof(*value)};

	return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == sizeof(*value);
}

/* While a block is free, or the break is down, the address may be somebody else's, who would
 * not like to be written to. The others' are nobody's: region.c. */
static bool may_write(const struct wish *wish)
{
	return (wish->prot & PROT_WRITE) && wish->region->op != OP_FREE &&
	       wish->region->op != OP_BRK;
}

static void leave(struct getter *g, const struct wish *wish, const struct before *before,
		  const struct held *held)
{
	struct device *d = g->d;
	struct counts *counts = &d->counts[held->column];
	unsigned long addr = (unsigned long)wish->region->base + wish->page * page_size() +
			     WRITE_AT + 8 * d->id;
	uint64_t first = before->pub[wish->page], after, truth = 0;
	bool there;
	int ret;

	d->value++;
	memcpy(g->c->ring.staging + d->id * page_size(), &d->value, sizeof(d->value));
	ret = ring_access(&g->c->ring, held->slot, addr, sizeof(d->value), d->id, true);
	there = read_truth(addr, &truth);
	after = atomic_load(&wish->region->pub[wish->page]);
	if (ret) {
		counts->wrong++;
		return;
	}
	counts->writes++;
	if (first != after || (after & 1))
		counts->undecided++;
	else if (!there || truth != d->value)
		note_stale(g, wish, first, after, NULL, held->column);
}

static void forget(struct getter *g, const struct wish *wish, enum column column)
{
	struct cache_torture *c = g->c;
	unsigned long at = (unsigned long)wish->region->base + wish->page * page_size();

	if (column != COL_HMMU) {
		naive_invalidate(&c->naive[column], wish->region, at, at + 1);
		return;
	}
	for (unsigned int i = 0; i < NR_CACHES; i++)
		hmmu_regcache_drop(c->caches[i], (void *)at, 1);
	atomic_fetch_add(&c->drops, 1);
}

static void turn(struct getter *g, enum column column)
{
	struct device *d = g->d;
	struct before before;
	struct wish wish;
	struct held held;
	bool fresh, wanted, protected;
	struct uring_mirror_stats *stats = &d->counts[column].mirror;
	uint64_t misses = stats->misses;
	int ret;

	getter_drain(g);
	wanted = choose(g, &wish, &fresh);
	if (fresh)
		forget(g, &wish, column);
	note_before(&wish, &before);
	stats->lookups++;
	ret = ask(g, &wish, column, &held);
	if (wanted)
		meet_declined(d);
	protected = wish.prot & PROT_WRITE && was_read_only(&wish, &before);
	g->counts[column].read_only += protected;
	if (ret) {
		judge_refusal(g, &wish, &before, ret, column);
		return;
	}
	stats->hits += stats->misses == misses;
	g->counts[column].granted += protected;
	if (may_write(&wish) && torture_random(&d->rng) % WRITE_EVERY == 0)
		leave(g, &wish, &before, &held);
	else
		look(g, &wish, &before, &held);
	put_somewhere(g, &held);
}

void *getter_main(void *arg)
{
	struct device *d = arg;
	struct torture *t = d->t;
	struct getter *g = d->getter;

	this_getter = g;
	for (;;) {
		pthread_barrier_wait(&t->barrier); /* the column is set */
		if (t->quit)
			return NULL;
		if (!d->id)
			cache_watch(t->cache, t->column);
		pthread_barrier_wait(&t->barrier); /* all watch */
		while (!atomic_load(&t->stop)) {
			turn(g, t->column);
			if (t->crowded)
				sched_yield(); /* or the mutators starve */
		}
		/* Mutators may still be in a change: removal under fire. */
		if (!d->id)
			cache_unwatch(t->cache, t->column);
		pthread_barrier_wait(&t->barrier); /* all quiet */
	}
}
