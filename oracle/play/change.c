// SPDX-License-Identifier: MIT
/* change.c - operations that change translations. */
#define _GNU_SOURCE
#include "play.h"
#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

/* What libc answers, as the kernel does. */
static long from_libc(long ret)
{
	return ret == -1 ? -errno : ret;
}

#define CALL(number, libc, ...) (play_raw ? raw(number, __VA_ARGS__) : from_libc((long)(libc)))

long call_mmap(unsigned long addr, unsigned long len, int prot, int flags, int fd, long offset)
{
	return CALL(SYS_mmap, mmap((void *)addr, len, prot, flags, fd, offset), (long)addr,
		    (long)len, prot, flags, fd, offset);
}

/* munmap ADDR LEN */
static void do_munmap(const struct line *line, struct answer *a)
{
	unsigned long addr = address_of(line, 1), len = length_of(line, 2);

	a->ret = CALL(SYS_munmap, munmap((void *)addr, len), (long)addr, (long)len, 0, 0, 0, 0);
}

/* mremap ADDR OLD NEW [maymove] [dontunmap] [to ADDR] */
static void do_mremap(const struct line *line, struct answer *a)
{
	unsigned long addr = address_of(line, 1), old = length_of(line, 2);
	unsigned long len = length_of(line, 3), to = 0;
	int flags = 0;

	for (int i = 4; i < line->n; i++) {
		if (!strcmp(line->word[i], "maymove")) {
			flags |= MREMAP_MAYMOVE;
		} else if (!strcmp(line->word[i], "dontunmap")) {
			flags |= MREMAP_MAYMOVE | MREMAP_DONTUNMAP;
		} else if (!strcmp(line->word[i], "to") && i + 1 < line->n) {
			flags |= MREMAP_MAYMOVE | MREMAP_FIXED;
			to = address_of(line, ++i);
		} else {
			script_bad(line, "maymove, dontunmap or to ADDR is expected");
		}
	}
	a->address = true;
	a->ret = CALL(SYS_mremap, mremap((void *)addr, old, len, flags, (void *)to), (long)addr,
		      (long)old, (long)len, flags, (long)to, 0);
}

/* brk ADDR */
static void do_brk(const struct line *line, struct answer *a)
{
	unsigned long to = address_of(line, 1);

	if (!play_raw)
		a->ret = from_libc(brk((void *)to));
	else if ((unsigned long)raw(SYS_brk, (long)to, 0, 0, 0, 0, 0) < to)
		a->ret = -ENOMEM;
}

static const struct advice {
	const char *name;
	int value;
} advices[] = {
	{"dontneed", 4},	{"dontneed-locked", 24}, {"free", 8},	    {"remove", 9},
	{"guard-install", 102}, {"guard-remove", 103},	 {"cold", 20},	    {"pageout", 21},
	{"collapse", 25},	{"hugepage", 14},	 {"mergeable", 12}, {"unmergeable", 13},
	{"willneed", 3},	{"dontfork", 10},	 {"dofork", 11},    {"bogus", 99},
};

static int advice_of(const struct line *line, int word)
{
	for (size_t i = 0; i < sizeof(advices) / sizeof(*advices); i++)
		if (!strcmp(advices[i].name, line->word[word]))
			return advices[i].value;
	script_bad(line, "no such advice");
}

/* madvise ADDR LEN ADVICE */
static void do_madvise(const struct line *line, struct answer *a)
{
	unsigned long addr = address_of(line, 1), len = length_of(line, 2);
	int advice = advice_of(line, 3);

	a->ret = CALL(SYS_madvise, madvise((void *)addr, len, advice), (long)addr, (long)len,
		      advice, 0, 0, 0);
}

/* process-madvise ADVICE ADDR LEN [ADDR LEN]... on oneself */
static void do_process_madvise(const struct line *line, struct answer *a)
{
	static struct iovec iov[WORDS / 2];
	int n = 0, advice = advice_of(line, 1);
	long pidfd = raw(SYS_pidfd_open, getpid(), 0, 0, 0, 0, 0);

	for (int i = 2; i + 1 < line->n; i += 2, n++) {
		iov[n].iov_base = (void *)address_of(line, i);
		iov[n].iov_len = length_of(line, i + 1);
	}
	a->ret = CALL(SYS_process_madvise,
		      process_madvise((int)pidfd, iov, (size_t)n, advice, 0), pidfd, (long)iov,
		      n, advice, 0, 0);
	close((int)pidfd);
}

/* mprotect ADDR LEN none|r|rw */
static void do_mprotect(const struct line *line, struct answer *a)
{
	unsigned long addr = address_of(line, 1), len = length_of(line, 2);
	int prot = protection_of(line, line->word[3]);

	a->ret = CALL(SYS_mprotect, mprotect((void *)addr, len, prot), (long)addr, (long)len,
		      prot, 0, 0, 0);
}

