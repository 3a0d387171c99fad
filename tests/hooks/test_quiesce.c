// SPDX-License-Identifier: MIT
/*
 * test_quiesce.c - open() does not return while a call that began before it is under
 * way.
 *
 *	A	in madvise, blocked on a fault that nobody serves yet (userfaultfd)
 *	B	open(): must be found asleep, waiting, and not return
 *	main	sees both from /proc, serves the fault; then both come back
 *
 * Every step waits for the state that it needs, none for a time. The same once more in
 * a forked child, whose calls are bare again until it opens its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "atomic.h"
#include "recorder.h"
#include "source/hooks/hooks.h"

#define PAGE 4096UL
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

static char *mem;
static uint32_t tid_a, tid_b, served, b_done;
static int a_result;

static long syscall_of(uint32_t tid)
{
	char path[64], buf[128] = "";
	int fd, n = 0;

	snprintf(path, sizeof(path), "/proc/self/task/%u/syscall", tid);
	fd = open(path, O_RDONLY);
	if (fd >= 0) {
		n = (int)read(fd, buf, sizeof(buf) - 1);
		close(fd);
	}
	return n > 0 && buf[0] >= '0' && buf[0] <= '9' ? atol(buf) : -1;
}

static void *thread_a(void *arg)
{
	hmmu_store_release(&tid_a, (uint32_t)gettid());
	a_result = madvise(mem, PAGE, MADV_POPULATE_WRITE);
	return NULL;
}

static void *thread_b(void *arg)
{
	bool early;
	int err;

	hmmu_store_release(&tid_b, (uint32_t)gettid());
	err = hmmu_source_hooks.open();
	early = !hmmu_load_acquire(&served);
	hmmu_store_release(&b_done, 1);
	if (err)
		return (void *)"open failed";
	return early ? (void *)"open returned with a call under way" : NULL;
}

static int serve(int uffd)
{
	struct uffdio_zeropage zero = {.range = {(unsigned long)mem, PAGE}};

	hmmu_store_release(&served, 1);
	return ioctl(uffd, UFFDIO_ZEROPAGE, &zero);
}

static int once(void)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register reg = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	pthread_t a, b;
	void *bad;

	tid_a = tid_b = served = b_done = 0;
	mem = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	reg.range.start = (unsigned long)mem;
	reg.range.len = PAGE;
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) || ioctl(uffd, UFFDIO_REGISTER, &reg)) {
		printf("no userfaultfd for kernel faults here: %s\n", strerror(errno));
		return 77;
	}
	pthread_create(&a, NULL, thread_a, NULL);
	while (!hmmu_load_acquire(&tid_a) || syscall_of(tid_a) != SYS_madvise)
		if (hmmu_load_acquire(&tid_a) && syscall_of(tid_a) == SYS_exit)
			return 77;
	pthread_create(&b, NULL, thread_b, NULL);
	while (!hmmu_load_acquire(&tid_b) ||
	       (syscall_of(tid_b) != SYS_nanosleep && !hmmu_load_acquire(&b_done)))
		;
	if (serve(uffd))
		perror("UFFDIO_ZEROPAGE");
	pthread_join(a, NULL);
	pthread_join(b, &bad);
	if (bad || a_result) {
		printf("%s, %d\n", bad ? (char *)bad : "ok", a_result);
		return 1;
	}
	return 0;
}

int main(void)
{
	int ret = once(), status = -1;
	pid_t pid;

	if (ret)
		return ret;
	pid = fork();
	if (!pid)
		_exit(once());
	if (waitpid(pid, &status, 0) != pid || status)
		printf("in the child: 0x%x\n", status);
	return status ? 1 : 0;
}
