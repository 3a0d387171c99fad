// SPDX-License-Identifier: MIT
/*
 * record.c - the ranges that are watched for libfabric's caches.
 *
 * The race that subscribe closes. libfabric registers, then subscribes:
 *
 *	a registration			somebody else
 *	[since: this thread's last
 *	 subscribe or valid ended]
 *	add_region: pins the pages
 *					munmap, mmap: other pages
 *	subscribe
 *			[Required: not cached]
 *
 * A record that was born before @since and is alive has watched the whole of it (G1: its
 * sequence was taken at birth). One that is born here has not, and neither has one that
 * another thread gave birth to in between.
 */
#include "monitor.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Never goes back, not even when a table is emptied: threads keep old ones. */
static _Atomic uint64_t tick;

uint64_t fi_tick(void)
{
	return atomic_fetch_add(&tick, 1) + 1;
}

int fi_pages(uintptr_t *addr, size_t *len)
{
	uintptr_t mask = (uintptr_t)sysconf(_SC_PAGESIZE) - 1;
	uintptr_t last = *addr + *len - 1;

	if (!*len || last < *addr)
		return -EOVERFLOW;
	last |= mask;
	*addr &= ~mask;
	*len = last - *addr + 1;
	return *len ? 0 : -EOVERFLOW; /* the whole address space */
}

/*
 * Is every page of it mapped? Asked after the watch began: what goes later is heard of.
 * The raw call, for libc's is a cancellation point. MS_ASYNC only looks.
 */
bool fi_mapped(uintptr_t addr, size_t len)
{
	int saved = errno;
	bool ok = !fi_pages(&addr, &len) && !syscall(SYS_msync, addr, len, MS_ASYNC);

	errno = saved;
	return ok;
}

static uint32_t *bucket_of(struct fi_table *t, uintptr_t addr, size_t len)
{
	uint64_t h = (addr ^ len << 20) * 0x9e3779b97f4a7c15ULL;

	return &t->bucket[(h >> 32) % RECORDS];
}

/* With the lock. */
static struct fi_record *find(struct fi_table *t, uintptr_t addr, size_t len)
{
	uint32_t i = *bucket_of(t, addr, len);

	for (; i; i = t->record[i - 1].next) {
		struct fi_record *rec = &t->record[i - 1];

		if (rec->addr == addr && rec->len == len)
			return rec;
	}
	return NULL;
}

static void link_record(struct fi_table *t, struct fi_record *rec)
{
	uint32_t *head = bucket_of(t, rec->addr, rec->len);

	rec->next = *head;
	rec->linked = true;
	*head = (uint32_t)(rec - t->record) + 1;
}

static void unlink_record(struct fi_table *t, struct fi_record *rec)
{
	uint32_t *p = bucket_of(t, rec->addr, rec->len);

	while (*p != (uint32_t)(rec - t->record) + 1)
		p = &t->record[*p - 1].next;
	*p = rec->next;
	rec->linked = false;
}

/*
 * In the reclaimer, or in hmmu_reclaim(). Told first, unlinked afterwards: see struct
 * fi_record. After remove() no callback can reach it (G3), so that it may be born again.
 */
static void bury(struct hmmu_work *work)
{
	struct fi_record *rec =
		(struct fi_record *)((char *)work - offsetof(struct fi_record, work));
	struct fi_table *t = fi_table;

	if (fi_in_op()) { /* this thread holds libfabric's mutex */
		hmmu_defer(t->mm, work, bury);
		return;
	}
	fi_notify(t, rec->addr, rec->len);
	pthread_mutex_lock(&t->lock);
	unlink_record(t, rec);
	pthread_mutex_unlock(&t->lock);
	mmu_interval_notifier_remove(&rec->sub);
	pthread_mutex_lock(&t->lock);
	rec->next = t->free;
	t->free = (uint32_t)(rec - t->record) + 1;
	t->watched--;
	pthread_cond_broadcast(&t->buried);
	pthread_mutex_unlock(&t->lock);
}

/* Any context, a hook included; neither waits nor allocates. */
static void kill_record(struct fi_table *t, struct fi_record *rec)
{
	if (!atomic_exchange(&rec->dead, true))
		hmmu_defer(t->mm, &rec->work, bury);
}

/* Nothing is dropped here, so there is nothing for a driver lock to guard: who looks asks
 * the subscription itself, which has moved already. */
static bool invalidate(struct mmu_interval_notifier *sub,
		       const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	struct fi_record *rec = (struct fi_record *)sub;

	mmu_interval_set_seq(sub, cur_seq);
	kill_record(fi_table, rec);
	return true;
}

static const struct mmu_interval_notifier_ops record_ops = {.invalidate = invalidate};

/* With the lock: make room, one for each that comes; what was used gets a second chance.
 * A few steps at a time, for libfabric's mutex is held. */
