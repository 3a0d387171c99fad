/* SPDX-License-Identifier: MIT */
/*
 * real.h - hmm_range_fault() over what only a machine of its own may be brought to: hugetlb
 * pages, pages that are swapped out, memory that has failed. The kernel is the real one, and
 * where oracle/module is loaded Linux's own hmm_range_fault() is asked of the same memory.
 *
 * It changes the machine: sizes of pools, swap, and memory that fails stays so until the next
 * boot. So it runs only where the kernel's command line says that the machine is there for
 * that, which scripts/oracle writes and nobody else; anywhere else every program of this
 * directory is skipped, before it has done anything.
 */
#ifndef HMMU_TEST_HMM_REAL_H
#define HMMU_TEST_HMM_REAL_H

#include "../world.h"

#ifndef MFD_HUGETLB
#define MFD_HUGETLB 0x0004U
#endif
#ifndef MADV_HWPOISON
#define MADV_HWPOISON 100
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

#define HUGE_PAGES (THP / PAGE)

/* False: exit with 77. It has said why. */
bool machine_is_own(void);
int real_setup(void **state);
int real_teardown(void **state);

/* A file of /proc or /sys; -1: there is none. */
long setting(const char *path);
void set(const char *path, const char *value);
#define HUGE "/sys/kernel/mm/transparent_hugepage/enabled"

/* Of pagemap, as the kernel has it. */
bool is_present(const void *at);
bool is_swapped(const void *at);
unsigned long frame_of(const void *at);

/*
 * Asks hmmu and then Linux, and compares: the answer, for each page VALID, ERROR, the order and
 * the frame. WRITE of Linux's must be WRITE here; where hmmu alone says it, the entry is only
 * write-protected: tests that write show it. Answers what hmmu answered, with the addresses'
 * numbers in @pfns.
 */
int ask(const void *at, size_t pages, unsigned long *pfns, unsigned long want);
/* A snapshot of one page. */
unsigned long ask_one(const void *at);

/* Is the byte there to be read? false: SIGBUS. */
bool readable(const void *at);
/* The frame under @at fails (of a huge page: all of it); -errno. */
int fail_memory(void *at, size_t length);
/* Does a write to @at go to the page that is there now? */
bool written_in_place(unsigned char *at);

/* A forked child that touches nothing, not even a table of its own program, until ended. */
struct idle {
	pid_t pid;
};
void idle_start(struct idle *idle);
void idle_end(struct idle *idle);

#endif /* HMMU_TEST_HMM_REAL_H */
