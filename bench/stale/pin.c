// SPDX-License-Identifier: MIT
/* pin.c - slots of io_uring's registered buffers, and a look at what they hold. */
#include "stale.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <liburing.h>

#define SLOTS 256

static struct io_uring ring;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* the free slots */
static int free_slots[SLOTS];
static int n_free;
static int window_fd;
static volatile uint64_t *window; /* what the kernel wrote there */
static atomic_uint slow, added;
static atomic_int trouble;

int pin_open(void)
{
	int ret = io_uring_queue_init(4, &ring, 0);

	if (ret)
		return ret;
	ret = io_uring_register_buffers_sparse(&ring, SLOTS);
	if (ret)
		return ret;
	for (n_free = 0; n_free < SLOTS; n_free++)
		free_slots[n_free] = n_free;
	window_fd = memfd_create("stale", MFD_CLOEXEC);
	if (window_fd < 0 || ftruncate(window_fd, PAGE))
		return -errno;
	window = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, window_fd, 0);
	return window == MAP_FAILED ? -errno : 0;
}

void pin_slow(unsigned int us)
{
	slow = us;
}

/* Nothing of the clock is bound in a hook: vDSO, and bound before by pin_add(). */
static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void pin_await(unsigned int us)
{
	unsigned int before = added;
	uint64_t end;

	if (!us)
		return;
	end = now_us() + us;
	while (added == before && now_us() < end)
		sched_yield();
}

int pin_trouble(void)
{
	return trouble;
}

static int set_slot(int slot, void *addr, size_t len)
{
	struct iovec iov = {addr, len};
	int ret = io_uring_register_buffers_update_tag(&ring, slot, &iov, NULL, 1);

	if (ret == 1)
		return 0;
	return ret < 0 ? ret : -EIO;
}

static int take(void)
{
	int slot = -ENOBUFS;

	pthread_mutex_lock(&lock);
	if (n_free)
		slot = free_slots[--n_free];
	pthread_mutex_unlock(&lock);
	return slot;
}

static void give_back(int slot)
{
	pthread_mutex_lock(&lock);
	free_slots[n_free++] = slot;
	pthread_mutex_unlock(&lock);
}

int pin_add(void *addr, size_t len)
{
	int slot = take(), ret = slot;
	uint64_t end;

	if (slot >= 0)
		ret = set_slot(slot, addr, len);
	if (ret < 0 && ret != -EFAULT)
		trouble = ret;
	for (end = now_us() + slow; slow && now_us() < end;)
		;
	added++;
	if (ret < 0 && slot >= 0)
		give_back(slot);
	return ret < 0 ? ret : slot;
}

void pin_drop(int slot)
{
	set_slot(slot, NULL, 0);
	give_back(slot);
}

int pin_read(int slot, const void *addr, uint64_t *word)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
	struct io_uring_cqe *cqe;
	int ret;

	if (!sqe)
		return -EBUSY;
	io_uring_prep_write_fixed(sqe, window_fd, addr, sizeof(*word), 0, slot);
	ret = io_uring_submit_and_wait(&ring, 1);
	if (ret < 0)
		return ret;
	ret = io_uring_wait_cqe(&ring, &cqe);
	if (ret)
		return ret;
	ret = cqe->res;
	io_uring_cqe_seen(&ring, cqe);
	*word = *window;
	if (ret < 0)
		return ret;
	return ret == sizeof(*word) ? 0 : -EIO;
}
