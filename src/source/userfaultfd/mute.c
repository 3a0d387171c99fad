// SPDX-License-Identifier: MIT
/*
 * mute.c - what another source brackets is not handled again.
 *
 * A change that replaces mappings: the hook takes their registration away first, and the
 * kernel has nothing to tell. Nobody misses anything by it: whoever subscribes there has
 * been invalidated by the bracket and arms again before it reads; the rest of the mapping
 * stays registered.
 *
 * A REMOVE keeps the mapping, and taking away the registration of a part would split it.
 * So the hook leaves a note, and the dispatcher knows the event by it:
 *
 *	hook of T			dispatcher
 *	start(X)
 *	note X: IN
 *	madvise: event queued,
 *	  T sleeps			... read: T may go on
 *	  pages go
 *	note: OUT, valid until the
 *	  number read last
 *	end(X)				event within X, note OUT, the call succeeded: T's
 *					bracket covers it (IN: wait for OUT)
 *					note OUT, number passed: free
 *
 * Another thread's raw madvise of the same pages at the same time must not be taken for
 * T's, since T's end is not its end. T's call tells of each page once, in the order of the
 * addresses: an event that does not continue what was known by the note is handled as raw,
 * and the census waits for everybody, the first one's caller included. That T's call tells
 * at all follows from the pages being registered when the event came, if nothing was
 * registered or given back in between: `changes` counts those, and a note from before the
 * last, or while one is under way, is not believed:
 *
 *	arm			hook of T		R, raw
 *	changes + CHANGING
 *				note; madvise: not
 *				registered: untold
 *	registers				madvise: told, goes on
 *				OUT; end
 *	changes + CHANGED
 *	    [Required: R's event is not taken for T's]
 *
 * Context: a hook. No lock; no note free: the event is handled as raw.
 */
#include "arch/syscall.h"
#include "source/userfaultfd/userfaultfd.h"

static void leave_note(struct hmmu_uffd *u, struct hmmu_source_event *ev, uint64_t start,
		       uint64_t end)
{
	for (uint32_t i = 0; i < UFFD_MUTES; i++) {
		struct uffd_mute *m = &u->mutes[i];
		uint32_t state = hmmu_load_relaxed(&m->state);
		uint32_t claimed = state + MUTE_GENERATION + MUTE_CLAIMED;

		if ((state & MUTE_KIND) != MUTE_FREE ||
		    !hmmu_cas_seqcst(&m->state, &state, claimed))
			continue;
		/* Release: covers() looks at the generation after it has loaded these. */
		hmmu_store_release(&m->start, start);
		hmmu_store_release(&m->end, end);
		hmmu_store_release(&m->changes, hmmu_load_seqcst(&u->changes));
		hmmu_store_release(&m->from, hmmu_load_seqcst(&u->marked));
		hmmu_store_release(&m->matched, 0);
		/* Pairs with covers(). models/spin/mute.pml MU1 */
		hmmu_store_seqcst(&m->state, claimed - MUTE_CLAIMED + MUTE_IN);
		ev->muted = i + 1;
		return;
	}
}

/* Who notes something meanwhile may not tell. Pairs with covers(). mute.pml MU7
 * Pages that are on a device still (a handler inside a lock of ours, a callback of the
 * dispatcher changes memory; there was no memory to bring them home): the event says what
 * becomes of them. */
static void unregister(struct hmmu_uffd *u, uint64_t start, uint64_t end)
{
	const struct hmmu_uffd_device *device = hmmu_uffd_device();

	if (device && device->away(start, end))
		return;
	hmmu_add_seqcst(&u->changes, UFFD_CHANGING);
	hmmu_uffd_unregister(u->fd, start, end);
	hmmu_add_seqcst(&u->changes, UFFD_CHANGED);
}

void hmmu_uffd_mute(struct hmmu_source_event *ev)
{
	struct hmmu_uffd *u = hmmu_uffd;
	uint64_t start = ev->range[0].start, end = ev->range[0].end;

	if (!hmmu_extents_overlap(u, start, end) || hmmu_load_acquire(&u->lost))
		return;
	if (ev->tells)
		leave_note(u, ev, start, end);
	else if (ev->event != MMU_NOTIFY_CLEAR)
		unregister(u, start, end);
	/* If that was refused, or the number is not ours any more: the event will come, and
	 * is handled. (A userfaultfd of the program's that was given our number would miss
	 * an UNMAP: it is what closing others' descriptors costs.) */
}

