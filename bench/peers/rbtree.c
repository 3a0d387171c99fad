// SPDX-License-Identifier: MIT
/*
 * rbtree.c - a red-black tree of ranges by first byte: no red node has a red child, and
 * every way down to a leaf has as many black ones.
 */
#include <stddef.h>

#include "rbtree.h"

static bool is_red(const struct rb *node)
{
	return node && node->red;
}

static int side_of(const struct rb *node)
{
	return node->parent->child[1] == node;
}

/* @to takes @from's place below @from's parent. */
static void replace(struct rb_tree *tree, struct rb *from, struct rb *to)
{
	if (!from->parent)
		tree->root = to;
	else
		from->parent->child[side_of(from)] = to;
	if (to)
		to->parent = from->parent;
}

/* @node goes down to @side; its child on the other side comes up. */
static void rotate(struct rb_tree *tree, struct rb *node, int side)
{
	struct rb *up = node->child[!side];

	replace(tree, node, up);
	node->child[!side] = up->child[side];
	if (up->child[side])
		up->child[side]->parent = node;
	up->child[side] = node;
	node->parent = up;
}

static void mend_insert(struct rb_tree *tree, struct rb *node)
{
	while (is_red(node->parent)) {
		struct rb *parent = node->parent, *grand = parent->parent;
		int side = side_of(parent);
		struct rb *uncle = grand->child[!side];

		if (is_red(uncle)) {
			parent->red = uncle->red = false;
			grand->red = true;
			node = grand;
			continue;
		}
		if (side_of(node) != side) {
			rotate(tree, parent, side);
			parent = node;
		}
		parent->red = false;
		grand->red = true;
		rotate(tree, grand, !side);
		break;
	}
	tree->root->red = false;
}

void rb_insert(struct rb_tree *tree, struct rb *node)
{
	struct rb **link = &tree->root, *parent = NULL;

	while (*link) {
		parent = *link;
		link = &parent->child[node->start > parent->start];
	}
	node->child[0] = node->child[1] = NULL;
	node->parent = parent;
	node->red = true;
	*link = node;
	mend_insert(tree, node);
}

/* The ways through @parent's child on @side have one black too few. */
static void mend_erase(struct rb_tree *tree, struct rb *parent, int side)
{
	for (;;) {
		struct rb *sibling = parent->child[!side];

		if (sibling->red) {
			sibling->red = false;
			parent->red = true;
			rotate(tree, parent, side);
			sibling = parent->child[!side];
		}
		if (!is_red(sibling->child[0]) && !is_red(sibling->child[1])) {
			sibling->red = true;
			if (parent->red || !parent->parent) {
				parent->red = false;
				return;
			}
			side = side_of(parent);
			parent = parent->parent;
			continue;
		}
		if (!is_red(sibling->child[!side])) {
			sibling->child[side]->red = false;
			sibling->red = true;
			rotate(tree, sibling, !side);
			sibling = parent->child[!side];
		}
		sibling->red = parent->red;
		parent->red = false;
		sibling->child[!side]->red = false;
		rotate(tree, parent, side);
		return;
	}
}

/* @node, which has two children, and the next one change places. */
static void swap_with_next(struct rb_tree *tree, struct rb *node)
{
	struct rb *next = rb_next(node), *below = next->child[1], *above = next->parent;
	bool red = next->red;

	replace(tree, node, next);
	next->red = node->red;
	next->child[0] = node->child[0];
	next->child[0]->parent = next;
	if (above == node) {
		next->child[1] = node;
		node->parent = next;
	} else {
		next->child[1] = node->child[1];
		next->child[1]->parent = next;
		above->child[0] = node;
		node->parent = above;
	}
	node->child[0] = NULL;
	node->child[1] = below;
	if (below)
		below->parent = node;
	node->red = red;
}

void rb_erase(struct rb_tree *tree, struct rb *node)
{
	struct rb *child, *parent;
	int side;

	if (node->child[0] && node->child[1])
		swap_with_next(tree, node);
	child = node->child[0] ? node->child[0] : node->child[1];
	parent = node->parent;
	side = parent ? side_of(node) : 0;
	replace(tree, node, child);
	if (child)
		child->red = false; /* an only child is red, and its parent black */
	else if (parent && !node->red)
		mend_erase(tree, parent, side);
}

struct rb *rb_at_or_before(const struct rb_tree *tree, unsigned long addr)
{
	struct rb *node = tree->root, *best = NULL;

	while (node) {
		if (node->start <= addr)
			best = node;
		node = node->child[node->start <= addr];
	}
	return best;
}

struct rb *rb_next(struct rb *node)
{
	if (node->child[1]) {
		node = node->child[1];
		while (node->child[0])
			node = node->child[0];
		return node;
	}
	while (node->parent && side_of(node))
		node = node->parent;
	return node->parent;
}
