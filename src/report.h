/* SPDX-License-Identifier: MIT */
/*
 * report.h - wrong use of the API, by name, in debug builds (HMMU_DEBUG).
 *
 * One line on descriptor 2, written raw: a report may come from inside an allocator.
 * Tests set hmmu_report_hook instead. Release builds contain none of it and carry on
 * in the least harmful way that the call site describes.
 */
#ifndef HMMU_REPORT_H
#define HMMU_REPORT_H

#ifdef HMMU_DEBUG
extern void (*hmmu_report_hook)(const char *name, const void *subject);
void hmmu_report(const char *name, const void *subject);
#else
static inline void hmmu_report(const char *name, const void *subject)
{
	(void)name;
	(void)subject;
}
#endif

#endif /* HMMU_REPORT_H */
