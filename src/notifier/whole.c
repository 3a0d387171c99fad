// SPDX-License-Identifier: MIT
/*
 * whole.c - the whole-mm form.
 *
 * A notifier has an id from the same counter as subscriptions. Start calls those with
 * id < inv.limit in the order of their ids, as far as inv.whole_progress; end calls
 * exactly those that are still registered and have id <= whole_progress, so that starts
 * and ends pair. A newcomer attaches to what is open (as an insert does, id >= limit):
 * such an invalidation tells it of neither, so register waits until all of them are
 * over: `owed` counts them, their ends count it down (G2).
 */
#include <errno.h>

#include "../export.h"
#include "../instance.h"
#include "../reclaim/reclaim.h"
#include "notifier.h"

/* With the lock. */
static struct hmmu_whole *first_above(struct mm_struct *mm, uint64_t id)
{
	struct hmmu_whole *w = mm->whole;

	while (w && w->id <= id)
		w = w->next;
	return w;
}

/* With the lock: the next to call, under its hazard. */
static struct hmmu_whole *take_next(struct hmmu_inv *inv, uint64_t after, uint64_t below)
{
	struct hmmu_whole *w = first_above(inv->mm, after);

	if (!w || w->id >= below)
		return NULL;
	hmmu_hazard_set(hmmu_inv_hazard(inv), w);
	return w;
}

static int call_start(struct hmmu_inv *inv, struct hmmu_whole *w)
{
	struct hmmu_frame frame = {w, hmmu_tls.frame, 1};
	int ret = 0;

	hmmu_tls.frame = &frame;
	hmmu_lockdep_acquire(HMMU_CLASS_CALLBACK, &frame,
			     HMMU_LOCKDEP_TRY | (inv->flags & MMU_NOTIFIER_RANGE_BLOCKABLE
							 ? 0
							 : HMMU_LOCKDEP_NONBLOCK));
	if (w->ops->invalidate_range_start)
		ret = w->ops->invalidate_range_start((struct mmu_notifier *)w,
						     (const struct mmu_notifier_range *)inv);
	hmmu_lockdep_release(&frame);
	hmmu_tls.frame = frame.outer;
	if (ret && mmu_notifier_range_blockable((const struct mmu_notifier_range *)inv)) {
		hmmu_report("refused-blockable", w);
		ret = 0;
	}
	return ret;
}

int hmmu_whole_start(struct hmmu_inv *inv)
{
	struct mm_struct *mm = inv->mm;
	int ret = 0;

	while (!ret) {
		struct hmmu_whole *w;

		hmmu_inv_lock(inv);
		w = take_next(inv, inv->whole_progress, inv->limit);
		hmmu_mm_unlock(mm);
		if (!w)
			break;
		ret = call_start(inv, w);
		if (!ret)
			inv->whole_progress = w->id;
		hmmu_hazard_move(mm, hmmu_inv_hazard(inv), NULL, inv->slot_state & SLOT_PAYS);
	}
	return ret ? -EAGAIN : 0;
}

static void call_end(struct hmmu_inv *inv, struct hmmu_whole *w)
{
	struct hmmu_frame frame = {w, hmmu_tls.frame, 1};

	hmmu_tls.frame = &frame;
	hmmu_lockdep_acquire(HMMU_CLASS_CALLBACK, &frame, HMMU_LOCKDEP_TRY);
	if (w->ops->invalidate_range_end)
		w->ops->invalidate_range_end((struct mmu_notifier *)w,
					     (const struct mmu_notifier_range *)inv);
	hmmu_lockdep_release(&frame);
	hmmu_tls.frame = frame.outer;
}

