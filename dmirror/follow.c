// SPDX-License-Identifier: MIT
/*
 * follow.c - the reader's loop: what the CPU's page tables say goes into the device's.
 */
#include <errno.h>

#include "dmirror.h"

static uint64_t entry_of(unsigned long pfn)
{
	if (!(pfn & HMM_PFN_VALID))
		return 0;
	return (uint64_t)hmm_pfn_to_addr(pfn) | ENTRY_VALID |
	       (pfn & HMM_PFN_WRITE ? ENTRY_WRITE : 0) |
	       (pfn & HMM_PFN_DEVICE ? ENTRY_DEVICE : 0);
}

/* With both locks. */
static void install(struct mir_follow *f, unsigned long addr, unsigned long i,
		    unsigned long pfn)
{
	struct mir_table *table = &f->window->dm->table;
	uint64_t entry = entry_of(pfn), old = mir_table_get(table, addr);

	if (f->entry)
		entry = f->entry(f, i, pfn, entry);
	/* An exclusive page stays so: it would not be there otherwise. */
	if (entry & ENTRY_DEVICE && mir_entry_at(old) == mir_entry_at(entry))
		entry |= old & ENTRY_EXCLUSIVE;
	mir_table_set(table, addr, entry);
}

/* One try. -EAGAIN: collided. */
static int follow_once(struct mir_follow *f, unsigned long start, unsigned long end,
		       const struct timespec *deadline)
{
	struct mir_window *w = f->window;
	struct mir_device *device = w->dm->device;
	uint64_t revokes = __atomic_load_n(&device->revokes, __ATOMIC_SEQ_CST);
	unsigned long pfns[MIR_CHUNK];
	struct hmm_range range = {
		.notifier = &w->sub,
		.start = start,
		.end = end,
		.hmm_pfns = pfns,
		.default_flags = f->request,
		.dev_private_owner = device,
	};
	int ret = mir_begin(&w->sub, w->start, w->end, &range.notifier_seq, deadline);

	if (ret)
		return ret;
	ret = hmm_range_fault(&range);
	if (ret)
		return ret == -EBUSY ? -EAGAIN : ret;
#ifdef DMIRROR_PLANT
	if (dmirror_gate)
		dmirror_gate();
#endif
	mir_lock_both(device);
	if (mmu_interval_read_retry(&w->sub, range.notifier_seq) ||
	    device->revokes != revokes) {
		ret = -EAGAIN;
	} else {
		for (unsigned long i = 0; i < (end - start) / MIR_PAGE; i++)
			install(f, start + i * MIR_PAGE, i, pfns[i]);
		w->seq = range.notifier_seq;
		w->begun = true;
	}
	mir_unlock_both(device);
	return ret;
}

int mir_follow(struct mir_follow *f, unsigned long start, unsigned long end)
{
	struct timespec deadline = mir_deadline();
	int ret;

	do {
		ret = follow_once(f, start, end, &deadline);
	} while (ret == -EAGAIN && !mir_expired(&deadline));
	return ret == -EAGAIN ? -EBUSY : ret;
}
