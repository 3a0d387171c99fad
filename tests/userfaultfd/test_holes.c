// SPDX-License-Identifier: MIT
/*
 * test_holes.c - a range that is not mapped everywhere is not watched: what is mapped into a
 * hole, read, and unmapped again, nobody tells of, and no look afterwards can find it.
 */
#include "net.h"

#define FIXED (ANON | MAP_FIXED_NOREPLACE)

/* The second of two pages is a hole. */
static char *with_hole(struct watch *w, struct mm_struct *mm)
{
	char *p = raw_map(2);

	must(raw_munmap(p + PAGE, PAGE) == 0);
	watch_add(w, mm, p, 2 * PAGE);
	return p;
}

ISOLATED_BOTH(says_so)
{
	struct mm_struct *mm = net_open(sources);
	unsigned long seq;
	struct watch w;
	char *p = with_hole(&w, mm);

	must(hmmu_read_begin(&w.sub, &seq, NULL) == -ENODEV);
	/* It comes and goes between begin and retry. */
	must(raw_mmap(p + PAGE, PAGE, RW, FIXED, -1, 0) == p + PAGE);
	must(raw_munmap(p + PAGE, PAGE) == 0);
	must(watch_retry(&w, seq) && !watch_ok(&w, seq));
	/* Whole again: watched again. */
	must(raw_mmap(p + PAGE, PAGE, RW, FIXED, -1, 0) == p + PAGE);
	seq = watch_begin(&w);
	must(!watch_retry(&w, seq) && watch_ok(&w, seq));
	must(raw_munmap(p + PAGE, PAGE) == 0);
	must(!watch_ok(&w, seq));
	net_quiet();
	must(hmmu_read_begin(&w.sub, &seq, NULL) == -ENODEV);
	watch_remove(&w);
	net_close(mm);
}

/* Found whole, cut before it is registered, and whole again. */
static char *cut;

static void cut_it(enum hmmu_uffd_gate gate, uint64_t start, uint64_t end)
{
	(void)end;
	if (gate != UFFD_GATE_FOUND || start != (uint64_t)(uintptr_t)cut)
		return;
	hmmu_uffd_gate = NULL;
	must(raw_munmap(cut + PAGE, PAGE) == 0);
}

ISOLATED_BOTH(cut_while_armed)
{
	struct mm_struct *mm = net_open(sources);
	unsigned long seq;
	struct watch w;

	/* With room around it: nothing merges with it. */
	cut = raw_mmap(NULL, 4 * PAGE, PROT_NONE, ANON, -1, 0) + PAGE;
	must(raw_mmap(cut, 2 * PAGE, RW, ANON | MAP_FIXED, -1, 0) == cut);
	watch_add(&w, mm, cut, 2 * PAGE);
	hmmu_uffd_gate = cut_it;
	must(hmmu_read_begin(&w.sub, &seq, NULL) == -ENODEV);
	must(!hmmu_uffd_gate);
	must(raw_mmap(cut + PAGE, PAGE, RW, FIXED, -1, 0) == cut + PAGE);
	must(watch_retry(&w, seq));
	net_quiet();
	watch_remove(&w);
	net_close(mm);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(says_so_alone),
		cmocka_unit_test(says_so_both),
		cmocka_unit_test(cut_while_armed_alone),
		cmocka_unit_test(cut_while_armed_both),
	};

	net_init(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
