// SPDX-License-Identifier: MIT
/*
 * change.c - the changes. Plain libc calls, or bare system calls where the source claims
 * those too; with the explicit source each is put between start and end here, otherwise
 * nobody does but the library.
 *
 * Each returns NULL, or what went wrong. Whoever takes an address away for a moment,
 * or has the kernel choose one meanwhile, holds t->hole: another mutator's mapping
 * must not land in the hole. (fork too: the hooks map a page for it.) Devices never
 * map anything.
 */
#include "torture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK ((size_t)1 << 20)
#define TRIES 100

struct extent {
	unsigned char *at;
	size_t length;
	unsigned int first, pages, version;
	unsigned char *staged; /* mremap-fixed: what is to be moved over it */
	bool raw;	       /* not through libc */
};

/* Gives the address back to the region. By hint: what replaces nothing is no change
 * to a translation, and no source need speak of it. */
static const char *map_again(struct region *r, const struct extent *x)
{
	for (int i = 0; i < TRIES; i++) {
		void *got = region_map(r, x->at, 0, x->first, x->pages, x->version, x->raw);

		if (got == x->at)
			return NULL;
		if (got == MAP_FAILED)
			return "mmap of the same address";
		call_munmap(x->raw, got, x->length);
		usleep(100);
	}
	errno = EEXIST;
	return "mmap of the same address: something else took it";
}

static const char *do_munmap(struct region *r, const struct extent *x)
{
	return call_munmap(x->raw, x->at, x->length) ? "munmap" : map_again(r, x);
}

static const char *do_map_fixed(struct region *r, const struct extent *x)
{
	void *got = region_map(r, x->at, MAP_FIXED, x->first, x->pages, x->version, x->raw);

	return got == MAP_FAILED ? "mmap(MAP_FIXED)" : NULL;
}

static const char *do_mremap(struct region *r, const struct extent *x)
{
	size_t longer = x->length + (size_t)sysconf(_SC_PAGESIZE);
	void *moved = call_mremap(x->raw, x->at, x->length, longer, MREMAP_MAYMOVE, NULL);

	if (moved == MAP_FAILED)
		return "mremap";
	if (moved == x->at) {
		errno = EEXIST;
		return "mremap did not move";
	}
	call_munmap(x->raw, moved, longer);
	return map_again(r, x);
}

static const char *do_mremap_fixed(struct region *r, const struct extent *x)
{
	void *got = call_mremap(x->raw, x->staged, x->length, x->length,
				MREMAP_MAYMOVE | MREMAP_FIXED, x->at);

	return got == MAP_FAILED ? "mremap(MREMAP_FIXED)" : NULL;
}

static const char *do_advise(const struct extent *x, int advice, const char *name)
{
	return call_madvise(x->raw, x->at, x->length, advice) ? name : NULL;
}

static const char *do_brk(struct region *r, const struct extent *x)
{
	unsigned char *end = x->at + x->length;

	if (sbrk(0) != end) {
		r->dead = true; /* somebody else moved the break: hands off */
		return NULL;
	}
	return call_brk(x->raw, x->at) || call_brk(x->raw, end) ? "brk" : NULL;
}

static const char *do_fork(void)
{
	pid_t pid = fork();

	if (pid < 0)
		return "fork";
	if (!pid)
		_exit(0);
	while (waitpid(pid, NULL, 0) < 0)
		if (errno != EINTR)
			return "waitpid";
	return NULL;
}

/*
 * malloc maps a block of this size wherever the kernel likes: nearly always where the
 * last one was. Blocks that come from elsewhere are kept until the right one came,
 * so that their places are taken.
 */
static const char *do_free(struct region *r)
{
	void *const wanted = r->block;
	void *other[16];
	unsigned int n = 0;
	void *volatile got;

	free(wanted);
	for (;;) {
		got = malloc(BLOCK);
		if (!got || got == wanted || n == sizeof(other) / sizeof(other[0]))
			break;
		other[n++] = got;
	}
	while (n)
		free(other[--n]);
	if (got != wanted) {
		free(got);
		r->block = NULL;
		r->dead = true; /* the address is gone: said at the end */
	}
	return NULL;
}

static const char *carry_out(struct region *r, const struct extent *x)
{
	switch (r->op) {
	case OP_MUNMAP:
		return do_munmap(r, x);
	case OP_MAP_FIXED:
		return do_map_fixed(r, x);
	case OP_MREMAP:
		return do_mremap(r, x);
	case OP_MREMAP_FIXED:
		return do_mremap_fixed(r, x);
	case OP_DONTNEED:
		return do_advise(x, MADV_DONTNEED, "madvise(MADV_DONTNEED)");
	case OP_MADV_FREE:
		return do_advise(x, MADV_FREE, "madvise(MADV_FREE)");
	case OP_REMOVE:
		return do_advise(x, MADV_REMOVE, "madvise(MADV_REMOVE)");
	case OP_BRK:
		return do_brk(r, x);
	case OP_FORK:
		return do_fork();
	default:
		return do_free(r);
	}
}

