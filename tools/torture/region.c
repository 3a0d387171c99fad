// SPDX-License-Identifier: MIT
/*
 * region.c - the memory that is tortured.
 *
 * A region lies between two pages of PROT_NONE: what mremap grows must move, and no
 * neighbour's mapping is merged with it. Two regions have their addresses from
 * elsewhere: brk's above the heap, free's inside a block of malloc's.
 *
 * brk and malloc: malloc is told to map whatever it cannot serve from what it has, and
 * never to trim, so it does not move the break while the region lies there.
 */
#include "torture.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BLOCK ((size_t)1 << 20)

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

/* Maps @pages pages of the region's memory, from its page @page on. */
void *region_map(struct region *r, void *at, int flags, unsigned int page, unsigned int pages,
		 unsigned int version, bool raw)
{
	const int prot = PROT_READ | PROT_WRITE;
	size_t size = page_size();

	switch (r->memory) {
	case MEM_ANON:
		return call_mmap(raw, at, pages * size, prot,
				 MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
	case MEM_SHARED:
		return call_mmap(raw, at, pages * size, prot,
				 MAP_SHARED | MAP_ANONYMOUS | flags, -1, 0);
	case MEM_MEMFD:
		return call_mmap(raw, at, pages * size, prot, MAP_SHARED | flags, r->fd,
				 (off_t)((version * PAGES + page) * size));
	default:
		return call_mmap(raw, at, pages * size, prot, MAP_PRIVATE | flags, r->fd,
				 (off_t)(page * size));
	}
}

static int open_file(void)
{
	const char *dir = getenv("TMPDIR");
	char name[4096];
	int fd;

	if (!dir || !*dir)
		dir = "/tmp";
	if ((size_t)snprintf(name, sizeof(name), "%s/hmmu-torture-XXXXXX", dir) >= sizeof(name))
		return -ENAMETOOLONG;
	fd = mkostemp(name, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	unlink(name);
	return fd;
}

/* The content as made: generation 0. One page more, for mremap to grow over. */
static int fill_file(const struct torture *t, struct region *r)
{
	size_t size = page_size();

	if (ftruncate(r->fd, (off_t)((PAGES + 1) * size)) < 0)
		return -errno;
	for (unsigned int p = 0; p < PAGES; p++) {
		struct record rec;

		record_make(&rec, t, r, p, 0);
		if (pwrite(r->fd, &rec, sizeof(rec), (off_t)(p * size)) != sizeof(rec) ||
		    pwrite(r->fd, &rec, sizeof(rec), (off_t)((p + 1) * size - LINE)) !=
			    sizeof(rec))
			return errno ? -errno : -ENOSPC;
	}
	return 0;
}

static int open_backing(const struct torture *t, struct region *r)
{
	r->fd = -1;
	if (r->memory == MEM_MEMFD) {
		r->fd = memfd_create("hmmu torture", MFD_CLOEXEC);
		if (r->fd < 0 ||
		    ftruncate(r->fd, (off_t)((VERSIONS * PAGES + 1) * page_size())) < 0)
			return -errno;
	} else if (r->memory == MEM_FILE) {
		r->fd = open_file();
		return r->fd < 0 ? r->fd : fill_file(t, r);
	}
	return 0;
}

static int place_brk(struct region *r)
{
	size_t size = page_size();
	uintptr_t now = (uintptr_t)sbrk(0);
	uintptr_t base = (now + size - 1) & -size;

	if (brk((void *)(base + PAGES * size)) < 0)
		return -errno;
	r->block = (void *)now;
	r->base = (unsigned char *)base;
	return 0;
}

static int place_block(struct region *r)
{
	size_t size = page_size();

	r->block = malloc(BLOCK);
	if (!r->block)
		return -ENOMEM;
	r->base = (unsigned char *)(((uintptr_t)r->block + size) & -size);
	return 0;
}

/*
 * With --cache other threads than mutators map: the library, for its tables. What the kernel
 * places goes as high as it fits, so a hole far below is nobody's.
 */
static void *low_address(const struct torture *t, const struct region *r)
{
	return t->options.cache ? (void *)((1ul << 40) + ((unsigned long)r->id << 20)) : NULL;
}

static int place_mapping(const struct torture *t, struct region *r)
{
	size_t size = page_size();
	unsigned char *room = mmap(low_address(t, r), (PAGES + 2) * size, PROT_NONE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (room == MAP_FAILED)
		return -errno;
	r->base = room + size;
	if (region_map(r, r->base, MAP_FIXED, 0, PAGES, 0, false) == MAP_FAILED)
		return -errno;
	return 0;
}

static int region_open(struct torture *t, struct region *r)
{
	size_t size = page_size();
	int ret = open_backing(t, r);

	if (ret)
		return ret;
	if (r->op == OP_BRK)
		ret = place_brk(r);
	else if (r->op == OP_FREE)
		ret = place_block(r);
	else
		ret = place_mapping(t, r);
	if (ret)
		return ret;
	for (unsigned int p = 0; p < PAGES; p++) {
		page_store(t, r, p, r->base + p * size, 1);
		atomic_store(&r->pub[p], 2);
	}
	return 0;
}

int regions_open(struct torture *t)
{
	const struct options *o = &t->options;
	int ret = 0;

	t->regions = calloc(MAX_REGIONS, sizeof(*t->regions));
	if (!t->regions)
		return -ENOMEM;
	mallopt(M_TRIM_THRESHOLD, -1);
	mallopt(M_MMAP_THRESHOLD, 0);
	for (enum op op = 0; op < NR_OPS && !ret; op++) {
		for (enum memory memory = 0; memory < NR_MEMORIES && !ret; memory++) {
			struct region *r = &t->regions[t->nr_regions];

			if (!o->ops[op] || !o->memories[memory] || !cells[op][memory].runs)
				continue;
			r->id = t->nr_regions++;
			r->op = op;
			r->memory = memory;
			r->cell = &cells[op][memory];
			ret = region_open(t, r);
		}
	}
	return ret;
}

static void region_close(struct region *r)
{
	size_t size = page_size();

	if (r->fd >= 0)
		close(r->fd);
	if (!r->base)
		return;
	if (r->op == OP_FREE)
		free(r->block);
	else if (r->op != OP_BRK)
		munmap(r->base - size, (PAGES + 2) * size);
	else if (sbrk(0) == r->base + PAGES * size && brk(r->block) < 0)
		return;
}

void regions_close(struct torture *t)
{
	for (unsigned int i = 0; t->regions && i < t->nr_regions; i++)
		region_close(&t->regions[i]);
	mallopt(M_MMAP_THRESHOLD, 128 * 1024);
	free(t->regions);
}

/* Called on misses and in callbacks: a walk over at most 40. */
struct region *region_of(struct torture *t, unsigned long addr)
{
	for (unsigned int i = 0; i < t->nr_regions; i++)
		if (addr - (unsigned long)t->regions[i].base < PAGES * page_size())
			return &t->regions[i];
	return NULL;
}
