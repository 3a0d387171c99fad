/* SPDX-License-Identifier: MIT */
/* weak/ends.h - slot.c without a membarrier; invalidate.c, whose stores take their time. */
#include "arch/syscall.h"
#include "atomic.h"

void litmus_fill(void);

static inline long hmmu_weak_syscall(long nr, ...)
{
	return nr * 0;
}

#undef hmmu_syscall
#define hmmu_syscall hmmu_weak_syscall
#undef hmmu_store_release
#define hmmu_store_release(p, v) \
	(litmus_fill(), HMMU_SET_(p, v, __atomic_store_n, __ATOMIC_RELEASE))
