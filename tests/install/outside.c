/* SPDX-License-Identifier: MIT */
/*
 * outside.c [explicit] - a program outside the tree, C11 and C++17: what it subscribed to
 * changes, and it is told before; by hooks, or by its own start and end. Exit 77: hooks do
 * not work here.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <hmmu/mmu_notifier.h>

static char *page;
static int told;

/* Before the change: its content is still there. */
static bool invalidate(struct mmu_interval_notifier *sub,
		       const struct mmu_notifier_range *range, unsigned long seq)
{
	mmu_interval_set_seq(sub, seq);
	told += range->phase == HMMU_PHASE_BEFORE && *page == 'A';
	return true;
}

static void change(struct mm_struct *mm, void *p, unsigned long start, bool by_hand)
{
	struct mmu_notifier_range range;

	if (by_hand) {
		mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, start, start + 4096);
		mmu_notifier_invalidate_range_start(&range);
	}
	munmap(p, 4096);
	if (by_hand)
		mmu_notifier_invalidate_range_end(&range);
}

static int run(struct mm_struct *mm, bool by_hand)
{
	static struct mmu_interval_notifier sub;
	static const struct mmu_interval_notifier_ops ops = {invalidate};
	unsigned long start, seq;
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int err;

	if (p == MAP_FAILED)
		return errno;
	page = (char *)p;
	*page = 'A';
	memcpy(&start, &p, sizeof(start));
	err = mmu_interval_notifier_insert(&sub, mm, start, 4096, &ops);
	if (err)
		return err;
	seq = mmu_interval_read_begin(&sub);
	change(mm, p, start, by_hand);
	err = told == 1 && mmu_interval_read_retry(&sub, seq) ? 0 : ENOMSG;
	mmu_interval_notifier_remove(&sub);
	return err;
}

int main(int argc, char **argv)
{
	bool by_hand = argc == 2 && strcmp(argv[1], "explicit") == 0;
	struct hmmu_mm_options options;
	struct mm_struct *mm;
	int err;

	memset(&options, 0, sizeof(options));
	options.size = sizeof(options);
	options.sources = by_hand ? HMMU_SOURCE_EXPLICIT : HMMU_SOURCE_HOOKS;
	err = hmmu_mm_open(&mm, &options);
	if (err) {
		printf("hmmu_mm_open: %s\n", strerror(-err));
		return err == -EOPNOTSUPP ? 77 : 1;
	}
	err = run(mm, by_hand);
	if (err)
		printf("not told as promised: %s\n", strerror(err < 0 ? -err : err));
	hmmu_mm_close(mm);
	return err != 0;
}
