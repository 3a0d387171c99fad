// SPDX-License-Identifier: MIT
/*
 * core.c - the protocol: the loops of ../side_loops.h on hmmu and on the reference, and what
 * only hmmu has. Subscriptions of half a page, one in every fourth page.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "../bench.h"
#include "../side.h"
#include "count.h"
#include "notifier/notifier.h"

/* A trace of every store is long: with fewer the lines are the same, but for insert's. */
#ifdef COUNT_INSIDE
#define SUBSCRIPTIONS 160
#else
#define SUBSCRIPTIONS 2000
#endif
#define WHERE (SUBSCRIPTIONS / 4)
#define HALF (PAGE / 2)

/* What measure.c reads; nothing is measured here. */
struct options options;

static struct world *worlds[2]; /* hmmu's, the reference's */

static const struct side *side_of(const struct operation *op)
{
	return !strcmp(op->side, side_hmmu.name) ? &side_hmmu : &side_reference;
}

static int set_up_world(const struct operation *op)
{
	const struct side *side = side_of(op);
	struct world **world = &worlds[side == &side_reference];
	struct job *job = op->arg;

	if (!*world) {
		*world = side->make(SUBSCRIPTIONS, HALF);
		if (side == &side_hmmu) {
			/* The first member of a world is its mm. */
			const struct mm_struct *mm = *(struct mm_struct **)*world;

			count_own(mm->slots, sizeof(mm->slots) + sizeof(mm->found));
		}
	}
	job->world = *world;
	return 0;
}

/* Each side has a function of its own, and a job of its own. */
#define LOOPS(member)                                         \
	static void member##_hmmu(void *arg, uint64_t n)      \
	{                                                     \
		side_hmmu.member(arg, n);                     \
	}                                                     \
	static void member##_reference(void *arg, uint64_t n) \
	{                                                     \
		side_reference.member(arg, n);                \
	}
LOOPS(read)
LOOPS(bracket)
LOOPS(bracket_random)
LOOPS(churn)
LOOPS(churn_random)

#define JOB(...) (&(struct job){__VA_ARGS__})
#define BOTH(title, loop, often, is_read, ...)                                   \
	{.side = "hmmu",                                                         \
	 .name = title,                                                          \
	 .set_up = set_up_world,                                                 \
	 .run = loop##_hmmu,                                                     \
	 .arg = JOB(__VA_ARGS__),                                                \
	 .times = often,                                                         \
	 .reads = is_read},                                                      \
	{                                                                        \
		.side = "reference", .name = title, .set_up = set_up_world,      \
		.run = loop##_reference, .arg = JOB(__VA_ARGS__), .times = often \
	}

/* ---- what only hmmu has ---------------------------------------------------------- */

static struct mm_struct *mm;
static struct mmu_interval_notifier sub __attribute__((aligned(64)));
static unsigned long seq;

static bool invalidate(struct mmu_interval_notifier *s, const struct mmu_notifier_range *range,
		       unsigned long cur_seq)
{
	mmu_interval_set_seq(s, cur_seq);
	return true;
}

static const struct mmu_interval_notifier_ops ops = {.invalidate = invalidate};

static struct mmu_notifier the_whole;

static int heard(struct mmu_notifier *s, const struct mmu_notifier_range *range)
{
	return 0;
}

static struct mmu_notifier *alloc_whole(struct mm_struct *m)
{
	return &the_whole;
}

static void free_whole(struct mmu_notifier *s)
{
}

static const struct mmu_notifier_ops whole_ops = {
	.invalidate_range_start = heard,
	.alloc_notifier = alloc_whole,
	.free_notifier = free_whole,
};

static int set_up_alone(const struct operation *op)
{
	struct hmmu_mm_options o = {.size = sizeof(o), .flags = HMMU_MM_OWN_RECLAIM};

	if (mm)
		return 0;
	count_check(!hmmu_mm_open(&mm, &o), "open");
	count_own(mm->slots, sizeof(mm->slots) + sizeof(mm->found));
	count_check(!mmu_interval_notifier_insert(&sub, mm, BASE, PAGE, &ops), "insert");
	seq = mmu_interval_read_begin(&sub);
	return 0;
}

