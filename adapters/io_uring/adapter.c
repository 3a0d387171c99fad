// SPDX-License-Identifier: MIT
/* adapter.c - open, close, statistics. */
#include "adapter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int check_options(struct hmmu_uring_options *o, const struct hmmu_uring_options *given)
{
	*o = (struct hmmu_uring_options)HMMU_URING_DEFAULTS;
	if (given) {
		if (given->size != sizeof(*o))
			return -EINVAL;
		*o = *given;
	}
	for (size_t i = 0; i < sizeof(o->reserved) / sizeof(o->reserved[0]); i++)
		if (o->reserved[i])
			return -EINVAL;
	if (!o->slots || o->slots > HMMU_URING_MAX_SLOTS || o->flags)
		return -EINVAL;
	return o->max_bytes && o->max_merged ? 0 : -EINVAL;
}

/* A page of its own that a forked child finds zeroed, also a child of the bare system call:
 * getpid() before each request would cost a system call. */
static int mark_ours(struct hmmu_uring *u)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint64_t *p =
		mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	if (madvise(p, page, MADV_WIPEONFORK)) {
		int err = -errno;

		munmap(p, page);
		return err;
	}
	*p = 1;
	u->ours = p;
	return 0;
}

static void unmark_ours(struct hmmu_uring *u)
{
	munmap((void *)u->ours, (size_t)sysconf(_SC_PAGESIZE));
}

static int open_cache(struct hmmu_uring *u, struct mm_struct *mm,
		      const struct hmmu_uring_options *o)
{
	struct hmmu_regcache_options cache = HMMU_REGCACHE_DEFAULTS;

	cache.mm = mm;
	cache.alignment = (unsigned long)sysconf(_SC_PAGESIZE);
	cache.max_regions = o->slots;
	cache.max_bytes = o->max_bytes;
	cache.max_locked = o->max_bytes;
	cache.max_merged = o->max_merged;
	/* io_uring pins for writing, and answers -EFAULT where it cannot. */
	cache.flags = HMMU_REGCACHE_REG_CHECKS;
	return hmmu_regcache_create(&u->cache, &region_ops, u, &cache);
}

static int open_with(struct hmmu_uring **answer, struct io_uring *ring, struct mm_struct *mm,
		     const struct hmmu_uring_options *o)
{
	struct hmmu_uring *u = calloc(1, sizeof(*u));
	int ret = -ENOMEM;

	if (!u)
		return ret;
	u->ring = ring;
	u->single_issuer = (ring->flags & IORING_SETUP_SINGLE_ISSUER) != 0;
	u->max_wait_ns = o->max_wait_ns;
	atomic_init(&u->issuer, pthread_self());
	ret = mark_ours(u);
	if (ret)
		goto err_free;
	ret = slots_open(u, o->slots);
	if (ret)
		goto err_unmark;
	ret = open_cache(u, mm, o);
	if (ret)
		goto err_slots;
	*answer = u;
	return 0;

err_slots:
	slots_close(u);
err_unmark:
	unmark_ours(u);
err_free:
	free(u);
	return ret;
}

PUBLIC int hmmu_uring_open(struct hmmu_uring **u, struct io_uring *ring, struct mm_struct *mm,
			   const struct hmmu_uring_options *options)
{
	struct hmmu_uring_options o;
	int saved = errno, ret = check_options(&o, options);

	if (ret || !u || !ring)
		return -EINVAL;
	ret = open_with(u, ring, mm, &o);
	errno = saved;
	return ret;
}

PUBLIC int hmmu_uring_close(struct hmmu_uring *u)
{
	int saved = errno, ret;

	if (!u)
		return -EINVAL;
	/* All regions are deregistered when it returns, the dead ones too. */
	ret = hmmu_regcache_destroy(u->cache);
	if (ret && !in_child(u))
		goto out;
	ret = 0;
	/* In a child the ring, and locks that were held at the fork, are the parent's. */
	if (!in_child(u))
		slots_close(u);
	unmark_ours(u);
	free(u);
out:
	errno = saved;
	return ret;
}

PUBLIC const char *hmmu_uring_why(int error)
{
	switch (error < 0 ? -error : error) {
	case EBUSY:
		return "the ring has a table of fixed buffers already (open), or requests are "
		       "in flight (close)";
	case EEXIST:
		return "IORING_SETUP_SINGLE_ISSUER: only the thread that submits may register "
		       "buffers";
	case EACCES:
	case EBADFD:
		return "the ring's restrictions forbid it, or it is not enabled yet";
	case EOPNOTSUPP:
		return "the kernel has no sparse tables of fixed buffers (Linux 5.19), or the "
		       "memory cannot be watched here";
	case ENOMEM:
	case ENOBUFS:
		return "no slot, max_bytes or RLIMIT_MEMLOCK, and nothing that could be "
		       "evicted";
	case EFAULT:
		return "cannot be pinned: unmapped, read-only, a device's, or a shared mapping "
		       "of a disk's file";
	case E2BIG:
		return "more bytes than a slot can hold";
	case ETIMEDOUT:
		return "the memory was being changed at that moment";
	case ESTALE:
		return "the memory changed between preparation and completion: old pages were "
		       "read or written";
	case EAGAIN:
		return "the submission queue is full: submit first";
	case ENODEV:
		return "not watched: a forked child, or memory of which nobody tells";
	default:
		return strerror(error < 0 ? -error : error); // NOLINT(concurrency-mt-unsafe)
	}
}

PUBLIC struct hmmu_regcache *hmmu_uring_cache(struct hmmu_uring *u)
{
	return u ? u->cache : NULL;
}

static uint64_t counted(struct hmmu_uring *u, enum counter which)
{
	return atomic_load_explicit(&u->counts[which], memory_order_relaxed);
}

PUBLIC void hmmu_uring_stat(struct hmmu_uring *u, struct hmmu_uring_stats *stats)
{
	*stats = (struct hmmu_uring_stats){
		.fixed = counted(u, COUNT_FIXED),
		.plain_room = counted(u, COUNT_ROOM),
		.plain_size = counted(u, COUNT_SIZE),
		.plain_changing = counted(u, COUNT_CHANGING),
		.plain_unwatched = counted(u, COUNT_UNWATCHED),
		.plain_unpinned = counted(u, COUNT_UNPINNED),
		.plain_others = counted(u, COUNT_OTHERS),
		.stale = counted(u, COUNT_STALE),
		.emptied = counted(u, COUNT_EMPTIED),
		.empty_failed = counted(u, COUNT_EMPTY_FAILED),
		.slots = u->slots.nr,
	};
	stats->plain = stats->plain_room + stats->plain_size + stats->plain_changing +
		       stats->plain_unwatched + stats->plain_unpinned + stats->plain_others;
	if (in_child(u))
		return;
	pthread_mutex_lock(&u->slots.lock);
	stats->slots_free = u->slots.nr_free;
	stats->slots_dead = atomic_load_explicit(&u->slots.nr_dead, memory_order_relaxed);
	pthread_mutex_unlock(&u->slots.lock);
	hmmu_regcache_stat(u->cache, &stats->cache);
}
