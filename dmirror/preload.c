// SPDX-License-Identifier: MIT
/*
 * preload.c - libc's names that a program reaches the device by, for LD_PRELOAD: open() of
 * exactly /dev/hmm_dmirror0 and 1, and ioctl, mmap, close and dup of what that answered.
 * Everything else goes on to whom it would have reached without us.
 *
 * libc's prototypes are not in sight, nor its redirections of them: what is exported here is
 * the name as it is written. No malloc, no stdio (memory.c says why).
 */
#include <dlfcn.h>
#include <errno.h>
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>

#include "files.h"

long syscall(long number, ...);

#define EXPORT __attribute__((visibility("default")))
#define EXPORT_AS(name, wrapper)      \
	extern __typeof(wrapper) name \
		__attribute__((alias(#wrapper), visibility("default"), used))

/* ---- who is behind us ------------------------------------------------------------------- */

enum next {
	NEXT_OPEN,
	NEXT_OPEN64,
	NEXT_OPENAT,
	NEXT_OPENAT64,
	NEXT_OPEN_2,
	NEXT_OPEN64_2,
	NEXT_OPENAT_2,
	NEXT_OPENAT64_2,
	NEXT_IOCTL,
	NEXT_MMAP,
	NEXT_MMAP64,
	NEXT_CLOSE,
	NEXT_DUP,
	NEXT_DUP2,
	NEXT_DUP3,
	NEXT_NR,
};

static const char *const names[NEXT_NR] = {
	"open",	      "open64",	    "openat",	    "openat64", "__open_2",
	"__open64_2", "__openat_2", "__openat64_2", "ioctl",	"mmap",
	"mmap64",     "close",	    "dup",	    "dup2",	"dup3",
};

/* NULL before our constructor: the bare system call, then. */
static void *next[NEXT_NR];

#define NEXT(which, type) ((type)__atomic_load_n(&next[which], __ATOMIC_RELAXED))

__attribute__((constructor)) static void bind(void)
{
	for (unsigned int i = 0; i < NEXT_NR; i++)
		__atomic_store_n(&next[i], dlsym(RTLD_NEXT, names[i]), __ATOMIC_RELAXED);
	mir_files_init();
}

/* ---- open -----------------------------------------------------------------------------------
 */

typedef int (*open_fn)(const char *, int, ...);
typedef int (*openat_fn)(int, const char *, int, ...);

/* The device's number; -1: another file. */
static int device_of(const char *path)
{
	static const char name[] = "/dev/hmm_dmirror";
	unsigned long n = sizeof(name) - 1;

	if (!path || strncmp(path, name, n) != 0 || path[n] < '0' || path[n] > '1' ||
	    path[n + 1])
		return -1;
	return path[n] - '0';
}

static int open_device(int device, int flags)
{
	int saved = errno;
	int ret = mir_file_open((unsigned int)device, flags & O_CLOEXEC);

	errno = ret < 0 ? -ret : saved;
	return ret < 0 ? -1 : ret;
}

static int open_by(enum next which, const char *path, int flags, mode_t mode)
{
	int device = device_of(path);

	if (device >= 0)
		return open_device(device, flags);
	if (NEXT(which, open_fn))
		return NEXT(which, open_fn)(path, flags, mode);
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

static int openat_by(enum next which, int dir, const char *path, int flags, mode_t mode)
{
	int device = device_of(path);

	if (device >= 0)
		return open_device(device, flags);
	if (NEXT(which, openat_fn))
		return NEXT(which, openat_fn)(dir, path, flags, mode);
	return (int)syscall(SYS_openat, dir, path, flags, mode);
}

/* There is a mode only where a file may be created. */
#define MODE(flags)                                                        \
	({                                                                 \
		mode_t mode_ = 0;                                          \
                                                                           \
		if ((flags)&O_CREAT || ((flags)&O_TMPFILE) == O_TMPFILE) { \
			va_list ap_;                                       \
                                                                           \
			va_start(ap_, flags);                              \
			mode_ = va_arg(ap_, mode_t);                       \
			va_end(ap_);                                       \
		}                                                          \
		mode_;                                                     \
	})

EXPORT int open(const char *path, int flags, ...);
EXPORT int open(const char *path, int flags, ...)
{
	return open_by(NEXT_OPEN, path, flags, MODE(flags));
}

EXPORT int open64(const char *path, int flags, ...);
EXPORT int open64(const char *path, int flags, ...)
{
	return open_by(NEXT_OPEN64, path, flags, MODE(flags));
}

EXPORT int openat(int dir, const char *path, int flags, ...);
EXPORT int openat(int dir, const char *path, int flags, ...)
{
	return openat_by(NEXT_OPENAT, dir, path, flags, MODE(flags));
}

EXPORT int openat64(int dir, const char *path, int flags, ...);
EXPORT int openat64(int dir, const char *path, int flags, ...)
{
	return openat_by(NEXT_OPENAT64, dir, path, flags, MODE(flags));
}

/* What the fortified open() calls: it refuses flags that want a mode. */
EXPORT int __open_2(const char *path, int flags);
EXPORT int __open_2(const char *path, int flags)
{
	return open_by(NEXT_OPEN_2, path, flags, 0);
}

EXPORT int __open64_2(const char *path, int flags);
EXPORT int __open64_2(const char *path, int flags)
{
	return open_by(NEXT_OPEN64_2, path, flags, 0);
}

EXPORT int __openat_2(int dir, const char *path, int flags);
EXPORT int __openat_2(int dir, const char *path, int flags)
{
	return openat_by(NEXT_OPENAT_2, dir, path, flags, 0);
}

EXPORT int __openat64_2(int dir, const char *path, int flags);
EXPORT int __openat64_2(int dir, const char *path, int flags)
{
	return openat_by(NEXT_OPENAT64_2, dir, path, flags, 0);
}

/* ---- what is open
 * ---------------------------------------------------------------------------- */

typedef int (*ioctl_fn)(int, unsigned long, ...);
typedef void *(*mmap_fn)(void *, size_t, int, int, int, off_t);
typedef int (*fd_fn)(int);
typedef int (*dup2_fn)(int, int);
typedef int (*dup3_fn)(int, int, int);

/* Answered by the kernel for every file (FIOCLEX and such are of type 'T'). */
static bool kernels_own(unsigned long request)
{
	return _IOC_TYPE(request) == 'T';
}

/* A child that has inherited one has none of its own: only the type tells that it could be. */
static bool could_be_ours(unsigned long request)
{
	return !kernels_own(request) && (_IOC_TYPE(request) == 'H' || mir_files_any());
}

EXPORT int ioctl(int fd, unsigned long request, ...);
EXPORT int ioctl(int fd, unsigned long request, ...)
{
	int ret, saved = errno;
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (could_be_ours(request)) {
		ret = mir_file_ioctl(fd, (unsigned int)request, arg);
		errno = saved;
		if (ret != -ENOTTY) {
			if (ret)
				errno = -ret;
			return ret ? -1 : 0;
		}
	}
	if (NEXT(NEXT_IOCTL, ioctl_fn))
		return NEXT(NEXT_IOCTL, ioctl_fn)(fd, request, arg);
	return (int)syscall(SYS_ioctl, fd, request, arg);
}

static void *mmap_next(enum next which, void *addr, size_t len, int prot, int flags, int fd,
		       off_t offset)
{
	if (NEXT(which, mmap_fn))
		return NEXT(which, mmap_fn)(addr, len, prot, flags, fd, offset);
	return (void *)syscall(SYS_mmap, addr, len, prot, flags, fd, offset);
}

/* Zeros, and they are there at once: Linux's device puts its pages in when it is mapped. */
static void *mmap_by(enum next which, void *addr, size_t len, int prot, int flags, int fd,
		     off_t offset)
{
	int ret = -ENOTTY, saved = errno;
	void *p;

	if (fd >= 0 && !(flags & MAP_ANONYMOUS) && mir_files_any()) {
		ret = mir_file_extend(fd, (unsigned long)offset + len);
		errno = saved;
		if (ret && ret != -ENOTTY) {
			errno = -ret;
			return (void *)-1;
		}
	}
	p = mmap_next(which, addr, len, prot, flags, fd, offset);
	if (!ret && p != (void *)-1) {
		syscall(SYS_madvise, p, len, MADV_POPULATE_READ);
		errno = saved;
	}
	return p;
}

static void *wrap_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	return mmap_by(NEXT_MMAP, addr, len, prot, flags, fd, offset);
}
EXPORT_AS(mmap, wrap_mmap);

static void *wrap_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	return mmap_by(NEXT_MMAP64, addr, len, prot, flags, fd, offset);
}
EXPORT_AS(mmap64, wrap_mmap64);

EXPORT int close(int fd);
EXPORT int close(int fd)
{
	int saved = errno;

	if (mir_files_any()) {
		mir_file_closing(fd);
		errno = saved;
	}
	if (NEXT(NEXT_CLOSE, fd_fn))
		return NEXT(NEXT_CLOSE, fd_fn)(fd);
	return (int)syscall(SYS_close, fd);
}

static int dupped(int old, int fd)
{
	int saved = errno;

	if (fd >= 0 && mir_files_any()) {
		mir_file_dup(old, fd);
		errno = saved;
	}
	return fd;
}

EXPORT int dup(int old);
EXPORT int dup(int old)
{
	if (NEXT(NEXT_DUP, fd_fn))
		return dupped(old, NEXT(NEXT_DUP, fd_fn)(old));
	return (int)syscall(SYS_dup, old);
}

/* What @fd was before is noticed when it is looked for (files.c, find and sweep). */
EXPORT int dup2(int old, int fd);
EXPORT int dup2(int old, int fd)
{
	if (NEXT(NEXT_DUP2, dup2_fn))
		return dupped(old, NEXT(NEXT_DUP2, dup2_fn)(old, fd));
	return (int)syscall(SYS_dup3, old, fd, 0);
}

EXPORT int dup3(int old, int fd, int flags);
EXPORT int dup3(int old, int fd, int flags)
{
	if (NEXT(NEXT_DUP3, dup3_fn))
		return dupped(old, NEXT(NEXT_DUP3, dup3_fn)(old, fd, flags));
	return (int)syscall(SYS_dup3, old, fd, flags);
}