static void evict(struct fi_table *t)
{
	for (unsigned int n = 0; n < 64; n++) {
		struct fi_record *rec = &t->record[t->hand++ % RECORDS];

		if (!rec->linked || rec->dead)
			continue;
		if (!rec->used) {
			kill_record(t, rec);
			return;
		}
		rec->used = false;
	}
}

static struct fi_record *take(struct fi_table *t)
{
	struct fi_record *rec = NULL;

	if (RECORDS - t->watched < ROOM)
		evict(t);
	if (t->free) {
		rec = &t->record[t->free - 1];
		t->free = rec->next;
	} else if (t->fresh < RECORDS) {
		rec = &t->record[t->fresh++];
	}
	return rec;
}

/* False for ever once it was false. */
static bool alive(struct fi_table *t, struct fi_record *rec)
{
	if (!rec->dead && hmmu_access_ok(&rec->sub, rec->seq))
		return true;
	kill_record(t, rec); /* undecided for a moment: no callback comes */
	return false;
}

/* With the lock. 0, or why it is not watched. */
static int birth(struct fi_table *t, uintptr_t addr, size_t len, struct fi_record **ret_rec)
{
	static const struct timespec now;
	struct fi_record *rec;
	uintptr_t start = addr;
	size_t length = len;
	int ret = fi_pages(&start, &length);

	if (ret)
		return ret;
	rec = take(t);
	if (!rec)
		return -ENOSPC;
	/* Before the insert: from there on a callback may have it buried, which reads them. */
	rec->dead = false;
	rec->addr = addr;
	rec->len = len;
	rec->used = true;
	ret = mmu_interval_notifier_insert(&rec->sub, t->mm, start, length, &record_ops);
	if (ret) {
		rec->next = t->free;
		t->free = (uint32_t)(rec - t->record) + 1;
		return ret;
	}
	link_record(t, rec);
	t->watched++;
	ret = hmmu_read_begin(&rec->sub, &rec->seq, &now);
	if (!ret && !fi_mapped(addr, len))
		ret = -EFAULT;
	if (!ret && !alive(t, rec))
		ret = -EAGAIN; /* hit already, between the insert and its sequence too */
	rec->born = fi_tick();
	if (ret)
		kill_record(t, rec);
	*ret_rec = rec;
	return ret;
}

static int count_refusal(struct fi_table *t, int ret)
{
	if (ret == -ENOSPC)
		t->once_full++;
	else if (ret == -EAGAIN || ret == -ETIMEDOUT)
		t->once_dead++;
	else
		t->once_other++;
	return ret;
}

/*
 * Watch it, and answer 0 if what was registered just now may be kept. The record is
 * alive when the question about the registration is asked, so that no moment between
 * its beginning and its end in the cache is watched by nobody.
 */
int fi_watch(struct fi_table *t, uintptr_t addr, size_t len, uint64_t since)
{
	struct fi_record *rec;
	bool kept = false;
	int ret = 0;

	pthread_mutex_lock(&t->lock);
	rec = find(t, addr, len);
	if (!rec)
		ret = birth(t, addr, len, &rec);
	else if (!alive(t, rec))
		ret = -EAGAIN;
	if (ret) {
		ret = count_refusal(t, ret);
		goto unlock;
	}
	rec->used = true;
	if (!fi_wrapped(addr, len, &kept))
		kept = (rec->born < since && !(t->flags & HMMU_FI_WRAPPED_ONLY)) ||
		       (t->flags & HMMU_FI_WINDOW_OPEN);
	if (!kept) {
		t->once_window++;
		ret = -EAGAIN;
		goto unlock;
	}
	t->cached++;
unlock:
	pthread_mutex_unlock(&t->lock);
	return ret;
}

bool fi_watched(struct fi_table *t, uintptr_t addr, size_t len)
{
	struct fi_record *rec;
	bool ok;

	pthread_mutex_lock(&t->lock);
	rec = find(t, addr, len);
	ok = rec && alive(t, rec);
	if (ok)
		rec->used = true;
	pthread_mutex_unlock(&t->lock);
	if (ok)
		t->hits++;
	else
		t->misses++;
	return ok;
}

/*
 * Another cache may have the same range, so it only becomes the next to be evicted;
 * if it is registered again before, it is cached at once.
 */
void fi_unwatch(struct fi_table *t, uintptr_t addr, size_t len)
{
	struct fi_record *rec;

	pthread_mutex_lock(&t->lock);
	rec = find(t, addr, len);
	if (rec)
		rec->used = false;
	pthread_mutex_unlock(&t->lock);
}

void fi_forget_all(struct fi_table *t)
{
	pthread_mutex_lock(&t->lock);
	for (uint32_t i = 0; i < t->fresh; i++) {
		if (t->record[i].linked)
			kill_record(t, &t->record[i]);
	}
	pthread_mutex_unlock(&t->lock);
}
