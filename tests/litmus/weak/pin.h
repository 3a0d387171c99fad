/* SPDX-License-Identifier: MIT */
/* weak/pin.h - get.c and pins.c that pin and unpin by plain stores. */
#include "atomic.h"

void litmus_fill(void);

#undef hmmu_xchg_seqcst
#define hmmu_xchg_seqcst(p, v) (litmus_fill(), hmmu_store_release((p), (v)), 0)
