// SPDX-License-Identifier: MIT
/*
 * regcache.c - the registration cache's two Dekker pairs, and its epoch.
 *
 * "hit"	left: kill and reap		right: get
 *		clear words			load word
 *		membarrier			pin = id
 *		scan the pins			load words: the same?
 *		[Required: right has nothing, or what it has is registered]
 *
 * "put"	left: kill and reap		right: put
 *		dying + 1			pin = 0
 *		membarrier			load dying: poke
 *		scan the pins
 *		[Required: it is deregistered, or the reaper was poked]
 *
 * "told"	left: mark, gone, drop, clear	right: gone? get
 *		[Required: gone: get has nothing]
 *
 * The device counts what was deregistered; nobody looks at a region that is gone. What
 * right got is put by left, at the end of the round. "fenced" is the same without
 * membarrier: get, put and scan exchange.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "instance.h"
#include "litmus.h"
#include "regcache/regcache.h"

#define PAGE 4096ul
#define BASE ((void *)(PAGE << 20))

static struct mm_struct *mm;
static struct hmmu_regcache *cache;
static struct hmmu_region_ref ref; /* right's; left's between the rounds */
static uint32_t live;		   /* registrations, the device's */
static uint32_t gone;
static bool got_late; /* right's */

static int reg(void *context, struct hmmu_region *region)
{
	hmmu_add_seqcst(&live, 1);
	return 0;
}

static int dereg(void *context, struct hmmu_region *region)
{
	hmmu_add_seqcst(&live, (uint32_t)-1);
	return 0;
}

static const struct hmmu_regcache_ops ops = {.reg = reg, .dereg = dereg};

/* ---- left ---- */

static void change(void)
{
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, PAGE << 20,
				(PAGE << 20) + PAGE);
	mmu_notifier_invalidate_range_start(&range);
	mmu_notifier_invalidate_range_end(&range);
}

static void kill_and_reap(void)
{
	change();
	hmmu_reclaim(mm);
}

static void tell(void)
{
	hmmu_add_seqcst(&mm->epoch, EPOCH_MARK);
	hmmu_store_release(&gone, 1);
	for (uint32_t n = litmus_random() & 63; n > 0; n--)
		hmmu_cpu_relax();
	change();
	hmmu_add_seqcst(&mm->epoch, EPOCH_CLEAR);
}

/* ---- right ---- */

static void get_it(void)
{
	hmmu_regcache_get_nonblock(cache, BASE, PAGE, PROT_READ, &ref);
}

static void put_it(void)
{
	hmmu_regcache_put(cache, &ref);
}

static void get_late(void)
{
	bool late = hmmu_load_acquire(&gone) != 0;

	get_it();
	got_late = late && ref.region;
}

/*
 * A store passes a later load if its own line is elsewhere and the load's is here. What right
 * loads it has looked at; what it stores, its pins, left has: it took them.
 */
static void warm_right(void)
{
	(void)rc_word(cache, (uint64_t)(uintptr_t)BASE);
	(void)hmmu_load_relaxed(&cache->dying);
	(void)hmmu_load_relaxed(&mm->epoch);
}

static void warm_left(void)
{
	(void)hmmu_load_relaxed(&cache->dead);
	(void)hmmu_load_relaxed(&cache->queued);
}

/* ---- between the rounds ---- */

static void put_if_got(void)
{
	if (ref.region)
		hmmu_regcache_put(cache, &ref);
}

/* Nobody has it pinned. Whatever was lost is found again. */
static void clean_up(void)
{
	change();
	hmmu_reclaim(mm);
	rc_reap(cache);
	if (hmmu_load_seqcst(&live) || hmmu_load_seqcst(&cache->dying))
		abort();
}

static void begin(bool held)
{
	if (hmmu_regcache_get(cache, BASE, PAGE, PROT_READ, &ref))
		abort();
	if (!held)
		hmmu_regcache_put(cache, &ref);
	hmmu_store_seqcst(&gone, 0);
}

static bool settle_hit(void)
{
	bool good = !ref.region || hmmu_load_seqcst(&live) == 1;

	put_if_got();
	clean_up();
	begin(false);
	return good;
}

static bool settle_put(void)
{
	bool good;

	/* If put poked. */
	hmmu_reclaim(mm);
	good = hmmu_load_seqcst(&live) == 0;
	clean_up();
	begin(true);
	return good;
}

static bool settle_told(void)
{
	bool good = !got_late;

	put_if_got();
	clean_up();
	begin(false);
	return good;
}

static const struct litmus hit = {"regcache/hit",
				  "get x kill and reap",
				  warm_left,
				  warm_right,
				  kill_and_reap,
				  get_it,
				  settle_hit,
				  NULL,
				  7,
				  9};
static const struct litmus put = {"regcache/put",
				  "put x kill and reap",
				  warm_left,
				  warm_right,
				  kill_and_reap,
				  put_it,
				  settle_put,
				  NULL,
				  6,
				  9};
static const struct litmus told = {"regcache/told",
				   "get x told afterwards",
				   NULL,
				   warm_right,
				   tell,
				   get_late,
				   settle_told,
				   NULL,
				   6,
				   8};

static int open_cache(void)
{
	struct hmmu_regcache_options options = HMMU_REGCACHE_DEFAULTS;

	options.mm = mm;
	options.flags = HMMU_REGCACHE_REG_CHECKS;
	return hmmu_regcache_create(&cache, &ops, NULL, &options);
}

static void next(bool held)
{
	put_if_got();
	clean_up();
	begin(held);
}

#ifdef LITMUS_WEAK
static int weakened(void)
{
	int bad = 0;

	/* The exchanges are those of a machine without membarrier. */
	if (!strcmp(LITMUS_WEAK, "pin"))
		cache->fenced = 1;
	bad |= litmus_broken(&hit, LITMUS_WEAK);
	next(true);
	bad |= litmus_broken(&put, LITMUS_WEAK);
	(void)told;
	return bad;
}
#else
static int planted(const struct litmus *l, bool held, enum hmmu_plant bug, const char *name)
{
	int bad;

	next(held);
	hmmu_planted = bug;
	bad = litmus_broken(l, name);
	hmmu_planted = HMMU_PLANT_NONE;
	return bad;
}

static int as_it_is(uint64_t rounds)
{
	int bad = 0;

	next(false);
	bad |= litmus_clean(&hit, rounds);
	next(true);
	bad |= litmus_clean(&put, rounds);
	next(false);
	bad |= litmus_clean(&told, rounds / 4);
	return bad;
}
#endif

int main(void)
{
	const struct hmmu_mm_options options = {.size = sizeof(options),
						.flags = HMMU_MM_OWN_RECLAIM};
	int bad = 0;

	if (hmmu_mm_open(&mm, &options) || open_cache())
		return 1;
	begin(false);
#ifdef LITMUS_WEAK
	bad |= weakened();
#else
	bad |= as_it_is(20000);
	bad |= planted(&hit, false, HMMU_PLANT_RC_PINS_IGNORED, "RC_PINS_IGNORED");
	bad |= planted(&put, true, HMMU_PLANT_RC_NO_POKE, "RC_NO_POKE");
	bad |= planted(&told, false, HMMU_PLANT_RC_NO_EPOCH, "RC_NO_EPOCH");
	cache->fenced = 1;
	bad |= as_it_is(10000);
	/* A membarrier is longer than the window. */
	bad |= planted(&hit, false, HMMU_PLANT_RC_NO_RECHECK, "RC_NO_RECHECK");
#endif
	return litmus_status(bad);
}
