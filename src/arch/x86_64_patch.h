/* SPDX-License-Identifier: MIT */
/*
 * x86_64_patch.h - where a function's entry can be diverted with one store.
 *
 * A patch is `jmp rel32`, 5 bytes. It is safe while other threads run the function
 * if, and only if, it is
 *
 *   one store	 the 5 bytes lie in one aligned 8-byte word, so that every other
 *		 CPU fetches the old word or the new one;
 *   one insn	 they replace the first 5 bytes of ONE instruction: no thread can
 *		 be stopped at a boundary inside them;
 *   no return	 nothing behind them is changed: a thread that comes back from the
 *		 kernel finds its bytes.
 *
 * hmmu_patch_find() walks the straight-line prologue to the first such place and
 * refuses at the first byte that it does not understand. What it walks over must
 * leave the arguments and the callee-saved registers alone; what it does to the
 * stack pointer is added up, and the trampoline takes it back before it enters the
 * replacement. The replacement does the whole call, so that no displaced
 * instruction is ever executed.
 *
 * Where another library's jump is found, ours replaces it, and the replacement calls what
 * it led to (chain.c).
 *
 * Where the function starts with endbr64 (4 bytes) no place passes the second
 * rule. Then the entry itself is taken, but only if the process has one thread.
 *
 * A conditional branch ends the walk, for what it leads to would not be caught; unless
 * the caller knows that it leads to an entry that is patched as well (HMMU_PATCH_BRANCHES:
 * pkey_mprotect without a key is mprotect), and tries both ways afterwards.
 *
 * Pure functions on bytes: tests/hooks/test_decode.c.
 */
#ifndef HMMU_ARCH_X86_64_PATCH_H
#define HMMU_ARCH_X86_64_PATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HMMU_PATCH_BYTES 5
#define HMMU_PATCH_WALK 32 /* of a prologue; readable behind any entry */
#define HMMU_TRAMPOLINE_BYTES 32
#define HMMU_PATCH_REACH 0x7fff0000L /* of a rel32, less a little */

struct hmmu_patch_site {
	unsigned int offset; /* from the entry */
	unsigned int stack;  /* bytes that the prologue has taken there */
	void *foreign;	     /* where another library's jump there leads to; NULL: none */
};

/* One instruction of a prologue. */
struct hmmu_insn {
	unsigned int len;
	unsigned int stack;
};

#define HMMU_PATCH_UNKNOWN "its entry is not understood"

/* rax, r10, r11: neither an argument of a C call nor preserved by one. */
static inline bool hmmu_insn_scratch(unsigned int reg)
{
	return reg == 0 || reg == 10 || reg == 11;
}

/* jmp rel32, jmp rel8, call, jmp *mem, int3, and mov imm64 to r11 or rax (then jmp there). */
static inline bool hmmu_insn_foreign(const uint8_t *p)
{
	return p[0] == 0xe9 || p[0] == 0xeb || p[0] == 0xe8 || p[0] == 0xcc ||
	       (p[0] == 0xff && p[1] == 0x25) || (p[0] == 0x49 && p[1] == 0xbb) ||
	       (p[0] == 0x48 && p[1] == 0xb8);
}

/*
 * Where the jump at @p leads to, if it is one that others patch entries with; or NULL.
 *	e9 rel32, and		UCX: ucm_bistro_patch(), src/ucm/bistro/bistro_x86_64.c
 *	48 b8 imm64 ff e0		(mov imm64,%rax; jmp *%rax) when rel32 does not reach
 *	49 bb imm64 41 ff e3	libfabric: ofi_patch_function(),
 *				prov/util/src/util_mem_hooks.c; Open MPI's patcher
 *	ff 25 disp32		jmp *disp32(%rip)
 * The first 5 bytes of each are, or are part of, one instruction: the rule for a patch
 * holds for patching over it. (eb fe, a jump to itself, is what newer UCX holds callers
 * up with while it writes: refused, and tried again at the next open.)
 */
static inline void *hmmu_patch_target(const uint8_t *p)
{
	static const uint8_t jmp_r11[] = {0x41, 0xff, 0xe3};
	static const uint8_t jmp_rax[] = {0xff, 0xe0};
	void *target = NULL;
	int32_t rel;

	memcpy(&rel, p + (p[0] == 0xe9 ? 1 : 2), 4);
	if (p[0] == 0xe9)
		return (void *)(p + 5 + rel);
	if (p[0] == 0xff && p[1] == 0x25)
		memcpy(&target, p + 6 + rel, sizeof(target));
	else if ((p[0] == 0x49 && p[1] == 0xbb && !memcmp(p + 10, jmp_r11, sizeof(jmp_r11))) ||
		 (p[0] == 0x48 && p[1] == 0xb8 && !memcmp(p + 10, jmp_rax, sizeof(jmp_rax))))
		memcpy(&target, p + 2, sizeof(target));
	return target;
}

