// SPDX-License-Identifier: MIT
/* treap.c - see treap.h. */
#include "treap.h"

#include <stdbool.h>
#include <stddef.h>

/* Returns whether max_last has changed. */
static bool update(struct treap_node *node)
{
	unsigned long max = node->last;

	if (node->left && node->left->max_last > max)
		max = node->left->max_last;
	if (node->right && node->right->max_last > max)
		max = node->right->max_last;
	if (max == node->max_last)
		return false;
	node->max_last = max;
	return true;
}

static struct treap_node **link_of(struct treap *treap, struct treap_node *node)
{
	if (!node->parent)
		return &treap->root;
	return node->parent->left == node ? &node->parent->left : &node->parent->right;
}

/* node takes its parent's place, the parent becomes its child. */
static void rotate_up(struct treap *treap, struct treap_node *node)
{
	struct treap_node *parent = node->parent;
	struct treap_node **link = link_of(treap, parent);
	struct treap_node *moved;

	if (parent->left == node) {
		moved = parent->left = node->right;
		node->right = parent;
	} else {
		moved = parent->right = node->left;
		node->left = parent;
	}
	if (moved)
		moved->parent = parent;
	node->parent = parent->parent;
	parent->parent = node;
	*link = node;
	/* The subtree holds the same nodes as before. */
	node->max_last = parent->max_last;
	update(parent);
}

void treap_insert(struct treap *treap, struct treap_node *node)
{
	struct treap_node **link = &treap->root, *parent = NULL;

	/* Marsaglia's xorshift; any state but 0. */
	treap->random = treap->random ? treap->random : 88172645463325252;
	treap->random ^= treap->random << 13;
	treap->random ^= treap->random >> 7;
	treap->random ^= treap->random << 17;
	while (*link) {
		parent = *link;
		if (parent->max_last < node->last)
			parent->max_last = node->last;
		link = node->start < parent->start ? &parent->left : &parent->right;
	}
	node->left = node->right = NULL;
	node->parent = parent;
	node->max_last = node->last;
	node->rank = treap->random;
	*link = node;
	while (node->parent && node->parent->rank < node->rank)
		rotate_up(treap, node);
}

void treap_erase(struct treap *treap, struct treap_node *node)
{
	struct treap_node *child;

	while (node->left && node->right)
		rotate_up(treap,
			  node->left->rank > node->right->rank ? node->left : node->right);
	child = node->left ? node->left : node->right;
	*link_of(treap, node) = child;
	if (child)
		child->parent = node->parent;
	/* Above, max_last may have been node's. */
	for (node = node->parent; node && update(node); node = node->parent)
		;
}

/* The first of the subtree; its max_last is at least start. */
static struct treap_node *first_below(struct treap_node *node, unsigned long start,
				      unsigned long last)
{
	for (;;) {
		if (node->left && node->left->max_last >= start) {
			/* Something on the left reaches start. If it begins after
			 * last, so does all that is not left of it. */
			node = node->left;
			continue;
		}
		if (node->start > last)
			return NULL;
		if (node->last >= start)
			return node;
		node = node->right;
		if (!node || node->max_last < start)
			return NULL;
	}
}

struct treap_node *treap_first(const struct treap *treap, unsigned long start,
			       unsigned long last)
{
	if (!treap->root || treap->root->max_last < start)
		return NULL;
	return first_below(treap->root, start, last);
}

struct treap_node *treap_next(struct treap_node *node, unsigned long start, unsigned long last)
{
	for (;;) {
		struct treap_node *child;

		if (node->right && node->right->max_last >= start)
			return first_below(node->right, start, last);
		do {
			child = node;
			node = node->parent;
		} while (node && node->right == child);
		if (!node || node->start > last)
			return NULL;
		if (node->last >= start)
			return node;
	}
}
