// SPDX-License-Identifier: MIT
/*
 * source.c - one change of this process, open in every mm that watches it.
 *
 * An mm that begins to watch must not miss a change that is in flight: started before
 * it was in the table, carried out after somebody has subscribed to it. Every change is
 * therefore also in a slot of one more mm, the anchor, to which nobody subscribes and
 * whose lock nobody takes (a signal handler may interrupt anything here):
 *
 *	change (hook)				attach
 *	slot in the anchor	[seqcst RMW]	place = mm		[seqcst]
 *	load each place		[seqcst]	each slot of the anchor not FREE: [seqcst]
 *						  wait until it is another generation's
 *				[Required: the change finds the place, or the attach
 *				 finds the change and waits for its end]
 *
 * Where all slots are taken changes are only counted; then attach waits until none is.
 * Attach polls: it is as rare as open and close, and a change must not pay for waking it.
 */
#include "source.h"

#include <errno.h>

#include "../export.h"
#include "../instance.h"
#include "../arch/syscall.h"
#include "../plant.h"
#include "../notifier/slot.h"

#define ENDS_NAPS 200	/* 50 us each */
#define ENDS_SPINS 1000 /* what is left of a change is most often some callbacks */

const struct hmmu_source *const hmmu_sources[HMMU_SOURCES] = {
	&hmmu_source_hooks,
	&hmmu_source_userfaultfd,
	&hmmu_source_seccomp,
};

HMMU_EXPORT const char *hmmu_source_why(unsigned int source)
{
	for (unsigned int i = 0; i < HMMU_SOURCES; i++) {
		if (hmmu_sources[i]->bit == source)
			return hmmu_sources[i]->why ? hmmu_sources[i]->why() : NULL;
	}
	return NULL;
}

bool hmmu_source_watched(void)
{
	struct hmmu_instance *inst = hmmu_instance_peek();

	return inst && hmmu_load_acquire(&inst->anchor);
}

static void open_in(struct hmmu_source_event *ev, struct mm_struct *mm, unsigned long start,
		    unsigned long end)
{
	struct mmu_notifier_range *range = &ev->range[ev->n];

	mmu_notifier_range_init(range, ev->event, 0, mm, start, end);
	if (mmu_notifier_invalidate_range_start(range) == 0)
		ev->n++;
}

static void enter_anchor(struct hmmu_instance *inst, struct hmmu_source_event *ev,
			 unsigned long start, unsigned long end)
{
	struct hmmu_inv *inv = (struct hmmu_inv *)&ev->range[0];

	inv->mm = inst->anchor; /* set once */
	inv->start = start;
	inv->end = end;
	inv->slot = 0;
	hmmu_tls.changes++;
	hmmu_signal_fence();
	if (!hmmu_slot_claim(inv->mm, inv))
		hmmu_add_seqcst(&inst->crowd, 1);
	ev->n = 1;
}

static void leave_anchor(struct mmu_notifier_range *range)
{
	struct hmmu_inv *inv = (struct hmmu_inv *)range;

	hmmu_tls.changes--;
	if (!hmmu_mm_alive(inv->mm))
		return; /* forked meanwhile */
	/* Nobody attaches in the anchor: a plain release will do. Pairs with wait_open(). */
	if (inv->slot)
		hmmu_store_release(&inv->mm->slots[inv->slot - 1].state,
				   hmmu_slot_freed(inv->slot_state));
	else
		hmmu_add_seqcst(&hmmu_instance_peek()->crowd, (uint32_t)-1);
}

/* NULL: nobody watches, or there is nothing to change. */
static struct hmmu_instance *prepare(struct hmmu_source_event *ev,
				     enum mmu_notifier_event event, unsigned long start,
				     unsigned long end)
{
	struct hmmu_instance *inst = hmmu_instance_peek();

	ev->n = 0;
	ev->muted = 0;
	ev->tells = ev->failed = false;
	ev->event = event;
	if (!inst || start >= end || !hmmu_load_acquire(&inst->anchor))
		return NULL;
	return inst;
}

