// SPDX-License-Identifier: MIT
/*
 * invalidate.c - start and end. The states, the counting rule and the races are drawn
 * in notifier.h.
 */
#include <errno.h>

#include "../export.h"
#include "../reclaim/reclaim.h"
#include "slot.h"

/* ---- start ------------------------------------------------------------ */

/* A round of the walk: what one hold of the lock found. */
struct walk {
	struct hmmu_inv *inv;
	struct hmmu_slot *slot;	  /* NULL: it has none */
	struct hmmu_found *found; /* the slot's */
	const void **hazard;
	struct hmmu_key called;	  /* callbacks up to and with this key are done */
	uint64_t removals;	  /* mm->removals at that hold */
	uint64_t next_id;	  /* mm's, too */
	struct hmmu_match *match; /* match[0, n): in found, or on the stack */
	size_t n;
	bool keeps; /* found may be filled */
	bool more;  /* there may be more behind match[n - 1] */
};

/* What replaces a mapping takes its registration with the net away. */
static uint64_t disarms(const struct hmmu_inv *inv, struct hmmu_sub *sub)
{
	if (sub->unarmed || inv->event == MMU_NOTIFY_CLEAR ||
	    inv->event == MMU_NOTIFY_PROTECTION_VMA || inv->event == MMU_NOTIFY_PROTECTION_PAGE)
		return 0;
	sub->unarmed = 1;
	return 1;
}

static inline void count(const struct hmmu_inv *inv, struct hmmu_sub *sub, bool net)
{
	uint64_t n = 1;

	if (__builtin_expect(net, 0))
		n += disarms(inv, sub);
	if (HMMU_PLANTED(START_ONLY))
		hmmu_store_release(&sub->ended, hmmu_load_relaxed(&sub->ended) + 1);
	/* Release: a reader that loads it has what came before (meeting 1). Pairs with the
	 * loads in read.c. */
	hmmu_store_release(&sub->begun, hmmu_load_relaxed(&sub->begun) + n);
}

/* With the lock: nobody came or went since this was found. */
static inline bool still_found(const struct hmmu_found *found, const struct hmmu_inv *inv)
{
	return found->removals == hmmu_load_relaxed(&inv->mm->removals) &&
	       found->next_id == inv->mm->next_id && found->start == inv->start &&
	       found->last == inv->end - 1;
}

/* Those before match[0] that are in found. */
static inline size_t known(const struct walk *w)
{
	return (size_t)(w->match - w->found->match);
}

/* With the lock: the next ones. How many. */
static inline size_t find(struct walk *w, bool first)
{
	struct hmmu_found *found = w->found;
	struct hmmu_inv *inv = w->inv;
	struct mm_struct *mm = inv->mm;
	uint64_t removals = hmmu_load_relaxed(&mm->removals);
	size_t got;

	if (w->slot && still_found(found, inv)) {
		got = found->n - known(w);
		w->more = got > HMMU_BATCH;
		w->keeps = false; /* it is */
		w->removals = removals;
		return w->more ? HMMU_BATCH : got;
	}
	if (w->slot) {
		found->removals = UINT64_MAX;
		/* They begin anew, or nobody came or went meanwhile and there is room. */
		w->keeps = first ||
			   (w->keeps && w->removals == removals && w->next_id == mm->next_id &&
			    known(w) + HMMU_BATCH <= HMMU_FOUND);
		if (!w->keeps)
			w->match = found->match;
	}
	w->removals = removals;
	w->next_id = mm->next_id;
	got = hmmu_itree_collect(&mm->tree, inv->start, inv->end - 1, w->called, w->match,
				 HMMU_BATCH);
	w->more = got == HMMU_BATCH;
	return got;
}

/* With the lock, after the last round: those are all there are. */
static inline void keep(const struct walk *w)
{
	struct hmmu_found *found = w->found;
	const struct hmmu_inv *inv = w->inv;

	found->start = inv->start;
	found->last = inv->end - 1;
	found->next_id = w->next_id;
	found->removals = w->removals;
	found->n = known(w) + w->n;
}

