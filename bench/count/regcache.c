// SPDX-License-Identifier: MIT
/*
 * regcache.c - the registration cache on an mm that the program tells itself, with a
 * registration that does nothing: the cache alone. Regions are a page, one in every third.
 * What died is deregistered here (HMMU_MM_OWN_RECLAIM), not by a thread.
 */
#include <stdlib.h>
#include <sys/mman.h>

#include "count.h"
#include "regcache/regcache.h"

#define PAGE 4096ul
#define STRIDE (3 * PAGE)
#ifdef COUNT_INSIDE
#define PLACES 64
#else
#define PLACES 1024
#endif
#define LARGE (16 * PAGE)
#define WINDOW (PLACES * LARGE * 2)
#define ADDRESS (1ul << 40)
#define PROT (PROT_READ | PROT_WRITE)

static struct mm_struct *mm;
/* Where all stays; where an operation begins with nothing; with a limit; with a lower one. */
enum which { HITS, MISSES, LIMITED, EVICTS, CACHES };
static struct hmmu_regcache *caches[CACHES];
static __thread struct hmmu_region_ref held;

static int reg(void *context, struct hmmu_region *region)
{
	region->handle = NULL;
	return 0;
}

static int dereg(void *context, struct hmmu_region *region)
{
	return 0;
}

static const struct hmmu_regcache_ops ops = {.reg = reg, .dereg = dereg};

static inline unsigned long window(enum which which)
{
	return ADDRESS + (unsigned long)which * WINDOW;
}

static inline unsigned long place(enum which which, uint64_t i)
{
	return window(which) + i % PLACES * STRIDE;
}

static inline bool take(enum which which, unsigned long at, size_t length,
			struct hmmu_region_ref *ref)
{
	return !hmmu_regcache_get(caches[which], (void *)at, length, PROT, ref);
}

static void get_put(enum which which, unsigned long at, size_t length)
{
	struct hmmu_region_ref ref;

	count_check(take(which, at, length, &ref), "get");
	hmmu_regcache_put(caches[which], &ref);
}

static void change(unsigned long start, size_t length)
{
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, MMU_NOTIFIER_RANGE_BLOCKABLE, mm,
				start, start + length);
	count_check(!mmu_notifier_invalidate_range_start(&range), "start");
	mmu_notifier_invalidate_range_end(&range);
}

static void create(enum which which)
{
	static const unsigned long limits[CACHES] = {HMMU_NO_LIMIT, HMMU_NO_LIMIT, PLACES * 2,
						     PLACES / 16};
	struct hmmu_regcache_options how = HMMU_REGCACHE_DEFAULTS;

	how.mm = mm;
	how.flags = HMMU_REGCACHE_REG_CHECKS;
	how.max_regions = limits[which];
	count_check(!hmmu_regcache_create(&caches[which], &ops, NULL, &how), "create");
}

static void hold(void *arg, uint64_t n)
{
	count_check(take(HITS, place(HITS, 0), PAGE, &held), "get");
}

static void let_go(void *arg, uint64_t n)
{
	hmmu_regcache_put(caches[HITS], &held);
}

