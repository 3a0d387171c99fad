// SPDX-License-Identifier: MIT
/* test_exclusive.c - pages that a device has alone, for atomics; and who they are told to. */
#include "meet.h"

static char owner_b;
static unsigned long pfns[N];

static int take(struct world *w, size_t page, size_t pages)
{
	dev_settle(&w->dev);
	return make_device_exclusive_range(w->dev.map, (unsigned long)(w->p + page * PAGE),
					   (unsigned long)(w->p + (page + pages) * PAGE), pfns);
}

static void why_is(struct world *w, uint32_t exclusive, uint32_t migrate)
{
	dev_settle(&w->dev);
	must(w->dev.why[MMU_NOTIFY_EXCLUSIVE] == exclusive);
	must(w->dev.why[MMU_NOTIFY_MIGRATE] == migrate);
}

ISOLATED(taken_and_touched)
{
	struct world *w = world();

	must(take(w, 0, N) == N);
	for (size_t i = 0; i < N; i++) {
		must(pfns[i] * PAGE == (unsigned long)dev_at(&w->dev, w->p + i * PAGE));
		must(away_is(&w->dev, w->p, i, 1));
		__atomic_fetch_add((uint64_t *)(pfns[i] * PAGE + 64), i + 1, __ATOMIC_SEQ_CST);
	}
	must(*(volatile uint64_t *)(w->p + 64) == 1); /* a read */
	why_is(w, 1, 0);
	must(w->dev.last_addr == (unsigned long)w->p && w->dev.last_pfn == pfns[0]);
	((volatile uint64_t *)(w->p + PAGE))[9] = 5; /* a write */
	why_is(w, 2, 0);
	for (size_t i = 0; i < N; i++)
		must(*(volatile uint64_t *)(w->p + i * PAGE + 64) == i + 1);
	must(pages_are(w->p, N, 1));
	why_is(w, N, 0);
	/* An ordinary one is told as such. */
	must(dev_out(&w->dev, w->p, 1) == 1 && pages_are(w->p, 1, 1));
	why_is(w, N, 1);
	world_end(w);
}

ISOLATED(empty_ones)
{
	struct world *w = world();

	must(madvise(w->p, 4 * PAGE, MADV_DONTNEED) == 0);
	must(take(w, 0, 8) == 8);
	for (size_t i = 0; i < 4; i++)
		must(pages_zero((char *)(pfns[i] * PAGE), 1));
	must(pages_zero(w->p, 4));
	must(take(w, 0, 8) == 4); /* the others are away already */
	for (size_t i = 4; i < 8; i++)
		must(pfns[i] == 0);
	must(pages_zero(w->p, 4));
	for (size_t i = 4; i < 8; i++)
		must(*(volatile uint64_t *)(w->p + i * PAGE) == page_word(1, i));
	world_end(w);
}

ISOLATED(changed)
{
	struct world *w = world();
	int status = -1;
	pid_t pid;

	must(take(w, 0, N) == N);
	must(mprotect(w->p, 4 * PAGE, PROT_READ) == 0);
	must(w->dev.why[MMU_NOTIFY_EXCLUSIVE] == 4 && dev_stat(&w->dev).brought == 4);
	must(pages_are(w->p, 4, 1));
	pid = fork();
	if (!pid) {
		alarm(10);
		_exit(pages_are(w->p, N, 1) ? 0 : 1);
	}
	must(waitpid(pid, &status, 0) == pid && status == 0);
	why_is(w, N, 0);
	must(pages_are(w->p, N, 1));
	must(mprotect(w->p, 4 * PAGE, RW) == 0);
	/* Raw: it is gone when it is told. */
	must(take(w, 0, N) == N);
	must(raw_munmap(w->p, 4 * PAGE) == 0);
	dev_settle(&w->dev);
	must(w->dev.why[MMU_NOTIFY_UNMAP] == 4);
	must(munmap(w->p + 4 * PAGE, (N - 4) * PAGE) == 0);
	dev_settle(&w->dev);
	must(dev_stat(&w->dev).used == 0);
	world_end(w);
}

/* By the driver itself: it is not told. */
ISOLATED(brought_by_the_driver)
{
	struct world *w = world();

	must(take(w, 0, N) == N);
	must(dev_home(&w->dev, w->p, N) == N);
	why_is(w, 0, 0);
	must(pages_are(w->p, N, 1));
	world_end(w);
}

/* Who subscribed elsewhere is told that somebody has it alone, and by whom. */
struct told {
	struct mmu_interval_notifier sub;
	uint32_t calls;
	enum mmu_notifier_event event;
	void *owner;
};

