// SPDX-License-Identifier: MIT
/*
 * region.c - the cache's device.
 *
 * handle: the ibv_mr. key: lkey, rkey, 0, our struct region.
 *
 * ibv_reg_mr() reads the truth: the kernel walks the page tables and pins what it finds. It
 * runs inside the cache's reader's loop (G1, meeting 1): what changes meanwhile makes the
 * cache undo it and begin again. It may allocate, unmap and advise (MADV_DONTFORK): no lock is
 * held here, and nothing of that is a change of the range itself.
 */
#include "verbs_adapter.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * Verbs know no region that may only be written: who writes locally may read. But a peer reads
 * only what somebody has asked to be read, and an atomic operation answers what was there.
 */
unsigned int verbs_access(unsigned int access, unsigned int prot)
{
	unsigned int given = ACCESS_ALWAYS;

	if (prot & PROT_WRITE)
		given |= ACCESS_WRITES;
	if (prot & PROT_READ)
		given |= ACCESS_READS;
	if ((prot & PROT_WRITE) && (prot & PROT_READ))
		given |= ACCESS_BOTH;
	return access & given;
}

static struct ibv_mr *reg_mr(struct hmmu_verbs *v, const struct hmmu_region *region, int *err)
{
	struct ibv_mr *mr;
	int saved = errno;

	errno = 0;
	/* The header's macro: ibv_reg_mr_iova2(), which leaves out what is optional and the
	 * kernel does not know. */
	mr = ibv_reg_mr(v->pd, (void *)region->start, // NOLINT(performance-no-int-to-ptr)
			region->end - region->start, verbs_access(v->access, region->prot));
	*err = errno ? -errno : -EIO;
	errno = saved;
	return mr;
}

static int region_reg(void *context, struct hmmu_region *region)
{
	struct hmmu_verbs *v = context;
	struct region *r;
	int ret;

	if (in_child(v))
		return -ENODEV;
	if ((region->prot & PROT_WRITE) && !(v->access & IBV_ACCESS_LOCAL_WRITE))
		return -EACCES;
	refused_retry(v, 1);
	r = malloc(sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->mr = reg_mr(v, region, &ret);
	if (!r->mr) {
		free(r);
		return ret;
	}
	r->bytes = region->end - region->start;
	region->handle = r->mr;
	region->key[0] = r->mr->lkey;
	region->key[1] = r->mr->rkey;
	region->key[3] = (uintptr_t)r;
	atomic_fetch_add_explicit(&v->registered, 1, memory_order_relaxed);
	return 0;
}

int verbs_dereg(struct hmmu_verbs *v, struct region *r)
{
	int saved = errno, ret = ibv_dereg_mr(r->mr);

	/* The manual says errno's value; some providers answered -1. */
	if (ret < 0)
		ret = errno ? errno : EIO;
	errno = saved;
	if (ret)
		return -ret;
	free(r);
	atomic_fetch_add_explicit(&v->deregistered, 1, memory_order_relaxed);
	return 0;
}

static int region_dereg(void *context, struct hmmu_region *region)
{
	struct hmmu_verbs *v = context;
	struct region *r = (struct region *)(uintptr_t)region->key[3];
	int ret = verbs_dereg(v, r);

	if (ret)
		refused_add(&v->refused, r);
	return ret;
}

static int region_describe(void *context, const struct hmmu_region *region, char *text,
			   size_t size)
{
	return snprintf(text, size, "lkey %#x rkey %#x", (unsigned int)region->key[0],
			(unsigned int)region->key[1]);
}

const struct hmmu_regcache_ops verbs_region_ops = {
	.reg = region_reg,
	.dereg = region_dereg,
	.describe = region_describe,
};
