// SPDX-License-Identifier: MIT
/*
 * filter.c - which system calls are notified.
 *
 *	the number			the argument looked at
 *	munmap mremap brk shmdt		none
 *	mprotect pkey_mprotect		none
 *	ftruncate truncate		none
 *	remap_file_pages		none
 *	mmap				flags: MAP_FIXED without MAP_FIXED_NOREPLACE
 *	madvise, process_madvise	the advice
 *	shmat				SHM_REMAP
 *	fallocate			any mode but KEEP_SIZE, UNSHARE_RANGE alone
 *
 * The filter cannot know the break, so growing the heap is notified as well; nor what
 * a descriptor is or where a path leads, so every ftruncate and truncate is.
 *
 * Numbers of 32-bit and x32 callers: a thread of a 64-bit process can make them (int
 * $0x80). Those are notified by number alone; the receiver performs none of them.
 *
 * What is not in the table is allowed on its number alone: the kernel (5.11) keeps that
 * answer in a bitmap and runs no filter.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/falloc.h>
#include <linux/filter.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>

#include "arch/syscall.h"
#include "source/seccomp/seccomp.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
/* Younger than the headers of Debian 12, or not in libc's. */
#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif
#define ADVICE_DONTNEED_LOCKED 24
#define ADVICE_HWPOISON 100
#define ADVICE_SOFT_OFFLINE 101
#define ADVICE_GUARD_INSTALL 102
#define X32_BIT 0x40000000U
#define PROGRAM_MAX 320

/* fallocate: the modes that take nothing away, and do not grow the file. */
#define FALLOC_HARMLESS (FALLOC_FL_KEEP_SIZE | FALLOC_FL_UNSHARE_RANGE)

static const int advices[] = {MADV_DONTNEED,	      MADV_FREE,       MADV_REMOVE,
			      ADVICE_DONTNEED_LOCKED, ADVICE_HWPOISON, ADVICE_SOFT_OFFLINE,
			      ADVICE_GUARD_INSTALL};
#define NR_ADVICES (sizeof(advices) / sizeof(advices[0]))

static const int whole[] = {SYS_munmap,		  SYS_brk,	 SYS_mprotect,
			    SYS_mremap,		  SYS_shmdt,	 SYS_pkey_mprotect,
			    SYS_remap_file_pages, SYS_ftruncate, SYS_truncate};

/* munmap mmap mmap2 mremap madvise mprotect brk ipc shmat shmdt remap_file_pages ftruncate
 * ftruncate64 truncate truncate64 fallocate process_madvise pkey_mprotect, of i386. */
static const int i386[] = {91,	90,  192, 163, 219, 125, 45,  117, 397,
			   398, 257, 93,  194, 92,  193, 324, 440, 380};

struct program {
	unsigned short n;
	struct sock_filter code[PROGRAM_MAX];
};

bool hmmu_seccomp_advice(int advice)
{
	for (size_t i = 0; i < NR_ADVICES; i++)
		if (advices[i] == advice)
			return true;
	return false;
}

static void load(struct program *p, size_t offset)
{
	p->code[p->n++] =
		(struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned int)offset);
}

/* Little endian: the low half comes first. */
static void load_arg(struct program *p, unsigned int arg)
{
	load(p, offsetof(struct seccomp_data, args) + arg * sizeof(uint64_t));
}

static void jump(struct program *p, unsigned short how, unsigned int k, size_t yes, size_t no)
{
	p->code[p->n++] =
		(struct sock_filter)BPF_JUMP((unsigned short)(BPF_JMP | how | BPF_K), k,
					     (unsigned char)yes, (unsigned char)no);
}

static void answer(struct program *p, unsigned int k)
{
	p->code[p->n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, k);
}

/* Notified, unless it comes from the gate. */
static void notify(struct program *p)
{
	uint64_t gate = (uint64_t)(uintptr_t)hmmu_seccomp_gate_after;
	const size_t ip = offsetof(struct seccomp_data, instruction_pointer);

	if (HMMU_SECCOMP_PLANTED(NO_GATE))
		gate = 0;
	load(p, ip);
	jump(p, BPF_JEQ, (unsigned int)gate, 0, 3);
	load(p, ip + 4);
	jump(p, BPF_JEQ, (unsigned int)(gate >> 32), 0, 1);
	answer(p, SECCOMP_RET_ALLOW);
	answer(p, SECCOMP_RET_USER_NOTIF);
}

/* If A is @nr: what comes until end_rule(). The address of the jump to be patched. */
static struct sock_filter *rule(struct program *p, long nr)
{
	jump(p, BPF_JEQ, (unsigned int)nr, 0, 0);
	return &p->code[p->n - 1];
}