/* With the lock: counts those that the walk had not come to. How many are to be called; who has
 * counted himself is not. */
static inline size_t count_found(struct walk *w, size_t got)
{
	struct hmmu_match *match = w->match;
	struct hmmu_inv *inv = w->inv;
	const struct hmmu_key counted = inv->progress, last = hmmu_match_key(&match[got - 1]);
	const bool all = hmmu_key_less(counted, hmmu_match_key(&match[0]));
	const bool net = inv->mm->net != NULL;
	const uint64_t limit = inv->limit;
	size_t n = 0;

	for (size_t i = 0; i < got; i++) {
		struct hmmu_sub *sub = match[i].sub;

		if (sub->id >= limit)
			continue;
		if (all || hmmu_key_less(counted, hmmu_match_key(&match[i])))
			count(inv, sub, net);
		if (n != i)
			match[n] = match[i];
		n++;
	}
	/* Who was passed over is counted by its id. */
	if (hmmu_key_less(counted, last))
		inv->progress = last;
	if (n == 0)
		w->called = last;
	else
		hmmu_hazard_set(w->hazard, match[0].sub);
	return n;
}

/* With the lock: the next ones to call, counted if the walk had not come so far. May
 * find none and yet more to look at. models/spin/core.pml WK2 */
static inline void walk_next(struct walk *w, bool first)
{
	struct mm_struct *mm = w->inv->mm;
	size_t got = find(w, first);

	w->n = got ? count_found(w, got) : 0;
	if (!w->slot)
		return;
	if (w->n > 1)
		hmmu_store_relaxed(&w->slot->batched, 1);
	if (!w->keeps)
		return;
	w->keeps = w->n == got;
	if (w->keeps && !w->more)
		keep(w);
	/* Nobody at all: who has counted itself keeps its cells. */
	if (first && !got && !mm->whole)
		hmmu_summary_heal(&mm->summary, &mm->tree, w->inv->start, w->inv->end - 1);
}

/* Without the lock, under a hazard. false: refused. */
static inline bool call(struct hmmu_inv *inv, struct hmmu_sub *sub, struct hmmu_frame *frame)
{
	uint64_t seq = hmmu_load_relaxed(&sub->begun) + hmmu_load_relaxed(&inv->mm->epoch);
	bool done;

	if (HMMU_PLANTED(CALLBACK_SKIPPED))
		return true;
	frame->subject = sub;
	frame->set_seq = 0;
	hmmu_lockdep_acquire(HMMU_CLASS_CALLBACK, frame,
			     HMMU_LOCKDEP_TRY |
				     (hmmu_inv_blockable(inv) ? 0 : HMMU_LOCKDEP_NONBLOCK));
	done = sub->ops->invalidate((struct mmu_interval_notifier *)sub,
				    (const struct mmu_notifier_range *)inv, seq);
	hmmu_lockdep_release(frame);
	if (done) {
		/* A driver that knows its own change by the owner may ignore it. */
		if (!frame->set_seq && !inv->owner)
			hmmu_report("callback-without-set-seq", sub);
		return true;
	}
	if (!hmmu_inv_blockable(inv))
		return false;
	hmmu_report("refused-blockable", sub);
	return true;
}

