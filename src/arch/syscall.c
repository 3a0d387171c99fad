// SPDX-License-Identifier: MIT
/* syscall.c - see syscall.h; empty but in test builds. */
#include "syscall.h"

#if defined(HMMU_SCHED) || defined(HMMU_FAULT)
long (*hmmu_syscall_hook)(long nr, const long args[6]);

long hmmu_syscall_played(long nr, long a, long b, long c, long d, long e, long f)
{
	const long args[6] = {a, b, c, d, e, f};

	return hmmu_syscall_hook(nr, args);
}
#else
typedef int hmmu_syscall_hook_is_for_test_builds;
#endif
