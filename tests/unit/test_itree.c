// SPDX-License-Identifier: MIT
/* The tree against an obvious list: same matches, same order, every invariant kept. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "notifier/itree.h"
#include "notifier/pool.h"
#include "rand.h"

#define MAX 3000

struct entry {
	struct hmmu_key key;
	uint64_t last;
};

static struct hmmu_itree tree;
static struct entry list[MAX];
static size_t n;

static int by_key(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	return hmmu_key_less(x->key, y->key) ? -1 : hmmu_key_less(y->key, x->key);
}

static void add(struct hmmu_key key, uint64_t last)
{
	struct hmmu_chunk chunk;
	struct hmmu_path path;

	if (!hmmu_itree_ready(&tree)) {
		assert_int_equal(hmmu_chunk_map(&chunk, tree.npages), 0);
		hmmu_chunk_give(&tree, &chunk);
	}
	hmmu_itree_find(&tree, key, &path);
	hmmu_itree_insert(&tree, &path, last);
	list[n++] = (struct entry){key, last};
}

static void take(struct hmmu_key key)
{
	struct hmmu_path path;

	hmmu_itree_find(&tree, key, &path);
	hmmu_itree_remove(&tree, &path);
}

static void del(size_t i)
{
	take(list[i].key);
	list[i] = list[--n];
}

/* All matches in batches of @max, against the list. */
static void compare(uint64_t start, uint64_t last, size_t max)
{
	struct hmmu_match m[64];
	struct hmmu_key after = HMMU_KEY_FIRST;
	size_t got = 0, i = 0;
	uint64_t k = 0;

	qsort(list, n, sizeof(list[0]), by_key);
	for (;;) {
		if (k == got) {
			got = hmmu_itree_collect(&tree, start, last, after, m, max);
			k = 0;
		}
		while (i < n && (list[i].key.start > last || list[i].last < start))
			i++;
		if (k == got)
			break;
		assert_true(i < n);
		after = hmmu_match_key(&m[k++]);
		assert_true(after.start == list[i].key.start && after.sub == list[i].key.sub);
		i++;
	}
	assert_true(i == n);
}

static void run(uint64_t seed, unsigned int spread)
{
	struct rnd r = {seed};

	memset(&tree, 0, sizeof(tree));
	n = 0;
	for (unsigned int step = 0; step < 40000; step++) {
		size_t want = step % 20000 < 12000 ? MAX - 1 : 20;

		if (n < want && rnd(&r) % 3) {
			uint64_t start = rnd(&r) % spread;
			uint64_t len = 1ULL << (rnd(&r) % 14);

			add((struct hmmu_key){start, 8 * (uint64_t)(step + 1)},
			    start + rnd(&r) % len);
		} else if (n > 0) {
			del(rnd(&r) % n);
		}
		if (step % 97 == 0) {
			uint64_t start = rnd(&r) % spread;

			assert_int_equal(hmmu_itree_check(&tree), n);
			compare(start, start + rnd(&r) % 5000, 1 + rnd(&r) % 64);
			compare(0, UINT64_MAX, 64);
		}
	}
	while (n > 0)
		del(n - 1);
	assert_int_equal(hmmu_itree_check(&tree), 0);
	assert_null(tree.root);
	/* Every node came back. */
	assert_int_equal(tree.nfree * HMMU_NODE_SIZE, tree.npages * 4096);
}

static void test_random(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 6; seed++)
		run(seed, seed % 2 ? 1000000 : 300); /* sparse; many with the same start */
}

static void test_ascending_fills_leaves(void **state)
{
	(void)state;
	memset(&tree, 0, sizeof(tree));
	n = 0;
	for (uint64_t i = 0; i < MAX; i++)
		add((struct hmmu_key){i * 4096, 8}, i * 4096 + 4095);
	assert_int_equal(hmmu_itree_check(&tree), MAX);
	/* 3000 entries of 24 bytes, 39 to a node of 1 KiB: under 30 bytes each. */
	assert_true((tree.npages * 4 - tree.nfree) * HMMU_NODE_SIZE < MAX * 30);
	for (uint64_t i = 0; i < MAX; i++)
		take((struct hmmu_key){i * 4096, 8});
	assert_null(tree.root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_ascending_fills_leaves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
