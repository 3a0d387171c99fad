// SPDX-License-Identifier: MIT
/*
 * test_released.c - the library as released: callbacks that change watched memory, and
 * changes under the very lock that the callback wants. Nobody hangs.
 */
#include "net.h"

#define BIG (1UL << 20)

struct room {
	char *mapped; /* watched too */
	char *block;  /* malloc()ed, watched too */
	uint32_t done;
};

/* In the dispatcher: no allocator's lock is held by its caller. */
static void change_more(struct watch *w, const struct mmu_notifier_range *range)
{
	struct room *room = w->arg;

	(void)range;
	if (hmmu_add_seqcst(&room->done, 1))
		return;
	must(raw_madvise(room->mapped, PAGE, MADV_DONTNEED) == 0);
	must(raw_munmap(room->mapped, PAGE) == 0);
	free(room->block);
	free(malloc(BIG));
}

ISOLATED(callback_changes_memory)
{
	struct mm_struct *mm = net_open(ALONE);
	char *p = raw_map(1);
	struct room room = {.mapped = raw_map(1), .block = malloc(BIG)};
	unsigned long seq[3];
	struct watch w[3];

	watch_add(&w[0], mm, p, PAGE);
	watch_add(&w[1], mm, room.mapped, PAGE);
	watch_add(&w[2], mm, room.block, BIG);
	w[0].hook = change_more;
	w[0].arg = &room;
	for (int i = 0; i < 3; i++)
		seq[i] = watch_begin(&w[i]);
	must(raw_munmap(p, PAGE) == 0);
	while (!watch_calls(&w[0]) || !watch_calls(&w[1]) || !watch_calls(&w[2]))
		usleep(100);
	net_quiet();
	for (int i = 0; i < 3; i++) {
		must(!watch_ok(&w[i], seq[i]));
		watch_remove(&w[i]);
	}
	net_close(mm);
}

/* It unmaps the very range that it is called for, again and again. */
static void unmap_again(struct watch *w, const struct mmu_notifier_range *range)
{
	struct room *room = w->arg;

	(void)range;
	if (hmmu_add_seqcst(&room->done, 1) < 20)
		must(raw_mmap(room->mapped, PAGE, RW, ANON | MAP_FIXED, -1, 0) == room->mapped);
}

ISOLATED(callback_changes_its_own)
{
	struct mm_struct *mm = net_open(ALONE);
	struct room room = {.mapped = raw_map(1)};
	unsigned long seq;
	struct watch w;

	watch_add(&w, mm, room.mapped, PAGE);
	w.hook = unmap_again;
	w.arg = &room;
	for (int i = 0; i < 30; i++) {
		seq = watch_begin(&w);
		must(raw_madvise(room.mapped, PAGE, MADV_DONTNEED) == 0 && !watch_ok(&w, seq));
	}
	net_quiet();
	watch_remove(&w);
	net_close(mm);
}

/* The callback wants the lock under which its cause was made. */
static void under_lock(unsigned int sources)
{
	struct mm_struct *mm = net_open(sources);
	char *p = raw_map(4), *to = raw_map(4);
	struct watch w;

	watch_add(&w, mm, p, 4 * PAGE);
	for (uint32_t i = 0; i < 50; i++) {
		unsigned long seq = watch_begin(&w);
		uint32_t calls = watch_calls(&w);

		pthread_mutex_lock(&w.lock);
		switch (i % 4) {
		case 0:
			must(raw_munmap(p, 4 * PAGE) == 0);
			raw_mmap(p, 4 * PAGE, RW, ANON | MAP_FIXED, -1, 0);
			break;
		case 1:
			raw_mmap(p, 4 * PAGE, RW, ANON | MAP_FIXED, -1, 0);
			break;
		case 2:
			must(raw_madvise(p, 4 * PAGE, MADV_DONTNEED) == 0);
			break;
		default:
			must(raw_mremap(p, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
					to) == to);
			raw_mmap(p, 4 * PAGE, RW, ANON | MAP_FIXED, -1, 0);
		}
		must(mmu_interval_read_retry(&w.sub, seq) && !watch_ok(&w, seq));
		must(watch_calls(&w) == calls);
		pthread_mutex_unlock(&w.lock);
		watch_begin(&w);
		must(watch_calls(&w) > calls);
	}
	net_quiet();
	watch_remove(&w);
	net_close(mm);
}

ISOLATED(under_lock_alone)
{
	under_lock(ALONE);
}

ISOLATED(under_lock_both)
{
	under_lock(BOTH);
}

/* Another thread holds the lock and waits for one who changes memory. */
static void free_blocks(void *arg)
{
	(void)arg;
	for (int i = 0; i < 50; i++)
		free(malloc(BIG));
}

ISOLATED(joined_under_lock)
{
	struct mm_struct *mm = net_open(ALONE);
	char *block = malloc(BIG);
	struct runner r;
	struct watch w;

	watch_add(&w, mm, block, BIG);
	watch_begin(&w);
	free(block);
	pthread_mutex_lock(&w.lock);
	runner_start(&r, free_blocks, NULL);
	runner_join(&r);
	pthread_mutex_unlock(&w.lock);
	net_quiet();
	must(watch_calls(&w) >= 1);
	watch_remove(&w);
	net_close(mm);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(callback_changes_memory),
		cmocka_unit_test(callback_changes_its_own),
		cmocka_unit_test(under_lock_alone),
		cmocka_unit_test(under_lock_both),
		cmocka_unit_test(joined_under_lock),
	};

	net_init(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