static void end_rule(struct program *p, struct sock_filter *jump)
{
	notify(p);
	jump->jf = (unsigned char)(&p->code[p->n] - (jump + 1));
}

static void rule_mmap(struct program *p)
{
	struct sock_filter *j = rule(p, SYS_mmap);

	load_arg(p, 3);
	jump(p, BPF_JSET, MAP_FIXED_NOREPLACE, 1, 0);
	jump(p, BPF_JSET, MAP_FIXED, 1, 0);
	answer(p, SECCOMP_RET_ALLOW);
	end_rule(p, j);
}

static void rule_advice(struct program *p, long nr, unsigned int arg)
{
	struct sock_filter *j = rule(p, nr);

	load_arg(p, arg);
	for (size_t i = 0; i < NR_ADVICES; i++)
		jump(p, BPF_JEQ, (unsigned int)advices[i], NR_ADVICES - i, 0);
	answer(p, SECCOMP_RET_ALLOW);
	end_rule(p, j);
}

static void rule_shmat(struct program *p)
{
	struct sock_filter *j = rule(p, SYS_shmat);

	load_arg(p, 2);
	jump(p, BPF_JSET, SHM_REMAP, 1, 0);
	answer(p, SECCOMP_RET_ALLOW);
	end_rule(p, j);
}

/* Mode 0 grows the file: what faulted behind its end does so no more. */
static void rule_fallocate(struct program *p)
{
	struct sock_filter *j = rule(p, SYS_fallocate);

	load_arg(p, 1);
	jump(p, BPF_JEQ, 0, 2, 0);
	jump(p, BPF_JSET, ~(unsigned int)FALLOC_HARMLESS, 1, 0);
	answer(p, SECCOMP_RET_ALLOW);
	end_rule(p, j);
}

static void build(struct program *p)
{
	struct sock_filter *native;

	load(p, offsetof(struct seccomp_data, arch));
	jump(p, BPF_JEQ, AUDIT_ARCH_X86_64, 0, 0);
	native = &p->code[p->n - 1];
	jump(p, BPF_JEQ, AUDIT_ARCH_I386, 1, 0);
	answer(p, SECCOMP_RET_ALLOW);
	load(p, offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < sizeof(i386) / sizeof(i386[0]); i++) {
		jump(p, BPF_JEQ, (unsigned int)i386[i], 0, 1);
		answer(p, SECCOMP_RET_USER_NOTIF);
	}
	answer(p, SECCOMP_RET_ALLOW);
	native->jt = (unsigned char)(&p->code[p->n] - (native + 1));

	load(p, offsetof(struct seccomp_data, nr));
	p->code[p->n++] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, ~X32_BIT);
	rule_mmap(p);
	rule_advice(p, SYS_madvise, 2);
	for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++)
		end_rule(p, rule(p, whole[i]));
	rule_shmat(p);
	rule_fallocate(p);
	rule_advice(p, SYS_process_madvise, 3);
	answer(p, SECCOMP_RET_ALLOW);
}

static const char *reason(long err)
{
	switch (err) {
	case -EBUSY:
		return "a seccomp listener is there already: this program's own, its parent's "
		       "or a container's";
	case -ESRCH:
		return "a thread has a seccomp filter of its own: the threads cannot be made "
		       "alike";
	case -EINVAL:
		return "this kernel's seccomp lacks WAIT_KILLABLE_RECV (Linux 5.19) or user "
		       "notification";
	case -EACCES:
	case -EPERM:
		return "a security policy refuses the seccomp system call";
	case -ENOSYS:
		return "there is no seccomp system call, or a policy hides it";
	default:
		return "the seccomp filter could not be installed";
	}
}

int hmmu_seccomp_filter(const char **why)
{
	struct program p = {0};
	struct sock_fprog prog = {.filter = p.code};
	unsigned long flags = SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_TSYNC |
			      SECCOMP_FILTER_FLAG_TSYNC_ESRCH |
			      SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
	long fd;

	build(&p);
	prog.len = p.n;
	if (HMMU_SECCOMP_PLANTED(NO_TSYNC))
		flags &= ~(SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH);
	if (HMMU_SECCOMP_PLANTED(NO_KILLABLE))
		flags &= ~SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
	fd = hmmu_syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
	if (fd == -EACCES) {
		/* Not privileged: TSYNC gives it to the other threads too. */
		fd = hmmu_syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1);
		if (!fd)
			fd = hmmu_syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
	}
	*why = fd < 0 ? reason(fd) : "";
	return (int)fd;
}
