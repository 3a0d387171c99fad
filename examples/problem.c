// SPDX-License-Identifier: MIT
/* The problem: a cached translation outlives the memory under it. No thread, no race. */
#include <liburing.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAP(addr, flags) \
	mmap(addr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | (flags), -1, 0)

int main(void)
{
	struct io_uring ring;
	char *p = MAP(NULL, 0), c;
	struct iovec iov = {p, 4096};
	int fd = memfd_create("file", 0);

	io_uring_queue_init(4, &ring, 0);
	memset(p, 'A', 4096);
	io_uring_register_buffers(&ring, &iov, 1); /* caches the translation */
	munmap(p, 4096);			   /* as free() does */
	memset(MAP(p, MAP_FIXED), 'B', 4096);	   /* as malloc() does */
	io_uring_prep_write_fixed(io_uring_get_sqe(&ring), fd, p, 4096, 0, 0);
	io_uring_submit_and_wait(&ring, 1);
	if (pread(fd, &c, 1, 0) != 1)
		return 1;
	printf("memory holds B, the device wrote %c\n", c); /* A: silent corruption */
	return 0;
}
