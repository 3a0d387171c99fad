/* SPDX-License-Identifier: MIT */
/*
 * adapter_test.h - for the tests of the io_uring adapter.
 *
 * A bed is a ring, an mm with the explicit source that is reclaimed by hand, an adapter, a
 * memfd and a pipe. So every step happens where the test puts it: a remap is start, mmap and
 * end; what the reclaimer would do happens in bed_reclaim(); a request is in flight for as long
 * as its pipe is empty.
 */
#ifndef HMMU_TESTS_ADAPTER_TEST_H
#define HMMU_TESTS_ADAPTER_TEST_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <hmmu/uring.h>

#define PAGE 4096ul
#define SKIP 77
#define SINGLE (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN)

/* Run @call with errno at a sentinel: it has to be there afterwards. */
#define SENTINEL 0x5a5a
#define quiet(call)                                  \
	({                                           \
		errno = SENTINEL;                    \
		__typeof__(call) quiet_ret = (call); \
		assert_int_equal(errno, SENTINEL);   \
		quiet_ret;                           \
	})

struct bed {
	struct io_uring ring;
	struct mm_struct *mm;
	struct hmmu_uring *u;
	int file; /* a memfd of 16 pages: byte i of page p is 'a' + p */
	int pipe[2];
	unsigned int fds; /* open before */
	unsigned long pinned;
};

/* 0, or the reason to skip is printed. */
int bed_refused(void);

/* @slots 0: no adapter. */
void bed_open(struct bed *bed, unsigned int ring_flags, unsigned int slots);
/* Closes the adapter, if there is one, and sees that nothing is leaked. */
void bed_close(struct bed *bed);
/* Run what was deferred: dead regions that nobody holds are deregistered. */
void bed_reclaim(struct bed *bed);
struct hmmu_uring_stats bed_stats(struct bed *bed);

unsigned char *bed_pages(unsigned int pages, int fill);
/* Other pages at the same address, filled anew; bracketed by start and end. */
void bed_remap(struct bed *bed, unsigned char *at, unsigned int pages, int fill);

/* Prepare; the entry. */
struct io_uring_sqe *bed_prep_read(struct bed *bed, void *at, size_t len, unsigned int page,
				   struct hmmu_uring_req *req);
struct io_uring_sqe *bed_prep_write(struct bed *bed, const void *at, size_t len,
				    unsigned int page, struct hmmu_uring_req *req);
/* Prepare and submit a read of @len bytes from the empty pipe. */
void bed_block(struct bed *bed, void *at, size_t len, struct hmmu_uring_req *req);
/* Let them through: so many bytes of @fill. */
void bed_feed(struct bed *bed, size_t len, int fill);
/* Submit, wait for one completion, complete its request: what complete answered. */
int bed_finish(struct bed *bed);
/* The same, and the CQE's own result. */
int bed_finish_res(struct bed *bed, int *res);
/* prep and finish */
int bed_read(struct bed *bed, void *at, size_t len, unsigned int page,
	     struct hmmu_uring_req *req);
int bed_write(struct bed *bed, const void *at, size_t len, unsigned int page,
	      struct hmmu_uring_req *req);
/* One byte of the file's @page. */
int bed_file_byte(struct bed *bed, unsigned int page);

/* Not the adapter's: does slot @slot hold @at? By a WRITE_FIXED of a page of it. */
bool bed_slot_holds(struct bed *bed, unsigned int slot, const void *at);

unsigned int open_fds(void);
/* VmPin of /proc/self/status, in kB. */
unsigned long pinned_kb(void);

/* Run @fn(arg) in another thread; its answer. */
int in_thread(int (*fn)(void *arg), void *arg);

/* Run @fn(arg) in a child; its answer, 0 to 255, or -1. cmocka's assertions do not work
 * there: use CHILD_CHECK. */
int in_a_child(int (*fn)(void *arg), void *arg);
#define CHILD_CHECK(condition)                                                          \
	do {                                                                            \
		if (!(condition)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			return 1;                                                       \
		}                                                                       \
	} while (0)

#endif /* HMMU_TESTS_ADAPTER_TEST_H */
