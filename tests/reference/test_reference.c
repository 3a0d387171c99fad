// SPDX-License-Identifier: MIT
/*
 * test_reference.c - the reference is what it says: the three meetings, deferred
 * insert and remove, refusal, and the tree against a plain list. Single-threaded
 * where no one waits; where somebody does, a thread that is seen to sleep.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "atomic.h"
#include "reference.h"

struct shadow {
	struct ref_sub sub;
	pthread_mutex_t lock;
	int calls;
	bool refuse;
	unsigned long cur_seq;
};

static bool invalidate(struct ref_sub *sub, const struct ref_range *range,
		       unsigned long cur_seq)
{
	struct shadow *shadow = (struct shadow *)sub;

	if (shadow->refuse && !range->blockable)
		return false;
	pthread_mutex_lock(&shadow->lock);
	ref_set_seq(sub, cur_seq);
	shadow->calls++;
	shadow->cur_seq = cur_seq;
	pthread_mutex_unlock(&shadow->lock);
	return true;
}

static const struct ref_ops ops = {.invalidate = invalidate};

static struct ref_mm *open_mm(void)
{
	struct ref_mm *mm;

	assert_int_equal(ref_mm_open(&mm), 0);
	return mm;
}

static void subscribe(struct shadow *shadow, struct ref_mm *mm, unsigned long start,
		      unsigned long length)
{
	memset(shadow, 0, sizeof(*shadow));
	pthread_mutex_init(&shadow->lock, NULL);
	assert_int_equal(ref_interval_insert(&shadow->sub, mm, start, length, &ops), 0);
}

static void begin_range(struct ref_range *range, struct ref_mm *mm, unsigned long start,
			unsigned long end)
{
	ref_range_init(range, mm, start, end);
	assert_int_equal(ref_invalidate_start(range), 0);
}

/* ---- the three meetings ---- */

static void test_retry(void **state)
{
	struct ref_mm *mm = open_mm();
	struct shadow shadow;
	struct ref_range range;
	unsigned long seq;

	subscribe(&shadow, mm, 0x1000, 0x1000);
	seq = ref_read_begin(&shadow.sub);
	assert_false(ref_read_retry(&shadow.sub, seq));
	begin_range(&range, mm, 0x1800, 0x1801);
	assert_int_equal(shadow.calls, 1);
	assert_true(ref_read_retry(&shadow.sub, seq));
	ref_invalidate_end(&range);
	assert_true(ref_read_retry(&shadow.sub, seq));
	seq = ref_read_begin(&shadow.sub);
	assert_false(ref_read_retry(&shadow.sub, seq));
	/* Elsewhere: not mine. Neighbours: the end is exclusive. */
	begin_range(&range, mm, 0x2000, 0x3000);
	ref_invalidate_end(&range);
	begin_range(&range, mm, 0, 0x1000);
	ref_invalidate_end(&range);
	assert_int_equal(shadow.calls, 1);
	assert_false(ref_read_retry(&shadow.sub, seq));
	assert_int_equal(ref_mm_close(mm), -EBUSY);
	ref_interval_remove(&shadow.sub);
	assert_int_equal(ref_mm_close(mm), 0);
}

static uint32_t stage;

static void *invalidate_once(void *arg)
{
	struct ref_range range;

	begin_range(&range, arg, 0x1000, 0x2000);
	hmmu_store_release(&stage, 1);
	ref_invalidate_end(&range);
	return NULL;
}

/* The reader holds the driver lock: the callback, and so the start, waits. */
static void test_block(void **state)
{
	struct ref_mm *mm = open_mm();
	struct shadow shadow;
	pthread_t thread;
	unsigned long seq;

	stage = 0;
	subscribe(&shadow, mm, 0x1000, 0x1000);
	seq = ref_read_begin(&shadow.sub);
	pthread_mutex_lock(&shadow.lock);
	pthread_create(&thread, NULL, invalidate_once, mm);
	while (!(hmmu_load_acquire(&mm->seq) & 1))
		usleep(100);
	assert_false(ref_read_retry(&shadow.sub, seq));
	assert_int_equal(hmmu_load_acquire(&stage), 0);
	pthread_mutex_unlock(&shadow.lock);
	pthread_join(thread, NULL);
	assert_int_equal(shadow.calls, 1);
	assert_true(ref_read_retry(&shadow.sub, seq));
	ref_interval_remove(&shadow.sub);
	assert_int_equal(ref_mm_close(mm), 0);
}