/* With the lock on entry and return, dropped around callbacks. */
void hmmu_whole_end(struct hmmu_inv *inv)
{
	struct mm_struct *mm = inv->mm;
	uint64_t after = 0;
	struct hmmu_whole *w;

	for (w = first_above(mm, inv->limit - 1); w && w->id < inv->end_limit; w = w->next)
		w->owed--;
	if (HMMU_PLANTED(EAGAIN_NO_END) && inv->state == INV_OPEN)
		return;
	while ((w = take_next(inv, after, inv->whole_progress + 1)) != NULL) {
		after = w->id;
		hmmu_mm_unlock(mm);
		call_end(inv, w);
		hmmu_hazard_move(mm, hmmu_inv_hazard(inv), NULL, inv->slot_state & SLOT_PAYS);
		hmmu_inv_lock(inv);
	}
}

/* With the lock. */
static void announce(struct mm_struct *mm)
{
	/* The store half of G2's pair. */
	hmmu_or_seqcst(&mm->gate, GATE_WHOLE);
	hmmu_settle_busy(mm);
}

/* With the lock. */
static void add_notifier(struct mm_struct *mm, struct hmmu_whole *w)
{
	struct hmmu_whole **link = &mm->whole;

	w->id = mm->next_id++;
	w->next = NULL;
	w->owed = 0;
	while (*link)
		link = &(*link)->next;
	*link = w;
}

/* With the lock. */
static void del_notifier(struct mm_struct *mm, struct hmmu_whole *w)
{
	struct hmmu_whole **link = &mm->whole;

	while (*link != w)
		link = &(*link)->next;
	*link = w->next;
	if (!mm->whole)
		hmmu_and_seqcst(&mm->gate, ~GATE_WHOLE);
	/* Pairs with the load in walk_call(). */
	hmmu_add_seqcst(&mm->removals, 1);
}

static bool nothing_owed(struct mm_struct *mm, const void *arg)
{
	const struct hmmu_whole *w = arg;
	bool none;

	hmmu_mm_lock(mm);
	none = w->owed == 0;
	hmmu_mm_unlock(mm);
	return none;
}

/* With the lock on entry, announced under the same hold; without it on return. */
static void register_locked(struct mm_struct *mm, struct hmmu_whole *w)
{
	struct hmmu_newcomer who = {0, 0, UINT64_MAX, &w->owed};

	w->mm = mm;
	add_notifier(mm, w);
	who.id = w->id;
	hmmu_attach(mm, &who);
	hmmu_mm_unlock(mm);
	if (!HMMU_PLANTED(REGISTER_NO_WAIT) && !nothing_owed(mm, w))
		hmmu_event_wait(mm, nothing_owed, w);
}

static bool usable(const struct mmu_notifier_ops *ops)
{
	return ops && (ops->invalidate_range_start || ops->invalidate_range_end);
}

/* It waits for everything that is open. */
static void check_register(const struct mm_struct *mm, const void *subject)
{
	if (HMMU_CONTEXT("register", HMMU_NOT_ANY, subject))
		return;
	if (hmmu_lockdep_in_own(mm, 0, UINT64_MAX))
		hmmu_report("register-inside-own-invalidation", subject);
	else
		hmmu_lockdep_might(HMMU_CLASS_INVALIDATION);
	(void)mm;
	(void)subject;
}

static int may_register(struct mm_struct *mm, const void *subject)
{
	if (!hmmu_mm_alive(mm))
		return -ENODEV;
	if (mm->sources == HMMU_SOURCE_USERFAULTFD)
		return -EOPNOTSUPP;
	check_register(mm, subject);
	/* Its own invalidation would never end. */
	return hmmu_tls.frame ? -EDEADLK : 0;
}

HMMU_EXPORT int mmu_notifier_register(struct mmu_notifier *pub, struct mm_struct *mm)
{
	struct hmmu_whole *w = (struct hmmu_whole *)pub;
	int ret;

	if (!w || !mm || !usable(w->ops))
		return -EINVAL;
	ret = may_register(mm, w);
	if (ret)
		return ret;
	hmmu_mm_lock(mm);
	announce(mm);
	w->users = 0;
	register_locked(mm, w);
	return 0;
}

