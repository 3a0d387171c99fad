// SPDX-License-Identifier: MIT
/*
 * change.c - the changes, each written once: through libc, by a bare system call, by a
 * child that shares the memory, or between the program's own start and end, as
 * p->call says.
 */
#include "doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define RW (PROT_READ | PROT_WRITE)
#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define ADVICE_DONTNEED_LOCKED 24 /* Linux 5.18 */
#define ADVICE_GUARD_INSTALL 102  /* Linux 6.13 */
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

#define CALL_(p, nr, a, b, c, d, e, f, ...) \
	(p)->call((p), (nr), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define CALL(...) ((int)answer(CALL_(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)))

/* An address is a success. */
static long answer(long ret)
{
	return ret < 0 && ret > -4096 ? ret : 0;
}

static int unmap(struct probe *p)
{
	return CALL(p, SYS_munmap, p->addr, p->len);
}

static int unmap_part(struct probe *p)
{
	return CALL(p, SYS_munmap, p->target, PAGE);
}

static int map_over(struct probe *p)
{
	return CALL(p, SYS_mmap, p->addr, p->len, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		    -1, 0);
}

static int remap_away(struct probe *p)
{
	return CALL(p, SYS_mremap, p->addr, p->len, p->len, MREMAP_MAYMOVE | MREMAP_FIXED,
		    p->spare);
}

static int remap_onto(struct probe *p)
{
	return CALL(p, SYS_mremap, p->spare, p->len, p->len, MREMAP_MAYMOVE | MREMAP_FIXED,
		    p->addr);
}

static int remap_shrink(struct probe *p)
{
	return CALL(p, SYS_mremap, p->addr, p->len, PAGE, 0, 0);
}

/* It has a neighbour: it must move. */
static int remap_grow(struct probe *p)
{
	return CALL(p, SYS_mremap, p->addr, p->len, 2 * p->len, MREMAP_MAYMOVE, 0);
}

static int remap_keep(struct probe *p)
{
	return CALL(p, SYS_mremap, p->addr, p->len, p->len,
		    MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, p->spare);
}

static int dontneed(struct probe *p)
{
	return CALL(p, SYS_madvise, p->addr, p->len, MADV_DONTNEED);
}

static int dontneed_locked(struct probe *p)
{
	return CALL(p, SYS_madvise, p->addr, p->len, ADVICE_DONTNEED_LOCKED);
}

static int lazy_free(struct probe *p)
{
	return CALL(p, SYS_madvise, p->addr, p->len, MADV_FREE);
}

static int madv_remove(struct probe *p)
{
	return CALL(p, SYS_madvise, p->addr, p->len, MADV_REMOVE);
}

static int guard(struct probe *p)
{
	return CALL(p, SYS_madvise, p->addr, p->len, ADVICE_GUARD_INSTALL);
}

static int own_pidfd(struct probe *p)
{
	p->pidfd = (int)raw(SYS_pidfd_open, getpid(), 0);
	return p->pidfd < 0 ? p->pidfd : 0;
}

static int process_advice(struct probe *p)
{
	struct iovec iov = {p->addr, p->len};
	bool drop = p->memory == HMMU_MEMORY_ANON || p->memory == HMMU_MEMORY_FILE_PRIVATE;

	return CALL(p, SYS_process_madvise, p->pidfd, &iov, 1,
		    drop ? MADV_DONTNEED : MADV_REMOVE, 0);
}

/* The heap's end is the memory. */
static int break_up(struct probe *p)
{
	uintptr_t now = (uintptr_t)sbrk(0);
	size_t pad = -now & (PAGE - 1);

	if (sbrk((intptr_t)(pad + LENGTH)) == (void *)-1)
		return -ENOMEM;
	p->addr = (char *)now + pad;
	p->len = LENGTH;
	p->target = p->addr + LENGTH / 2;
	memory_fill(p, true);
	return 0;
}

static int break_down(struct probe *p)
{
	return CALL(p, SYS_brk, p->addr);
}

static int break_down_sbrk(struct probe *p)
{
	return CALL(p, NR_SBRK, -(long)p->len);
}

static int detach(struct probe *p)
{
	return CALL(p, SYS_shmdt, p->addr);
}

static int another_segment(struct probe *p)
{
	return memory_segment(LENGTH, &p->segment);
}

static int attach_over(struct probe *p)
{
	return CALL(p, SYS_shmat, p->segment, p->addr, SHM_REMAP);
}

static int rights_rw(struct probe *p)
{
	const bool shared =
		p->memory != HMMU_MEMORY_ANON && p->memory != HMMU_MEMORY_FILE_PRIVATE;

	memcpy(p->rights, shared ? "rw-s" : "rw-p", 5);
	return 0;
}

static int protect(struct probe *p)
{
	return CALL(p, SYS_mprotect, p->addr, p->len, PROT_READ);
}

/* Key 0 is every page's, where the processor has keys at all. */
static int protect_key(struct probe *p)
{
	return CALL(p, SYS_pkey_mprotect, p->addr, p->len, PROT_READ, 0);
}

/* As mprotect(), which libc may call instead. */
static int protect_no_key(struct probe *p)
{
	return CALL(p, SYS_pkey_mprotect, p->addr, p->len, PROT_READ, -1);
}

static int make_child(struct probe *p)
{
	long ret = p->call(p, NR_FORK, FORK_FLAGS, 0, 0, 0, 0, 0);

	if (!ret)
		raw(SYS_exit_group, 0);
	return ret < 0 ? (int)ret : 0;
}

static int truncate_file(struct probe *p)
{
	return CALL(p, SYS_ftruncate, p->fd, PAGE);
}

static int truncate_name(struct probe *p)
{
	char name[40];

	snprintf(name, sizeof(name), "/proc/self/fd/%d", p->fd);
	return CALL(p, SYS_truncate, name, PAGE);
}

static int punch(struct probe *p)
{
	return CALL(p, SYS_fallocate, p->fd, PUNCH, 0, LENGTH);
}

static int zero_range(struct probe *p)
{
	return CALL(p, SYS_fallocate, p->fd, FALLOC_FL_ZERO_RANGE, 0, LENGTH);
}

/* What was the end comes to the middle, which was the target's. */
static int collapse(struct probe *p)
{
	return CALL(p, SYS_fallocate, p->fd, FALLOC_FL_COLLAPSE_RANGE, 0, LENGTH / 2);
}

/*
 * Another thread maps the file when the call is on its way: whoever looks up the mappings
 * of a file before it changes has not seen this one. Of two threads that enter the call
 * the first only hands it on: seccomp's caller. The witness may not need anybody who is
 * stopped now: seccomp lets this mmap() by, one with MAP_FIXED it would not.
 */
static bool map_meanwhile(struct probe *p)
{
	const struct shared *s = p->shared;
	const bool caller = s->entry_by == s->changer;
	const int flags = p->memory == HMMU_MEMORY_FILE_PRIVATE ? MAP_PRIVATE : MAP_SHARED;
	long at;

	if (s->entry_nr != SYS_ftruncate && s->entry_nr != SYS_fallocate)
		return false;
	if (caller == ((p->sources & HMMU_SOURCE_SECCOMP) != 0))
		return false;
	at = raw(SYS_mmap, NULL, p->len, RW, flags, p->fd, 0);
	if (at < 0 && at > -4096)
		return false;
	p->addr = (char *)at;
	p->target = p->addr + p->len / 2;
	memory_fill(p, false);
	return !watch_insert(p);
}

/* Page 0 of the object in the target's place. */
static int shuffle(struct probe *p)
{
	return CALL(p, SYS_remap_file_pages, p->target, PAGE, 0, 0, 0);
}

#define C(name) (1u << HMMU_CALLER_##name)
#define M(name) (1u << HMMU_MEMORY_##name)
#define PLAIN (C(EXPLICIT) | C(LIBC) | C(RAW) | C(PROCESS))
#define PRIVATE (M(ANON) | M(FILE_PRIVATE))
#define SHARED (M(SHMEM) | M(SYSV) | M(FILE_SHARED))
#define ALL (PRIVATE | SHARED)
#define WITH_FD (M(SHMEM) | M(FILE_PRIVATE) | M(FILE_SHARED))

/* MADV_DONTNEED and MREMAP_DONTUNMAP of shared memory change nothing: what is read there
 * stays what it was. */
const struct variant plain_variants[] = {
	{HMMU_OP_MUNMAP, "whole", PLAIN, ALL, .change = unmap},
	{HMMU_OP_MUNMAP, "a part", PLAIN, ALL, .change = unmap_part},
	{HMMU_OP_MMAP_FIXED, "anonymous over", PLAIN, ALL, .change = map_over},
	{HMMU_OP_MREMAP, "source", PLAIN, ALL, .change = remap_away},
	{HMMU_OP_MREMAP, "destination", PLAIN, ALL, .change = remap_onto},
	{HMMU_OP_MREMAP, "grow", PLAIN, ALL, .change = remap_grow},
	{HMMU_OP_MREMAP, "shrink", PLAIN, ALL, .change = remap_shrink},
	{HMMU_OP_MREMAP, "dontunmap", PLAIN, PRIVATE, .change = remap_keep},
	{HMMU_OP_MADVISE, "dontneed", PLAIN, PRIVATE, .change = dontneed},
	{HMMU_OP_MADVISE, "dontneed_locked", PLAIN, PRIVATE, .change = dontneed_locked},
	{HMMU_OP_MADVISE, "free", PLAIN, M(ANON), STATE_LAZY, .change = lazy_free},
	{HMMU_OP_MADVISE, "remove", PLAIN, SHARED, .change = madv_remove},
	{HMMU_OP_MADVISE, "remove, by another", C(PROCESS), SHARED | M(FILE_PRIVATE),
	 .change = madv_remove, .other = true, .read_only = true},
	{HMMU_OP_BRK, "brk", PLAIN, M(ANON), .prepare = break_up, .change = break_down},
	{HMMU_OP_BRK, "sbrk", C(EXPLICIT) | C(LIBC), M(ANON), .prepare = break_up,
	 .change = break_down_sbrk},
	{HMMU_OP_SHMDT, "whole", PLAIN, M(SYSV), .change = detach},
	{HMMU_OP_SHMAT_REMAP, "over", PLAIN, ALL, .prepare = another_segment,
	 .change = attach_over},
	{HMMU_OP_MPROTECT, "read only", PLAIN, ALL, STATE_RIGHTS, .prepare = rights_rw,
	 .change = protect},
	{HMMU_OP_FORK, "fork", C(EXPLICIT) | C(LIBC) | C(RAW), PRIVATE, STATE_CHILD,
	 .change = make_child},
	{HMMU_OP_FTRUNCATE, "shrink", PLAIN, WITH_FD, .change = truncate_file},
	{HMMU_OP_FTRUNCATE, "shrink, by another", C(PROCESS), WITH_FD, .change = truncate_file,
	 .other = true},
	{HMMU_OP_FTRUNCATE, "shrink, mapped meanwhile", C(LIBC) | C(RAW), WITH_FD,
	 .change = truncate_file, .read_only = true, .late = true, .meanwhile = map_meanwhile},
	{HMMU_OP_FTRUNCATE, "truncate", PLAIN, WITH_FD, .change = truncate_name},
	{HMMU_OP_FALLOCATE, "punch hole", PLAIN, WITH_FD, .change = punch, .read_only = true},
	{HMMU_OP_FALLOCATE, "punch hole, mapped meanwhile", C(LIBC) | C(RAW), WITH_FD,
	 .change = punch, .read_only = true, .late = true, .meanwhile = map_meanwhile},
	{HMMU_OP_FALLOCATE, "zero range", PLAIN, M(FILE_PRIVATE) | M(FILE_SHARED),
	 .change = zero_range, .read_only = true},
	{HMMU_OP_FALLOCATE, "collapse range", PLAIN, M(FILE_PRIVATE) | M(FILE_SHARED),
	 .change = collapse, .read_only = true},
	{HMMU_OP_FALLOCATE, "punch hole, by another", C(PROCESS), WITH_FD, .change = punch,
	 .other = true, .read_only = true},
	{HMMU_OP_MADVISE_GUARD, "install", PLAIN, ALL, .change = guard},
	{HMMU_OP_PROCESS_MADVISE, "on oneself", PLAIN, ALL, .prepare = own_pidfd,
	 .change = process_advice},
	{HMMU_OP_PKEY_MPROTECT, "key 0", PLAIN, ALL, STATE_RIGHTS, .prepare = rights_rw,
	 .change = protect_key},
	{HMMU_OP_PKEY_MPROTECT, "no key", PLAIN, ALL, STATE_RIGHTS, .prepare = rights_rw,
	 .change = protect_no_key},
	{HMMU_OP_REMAP_FILE_PAGES, "one page", PLAIN, SHARED, .change = shuffle},
	{.name = NULL},
};
