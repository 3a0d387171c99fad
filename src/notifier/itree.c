// SPDX-License-Identifier: MIT
/*
 * itree.c - see itree.h.
 *
 * Inner nodes are arrays per field: a search touches keys and max only. An entry of a leaf lies
 * in one place: a search ends there, and what is moved aside for a newcomer lies close
 * together. Invariants, checked by hmmu_itree_check():
 *
 *	keys of a leaf ascend strictly
 *	inner: key[i] <= every key below child[i] and > every key below child[i - 1],
 *	       for i >= 1; key[0] is never looked at
 *	inner: max[i] == the largest `last` below child[i]
 *	longest >= last - start of every entry below the node
 *	no node is empty but a root that is a leaf
 *
 * Who overlaps [start, last]? Nobody who begins before start - longest, so a search begins
 * there, in each node by bisection, and ends at `last`. Where all are of about one length
 * that is where the matches are. One long one among short ones makes it begin early, and max[]
 * tells which of the children are looked into.
 *
 * An insert raises max[] and longest on its way down. A remove looks at max[] again where it
 * took the largest away, upwards as long as something changed; longest is a bound, which stays
 * until a leaf is split: what was too long a search is no longer than one without it.
 *
 * A leaf that falls below a quarter is merged with a neighbour under the same parent
 * if both fit; so are inner nodes.
 */
#include "itree.h"

#include <assert.h>
#include <string.h>

#include "pool.h"

#define LEAF_CAP 40
#define INNER_CAP 31

struct hmmu_node {
	uint32_t n;
	uint32_t pad;
	uint64_t longest;
};

struct entry {
	uint64_t start;
	uint64_t last;
	struct hmmu_sub *sub;
};

struct leaf {
	struct hmmu_node h;
	struct entry entry[LEAF_CAP];
};

struct inner {
	struct hmmu_node h;
	uint64_t kstart[INNER_CAP];
	uint64_t ksub[INNER_CAP];
	uint64_t max[INNER_CAP];
	struct hmmu_node *child[INNER_CAP];
};
_Static_assert(sizeof(struct leaf) <= HMMU_NODE_SIZE, "leaf");
_Static_assert(sizeof(struct inner) <= HMMU_NODE_SIZE, "inner");

/* What is found by the finger holds until a node comes or goes. */
static struct hmmu_node *new_node(struct hmmu_itree *t)
{
	t->finger.node = NULL;
	return hmmu_node_get(t);
}

static void drop_node(struct hmmu_itree *t, struct hmmu_node *node)
{
	t->finger.node = NULL;
	hmmu_node_put(t, node);
}

static struct hmmu_key leaf_key(const struct leaf *l, uint32_t i)
{
	return (struct hmmu_key){l->entry[i].start, (uint64_t)(uintptr_t)l->entry[i].sub};
}

static struct hmmu_key inner_key(const struct inner *n, uint32_t i)
{
	return (struct hmmu_key){n->kstart[i], n->ksub[i]};
}

/* How many of v[0, n), which ascend, are below @x. Eight at a time, then one: what is asked for
 * again is predicted, and nothing waits for a load before it. */
static inline uint32_t count_below(const uint64_t *v, uint32_t n, uint64_t x)
{
	uint32_t i = 0;

	while (i + 8 <= n && v[i + 7] < x)
		i += 8;
	while (i < n && v[i] < x)
		i++;
	return i;
}

static inline uint32_t leaf_below(const struct leaf *l, uint64_t x)
{
	uint32_t i = 0, n = l->h.n;

	while (i + 8 <= n && l->entry[i + 7].start < x)
		i += 8;
	while (i < n && l->entry[i].start < x)
		i++;
	return i;
}

/* The first entry that is not below @key: few begin at the same address. */
static uint32_t leaf_lower(const struct leaf *l, struct hmmu_key key)
{
	uint32_t i = leaf_below(l, key.start);

	while (i < l->h.n && hmmu_key_less(leaf_key(l, i), key))
		i++;
	return i;
}

/* The child that @key belongs to. */
static uint32_t inner_child(const struct inner *n, struct hmmu_key key)
{
	uint32_t i = count_below(n->kstart + 1, n->h.n - 1, key.start);

	while (i + 1 < n->h.n && !hmmu_key_less(key, inner_key(n, i + 1)))
		i++;
	return i;
}

