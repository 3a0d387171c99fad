// SPDX-License-Identifier: MIT
/*
 * paths.c - truncate: which file does the caller's path lead to?
 *
 * It is looked up once, by O_PATH, which neither blocks nor needs rights. Mappings are
 * looked for and the call is made on what was opened, by its name in /proc: a link or a
 * rename between the two leads nowhere else.
 *
 * WHOSE LOOK-UP? An executor's. It is the caller's too where both have the same
 *
 *	rights		else a thread that gave up its own would get the executor's: lost
 *	root		else absolute paths and links lead elsewhere: lost
 *	directory	a caller may have its own (CLONE_FS unshared, a child that shares only
 *			the memory): relative paths begin at /proc/TID/cwd
 *	process and descriptors		else /proc/self leads elsewhere: a path through a
 *			magic link is lost
 *
 * THE DESCRIPTOR lies in the application's table. Another thread's closefrom() may close it
 * during the callbacks, and its number be given on: another file would be truncated. So it
 * is compared right before the call, and before it is closed.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arch/syscall.h"
#include "source/seccomp/seccomp.h"

#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x1000U
#endif
#define OPEN_PATH (O_PATH | O_CLOEXEC)
#define NR_RIGHTS 4

/* Lines of a status, by their first four characters, in one number. */
struct rights {
	uint64_t sum;
	unsigned int column, found;
	bool counts;
	char key[4];
};

static long compare(int caller, int what)
{
	return hmmu_syscall(SYS_kcmp, hmmu_syscall(SYS_gettid), caller, what);
}

/* Does /proc number processes as this one does? */
static bool proc_is_ours(void)
{
	char text[16];
	long n = hmmu_syscall(SYS_readlinkat, AT_FDCWD, "/proc/self", text, sizeof(text));
	int pid = 0;

	for (long i = 0; i < n; i++)
		pid = pid * 10 + (text[i] - '0');
	return n > 0 && pid == getpid();
}

static bool is_right(const char *key)
{
	static const char names[NR_RIGHTS][4] = {
		{'U', 'i', 'd', ':'},
		{'G', 'i', 'd', ':'},
		{'G', 'r', 'o', 'u'},
		{'C', 'a', 'p', 'E'},
	};

	for (int i = 0; i < NR_RIGHTS; i++)
		if (key[0] == names[i][0] && key[1] == names[i][1] && key[2] == names[i][2] &&
		    key[3] == names[i][3])
			return true;
	return false;
}

static void add_char(struct rights *r, char c)
{
	if (r->counts)
		r->sum = (r->sum ^ (unsigned char)c) * 0x100000001b3UL;
	if (r->column < sizeof(r->key)) {
		r->key[r->column++] = c;
		r->counts = r->column == sizeof(r->key) && is_right(r->key);
		r->found += r->counts;
	}
	if (c == '\n') {
		r->counts = false;
		r->column = 0;
	}
}

static bool read_rights(const char *path, struct rights *r)
{
	char buf[512];
	long fd = hmmu_syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC), n;

	*r = (struct rights){.sum = 0xcbf29ce484222325UL};
	if (fd < 0)
		return false;
	while ((n = hmmu_syscall(SYS_read, fd, buf, sizeof(buf))) > 0)
		for (long i = 0; i < n; i++)
			add_char(r, buf[i]);
	hmmu_syscall(SYS_close, fd);
	return n == 0 && r->found == NR_RIGHTS;
}

static bool same_rights(int caller)
{
	struct rights mine, theirs;
	char path[HMMU_PROC_NAME];

	hmmu_proc_name(path, "/proc/", caller, "/status");
	return read_rights("/proc/thread-self/status", &mine) && read_rights(path, &theirs) &&
	       mine.sum == theirs.sum;
}

static bool identify(int at, const char *path, int flags, struct hmmu_seccomp_opened *f)
{
	struct statx st;

	if (hmmu_syscall(SYS_statx, at, path, flags, STATX_INO | STATX_MNT_ID, &st))
		return false;
	f->inode = st.stx_ino;
	f->mount = st.stx_mnt_id;
	f->major = st.stx_dev_major;
	f->minor = st.stx_dev_minor;
	return true;
}

