// SPDX-License-Identifier: MIT
/*
 * mr.c - fi_mr_reg() inside the reader's loop.
 *
 *	the wrapper			somebody else
 *	insert, read_begin
 *	fi_mr_reg: pins the pages
 *					start: count moves; munmap; end; mmap: other pages
 *	fi_mr_reg: subscribe
 *	  asks fi_wrapped(): moved, so "use once"
 *	read_retry() == true		[Required]
 *	forget, close, again
 *
 * If the change comes before the pinning, the registration is made of the new pages and once
 * more, which is sound. If it comes after the subscription, the record of that has died with
 * ours: the next search misses. A cached registration that fi_mr_reg found by a hit was good
 * when valid() was asked, after read_begin, and so it is covered from there on.
 *
 * There is no driver lock: nothing is installed that is not asked again (hmmu_fi_mr_valid()).
 */
#include "monitor.h"

#include <errno.h>
#include <stdlib.h>

#define IOV_MAX_WATCHED 64

/* Since 1.20; older headers know neither it nor what attr then holds in place of iov. */
#ifndef FI_MR_DMABUF
#define FI_MR_DMABUF (1ULL << 40)
#endif

struct watch {
	struct mmu_interval_notifier sub;
	unsigned long seq;
	uintptr_t addr; /* whole pages, as is the next */
	size_t len;
};

struct hmmu_fi_mr {
	struct fid_mr *fid;
	struct mm_struct *mm;
	struct hmmu_fi_mr *outer; /* while registering: who was at it in this thread */
	size_t count;
	struct watch watch[];
};

/* One of the three forms of fi_mr_reg(). */
struct request {
	enum { REG, REGV, REGATTR } form;
	struct fid_domain *domain;
	const struct fi_mr_attr *attr;
	uint64_t flags;
};

FI_THREAD struct hmmu_fi_mr *registering;

static bool moved(struct hmmu_fi_mr *mr)
{
	bool ret = false;

	for (size_t i = 0; i < mr->count; i++)
		ret |= mmu_interval_read_retry(&mr->watch[i].sub, mr->watch[i].seq);
	return ret;
}

bool fi_wrapped(uintptr_t addr, size_t len, bool *kept)
{
	struct hmmu_fi_mr *mr = registering;

	if (!mr || fi_pages(&addr, &len))
		return false;
	for (size_t i = 0; i < mr->count; i++) {
		/* A provider may register more than it was asked for: that is watched by
		 * nobody. */
		if (addr < mr->watch[i].addr ||
		    addr + len - 1 > mr->watch[i].addr + mr->watch[i].len - 1)
			continue;
		*kept = !moved(mr);
		return true;
	}
	return false;
}

static bool invalidate(struct mmu_interval_notifier *sub,
		       const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	mmu_interval_set_seq(sub, cur_seq);
	return true;
}

static const struct mmu_interval_notifier_ops watch_ops = {.invalidate = invalidate};

static void forget_watches(struct hmmu_fi_mr *mr)
{
	while (mr->count)
		mmu_interval_notifier_remove(&mr->watch[--mr->count].sub);
}

static int insert_watches(struct hmmu_fi_mr *mr, const struct iovec *iov, size_t n)
{
	for (; mr->count < n; mr->count++, iov++) {
		struct watch *w = &mr->watch[mr->count];
		int ret;

		w->addr = (uintptr_t)iov->iov_base;
		w->len = iov->iov_len;
		ret = fi_pages(&w->addr, &w->len);
		if (!ret)
			ret = mmu_interval_notifier_insert(&w->sub, mr->mm, w->addr, w->len,
							   &watch_ops);
		if (ret)
			return ret;
	}
	return 0;
}

static int begin(struct hmmu_fi_mr *mr, const struct timespec *deadline)
{
	for (size_t i = 0; i < mr->count; i++) {
		struct watch *w = &mr->watch[i];
		int ret = hmmu_read_begin(&w->sub, &w->seq, deadline);

		if (ret)
			return ret;
		if (!fi_mapped(w->addr, w->len))
			return -EFAULT;
	}
	return 0;
}

static int call(const struct request *r, struct fid_mr **fid)
{
	const struct fi_mr_attr *a = r->attr;

	switch (r->form) {
	case REG:
		return fi_mr_reg(r->domain, a->mr_iov->iov_base, a->mr_iov->iov_len, a->access,
				 a->offset, a->requested_key, r->flags, fid, a->context);
	case REGV:
		return fi_mr_regv(r->domain, a->mr_iov, a->iov_count, a->access, a->offset,
				  a->requested_key, r->flags, fid, a->context);
	default:
		return fi_mr_regattr(r->domain, a, r->flags, fid);
	}
}

/* The caches drop what they have of it, whatever their provider does at a look-up. */
static void drop_cached(struct hmmu_fi_mr *mr)
{
	struct fi_table *t = fi_table;

	if (!t || t->mm != mr->mm)
		return;
	t->collisions++;
	for (size_t i = 0; i < mr->count; i++)
		fi_notify(t, mr->watch[i].addr, mr->watch[i].len);
}

