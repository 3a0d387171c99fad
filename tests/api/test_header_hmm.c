/* SPDX-License-Identifier: MIT */
/*
 * test_header_hmm.c - as test_header.c: the header alone, in C11 and in C++17. Sizes, offsets
 * and numbers are ABI.
 */
#include <hmmu/hmm.h>

#define IS(cond) HMMU_STATIC_ASSERT(cond, #cond)

IS(sizeof(struct hmm_range) == 80);
IS(offsetof(struct hmm_range, notifier_seq) == 8);
IS(offsetof(struct hmm_range, start) == 16);
IS(offsetof(struct hmm_range, end) == 24);
IS(offsetof(struct hmm_range, hmm_pfns) == 32);
IS(offsetof(struct hmm_range, default_flags) == 40);
IS(offsetof(struct hmm_range, pfn_flags_mask) == 48);
IS(offsetof(struct hmm_range, dev_private_owner) == 56);
IS(offsetof(struct hmm_range, flags) == 64);
IS(HMM_PFN_VALID == 0x8000000000000000UL);
IS(HMM_PFN_WRITE == 0x4000000000000000UL);
IS(HMM_PFN_ERROR == 0x2000000000000000UL);
IS(HMM_PFN_REQ_FAULT == HMM_PFN_VALID);
IS(HMM_PFN_REQ_WRITE == HMM_PFN_WRITE);
IS(((HMM_PFN_NUMBER | HMM_PFN_ZERO | HMM_PFN_DEVICE | HMM_PFN_FILE) &
    (HMM_PFN_FLAGS | 31UL << HMM_PFN_ORDER_SHIFT)) == 0);

static bool invalidate(struct mmu_interval_notifier *sub,
		       const struct mmu_notifier_range *range, unsigned long seq)
{
	(void)range;
	mmu_interval_set_seq(sub, seq);
	return true;
}

static char memory[3 * 4096];

int main(void)
{
	static struct mmu_interval_notifier_ops ops;
	static struct mmu_interval_notifier sub;
	static struct hmm_range range;
	struct hmmu_mm_options options = {sizeof(options), 0, 0, 0, {0}};
	struct mm_struct *mm;
	unsigned long pfn = 0;

	ops.invalidate = invalidate;
	range.start = ((unsigned long)memory + 4095) & ~4095UL;
	range.end = range.start + 4096;
	range.notifier = &sub;
	range.hmm_pfns = &pfn;
	range.default_flags = HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE;
	if (hmmu_mm_open(&mm, &options))
		return 1;
	if (mmu_interval_notifier_insert(&sub, mm, range.start, 4096, &ops))
		return 2;
	range.notifier_seq = mmu_interval_read_begin(&sub);
	if (hmm_range_fault(&range))
		return 3;
	if (!(pfn & HMM_PFN_WRITE) || hmm_pfn_to_addr(pfn) != (void *)range.start ||
	    hmm_pfn_to_map_order(pfn))
		return 4;
	if (mmu_interval_read_retry(&sub, range.notifier_seq) || hmm_range_valid(&range))
		return 5;
	mmu_interval_notifier_remove(&sub);
	return hmmu_mm_close(mm) ? 6 : 0;
}