static void open_everywhere(struct hmmu_source_event *ev, struct hmmu_instance *inst,
			    unsigned long start, unsigned long end)
{
	const struct hmmu_source *net;
	struct mm_struct *mm;

	hmmu_lockdep_acquire(HMMU_CLASS_CHANGE, ev, 0);
	enter_anchor(inst, ev, start, end);
	for_each_watched (inst, mm)
		open_in(ev, mm, start, end);
	net = hmmu_load_acquire(&inst->net);
	if (net)
		net->before(start, end);
	if (net && (ev->event == MMU_NOTIFY_UNMAP || ev->event == MMU_NOTIFY_CLEAR))
		net->mute(ev);
}

void hmmu_source_start(struct hmmu_source_event *ev, enum mmu_notifier_event event,
		       unsigned long start, unsigned long end)
{
	struct hmmu_instance *inst = prepare(ev, event, start, end);

	if (inst)
		open_everywhere(ev, inst, start, end);
}

void hmmu_source_start_removing(struct hmmu_source_event *ev, unsigned long start,
				unsigned long end)
{
	struct hmmu_instance *inst = prepare(ev, MMU_NOTIFY_CLEAR, start, end);

	ev->tells = true;
	if (inst)
		open_everywhere(ev, inst, start, end);
}

bool hmmu_source_start_quiet(struct hmmu_source_event *ev, enum mmu_notifier_event event,
			     unsigned long start, unsigned long end)
{
	struct hmmu_instance *inst = prepare(ev, event, start, end);
	struct mm_struct *mm;

	if (!inst)
		return true;
	/* A net may have to be waited for. */
	if (hmmu_load_acquire(&inst->net))
		return false;
	enter_anchor(inst, ev, start, end);
	for_each_watched (inst, mm) {
		mmu_notifier_range_init(&ev->range[ev->n], event, 0, mm, start, end);
		if (hmmu_start_quiet(&ev->range[ev->n])) {
			hmmu_source_end(ev);
			return false;
		}
		ev->n++;
	}
	return true;
}

void hmmu_source_end(struct hmmu_source_event *ev)
{
	if (!ev->n)
		return;
	if (ev->muted)
		hmmu_source_userfaultfd.unmute(ev);
	while (ev->n > 1)
		mmu_notifier_invalidate_range_end(&ev->range[--ev->n]);
	leave_anchor(&ev->range[0]);
	hmmu_lockdep_release(ev);
	ev->n = 0;
}

static void wait_a_little(void)
{
#ifdef HMMU_SCHED
	hmmu_cpu_relax();
#else
	const struct timespec ts = {0, 50000};

	hmmu_syscall(SYS_nanosleep, &ts, NULL);
#endif
}

/* Without sources of their own there is nobody to ask. */
static bool net_watches(struct hmmu_instance *inst, unsigned long start, unsigned long end)
{
	struct mm_struct *mm;

	for_each_watched (inst, mm) {
		if (mm->net && hmmu_mm_watches(mm, start, end - 1))
			return true;
	}
	return false;
}

/* Is the use of @slot that was @seen still going on? */
static bool in_use(const struct hmmu_slot *slot, uint64_t seen)
{
	uint64_t state = hmmu_load_seqcst(&slot->state);

	return (state & SLOT_KIND) != SLOT_FREE &&
	       state / SLOT_GENERATION == seen / SLOT_GENERATION;
}

/* A reader waits for the end by itself; a cache of another's that is told of starts and ends
 * does not. */
static bool somebody_is_fed(struct hmmu_instance *inst)
{
	struct mm_struct *mm;

	for_each_watched (inst, mm) {
		if (hmmu_load_seqcst(&mm->gate) & GATE_WHOLE)
			return true;
	}
	return false;
}

static bool wait_for_end(const struct hmmu_slot *slot, uint64_t seen)
{
	for (unsigned int n = 0; in_use(slot, seen); n++) {
		if (n < ENDS_SPINS)
			hmmu_cpu_relax();
		else if (n < ENDS_SPINS + ENDS_NAPS)
			wait_a_little();
		else
			return false;
	}
	return true;
}

