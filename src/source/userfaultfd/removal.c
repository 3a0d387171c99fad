// SPDX-License-Identifier: MIT
/*
 * removal.c - the end of a REMOVE: its caller, let go by the read, takes the pages away
 * and returns; nothing tells when. The event does not say who it is.
 *
 * It is one of this process's threads, and it is out when it has been seen anywhere else
 * but inside that call. So the census waits until EVERY thread has once been seen
 * outside, after the event was read:
 *
 *	/proc/self/task/T/stat		/proc/self/task/T/syscall	verdict
 *	X, Z				-				outside
 *	asleep				another call, or none		outside
 *	asleep				madvise, process_madvise	look again (a REMOVE
 *					of a FUSE file sleeps like anybody)
 *	R				-				look again; then ask
 *
 * A thread that keeps running is asked by a signal: its handler runs when the thread
 * returns to user space, and so outside. The signal is a real-time one that nobody had
 * a handler for; a thread that blocks it is looked at until it sleeps or dies. A call that
 * it comes upon may answer EINTR if it is one that SA_RESTART does not restart.
 *
 * Workers of io_uring take no signal and show no call, but they sleep interruptibly when they
 * are done. (On a FUSE file also before.)
 * Its submission thread never does such work itself.
 *
 * Who shares the memory without being a thread of the process (vfork, CLONE_VM) is not
 * found: describe() says unwatched.
 *
 * Context: a thread of its own, in the reader's descriptor table: a closefrom() of the
 * program does not reach the files that it reads.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>

#include "arch/syscall.h"
#include "futex.h"
#include "source/tasks.h"
#include "source/userfaultfd/userfaultfd.h"

#ifdef HMMU_SCHED
#define ASK_AFTER 1
#define ASK_AGAIN 20
#else
#define ASK_AFTER 20   /* looks */
#define ASK_AGAIN 5000 /* looks */
#endif
#define ANSWERS (sizeof(((struct hmmu_uffd *)0)->answers) / sizeof(uint32_t))
#define LOOK_EVERY 50000 /* ns */

#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif

enum verdict {
	OUTSIDE,
	INSIDE_PERHAPS,
	RUNNING, /* and can be asked */
};

/* What one look found. Owned by the census. */
struct census {
	struct hmmu_uffd *u;
	struct hmmu_tasks tasks;
	unsigned int looks;
};

/* Kept in the list, in the place of an inode that nobody needs. */
struct suspect {
	uint32_t question; /* 0: not asked; SEEN: seen outside */
	uint32_t asked_at; /* looks */
} __attribute__((may_alias));
#define SEEN UINT32_MAX
_Static_assert(sizeof(struct suspect) == sizeof(uint64_t), "takes the inode's place");

/* One thread, one life of the source at a time. */
static struct census census = {.tasks = {.dir = -1}};

/* ---- what /proc says --------------------------------------------------- */

/* stat: pid (comm) state ppid pgrp session tty tpgid flags ... */
static bool parse_stat(const char *text, char *state, unsigned long *flags)
{
	const char *p = strrchr(text, ')');

	if (!p || p[1] != ' ' || !p[2])
		return false;
	*state = p[2];
	p += 3;
	for (int i = 0; i < 5; i++) {
		while (*p == ' ')
			p++;
		while (*p && *p != ' ')
			p++;
	}
	*flags = hmmu_number(&p);
	return true;
}

/* Or in none: "-1" is asleep, but not in a system call. */
static bool in_another_call(const struct hmmu_tasks *t, int tid)
{
	char text[128];
	const char *p = text;
	unsigned long nr;

	if (hmmu_task_read(t, tid, "/syscall", text, sizeof(text)) <= 0)
		return false;
	if (*p == '-')
		return true;
	if (*p < '0' || *p > '9')
		return false; /* "running" */
	nr = hmmu_number(&p);
	return nr != SYS_madvise && nr != SYS_process_madvise;
}

static enum verdict look_at(const struct hmmu_tasks *t, int tid)
{
	unsigned long flags;
	char text[512], state;
	long n = hmmu_task_read(t, tid, "/stat", text, sizeof(text));

