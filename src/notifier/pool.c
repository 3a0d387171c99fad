// SPDX-License-Identifier: MIT
/* pool.c - see pool.h. */
#include "pool.h"

#include <errno.h>
#include <sys/mman.h>

#include "../arch/syscall.h"
#include "../atomic.h"

#define CHUNK_MIN (64u << 10)
#define CHUNK_MAX (4u << 20)

static long map_at(uint64_t where, size_t size)
{
	return hmmu_syscall(SYS_mmap, where, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
				    (where ? MAP_FIXED_NOREPLACE : 0),
			    -1, 0);
}

/*
 * Not where the kernel puts mappings by itself. Who unmaps one page of a mapping of his, and
 * later the whole of it, unmaps what has been put into the hole meanwhile: were it ours, we
 * would crash. So: some way below, one after the other, at what is free there.
 */
#define FAR (128UL << 30)
#define FAR_SIZE (64UL << 30)
#define FAR_TRIES 8
#define HUGE (2UL << 20) /* a huge page, where there are any */

/* 0 and *where, 0: wherever the kernel likes; -errno of mmap. */
#ifdef HMMU_SCHED /* these loads and stores would be steps of every schedule */
static long far_place(size_t size, uint64_t *where)
{
	(void)size;
	*where = 0;
	return 0;
}
#else
static long far_place(size_t size, uint64_t *where)
{
	static uint64_t base, used;
	uint64_t from = hmmu_load_relaxed(&base), at;

	*where = 0;
	if (!from) {
		long probe = map_at(0, 4096);

		if (hmmu_is_err(probe))
			return probe;
		hmmu_syscall(SYS_munmap, probe, 4096);
		/* Two threads may find two: any will do. */
		from = (uint64_t)probe > 2 * FAR ? ((uint64_t)probe - FAR) & -FAR_SIZE : 1;
		hmmu_store_relaxed(&base, from);
	}
	size = (size + 4095) & -4096UL;
	if (from == 1 || size > FAR_SIZE / 2)
		return 0;
	if (size >= HUGE) /* aligned, but for what another thread adds meanwhile */
		hmmu_add_relaxed(&used, -hmmu_load_relaxed(&used) & (HUGE - 1));
	at = hmmu_add_relaxed(&used, size) % FAR_SIZE;
	*where = from + (at + size > FAR_SIZE ? 0 : at);
	return 0;
}
#endif

void *hmmu_map_kept(size_t size)
{
	long p = -EEXIST;

	for (int i = 0; i < FAR_TRIES && p == -EEXIST; i++) {
		uint64_t where;

		p = far_place(size, &where);
		if (!p)
			p = map_at(where, size);
	}
	if (p == -EEXIST)
		p = map_at(0, size);
	return hmmu_is_err(p) ? NULL : (void *)p;
}

void *hmmu_map(size_t size, bool wipe)
{
	void *p = hmmu_map_kept(size);

	if (!p)
		return NULL;
	if (hmmu_is_err(hmmu_syscall(SYS_madvise, p, size,
				     wipe ? MADV_WIPEONFORK : MADV_DONTFORK))) {
		hmmu_unmap(p, size);
		return NULL;
	}
	return p;
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
	if (size >= HUGE) /* a walk that misses the caches would miss the TLB, too */
		hmmu_syscall(SYS_madvise, mem, size, MADV_HUGEPAGE);
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

void *hmmu_arena_take(struct hmmu_arena *arena, uint64_t size)
{
	void *p = arena->at;

	if (arena->left < size)
		return NULL;
	arena->at += size;
	arena->left -= size;
	return p;
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
