/* SPDX-License-Identifier: MIT */
/*
 * syscall.h - system calls that leave errno alone and that no hook of ours sees.
 * Answers what the kernel answers: -errno on failure.
 */
#ifndef HMMU_ARCH_SYSCALL_H
#define HMMU_ARCH_SYSCALL_H

#include <poll.h>
#include <sys/syscall.h>
#include <time.h>

/* Always inline: hooks.h has functions that no sanitizer instruments, and clang would
 * not inline an instrumented one into those by itself. */
#define HMMU_ALWAYS_INLINE static inline __attribute__((always_inline))

#if defined(HMMU_SCHED) || defined(HMMU_FAULT)
/*
 * Test builds: who wants to see, refuse or play a system call of ours. NULL: the kernel
 * does. Set while no other thread of ours runs. (Under HMMU_SCHED futexes go to the
 * scheduler instead.) The hook makes real calls by hmmu_syscall6().
 */
extern long (*hmmu_syscall_hook)(long nr, const long args[6]);
/* Calls it, under ASan: gcc 12 dies of the array in functions without a sanitizer. */
long hmmu_syscall_played(long nr, long a, long b, long c, long d, long e, long f);
#endif

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

HMMU_ALWAYS_INLINE long hmmu_syscall_seen(long nr, long a, long b, long c, long d, long e,
					  long f)
{
#if defined(HMMU_SCHED) || defined(HMMU_FAULT)
	if (hmmu_syscall_hook) {
#ifdef __SANITIZE_ADDRESS__
		return hmmu_syscall_played(nr, a, b, c, d, e, f);
#else
		const long args[6] = {a, b, c, d, e, f};

		return hmmu_syscall_hook(nr, args);
#endif
	}
#endif
	return hmmu_syscall6(nr, a, b, c, d, e, f);
}

#define HMMU_SYS_(nr, a, b, c, d, e, f, ...)                                           \
	hmmu_syscall_seen((nr), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), \
			  (long)(f))
/* hmmu_syscall(nr, up to six arguments) */
#define hmmu_syscall(...) HMMU_SYS_(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)

#ifdef SYS_poll
#define HMMU_SYS_POLL SYS_poll
#else
#define HMMU_SYS_POLL SYS_ppoll
#endif
/* poll(); younger architectures have ppoll() alone. @ms: -1 waits. */
HMMU_ALWAYS_INLINE long hmmu_poll(struct pollfd *fds, unsigned int n, int ms)
{
#ifdef SYS_poll
	return hmmu_syscall(HMMU_SYS_POLL, fds, n, ms);
#else
	struct timespec ts = {ms / 1000, ms % 1000 * 1000000L};

	return hmmu_syscall(HMMU_SYS_POLL, fds, n, ms < 0 ? NULL : &ts, NULL, 0);
#endif
}

HMMU_ALWAYS_INLINE int hmmu_is_err(long ret)
{
	return (unsigned long)ret > -4096UL;
}

#endif /* HMMU_ARCH_SYSCALL_H */
