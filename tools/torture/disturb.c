// SPDX-License-Identifier: MIT
/*
 * disturb.c - --disturb: what else a process goes through while memory changes.
 *
 *	signals	each thread of the run in turn gets a signal whose handler does not
 *		restart system calls: every wait is interrupted, at any place
 *	forks	children by fork and vfork, one after another, that end at once
 *
 * One thread each, from the first slice to the last. Only threads and children of this
 * process are meant.
 */
#include "torture.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DISTURB_SIGNAL SIGUSR2
#define PAUSE_NS 500000

static void heard(int sig)
{
	(void)sig;
}

static void pause_a_little(void)
{
	const struct timespec ts = {0, PAUSE_NS};

	nanosleep(&ts, NULL);
}

static void *send_signals(void *arg)
{
	struct torture *t = arg;
	unsigned int n = t->nr_devices + t->nr_mutators;

	for (unsigned int i = 0; !atomic_load(&t->calm); i = (i + 1) % n) {
		pthread_t thread = i < t->nr_devices ? t->devices[i].thread
						     : t->mutators[i - t->nr_devices].thread;

		pthread_kill(thread, DISTURB_SIGNAL);
		atomic_fetch_add(&t->signals, 1);
		pause_a_little();
	}
	return NULL;
}

static pid_t child(bool shares)
{
	pid_t pid = shares ? vfork() : fork();

	if (!pid)
		_exit(0);
	return pid;
}

static void *make_children(void *arg)
{
	struct torture *t = arg;

	for (unsigned int i = 0; !atomic_load(&t->calm); i++) {
		pid_t pid;

		/* The hooks map a page for a fork: not into a mutator's hole. */
		pthread_mutex_lock(&t->hole);
		pid = child(i % 2 == 0);
		pthread_mutex_unlock(&t->hole);
		if (pid < 0 && errno != EAGAIN)
			torture_fatal(t, "fork", errno);
		while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
		atomic_fetch_add(&t->forks, pid > 0);
		pause_a_little();
	}
	return NULL;
}

static int start_one(struct torture *t, enum disturb which, void *(*fn)(void *))
{
	if (!t->options.disturb[which])
		return 0;
	t->disturbs[which] = !pthread_create(&t->disturber[which], NULL, fn, t);
	return t->disturbs[which] ? 0 : -EAGAIN;
}

int disturb_start(struct torture *t)
{
	/* No SA_RESTART. */
	struct sigaction sa = {.sa_handler = heard};
	int ret;

	sigemptyset(&sa.sa_mask);
	if (t->options.disturb[DISTURB_SIGNALS] && sigaction(DISTURB_SIGNAL, &sa, NULL))
		return -errno;
	ret = start_one(t, DISTURB_SIGNALS, send_signals);
	return ret ? ret : start_one(t, DISTURB_FORKS, make_children);
}

/* Before the threads that get the signals end. */
void disturb_stop(struct torture *t)
{
	atomic_store(&t->calm, true);
	for (unsigned int i = 0; i < NR_DISTURB; i++)
		if (t->disturbs[i])
			pthread_join(t->disturber[i], NULL);
}
