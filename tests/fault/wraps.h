/* SPDX-License-Identifier: MIT */
/*
 * wraps.h - libc's and liburing's calls that the library makes, as they are. The linker's
 * --wrap leads every call by name to wrap.c, the tests' too: who must not be counted calls
 * __real_*. (meson has _FILE_OFFSET_BITS=64: open is open64.)
 */
#ifndef HMMU_TEST_WRAPS_H
#define HMMU_TEST_WRAPS_H

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/utsname.h>

#define WRAP(ret, name, ...)            \
	ret __real_##name(__VA_ARGS__); \
	ret __wrap_##name(__VA_ARGS__)

WRAP(int, pthread_create, pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
WRAP(int, pthread_join, pthread_t, void **);
WRAP(int, pthread_detach, pthread_t);
WRAP(int, pthread_atfork, void (*)(void), void (*)(void), void (*)(void));
WRAP(int, sigaction, int, const struct sigaction *, struct sigaction *);
WRAP(void *, dlopen, const char *, int);
WRAP(void *, dlsym, void *, const char *);
WRAP(int, dladdr, const void *, Dl_info *);
WRAP(int, uname, struct utsname *);
WRAP(void *, __libc_malloc, size_t);
WRAP(void *, __libc_realloc, void *, size_t);
WRAP(void *, calloc, size_t, size_t);
WRAP(void *, mmap64, void *, size_t, int, int, int, off_t);
WRAP(int, memfd_create, const char *, unsigned int);
WRAP(int, open64, const char *, int, ...);
WRAP(int, ftruncate64, int, off_t);
WRAP(FILE *, fopen64, const char *, const char *);
WRAP(size_t, fwrite, const void *, size_t, size_t, FILE *);
WRAP(int, fclose, FILE *);
WRAP(int, rename, const char *, const char *);

#endif /* HMMU_TEST_WRAPS_H */
