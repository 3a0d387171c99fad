// SPDX-License-Identifier: MIT
/*
 * test_run.c - neighbours that are armed with the one that is read: src/notifier/arm.c. All on
 * real mappings; at the gate ARMED the kernel has been asked and nobody counts as armed yet.
 */
#include "net.h"

#include <sys/mman.h>

#define PAGES 8

struct row {
	char *p;
	struct watch w[PAGES];
	unsigned long seq[PAGES];
	bool in[PAGES];
};

static void row_add(struct row *r, struct mm_struct *mm, unsigned int i)
{
	watch_add(&r->w[i], mm, r->p + i * PAGE, PAGE);
	r->in[i] = true;
}

static void row_map(struct row *r, struct mm_struct *mm)
{
	memset(r, 0, sizeof(*r));
	/* With a hole on both sides: it merges with nothing. */
	r->p = raw_mmap(net_place(16), PAGES * PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);
	for (unsigned int i = 0; i < PAGES; i++)
		row_add(r, mm, i);
}

static void row_begin(struct row *r)
{
	for (unsigned int i = 0; i < PAGES; i++)
		if (r->in[i])
			r->seq[i] = watch_begin(&r->w[i]);
}

static void row_remove(struct row *r)
{
	for (unsigned int i = 0; i < PAGES; i++)
		if (r->in[i])
			watch_remove(&r->w[i]);
}

static bool is_armed(struct watch *w)
{
	return !((struct hmmu_sub *)&w->sub)->unarmed;
}

static void replace(struct row *r, unsigned int page, unsigned int n)
{
	char *p = r->p + page * PAGE;

	must(raw_mmap(p, n * PAGE, RW, ANON | MAP_FIXED, -1, 0) == p);
	net_quiet();
}

/* What is armed is told of: a raw call, after whose return nothing old may be used. */
static void told(struct row *r, unsigned int i)
{
	r->seq[i] = watch_begin(&r->w[i]);
	must(watch_ok(&r->w[i], r->seq[i]));
	must(raw_munmap(r->p + i * PAGE, PAGE) == 0);
	must(!watch_ok(&r->w[i], r->seq[i]) && watch_retry(&r->w[i], r->seq[i]));
	net_quiet();
	must(!watch_ok(&r->w[i], r->seq[i]));
}

/* One registration, for all from the one that is read on. */
ISOLATED_BOTH(all_at_once)
{
	struct mm_struct *mm = net_open(sources);
	uint64_t changes;
	struct row r;

	row_map(&r, mm);
	row_begin(&r);
	replace(&r, 0, PAGES);
	changes = hmmu_load_seqcst(&hmmu_uffd->changes);
	r.seq[2] = watch_begin(&r.w[2]);
	for (unsigned int i = 0; i < PAGES; i++)
		must(is_armed(&r.w[i]) == (i >= 2));
	for (unsigned int i = 3; i < PAGES; i++)
		must(watch_poll(&r.w[i]) == 0);
	must(hmmu_load_seqcst(&hmmu_uffd->changes) == changes + UFFD_CHANGING + UFFD_CHANGED);
	for (unsigned int i = PAGES; i-- > 0;)
		told(&r, i);
	row_remove(&r);
	net_close(mm);
}

/* The run goes over mappings: each is registered. */
ISOLATED_BOTH(two_mappings)
{
	struct mm_struct *mm = net_open(sources);
	char *half;
	struct row r;

	row_map(&r, mm);
	row_begin(&r);
	replace(&r, 0, PAGES);
	half = raw_mmap(r.p + 4 * PAGE, 4 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED,
			-1, 0);
	must(half == r.p + 4 * PAGE);
	net_quiet();
	watch_begin(&r.w[0]);
	must(is_armed(&r.w[3]) && is_armed(&r.w[PAGES - 1]));
	told(&r, PAGES - 1);
	told(&r, 3);
	row_remove(&r);
	net_close(mm);
}

/* A page that nobody subscribes to ends the run: what lies there is nobody's business. */
ISOLATED_BOTH(a_gap)
{
	struct mm_struct *mm = net_open(sources);
	struct row r;

	row_map(&r, mm);
	row_begin(&r);
	watch_remove(&r.w[3]);
	r.in[3] = false;
	replace(&r, 0, PAGES);
	watch_begin(&r.w[0]);
	must(is_armed(&r.w[2]) && !is_armed(&r.w[4]));
	told(&r, 4);
	row_remove(&r);
	net_close(mm);
}

/* A neighbour that cannot be watched is no hindrance, and is not taken for watched. */
ISOLATED_BOTH(a_hole)
{
	struct mm_struct *mm = net_open(sources);
	struct row r;

	row_map(&r, mm);
	row_begin(&r);
	replace(&r, 0, PAGES);
	must(raw_munmap(r.p + 2 * PAGE, PAGE) == 0);
	net_quiet();
	watch_begin(&r.w[0]);
	must(is_armed(&r.w[0]) && !is_armed(&r.w[1]) && !is_armed(&r.w[2]));
	must(watch_poll(&r.w[2]) == -ENODEV);
	told(&r, 0);
	told(&r, 1);
	row_remove(&r);
	net_close(mm);
}