static void *read_once(void *arg)
{
	unsigned long seq = ref_read_begin(arg);

	hmmu_store_release(&stage, 1);
	return (void *)seq;
}

/* Begun between start and end: sleeps until the end. And, since there is one
 * sequence for all, until the end of another that overlaps it only in time. */
static void test_wait(void **state)
{
	struct ref_mm *mm = open_mm();
	struct shadow shadow, other;
	struct ref_range mine, elsewhere;
	pthread_t thread;
	void *seq;

	stage = 0;
	subscribe(&shadow, mm, 0x1000, 0x1000);
	subscribe(&other, mm, 0x9000, 0x1000);
	begin_range(&mine, mm, 0x1000, 0x2000);
	begin_range(&elsewhere, mm, 0x9000, 0xa000);
	pthread_create(&thread, NULL, read_once, &shadow.sub);
	while (!ref_sleepers(mm))
		usleep(100);
	ref_invalidate_end(&mine);
	usleep(2000);
	assert_int_equal(hmmu_load_acquire(&stage), 0);
	assert_int_equal(ref_sleepers(mm), 1);
	ref_invalidate_end(&elsewhere);
	pthread_join(thread, &seq);
	assert_false(ref_read_retry(&shadow.sub, (unsigned long)seq));
	ref_interval_remove(&shadow.sub);
	ref_interval_remove(&other.sub);
	assert_int_equal(ref_mm_close(mm), 0);
}

/* ---- deferred changes of the tree ---- */

static void test_deferred_insert(void **state)
{
	struct ref_mm *mm = open_mm();
	struct shadow first, late, never;
	struct ref_range range, second;
	unsigned long seq;

	subscribe(&first, mm, 0x1000, 0x1000);
	begin_range(&range, mm, 0x1000, 0x2000);
	subscribe(&late, mm, 0x1000, 0x1000);
	subscribe(&never, mm, 0x1000, 0x1000);
	assert_false(late.sub.in_tree);
	/* Counted as hit; not called back by a start that it could not see. */
	assert_int_equal(late.sub.seq, mm->seq);
	assert_int_equal(late.calls, 0);
	/* One that never reached the tree goes at once. */
	ref_interval_remove(&never.sub);
	ref_invalidate_end(&range);
	assert_true(late.sub.in_tree);
	assert_false(never.sub.in_tree);
	seq = ref_read_begin(&late.sub);
	assert_false(ref_read_retry(&late.sub, seq));
	begin_range(&second, mm, 0x1fff, 0x2000);
	ref_invalidate_end(&second);
	assert_int_equal(late.calls, 1);
	assert_int_equal(never.calls, 0);
	ref_interval_remove(&late.sub);
	ref_interval_remove(&first.sub);
	assert_int_equal(ref_mm_close(mm), 0);
}

/* Open, but nobody overlaps: the insert goes to the tree and turns it odd. */
static void test_insert_unwatched(void **state)
{
	struct ref_mm *mm = open_mm();
	struct shadow shadow;
	struct ref_range range;
	pthread_t thread;

	stage = 0;
	begin_range(&range, mm, 0x1000, 0x2000);
	assert_false(mm->seq & 1);
	subscribe(&shadow, mm, 0x1000, 0x1000);
	assert_true(shadow.sub.in_tree);
	assert_true(mm->seq & 1);
	pthread_create(&thread, NULL, read_once, &shadow.sub);
	while (!ref_sleepers(mm))
		usleep(100);
	assert_int_equal(hmmu_load_acquire(&stage), 0);
	ref_invalidate_end(&range);
	pthread_join(thread, NULL);
	ref_interval_remove(&shadow.sub);
	assert_int_equal(ref_mm_close(mm), 0);
}

static void *remove_once(void *arg)
{
	ref_interval_remove(arg);
	hmmu_store_release(&stage, 1);
	return NULL;
}

