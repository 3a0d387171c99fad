/* SPDX-License-Identifier: MIT */
/*
 * test_header_mirror.c - as test_header.c: the header alone, in C11 and in C++17. Sizes and
 * offsets are ABI.
 */
#include <hmmu/mirror.h>

#define IS(cond) HMMU_STATIC_ASSERT(cond, #cond)

IS(sizeof(struct hmmu_mirror_ops) == 64);
IS(offsetof(struct hmmu_mirror_ops, lock) == 16);
IS(offsetof(struct hmmu_mirror_ops, trylock) == 32);
IS(offsetof(struct hmmu_mirror_ops, fault) == 40);
IS(offsetof(struct hmmu_mirror_ops, drop) == 56);
IS(sizeof(struct hmmu_mirror_options) == 56);
IS(offsetof(struct hmmu_mirror_options, start) == 8);
IS(offsetof(struct hmmu_mirror_options, dev_private_owner) == 24);
IS(offsetof(struct hmmu_mirror_options, flags) == 32);
IS(offsetof(struct hmmu_mirror_options, page_size) == 36);
IS(sizeof(struct hmmu_mirror_stats) == 8 * 8);

static char memory[3 * 4096];

int main(void)
{
	struct hmmu_mm_options options = {sizeof(options), 0, 0, 0, {0}};
	struct hmmu_mirror_options where = {sizeof(where), 0, 0, 0, 0, 0, {0}};
	struct hmmu_mirror *mirror;
	struct mm_struct *mm;
	char byte = 1, back = 0;

	where.start = ((unsigned long)memory + 4095) & ~4095UL;
	where.length = 4096;
	if (hmmu_mm_open(&mm, &options))
		return 1;
	if (hmmu_mirror_open(&mirror, mm, 0, 0, &where))
		return 2;
	if (hmmu_mirror_write(mirror, where.start, &byte, 1, 0) != 1)
		return 3;
	if (hmmu_mirror_read(mirror, where.start, &back, 1, 0) != 1 || back != 1)
		return 4;
	hmmu_mirror_close(mirror);
	return hmmu_mm_close(mm) ? 5 : 0;
}
