// SPDX-License-Identifier: MIT
/*
 * memory.c - the caller's memory: its addresses may be anything, so the kernel copies, and
 * a bad one is -EFAULT. Nothing here uses the heap: the caller's may be broken (one of Linux's
 * tests writes beyond the end of its buffer).
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "dmirror.h"

typedef ssize_t (*copier)(pid_t, const struct iovec *, unsigned long, const struct iovec *,
			  unsigned long, unsigned long);

static int copy(copier vm, void *mine, uint64_t theirs, size_t n)
{
	pid_t self = getpid();

	while (n) {
		struct iovec here = {mine, n}, there = {(void *)theirs, n};
		ssize_t got = vm(self, &here, 1, &there, 1, 0);

		if (got <= 0)
			return got < 0 && errno == EPERM ? -EPERM : -EFAULT;
		mine = (char *)mine + got;
		theirs += (uint64_t)got;
		n -= (size_t)got;
	}
	return 0;
}

int mir_from_user(void *to, uint64_t from, size_t n)
{
	return copy(process_vm_readv, to, from, n);
}

int mir_to_user(uint64_t to, const void *from, size_t n)
{
	return copy(process_vm_writev, (void *)from, to, n);
}

bool mir_mapped(unsigned long start, unsigned long end)
{
	/* Does nothing else, and answers ENOMEM for a hole. */
	return msync((void *)start, end - start, MS_ASYNC) == 0;
}

static void *map_at(char *where, size_t n)
{
	void *p = mmap(where, n, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
			       (where ? MAP_FIXED_NOREPLACE : 0),
		       -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

#define FAR (256UL << 30)
#define FAR_SIZE (64UL << 30)
#define FAR_TRIES 8

/* Some way below where the kernel puts the program's own mappings: what we map must not lie in
 * a hole of one of those, which it may unmap as a whole later. NULL: nowhere known. */
static char *far_place(size_t n)
{
	static uint64_t base, used;
	uint64_t from = __atomic_load_n(&base, __ATOMIC_RELAXED), at;

	if (!from) {
		void *probe = map_at(NULL, MIR_PAGE);

		if (!probe)
			return NULL;
		mir_unmap(probe, MIR_PAGE);
		from = (uint64_t)probe > 2 * FAR ? ((uint64_t)probe - FAR) & -FAR_SIZE : 1;
		__atomic_store_n(&base, from, __ATOMIC_RELAXED);
	}
	if (from == 1 || n > FAR_SIZE / 2)
		return NULL;
	n = (n + MIR_PAGE - 1) & -MIR_PAGE;
	at = __atomic_fetch_add(&used, n, __ATOMIC_RELAXED) % FAR_SIZE;
	return (char *)from + (at + n > FAR_SIZE ? 0 : at);
}

void *mir_map(size_t n)
{
	void *p = NULL;

	for (int i = 0; i < FAR_TRIES && !p; i++)
		p = map_at(far_place(n), n);
	if (!p)
		p = map_at(NULL, n);
	/* A child starts anew; and what is here is not its memory. */
	if (p)
		madvise(p, n, MADV_DONTFORK);
	return p;
}

void mir_unmap(void *p, size_t n)
{
	munmap(p, n);
}
