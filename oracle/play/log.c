// SPDX-License-Identifier: MIT
/* log.c - the log: text, one line a fact, into one file for all scripts of a run. */
#define _GNU_SOURCE
#include "play.h"
#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CALLS 4096

static int fd = -1;
static char text[1 << 16];
static size_t used;

/* Filled by callbacks in any thread: number taken, then filled, then marked. */
static struct call {
	unsigned int id, event;
	unsigned long start, end, seq;
	const char *note;
	bool filled;
} calls[CALLS];
static unsigned int calls_taken, calls_written;

static const char *const names[] = {
	"unmap",      "clear",	 "protection-vma", "protection-page",
	"soft-dirty", "release", "migrate",	   "exclusive",
};
#define NAMES (sizeof(names) / sizeof(*names))

const char *event_name(unsigned int event)
{
	return event < NAMES ? names[event] : "unknown";
}

int event_of(const char *name)
{
	for (unsigned int i = 0; i < NAMES; i++)
		if (!strcmp(names[i], name))
			return (int)i;
	return -1;
}

void log_open(const char *path)
{
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
	if (fd < 0) {
		perror(path);
		exit(2);
	}
}

void log_flush(void)
{
	size_t done = 0;

	while (done < used) {
		ssize_t n = write(fd, text + done, used - done);

		if (n < 0 && errno != EINTR)
			_exit(3);
		done += n > 0 ? (size_t)n : 0;
	}
	used = 0;
}

void log_line(const char *format, ...)
{
	va_list args;
	int n;

	if (sizeof(text) - used < 512)
		log_flush();
	va_start(args, format);
	n = vsnprintf(text + used, sizeof(text) - used - 1, format, args);
	va_end(args);
	used += (size_t)n;
	text[used++] = '\n';
}

/* While a change is held inside the kernel the mmap lock may be taken: no faults then, so
 * all that is mapped outside the script's regions is filled before. */
void log_prefault(void)
{
	char line[512], name[64];
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long start, end;
	char rights[8];

	while (maps && fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx %7s", &start, &end, rights) != 3)
			continue;
		range_name(start, end, name, sizeof(name));
		if (rights[0] == 'r' && !strcmp(name, "else"))
			raw(SYS_madvise, (long)start, (long)(end - start),
			    rights[1] == 'w' ? 23 : 22, 0, 0, 0);
	}
	if (maps)
		fclose(maps);
}

void log_call(unsigned int id, unsigned int event, unsigned long start, unsigned long end,
	      unsigned long seq, const char *note)
{
	unsigned int at = __atomic_fetch_add(&calls_taken, 1, __ATOMIC_RELAXED);
	struct call *c;

	if (at >= CALLS)
		_exit(4);
	c = &calls[at];
	c->id = id;
	c->event = event;
	c->start = start;
	c->end = end;
	c->seq = seq;
	c->note = note;
	__atomic_store_n(&c->filled, true, __ATOMIC_RELEASE);
}

void log_calls(void)
{
	unsigned int upto = __atomic_load_n(&calls_taken, __ATOMIC_ACQUIRE);
	char part[64], whole[64];

	for (; calls_written < upto; calls_written++) {
		struct call *c = &calls[calls_written];

		while (!__atomic_load_n(&c->filled, __ATOMIC_ACQUIRE))
			usleep(10);
		if (!range_clip(c->id, c->start, c->end, part, sizeof(part)))
			snprintf(part, sizeof(part), "outside");
		range_name(c->start, c->end, whole, sizeof(whole));
		log_line("call %c %s %s of %s seq %lu%s", 'A' + (int)c->id,
			 event_name(c->event), part, whole, c->seq, c->note);
	}
}