/* The explicit source: start and end are the mutator's. */
static const char *bracketed(struct torture *t, struct region *r, const struct extent *x)
{
	enum mmu_notifier_event event = MMU_NOTIFY_UNMAP;
	struct mmu_notifier_range range;
	unsigned long start = (unsigned long)x->at, end = start + x->length;
	const char *wrong;

	if (!t->options.explicit_source)
		return carry_out(r, x);
	if (r->op == OP_DONTNEED || r->op == OP_MADV_FREE || r->op == OP_REMOVE)
		event = MMU_NOTIFY_CLEAR;
	if (r->op == OP_FORK)
		event = MMU_NOTIFY_PROTECTION_PAGE;
	mmu_notifier_range_init(&range, event, 0, t->mm, start, end);
	if (mmu_notifier_invalidate_range_start(&range))
		return "mmu_notifier_invalidate_range_start";
	wrong = carry_out(r, x);
	mmu_notifier_invalidate_range_end(&range);
	return wrong;
}

/* A part of the memfd in which none of these pages lies now: pigeons and holes. */
static unsigned int unused_version(const struct region *r, const struct extent *x)
{
	unsigned int used = 0;

	for (unsigned int p = 0; p < x->pages; p++)
		used |= 1u << r->version[x->first + p];
	for (unsigned int v = (r->version[x->first] + 1) % VERSIONS;; v = (v + 1) % VERSIONS)
		if (!(used & 1u << v))
			return v;
}

/* memfd: g + 1 lies in the part of the file that is about to be mapped. */
static const char *write_part(struct torture *t, struct region *r, const struct extent *x)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);

	for (unsigned int p = x->first; p < x->first + x->pages; p++) {
		off_t at = (off_t)((x->version * PAGES + p) * size);
		uint64_t next = (atomic_load(&r->pub[p]) >> 1) + 1;
		struct record rec;

		record_make(&rec, t, r, p, next);
		if (pwrite(r->fd, &rec, LINE, at) != (ssize_t)LINE ||
		    pwrite(r->fd, &rec, LINE, at + (off_t)(size - LINE)) != (ssize_t)LINE)
			return "pwrite to the memfd";
	}
	return NULL;
}

/* mremap-fixed: g + 1 lies in a mapping elsewhere. */
static const char *stage(struct torture *t, struct region *r, struct extent *x)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);

	x->staged = region_map(r, NULL, 0, x->first, x->pages, x->version, x->raw);
	if (x->staged == MAP_FAILED)
		return "mmap";
	for (unsigned int p = x->first; p < x->first + x->pages; p++)
		page_store(t, r, p, x->staged + (p - x->first) * size,
			   (atomic_load(&r->pub[p]) >> 1) + 1);
	return NULL;
}

static bool makes_a_hole(enum op op)
{
	return op == OP_MUNMAP || op == OP_MREMAP || op == OP_MREMAP_FIXED || op == OP_FORK ||
	       op == OP_FREE;
}

static void publish(struct region *r, const struct extent *x)
{
	for (unsigned int p = x->first; p < x->first + x->pages; p++)
		atomic_fetch_add(&r->pub[p], 1);
}

static const char *change_locked(struct torture *t, struct region *r, struct extent *x)
{
	bool maps = r->op <= OP_MREMAP_FIXED;
	const char *wrong = NULL;

	if (r->memory == MEM_MEMFD && maps) {
		x->version = unused_version(r, x);
		wrong = write_part(t, r, x);
	}
	if (!wrong && r->op == OP_MREMAP_FIXED)
		wrong = stage(t, r, x);
	if (wrong)
		return wrong;

	publish(r, x); /* odd: from here to the next one the change is going on */
	wrong = bracketed(t, r, x);
	if (wrong || r->dead)
		return wrong;
	if (r->cell->stores)
		for (unsigned int p = x->first; p < x->first + x->pages; p++)
			page_store(t, r, p, r->base + p * (size_t)sysconf(_SC_PAGESIZE),
				   (atomic_load(&r->pub[p]) >> 1) + 1);
	if (r->memory == MEM_MEMFD && maps)
		for (unsigned int p = x->first; p < x->first + x->pages; p++)
			r->version[p] = x->version;
	publish(r, x); /* even: g + 1 is there */
	return NULL;
}

void change(struct torture *t, struct region *r, unsigned int first, unsigned int pages,
	    bool raw)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	struct extent x = {
		.at = r->base + first * size,
		.length = pages * size,
		.first = first,
		.pages = pages,
		.raw = raw,
	};
	bool hole = makes_a_hole(r->op);
	const char *wrong;

	if (hole)
		pthread_mutex_lock(&t->hole);
	wrong = change_locked(t, r, &x);
	if (hole)
		pthread_mutex_unlock(&t->hole);
	if (wrong)
		torture_fatal(t, wrong, errno);
}
