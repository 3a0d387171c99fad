// SPDX-License-Identifier: MIT
/* check.c - after close nothing is left behind. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "inject.h"
#include "life.h"
#include "wraps.h"
#include "arch/syscall.h"
#include "source/userfaultfd/abi.h"

#define FDS 2048
#define SIGNALS 65

static bool fd_before[FDS];
static unsigned int tasks_before, handlers_before;

static void list_fds(bool *set)
{
	for (int fd = 0; fd < FDS; fd++)
		set[fd] = fcntl(fd, F_GETFD) >= 0;
}

static unsigned int count_tasks(void)
{
	DIR *dir = opendir("/proc/self/task");
	unsigned int n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

static unsigned int count_handlers(void)
{
	unsigned int n = 0;

	for (int sig = 1; sig < SIGNALS; sig++) {
		struct sigaction sa;

		if (!__real_sigaction(sig, NULL, &sa))
			n += sa.sa_handler != SIG_DFL && sa.sa_handler != SIG_IGN;
	}
	return n;
}

void check_begin(void)
{
	list_fds(fd_before);
	tasks_before = count_tasks();
	handlers_before = count_handlers();
}

static void check_fds(void)
{
	bool now[FDS];

	list_fds(now);
	for (int fd = 0; fd < FDS; fd++) {
		char name[128] = "", path[32];

		if (now[fd] == fd_before[fd])
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		if (readlink(path, name, sizeof(name) - 1) < 0)
			name[0] = '\0';
		broken("descriptors: %d (%s) is left %s", fd, name,
		       now[fd] ? "open" : "closed");
	}
}

/* Threads leave in their own time. */
static void check_tasks(bool stay)
{
	unsigned int n = count_tasks();

	for (int i = 0; n != tasks_before && !stay && i < 2000; i++) {
		usleep(500);
		n = count_tasks();
	}
	if (n != tasks_before && !stay)
		broken("threads: %u, and %u before", n - 2, tasks_before - 2);
	if (fault_threads())
		broken("threads: %d neither joined nor detached", fault_threads());
}

static void check_children(void)
{
	int status;
	pid_t pid = waitpid(-1, &status, WNOHANG | __WALL);

	if (pid > 0)
		broken("children: %d is left, dead", (int)pid);
}

/* Registered with nobody: a userfaultfd of the program's may have it. */
void check_unregistered(void *at, size_t size)
{
	struct uffdio_register reg = {
		.range = {(uint64_t)at, size},
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	struct uffdio_api api = {.api = UFFD_API};
	int fd = (int)hmmu_syscall6(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | 1, 0, 0, 0, 0, 0);

	if (fd < 0 || hmmu_syscall6(SYS_ioctl, fd, (long)UFFDIO_API, (long)&api, 0, 0, 0))
		goto out;
	if (hmmu_syscall6(SYS_ioctl, fd, (long)UFFDIO_REGISTER, (long)&reg, 0, 0, 0) == -EBUSY)
		broken("registrations: %p is registered still", at);
	hmmu_syscall6(SYS_ioctl, fd, (long)UFFDIO_UNREGISTER, (long)&reg.range, 0, 0, 0);
out:
	if (fd >= 0)
		close(fd);
}

/* Of a want, not of a policy, which may be asked once only. */
static bool passes(int error)
{
	return error >= 0x1000 || error == ENOMEM || error == EMFILE || error == EAGAIN ||
	       error == EINTR || error == EIO;
}

static void check_memory(void)
{
	const struct fault_normal *normal = &fault->normal;

	fault_maps(&fault->now.maps, &fault->now.kilobytes);
	if (normal->maps &&
	    (fault->now.maps > normal->maps || fault->now.kilobytes > normal->kilobytes))
		broken("memory: %u mappings, %u KiB are held, %u, %u without the failure",
		       fault->now.maps, fault->now.kilobytes, normal->maps, normal->kilobytes);
	if (normal->maps && fault->now.cells && fault->now.cells != normal->cells &&
	    passes(fault->error))
		broken("second: it watches otherwise than without the failure");
}

void check_end(unsigned int sources, struct life *life)
{
	/* The filter stays for ever, and who serves it. */
	bool seccomp = sources != ~0U && (sources & HMMU_SOURCE_SECCOMP);
	bool uffd = sources == ~0U || (sources & HMMU_SOURCE_USERFAULTFD);

	check_fds();
	check_tasks(seccomp);
	check_children();
	/* The census's question: one handler, kept for the next life. */
	if (count_handlers() > handlers_before + uffd)
		broken("handlers: %u, and %u before", count_handlers(), handlers_before);
	for (int i = 0; life && i < REGIONS; i++)
		check_unregistered(life->region[i].at, REGION);
	if (!life || life->again)
		check_memory();
}
