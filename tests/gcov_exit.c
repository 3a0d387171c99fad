// SPDX-License-Identifier: MIT
/* gcov_exit.c - linked in for scripts/gcov only: _exit() writes gcov's counters, too. */
#include <stdlib.h>

extern void __gcov_exit(void) __attribute__((weak));
void __real__exit(int status) __attribute__((noreturn));
void __wrap__exit(int status) __attribute__((noreturn));

void __wrap__exit(int status)
{
	if (__gcov_exit && getenv("HMMU_GCOV_DUMP"))
		__gcov_exit();
	__real__exit(status);
}
