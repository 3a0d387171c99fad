// SPDX-License-Identifier: MIT
/*
 * fork.c - fork arms copy-on-write over the whole address space: start before it in
 * the parent, end after it. The child is left alone.
 *
 * libc runs atfork handlers with its own lock dropped, so that two threads can be
 * between prepare and parent at once, in any order; and a signal handler can fork
 * between the two of the thread it interrupts. So an open bracket belongs to its
 * thread, and a thread's brackets are a stack: prepare pushes, parent pops what its
 * own fork pushed (the depth tells, for nothing is pushed while nobody watches, and
 * that may change in between).
 *
 *	depth	forks that this thread is inside
 *	top	its innermost open bracket; top->depth <= depth
 *
 * A bracket is too big for a library's initial TLS: it lies in a page of its own,
 * mapped in prepare. If that cannot be mapped (fork would then hardly succeed) it is
 * one of a few spare ones, and with all of those taken prepare waits until another
 * fork is over. No event is dropped.
 *
 * Context: handlers run in the forking thread, no lock of libc's held; registered
 * once, and never called without the library (it is linked nodelete).
 */
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>

#include "arch/syscall.h"
#include "atomic.h"
#include "source/hooks/hooks.h"

#define SPARES 4

struct fork_bracket {
	struct fork_bracket *below;
	unsigned int depth;
	struct hmmu_source_event ev;
};

struct fork_thread {
	struct fork_bracket *top;
	unsigned int depth;
};

static __thread struct fork_thread mine __attribute__((tls_model("initial-exec")));

static struct fork_bracket spare[SPARES];
/* 0 free, 1 taken. Taken by whoever turns it; freed by the same thread. */
static uint32_t spare_taken[SPARES];

static struct fork_bracket *take_spare(void)
{
	for (unsigned int i = 0;; i = (i + 1) % SPARES) {
		uint32_t expected = 0;

		/* Pairs with the release in give_back(). */
		if (hmmu_cas_acquire(&spare_taken[i], &expected, 1))
			return &spare[i];
		if (i == SPARES - 1)
			hmmu_syscall(SYS_sched_yield);
	}
}

static struct fork_bracket *take(void)
{
	long page;

	/* It does not see that a page was mapped anew, and reports its last user. */
	if (HMMU_HOOK_TSAN)
		return take_spare();
	page = hmmu_syscall(SYS_mmap, NULL, sizeof(struct fork_bracket), PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return hmmu_is_err(page) ? take_spare() : (struct fork_bracket *)page;
}

static bool is_spare(const struct fork_bracket *b)
{
	return b >= spare && b < spare + SPARES;
}

static void give_back(struct fork_bracket *b)
{
	if (is_spare(b))
		hmmu_store_release(&spare_taken[b - spare], 0);
	else
		hmmu_syscall(SYS_munmap, b, sizeof(*b));
}

static void fork_prepare(void)
{
	struct fork_bracket *b;

	mine.depth++;
	if (!hmmu_source_watched())
		return;
	b = take();
	b->depth = mine.depth;
	b->below = mine.top;
	hmmu_source_start(&b->ev, MMU_NOTIFY_PROTECTION_PAGE, 0, HMMU_TOP);
	/* Seen by a handler on this thread only whole: the bracket is open. */
	hmmu_signal_fence();
	mine.top = b;
}

/* The innermost bracket if this fork pushed it. */
static struct fork_bracket *pop(void)
{
	struct fork_bracket *b = mine.top;

	/* Registered while a fork was under way: this one had no prepare. */
	if (!mine.depth)
		return NULL;
	if (b && b->depth != mine.depth && !HMMU_HOOK_PLANTED(NO_DEPTH))
		b = NULL;
	if (b)
		mine.top = b->below;
	hmmu_signal_fence();
	mine.depth--;
	return b;
}

/* Also when fork failed. */
static void fork_parent(void)
{
	struct fork_bracket *b = pop();

	if (!b)
		return;
	hmmu_source_end(&b->ev);
	give_back(b);
}

/* The bracket is the parent's. The child drops its copies and has one thread. */
static void fork_child(void)
{
	struct fork_bracket *b = pop();

	hmmu_hooks_forked();
	if (b && HMMU_HOOK_PLANTED(CHILD_ENDS))
		hmmu_source_end(&b->ev);
	for (unsigned int i = 0; i < SPARES; i++)
		hmmu_store_relaxed(&spare_taken[i], 0);
	if (b && !is_spare(b))
		hmmu_syscall(SYS_munmap, b, sizeof(*b));
}

int hmmu_hooks_fork_init(void)
{
	static bool done;
	int err;

	if (done)
		return 0;
	err = pthread_atfork(fork_prepare, fork_parent, fork_child);
	done = !err;
	return -err;
}
