// SPDX-License-Identifier: MIT
/*
 * invalidate.c - start and end. The states, the counting rule and the races are drawn
 * in notifier.h.
 */
#include <errno.h>

#include "../export.h"
#include "../reclaim/reclaim.h"
#include "slot.h"

static bool blockable(const struct hmmu_inv *inv)
{
	return inv->flags & MMU_NOTIFIER_RANGE_BLOCKABLE;
}

void hmmu_inv_lock(struct hmmu_inv *inv)
{
	if (blockable(inv))
		hmmu_mm_lock(inv->mm);
	else
		hmmu_mm_lock_nonblock(inv->mm);
}

const void **hmmu_inv_hazard(struct hmmu_inv *inv)
{
	return inv->slot ? &inv->mm->slots[inv->slot - 1].hazard : &inv->hazard;
}

void hmmu_hazard_move(struct hmmu_inv *inv, const void *next)
{
	/* Pairs with the loads in callbacks_running(). models/spin/core.pml HZ1 */
	hmmu_store_seqcst(hmmu_inv_hazard(inv), next);
	hmmu_event_signal(inv->mm);
}

/* ---- start ------------------------------------------------------------ */

/* A round of the walk: what one hold of the lock found. */
struct walk {
	struct hmmu_inv *inv;
	struct hmmu_key called; /* callbacks up to and with this key are done */
	uint64_t removals;	/* mm->removals at that hold */
	size_t n;
	bool more; /* there may be more behind match[n - 1] */
	struct hmmu_match match[HMMU_BATCH];
};

/* What replaces a mapping takes its registration with the net away. */
static uint64_t disarms(const struct hmmu_inv *inv, struct hmmu_sub *sub)
{
	if (!inv->mm->net || sub->unarmed || inv->event == MMU_NOTIFY_CLEAR ||
	    inv->event == MMU_NOTIFY_PROTECTION_VMA || inv->event == MMU_NOTIFY_PROTECTION_PAGE)
		return 0;
	sub->unarmed = 1;
	return 1;
}

static void count(const struct hmmu_inv *inv, struct hmmu_sub *sub)
{
	uint64_t n = 1 + disarms(inv, sub);

	if (HMMU_PLANTED(START_ONLY))
		hmmu_store_release(&sub->ended, hmmu_load_relaxed(&sub->ended) + 1);
	/* Release: a reader that loads it has what came before (meeting 1). Pairs with the
	 * loads in read.c. */
	hmmu_store_release(&sub->begun, hmmu_load_relaxed(&sub->begun) + n);
}

/* With the lock: the next ones to call, counted if the walk had not come so far. May
 * find none and yet more to look at. models/spin/core.pml WK2 */
static void walk_next(struct walk *w)
{
	struct hmmu_inv *inv = w->inv;
	struct mm_struct *mm = inv->mm;
	struct hmmu_key after = w->called;
	size_t got;

	w->n = 0;
	got = hmmu_itree_collect(&mm->tree, inv->start, inv->end - 1, after, w->match,
				 HMMU_BATCH);
	for (size_t i = 0; i < got; i++) {
		struct hmmu_sub *sub = w->match[i].sub;

		after = hmmu_match_key(&w->match[i]);
		if (sub->id >= inv->limit)
			continue; /* it has counted itself */
		if (hmmu_key_less(inv->progress, after)) {
			count(inv, sub);
			inv->progress = after;
		}
		w->match[w->n++] = w->match[i];
	}
	w->more = got == HMMU_BATCH;
	w->removals = hmmu_load_relaxed(&mm->removals);
	if (w->n == 0) {
		w->called = after;
		return;
	}
	/* Under the lock: a remove that comes after sees it. Pairs with the loads in
	 * callbacks_running(). */
	hmmu_store_seqcst(hmmu_inv_hazard(inv), w->match[0].sub);
}

