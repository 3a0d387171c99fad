// SPDX-License-Identifier: MIT
/*
 * static.c - linked with a static libc there is no libc to patch and nothing that
 * proves where calls bind: open() refuses, says so, and every call still works.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "recorder.h"

int main(void)
{
	char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (hmmu_source_hooks.open() != -EOPNOTSUPP || hmmu_source_hooks.open() != -EOPNOTSUPP)
		return 1;
	if (rec_exactness(HMMU_OP_MUNMAP, HMMU_CALLER_LIBC) != HMMU_UNWATCHED ||
	    rec_exactness(HMMU_OP_BRK, HMMU_CALLER_LIBC_INTERNAL) != HMMU_UNWATCHED)
		return 2;
	free(malloc(1 << 20));
	*p = 1;
	if (munmap(p, 4096) || sbrk(4096) == (void *)-1 || sbrk(-4096) == (void *)-1)
		return 3;
	errno = 0;
	return munmap(p + 1, 4096) == -1 && errno == EINVAL ? 0 : 4;
}
