/* SPDX-License-Identifier: MIT */
/* calls.h - a changing call, by libc's symbol or, with play_raw, by itself. */
#ifndef ORACLE_CALLS_H
#define ORACLE_CALLS_H

#include "play.h"

static inline bool is_error(long ret)
{
	return ret < 0 && ret >= -4095;
}

/* An instruction of ours: libc's syscall() is not what is tested. */
static inline long raw(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

long call_mmap(unsigned long addr, unsigned long len, int prot, int flags, int fd, long offset);

/* memory.c */
int object_of(const struct line *line, int word);
int protection_of(const struct line *line, const char *p);

#endif /* ORACLE_CALLS_H */