/* Without the lock, under a hazard. false: refused. */
static bool call(struct hmmu_inv *inv, struct hmmu_sub *sub)
{
	struct hmmu_frame frame = {sub, hmmu_tls.frame, 0};
	uint64_t seq = hmmu_load_relaxed(&sub->begun) + hmmu_load_relaxed(&sub->mm->epoch);
	bool done;

	if (HMMU_PLANTED(CALLBACK_SKIPPED))
		return true;
	hmmu_tls.frame = &frame;
	hmmu_lockdep_acquire(HMMU_CLASS_CALLBACK, &frame,
			     HMMU_LOCKDEP_TRY | (blockable(inv) ? 0 : HMMU_LOCKDEP_NONBLOCK));
	done = sub->ops->invalidate((struct mmu_interval_notifier *)sub,
				    (const struct mmu_notifier_range *)inv, seq);
	hmmu_lockdep_release(&frame);
	hmmu_tls.frame = frame.outer;
	if (done) {
		/* A driver that knows its own change by the owner may ignore it. */
		if (!frame.set_seq && !inv->owner)
			hmmu_report("callback-without-set-seq", sub);
		return true;
	}
	if (!blockable(inv))
		return false;
	hmmu_report("refused-blockable", sub);
	return true;
}

/* Without the lock. false: one refused. */
static bool walk_call(struct walk *w)
{
	struct mm_struct *mm = w->inv->mm;
	bool accepted = true;

	for (size_t i = 0; i < w->n && accepted; i++) {
		if (i > 0) {
			hmmu_hazard_move(w->inv, w->match[i].sub);
			/* Pairs with the count in remove: G3's Dekker pair. core.pml HZ2 */
			if (hmmu_load_seqcst(&mm->removals) != w->removals &&
			    !HMMU_PLANTED(NO_HAZARD_RECHECK)) {
				w->more = true; /* it may be gone: walk again from called */
				break;
			}
		}
		accepted = call(w->inv, w->match[i].sub);
		w->called = hmmu_match_key(&w->match[i]);
	}
	hmmu_hazard_move(w->inv, NULL);
	return accepted;
}

/* With the lock. */
static void note_single(struct hmmu_slot *slot, const struct walk *w)
{
	slot->single = w->n == 1 && !w->more ? w->match[0].sub : NULL;
	slot->single_removals = w->removals;
}

/* With the lock, released on return: calls every overlapping subscription that was
 * inserted before. false: one refused. core.pml WK1 WK3 */
static bool walk_all(struct hmmu_inv *inv)
{
	struct mm_struct *mm = inv->mm;
	struct walk w;

	w.inv = inv; /* not the whole of it: match[] is half a KiB */
	w.called = HMMU_KEY_FIRST;

	walk_next(&w);
	if (inv->slot)
		note_single(&mm->slots[inv->slot - 1], &w);
	/* Nobody at all: who has counted itself keeps its cells. Its end is like that of one
	 * whom the summary told so: it looks whether somebody came later and has pinned it. */
	if (w.n == 0 && !w.called.sub && !mm->whole && inv->slot) {
		hmmu_summary_heal(&mm->summary, &mm->tree, inv->start, inv->end - 1);
		hmmu_slot_unpin(inv);
	}
	hmmu_mm_unlock(mm);
	for (;;) {
		if (w.n > 0 && !walk_call(&w))
			return false;
		if (!w.more)
			return true;
		hmmu_inv_lock(inv);
		walk_next(&w);
		hmmu_mm_unlock(mm);
	}
}

static void close_watched(struct hmmu_inv *inv);

/* Somebody may watch, or there was no slot. */
__attribute__((noinline)) static int start_watched(struct hmmu_inv *inv)
{
	struct mm_struct *mm = inv->mm;
	bool accepted;

	hmmu_inv_lock(inv);
	hmmu_slot_pin(inv);
	if (!inv->slot) {
		inv->hazard = NULL;
		hmmu_overflow_add(&mm->overflow, inv);
	}
	if (inv->limit > mm->next_id)
		inv->limit = mm->next_id;
	inv->walked = 1;
	accepted = walk_all(inv);
	if (accepted)
		accepted = hmmu_whole_start(inv) == 0;
	if (accepted)
		return 0;
	close_watched(inv);
	hmmu_lockdep_end(inv);
	inv->state = INV_DONE;
	return -EAGAIN;
}

