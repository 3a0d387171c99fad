// SPDX-License-Identifier: MIT
/*
 * test_decode.c - where an entry may be patched: bytes in, place or reason out.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>
#include <sys/mman.h>

#include "arch/patch.h"

#if HMMU_ARCH_PATCHES
#define FROM(...)                                                               \
	{                                                                       \
		.n = sizeof((uint8_t[]){__VA_ARGS__}), .bytes = { __VA_ARGS__ } \
	}

struct code {
	unsigned int n;
	uint8_t bytes[40];
};

/* The code at a word's start plus @skew, hlt behind it. */
static const char *find(const struct code *c, unsigned int skew, unsigned int flags,
			struct hmmu_patch_site *site)
{
	static uint64_t words[16];
	uint8_t *entry = (uint8_t *)words + skew;

	memset(words, 0xf4, sizeof(words));
	memcpy(entry, c->bytes, c->n);
	return hmmu_patch_find(entry, flags, site);
}

static void accepts(const struct code *c, unsigned int offset, unsigned int stack)
{
	struct hmmu_patch_site site;

	assert_null(find(c, 0, false, &site));
	assert_int_equal(site.offset, offset);
	assert_int_equal(site.stack, stack);
}

static void plain_wrappers(void **state)
{
	const struct code munmap = FROM(0xb8, 0x0b, 0, 0, 0, 0x0f, 0x05);
	/* xor-free: mov %ecx,%r10d; mov $nr,%eax */
	const struct code four = FROM(0x41, 0x89, 0xca, 0xb8, 9, 0, 0, 0, 0x0f, 0x05);

	accepts(&munmap, 0, 0);
	accepts(&four, 3, 0);
}

static void glibc_mmap(void **state)
{
	const struct code mmap =
		FROM(0x41, 0x89, 0xca, 0x41, 0xf7, 0xc1, 0xff, 0x0f, 0, 0, 0x75, 0x14);

	accepts(&mmap, 3, 0);
}

static void glibc_mremap(void **state)
{
	const struct code mremap =
		FROM(0x48, 0x83, 0xec, 0x58, 0x4c, 0x89, 0x44, 0x24, 0x40, 0x64, 0x48, 0x8b,
		     0x04, 0x25, 0x28, 0, 0, 0, 0x48, 0x89, 0x44, 0x24, 0x18);

	accepts(&mremap, 9, 0x58);
}

/* Cancellation points ask first whether the process has one thread: whichever way. */
static void single_thread_tests(void **state)
{
	const struct code rip = FROM(0x80, 0x3d, 0x21, 0xe8, 0x0d, 0, 0, 0x49, 0x89, 0xca, 0x74,
				     0x14, 0xb8, 0x1d, 0x01, 0, 0);
	const struct code cmp = FROM(0x64, 0x83, 0x3c, 0x25, 0x18, 0, 0, 0, 0, 0x75, 0x10);
	const struct code mov = FROM(0x64, 0x8b, 0x04, 0x25, 0x18, 0, 0, 0, 0x85, 0xc0);

	accepts(&rip, 0, 0);
	accepts(&cmp, 0, 0);
	accepts(&mov, 0, 0);
}

/* Only who knows where a branch leads may pass it. */
static void branches(void **state)
{
	const struct code pkey = FROM(0x41, 0x89, 0xca, 0x83, 0xf9, 0xff, 0x74, 0x30, 0xb8,
				      0x49, 0x01, 0, 0, 0x0f, 0x05);
	struct hmmu_patch_site site;

	assert_non_null(find(&pkey, 0, false, &site));
	assert_null(find(&pkey, 0, HMMU_PATCH_BRANCHES, &site));
	assert_int_equal(site.offset, 8);
	assert_int_equal(site.stack, 0);
}

static void pushes_are_given_back(void **state)
{
	const struct code c =
		FROM(0x41, 0x54, 0x55, 0x48, 0x81, 0xec, 0x10, 0x01, 0, 0, 0xb8, 1, 0, 0, 0);

	struct hmmu_patch_site site;

	/* The sub itself is long enough, unless a word ends inside: then behind it. */
	accepts(&c, 3, 16);
	assert_null(find(&c, 1, false, &site));
	assert_int_equal(site.offset, 10);
	assert_int_equal(site.stack, 0x110 + 16);
}

/* Words that a jump would straddle are no place. */
static void alignment(void **state)
{
	const struct code c = FROM(0xb8, 0x0b, 0, 0, 0, 0x0f, 0x05);
	struct hmmu_patch_site site;

	for (unsigned int skew = 0; skew < 8; skew++)
		assert_int_equal(find(&c, skew, false, &site) == NULL, skew <= 3);
}

/* Two instructions under the jump: only where nobody can be between them. */
static void endbr_needs_one_thread(void **state)
{
	const struct code c = FROM(0xf3, 0x0f, 0x1e, 0xfa, 0xb8, 0x0b, 0, 0, 0, 0x0f, 0x05);
	struct hmmu_patch_site site;

	assert_non_null(find(&c, 0, false, &site));
	assert_null(find(&c, 0, true, &site));
	assert_int_equal(site.offset, 0);
	assert_int_equal(site.stack, 0);
	/* Here the mov has a word's start to itself. */
	assert_null(find(&c, 4, false, &site));
	assert_int_equal(site.offset, 4);
}

