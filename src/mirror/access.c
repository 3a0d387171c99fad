// SPDX-License-Identifier: MIT
/*
 * access.c - the device looks up, reads and writes.
 *
 * A READ copies without the lock, then asks whether anything has begun since the look-up:
 *
 *	device				invalidator
 *	lock; access_ok(seq); unlock
 *	copies					start: begun moves; memory changes
 *	!access_ok(seq): discarded [Required: an access in flight, G1]
 *
 * (acquire loads after the copying, a system call: pairs with count() in invalidate.c.) After
 * some such it copies under the lock, where a bracketing invalidator waits: changes of other
 * parts of the mirror cannot keep it away for ever.
 *
 * A WRITE copies under the lock: what is there then is what was looked up (bracketed), or
 * what a raw call has put there since, whose page the kernel's copying finds by itself.
 * Memory on a device is in the arena, at an address of its own: copied under the lock always,
 * since only the lock keeps the page there.
 */
#include <errno.h>
#include <string.h>

#include "../export.h"
#include "../notifier/notifier.h"
#include "mirror.h"

#define COPY_FREE 8   /* times without the lock */
#define COPY_FAULTS 4 /* times that memory may be gone though it was just mapped */

int dm_check(struct hmmu_mirror *m, uint64_t index, uint64_t n, bool write)
{
	if (!hmmu_access_ok(&m->sub, m->seq))
		return -EAGAIN;
	for (uint64_t i = 0; i < n; i++) {
		uint64_t pfn = dm_table_get(m, index + i);

		if (!(pfn & HMM_PFN_VALID))
			return -ENOENT;
		if (write && !(pfn & HMM_PFN_WRITE))
			return -EPERM;
	}
	return 0;
}

HMMU_EXPORT int hmmu_mirror_lookup(struct hmmu_mirror *m, unsigned long addr, bool write,
				   unsigned long *pfn)
{
	uint64_t index;
	int ret;

	if (!m || addr < m->start || addr >= m->end)
		return -EINVAL;
	if (!dm_alive(m))
		return -ENODEV;
	index = dm_index(m, addr);
	ret = dm_check(m, index, 1, write);
	if (!ret && pfn)
		*pfn = dm_table_get(m, index);
	return ret;
}

/* Up to MIRROR_COPY pages. */
struct access {
	uint64_t addr;
	char *own;
	size_t len;
	bool write;
	bool device; /* one of the pages is on a device */
	unsigned int parts;
	struct dm_part part[MIRROR_COPY + 1];
};

/* With the lock, everything checked. */
static void divide(struct hmmu_mirror *m, struct access *a)
{
	size_t at = 0;

	a->parts = 0;
	a->device = false;
	while (at < a->len) {
		uint64_t addr = a->addr + at, in = addr & (MIRROR_PAGE - 1);
		uint64_t pfn = dm_table_get(m, dm_index(m, addr));
		size_t n = MIRROR_PAGE - in;

		if (n > a->len - at)
			n = a->len - at;
		a->part[a->parts++] = (struct dm_part){
			.mirrored = (char *)hmm_pfn_to_addr(pfn) + in,
			.own = a->own + at,
			.len = n,
			.device = (pfn & HMM_PFN_DEVICE) != 0,
		};
		a->device |= a->part[a->parts - 1].device;
		at += n;
	}
}

static int try_access(struct hmmu_mirror *m, struct access *a, bool locked)
{
	uint64_t first = dm_index(m, a->addr);
	uint64_t n = dm_index(m, a->addr + a->len - 1) - first + 1;
	unsigned long seq;
	int ret;

	dm_lock(m);
	ret = dm_check(m, first, n, a->write);
	if (ret)
		goto unlock;
	seq = m->seq;
	divide(m, a);
	if (locked || a->write || a->device) {
		MIRROR_GATE(PINNED);
		ret = dm_copy(m, a->part, a->parts, a->write);
		goto unlock;
	}
	dm_unlock(m);
	ret = dm_copy(m, a->part, a->parts, false);
	MIRROR_GATE(COPIED);
	if (!hmmu_access_ok(&m->sub, seq) && !MIRROR_PLANTED(NO_CHECK))
		ret = -EAGAIN;
	return ret;
unlock:
	dm_unlock(m);
	return ret;
}

/* The device's fault. */
static int fault(struct hmmu_mirror *m, const struct access *a, const struct timespec *deadline)
{
	uint64_t start = a->addr & -MIRROR_PAGE;
	uint64_t end = (a->addr + a->len + MIRROR_PAGE - 1) & -MIRROR_PAGE;

	return hmmu_mirror_map(m, start, (end - start) / MIRROR_PAGE,
			       a->write ? HMMU_MIRROR_WRITE : 0, NULL, deadline);
}

static int access_piece(struct hmmu_mirror *m, struct access *a,
			const struct timespec *deadline)
{
	unsigned int tries = 0, faults = 0;
	int ret;

	for (;;) {
		ret = try_access(m, a, tries >= COPY_FREE);
		if (!ret)
			return 0;
		if (ret == -EFAULT) {
			/* Gone without a word, so far: the entries say what is not. */
			if (++faults == COPY_FAULTS)
				return ret;
			hmmu_mirror_drop(m, a->addr, a->addr + a->len);
		} else if (ret != -EAGAIN && ret != -ENOENT && ret != -EPERM) {
			return ret;
		}
		if (tries++ && hmmu_expired(deadline))
			return -ETIMEDOUT;
		ret = fault(m, a, deadline);
		if (ret)
			return ret;
	}
}

static long access_all(struct hmmu_mirror *m, uint64_t addr, char *own, size_t len, bool write,
		       const struct timespec *deadline)
{
	struct access a = {.write = write};
	size_t at = 0;
	int ret;

	if (!m || (len && !own) || addr < m->start || addr > m->end || len > m->end - addr)
		return -EINVAL;
	if (!dm_alive(m))
		return -ENODEV;
	if (m->ops.fault)
		return -EOPNOTSUPP;
	while (at < len) {
		size_t in = (addr + at) & (MIRROR_PAGE - 1);

		a.addr = addr + at;
		a.own = own + at;
		a.len = MIRROR_COPY * MIRROR_PAGE - in;
		if (a.len > len - at)
			a.len = len - at;
		ret = access_piece(m, &a, deadline);
		/* A page of several that cannot be: those before it can. */
		if (ret && in + a.len > MIRROR_PAGE && ret != -ETIMEDOUT && ret != -ENODEV) {
			a.len = MIRROR_PAGE - in;
			ret = access_piece(m, &a, deadline);
		}
		if (ret)
			return at ? (long)at : ret;
		at += a.len;
	}
	return (long)at;
}

HMMU_EXPORT long hmmu_mirror_read(struct hmmu_mirror *m, unsigned long addr, void *buf,
				  size_t len, const struct timespec *deadline)
{
	return access_all(m, addr, buf, len, false, deadline);
}

HMMU_EXPORT long hmmu_mirror_write(struct hmmu_mirror *m, unsigned long addr, const void *buf,
				   size_t len, const struct timespec *deadline)
{
	return access_all(m, addr, (char *)buf, len, true, deadline);
}
