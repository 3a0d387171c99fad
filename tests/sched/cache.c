// SPDX-License-Identifier: MIT
/*
 * cache.c - schedules of the registration cache: getters, invalidators and who cleans up, over
 * a device that keeps account. Asserted in all of them:
 *
 *	G1	a get never answers what was registered before a change that it began after;
 *		what valid() answers for was not changed before the question
 *	G3	no region is deregistered while it is held, none twice
 *	G4	when all is over, and the mm's work was run, none is dead and registered still
 */
#include <errno.h>
#include <string.h>

#include "cache.h"
#include "instance.h"

#define THREADS 4

struct hmmu_regcache *cache;
struct registration registered[REGS];
uint64_t gone[CACHE_PAGES];
unsigned int idle_pretended;

uint64_t nr_registered;
static struct rc_pins *all_pins;
static uint64_t pins_of[THREADS]; /* of this run's threads, as numbers */

static unsigned int page_of(unsigned long addr)
{
	return (unsigned int)((addr - WORLD_BASE) / PAGE);
}

static int reg(void *context, struct hmmu_region *region)
{
	uint64_t id = hmmu_add_seqcst(&nr_registered, 1);
	struct registration *r = &registered[id];

	sched_assert(id < REGS);
	r->first = page_of(region->start);
	r->last = page_of(region->end - 1);
	for (unsigned int p = r->first; p <= r->last; p++) {
		if (hmmu_load_acquire(&gone[p]))
			return -EFAULT;
		r->truth[p] = hmmu_load_acquire(&truth[p]);
	}
	sched_touch(&r->there, true);
	r->there = true;
	region->key[0] = id;
	return 0;
}

static int dereg(void *context, struct hmmu_region *region)
{
	struct registration *r;

	(void)hmmu_load_acquire(&nr_registered); /* a point: it takes its time */
	r = &registered[region->key[0]];
	sched_assert(hmmu_load_acquire(&r->held) == 0); /* G3 */
	sched_touch(&r->there, true);
	sched_assert(r->there);
	r->there = false;
	return 0;
}

struct hmmu_regcache_ops cache_device = {.reg = reg, .dereg = dereg};

/* ---- what threads do -------------------------------------------------- */

void *cache_at(unsigned int page)
{
	return (void *)(WORLD_BASE + page * PAGE);
}

int cache_try(cache_get_fn fn, unsigned int first, unsigned int last)
{
	struct hmmu_region_ref ref;
	struct registration *r;
	uint64_t before[CACHE_PAGES], now[CACHE_PAGES];
	int ret;

	for (unsigned int p = first; p <= last; p++)
		before[p] = hmmu_load_acquire(&truth[p]);
	ret = fn(cache, cache_at(first), (last - first + 1) * PAGE, PROT_READ, &ref);
	if (ret)
		return ret;
	r = &registered[ref.region->key[0]];
	hmmu_add_seqcst(&r->held, 1);
	sched_touch(&r->there, false);
	sched_assert(r->there); /* G3 */
	sched_assert(r->first <= first && last <= r->last);
	for (unsigned int p = first; p <= last; p++)
		sched_assert(r->truth[p] >= before[p]); /* G1 */
	for (unsigned int p = first; p <= last; p++)
		now[p] = hmmu_load_acquire(&truth[p]);
	if (hmmu_regcache_valid(cache, &ref))
		for (unsigned int p = first; p <= last; p++)
			sched_assert(r->truth[p] >= now[p]); /* G1, at completion */
	hmmu_add_seqcst(&r->held, (uint64_t)-1);
	hmmu_regcache_put(cache, &ref);
	return 0;
}

void cache_get(unsigned int first, unsigned int last)
{
	sched_assert(cache_try(hmmu_regcache_get, first, last) == 0);
}

static void get0(void *arg)
{
	cache_get(0, 0);
}

void cache_get0_twice(void *arg)
{
	cache_get(0, 0);
	cache_get(0, 0);
}

static void get1(void *arg)
{
	cache_get(2, 2);
}

static void get01(void *arg)
{
	cache_get(0, 1);
}

static void get12(void *arg)
{
	cache_get(1, 2);
}

void cache_change0(void *arg)
{
	world_change(0, 0);
}

static void change0_twice(void *arg)
{
	world_change(0, 0);
	world_change(0, 0);
}

/* As a signal handler that has interrupted the holder of a lock of the library's. */
void cache_change_in_handler(void *arg)
{
	hmmu_mm_lock(mm);
	world_change(0, 0);
	hmmu_mm_unlock(mm);
}

