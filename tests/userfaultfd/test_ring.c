// SPDX-License-Identifier: MIT
/*
 * test_ring.c - more events than the ring holds while the dispatcher is held up: everybody
 * is told that all may be gone, nobody misses anything, and it works on.
 */
#include "net.h"

#define MANY (UFFD_RING + 200)

/* The dispatcher stands before its first event; more than fit come after it. */
static void fill(char *p)
{
	net_hold(UFFD_GATE_DISPATCH, p);
	must(raw_madvise(p, PAGE, MADV_DONTNEED) == 0);
	/* It has taken the first: one taken later would leave a place for one more. */
	net_reached(UFFD_GATE_DISPATCH);
	for (int i = 1; i < MANY; i++)
		must(raw_madvise(p, PAGE, MADV_DONTNEED) == 0);
	must(hmmu_load_seqcst(&hmmu_uffd->head) - hmmu_load_seqcst(&hmmu_uffd->tail) >=
	     UFFD_RING - 1);
}

ISOLATED_BOTH(overflow)
{
	struct mm_struct *mm = net_open(sources);
	char *p = raw_map(1), *q = raw_map(3), *r = raw_map(3);
	unsigned long seq, seq_q, seq_r;
	struct watch w, v, x;

	watch_add(&w, mm, p, PAGE);
	watch_add(&v, mm, q, PAGE);
	watch_add(&x, mm, r, PAGE);
	for (int round = 0; round < 3; round++) {
		uint32_t lost = w.lost, told = x.lost;

		seq = watch_begin(&w);
		seq_q = watch_begin(&v);
		seq_r = watch_begin(&x);
		fill(p);
		/* One that did not fit, of another mapping. */
		must(raw_mmap(q, 3 * PAGE, RW, ANON | MAP_FIXED, -1, 0) == q);
		must(!watch_ok(&w, seq) && !watch_ok(&v, seq_q) && !watch_ok(&x, seq_r));
		must(watch_poll(&v) == -ETIMEDOUT);
		net_release(UFFD_GATE_DISPATCH);
		seq = watch_begin(&w);
		seq_q = watch_begin(&v);
		must(watch_ok(&w, seq) && watch_ok(&v, seq_q) && !watch_ok(&x, seq_r));
		must(w.lost > lost && x.lost > told && *q == 0);
		net_quiet();
	}
	/* Afterwards everything works: each is told of its own only. */
	seq = watch_begin(&w);
	seq_q = watch_begin(&v);
	must(raw_munmap(q, 3 * PAGE) == 0);
	net_quiet();
	must(watch_ok(&w, seq) && !watch_ok(&v, seq_q));
	watch_remove(&w);
	watch_remove(&v);
	watch_remove(&x);
	net_close(mm);
}

/* Whoever is told can be opened and closed at once: more address spaces than there are
 * places for marks, one after another. */
ISOLATED(overflow_in_many)
{
	static const struct hmmu_mm_options none = {.size = sizeof(none)};
	struct mm_struct *mm, *explicit;
	char *p = raw_map(1);
	struct watch w;

	for (int i = 0; i < HMMU_WATCHED_MAX + 2; i++) {
		mm = net_open(ALONE);
		watch_add(&w, mm, p, PAGE);
		watch_begin(&w);
		fill(p);
		net_release(UFFD_GATE_DISPATCH);
		watch_begin(&w);
		must(w.lost >= 1);
		watch_remove(&w);
		net_close(mm);
		must((mm->epoch & EPOCH_LOW) == 0);
		/* Takes the one that was closed: the next is new. */
		must(hmmu_mm_open(&explicit, &none) == 0);
	}
}

/* As many mms as there can be, all marked. */
ISOLATED(overflow_in_all)
{
	struct mm_struct *mm[HMMU_WATCHED_MAX];
	char *p = raw_map(1);
	struct watch w[HMMU_WATCHED_MAX];

	for (int i = 0; i < HMMU_WATCHED_MAX; i++) {
		mm[i] = net_open(i % 2 ? ALONE : BOTH);
		watch_add(&w[i], mm[i], p, PAGE);
		watch_begin(&w[i]);
	}
	fill(p);
	net_release(UFFD_GATE_DISPATCH);
	for (int i = 0; i < HMMU_WATCHED_MAX; i++) {
		watch_begin(&w[i]);
		must(w[i].lost >= 1);
		watch_remove(&w[i]);
		net_close(mm[i]);
	}
}

/* More removals than can be open: the dispatcher waits, then goes on. */
ISOLATED(many_removals)
{
	struct mm_struct *mm = net_open(ALONE);
	char *p = raw_map(1);
	struct watch w;

	watch_add(&w, mm, p, PAGE);
	watch_begin(&w);
	net_hold(UFFD_GATE_CENSUS, NULL);
	for (int i = 0; i < 3 * UFFD_REMOVALS; i++)
		must(raw_madvise(p, PAGE, MADV_DONTNEED) == 0);
	net_reached(UFFD_GATE_CENSUS);
	must(watch_poll(&w) == -ETIMEDOUT);
	net_release(UFFD_GATE_CENSUS);
	watch_begin(&w);
	must(watch_calls(&w) == 3 * UFFD_REMOVALS);
	watch_remove(&w);
	net_close(mm);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(overflow_alone),   cmocka_unit_test(overflow_both),
		cmocka_unit_test(overflow_in_many), cmocka_unit_test(overflow_in_all),
		cmocka_unit_test(many_removals),
	};

	net_init(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
