/* SPDX-License-Identifier: MIT */
/* checksum.h - FNV-1a, 64 bits. */
#ifndef HMMU_RECORD_CHECKSUM_H
#define HMMU_RECORD_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

#define RECORD_SUM_START UINT64_C(0xcbf29ce484222325)

static inline uint64_t record_sum(uint64_t sum, const void *data, size_t n)
{
	const unsigned char *p = data;

	while (n--)
		sum = (sum ^ *p++) * UINT64_C(0x100000001b3);
	return sum;
}

#endif /* HMMU_RECORD_CHECKSUM_H */