void cache_clean_up(void *arg)
{
	hmmu_reclaim(mm);
}

void cache_hold(void *arg)
{
	struct hmmu_region_ref ref;
	struct registration *r;

	sched_assert(hmmu_regcache_get(cache, cache_at(0), PAGE, PROT_READ, &ref) == 0);
	r = &registered[ref.region->key[0]];
	hmmu_add_seqcst(&r->held, 1);
	world_change(0, 0);
	hmmu_reclaim(mm); /* held still */
	hmmu_add_seqcst(&r->held, (uint64_t)-1);
	hmmu_regcache_put(cache, &ref);
}

/* ---- the world -------------------------------------------------------- */

static void enter_with(int index, uint64_t word)
{
	struct rc_pins *pins;

	world_enter(index);
	pins = rc_pins_mine();
	sched_assert(pins);
	/* A record is one thread's (G3). Outside the run: other threads enter, too. */
	hmmu_store_seqcst(&pins_of[index], (uint64_t)(uintptr_t)pins);
	for (int i = 0; i < THREADS; i++)
		sched_assert(i == index ||
			     hmmu_load_seqcst(&pins_of[i]) != (uint64_t)(uintptr_t)pins);
	all_pins = hmmu_instance_peek()->pins;
	pins->cursor = 0;
	for (unsigned int i = 0; i < RC_PINS; i++) {
		sched_assert(pins->pin[i] == 0);
		pins->pin[i] = word;
	}
}

void cache_enter(int index)
{
	enter_with(index, 0);
}

/* All its slots are taken, by another cache as it were. */
void cache_enter_full(int index)
{
	enter_with(index, 1);
}

void cache_open(struct hmmu_regcache_options *o)
{
	world_open();
	memset(registered, 0, sizeof(registered));
	memset(gone, 0, sizeof(gone));
	nr_registered = 0;
	idle_pretended = 0;
	o->mm = mm;
	o->flags |= HMMU_REGCACHE_REG_CHECKS;
	sched_assert(hmmu_regcache_create(&cache, &cache_device, NULL, o) == 0);
}

void cache_setup(void)
{
	struct hmmu_regcache_options o = HMMU_REGCACHE_DEFAULTS;

	cache_open(&o);
}

void cache_setup_cached(void)
{
	cache_setup();
	cache_get(0, 0);
}

static void setup_one(void)
{
	struct hmmu_regcache_options o = HMMU_REGCACHE_DEFAULTS;

	o.max_regions = 1;
	cache_open(&o);
	cache_get(0, 0);
}

/* Plain loads: it is called inside points. */
static uint64_t word_of(unsigned int page)
{
	const struct rc_leaf *leaf = cache->root[WORLD_BASE >> RC_LEAF_SHIFT];

	return leaf ? leaf->word[(WORLD_BASE >> RC_PAGE_SHIFT) + page] : 0;
}

static void named_by(uint64_t start, uint64_t end, uint64_t word)
{
	for (unsigned int p = page_of(start); p < page_of(end); p++)
		sched_assert(word_of(p) == word);
}

/* What has parts, and two of them together: a part is as long as a page here (cache_parts.c).
 */
static bool in_no_word(const struct rc_region *r)
{
	return r->watch->parts && (!r->whole || r->pub.end - r->pub.start > PAGE);
}

/* Live regions and idle watches are who their pages' words name: regcache.h, watch.c. */
static void check_table(void)
{
	unsigned int idle = idle_pretended;

	for (uint32_t id = 1; id < cache->next_id; id++) {
		const struct rc_region *r = &cache->chunk[0]->region[id];

		if (r->state != RC_LIVE || in_no_word(r))
			continue;
		sched_assert(!r->whole || r->watch == r->whole->watch);
		named_by(r->pub.start, r->pub.end, id << RC_PROT_BITS | r->pub.prot);
		sched_assert(r->watch->region == (r->whole ? r->whole : r));
		sched_assert(r->whole ||
			     (r->watch->start == r->pub.start && r->watch->end == r->pub.end));
	}
	for (const struct rc_watch *w = cache->idle; w; w = w->next, idle++)
		named_by(w->start, w->end, w->id << RC_PROT_BITS);
	sched_assert(idle == cache->nr_idle);
	sched_assert(idle <= RC_IDLE_MAX);
}

