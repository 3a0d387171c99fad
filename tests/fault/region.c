// SPDX-License-Identifier: MIT
/* region.c - memory with a generation, and the device that caches it. See life.h. */
#include <errno.h>
#include <sys/syscall.h>

#include "inject.h"
#include "life.h"
#include "wraps.h"
#include "arch/syscall.h"

#define PATIENCE 8	 /* s: longer no reader waits if nothing fails any more */
#define LIFTED_AFTER 0.6 /* s: what fails for ever ends */

static _Atomic uint64_t generation = 1;

/* In the same place in each run: the summary needs memory for each GiB. */
void *fresh(size_t size)
{
	static _Atomic uint64_t next = 0x300000000000UL;
	long p = hmmu_syscall6(SYS_mmap, (long)atomic_fetch_add(&next, size + PAGE), (long)size,
			       PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (hmmu_is_err(p))
		broken("the test has no memory");
	return (void *)p;
}

static bool invalidate(struct mmu_interval_notifier *sub,
		       const struct mmu_notifier_range *range, unsigned long seq)
{
	struct region *r = (struct region *)sub;

	atomic_fetch_add(&r->calls, 1);
	if (r->inside)
		r->inside(r);
	pthread_mutex_lock(&r->lock);
	mmu_interval_set_seq(sub, seq);
	r->cached = false;
	pthread_mutex_unlock(&r->lock);
	return true;
}

static const struct mmu_interval_notifier_ops ops = {.invalidate = invalidate};

void region_new(struct region *r, void *at)
{
	*r = (struct region){.at = at, .lock = PTHREAD_MUTEX_INITIALIZER};
	region_store(r);
}

void region_store(struct region *r)
{
	r->truth = atomic_fetch_add(&generation, 1);
	for (size_t at = 0; at < REGION; at += PAGE)
		*(volatile uint64_t *)(r->at + at) = r->truth;
}

int region_insert(struct region *r, struct mm_struct *mm)
{
	int ret = quiet(
		mmu_interval_notifier_insert(&r->sub, mm, (unsigned long)r->at, REGION, &ops));

	DOCUMENTED("insert", ret, EOVERFLOW, EINVAL, ENOMEM, ENODEV);
	if (ret == -EOVERFLOW || ret == -EINVAL || ret == -ENODEV)
		broken("undocumented: insert answered %d, which does not fit", ret);
	r->mm = mm;
	r->inserted = !ret;
	return ret;
}

void region_remove(struct region *r)
{
	if (!r->inserted)
		return;
	pthread_mutex_lock(&r->lock);
	r->cached = false;
	pthread_mutex_unlock(&r->lock);
	quiet_void(mmu_interval_notifier_remove(&r->sub));
	r->inserted = false;
}

/* 0, -ENODEV, or for ever: what fails for ever may keep a reader waiting, not longer. */
static int begin(struct region *r, unsigned long *seq)
{
	for (bool lifted = false;;) {
		struct timespec deadline =
			fault_deadline(fault_fails() ? LIFTED_AFTER : PATIENCE);
		int ret;

		ret = quiet(hmmu_read_begin(&r->sub, seq, &deadline));
		DOCUMENTED("read_begin", ret, ETIMEDOUT, ENODEV);
		if (ret != -ETIMEDOUT)
			return ret;
		if (lifted || !fault_fails())
			broken("hang: a reader waits for an end that does not come");
		fault_disarm();
		fault->waits++;
		lifted = true;
	}
}

bool region_load(struct region *r)
{
	unsigned long seq;
	bool collided;
	uint64_t got;
	int ret;

	if (!r->inserted)
		return false;
	do {
		ret = begin(r, &seq);
		if (ret) {
			if (!mmu_interval_check_retry(&r->sub, seq))
				broken("stale: not watched, and its sequence holds");
			if (!fault_failed())
				broken("unwatched: nothing failed");
			fault->unwatched++;
			return false;
		}
		got = *(volatile uint64_t *)r->at;
		pthread_mutex_lock(&r->lock);
		collided = mmu_interval_read_retry(&r->sub, seq);
		if (!collided) {
			r->shadow = got;
			r->cached = true;
			r->seq = seq;
		}
		pthread_mutex_unlock(&r->lock);
	} while (collided);
	return true;
}

void region_check(struct region *r, const char *after)
{
	bool ok, stale;

	if (!r->inserted)
		return;
	ok = quiet(hmmu_access_ok(&r->sub, r->seq));
	pthread_mutex_lock(&r->lock);
	stale = r->cached && ok && r->shadow != r->truth;
	pthread_mutex_unlock(&r->lock);
	if (stale)
		broken("stale: after %s the device would use %llu, the memory holds %llu",
		       after, (unsigned long long)r->shadow, (unsigned long long)r->truth);
}