/* pkey-mprotect ADDR LEN none|r|rw KEY */
static void do_pkey_mprotect(const struct line *line, struct answer *a)
{
	unsigned long addr = address_of(line, 1), len = length_of(line, 2);
	int prot = protection_of(line, line->word[3]), key = atoi(line->word[4]);

	a->ret = CALL(SYS_pkey_mprotect, pkey_mprotect((void *)addr, len, prot, key),
		      (long)addr, (long)len, prot, key, 0, 0);
}

/* shmat SEGMENT ADDR [remap] [rnd] [ro] */
static void do_shmat(const struct line *line, struct answer *a)
{
	unsigned long addr = address_of(line, 2);
	int id = object_of(line, 1), flags = 0;

	for (int i = 3; i < line->n; i++) {
		if (!strcmp(line->word[i], "remap"))
			flags |= SHM_REMAP;
		else if (!strcmp(line->word[i], "rnd"))
			flags |= SHM_RND;
		else if (!strcmp(line->word[i], "ro"))
			flags |= SHM_RDONLY;
	}
	a->address = true;
	a->ret =
		CALL(SYS_shmat, shmat(id, (void *)addr, flags), id, (long)addr, flags, 0, 0, 0);
}

/* shmdt ADDR */
static void do_shmdt(const struct line *line, struct answer *a)
{
	unsigned long addr = address_of(line, 1);

	a->ret = CALL(SYS_shmdt, shmdt((void *)addr), (long)addr, 0, 0, 0, 0, 0);
}

/* ftruncate, truncate FILE LEN */
static void do_truncate(const struct line *line, struct answer *a)
{
	unsigned long len = length_of(line, 2);
	int fd = object_of(line, 1);
	char path[32];

	if (line->word[0][0] == 'f') {
		a->ret = CALL(SYS_ftruncate, ftruncate(fd, (long)len), fd, (long)len, 0, 0, 0,
			      0);
		return;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	a->ret = CALL(SYS_truncate, truncate(path, (long)len), (long)path, (long)len, 0, 0, 0,
		      0);
}

/* fallocate FILE OFFSET LEN [punch] [zero] [collapse] [insert] [keep] */
static void do_fallocate(const struct line *line, struct answer *a)
{
	static const char *const names[] = {"keep", "punch", "", "collapse", "zero", "insert"};
	unsigned long offset = length_of(line, 2), len = length_of(line, 3);
	int fd = object_of(line, 1), mode = 0;

	for (int i = 4; i < line->n; i++)
		for (int bit = 0; bit < 6; bit++)
			if (!strcmp(line->word[i], names[bit]))
				mode |= 1 << bit;
	a->ret = CALL(SYS_fallocate, fallocate(fd, mode, (long)offset, (long)len), fd, mode,
		      (long)offset, (long)len, 0, 0);
}

/* remap-file-pages ADDR LEN PAGE */
static void do_remap_file_pages(const struct line *line, struct answer *a)
{
	unsigned long addr = address_of(line, 1), len = length_of(line, 2);
	unsigned long page = strtoul(line->word[3], NULL, 0);

	a->ret = CALL(SYS_remap_file_pages, remap_file_pages((void *)addr, len, 0, page, 0),
		      (long)addr, (long)len, 0, (long)page, 0, 0);
}

/* fork: the child leaves at once. */
static void do_fork(const struct line *line, struct answer *a)
{
	long pid = CALL(SYS_fork, fork(), 0, 0, 0, 0, 0, 0);
	int status;

	(void)line;
	if (!pid)
		_exit(0);
	a->ret = pid < 0 ? pid : 0;
	while (pid > 0 && waitpid((pid_t)pid, &status, 0) < 0 && errno == EINTR)
		;
}

/* exit: what is logged afterwards was told when the process went. */
static void do_exit(const struct line *line, struct answer *a)
{
	(void)line;
	(void)a;
	log_flush();
	_exit(0);
}

const struct operation change_operations[] = {
	{"munmap", 2, do_munmap},
	{"mremap", 3, do_mremap},
	{"brk", 1, do_brk},
	{"madvise", 3, do_madvise},
	{"process-madvise", 3, do_process_madvise},
	{"mprotect", 3, do_mprotect},
	{"pkey-mprotect", 4, do_pkey_mprotect},
	{"shmat", 2, do_shmat},
	{"shmdt", 1, do_shmdt},
	{"ftruncate", 2, do_truncate},
	{"truncate", 2, do_truncate},
	{"fallocate", 3, do_fallocate},
	{"remap-file-pages", 3, do_remap_file_pages},
	{"fork", 0, do_fork},
	{"exit", 0, do_exit},
	{NULL, 0, NULL},
};