/*
 * A signal handler whose thread holds a lock of ours: atomics only. A change that is over
 * but of which nobody has been told yet lends its mark: there are never more than are
 * open at once.
 */
static int start_undecided(struct hmmu_inv *inv)
{
	struct mm_struct *mm = inv->mm;
	uint64_t pending = hmmu_load_relaxed(&mm->lost_pending);

	if (HMMU_PLANTED(SIGNAL_IGNORED)) {
		inv->state = INV_NOTHING;
		return 0;
	}
	while (pending && !hmmu_cas_seqcst(&mm->lost_pending, &pending, pending - 1))
		;
	/* Pairs with the loads of epoch in read.c. */
	hmmu_add_seqcst(&mm->epoch, pending ? EPOCH_STEP : EPOCH_MARK);
	inv->state = INV_UNDECIDED;
	return 0;
}

static inline bool watched(struct mm_struct *mm, uint64_t start, uint64_t last)
{
	/* The load half of G2's pair, as those in the summary. models/spin/core.pml ST1 */
	uint64_t gate = hmmu_load_seqcst(&mm->gate);

	return gate &&
	       ((gate & GATE_WHOLE) || hmmu_summary_watched(&mm->summary, gate, start, last));
}

bool hmmu_mm_watches(struct mm_struct *mm, uint64_t start, uint64_t last)
{
	return watched(mm, start, last);
}

static inline bool summary_says(struct hmmu_inv *inv)
{
	return watched(inv->mm, inv->start, inv->end - 1);
}

static int start(struct hmmu_inv *inv)
{
	struct mm_struct *mm = inv->mm;
	bool early = false;

	if (inv->state != INV_INIT && inv->state != INV_DONE) {
		hmmu_report("start-without-init", inv);
		return -EINVAL;
	}
	if (!mm || inv->start >= inv->end)
		return -EINVAL;
	if (!hmmu_mm_alive(mm)) {
		inv->state = INV_NOTHING;
		return 0;
	}
	if (hmmu_tls.held)
		return start_undecided(inv);
	hmmu_lockdep_start(inv, blockable(inv));
	inv->state = INV_OPEN;
	if (HMMU_PLANTED(SUMMARY_BEFORE_SLOT))
		early = !summary_says(inv);
	if (!hmmu_slot_claim(mm, inv)) {
		inv->slot = 0;
		return start_watched(inv);
	}
	if (early || !summary_says(inv))
		return 0;
	return start_watched(inv);
}

/* As start(), for who must not run a callback: -EAGAIN, and nothing is open, if one would
 * have to run, or if that is not known without the lock. */
int hmmu_start_quiet(struct mmu_notifier_range *range)
{
	struct hmmu_inv *inv = (struct hmmu_inv *)range;
	struct mm_struct *mm = inv->mm;

	if (!hmmu_mm_alive(mm)) {
		inv->state = INV_NOTHING;
		return 0;
	}
	if (hmmu_tls.held || !hmmu_slot_claim(mm, inv))
		return -EAGAIN;
	inv->state = INV_OPEN;
	if (!summary_says(inv))
		return 0;
	/* Who attached meanwhile has counted it: the end counts it back. */
	mmu_notifier_invalidate_range_end(range);
	return -EAGAIN;
}

/* ---- end -------------------------------------------------------------- */

static bool counted(const struct hmmu_inv *inv, const struct hmmu_sub *sub, struct hmmu_key key)
{
	if (sub->id >= inv->end_limit && !HMMU_PLANTED(END_COUNTS_LATE))
		return false;
	return sub->id >= inv->limit || !hmmu_key_less(inv->progress, key);
}

/* With the lock: one batch of `ended`. How many words of @wake have sleepers. */
static size_t end_next(struct hmmu_inv *inv, struct hmmu_key *after, uint64_t **wake,
		       bool *more)
{
	struct hmmu_match match[HMMU_BATCH];
	size_t got, n = 0;

	got = hmmu_itree_collect(&inv->mm->tree, inv->start, inv->end - 1, *after, match,
				 HMMU_BATCH);
	for (size_t i = 0; i < got; i++) {
		struct hmmu_sub *sub = match[i].sub;

		*after = hmmu_match_key(&match[i]);
		if (!counted(inv, sub, *after))
			continue;
		/* Release: G5. Pairs with the load in try_begin(). core.pml EN3;
		 * wait.pml WT4 */
		hmmu_store_release(&sub->ended, hmmu_load_relaxed(&sub->ended) + 1);
		if (sub->waiters)
			wake[n++] = &sub->ended;
	}
	*more = got == HMMU_BATCH;
	return n;
}

