// SPDX-License-Identifier: MIT
/*
 * cache_ring.c - the device of --cache: an io_uring whose registered buffers are the
 * registrations, and a file that its reads and writes go to and come from.
 *
 * Any thread registers and empties (the ring has no single issuer). A slot is free again as
 * soon as it is emptied: nobody has a request on it then, for what is emptied is not held.
 */
#include "cache.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static int open_file(struct cache_ring *ring)
{
	size_t size = ring->pages * page_size();

	ring->file = memfd_create("hmmu torture", MFD_CLOEXEC);
	if (ring->file < 0 || ftruncate(ring->file, (off_t)size) < 0)
		return -errno;
	ring->staging = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, ring->file, 0);
	if (ring->staging != MAP_FAILED)
		return 0;
	ring->staging = NULL;
	return -errno;
}

int ring_open(struct cache_ring *ring, unsigned int pages)
{
	int ret;

	memset(ring, 0, sizeof(*ring));
	pthread_mutex_init(&ring->use, NULL);
	pthread_mutex_init(&ring->lock, NULL);
	ring->pages = pages;
	ring->file = -1;
	for (uint32_t s = 0; s < RING_SLOTS; s++)
		ring->free[s] = s;
	ring->nr_free = RING_SLOTS;
	ret = io_uring_queue_init(8, &ring->ring, 0);
	if (ret)
		return ret;
	ret = io_uring_register_buffers_sparse(&ring->ring, RING_SLOTS);
	if (!ret)
		ret = open_file(ring);
	if (ret)
		ring_close(ring);
	return ret;
}

void ring_close(struct cache_ring *ring)
{
	io_uring_queue_exit(&ring->ring);
	if (ring->staging)
		munmap(ring->staging, ring->pages * page_size());
	if (ring->file >= 0)
		close(ring->file);
}

static void give_back(struct cache_ring *ring, uint32_t slot)
{
	pthread_mutex_lock(&ring->lock);
	ring->free[ring->nr_free++] = slot;
	pthread_mutex_unlock(&ring->lock);
}

int ring_pin(struct cache_ring *ring, unsigned long start, size_t length, uint32_t *slot)
{
	struct iovec iov = {(void *)start, length};
	int ret = -ENOMEM;

	pthread_mutex_lock(&ring->lock);
	if (ring->nr_free) {
		*slot = ring->free[--ring->nr_free];
		ret = 0;
	}
	pthread_mutex_unlock(&ring->lock);
	if (ret)
		return ret;
	do {
		ret = io_uring_register_buffers_update_tag(&ring->ring, *slot, &iov, NULL, 1);
	} while (ret == -EINTR);
	if (ret == 1)
		return 0;
	give_back(ring, *slot);
	return ret < 0 ? ret : -EIO;
}

void ring_unpin(struct cache_ring *ring, uint32_t slot)
{
	static const struct iovec nothing;
	int ret;

	do {
		ret = io_uring_register_buffers_update_tag(&ring->ring, slot, &nothing, NULL,
							   1);
	} while (ret == -EINTR);
	/* Old kernels allocate for it. The slot is lost, the pages stay pinned: harmless. */
	if (ret == 1)
		give_back(ring, slot);
}

static int wait_for_one(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	int ret;

	do {
		ret = io_uring_submit_and_wait(ring, 1);
	} while (ret == -EINTR);
	do {
		ret = ret < 0 ? ret : io_uring_wait_cqe(ring, &cqe);
	} while (ret == -EINTR);
	if (ret)
		return ret;
	ret = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return ret;
}

int ring_access(struct cache_ring *ring, uint32_t slot, unsigned long addr, size_t length,
		unsigned int page, bool write)
{
	__u64 offset = page * page_size();
	struct io_uring_sqe *sqe;
	int ret;

	pthread_mutex_lock(&ring->use);
	sqe = io_uring_get_sqe(&ring->ring);
	if (write)
		io_uring_prep_read_fixed(sqe, ring->file, (void *)addr, (unsigned int)length,
					 offset, (int)slot);
	else
		io_uring_prep_write_fixed(sqe, ring->file, (void *)addr, (unsigned int)length,
					  offset, (int)slot);
	ret = wait_for_one(&ring->ring);
	pthread_mutex_unlock(&ring->use);
	if (ret >= 0 && (size_t)ret != length)
		return -EIO;
	return ret < 0 ? ret : 0;
}
