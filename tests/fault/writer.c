// SPDX-License-Identifier: MIT
/*
 * writer.c - the tools' recording file: whole, or the error is named and what was there
 * before is as it was.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inject.h"
#include "life.h"
#include "record.h"
#include "wraps.h"

#define EVENTS 5000
#define OLD "what was there before"

static char path[64], part[80];
static struct record_process process;
static struct record_event events[EVENTS];

static void content(char *text, size_t size)
{
	FILE *f = __real_fopen64(path, "re");
	size_t n = f ? fread(text, 1, size - 1, f) : 0;

	text[n] = '\0';
	if (f)
		__real_fclose(f);
}

static void put_old(void)
{
	FILE *f = __real_fopen64(path, "we");

	if (!f)
		broken("the test has no file");
	__real_fwrite(OLD, 1, sizeof(OLD) - 1, f);
	__real_fclose(f);
}

static void check_written(int ret)
{
	struct stat st;
	char text[32];

	if (!stat(part, &st))
		broken("writer: the half file is left");
	content(text, sizeof(text));
	if (ret && strcmp(text, OLD))
		broken("writer: it failed (%d), and what was there is gone", ret);
	if (!ret && stat(path, &st))
		broken("writer: it answered 0, and there is no file");
	if (!ret && (size_t)st.st_size < sizeof(events))
		broken("writer: it answered 0, and the file is not whole");
}

void writer_run(bool again)
{
	struct recording r = {.processes = &process, .events = events};
	int ret;

	r.header.nr_processes = 1;
	r.header.nr_events = EVENTS;
	snprintf(path, sizeof(path), "fault-%d.rec", (int)getpid());
	snprintf(part, sizeof(part), "%s.part", path);
	put_old();
	stage("writer");
	ret = record_write(path, &r);
	DOCUMENTED("record_write", ret, ENOMEM, ENOSPC, EIO, EMFILE, EACCES, EDQUOT);
	if (ret && (again || !fault_failed()))
		broken("writer: %d, and nothing had failed", ret);
	check_written(ret);
	unlink(path);
}
