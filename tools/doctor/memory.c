// SPDX-License-Identifier: MIT
/*
 * memory.c - memory of each kind: PAGES pages at a place that nothing adjoins, so that
 * its mapping is its own. Every page holds 'A' but the first, which holds 'Z'. A file's
 * own pages hold that too if they are only read, and something else if they are written:
 * then a private page that was dropped does not come back as it was.
 */
#include "doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

#define RW (PROT_READ | PROT_WRITE)

static char *reserve(size_t length)
{
	char *p = mmap(NULL, 3 * length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	munmap(p + length, length);
	return p + length;
}

int memory_segment(size_t size, int *id)
{
	void *keep;

	*id = shmget(IPC_PRIVATE, size, IPC_CREAT | 0600);
	if (*id < 0)
		return -errno;
	keep = shmat(*id, NULL, 0);
	shmctl(*id, IPC_RMID, NULL);
	return keep == (void *)-1 ? -errno : 0;
}

static int file(void)
{
	const char *dir = getenv("TMPDIR");
	char name[256];
	int fd;

	if (snprintf(name, sizeof(name), "%s/hmmu-doctor-XXXXXX", dir ? dir : "/tmp") >=
	    (int)sizeof(name))
		return -ENAMETOOLONG;
	fd = mkostemp(name, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	unlink(name);
	return fd;
}

static int fill_file(int fd, char content)
{
	char page[PAGE];

	for (size_t i = 0; i < PAGES; i++) {
		memset(page, i ? content : 'Z', sizeof(page));
		if (pwrite(fd, page, sizeof(page), (off_t)(i * PAGE)) != (ssize_t)sizeof(page))
			return errno ? -errno : -EIO;
	}
	return 0;
}

static int open_object(struct probe *p)
{
	switch (p->memory) {
	case HMMU_MEMORY_SHMEM:
		p->fd = memfd_create("hmmu-doctor", MFD_CLOEXEC);
		break;
	case HMMU_MEMORY_FILE_PRIVATE:
	case HMMU_MEMORY_FILE_SHARED:
		p->fd = file();
		break;
	case HMMU_MEMORY_SYSV:
		return memory_segment(LENGTH, &p->segment);
	default:
		return 0;
	}
	if (p->fd < 0)
		return p->fd == -1 ? -errno : p->fd;
	return fill_file(p->fd, p->v->read_only ? 'A' : 'F');
}

void memory_fill(struct probe *p, bool write)
{
	for (size_t i = 0; i < p->len / PAGE; i++) {
		volatile char *page = p->addr + i * PAGE;

		if (write)
			memset((void *)page, i ? 'A' : 'Z', PAGE);
		else
			(void)*page;
	}
	p->content = 'A';
}

static int map_flags(const struct probe *p)
{
	int flags = MAP_FIXED_NOREPLACE | (p->fd < 0 ? MAP_ANONYMOUS : 0);

	if (p->memory == HMMU_MEMORY_SHMEM || p->memory == HMMU_MEMORY_FILE_SHARED)
		return flags | MAP_SHARED;
	return flags | MAP_PRIVATE;
}

int memory_map(struct probe *p)
{
	int ret = open_object(p);
	char *want, *got;

	if (ret)
		return ret;
	p->spare = mmap(NULL, LENGTH, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p->spare == MAP_FAILED)
		return -errno;
	memset(p->spare, 'B', LENGTH);
	/* Last: until it is taken the place is free for anyone. */
	want = reserve(LENGTH);
	if (!want)
		return -ENOMEM;
	if (p->memory == HMMU_MEMORY_SYSV)
		got = shmat(p->segment, want, 0);
	else
		got = mmap(want, LENGTH, RW, map_flags(p), p->fd, 0);
	if (got != want)
		return errno ? -errno : -ENOMEM;
	p->addr = got;
	p->len = LENGTH;
	p->target = got + LENGTH / 2;
	memory_fill(p, !p->v->read_only);
	return 0;
}
