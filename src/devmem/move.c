// SPDX-License-Identifier: MIT
/*
 * move.c - what the kernel does with pages of a userfaultfd. By the program's descriptor;
 * who runs in the reader's table has it under the same number.
 *
 * What it says of a move need not be all: Linux 6.18 asks itself again where a page was
 * locked (its owner wrote to it after a fork, say), moves it and some neighbours, and forgets
 * that it has. Then they are at their new place, are not counted, and the answer is EEXIST, as
 * if something else were there. So dm_move() looks, before an event can be read that would be
 * taken for one of the page at its old place: a page that is not where it was and is where it
 * was to go has moved.
 */
#include <errno.h>
#include <fcntl.h>

#include "../arch/syscall.h"
#include "../source/userfaultfd/userfaultfd.h"
#include "devmem.h"

static uint64_t move_said(uint64_t to, uint64_t from, uint64_t n, long *ret)
{
	struct hmmu_uffdio_move move = {.dst = to, .src = from, .len = n << DM_PAGE_SHIFT};

	*ret = hmmu_syscall(SYS_ioctl, hmmu_uffd->fd, HMMU_UFFDIO_MOVE, &move);
	return move.move > 0 ? (uint64_t)move.move >> DM_PAGE_SHIFT : 0;
}

static bool has_moved(uint64_t to, uint64_t from)
{
	return dm_any_page(from, DM_PAGE) == 0 && dm_any_page(to, DM_PAGE) == 1;
}

uint64_t dm_move(uint64_t to, uint64_t from, uint64_t n, long *ret)
{
	uint64_t moved = 0, more;

	do {
		uint64_t done = moved << DM_PAGE_SHIFT;

		more = move_said(to + done, from + done, n - moved, ret);
		moved += more;
		done = moved << DM_PAGE_SHIFT;
		if (*ret && moved < n && has_moved(to + done, from + done)) {
			moved++;
			more = 1;
		}
	} while (more && moved < n);
	if (moved == n)
		*ret = 0;
	return moved;
}

long dm_copy_home(uint64_t to, uint64_t from)
{
	struct uffdio_copy copy = {.dst = to, .src = from, .len = DM_PAGE};

	return hmmu_syscall(SYS_ioctl, hmmu_uffd->fd, UFFDIO_COPY, &copy);
}

long dm_zero(uint64_t addr)
{
	struct uffdio_zeropage zero = {.range = {.start = addr, .len = DM_PAGE}};

	return hmmu_syscall(SYS_ioctl, hmmu_uffd->fd, UFFDIO_ZEROPAGE, &zero);
}

int dm_any_page(uint64_t start, uint64_t bytes)
{
	struct hmmu_pm_region region;
	struct hmmu_pm_scan arg = {
		.size = sizeof(arg),
		.start = start,
		.end = start + bytes,
		.vec = (uint64_t)&region,
		.vec_len = 1,
		.max_pages = 1,
		.category_anyof_mask = HMMU_PM_PRESENT | HMMU_PM_SWAPPED,
		.return_mask = HMMU_PM_PRESENT,
	};
	long fd =
		hmmu_syscall(SYS_openat, AT_FDCWD, "/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	long ret;

	if (fd < 0)
		return (int)fd;
	do {
		ret = hmmu_syscall(SYS_ioctl, fd, HMMU_PAGEMAP_SCAN, &arg);
	} while (ret == -EINTR);
	hmmu_syscall(SYS_close, fd);
	return (int)ret;
}

void dm_wake(uint64_t start, uint64_t end)
{
	struct uffdio_range range = {.start = start, .len = end - start};

	if (start < end)
		hmmu_syscall(SYS_ioctl, hmmu_uffd->fd, UFFDIO_WAKE, &range);
}
