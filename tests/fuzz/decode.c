// SPDX-License-Identifier: MIT
/*
 * decode.c - where an entry may be patched (src/arch/x86_64_patch.h), of any bytes. What
 * is walked over and what is replaced has to be an instruction that a list of encodings
 * knows; where libcapstone is found, it says independently how long each is, and that it
 * neither writes a register that matters, nor memory but the stack's, nor branches.
 *
 * The bytes lie at the end of a page, behind which there is nothing.
 */
#include "fuzz.h"

#include <sys/mman.h>

#ifdef FUZZ_DECODER /* a copy with a planted bug */
#define HMMU_PATCH_FOREIGN "its entry is patched by another library"
#define HMMU_PATCH_ALONE 1u
#define HMMU_PATCH_BRANCHES 2u
#include FUZZ_DECODER
#endif
#include "arch/patch.h"

#ifdef FUZZ_CAPSTONE
#include <capstone/capstone.h>
#endif

#define PAGE 4096

/* ---- the list -------------------------------------------------------------- */

/* Bytes as value and mask; @stack: which immediate is taken from the stack. */
struct encoding {
	const char *name;
	const char *bytes; /* hexadecimal digits; ".." any */
	unsigned int stack;
};

enum { STACK_NONE, STACK_PUSH, STACK_IMM8, STACK_IMM32 };

static const struct encoding list[] = {
	{"endbr64", "f30f1efa", STACK_NONE},
	{"mov %fs:disp32,%rax", "64488b0425........", STACK_NONE},
	{"mov %fs:disp32,%eax", "648b0425........", STACK_NONE},
	{"cmpl $imm8,%fs:disp32", "64833c25..........", STACK_NONE},
	{"cmpb $imm8,disp32(%rip)", "803d..........", STACK_NONE},
	{"sub $imm8,%rsp", "4883ec..", STACK_IMM8},
	{"sub $imm32,%rsp", "4881ec....0000", STACK_IMM32},
};

static int nibble(char c)
{
	return c <= '9' ? c - '0' : c - 'a' + 10;
}

static unsigned int matches(const uint8_t *p, const char *bytes)
{
	unsigned int n = 0;

	for (; *bytes; bytes += 2, n++)
		if (*bytes != '.' && p[n] != nibble(bytes[0]) * 16 + nibble(bytes[1]))
			return 0;
	return n;
}

static bool scratch(unsigned int reg)
{
	return reg == 0 || reg == 10 || reg == 11;
}

/* Those with an optional REX prefix. The length, or 0. */
static unsigned int with_rex(const uint8_t *p, unsigned int *stack)
{
	unsigned int rex = p[0] >= 0x40 && p[0] < 0x50 ? p[0] : 0, n = rex ? 1 : 0;
	unsigned int reg = (p[n + 1] >> 3 & 7) + (rex & 4) * 2;
	unsigned int rm = (p[n + 1] & 7) + (rex & 1) * 8;
	bool two = p[n + 1] >= 0xc0, wide = rex & 8;

	if (p[n] >= 0x50 && p[n] <= 0x57 && !wide) { /* push */
		*stack = 8;
		return n + 1;
	}
	if (p[n] >= 0xb8 && p[n] <= 0xbf && !wide) /* mov $imm32 */
		return scratch((p[n] & 7) + (rex & 1) * 8) ? n + 5 : 0;
	if (p[n] == 0x89 && two)
		return scratch(rm) ? n + 2 : 0;
	if (p[n] == 0x8b && two)
		return scratch(reg) ? n + 2 : 0;
	/* mov %reg,disp8(%rsp): another base or an index is none of ours */
	if (p[n] == 0x89 && (p[n + 1] & 0xc7) == 0x44 && p[n + 2] == 0x24)
		return rex & 3 ? 0 : n + 4;
	if (p[n] == 0xf7 && p[n + 1] >= 0xc0 && p[n + 1] <= 0xc7) /* test $imm32 */
		return n + 6;
	if (p[n] == 0x83 && p[n + 1] >= 0xf8) /* cmp $imm8 */
		return n + 3;
	return 0;
}

