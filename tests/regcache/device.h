/* SPDX-License-Identifier: MIT */
/*
 * device.h - a device that remembers what it reached.
 *
 * Every page of a test's memory holds, in its first word, an identity that no other page has
 * ever had (world_fresh()). A registration reads the identity of each of its pages: as long as
 * the process sees the same words there, the registration reaches what the process sees.
 *
 * Found here, by must(): a handle that was never given out, deregistered twice, deregistered
 * while the test says that it is in use (record->used), a region whose fields changed.
 */
#ifndef HMMU_TEST_REGCACHE_DEVICE_H
#define HMMU_TEST_REGCACHE_DEVICE_H

#include "api.h"

#include <hmmu/regcache.h>

#define RW (PROT_READ | PROT_WRITE)

struct device;

struct record {
	struct record *next;
	struct device *dev;
	unsigned long start, end;
	unsigned int prot;
	uint64_t *ids; /* of each page, at registration */
	atomic_int used;
	bool live;
};

/*
 * @before, @after: called in reg, before and after it reads the memory, without a lock.
 *	Answer 0, or -errno that reg answers.
 * @fail_at: the how many-th reg from now on fails (1: the next), and @fail_times - 1 after
 *	it, with @fail_errno.
 * @dereg_errno: what dereg answers, if not 0.
 * @checks: reg looks at protection itself (HMMU_REGCACHE_REG_CHECKS).
 * @blind: reg does not read the memory.
 */
struct device {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct record *records;
	int (*before)(struct device *dev, struct hmmu_region *region);
	int (*after)(struct device *dev, struct hmmu_region *region);
	int (*on_dereg)(struct device *dev, struct record *record);
	size_t (*shrink)(struct device *dev, size_t bytes);
	void *arg;
	long fail_at, fail_times;
	int fail_errno, dereg_errno;
	bool checks, blind;
	long regs, fails, deregs, dereg_fails, calls, shrinks;
	long live;
	unsigned long live_bytes;
	atomic_int inside; /* threads in reg or dereg */
};

extern const struct hmmu_regcache_ops device_ops;

void device_init(struct device *dev);
void device_fini(struct device *dev); /* nothing may be live */

/* The identities in [start, end) as the process sees them now: 0, or -EFAULT. */
int identities(unsigned long start, unsigned long end, uint64_t *ids);
/* Does it reach what the process sees? */
bool record_current(const struct record *record);
/* Some address of the record's, and a page of it that is current: for what spans others */
bool record_current_at(const struct record *record, unsigned long start, unsigned long end);
static inline struct record *record_of(const struct hmmu_region_ref *ref)
{
	return ref->region->handle;
}

/* Waits; nobody calls the cache meanwhile. */
void device_wait_live(struct device *dev, long live);
long device_live(struct device *dev);
long device_calls(struct device *dev);

#endif /* HMMU_TEST_REGCACHE_DEVICE_H */
