/* SPDX-License-Identifier: MIT */
/* world.h - an mm, one subscription to all of it, and memory of every kind. */
#ifndef HMMU_TEST_HMM_WORLD_H
#define HMMU_TEST_HMM_WORLD_H

#include <sys/mman.h>

#include <hmmu/hmm.h>

#include "../api/api.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

#define READ HMM_PFN_REQ_FAULT
#define WRITE (HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE)

#define THP (2UL << 20)
#define RW (PROT_READ | PROT_WRITE)

extern struct mm_struct *mm;
extern struct mmu_interval_notifier all; /* subscribed to [PAGE, 2^47 - PAGE) */
extern atomic_int told;			 /* its callbacks */

/* @sources: HMMU_SOURCE_*. -errno of open: nothing is there. */
int world_open(unsigned int sources);
void world_close(void);

/* Has the kernel PAGEMAP_SCAN (6.7)? Without it no order is told. */
bool have_scan(void);
#define ORDER(order) (have_scan() ? (order) : 0)

/* For what is watched besides: its callback sets the sequence. */
extern const struct mmu_interval_notifier_ops quiet_ops;

/* cmocka's set-up and tear-down: an explicit mm. */
int world_setup(void **state);
int world_teardown(void **state);
/* Or one of userfaultfd alone, with nothing inserted; ends with 77 where there is none. */
int tagged_setup(void **state);
int tagged_teardown(void **state);

/* Memory of @pages with an unmapped page on both sides; never huge but by request. */
unsigned char *map(size_t pages, int prot, int flags, int fd);
unsigned char *map_anon(size_t pages);
/* A file of so many pages, each filled with its number + 1. Unlinked. */
int file_of(size_t pages);
int memfd_of(size_t pages);
void touch(void *at, size_t pages); /* writes */
unsigned char look_into(const void *at);

/* A whole reader's loop; pfns[] as requests. */
int fault(const void *at, size_t pages, unsigned long *pfns, unsigned long all_want,
	  unsigned long mask);
int fault_flags(const void *at, size_t pages, unsigned long *pfns, unsigned long all_want,
		unsigned long mask, unsigned int flags);
/* A snapshot that must work. */
void snapshot(const void *at, size_t pages, unsigned long *pfns);
unsigned long snap(const void *at);

/* An answer without its number; and the number must be the address's if it is valid. */
#define FLAGS_OF(pfn) ((pfn) & ~(HMM_PFN_NUMBER | 31UL << HMM_PFN_ORDER_SHIFT))
#define assert_pfn(at, pfn, flags)                                                  \
	do {                                                                        \
		assert_int_equal(FLAGS_OF(pfn), (flags));                           \
		if ((pfn)&HMM_PFN_VALID)                                            \
			assert_ptr_equal(hmm_pfn_to_addr(pfn), (const void *)(at)); \
		else                                                                \
			assert_int_equal(pfn, (flags));                             \
	} while (0)
#define assert_snap(at, flags)                    \
	do {                                      \
		unsigned long snap_ = snap(at);   \
		assert_pfn((at), snap_, (flags)); \
	} while (0)

#define VALID HMM_PFN_VALID
#define RDWR (HMM_PFN_VALID | HMM_PFN_WRITE)

#endif /* HMMU_TEST_HMM_WORLD_H */
