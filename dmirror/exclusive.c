// SPDX-License-Identifier: MIT
/*
 * exclusive.c - pages that the device has alone, until a CPU touches them.
 */
#include <errno.h>

#include "dmirror.h"

struct run {
	struct mir_follow follow;
	unsigned long pfns[MIR_CHUNK];
};

/* Exclusive is what was made so, if it is where it was put. */
static uint64_t entry(const struct mir_follow *follow, unsigned long i, unsigned long pfn,
		      uint64_t entry)
{
	const struct run *run = (const struct run *)follow;

	if (!(pfn & HMM_PFN_DEVICE))
		return 0;
	return entry | (run->pfns[i] == (pfn & HMM_PFN_NUMBER) ? ENTRY_EXCLUSIVE : 0);
}

static int run_exclusive(struct mir_window *w, unsigned long start, unsigned long end,
			 char *buffer)
{
	struct timespec deadline = mir_deadline();
	struct run run = {.follow = {.window = w, .entry = entry}};
	int ret;

	do {
		ret = make_device_exclusive_range(w->dm->device->arena, start, end, run.pfns);
	} while (ret == -EAGAIN && !mir_expired(&deadline));
	if (ret < 0)
		return ret == -EAGAIN ? -EBUSY : ret;
	return mir_collect(&run.follow, start, end, buffer);
}

int mir_exclusive(struct dmirror *dm, struct hmm_dmirror_cmd *cmd)
{
	unsigned long end = mir_end(cmd);

	if (end > MIR_TOP || !mir_mapped(cmd->addr, end))
		return -EINVAL;
	return mir_to_device(dm, cmd, run_exclusive);
}

/* -EPERM: the device still has one of them alone. */
int mir_check_exclusive(struct dmirror *dm, struct hmm_dmirror_cmd *cmd)
{
	unsigned long end = mir_end(cmd);
	int ret = 0;

	if (end > MIR_TOP)
		return -EINVAL;
	mir_lock(dm->device);
	for (unsigned long at = cmd->addr; !ret && at < end; at += MIR_PAGE) {
		if (mir_table_get(&dm->table, at) & ENTRY_EXCLUSIVE)
			ret = -EPERM;
	}
	mir_unlock(dm->device);
	return ret;
}