static void test_deferred_remove(void **state)
{
	struct ref_mm *mm = open_mm();
	struct shadow shadow, other;
	struct ref_range range;
	pthread_t thread;

	stage = 0;
	subscribe(&shadow, mm, 0x1000, 0x1000);
	subscribe(&other, mm, 0x9000, 0x1000);
	begin_range(&range, mm, 0x1000, 0x2000);
	/* Nothing of other's is open: it waits all the same (G4 is not kept). */
	pthread_create(&thread, NULL, remove_once, &other.sub);
	while (!ref_sleepers(mm))
		usleep(100);
	assert_true(other.sub.in_tree);
	assert_int_equal(hmmu_load_acquire(&stage), 0);
	ref_invalidate_end(&range);
	pthread_join(thread, NULL);
	assert_false(other.sub.in_tree);
	ref_interval_remove(&shadow.sub);
	assert_int_equal(ref_mm_close(mm), 0);
}

/* ---- the rest ---- */

static void test_refused(void **state)
{
	struct ref_mm *mm = open_mm();
	struct shadow yes, no;
	struct ref_range range;
	unsigned long seq;

	subscribe(&yes, mm, 0x1000, 0x1000);
	subscribe(&no, mm, 0x1800, 0x1000);
	no.refuse = true;
	ref_range_init(&range, mm, 0x1000, 0x3000);
	assert_int_equal(ref_invalidate_start_nonblock(&range), -EAGAIN);
	assert_int_equal(mm->active, 0);
	assert_false(mm->seq & 1);
	seq = ref_read_begin(&yes.sub);
	assert_false(ref_read_retry(&yes.sub, seq));
	no.refuse = false;
	assert_int_equal(ref_invalidate_start_nonblock(&range), 0);
	ref_invalidate_end(&range);
	assert_int_equal(yes.calls, 2);
	assert_int_equal(no.calls, 1);
	ref_interval_remove(&yes.sub);
	ref_interval_remove(&no.sub);
	assert_int_equal(ref_mm_close(mm), 0);
}

static void test_bad_ranges(void **state)
{
	struct ref_mm *mm = open_mm();
	struct shadow shadow;

	assert_int_equal(ref_interval_insert(&shadow.sub, mm, 0x1000, 0, &ops), -EOVERFLOW);
	assert_int_equal(ref_interval_insert(&shadow.sub, mm, 0x1000, ULONG_MAX, &ops),
			 -EOVERFLOW);
	subscribe(&shadow, mm, ULONG_MAX, 1);
	ref_interval_remove(&shadow.sub);
	assert_int_equal(ref_mm_close(mm), 0);
}

#define NODES 400

static unsigned long draw(unsigned long below)
{
	return (unsigned long)random() % below;
}

static void compare_with_list(const struct treap *treap, const struct treap_node *nodes,
			      const bool *in)
{
	unsigned long start = draw(1100), last = start + draw(60), before = 0;
	struct treap_node *node = treap_first(treap, start, last);
	int found = 0, expected = 0;

	for (int i = 0; i < NODES; i++)
		expected += in[i] && nodes[i].start <= last && nodes[i].last >= start;
	for (; node; node = treap_next(node, start, last), found++) {
		assert_true(in[node - nodes]);
		assert_true(node->start <= last && node->last >= start);
		assert_true(node->start >= before);
		before = node->start;
	}
	assert_int_equal(found, expected);
}

static void test_treap(void **state)
{
	struct treap_node *nodes = calloc(NODES, sizeof(*nodes));
	struct treap treap = {.root = NULL};
	bool in[NODES] = {false};

	srandom(1);
	for (int i = 0; i < 50000; i++) {
		int which = (int)draw(NODES);

		if (in[which]) {
			treap_erase(&treap, &nodes[which]);
		} else {
			nodes[which].start = draw(1000);
			nodes[which].last = nodes[which].start + draw(draw(10) ? 5 : 200);
			treap_insert(&treap, &nodes[which]);
		}
		in[which] = !in[which];
		compare_with_list(&treap, nodes, in);
	}
	for (int i = 0; i < NODES; i++)
		if (in[i])
			treap_erase(&treap, &nodes[i]);
	assert_null(treap.root);
	free(nodes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_retry),
		cmocka_unit_test(test_block),
		cmocka_unit_test(test_wait),
		cmocka_unit_test(test_deferred_insert),
		cmocka_unit_test(test_insert_unwatched),
		cmocka_unit_test(test_deferred_remove),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_bad_ranges),
		cmocka_unit_test(test_treap),
	};

	return cmocka_run_group_tests_name("reference", tests, NULL, NULL);
}
