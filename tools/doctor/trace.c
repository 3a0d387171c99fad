// SPDX-License-Identifier: MIT
/*
 * trace.c - stops a probe's threads, all but the witness, at each system call, and asks
 * the witness what a reader sees just there. It is the one way to stand between the end
 * of a system call and whatever the library does next.
 *
 *	changer				doctor			witness
 *	munmap: enters the kernel
 *	  comes out: stopped		asks			state new? still open?
 *	  the library ends		lets it go on
 *
 * Whose call made the change is told by the first exit from a call that changes memory at
 * which the state is new. Signals are handed on: the library may use them.
 */
#include "doctor.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define OPTIONS \
	(PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEFORK)
#define MAX_THREADS 64
#define SYSCALL_STOP (SIGTRAP | 0x80)

struct thread {
	pid_t tid;
	long nr; /* the system call that it is in, -1: not known */
};

struct trace {
	pid_t pid;
	struct shared *s;
	struct thread thread[MAX_THREADS];
	unsigned int n;
};

static struct thread *thread_of(struct trace *t, pid_t tid)
{
	for (unsigned int i = 0; i < t->n; i++)
		if (t->thread[i].tid == tid)
			return &t->thread[i];
	if (t->n == MAX_THREADS)
		return NULL;
	t->thread[t->n] = (struct thread){tid, -1};
	return &t->thread[t->n++];
}

static bool changes_memory(long nr)
{
	switch (nr) {
	case SYS_munmap:
	case SYS_mmap:
	case SYS_mremap:
	case SYS_madvise:
	case SYS_brk:
	case SYS_shmdt:
	case SYS_shmat:
	case SYS_mprotect:
	case SYS_pkey_mprotect:
#ifdef SYS_fork
	case SYS_fork:
	case SYS_vfork:
#endif
	case SYS_clone:
	case SYS_clone3:
	case SYS_ftruncate:
	case SYS_truncate:
	case SYS_fallocate:
	case SYS_process_madvise:
	case SYS_remap_file_pages:
	case SYS_io_uring_enter:
		return true;
	default:
		return false;
	}
}

/* A witness that does not answer needs somebody who is stopped, or hangs: alarm() cannot
 * end a process whose threads are stopped. */
static struct look ask(struct trace *t)
{
	struct look l = watch_ask(t->s, ASK_TRACER);

	if (l.begin == -EDEADLK)
		kill(t->pid, SIGKILL);
	return l;
}

/* A child with a copy of the memory is traced, too, the last probe's that is about to end among
 * them: what it does changes nothing here. One that shares the memory is the changer. */
static bool has_the_memory(const struct trace *t, pid_t tid)
{
	return tid == t->s->changer || !syscall(SYS_tgkill, t->pid, tid, 0);
}

static void look(struct trace *t, pid_t tid)
{
	struct shared *s = t->s;
	struct look l;

	if (!s->window || s->changed_by || !has_the_memory(t, tid))
		return;
	l = ask(t);
	if (l.old || !s->armed)
		return;
	s->changed = l;
	s->changed_by = tid;
}

static void at_syscall(struct trace *t, pid_t tid)
{
	struct thread *thread = thread_of(t, tid);
	struct __ptrace_syscall_info info;

	memset(&info, 0, sizeof(info));
	if (!thread || ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof(info), &info) <= 0)
		return;
	if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
		thread->nr = (long)info.entry.nr;
		t->s->entry_nr = thread->nr;
		t->s->entry_by = tid;
		if (t->s->late && t->s->window && !t->s->armed)
			ask(t);
		return;
	}
	if (changes_memory(thread->nr))
		look(t, tid);
	thread->nr = -1;
}

/* What the thread is to be given when it goes on: a signal, or 0. */
static int at_stop(struct trace *t, pid_t tid, int status)
{
	int signal = WSTOPSIG(status), event = status >> 16;
	struct thread *thread;

	if (signal == SYSCALL_STOP) {
		at_syscall(t, tid);
		return 0;
	}
	if (event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_CLONE ||
	    event == PTRACE_EVENT_VFORK) {
		thread = thread_of(t, tid);
		if (thread && changes_memory(thread->nr))
			look(t, tid);
	}
	return event ? 0 : signal;
}

/* Until the probe's process is gone: its status. */
static int serve(struct trace *t)
{
	int status;
	pid_t tid;

	for (;;) {
		tid = waitpid(-1, &status, __WALL);
		if (tid < 0 && errno != EINTR)
			return -1;
		if (tid < 0)
			continue;
		if (WIFSTOPPED(status))
			ptrace(PTRACE_SYSCALL, tid, 0, at_stop(t, tid, status));
		else if (tid == t->pid)
			return status;
	}
}

/* Was the changer among them? (io_uring's workers cannot be traced.) */
static bool seize_all(struct trace *t)
{
	char name[64];
	struct dirent *entry;
	DIR *dir;
	bool changer = false;

	snprintf(name, sizeof(name), "/proc/%d/task", (int)t->pid);
	dir = opendir(name);
	if (!dir)
		return false;
	while ((entry = readdir(dir))) {
		pid_t tid = (pid_t)atoi(entry->d_name);

		if (tid <= 0 || tid == t->s->witness)
			continue;
		if (ptrace(PTRACE_SEIZE, tid, 0, OPTIONS))
			continue;
		/* It stops, and goes on to the next system call, in serve(). */
		ptrace(PTRACE_INTERRUPT, tid, 0, 0);
		changer |= tid == t->s->changer;
	}
	closedir(dir);
	return changer;
}

/* READY, or the process is gone: then its status. */
static int wait_ready(pid_t pid, struct shared *s, int *status)
{
	uint32_t stage;

	while ((stage = s->stage) == STAGE_START) {
		futex_wait(&s->stage, STAGE_START, 20);
		if (s->stage == STAGE_START && waitpid(pid, status, WNOHANG) == pid)
			return -1;
	}
	return stage == STAGE_READY ? 0 : 1;
}

int trace_child(pid_t pid, struct shared *s, bool trace)
{
	struct trace t = {.pid = pid, .s = s};
	int status = 0;

	switch (wait_ready(pid, s, &status)) {
	case -1:
		return status;
	case 0:
		s->traced = trace && seize_all(&t);
		s->stage = STAGE_GO;
		futex_wake(&s->stage);
		break;
	default:
		break;
	}
	return serve(&t);
}

/* May this process trace a child of its own? Container profiles may say no. */
bool trace_works(void)
{
	int status;
	bool works;
	pid_t pid = fork();

	if (!pid)
		for (;;)
			pause();
	if (pid < 0)
		return false;
	works = !ptrace(PTRACE_SEIZE, pid, 0, OPTIONS);
	kill(pid, SIGKILL);
	waitpid(pid, &status, __WALL);
	return works;
}