static bool equal(const struct hmmu_seccomp_opened *a, const struct hmmu_seccomp_opened *b)
{
	return a->inode == b->inode && a->mount == b->mount && a->major == b->major &&
	       a->minor == b->minor;
}

static bool same_root(int caller)
{
	struct hmmu_seccomp_opened mine, theirs;
	char path[HMMU_PROC_NAME];

	hmmu_proc_name(path, "/proc/", caller, "/root");
	return identify(AT_FDCWD, "/proc/thread-self/root", 0, &mine) &&
	       identify(AT_FDCWD, path, 0, &theirs) && equal(&mine, &theirs);
}

/* @path from the directory @at; through no magic link. */
static long open_from(long at, const char *path)
{
	struct open_how how = {.flags = OPEN_PATH, .resolve = RESOLVE_NO_MAGICLINKS};
	long fd = hmmu_syscall(SYS_openat2, at, path, &how, sizeof(how)), again;

	if (fd != -ELOOP)
		return fd;
	/* Are there too many links, or was one magic? */
	again = hmmu_syscall(SYS_openat, at, path, OPEN_PATH);
	if (again == -ELOOP)
		return again;
	if (again >= 0)
		hmmu_syscall(SYS_close, again);
	return -EOPNOTSUPP;
}

/* For a caller that shares not everything with this thread. */
static long open_apart(int caller, const char *path)
{
	char name[HMMU_PROC_NAME];
	long at, fd;

	if (!same_root(caller))
		return -EOPNOTSUPP;
	hmmu_proc_name(name, "/proc/", caller, "/cwd");
	at = hmmu_syscall(SYS_openat, AT_FDCWD, name, OPEN_PATH);
	if (at < 0)
		return -EOPNOTSUPP;
	fd = open_from(at, path);
	hmmu_syscall(SYS_close, at);
	return fd;
}

static long open_it(int caller, const char *path)
{
	if (!proc_is_ours() || !same_rights(caller))
		return -EOPNOTSUPP;
	if (hmmu_syscall(SYS_tgkill, getpid(), caller, 0) == 0 &&
	    compare(caller, KCMP_FILES) == 0 && compare(caller, KCMP_FS) == 0)
		return hmmu_syscall(SYS_openat, AT_FDCWD, path, OPEN_PATH);
	return open_apart(caller, path);
}

int hmmu_seccomp_open_path(int caller, const char *path, struct hmmu_seccomp_opened *f)
{
	long fd = open_it(caller, path), memory = compare(caller, KCMP_VM);

	f->fd = (int)fd;
	hmmu_proc_name(f->name, "/proc/thread-self/fd/", fd < 0 ? 0 : f->fd, "");
	if (fd >= 0 && !identify(f->fd, "", AT_EMPTY_PATH, f)) {
		hmmu_syscall(SYS_close, fd);
		f->fd = -1;
		fd = -EOPNOTSUPP;
	}
	/* Killed meanwhile: nobody hears the answer, and its number may be another's. */
	if (memory > 0 || memory == -ESRCH) {
		hmmu_seccomp_close_path(f);
		return -EINTR;
	}
	switch (fd) {
	case -EMFILE: /* what the look-up of truncate itself would not answer */
	case -ENFILE:
	case -ENOMEM:
	case -EPERM:
	case -ENOSYS:
		return -EOPNOTSUPP;
	default:
		return fd < 0 ? (int)fd : 0;
	}
}

bool hmmu_seccomp_still(const struct hmmu_seccomp_opened *f)
{
	struct hmmu_seccomp_opened now;

	return identify(f->fd, "", AT_EMPTY_PATH, &now) && equal(f, &now);
}

void hmmu_seccomp_close_path(const struct hmmu_seccomp_opened *f)
{
	if (f->fd >= 0 && hmmu_seccomp_still(f))
		hmmu_syscall(SYS_close, f->fd);
}
