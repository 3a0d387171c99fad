// SPDX-License-Identifier: MIT
/* report.c - see report.h. */
#include "report.h"

#include "plant.h"

#if defined(HMMU_SCHED) || defined(HMMU_PLANT)
enum hmmu_plant hmmu_planted;
#endif

#ifdef HMMU_DEBUG
#include <stdint.h>
#include <string.h>

#include "arch/syscall.h"

void (*hmmu_report_hook)(const char *name, const void *subject);

static char *put_hex(char *p, uintptr_t v)
{
	for (int shift = 60; shift >= 0; shift -= 4)
		*p++ = "0123456789abcdef"[(v >> shift) & 15];
	return p;
}

void hmmu_report(const char *name, const void *subject)
{
	char line[128] = "hmmu: misuse: ", *p = line + strlen(line);

	if (hmmu_report_hook) {
		hmmu_report_hook(name, subject);
		return;
	}
	while (*name && p < line + 100)
		*p++ = *name++;
	memcpy(p, " 0x", 3);
	p = put_hex(p + 3, (uintptr_t)subject);
	*p++ = '\n';
	hmmu_syscall(SYS_write, 2, line, p - line);
}
#else
typedef int hmmu_report_is_for_debug_builds;
#endif