static unsigned int known(const uint8_t *p, unsigned int *stack)
{
	*stack = 0;
	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		unsigned int n = matches(p, list[i].bytes);

		if (!n)
			continue;
		if (list[i].stack == STACK_IMM8)
			*stack = p[3];
		else if (list[i].stack == STACK_IMM32)
			*stack = p[3] + 256u * p[4];
		/* Negative: it gives stack back. */
		if (list[i].stack != STACK_IMM8 || p[3] < 128)
			return n;
	}
	return with_rex(p, stack);
}

/* ---- an independent opinion ------------------------------------------------ */

#ifdef FUZZ_CAPSTONE
static bool matters(unsigned int reg)
{
	switch (reg) {
	case X86_REG_EAX:
	case X86_REG_RAX:
	case X86_REG_R10:
	case X86_REG_R10D:
	case X86_REG_R11:
	case X86_REG_R11D:
	case X86_REG_RSP: /* added up */
	case X86_REG_EFLAGS:
		return false;
	default:
		return true;
	}
}

static void check_memory(const cs_insn *insn)
{
	const cs_x86 *x = &insn->detail->x86;

	for (unsigned int i = 0; i < x->op_count; i++) {
		const cs_x86_op *op = &x->operands[i];

		if (op->type == X86_OP_MEM && (op->access & CS_AC_WRITE))
			FUZZ_CHECK(op->mem.base == X86_REG_RSP &&
				   op->mem.index == X86_REG_INVALID);
	}
}

static void second_opinion(const uint8_t *p, unsigned int len)
{
	static csh handle;
	cs_regs read, written;
	uint8_t n_read, n_written;
	cs_insn *insn;

	if (!handle) {
		FUZZ_CHECK(cs_open(CS_ARCH_X86, CS_MODE_64, &handle) == CS_ERR_OK);
		cs_option(handle, CS_OPT_DETAIL, CS_OPT_ON);
	}
	FUZZ_CHECK(cs_disasm(handle, p, 15, 0, 1, &insn) == 1);
	FUZZ_CHECK(insn->size == len);
	FUZZ_CHECK(!cs_insn_group(handle, insn, CS_GRP_JUMP) &&
		   !cs_insn_group(handle, insn, CS_GRP_CALL) &&
		   !cs_insn_group(handle, insn, CS_GRP_RET));
	FUZZ_CHECK(!cs_regs_access(handle, insn, read, &n_read, written, &n_written));
	for (unsigned int i = 0; i < n_written; i++)
		FUZZ_CHECK(!matters(written[i]));
	check_memory(insn);
	cs_free(insn, 1);
}
#else
static void second_opinion(const uint8_t *p, unsigned int len)
{
}
#endif

/* ---- the model's walk ------------------------------------------------------ */

static bool in_one_word(const uint8_t *p)
{
	return ((uintptr_t)p & 7) <= 3;
}

static bool is_branch(const uint8_t *p)
{
	return p[0] == 0x74 || p[0] == 0x75;
}

/* Jumps and what others patch with begin so. */
static bool is_foreign(const uint8_t *p)
{
	unsigned int two = p[0] * 256u + p[1];

	return (p[0] >= 0xe8 && p[0] <= 0xeb && p[0] != 0xea) || p[0] == 0xcc ||
	       two == 0xff25 || two == 0x49bb || two == 0x48b8;
}

