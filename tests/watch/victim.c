// SPDX-License-Identifier: MIT
/*
 * victim.c MODE [ARG] - a program to be watched: does one known thing and ends with a
 * known status. It knows nothing of hmmu.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define MIB ((size_t)1 << 20)

extern char **environ;
void *victim_inner(size_t size);
void *victim_outer(size_t size);

static const char *self;

static char *fresh(size_t size)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, ANON, -1, 0);

	if (p == MAP_FAILED)
		exit(90);
	return p;
}

/* Two frames that must be in the stacks. */
__attribute__((noinline)) void *victim_inner(size_t size)
{
	char *p = fresh(size);

	p[0] = 1;
	return munmap(p, size) ? NULL : p;
}

__attribute__((noinline)) void *victim_outer(size_t size)
{
	void *p = victim_inner(size);

	return (char *)p + 1;
}

/* Counted in calls.sh. */
__attribute__((noinline)) static int known(void)
{
	char *p = fresh(4 * MIB), *q = fresh(MIB), *r;

	for (int i = 0; i < 10; i++)
		victim_outer(MIB);
	for (int i = 0; i < 3; i++)
		madvise(p, 8192, MADV_DONTNEED);
	madvise(p, 4096, MADV_FREE);
	madvise(p, 4096, MADV_WILLNEED); /* changes nothing */
	mprotect(p + 4096, 4096, PROT_READ);
	mmap(q, 65536, PROT_READ, ANON | MAP_FIXED, -1, 0);
	r = mremap(q + 65536, 65536, MIB, MREMAP_MAYMOVE);
	mremap(r, MIB, MIB, MREMAP_MAYMOVE | MREMAP_FIXED, p);
	if (sbrk((intptr_t)MIB) == (void *)-1 || sbrk(-(intptr_t)MIB) == (void *)-1)
		return 91;
	return munmap(p, 3) || !mprotect(p, 4096, PROT_READ); /* the second fails */
}

static int wait_for(pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 92;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 93;
}

static int forks(void)
{
	pid_t pid = fork();

	if (!pid) {
		victim_outer(2 * MIB);
		victim_outer(2 * MIB);
		_exit(4);
	}
	victim_outer(3 * MIB);
	return wait_for(pid);
}

static int spawns(char *const *environment)
{
	char *args[] = {(char *)self, (char *)"slow", NULL};
	pid_t pid;

	if (posix_spawn(&pid, self, NULL, NULL, args, environment))
		return 94;
	return wait_for(pid);
}

static void *exec_from_thread(void *arg)
{
	execl(self, self, "known", (char *)NULL);
	return NULL;
}

static int exec_in_thread(void)
{
	pthread_t thread;

	victim_outer(MIB);
	if (pthread_create(&thread, NULL, exec_from_thread, NULL))
		return 95;
	pthread_join(thread, NULL);
	return 96;
}

/* The parent is gone at once, or after @ms; the child changes memory afterwards. */
static int orphan(unsigned int ms)
{
	if (fork()) {
		usleep(ms * 1000);
		return 6;
	}
	usleep(300000);
	for (int i = 0; i < 5; i++)
		victim_outer(5 * MIB);
	return 0;
}

static int close_all(void)
{
	for (int fd = 3; fd < 256; fd++)
		if (!close(fd))
			return 97; /* somebody's was open */
	closefrom(0);
	for (int i = 0; i < 7; i++)
		victim_outer(MIB);
	return 7;
}

/* Only these from now on; anything else kills. */
static int filtered(void)
{
#define ALLOW(nr)                                        \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (nr), 0, 1), \
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		ALLOW(SYS_mmap),
		ALLOW(SYS_munmap),
		ALLOW(SYS_write),
		ALLOW(SYS_brk),
		ALLOW(SYS_exit),
		ALLOW(SYS_exit_group),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		return 77;
	for (int i = 0; i < 20; i++)
		victim_outer(MIB);
	_exit(write(1, "filtered\n", 9) == 9 ? 8 : 98);
}

static void *uffd_reader(void *arg)
{
	struct uffd_msg msg;
	int fd = *(int *)arg;

	while (read(fd, &msg, sizeof(msg)) == (ssize_t)sizeof(msg))
		if (msg.event == UFFD_EVENT_UNMAP)
			return (void *)1;
	return NULL;
}

/* Its own userfaultfd, told of its own munmap. */
static int uffd(void)
{
	struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_EVENT_UNMAP};
	struct uffdio_register reg = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | 1 /* USER_MODE_ONLY */);
	char *p = fresh(MIB);
	pthread_t thread;
	void *told;

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		return 77;
	reg.range.start = (unsigned long)p;
	reg.range.len = MIB;
	if (ioctl(fd, UFFDIO_REGISTER, &reg))
		return 77;
	if (pthread_create(&thread, NULL, uffd_reader, &fd))
		return 95;
	munmap(p, MIB);
	pthread_join(thread, &told);
	return told ? 9 : 99;
}

static int many(long n)
{
	for (long i = 0; i < n; i++)
		victim_outer(4096);
	return 0;
}

/* Known to --what-if: see whatif.sh. */
static int buffers(void)
{
	char *a = fresh(8 * MIB), *b = fresh(4 * MIB), *c = fresh(65536);

	for (volatile int i = 0; i < 2; i++)	 /* not unrolled: one call site */
		madvise(a, 4096, MADV_DONTNEED); /* a: again, 8 MiB each time */
	munmap(b + 3 * MIB, MIB);		 /* b: again, its 3 MiB */
	munmap(b, 3 * MIB);			 /* b: gone */
	madvise(c, 4096, MADV_DONTNEED);	 /* too small to have been registered */
	return 0;
}

static int slow(void)
{
	victim_outer(MIB);
	usleep(600000);
	return 11;
}

static int run(const char *mode, const char *arg)
{
	char *const clean[] = {NULL};

	if (!strcmp(mode, "exit"))
		return atoi(arg);
	if (!strcmp(mode, "signal"))
		return raise(atoi(arg));
	if (!strcmp(mode, "known"))
		return known();
	if (!strcmp(mode, "fork"))
		return forks();
	if (!strcmp(mode, "spawn"))
		return spawns(environ);
	if (!strcmp(mode, "clean"))
		return spawns(clean);
	if (!strcmp(mode, "thread"))
		return exec_in_thread();
	if (!strcmp(mode, "orphan"))
		return orphan((unsigned int)atoi(arg));
	if (!strcmp(mode, "closefrom"))
		return close_all();
	if (!strcmp(mode, "seccomp"))
		return filtered();
	if (!strcmp(mode, "uffd"))
		return uffd();
	if (!strcmp(mode, "many"))
		return many(atol(arg));
	if (!strcmp(mode, "buffers"))
		return buffers();
	return !strcmp(mode, "slow") ? slow() : 89;
}

int main(int argc, char **argv)
{
	self = argv[0];
	return argc > 1 ? run(argv[1], argc > 2 ? argv[2] : "0") : 88;
}
