// SPDX-License-Identifier: MIT
/*
 * memory.c - operations that make memory: files (memfd), System V segments, mappings; and
 * touch, which lets the kernel fill the page tables without a fault that could kill us.
 */
#define _GNU_SOURCE
#include "play.h"
#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#define OBJECTS 8

static struct object {
	char name[8];
	int id; /* a descriptor, or a segment's */
} objects[OBJECTS];

static struct object *object_named(const char *name, size_t n)
{
	for (int i = 0; i < OBJECTS; i++)
		if (strlen(objects[i].name) == n && !strncmp(objects[i].name, name, n))
			return &objects[i];
	return NULL;
}

int object_of(const struct line *line, int word)
{
	struct object *o = object_named(line->word[word], strlen(line->word[word]));

	if (!o)
		script_bad(line, "no such file or segment");
	return o->id;
}

static void object_add(const struct line *line, int id)
{
	struct object *o = object_named("", 0);

	if (!o || strlen(line->word[1]) >= sizeof(o->name))
		script_bad(line, "too many files, or too long a name");
	strcpy(o->name, line->word[1]);
	o->id = id;
}

/* file NAME PAGES */
static void make_file(const struct line *line, struct answer *a)
{
	int fd = memfd_create(line->word[1], MFD_CLOEXEC);

	a->ret = fd < 0 ? -errno : 0;
	if (fd < 0)
		return;
	object_add(line, fd);
	/* Not by libc: nobody is told of what nobody can have mapped. */
	a->ret = raw(SYS_ftruncate, fd, length_of(line, 2), 0, 0, 0, 0);
}

/* segment NAME PAGES. Attached once, away, so that it lives as long as this process. */
static void make_segment(const struct line *line, struct answer *a)
{
	int id = shmget(IPC_PRIVATE, length_of(line, 2), IPC_CREAT | 0600);

	a->ret = id < 0 ? -errno : 0;
	if (id < 0)
		return;
	object_add(line, id);
	a->ret = raw(SYS_shmat, id, 0, 0, 0, 0, 0);
	if (!is_error(a->ret))
		a->ret = 0;
	shmctl(id, IPC_RMID, NULL);
}

struct kind {
	int flags, fd;
	unsigned long offset;
};

/* anon, shared, FILE@PAGE:shared, FILE@PAGE:private */
static void kind_of(const struct line *line, int word, struct kind *k)
{
	const char *p = line->word[word], *at = strchr(p, '@');
	struct object *o;
	char *end;

	k->fd = -1;
	k->offset = 0;
	k->flags = MAP_PRIVATE | MAP_ANONYMOUS;
	if (!strcmp(p, "anon"))
		return;
	k->flags = MAP_SHARED | MAP_ANONYMOUS;
	if (!strcmp(p, "shared"))
		return;
	o = at ? object_named(p, (size_t)(at - p)) : NULL;
	if (!o)
		script_bad(line, "no such kind of memory");
	k->fd = o->id;
	k->offset = strtoul(at + 1, &end, 0) * PAGE;
	k->flags = !strcmp(end, ":private") ? MAP_PRIVATE : MAP_SHARED;
}

int protection_of(const struct line *line, const char *p)
{
	if (!strcmp(p, "none"))
		return PROT_NONE;
	if (!strcmp(p, "r"))
		return PROT_READ;
	if (!strcmp(p, "rw"))
		return PROT_READ | PROT_WRITE;
	script_bad(line, "none, r or rw is expected");
}

/* map ADDR LEN KIND [none|r|rw] [populate] [noreplace] */
static void map(const struct line *line, struct answer *a)
{
	int prot = PROT_READ | PROT_WRITE;
	struct kind k;

	kind_of(line, 3, &k);
	k.flags |= MAP_FIXED;
	for (int i = 4; i < line->n; i++) {
		if (!strcmp(line->word[i], "populate"))
			k.flags |= MAP_POPULATE;
		else if (!strcmp(line->word[i], "noreplace"))
			k.flags |= MAP_FIXED_NOREPLACE;
		else
			prot = protection_of(line, line->word[i]);
	}
	a->address = true;
	a->ret = call_mmap(address_of(line, 1), length_of(line, 2), prot, k.flags, k.fd,
			   (long)k.offset);
}

/* refill ADDR PAGES KIND: maps what is not mapped, page by page; changes nothing. */
static void refill(const struct line *line, struct answer *a)
{
	unsigned long start = address_of(line, 1), end = start + length_of(line, 2);
	struct kind k;

	kind_of(line, 3, &k);
	for (unsigned long at = start; at < end; at += PAGE)
		raw(SYS_mmap, (long)at, PAGE, PROT_READ | PROT_WRITE,
		    k.flags | MAP_FIXED_NOREPLACE, k.fd, (long)k.offset);
	a->ret = 0;
}

/* touch, read ADDR LEN: as a write, or a read, of each page. */
static void touch(const struct line *line, struct answer *a)
{
	int advice = line->word[0][0] == 't' ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;

	a->ret = raw(SYS_madvise, (long)address_of(line, 1), (long)length_of(line, 2), advice,
		     0, 0, 0);
}

/* soft-dirty: the kernel write-protects all of this process's pages. */
static void soft_dirty(const struct line *line, struct answer *a)
{
	int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);

	(void)line;
	a->ret = fd < 0 || write(fd, "4", 1) != 1 ? -errno : 0;
	if (fd >= 0)
		close(fd);
}

const struct operation memory_operations[] = {
	{"file", 2, make_file}, {"segment", 2, make_segment},
	{"map", 3, map},	{"touch", 2, touch},
	{"read", 2, touch},	{"soft-dirty", 0, soft_dirty},
	{"refill", 3, refill},	{NULL, 0, NULL},
};
