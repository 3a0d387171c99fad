// SPDX-License-Identifier: MIT
/*
 * arm.c - mappings are registered, whole, and given back when nobody watches them.
 *
 * u->lock serialises arm and disarm, and nests outside mm->lock (disarm asks each mm
 * whether somebody is left). It is never taken in a hook, so it may be held across system
 * calls; whoever holds it changes no registered memory.
 *
 *	disarm (subscription off the tree)	arm (subscription in the tree)
 *	lock
 *	nobody overlaps this mapping
 *	unregister
 *	unlock					lock; register: registered [Required]
 *   or
 *						lock; register; unlock
 *	lock; somebody overlaps: it stays
 */
#include <errno.h>
#include <fcntl.h>

#include "arch/syscall.h"
#include "instance.h"
#include "notifier/notifier.h"
#include "source/tasks.h"
#include "source/userfaultfd/userfaultfd.h"

#define COUNT_EVERY 256
#define COUNT_EVERY_FULL 64 /* the list is long then: 20 ms */
#define TRIES 16

static bool count_one(const struct uffd_extent *e, void *arg)
{
	(void)e;
	++*(uint64_t *)arg;
	return true;
}

static uint64_t max_map_count(void)
{
	char text[32] = "";
	const char *p = text;
	uint64_t max;
	long fd = hmmu_syscall(SYS_openat, AT_FDCWD, "/proc/sys/vm/max_map_count",
			       O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 65530;
	hmmu_syscall(SYS_read, fd, text, sizeof(text) - 1);
	hmmu_syscall(SYS_close, fd);
	max = hmmu_number(&p);
	return max ? max : 65530;
}

/* With the lock. A registered mapping does not merge with its neighbours: a process near
 * its limit would lose its malloc() to us. */
static bool too_many(struct hmmu_uffd *u)
{
	uint64_t n = 0;

	if (u->armed_since_count++ % (u->full ? COUNT_EVERY_FULL : COUNT_EVERY) == 0) {
		u->full = hmmu_mapping_each(count_one, &n) || n > max_map_count() / 4 * 3;
		u->armed_since_count = 1;
	}
	return u->full || u->nextents >= UFFD_EXTENTS - 2;
}

/* With the lock. An error may mean that it was gone for a moment: try again. */
static int register_mapping(struct hmmu_uffd *u, const struct uffd_extent *m)
{
	int ret;

	if (too_many(u))
		return -ENOSPC;
	/* Before: a hook that sees no extent leaves the event to come. */
	hmmu_extents_add(u, m->start, m->end);
	/* Pairs with covers(), which believes nothing in between. models/spin/mute.pml MU6 */
	hmmu_add_seqcst(&u->changes, UFFD_CHANGING);
	ret = hmmu_uffd_register(u->fd, m->start, m->end);
	hmmu_add_seqcst(&u->changes, UFFD_CHANGED);
	return ret;
}

int hmmu_uffd_arm_touches(uint64_t start, uint64_t end)
{
	struct hmmu_uffd *u = hmmu_uffd;
	struct uffdio_register reg = {
		.range = {.start = start, .len = end - start},
		.mode = UFFDIO_REGISTER_MODE_WP | UFFDIO_REGISTER_MODE_MISSING,
	};
	int ret = -ENODEV;

	hmmu_lock(&u->lock);
	if (!hmmu_load_acquire(&u->lost) && hmmu_uffd_ours(u, u->fd)) {
		hmmu_extents_add(u, start, end);
		/* As register_mapping(). */
		hmmu_add_seqcst(&u->changes, UFFD_CHANGING);
		ret = (int)hmmu_syscall(SYS_ioctl, u->fd, UFFDIO_REGISTER, &reg);
		hmmu_add_seqcst(&u->changes, UFFD_CHANGED);
	}
	hmmu_unlock(&u->lock);
	return ret;
}

static void part(struct uffd_extent *m, uint64_t start, uint64_t end)
{
	if (m->start < start)
		m->start = start;
	if (m->end > end)
		m->end = end;
}

/* With the lock: every mapping that is found in it. 0 or -errno. */
static int register_range(struct hmmu_uffd *u, uint64_t start, uint64_t end)
{
	struct uffd_extent m;
	int ret, tries = 0;

	for (uint64_t at = start; at < end; at = m.end) {
		ret = hmmu_mapping_find(at, &m);
		if (ret == -ENOENT || (!ret && m.start >= end))
			return 0;
		if (ret)
			return ret;
		if (UFFD_PLANTED(ARM_ONCE) && hmmu_extents_overlap(u, m.start, m.end))
			continue;
		if (UFFD_PLANTED(PART))
			part(&m, start, end);
		UFFD_GATE(FOUND, m.start, m.end);
		ret = register_mapping(u, &m);
		if (ret == -ENOSPC || (ret && ++tries == TRIES))
			return ret;
		if (ret)
			m.end = at; /* look again */
	}
	return 0;
}

static bool believes_list(void)
{
#if defined(HMMU_PLANT) || defined(HMMU_SCHED)
	return UFFD_PLANTED(NO_COVER) || UFFD_PLANTED(ARM_ONCE);
#else
	return false;
#endif
}

/* With the lock. 0, -ENXIO: a hole, -errno. */
static int arm_range(struct hmmu_uffd *u, uint64_t start, uint64_t end)
{
	int ret = -EBUSY;

	for (int tries = 0; tries < TRIES; tries++) {
		ret = register_range(u, start, end);
		if (ret || believes_list())
			return ret;
		ret = hmmu_mapping_covered(start, end);
		if (ret)
			return ret < 0 ? ret : 0;
		/* A hole; or the list showed one where there is none. */
		ret = hmmu_mapping_registered(start, end);
		if (ret)
			return ret < 0 ? ret : -ENXIO;
	}
	return -EBUSY;
}

int hmmu_uffd_arm(struct mm_struct *mm, unsigned long start, unsigned long last, bool wait)
{
	struct hmmu_uffd *u = hmmu_uffd;
	uint64_t from = start & -UFFD_PAGE, to = (last | (UFFD_PAGE - 1)) + 1;
	int ret;

	(void)mm;
	if (hmmu_load_acquire(&u->lost))
		return -ENODEV;
	if (!to || to > UFFD_TOP)
		to = UFFD_TOP;
	if (from >= to)
		return -EINVAL;
	if (wait)
		hmmu_lock(&u->lock);
	else if (!hmmu_trylock(&u->lock))
		return -EAGAIN;
	if (hmmu_uffd_ours(u, u->fd)) {
		ret = arm_range(u, from, to);
	} else {
		hmmu_uffd_lose(u);
		ret = -ENODEV;
	}
	hmmu_unlock(&u->lock);
	UFFD_GATE(ARMED, from, to);
	return ret == -EAGAIN ? -EBUSY : ret;
}

/*
 * Does anybody subscribe to a part of it? While pages may be on devices all stays as it is:
 *
 *	dispatcher, of what had moved to q	raw mremap(p, q)
 *	nothing is away at q
 *						q is p's mapping now, pages away and all;
 *						REMAP queued
 *	unregister q
 *						touches q: zeros, and nobody is told
 *
 * With the last arena all of that is given back (hmmu_uffd_disarm_all()).
 */
static bool wanted(const struct uffd_extent *m)
{
	const struct hmmu_uffd_device *device = hmmu_uffd_device();
	struct hmmu_instance *inst = hmmu_instance_peek();
	struct mm_struct *mm;

	if (device && device->serving())
		return true;
	for_each_watched (inst, mm) {
		struct hmmu_match match;
		size_t got;

		if (!mm->net)
			continue;
		hmmu_mm_lock(mm);
		got = hmmu_itree_collect(&mm->tree, m->start, m->end - 1, HMMU_KEY_FIRST,
					 &match, 1);
		hmmu_mm_unlock(mm);
		if (got)
			return true;
	}
	return false;
}

/* With the lock: nothing is mapped in [at, end), nor registered. What is left of the extent
 * before it is of the same mapping, most often, and that is gone. */
static void forget_hole(struct hmmu_uffd *u, uint64_t at, uint64_t end)
{
	uint64_t start = hmmu_extents_start(u, at);
	struct uffd_extent m;
	int ret = start < at ? hmmu_mapping_find(start, &m) : 0;

	if ((ret && ret != -ENOENT) || (!ret && start < at && m.start < at))
		start = at;
	hmmu_extents_remove(u, start, end);
}

/* Whoever subscribed to everything, or to what the stop page's mapping has merged with, takes
 * not that away: its munmap could wake the reader no more, and close would wait for ever. */
static void unregister_but_stop(struct hmmu_uffd *u, const struct uffd_extent *m)
{
	uint64_t stop = (uint64_t)u->stop_page, after = stop + UFFD_PAGE;

	if (m->end <= stop || m->start >= after) {
		hmmu_uffd_unregister(u->fd, m->start, m->end);
		return;
	}
	if (m->start < stop)
		hmmu_uffd_unregister(u->fd, m->start, stop);
	if (m->end > after)
		hmmu_uffd_unregister(u->fd, after, m->end);
}

/* Have we registered it? What moved where no note was taken (its event was spilled, or there
 * was no room) looks as ours do. */
static bool may_be_ours(struct hmmu_uffd *u, const struct uffd_extent *m)
{
	if (hmmu_extents_overlap(u, m->start, m->end))
		return true;
	return hmmu_load_acquire(&u->unnoted) && hmmu_mapping_registered(m->start, m->end);
}

/* With the lock. @known: no mapping that never was registered by us; on some kernels that
 * might take it from another userfaultfd. */
static void disarm_range(struct hmmu_uffd *u, uint64_t start, uint64_t end, bool known)
{
	struct uffd_extent m;

	for (uint64_t at = start; at < end; at = m.end) {
		int ret = hmmu_mapping_find(at, &m);

		if (ret == -ENOENT)
			m.start = UFFD_TOP;
		else if (ret)
			break;
		if (m.start > at)
			forget_hole(u, at, m.start);
		if (m.start >= end)
			break;
		if ((known && !may_be_ours(u, &m)) || wanted(&m))
			continue;
		UFFD_GATE(DISARM, m.start, m.end);
		hmmu_add_seqcst(&u->changes, UFFD_CHANGING);
		unregister_but_stop(u, &m);
		hmmu_extents_remove(u, m.start, m.end);
		hmmu_add_seqcst(&u->changes, UFFD_CHANGED);
	}
}

void hmmu_uffd_disarm(struct mm_struct *mm, unsigned long start, unsigned long last)
{
	struct hmmu_uffd *u = hmmu_uffd;
	uint64_t from = start & -UFFD_PAGE, to = (last | (UFFD_PAGE - 1)) + 1;

	(void)mm;
	if (!to || to > UFFD_TOP)
		to = UFFD_TOP;
	if (from >= to || hmmu_load_acquire(&u->lost) || !hmmu_extents_overlap(u, from, to))
		return;
	hmmu_lock(&u->lock);
	if (hmmu_uffd_ours(u, u->fd))
		disarm_range(u, from, to, false);
	hmmu_unlock(&u->lock);
}

void hmmu_uffd_disarm_all(void)
{
	struct hmmu_uffd *u = hmmu_uffd;

	if (hmmu_load_acquire(&u->lost))
		return;
	hmmu_lock(&u->lock);
	if (hmmu_uffd_ours(u, u->fd))
		disarm_range(u, 0, UFFD_TOP, true);
	hmmu_unlock(&u->lock);
}

/* What was registered has moved there, registered. */
void hmmu_uffd_moved(struct hmmu_uffd *u, uint64_t start, uint64_t end)
{
	if (start >= end)
		return;
	hmmu_lock(&u->lock);
	/* Room: an arm leaves some. */
	if (u->nextents < UFFD_EXTENTS - 1)
		hmmu_extents_add(u, start, end);
	else
		hmmu_store_release(&u->unnoted, 1);
	hmmu_add_seqcst(&u->changes, UFFD_CHANGING + UFFD_CHANGED);
	if (hmmu_uffd_ours(u, u->fd))
		disarm_range(u, start, end, false);
	hmmu_unlock(&u->lock);
}

struct all {
	struct hmmu_uffd *u;
	int fd;
};

static bool unregister_one(const struct uffd_extent *m, void *arg)
{
	const struct all *all = arg;

	/* What was never registered is passed over, or refused: either is fine. */
	if (may_be_ours(all->u, m))
		hmmu_uffd_unregister(all->fd, m->start, m->end);
	return true;
}

void hmmu_uffd_unregister_all(struct hmmu_uffd *u, int fd)
{
	struct all all = {u, fd};
	bool unread = false;

	if (!UFFD_PLANTED(CLOSE_REGISTERED))
		unread = hmmu_mapping_each(unregister_one, &all) != 0;
	hmmu_lock(&u->lock);
	/* No /proc (a chroot since): as they were noted. */
	for (uint64_t i = 0; unread && i < u->nextents; i++)
		hmmu_uffd_unregister(fd, u->extents[i].start, u->extents[i].end);
	hmmu_extents_remove(u, 0, UFFD_TOP);
	hmmu_unlock(&u->lock);
}
