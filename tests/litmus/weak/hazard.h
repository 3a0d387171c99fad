/* SPDX-License-Identifier: MIT */
/* weak/hazard.h - invalidate.c that publishes hazards by plain stores. */
#include "atomic.h"

void litmus_fill(void);

#undef hmmu_store_seqcst
#define hmmu_store_seqcst(p, v) (litmus_fill(), hmmu_store_release((p), (v)))
