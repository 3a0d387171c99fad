/* SPDX-License-Identifier: MIT */
/*
 * pool.h - memory of the library's own: mapped, never malloc'ed, not inherited by a
 * forked child. Nodes go back to their tree's free list, never to the system.
 */
#ifndef HMMU_POOL_H
#define HMMU_POOL_H

#include <stddef.h>

#include "itree.h"

#define HMMU_NODE_SIZE 1024

/* Zeroed pages, or NULL. @wipe: a forked child finds them zeroed instead of absent.
 * Context: sleeps (a system call): never with a lock held. */
void *hmmu_map(size_t size, bool wipe);
/* The same, inherited by a forked child as it is. */
void *hmmu_map_kept(size_t size);
void hmmu_unmap(void *p, size_t size);

/* A chunk of fresh nodes, mapped without the lock, handed over with it. */
struct hmmu_chunk {
	struct hmmu_node *first; /* linked already: giving it is short */
	struct hmmu_node *last;
	size_t nodes;
};
/* @npages: what the tree has already. 0 or -ENOMEM. */
int hmmu_chunk_map(struct hmmu_chunk *chunk, uint64_t npages);
void hmmu_chunk_give(struct hmmu_itree *t, struct hmmu_chunk *chunk);

/* Small pieces, never given back: mm->lock. */
#define HMMU_ARENA_CHUNK (256u << 10)
struct hmmu_arena {
	char *at;
	uint64_t left;
};
/* Zeroed, aligned to 64 if all sizes are; NULL: a chunk of HMMU_ARENA_CHUNK is needed. */
void *hmmu_arena_take(struct hmmu_arena *arena, uint64_t size);

struct hmmu_node *hmmu_node_get(struct hmmu_itree *t);
void hmmu_node_put(struct hmmu_itree *t, struct hmmu_node *node);

#endif /* HMMU_POOL_H */