	if (n == -ENOENT || n == -ESRCH)
		return OUTSIDE; /* gone */
	if (n <= 0 || !parse_stat(text, &state, &flags))
		return INSIDE_PERHAPS;
	if (state == 'X' || state == 'Z')
		return OUTSIDE;
	if ((flags & (HMMU_PF_USER_WORKER | HMMU_PF_IO_WORKER)) == HMMU_PF_USER_WORKER)
		return OUTSIDE; /* io_uring's submission thread */
	if (flags & HMMU_PF_IO_WORKER)
		return state == 'S' ? OUTSIDE : INSIDE_PERHAPS;
	if (in_another_call(t, tid))
		return OUTSIDE;
	return state == 'R' ? RUNNING : INSIDE_PERHAPS;
}

/* ---- asking ------------------------------------------------------------ */

/* In the thread that was asked: it is in user space. */
static void answer(int sig, siginfo_t *info, void *context)
{
	struct hmmu_uffd *u = hmmu_uffd;
	uint32_t question = (uint32_t)info->si_value.sival_int;

	(void)sig;
	(void)context;
	/* Zeroed in a forked child. */
	if (info->si_code == SI_QUEUE && u && info->si_pid == u->pid)
		hmmu_store_seqcst(&u->answers[question % ANSWERS], question);
}

/* The program may take the handler away; the signal would end it then. */
static bool has_handler(const struct hmmu_uffd *u)
{
	struct sigaction now;

	return u->signal && !sigaction(u->signal, NULL, &now) && (now.sa_flags & SA_SIGINFO) &&
	       now.sa_sigaction == answer;
}

int hmmu_removal_init(struct hmmu_uffd *u)
{
	struct sigaction old, sa = {
				      .sa_sigaction = answer,
				      .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK,
			      };

	/* That of the last life: one is enough. */
	if (has_handler(u))
		return 0;
	sigfillset(&sa.sa_mask);
	for (int sig = SIGRTMAX - 1; sig > SIGRTMIN; sig--) {
		if (sigaction(sig, NULL, &old))
			continue;
		if ((old.sa_flags & SA_SIGINFO) ? old.sa_sigaction != answer
						: old.sa_handler != SIG_DFL)
			continue;
		if (sigaction(sig, &sa, NULL))
			continue;
		u->signal = sig;
		return 0;
	}
	return -EBUSY;
}

/* A question has a number; the word of its answer is shared with others, and an answer that
 * was overwritten is asked for again. A late one is nobody's. */
static void ask(struct census *c, int tid, struct suspect *s)
{
	static uint32_t last;
	siginfo_t info;

	if (hmmu_removal_init(c->u))
		return;
	last = last == SEEN - 1 ? 1 : last + 1;
	memset(&info, 0, sizeof(info));
	info.si_code = SI_QUEUE;
	info.si_pid = c->u->pid;
	info.si_value.sival_int = (int)last;
	if (hmmu_syscall(SYS_rt_tgsigqueueinfo, c->u->pid, tid, c->u->signal, &info))
		return; /* too many are queued, or it is gone: the next look tells */
	s->question = last;
	s->asked_at = c->looks;
}

static struct suspect *suspect_of(struct hmmu_task *task)
{
	return (struct suspect *)&task->ino;
}

static bool answered(const struct census *c, const struct suspect *s)
{
	return s->question &&
	       hmmu_load_seqcst(&c->u->answers[s->question % ANSWERS]) == s->question;
}

/* ---- one removal, or all that were open when it began ------------------ */

/* Threads of ours change no memory that anybody watches. The dispatcher runs callbacks. */
static bool is_ours(int tid)
{
	return tid == (int)hmmu_syscall(SYS_gettid);
}

/* A forked child inherits a number of its parent's table. */
int hmmu_census_prepare(void)
{
	census.tasks.dir = -1;
	return hmmu_tasks_open(&census.tasks) ? -EACCES : 0;
}

