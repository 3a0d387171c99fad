// SPDX-License-Identifier: MIT
/*
 * cache.c - the life of a registration cache: what it answers reaches what the process sees, or
 * is an error that the header names; when it is over nothing is registered.
 *
 * Without membarrier nobody knows when a registration may be undone: the dead stay, the
 * statistics say so, and destroy undoes them.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <hmmu/regcache.h>

#include "inject.h"
#include "life.h"
#include "arch/syscall.h"
#include "regcache/regcache.h"

#define PAGES 64
#define RECORDS 512
#define REFS 70 /* more than a thread's pins */
#define LIMIT 4 /* regions that may be found */
#define SPLIT 4 /* pages */

static struct mm_struct *mm;
static struct hmmu_regcache *cache;
static unsigned char *memory;
static uint64_t generation;

static struct record {
	uint64_t seen[PAGES];
	size_t first, n;
	unsigned int held;
	bool there, answered;
} records[RECORDS];
static unsigned int nr_records;
static bool destroying;

static uint64_t *word(size_t page)
{
	return (uint64_t *)(memory + page * PAGE);
}

static size_t page_of(unsigned long addr)
{
	return (addr - (unsigned long)memory) / PAGE;
}

/* ---- the device ----------------------------------------------------------- */

static int reg(void *context, struct hmmu_region *region)
{
	struct record *r = &records[nr_records];

	if (nr_records == RECORDS)
		broken("regcache: too many registrations");
	r->first = page_of(region->start);
	r->n = page_of(region->end) - r->first;
	if (r->first + r->n > PAGES)
		return -EFAULT;
	for (size_t i = 0; i < r->n; i++)
		r->seen[i] = *word(r->first + i);
	r->there = true;
	r->answered = false;
	region->key[0] = nr_records++;
	return 0;
}

/* Of every kind, or of this one. */
static bool fails_membarrier(void)
{
	return fault_failed() &&
	       (fault->kind == KIND_MEMBARRIER || fault->plan.mode == FAULT_EVER);
}

/* Each membarrier fails, and they are wanted. */
static bool no_barrier(void)
{
	return fault_fails() && fails_membarrier() && !cache->fenced;
}

static int dereg(void *context, struct hmmu_region *region)
{
	struct record *r = &records[region->key[0]];

	if (r->held)
		broken("regcache: deregistered while it is held");
	if (!r->there)
		broken("regcache: deregistered twice");
	if (r->answered && no_barrier() && !destroying)
		broken("regcache: deregistered without a barrier");
	r->there = false;
	return 0;
}

static const struct hmmu_regcache_ops ops = {.reg = reg, .dereg = dereg};

/* ---- what is done with it ------------------------------------------------- */

static struct record *record_of(const struct hmmu_region_ref *ref)
{
	return &records[ref->region->key[0]];
}

static void put(struct hmmu_region_ref *ref)
{
	record_of(ref)->held--;
	quiet_void(hmmu_regcache_put(cache, ref));
}

static void check_ref(size_t page, size_t n, const struct hmmu_region_ref *ref)
{
	const struct record *r = record_of(ref);

	if (!r->there || page < r->first || page + n > r->first + r->n)
		broken("regcache: answered what is not a registration of it");
	for (size_t i = page_of(ref->region->start); i < page_of(ref->region->end); i++)
		if (r->seen[i - r->first] != *word(i))
			broken("stale: page %zu is registered as it was", i);
	if (!quiet(hmmu_regcache_valid(cache, ref)))
		broken("regcache: valid() is false, and nothing changed");
}

/* False: refused, and nothing of it was kept. */
static bool get(size_t page, size_t n, struct hmmu_region_ref *ref)
{
	void *at = word(page);
	int ret = quiet(hmmu_regcache_get(cache, at, n * PAGE, PROT_READ | PROT_WRITE, ref));

	DOCUMENTED("hmmu_regcache_get", ret, EFAULT, ENOMEM);
	if (ret && !fault_failed())
		broken("regcache: get answered %d, and nothing had failed", ret);
	if (ret) {
		ret = quiet(hmmu_regcache_get_nonblock(cache, at, n * PAGE,
						       PROT_READ | PROT_WRITE, ref));
		if (ret != -EAGAIN)
			broken("regcache: what failed is cached: %d", ret);
		return false;
	}
	record_of(ref)->held++;
	record_of(ref)->answered = true;
	check_ref(page, n, ref);
	return true;
}

static void get_put(size_t page, size_t n)
{
	struct hmmu_region_ref ref;

	if (get(page, n, &ref))
		put(&ref);
}

/* As the program's munmap and mmap of the same address, bracketed by itself. */
static void change(size_t page, size_t n)
{
	struct mmu_notifier_range range;
	unsigned long at = (unsigned long)word(page);

	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, at, at + n * PAGE);
	mmu_notifier_invalidate_range_start(&range);
	hmmu_syscall6(SYS_mmap, (long)at, n * PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	for (size_t i = 0; i < n; i++)
		*word(page + i) = ++generation;
	mmu_notifier_invalidate_range_end(&range);
}

static struct hmmu_regcache_stats stats(void)
{
	struct hmmu_regcache_stats s;
	unsigned int there = 0;

	quiet_void(hmmu_regcache_stat(cache, &s));
	for (unsigned int i = 0; i < nr_records; i++)
		there += records[i].there;
	if (s.regs != nr_records || there != s.regions + s.dying ||
	    s.regs != s.deregs + there || s.regions > LIMIT)
		broken("regcache: %u are registered, the statistics say %u and %u dead", there,
		       (unsigned int)s.regions, (unsigned int)s.dying);
	return s;
}

