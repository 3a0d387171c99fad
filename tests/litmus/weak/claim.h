/* SPDX-License-Identifier: MIT */
/* weak/claim.h - slot.c with a claim (FREE -> BUSY) that is a load and a plain store. */
#include "atomic.h"

#define hmmu_slot_is_claim(p, v) (sizeof(*(p)) == 8 && ((v)&7) == 1)

#undef hmmu_cas_seqcst
#define hmmu_cas_seqcst(p, expected, v)                                                     \
	({                                                                                  \
		bool weak_ok_;                                                              \
		if (hmmu_slot_is_claim(p, v)) {                                             \
			weak_ok_ = hmmu_load_relaxed(p) == *(expected);                     \
			if (weak_ok_)                                                       \
				hmmu_store_release((p), (v));                               \
			else                                                                \
				*(expected) = hmmu_load_relaxed(p);                         \
		} else {                                                                    \
			weak_ok_ = __atomic_compare_exchange_n((p), (expected), (v), false, \
							       __ATOMIC_SEQ_CST,            \
							       __ATOMIC_SEQ_CST);           \
		}                                                                           \
		weak_ok_;                                                                   \
	})
