// SPDX-License-Identifier: MIT
/*
 * maps.c - the mappings at the start: the text goes to the watcher, which may come too
 * late to read it itself, and where code is stays here. What is mapped later the watcher
 * finds out from outside.
 */
#include <errno.h>
#include <fcntl.h>

#include "arch/syscall.h"
#include "module.h"

static long read_all(long fd, char *to, long size)
{
	long n, at = 0;

	do {
		n = hmmu_syscall(SYS_read, fd, to + at, size - at);
		if (n > 0)
			at += n;
	} while ((n > 0 && at < size) || n == -EINTR);
	return at;
}

static const char *hex(const char *p, uint64_t *value)
{
	for (*value = 0;; p++) {
		if (*p >= '0' && *p <= '9')
			*value = *value << 4 | (uint64_t)(*p - '0');
		else if (*p >= 'a' && *p <= 'f')
			*value = *value << 4 | (uint64_t)(*p - 'a' + 10);
		else
			return p;
	}
}

static void add_range(struct watch_code *code, uint64_t start, uint64_t end)
{
	if (code->n && code->range[code->n - 1][1] == start)
		code->range[code->n - 1][1] = end;
	else if (code->n < WATCH_RANGES) {
		code->range[code->n][0] = start;
		code->range[code->n++][1] = end;
	}
	for (uint64_t bit = start >> 21; bit <= (end - 1) >> 21; bit++)
		code->bloom[(bit & (WATCH_BLOOM - 1)) / 64] |= UINT64_C(1) << (bit % 64);
}

/* Whole lines only. */
static void learn(const char *text, const char *end)
{
	struct watch_code *code = &watch_region->code[0];

	while (text < end) {
		const char *p;
		uint64_t first, last;

		p = hex(text, &first);
		p = hex(p + 1, &last);
		if (p + 4 < end && p[3] == 'x' && last > first)
			add_range(code, first, last);
		while (text < end && *text++ != '\n')
			;
	}
}

void watch_maps_tell(void)
{
	struct watch_blob *b;
	uint64_t place;
	long fd, n;

	fd = hmmu_syscall(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	b = watch_blob_reserve(WATCH_MAPS, &place);
	if (b) {
		char *text = (char *)(b + 1);

		n = read_all(fd, text, WATCH_MAPS);
		while (n && text[n - 1] != '\n')
			n--;
		learn(text, text + n);
		watch_blob_commit(b, place, (uint32_t)n, WATCH_BLOB_MAPS, 0);
	}
	hmmu_syscall(SYS_close, fd);
}