static void arguments_must_survive(void **state)
{
	struct hmmu_patch_site site;
	const struct code rdi = FROM(0x48, 0x89, 0xf7, 0xb8, 1, 0, 0, 0);
	const struct code rbx = FROM(0x48, 0x89, 0xfb, 0xb8, 1, 0, 0, 0);
	const struct code load = FROM(0x48, 0x8b, 0xfb, 0xb8, 1, 0, 0, 0);
	const struct code edi = FROM(0x55, 0xbf, 1, 0, 0, 0, 0x55, 0xb8, 1, 0, 0, 0);

	assert_string_equal(find(&rdi, 0, true, &site), HMMU_PATCH_UNKNOWN);
	assert_string_equal(find(&rbx, 0, true, &site), HMMU_PATCH_UNKNOWN);
	assert_string_equal(find(&load, 0, true, &site), HMMU_PATCH_UNKNOWN);
	assert_string_equal(find(&edi, 0, true, &site), HMMU_PATCH_UNKNOWN);
}

/* A jump that others patch with is taken over, and where it led is known. */
static void taken_over(const struct code *c, unsigned int at, uintptr_t target)
{
	struct hmmu_patch_site site;

	assert_null(find(c, 0, 0, &site));
	assert_int_equal(site.offset, at);
	assert_int_equal(site.stack, 0);
	if (target)
		assert_int_equal((uintptr_t)site.foreign, target);
	else
		assert_non_null(site.foreign);
	/* It straddles two words. */
	assert_string_equal(find(c, 5, HMMU_PATCH_ALONE, &site), HMMU_PATCH_FOREIGN);
}

static void foreign_patches(void **state)
{
	const struct code jmp = FROM(0xe9, 1, 2, 3, 4, 0x0f, 0x05);
	const struct code r11 = FROM(0x49, 0xbb, 1, 2, 3, 4, 5, 6, 7, 0, 0x41, 0xff, 0xe3);
	const struct code rax = FROM(0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 0, 0xff, 0xe0);

	taken_over(&jmp, 0, 0);
	taken_over(&r11, 0, 0x07060504030201);
	taken_over(&rax, 0, 0x07060504030201);
}

static void foreign_refused(void **state)
{
	struct hmmu_patch_site site;
	const struct code call = FROM(0xe8, 1, 2, 3, 4, 0x0f, 0x05);
	const struct code self = FROM(0xeb, 0xfe, 2, 3, 4, 0x0f, 0x05);
	const struct code brk = FROM(0xcc, 0x0b, 0, 0, 0);
	const struct code r11 = FROM(0x49, 0xbb, 1, 2, 3, 4, 5, 6, 7, 0, 0x0f, 0x05);
	/* The function's own jump, in its middle. */
	const struct code tail = FROM(0x41, 0x89, 0xca, 0xe9, 1, 2, 3, 4);

	assert_string_equal(find(&call, 0, 1, &site), HMMU_PATCH_FOREIGN);
	assert_string_equal(find(&self, 0, 1, &site), HMMU_PATCH_FOREIGN);
	assert_string_equal(find(&brk, 0, 1, &site), HMMU_PATCH_FOREIGN);
	assert_string_equal(find(&r11, 0, 1, &site), HMMU_PATCH_FOREIGN);
	assert_string_equal(find(&tail, 0, 1, &site), HMMU_PATCH_FOREIGN);
}

/* Every first byte that starts nothing known is refused, alone or not. */
static void unknown_is_refused(void **state)
{
	for (unsigned int b = 0; b < 256; b++) {
		struct code c = FROM(0, 0xff, 0xff, 0xff, 0xff, 0xff);
		struct hmmu_patch_site site;

		c.bytes[0] = (uint8_t)b;
		if (b == 0xb8 || b == 0xe9)
			continue;
		assert_non_null(find(&c, 0, true, &site));
	}
}

static long target(long a, long b, long c, long d, long e, long f)
{
	return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f;
}

/* The word and the trampoline really lead there, stack and arguments intact. */
static void jump_and_trampoline(void **state)
{
	uint8_t *page =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	static const uint8_t entry[] = {0x48, 0x83, 0xec, 0x58, 0x90, 0x90, 0x90, 0x90};
	long (*call)(long, long, long, long, long, long) = (void *)page;
	uint64_t word;

	assert_true(page != MAP_FAILED);
	memcpy(page, entry, sizeof(entry));
	word = hmmu_patch_word(page + 9, page + 512);
	memcpy(page + 8, &word, 8);
	page[8] = 0x90;
	hmmu_trampoline_write(page + 512, 0x58, (void *)target);
	assert_int_equal(mprotect(page, 4096, PROT_READ | PROT_EXEC), 0);
	assert_int_equal(call(1, 2, 3, 4, 5, 6), 1 + 4 + 9 + 16 + 25 + 36);
	munmap(page, 4096);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_wrappers),
		cmocka_unit_test(glibc_mmap),
		cmocka_unit_test(glibc_mremap),
		cmocka_unit_test(single_thread_tests),
		cmocka_unit_test(branches),
		cmocka_unit_test(pushes_are_given_back),
		cmocka_unit_test(alignment),
		cmocka_unit_test(endbr_needs_one_thread),
		cmocka_unit_test(arguments_must_survive),
		cmocka_unit_test(foreign_patches),
		cmocka_unit_test(foreign_refused),
		cmocka_unit_test(unknown_is_refused),
		cmocka_unit_test(jump_and_trampoline),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
int main(void)
{
	return 77;
}
#endif
