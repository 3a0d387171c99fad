// SPDX-License-Identifier: MIT
/*
 * minimal.c - the least that a subscription is: be told that memory goes away.
 *
 * The callback may run anywhere, inside munmap() too: it counts, and does nothing else.
 * Exit 77: this machine has no source that sees munmap.
 */
#include <hmmu/mmu_notifier.h>

#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>

#define LENGTH (16UL << 12)

static atomic_uint told;

static bool invalidate(struct mmu_interval_notifier *sub,
		       const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	mmu_interval_set_seq(sub, cur_seq);
	atomic_fetch_add(&told, 1);
	return true;
}

static const struct mmu_interval_notifier_ops ops = {invalidate};

int main(void)
{
	struct mmu_interval_notifier sub;
	struct mm_struct *mm;
	unsigned long seq;
	bool before, after;
	char *p;

	if (hmmu_mm_open(&mm, NULL)) /* the best source there is */
		return 77;
	p = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED ||
	    mmu_interval_notifier_insert(&sub, mm, (unsigned long)p, LENGTH, &ops))
		return 1;
	seq = mmu_interval_read_begin(&sub);
	before = hmmu_access_ok(&sub, seq);
	munmap(p, LENGTH);
	after = hmmu_access_ok(&sub, seq);
	printf("before munmap: %s; after: %s; told %u times\n", before ? "valid" : "stale",
	       after ? "valid" : "stale", atomic_load(&told));
	mmu_interval_notifier_remove(&sub);
	return hmmu_mm_close(mm) || !before || after || !atomic_load(&told);
}