static int set_up(const struct operation *op)
{
	struct hmmu_mm_options o = {.size = sizeof(o), .flags = HMMU_MM_OWN_RECLAIM};
	const size_t all = WINDOW * CACHES;
	void *got;

	if (mm)
		return 0;
	got = mmap((void *)ADDRESS, all, PROT, /* never touched */
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	count_check(got == (void *)ADDRESS, "mmap");
	count_check(!hmmu_mm_open(&mm, &o), "open");
	count_own(mm->slots, sizeof(mm->slots) + sizeof(mm->found));
	for (int i = 0; i < CACHES; i++)
		create((enum which)i);
	/* In an order of their own: 7 is no factor of PLACES. */
	for (uint64_t i = 0; i < PLACES; i++) {
		get_put(HITS, place(HITS, i * 7), PAGE);
		get_put(LIMITED, place(LIMITED, i * 7), PAGE);
	}
	hold(NULL, 0);
	/* The record of pins is a page of this thread's. */
	count_own((void *)((uintptr_t)held.pin & ~(PAGE - 1)), PAGE);
	let_go(NULL, 0);
	return 0;
}

/* ---- hits ---- */

static void hit_hot(void *arg, uint64_t n)
{
	enum which which = *(enum which *)arg;

	for (uint64_t i = 0; i < n; i++)
		get_put(which, place(which, i % 16 * 61), PAGE);
}

/* The next address depends on the last answer: the top bit of it is 0, unknown to gcc. */
static void hit_dependent(void *arg, uint64_t n)
{
	uint64_t at = 5;

	for (uint64_t i = 0; i < n; i++) {
		struct hmmu_region_ref ref;

		count_check(take(HITS, place(HITS, at), PAGE, &ref), "get");
		at = (at + ((uintptr_t)ref.region >> 63)) * 13 + 7;
		hmmu_regcache_put(caches[HITS], &ref);
	}
}

static void hit_inside(void *arg, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		get_put(HITS, place(HITS, i) + 100, 200);
}

static void valid(void *arg, uint64_t n)
{
	bool good = true;

	for (uint64_t i = 0; i < n; i++)
		good &= hmmu_regcache_valid(caches[HITS], &held);
	count_check(good, "valid");
}

/* ---- misses: before each, nothing is registered in the window ---- */

static void forget(void *arg, uint64_t n)
{
	hmmu_regcache_drop(caches[MISSES], (void *)window(MISSES), n * LARGE * 2);
	hmmu_reclaim(mm);
}

static void fill(void *arg, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		get_put(MISSES, place(MISSES, i), PAGE);
}

static void fill_and_change(void *arg, uint64_t n)
{
	fill(arg, n);
	change(window(MISSES), n * STRIDE);
	hmmu_reclaim(mm);
}

static void merge(void *arg, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		get_put(MISSES, place(MISSES, i) + PAGE, PAGE);
}

static void evict(void *arg, uint64_t n)
{
	static uint64_t next;

	for (uint64_t i = 0; i < n; i++)
		get_put(EVICTS, place(EVICTS, next++), PAGE);
}

/* Its memory changes, and what is dead is deregistered. */
static void invalidate(void *arg, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		change(place(MISSES, i), PAGE);
		hmmu_reclaim(mm);
	}
}

static unsigned long large(uint64_t i)
{
	return window(MISSES) + i * LARGE * 2;
}

static void fill_large(void *arg, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		get_put(MISSES, large(i), LARGE);
}

/* A page in the middle changes; what is left is asked for again, in two parts. */
static void split(void *arg, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		change(large(i) + LARGE / 2, PAGE);
		hmmu_reclaim(mm);
		get_put(MISSES, large(i), LARGE / 2);
		get_put(MISSES, large(i) + LARGE / 2 + PAGE, LARGE / 2 - PAGE);
	}
}

static enum which hits = HITS, limited = LIMITED;

#define HIT(title, function, what)                                                             \
	{                                                                                      \
		.side = "hmmu", .name = title, .set_up = set_up, .run = function, .arg = what, \
		.reads = true                                                                  \
	}
#define MISS(title, first, function)                                              \
	{                                                                         \
		.side = "hmmu", .name = title, .set_up = set_up, .before = first, \
		.run = function, .after = forget, .times = 200                    \
	}

static const struct operation list[] = {
	HIT("regcache-hit", hit_hot, &hits),
	HIT("regcache-hit-dependent", hit_dependent, NULL),
	HIT("regcache-hit-inside", hit_inside, NULL),
	HIT("regcache-hit-limited", hit_hot, &limited),
	{.side = "hmmu",
	 .name = "regcache-valid",
	 .set_up = set_up,
	 .before = hold,
	 .run = valid,
	 .after = let_go,
	 .reads = true},
	MISS("regcache-miss", NULL, fill),
	MISS("regcache-miss-again", fill_and_change, fill),
	MISS("regcache-merge", fill, merge),
	MISS("regcache-evict", NULL, evict),
	MISS("regcache-invalidate", fill, invalidate),
	MISS("regcache-split", fill_large, split),
};
const struct operations regcache_operations = {list, sizeof(list) / sizeof(*list)};