/* Ours: the place and what the stack lost before it, or -1. */
static int model(const uint8_t *entry, unsigned int flags, unsigned int *stack)
{
	unsigned int at = 0, len, taken;

	*stack = 0;
	for (; at <= HMMU_PATCH_WALK - 16; at += len) {
		if (is_foreign(entry + at))
			return -1;
		len = known(entry + at, &taken);
		if (flags & HMMU_PATCH_BRANCHES && is_branch(entry + at))
			len = 2;
		else if (len)
			second_opinion(entry + at, len);
		if (!len)
			break;
		if (len >= HMMU_PATCH_BYTES && in_one_word(entry + at))
			return (int)at;
		*stack += taken;
	}
	*stack = 0;
	return flags & HMMU_PATCH_ALONE && at >= HMMU_PATCH_BYTES && in_one_word(entry) ? 0
											: -1;
}

/* ---- */

static uint8_t *page;

static uint8_t *code_page(void)
{
	if (page)
		return page;
	page = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	FUZZ_CHECK(page != MAP_FAILED);
	FUZZ_CHECK(!mprotect(page + PAGE, PAGE, PROT_NONE));
	return page;
}

/* An indirect jump reads where it leads to: from the page's start, not from anywhere. */
static void aim(uint8_t *entry)
{
	for (unsigned int i = 0; i + 6 <= HMMU_PATCH_WALK; i++) {
		int32_t rel = (int32_t)(page - (entry + i + 6));

		if (entry[i] == 0xff && entry[i + 1] == 0x25)
			memcpy(entry + i + 2, &rel, sizeof(rel));
	}
}

/* What others patched: the whole function's jump, to somewhere. */
static void check_foreign(const uint8_t *entry, const struct hmmu_patch_site *site)
{
	static const uint8_t endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};
	unsigned int two = entry[site->offset] * 256u + entry[site->offset + 1];

	FUZZ_CHECK(!site->offset || (site->offset == 4 && !memcmp(entry, endbr64, 4)));
	FUZZ_CHECK(!site->stack);
	FUZZ_CHECK(two >> 8 == 0xe9 || two == 0xff25 || two == 0x49bb || two == 0x48b8);
	FUZZ_CHECK(site->foreign == hmmu_patch_target(entry + site->offset));
}

/* The word that would be stored: a jump there, and nothing else changed. */
static void check_word(const uint8_t *at)
{
	const uint8_t *to = at + 0x1234567, *word_at = at - (uintptr_t)at % 8;
	uint64_t word = hmmu_patch_word(at, to);
	uint8_t bytes[8];
	int32_t rel;

	memcpy(bytes, &word, 8);
	memcpy(&rel, bytes + (at - word_at) + 1, 4);
	FUZZ_CHECK(bytes[at - word_at] == 0xe9 && at + 5 + rel == to);
	for (unsigned int i = 0; i < 8; i++)
		FUZZ_CHECK(bytes[i] == word_at[i] ||
			   (word_at + i >= at && word_at + i < at + HMMU_PATCH_BYTES));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz f = {data, size};
	uint8_t how = fuzz_byte(&f);
	unsigned int flags = how & 3, stack;
	uint8_t *entry = code_page() + PAGE - HMMU_PATCH_WALK - (how >> 2 & 7);
	struct hmmu_patch_site site = {0};
	const char *why;
	int place;

	for (unsigned int i = 0; i < HMMU_PATCH_WALK + 7u; i++)
		if (entry + i < page + PAGE)
			entry[i] = f.left ? fuzz_byte(&f) : 0xf4;
	aim(entry);
	why = hmmu_patch_find(entry, flags, &site);
	if (!why)
		FUZZ_CHECK(site.offset + HMMU_PATCH_BYTES <= HMMU_PATCH_WALK &&
			   in_one_word(entry + site.offset));
	if (!why && site.foreign) {
		check_foreign(entry, &site);
		check_word(entry + site.offset);
		return 0;
	}
	place = model(entry, flags, &stack);
	FUZZ_CHECK(!why == (place >= 0));
	if (why)
		return 0;
	FUZZ_CHECK(site.offset == (unsigned int)place && site.stack == stack);
	check_word(entry + site.offset);
	return 0;
}