/* Whom to wait for. False: not all of them. */
static bool list_suspects(struct census *c)
{
	struct hmmu_tasks *t = &c->tasks;

	if (t->dir < 0 && hmmu_tasks_open(t))
		return false;
	if (hmmu_tasks_list(t))
		return false;
	for (struct hmmu_task *task = NULL; (task = hmmu_tasks_next(t, task));)
		*suspect_of(task) = (struct suspect){is_ours(hmmu_task_id(task)) ? SEEN : 0, 0};
	return true;
}

/* Has this one been seen outside? */
static bool cleared(struct census *c, int tid, struct suspect *s)
{
	enum verdict verdict = look_at(&c->tasks, tid);

	if (verdict == OUTSIDE || answered(c, s))
		return true;
	if (verdict == RUNNING && c->looks >= ASK_AFTER &&
	    (!s->question || c->looks - s->asked_at > ASK_AGAIN))
		ask(c, tid, s);
	return false;
}

/* How many are left. */
static unsigned int look(struct census *c)
{
	unsigned int left = 0;

	c->looks++;
	for (struct hmmu_task *task = NULL; (task = hmmu_tasks_next(&c->tasks, task));) {
		struct suspect *s = suspect_of(task);

		if (s->question == SEEN)
			continue;
		if (cleared(c, hmmu_task_id(task), s))
			s->question = SEEN;
		else
			left++;
	}
	return left;
}

static void finish(struct hmmu_uffd *u, struct uffd_removal *r)
{
	for (unsigned int i = 0; i < r->n; i++)
		mmu_notifier_invalidate_range_end(&r->range[i]);
	hmmu_add_seqcst(&u->removals_done, 1);
	hmmu_store_release(&r->state, REMOVAL_FREE);
	hmmu_futex_wake(&r->state, INT_MAX);
}

/* Those that are open now; a bit each. models/spin/source.pml CE1 */
static uint32_t open_now(struct hmmu_uffd *u)
{
	uint32_t set = 0;

	for (unsigned int i = 0; i < UFFD_REMOVALS; i++)
		if (hmmu_load_acquire(&u->removals[i].state) == REMOVAL_OPEN)
			set |= 1u << i;
	return set;
}

/* Every thread, listed after they were opened, has been outside since. A thread that is
 * born meanwhile was not inside when they were. source.pml CE2 */
static void take_census(struct hmmu_uffd *u, uint32_t set)
{
	struct census *c = &census;

	c->u = u;
	c->looks = 0;
	while (!list_suspects(c))
		hmmu_uffd_pause(LOOK_EVERY * 4);
	UFFD_GATE(CENSUS, 0, 0);
	while (!UFFD_PLANTED(REMOVE_ENDS) && look(c))
		hmmu_uffd_pause(c->looks < ASK_AFTER ? LOOK_EVERY / 5 : LOOK_EVERY * 4);
	for (unsigned int i = 0; i < UFFD_REMOVALS; i++)
		if (set & (1u << i))
			finish(u, &u->removals[i]);
}

void *hmmu_uffd_census(void *arg)
{
	struct hmmu_uffd *u = arg;

	for (;;) {
		uint32_t seen = hmmu_load_seqcst(&u->removal_futex);
		bool last = hmmu_load_seqcst(&u->stopping) == 2;
		uint32_t set = open_now(u);

		if (set)
			take_census(u, set);
		else if (last)
			break;
		else
			hmmu_futex_wait(&u->removal_futex, seen, NULL);
	}
	return NULL;
}

struct uffd_removal *hmmu_removal_get(struct hmmu_uffd *u)
{
	for (unsigned int i = 0;; i = (i + 1) % UFFD_REMOVALS) {
		struct uffd_removal *r = &u->removals[i];

		if (hmmu_load_acquire(&r->state) == REMOVAL_FREE)
			return r;
		/* None is: the oldest will be. Meanwhile the mms stay undecided. */
		if (i == UFFD_REMOVALS - 1)
			hmmu_futex_wait(&u->removals[0].state, REMOVAL_OPEN, NULL);
	}
}

void hmmu_removal_start(struct hmmu_uffd *u, struct uffd_removal *r)
{
	hmmu_store_release(&r->state, REMOVAL_OPEN);
	hmmu_add_seqcst(&u->removal_futex, 1);
	hmmu_futex_wake(&u->removal_futex, INT_MAX);
}
