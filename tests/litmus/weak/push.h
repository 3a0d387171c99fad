/* SPDX-License-Identifier: MIT */
/* weak/push.h - reclaim.c that pushes by a load and a plain store. */
#include "atomic.h"

void litmus_fill(void);

#undef hmmu_cas_seqcst
#define hmmu_cas_seqcst(p, expected, v)                                \
	(hmmu_load_relaxed(p) == *(expected)                           \
		 ? (litmus_fill(), hmmu_store_release((p), (v)), true) \
		 : (*(expected) = hmmu_load_relaxed(p), false))
