/* SPDX-License-Identifier: MIT */
/*
 * test_header_verbs.c - the header alone, in C11 and in C++17, with the library as it is
 * installed and the real libibverbs. Sizes and offsets are ABI.
 */
#include <hmmu/verbs.h>

#define IS(cond) HMMU_STATIC_ASSERT(cond, #cond)

IS(sizeof(struct hmmu_verbs_options) == 88);
IS(offsetof(struct hmmu_verbs_options, mm) == 8);
IS(offsetof(struct hmmu_verbs_options, access) == 16);
IS(offsetof(struct hmmu_verbs_options, flags) == 20);
IS(offsetof(struct hmmu_verbs_options, alignment) == 24);
IS(offsetof(struct hmmu_verbs_options, max_merged) == 56);
IS(offsetof(struct hmmu_verbs_stats, cache) == 32);

int main(void)
{
	struct hmmu_verbs_options options = HMMU_VERBS_DEFAULTS;
	struct hmmu_verbs_stats stats;
	struct hmmu_region_ref ref;
	struct hmmu_region region;
	struct hmmu_verbs *v;
	struct ibv_mr mr;

	region.handle = &mr;
	region.key[0] = 0x1234;
	region.key[1] = 0xfedcba98;
	ref.region = &region;
	ref.pin = NULL;
	if (hmmu_verbs_mr(&ref) != &mr || hmmu_verbs_lkey(&ref) != 0x1234 ||
	    hmmu_verbs_rkey(&ref) != 0xfedcba98)
		return 1;
	if (hmmu_verbs_open(&v, NULL, &options) != -22)
		return 2;
	if (hmmu_verbs_get(NULL, &mr, 1, PROT_READ, &ref) != -22)
		return 3;
	hmmu_verbs_stat(NULL, &stats);
	return stats.registered || hmmu_verbs_cache(NULL) || hmmu_verbs_close(NULL) != -22;
}
