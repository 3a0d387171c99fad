// SPDX-License-Identifier: MIT
/*
 * test_storm.c - readers keep what they have read in a shadow and use it only while
 * hmmu_access_ok() says so; writers replace, move and drop the pages by raw calls.
 *
 * Each mapping's first word is its generation, written once. The writer publishes the
 * generation as the floor when the call that took its predecessor away has returned: an
 * access that begins after that and goes through an older one is stale. None is, on
 * any schedule.
 */
#include "net.h"

#include <sys/syscall.h>
#include <sys/uio.h>

#define REGIONS 2
#define READERS 2 /* of each */
#define CHANGES (3000 / NET_SLOW)

struct region {
	struct mm_struct *mm;
	unsigned int sources;
	char *p;
	uint64_t floor; /* nothing older may be used */
	uint64_t used, stale, installed;
};

static uint32_t stop;

/* 0: not there, or not written yet. */
static uint64_t truth(const struct region *r)
{
	uint64_t g = 0;
	struct iovec to = {&g, sizeof(g)}, from = {r->p, sizeof(g)};

	if (hmmu_syscall(SYS_process_vm_readv, getpid(), &to, 1, &from, 1, 0) != sizeof(g))
		return 0;
	return g;
}

/* The new one is complete before it comes. */
static void put_moved(struct region *r, uint64_t g)
{
	char *q = raw_mmap(NULL, PAGE, RW, ANON, -1, 0);

	*(uint64_t *)q = g;
	must(raw_mremap(q, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, r->p) == r->p);
	hmmu_store_seqcst(&r->floor, g);
}

static void replace(struct region *r, uint64_t g)
{
	switch (g % 5) {
	case 0:
		raw_mmap(r->p, PAGE, RW, ANON | MAP_FIXED, -1, 0);
		break;
	case 1:
		must(raw_munmap(r->p, PAGE) == 0);
		hmmu_store_seqcst(&r->floor, g);
		raw_mmap(r->p, PAGE, RW, ANON | MAP_FIXED, -1, 0);
		break;
	case 2:
		must(raw_madvise(r->p, PAGE, MADV_DONTNEED) == 0);
		break;
	case 3:
		/* By libc: bracketed, where hooks watch. */
		must(madvise(r->p, PAGE, MADV_DONTNEED) == 0);
		break;
	default:
		put_moved(r, g);
		return;
	}
	hmmu_store_seqcst(&r->floor, g);
	__atomic_store_n((uint64_t *)r->p, g, __ATOMIC_SEQ_CST);
}

static void writer(void *arg)
{
	struct region *r = arg;

	for (uint64_t g = 2; g < CHANGES; g++) {
		replace(r, g);
		if (g % 16 == 0)
			sched_yield();
	}
}

static void use(struct region *r, struct watch *w, uint64_t shadow, unsigned long seq)
{
	for (int i = 0; i < 200; i++) {
		uint64_t floor = hmmu_load_seqcst(&r->floor);

		if (!watch_ok(w, seq))
			return;
		hmmu_add_relaxed(&r->used, 1);
		if (shadow < floor)
			hmmu_add_relaxed(&r->stale, 1);
	}
}

static void reader(void *arg)
{
	struct region *r = arg;
	struct watch w;

	watch_add(&w, r->mm, r->p, PAGE);
	while (!hmmu_load_relaxed(&stop)) {
		unsigned long seq;
		uint64_t shadow;

		if (hmmu_read_begin(&w.sub, &seq, NULL))
			continue;
		shadow = truth(r);
		if (!shadow || watch_retry(&w, seq))
			continue;
		hmmu_add_relaxed(&r->installed, 1);
		use(r, &w, shadow, seq);
	}
	watch_remove(&w);
}

static void storm(unsigned int sources, unsigned int flags)
{
	struct mm_struct *mm = net_open_flags(sources, flags);
	struct runner w[REGIONS], r[REGIONS][READERS];
	struct region region[REGIONS];

	for (int i = 0; i < REGIONS; i++) {
		region[i] = (struct region){.mm = mm, .sources = sources, .floor = 1};
		region[i].p = raw_mmap(net_place(512 * i), PAGE, RW, ANON | MAP_FIXED, -1, 0);
		*(uint64_t *)region[i].p = 1;
		for (int k = 0; k < READERS; k++)
			runner_start(&r[i][k], reader, &region[i]);
	}
	for (int i = 0; i < REGIONS; i++)
		runner_start(&w[i], writer, &region[i]);
	for (int i = 0; i < REGIONS; i++)
		runner_join(&w[i]);
	/* When nothing changes any more every reader gets through. */
	for (int i = 0; i < REGIONS; i++) {
		uint64_t before = hmmu_load_relaxed(&region[i].used);

		while (hmmu_load_relaxed(&region[i].used) < before + 1000)
			usleep(100);
	}
	hmmu_store_relaxed(&stop, 1);
	for (int i = 0; i < REGIONS; i++) {
		for (int k = 0; k < READERS; k++)
			runner_join(&r[i][k]);
		print_message("%llu of %llu accesses stale, %llu installed\n",
			      (unsigned long long)region[i].stale,
			      (unsigned long long)region[i].used,
			      (unsigned long long)region[i].installed);
		must(region[i].stale == 0);
	}
	net_quiet();
	net_close(mm);
}

ISOLATED_FOR(storm_alone, 60)
{
	storm(ALONE, 0);
}

ISOLATED_FOR(storm_both, 60)
{
	storm(BOTH, 0);
}

ISOLATED_FOR(storm_both_probing, 60)
{
	storm(BOTH, HMMU_MM_PROBE_ACCESS);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(storm_alone),
		cmocka_unit_test(storm_both),
		cmocka_unit_test(storm_both_probing),
	};

	net_init(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