static void end_subs(struct hmmu_inv *inv)
{
	struct hmmu_key after = HMMU_KEY_FIRST;
	uint64_t *wake[HMMU_BATCH];
	bool more = true;
	size_t n;

	while (more) {
		n = end_next(inv, &after, wake, &more);
		if (!more && n == 0)
			return;
		/* The lock is not held across a system call, nor for long. The subscription may
		 * be gone by then: its address alone is used. models/spin/wait.pml WT5 */
		hmmu_mm_unlock(inv->mm);
		while (n > 0)
			hmmu_wake_readers(wake[--n]);
		hmmu_inv_lock(inv);
	}
}

/*
 * With the lock: if the walk found exactly one, nobody was removed since (so it is still
 * there) and nobody attached, then that one is all there is to release: no second walk.
 */
static struct hmmu_sub *only_one(const struct hmmu_inv *inv)
{
	const struct hmmu_slot *slot;

	if (!inv->slot || !inv->walked || inv->attached)
		return NULL;
	slot = &inv->mm->slots[inv->slot - 1];
	if (!slot->single)
		return NULL;
	if (hmmu_load_relaxed(&inv->mm->removals) != slot->single_removals &&
	    !HMMU_PLANTED(SINGLE_GONE))
		return NULL;
	return slot->single;
}

/* The same as end_subs(), for one. */
static void end_single(struct hmmu_inv *inv, struct hmmu_sub *sub)
{
	bool asleep = sub->waiters > 0;

	/* Release: G5. Pairs with the load in try_begin(). */
	hmmu_store_release(&sub->ended, hmmu_load_relaxed(&sub->ended) + 1);
	if (!asleep)
		return;
	hmmu_mm_unlock(inv->mm);
	hmmu_wake_readers(&sub->ended);
	hmmu_inv_lock(inv);
}

/* The invalidation is over, or was refused: everyone it counted is released.
 * core.pml EN2 */
__attribute__((noinline)) static void close_watched(struct hmmu_inv *inv)
{
	struct mm_struct *mm = inv->mm;
	struct hmmu_sub *single;

	hmmu_inv_lock(inv);
	if (inv->slot &&
	    hmmu_load_relaxed(&mm->slots[inv->slot - 1].pinned) != inv->slot_state) {
		/* A newcomer pinned it, and then found that it was over. core.pml EN7 */
		hmmu_slot_free(inv);
		hmmu_mm_unlock(mm);
		return;
	}
	single = only_one(inv);
	inv->ending = 1;
	inv->end_limit = mm->next_id;
	/* state is OPEN still: refused. */
	if (!HMMU_PLANTED(START_ONLY) &&
	    !(HMMU_PLANTED(EAGAIN_NO_UNDO) && inv->state == INV_OPEN)) {
		if (single)
			end_single(inv, single);
		else
			end_subs(inv);
	}
	hmmu_whole_end(inv);
	if (inv->slot)
		hmmu_slot_free(inv);
	else
		hmmu_overflow_del(&mm->overflow, inv);
	hmmu_mm_unlock(inv->mm);
	hmmu_event_signal(mm);
}

static void end(struct hmmu_inv *inv)
{
	struct mm_struct *mm = inv->mm;

	switch (inv->state) {
	case INV_OPEN:
		inv->state = INV_DONE;
		if (!hmmu_mm_alive(mm))
			return; /* forked between start and end */
		if (hmmu_tls.held)
			hmmu_report("end-of-another-context", inv);
		hmmu_lockdep_end(inv);
		if (!inv->slot || !hmmu_slot_release(inv))
			close_watched(inv);
		return;
	case INV_UNDECIDED:
		inv->state = INV_DONE;
		/* Undecided until hmmu_mm_deliver_lost(). Pairs with wait_decided(). */
		hmmu_add_seqcst(&mm->lost_pending, 1);
		hmmu_event_signal(mm);
		hmmu_defer_wake(mm);
		return;
	case INV_NOTHING:
		inv->state = INV_DONE;
		return;
	default:
		hmmu_report("end-without-start", inv);
	}
}

