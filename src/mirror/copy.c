// SPDX-License-Identifier: MIT
/*
 * copy.c - copying to and from memory that may vanish: the kernel does it, and answers EFAULT.
 *
 * process_vm_readv() and _writev() on oneself: one call for a piece, 1.4 us for a page. They
 * obey the page tables (a read-only page is not written). Where a filter refuses them, the
 * bytes go through a pipe, a page at a time, which the kernel fills and empties likewise.
 * Memory on a device is in an arena that nobody takes away under the driver lock: memcpy.
 *
 * -EFAULT: a part of it may have been copied.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../arch/syscall.h"
#include "mirror.h"

/* Not cached: a process has another one after each fork. */
static long transfer(const struct iovec *own, const struct iovec *there, unsigned int n,
		     bool write)
{
	long pid = hmmu_syscall(SYS_getpid);

	return hmmu_syscall(write ? SYS_process_vm_writev : SYS_process_vm_readv, pid, own, n,
			    there, n, 0);
}

int dm_copy_init(struct hmmu_mirror *m)
{
	char from = 1, to = 0;
	const struct iovec own = {&to, 1}, there = {&from, 1};
	long ret;

	m->by_pipe =
		transfer(&own, &there, 1, false) != 1 || transfer(&own, &there, 1, true) != 1;
	if (!m->by_pipe)
		return 0;
	ret = hmmu_syscall(SYS_pipe2, m->pipe, O_CLOEXEC | O_NONBLOCK);
	if (!ret)
		return 0;
	m->by_pipe = false;
	return -EMFILE;
}

void dm_copy_exit(struct hmmu_mirror *m)
{
	if (!m->by_pipe)
		return;
	hmmu_syscall(SYS_close, m->pipe[0]);
	hmmu_syscall(SYS_close, m->pipe[1]);
}

/* What is left in the pipe after a failure must not be the next one's. */
static void drain(struct hmmu_mirror *m)
{
	char bytes[256];

	while (hmmu_syscall(SYS_read, m->pipe[0], bytes, sizeof(bytes)) > 0)
		;
}

/* A pipe holds a page, so neither call stops half way but for EFAULT. */
static int through_pipe(struct hmmu_mirror *m, const void *from, void *to, size_t len)
{
	long ret = hmmu_syscall(SYS_write, m->pipe[1], from, len);

	if (ret == (long)len)
		ret = hmmu_syscall(SYS_read, m->pipe[0], to, len);
	if (ret == (long)len)
		return 0;
	drain(m);
	if (ret == -EINTR)
		return -EAGAIN;
	/* Half of it: the rest is not there. */
	return ret >= 0 || ret == -EFAULT ? -EFAULT : -EOPNOTSUPP;
}

static int copy_by_pipe(struct hmmu_mirror *m, const struct dm_part *part, unsigned int n,
			bool write)
{
	int ret = 0;

	hmmu_lock(&m->pipe_lock);
	for (unsigned int i = 0; i < n && !ret; i++, part++) {
		if (part->device)
			continue;
		if (write)
			ret = through_pipe(m, part->own, part->mirrored, part->len);
		else
			ret = through_pipe(m, part->mirrored, part->own, part->len);
	}
	hmmu_unlock(&m->pipe_lock);
	return ret;
}

static bool follows(const struct iovec *v, const void *p)
{
	return (const char *)v->iov_base + v->iov_len == p;
}

static int copy_by_kernel(const struct dm_part *part, unsigned int n, bool write)
{
	struct iovec own[MIRROR_COPY + 1], there[MIRROR_COPY + 1];
	unsigned int used = 0;
	long sum = 0, ret;

	for (unsigned int i = 0; i < n; i++, part++) {
		if (part->device)
			continue;
		sum += (long)part->len;
		if (used && follows(&there[used - 1], part->mirrored) &&
		    follows(&own[used - 1], part->own)) {
			own[used - 1].iov_len += part->len;
			there[used - 1].iov_len += part->len;
			continue;
		}
		own[used] = (struct iovec){part->own, part->len};
		there[used++] = (struct iovec){part->mirrored, part->len};
	}
	if (!used)
		return 0;
	ret = transfer(own, there, used, write);
	/* Not EPERM, which would say that the page is read-only. */
	if (ret < 0)
		return ret == -EFAULT || ret == -ENOMEM ? (int)ret : -EOPNOTSUPP;
	return ret == sum ? 0 : -EFAULT;
}

int dm_copy(struct hmmu_mirror *m, const struct dm_part *part, unsigned int n, bool write)
{
	for (unsigned int i = 0; i < n; i++) {
		if (!part[i].device)
			continue;
		if (write)
			memcpy(part[i].mirrored, part[i].own, part[i].len);
		else
			memcpy(part[i].own, part[i].mirrored, part[i].len);
	}
	if (m->by_pipe)
		return copy_by_pipe(m, part, n, write);
	return copy_by_kernel(part, n, write);
}
