// SPDX-License-Identifier: MIT
/* play.c - see play.h. */
#include "play.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "arch/syscall.h"
#include "source/userfaultfd/abi.h"

bool (*play_before)(long nr, const long args[6], long *ret);
void (*play_after)(long nr, const long args[6], long ret);
unsigned int play_refused, played;

static unsigned int missing;

static long lacks(long nr, const long args[6])
{
	const struct hmmu_pm_scan *scan = (const void *)args[2];

	if (nr == SYS_ioctl && (unsigned long)args[1] == HMMU_PROCMAP_QUERY)
		return missing & NO_QUERY ? -ENOTTY : 0;
	if (nr == SYS_ioctl && (unsigned long)args[1] == HMMU_PAGEMAP_SCAN) {
		if (missing & NO_SCAN)
			return -ENOTTY;
		return (missing & NO_GUARD) && ((scan->category_anyof_mask | scan->return_mask |
						 scan->category_mask) &
						HMMU_PM_GUARD)
			       ? -EINVAL
			       : 0;
	}
	if (nr == SYS_madvise && (args[2] == 22 || args[2] == 23))
		return missing & NO_POPULATE ? -EINVAL : 0;
	return 0;
}

/* Entries of pagemap as the unprivileged see them. */
static void blank(const long args[6], long n)
{
	uint64_t *entry = (uint64_t *)args[1];

	for (long i = 0; i < n / 8; i++)
		entry[i] &= ~HMMU_ENTRY_FRAME;
}

static long hook(long nr, const long args[6])
{
	long ret = lacks(nr, args);

	played++;
	if (ret) {
		play_refused++;
		return ret;
	}
	if (play_before && play_before(nr, args, &ret))
		return ret;
	ret = hmmu_syscall6(nr, args[0], args[1], args[2], args[3], args[4], args[5]);
	if (nr == SYS_pread64 && ret > 0 && (missing & NO_FRAMES))
		blank(args, ret);
	if (play_after)
		play_after(nr, args, ret);
	return ret;
}

void play(unsigned int without)
{
	missing = without;
	play_refused = 0;
	played = 0;
	play_before = NULL;
	play_after = NULL;
	hmmu_syscall_hook = hook;
}