static uint64_t leaf_max(const struct leaf *l)
{
	uint64_t max = 0;

	for (uint32_t i = 0; i < l->h.n; i++)
		max = l->entry[i].last > max ? l->entry[i].last : max;
	return max;
}

static uint64_t max_of(const uint64_t *v, uint32_t n)
{
	uint64_t max = 0;

	for (uint32_t i = 0; i < n; i++)
		max = v[i] > max ? v[i] : max;
	return max;
}

/* Lengths by classes, so that few inserts raise a bound: 4 KiB, and four times the last. */
static uint64_t class_of(uint64_t start, uint64_t last)
{
	uint64_t length = (last - start) | 4095;

	return ~0ULL >> (__builtin_clzll(length) & ~1);
}

static uint64_t leaf_longest(const struct leaf *l)
{
	uint64_t longest = 0;

	for (uint32_t i = 0; i < l->h.n; i++)
		longest |= class_of(l->entry[i].start, l->entry[i].last);
	return longest;
}

static void raise(uint64_t *bound, uint64_t to)
{
	if (*bound < to)
		*bound = to;
}

bool hmmu_itree_ready(const struct hmmu_itree *t)
{
	return t->nfree >= t->height + 2; /* a split per level and a new root */
}

#define ARRAY_INSERT(a, i, n, v)                                               \
	do {                                                                   \
		memmove(&(a)[(i) + 1], &(a)[i], ((n) - (i)) * sizeof((a)[0])); \
		(a)[i] = (v);                                                  \
	} while (0)
#define ARRAY_REMOVE(a, i, n) memmove(&(a)[i], &(a)[(i) + 1], ((n) - (i)-1) * sizeof((a)[0]))

static void leaf_insert_at(struct leaf *l, uint32_t i, struct hmmu_key key, uint64_t last)
{
	struct entry entry = {key.start, last, (struct hmmu_sub *)(uintptr_t)key.sub};

	ARRAY_INSERT(l->entry, i, l->h.n, entry);
	l->h.n++;
}

static void inner_insert_at(struct inner *n, uint32_t i, struct hmmu_key key, uint64_t max,
			    struct hmmu_node *child)
{
	ARRAY_INSERT(n->kstart, i, n->h.n, key.start);
	ARRAY_INSERT(n->ksub, i, n->h.n, key.sub);
	ARRAY_INSERT(n->max, i, n->h.n, max);
	ARRAY_INSERT(n->child, i, n->h.n, child);
	n->h.n++;
}

static void inner_remove_at(struct inner *n, uint32_t i)
{
	ARRAY_REMOVE(n->kstart, i, n->h.n);
	ARRAY_REMOVE(n->ksub, i, n->h.n);
	ARRAY_REMOVE(n->max, i, n->h.n);
	ARRAY_REMOVE(n->child, i, n->h.n);
	n->h.n--;
}

/* Moves @src's entries [from, n) to the end of @dst. */
static void leaf_move(struct leaf *dst, struct leaf *src, uint32_t from)
{
	uint32_t count = src->h.n - from;

	memcpy(&dst->entry[dst->h.n], &src->entry[from], count * sizeof(src->entry[0]));
	dst->h.n += count;
	src->h.n = from;
	raise(&dst->h.longest, src->h.longest);
}

static void inner_move(struct inner *dst, struct inner *src, uint32_t from)
{
	uint32_t count = src->h.n - from;

	memcpy(&dst->kstart[dst->h.n], &src->kstart[from], count * sizeof(src->kstart[0]));
	memcpy(&dst->ksub[dst->h.n], &src->ksub[from], count * sizeof(src->ksub[0]));
	memcpy(&dst->max[dst->h.n], &src->max[from], count * sizeof(src->max[0]));
	memcpy(&dst->child[dst->h.n], &src->child[from], count * sizeof(src->child[0]));
	dst->h.n += count;
	src->h.n = from;
	raise(&dst->h.longest, src->h.longest);
}

/* A node that was split off to the right of what path[] leads to. */
struct split {
	struct hmmu_node *right; /* NULL: nothing was split */
	struct hmmu_key key;
	uint64_t left_max;
	uint64_t right_max;
};

/* Full and appended to: keep it full, so that ascending inserts fill the leaves. */
static uint32_t split_point(uint32_t i, uint32_t cap)
{
	return i == cap ? cap - 1 : cap / 2;
}

