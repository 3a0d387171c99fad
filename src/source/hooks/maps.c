// SPDX-License-Identifier: MIT
/*
 * maps.c - a line is: start-end rwxp offset major:minor inode   name
 * Numbers are hexadecimal but for the inode. A line is read byte by byte, so that
 * no name is too long for the buffer.
 */
#include "source/hooks/maps.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "arch/syscall.h"
#include "source/hooks/hooks.h"

HMMU_HOOK bool hmmu_maps_open(struct hmmu_maps *maps)
{
	maps->fd = (int)hmmu_syscall(SYS_openat, AT_FDCWD, "/proc/self/maps",
				     O_RDONLY | O_CLOEXEC);
	maps->pos = 0;
	maps->len = 0;
	maps->failed = maps->fd < 0;
	return !maps->failed;
}

HMMU_HOOK void hmmu_maps_close(struct hmmu_maps *maps)
{
	if (maps->fd >= 0)
		hmmu_syscall(SYS_close, maps->fd);
	maps->fd = -1;
}

/* -1 at the end. */
HMMU_HOOK static int next_char(struct hmmu_maps *maps)
{
	if (maps->pos == maps->len) {
		long n;

		do {
			n = hmmu_syscall(SYS_read, maps->fd, maps->buf, sizeof(maps->buf));
		} while (n == -EINTR);
		if (n < 0)
			maps->failed = true;
		if (n <= 0)
			return -1;
		maps->pos = 0;
		maps->len = (unsigned int)n;
	}
	return (unsigned char)maps->buf[maps->pos++];
}

/* Digits up to the first other byte, which is eaten and returned. */
HMMU_HOOK static int next_number(struct hmmu_maps *maps, unsigned int base,
				 unsigned long *value)
{
	int c;

	*value = 0;
	for (;;) {
		c = next_char(maps);
		if (c >= '0' && c <= '9')
			*value = *value * base + (unsigned long)(c - '0');
		else if (base == 16 && c >= 'a' && c <= 'f')
			*value = *value * base + (unsigned long)(c - 'a' + 10);
		else
			return c;
	}
}

HMMU_HOOK bool hmmu_maps_next(struct hmmu_maps *maps, struct hmmu_mapping *m)
{
	unsigned long major, minor;
	unsigned int n = 0;
	int c;

	if (next_number(maps, 16, &m->start) != '-' || next_number(maps, 16, &m->end) != ' ')
		return false;
	m->prot = PROT_NONE;
	m->prot |= next_char(maps) == 'r' ? PROT_READ : 0;
	m->prot |= next_char(maps) == 'w' ? PROT_WRITE : 0;
	m->prot |= next_char(maps) == 'x' ? PROT_EXEC : 0;
	m->shared = next_char(maps) == 's';
	next_char(maps);
	if (next_number(maps, 16, &m->offset) != ' ' || next_number(maps, 16, &major) != ':' ||
	    next_number(maps, 16, &minor) != ' ')
		goto broken;
	m->major = (unsigned int)major;
	m->minor = (unsigned int)minor;
	c = next_number(maps, 10, &m->inode);
	while (c == ' ')
		c = next_char(maps);
	for (; c != '\n'; c = next_char(maps)) {
		if (c < 0)
			goto broken;
		if (n < HMMU_MAPS_NAME - 1)
			m->name[n++] = (char)c;
	}
	m->name[n] = '\0';
	return true;
broken:
	maps->failed = true;
	return false;
}

HMMU_HOOK static bool is_sysv(const char *name)
{
	return name[0] == '/' && name[1] == 'S' && name[2] == 'Y' && name[3] == 'S' &&
	       name[4] == 'V';
}

HMMU_HOOK unsigned long hmmu_maps_segment_end(unsigned long addr)
{
	struct hmmu_maps maps;
	struct hmmu_mapping m;
	unsigned long end = 0, inode = 0;

	if (!hmmu_maps_open(&maps))
		return HMMU_TOP;
	while (hmmu_maps_next(&maps, &m)) {
		if (m.start < addr || m.start - addr != m.offset || !is_sysv(m.name))
			continue;
		if (end && m.inode != inode)
			continue;
		inode = m.inode;
		end = m.end;
	}
	hmmu_maps_close(&maps);
	return end && !maps.failed ? end : HMMU_TOP;
}
