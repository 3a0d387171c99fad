/* SPDX-License-Identifier: MIT */
/*
 * syscall.h - system calls that leave errno alone and that no hook of ours sees.
 * Answers what the kernel answers: -errno on failure.
 */
#ifndef HMMU_ARCH_SYSCALL_H
#define HMMU_ARCH_SYSCALL_H

#include <sys/syscall.h>

/* Always inline: hooks.h has functions that no sanitizer instruments, and clang would
 * not inline an instrumented one into those by itself. */
#define HMMU_ALWAYS_INLINE static inline __attribute__((always_inline))

#if defined(__x86_64__)
HMMU_ALWAYS_INLINE long hmmu_syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
	long ret;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}
#else
#include <errno.h>
#include <unistd.h>
HMMU_ALWAYS_INLINE long hmmu_syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
	int saved = errno;
	long ret = syscall(nr, a, b, c, d, e, f);

	if (ret == -1)
		ret = -errno;
	errno = saved;
	return ret;
}
#endif

#define HMMU_SYS_(nr, a, b, c, d, e, f, ...) \
	hmmu_syscall6((nr), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
/* hmmu_syscall(nr, up to six arguments) */
#define hmmu_syscall(...) HMMU_SYS_(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)

HMMU_ALWAYS_INLINE int hmmu_is_err(long ret)
{
	return (unsigned long)ret > -4096UL;
}

#endif /* HMMU_ARCH_SYSCALL_H */
