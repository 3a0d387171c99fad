// SPDX-License-Identifier: MIT
/*
 * ranges.c - what a notified call changes (src/source/seccomp/ranges.c), from raw
 * arguments: any six words. The model says, in 128 bits, what the kernel would take away;
 * the answer may be more, never less, and for munmap and madvise not a byte more.
 */
#include "fuzz.h"

#include <errno.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "arch/syscall.h"
#include "source/seccomp/seccomp.h"

typedef unsigned __int128 wide;

#define PAGE ((wide)4096)
#define TASK (((wide)1 << 47) - PAGE) /* the kernel refuses what ends above */
#define VECTOR 8

static uint64_t brk_now, segment;
static unsigned long shown; /* pages more, on both sides, that show what is removed */
static struct iovec vector[VECTOR];

long hmmu_seccomp_gate(long nr, long a, long b, long c, long d, long e, long f)
{
	FUZZ_CHECK(nr == SYS_brk && !a); /* it asks only */
	return (long)brk_now;
}

void hmmu_seccomp_shown(struct hmmu_seccomp_files *f, unsigned long from, unsigned long to,
			unsigned long *start, unsigned long *end)
{
	FUZZ_CHECK(from < to);
	*start = from > shown ? from - shown : from;
	*end = to < -shown ? to + shown : to;
}

static long played(long nr, const long args[6])
{
	if (nr == SYS_shmctl && segment) {
		FUZZ_CHECK(args[1] == IPC_STAT);
		((struct shmid_ds *)args[2])->shm_segsz = segment;
		return 0;
	}
	return -EACCES; /* no list of mappings, no such segment */
}

static wide up(wide n)
{
	return (n + PAGE - 1) / PAGE * PAGE;
}

/* Every byte of [first, last) is in one of the ranges. */
static bool covered(const struct hmmu_seccomp_change *c, wide first, wide last)
{
	for (unsigned int pass = 0; pass < 2; pass++)
		for (unsigned int i = 0; i < c->n; i++)
			if (c->range[i].start <= first && first < c->range[i].end)
				first = c->range[i].end;
	return first >= last;
}

/* Would the kernel look at [addr, addr + len) at all? */
static bool taken(uint64_t addr, uint64_t len)
{
	return addr % 4096 == 0 && len && addr + up(len) <= TASK;
}

static void must(const struct hmmu_seccomp_change *c, uint64_t addr, uint64_t len)
{
	if (taken(addr, len))
		FUZZ_CHECK(covered(c, addr, addr + up(len)));
}

/* @remove: a file's hole shows elsewhere, too. */
static void exactly(const struct hmmu_seccomp_change *c, uint64_t addr, uint64_t len,
		    bool remove)
{
	if (!taken(addr, len))
		return;
	FUZZ_CHECK(c->n >= 1 && c->range[0].start == addr && c->range[0].end == addr + up(len));
	FUZZ_CHECK(c->n == 1 || remove);
	if (remove && addr > shown)
		FUZZ_CHECK(covered(c, addr - shown, addr + up(len) + shown));
}

static void check_remap(const struct hmmu_seccomp_change *c, const uint64_t *a)
{
	uint64_t old = a[0], old_len = a[1], new_len = a[2], flags = a[3];

	if (!new_len || up(new_len) > TASK)
		return;
	if (flags & MREMAP_FIXED)
		must(c, a[4], new_len);
	if (!taken(old, old_len))
		return;
	if (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP) ||
	    (up(new_len) > up(old_len) && flags & MREMAP_MAYMOVE))
		must(c, old, old_len);
	else if (up(new_len) < up(old_len))
		FUZZ_CHECK(covered(c, old + up(new_len), old + up(old_len)));
}

static void check_one(int nr, const uint64_t *a, const struct hmmu_seccomp_change *c)
{
	uint64_t addr;

	switch (nr) {
	case SYS_munmap:
		exactly(c, a[0], a[1], false);
		break;
	case SYS_madvise:
		exactly(c, a[0], a[1], a[2] == MADV_REMOVE);
		break;
	case SYS_mmap:
	case SYS_mprotect:
	case SYS_pkey_mprotect:
		must(c, a[0], a[1]);
		break;
	case SYS_mremap:
		check_remap(c, a);
		break;
	case SYS_brk:
		if (a[0] && up(a[0]) < up(brk_now) && up(brk_now) <= TASK)
			FUZZ_CHECK(covered(c, up(a[0]), up(brk_now)));
		break;
	case SYS_shmdt: /* its size is not known here: to the top */
		must(c, a[0], 1);
		break;
	case SYS_shmat:
		addr = a[2] & SHM_RND ? a[1] & -4096UL : a[1];
		if (addr && segment) /* to 0, or rounded to it, nothing is replaced */
			must(c, addr, segment);
		break;
	case SYS_remap_file_pages:
		if (a[1] >> 12)
			must(c, a[0] & -4096UL, a[1] & -4096UL);
		break;
	case SYS_process_madvise:
		for (unsigned int i = 0; i < a[2]; i++)
			must(c, (uint64_t)vector[i].iov_base, vector[i].iov_len);
		break;
	default:
		FUZZ_CHECK(!c->n);
	}
}

static uint64_t address(struct fuzz *f)
{
	uint64_t word = fuzz_word(f);

	return fuzz_byte(f) & 1 ? word : word & -4096UL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int calls[] = {
		SYS_munmap,	     SYS_madvise, SYS_mmap,  SYS_mprotect, SYS_pkey_mprotect,
		SYS_mremap,	     SYS_brk,	  SYS_shmdt, SYS_shmat,	   SYS_remap_file_pages,
		SYS_process_madvise, SYS_getpid,
	};
	struct fuzz f = {data, size};
	int nr = calls[fuzz_byte(&f) % (sizeof(calls) / sizeof(calls[0]))];
	struct hmmu_seccomp_change c;
	uint64_t a[6];

	hmmu_syscall_hook = played;
	for (int i = 0; i < 6; i++)
		a[i] = address(&f);
	brk_now = fuzz_word(&f) % (uint64_t)TASK;
	segment = fuzz_word(&f) % (1UL << 40);
	shown = fuzz_byte(&f) % 16 * 4096UL;
	if (shown) { /* where the advice is */
		a[2] = nr == SYS_madvise ? MADV_REMOVE : a[2];
		a[3] = nr == SYS_process_madvise ? MADV_REMOVE : a[3];
	}
	if (nr == SYS_process_madvise) { /* a copy, by who asks (serve.c) */
		a[1] = (uint64_t)vector;
		a[2] %= VECTOR + 1;
		for (unsigned int i = 0; i < VECTOR; i++)
			vector[i] = (struct iovec){(void *)address(&f), fuzz_word(&f)};
	}
	memset(&c, 0x5a, sizeof(c));
	hmmu_seccomp_ranges(nr, a, &c);
	FUZZ_CHECK(c.n <= sizeof(c.range) / sizeof(c.range[0]));
	for (unsigned int i = 0; i < c.n; i++)
		FUZZ_CHECK(c.range[i].start < c.range[i].end);
	check_one(nr, a, &c);
	return 0;
}