/* The other thread may have been stopped, by a signal handler that waits for this one: its end
 * is told here, too. */
static void tell_instead(unsigned long start, unsigned long end)
{
	struct hmmu_source_event ev;

	hmmu_source_start(&ev, MMU_NOTIFY_UNMAP, start, end);
	hmmu_source_end(&ev);
}

/*
 * Another thread's munmap has freed [start, end), its end is not told yet, and this thread's
 * mmap was given the address:
 *
 *	unmapper			mapper
 *	slot OPEN; start
 *					look-up in a fed cache: caches what is dying
 *	munmap
 *					mmap: the same address; waits for the slot
 *	end: fed: the cache drops it
 *	slot FREE			hands the address out
 *					[Required: no look-up of it hits the old one]
 *
 * OPEN is seen: it was stored before the system call, and the kernel's lock orders that before
 * this thread's. Not waited for: whoever is inside a change itself (a signal handler, a
 * callback: it might be this very one); fork, the change of everything from 0 on,
 * which waits for allocators' locks that this thread may hold, and frees nothing; and changes
 * for which there was no slot.
 */
static void wait_for_ends(struct hmmu_instance *inst, unsigned long start, unsigned long end)
{
	struct mm_struct *anchor = hmmu_load_acquire(&inst->anchor);
	unsigned int high = anchor ? hmmu_load_seqcst(&anchor->slots_high) : 0;

	if (hmmu_tls.changes)
		return;
	for (unsigned int i = 0; i < high; i++) {
		struct hmmu_slot *slot = &anchor->slots[i];
		uint64_t seen = hmmu_load_seqcst(&slot->state);
		uint64_t first = hmmu_load_acquire(&slot->start);
		uint64_t last = hmmu_load_acquire(&slot->last);

		if ((seen & SLOT_KIND) != SLOT_OPEN || first >= end || last < start || !first)
			continue;
		if (!wait_for_end(slot, seen)) {
			tell_instead(start, end);
			return;
		}
	}
}

void hmmu_source_handed_out(unsigned long start, unsigned long end)
{
	struct hmmu_instance *inst = hmmu_instance_peek();
	const struct hmmu_source *net;

	if (!inst || start >= end)
		return;
	if (somebody_is_fed(inst))
		wait_for_ends(inst, start, end);
	net = hmmu_load_acquire(&inst->net);
	if (!net || !net_watches(inst, start, end))
		return;
	while (net->settle(NULL) == -EAGAIN)
		wait_a_little();
}

void hmmu_source_unwatch(unsigned int bit)
{
	struct hmmu_instance *inst = hmmu_instance_peek();
	struct mm_struct *mm;

	if (!inst)
		return;
	for_each_watched (inst, mm) {
		if (!(mm->sources & bit))
			continue;
		/* Before epoch: pairs with watch_again(). */
		hmmu_or_seqcst(&mm->lost_sources, bit);
		/* Pairs with the loads of epoch in read.c. */
		hmmu_or_seqcst(&mm->epoch, EPOCH_UNWATCHED);
		hmmu_event_signal(mm);
	}
}

void hmmu_source_lost(unsigned int bit)
{
	struct hmmu_instance *inst = hmmu_instance_peek();
	struct mm_struct *mm;

	if (!inst)
		return;
	hmmu_source_unwatch(bit);
	for_each_watched (inst, mm) {
		if (mm->sources & bit)
			hmmu_mm_tell_lost(mm);
	}
}

static void watch_again(struct mm_struct *mm, unsigned int bit)
{
	if (hmmu_and_seqcst(&mm->lost_sources, ~bit) & ~bit)
		return;
	hmmu_and_seqcst(&mm->epoch, ~EPOCH_UNWATCHED);
	/* Lost to another one meanwhile: pairs with hmmu_source_unwatch(). */
	if (hmmu_load_seqcst(&mm->lost_sources))
		hmmu_or_seqcst(&mm->epoch, EPOCH_UNWATCHED);
}