static bool expired(const struct timespec *deadline)
{
	struct timespec now;

	if (!deadline)
		return false;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec > deadline->tv_sec ||
	       (now.tv_sec == deadline->tv_sec && now.tv_nsec >= deadline->tv_nsec);
}

/* One turn of the loop. -EAGAIN with *collided: go round again. */
static int turn(struct hmmu_fi_mr *mr, const struct request *r, const struct timespec *deadline,
		bool *collided)
{
	int ret = begin(mr, deadline), err = 0;

	*collided = false;
	if (ret)
		return ret;
	mr->fid = NULL;
	mr->outer = registering;
	registering = mr;
	ret = call(r, &mr->fid);
	registering = mr->outer;
	/* A failure may be the change's doing, too. */
	*collided = moved(mr);
	if (!*collided)
		return ret;
	drop_cached(mr);
	if (!ret)
		err = fi_close(&mr->fid->fid);
	if (err) {
		*collided = false;
		return err;
	}
	return expired(deadline) ? -ETIMEDOUT : -EAGAIN;
}

static int check_request(struct mm_struct *mm, const struct request *r,
			 struct hmmu_fi_mr **ret_mr)
{
	const struct fi_mr_attr *a = r->attr;

	if (!mm || !r->domain || !a || !ret_mr)
		return -EINVAL;
	if (r->form == REGATTR && (a->iface != FI_HMEM_SYSTEM || (r->flags & FI_MR_DMABUF)))
		return -EOPNOTSUPP;
	if (!a->mr_iov || !a->iov_count || a->iov_count > IOV_MAX_WATCHED)
		return -EINVAL;
	return 0;
}

static int reg(struct mm_struct *mm, const struct request *r, const struct timespec *deadline,
	       struct hmmu_fi_mr **ret_mr)
{
	struct hmmu_fi_mr *mr;
	bool collided;
	int ret = check_request(mm, r, ret_mr), saved = errno;

	if (ret)
		return ret;
	mr = calloc(1, sizeof(*mr) + r->attr->iov_count * sizeof(mr->watch[0]));
	if (!mr) {
		/* clang takes it that calloc leaves errno alone, and drops a plain store */
		*(volatile int *)&errno = saved;
		return -ENOMEM;
	}
	mr->mm = mm;
	ret = insert_watches(mr, r->attr->mr_iov, r->attr->iov_count);
	if (ret)
		goto err;
	do {
		ret = turn(mr, r, deadline, &collided);
	} while (collided && ret == -EAGAIN);
	if (ret)
		goto err;
	*ret_mr = mr;
	return 0;
err:
	forget_watches(mr);
	free(mr);
	return ret;
}

FI_PUBLIC int hmmu_fi_mr_reg(struct mm_struct *mm, struct fid_domain *domain, const void *buf,
			     size_t len, uint64_t access, uint64_t offset,
			     uint64_t requested_key, uint64_t flags, struct hmmu_fi_mr **mr,
			     void *context)
{
	struct iovec iov = {(void *)(uintptr_t)buf, len};
	struct fi_mr_attr attr = {
		.mr_iov = &iov,
		.iov_count = 1,
		.access = access,
		.offset = offset,
		.requested_key = requested_key,
		.context = context,
	};
	struct request r = {REG, domain, &attr, flags};

	return reg(mm, &r, NULL, mr);
}

FI_PUBLIC int hmmu_fi_mr_regv(struct mm_struct *mm, struct fid_domain *domain,
			      const struct iovec *iov, size_t count, uint64_t access,
			      uint64_t offset, uint64_t requested_key, uint64_t flags,
			      struct hmmu_fi_mr **mr, void *context)
{
	struct fi_mr_attr attr = {
		.mr_iov = iov,
		.iov_count = count,
		.access = access,
		.offset = offset,
		.requested_key = requested_key,
		.context = context,
	};
	struct request r = {REGV, domain, &attr, flags};

	return reg(mm, &r, NULL, mr);
}

FI_PUBLIC int hmmu_fi_mr_regattr(struct mm_struct *mm, struct fid_domain *domain,
				 const struct fi_mr_attr *attr, uint64_t flags,
				 const struct timespec *deadline, struct hmmu_fi_mr **mr)
{
	struct request r = {REGATTR, domain, attr, flags};

	return reg(mm, &r, deadline, mr);
}

FI_PUBLIC struct fid_mr *hmmu_fi_mr_fid(const struct hmmu_fi_mr *mr)
{
	return mr->fid;
}

FI_PUBLIC bool hmmu_fi_mr_valid(struct hmmu_fi_mr *mr)
{
	for (size_t i = 0; i < mr->count; i++) {
		if (!hmmu_access_ok(&mr->watch[i].sub, mr->watch[i].seq))
			return false;
	}
	return true;
}

FI_PUBLIC int hmmu_fi_mr_close(struct hmmu_fi_mr *mr)
{
	int ret = 0;

	if (!mr)
		return -EINVAL;
	if (hmmu_mm_describe(mr->mm, NULL, 0) != -ENODEV)
		ret = fi_close(&mr->fid->fid);
	if (ret)
		return ret;
	forget_watches(mr);
	free(mr);
	return 0;
}
