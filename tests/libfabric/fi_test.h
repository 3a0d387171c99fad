/* SPDX-License-Identifier: MIT */
/* fi_test.h - what the tests of the libfabric adapter share. */
#ifndef HMMU_TEST_FI_TEST_H
#define HMMU_TEST_FI_TEST_H

#include "../api/api.h"

#include <sys/mman.h>
#include <sys/wait.h>

#include <hmmu/libfabric.h>

#include "standin.h"

#define PAGES 4

/* The program under test: an mm, imported, and a domain with a cache. */
struct bench {
	struct mm_struct *mm;
	struct fid_domain *domain;
	bool hooks;
	unsigned long *buf; /* PAGES pages, the generation in its first word */
	unsigned long generation;
};

/* @sources: HMMU_SOURCE_EXPLICIT or HOOKS. @mm_flags: HMMU_MM_*. @flags: HMMU_FI_* */
void bench_open(struct bench *b, unsigned int sources, unsigned int mm_flags,
		unsigned int flags);
void bench_close(struct bench *b);
/* Other pages at the same address, with the next generation in them, told of as the mm's
 * source does it. */
void bench_remap(void *bench);
/* fi_mr_reg() of the whole buffer, and of a part of it. */
struct fid_mr *plain_reg(struct bench *b);
struct hmmu_fi_mr *wrapped_reg(struct bench *b);
void mr_close(struct fid_mr *mr);
/* Does it hold another generation than the memory? */
bool stale(const struct bench *b, const struct fid_mr *mr);
struct hmmu_fi_stats stats(void);
/* Until everybody dead is buried; by the reclaimer, or with OWN_RECLAIM by us. */
void settle(struct bench *b, bool own);

#endif /* HMMU_TEST_FI_TEST_H */
