/* SPDX-License-Identifier: MIT */
/*
 * standin.h - plays libfabric's part: what its registration cache does with an imported
 * monitor, in the same order and under the same locks, so that interleavings can be forced
 * without the hardware that the real cache needs. Nothing of it is libfabric's text.
 *
 * Each behaviour cites libfabric by file and line: util_mr_cache.c and util_mem_monitor.c
 * are in prov/util/src/, of 1.17.0 unless "2.1" is said.
 *
 * A registration "pins" its memory: it keeps the number that stood in its first word.
 * It is stale if another stands there now.
 */
#ifndef HMMU_TEST_STANDIN_H
#define HMMU_TEST_STANDIN_H

#include <rdma/fabric.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_ext.h>

/* How the next calls behave; all are called in the registering thread, and at most once. */
struct standin_hooks {
	void (*pinned)(void *arg);     /* after the pinning, before mm_lock is taken */
	void (*locked)(void *arg);     /* with mm_lock, where 1.17 allocates */
	void (*subscribed)(void *arg); /* the entry is made, mm_lock given back */
	void *arg;
	int fail;      /* what the next pinning answers */
	size_t expand; /* the provider registers that much more (2.1 util_mr_cache.c:297-301) */
};
extern struct standin_hooks standin_hooks;

/* A libfabric before 1.13. */
extern bool standin_too_old;
/* 117 or 210. */
extern int standin_version;

/* As if the process had just begun: nothing initialised, nothing imported. */
void standin_reset(void);
/* fi_getinfo(): from here on the monitors are initialised. */
void standin_initialise(void);

/* A domain whose provider has a cache. Starts the monitor if it is the first. NULL: it would
 * not start, and there is none. */
struct fid_domain *standin_domain_open(void);
/* Stops the monitor if it was the last. */
void standin_domain_close(struct fid_domain *domain);

unsigned long standin_pinned(const struct fid_mr *mr);
/* Found in the cache, or made anew? */
bool standin_was_hit(const struct fid_mr *mr);
/* How many entries the domain's cache holds. */
unsigned int standin_cached(struct fid_domain *domain);
unsigned int standin_notified(void);
unsigned int standin_unsubscribed(void);

/* Hold libfabric's mutex. */
void standin_lock(void);
void standin_unlock(void);

#endif /* HMMU_TEST_STANDIN_H */
