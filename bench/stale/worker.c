// SPDX-License-Identifier: MIT
/* worker.c - each side in a process of its own, for hooks cannot be undone; told by pipe. */
#include "stale.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct answer {
	int ret;
	struct count count;
};

static bool put(int fd, const void *data, size_t n)
{
	return write(fd, data, n) == (ssize_t)n;
}

static bool get(int fd, void *data, size_t n)
{
	return read(fd, data, n) == (ssize_t)n;
}

static void work(const struct side *side, int orders, int answers)
{
	struct answer answer = {0};
	struct order order;

	answer.ret = pin_open();
	if (!answer.ret)
		answer.ret = side->open();
	if (!put(answers, &answer, sizeof(answer)) || answer.ret)
		return;
	/* No remaps: the end. (Later workers hold the pipe open, too.) */
	while (get(orders, &order, sizeof(order)) && order.remaps) {
		answer.ret = stress(side, &order, &answer.count);
		if (!put(answers, &answer, sizeof(answer)))
			break;
	}
	side->close();
}

int worker_start(struct worker *worker, const struct side *side)
{
	int orders[2], answers[2];
	struct answer answer;

	worker->side = side;
	worker->pid = -1;
	if (pipe(orders))
		return -errno;
	if (pipe(answers)) {
		close(orders[0]);
		close(orders[1]);
		return -EMFILE;
	}
	fflush(NULL);
	worker->pid = fork();
	if (!worker->pid) {
		close(orders[1]);
		close(answers[0]);
		work(side, orders[0], answers[1]);
		_exit(0);
	}
	close(orders[0]);
	close(answers[1]);
	worker->orders = orders[1];
	worker->answers = answers[0];
	if (worker->pid < 0)
		return -EAGAIN;
	return get(worker->answers, &answer, sizeof(answer)) ? answer.ret : -EPROTO;
}

int worker_do(struct worker *worker, const struct order *order, struct count *count)
{
	struct answer answer;

	if (!put(worker->orders, order, sizeof(*order)) ||
	    !get(worker->answers, &answer, sizeof(answer)))
		return -EPROTO;
	*count = answer.count;
	return answer.ret;
}

void worker_stop(struct worker *worker)
{
	const struct order end = {0};

	if (worker->pid <= 0)
		return;
	put(worker->orders, &end, sizeof(end));
	close(worker->orders);
	close(worker->answers);
	waitpid(worker->pid, NULL, 0);
}