static bool tell(struct mmu_interval_notifier *sub, const struct mmu_notifier_range *range,
		 unsigned long cur_seq)
{
	struct told *t = (struct told *)sub;

	mmu_interval_set_seq(sub, cur_seq);
	t->event = range->event;
	t->owner = range->owner;
	hmmu_add_seqcst(&t->calls, 1);
	return true;
}

static const struct mmu_interval_notifier_ops tell_ops = {.invalidate = tell};

ISOLATED(others_are_told)
{
	static struct told t;
	struct world *w = world();
	struct mm_struct *other = net_open(BOTH);
	static const struct timespec now = {0, 0};
	unsigned long seq;
	struct trip *trip;

	must(mmu_interval_notifier_insert(&t.sub, other, (unsigned long)w->p, N * PAGE,
					  &tell_ops) == 0);
	must(hmmu_read_begin(&t.sub, &seq, NULL) == 0);
	must(take(w, 0, 4) == 4);
	must(t.calls == 1 && t.event == MMU_NOTIFY_EXCLUSIVE && t.owner == w->dev.map->owner);
	must(mmu_interval_read_retry(&t.sub, seq));
	must(hmmu_read_begin(&t.sub, &seq, NULL) == 0);
	/* From setup to finalize its readers wait. */
	trip = trip_new(&w->dev, w->p + 4 * PAGE, 4, MIGRATE_VMA_SELECT_SYSTEM);
	trip_setup(trip);
	must(t.calls == 2 && t.event == MMU_NOTIFY_MIGRATE && t.owner == w->dev.map->owner);
	must(hmmu_read_begin(&t.sub, &seq, &now) == -ETIMEDOUT);
	trip_alloc(trip);
	trip_pages(trip);
	must(hmmu_read_begin(&t.sub, &seq, &now) == -ETIMEDOUT);
	must(trip_finalize(trip) == 4);
	must(hmmu_read_begin(&t.sub, &seq, NULL) == 0);
	mmu_interval_notifier_remove(&t.sub);
	must(pages_are(w->p, N, 1));
	net_close(other);
	world_end(w);
}

ISOLATED(errors)
{
	struct world *w = world();
	unsigned long p = (unsigned long)w->p;
	struct dev b;

	must(make_device_exclusive_range(NULL, p, p + PAGE, pfns) == -EINVAL);
	must(make_device_exclusive_range(w->dev.map, p, p + PAGE, NULL) == -EINVAL);
	must(make_device_exclusive_range(w->dev.map, p, p, pfns) == -EINVAL);
	must(make_device_exclusive_range(w->dev.map, p + PAGE, p, pfns) == -EINVAL);
	must(make_device_exclusive_range(w->dev.map, p + 1, p + PAGE, pfns) == -EINVAL);
	must(make_device_exclusive_range(w->dev.map, p, p + PAGE + 1, pfns) == -EINVAL);
	must(make_device_exclusive_range(w->dev.map, p - PAGE, p + PAGE, pfns) == -EINVAL);
	must(make_device_exclusive_range(w->dev.map, p, p + (N + 1) * PAGE, pfns) == -EINVAL);
	must(make_device_exclusive_range(w->dev.map, -2 * PAGE, -PAGE, pfns) == -EINVAL);
	must(mprotect(w->p + 4 * PAGE, PAGE, PROT_READ) == 0);
	must(take(w, 0, N) == -EINVAL);
	must(mprotect(w->p + 4 * PAGE, PAGE, PROT_NONE) == 0);
	must(take(w, 0, N) == -EINVAL);
	must(mprotect(w->p + 4 * PAGE, PAGE, RW) == 0);
	raw_mmap(w->p + 64 * PAGE, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	must(take(w, 64, 1) == -EINVAL);
	must(dev_stat(&w->dev).used == 0);
	/* Somebody else has it; the arena is full. */
	dev_open(&b, w->mm, 4, &owner_b);
	must(dev_out(&b, w->p, 2) == 2);
	must(take(w, 0, 4) == 2 && !pfns[0] && !pfns[1] && pfns[2] && pfns[3]);
	must(make_device_exclusive_range(b.map, p + 4 * PAGE, p + 8 * PAGE, pfns) == 2);
	must(pages_are(w->p, N, 1));
	dev_check(&b);
	dev_close(&b);
	world_end(w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(taken_and_touched), cmocka_unit_test(empty_ones),
		cmocka_unit_test(changed),	     cmocka_unit_test(brought_by_the_driver),
		cmocka_unit_test(others_are_told),   cmocka_unit_test(errors),
	};

	dev_init(argc, argv);
	return cmocka_run_group_tests_name("devmem-exclusive", tests, NULL, NULL);
}
