// SPDX-License-Identifier: MIT
/*
 * pins.c - who is using which region: see regcache.h. The records are the process's, for all
 * caches: a hit then finds its thread's by one load.
 */
#include <errno.h>

#include "../arch/syscall.h"
#include "../instance.h"
#include "../notifier/pool.h"
#include "regcache.h"

/* By generation: thread ids come again, and two may think the same record free. Pins that
 * another thread has yet to put stay where they are. */
static bool adopt(struct rc_pins *pins, uint64_t from, uint32_t tid)
{
	uint64_t to = ((from >> 32) + 1) << 32 | tid;

	return hmmu_cas_seqcst(&pins->owner, &from, to);
}

#define LOOKED_AT 64 /* records, for one that is free */

/*
 * One whose thread has ended, or was this thread id's in an earlier life; from where the last
 * search stopped. (tkill, not tgkill: for a vfork child, which must not come here, its
 * parent's threads are alive, too.) Where tkill is refused nobody can tell.
 */
static struct rc_pins *used_one(struct hmmu_instance *inst, uint32_t tid)
{
	struct rc_pins *p = hmmu_load_seqcst(&inst->pins_hand);

	for (unsigned int i = 0; i < LOOKED_AT; i++) {
		uint64_t owner;
		long ret;

		if (!p)
			p = hmmu_load_seqcst(&inst->pins);
		if (!p)
			return NULL;
		hmmu_store_seqcst(&inst->pins_hand, p->next);
		owner = hmmu_load_seqcst(&p->owner);
		ret = (uint32_t)owner == tid ? -ESRCH
					     : hmmu_syscall(SYS_tkill, (uint32_t)owner, 0);
		if (ret == -ESRCH && adopt(p, owner, tid))
			return p;
		if (ret && ret != -ESRCH)
			return NULL;
		p = p->next;
	}
	return NULL;
}

static struct rc_pins *new_one(struct hmmu_instance *inst, uint32_t tid)
{
	struct rc_pins *pins = hmmu_map(sizeof(*pins), true), *head;

	if (!pins)
		return NULL;
	adopt(pins, 0, tid);
	head = hmmu_load_relaxed(&inst->pins);
	do {
		pins->next = head;
		/* Pairs with the loads that walk the list: before the first pin in it. */
	} while (!hmmu_cas_seqcst(&inst->pins, &head, pins));
	return pins;
}

struct rc_pins *rc_pins_mine(void)
{
	struct hmmu_instance *inst = hmmu_instance();
	struct rc_pins *pins = hmmu_tls.pins;
	uint32_t tid;

	/* A forked child finds its own in zeroed memory that is in no list. */
	if (pins && hmmu_load_relaxed(&pins->owner))
		return pins;
	if (!inst)
		return NULL;
	tid = (uint32_t)hmmu_syscall(SYS_gettid);
	pins = used_one(inst, tid);
	if (!pins)
		pins = new_one(inst, tid);
	hmmu_tls.pins = pins;
	return pins;
}

static uint64_t pin_word(const struct hmmu_regcache *cache, const struct rc_region *region)
{
	return cache->tag | region->id;
}

uint64_t *rc_pin(struct hmmu_regcache *cache, struct rc_region *region)
{
	struct rc_pins *pins = rc_pins_mine();

	for (unsigned int i = 0; pins && i < RC_PINS; i++) {
		uint64_t *pin = &pins->pin[pins->cursor++ % RC_PINS];

		if (hmmu_load_relaxed(pin) == 0) {
			(void)hmmu_xchg_seqcst(pin, pin_word(cache, region));
			return pin;
		}
	}
	hmmu_add_seqcst(&region->count, 1);
	return NULL;
}

void rc_unpin_slow(struct hmmu_regcache *cache, struct rc_region *region, uint64_t *pin)
{
	if (!pin) {
		uint64_t count = hmmu_load_seqcst(&region->count);

		/* A forked child has none of its parent's to give back. */
		while (count && !hmmu_cas_seqcst(&region->count, &count, count - 1))
			;
	} else {
		(void)hmmu_xchg_seqcst(pin, 0);
	}
	if (hmmu_load_seqcst(&cache->dying))
		rc_unpinned(cache, region);
}

/* Any context. The region may be another's by now: then the reaper looks in vain. */
void rc_unpinned(struct hmmu_regcache *cache, struct rc_region *region)
{
	if (hmmu_load_relaxed(&region->state) == RC_DEAD && !HMMU_PLANTED(RC_NO_POKE))
		rc_poke(cache);
}

static bool mark(struct hmmu_regcache *cache, struct rc_region *region)
{
	uint64_t now = hmmu_load_relaxed(&cache->mark);
	bool fresh = hmmu_load_relaxed(&region->mark) != now;

	/* Eviction looks without reap_lock: a guess. */
	hmmu_store_relaxed(&region->mark, now);
	return fresh;
}

/* What it is a part of, too: it was before the pin was possible. */
static bool mark_all(struct hmmu_regcache *cache, struct rc_region *region)
{
	struct rc_region *whole = hmmu_load_relaxed(&region->whole);

	if (whole)
		mark(cache, whole);
	return mark(cache, region);
}

size_t rc_pins_mark(struct hmmu_regcache *cache)
{
	struct hmmu_instance *inst = hmmu_instance_peek();
	struct rc_pins *p = inst ? hmmu_load_seqcst(&inst->pins) : NULL;
	size_t found = 0;

	hmmu_store_relaxed(&cache->mark, cache->mark + 1);
	for (; p; p = p->next) {
		for (unsigned int i = 0; i < RC_PINS; i++) {
			/* Pairs with the pin in get.c. pins.cpp PN5, words.cpp WD6 */
			uint64_t word = cache->fenced ? hmmu_add_seqcst(&p->pin[i], 0)
						      : hmmu_load_seqcst(&p->pin[i]);

			if (word && (word & ~0xffffffffULL) == cache->tag)
				found += mark_all(cache, rc_region_of(cache, (uint32_t)word));
		}
	}
	return found;
}

uint64_t rc_pins_hits(const struct hmmu_regcache *cache)
{
	struct hmmu_instance *inst = hmmu_instance_peek();
	struct rc_pins *p = inst ? hmmu_load_seqcst(&inst->pins) : NULL;
	uint64_t sum = 0;

	for (; p; p = p->next)
		sum += hmmu_load_relaxed(&p->hits[cache->index]);
	return sum;
}
