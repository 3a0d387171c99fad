// SPDX-License-Identifier: MIT
/*
 * probe.c - one probe, in a process of its own: memory, mm, subscription, read, change,
 * and what was found is left in the shared page. It does not come back.
 *
 * What another process does comes in two forms: a child that shares the memory (as
 * vfork makes it; this thread waits for it), and a process of its own, forked before
 * anything is watched, that changes the object that we have mapped.
 */
#include "doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static _Noreturn void leave(struct probe *p, const char *what, int error)
{
	struct shared *s = p->shared;

	if (what) {
		strncpy(s->setup_what, what, sizeof(s->setup_what) - 1);
		s->setup_error = error;
	}
	s->stage = STAGE_DONE;
	futex_wake(&s->stage);
	for (;;)
		raw(SYS_exit_group, 0);
}

/* ---- by another process ------------------------------------------------- */

static _Noreturn void helper(struct probe *p, int in, int out)
{
	char byte;
	int ret = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* The object itself, whatever we had of it. */
	if (p->memory == HMMU_MEMORY_FILE_PRIVATE)
		(void)!mmap(p->addr, p->len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			    p->fd, 0);
	p->call = call_raw;
	if (read(in, &byte, 1) == 1)
		ret = p->v->change(p);
	if (write(out, &ret, sizeof(ret)) != (ssize_t)sizeof(ret))
		_exit(1);
	_exit(0);
}

static int start_helper(struct probe *p)
{
	int in[2], out[2];
	pid_t pid;

	if (pipe(in) || pipe(out))
		return -errno;
	pid = fork();
	if (!pid)
		helper(p, in[0], out[1]);
	p->helper_in = in[1];
	p->helper_out = out[0];
	return pid < 0 ? -errno : 0;
}

static int ask_helper(struct probe *p)
{
	int ret = -EIO;

	if (write(p->helper_in, "", 1) != 1)
		return -EIO;
	if (read(p->helper_out, &ret, sizeof(ret)) != (ssize_t)sizeof(ret))
		return -EIO;
	return ret;
}

/* clone() is declared leaf: the compiler does not expect it to change anything. */
static volatile int shared_ret;

static int sharing_child(void *arg)
{
	struct probe *p = arg;

	p->shared->changer = (pid_t)raw(SYS_gettid);
	shared_ret = p->v->change(p);
	raw(SYS_exit, 0);
	return 0;
}

static int by_sharing_child(struct probe *p)
{
	static char stack[256 << 10] __attribute__((aligned(16)));
	pid_t pid;

	shared_ret = -ECHILD;
	pid = clone(sharing_child, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, p);
	return pid < 0 ? -errno : shared_ret;
}

/* ---- the change ----------------------------------------------------------- */

static int bracketed_change(struct probe *p)
{
	struct mmu_notifier_range range;
	int ret;

	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, p->mm, (unsigned long)p->addr,
				(unsigned long)p->addr + p->len);
	ret = mmu_notifier_invalidate_range_start(&range);
	if (ret)
		return ret;
	ret = p->v->change(p);
	mmu_notifier_invalidate_range_end(&range);
	return ret;
}

static int make_change(struct probe *p)
{
	if (p->v->other)
		return ask_helper(p);
	if (p->caller == HMMU_CALLER_PROCESS)
		return by_sharing_child(p);
	if (p->caller == HMMU_CALLER_EXPLICIT)
		return bracketed_change(p);
	return p->v->change(p);
}

static bool good(struct probe *p, unsigned long seq)
{
	return seq && hmmu_access_ok(&p->sub, seq);
}

/* Nothing may come between the return of the call and the first check. */
static void change_and_look(struct probe *p)
{
	struct shared *s = p->shared;
	struct timespec deadline;
	unsigned long seq;
	int ok;

	s->begun = 1;
	s->window = 1;
	atomic_fetch_add(&s->bell, 1);
	futex_wake(&s->bell);
	s->call = make_change(p);
	if (!s->armed)
		return; /* there was no moment to read: nothing to lose, perhaps not subscribed
			 */
	ok = hmmu_access_ok(&p->sub, p->seq);
	s->stale = good(p, p->candidate);
	s->window = 0;
	s->after = watch_ask(s, ASK_CHANGER);
	s->after.ok = ok;
	/* What it had read while the call went on, and was late to say. */
	s->stale |= good(p, p->candidate);
	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_sec += PATIENCE / 2;
	s->later = hmmu_read_begin(&p->sub, &seq, &deadline);
	s->told_by_then = s->callbacks != 0;
}

/* ---- the way there --------------------------------------------------------- */

static void open_mm(struct probe *p)
{
	struct hmmu_mm_options options = {.size = sizeof(options), .sources = p->sources};
	struct shared *s = p->shared;

	s->open_error = hmmu_mm_open(&p->mm, p->sources == HMMU_SOURCE_BEST ? NULL : &options);
	if (s->open_error)
		leave(p, NULL, 0);
	if (p->v)
		return;
	s->claims = hmmu_mm_describe(p->mm, s->claim, MAX_CLAIMS);
	leave(p, NULL, 0);
}

static bool brings_memory(const struct probe *p)
{
	return p->caller == HMMU_CALLER_LIBC_INTERNAL || p->caller == HMMU_CALLER_LDSO ||
	       p->v->op == HMMU_OP_BRK;
}

static void before_open(struct probe *p)
{
	int ret = 0;

	p->fd = -1;
	p->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (p->pagemap < 0 || pipe2(p->byte, O_CLOEXEC))
		leave(p, "/proc/self/pagemap", -errno);
	if (!brings_memory(p))
		ret = memory_map(p);
	if (ret)
		leave(p, "memory", ret);
	if (p->v->other)
		ret = start_helper(p);
	if (ret)
		leave(p, "fork", ret);
}

static void wait_for_tracer(struct probe *p)
{
	struct shared *s = p->shared;

	s->late = p->v->late;
	s->stage = STAGE_READY;
	futex_wake(&s->stage);
	while (s->stage == STAGE_READY)
		futex_wait(&s->stage, STAGE_READY, 1000);
}

_Noreturn void probe_run(struct probe *p)
{
	struct shared *s = p->shared;
	int ret;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(PATIENCE);
	if (p->v)
		before_open(p);
	open_mm(p);
	p->call = p->caller == HMMU_CALLER_LIBC || p->caller == HMMU_CALLER_EXPLICIT ? call_libc
										     : call_raw;
	s->changer = (pid_t)raw(SYS_gettid);
	/* First: a new thread takes of the heap, whose shape prepare() settles. */
	ret = watch_start(p);
	if (ret)
		leave(p, "a thread", ret);
	ret = p->v->prepare ? p->v->prepare(p) : 0;
	if (ret)
		leave(p, "prepare", ret);
	ret = watch_begin(p);
	if (ret)
		leave(p, "subscribe", ret);
	if (s->begin)
		leave(p, NULL, 0);
	wait_for_tracer(p);
	change_and_look(p);
	leave(p, NULL, 0);
}
