// SPDX-License-Identifier: MIT
/*
 * itree.c - the interval tree (src/notifier/itree.c) against a sorted array.
 *
 * Nodes come from malloc() here, not from pool.c, so that the sanitizer sees the ends of
 * each. After every step: the tree's own invariants (hmmu_itree_check()), the number of
 * nodes, and matches of a range, in batches, in order.
 */
#include "fuzz.h"

#include "notifier/itree.h"
#include "notifier/pool.h"

#define MOST 4096   /* entries */
#define STEPS 60000 /* inserts and removes of one input */
#define PLENTY 64   /* what the tree is told of the pool */

struct entry {
	struct hmmu_key key;
	uint64_t last;
};

static struct hmmu_itree tree;
static struct entry list[MOST];
static size_t n, nodes;
static uint64_t next_sub;
static unsigned int steps;

struct hmmu_node *hmmu_node_get(struct hmmu_itree *t)
{
	nodes++;
	return malloc(HMMU_NODE_SIZE);
}

void hmmu_node_put(struct hmmu_itree *t, struct hmmu_node *node)
{
	nodes--;
	free(node);
}

static size_t place(struct hmmu_key key)
{
	size_t i = 0;

	while (i < n && hmmu_key_less(list[i].key, key))
		i++;
	return i;
}

static void insert(uint64_t start, uint64_t length)
{
	struct hmmu_key key = {start, next_sub += 8};
	uint64_t last = start + length < start ? UINT64_MAX : start + length;
	struct hmmu_path path;
	size_t at;

	if (n == MOST || steps++ > STEPS)
		return;
	at = place(key);
	memmove(&list[at + 1], &list[at], (n - at) * sizeof(list[0]));
	list[at] = (struct entry){key, last};
	n++;
	tree.nfree = PLENTY;
	FUZZ_CHECK(hmmu_itree_ready(&tree));
	hmmu_itree_find(&tree, key, &path);
	hmmu_itree_insert(&tree, &path, last);
}

static void take(size_t at)
{
	struct hmmu_path path;

	steps++;
	hmmu_itree_find(&tree, list[at].key, &path);
	hmmu_itree_remove(&tree, &path);
	n--;
	memmove(&list[at], &list[at + 1], (n - at) * sizeof(list[0]));
}

/* Everything that overlaps and comes behind @after, in batches of @max. */
static void compare(uint64_t start, uint64_t last, struct hmmu_key after, size_t max)
{
	struct hmmu_match match[64];
	size_t got = max, k = max;

	for (size_t i = 0; i < n; i++) {
		if (list[i].key.start > last || list[i].last < start ||
		    !hmmu_key_less(after, list[i].key))
			continue;
		if (k == got) {
			FUZZ_CHECK(got == max); /* fewer: there are no more */
			got = hmmu_itree_collect(&tree, start, last, after, match, max);
			k = 0;
		}
		FUZZ_CHECK(k < got);
		after = hmmu_match_key(&match[k++]);
		FUZZ_CHECK(after.start == list[i].key.start && after.sub == list[i].key.sub);
	}
	if (k == got && got == max)
		FUZZ_CHECK(!hmmu_itree_collect(&tree, start, last, after, match, max));
	else
		FUZZ_CHECK(k == got);
}

static void query(struct fuzz *f)
{
	uint8_t how = fuzz_byte(f);
	struct hmmu_key after = HMMU_KEY_FIRST;
	uint64_t start = fuzz_word(f), last;

	if (n && how & 1) /* somebody's edge, or one byte beside it */
		start = list[start % n].key.start;
	if (n && how & 2)
		start = list[start % n].last;
	start += (how >> 2 & 3) - 1u;
	last = start + (how & 16 ? fuzz_word(f) : how >> 5);
	if (n && how & 32)
		after = list[fuzz_number(f, 2) % n].key;
	if (how & 64)
		after.sub += 4; /* between two */
	if (last < start)
		last = UINT64_MAX;
	compare(start, last, after, 1 + how % 64);
	FUZZ_CHECK(hmmu_itree_overlaps(&tree, start, last) ==
		   (hmmu_itree_collect(&tree, start, last, HMMU_KEY_FIRST,
				       &(struct hmmu_match){0}, 1) == 1));
}

static void check(void)
{
	size_t fewest = n ? 1 : 0;

	FUZZ_CHECK(hmmu_itree_check(&tree) == n);
	FUZZ_CHECK(!n == !tree.root && !n == !nodes);
	FUZZ_CHECK(nodes >= fewest && nodes <= 2 * n);
}

static void insert_run(struct fuzz *f)
{
	unsigned int count = 1 + fuzz_byte(f), descend = fuzz_byte(f) & 1;
	uint64_t start = fuzz_word(f), stride = fuzz_word(f), length = fuzz_word(f);

	for (unsigned int i = 0; i < count; i++) {
		insert(start, length);
		start += descend ? -stride : stride;
	}
}

static void remove_run(struct fuzz *f)
{
	unsigned int count = 1 + fuzz_byte(f), stride = fuzz_byte(f);
	size_t at = n ? fuzz_number(f, 2) % n : 0;

	while (count-- && n) {
		take(at % n);
		at = (at + stride) % (n + 1);
	}
}

static void step(struct fuzz *f)
{
	switch (fuzz_byte(f) % 6) {
	case 0: {
		uint64_t start = fuzz_word(f);

		insert(start, fuzz_word(f));
		break;
	}
	case 1:
		if (n)
			take(fuzz_number(f, 2) % n);
		break;
	case 2:
		insert_run(f);
		break;
	case 3:
		remove_run(f);
		break;
	default:
		query(f);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz f = {data, size};

	steps = 0;
	next_sub = 0;
	while (f.left) {
		step(&f);
		check();
	}
	compare(0, UINT64_MAX, HMMU_KEY_FIRST, 64);
	while (n)
		take(n - 1);
	check();
	return 0;
}