/* Without the lock. false: one refused. */
static inline bool walk_call(struct walk *w)
{
	struct hmmu_frame frame = {NULL, hmmu_tls.frame, 0};
	struct hmmu_inv *inv = w->inv;
	struct mm_struct *mm = inv->mm;
	const struct hmmu_match *match = w->match;
	const bool pays = inv->slot_state & SLOT_PAYS;
	size_t i = 0, n = w->n;
	bool accepted;

	hmmu_tls.frame = &frame;
	for (;;) {
		accepted = call(inv, match[i].sub, &frame);
		if (!accepted || ++i == n)
			break;
		hmmu_hazard_move(mm, w->hazard, match[i].sub, pays);
		/* Pairs with the count in remove and its barrier. core.pml HZ2 */
		if (hmmu_load_seqcst(&mm->removals) != w->removals &&
		    !HMMU_PLANTED(NO_HAZARD_RECHECK)) {
			w->more = true; /* it may be gone: walk again from called */
			break;
		}
	}
	hmmu_tls.frame = frame.outer;
	hmmu_hazard_move(mm, w->hazard, NULL, pays);
	if (accepted) {
		w->called = hmmu_match_key(&match[i - 1]);
		w->match += i;
	}
	/* Release: who does not find it any more finds the hazards as they are. */
	if (n > 1 && w->slot)
		hmmu_store_release(&w->slot->batched, 0);
	return accepted;
}

/* With the lock, released on return: calls every overlapping subscription that was
 * inserted before. false: one refused. core.pml WK1 WK3 */
