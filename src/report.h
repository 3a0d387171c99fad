/* SPDX-License-Identifier: MIT */
/*
 * report.h - wrong use of the API, by name, in debug builds (HMMU_DEBUG).
 *
 * One line on descriptor 2, written raw: a report may come from inside an allocator.
 * Tests set hmmu_report_hook instead. With HMMU_DEBUG_ABORT=1 in the environment the
 * process is aborted after a report that no hook has taken. Release builds contain none of
 * it and carry on in the least harmful way that the call site describes.
 */
#ifndef HMMU_REPORT_H
#define HMMU_REPORT_H

#ifdef HMMU_DEBUG
#include <stdbool.h>
#include <stdint.h>

#define HMMU_STACK_MAX 12

/* Who called whom, innermost first: return addresses. */
struct hmmu_stack {
	unsigned int n;
	bool signal; /* one of all the callers is a signal handler */
	const void *pc[HMMU_STACK_MAX];
};

extern void (*hmmu_report_hook)(const char *name, const void *subject);
void hmmu_report(const char *name, const void *subject);

/* As that, of the checks themselves: they could not look at everything. */
void hmmu_note(const char *name, const void *subject);

/* The same in parts, for reports of several lines: begin, lines, end. True: print them. */
bool hmmu_report_begin(const char *name, const void *subject);
/* The texts up to a NULL, in one line. */
void hmmu_report_line(const char *text, ...) __attribute__((sentinel));
void hmmu_report_stack(const struct hmmu_stack *stack);
void hmmu_report_end(void);

/* Puts "0x...", and the file and offset that addr2line wants, into @line; its end. */
char *hmmu_put_hex(char *p, uintptr_t v);
char *hmmu_put_place(char *p, const void *pc);
#define HMMU_PLACE_MAX 384

/* The callers of the frame that returns to @from. Any context: libgcc's unwinder finds its
 * tables without a lock (glibc 2.35) and allocates nothing. */
void hmmu_stack_capture(struct hmmu_stack *stack, const void *from);
#else
static inline void hmmu_report(const char *name, const void *subject)
{
	(void)name;
	(void)subject;
}
#endif

#endif /* HMMU_REPORT_H */