static void leaf_insert(struct hmmu_itree *t, struct leaf *l, struct hmmu_key key,
			uint64_t last, struct split *split)
{
	uint32_t i = leaf_lower(l, key), at;
	struct leaf *right;

	split->right = NULL;
	raise(&l->h.longest, class_of(key.start, last));
	if (l->h.n < LEAF_CAP) {
		leaf_insert_at(l, i, key, last);
		return;
	}
	at = split_point(i, LEAF_CAP);
	right = (struct leaf *)new_node(t);
	right->h.n = 0;
	right->h.longest = 0;
	leaf_move(right, l, at);
	if (i > at)
		leaf_insert_at(right, i - at, key, last);
	else
		leaf_insert_at(l, i, key, last);
	split->right = &right->h;
	split->key = leaf_key(right, 0);
	l->h.longest = leaf_longest(l);
	right->h.longest = leaf_longest(right);
	split->left_max = leaf_max(l);
	split->right_max = leaf_max(right);
}

static void inner_insert(struct hmmu_itree *t, struct inner *n, uint32_t i, struct split *split)
{
	struct inner *right;
	uint32_t at;

	n->max[i] = split->left_max;
	i++;
	if (n->h.n < INNER_CAP) {
		inner_insert_at(n, i, split->key, split->right_max, split->right);
		split->right = NULL;
		return;
	}
	at = split_point(i, INNER_CAP);
	right = (struct inner *)new_node(t);
	right->h.n = 0;
	right->h.longest = 0;
	inner_move(right, n, at);
	if (i > at)
		inner_insert_at(right, i - at, split->key, split->right_max, split->right);
	else
		inner_insert_at(n, i, split->key, split->right_max, split->right);
	split->right = &right->h;
	split->key = inner_key(right, 0);
	split->left_max = max_of(n->max, n->h.n);
	split->right_max = max_of(right->max, right->h.n);
}

static void grow_root(struct hmmu_itree *t, const struct split *split)
{
	struct inner *root = (struct inner *)new_node(t);

	root->h.n = 0;
	root->h.longest = t->root->longest;
	raise(&root->h.longest, split->right->longest);
	inner_insert_at(root, 0, HMMU_KEY_FIRST, split->left_max, t->root);
	inner_insert_at(root, 1, split->key, split->right_max, split->right);
	t->root = &root->h;
	t->height++;
}

/* All of a leaf at once: one miss instead of one after the other. */
static inline void prefetch_leaf(const struct hmmu_node *node)
{
#pragma GCC unroll 16
	for (size_t at = 0; at < sizeof(struct leaf); at += 64)
		__builtin_prefetch((const char *)node + at);
}

void hmmu_itree_find(const struct hmmu_itree *t, struct hmmu_key key, struct hmmu_path *path)
{
	struct hmmu_node *node = t->root;

	path->key = key;
	for (unsigned int d = 0; d < t->height; d++) {
		struct inner *n = (struct inner *)node;
		uint32_t i = inner_child(n, key);

		path->step[d] = (struct hmmu_step){n, i};
		node = n->child[i];
	}
	path->leaf = (struct leaf *)node;
	if (node)
		prefetch_leaf(node);
}

/* The first one. */
static struct leaf *plant_root(struct hmmu_itree *t)
{
	t->root = new_node(t);
	t->root->n = 0;
	t->root->longest = 0;
	t->height = 0;
	return (struct leaf *)t->root;
}

void hmmu_itree_insert(struct hmmu_itree *t, const struct hmmu_path *path, uint64_t last)
{
	uint64_t longest = class_of(path->key.start, last);
	struct leaf *leaf = path->leaf ? path->leaf : plant_root(t);
	struct split split;

	for (unsigned int d = 0; d < t->height; d++) {
		struct inner *n = path->step[d].node;

		raise(&n->max[path->step[d].i], last);
		raise(&n->h.longest, longest);
	}
	leaf_insert(t, leaf, path->key, last, &split);
	for (unsigned int d = t->height; d-- > 0 && split.right;)
		inner_insert(t, path->step[d].node, path->step[d].i, &split);
	if (split.right)
		grow_root(t, &split);
}

