/* SPDX-License-Identifier: MIT */
/* device.h - what the tests of dmirror share. */
#ifndef TEST_DMIRROR_DEVICE_H
#define TEST_DMIRROR_DEVICE_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "abi.h"

#define PAGE 4096UL
#define RW (PROT_READ | PROT_WRITE)

static inline int device(int number)
{
	int fd = open(number ? "/dev/hmm_dmirror1" : "/dev/hmm_dmirror0", O_RDWR);

	assert_true(fd >= 0);
	return fd;
}

static inline char *pages(size_t n, int prot)
{
	char *p = mmap(NULL, n * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

/* 0 or -errno. */
static inline int ask(int fd, unsigned long request, const void *addr, size_t npages, void *ptr,
		      struct hmm_dmirror_cmd *cmd)
{
	struct hmm_dmirror_cmd own;

	if (!cmd)
		cmd = &own;
	*cmd = (struct hmm_dmirror_cmd){
		.addr = (uint64_t)addr, .npages = npages, .ptr = (uint64_t)ptr};
	return ioctl(fd, request, cmd) ? -errno : 0;
}

/* Answered with @pages_done and @faults. */
static inline void expect(int fd, unsigned long request, const void *addr, size_t npages,
			  void *ptr, uint64_t faults)
{
	struct hmm_dmirror_cmd cmd;

	assert_int_equal(ask(fd, request, addr, npages, ptr, &cmd), 0);
	assert_int_equal(cmd.cpages, npages);
	assert_int_equal(cmd.faults, faults);
}

__attribute__((unused)) static int migration_missing;

/* May pages be on a device here: the privilege, the kernel? */
__attribute__((unused)) static void need_migration(int fd)
{
	static char buffer[PAGE];
	char *p = pages(1, RW);
	int ret = ask(fd, HMM_DMIRROR_MIGRATE_TO_DEV, p, 1, buffer, NULL);

	munmap(p, PAGE);
	if (ret == -EPERM || ret == -EOPNOTSUPP) {
		migration_missing = 1;
		skip();
	}
	assert_int_equal(ret, 0);
}

#endif /* TEST_DMIRROR_DEVICE_H */
