/* SPDX-License-Identifier: MIT */
/*
 * verbs_adapter.h - inside the adapter for libibverbs. hmmu/verbs.h has the contract.
 *
 *	adapter.c  open, close, statistics; what is handed on to the cache
 *	region.c   the cache's device: ibv_reg_mr(), ibv_dereg_mr()
 *	refused.c  regions that ibv_dereg_mr() did not take
 *
 * One lock, refused.lock, held for a few instructions and across no call.
 */
#ifndef HMMU_VERBS_ADAPTER_H
#define HMMU_VERBS_ADAPTER_H

#include <pthread.h>
#include <stdatomic.h>

#include <hmmu/verbs.h>

#define PUBLIC __attribute__((visibility("default")))

#define ACCESS_REMOTE \
	(IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC)
/* What a get for writing gives; for reading; for both. */
#define ACCESS_WRITES (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_MW_BIND)
#define ACCESS_READS IBV_ACCESS_REMOTE_READ
#define ACCESS_BOTH IBV_ACCESS_REMOTE_ATOMIC
#define ACCESS_ALWAYS IBV_ACCESS_RELAXED_ORDERING
#define ACCESS_KNOWN (ACCESS_WRITES | ACCESS_READS | ACCESS_BOTH | ACCESS_ALWAYS)
#define ACCESS_SENSELESS (IBV_ACCESS_ON_DEMAND | IBV_ACCESS_HUGETLB | IBV_ACCESS_ZERO_BASED)

/* Allocated with its registration, so that a refusal needs no memory. */
struct region {
	struct ibv_mr *mr;
	struct region *next;
	size_t bytes;
};

/* First refused, first tried again. */
struct refused {
	pthread_mutex_t lock;
	struct region *head;
	struct region **tail;
	/* Written with lock; peeked at without. */
	_Atomic uint64_t nr;
	_Atomic uint64_t bytes;
};

struct hmmu_verbs {
	struct ibv_pd *pd;
	struct hmmu_regcache *cache; /* NULL: close has come half way */
	struct mm_struct *own_mm;    /* NULL: the application's */
	/* Not 0; 0 in a forked child, whoever forked it: a page that the kernel wipes. */
	const volatile uint64_t *ours;
	unsigned int access;
	_Atomic uint64_t registered;
	_Atomic uint64_t deregistered;
	struct refused refused;
};

static inline bool in_child(const struct hmmu_verbs *v)
{
	return !*v->ours;
}

/* region.c */
extern const struct hmmu_regcache_ops verbs_region_ops;
/* What is allowed to a region that is registered for @prot. */
unsigned int verbs_access(unsigned int access, unsigned int prot);
/* ibv_dereg_mr(): 0, and @r is freed; or -errno. */
int verbs_dereg(struct hmmu_verbs *v, struct region *r);

/* refused.c */
void refused_init(struct refused *f);
void refused_add(struct refused *f, struct region *r);
/* Tries @most of them. */
void refused_retry(struct hmmu_verbs *v, uint64_t most);

#endif /* HMMU_VERBS_ADAPTER_H */
