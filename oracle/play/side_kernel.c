// SPDX-License-Identifier: MIT
/*
 * side_kernel.c - Linux's mmu_interval_notifiers, by the module (oracle/module/).
 *
 * The device is opened before the fork: the parent reads what is told when the process
 * goes. A read that begins inside an invalidation sleeps; poll() has it begun by a thread
 * of its own, and looks whether that sleeps.
 */
#define _GNU_SOURCE
#include "play.h"

#include "hmmu_oracle.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define POLLERS 6

static int fd = -1;
static bool gone;

static struct poller {
	pthread_t thread;
	sem_t go;
	struct oracle_sub arg;
	int tid;
	uint32_t done;
} pollers[POLLERS];
static unsigned int polled;

static long answer(int ret)
{
	return ret < 0 ? -errno : ret;
}

static long kernel_prepare(void)
{
	if (fd >= 0)
		close(fd);
	fd = open("/dev/" ORACLE_DEVICE, O_RDWR | O_CLOEXEC);
	return fd < 0 ? -errno : 0;
}

static long kernel_open(void)
{
	return answer(ioctl(fd, ORACLE_BIND));
}

static long kernel_insert(unsigned int id, unsigned long start, unsigned long length)
{
	struct oracle_sub arg = {.id = id, .start = start, .length = length};

	return answer(ioctl(fd, ORACLE_INSERT, &arg));
}

static long kernel_remove(unsigned int id)
{
	struct oracle_sub arg = {.id = id};

	return answer(ioctl(fd, ORACLE_REMOVE, &arg));
}

static long kernel_begin(unsigned int id, unsigned long *seq)
{
	struct oracle_sub arg = {.id = id};
	long ret = answer(ioctl(fd, ORACLE_BEGIN, &arg));

	*seq = arg.seq;
	return ret;
}

static long kernel_retry(unsigned int id, unsigned long seq)
{
	struct oracle_sub arg = {.id = id, .seq = seq};

	return answer(ioctl(fd, ORACLE_RETRY, &arg));
}

static void kernel_perform(const struct operation *op, const struct line *line,
			   struct answer *a)
{
	op->run(line, a);
}

static void log_event(const struct oracle_event *ev)
{
	const char *prefix = gone ? "gone " : ev->flags & ORACLE_OWN ? "" : "async ";
	char part[64], whole[64];

	range_name(ev->start, ev->end, whole, sizeof(whole));
	switch (ev->what) {
	case ORACLE_CALL:
		if (!range_clip(ev->id, ev->start, ev->end, part, sizeof(part)))
			snprintf(part, sizeof(part), "outside");
		log_line("%scall %c %s %s of %s seq %llu", prefix, 'A' + (int)ev->id,
			 event_name(ev->event), part, whole, (unsigned long long)ev->seq);
		break;
	case ORACLE_RELEASE:
		log_line("%srelease", prefix);
		break;
	default:
		if (strcmp(whole, "else"))
			log_line("%s%s %s %s", prefix,
				 ev->what == ORACLE_START ? "start" : "end",
				 event_name(ev->event), whole);
	}
}

static void kernel_settle(void)
{
	static struct oracle_event events[64];
	ssize_t n;

	while ((n = read(fd, events, sizeof(events))) > 0)
		for (size_t i = 0; i < (size_t)n / sizeof(*events); i++)
			log_event(&events[i]);
}

static void kernel_quiet(void)
{
}

/* ---- a held callback ------------------------------------------------------ */

static void *poller_main(void *arg)
{
	struct poller *p = arg;

	__atomic_store_n(&p->tid, (int)syscall(SYS_gettid), __ATOMIC_RELEASE);
	while (sem_wait(&p->go))
		;
	if (p->arg.length) /* asked */
		ioctl(fd, ORACLE_BEGIN, &p->arg);
	__atomic_store_n(&p->done, 1, __ATOMIC_RELEASE);
	return NULL;
}

static char state_of(int tid)
{
	char path[64], text[256];
	const char *paren;
	ssize_t n;
	int stat;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	stat = open(path, O_RDONLY | O_CLOEXEC);
	n = stat < 0 ? 0 : read(stat, text, sizeof(text) - 1);
	close(stat);
	text[n > 0 ? n : 0] = '\0';
	paren = strrchr(text, ')');
	return paren && paren[1] ? paren[2] : '?';
}

/* Asleep where no signal wakes it, and still so: nothing but read_begin does that here. */
static long kernel_poll(unsigned int id)
{
	struct poller *p = &pollers[polled++ % POLLERS];
	int asleep = 0;

	p->arg = (struct oracle_sub){.id = id, .length = 1};
	sem_post(&p->go);
	while (asleep < 20) {
		if (__atomic_load_n(&p->done, __ATOMIC_ACQUIRE))
			return 0;
		asleep = state_of(p->tid) == 'D' ? asleep + 1 : 0;
		usleep(200);
	}
	return 1;
}

static void kernel_hold(unsigned int id)
{
	struct oracle_sub arg = {.id = id};

	memset(pollers, 0, sizeof(pollers));
	polled = 0;
	for (int i = 0; i < POLLERS; i++) {
		sem_init(&pollers[i].go, 0, 0);
		pthread_create(&pollers[i].thread, NULL, poller_main, &pollers[i]);
		while (!__atomic_load_n(&pollers[i].tid, __ATOMIC_ACQUIRE))
			usleep(100);
	}
	kernel_settle();
	ioctl(fd, ORACLE_HOLD, &arg);
}

static bool kernel_held(const uint32_t *over)
{
	while (!ioctl(fd, ORACLE_HELD)) {
		if (__atomic_load_n(over, __ATOMIC_ACQUIRE))
			return ioctl(fd, ORACLE_HELD);
		usleep(50);
	}
	return true;
}

static void kernel_release(void)
{
	ioctl(fd, ORACLE_OPEN);
	for (int i = 0; i < POLLERS; i++) {
		if (!pollers[i].arg.length)
			sem_post(&pollers[i].go);
		pthread_join(pollers[i].thread, NULL);
	}
}

/* What Linux tells when the mm goes. The subscriptions are not known here. */
static void kernel_after(void)
{
	gone = true;
	kernel_settle();
	gone = false;
}

const struct side side = {
	.prepare = kernel_prepare,
	.open = kernel_open,
	.insert = kernel_insert,
	.remove = kernel_remove,
	.begin = kernel_begin,
	.retry = kernel_retry,
	.perform = kernel_perform,
	.quiet = kernel_quiet,
	.settle = kernel_settle,
	.poll = kernel_poll,
	.hold = kernel_hold,
	.held = kernel_held,
	.release = kernel_release,
	.after = kernel_after,
};
