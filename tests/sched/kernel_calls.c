// SPDX-License-Identifier: MIT
/* kernel_calls.c - which system call goes where: see kernel.h. */
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef F_SETSIG
#define F_SETSIG 10
#define F_GETSIG 11
#endif

#define INODE 77

int kernel_table(void)
{
	int self = sched_self();

	if (kernel_self()->vforked)
		return 2;
	return kernel.unshared && (self == KERNEL_READER || self == KERNEL_CENSUS);
}

static enum kernel_number *number(void)
{
	return &kernel.table[kernel_table()];
}

static long close_number(void)
{
	enum kernel_number was = *number();

	if (was == NUMBER_CLOSED)
		return -EBADF;
	*number() = NUMBER_CLOSED;
	for (int i = 0; i < 3; i++)
		if (kernel.table[i] == NUMBER_UFFD)
			return 0;
	if (was == NUMBER_UFFD && !kernel.child_holds)
		kernel_release();
	return 0;
}

void kernel_take_number(void)
{
	/* Open waits for the reader; here it was left to the schedule. */
	while (!hmmu_load_seqcst(&kernel.polled))
		hmmu_cpu_relax();
	close_number();
	kernel_point();
	*number() = NUMBER_PIPE;
	hmmu_add_seqcst(&kernel.wake, 1); /* who polls the number in this table is not asleep */
}

static long read_number(long *a)
{
	if (*number() == NUMBER_PIPE)
		sched_fail("the reader ate bytes of the program's pipe");
	if (*number() == NUMBER_CLOSED)
		return -EBADF;
	return kernel_read_events((struct uffd_msg *)a[1], (size_t)a[2]);
}

static long do_fstat(struct stat *st)
{
	if (*number() == NUMBER_CLOSED)
		return -EBADF;
	st->st_dev = 7;
	st->st_ino = *number() == NUMBER_UFFD ? INODE : 1;
	return 0;
}

static long do_fcntl(long cmd, long arg)
{
	if (cmd == F_DUPFD_CLOEXEC)
		return KERNEL_FD;
	if (*number() != NUMBER_UFFD)
		return *number() == NUMBER_PIPE && cmd == F_GETSIG ? 0 : -EBADF;
	if (cmd == F_SETSIG)
		kernel.mark = (int)arg;
	return cmd == F_GETSIG ? kernel.mark : 0;
}

static long do_ioctl(unsigned long request, void *arg)
{
	kernel_point();
	if (*number() == NUMBER_CLOSED)
		return -EBADF;
	if (*number() == NUMBER_PIPE)
		return -ENOTTY;
	return kernel_ioctl(request, arg);
}

/* Calls on the userfaultfd's number. */
static long of_number(long nr, const long *a)
{
	switch (nr) {
	case SYS_ioctl:
		return do_ioctl((unsigned long)a[1], (void *)a[2]);
	case SYS_read:
		return read_number((long *)a);
	case SYS_fstat:
		return do_fstat((struct stat *)a[1]);
	case SYS_fcntl:
		return do_fcntl(a[1], a[2]);
	case SYS_close:
		kernel_point();
		return close_number();
	default:
		return -ENOSYS;
	}
}

static long open_uffd(void)
{
	kernel.exists = true;
	kernel.table[0] = NUMBER_UFFD;
	return KERNEL_FD;
}

static long do_poll(const struct pollfd *p)
{
	if (p->fd != KERNEL_FD)
		return -ENOSYS;
	hmmu_store_seqcst(&kernel.polled, 1);
	if (*number() != NUMBER_UFFD)
		return 1; /* bytes, or POLLNVAL */
	return kernel_poll();
}

static long own_table(void)
{
	kernel.table[1] = kernel.table[0];
	kernel.unshared = true;
	return 0;
}

/* Of all threads alike. */
static long others(long nr, const long *a)
{
	switch (nr) {
	case SYS_userfaultfd:
		return open_uffd();
	case HMMU_SYS_POLL:
		return do_poll((const struct pollfd *)a[0]);
	case SYS_unshare:
		return own_table();
	case SYS_close_range:
	case SYS_rt_sigprocmask:
	case SYS_membarrier:
	case SYS_prctl:
		return 0;
	case SYS_nanosleep:
	case SYS_sched_yield:
		hmmu_cpu_relax();
		return 0;
	case SYS_clock_gettime:
		*(struct timespec *)a[1] = (struct timespec){1, sched_step_count()};
		return 0;
	case SYS_getpid:
		return kernel_self()->vforked ? 43 : 42;
	default:
		return -ENOSYS;
	}
}

long kernel_call(long nr, const long args[6])
{
	long ret = kernel_change(nr, args);

	if (ret == -ENOSYS)
		ret = kernel_proc(nr, args);
	if (ret == -ENOSYS && args[0] == KERNEL_FD)
		ret = of_number(nr, args);
	if (ret == -ENOSYS)
		ret = others(nr, args);
	if (ret != -ENOSYS)
		return ret;
	/* The library's own memory, and what is of no matter here. */
	return hmmu_syscall6(nr, args[0], args[1], args[2], args[3], args[4], args[5]);
}
