/* SPDX-License-Identifier: MIT */
/* weak/without.h - insert.c or event.c without a membarrier; invalidate.c, whose stores take
 * their time. */
#include "atomic.h"

struct mm_struct;
void litmus_fill(void);

static inline void hmmu_weak_barrier(struct mm_struct *mm)
{
	(void)mm;
}

#define hmmu_barrier hmmu_weak_barrier
#undef hmmu_store_release
#define hmmu_store_release(p, v) \
	(litmus_fill(), HMMU_SET_(p, v, __atomic_store_n, __ATOMIC_RELEASE))
