// SPDX-License-Identifier: MIT
/* The cure: the same device, and a subscription to the memory it has cached. */
#define _GNU_SOURCE 1
#include <hmmu/mmu_notifier.h>
#include <liburing.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct io_uring ring;
static struct mmu_interval_notifier sub;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* the driver lock */

static int cache(void *p, size_t len) /* our shadow: slot 0 of the ring */
{
	return io_uring_register_buffers_update_tag(&ring, 0, &(struct iovec){p, len}, NULL, 1);
}

/* The memory is about to change: drop what is cached of it. */
static bool invalidate(struct mmu_interval_notifier *s, const struct mmu_notifier_range *range,
		       unsigned long seq)
{
	if (pthread_mutex_trylock(&lock)) {
		if (!mmu_notifier_range_blockable(range))
			return false;
		pthread_mutex_lock(&lock);
	}
	mmu_interval_set_seq(s, seq);
	cache(NULL, 0);
	pthread_mutex_unlock(&lock);
	return true;
}

static const struct mmu_interval_notifier_ops ops = {.invalidate = invalidate};

static unsigned long load(char *p) /* the reader's loop: cache the translation of p */
{
	for (;;) {
		unsigned long seq = mmu_interval_read_begin(&sub); /* waits while it changes */

		pthread_mutex_lock(&lock);
		cache(p, 4096); /* pins what is there now... */
		if (!mmu_interval_read_retry(&sub, seq)) {
			pthread_mutex_unlock(&lock);
			return seq;
		}
		cache(NULL, 0); /* ...and it changed meanwhile */
		pthread_mutex_unlock(&lock);
	}
}

int main(void)
{
	char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
	     c;
	int fd = memfd_create("file", 0);
	struct mm_struct *mm;
	unsigned long seq;

	io_uring_queue_init(4, &ring, 0);
	io_uring_register_buffers_sparse(&ring, 1);
	if (hmmu_mm_open(&mm, NULL)) /* every munmap, mmap, ... of this process is bracketed */
		return 77;
	mmu_interval_notifier_insert(&sub, mm, (unsigned long)p, 4096, &ops);

	memset(p, 'A', 4096);
	seq = load(p);
	munmap(p, 4096); /* calls invalidate() before the pages go */
	memset(mmap(p, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		    -1, 0),
	       'B', 4096);
	if (!hmmu_access_ok(&sub, seq)) /* before each use: two loads */
		seq = load(p);
	io_uring_prep_write_fixed(io_uring_get_sqe(&ring), fd, p, 4096, 0, 0);
	io_uring_submit_and_wait(&ring, 1);
	if (pread(fd, &c, 1, 0) != 1)
		return 1;
	printf("memory holds B, the device wrote %c\n", c);
	mmu_interval_notifier_remove(&sub);
	return c == 'B' ? 0 : 1;
}
