// SPDX-License-Identifier: MIT
/*
 * hooks.c - mmap + munmap of a page through the C library, hooked: outside of any
 * subscription, and of one that is subscribed to; instructions of the process, not the
 * kernel's.
 */
#include <sys/mman.h>

#include "count.h"
#include "instance.h"
#include "notifier/notifier.h"

#define PAGE 4096ul
#define WATCHED ((1ul << 40) + (1ul << 38)) /* hints: nothing else lies there */
#define SUBSCRIPTIONS 100
#define OUTSIDE (WATCHED + (1ul << 32))

static struct mm_struct *mm;
static struct mmu_interval_notifier subs[SUBSCRIPTIONS];
static __thread uint64_t callbacks;

static bool invalidate(struct mmu_interval_notifier *sub,
		       const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	mmu_interval_set_seq(sub, cur_seq);
	callbacks++;
	return true;
}

static const struct mmu_interval_notifier_ops ops = {.invalidate = invalidate};

static int set_up(const struct operation *op)
{
	struct hmmu_mm_options o = {
		.size = sizeof(o),
		.sources = HMMU_SOURCE_HOOKS,
		.flags = HMMU_MM_OWN_RECLAIM,
	};
	int err = mm ? 0 : hmmu_mm_open(&mm, &o);

	if (err || subs[0].mm)
		return err;
	count_own(mm->slots, sizeof(mm->slots) + sizeof(mm->found));
#ifdef COUNT_INSIDE
	/* A change has a slot there, too: src/source/source.c. */
	count_own(hmmu_instance_peek()->anchor->slots, sizeof(mm->slots) + sizeof(mm->found));
#endif
	for (unsigned long i = 0; i < SUBSCRIPTIONS; i++)
		count_check(!mmu_interval_notifier_insert(&subs[i], mm, WATCHED + i * 4 * PAGE,
							  PAGE, &ops),
			    "insert");
	return 0;
}

/* Before the hooks: the same, unhooked. */
static int set_up_nothing(const struct operation *op)
{
	return 0;
}

static void map_unmap(void *arg, uint64_t n)
{
	void *hint = *(void **)arg;

	for (uint64_t i = 0; i < n; i++) {
		void *p = mmap(hint, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			       -1, 0);

		count_check(p == hint, "mmap");
		count_check(!munmap(p, PAGE), "munmap");
	}
}

static void map_unmap_watched(void *arg, uint64_t n)
{
	uint64_t before = callbacks;

	map_unmap(arg, n);
	count_check(callbacks - before == n, "callbacks");
}

static void *outside = (void *)OUTSIDE, *inside = (void *)(WATCHED + 99 * 4 * PAGE);

static const struct operation list[] = {
	{.side = "unhooked",
	 .name = "hooked-mmap+munmap-outside",
	 .set_up = set_up_nothing,
	 .run = map_unmap,
	 .arg = &outside},
	{.side = "unhooked",
	 .name = "hooked-mmap+munmap-inside",
	 .set_up = set_up_nothing,
	 .run = map_unmap,
	 .arg = &inside},
	{.side = "hmmu",
	 .name = "hooked-mmap+munmap-outside",
	 .set_up = set_up,
	 .run = map_unmap,
	 .arg = &outside},
	{.side = "hmmu",
	 .name = "hooked-mmap+munmap-inside",
	 .set_up = set_up,
	 .run = map_unmap_watched,
	 .arg = &inside},
};
const struct operations hooks_operations = {list, sizeof(list) / sizeof(*list)};
