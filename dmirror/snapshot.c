// SPDX-License-Identifier: MIT
/*
 * snapshot.c - what the CPU's page tables say, nothing faulted in, nothing installed.
 *
 * A range may have holes, which cannot be subscribed to with effect: it is looked at mapped
 * run by mapped run, under a subscription that ends with it.
 */
#include <errno.h>

#include "dmirror.h"

/* Nothing to drop; the count moves all the same. */
static bool nothing(struct mmu_interval_notifier *sub, const struct mmu_notifier_range *range,
		    unsigned long cur_seq)
{
	(void)range;
	mmu_interval_set_seq(sub, cur_seq);
	return true;
}

static const struct mmu_interval_notifier_ops ops = {.invalidate = nothing};

/* One try. -EAGAIN: collided; -EFAULT: a hole after all. */
static int look_once(struct mir_device *device, struct mmu_interval_notifier *sub,
		     unsigned long start, unsigned long end, unsigned long *pfns,
		     const struct timespec *deadline)
{
	struct hmm_range range = {
		.notifier = sub,
		.start = start,
		.end = end,
		.hmm_pfns = pfns,
		.dev_private_owner = device,
	};
	uint64_t revokes = __atomic_load_n(&device->revokes, __ATOMIC_SEQ_CST);
	int ret = mir_begin(sub, start, end, &range.notifier_seq, deadline);

	if (ret)
		return ret;
	ret = hmm_range_fault(&range);
	if (!ret) {
		mir_lock_both(device);
		if (mmu_interval_read_retry(sub, range.notifier_seq) ||
		    device->revokes != revokes)
			ret = -EBUSY;
		mir_unlock_both(device);
	}
	return ret == -EBUSY ? -EAGAIN : ret;
}

static int look_run(struct mir_device *device, unsigned long start, unsigned long end,
		    unsigned long *pfns, const struct timespec *deadline)
{
	struct mmu_interval_notifier sub;
	int ret = mmu_interval_notifier_insert(&sub, device->process->mm, start, end - start,
					       &ops);

	if (ret)
		return ret;
	do {
		ret = look_once(device, &sub, start, end, pfns, deadline);
	} while (ret == -EAGAIN && !mir_expired(deadline));
	mmu_interval_notifier_remove(&sub);
	return ret == -EAGAIN ? -EBUSY : ret;
}

/* The end of the mapped run that begins at @at; @at: it is a hole. */
static unsigned long run_end(unsigned long at, unsigned long end)
{
	if (mir_mapped(at, end))
		return end;
	while (at < end && mir_mapped(at, at + MIR_PAGE))
		at += MIR_PAGE;
	return at;
}

int mir_look(struct dmirror *dm, unsigned long start, unsigned long end, unsigned long *pfns)
{
	struct timespec deadline = mir_deadline();
	unsigned long at = start, stop;
	int ret = 0;

	while (!ret && at < end) {
		unsigned long *out = pfns + (at - start) / MIR_PAGE;

		stop = run_end(at, end);
		if (stop == at) {
			*out = HMM_PFN_ERROR;
			at += MIR_PAGE;
			continue;
		}
		for (unsigned long i = 0; i < (stop - at) / MIR_PAGE; i++)
			out[i] = 0;
		ret = look_run(dm->device, at, stop, out, &deadline);
		if (!ret)
			at = stop;
		else if (ret == -EFAULT && !mir_expired(&deadline))
			ret = 0; /* a part has just been unmapped */
	}
	return ret;
}

static unsigned char byte_of(unsigned long pfn)
{
	unsigned int order = hmm_pfn_to_map_order(pfn);
	unsigned char byte;

	if (pfn & HMM_PFN_ERROR)
		return HMM_DMIRROR_PROT_ERROR;
	if (!(pfn & HMM_PFN_VALID))
		return HMM_DMIRROR_PROT_NONE;
	byte = pfn & HMM_PFN_WRITE ? HMM_DMIRROR_PROT_WRITE : HMM_DMIRROR_PROT_READ;
	if (pfn & HMM_PFN_DEVICE)
		return byte | HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL;
	if (pfn & HMM_PFN_ZERO)
		return byte | HMM_DMIRROR_PROT_ZERO;
	if (order >= 18)
		byte |= HMM_DMIRROR_PROT_PUD;
	else if (order >= 9)
		byte |= HMM_DMIRROR_PROT_PMD;
	return byte;
}

int mir_snapshot(struct dmirror *dm, struct hmm_dmirror_cmd *cmd)
{
	unsigned long pfns[MIR_CHUNK], end = mir_end(cmd);
	unsigned char bytes[MIR_CHUNK];
	int ret = end > MIR_TOP ? -EFAULT : 0;

	for (unsigned long at = cmd->addr, next; !ret && at < end; at = next) {
		unsigned long n;

		next = mir_chunk_end(at, end);
		n = (next - at) / MIR_PAGE;
		ret = mir_look(dm, at, next, pfns);
		for (unsigned long i = 0; !ret && i < n; i++)
			bytes[i] = byte_of(pfns[i]);
		if (!ret)
			ret = mir_to_user(cmd->ptr + cmd->cpages, bytes, n);
		if (!ret)
			cmd->cpages += n;
	}
	return ret;
}
