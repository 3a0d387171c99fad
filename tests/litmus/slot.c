// SPDX-License-Identifier: MIT
/*
 * slot.c - a start against an insert of the same range (G2), and counted exactly once.
 *
 *	left: start				right: insert
 *	slot = BUSY				summary, gate |= mine
 *	range, OPEN				a slot BUSY: mark it, membarrier
 *	load gate, summary, seen		each slot OPEN: count myself
 *		[Required: both have returned: the subscription is open, by one; after the
 *		 end it is not]
 *
 * The round begins with nobody subscribed to the range and its bit in the summary
 * cleared: with a bit left over, start would take the lock always and there would be no
 * race. "gate": nobody is subscribed at all, the gate decides. "summary": a neighbour of
 * the same size keeps the gate open, the summary decides.
 *
 * "end": the end against the insert, of a range that was open when the round began:
 *
 *	left: end				right: insert
 *	slot = ENDING				slot OPEN: pinned = that state, membarrier
 *	load pinned				slot as it was: count myself
 *		[Required: both have returned: the subscription is not open]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "litmus.h"
#include "notifier/notifier.h"

#define PAGE 4096ul
#define BASE (PAGE << 20)
#define NEIGHBOUR (BASE + 300 * PAGE) /* another word of the summary */

static struct mm_struct *mm;
static struct mmu_interval_notifier mine, neighbour;
static struct mmu_notifier_range range;

static bool invalidate(struct mmu_interval_notifier *sub, const struct mmu_notifier_range *r,
		       unsigned long seq)
{
	mmu_interval_set_seq(sub, seq);
	return true;
}

static const struct mmu_interval_notifier_ops ops = {invalidate};

static void start(void)
{
	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, BASE, BASE + PAGE);
	mmu_notifier_invalidate_range_start(&range);
}

static void end(void)
{
	mmu_notifier_invalidate_range_end(&range);
}

static void insert(void)
{
	if (mmu_interval_notifier_insert(&mine, mm, BASE, PAGE, &ops))
		abort();
}

/*
 * A store passes a later load if its own line is elsewhere and the load's is here. So each
 * side has a look at what it will load, and with that takes the other side's line away.
 */
static void look_at_summary(void)
{
	uint64_t leaf = hmmu_load_relaxed(&mm->summary.leaf[BASE >> 30]);

	(void)hmmu_load_relaxed(&mm->gate);
	/* With a neighbour in its GiB: a table of one line. */
	if ((leaf & SUMMARY_KIND) == SUMMARY_FEW)
		(void)hmmu_load_relaxed((uint64_t *)(leaf & ~SUMMARY_KIND));
}

static void look_at_slots(void)
{
	for (uint32_t i = 0; i < hmmu_load_relaxed(&mm->slots_high); i++)
		(void)hmmu_load_relaxed(&mm->slots[i].state);
	(void)hmmu_load_relaxed(&mm->lock.word);
	(void)hmmu_load_relaxed(&mm->next_id);
}

static bool is_open(void)
{
	static const struct timespec now;
	unsigned long seq;

	return hmmu_read_begin(&mine, &seq, &now) != 0;
}

static bool settle(void)
{
	const struct hmmu_sub *sub = (const struct hmmu_sub *)&mine;
	bool good = is_open() && sub->begun == sub->ended + 1;

	end();
	good = good && !is_open() && sub->begun == sub->ended;
	mmu_interval_notifier_remove(&mine);
	/* Heals the summary. */
	start();
	end();
	return good;
}

/* "end": the range was open when the round began. */
static bool settle_end(void)
{
	const struct hmmu_sub *sub = (const struct hmmu_sub *)&mine;
	bool good = !is_open() && sub->begun == sub->ended;

	mmu_interval_notifier_remove(&mine);
	start(); /* the next round's: the gate is closed, nobody watches */
	return good;
}

static const struct litmus ends = {"slot/end",
				   "end x insert",
				   look_at_slots,
				   look_at_slots,
				   end,
				   insert,
				   settle_end,
				   NULL,
				   6,
				   6};
static const struct litmus gate = {"slot/gate",
				   "start x insert",
				   look_at_summary,
				   look_at_slots,
				   start,
				   insert,
				   settle,
				   NULL,
				   9,
				   6};
static const struct litmus summary = {"slot/summary",
				      "start x insert, gate open",
				      look_at_summary,
				      look_at_slots,
				      start,
				      insert,
				      settle,
				      NULL,
				      9,
				      6};

#ifndef LITMUS_WEAK
static int planted(void)
{
	static const struct {
		enum hmmu_plant bug;
		const char *name;
	} bugs[] = {
		{HMMU_PLANT_SCAN_BEFORE_PUBLISH, "SCAN_BEFORE_PUBLISH"},
		{HMMU_PLANT_SUMMARY_BEFORE_SLOT, "SUMMARY_BEFORE_SLOT"},
		{HMMU_PLANT_INSERT_IGNORES_OPEN, "INSERT_IGNORES_OPEN"},
		{HMMU_PLANT_NO_LIMIT, "NO_LIMIT"},
		{HMMU_PLANT_START_ONLY, "START_ONLY"},
	};
	int bad = 0;

	for (size_t i = 0; i < sizeof(bugs) / sizeof(bugs[0]); i++) {
		hmmu_planted = bugs[i].bug;
		bad |= litmus_broken(&gate, bugs[i].name);
	}
	hmmu_planted = HMMU_PLANT_NONE;
	return bad;
}
#endif

static int run_ends(void)
{
	int bad;

	start();
#ifdef LITMUS_WEAK
	bad = litmus_broken(&ends, LITMUS_WEAK);
#else
	bad = litmus_clean(&ends, 200000);
#endif
	end();
	return bad;
}

int main(void)
{
	const struct hmmu_mm_options options = {.size = sizeof(options),
						.flags = HMMU_MM_OWN_RECLAIM};
	int bad = 0;

	if (hmmu_mm_open(&mm, &options))
		return 1;
	start(); /* whichever is first maps what it needs */
	end();
#ifdef LITMUS_WEAK
	if (!strcmp(LITMUS_WEAK, "ends"))
		return litmus_status(run_ends());
	if (strcmp(LITMUS_WEAK, "announce") != 0)
		return litmus_status(litmus_broken(&gate, LITMUS_WEAK));
#else
	bad |= run_ends();
	bad |= litmus_clean(&gate, 1000000);
	bad |= planted();
#endif
	if (mmu_interval_notifier_insert(&neighbour, mm, NEIGHBOUR, PAGE, &ops))
		return 1;
#ifdef LITMUS_WEAK
	bad |= litmus_broken(&summary, LITMUS_WEAK);
#else
	bad |= litmus_clean(&summary, 1000000);
#endif
	mmu_interval_notifier_remove(&neighbour);
	return litmus_status(bad);
}
