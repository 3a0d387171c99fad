// SPDX-License-Identifier: MIT
/*
 * device.c - pages that are not present because they are on a device. The owner's own are
 * answered; of the others a requested fault brings back what it touches (fault.c), as any
 * access of the CPU's does.
 */
#include "devmem/find.h"
#include "hmm/walk.h"

void hmm_device(struct hmm_walk *w, const struct hmm_mapping *m, unsigned long start,
		unsigned long end)
{
	unsigned long answer = HMM_PFN_VALID | HMM_PFN_DEVICE | (m->write ? HMM_PFN_WRITE : 0);
	unsigned long pfn;

	for (; start < end; start += HMM_PAGE) {
		unsigned long *entry = hmm_entry(w, start);

		if (!(*entry & ~HMM_WANT) &&
		    hmmu_devmem_find(start, w->range->dev_private_owner, &pfn))
			*entry |= answer | pfn;
	}
}
