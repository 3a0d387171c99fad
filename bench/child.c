// SPDX-License-Identifier: MIT
/* child.c - see child.h. */
#include "child.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void child_main(int orders, int answers, child_setup *setup, child_obey *obey,
		       const void *arg)
{
	double answer = setup(arg);
	struct order order;

	if (write(answers, &answer, sizeof(answer)) != sizeof(answer) || answer < 0)
		_exit(0);
	while (read(orders, &order, sizeof(order)) == sizeof(order)) {
		answer = obey(arg, &order);
		if (write(answers, &answer, sizeof(answer)) != sizeof(answer))
			break;
	}
	_exit(0);
}

int child_spawn(struct child *child, const char *name, child_setup *setup, child_obey *obey,
		const void *arg)
{
	int orders[2], answers[2];
	double answer;

	*child = (struct child){.name = name, .orders = -1, .answers = -1};
	if (pipe(orders))
		return -errno;
	if (pipe(answers)) {
		close(orders[0]);
		close(orders[1]);
		return -errno;
	}
	fflush(NULL);
	child->pid = fork();
	if (!child->pid) {
		close(orders[1]);
		close(answers[0]);
		child_main(orders[0], answers[1], setup, obey, arg);
	}
	close(orders[0]);
	close(answers[1]);
	child->orders = orders[1];
	child->answers = answers[0];
	if (child->pid < 0)
		return -EAGAIN;
	if (read(child->answers, &answer, sizeof(answer)) != sizeof(answer))
		return -EIO;
	return (int)answer;
}

void child_end(struct child *child)
{
	close(child->orders);
	close(child->answers);
	if (child->pid > 0)
		waitpid(child->pid, NULL, 0);
}

double child_time(struct batch *batch, uint64_t iters)
{
	const struct job *job = batch->arg;
	struct order order = {job->operation, iters};
	double answer;

	if (write(job->child->orders, &order, sizeof(order)) != sizeof(order) ||
	    read(job->child->answers, &answer, sizeof(answer)) != sizeof(answer)) {
		fprintf(stderr, "bench: the %s child is gone\n", job->child->name);
		exit(1);
	}
	return answer;
}