/* ---- remove's side ---------------------------------------------------- */

static unsigned int own_frames(const void *subject)
{
	unsigned int n = 0;

	for (const struct hmmu_frame *f = hmmu_tls.frame; f; f = f->outer)
		n += f->subject == subject;
	return n;
}

bool hmmu_in_callback_of(const void *subject)
{
	return own_frames(subject) > 0;
}

static unsigned int callbacks_running(struct mm_struct *mm, const void *subject)
{
	unsigned int high = hmmu_load_seqcst(&mm->slots_high), n = 0;

	for (unsigned int i = 0; i < high; i++)
		/* Pairs with hmmu_hazard_move(). core.pml RM2 */
		n += hmmu_load_seqcst(&mm->slots[i].hazard) == subject;
	return n;
}

static unsigned int overflow_running(struct mm_struct *mm, const void *subject)
{
	struct hmmu_inv *head[OVERFLOW_HEADS];
	unsigned int lists, n = 0;

	hmmu_mm_lock(mm);
	lists = hmmu_overflow_heads(&mm->overflow, 0, UINT64_MAX, head);
	while (lists-- > 0)
		for (struct hmmu_inv *inv = head[lists]; inv; inv = inv->next)
			n += hmmu_load_seqcst(&inv->hazard) == subject;
	hmmu_mm_unlock(mm);
	return n;
}

/* Those of this thread are an error of its (reported): it does not wait for itself. */
static bool only_own(struct mm_struct *mm, const void *subject)
{
	return callbacks_running(mm, subject) <= own_frames(subject);
}

static bool only_own_overflow(struct mm_struct *mm, const void *subject)
{
	return callbacks_running(mm, subject) + overflow_running(mm, subject) <=
	       own_frames(subject);
}

void hmmu_wait_callbacks(struct mm_struct *mm, const void *subject, bool overflow)
{
	bool (*over)(struct mm_struct *, const void *) =
		overflow ? only_own_overflow : only_own;

	if (HMMU_PLANTED(REMOVE_NO_WAIT))
		return;
	if (!over(mm, subject))
		hmmu_event_wait(mm, over, subject);
}

/* ---- the public names ------------------------------------------------- */

static struct hmmu_inv *inside(struct mmu_notifier_range *range)
{
	return (struct hmmu_inv *)range;
}

HMMU_EXPORT void mmu_notifier_range_init_owner(struct mmu_notifier_range *range,
					       enum mmu_notifier_event event,
					       unsigned int flags, struct mm_struct *mm,
					       unsigned long start, unsigned long end,
					       void *owner)
{
	struct hmmu_inv *inv = inside(range);

	inv->mm = mm;
	inv->start = start;
	inv->end = end;
	inv->flags = flags;
	inv->event = event;
	inv->phase = HMMU_PHASE_BEFORE;
	inv->state = INV_INIT;
	inv->owner = owner;
}

HMMU_EXPORT void mmu_notifier_range_init(struct mmu_notifier_range *range,
					 enum mmu_notifier_event event, unsigned int flags,
					 struct mm_struct *mm, unsigned long start,
					 unsigned long end)
{
	mmu_notifier_range_init_owner(range, event, flags, mm, start, end, NULL);
}

HMMU_EXPORT int mmu_notifier_invalidate_range_start(struct mmu_notifier_range *range)
{
	range->flags |= MMU_NOTIFIER_RANGE_BLOCKABLE;
	return start(inside(range));
}

HMMU_EXPORT int mmu_notifier_invalidate_range_start_nonblock(struct mmu_notifier_range *range)
{
	range->flags &= ~MMU_NOTIFIER_RANGE_BLOCKABLE;
	return start(inside(range));
}

HMMU_EXPORT void mmu_notifier_invalidate_range_end(struct mmu_notifier_range *range)
{
	end(inside(range));
}
