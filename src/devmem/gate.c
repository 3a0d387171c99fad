// SPDX-License-Identifier: MIT
/* gate.c - moving content against reading events: the third picture of devmem.h. */
#include <limits.h>
#include <signal.h>

#include "../futex.h"
#include "../source/userfaultfd/userfaultfd.h"
#include "devmem.h"

uint64_t dm_quiet(void)
{
	uint64_t all = ~0ULL, old = 0;

	hmmu_syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, &old, sizeof(all));
	return old;
}

void dm_loud(uint64_t old)
{
	hmmu_syscall(SYS_rt_sigprocmask, SIG_SETMASK, &old, NULL, sizeof(old));
}

/* The reader makes no system call for whom nobody has waited. */
void dm_wait_reading(struct hmmu_devmem *dm)
{
	uint32_t now = DM_READING;

	/* Pairs with the exchange in dm_reading(): what was made AWAITED there is woken. */
	if (hmmu_cas_seqcst(&dm->reading, &now, DM_AWAITED) || now == DM_AWAITED)
		hmmu_futex_wait(&dm->reading, DM_AWAITED, NULL);
}

void dm_gate_enter(struct hmmu_devmem *dm)
{
	for (;;) {
		/* Dekker with dm_reading(). */
		hmmu_add_seqcst(&dm->movers, 1);
		if (!hmmu_load_seqcst(&dm->reading) || HMMU_PLANTED(DM_NO_GATE))
			return;
		hmmu_add_seqcst(&dm->movers, (uint32_t)-1);
		dm_wait_reading(dm);
	}
}

void dm_gate_leave(struct hmmu_devmem *dm)
{
	hmmu_add_seqcst(&dm->movers, (uint32_t)-1);
}

void dm_reading(bool yes)
{
	struct hmmu_devmem *dm = hmmu_load_acquire(&hmmu_devmem);

	if (!dm)
		return;
	if (!yes) {
		if (hmmu_xchg_seqcst(&dm->reading, DM_NOT_READING) == DM_AWAITED)
			hmmu_futex_wake(&dm->reading, INT_MAX);
		return;
	}
	hmmu_store_seqcst(&dm->reading, DM_READING);
	while (hmmu_load_seqcst(&dm->movers) && !HMMU_PLANTED(DM_NO_GATE))
		hmmu_uffd_pause(1000);
}
