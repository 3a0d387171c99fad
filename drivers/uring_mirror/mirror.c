// SPDX-License-Identifier: MIT
/* mirror.c - opening and closing a mirror: the ring, the staging file, the tables. */
#include "mirror.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define DEFAULT_SLOTS 1024u
#define DEFAULT_DEPTH 64u
#define MAX_BLOCK (1u << 30)

static int check_options(struct uring_mirror_options *o,
			 const struct uring_mirror_options *given)
{
	unsigned int page = (unsigned int)sysconf(_SC_PAGESIZE);

	*o = (struct uring_mirror_options){.size = sizeof(*o)};
	if (given) {
		if (given->size != sizeof(*o))
			return -EINVAL;
		*o = *given;
	}
	for (size_t i = 0; i < sizeof(o->reserved) / sizeof(o->reserved[0]); i++)
		if (o->reserved[i])
			return -EINVAL;
	if (!o->slots)
		o->slots = DEFAULT_SLOTS;
	if (!o->depth)
		o->depth = DEFAULT_DEPTH;
	if (!o->block)
		o->block = page;
	if (o->slots > URING_MIRROR_MAX_SLOTS || o->depth > URING_MIRROR_MAX_DEPTH)
		return -EINVAL;
	if (o->block < page || o->block > MAX_BLOCK || (o->block & (o->block - 1)))
		return -EINVAL;
	return 0;
}

/*
 * The staging file. io_uring hands a buffered write to a regular file to a worker
 * thread (46 us alone, 2.4 us in a batch); opened again with O_DIRECT, which tmpfs
 * accepts since 6.6, it is done in place (0.5 us). O_NONBLOCK does the same for
 * reads. Where that is refused the plain descriptor works as well, slower.
 */
static int open_staging(struct uring_mirror *m)
{
	size_t size = (size_t)m->depth << m->block_shift;
	char path[sizeof("/proc/self/fd/") + 12];
	int fd = memfd_create("uring_mirror staging", MFD_CLOEXEC), again;
	void *map;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) < 0)
		goto err;
	/* Populated: a page allocated here is not allocated during an access. */
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (map == MAP_FAILED)
		goto err;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDWR | O_CLOEXEC | O_DIRECT | O_NONBLOCK);
	if (again >= 0) {
		close(fd);
		fd = again;
	}
	m->staging = map;
	m->staging_fd = fd;
	return 0;
err:
	again = -errno;
	close(fd);
	return again;
}

static void close_staging(struct uring_mirror *m)
{
	munmap(m->staging, (size_t)m->depth << m->block_shift);
	close(m->staging_fd);
}

static int open_ring(struct uring_mirror *m)
{
	struct io_uring_params params = {.flags = IORING_SETUP_CQSIZE};
	int ret;

	/*
	 * Room for every completion, every tag and a cancellation at once: the
	 * queue cannot overflow, so a callback's update never allocates in it.
	 * One submission entry more than depth: the cancellation's.
	 */
	params.cq_entries = m->depth + m->nr_slots + 1;
	ret = io_uring_queue_init_params(m->depth + 1, &m->ring, &params);
	if (ret)
		return ret;
	ret = slots_init(m);
	if (ret)
		io_uring_queue_exit(&m->ring);
	return ret;
}

int uring_mirror_open_with(struct uring_mirror **mirror, struct mm_struct *mm,
			   const struct uring_mirror_options *options,
			   const struct uring_coherence *coherence)
{
	struct uring_mirror_options o;
	struct uring_mirror *m;
	int ret = check_options(&o, options);

	if (ret || !mirror)
		return ret ? ret : -EINVAL;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->mm = mm;
	m->coherence = coherence;
	m->pid = getpid();
	m->block_shift = (unsigned int)__builtin_ctz(o.block);
	m->nr_slots = o.slots;
	m->depth = o.depth;
	m->dead = SLOT_NONE;
	m->filling = SLOT_NONE;
	m->queue_tail = &m->queue;
	m->done_tail = &m->done;
	pthread_mutex_init(&m->lock, NULL);
	m->slots = calloc(m->nr_slots, sizeof(*m->slots));
	m->free = calloc(m->nr_slots, sizeof(*m->free));
	ret = -ENOMEM;
	if (!m->slots || !m->free)
		goto err_tables;
	ret = open_staging(m);
	if (ret)
		goto err_tables;
	ret = open_ring(m);
	if (ret)
		goto err_staging;
	*mirror = m;
	return 0;

err_staging:
	close_staging(m);
err_tables:
	free(m->slots);
	free(m->free);
	free(m);
	return ret;
}