HMMU_EXPORT void mmu_notifier_unregister(struct mmu_notifier *pub, struct mm_struct *mm)
{
	struct hmmu_whole *w = (struct hmmu_whole *)pub;
	bool overflow;

	if (!hmmu_mm_alive(mm))
		return;
	if (!HMMU_CONTEXT("remove", HMMU_NOT_ANY, w))
		hmmu_lockdep_might(HMMU_CLASS_CALLBACK);
	if (!w->mm) {
		hmmu_report("removed-twice", w);
		return;
	}
	if (w->ops->release)
		w->ops->release(pub, mm);
	hmmu_mm_lock(mm);
	del_notifier(mm, w);
	overflow = mm->overflow.n > 0;
	hmmu_mm_unlock(mm);
	hmmu_wait_callbacks(mm, w, overflow);
	w->mm = NULL;
}

/* With the lock. */
static struct hmmu_whole *find_get(struct mm_struct *mm, const struct mmu_notifier_ops *ops)
{
	struct hmmu_whole *w = mm->whole;

	while (w && (w->ops != ops || !w->users))
		w = w->next;
	if (w)
		w->users++;
	return w;
}

HMMU_EXPORT int mmu_notifier_get(const struct mmu_notifier_ops *ops, struct mm_struct *mm,
				 struct mmu_notifier **sub)
{
	struct mmu_notifier *mine;
	struct hmmu_whole *w;
	int ret;

	if (!sub || !mm || !usable(ops) || !ops->alloc_notifier || !ops->free_notifier)
		return -EINVAL;
	ret = may_register(mm, ops);
	if (ret)
		return ret;
	hmmu_mm_lock(mm);
	w = find_get(mm, ops);
	hmmu_mm_unlock(mm);
	if (w)
		goto found;
	mine = ops->alloc_notifier(mm);
	if (!mine)
		return -ENOMEM;
	mine->ops = ops;
	hmmu_mm_lock(mm);
	announce(mm);
	w = find_get(mm, ops);
	if (w) {
		/* Somebody was faster: the gate is his too. */
		hmmu_mm_unlock(mm);
		ops->free_notifier(mine);
		goto found;
	}
	w = (struct hmmu_whole *)mine;
	w->users = 1;
	register_locked(mm, w);
	*sub = mine;
	return 0;
found:
	/* Its register may still be waiting for what was open before it. */
	if (!nothing_owed(mm, w))
		hmmu_event_wait(mm, nothing_owed, w);
	*sub = (struct mmu_notifier *)w;
	return 0;
}

static void free_later(struct hmmu_work *work)
{
	struct hmmu_whole *w =
		(struct hmmu_whole *)((char *)work - offsetof(struct hmmu_whole, work));
	struct hmmu_instance *inst = hmmu_instance_peek();

	/* Taken off by put; whoever was calling it may still be. */
	hmmu_wait_callbacks(w->mm, w, true);
	w->ops->free_notifier((struct mmu_notifier *)w);
	hmmu_add_seqcst(&inst->frees_owed, (uint32_t)-1);
	hmmu_progress(inst);
}

HMMU_EXPORT void mmu_notifier_put(struct mmu_notifier *pub)
{
	struct hmmu_whole *w = (struct hmmu_whole *)pub;
	struct mm_struct *mm = w->mm;
	bool last;

	if (!hmmu_mm_alive(mm))
		return;
	(void)HMMU_CONTEXT("put", HMMU_NOT_ANY, w);
	hmmu_mm_lock(mm);
	last = --w->users == 0;
	if (last) {
		del_notifier(mm, w);
		hmmu_add_seqcst(&hmmu_instance_peek()->frees_owed, 1);
		/* Under the lock: a close that finds nobody subscribed finds this. */
		hmmu_defer_push(mm, &w->work, free_later);
	}
	hmmu_mm_unlock(mm);
	if (last) {
		hmmu_defer_wake(mm);
		hmmu_progress(hmmu_instance_peek());
	}
}
