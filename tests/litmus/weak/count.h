/* SPDX-License-Identifier: MIT */
/* weak/count.h - event.c that counts waiters by a load and a plain store. */
#include "atomic.h"

void litmus_fill(void);

#undef hmmu_add_seqcst
#define hmmu_add_seqcst(p, v) \
	(litmus_fill(), hmmu_store_release((p), hmmu_load_relaxed(p) + (v)))
