/* SPDX-License-Identifier: MIT */
/*
 * treap.h - an interval tree: a treap ordered by first byte, each node with the
 * greatest last byte of its subtree.
 *
 * A node is embedded in what it indexes. The caller serialises changes; walks may
 * run in parallel while nothing changes.
 */
#ifndef HMMU_TESTS_TREAP_H
#define HMMU_TESTS_TREAP_H

#include <stdint.h>

struct treap_node {
	struct treap_node *left, *right, *parent;
	unsigned long start; /* first byte */
	unsigned long last;  /* last byte, inclusive */
	unsigned long max_last;
	uint64_t rank; /* a parent's is at least its children's */
};

struct treap {
	struct treap_node *root;
	uint64_t random;
};

/* node->start and ->last are set. */
void treap_insert(struct treap *treap, struct treap_node *node);
void treap_erase(struct treap *treap, struct treap_node *node);

/* Those that overlap [start, last], by start. NULL: no more. */
struct treap_node *treap_first(const struct treap *treap, unsigned long start,
			       unsigned long last);
struct treap_node *treap_next(struct treap_node *node, unsigned long start, unsigned long last);

#endif /* HMMU_TESTS_TREAP_H */