void hmmu_source_check(void)
{
	struct hmmu_instance *inst = hmmu_instance_peek();

	if (!inst || !hmmu_load_acquire(&inst->anchor))
		return;
	for (unsigned int i = 0; i < HMMU_SOURCES; i++) {
		const struct hmmu_source *source = hmmu_sources[i];

		if (!source->intact || !(hmmu_load_relaxed(&inst->opened) & source->bit) ||
		    source->intact())
			continue;
		hmmu_source_unwatch(source->bit);
		hmmu_or_seqcst(&inst->broken, source->bit);
		hmmu_reclaimer_poke(inst);
	}
}

/* Everybody first: what was missed may be what a callback drops. */
static void mend(struct hmmu_instance *inst, const struct hmmu_source *source)
{
	struct mm_struct *mm;
	int ret;

	hmmu_lock(&inst->lock);
	ret = source->open();
	hmmu_unlock(&inst->lock);
	hmmu_source_lost(source->bit);
	if (ret)
		return;
	for_each_watched (inst, mm) {
		if (mm->sources & source->bit)
			watch_again(mm, source->bit);
	}
}

void hmmu_source_mend(void)
{
	struct hmmu_instance *inst = hmmu_instance_peek();
	uint32_t broken;

	hmmu_source_check();
	broken = inst ? hmmu_xchg_seqcst(&inst->broken, 0) : 0;
	for (unsigned int i = 0; i < HMMU_SOURCES && broken; i++)
		if (broken & hmmu_sources[i]->bit)
			mend(inst, hmmu_sources[i]);
}

/* Until every change that is in flight now is over. */
static void wait_open(struct hmmu_instance *inst)
{
	struct mm_struct *anchor = inst->anchor;
	unsigned int high;

	if (!anchor || HMMU_PLANTED(ATTACH_NO_WAIT))
		return;
	high = hmmu_load_seqcst(&anchor->slots_high);
	for (unsigned int i = 0; i < high; i++) {
		/* Pairs with the claim in enter_anchor(). */
		uint64_t seen = hmmu_load_seqcst(&anchor->slots[i].state);

		while (in_use(&anchor->slots[i], seen))
			wait_a_little();
	}
	while (hmmu_load_seqcst(&inst->crowd))
		wait_a_little();
}

static uint32_t free_place(const struct hmmu_instance *inst)
{
	uint32_t i = 0;

	while (i < HMMU_WATCHED_MAX && inst->watched[i])
		i++;
	return i;
}

int hmmu_source_anchor(void)
{
	struct hmmu_instance *inst = hmmu_instance_peek();
	struct mm_struct *anchor;

	if (inst->anchor)
		return 0;
	anchor = hmmu_mm_get(inst);
	if (!anchor)
		return -ENOMEM;
	hmmu_store_seqcst(&inst->anchor, anchor);
	return 0;
}

/* With the instance's lock. */
int hmmu_source_attach(struct mm_struct *mm)
{
	struct hmmu_instance *inst = hmmu_instance_peek();
	uint32_t i = free_place(inst);

	if (i == HMMU_WATCHED_MAX)
		return -EMFILE;
	/* Pairs with hmmu_source_start(). */
	hmmu_store_seqcst(&inst->watched[i], mm);
	if (i >= inst->nwatched)
		hmmu_store_seqcst(&inst->nwatched, i + 1);
	wait_open(inst);
	return 0;
}

/* With the instance's lock: afterwards no change is open in @mm. models/spin/source.pml SX1 */
void hmmu_source_detach(struct mm_struct *mm)
{
	struct hmmu_instance *inst = hmmu_instance_peek();

	for (uint32_t i = 0; i < HMMU_WATCHED_MAX; i++) {
		if (inst->watched[i] == mm)
			hmmu_store_seqcst(&inst->watched[i], NULL);
	}
	/* A change that found the place may not be open in @mm yet: it is in the anchor. */
	wait_open(inst);
}
