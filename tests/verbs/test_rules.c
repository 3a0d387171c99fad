// SPDX-License-Identifier: MIT
/* test_rules.c - what a get gives, when it is dead, and who undoes it. */
#include "bed.h"

#define LW IBV_ACCESS_LOCAL_WRITE
#define RWR IBV_ACCESS_REMOTE_WRITE
#define RRD IBV_ACCESS_REMOTE_READ
#define ATOMIC IBV_ACCESS_REMOTE_ATOMIC
#define BIND IBV_ACCESS_MW_BIND
#define RELAXED IBV_ACCESS_RELAXED_ORDERING

static struct hmmu_verbs_options with(unsigned int access)
{
	struct hmmu_verbs_options o = HMMU_VERBS_DEFAULTS;

	o.access = access;
	return o;
}

/* ---- access ----------------------------------------------------------- */

static void expect_access(unsigned int access, unsigned int prot, unsigned int expected)
{
	struct hmmu_verbs_options o = with(access);
	struct hmmu_region_ref ref;
	struct bed b;

	bed_open(&b, &o);
	get(&b, 3, 2, prot, &ref);
	assert_int_equal(fake_of(&ref)->access, expected);
	put(&b, &ref);
	bed_close(&b);
}

static void access_of_each_protection(void **state)
{
	const unsigned int all = LW | RWR | RRD | ATOMIC | BIND | RELAXED;

	expect_access(0, PROT_READ, 0);
	expect_access(LW, PROT_READ, 0);
	expect_access(LW, PROT_WRITE, LW);
	expect_access(LW, RW, LW);
	expect_access(all, PROT_READ, RRD | RELAXED);
	expect_access(all, PROT_WRITE, LW | RWR | BIND | RELAXED);
	expect_access(all, RW, all);
	expect_access(RRD, PROT_READ, RRD);
	expect_access(LW | RRD, PROT_WRITE, LW); /* a peer reads what was asked to be read */
	expect_access(LW | ATOMIC, RW, LW | ATOMIC);
	expect_access(LW | ATOMIC, PROT_WRITE, LW);
	expect_access(LW | RELAXED, RW, LW | RELAXED);
}

static void no_writing_without_local_write(void **state)
{
	struct hmmu_verbs_options o = with(RRD);
	struct hmmu_region_ref ref;
	struct bed b;

	bed_open(&b, &o);
	assert_int_equal(try_get(&b, 0, 1, PROT_WRITE, &ref), -EACCES);
	assert_int_equal(try_get(&b, 0, 1, RW, &ref), -EACCES);
	assert_int_equal(card.calls, 0);
	get_put(&b, 0, 1, PROT_READ);
	assert_int_equal(try_get(&b, 0, 1, PROT_WRITE, &ref), -EACCES);
	bed_close(&b);
}

/* The card would register it (FOLL_FORCE): the kernel is asked first. */
static void the_memory_must_allow_it(void **state)
{
	struct hmmu_region_ref ref;
	struct bed b;

	bed_open(&b, NULL);
	card.blind = true;
	assert_int_equal(mprotect(at(&b, 0), PAGE, PROT_NONE), 0);
	assert_int_equal(mprotect(at(&b, 1), PAGE, PROT_READ), 0);
	assert_int_equal(try_get(&b, 0, 1, PROT_READ, &ref), -EFAULT);
	assert_int_equal(try_get(&b, 0, 2, PROT_READ, &ref), -EFAULT);
	assert_int_equal(try_get(&b, 1, 1, PROT_WRITE, &ref), -EFAULT);
	assert_int_equal(try_get(&b, 1, 2, RW, &ref), -EFAULT);
	assert_int_equal(try_get(&b, PAGES - 1, 2, PROT_READ, &ref), -EFAULT);
	assert_int_equal(card.calls, 0);
	card.blind = false;
	get_put(&b, 1, 3, PROT_READ);
	assert_int_equal(bed_stats(&b).cache.regions, 1);
	bed_close(&b);
}

/* ---- what is registered ----------------------------------------------- */

static void found_again(void **state)
{
	struct hmmu_region_ref ref, now;
	struct bed b;

	bed_open(&b, NULL);
	get(&b, 4, 4, RW, &ref);
	assert_ptr_equal(hmmu_verbs_mr(&ref)->addr, at(&b, 4));
	assert_int_equal(hmmu_verbs_mr(&ref)->length, 4 * PAGE);
	get_put(&b, 5, 2, PROT_READ);
	get_put(&b, 4, 4, PROT_WRITE);
	assert_int_equal(quiet(hmmu_verbs_get_nonblock(b.v, at(&b, 6), 7, RW, &now)), 0);
	assert_ptr_equal(hmmu_verbs_mr(&now), hmmu_verbs_mr(&ref));
	quiet_void(hmmu_verbs_put(b.v, &now));
	assert_int_equal(quiet(hmmu_verbs_get_nonblock(b.v, at(&b, 0), 1, RW, &now)), -EAGAIN);
	put(&b, &ref);
	assert_int_equal(card.calls, 1);
	assert_int_equal(bed_stats(&b).cache.hits, 3);
	bed_close(&b);
}