static void begin_run(void *arg)
{
	watch_begin(arg);
}

/* begin() of the first arms the others too: another thread's, held at @gate. */
static void begin_held(struct runner *a, struct row *r, enum hmmu_uffd_gate gate)
{
	net_hold(gate, r->p);
	runner_start(a, begin_run, &r->w[0]);
	net_reached(gate);
}

static void begin_goes_on(struct runner *a, enum hmmu_uffd_gate gate)
{
	net_release(gate);
	runner_join(a);
}

/* The hook's bracket comes, and is over, between the kernel's answer and the arming. */
ISOLATED(replaced_between)
{
	struct mm_struct *mm = net_open(BOTH);
	struct runner a;
	struct row r;

	row_map(&r, mm);
	row_begin(&r);
	replace(&r, 0, PAGES);
	begin_held(&a, &r, UFFD_GATE_ARMED);
	must(mmap(r.p + PAGE, PAGE, RW, ANON | MAP_FIXED, -1, 0) == r.p + PAGE);
	begin_goes_on(&a, UFFD_GATE_ARMED);
	must(!is_armed(&r.w[1]) && is_armed(&r.w[2]));
	told(&r, 1);
	told(&r, 2);
	row_remove(&r);
	net_close(mm);
}

/* It is removed meanwhile, and inserted again for what has come to be there. */
ISOLATED(inserted_between)
{
	struct mm_struct *mm = net_open(BOTH);
	struct runner a;
	struct row r;

	row_map(&r, mm);
	row_begin(&r);
	replace(&r, 0, PAGES);
	begin_held(&a, &r, UFFD_GATE_ARMED);
	watch_remove(&r.w[1]);
	must(mmap(r.p + PAGE, PAGE, RW, ANON | MAP_FIXED, -1, 0) == r.p + PAGE);
	row_add(&r, mm, 1);
	watch_remove(&r.w[3]);
	memset(&r.w[3], 0x5a, sizeof(r.w[3]));
	r.in[3] = false;
	begin_goes_on(&a, UFFD_GATE_ARMED);
	must(!is_armed(&r.w[1]) && is_armed(&r.w[2]));
	for (size_t i = 0; i < sizeof(r.w[3]); i++)
		must(((unsigned char *)&r.w[3])[i] == 0x5a);
	told(&r, 1);
	told(&r, 2);
	row_remove(&r);
	net_close(mm);
}

/* Those of the second mapping go before it is registered: it is nobody's any more. */
ISOLATED(removed_before)
{
	struct mm_struct *mm = net_open(BOTH);
	struct runner a;
	char *half;
	struct row r;

	row_map(&r, mm);
	half = raw_mmap(r.p + 4 * PAGE, 4 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED,
			-1, 0);
	must(half == r.p + 4 * PAGE);
	begin_held(&a, &r, UFFD_GATE_FOUND);
	for (unsigned int i = 4; i < PAGES; i++) {
		watch_remove(&r.w[i]);
		r.in[i] = false;
	}
	begin_goes_on(&a, UFFD_GATE_FOUND);
	must(hmmu_mapping_registered((uint64_t)r.p, (uint64_t)half) == 1);
	must(hmmu_mapping_registered((uint64_t)half, (uint64_t)half + 4 * PAGE) == 0);
	must(is_armed(&r.w[0]) && is_armed(&r.w[3]));
	told(&r, 3);
	row_remove(&r);
	net_close(mm);
}

static sem_t inside, go_on;

static void slow(struct watch *w, const struct mmu_notifier_range *range)
{
	w->hook = NULL;
	(void)range;
	sem_post(&inside);
	while (sem_wait(&go_on))
		;
}

static void replace_by_hook(void *arg)
{
	must(mmap(arg, PAGE, RW, ANON | MAP_FIXED, -1, 0) == arg);
}

/* The bracket has begun, and the mapping is still the old one: it does not count. */
ISOLATED(open_meanwhile)
{
	struct mm_struct *mm = net_open(BOTH);
	struct runner c;
	struct row r;

	sem_init(&inside, 0, 0);
	sem_init(&go_on, 0, 0);
	row_map(&r, mm);
	row_begin(&r);
	replace(&r, 0, PAGES);
	r.w[1].hook = slow;
	r.w[1].no_lock = true;
	runner_start(&c, replace_by_hook, r.p + PAGE);
	while (sem_wait(&inside))
		;
	watch_begin(&r.w[0]);
	must(!is_armed(&r.w[1]) && is_armed(&r.w[2]));
	sem_post(&go_on);
	runner_join(&c);
	told(&r, 1);
	told(&r, 2);
	row_remove(&r);
	net_close(mm);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_at_once_alone),  cmocka_unit_test(all_at_once_both),
		cmocka_unit_test(two_mappings_alone), cmocka_unit_test(two_mappings_both),
		cmocka_unit_test(a_gap_alone),	      cmocka_unit_test(a_gap_both),
		cmocka_unit_test(a_hole_alone),	      cmocka_unit_test(a_hole_both),
		cmocka_unit_test(replaced_between),   cmocka_unit_test(inserted_between),
		cmocka_unit_test(open_meanwhile),     cmocka_unit_test(removed_before),
	};

	net_init(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
