// SPDX-License-Identifier: MIT
/* request.c - prepare and complete. */
#include "adapter.h"

#include <errno.h>

#define MAX_TRANSFER 0x7ffff000ul /* the kernel's, in one request */
#define PROT_BOTH (PROT_READ | PROT_WRITE)

/* Why it becomes the plain operation. */
static enum counter cause(int err)
{
	switch (err) {
	case 0:
	case -E2BIG:
		return COUNT_SIZE;
	case -ENOMEM:
	case -ENOBUFS:
		return COUNT_ROOM;
	case -ETIMEDOUT:
		return COUNT_CHANGING;
	case -ENODEV:
		return COUNT_UNWATCHED;
	case -EFAULT:
		return COUNT_UNPINNED;
	default:
		return COUNT_OTHERS;
	}
}

/* When a miss stops waiting. Zero is a time that has passed. */
static struct timespec give_up(const struct hmmu_uring *u)
{
	struct timespec t = {0};

	if (!u->max_wait_ns)
		return t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += (time_t)(u->max_wait_ns / 1000000000);
	t.tv_nsec += (long)(u->max_wait_ns % 1000000000);
	if (t.tv_nsec >= 1000000000) {
		t.tv_nsec -= 1000000000;
		t.tv_sec++;
	}
	return t;
}

/* A registration, without waiting for long: the plain operation is right at any time, and the
 * issuer may be who has to go on for an invalidation to end. */
static int miss(struct hmmu_uring *u, const void *addr, size_t len, struct hmmu_region_ref *ref)
{
	struct timespec until = give_up(u);
	int ret = hmmu_regcache_get_until(u->cache, addr, len, PROT_BOTH, &until, ref);

	if (ret)
		return ret;
	/* Used once is all right; not watched is not: nobody could say at completion. */
	if ((ref->region->flags & HMMU_REGION_ONCE) && !hmmu_regcache_valid(u->cache, ref)) {
		hmmu_regcache_put(u->cache, ref);
		return -ENODEV;
	}
	return 0;
}

/* A region of [addr, addr + len), referenced, or the errno for which there is none. */
static int acquire(struct hmmu_uring *u, const void *addr, size_t len,
		   struct hmmu_region_ref *ref)
{
	int ret;

	if (len > HMMU_URING_MAX_BUFFER)
		return -E2BIG;
	ret = hmmu_regcache_get_nonblock(u->cache, addr, len, PROT_BOTH, ref);
	return ret == -EAGAIN ? miss(u, addr, len, ref) : ret;
}

static int prep(struct hmmu_uring *u, struct io_uring_sqe *sqe, bool write, int fd,
		const void *addr, size_t len, uint64_t offset, struct hmmu_uring_req *req)
{
	int op = write ? IORING_OP_WRITE : IORING_OP_READ;

	if (!u || !req)
		return -EINVAL;
	if (in_child(u))
		return -ENODEV;
	if (!sqe)
		return -EAGAIN;
	if (u->single_issuer)
		atomic_store_explicit(&u->issuer, pthread_self(), memory_order_relaxed);
	slots_sweep(u);
	if (len > MAX_TRANSFER)
		len = MAX_TRANSFER;
	*req = (struct hmmu_uring_req){.kind = HMMU_URING_PLAIN};
	if (len)
		req->why = acquire(u, addr, len, &req->ref);
	if (req->ref.region) {
		req->kind = HMMU_URING_FIXED;
		op = write ? IORING_OP_WRITE_FIXED : IORING_OP_READ_FIXED;
	}
	io_uring_prep_rw(op, sqe, fd, addr, (unsigned int)len, offset);
	if (req->ref.region)
		sqe->buf_index = (uint16_t)req->ref.region->key[0];
	sqe->user_data = (uintptr_t)req;
	count(u, req->ref.region ? COUNT_FIXED : cause(req->why), 1);
	return 0;
}

PUBLIC int hmmu_uring_prep_read(struct hmmu_uring *u, struct io_uring_sqe *sqe, int fd,
				void *addr, size_t len, uint64_t offset,
				struct hmmu_uring_req *req)
{
	return prep(u, sqe, false, fd, addr, len, offset, req);
}

PUBLIC int hmmu_uring_prep_write(struct hmmu_uring *u, struct io_uring_sqe *sqe, int fd,
				 const void *addr, size_t len, uint64_t offset,
				 struct hmmu_uring_req *req)
{
	return prep(u, sqe, true, fd, addr, len, offset, req);
}

/* Only the issuer empties: elsewhere the kernel would be asked in vain, each time. */
static bool may_sweep(struct hmmu_uring *u)
{
	return !u->single_issuer ||
	       pthread_equal(atomic_load_explicit(&u->issuer, memory_order_relaxed),
			     pthread_self());
}

PUBLIC int hmmu_uring_complete(struct hmmu_uring *u, struct hmmu_uring_req *req, int res)
{
	if (!u || !req)
		return -EINVAL;
	if (in_child(u))
		return -ENODEV;
	if (req->kind != HMMU_URING_FIXED && req->kind != HMMU_URING_PLAIN)
		return -EINVAL;
	if (req->kind == HMMU_URING_FIXED) {
		if (res > 0 && !hmmu_regcache_valid(u->cache, &req->ref)) {
			count(u, COUNT_STALE, 1);
			res = -ESTALE;
		}
		hmmu_regcache_put(u->cache, &req->ref);
	}
	req->kind = HMMU_URING_IDLE;
	if (may_sweep(u))
		slots_sweep(u);
	return res;
}

PUBLIC int hmmu_uring_flush(struct hmmu_uring *u)
{
	if (!u)
		return -EINVAL;
	return in_child(u) ? -ENODEV : slots_sweep(u);
}
