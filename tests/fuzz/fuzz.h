/* SPDX-License-Identifier: MIT */
/*
 * fuzz.h - what all fuzzing targets share.
 *
 * A target reads bytes, makes of them what they say, and compares with a model that is
 * obviously right. It is a function, fuzz_one(), so that three things can drive it:
 * libFuzzer (clang), a plain main() that replays inputs (driver.c, any compiler), and a
 * debugger.
 */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned int seed);

/* What is left of an input. Behind its end there are zeros. */
struct fuzz {
	const uint8_t *at;
	size_t left;
};

static inline uint8_t fuzz_byte(struct fuzz *f)
{
	if (!f->left)
		return 0;
	f->left--;
	return *f->at++;
}

static inline uint64_t fuzz_number(struct fuzz *f, unsigned int bytes)
{
	uint64_t v = 0;

	while (bytes--)
		v = v << 8 | fuzz_byte(f);
	return v;
}

/* An address or a size: any power of two, less or more than it, or any number. */
static inline uint64_t fuzz_word(struct fuzz *f)
{
	uint8_t how = fuzz_byte(f);

	if (how < 192)
		return (1ULL << how % 64) + (uint64_t)(how / 64) - 1;
	return fuzz_number(f, 1 + how % 8);
}

/* Disagrees with the model. */
#define FUZZ_CHECK(condition)                                                      \
	do {                                                                       \
		if (!(condition)) {                                                \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, \
				#condition);                                       \
			abort();                                                   \
		}                                                                  \
	} while (0)

#endif /* TESTS_FUZZ_H */
