/* SPDX-License-Identifier: MIT */
/* rand.h - small, seeded, the same everywhere (splitmix64). */
#ifndef TESTS_RAND_H
#define TESTS_RAND_H

#include <stdint.h>

struct rnd {
	uint64_t state;
};

static inline uint64_t rnd(struct rnd *r)
{
	uint64_t z = (r->state += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

#endif /* TESTS_RAND_H */
