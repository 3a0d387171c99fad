// SPDX-License-Identifier: MIT
/*
 * itree.c - see itree.h.
 *
 * Nodes are arrays per field: a search touches keys only. Invariants, checked by
 * hmmu_itree_check():
 *
 *	keys of a leaf ascend strictly
 *	inner: key[i] <= every key below child[i] and > every key below child[i - 1],
 *	       for i >= 1; key[0] is never looked at
 *	inner: max[i] == the largest `last` below child[i]
 *	no node is empty but a root that is a leaf
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
#define HEIGHT_MAX 16 /* 31^16: more than there are addresses */

struct hmmu_node {
	uint32_t n;
	uint32_t pad;
};

struct leaf {
	struct hmmu_node h;
	uint64_t start[LEAF_CAP];
	uint64_t last[LEAF_CAP];
	struct hmmu_sub *sub[LEAF_CAP];
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

struct step {
	struct inner *node;
	uint32_t i;
};

static struct hmmu_key leaf_key(const struct leaf *l, uint32_t i)
{
	return (struct hmmu_key){l->start[i], (uint64_t)(uintptr_t)l->sub[i]};
}

static struct hmmu_key inner_key(const struct inner *n, uint32_t i)
{
	return (struct hmmu_key){n->kstart[i], n->ksub[i]};
}

/* The first entry that is not below @key. */
static uint32_t leaf_lower(const struct leaf *l, struct hmmu_key key)
{
	uint32_t lo = 0, n = l->h.n;

	while (n > 0) {
		uint32_t half = n / 2;

		if (hmmu_key_less(leaf_key(l, lo + half), key)) {
			lo += half + 1;
			n -= half + 1;
		} else {
			n = half;
		}
	}
	return lo;
}

/* The child that @key belongs to. */
static uint32_t inner_child(const struct inner *n, struct hmmu_key key)
{
	uint32_t lo = 1, count = n->h.n - 1;

	while (count > 0) {
		uint32_t half = count / 2;

		if (!hmmu_key_less(key, inner_key(n, lo + half))) {
			lo += half + 1;
			count -= half + 1;
		} else {
			count = half;
		}
	}
	return lo - 1;
}

static uint64_t max_of(const uint64_t *v, uint32_t n)
{
	uint64_t max = 0;

	for (uint32_t i = 0; i < n; i++)
		max = v[i] > max ? v[i] : max;
	return max;
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
	ARRAY_INSERT(l->start, i, l->h.n, key.start);
	ARRAY_INSERT(l->last, i, l->h.n, last);
	ARRAY_INSERT(l->sub, i, l->h.n, (struct hmmu_sub *)(uintptr_t)key.sub);
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

	memcpy(&dst->start[dst->h.n], &src->start[from], count * sizeof(src->start[0]));
	memcpy(&dst->last[dst->h.n], &src->last[from], count * sizeof(src->last[0]));
	memcpy(&dst->sub[dst->h.n], &src->sub[from], count * sizeof(src->sub[0]));
	dst->h.n += count;
	src->h.n = from;
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
	if (l->h.n < LEAF_CAP) {
		leaf_insert_at(l, i, key, last);
		return;
	}
	at = split_point(i, LEAF_CAP);
	right = (struct leaf *)hmmu_node_get(t);
	right->h.n = 0;
	leaf_move(right, l, at);
	if (i > at)
		leaf_insert_at(right, i - at, key, last);
	else
		leaf_insert_at(l, i, key, last);
	split->right = &right->h;
	split->key = leaf_key(right, 0);
	split->left_max = max_of(l->last, l->h.n);
	split->right_max = max_of(right->last, right->h.n);
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
	right = (struct inner *)hmmu_node_get(t);
	right->h.n = 0;
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
	struct inner *root = (struct inner *)hmmu_node_get(t);

	root->h.n = 0;
	inner_insert_at(root, 0, HMMU_KEY_FIRST, split->left_max, t->root);
	inner_insert_at(root, 1, split->key, split->right_max, split->right);
	t->root = &root->h;
	t->height++;
}

/* From the root to @key's leaf; path[0] is the root, path[height - 1] the leaf's
 * parent. */
static struct leaf *descend(const struct hmmu_itree *t, struct hmmu_key key, struct step *path)
{
	struct hmmu_node *node = t->root;