/* An rkey opens what it names: neighbours become one only where no peer comes. */
static void neighbours(void **state)
{
	static const struct {
		unsigned int access, flags;
		size_t pages;
	} cases[] = {
		{LW, 0, 4},
		{LW | RELAXED, 0, 4},
		{LW | RRD, 0, 2},
		{LW | RWR, 0, 2},
		{LW | ATOMIC, 0, 2},
		{LW | RRD, HMMU_VERBS_MERGE_REMOTE, 4},
		{LW, HMMU_VERBS_MERGE_REMOTE, 4},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct hmmu_verbs_options o = with(cases[i].access);
		struct hmmu_region_ref ref;
		struct bed b;

		o.flags = cases[i].flags;
		bed_open(&b, &o);
		get_put(&b, 0, 2, RW);
		get(&b, 2, 2, RW, &ref);
		assert_int_equal(hmmu_verbs_mr(&ref)->length, cases[i].pages * PAGE);
		put(&b, &ref);
		bed_close(&b);
	}
}

static void limits_reach_the_cache(void **state)
{
	struct hmmu_verbs_options o = with(LW | RRD);
	struct hmmu_region_ref ref, other;
	struct bed b;

	o.alignment = 4 * PAGE;
	o.max_regions = 1;
	o.max_locked = 8 * PAGE;
	bed_open(&b, &o);
	get_put(&b, 0, 1, RW);
	get(&b, 20, 1, RW, &ref);
	assert_int_equal(hmmu_verbs_mr(&ref)->length, 4 * PAGE);
	assert_int_equal((uintptr_t)hmmu_verbs_mr(&ref)->addr % (4 * PAGE), 0);
	put(&b, &ref);
	get(&b, 40, 5, RW, &ref);
	bed_reclaim(&b);
	assert_int_equal(card.live, 1); /* the others were evicted */
	assert_int_equal(try_get(&b, 10, 5, RW, &other), -ENOBUFS);
	put(&b, &ref);
	bed_close(&b);

	o = with(LW);
	o.max_merged = 2 * PAGE;
	bed_open(&b, &o);
	get_put(&b, 0, 2, RW);
	get(&b, 2, 2, RW, &ref);
	assert_int_equal(hmmu_verbs_mr(&ref)->length, 2 * PAGE);
	put(&b, &ref);
	bed_close(&b);
	o = with(LW);
	o.max_bytes = PAGE;
	bed_open(&b, &o);
	get(&b, 0, 2, RW, &ref);
	assert_true(ref.region->flags & HMMU_REGION_ONCE);
	put(&b, &ref);
	bed_close(&b);
}

/* ---- changes (G1, G2) ------------------------------------------------- */

/* What is in use when its memory changes: dead for new gets at once, deregistered after the
 * put and not before. */
static void changed_while_in_use(void **state)
{
	struct hmmu_region_ref old, ref;
	struct bed b;
	uint64_t word;

	bed_open(&b, NULL);
	get(&b, 0, 4, RW, &old);
	word = word_at(at(&b, 2));
	remap(&b, 2, 1);
	assert_false(quiet(hmmu_verbs_valid(b.v, &old)));
	assert_int_equal(card_reads(&old, at(&b, 2)), word); /* the old page, pinned */
	get(&b, 0, 4, RW, &ref);
	assert_int_not_equal(hmmu_verbs_rkey(&ref), hmmu_verbs_rkey(&old));
	bed_reclaim(&b);
	assert_int_equal(card.live, 2);
	put(&b, &old);
	bed_reclaim(&b);
	assert_int_equal(card.live, 1);
	assert_true(quiet(hmmu_verbs_valid(b.v, &ref)));
	put(&b, &ref);
	bed_close(&b);
}

static void changed_while_idle(void **state)
{
	struct bed b;

	bed_open(&b, NULL);
	get_put(&b, 0, 4, RW);
	remap(&b, 3, 2);
	bed_reclaim(&b);
	assert_int_equal(card.live, 0); /* nobody called the cache */
	get_put(&b, 0, 4, RW);
	assert_int_equal(card.regs, 2);
	bed_close(&b);
}

static void remap_once(void *arg)
{
	card.before = card.after = NULL;
	remap(arg, 1, 1);
}

