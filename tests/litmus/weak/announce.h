/* SPDX-License-Identifier: MIT */
/* weak/announce.h - summary.c that sets bits by a load and a plain store. */
#include "atomic.h"

void litmus_fill(void);

#undef hmmu_or_seqcst
#define hmmu_or_seqcst(p, v) \
	(litmus_fill(), hmmu_store_release((p), hmmu_load_relaxed(p) | (v)))
