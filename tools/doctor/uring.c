// SPDX-License-Identifier: MIT
/*
 * uring.c - the changes that io_uring makes: by a worker of the kernel's, past libc and
 * past seccomp. The call returns when the completion is taken.
 */
#include "doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#ifdef HMMU_DOCTOR_URING
#include <liburing.h>

#define OP_FTRUNCATE 55 /* Linux 6.9 */

static struct io_uring ring;

int uring_prepare(struct probe *p)
{
	return io_uring_queue_init(4, &ring, 0);
}

static int finish(void)
{
	struct io_uring_cqe *cqe;
	int ret = io_uring_submit_and_wait(&ring, 1);

	if (ret < 0)
		return ret;
	ret = io_uring_wait_cqe(&ring, &cqe);
	if (ret)
		return ret;
	ret = cqe->res;
	io_uring_cqe_seen(&ring, cqe);
	return ret;
}

static int advise(struct probe *p, int advice)
{
	io_uring_prep_madvise(io_uring_get_sqe(&ring), p->addr, (off_t)p->len, advice);
	return finish();
}

static int dontneed(struct probe *p)
{
	return advise(p, MADV_DONTNEED);
}

static int lazy_free(struct probe *p)
{
	return advise(p, MADV_FREE);
}

static int madv_remove(struct probe *p)
{
	return advise(p, MADV_REMOVE);
}

static int guard(struct probe *p)
{
	return advise(p, 102);
}

static int truncate_file(struct probe *p)
{
	io_uring_prep_rw(OP_FTRUNCATE, io_uring_get_sqe(&ring), p->fd, NULL, 0, PAGE);
	return finish();
}

static int punch(struct probe *p)
{
	io_uring_prep_fallocate(io_uring_get_sqe(&ring), p->fd,
				FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, LENGTH);
	return finish();
}

#define URING 1u << HMMU_CALLER_IO_URING
#define M(name) (1u << HMMU_MEMORY_##name)
#define PRIVATE (M(ANON) | M(FILE_PRIVATE))
#define SHARED (M(SHMEM) | M(SYSV) | M(FILE_SHARED))
#define WITH_FD (M(SHMEM) | M(FILE_PRIVATE) | M(FILE_SHARED))

const struct variant uring_variants[] = {
	{HMMU_OP_MADVISE, "dontneed", URING, PRIVATE, .prepare = uring_prepare,
	 .change = dontneed},
	{HMMU_OP_MADVISE, "free", URING, M(ANON), STATE_LAZY, .prepare = uring_prepare,
	 .change = lazy_free},
	{HMMU_OP_MADVISE, "remove", URING, SHARED, .prepare = uring_prepare,
	 .change = madv_remove},
	{HMMU_OP_FTRUNCATE, "shrink", URING, WITH_FD, .prepare = uring_prepare,
	 .change = truncate_file},
	{HMMU_OP_FALLOCATE, "punch hole", URING, WITH_FD, .prepare = uring_prepare,
	 .change = punch, .read_only = true},
	{HMMU_OP_MADVISE_GUARD, "install", URING, PRIVATE | SHARED, .prepare = uring_prepare,
	 .change = guard},
	{.name = NULL},
};
#else
const struct variant uring_variants[] = {{.name = NULL}};
#endif
