/* SPDX-License-Identifier: MIT */
/* weak/busy.h - slot.c that takes BUSY for FREE: no membarrier. */
#include "atomic.h"

static inline uintptr_t hmmu_weak_busy(bool word, uintptr_t v)
{
	return word && (v & 3) == 1 ? v - 1 : v;
}

#undef hmmu_load_seqcst
#define hmmu_load_seqcst(p)                                                        \
	({                                                                         \
		__typeof__(*(p)) weak_v_ = __atomic_load_n((p), __ATOMIC_SEQ_CST); \
		(__typeof__(*(p)))hmmu_weak_busy(                                  \
			__builtin_types_compatible_p(__typeof__(*(p)), uint64_t),  \
			(uintptr_t)weak_v_);                                       \
	})
