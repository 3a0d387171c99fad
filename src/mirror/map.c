// SPDX-License-Identifier: MIT
/* map.c - the reader's loop of mmu_notifier.h, in pieces; the races are mirror.h's. */
#include <errno.h>

#include "../export.h"
#include "../notifier/notifier.h"
#include "mirror.h"

struct piece {
	uint64_t start;
	uint64_t index;
	uint64_t n;
	unsigned int flags;
	const struct timespec *deadline;
};

static unsigned long requested(const struct piece *p)
{
	return HMM_PFN_REQ_FAULT | (p->flags & HMMU_MIRROR_WRITE ? HMM_PFN_REQ_WRITE : 0);
}

/* With the lock. Does what was begun with @seq hold still? */
static bool holds(struct hmmu_mirror *m, unsigned long seq, uint64_t drops)
{
	if (MIRROR_PLANTED(NO_RETRY))
		return true;
	return !mmu_interval_read_retry(&m->sub, seq) &&
	       (m->drops == drops || MIRROR_PLANTED(NO_DROPS));
}

static bool has_all(const struct hmmu_mirror *m, const struct piece *p)
{
	uint64_t want = requested(p);

	for (uint64_t i = 0; i < p->n; i++) {
		if ((dm_table_get(m, p->index + i) & want) != want)
			return false;
	}
	return true;
}

/* 1: all of it is there, and good under @seq; 0: it must be read; -EBUSY. */
static int look(struct hmmu_mirror *m, const struct piece *p, unsigned long seq,
		uint64_t *drops)
{
	int ret = -EBUSY;

	dm_lock(m);
	*drops = m->drops;
	if (holds(m, seq, m->drops)) {
		m->seq = seq;
		ret = has_all(m, p);
	}
	dm_unlock(m);
	return ret;
}

static int install(struct hmmu_mirror *m, const struct piece *p, unsigned long seq,
		   uint64_t drops, const unsigned long *pfns)
{
	int ret = -EBUSY;

	dm_lock(m);
	if (holds(m, seq, drops)) {
		m->seq = seq;
		for (uint64_t i = 0; i < p->n; i++)
			dm_table_set(m, p->index + i, pfns[i]);
		m->stats.faults += p->n;
		if (m->ops.install)
			m->ops.install(m->context, p->start, p->n, pfns);
		ret = 0;
	}
	dm_unlock(m);
	return ret;
}

static void abandon(struct hmmu_mirror *m, const struct piece *p, const unsigned long *pfns)
{
	if (m->ops.abandon)
		m->ops.abandon(m->context, p->start, p->n, pfns);
}

/* The driver's own entries. */
static int driver_faults(struct hmmu_mirror *m, const struct piece *p, unsigned long *pfns)
{
	unsigned long want = requested(p);
	int ret = m->ops.fault(m->context, p->start, p->n, p->flags, pfns);

	for (uint64_t i = 0; !ret && i < p->n; i++) {
		if ((pfns[i] & want) == want)
			continue;
		abandon(m, p, pfns);
		ret = -EINVAL;
	}
	return ret;
}

/* What is there, read between read_begin and the lock. */
static int find_out(struct hmmu_mirror *m, const struct piece *p, unsigned long seq,
		    unsigned long *pfns)
{
	struct hmm_range range = {
		.notifier = &m->sub,
		.notifier_seq = seq,
		.start = p->start,
		.end = p->start + (p->n << m->shift),
		.hmm_pfns = pfns,
		.default_flags = requested(p),
		.dev_private_owner = m->owner,
	};

	return m->ops.fault ? driver_faults(m, p, pfns) : hmm_range_fault(&range);
}

static int try_piece(struct hmmu_mirror *m, const struct piece *p, unsigned long *pfns)
{
	unsigned long seq;
	uint64_t drops;
	int ret;

	ret = hmmu_read_begin(&m->sub, &seq, p->deadline);
	if (ret)
		return ret;
	ret = look(m, p, seq, &drops);
	if (ret)
		return ret == 1 ? 0 : ret;
	MIRROR_GATE(LOOKED);
	ret = find_out(m, p, seq, pfns);
	MIRROR_GATE(FAULTED);
	/* An error of memory that changes meanwhile says nothing. */
	if (ret)
		return mmu_interval_check_retry(&m->sub, seq) ? -EBUSY : ret;
	ret = install(m, p, seq, drops, pfns);
	if (ret)
		abandon(m, p, pfns);
	return ret;
}

static int map_piece(struct hmmu_mirror *m, const struct piece *p)
{
	unsigned long pfns[MIRROR_PIECE];
	int ret;

	while ((ret = try_piece(m, p, pfns)) == -EBUSY) {
		hmmu_add_relaxed(&m->stats.retries, 1);
		if (hmmu_expired(p->deadline))
			return -ETIMEDOUT;
	}
	return ret;
}

/* Halved until the page is found that cannot be. */
static bool divides(int error)
{
	return error == -EFAULT || error == -EPERM;
}

HMMU_EXPORT int hmmu_mirror_map(struct hmmu_mirror *m, unsigned long start,
				unsigned long npages, unsigned int flags, unsigned long *done,
				const struct timespec *deadline)
{
	struct piece p = {.start = start, .flags = flags, .deadline = deadline};
	uint64_t left = npages, most = MIRROR_PIECE;
	int ret = 0;

	if (done)
		*done = 0;
	if (!m || (flags & ~HMMU_MIRROR_WRITE) || npages > MIRROR_TOP >> m->shift ||
	    !dm_has(m, start, npages << m->shift))
		return -EINVAL;
	if (!dm_alive(m))
		return -ENODEV;
	p.index = dm_index(m, start);
	ret = dm_table_reserve(m, p.index, npages);
	while (!ret && left) {
		p.n = left < most ? left : most;
		ret = map_piece(m, &p);
		if (divides(ret) && p.n > 1) {
			most = p.n / 2;
			ret = 0;
			continue;
		}
		if (ret)
			break;
		p.start += p.n << m->shift;
		p.index += p.n;
		left -= p.n;
	}
	if (done)
		*done = npages - left;
	return ret;
}

/* The reader's loop that reads nothing: what is left in the table is good (mirror.h). */
HMMU_EXPORT int hmmu_mirror_settle(struct hmmu_mirror *m, const struct timespec *deadline)
{
	const struct piece nothing = {.n = 0};
	unsigned long seq;
	uint64_t drops;
	int ret;

	if (!m)
		return -EINVAL;
	if (!dm_alive(m))
		return -ENODEV;
	for (;;) {
		ret = hmmu_read_begin(&m->sub, &seq, deadline);
		if (ret)
			return ret;
		MIRROR_GATE(BEGUN);
		if (look(m, &nothing, seq, &drops) == 1)
			return 0;
		hmmu_add_relaxed(&m->stats.retries, 1);
		if (hmmu_expired(deadline))
			return -ETIMEDOUT;
	}
}
