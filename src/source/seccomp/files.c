// SPDX-License-Identifier: MIT
/*
 * files.c - descriptors of a caller, and where a file is mapped.
 *
 * An executor has the descriptor table that the thread had which opened the source: the
 * application's. A caller may have another one: a thread that unshared its own, a child
 * that shares only the memory. A number means something else there, so the tables are
 * compared, and where they differ the descriptor is fetched from the caller.
 *
 * WHERE IS IT MAPPED? /proc/self/maps names device and inode as the file system tells them,
 * which need not be what fstat() says (overlayfs, btrfs). So the file is mapped once more,
 * without any access, and whatever line that gives is what to look for. The device is
 * not compared: a file of another device with the same inode number costs a read.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "arch/syscall.h"
#include "source/hooks/hooks.h"
#include "source/hooks/maps.h"
#include "source/seccomp/seccomp.h"

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
#define PIDFD_THREAD_FLAG O_EXCL /* Linux 6.9 */

int hmmu_seccomp_fd_arg(int nr, unsigned long flags)
{
	switch (nr) {
	case SYS_mmap:
		return flags & MAP_ANONYMOUS ? -1 : 4;
	case SYS_ftruncate:
	case SYS_fallocate:
	case SYS_process_madvise:
		return 0;
	default:
		return -1;
	}
}

bool hmmu_seccomp_needs_table(int nr, unsigned long flags)
{
	return nr == SYS_truncate || hmmu_seccomp_fd_arg(nr, flags) >= 0;
}

int hmmu_seccomp_fd(int caller, int fd, bool *own)
{
	long self = hmmu_syscall(SYS_gettid), pidfd, copy;

	*own = false;
	if (fd < 0)
		return -EBADF;
	if (HMMU_SECCOMP_PLANTED(WRONG_FD) ||
	    hmmu_syscall(SYS_kcmp, self, caller, KCMP_FILES) == 0)
		return fd;
	pidfd = hmmu_syscall(SYS_pidfd_open, caller, PIDFD_THREAD_FLAG);
	/* Older: a process is its first thread. */
	if (pidfd == -EINVAL)
		pidfd = hmmu_syscall(SYS_pidfd_open, caller, 0);
	if (pidfd < 0)
		return -EOPNOTSUPP;
	copy = hmmu_syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	hmmu_syscall(SYS_close, pidfd);
	if (copy >= 0)
		*own = true;
	return copy >= 0 || copy == -EBADF ? (int)copy : -EOPNOTSUPP;
}

/* A descriptor to read the same file: a mapping needs one. -errno. */
static long reopen(int fd)
{
	char path[HMMU_PROC_NAME];

	hmmu_proc_name(path, "/proc/thread-self/fd/", fd, "");
	return hmmu_syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
}

/* One page of it, for its line in the list. -ENODEV: it cannot be mapped by anybody. */
static long map_it(int fd)
{
	long page, again;
	struct stat st;

	page = hmmu_syscall(SYS_mmap, NULL, HMMU_PAGE, PROT_NONE, MAP_SHARED, fd, 0);
	if (page != -EACCES && page != -EBADF)
		return page;
	/* Written only, or O_PATH. Nothing but a plain file is opened again: that would be
	 * seen. */
	if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		return page;
	again = reopen(fd);
	if (again < 0)
		return -EACCES;
	page = hmmu_syscall(SYS_mmap, NULL, HMMU_PAGE, PROT_NONE, MAP_SHARED, again, 0);
	hmmu_syscall(SYS_close, again);
	return page;
}

static bool inode_at(unsigned long addr, unsigned long *inode)
{
	struct hmmu_maps maps;
	struct hmmu_mapping m;
	bool found = false;

	if (!hmmu_maps_open(&maps))
		return false;
	while (!found && hmmu_maps_next(&maps, &m))
		found = m.start <= addr && addr < m.end;
	hmmu_maps_close(&maps);
	if (found)
		*inode = m.inode;
	return found;
}

static bool is_one_of(const struct hmmu_seccomp_files *f, unsigned long inode)
{
	for (unsigned int i = 0; i < f->n; i++)
		if (f->inode[i] == inode)
			return true;
	return false;
}

/* From the first to the last mapping of these files. False: the list broke off. */
static bool hull(const struct hmmu_seccomp_files *f, unsigned long except, unsigned long *start,
		 unsigned long *end)
{
	struct hmmu_maps maps;
	struct hmmu_mapping m;

	*start = HMMU_TOP;
	*end = 0;
	if (!hmmu_maps_open(&maps))
		return false;
	while (hmmu_maps_next(&maps, &m)) {
		if (!is_one_of(f, m.inode) ||
		    (m.start == except && m.end == except + HMMU_PAGE))
			continue;
		*start = m.start < *start ? m.start : *start;
		*end = m.end > *end ? m.end : *end;
	}
	hmmu_maps_close(&maps);
	return !maps.failed;
}

void hmmu_seccomp_mapped(int fd, unsigned long *start, unsigned long *end)
{
	struct hmmu_seccomp_files f = {.n = 1};
	long page = map_it(fd);
	bool known;

	*start = *end = 0;
	if (page == -EBADF || page == -ENODEV)
		return;
	known = !hmmu_is_err(page);
	if (known) {
		known = inode_at((unsigned long)page, &f.inode[0]) && f.inode[0] &&
			hull(&f, (unsigned long)page, start, end);
		hmmu_seccomp_gate(SYS_munmap, page, HMMU_PAGE, 0, 0, 0, 0);
	}
	if (!known) {
		*start = 0;
		*end = HMMU_TOP;
	}
}

/* Which files are mapped in [from, to), besides those that are noted. False: more than fit,
 * or it is not known. */
static bool note_files(struct hmmu_seccomp_files *f, unsigned long from, unsigned long to)
{
	struct hmmu_maps maps;
	struct hmmu_mapping m;
	bool fit = true;

	if (!hmmu_maps_open(&maps))
		return false;
	while (fit && hmmu_maps_next(&maps, &m) && m.start < to) {
		if (!m.inode || m.end <= from || is_one_of(f, m.inode))
			continue;
		fit = f->n < HMMU_SECCOMP_FILES;
		if (fit)
			f->inode[f->n++] = m.inode;
	}
	hmmu_maps_close(&maps);
	return fit && !maps.failed;
}

void hmmu_seccomp_shown(struct hmmu_seccomp_files *f, unsigned long from, unsigned long to,
			unsigned long *start, unsigned long *end)
{
	*start = HMMU_TOP;
	*end = 0;
	if (note_files(f, from, to) && (!f->n || hull(f, HMMU_TOP, start, end)))
		return;
	*start = 0;
	*end = HMMU_TOP;
}
