// SPDX-License-Identifier: MIT
/*
 * The protocol with nothing but memory: an address space whose changes the program
 * brackets itself (an emulator's guest memory, say), a shadow, a reader. Needs neither
 * io_uring nor hooks.
 */
#include <hmmu/mmu_notifier.h>
#include <pthread.h>
#include <stdio.h>

#define PAGE 4096UL

static int table[4] = {10, 11, 12, 13}; /* the truth: what each page maps to */
static int tlb[4];			/* the shadow: 0 = nothing */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static bool invalidate(struct mmu_interval_notifier *sub,
		       const struct mmu_notifier_range *range, unsigned long seq)
{
	pthread_mutex_lock(&lock);
	mmu_interval_set_seq(sub, seq);
	for (unsigned long page = 0; page < 4; page++) {
		if (page * PAGE < range->end && (page + 1) * PAGE > range->start)
			tlb[page] = 0;
	}
	pthread_mutex_unlock(&lock);
	return true;
}

static const struct mmu_interval_notifier_ops ops = {.invalidate = invalidate};

static int translate(struct mmu_interval_notifier *sub, unsigned long page)
{
	unsigned long seq;
	int value;

	do {
		seq = mmu_interval_read_begin(sub);
		value = table[page]; /* may be torn, late, anything: it is checked */
		pthread_mutex_lock(&lock);
		if (!mmu_interval_read_retry(sub, seq))
			tlb[page] = value;
		else
			value = 0;
		pthread_mutex_unlock(&lock);
	} while (!value);
	return value;
}

int main(void)
{
	struct hmmu_mm_options options = {.size = sizeof(options),
					  .sources = HMMU_SOURCE_EXPLICIT};
	struct mmu_interval_notifier sub;
	struct mmu_notifier_range range;
	struct mm_struct *mm;

	if (hmmu_mm_open(&mm, &options) ||
	    mmu_interval_notifier_insert(&sub, mm, 0, 4 * PAGE, &ops))
		return 1;
	printf("page 2 -> %d\n", translate(&sub, 2));

	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, 2 * PAGE, 3 * PAGE);
	mmu_notifier_invalidate_range_start(&range); /* calls invalidate() */
	table[2] = 99;
	mmu_notifier_invalidate_range_end(&range);

	printf("page 2 -> %d\n", translate(&sub, 2));
	mmu_interval_notifier_remove(&sub);
	return hmmu_mm_close(mm) ? 1 : 0;
}
