// SPDX-License-Identifier: MIT
/* descriptor.c - the userfaultfd: opened, known again, asked. */
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "arch/syscall.h"
#include "source/userfaultfd/userfaultfd.h"

#define WANTED                                                                             \
	(UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE | \
	 HMMU_UFFD_WP_UNPOPULATED | HMMU_UFFD_WP_ASYNC)

/* The signal that this file would send, if it were asked to send any: none other has it,
 * and it is read faster than the inode. */
#define FILE_MARK 63

#if defined(HMMU_PLANT) || defined(HMMU_SCHED)
enum hmmu_uffd_plant hmmu_uffd_planted;
void (*hmmu_uffd_gate)(enum hmmu_uffd_gate gate, uint64_t start, uint64_t end);
unsigned int hmmu_uffd_read_max = UFFD_READ_MAX;
#endif
#ifdef HMMU_SCHED
uint64_t hmmu_uffd_room = UFFD_RING - 1;
#endif

/* For whom touches inside system calls, too, would be told of: what devmem/ needs. */
static int new_userfaultfd(struct hmmu_uffd *u, const char **why)
{
	long fd = hmmu_syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	u->user_only = fd < 0;
	if (fd == -EPERM || fd == -EACCES)
		fd = hmmu_syscall(SYS_userfaultfd,
				  O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	switch (fd) {
	case -EPERM:
	case -EACCES:
		*why = "the system refuses userfaultfd: a container's filter (its seccomp "
		       "profile must allow userfaultfd) or a security policy";
		break;
	case -ENOSYS:
		*why = "this kernel has no userfaultfd, or a container's filter hides it";
		break;
	case -EINVAL:
		*why = "this kernel's userfaultfd is too old (Linux 6.7 is needed)";
		break;
	case -EMFILE:
	case -ENFILE:
		*why = "no descriptor is left";
		break;
	default:
		if (fd < 0)
			*why = "userfaultfd failed";
	}
	return (int)fd;
}

/* A number that a program hardly uses: what it opens after a careless closefrom() gets
 * the low ones. */
static int lift(int fd)
{
	struct rlimit limit = {0, 0};
	long high, want = 1000;

	hmmu_syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit);
	if ((long)limit.rlim_cur > 0 && (long)limit.rlim_cur < want + 24)
		want = (long)limit.rlim_cur - 24;
	if (want <= fd)
		return fd;
	high = hmmu_syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, want);
	if (high < 0)
		return fd;
	hmmu_syscall(SYS_close, fd);
	return (int)high;
}

static long greet(int fd, uint64_t features)
{
	struct uffdio_api api = {.api = UFFD_API, .features = features};

	return hmmu_syscall(SYS_ioctl, fd, UFFDIO_API, &api);
}

int hmmu_uffd_open(struct hmmu_uffd *u, const char **why)
{
	struct stat st;
	int fd = new_userfaultfd(u, why);
	long ret;

	if (fd < 0)
		return fd;
	u->moves = 1;
	if (!greet(fd, WANTED | HMMU_UFFD_MOVE))
		goto known;
	u->moves = 0;
	if (greet(fd, WANTED)) {
		hmmu_syscall(SYS_close, fd);
		*why = "this kernel's userfaultfd has no WP_ASYNC (Linux 6.7 is needed)";
		return -EOPNOTSUPP;
	}
known:
	fd = lift(fd);
	/* Without both it would not be known again. */
	ret = hmmu_syscall(SYS_fcntl, fd, F_SETSIG, FILE_MARK);
	if (!ret)
		ret = hmmu_syscall(SYS_fstat, fd, &st);
	if (ret) {
		hmmu_syscall(SYS_close, fd);
		*why = "the system refuses fcntl or fstat of the userfaultfd";
		return (int)ret;
	}
	u->dev = st.st_dev;
	u->ino = st.st_ino;
	u->fd = fd;
	return 0;
}

bool hmmu_uffd_ours(const struct hmmu_uffd *u, int fd)
{
	struct stat st;
	long ret = hmmu_syscall(SYS_fstat, fd, &st);

	/* An open file of which it cannot be known: by its mark. */
	if (ret && ret != -EBADF)
		return hmmu_syscall(SYS_fcntl, fd, F_GETSIG) == FILE_MARK;
	return !ret && st.st_dev == u->dev && st.st_ino == u->ino;
}

/*
 * A write protection of length 0: refused (EINVAL) if every event has been read, EAGAIN
 * otherwise, which is looked at first. No lock is taken. Epoll and urandom answer EINVAL,
 * too: the mark tells that it was this file.
 */
int hmmu_uffd_probe(struct hmmu_uffd *u)
{
	struct uffdio_writeprotect nothing = {.range = {.start = 0, .len = 0}};
	long ret;

	if (UFFD_PLANTED(NO_PROBE))
		return 0;
	ret = hmmu_syscall(SYS_ioctl, u->fd, UFFDIO_WRITEPROTECT, &nothing);
	if (__builtin_expect((ret == -EINVAL || ret == -EAGAIN) &&
				     hmmu_syscall(SYS_fcntl, u->fd, F_GETSIG) == FILE_MARK,
			     1))
		return ret == -EAGAIN ? -EAGAIN : 0;
	/* A vfork child is in our memory with a table of its own: what it closed is not
	 * lost to us. */
	if (hmmu_syscall(SYS_getpid) == u->pid)
		hmmu_uffd_lose(u);
	return -ENODEV;
}

bool hmmu_uffd_untold(int fd)
{
	struct uffdio_writeprotect nothing = {.range = {.start = 0, .len = 0}};

	return hmmu_syscall(SYS_ioctl, fd, UFFDIO_WRITEPROTECT, &nothing) == -EAGAIN;
}

int hmmu_uffd_register(int fd, uint64_t start, uint64_t end)
{
	struct uffdio_register reg = {
		.range = {.start = start, .len = end - start},
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	return (int)hmmu_syscall(SYS_ioctl, fd, UFFDIO_REGISTER, &reg);
}

int hmmu_uffd_unregister(int fd, uint64_t start, uint64_t end)
{
	struct uffdio_range range = {.start = start, .len = end - start};

	return (int)hmmu_syscall(SYS_ioctl, fd, UFFDIO_UNREGISTER, &range);
}

void hmmu_uffd_pause(long nanoseconds)
{
	const struct timespec ts = {0, nanoseconds};

	hmmu_syscall(SYS_nanosleep, &ts, NULL);
}
