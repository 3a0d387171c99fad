// SPDX-License-Identifier: MIT
/*
 * quiesce.c - calls that were under way when the hooks came.
 *
 *	a thread in munmap			open()
 *	------------------			------
 *	fetches entry: the old mov
 *						patches, the self-test passes
 *						returns; somebody reads a translation
 *						and installs it
 *	syscall: unmaps it, unbracketed
 *	    [Required: open() does not return before that system call has]
 *
 * So open() waits, once, until each other thread has been found outside. What can be
 * known of a thread, from /proc/self/task/T:
 *
 *	syscall = a number of ours	inside, perhaps: look again
 *	syscall = another number	outside: blocked in something else
 *	syscall = "running"		not known; schedstat tells how long it has run
 *	it has run PROGRESS more	outside: between the entry and the system call
 *					are three instructions
 *	no such thread			outside
 *
 * Calls that begin meanwhile are hooked, and are waited for as well if they are found:
 * nothing is lost by it. What begins with the hooks in place is the notifier's to
 * know: it has to be watching (hmmu_source_watched()) before open() is called.
 *
 * What this does not see: one system call that stays in the kernel, on a processor,
 * for more than PROGRESS; a signal handler that interrupted a thread between entry
 * and system call, and blocks. No signal is sent to find out: threads may be in calls
 * that a signal breaks off.
 *
 * Context: open(). The wait is bounded: a thread may be blocked in one of these calls
 * for ever (a fault that nobody serves).
 */
#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "arch/syscall.h"
#include "source/hooks/hooks.h"

#define PROGRESS 10000000UL /* ns of processor time */
#define LOOKS 2000	    /* a millisecond apart */
#define PIECE 4096
#define ENTRY 24 /* the least bytes of one */

enum where {
	OUTSIDE,
	INSIDE,
	RUNNING,
};

/* The kernel's struct linux_dirent64. */
struct entry {
	uint64_t ino;
	int64_t off;
	unsigned short len;
	unsigned char type;
	char name[];
};

static unsigned int append(char *to, unsigned int at, const char *text)
{
	while (*text)
		to[at++] = *text++;
	to[at] = '\0';
	return at;
}

/* /proc/self/task/@tid/@file into @buf, ended; its length or -errno. */
static long read_task(const char *tid, const char *file, char *buf, size_t n)
{
	char path[64];
	unsigned int at = append(path, 0, "/proc/self/task/");
	long fd, got;

	at = append(path, at, tid);
	append(path, at, file);
	fd = hmmu_syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return fd;
	got = hmmu_syscall(SYS_read, fd, buf, n - 1);
	hmmu_syscall(SYS_close, fd);
	buf[got > 0 ? got : 0] = '\0';
	return got;
}

static unsigned long number(const char *p)
{
	unsigned long value = 0;

	while (*p >= '0' && *p <= '9')
		value = value * 10 + (unsigned long)(*p++ - '0');
	return value;
}

static bool hooked(unsigned long nr)
{
	switch (nr) {
	case SYS_munmap:
	case SYS_mmap:
	case SYS_mremap:
	case SYS_madvise:
	case SYS_mprotect:
	case SYS_brk:
	case SYS_shmdt:
	case SYS_shmat:
		return true;
	default:
		return false;
	}
}

static enum where look(const char *tid)
{
	char buf[256];

	if (read_task(tid, "/syscall", buf, sizeof(buf)) <= 0)
		return OUTSIDE;
	/* -1: blocked, in no system call: a page fault, perhaps on the entry itself. */
	if (buf[0] < '0' || buf[0] > '9')
		return RUNNING;
	return hooked(number(buf)) ? INSIDE : OUTSIDE;
}

static unsigned long ran(const char *tid)
{
	char buf[128] = "";

	return read_task(tid, "/schedstat", buf, sizeof(buf)) > 0 ? number(buf) : 0;
}

/* @first: what it had run when the hooks were in place. */
static bool left(const char *tid, unsigned long first)
{
	static const struct timespec pause = {0, 1000000};

	for (int i = 0; i < LOOKS; i++) {
		if (look(tid) == OUTSIDE || ran(tid) - first >= PROGRESS)
			return true;
		hmmu_syscall(SYS_nanosleep, &pause, NULL);
	}
	return false;
}

static bool is_self(const char *tid)
{
	return number(tid) == (unsigned long)hmmu_syscall(SYS_gettid);
}

/* The next thread of the directory's piece, NULL at its end; moves *at on. */
static const char *next_tid(const char *buf, long n, long *at)
{
	while (*at < n) {
		const struct entry *e = (const struct entry *)(buf + *at);

		*at += e->len;
		if (e->name[0] != '.' && !is_self(e->name))
			return e->name;
	}
	return NULL;
}

/* Every thread of one piece of the directory. All are read first, so that they make
 * their progress at the same time. */
static bool all_left(const char *buf, long n)
{
	unsigned long first[PIECE / ENTRY] = {0};
	unsigned int i = 0;
	const char *tid;

	for (long at = 0; (tid = next_tid(buf, n, &at));)
		first[i++] = ran(tid);
	i = 0;
	for (long at = 0; (tid = next_tid(buf, n, &at));)
		if (!left(tid, first[i++]))
			return false;
	return true;
}

/* Threads that come later than their place in the directory are hooked from birth. */
bool hmmu_hooks_quiesce(void)
{
	char buf[PIECE] __attribute__((aligned(8))) = {0};
	bool ok = true;
	long fd, n;

	if (hmmu_hooks_threads() == 1)
		return true;
	fd = hmmu_syscall(SYS_openat, AT_FDCWD, "/proc/self/task",
			  O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return false;
	do {
		n = hmmu_syscall(SYS_getdents64, fd, buf, sizeof(buf));
		if (n > 0)
			ok = all_left(buf, n);
	} while (n > 0 && ok);
	hmmu_syscall(SYS_close, fd);
	return ok && n == 0;
}
