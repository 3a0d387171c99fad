// SPDX-License-Identifier: MIT
/*
 * touch.c - touches of empty pages, handed to devmem/ by the reader.
 *
 * One that cannot be answered now (a change of the mm is unread, and only we read it) is
 * asked again after the next event, or a millisecond. Its thread sleeps meanwhile: woken, it
 * would touch again at once, and read() serves touches before events. For the same reason those
 * that find no room are woken only when there was no touch to be read.
 */
#include <errno.h>

#include "arch/syscall.h"
#include "source/userfaultfd/userfaultfd.h"

static const struct hmmu_uffd_device *device;

int hmmu_uffd_serve(const struct hmmu_uffd_device *who)
{
	uint64_t upto;

	if (hmmu_uffd->user_only)
		return -EPERM;
	if (!hmmu_uffd->moves)
		return -EOPNOTSUPP;
	/* Before any mapping is registered so that a touch could be told of. */
	hmmu_store_seqcst(&device, who);
	/* Who reads without it now is done first. Pairs with read_some(). */
	upto = hmmu_load_seqcst(&hmmu_uffd->marked);
	while (hmmu_load_seqcst(&hmmu_uffd->dispatched) < upto)
		hmmu_uffd_pause(50000);
	return 0;
}

const struct hmmu_uffd_device *hmmu_uffd_device(void)
{
	return hmmu_load_seqcst(&device);
}

static void keep(struct hmmu_uffd *u, uint64_t addr)
{
	/* Who answers it wakes all who wait for the page. */
	for (uint32_t i = 0; i < u->ntouches; i++)
		if (u->touches[i] == addr)
			return;
	if (u->ntouches < UFFD_TOUCHES) {
		u->touches[u->ntouches++] = addr;
		return;
	}
	if (!u->unkept_end || addr < u->unkept)
		u->unkept = addr;
	if (addr + UFFD_PAGE > u->unkept_end)
		u->unkept_end = addr + UFFD_PAGE;
}

void hmmu_uffd_touched(struct hmmu_uffd *u, uint64_t address)
{
	const struct hmmu_uffd_device *d = hmmu_load_acquire(&device);
	uint64_t addr = address & -UFFD_PAGE;

	if (!d || d->touched(addr))
		keep(u, addr);
}

void hmmu_uffd_touched_again(struct hmmu_uffd *u, bool more)
{
	uint32_t n = u->ntouches;

	u->ntouches = 0;
	for (uint32_t i = 0; i < n; i++)
		hmmu_uffd_touched(u, u->touches[i]);
	if (u->unkept_end && !more) {
		struct uffdio_range range = {
			.start = u->unkept,
			.len = u->unkept_end - u->unkept,
		};

		u->unkept_end = 0;
		hmmu_syscall(SYS_ioctl, u->fd, UFFDIO_WAKE, &range);
	}
}

void hmmu_uffd_tell_device(struct uffd_event *ev)
{
	const struct hmmu_uffd_device *d = hmmu_load_acquire(&device);

	if (!d)
		return;
	if (ev->what == UFFD_GONE || ev->what == UFFD_GOING)
		d->gone(ev->start, ev->end);
	else if (ev->what == UFFD_MOVED)
		ev->along = d->moved(ev->start, ev->to, ev->end - ev->start);
}

void hmmu_uffd_before(unsigned long start, unsigned long end)
{
	const struct hmmu_uffd_device *d = hmmu_load_acquire(&device);

	if (d)
		d->before(start, end);
}
