// SPDX-License-Identifier: MIT
/*
 * steps.c - instructions of one thread, counted by stepping through them: a child is traced;
 * between two stops that it makes itself its parent steps it. The stops cost the same in each
 * count and fall out of the difference of two.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "count.h"

static void stop(const struct operation *op)
{
	raise(SIGSTOP);
}

static void child(const struct operation *op)
{
	uint64_t n = count_times(op);
	int err = op->set_up ? op->set_up(op) : 0;

	if (!err && ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		err = -1;
	if (err) {
		printf("none %s %s %s\n", op->side, op->name, strerror(-err));
		fflush(stdout);
		_exit(77);
	}
	count_once(op, n, NULL);
	count_once(op, n, stop);
	count_once(op, 2 * n, stop);
	_exit(0);
}

/* How many steps until it stops by itself; -1: it ended. */
static long go(pid_t pid, int how)
{
	int status, signal = 0;

	for (long steps = 0;; steps++) {
		if (ptrace(how, pid, NULL, signal) || waitpid(pid, &status, 0) != pid ||
		    !WIFSTOPPED(status))
			return -1;
		if (WSTOPSIG(status) == SIGSTOP)
			return steps;
		signal = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
	}
}

void count_steps(const struct operation *op)
{
	long few, many;
	int status = 0;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid)
		child(op);
	count_check(pid > 0 && waitpid(pid, &status, 0) == pid, "fork");
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		return;
	count_check(WIFSTOPPED(status), op->name);
	few = go(pid, PTRACE_SINGLESTEP);
	count_check(few >= 0 && go(pid, PTRACE_CONT) >= 0, op->name);
	many = go(pid, PTRACE_SINGLESTEP);
	count_check(many >= 0 && go(pid, PTRACE_CONT) < 0, op->name);
	printf("steps %s %s %lu %ld %ld\n", op->side, op->name, (unsigned long)count_times(op),
	       few, many);
}