/* mov between registers, test reg,imm32, cmp reg,imm8, mov reg to disp8(%rsp): opcode and
 * ModRM at p. */
static inline unsigned int hmmu_insn_modrm(const uint8_t *p, unsigned int rex)
{
	unsigned int mod = p[1] >> 6, reg = ((p[1] >> 3) & 7) | ((rex & 4) << 1);
	unsigned int rm = (p[1] & 7) | ((rex & 1) << 3);

	if (p[0] == 0x89 && mod == 3)
		return hmmu_insn_scratch(rm) ? 2 : 0;
	if (p[0] == 0x8b && mod == 3)
		return hmmu_insn_scratch(reg) ? 2 : 0;
	/* With REX.X or REX.B it is another address. */
	if (p[0] == 0x89 && mod == 1 && p[1] % 8 == 4 && p[2] == 0x24 && !(rex & 3))
		return 4;
	if (p[0] == 0xf7 && mod == 3 && (p[1] & 0x38) == 0)
		return 6;
	if (p[0] == 0x83 && mod == 3 && (p[1] & 0x38) == 0x38)
		return 3;
	return 0;
}

/* How a cancellation point asks whether it is alone: cmpb $imm8,disp32(%rip), and through
 * %fs cmpl $imm8,disp32 and mov disp32,%eax. The length, or 0. */
static inline unsigned int hmmu_insn_single_thread(const uint8_t *p)
{
	static const uint8_t cmp_fs[] = {0x64, 0x83, 0x3c, 0x25};
	static const uint8_t mov_fs[] = {0x64, 0x8b, 0x04, 0x25};

	if (p[0] == 0x80 && p[1] == 0x3d)
		return 7;
	if (!memcmp(p, cmp_fs, sizeof(cmp_fs)))
		return 9;
	if (!memcmp(p, mov_fs, sizeof(mov_fs)))
		return 8;
	return 0;
}

/* len 0: not understood. */
static inline struct hmmu_insn hmmu_insn_decode(const uint8_t *p)
{
	static const uint8_t endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};
	static const uint8_t canary[] = {0x64, 0x48, 0x8b, 0x04, 0x25};
	struct hmmu_insn insn = {0, 0};
	unsigned int rex = (p[0] & 0xf0) == 0x40 ? p[0] : 0, n = rex ? 1 : 0;

	if (!memcmp(p, endbr64, sizeof(endbr64))) {
		insn.len = 4;
	} else if (!memcmp(p, canary, sizeof(canary))) {
		insn.len = 9;
	} else if (hmmu_insn_single_thread(p)) {
		insn.len = hmmu_insn_single_thread(p);
	} else if (rex == 0x48 && p[1] == 0x83 && p[2] == 0xec && p[3] < 0x80) {
		insn.len = 4;
		insn.stack = p[3];
	} else if (rex == 0x48 && p[1] == 0x81 && p[2] == 0xec && p[5] == 0 && p[6] == 0) {
		insn.len = 7;
		insn.stack = p[3] | (unsigned int)p[4] << 8;
	} else if ((p[n] & 0xf8) == 0x50 && !(rex & 8)) {
		insn.len = n + 1;
		insn.stack = 8;
	} else if ((p[n] & 0xf8) == 0xb8 && !(rex & 8)) {
		if (hmmu_insn_scratch((p[n] & 7) | ((rex & 1) << 3)))
			insn.len = n + 5;
	} else {
		unsigned int m = hmmu_insn_modrm(p + n, rex);

		insn.len = m ? n + m : 0;
	}
	return insn;
}

static inline bool hmmu_patch_one_word(const uint8_t *p)
{
	return (uintptr_t)p % 8 + HMMU_PATCH_BYTES <= 8;
}

/* je, jne rel8: the way that goes on */
static inline bool hmmu_insn_branch(const uint8_t *p)
{
	return p[0] == 0x74 || p[0] == 0x75;
}

/* The jump at @p, to be replaced by ours. Not with more than endbr64 in front: it would
 * not be a whole function that it leads to. */
static inline const char *hmmu_patch_over(const uint8_t *entry, unsigned int at,
					  struct hmmu_patch_site *site)
{
	bool whole = at == 0 || (at == 4 && entry[0] == 0xf3 && entry[1] == 0x0f);

	site->offset = at;
	site->stack = 0;
	site->foreign = whole ? hmmu_patch_target(entry + at) : NULL;
	return site->foreign && hmmu_patch_one_word(entry + at) ? NULL : HMMU_PATCH_FOREIGN;
}

/*
 * hmmu_patch_find() - where to patch @entry. @flags: HMMU_PATCH_*.
 * NULL and *site, or why not.
 */
