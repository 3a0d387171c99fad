// SPDX-License-Identifier: MIT
/*
 * state.c - has the translation changed yet? Looked at without changing it: pagemap
 * faults nothing in, and content is read only where a page is present.
 *
 *	STATE_PAGE	present, and holds what it held
 *	STATE_RIGHTS	the mapping's rights are what they were
 *	STATE_LAZY	dirty: MADV_FREE cleans the pages, their content stays until reclaim
 *	STATE_CHILD	no child has been made (copy-on-write armed cannot be seen)
 *
 * One thread, the witness, calls this: the buffer is static. No malloc: the changer may
 * be inside free().
 */
#include "doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define PRESENT (3ULL << 62) /* or swapped */

static char text[1 << 20];

static bool page_old(struct probe *p)
{
	uint64_t entry = 0;
	char byte = 0;

	raw(SYS_pread64, p->pagemap, &entry, sizeof(entry), (uintptr_t)p->target / PAGE * 8);
	if (!(entry & PRESENT))
		return false;
	if (!p->content)
		return true;
	/* EFAULT where it has gone meanwhile; needs no privilege. */
	if (raw(SYS_write, p->byte[1], p->target, 1) != 1 ||
	    raw(SYS_read, p->byte[0], &byte, 1) != 1)
		return false;
	return byte == p->content;
}

static size_t slurp(const char *name)
{
	long fd = raw(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC), n;
	size_t used = 0;

	if (fd < 0)
		return 0;
	while (used < sizeof(text) - 1) {
		n = raw(SYS_read, fd, text + used, sizeof(text) - 1 - used);
		if (n <= 0)
			break;
		used += (size_t)n;
	}
	raw(SYS_close, fd);
	text[used] = '\0';
	return used;
}

static uintptr_t hex(const char **s)
{
	uintptr_t v = 0;

	for (;; (*s)++) {
		char c = **s;

		if (c >= '0' && c <= '9')
			v = v * 16 + (uintptr_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			v = v * 16 + (uintptr_t)(c - 'a' + 10);
		else
			return v;
	}
}

/* The line of text[] that describes the mapping of @address, at its rights. */
static const char *find(uintptr_t address)
{
	const char *line = text;

	while (*line) {
		const char *s = line;
		uintptr_t start = hex(&s), end;

		if (*s == '-' && s > line) {
			s++;
			end = hex(&s);
			if (*s == ' ' && address >= start && address < end)
				return s + 1;
		}
		s = strchr(line, '\n');
		if (!s)
			return NULL;
		line = s + 1;
	}
	return NULL;
}

static bool rights_old(struct probe *p)
{
	const char *rights;

	slurp("/proc/self/maps");
	rights = find((uintptr_t)p->target);
	return rights && !strncmp(rights, p->rights, 4);
}

static bool lazy_old(struct probe *p)
{
	const char *s;

	slurp("/proc/self/smaps");
	s = find((uintptr_t)p->target);
	s = s ? strstr(s, "\nPrivate_Dirty:") : NULL;
	if (!s)
		return false;
	for (s += 15; *s == ' '; s++)
		;
	return *s != '0';
}

static bool child_old(void)
{
	return raw(SYS_waitid, P_ALL, 0, 0, WEXITED | WNOHANG | WNOWAIT, 0) == -ECHILD;
}

bool state_old(struct probe *p)
{
	switch (p->v->state) {
	case STATE_RIGHTS:
		return rights_old(p);
	case STATE_LAZY:
		return lazy_old(p);
	case STATE_CHILD:
		return child_old();
	default:
		return page_old(p);
	}
}