/* Children i and i + 1 of @n become one if they fit. */
static bool merge(struct hmmu_itree *t, struct inner *n, uint32_t i, bool leaves)
{
	struct hmmu_node *left = n->child[i], *right = n->child[i + 1];

	if (left->n + right->n > (leaves ? LEAF_CAP : INNER_CAP))
		return false;
	if (leaves) {
		leaf_move((struct leaf *)left, (struct leaf *)right, 0);
	} else {
		/* Its key[0] was never looked at; now it will be. */
		((struct inner *)right)->kstart[0] = n->kstart[i + 1];
		((struct inner *)right)->ksub[0] = n->ksub[i + 1];
		inner_move((struct inner *)left, (struct inner *)right, 0);
	}
	n->max[i] = n->max[i] > n->max[i + 1] ? n->max[i] : n->max[i + 1];
	inner_remove_at(n, i + 1);
	drop_node(t, right);
	return true;
}

/* Below child @i of @n somebody has gone who ended at @last. false: nothing changed for those
 * above. */
static bool shrink_child(struct hmmu_itree *t, struct inner *n, uint32_t i, bool leaves,
			 uint64_t last)
{
	struct hmmu_node *child = n->child[i];
	uint32_t few = (leaves ? LEAF_CAP : INNER_CAP) / 4, before = n->h.n;
	bool changed = false;

	if (child->n == 0) {
		inner_remove_at(n, i);
		drop_node(t, child);
		return true;
	}
	if (n->max[i] == last) {
		n->max[i] = leaves ? leaf_max((struct leaf *)child)
				   : max_of(((struct inner *)child)->max, child->n);
		changed = n->max[i] != last;
	}
	if (child->n < few && (i == 0 || !merge(t, n, i - 1, leaves)) && i + 1 < n->h.n)
		merge(t, n, i, leaves);
	return changed || n->h.n != before;
}

static void shrink_root(struct hmmu_itree *t)
{
	while (t->height > 0 && t->root->n == 1) {
		struct hmmu_node *old = t->root;

		t->root = ((struct inner *)old)->child[0];
		t->height--;
		drop_node(t, old);
	}
	if (t->root->n == 0) {
		drop_node(t, t->root);
		t->root = NULL;
		t->height = 0;
	}
}

void hmmu_itree_remove(struct hmmu_itree *t, const struct hmmu_path *path)
{
	struct leaf *leaf = path->leaf;
	uint32_t i = leaf_lower(leaf, path->key);
	uint64_t last;

	assert(i < leaf->h.n && leaf->entry[i].start == path->key.start &&
	       (uint64_t)(uintptr_t)leaf->entry[i].sub == path->key.sub);
	last = leaf->entry[i].last;
	ARRAY_REMOVE(leaf->entry, i, leaf->h.n);
	leaf->h.n--;
	for (unsigned int d = t->height; d-- > 0;) {
		const struct hmmu_step *step = &path->step[d];

		if (!shrink_child(t, step->node, step->i, d == t->height - 1, last))
			return; /* the root is what it was */
	}
	shrink_root(t);
}

struct query {
	uint64_t start;
	uint64_t last;
	struct hmmu_key after;
};

/* Who overlaps begins here or later. */
static inline uint64_t first_start(const struct hmmu_node *node, const struct query *q)
{
	uint64_t from = q->start > node->longest ? q->start - node->longest : 0;

	return from > q->after.start ? from : q->after.start;
}

static inline bool begins_at(const struct leaf *l, uint32_t i, uint64_t x)
{
	return (i == 0 || (i <= l->h.n && l->entry[i - 1].start < x)) &&
	       (i >= l->h.n || l->entry[i].start >= x);
}

static inline struct hmmu_match *collect_leaf(const struct leaf *l, uint32_t *at,
					      const struct query *q, struct hmmu_match *out,
					      const struct hmmu_match *end)
{
	const uint64_t start = q->start, last = q->last;
	const struct entry *e, *behind = &l->entry[l->h.n];
	uint64_t from = first_start(&l->h, q);

	if (!begins_at(l, *at, from))
		*at = leaf_below(l, from);
	e = &l->entry[*at];
	while (e < behind && e->start == q->after.start && (uintptr_t)e->sub <= q->after.sub)
		e++; /* done before */
	for (; e < behind && e->start <= last; e++) {
		if (e->last < start)
			continue;
		out->start = e->start;
		out->sub = e->sub;
		__builtin_prefetch(e->sub); /* it will be counted */
		if (++out == end)
			break;
	}
	return out;
}

