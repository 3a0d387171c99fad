// SPDX-License-Identifier: MIT
/*
 * kinds.c - see kinds.h.
 *
 * Not failed, as the kernel never does: getpid, gettid, getuid, sched_yield, setsid,
 * rt_sigprocmask and FUTEX_WAKE with good arguments, tgkill's signal 0 but for a policy.
 *
 * Nor UFFDIO_WAKE of pages of the process.
 *
 * An answer that would be a lie about the world is no failure either: NOTIF_ID_VALID's and
 * NOTIF_SEND's ENOENT (the caller has died), PROCMAP_QUERY's ENOENT (nothing is mapped
 * there), F_GETSIG's EBADF (the descriptor is closed), the end of a list in /proc before it
 * has ended; UFFDIO_MOVE's ENOENT and EEXIST (nothing is there, something is); msync's
 * EBUSY (something is mlocked).
 *
 * Not for ever, since then the kernel would not do its part and whoever waits for it waits
 * for ever: an event that cannot be read keeps the caller of munmap() in the kernel; a
 * notification that cannot be received, or not be answered, likewise.
 */
#include "kinds.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>

#include "arch/syscall.h"
#include "inject.h"
#include "source/userfaultfd/abi.h"

#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

#define E(...)              \
	{                   \
		__VA_ARGS__ \
	}
const struct kind_info kinds[KIND_NR] = {
#define X(id, text, some, all) [KIND_##id] = {.name = text, .once = some, .ever = all},
	KINDS(X)
#undef X
};

unsigned int kind_errors(enum kind kind, bool ever)
{
	const int *e = ever ? kinds[kind].ever : kinds[kind].once;
	unsigned int n = 0;

	while (n < KIND_ERRORS && e[n])
		n++;
	return n;
}

static enum kind of_ioctl(unsigned long request)
{
	switch (request) {
	case UFFDIO_API:
		return KIND_UFFD_API;
	case UFFDIO_REGISTER:
		return KIND_REGISTER;
	case UFFDIO_UNREGISTER:
		return KIND_UNREGISTER;
	case UFFDIO_WRITEPROTECT:
		return KIND_PROBE;
	case HMMU_UFFDIO_MOVE:
		return KIND_MOVE;
	case UFFDIO_COPY:
		return KIND_COPY;
	case UFFDIO_ZEROPAGE:
		return KIND_ZERO;
	case UFFDIO_WAKE:
		return KIND_SURE;
	case HMMU_PAGEMAP_SCAN:
		return KIND_SCAN;
	case HMMU_PROCMAP_QUERY:
		return KIND_QUERY;
	case SECCOMP_IOCTL_NOTIF_RECV:
		return KIND_RECV;
	case SECCOMP_IOCTL_NOTIF_SEND:
		return KIND_SEND;
	case SECCOMP_IOCTL_NOTIF_ID_VALID:
		return KIND_ID_VALID;
	default:
		return KIND_SET_FLAGS;
	}
}

static enum kind of_app(long nr)
{
	switch (nr) {
	case SYS_munmap:
		return KIND_APP_MUNMAP;
	case SYS_mmap:
		return KIND_APP_MMAP;
	case SYS_mremap:
		return KIND_APP_MREMAP;
	case SYS_madvise:
	case SYS_process_madvise:
		return KIND_APP_MADVISE;
	case SYS_mprotect:
	case SYS_pkey_mprotect:
		return KIND_APP_MPROTECT;
	case SYS_ftruncate:
	case SYS_truncate:
	case SYS_fallocate:
		return KIND_APP_FILE;
	case SYS_shmdt:
	case SYS_shmat:
		return KIND_APP_SHM;
	default:
		return KIND_SURE;
	}
}

static enum kind of_fcntl(long command)
{
	if (command == F_DUPFD_CLOEXEC)
		return KIND_DUPFD;
	return command == F_SETSIG ? KIND_SETSIG : KIND_SURE;
}

static enum kind of_futex(long op)
{
	op &= FUTEX_CMD_MASK;
	return op == FUTEX_WAIT || op == FUTEX_WAIT_BITSET ? KIND_FUTEX : KIND_SURE;
}

static const struct {
	short nr, kind;
} plain[] = {
	{SYS_userfaultfd, KIND_USERFAULTFD},
	{SYS_mmap, KIND_MMAP},
	{SYS_munmap, KIND_MUNMAP},
	{SYS_mprotect, KIND_MPROTECT},
	{SYS_madvise, KIND_MADVISE},
	{SYS_mlock2, KIND_MLOCK},
	{SYS_munlock, KIND_MUNLOCK},
	{SYS_openat, KIND_OPENAT},
	{SYS_openat2, KIND_OPENAT},
	{SYS_pread64, KIND_READ},
	{SYS_close, KIND_CLOSE},
	{SYS_fstat, KIND_STAT},
	{SYS_statx, KIND_STAT},
	{SYS_fstatfs, KIND_STAT},
	{SYS_prlimit64, KIND_PRLIMIT},
	{HMMU_SYS_POLL, KIND_POLL},
	{SYS_nanosleep, KIND_NANOSLEEP},
	{SYS_unshare, KIND_UNSHARE},
	{SYS_close_range, KIND_CLOSE_RANGE},
	{SYS_membarrier, KIND_MEMBARRIER},
	{SYS_seccomp, KIND_SECCOMP},
	{SYS_prctl, KIND_PRCTL},
	{SYS_kcmp, KIND_KCMP},
	{SYS_tgkill, KIND_TGKILL},
	{SYS_rt_tgsigqueueinfo, KIND_ASK},
	{SYS_getdents64, KIND_GETDENTS},
	{SYS_lseek, KIND_LSEEK},
	{SYS_process_vm_readv, KIND_READV},
	{SYS_process_vm_writev, KIND_READV},
	{SYS_pipe2, KIND_PIPE},
	{SYS_clone, KIND_CLONE},
	{SYS_wait4, KIND_WAIT4},
	{SYS_shmctl, KIND_SHMCTL},
	{SYS_pidfd_open, KIND_PIDFD},
	{SYS_pidfd_getfd, KIND_PIDFD},
	{SYS_faccessat, KIND_OTHER},
	{SYS_readlinkat, KIND_OTHER},
};

enum kind kind_of(long nr, const long args[6], bool app)
{
	if (app)
		return of_app(nr);
	switch (nr) {
	case SYS_ioctl:
		return of_ioctl((unsigned long)args[1]);
	case SYS_futex:
		return of_futex(args[1]);
	case SYS_fcntl:
		return of_fcntl(args[1]);
	case SYS_read:
		return args[2] == sizeof(struct uffd_msg) ? KIND_READ_EVENT : KIND_READ;
	default:
		break;
	}
	for (unsigned int i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		if (plain[i].nr == nr)
			return (enum kind)plain[i].kind;
	return KIND_SURE;
}
