/* SPDX-License-Identifier: MIT */
/* kinds.h - what can fail, and how: kinds.c has the errnos, as the manual allows them. */
#ifndef HMMU_TEST_KINDS_H
#define HMMU_TEST_KINDS_H

#include <stdbool.h>

/* name, errors once, errors for ever (0 ends; none: it fails only once, kinds.c says why) */
#define KINDS(X)                                                                            \
	X(USERFAULTFD, "userfaultfd", E(EPERM, ENOSYS, EMFILE, ENOMEM, EINVAL),             \
	  E(EPERM, ENOSYS))                                                                 \
	X(UFFD_API, "UFFDIO_API", E(EINVAL, EPERM), E(EINVAL))                              \
	X(REGISTER, "UFFDIO_REGISTER", E(EBUSY, ENOMEM, EINVAL, EPERM), E(EBUSY, ENOMEM))   \
	X(UNREGISTER, "UFFDIO_UNREGISTER", E(ENOMEM, EINVAL), E(ENOMEM, EINVAL))            \
	X(PROBE, "UFFDIO_WRITEPROTECT", E(EAGAIN, EPERM), E(EPERM))                         \
	X(MOVE, "UFFDIO_MOVE", E(EAGAIN, EBUSY, ENOMEM), E(ENOMEM, EBUSY))                  \
	X(COPY, "UFFDIO_COPY", E(ENOMEM, EAGAIN), E(ENOMEM))                                \
	X(ZERO, "UFFDIO_ZEROPAGE", E(ENOMEM, EAGAIN), E(ENOMEM))                            \
	X(SCAN, "PAGEMAP_SCAN", E(EINTR, ENOMEM, ENOTTY, EINVAL), E(ENOMEM, ENOTTY))        \
	X(QUERY, "PROCMAP_QUERY", E(ENOTTY, EINVAL, ESRCH), E(ENOTTY, ESRCH))               \
	X(RECV, "NOTIF_RECV", E(EINTR, ENOENT, EBADF), E(0))                                \
	X(SEND, "NOTIF_SEND", E(EINTR), E(0))                                               \
	X(ID_VALID, "NOTIF_ID_VALID", E(EINTR), E(0))                                       \
	X(SET_FLAGS, "NOTIF_SET_FLAGS", E(EINVAL, ENOTTY), E(EINVAL))                       \
	X(MMAP, "mmap", E(ENOMEM, EPERM, EAGAIN), E(ENOMEM))                                \
	X(MUNMAP, "munmap", E(ENOMEM, EINVAL), E(ENOMEM))                                   \
	X(MPROTECT, "mprotect", E(EACCES, ENOMEM), E(EACCES, ENOMEM))                       \
	X(MADVISE, "madvise", E(EINVAL, ENOMEM), E(EINVAL, ENOMEM))                         \
	X(MLOCK, "mlock2", E(ENOMEM, EPERM, EAGAIN), E(ENOMEM, EPERM))                      \
	X(MUNLOCK, "munlock", E(ENOMEM), E(ENOMEM))                                         \
	X(FUTEX, "futex wait", E(EINTR, EAGAIN), E(EINTR))                                  \
	X(OPENAT, "openat", E(EMFILE, EACCES, ENOENT, ENOMEM), E(EMFILE, EACCES))           \
	X(READ, "read", E(EIO, HOW(HOW_SHORT), EINTR, ENOMEM), E(EIO))                      \
	X(READ_EVENT, "read of an event", E(EAGAIN, EINTR), E(0))                           \
	X(CLOSE, "close", E(HOW(HOW_AFTER)), E(HOW(HOW_AFTER)))                             \
	X(DUPFD, "F_DUPFD", E(EMFILE, EINVAL), E(EMFILE))                                   \
	X(SETSIG, "F_SETSIG", E(EINVAL, EPERM), E(EINVAL))                                  \
	X(STAT, "fstat, statx", E(ENOMEM, EIO, ENOSYS), E(ENOMEM, ENOSYS))                  \
	X(PRLIMIT, "prlimit64", E(EPERM, ENOSYS), E(EPERM))                                 \
	X(POLL, "poll", E(EINTR, ENOMEM), E(ENOMEM))                                        \
	X(NANOSLEEP, "nanosleep", E(EINTR), E(EINTR))                                       \
	X(UNSHARE, "unshare", E(EPERM, ENOMEM), E(EPERM, ENOMEM))                           \
	X(CLOSE_RANGE, "close_range", E(ENOSYS, EPERM, ENOMEM), E(ENOSYS))                  \
	X(MEMBARRIER, "membarrier", E(ENOSYS, EPERM, EINVAL), E(ENOSYS, EPERM))             \
	X(SECCOMP, "seccomp", E(EBUSY, EACCES, EINVAL, ENOSYS, ENOMEM), E(EACCES, EBUSY))   \
	X(PRCTL, "prctl", E(EINVAL, EPERM), E(EINVAL, EPERM))                               \
	X(KCMP, "kcmp", E(EPERM, ENOSYS), E(EPERM, ENOSYS))                                 \
	X(TGKILL, "tgkill", E(EPERM), E(EPERM))                                             \
	X(ASK, "rt_tgsigqueueinfo", E(EAGAIN, EPERM), E(EAGAIN))                            \
	X(GETDENTS, "getdents64", E(ENOMEM, EIO), E(0))                                     \
	X(LSEEK, "lseek", E(EINVAL), E(0))                                                  \
	X(READV, "process_vm_readv, _writev", E(EPERM, ENOMEM), E(EPERM))                   \
	X(PIPE, "pipe2", E(EMFILE, ENFILE), E(EMFILE))                                      \
	X(CLONE, "clone", E(EAGAIN, ENOMEM), E(EAGAIN))                                     \
	X(WAIT4, "wait4", E(EINTR), E(0))                                                   \
	X(SHMCTL, "shmctl", E(EACCES, ENOMEM), E(EACCES))                                   \
	X(PIDFD, "pidfd_open, _getfd", E(EMFILE, EPERM), E(EPERM))                          \
	X(OTHER, "other", E(ENOSYS, EPERM, ENOMEM), E(ENOSYS, EPERM))                       \
	X(APP_MUNMAP, "app munmap", E(ENOMEM, EINVAL), E(ENOMEM))                           \
	X(APP_MMAP, "app mmap", E(ENOMEM, EPERM), E(ENOMEM))                                \
	X(APP_MREMAP, "app mremap", E(ENOMEM, EFAULT), E(ENOMEM))                           \
	X(APP_MADVISE, "app madvise", E(EAGAIN, ENOMEM), E(EAGAIN))                         \
	X(APP_MPROTECT, "app mprotect", E(EACCES, ENOMEM), E(ENOMEM))                       \
	X(APP_FILE, "app ftruncate, fallocate", E(EINTR, EIO, ENOSPC), E(EIO))              \
	X(APP_SHM, "app shmdt", E(EINVAL, ENOMEM), E(EINVAL))                               \
	X(THREAD, "pthread_create", E(EAGAIN, EPERM), E(EAGAIN, EPERM))                     \
	X(ATFORK, "pthread_atfork", E(ENOMEM), E(ENOMEM))                                   \
	X(SIGACTION, "sigaction", E(EINVAL), E(EINVAL))                                     \
	X(DLOPEN, "dlopen", E(ENOMEM), E(ENOMEM))                                           \
	X(DLSYM, "dlsym", E(ENOENT), E(ENOENT))                                             \
	X(DLADDR, "dladdr", E(ENOENT), E(ENOENT))                                           \
	X(UNAME, "uname", E(EFAULT), E(EFAULT))                                             \
	X(ALLOC, "malloc, calloc", E(ENOMEM), E(ENOMEM))                                    \
	X(MEMFD, "memfd_create", E(EMFILE, ENOMEM), E(ENOMEM))                              \
	X(OPEN, "open, fopen", E(EMFILE, EACCES, ENOSPC), E(EACCES))                        \
	X(FTRUNCATE, "ftruncate", E(ENOSPC, EINTR), E(ENOSPC))                              \
	X(RING_SETUP, "io_uring setup", E(ENOMEM, EPERM, ENOSYS, EMFILE), E(EPERM, ENOSYS)) \
	X(RING_REGISTER, "io_uring register", E(ENOMEM, EINVAL, EPERM), E(ENOMEM, EPERM))   \
	X(RING_UPDATE, "io_uring update", E(ENOMEM, EFAULT, EINVAL), E(ENOMEM, EFAULT))     \
	X(RING_SUBMIT, "io_uring submit", E(EAGAIN, EINTR, ENOMEM, EBUSY), E(ENOMEM))       \
	X(RING_WAIT, "io_uring wait", E(EINTR, EAGAIN), E(0))                               \
	X(FWRITE, "fwrite", E(ENOSPC, EIO), E(ENOSPC, EDQUOT))                              \
	X(FCLOSE, "fclose", E(ENOSPC, EIO), E(ENOSPC))                                      \
	X(RENAME, "rename", E(ENOSPC, EACCES), E(EACCES))

enum kind {
#define X(id, name, once, ever) KIND_##id,
	KINDS(X)
#undef X
		KIND_NR,
	KIND_SURE = KIND_NR, /* cannot fail */
};

#define KIND_ERRORS 6
#define HOW(how) (0x1000 + (how)) /* instead of an errno: enum fault_how */

struct kind_info {
	const char *name;
	int once[KIND_ERRORS];
	int ever[KIND_ERRORS];
};
extern const struct kind_info kinds[KIND_NR];

/* Of a system call of the library; @app: one that it passes on for the application. */
enum kind kind_of(long nr, const long args[6], bool app);
unsigned int kind_errors(enum kind kind, bool ever);

#endif /* HMMU_TEST_KINDS_H */
