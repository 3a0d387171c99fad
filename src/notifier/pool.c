// SPDX-License-Identifier: MIT
/* pool.c - see pool.h. */
#include "pool.h"

#include <errno.h>
#include <sys/mman.h>

#include "../arch/syscall.h"

#define CHUNK_MIN (64u << 10)
#define CHUNK_MAX (4u << 20)

void *hmmu_map(size_t size, bool wipe)
{
	long p = hmmu_syscall(SYS_mmap, NULL, size, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (hmmu_is_err(p))
		return NULL;
	if (hmmu_is_err(
		hmmu_syscall(SYS_madvise, p, size, wipe ? MADV_WIPEONFORK : MADV_DONTFORK))) {
		hmmu_unmap((void *)p, size);
		return NULL;
	}
	return (void *)p;
}

void hmmu_unmap(void *p, size_t size)
{
	hmmu_syscall(SYS_munmap, p, size);
}

/* Grows with the tree: at most a quarter of its memory waits unused. */
int hmmu_chunk_map(struct hmmu_chunk *chunk, const struct hmmu_itree *t)
{
	size_t size = CHUNK_MIN;

	while (size < CHUNK_MAX && size * 4 < t->npages * 4096)
		size *= 2;
	chunk->mem = hmmu_map(size, false);
	chunk->nodes = size / HMMU_NODE_SIZE;
	return chunk->mem ? 0 : -ENOMEM;
}

/* A free node's first word is the next free one. */
static void push(struct hmmu_itree *t, void *node)
{
	*(struct hmmu_node **)node = t->free;
	t->free = node;
	t->nfree++;
}

void hmmu_chunk_give(struct hmmu_itree *t, struct hmmu_chunk *chunk)
{
	for (size_t i = chunk->nodes; i-- > 0;)
		push(t, (char *)chunk->mem + i * HMMU_NODE_SIZE);
	t->npages += chunk->nodes * HMMU_NODE_SIZE / 4096;
	chunk->mem = NULL;
	chunk->nodes = 0;
}

struct hmmu_node *hmmu_node_get(struct hmmu_itree *t)
{
	struct hmmu_node *node = t->free;

	t->free = *(struct hmmu_node **)node;
	t->nfree--;
	return node;
}

void hmmu_node_put(struct hmmu_itree *t, struct hmmu_node *node)
{
	push(t, node);
}