static inline const char *hmmu_patch_find(const uint8_t *entry, unsigned int flags,
					  struct hmmu_patch_site *site)
{
	unsigned int at = 0, stack = 0;
	const char *why = "its entry has no instruction that one store can replace";

	site->foreign = NULL;
	while (at + 16 <= HMMU_PATCH_WALK) {
		struct hmmu_insn insn;

		if (hmmu_insn_foreign(entry + at))
			return hmmu_patch_over(entry, at, site);
		insn = hmmu_insn_decode(entry + at);
		if ((flags & HMMU_PATCH_BRANCHES) && hmmu_insn_branch(entry + at))
			insn.len = 2;
		if (!insn.len) {
			if (at < HMMU_PATCH_BYTES)
				why = HMMU_PATCH_UNKNOWN;
			break;
		}
		if (insn.len >= HMMU_PATCH_BYTES && hmmu_patch_one_word(entry + at)) {
			site->offset = at;
			site->stack = stack;
			return NULL;
		}
		at += insn.len;
		stack += insn.stack;
	}
	if ((flags & HMMU_PATCH_ALONE) && at >= HMMU_PATCH_BYTES &&
	    hmmu_patch_one_word(entry)) {
		site->offset = 0;
		site->stack = 0;
		return NULL;
	}
	return why;
}

/* The word that holds @at, with a jump from @at to @to in it. */
static inline uint64_t hmmu_patch_word(const uint8_t *at, const uint8_t *to)
{
	uintptr_t shift = (uintptr_t)at % 8;
	int32_t rel = (int32_t)(to - (at + HMMU_PATCH_BYTES));
	uint8_t bytes[8];
	uint64_t word;

	memcpy(bytes, at - shift, 8);
	bytes[shift] = 0xe9;
	memcpy(bytes + shift + 1, &rel, 4);
	memcpy(&word, bytes, 8);
	return word;
}

/*
 * Replace the word if it is still @old. Every thread's instruction fetch sees the one
 * or the other. Not through atomic.h: clang's TSan instruments those even where it is
 * told not to, and it keeps no shadow of code to write to.
 */
static inline bool hmmu_patch_store(uint64_t *word, uint64_t old, uint64_t value)
{
	uint64_t found = old;

	__asm__ volatile("lock cmpxchgq %2, %1"
			 : "+a"(found), "+m"(*word)
			 : "r"(value)
			 : "cc", "memory");
	return found == old;
}

/* HMMU_TRAMPOLINE_BYTES at @to: give back @stack bytes, go to @target. */
static inline void hmmu_trampoline_write(uint8_t *to, unsigned int stack, const void *target)
{
	static const uint8_t lea[] = {0x48, 0x8d, 0xa4, 0x24}; /* lea disp32(%rsp),%rsp */
	static const uint8_t jmp[] = {0xff, 0x25, 0, 0, 0, 0}; /* jmp *0(%rip) */

	memset(to, 0xcc, HMMU_TRAMPOLINE_BYTES);
	if (stack) {
		memcpy(to, lea, sizeof(lea));
		memcpy(to + 4, &stack, 4);
		to += 8;
	}
	memcpy(to, jmp, sizeof(jmp));
	memcpy(to + sizeof(jmp), &target, 8);
}

/* Is there a call of @target in the @n bytes at @p? Any e8 that would lead there. */
static inline bool hmmu_patch_calls(const uint8_t *p, size_t n, const void *target)
{
	for (size_t i = 0; i + HMMU_PATCH_BYTES <= n; i++) {
		int32_t rel;

		memcpy(&rel, p + i + 1, 4);
		if (p[i] == 0xe8 && p + i + HMMU_PATCH_BYTES + rel == (const uint8_t *)target)
			return true;
	}
	return false;
}

/*
 * Under valgrind code runs as translations, which do not follow a store into a
 * file's code (unless --smc-check=all), also those of callers that were translated
 * together with the patched entry. Its client request 0x1002 drops the translations
 * of a range. The request is marked by instructions that on a processor do nothing:
 * rotations of rdi by 3 + 13 + 61 + 51 = 128 and an exchange of rbx with itself; rax
 * points to the number and its arguments, the answer is in rdx. (A test builds it
 * without, to see the self-test notice.)
 */
static inline void hmmu_patch_forget(const void *at, size_t n)
{
#ifndef HMMU_KEEP_TRANSLATIONS
	unsigned long request[6] = {0x1002, (unsigned long)at, n};
	unsigned long answer = 0;

	__asm__ volatile("rolq $3, %%rdi\n\trolq $13, %%rdi\n\t"
			 "rolq $61, %%rdi\n\trolq $51, %%rdi\n\t"
			 "xchgq %%rbx, %%rbx"
			 : "+d"(answer)
			 : "a"(request)
			 : "cc", "memory");
#endif
}

#endif /* HMMU_ARCH_X86_64_PATCH_H */
