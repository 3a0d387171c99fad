// SPDX-License-Identifier: MIT
/*
 * quiesce.c - calls that were under way when the hooks came.
 *
 *	a thread in munmap			open()
 *	------------------			------
 *	fetches entry: the old mov
 *						patches, the self-test passes
 *						returns; somebody reads a translation
 *						and installs it
 *	syscall: unmaps it, unbracketed
 *	    [Required: open() does not return before that system call has]
 *
 * So open() waits, once, until each other thread has been found outside. What can be
 * known of a thread, from /proc/self/task/T:
 *
 *	syscall = a number of ours	inside, perhaps: look again
 *	syscall = another number	outside: blocked in something else
 *	syscall = "running"		not known; schedstat tells how long it has run
 *	it has run PROGRESS more	outside: between the entry and the system call
 *					are three instructions
 *	no such thread			outside
 *
 * Calls that begin meanwhile are hooked, and are waited for as well if they are found:
 * nothing is lost by it. What begins with the hooks in place is the notifier's to
 * know: it has to be watching (hmmu_source_watched()) before open() is called.
 *
 * What this does not see: one system call that stays in the kernel, on a processor,
 * for more than PROGRESS; a signal handler that interrupted a thread between entry
 * and system call, and blocks. No signal is sent to find out: threads may be in calls
 * that a signal breaks off.
 *
 * Context: open(). The wait is bounded: a thread may be blocked in one of these calls
 * for ever (a fault that nobody serves).
 */
#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "arch/syscall.h"
#include "source/hooks/hooks.h"
#include "source/tasks.h"

#define PROGRESS 10000000UL /* ns of processor time */
#define LOOKS 2000	    /* a millisecond apart */

enum where {
	OUTSIDE,
	INSIDE,
	RUNNING,
};

static bool hooked(unsigned long nr)
{
	switch (nr) {
	case SYS_munmap:
	case SYS_mmap:
	case SYS_mremap:
	case SYS_madvise:
	case SYS_mprotect:
	case SYS_brk:
	case SYS_shmdt:
	case SYS_shmat:
	case SYS_process_madvise:
	case SYS_pkey_mprotect:
	case SYS_remap_file_pages:
	case SYS_ftruncate:
	case SYS_truncate:
	case SYS_fallocate:
		return true;
	default:
		return false;
	}
}

static enum where look(const struct hmmu_tasks *t, int tid)
{
	char buf[256];
	const char *p = buf;

	if (hmmu_task_read(t, tid, "/syscall", buf, sizeof(buf)) <= 0)
		return OUTSIDE;
	/* -1: blocked, in no system call: a page fault, perhaps on the entry itself. */
	if (buf[0] < '0' || buf[0] > '9')
		return RUNNING;
	return hooked(hmmu_number(&p)) ? INSIDE : OUTSIDE;
}

static unsigned long ran(const struct hmmu_tasks *t, int tid)
{
	char buf[128] = "";
	const char *p = buf;

	return hmmu_task_read(t, tid, "/schedstat", buf, sizeof(buf)) > 0 ? hmmu_number(&p) : 0;
}

static void a_while(void)
{
	static const struct timespec pause = {0, 1000000};

	hmmu_syscall(SYS_nanosleep, &pause, NULL);
}

/* @first: what it had run when the hooks were in place. */
static bool left(const struct hmmu_tasks *t, int tid, unsigned long first)
{
	for (int i = 0; i < LOOKS; i++) {
		if (look(t, tid) == OUTSIDE || ran(t, tid) - first >= PROGRESS)
			return true;
		a_while();
	}
	return false;
}

/* All are read first, so that they make their progress at the same time. */
static bool all_left(struct hmmu_tasks *t)
{
	int self = (int)hmmu_syscall(SYS_gettid);

	for (struct hmmu_task *task = NULL; (task = hmmu_tasks_next(t, task));)
		task->ino = ran(t, hmmu_task_id(task));
	for (struct hmmu_task *task = NULL; (task = hmmu_tasks_next(t, task));) {
		int tid = hmmu_task_id(task);

		if (tid != self && !left(t, tid, task->ino))
			return false;
	}
	return true;
}

/* Threads that come after the list are hooked from birth. */
bool hmmu_hooks_quiesce(void)
{
	struct hmmu_tasks tasks;
	int ret = -EAGAIN;
	bool ok;

	if (hmmu_hooks_threads() == 1)
		return true;
	if (hmmu_tasks_open(&tasks))
		return false;
	for (int i = 0; i < LOOKS && ret == -EAGAIN; i++) {
		ret = hmmu_tasks_list(&tasks);
		if (ret == -EAGAIN)
			a_while();
	}
	ok = !ret && all_left(&tasks);
	hmmu_tasks_close(&tasks);
	return ok;
}
