// SPDX-License-Identifier: MIT
/* report.c - see report.h. */
#include "report.h"

#include "plant.h"

#if defined(HMMU_SCHED) || defined(HMMU_PLANT)
enum hmmu_plant hmmu_planted;
#endif

#ifdef HMMU_DEBUG
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unwind.h>

#include "arch/syscall.h"

/* Not hmmu_syscall(): a test that refuses the library's N-th call does not mean these. */
#define RAW(nr, a, b, c) hmmu_syscall6((nr), (long)(a), (long)(b), (long)(c), 0, 0, 0)

void (*hmmu_report_hook)(const char *name, const void *subject);

static bool aborts; /* set by the constructor */

char *hmmu_put_hex(char *p, uintptr_t v)
{
	*p++ = '0';
	*p++ = 'x';
	for (int shift = 60; shift >= 0; shift -= 4)
		if (v >> shift || !shift)
			*p++ = "0123456789abcdef"[(v >> shift) & 15];
	return p;
}

static bool begin(const char *what, const char *name, const void *subject)
{
	char line[128] = "hmmu: ", *p = line + strlen(line);

	if (hmmu_report_hook) {
		hmmu_report_hook(name, subject);
		return false;
	}
	while (*what)
		*p++ = *what++;
	while (*name && p < line + 100)
		*p++ = *name++;
	*p++ = ' ';
	p = hmmu_put_hex(p, (uintptr_t)subject);
	*p++ = '\n';
	RAW(SYS_write, 2, line, p - line);
	return true;
}

bool hmmu_report_begin(const char *name, const void *subject)
{
	return begin("misuse: ", name, subject);
}

void hmmu_note(const char *name, const void *subject)
{
	begin("note: ", name, subject);
}

void hmmu_report_end(void)
{
	/* abort() takes a lock. */
	if (aborts)
		RAW(SYS_kill, RAW(SYS_getpid, 0, 0, 0), SIGABRT, 0);
}

void hmmu_report(const char *name, const void *subject)
{
	if (hmmu_report_begin(name, subject))
		hmmu_report_end();
}

void hmmu_report_line(const char *text, ...)
{
	char line[HMMU_PLACE_MAX + 128] = "hmmu:   ", *p = line + strlen(line);
	va_list ap;

	va_start(ap, text);
	for (; text; text = va_arg(ap, const char *))
		while (*text && p < line + sizeof(line) - 1)
			*p++ = *text++;
	va_end(ap);
	*p++ = '\n';
	RAW(SYS_write, 2, line, p - line);
}

/* ---- which file is at an address: /proc/self/maps, read raw ---------------- */

struct maps {
	long fd;
	long have, at;
	char buf[512];
};

static int next_char(struct maps *m)
{
	if (m->at == m->have) {
		m->have = RAW(SYS_read, m->fd, m->buf, sizeof(m->buf));
		m->at = 0;
		if (m->have <= 0) {
			m->have = 0;
			return -1;
		}
	}
	return (unsigned char)m->buf[m->at++];
}

static uintptr_t next_hex(struct maps *m)
{
	uintptr_t v = 0;
	int c;

	while ((c = next_char(m)) > ' ' && c != '-')
		v = v << 4 | (uintptr_t)(c <= '9' ? c - '0' : c - 'a' + 10);
	return v;
}

struct mapping {
	uintptr_t start, end, offset;
	char path[HMMU_PLACE_MAX - 48];
};

/* One line. */
static bool next_mapping(struct maps *m, struct mapping *map)
{
	size_t n = 0;
	int c, fields = 0;

	map->start = next_hex(m);
	map->end = next_hex(m);
	if (!map->end)
		return false;
	while ((c = next_char(m)) > ' ')
		; /* what may be done there */
	map->offset = next_hex(m);
	while ((c = next_char(m)) > 0 && c != '\n') {
		if (c == '/')
			fields = 1;
		if (fields && n < sizeof(map->path) - 1)
			map->path[n++] = (char)c;
	}
	map->path[n] = '\0';
	return true;
}

/* A file's first mapping is what its addresses are relative to. */
char *hmmu_put_place(char *p, const void *pc)
{
	struct maps m = {
		.fd = RAW(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC)};
	uintptr_t base = 0;
	struct mapping map;

	p = hmmu_put_hex(p, (uintptr_t)pc);
	while (m.fd >= 0 && next_mapping(&m, &map)) {
		if (!map.offset && map.path[0])
			base = map.start;
		if ((uintptr_t)pc < map.start || (uintptr_t)pc >= map.end)
			continue;
		if (map.path[0]) {
			*p++ = ' ';
			strcpy(p, map.path);
			p += strlen(p);
			*p++ = '+';
			p = hmmu_put_hex(p, (uintptr_t)pc - base);
		}
		break;
	}
	if (m.fd >= 0)
		RAW(SYS_close, m.fd, 0, 0);
	*p = '\0';
	return p;
}

/* ---- stacks ------------------------------------------------------------- */

#define FRAMES_MAX 64 /* looked at: a handler may be far out */

struct capture {
	struct hmmu_stack *stack;
	const void *from;
	unsigned int frames;
	bool found;
};

static _Unwind_Reason_Code frame(struct _Unwind_Context *context, void *arg)
{
	struct capture *c = arg;
	int signal = 0;
	const void *pc = (const void *)_Unwind_GetIPInfo(context, &signal);

	/* The frame that a signal interrupted is one: its address is no return address. */
	if (signal)
		c->stack->signal = true;
	if (pc == c->from)
		c->found = true;
	if (c->found && pc && c->stack->n < HMMU_STACK_MAX)
		c->stack->pc[c->stack->n++] = pc;
	return pc && ++c->frames < FRAMES_MAX ? _URC_NO_REASON : _URC_END_OF_STACK;
}

void hmmu_stack_capture(struct hmmu_stack *stack, const void *from)
{
	struct capture c = {stack, from, 0, !from};

	stack->n = 0;
	stack->signal = false;
	_Unwind_Backtrace(frame, &c);
	if (!stack->n && from)
		stack->pc[stack->n++] = from;
}

void hmmu_report_stack(const struct hmmu_stack *stack)
{
	for (unsigned int i = 0; i < stack->n; i++) {
		char place[HMMU_PLACE_MAX],
			number[3] = {(char)('0' + i / 10), (char)('0' + i % 10), '\0'};

		hmmu_put_place(place, stack->pc[i]);
		hmmu_report_line("    #", i < 10 ? number + 1 : number, " ", place, NULL);
	}
}

/* The unwinder's symbols are bound, and its tables found, before a hook needs them. */
__attribute__((constructor)) static void prime(void)
{
	const char *text = getenv("HMMU_DEBUG_ABORT");
	struct hmmu_stack stack;

	aborts = text && *text && strcmp(text, "0") != 0;
	hmmu_stack_capture(&stack, NULL);
}
#else
typedef int hmmu_report_is_for_debug_builds;
#endif