void cache_check(void)
{
	struct hmmu_regcache_stats stats;

	for (struct rc_pins *p = all_pins; p; p = p->next)
		for (unsigned int i = 0; i < RC_PINS; i++)
			p->pin[i] = p->pin[i] == 1 ? 0 : p->pin[i]; /* cache_enter_full() */
	memset(pins_of, 0, sizeof(pins_of));
	hmmu_reclaim(mm);
	hmmu_regcache_stat(cache, &stats);
	sched_assert(stats.dying == 0); /* G4 */
	sched_assert(stats.regs == stats.deregs + stats.regions);
	sched_assert(stats.locked == stats.bytes);
	sched_assert(stats.regions <= cache->options.max_regions);
	check_table();
	sched_assert(hmmu_regcache_destroy(cache) == 0);
	for (unsigned int i = 0; i < REGS; i++)
		sched_assert(!registered[i].there);
	world_close();
}

/* What a hit, a miss and the reaper decide by. Regions by id, their registrations by key. */
uint64_t cache_state(uint64_t hash)
{
	hash = world_state(hash);
	hash = sched_hash_word(hash, cache->lock.word | (uint64_t)cache->reap_lock.word << 32);
	hash = sched_hash_word(hash, cache->dying | cache->going << 16 |
					     (uint64_t)cache->queued << 32 |
					     (uint64_t)cache->next_id << 33);
	hash = sched_hash_word(hash, cache->regions | cache->locked << 8);
	for (unsigned int p = 0; p < 3; p++)
		hash = sched_hash_word(hash, word_of(p) | truth[p] << 32);
	for (uint32_t id = 1; id < cache->next_id; id++) {
		const struct rc_region *r = &cache->chunk[0]->region[id];

		hash = sched_hash_word(hash, r->state | r->changed << 8 | r->pub.key[0] << 16);
		hash = sched_hash_word(hash, r->pub.start | r->pub.end << 32);
	}
	for (uint64_t i = 0; i < nr_registered; i++)
		hash = sched_hash_word(hash, registered[i].held | registered[i].there << 8 |
						     registered[i].truth[0] << 16);
	for (unsigned int p = 0; p < CACHE_PAGES; p++)
		hash = sched_hash_word(hash, gone[p]);
	for (const struct rc_pins *p = all_pins; p; p = p->next)
		for (unsigned int i = 0; i < 8; i++) /* nobody has taken more */
			hash = sched_hash_word(hash, (uint32_t)p->pin[i]);
	return hash;
}

static const struct sched_program hit = {
	CACHE_PROGRAM("a cached region, a getter, a change, who cleans up", cache_setup_cached),
	.names = {"getter", "inv", "reaper"},
	.threads = {cache_get0_twice, cache_change0, cache_clean_up},
};

/* Who is the second to register finds the first one's, which is as good. */
static void check_miss(void)
{
	struct hmmu_regcache_stats stats;

	hmmu_regcache_stat(cache, &stats);
	sched_assert(stats.replaced == 0);
	cache_check();
}

static const struct sched_program miss = {
	.name = "two getters of one page, and a change",
	.setup = cache_setup,
	.enter = cache_enter,
	.state = cache_state,
	.check = check_miss,
	.names = {"getter", "getter", "inv"},
	.threads = {get0, get0, cache_change0},
};

static const struct sched_program again = {
	CACHE_PROGRAM("a page that changes twice, and a getter", cache_setup_cached),
	.names = {"getter", "inv"},
	.threads = {cache_get0_twice, change0_twice},
};

static const struct sched_program merge = {
	CACHE_PROGRAM("two getters that overlap, and a change", cache_setup),
	.names = {"getter", "getter", "inv"},
	.threads = {get01, get12, cache_change0},
};

static const struct sched_program evict = {
	CACHE_PROGRAM("room for one region, and two getters", setup_one),
	.names = {"getter", "getter", "reaper"},
	.threads = {get0, get1, cache_clean_up},
};

static const struct sched_program held = {
	CACHE_PROGRAM("a region that is held while it dies", cache_setup),
	.names = {"holder", "reaper"},
	.threads = {cache_hold, cache_clean_up},
};

static const struct sched_program in_handler = {
	CACHE_PROGRAM("a getter, and a change inside the lock's holder", cache_setup_cached),
	.names = {"getter", "handler"},
	.threads = {cache_get0_twice, cache_change_in_handler},
};

const struct scenario scenarios_cache[] = {
	{"cache-hit", &hit, false},
	{"cache-miss", &miss, false},
	{"cache-again", &again, false},
	{"cache-merge", &merge, false},
	{"cache-evict", &evict, false},
	{"cache-held", &held, false},
	{"cache-handler", &in_handler, false},
	{NULL, NULL, false},
};
