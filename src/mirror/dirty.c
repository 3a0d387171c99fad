// SPDX-License-Identifier: MIT
/*
 * dirty.c - what has changed since the last call.
 *
 * Two sets of pages. `noted`: the callback was told that they change. `pending`: they have
 * changed, and nobody has been told yet. A page moves from the first to the second when its
 * change is over, never before: who reads it while the change is open may read the old.
 *
 *	dirty()				munmap + mmap of page X
 *					start; callback: X noted
 *	read_begin waits
 *					X is new; end
 *	lock; !read_retry: noted -> pending; unlock
 *	scan: pending |= written
 *	reports X, whose new content the caller reads [Required]
 *
 * In between the mapping may be replaced again. Then it is noted again, for the next call; and
 * the scan finds a mapping that is not registered (-EAGAIN: begin again, which arms it), or
 * one that another reader has armed.
 *
 * A DEVICE'S WRITE through the kernel (copy.c: process_vm_writev) pins the page, which counts
 * as a write, and copies without page tables:
 *
 *	device, driver lock held	dirty()
 *	pins X: written
 *					scan: X, marked again
 *					lock, unlock [waits]
 *	copies; unlock
 *					reports X; the caller reads the copy [Required]
 *
 * of every mirror of this process that has a part of the range: the list, instance.h.
 *
 * Nothing of `pending` is lost when something fails: bits go only when they are reported.
 */
#include <errno.h>

#include "../export.h"
#include "../hmm/cleared.h"
#include "../instance.h"
#include "../notifier/notifier.h"
#include "../notifier/pool.h"
#include "mirror.h"

static uint64_t bytes_of(uint64_t pages)
{
	return (pages + 63) / 64 * 8;
}

int dm_bits_init(struct dm_bits *bits, uint64_t pages)
{
	bits->word = hmmu_map_kept(bytes_of(pages));
	bits->low = ~0ULL;
	bits->high = 0;
	return bits->word ? 0 : -ENOMEM;
}

void dm_bits_free(struct dm_bits *bits, uint64_t pages)
{
	if (bits->word)
		hmmu_unmap(bits->word, bytes_of(pages));
	bits->word = NULL;
}

/* Bits [from, to] of a word. */
static uint64_t mask(uint64_t from, uint64_t to)
{
	return (~0ULL << from) & (~0ULL >> (63 - to));
}

void dm_bits_set(struct dm_bits *bits, uint64_t first, uint64_t n)
{
	uint64_t last = first + n - 1;

	for (uint64_t w = first / 64; w <= last / 64; w++)
		bits->word[w] |=
			mask(w == first / 64 ? first % 64 : 0, w == last / 64 ? last % 64 : 63);
	if (first / 64 < bits->low)
		bits->low = first / 64;
	if (last / 64 >= bits->high)
		bits->high = last / 64 + 1;
}

void dm_note(struct hmmu_mirror *m, uint64_t start, uint64_t end)
{
	dm_bits_set(&m->noted, dm_index(m, start), (end - start) / MIRROR_PAGE);
}

/* Both locks. */
static void ripen(struct hmmu_mirror *m)
{
	struct dm_bits *from = &m->noted, *to = &m->pending;

	for (uint64_t w = from->low; w < from->high; w++) {
		if (!MIRROR_PLANTED(NO_NOTES))
			to->word[w] |= from->word[w];
		from->word[w] = 0;
	}
	if (from->low < to->low)
		to->low = from->low;
	if (from->high > to->high)
		to->high = from->high;
	from->low = ~0ULL;
	from->high = 0;
}

/* Everything armed, nothing open, what is over in `pending`. */
static int settle(struct hmmu_mirror *m, unsigned long *seq, const struct timespec *deadline)
{
	bool good;
	int ret;

	do {
		ret = hmmu_read_begin(&m->sub, seq, deadline);
		if (ret)
			return ret;
		MIRROR_GATE(WAITED);
		dm_lock(m);
		good = !mmu_interval_read_retry(&m->sub, *seq);
		if (good) {
			m->seq = *seq;
			ripen(m);
		}
		dm_unlock(m);
		if (!good && hmmu_expired(deadline))
			return -ETIMEDOUT;
	} while (!good);
	return 0;
}

/* A mapping is replaced only with an event: what was judged is so while nothing moves. */
static int judge(struct hmmu_mirror *m, unsigned long seq)
{
	int ret;

	if (m->judged && m->private_seq == seq)
		return 0;
	m->judged = false;
	ret = dm_kinds(m->start, m->end);
	if (ret)
		return ret;
	m->judged = true;
	m->private_seq = seq;
	return 0;
}

static int scan(struct hmmu_mirror *m, uint64_t start, uint64_t end)
{
	int ret;

	if (MIRROR_PLANTED(NO_SCAN))
		return 0;
	hmmu_add_relaxed(&m->stats.scans, 1);
	if (m->started)
		return dm_scan(m, start, end, false);
	/* An earlier tracker's marks must not hide anything. */
	ret = dm_scan(m, m->start, m->end, true);
	m->started = !ret;
	return ret;
}

