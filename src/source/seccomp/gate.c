// SPDX-License-Identifier: MIT
/*
 * gate.c - the one syscall instruction that the filter does not look at.
 *
 * The filter compares the address behind it, which is what the kernel knows. It is a
 * function, never inlined, so that there is one such address in the process. A forked
 * child has it at the same place; for a program that was exec'ed the address means
 * nothing, and its calls are let through either way.
 */
#include "source/seccomp/seccomp.h"

#if defined(__x86_64__)
__asm__(".pushsection .text\n"
	".balign 64\n"
	".globl hmmu_seccomp_gate\n"
	".hidden hmmu_seccomp_gate\n"
	".type hmmu_seccomp_gate, @function\n"
	"hmmu_seccomp_gate:\n"
	"	.cfi_startproc\n"
	"	mov %rdi, %rax\n"
	"	mov %rsi, %rdi\n"
	"	mov %rdx, %rsi\n"
	"	mov %rcx, %rdx\n"
	"	mov %r8, %r10\n"
	"	mov %r9, %r8\n"
	"	mov 8(%rsp), %r9\n"
	"	syscall\n"
	".globl hmmu_seccomp_gate_after\n"
	".hidden hmmu_seccomp_gate_after\n"
	"hmmu_seccomp_gate_after:\n"
	"	ret\n"
	"	.cfi_endproc\n"
	".size hmmu_seccomp_gate, . - hmmu_seccomp_gate\n"
	".popsection\n");
#else
#error "the seccomp source knows x86-64 only"
#endif
