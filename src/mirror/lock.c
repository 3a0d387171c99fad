// SPDX-License-Identifier: MIT
/*
 * lock.c - the driver lock, and what runs under it in a callback.
 *
 * The lock is the mirror's own or the driver's. While a thread holds ours its thread-local
 * storage says so, as with an mm's lock: a signal handler that changes memory meanwhile
 * cannot call back, and has everybody told LOST instead (mm.c).
 */
#include <stddef.h>

#include "../export.h"
#include "../notifier/notifier.h"
#include "mirror.h"

static struct hmmu_mirror *dm_of(struct mmu_interval_notifier *sub)
{
	return (struct hmmu_mirror *)((char *)sub - offsetof(struct hmmu_mirror, sub));
}

void dm_lock(struct hmmu_mirror *m)
{
	struct mm_struct *outer = hmmu_tls.held;

	hmmu_driver_lock_acquired(&m->sub);
	if (m->ops.lock) {
		m->ops.lock(m->context);
		return;
	}
	hmmu_tls.held = m->mm;
	hmmu_signal_fence();
	(hmmu_lock)(&m->lock);
	m->outer = outer;
}

bool dm_trylock(struct hmmu_mirror *m)
{
	struct mm_struct *outer = hmmu_tls.held;
	bool got;

	if (m->ops.lock) {
		got = m->ops.trylock && m->ops.trylock(m->context);
	} else {
		hmmu_tls.held = m->mm;
		hmmu_signal_fence();
		got = (hmmu_trylock)(&m->lock);
		if (got)
			m->outer = outer;
		else
			hmmu_tls.held = outer;
	}
	if (got)
		hmmu_driver_lock_acquired(&m->sub);
	return got;
}

void dm_unlock(struct hmmu_mirror *m)
{
	struct mm_struct *outer = m->outer;

	hmmu_driver_lock_released(&m->sub);
	if (m->ops.lock) {
		m->ops.unlock(m->context);
		return;
	}
	(hmmu_unlock)(&m->lock);
	hmmu_signal_fence();
	hmmu_tls.held = outer;
	hmmu_signal_fence();
}

HMMU_EXPORT void hmmu_mirror_lock(struct hmmu_mirror *m)
{
	if (dm_alive(m))
		dm_lock(m);
}

HMMU_EXPORT void hmmu_mirror_unlock(struct hmmu_mirror *m)
{
	if (dm_alive(m))
		dm_unlock(m);
}

void dm_zap(struct hmmu_mirror *m, uint64_t start, uint64_t end, enum mmu_notifier_event event)
{
	uint64_t first = dm_index(m, start), last = dm_index(m, end - 1);

	if (MIRROR_PLANTED(LOSES_REST)) {
		first = 0;
		last = dm_index(m, m->end - 1);
	}
	m->stats.dropped += dm_table_drop(m, first, last, event);
	if (m->ops.invalidate)
		m->ops.invalidate(m->context, start, end, event);
}

/* mprotect and fork change what may be done, not what is there. */
static bool changes_content(const struct mmu_notifier_range *range)
{
	return range->phase == HMMU_PHASE_LOST || (range->event != MMU_NOTIFY_PROTECTION_VMA &&
						   range->event != MMU_NOTIFY_PROTECTION_PAGE);
}

/*
 * The callback: any thread, perhaps inside malloc. Stores, and a driver's own call; the
 * pages of the table that it writes are there (entries are), those of `noted` may have to
 * be faulted in.
 */
static bool invalidate(struct mmu_interval_notifier *sub,
		       const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	struct hmmu_mirror *m = dm_of(sub);
	uint64_t start = range->start > m->start ? range->start : m->start;
	uint64_t end = range->end < m->end ? range->end : m->end;

	start &= -dm_page(m);
	end = (end + dm_page(m) - 1) & -dm_page(m);
	if (mmu_notifier_range_blockable(range)) {
		dm_lock(m);
	} else if (!dm_trylock(m)) {
		hmmu_add_relaxed(&m->stats.refused, 1);
		return false;
	}
	mmu_interval_set_seq(sub, cur_seq);
	m->stats.invalidations++;
	if (start < end) {
		if (m->tracks && changes_content(range))
			dm_note(m, start, end);
		if (!MIRROR_PLANTED(KEEPS))
			dm_zap(m, start, end, range->event);
	}
	dm_unlock(m);
	return true;
}

const struct mmu_interval_notifier_ops dm_sub_ops = {.invalidate = invalidate};

HMMU_EXPORT void hmmu_mirror_drop(struct hmmu_mirror *m, unsigned long start, unsigned long end)
{
	if (!m || !dm_alive(m))
		return;
	if (start < m->start)
		start = m->start;
	if (end > m->end)
		end = m->end;
	if (start >= end)
		return;
	dm_lock(m);
	m->drops++;
	dm_zap(m, start & -dm_page(m), (end + dm_page(m) - 1) & -dm_page(m),
	       MMU_NOTIFY_EXCLUSIVE);
	dm_unlock(m);
}