void hmmu_uffd_unmute(struct hmmu_source_event *ev)
{
	struct hmmu_uffd *u = hmmu_uffd;
	struct uffd_mute *m = &u->mutes[ev->muted - 1];
	uint32_t state = hmmu_load_relaxed(&m->state);

	ev->muted = 0;
	if ((state & MUTE_KIND) != MUTE_IN)
		return; /* a forked child */
	/* Every event of the call has been read, under a number that is not higher.
	 * mute.pml MU2 */
	hmmu_store_relaxed(&m->until, hmmu_load_seqcst(&u->marked));
	/* Pairs with the sweep: one of the two sees that all has been dispatched.
	 * mute.pml MU3 */
	hmmu_store_relaxed(&m->failed, ev->failed);
	state += MUTE_OUT - MUTE_IN;
	hmmu_store_seqcst(&m->state, state);
	if (hmmu_load_seqcst(&u->dispatched) >= hmmu_load_relaxed(&m->until))
		hmmu_cas_seqcst(&m->state, &state, state - MUTE_OUT);
}

static bool covers(struct hmmu_uffd *u, struct uffd_mute *m, const struct uffd_event *ev)
{
	uint32_t state = hmmu_load_seqcst(&m->state);
	uint64_t changes = hmmu_load_seqcst(&u->changes);

	if ((state & MUTE_KIND) != MUTE_IN && (state & MUTE_KIND) != MUTE_OUT)
		return false;
	if (hmmu_load_relaxed(&m->from) >= ev->number)
		return false;
	if (hmmu_load_relaxed(&m->start) > ev->start || hmmu_load_relaxed(&m->end) < ev->end ||
	    hmmu_load_relaxed(&m->changes) != changes || (changes & UFFD_CHANGING_MASK))
		return false;
	if ((state & MUTE_KIND) == MUTE_OUT && hmmu_load_relaxed(&m->until) < ev->number)
		return false;
	/* The first begins where the call does, each other one where the last ended. */
	if (ev->start !=
	    (hmmu_load_relaxed(&m->matched) ? m->match_end : hmmu_load_relaxed(&m->start)))
		return false;
	/* Another use of the note has another generation. */
	return hmmu_load_after_loads(&m->state) / MUTE_GENERATION == state / MUTE_GENERATION;
}

static bool is_in(struct uffd_mute *m)
{
	return (hmmu_load_seqcst(&m->state) & MUTE_KIND) == MUTE_IN;
}

bool hmmu_uffd_muted(struct hmmu_uffd *u, const struct uffd_event *ev)
{
	for (unsigned int i = 0; i < UFFD_MUTES; i++) {
		struct uffd_mute *m = &u->mutes[i];

		/* Only a call that succeeded has told of its pages. It waits for no one but the
		 * reader of events. mute.pml MU4 */
		while (covers(u, m, ev) && is_in(m))
			hmmu_uffd_pause(1000);
		if (!covers(u, m, ev) || hmmu_load_relaxed(&m->failed))
			continue;
		m->match_end = ev->end;
		hmmu_store_relaxed(&m->matched, 1);
		return true;
	}
	return false;
}

/* Notes whose events have all been dispatched. mute.pml MU5 */
void hmmu_mutes_sweep(struct hmmu_uffd *u)
{
	uint64_t dispatched = hmmu_load_seqcst(&u->dispatched);

	for (unsigned int i = 0; i < UFFD_MUTES; i++) {
		struct uffd_mute *m = &u->mutes[i];
		uint32_t state = hmmu_load_seqcst(&m->state);

		if ((state & MUTE_KIND) == MUTE_OUT &&
		    hmmu_load_relaxed(&m->until) <= dispatched)
			hmmu_cas_seqcst(&m->state, &state, state - MUTE_OUT);
	}
}
