/* SPDX-License-Identifier: MIT */
/*
 * itree.h - an mm's subscriptions, by interval: a B+-tree with the maximum end per
 * child, nodes of 1 KiB from a mapped pool (pool.h).
 *
 * Keys are (start, address of the subscription): unique, and comparable without
 * touching a subscription that may be gone, so a walk can be resumed after the
 * lock was dropped. Everything here needs mm->lock held but hmmu_itree_grow().
 */
#ifndef HMMU_ITREE_H
#define HMMU_ITREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hmmu_sub;

struct hmmu_key {
	uint64_t start;
	uint64_t sub;
};
#define HMMU_KEY_FIRST ((struct hmmu_key){0, 0}) /* before every subscription */
#define HMMU_KEY_LAST ((struct hmmu_key){UINT64_MAX, UINT64_MAX})

static inline bool hmmu_key_less(struct hmmu_key a, struct hmmu_key b)
{
	return a.start < b.start || (a.start == b.start && a.sub < b.sub);
}

struct hmmu_node;

/*
 * Where the last search ended, for the next one: programs change the same places again.
 * Everybody who begins in (lo, hi) lies below @node, until a node comes or goes.
 */
struct hmmu_finger {
	struct hmmu_node *node; /* NULL: none */
	uint64_t lo;
	uint64_t hi;
	uint32_t height; /* of the node */
	uint32_t at;	 /* a leaf: the entry where the search began, a guess */
};

struct hmmu_itree {
	struct hmmu_node *root; /* NULL: empty */
	struct hmmu_finger finger;
	uint32_t height; /* levels of inner nodes above the leaves */
	/* pool.c */
	struct hmmu_node *free;
	uint64_t nfree;
	uint64_t npages; /* 4 KiB pages ever mapped for nodes */
};

/* A match: what a walk needs without touching the subscription again. */
struct hmmu_match {
	uint64_t start;
	struct hmmu_sub *sub;
};

static inline struct hmmu_key hmmu_match_key(const struct hmmu_match *m)
{
	return (struct hmmu_key){m->start, (uint64_t)(uintptr_t)m->sub};
}

/* The way to a key, good as long as the lock is held and the tree is left alone. Finding it
 * asks for the memory of the leaf: what is done between find and use need not wait for it. */
#define HMMU_HEIGHT_MAX 16 /* 31^16: more than there are addresses */
struct hmmu_path {
	struct hmmu_key key;
	void *leaf; /* NULL: the tree is empty */
	struct hmmu_step {
		void *node;
		uint32_t i;
	} step[HMMU_HEIGHT_MAX]; /* the root first */
};
void hmmu_itree_find(const struct hmmu_itree *t, struct hmmu_key key, struct hmmu_path *path);
/* Can an insert split all the way up? If not: drop the lock, grow, try again. */
bool hmmu_itree_ready(const struct hmmu_itree *t);
/* Insert MUST follow hmmu_itree_ready() under the same hold of the lock. */
void hmmu_itree_insert(struct hmmu_itree *t, const struct hmmu_path *path, uint64_t last);
void hmmu_itree_remove(struct hmmu_itree *t, const struct hmmu_path *path);

/* Up to @max subscriptions that overlap [start, last] with a key above @after, in key
 * order. Fewer than @max: there are no more. */
size_t hmmu_itree_collect(struct hmmu_itree *t, uint64_t start, uint64_t last,
			  struct hmmu_key after, struct hmmu_match *out, size_t max);

static inline bool hmmu_itree_overlaps(struct hmmu_itree *t, uint64_t start, uint64_t last)
{
	struct hmmu_match m;

	return hmmu_itree_collect(t, start, last, HMMU_KEY_FIRST, &m, 1) == 1;
}

/* For tests: every invariant of the tree; asserts. Number of entries. */
size_t hmmu_itree_check(const struct hmmu_itree *t);

#endif /* HMMU_ITREE_H */
