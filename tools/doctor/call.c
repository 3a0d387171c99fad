// SPDX-License-Identifier: MIT
/*
 * call.c - the same change by libc's symbol, or by a system call instruction of our own.
 * Variants are written once, in terms of system calls.
 */
#include "doctor.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <gnu/lib-names.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* glibc 2.36; another libc may have none. */
#pragma weak process_madvise

/* The instruction, not syscall(), which is libc's symbol too. */
long raw6(long nr, long a, long b, long c, long d, long e, long f)
{
#ifdef __x86_64__
	long ret;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
#else
	long ret = syscall(nr, a, b, c, d, e, f);

	return ret == -1 ? -errno : ret;
#endif
}

long call_raw(struct probe *p, long nr, long a, long b, long c, long d, long e, long f)
{
	long ret = raw6(nr, a, b, c, d, e, f);

	/* It answers the break, moved or not. */
	if (nr == SYS_brk)
		return ret == a ? 0 : -ENOMEM;
	return ret;
}

/* By name, for two addresses of each. */
#define SYMBOLS(X)   \
	X(munmap)    \
	X(mmap)      \
	X(mremap)    \
	X(madvise)   \
	X(brk)       \
	X(sbrk)      \
	X(shmdt)     \
	X(shmat)     \
	X(mprotect)  \
	X(fork)      \
	X(ftruncate) \
	X(truncate) X(fallocate) X(pkey_mprotect) X(remap_file_pages) X(process_madvise)

struct calls {
#define MEMBER(name) __typeof__(name) *name;
	SYMBOLS(MEMBER)
#undef MEMBER
};

/* What the program's calls bind to: libhmmu.so's own, which tell every mm. */
static const struct calls bound = {
#define BOUND(name) .name = name,
	SYMBOLS(BOUND)
#undef BOUND
};

/* Past them: what a source without hooks gives to a program that is not linked so. */
static const struct calls *inner(void)
{
	static struct calls calls;
	void *libc;

	if (calls.munmap)
		return &calls;
	libc = dlopen(LIBC_SO, RTLD_LAZY | RTLD_NOLOAD);
	if (!libc)
		return &bound;
#define FIND(name) *(void **)&calls.name = dlsym(libc, #name);
	SYMBOLS(FIND)
#undef FIND
	return calls.munmap ? &calls : &bound;
}

static long libc(const struct calls *l, long nr, long a, long b, long c, long d, long e, long f)
{
	switch (nr) {
	case SYS_munmap:
		return l->munmap((void *)a, (size_t)b);
	case SYS_mmap:
		return (long)l->mmap((void *)a, (size_t)b, (int)c, (int)d, (int)e, f);
	case SYS_mremap:
		return (long)l->mremap((void *)a, (size_t)b, (size_t)c, (int)d, (void *)e);
	case SYS_madvise:
		return l->madvise((void *)a, (size_t)b, (int)c);
	case SYS_brk:
		return l->brk((void *)a);
	case NR_SBRK:
		return (long)l->sbrk(a) == -1 ? -1 : 0;
	case SYS_shmdt:
		return l->shmdt((void *)a);
	case SYS_shmat:
		return (long)l->shmat((int)a, (void *)b, (int)c);
	case SYS_mprotect:
		return l->mprotect((void *)a, (size_t)b, (int)c);
	case NR_FORK:
		return l->fork();
	case SYS_ftruncate:
		return l->ftruncate((int)a, b);
	case SYS_truncate:
		return l->truncate((const char *)a, b);
	case SYS_fallocate:
		return l->fallocate((int)a, (int)b, c, d);
	case SYS_process_madvise:
		if (l->process_madvise)
			return l->process_madvise((int)a, (const struct iovec *)b, (size_t)c,
						  (int)d, (unsigned int)e);
		break;
	case SYS_pkey_mprotect:
		return l->pkey_mprotect((void *)a, (size_t)b, (int)c, (int)d);
	case SYS_remap_file_pages:
		return l->remap_file_pages((void *)a, (size_t)b, (int)c, (size_t)d, (int)e);
	default:
		break;
	}
	errno = ENOSYS;
	return -1;
}

long call_libc(struct probe *p, long nr, long a, long b, long c, long d, long e, long f)
{
	const struct calls *l = p->sources & HMMU_SOURCE_HOOKS ? &bound : inner();
	long ret = libc(l, nr, a, b, c, d, e, f);

	return ret == -1 ? -errno : ret;
}
