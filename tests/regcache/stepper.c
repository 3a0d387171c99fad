// SPDX-License-Identifier: MIT
/* stepper.c - one instruction at a time. */
#include "stepper.h"

#ifdef HAVE_STEPPER

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <ucontext.h>

#define TRAP_FLAG 0x100

static struct {
	void (*event)(void *arg);
	void *arg;
	long count, when;
	bool over;
} step;

static void stepped(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	int saved = errno;

	if (step.over || ++step.count == step.when) {
		uc->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
		if (!step.over)
			step.event(step.arg);
		step.over = true;
	}
	errno = saved;
}

static inline void set_trap_flag(void)
{
	/* the red zone is not ours to push into */
	__asm__ __volatile__("lea -128(%%rsp), %%rsp\n\t"
			     "pushfq\n\t"
			     "orq $0x100, (%%rsp)\n\t"
			     "popfq\n\t"
			     "lea 128(%%rsp), %%rsp" ::
				     : "memory", "cc");
}

long step_run(void (*op)(void *arg), void (*event)(void *arg), void *arg, long when)
{
	struct sigaction action = {.sa_sigaction = stepped,
				   .sa_flags = SA_SIGINFO | SA_NODEFER};

	must(sigaction(SIGTRAP, &action, NULL) == 0);
	step.event = event;
	step.arg = arg;
	step.count = 0;
	step.when = when;
	step.over = false;
	set_trap_flag();
	op(arg);
	*(volatile bool *)&step.over = true; /* the next trap is the last */
	__asm__ __volatile__("nop\n\tnop" ::: "memory");
	return step.count;
}

static void nap(atomic_int *state, int value)
{
	syscall(SYS_futex, state, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void *work(void *arg)
{
	struct worker *worker = arg;
	int state;

	worker->tid = (int)syscall(SYS_gettid);
	atomic_store(&worker->state, 0);
	syscall(SYS_futex, &worker->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	for (;;) {
		state = atomic_load(&worker->state);
		if (state == 3)
			return NULL;
		if (state != 1) {
			nap(&worker->state, state);
			continue;
		}
		worker->job(worker->arg);
		atomic_store(&worker->state, 2);
		syscall(SYS_futex, &worker->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	}
}

void worker_start(struct worker *worker)
{
	memset(worker, 0, sizeof(*worker));
	atomic_init(&worker->state, 2);
	must(pthread_create(&worker->thread, NULL, work, worker) == 0);
	while (atomic_load(&worker->state) == 2)
		nap(&worker->state, 2);
}

/* "tid (name) S ...": no stdio, this is a handler */
static bool asleep(int tid)
{
	char path[] = "/proc/self/task/0000000000/stat", text[128];
	const char *paren;
	ssize_t n;
	int fd, i;

	for (i = 25; i > 15; i--, tid /= 10)
		path[i] = (char)('0' + tid % 10);
	/* the kernel takes no leading zeroes */
	for (i = 16; path[i] == '0'; i++)
		;
	memmove(path + 16, path + i, sizeof(path) - (size_t)i);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	must(fd >= 0);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	must(n > 0);
	text[n] = 0;
	paren = strrchr(text, ')');
	return paren && paren[1] == ' ' && paren[2] == 'S';
}

void worker_do(struct worker *worker, void (*job)(void *arg), void *arg)
{
	int looks = 0;

	worker->job = job;
	worker->arg = arg;
	atomic_store(&worker->state, 1);
	syscall(SYS_futex, &worker->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	/* a worker that has not woken up yet sleeps, too: its first look does not count */
	while (atomic_load(&worker->state) == 1 && looks < 40) {
		looks = asleep(worker->tid) ? looks + 1 : 0;
		sched_yield();
	}
}

void worker_wait(struct worker *worker)
{
	while (atomic_load(&worker->state) == 1)
		nap(&worker->state, 1);
}

void worker_stop(struct worker *worker)
{
	worker_wait(worker);
	atomic_store(&worker->state, 3);
	syscall(SYS_futex, &worker->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	must(pthread_join(worker->thread, NULL) == 0);
}

#endif
