// SPDX-License-Identifier: MIT
/* wrap.c - libc's calls that the library makes, and that can fail. See wraps.h. */
#include "wraps.h"

#include <errno.h>
#include <stdarg.h>

#include "inject.h"
#include "plants.h"

#define SITE __builtin_return_address(0)

/* errno set, -1: for those that answer so. */
static int refused(enum kind kind, const void *site)
{
	long ret = fault_call(kind, site);

	if (ret)
		errno = (int)-ret;
	return ret != 0;
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
			  void *arg)
{
	int ret = (int)-fault_call(KIND_THREAD, SITE);

	if (!ret)
		ret = __real_pthread_create(thread, attr, fn, arg);
	if (!ret)
		fault_thread_created();
	return ret;
}

int __wrap_pthread_join(pthread_t thread, void **answer)
{
	if (plant_forgets_join())
		return 0;
	fault_thread_gone();
	return __real_pthread_join(thread, answer);
}

int __wrap_pthread_detach(pthread_t thread)
{
	fault_thread_gone();
	return __real_pthread_detach(thread);
}

int __wrap_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
	int ret = (int)-fault_call(KIND_ATFORK, SITE);

	return ret ? ret : __real_pthread_atfork(prepare, parent, child);
}

int __wrap_sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
	return refused(KIND_SIGACTION, SITE) ? -1 : __real_sigaction(sig, act, old);
}

void *__wrap_dlopen(const char *name, int flags)
{
	return fault_call(KIND_DLOPEN, SITE) ? NULL : __real_dlopen(name, flags);
}

void *__wrap_dlsym(void *handle, const char *name)
{
	return fault_call(KIND_DLSYM, SITE) ? NULL : __real_dlsym(handle, name);
}

int __wrap_dladdr(const void *address, Dl_info *info)
{
	return fault_call(KIND_DLADDR, SITE) ? 0 : __real_dladdr(address, info);
}

int __wrap_uname(struct utsname *u)
{
	return refused(KIND_UNAME, SITE) ? -1 : __real_uname(u);
}

void *__wrap___libc_malloc(size_t size)
{
	return refused(KIND_ALLOC, SITE) ? NULL : __real___libc_malloc(size);
}

void *__wrap___libc_realloc(void *p, size_t size)
{
	return refused(KIND_ALLOC, SITE) ? NULL : __real___libc_realloc(p, size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return refused(KIND_ALLOC, SITE) ? NULL : __real_calloc(n, size);
}

void *__wrap_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	return refused(KIND_MMAP, SITE) ? MAP_FAILED
					: __real_mmap64(addr, len, prot, flags, fd, offset);
}

int __wrap_memfd_create(const char *name, unsigned int flags)
{
	return refused(KIND_MEMFD, SITE) ? -1 : __real_memfd_create(name, flags);
}

int __wrap_open64(const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = va_arg(args, mode_t);
	va_end(args);
	return refused(KIND_OPEN, SITE) ? -1 : __real_open64(path, flags, mode);
}

int __wrap_ftruncate64(int fd, off_t size)
{
	return refused(KIND_FTRUNCATE, SITE) ? -1 : __real_ftruncate64(fd, size);
}

FILE *__wrap_fopen64(const char *path, const char *mode)
{
	return refused(KIND_OPEN, SITE) ? NULL : __real_fopen64(path, mode);
}

/* A full disk is seen by the write or, if it was buffered, by the close. */
size_t __wrap_fwrite(const void *data, size_t size, size_t n, FILE *f)
{
	return refused(KIND_FWRITE, SITE) ? 0 : __real_fwrite(data, size, n, f);
}

int __wrap_fclose(FILE *f)
{
	long ret = fault_call(KIND_FCLOSE, SITE);
	int closed = __real_fclose(f);

	if (ret)
		errno = (int)-ret;
	return ret ? EOF : closed;
}

int __wrap_rename(const char *from, const char *to)
{
	return refused(KIND_RENAME, SITE) ? -1 : __real_rename(from, to);
}
