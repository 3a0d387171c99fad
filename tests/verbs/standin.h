/* SPDX-License-Identifier: MIT */
/*
 * standin.h - plays libibverbs and a card. A registration remembers the first word of each
 * page, as a pin keeps the page: the card "sends" what it remembers, whatever the process sees
 * at that address by then.
 *
 * Found here, by must(): a region that was never given out or is deregistered twice,
 * registered for another domain or at another address than it is used at, deregistered while
 * the test says that the card uses it.
 */
#ifndef HMMU_TEST_VERBS_STANDIN_H
#define HMMU_TEST_VERBS_STANDIN_H

#include "api.h"

#include <hmmu/verbs.h>

#define RW (PROT_READ | PROT_WRITE)

struct fake_mr {
	struct ibv_mr mr; /* first */
	struct fake_mr *next;
	uint64_t *words;
	unsigned int access;
	bool live;
	atomic_int in_use; /* work requests that name it */
};

/*
 * @before, @after: called in the next registrations, before and after the card looks at the
 *	memory; without a lock.
 * @fail_at: the how many-th registration from now on fails (1: the next) with @fail_errno
 * @refuse: what ibv_dereg_mr() answers; -1: with errno EBUSY. @refuse_only: for this lkey
 * @blind: the memory is not looked at
 */
struct card {
	pthread_mutex_t lock;
	struct fake_mr *all;
	void (*before)(void *arg);
	void (*after)(void *arg);
	void *arg;
	long fail_at;
	int fail_errno;
	int refuse;
	uint32_t refuse_only;
	bool blind;
	long calls, regs, deregs, refusals;
	long live;
	size_t live_bytes;
};
extern struct card card;
extern struct ibv_pd card_pd;

void card_reset(void); /* nothing may be live */
/* What the card would send from @addr; the address of a word at a page's beginning. */
uint64_t card_reads(const struct hmmu_region_ref *ref, const void *addr);
static inline struct fake_mr *fake_of(const struct hmmu_region_ref *ref)
{
	return (struct fake_mr *)hmmu_verbs_mr(ref);
}
long card_live(void);

#endif /* HMMU_TEST_VERBS_STANDIN_H */
