/* SPDX-License-Identifier: MIT */
/* rbtree.h - a red-black tree of ranges that do not overlap. */
#ifndef HMMU_BENCH_RBTREE_H
#define HMMU_BENCH_RBTREE_H

#include <stdbool.h>

/* rbtree.c, by first byte; the caller serialises. */
struct rb {
	struct rb *child[2], *parent;
	bool red;
	unsigned long start, end;
};
struct rb_tree {
	struct rb *root;
};
void rb_insert(struct rb_tree *tree, struct rb *node);
void rb_erase(struct rb_tree *tree, struct rb *node);
/* The last that starts at or before @addr. */
struct rb *rb_at_or_before(const struct rb_tree *tree, unsigned long addr);
struct rb *rb_next(struct rb *node);

#endif /* HMMU_BENCH_RBTREE_H */