static int collect(struct hmmu_mirror *m, uint64_t start, uint64_t end,
		   const struct timespec *deadline)
{
	unsigned long seq = 0;
	int ret;

	if (MIRROR_PLANTED(NO_ARM))
		return scan(m, start, end);
	for (;;) {
		ret = settle(m, &seq, deadline);
		if (!ret)
			ret = judge(m, seq);
		MIRROR_GATE(SETTLED);
		if (!ret)
			ret = scan(m, start, end);
		if (ret == -EOPNOTSUPP && mmu_interval_check_retry(&m->sub, seq))
			ret = -EAGAIN;
		if (ret != -EAGAIN)
			return ret;
		if (hmmu_expired(deadline))
			return -ETIMEDOUT;
	}
}

/* Every device's write that was under way is over. */
static void barrier(uint64_t start, uint64_t end)
{
	struct hmmu_instance *inst = hmmu_instance_peek();

	if (!inst || MIRROR_PLANTED(NO_BARRIER))
		return;
	hmmu_lock(&inst->mirror_lock);
	for (struct hmmu_mirror *m = inst->mirrors; m; m = m->next) {
		if (m->start >= end || m->end <= start)
			continue;
		dm_lock(m);
		dm_unlock(m);
	}
	hmmu_unlock(&inst->mirror_lock);
}

/* The first page at or above @at, below @end, whose bit is @set. */
static uint64_t next_bit(const struct dm_bits *bits, uint64_t at, uint64_t end, bool set)
{
	while (at < end) {
		uint64_t word = bits->word[at / 64];

		if (!set)
			word = ~word;
		word &= ~0ULL << (at % 64);
		if (word) {
			at = (at & -64ULL) + (uint64_t)__builtin_ctzll(word);
			return at < end ? at : end;
		}
		at = (at & -64ULL) + 64;
	}
	return end;
}

static void clear(struct dm_bits *bits, uint64_t first, uint64_t n)
{
	uint64_t last = first + n - 1;

	for (uint64_t w = first / 64; w <= last / 64; w++)
		bits->word[w] &= ~mask(w == first / 64 ? first % 64 : 0,
				       w == last / 64 ? last % 64 : 63);
}

static int report(struct hmmu_mirror *m, uint64_t start, uint64_t end, hmmu_mirror_dirty_fn fn,
		  void *arg)
{
	struct dm_bits *bits = &m->pending;
	uint64_t from = dm_index(m, start), to = dm_index(m, end - 1) + 1;
	uint64_t at = from, low = bits->low * 64, high = bits->high * 64;

	if (bits->low >= bits->high)
		return 0;
	if (at < low)
		at = low;
	if (high > to)
		high = to;
	while ((at = next_bit(bits, at, high, true)) < high) {
		uint64_t n = next_bit(bits, at, high, false) - at;
		int ret = fn(arg, m->start + at * MIRROR_PAGE, n);

		if (ret)
			return ret;
		clear(bits, at, n);
		hmmu_add_relaxed(&m->stats.reported, n);
		at += n;
	}
	/* All of it was looked at, and nothing is left. */
	if (from <= low && to >= bits->high * 64) {
		bits->low = ~0ULL;
		bits->high = 0;
	}
	return 0;
}

HMMU_EXPORT int hmmu_mirror_dirty(struct hmmu_mirror *m, unsigned long start, size_t length,
				  hmmu_mirror_dirty_fn fn, void *arg,
				  const struct timespec *deadline)
{
	uint64_t end = start + length;
	int ret;

	if (!m || !fn || !m->tracks || !dm_has(m, start, length))
		return -EINVAL;
	if (!dm_alive(m))
		return -ENODEV;
	hmmu_lock(&m->dirty_lock);
	ret = collect(m, start, end, deadline);
	MIRROR_GATE(SCANNED);
	if (!ret) {
		barrier(start, end);
		ret = report(m, start, end, fn, arg);
	}
	hmmu_unlock(&m->dirty_lock);
	return ret;
}

void hmmu_mirror_cleared(uint64_t start, uint64_t end)
{
	struct hmmu_instance *inst = hmmu_instance_peek();

	if (!inst)
		return;
	hmmu_lock(&inst->mirror_lock);
	for (struct hmmu_mirror *m = inst->mirrors; m; m = m->next) {
		uint64_t from = start > m->start ? start : m->start;
		uint64_t to = end < m->end ? end : m->end;

		if (!m->tracks || from >= to)
			continue;
		dm_lock(m);
		dm_note(m, from, to);
		dm_unlock(m);
	}
	hmmu_unlock(&inst->mirror_lock);
}

HMMU_EXPORT int hmmu_mirror_mark(struct hmmu_mirror *m, unsigned long start, size_t length)
{
	if (!m || !m->tracks || !dm_has(m, start, length))
		return -EINVAL;
	if (!dm_alive(m))
		return -ENODEV;
	dm_lock(m);
	dm_note(m, start, start + length);
	dm_unlock(m);
	return 0;
}
