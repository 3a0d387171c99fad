/* SPDX-License-Identifier: MIT */
/*
 * life.h - whole lives of an address space, and what must hold whatever fails.
 *
 * A region is memory with a generation in each page; a device caches the generation by the
 * reader's loop and is asked after every change: an access that hmmu_access_ok() permits
 * may not see another one than the memory holds.
 */
#ifndef HMMU_TEST_LIFE_H
#define HMMU_TEST_LIFE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hmmu/mmu_notifier.h>

#define PAGE 4096UL
#define REGION (4 * PAGE)
#define REGIONS 6

struct region {
	struct mmu_interval_notifier sub;
	struct mm_struct *mm;
	unsigned char *at;
	uint64_t truth; /* what the memory holds; 0: zeros */
	pthread_mutex_t lock;
	uint64_t shadow; /* the driver lock; 0: nothing cached */
	bool cached;	 /* the driver lock */
	unsigned long seq;
	bool inserted;
	atomic_uint calls;
	void (*inside)(struct region *region); /* in the callback, without the lock */
};

struct life {
	unsigned int sources; /* HMMU_SOURCE_*; ~0: options NULL */
	bool again;	      /* nothing fails in it: it must work */
	bool filtered;	      /* a child has its parent's filter: it may be refused */
	struct mm_struct *mm;
	struct region region[REGIONS];
};

/* Ends the run: the first failure is kept. Any thread. */
_Noreturn void broken(const char *how, ...) __attribute__((format(printf, 1, 2)));
void stage(const char *name);

#define SENTINEL 0x5a5a
/* The call leaves errno alone. */
#define quiet(call)                                                         \
	({                                                                  \
		errno = SENTINEL;                                           \
		__typeof__(call) quiet_ret = (call);                        \
		if (errno != SENTINEL)                                      \
			broken("errno: %s changed it to %d", #call, errno); \
		quiet_ret;                                                  \
	})
#define quiet_void(call)                                                    \
	do {                                                                \
		errno = SENTINEL;                                           \
		call;                                                       \
		if (errno != SENTINEL)                                      \
			broken("errno: %s changed it to %d", #call, errno); \
	} while (0)
/* The answer is 0 or one of those that the header names (0 ends). */
void documented(const char *call, int ret, const int *list);
#define DOCUMENTED(call, ret, ...) documented(call, ret, (const int[]){__VA_ARGS__, 0})

/* region.c */
void *fresh(size_t size);
void region_new(struct region *r, void *at);
/* Stores a new generation in memory that can be written. */
void region_store(struct region *r);
int region_insert(struct region *r, struct mm_struct *mm);
void region_remove(struct region *r);
/* Caches, if it may. False: it is not watched. */
bool region_load(struct region *r);
void region_check(struct region *r, const char *after);

/* changes.c: every change that @mm says it is told of. */
void changes(struct life *life);
unsigned int exactness(struct mm_struct *mm, unsigned int op, unsigned int caller);
uint32_t coverage_sum(struct mm_struct *mm);

/* life.c */
int life_open(struct life *life);
void life_run(struct life *life);

/* meet.c: threads that wait, nested callbacks, works, whole-mm notifiers, fork. */
void meetings(struct life *life);
void whole_mm(struct life *life);
void children(struct life *life);

/* mirror.c, writer.c */
void mirror_run(bool again);
void writer_run(bool again);
/* cache.c */
void cache_run(bool again);
/* hmm.c */
void hmm_run(bool again);
void hmm_tags_run(bool again);
/* devmirror.c */
void devmirror_run(bool again);
void devmirror_dirty_run(bool again);

/* devmem.c */
void devmem_run(bool again);

/* check.c */
void check_begin(void);
void check_unregistered(void *at, size_t size);
/* What the process holds is what it held at the beginning; @uffd: its source was used. */
void check_end(unsigned int sources, struct life *life);

#endif /* HMMU_TEST_LIFE_H */