static inline bool walk_all(struct hmmu_inv *inv)
{
	struct mm_struct *mm = inv->mm;
	struct hmmu_match here[HMMU_BATCH]; /* a KiB, touched only by who has no slot */
	struct walk w;

	w.inv = inv;
	w.slot = inv->slot ? &mm->slots[inv->slot - 1] : NULL;
	w.found = inv->slot ? &mm->found[inv->slot - 1] : NULL;
	w.match = inv->slot ? w.found->match : here;
	w.hazard = hmmu_inv_hazard(inv);
	w.called = HMMU_KEY_FIRST;
	w.next_id = 0;
	w.keeps = false;
	for (bool first = true;; first = false) {
		walk_next(&w, first);
		/* Its end is like that of one whom the summary told that there is nobody: it
		 * looks whether somebody came later and has pinned it. */
		if (w.n == 0 && first && w.slot && !w.called.sub && !mm->whole)
			hmmu_slot_unpin(inv);
		hmmu_mm_unlock(mm);
		if (w.n > 0 && !walk_call(&w))
			return false;
		if (!w.more)
			return true;
		if (!w.slot)
			w.match = here;
		hmmu_inv_lock(inv);
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
	/* Any with id < limit was there when the walk took the lock, and so was its bit. */
	if (accepted && (hmmu_load_relaxed(&mm->gate) & GATE_WHOLE))
		accepted = hmmu_whole_start(inv) == 0;
	if (accepted)
		return 0;
	/* What was known before may not have been counted to its end. */
	if (inv->slot)
		mm->found[inv->slot - 1].removals = UINT64_MAX;
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
	hmmu_lockdep_start(inv, hmmu_inv_blockable(inv));
	inv->state = INV_OPEN;
	if (HMMU_PLANTED(SUMMARY_BEFORE_SLOT))
		early = !summary_says(inv);
	if (!hmmu_slot_claim(mm, inv)) {
		inv->slot = 0;
		inv->slot_state = SLOT_PAYS;
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

/* What has ended, and who sleeps for that: without the lock a subscription may be gone, its
 * address alone is used then. models/spin/wait.pml WT5 */
struct wake {
	size_t n;
	uint64_t *word[HMMU_BATCH];
};

/* With the lock. */
static inline void end_one(struct hmmu_sub *sub, struct wake *wake)
{
	/* Release: G5. Pairs with the load in try_begin(). core.pml EN3; wait.pml WT4 */
	hmmu_store_release(&sub->ended, hmmu_load_relaxed(&sub->ended) + 1);
	if (__builtin_expect(sub->waiters > 0, 0))
		wake->word[wake->n++] = &sub->ended;
}

/* With the lock, which is not held across a system call. */
__attribute__((noinline)) static void wake_up(struct hmmu_inv *inv, struct wake *wake)
{
	hmmu_mm_unlock(inv->mm);
	while (wake->n > 0)
		hmmu_wake_readers(wake->word[--wake->n]);
	hmmu_inv_lock(inv);
}

static inline bool counted(const struct hmmu_inv *inv, const struct hmmu_match *m)
{
	return m->sub->id >= inv->limit || !hmmu_key_less(inv->progress, hmmu_match_key(m));
}

/* With the lock, which is let go between batches: those behind @after. */
__attribute__((noinline)) static void end_subs(struct hmmu_inv *inv, struct hmmu_key after)
{
	uint64_t end_limit = HMMU_PLANTED(END_COUNTS_LATE) ? UINT64_MAX : inv->end_limit;
	struct hmmu_match match[HMMU_BATCH];
	struct wake wake;
	size_t got;

	wake.n = 0;
	do {
		got = hmmu_itree_collect(&inv->mm->tree, inv->start, inv->end - 1, after, match,
					 HMMU_BATCH);
		for (size_t i = 0; i < got; i++) {
			if (match[i].sub->id < end_limit && counted(inv, &match[i]))
				end_one(match[i].sub, &wake);
		}
		if (got == HMMU_BATCH)
			after = hmmu_match_key(&match[got - 1]);
		if (wake.n || got == HMMU_BATCH)
			wake_up(inv, &wake);
	} while (got == HMMU_BATCH);
}

/*
 * With the lock: if all that the walk counted are in @found, nobody was removed since (so they
 * are still there) and nobody attached, then those are all there is to release: no second
 * search. Who was inserted since and did not attach came after the end had begun.
 */
static inline bool all_found(const struct hmmu_inv *inv, const struct hmmu_found *found)
{
	return !inv->attached && inv->walked && !HMMU_PLANTED(END_COUNTS_LATE) &&
	       (hmmu_load_relaxed(&inv->mm->removals) == found->removals ||
		(HMMU_PLANTED(SINGLE_GONE) && found->removals != UINT64_MAX));
}

/* The same as end_subs(), for those, as long as that is so. */
static inline void end_found(struct hmmu_inv *inv, const struct hmmu_found *found)
{
	const struct hmmu_match *match = found->match;
	const size_t n = found->n;
	size_t i = 0, stop;
	struct wake wake; /* not the words */

	wake.n = 0;
	for (;;) {
		stop = n - i > HMMU_BATCH ? i + HMMU_BATCH : n;
		for (; i < stop; i++)
			end_one(match[i].sub, &wake);
		if (__builtin_expect(i == n && wake.n == 0, 1))
			return;
		wake_up(inv, &wake);
		if (i == n)
			return;
		if (!all_found(inv, found)) {
			end_subs(inv, hmmu_match_key(&match[i - 1]));
			return;
		}
	}
}

/* The invalidation is over, or was refused: everyone it counted is released.
 * core.pml EN2 */
__attribute__((noinline)) static void close_watched(struct hmmu_inv *inv)
{
	struct mm_struct *mm = inv->mm;
	const struct hmmu_found *found = inv->slot ? &mm->found[inv->slot - 1] : NULL;

	hmmu_inv_lock(inv);
	if (inv->slot &&
	    hmmu_load_relaxed(&mm->slots[inv->slot - 1].pinned) != inv->slot_state) {
		/* A newcomer pinned it, and then found that it was over. core.pml EN7 */
		hmmu_slot_free(inv);
		hmmu_mm_unlock(mm);
		return;
	}
	inv->ending = 1;
	inv->end_limit = mm->next_id;
	/* state is OPEN still: refused. */
	if (!HMMU_PLANTED(START_ONLY) &&
	    !(HMMU_PLANTED(EAGAIN_NO_UNDO) && inv->state == INV_OPEN)) {
		if (found && all_found(inv, found))
			end_found(inv, found);
		else
			end_subs(inv, HMMU_KEY_FIRST);
	}
	if (mm->whole)
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
