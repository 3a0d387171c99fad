/* SPDX-License-Identifier: MIT */
/*
 * abi.h - what a program says to /dev/hmm_dmirror0 and 1: the numbers of Linux's HMM test
 * device. Which calls of hmmu answer them: docs/dmirror.md.
 */
#ifndef HMMU_DMIRROR_ABI_H
#define HMMU_DMIRROR_ABI_H

#include <linux/ioctl.h>
#include <stdint.h>

/*
 * struct hmm_dmirror_cmd
 * @addr:	of the mirrored memory, page-aligned
 * @ptr:	the caller's buffer: a page, or a byte (SNAPSHOT), for each page of @addr
 * @npages:	so many pages
 * @cpages:	out: were dealt with
 * @faults:	out: how often the device had to fault
 */
struct hmm_dmirror_cmd {
	uint64_t addr;
	uint64_t ptr;
	uint64_t npages;
	uint64_t cpages;
	uint64_t faults;
};

#define HMM_DMIRROR_READ _IOWR('H', 0, struct hmm_dmirror_cmd)
#define HMM_DMIRROR_WRITE _IOWR('H', 1, struct hmm_dmirror_cmd)
#define HMM_DMIRROR_MIGRATE_TO_DEV _IOWR('H', 2, struct hmm_dmirror_cmd)
#define HMM_DMIRROR_MIGRATE_TO_SYS _IOWR('H', 3, struct hmm_dmirror_cmd)
#define HMM_DMIRROR_SNAPSHOT _IOWR('H', 4, struct hmm_dmirror_cmd)
#define HMM_DMIRROR_EXCLUSIVE _IOWR('H', 5, struct hmm_dmirror_cmd)
#define HMM_DMIRROR_CHECK_EXCLUSIVE _IOWR('H', 6, struct hmm_dmirror_cmd)
#define HMM_DMIRROR_RELEASE _IOWR('H', 7, struct hmm_dmirror_cmd)

/* A byte of SNAPSHOT: one of the first three or ERROR, and what else is true. */
enum {
	HMM_DMIRROR_PROT_NONE = 0,
	HMM_DMIRROR_PROT_READ = 1,
	HMM_DMIRROR_PROT_WRITE = 2,
	HMM_DMIRROR_PROT_PMD = 4,
	HMM_DMIRROR_PROT_PUD = 8,
	HMM_DMIRROR_PROT_ZERO = 0x10,
	HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL = 0x20,
	HMM_DMIRROR_PROT_DEV_PRIVATE_REMOTE = 0x30,
	HMM_DMIRROR_PROT_ERROR = 0xff,
};

#endif /* HMMU_DMIRROR_ABI_H */
