// SPDX-License-Identifier: MIT
/*
 * maps.c - the readers of /proc/self/maps (src/source/hooks/maps.c, and what looks for a
 * mapping in it, src/source/userfaultfd/mapping.c). The file is played: pieces of any
 * size, interruptions, errors.
 *
 *	first byte even		lines as the kernel writes them, made from the input: each
 *				field has to come back
 *	odd			the input itself: any bytes
 */
#include "fuzz.h"

#include <errno.h>
#include <sys/mman.h>

#include "arch/syscall.h"
#include "source/hooks/maps.h"
#include "source/userfaultfd/userfaultfd.h"

#define LINES 32
#define FD 77

static struct {
	char text[LINES * 400];
	size_t size, at, piece;
	unsigned int interrupts; /* before each read that works */
	size_t breaks;		 /* where reading fails; SIZE_MAX: nowhere */
	unsigned int open, waiting;
} file;

static struct {
	struct hmmu_mapping m;
	char name[300];
} line[LINES];
static unsigned int lines;

static long read_piece(char *to, size_t n)
{
	size_t left = file.size - file.at;

	if (file.waiting) {
		file.waiting--;
		return -EINTR;
	}
	file.waiting = file.interrupts;
	if (file.at >= file.breaks)
		return -EIO;
	n = n < left ? n : left;
	n = n < file.piece ? n : file.piece;
	memcpy(to, file.text + file.at, n);
	file.at += n;
	return (long)n;
}

static long played(long nr, const long args[6])
{
	switch (nr) {
	case SYS_openat:
		FUZZ_CHECK(!strcmp((const char *)args[1], "/proc/self/maps"));
		file.open++;
		file.at = 0;
		return FD;
	case SYS_read:
		FUZZ_CHECK(args[0] == FD && file.open);
		return read_piece((char *)args[1], (size_t)args[2]);
	case SYS_close:
		FUZZ_CHECK(args[0] == FD && file.open);
		file.open--;
		return 0;
	case SYS_ioctl:
		return -ENOTTY; /* a kernel before 6.11 */
	default:
		abort();
	}
}

/* ---- lines as the kernel writes them ----------------------------------------- */

static void make_name(struct fuzz *f, char *name, size_t room)
{
	size_t n = fuzz_byte(f);

	n = n < 128 ? 0 : n < 200 ? n % 20 : n;
	for (size_t i = 0; i < n && i < room - 1; i++) {
		uint8_t c = fuzz_byte(f);

		name[i] = c == '\n' || !c || (!i && c == ' ') ? '/' : (char)c;
	}
	name[n < room ? n : room - 1] = '\0';
}

static void make_line(struct fuzz *f)
{
	struct hmmu_mapping *m = &line[lines].m;
	uint8_t prot = fuzz_byte(f);
	char *to = file.text + file.size;
	int n;

	memset(m, 0, sizeof(*m));
	m->start = fuzz_word(f);
	m->end = m->start + 4096;
	m->prot = prot & (PROT_READ | PROT_WRITE | PROT_EXEC);
	m->offset = fuzz_word(f);
	m->major = fuzz_byte(f);
	m->minor = (unsigned int)fuzz_number(f, 3);
	m->inode = fuzz_word(f);
	make_name(f, line[lines].name, sizeof(line[lines].name));
	n = sprintf(to, "%08lx-%08lx %c%c%c%c %08lx %02x:%02x %lu ", m->start, m->end,
		    prot & PROT_READ ? 'r' : '-', prot & PROT_WRITE ? 'w' : '-',
		    prot & PROT_EXEC ? 'x' : '-', prot & 8 ? 's' : 'p', m->offset, m->major,
		    m->minor, m->inode);
	if (line[lines].name[0])
		n += sprintf(to + n, "%*s%s", n < 73 ? 73 - n : 0, "", line[lines].name);
	to[n] = '\n';
	file.size += (size_t)n + 1;
	lines++;
}

static void compare(const struct hmmu_mapping *m, unsigned int i)
{
	const struct hmmu_mapping *is = &line[i].m;

	FUZZ_CHECK(i < lines);
	FUZZ_CHECK(m->start == is->start && m->end == is->end && m->prot == is->prot);
	FUZZ_CHECK(m->offset == is->offset && m->inode == is->inode);
	FUZZ_CHECK(m->major == is->major && m->minor == is->minor);
	FUZZ_CHECK(!strncmp(m->name, line[i].name, HMMU_MAPS_NAME - 1));
}

static unsigned int read_all(bool known)
{
	struct hmmu_maps maps;
	struct hmmu_mapping m;
	unsigned int n = 0;

	FUZZ_CHECK(hmmu_maps_open(&maps));
	while (hmmu_maps_next(&maps, &m)) {
		FUZZ_CHECK(strnlen(m.name, sizeof(m.name)) < sizeof(m.name));
		if (known)
			compare(&m, n);
		n++;
	}
	/* Half a list is never taken for a whole one. */
	if (known)
		FUZZ_CHECK(maps.failed == (file.breaks <= file.size) &&
			   (maps.failed || n == lines));
	hmmu_maps_close(&maps);
	FUZZ_CHECK(!file.open);
	return n;
}

/* The first that ends above @addr, in the list's order. */
static void find(uint64_t addr)
{
	struct uffd_extent found = {1, 2};
	int ret = hmmu_mapping_find(addr, &found);
	unsigned int i = 0;

	FUZZ_CHECK(!file.open);
	while (i < lines && line[i].m.end <= addr)
		i++;
	if (file.breaks <= file.size) /* found before it broke off, or not known */
		FUZZ_CHECK(ret == -EIO || (!ret && i < lines));
	else
		FUZZ_CHECK(ret == (i < lines ? 0 : -ENOENT));
	if (!ret)
		FUZZ_CHECK(found.start == line[i].m.start && found.end == line[i].m.end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz f = {data, size};
	uint8_t how = fuzz_byte(&f);

	hmmu_syscall_hook = played;
	file.size = lines = file.open = file.waiting = 0;
	file.piece = 1u << (how >> 1 & 15);
	file.interrupts = how >> 5 & 3;
	file.breaks = how & 128 ? fuzz_byte(&f) : SIZE_MAX;
	if (how & 1) {
		file.size = f.left < sizeof(file.text) ? f.left : sizeof(file.text);
		memcpy(file.text, f.at, file.size);
		FUZZ_CHECK(read_all(false) <= file.size);
		return 0;
	}
	while (f.left && lines < LINES)
		make_line(&f);
	read_all(true);
	for (unsigned int i = 0; i < lines; i++) {
		find(line[i].m.start);
		find(line[i].m.end);
	}
	find(~0UL);
	return 0;
}