	for (unsigned int d = 0; d < t->height; d++) {
		path[d].node = (struct inner *)node;
		path[d].i = inner_child(path[d].node, key);
		node = path[d].node->child[path[d].i];
	}
	return (struct leaf *)node;
}

void hmmu_itree_insert(struct hmmu_itree *t, struct hmmu_key key, uint64_t last)
{
	struct step path[HEIGHT_MAX];
	struct split split;
	struct leaf *leaf;

	if (!t->root) {
		t->root = hmmu_node_get(t);
		t->root->n = 0;
		t->height = 0;
	}
	leaf = descend(t, key, path);
	for (unsigned int d = 0; d < t->height; d++) {
		uint64_t *max = &path[d].node->max[path[d].i];

		*max = last > *max ? last : *max;
	}
	leaf_insert(t, leaf, key, last, &split);
	for (unsigned int d = t->height; d-- > 0 && split.right;)
		inner_insert(t, path[d].node, path[d].i, &split);
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
	hmmu_node_put(t, right);
	return true;
}

/* Child @i of @n has lost an entry. */
static void shrink_child(struct hmmu_itree *t, struct inner *n, uint32_t i, bool leaves)
{
	struct hmmu_node *child = n->child[i];

	if (child->n == 0) {
		inner_remove_at(n, i);
		hmmu_node_put(t, child);
		return;
	}
	n->max[i] = leaves ? max_of(((struct leaf *)child)->last, child->n)
			   : max_of(((struct inner *)child)->max, child->n);
	if (child->n >= (leaves ? LEAF_CAP : INNER_CAP) / 4)
		return;
	if (i > 0 && merge(t, n, i - 1, leaves))
		return;
	if (i + 1 < n->h.n)
		merge(t, n, i, leaves);
}

void hmmu_itree_remove(struct hmmu_itree *t, struct hmmu_key key)
{
	struct step path[HEIGHT_MAX];
	struct leaf *leaf = descend(t, key, path);
	uint32_t i = leaf_lower(leaf, key);

	assert(i < leaf->h.n && leaf->start[i] == key.start &&
	       (uint64_t)(uintptr_t)leaf->sub[i] == key.sub);
	ARRAY_REMOVE(leaf->start, i, leaf->h.n);
	ARRAY_REMOVE(leaf->last, i, leaf->h.n);
	ARRAY_REMOVE(leaf->sub, i, leaf->h.n);
	leaf->h.n--;
	for (unsigned int d = t->height; d-- > 0;)
		shrink_child(t, path[d].node, path[d].i, d == t->height - 1);
	while (t->height > 0 && t->root->n == 1) {
		struct hmmu_node *old = t->root;

		t->root = ((struct inner *)old)->child[0];
		t->height--;
		hmmu_node_put(t, old);
	}
	if (t->root->n == 0) {
		hmmu_node_put(t, t->root);
		t->root = NULL;
		t->height = 0;
	}
}

struct query {
	uint64_t start;
	uint64_t last;
	struct hmmu_key after;
	struct hmmu_match *out;
	size_t n;
	size_t max;
};

/* How many of v[0, n), which ascend, are not above @x. Without a branch to mispredict. */
static uint32_t first_above(const uint64_t *v, uint32_t n, uint64_t x)
{
	uint32_t lo = 0;

	while (n > 1) {
		uint32_t half = n / 2;

		lo += (uint32_t)(v[lo + half - 1] <= x) * half;
		n -= half;
	}
	return lo + (n > 0 && v[lo] <= x);
}

static void collect_leaf(const struct leaf *l, struct query *q)
{
	uint32_t i = 0, hi = first_above(l->start, l->h.n, q->last);

	if (q->after.start | q->after.sub) {
		i = leaf_lower(l, q->after);
		if (i < l->h.n && !hmmu_key_less(q->after, leaf_key(l, i)))
			i++; /* after itself */
	}
	for (; i < hi && q->n < q->max; i++) {
		if (l->last[i] >= q->start)
			q->out[q->n++] = (struct hmmu_match){l->start[i], l->sub[i]};
	}
}

static void collect(const struct hmmu_node *node, unsigned int height, struct query *q)
{
	const struct inner *n = (const struct inner *)node;
	uint32_t i = 0, hi;

	if (height == 0) {
		collect_leaf((const struct leaf *)node, q);
		return;
	}
	/* key[0] is never looked at: child 0 may hold anything below key[1]. */
	hi = 1 + first_above(n->kstart + 1, n->h.n - 1, q->last);
	if (q->after.start | q->after.sub)
		i = inner_child(n, q->after);
	for (; i < hi && q->n < q->max; i++) {
		if (n->max[i] >= q->start)
			collect(n->child[i], height - 1, q);
	}
}

size_t hmmu_itree_collect(const struct hmmu_itree *t, uint64_t start, uint64_t last,
			  struct hmmu_key after, struct hmmu_match *out, size_t max)
{
	struct query q = {start, last, after, out, 0, max};

	if (t->root)
		collect(t->root, t->height, &q);
	return q.n;
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
			lo = leaf_key(l, i);
			lo.sub++;
		}
		*max = max_of(l->last, l->h.n);
		return l->h.n;
	}
	assert(n->h.n >= 1 && n->h.n <= INNER_CAP);
	for (uint32_t i = 0; i < n->h.n; i++) {
		uint64_t below;

		total += check(n->child[i], height - 1, i > 0 ? inner_key(n, i) : lo,
			       i + 1 < n->h.n ? inner_key(n, i + 1) : hi, &below);
		assert(n->child[i]->n > 0 && n->max[i] == below);
	}
	*max = max_of(n->max, n->h.n);
	return total;
}

size_t hmmu_itree_check(const struct hmmu_itree *t)
{
	uint64_t max;

	return t->root ? check(t->root, t->height, HMMU_KEY_FIRST, HMMU_KEY_LAST, &max) : 0;
}