/* Nothing is held: the dead are deregistered, or there was no barrier, once. */
static void reap(void)
{
	quiet(hmmu_reclaim(mm));
	if (stats().dying && !fails_membarrier())
		broken("regcache: %u stay dead", (unsigned int)stats().dying);
	if (no_barrier() && fault->kind == KIND_MEMBARRIER && !stats().dying)
		broken("regcache: the statistics do not say who stays dead");
}

static void hold_and_change(void)
{
	struct hmmu_region_ref ref;
	struct record *r;

	stage("regcache: held while it changes");
	if (!get(0, 4, &ref))
		return;
	r = record_of(&ref);
	change(1, 1);
	if (quiet(hmmu_regcache_valid(cache, &ref)))
		broken("stale: valid() is true after a change");
	quiet(hmmu_reclaim(mm));
	get_put(0, 4);
	destroying = true;
	if (quiet(hmmu_regcache_destroy(cache)) != -EBUSY || !r->there)
		broken("regcache: destroyed while a region is held");
	destroying = false;
	put(&ref);
	reap();
}

static void hold_many(void)
{
	static struct hmmu_region_ref ref[REFS];
	bool got[REFS];

	stage("regcache: more references than pins");
	for (int i = 0; i < REFS; i++)
		got[i] = get(8, 4, &ref[i]);
	change(8, 1);
	quiet(hmmu_reclaim(mm));
	for (int i = 0; i < REFS; i++)
		if (got[i])
			put(&ref[i]);
	reap();
}

static void use(void)
{
	stage("regcache: get");
	get_put(0, 4);
	get_put(1, 2);
	get_put(3, 3); /* the union */
	stats();
	hold_and_change();
	hold_many();
	stage("regcache: limit");
	for (size_t i = 0; i < 2 * LIMIT; i++)
		get_put(16 + 4 * i, 2);
	stage("regcache: shrink");
	quiet(hmmu_regcache_shrink(cache, PAGE));
	stats();
	stage("regcache: drop");
	if (quiet(hmmu_regcache_drop(cache, memory, PAGES * PAGE)) < 0)
		broken("undocumented: drop");
	reap();
	get_put(0, PAGES);
	change(20, 4);
	get_put(18, 4);
	reap();
}

static void destroy(void)
{
	unsigned int left = 0;
	int ret;

	stage("regcache: destroy");
	get_put(40, 2);
	destroying = true;
	ret = quiet(hmmu_regcache_destroy(cache));
	destroying = false;
	if (ret)
		broken("undocumented: destroy answered %d", ret);
	for (unsigned int i = 0; i < nr_records; i++)
		left += records[i].there;
	if (left)
		broken("regcache: %u registrations are left", left);
}

/* Found in parts, or, without memory for these, as one. */
static void in_parts(void)
{
	struct hmmu_region_ref whole, part;
	bool held;

	stage("regcache: in parts");
	get_put(0, 6 * SPLIT);
	get_put(SPLIT - 1, 2);
	if (!get(0, 6 * SPLIT, &whole))
		return;
	held = get(2 * SPLIT, 1, &part);
	change(SPLIT, 1);
	if (quiet(hmmu_regcache_valid(cache, &whole)))
		broken("stale: valid() is true after a change");
	quiet(hmmu_reclaim(mm));
	put(&whole);
	get_put(4 * SPLIT - 1, 2);
	change(0, 6 * SPLIT);
	quiet(hmmu_reclaim(mm));
	if (held) {
		if (quiet(hmmu_regcache_valid(cache, &part)))
			broken("stale: valid() is true of a part after a change");
		put(&part);
	}
	reap();
}

static int create(bool split)
{
	struct hmmu_regcache_options o = HMMU_REGCACHE_DEFAULTS;
	int ret;

	o.mm = mm;
	o.max_regions = LIMIT;
	o.split = split ? SPLIT * PAGE : 0;
	ret = quiet(hmmu_regcache_create(&cache, &ops, NULL, &o));
	DOCUMENTED("hmmu_regcache_create", ret, ENOMEM, EMFILE, EOPNOTSUPP);
	if (ret && !fault_failed())
		broken("regcache: create answered %d, and nothing had failed", ret);
	return ret;
}

void cache_run(bool again)
{
	struct hmmu_mm_options o = {.size = sizeof(o),
				    .sources = HMMU_SOURCE_EXPLICIT,
				    .flags = HMMU_MM_OWN_RECLAIM};
	int ret = hmmu_mm_open(&mm, &o);

	DOCUMENTED("open", ret, ENOMEM);
	if (ret && again)
		broken("second: open answers %d still", ret);
	if (ret)
		return;
	memory = fresh(PAGES * PAGE);
	nr_records = 0;
	for (size_t i = 0; i < PAGES; i++)
		*word(i) = ++generation;
	stage("regcache: create");
	ret = create(false);
	if (ret && again)
		broken("second: create answers %d still", ret);
	if (!ret) {
		use();
		destroy();
	}
	nr_records = 0;
	ret = create(true);
	if (ret && again)
		broken("second: create answers %d still", ret);
	if (!ret) {
		in_parts();
		destroy();
	}
	hmmu_syscall6(SYS_munmap, (long)memory, PAGES * PAGE, 0, 0, 0, 0);
	stage("close");
	ret = quiet(hmmu_mm_close(mm));
	if (ret)
		broken("undocumented: close answered %d", ret);
}