int uring_mirror_open(struct uring_mirror **mirror, struct mm_struct *mm,
		      const struct uring_mirror_options *options)
{
	return mm ? uring_mirror_open_with(mirror, mm, options, &uring_coherence_hmmu)
		  : -EINVAL;
}

/* Nothing of the owner's is left in the kernel when it returns. */
static void cancel_all(struct uring_mirror *m)
{
	struct io_uring_sqe *sqe;

	queue_abandon(m);
	if (m->flying && (sqe = io_uring_get_sqe(&m->ring))) {
		io_uring_prep_cancel64(sqe, 0,
				       IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY);
		sqe->user_data = CANCEL_DATA;
		io_uring_submit(&m->ring);
	}
	while (m->flying)
		if (reap_wait(m, NULL))
			break; /* the ring itself failed: its exit waits for them */
}

void uring_mirror_close(struct uring_mirror *m)
{
	bool child;

	if (!m)
		return;
	child = getpid() != m->pid;
	if (!child)
		cancel_all(m);
	while (m->windows) {
		m->windows->busy = 0;
		uring_mirror_unwatch(m->windows);
	}
	/*
	 * Waits until the last pin is gone, without waiting for tags one by one,
	 * which old kernels (6.1) return a second late.
	 */
	if (!child)
		io_uring_unregister_buffers(&m->ring);
	/* In a child this unmaps the child's view and closes its descriptors. */
	io_uring_queue_exit(&m->ring);
	close_staging(m);
	if (!child)
		pthread_mutex_destroy(&m->lock);
	free(m->slots);
	free(m->free);
	free(m);
}

const char *uring_mirror_why(int error)
{
	switch (error < 0 ? -error : error) {
	case ENOSYS:
		return "no io_uring: the kernel has none, or a container's filter hides it";
	case EPERM:
		return "io_uring is refused: kernel.io_uring_disabled, or a container's filter";
	case EFAULT:
		return "cannot be pinned: unmapped, read-only, PROT_NONE, or a shared disk "
		       "file";
	case ENOMEM:
		return "RLIMIT_MEMLOCK does not allow more pinned memory (or memory is out)";
	case ETIMEDOUT:
		return "its range was being invalidated until the deadline";
	case ESTALE:
		return "invalidated during the access: discarded";
	case ENODEV:
		return "nothing watches this address space, so nothing may be cached";
	case ECANCELED:
		return "the mirror was closed";
	default:
		return strerror(error < 0 ? -error : error);
	}
}

void *uring_mirror_buffer(struct uring_mirror *m, unsigned int index)
{
	return index < m->depth ? m->staging + ((size_t)index << m->block_shift) : NULL;
}

void uring_mirror_stats(struct uring_mirror *m, struct uring_mirror_stats *stats)
{
	struct hmmu_mirror_stats table;

	*stats = m->stats;
	for (struct uring_window *w = m->windows; w; w = w->next) {
		hmmu_mirror_stat(w->table, &table);
		stats->retries += table.retries;
	}
	pthread_mutex_lock(&m->lock);
	stats->callbacks = m->callbacks;
	stats->busy = m->busy_callbacks;
	stats->zapped = m->zapped;
	pthread_mutex_unlock(&m->lock);
	stats->pinned = m->nr_slots - m->nr_free;
}
