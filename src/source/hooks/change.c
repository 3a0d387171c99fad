// SPDX-License-Identifier: MIT
/*
 * change.c - one change: start of every range, the call, the ends in the reverse order.
 *
 * A range's open invalidation is over a kilobyte (one place for each mm that may watch), so
 * each is in a frame of its own, and a call that takes one range away pays for one.
 */
#include <errno.h>
#include <sys/mman.h>

#include "arch/syscall.h"
#include "atomic.h"
#include "lockdep.h"
#include "source/hooks/hooks.h"

/* A walk over the brackets of a change: ours, each follower's, and then the call. */
struct walk {
	const struct hmmu_change *change;
	unsigned int next;     /* range */
	unsigned int follower; /* whose; 0: ours */
};

HMMU_HOOK long hmmu_hook_answer(long ret)
{
	if (!hmmu_is_err(ret))
		return ret;
	errno = (int)-ret;
	return -1;
}

HMMU_HOOK void hmmu_change_add(struct hmmu_change *change, enum mmu_notifier_event event,
			       unsigned long start, unsigned long end)
{
	struct hmmu_change_range *last;

	if (start >= end)
		return;
	if (change->n < HMMU_CHANGE_RANGES) {
		last = &change->range[change->n++];
		last->event = event;
		last->start = start;
		last->end = end;
		return;
	}
	last = &change->range[HMMU_CHANGE_RANGES - 1];
	if (start < last->start)
		last->start = start;
	if (end > last->end)
		last->end = end;
}

HMMU_HOOK bool hmmu_change_wanted(const struct hmmu_change *change)
{
	return hmmu_hook_watched() && !hmmu_chain_nested(change);
}

/* NULL: the system call itself is to be made. */
HMMU_HOOK static void *foreign_handler(const struct hmmu_change *c)
{
	void *foreign;

	if (c->hook == HMMU_HOOK_NR || hmmu_hook_without_tsan())
		return NULL;
	/* Pairs with the release in patch.c. */
	foreign = hmmu_load_acquire(&hmmu_hook_foreign[c->hook]);
	return foreign && !hmmu_chain_nested(c) ? foreign : NULL;
}

HMMU_HOOK static long call(const struct hmmu_change *c)
{
	void *foreign = foreign_handler(c);

	if (foreign && !HMMU_HOOK_PLANTED(NO_CHAIN))
		return hmmu_chain_call(c, foreign);
	if (c->bare)
		return c->bare(c);
	return hmmu_syscall_seen(c->nr, c->arg[0], c->arg[1], c->arg[2], c->arg[3], c->arg[4],
				 c->arg[5]);
}

HMMU_HOOK static long step(struct walk *w);

/* Userfaultfd tells of these alone; GUARD_INSTALL, files, and a file's other mappings that
 * MADV_REMOVE changes: not. */
HMMU_HOOK static bool removes(const struct hmmu_change *c, const struct hmmu_change_range *r)
{
	return c->hook == HMMU_HOOK_MADVISE && r == &c->range[0] &&
	       r->start == (unsigned long)c->arg[0] &&
	       (c->arg[2] == MADV_DONTNEED || c->arg[2] == MADV_FREE ||
		c->arg[2] == MADV_REMOVE || c->arg[2] == 24 /* DONTNEED_LOCKED */);
}

HMMU_HOOK __attribute__((noinline)) static long bracket(struct walk *w,
							const struct hmmu_change_range *r)
{
	struct hmmu_source_event ev;
	long ret;

	hmmu_lockdep_libc(r, w->change->caller, w->change->hook == HMMU_HOOK_BRK);
	if (removes(w->change, r))
		hmmu_source_start_removing(&ev, r->start, r->end);
	else
		hmmu_source_start(&ev, r->event, r->start, r->end);
	if (HMMU_HOOK_PLANTED(END_EARLY))
		hmmu_source_end(&ev);
	hmmu_lockdep_release(r);
	ret = step(w);
	ev.failed = hmmu_is_err(ret);
	if (!HMMU_HOOK_PLANTED(END_EARLY))
		hmmu_source_end(&ev);
	return ret;
}

HMMU_HOOK static long next_step(void *walk)
{
	return step(walk);
}

/* The next one's brackets: true if there is one that watches. Asked again after each start:
 * who comes now misses only calls that are about to be made (copies.h). */
HMMU_HOOK static bool next_follower(struct walk *w)
{
	/* Pairs with the release in hmmu_copies_serve(). */
	while (w->follower < hmmu_load_acquire(&hmmu_copies_n)) {
		w->next = 0;
		if (hmmu_copies[w->follower++]->watched() && !HMMU_HOOK_PLANTED(NO_FOLLOWERS))
			return true;
	}
	return false;
}

HMMU_HOOK static long step(struct walk *w)
{
	const struct hmmu_change_range *r;

	if (w->next == w->change->n && !next_follower(w))
		return call(w->change);
	r = &w->change->range[w->next++];
	if (!w->follower)
		return bracket(w, r);
	return hmmu_copies[w->follower - 1]->around(r->event, r->start, r->end, next_step, w);
}

HMMU_HOOK long hmmu_hook_make(const struct hmmu_change *change)
{
	struct walk w = {change, 0, 0};

	if (!change->n || !hmmu_change_wanted(change))
		return call(change);
	if (!hmmu_source_watched())
		w.next = change->n;
	return step(&w);
}

HMMU_HOOK void hmmu_hook_handed_out(unsigned long start, unsigned long end)
{
	uint32_t n;

	if (start >= end || !hmmu_hook_watched())
		return;
	if (hmmu_source_watched())
		hmmu_source_handed_out(start, end);
	n = hmmu_load_acquire(&hmmu_copies_n);
	for (uint32_t i = 0; i < n; i++)
		if (hmmu_copies[i]->watched())
			hmmu_copies[i]->handed_out(start, end);
}
