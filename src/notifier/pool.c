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
	if (hmmu_is_err(hmmu_syscall(SYS_madvise, p, size,
				     wipe ? MADV_WIPEONFORK : MADV_DONTFORK))) {
		hmmu_unmap((void *)p, size);
		return NULL;
	}
	return (void *)p;
}

void hmmu_unmap(void *p, size_t size)
{
	hmmu_syscall(SYS_munmap, p, size);
}

/* A free node's first word is the next free one. */
static void link_node(void *node, struct hmmu_node *next)
{
	*(struct hmmu_node **)node = next;
}

/* Grows with the tree: at most a quarter of its memory waits unused. */
int hmmu_chunk_map(struct hmmu_chunk *chunk, uint64_t npages)
{
	size_t size = CHUNK_MIN;
	char *mem;

	while (size < CHUNK_MAX && size * 4 < npages * 4096)
		size *= 2;
	mem = hmmu_map(size, false);
	if (!mem)
		return -ENOMEM;
	chunk->nodes = size / HMMU_NODE_SIZE;
	chunk->first = (struct hmmu_node *)mem;
	chunk->last = (struct hmmu_node *)(mem + size - HMMU_NODE_SIZE);
	for (size_t at = 0; at + HMMU_NODE_SIZE < size; at += HMMU_NODE_SIZE)
		link_node(mem + at, (struct hmmu_node *)(mem + at + HMMU_NODE_SIZE));
	return 0;
}

void hmmu_chunk_give(struct hmmu_itree *t, struct hmmu_chunk *chunk)
{
	link_node(chunk->last, t->free);
	t->free = chunk->first;
	t->nfree += chunk->nodes;
	t->npages += chunk->nodes * HMMU_NODE_SIZE / 4096;
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
	link_node(node, t->free);
	t->free = node;
	t->nfree++;
}
