/* SPDX-License-Identifier: MIT */
/*
 * uring_test.h - for the tests of the io_uring mirror: an mm with the explicit source,
 * pages to change, and coherence policies with a door in them.
 *
 * No test here depends on timing: what must happen in the middle of something is
 * called from there (a policy's hook), or waited for.
 */
#ifndef HMMU_TESTS_URING_TEST_H
#define HMMU_TESTS_URING_TEST_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "mirror.h"

#define PAGE 4096ul
#define SKIP 77

/* 0, or the reason to skip is printed. */
int uring_refused(void);

struct mm_struct *test_mm(void);

/* @pages of private anonymous memory, each byte of page i is @fill + i. */
unsigned char *test_pages(unsigned int pages, int fill);
/* Other pages at the same address, filled anew; bracketed by start and end. */
void test_remap(struct mm_struct *mm, unsigned char *at, unsigned int pages, int fill);

/* One byte of what the device reads at @addr, or -errno. */
int test_read(struct uring_mirror *m, struct uring_window *w, const void *addr);
/* The device writes the byte @value there: 1, or -errno. */
int test_write(struct uring_mirror *m, struct uring_window *w, void *addr, int value);

struct uring_mirror *test_mirror(struct mm_struct *mm, const struct uring_coherence *coherence,
				 unsigned int slots, unsigned int depth);
struct uring_mirror_stats test_stats(struct uring_mirror *m);
/* Reap until nothing is pinned but what is live: dying slots have their tags. */
void test_settle(struct uring_mirror *m, unsigned int live);

unsigned int test_open_fds(void);
/* VmPin of /proc/self/status, in kB. */
unsigned long test_pinned_kb(void);

/* Run @fn(arg) in a child; its answer, 0 to 255, or -1. cmocka's assertions do not
 * work in there: use CHILD_CHECK. */
int test_in_child(int (*fn)(void *arg), void *arg);
#define CHILD_CHECK(condition)                                                          \
	do {                                                                            \
		if (!(condition)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			return 1;                                                       \
		}                                                                       \
	} while (0)

#endif /* HMMU_TESTS_URING_TEST_H */
