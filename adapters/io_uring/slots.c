// SPDX-License-Identifier: MIT
/* slots.c - the ring's table of fixed buffers: free slots, dead slots, emptying. */
#include "adapter.h"

#include <errno.h>

/* Neighbouring dead slots are emptied by one call of at most so many. */
#define RUN 64

static bool bit_of(const uint64_t *map, unsigned int slot)
{
	return map[slot / 64] >> slot % 64 & 1;
}

static void bit_flip(uint64_t *map, unsigned int slot)
{
	map[slot / 64] ^= UINT64_C(1) << slot % 64;
}

static unsigned int nr_dead(const struct slots *s)
{
	return atomic_load_explicit(&s->nr_dead, memory_order_relaxed);
}

static void set_nr_dead(struct slots *s, unsigned int n)
{
	atomic_store_explicit(&s->nr_dead, n, memory_order_relaxed);
}

/* liburing may leave errno changed, according to how it was built. How many, or -errno. */
static int update(struct hmmu_uring *u, unsigned int first, const struct iovec *iov,
		  unsigned int n)
{
	int saved = errno;
	int ret = io_uring_register_buffers_update_tag(u->ring, first, iov, NULL, n);

	errno = saved;
	return ret ? ret : -EIO;
}

/*
 * All slots empty. The update proves that this thread may register, and that the kernel knows
 * the call, before anything depends on it.
 */
int slots_open(struct hmmu_uring *u, unsigned int nr)
{
	static const struct iovec nothing;
	int ret = io_uring_register_buffers_sparse(u->ring, nr);

	if (ret < 0)
		return ret == -EINVAL ? -EOPNOTSUPP : ret;
	ret = update(u, 0, &nothing, 1);
	if (ret < 0) {
		io_uring_unregister_buffers(u->ring);
		return ret;
	}
	pthread_mutex_init(&u->slots.lock, NULL);
	u->slots.nr = u->slots.nr_free = nr;
	for (unsigned int s = 0; s < nr; s++)
		bit_flip(u->slots.free, s);
	return 0;
}

/* Nobody holds a region any more. What the ring refuses to give back, its exit does. */
void slots_close(struct hmmu_uring *u)
{
	while (io_uring_unregister_buffers(u->ring) == -EINTR)
		;
	pthread_mutex_destroy(&u->slots.lock);
}

/* 0; -ENOMEM: none is free, which makes the cache evict. */
int slot_take(struct hmmu_uring *u, unsigned int *slot)
{
	struct slots *s = &u->slots;
	unsigned int words = (s->nr + 63) / 64;
	int ret = -ENOMEM;

	pthread_mutex_lock(&s->lock);
	if (s->nr_free) {
		while (!s->free[s->hint])
			s->hint = (s->hint + 1) % words;
		*slot = s->hint * 64 + (unsigned int)__builtin_ctzll(s->free[s->hint]);
		bit_flip(s->free, *slot);
		s->nr_free--;
		ret = 0;
	}
	pthread_mutex_unlock(&s->lock);
	return ret;
}

void slot_give_back(struct hmmu_uring *u, unsigned int slot)
{
	pthread_mutex_lock(&u->slots.lock);
	bit_flip(u->slots.free, slot);
	u->slots.nr_free++;
	pthread_mutex_unlock(&u->slots.lock);
}

/* Reads the truth: faults the pages in for writing and pins them. */
int slot_fill(struct hmmu_uring *u, unsigned int slot, void *addr, size_t len)
{
	struct iovec iov = {addr, len};
	int ret = update(u, slot, &iov, 1);

	return ret < 0 ? ret : 0;
}

/*
 * Empty @n slots that the caller has. Those that the kernel did not empty are dead again: for
 * want of memory, because this is not the issuer, or because the ring's descriptor is
 * registered with another thread only. Emptied are also those of a table that is gone.
 */
static int empty(struct hmmu_uring *u, unsigned int first, unsigned int n)
{
	static const struct iovec nothing[RUN];
	int ret = update(u, first, nothing, n);
	unsigned int done = ret < 0 ? 0 : (unsigned int)ret;

	if (ret == -ENXIO)
		done = n;
	pthread_mutex_lock(&u->slots.lock);
	for (unsigned int i = 0; i < n; i++)
		bit_flip(i < done ? u->slots.free : u->slots.dead, first + i);
	u->slots.nr_free += done;
	set_nr_dead(&u->slots, nr_dead(&u->slots) + n - done);
	pthread_mutex_unlock(&u->slots.lock);
	count(u, COUNT_EMPTIED, done);
	if (done == n)
		return 0;
	count(u, COUNT_EMPTY_FAILED, 1);
	return ret < 0 ? ret : -EIO;
}

/* Its region is over: no request names it, no get will. Any thread. */
void slot_release(struct hmmu_uring *u, unsigned int slot)
{
	if (!u->single_issuer) {
		empty(u, slot, 1);
		return;
	}
	pthread_mutex_lock(&u->slots.lock);
	bit_flip(u->slots.dead, slot);
	set_nr_dead(&u->slots, nr_dead(&u->slots) + 1);
	pthread_mutex_unlock(&u->slots.lock);
}

/* The next run of dead slots from @from on becomes the caller's. How many. */
static unsigned int take_dead(struct slots *s, unsigned int from, unsigned int *first)
{
	unsigned int n = 0;

	pthread_mutex_lock(&s->lock);
	while (from < s->nr && !bit_of(s->dead, from)) {
		if (from % 64 == 0 && !s->dead[from / 64])
			from += 64;
		else
			from++;
	}
	*first = from;
	while (n < RUN && from + n < s->nr && bit_of(s->dead, from + n))
		bit_flip(s->dead, from + n++);
	set_nr_dead(s, nr_dead(s) - n);
	pthread_mutex_unlock(&s->lock);
	return n;
}

/* Once over the table, until the kernel refuses. The issuer, if there is one. */
int slots_empty_dead(struct hmmu_uring *u)
{
	unsigned int first = 0, n;
	int err = 0;

	while (!err && (n = take_dead(&u->slots, first, &first))) {
		err = empty(u, first, n);
		first += n;
	}
	return err;
}