/* Inside ibv_reg_mr(), before and after the card has looked. */
static void changed_while_registering(void **state)
{
	struct bed b;

	for (int late = 0; late < 2; late++) {
		bed_open(&b, NULL);
		card.arg = &b;
		*(late ? &card.after : &card.before) = remap_once;
		get_put(&b, 0, 4, RW); /* checks what the card has */
		assert_int_equal(card.regs, 2);
		assert_int_equal(card.deregs, 1);
		assert_int_equal(bed_stats(&b).cache.retries, 1);
		bed_close(&b);
	}
}

static void unmap_once(void *arg)
{
	struct bed *b = arg;
	struct mmu_notifier_range range;

	card.before = NULL;
	range_open(&range, b->mm, (unsigned long)at(b, 1), (unsigned long)at(b, 2));
	must(munmap(at(b, 1), PAGE) == 0);
	range_close(&range);
}

/* ... and does not come back. */
static void unmapped_while_registering(void **state)
{
	struct hmmu_region_ref ref;
	struct bed b;

	bed_open(&b, NULL);
	card.arg = &b;
	card.before = unmap_once;
	assert_int_equal(try_get(&b, 0, 4, RW, &ref), -EFAULT);
	assert_int_equal(card.live, 0);
	assert_int_equal(bed_stats(&b).cache.regions, 0);
	get_put(&b, 2, 2, RW);
	fresh(at(&b, 1), 1);
	bed_close(&b);
}

static void being_changed(void **state)
{
	const struct timespec now = {0, 0};
	struct mmu_notifier_range range;
	struct hmmu_region_ref ref;
	struct bed b;

	bed_open(&b, NULL);
	get_put(&b, 0, 4, RW);
	range_open(&range, b.mm, (unsigned long)at(&b, 1), (unsigned long)at(&b, 2));
	assert_int_equal(quiet(hmmu_verbs_get_nonblock(b.v, at(&b, 0), 9, RW, &ref)), -EAGAIN);
	assert_int_equal(quiet(hmmu_verbs_get_until(b.v, at(&b, 0), 4 * PAGE, RW, &now, &ref)),
			 -ETIMEDOUT);
	assert_int_equal(card.regs, 1);
	range_close(&range);
	get_put(&b, 0, 4, RW);
	bed_close(&b);
}

/* ---- close ------------------------------------------------------------ */

static void close_while_referenced(void **state)
{
	struct hmmu_region_ref ref;
	struct bed b;

	bed_open(&b, NULL);
	get(&b, 0, 4, RW, &ref);
	assert_int_equal(quiet(hmmu_verbs_close(b.v)), -EBUSY);
	assert_int_equal(bed_stats(&b).refused, 0);
	assert_true(quiet(hmmu_verbs_valid(b.v, &ref)));
	get_put(&b, 0, 4, RW);
	assert_int_equal(card.regs, 1);
	put(&b, &ref);
	bed_close(&b);
	assert_int_equal(quiet(hmmu_verbs_close(NULL)), -EINVAL);
}

static int one_text(void *arg, const struct hmmu_region *region, const char *text)
{
	char expected[64];

	snprintf(expected, sizeof(expected), "lkey %#x rkey %#x", (unsigned int)region->key[0],
		 (unsigned int)region->key[1]);
	assert_string_equal(text, expected);
	(*(int *)arg)++;
	return 0;
}

static void the_cache_below(void **state)
{
	struct bed b;
	int n = 0;

	bed_open(&b, NULL);
	get_put(&b, 0, 1, RW);
	get_put(&b, 8, 1, RW);
	assert_int_equal(hmmu_regcache_walk(hmmu_verbs_cache(b.v), one_text, &n), 0);
	assert_int_equal(n, 2);
	assert_int_equal(hmmu_regcache_drop(hmmu_verbs_cache(b.v), at(&b, 0), 1), 1);
	bed_reclaim(&b);
	assert_int_equal(card.live, 1);
	assert_null(hmmu_verbs_cache(NULL));
	bed_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(access_of_each_protection),
		cmocka_unit_test(no_writing_without_local_write),
		cmocka_unit_test(the_memory_must_allow_it),
		cmocka_unit_test(found_again),
		cmocka_unit_test(neighbours),
		cmocka_unit_test(limits_reach_the_cache),
		cmocka_unit_test(changed_while_in_use),
		cmocka_unit_test(changed_while_idle),
		cmocka_unit_test(changed_while_registering),
		cmocka_unit_test(unmapped_while_registering),
		cmocka_unit_test(being_changed),
		cmocka_unit_test(close_while_referenced),
		cmocka_unit_test(the_cache_below),
	};

	api_guard(60);
	return cmocka_run_group_tests_name("verbs-rules", tests, NULL, NULL);
}
