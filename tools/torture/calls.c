// SPDX-License-Identifier: MIT
/*
 * calls.c - a change, by libc's function or past it. syscall() is libc's too, but nobody
 * hooks it: to the hooks these are what a static library or the dynamic linker does.
 *
 * Under the seccomp source a signal may interrupt any of them before anything is done
 * (docs/seccomp.md): made again.
 */
#include "torture.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int call_munmap(bool raw, void *at, size_t length)
{
	int ret;

	do {
		ret = raw ? (int)syscall(SYS_munmap, at, length) : munmap(at, length);
	} while (ret && errno == EINTR);
	return ret;
}

void *call_mmap(bool raw, void *at, size_t length, int prot, int flags, int fd, off_t offset)
{
	void *p;

	do {
		p = raw ? (void *)syscall(SYS_mmap, at, length, prot, flags, fd, offset)
			: mmap(at, length, prot, flags, fd, offset);
	} while (p == MAP_FAILED && errno == EINTR);
	return p;
}

void *call_mremap(bool raw, void *at, size_t from, size_t to, int flags, void *fixed)
{
	void *p;

	do {
		p = raw ? (void *)syscall(SYS_mremap, at, from, to, flags, fixed)
			: mremap(at, from, to, flags, fixed);
	} while (p == MAP_FAILED && errno == EINTR);
	return p;
}

int call_madvise(bool raw, void *at, size_t length, int advice)
{
	int ret;

	do {
		ret = raw ? (int)syscall(SYS_madvise, at, length, advice)
			  : madvise(at, length, advice);
	} while (ret && errno == EINTR);
	return ret;
}

/* Raw: libc does not learn of it, so it has to come back to where it was. Nobody may
 * interrupt libc's under seccomp: it takes EINTR for success. */
int call_brk(bool raw, void *at)
{
	sigset_t all, before;
	int ret;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	ret = raw ? -((void *)syscall(SYS_brk, at) != at) : brk(at);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return ret;
}