/* The next child after @i that may hold a match; n->h.n: none. */
static inline uint32_t next_child(const struct inner *n, uint32_t i, const struct query *q)
{
	while (++i < n->h.n && n->kstart[i] <= q->last) {
		if (n->max[i] >= q->start)
			return i;
	}
	return n->h.n;
}

/* The first one. */
static inline uint32_t first_child(const struct inner *n, const struct query *q)
{
	uint32_t i = count_below(n->kstart + 1, n->h.n - 1, first_start(&n->h, q));

	while (i + 1 < n->h.n && n->kstart[i + 1] == q->after.start &&
	       n->ksub[i + 1] <= q->after.sub)
		i++;
	return n->max[i] < q->start ? next_child(n, i, q) : i;
}

/* Matches to [out, end); where they end. */
static struct hmmu_match *collect(const struct hmmu_node *node, unsigned int height,
				  const struct query *q, struct hmmu_match *out,
				  const struct hmmu_match *end)
{
	const struct inner *n = (const struct inner *)node;
	uint32_t i, at = 0;

	if (height == 0) {
		prefetch_leaf(node);
		return collect_leaf((const struct leaf *)node, &at, q, out, end);
	}
	for (i = first_child(n, q); i < n->h.n && out < end; i = next_child(n, i, q))
		out = collect(n->child[i], height - 1, q, out, end);
	return out;
}

/* Down to the lowest node with all that may match. */
static void set_finger(struct hmmu_itree *t, const struct query *q)
{
	struct hmmu_finger f = {t->root, 0, UINT64_MAX, t->height, 0};

	for (; f.height > 0; f.height--) {
		const struct inner *n = (const struct inner *)f.node;
		uint32_t i = first_child(n, q);

		if (i == n->h.n || next_child(n, i, q) < n->h.n)
			break;
		f.node = n->child[i];
		if (i > 0)
			f.lo = n->kstart[i];
		if (i + 1 < n->h.n)
			f.hi = n->kstart[i + 1];
	}
	if (f.height == 0)
		prefetch_leaf(f.node);
	t->finger = f;
}

size_t hmmu_itree_collect(struct hmmu_itree *t, uint64_t start, uint64_t last,
			  struct hmmu_key after, struct hmmu_match *out, size_t max)
{
	struct query q = {start, last, after};
	struct hmmu_finger *f = &t->finger;
	const struct hmmu_match *end = out + max;

	if (!t->root)
		return 0;
	/* Who begins outside of it neither comes so far nor is asked for. */
	if (!f->node || first_start(t->root, &q) <= f->lo || last >= f->hi)
		set_finger(t, &q);
	if (f->height == 0)
		end = collect_leaf((const struct leaf *)f->node, &f->at, &q, out, end);
	else
		end = collect(f->node, f->height, &q, out, end);
	return (size_t)(end - out);
}

/* Keys of @node lie in [lo, hi); its largest last in *max. */
static size_t check(const struct hmmu_node *node, unsigned int height, struct hmmu_key lo,
		    struct hmmu_key hi, uint64_t *max)
{
	const struct inner *n = (const struct inner *)node;
	const struct leaf *l = (const struct leaf *)node;
	size_t total = 0;

	if (height == 0) {
		for (uint32_t i = 0; i < l->h.n; i++) {
			assert(!hmmu_key_less(leaf_key(l, i), lo));
			assert(hmmu_key_less(leaf_key(l, i), hi));
			assert(l->entry[i].last - l->entry[i].start <= l->h.longest);
			lo = leaf_key(l, i);
			lo.sub++;
		}
		*max = leaf_max(l);
		return l->h.n;
	}
	assert(n->h.n >= 1 && n->h.n <= INNER_CAP);
	for (uint32_t i = 0; i < n->h.n; i++) {
		uint64_t below;

		total += check(n->child[i], height - 1, i > 0 ? inner_key(n, i) : lo,
			       i + 1 < n->h.n ? inner_key(n, i + 1) : hi, &below);
		assert(n->child[i]->n > 0 && n->max[i] == below);
		assert(n->child[i]->longest <= n->h.longest);
	}
	*max = max_of(n->max, n->h.n);
	return total;
}

size_t hmmu_itree_check(const struct hmmu_itree *t)
{
	uint64_t max;

	return t->root ? check(t->root, t->height, HMMU_KEY_FIRST, HMMU_KEY_LAST, &max) : 0;
}
