// SPDX-License-Identifier: MIT
/*
 * tag.c - hmm_range_fault(): a snapshot of 64 pages, the same with tags, and
 * hmm_range_valid() of what was tagged. Tags need an mm that userfaultfd watches alone, which
 * valgrind does not know: these are counted natively.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include <hmmu/hmm.h>

#include "count.h"
#include "notifier/notifier.h"

#define PAGE 4096ul
#define PAGES 64

struct look {
	unsigned int sources;
	struct mm_struct *mm;
	struct mmu_interval_notifier sub;
	struct hmm_range range;
	unsigned long pfns[PAGES];
};

static struct look plain = {.sources = HMMU_SOURCE_EXPLICIT};
static struct look tagged = {.sources = HMMU_SOURCE_USERFAULTFD};

static bool invalidate(struct mmu_interval_notifier *sub,
		       const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	mmu_interval_set_seq(sub, cur_seq);
	return true;
}

static const struct mmu_interval_notifier_ops ops = {.invalidate = invalidate};

static int look_at(struct look *look)
{
	look->range.notifier_seq = mmu_interval_read_begin(&look->sub);
	return hmm_range_fault(&look->range);
}

static int map(struct look *look)
{
	char *at = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			-1, 0);

	count_check(at != MAP_FAILED, "mmap");
	madvise(at, PAGES * PAGE, MADV_NOHUGEPAGE);
	memset(at, 1, PAGES * PAGE);
	look->range = (struct hmm_range){
		.notifier = &look->sub,
		.start = (unsigned long)at,
		.end = (unsigned long)at + PAGES * PAGE,
		.hmm_pfns = look->pfns,
		.flags = look->sources ? HMM_RANGE_TAG : 0,
	};
	return mmu_interval_notifier_insert(&look->sub, look->mm, look->range.start,
					    PAGES * PAGE, &ops);
}

static int set_up(const struct operation *op)
{
	struct look *look = op->arg;
	struct hmmu_mm_options o = {
		.size = sizeof(o),
		.sources = look->sources,
		.flags = HMMU_MM_OWN_RECLAIM,
	};
	int err;

	if (look->sub.mm)
		return look->range.start ? 0 : -EOPNOTSUPP;
	err = look->mm ? -EOPNOTSUPP : hmmu_mm_open(&look->mm, &o);
	if (!err)
		err = map(look);
	if (!err)
		err = look_at(look);
	if (err)
		look->range.start = 0;
	return err;
}

static void snapshot(void *arg, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		count_check(!look_at(arg), "hmm_range_fault");
}

static void valid(void *arg, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		count_check(hmm_range_valid(&((struct look *)arg)->range), "hmm_range_valid");
}

#define TAG(title, function, which, does)                                         \
	{                                                                         \
		.side = "hmmu", .name = title, .set_up = set_up, .run = function, \
		.arg = which, .times = 20, .natively = does                       \
	}

static const struct operation list[] = {
	TAG("snapshot-64-pages", snapshot, &plain, false),
	TAG("tag-64-pages", snapshot, &tagged, true),
	TAG("validate-64-pages", valid, &tagged, true),
};
const struct operations tag_operations = {list, sizeof(list) / sizeof(*list)};