static int set_up_whole(const struct operation *op)
{
	struct mmu_notifier *s;
	int err = set_up_alone(op);

	if (!err && !the_whole.mm)
		err = mmu_notifier_get(&whole_ops, mm, &s);
	return err;
}

static void access_ok(void *arg, uint64_t n)
{
	bool good = true;

	for (uint64_t i = 0; i < n; i++)
		good &= hmmu_access_ok(&sub, seq);
	count_check(good, "access_ok");
}

static void read_functions(void *arg, uint64_t n)
{
	bool bad = false;

	for (uint64_t i = 0; i < n; i++)
		bad |= (mmu_interval_read_retry)(&sub, (mmu_interval_read_begin)(&sub));
	count_check(!bad, "read");
}

static void get_put(void *arg, uint64_t n)
{
	struct mmu_notifier *s;

	for (uint64_t i = 0; i < n; i++) {
		count_check(!mmu_notifier_get(&whole_ops, mm, &s), "get");
		mmu_notifier_put(s);
	}
}

static void do_nothing(struct hmmu_work *work)
{
}

static void defer_reclaim(void *arg, uint64_t n)
{
	static struct hmmu_work work;

	for (uint64_t i = 0; i < n; i++) {
		hmmu_defer(mm, &work, do_nothing);
		count_check(hmmu_reclaim(mm) == 1, "reclaim");
	}
}

/* The tools' own proof: one shared line, written once. */
static void one_store(void *arg, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		*(volatile uint64_t *)arg = i;
}

static uint64_t shared_word[8] __attribute__((aligned(64)));

/* Wrong on purpose, for test.sh. */
static void planted_store(void *arg, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		access_ok(NULL, 1);
		one_store(shared_word, 1);
	}
}

static void planted_loop(void *arg, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		access_ok(NULL, 1);
		for (int j = 0; j < 20; j++)
			__asm__ volatile("");
	}
}

#define ALONE(title, function, is_read)                                                 \
	{                                                                               \
		.side = "hmmu", .name = title, .set_up = set_up_alone, .run = function, \
		.reads = is_read                                                        \
	}

static const struct operation list[] = {
	{.side = "hmmu", .name = "control-one-store", .run = one_store, .arg = shared_word},
	BOTH("read_begin+read_retry", read, 0, true, .which = WHERE),
	ALONE("read-not-inlined", read_functions, true),
	ALONE("access_ok", access_ok, true),
	BOTH("start+end-unwatched", bracket, 0, false, .start = FAR_AWAY, .length = PAGE),
	BOTH("start+end-in-a-gap", bracket_random, 0, false, .start = BASE + 2 * PAGE,
	     .length = PAGE, .places = SUBSCRIPTIONS),
	BOTH("start+end-false-alarm", bracket, 0, false, .start = BASE + WHERE * STRIDE + HALF,
	     .length = HALF),
	BOTH("start+end-overlap-1", bracket, 0, false, .start = BASE + WHERE * STRIDE,
	     .length = HALF, .callbacks = 1),
	BOTH("start+end-overlap-1-random", bracket_random, 0, false, .start = BASE,
	     .length = HALF, .places = SUBSCRIPTIONS, .callbacks = 1),
	BOTH("start+end-overlap-10", bracket, 100, false, .start = BASE + WHERE * STRIDE,
	     .length = 10 * STRIDE - HALF, .callbacks = 10),
#ifndef COUNT_INSIDE
	BOTH("start+end-overlap-1000", bracket, 8, false, .start = BASE + WHERE * STRIDE,
	     .length = 1000 * STRIDE - HALF, .callbacks = 1000),
#endif
	BOTH("insert+remove-local", churn, 0, false, .which = 0),
	BOTH("insert+remove-random", churn_random, 0, false, .which = 0),
	ALONE("defer+reclaim", defer_reclaim, false),
	{.side = "hmmu",
	 .name = "planted-store",
	 .set_up = set_up_alone,
	 .run = planted_store,
	 .reads = true,
	 .planted = true},
	{.side = "hmmu",
	 .name = "planted-loop",
	 .set_up = set_up_alone,
	 .run = planted_loop,
	 .planted = true},
	{.side = "hmmu", .name = "get+put", .set_up = set_up_whole, .run = get_put},
};
const struct operations core_operations = {list, sizeof(list) / sizeof(*list)};
