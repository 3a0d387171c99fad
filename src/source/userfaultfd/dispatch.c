// SPDX-License-Identifier: MIT
/*
 * dispatch.c - the dispatcher: events become invalidations, in the order in which they
 * were read. The mms that the events of one read hold undecided are decided when the start of
 * the last of them has counted itself in everybody that it hits.
 */
#include <errno.h>
#include <limits.h>

#include "arch/syscall.h"
#include "futex.h"
#include "notifier/notifier.h"
#include "source/userfaultfd/userfaultfd.h"

/* models/spin/source.pml SD1 */
static void start_in(struct mmu_notifier_range *range, struct mm_struct *mm,
		     enum mmu_notifier_event event, enum hmmu_phase phase, uint64_t start,
		     uint64_t end)
{
	mmu_notifier_range_init(range, event, 0, mm, start, end);
	range->phase = phase;
	mmu_notifier_invalidate_range_start(range);
}

/* A change that is over. */
static void happened(const struct uffd_event *ev, uint64_t start, uint64_t end)
{
	struct mmu_notifier_range range;

	if (start >= end)
		return; /* mremap() of an old length of 0 moves nothing */
	for (unsigned int i = 0; i < ev->n; i++) {
		start_in(&range, ev->mm[i], MMU_NOTIFY_UNMAP, HMMU_PHASE_AFTER, start, end);
		mmu_notifier_invalidate_range_end(&range);
	}
}

/* One whose end is not known: open until the census has seen its caller outside.
 * source.pml SD2 */
static void going(struct hmmu_uffd *u, const struct uffd_event *ev, enum hmmu_phase phase)
{
	struct uffd_removal *r = hmmu_removal_get(u);

	r->number = ev->number;
	r->n = ev->n;
	for (unsigned int i = 0; i < ev->n; i++)
		start_in(&r->range[i], ev->mm[i],
			 phase == HMMU_PHASE_LOST ? MMU_NOTIFY_UNMAP : MMU_NOTIFY_CLEAR, phase,
			 ev->start, ev->end);
	UFFD_GATE(STARTED, ev->start, ev->end);
	for (unsigned int i = 0; i < ev->n; i++)
		hmmu_lockdep_give(&r->range[i]);
	hmmu_removal_start(u, r);
}

static void decide(const struct uffd_event *ev)
{
	for (unsigned int i = 0; i < ev->n; i++) {
		/* Pairs with the loads of epoch in read.c. source.pml SD3 */
		hmmu_add_seqcst(&ev->mm[i]->epoch, EPOCH_CLEAR);
		hmmu_event_signal(ev->mm[i]);
	}
}

static void dispatch(struct hmmu_uffd *u, struct uffd_event *ev)
{
	UFFD_GATE(DISPATCH, ev->start, ev->end);
	switch (ev->what) {
	case UFFD_GONE:
		happened(ev, ev->start, ev->end);
		break;
	case UFFD_MOVED:
		if (!UFFD_PLANTED(NO_SOURCE))
			happened(ev, ev->start, ev->end);
		happened(ev, ev->to, ev->to_end);
		if (ev->along)
			hmmu_uffd_device()->arrived(ev->to, ev->to_end);
		hmmu_uffd_moved(u, ev->to, ev->to_end);
		break;
	case UFFD_GOING:
		if (!hmmu_uffd_muted(u, ev))
			going(u, ev, HMMU_PHASE_BEFORE);
		break;
	case UFFD_SPILLED:
		ev->start = 0;
		ev->end = ~0ULL;
		going(u, ev, HMMU_PHASE_LOST);
		break;
	case UFFD_NOTHING:
		break;
	}
	if (ev->what != UFFD_GOING)
		UFFD_GATE(STARTED, ev->start, ev->end);
	if (!ev->more)
		decide(ev);
	UFFD_GATE(DISPATCHED, ev->start, ev->end);
}

/* The ring was full. What was spilled is not known: everything, open until nobody can be
 * inside any call. */
static void dispatch_spilled(struct hmmu_uffd *u)
{
	for (unsigned int k = 0; k < HMMU_WATCHED_MAX; k++) {
		struct uffd_event ev = {
			.number = hmmu_load_seqcst(&u->dispatched),
			.n = 1,
			.end = ~0ULL,
		};

		/* Pairs with spill_one(), which leaves a place alone that is taken.
		 * source.pml SP3 */
		if (!hmmu_load_seqcst(&u->spill[k]))
			continue;
		ev.mm[0] = hmmu_load_relaxed(&u->spill_mm[k]);
		hmmu_store_seqcst(&u->spill[k], 0);
		hmmu_add_seqcst(&ev.mm[0]->epoch, EPOCH_STEP);
		going(u, &ev, HMMU_PHASE_LOST);
		decide(&ev);
	}
}

static bool take(struct hmmu_uffd *u, struct uffd_event *ev)
{
	uint64_t tail = hmmu_load_relaxed(&u->tail);

	/* Pairs with push(). */
	if (tail == hmmu_load_acquire(&u->head))
		return false;
	*ev = u->ring[tail % UFFD_RING];
	hmmu_store_release(&u->tail, tail + 1);
	return true;
}

/* All that has been read by now. source.pml SD5 */
static void run(struct hmmu_uffd *u)
{
	uint64_t spilled = hmmu_load_seqcst(&u->spilled);
	struct uffd_event ev;

	while (take(u, &ev)) {
		dispatch(u, &ev);
		if (!ev.more)
			hmmu_store_seqcst(&u->dispatched, ev.number);
	}
	dispatch_spilled(u);
	if (spilled > u->dispatched)
		hmmu_store_seqcst(&u->dispatched, spilled);
	hmmu_store_seqcst(&u->spill_done, spilled);
	hmmu_mutes_sweep(u);
	hmmu_uffd_wait_changes(u);
	if (hmmu_load_acquire(&u->lost) && !u->lost_told) {
		hmmu_source_lost(HMMU_SOURCE_USERFAULTFD);
		hmmu_store_seqcst(&u->lost_told, 1);
	}
}

bool hmmu_uffd_dispatching(void)
{
	return pthread_equal(hmmu_uffd->dispatcher, pthread_self());
}

void *hmmu_uffd_dispatcher(void *arg)
{
	struct hmmu_uffd *u = arg;

	for (;;) {
		/* source.pml SD4 */
		uint32_t seen = hmmu_load_seqcst(&u->head_futex);
		/* Before the ring: the reader pushes its last, then leaves. */
		bool last = hmmu_load_seqcst(&u->stopping) == 2;

		run(u);
		if (last)
			break;
		hmmu_futex_wait(&u->head_futex, seen, NULL);
	}
	return NULL;
}
