// SPDX-License-Identifier: MIT
/*
 * race.c - 8 threads are inside a call while its entry is patched.
 *
 *	race [NAME [ROUNDS]]
 *
 * For each function, and each of ROUNDS children (an entry is patched once in a
 * process's life): the threads call it without pause; once all have begun, the main
 * thread opens the source. A call that began after open() returned must have come by
 * its hook, and its bracket must be the thread's own. Each thread goes on until it has
 * made CALLS of those. A thread that came back into overwritten bytes dies of it, and
 * the child with it.
 *
 * Nothing depends on timing: every child passes, whatever the interleaving, if the
 * patch is right. (How often a wrong patch is caught does depend on it.)
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arch/syscall.h"
#include "atomic.h"
#include "recorder.h"
#include "source/hooks/hooks.h"

#define THREADS 8
#define CALLS 300
#define PAGE 4096UL
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

/* Makes the call once; the memory is the thread's own. How many brackets it owes. */
typedef unsigned int call_fn(char *mem);

struct subject {
	const char *name;
	enum hmmu_hook hook;
	call_fn *call;
};

/* libc's own, not the program's symbols: those are the library's wrappers here. */
static struct {
	int (*munmap)(void *, size_t);
	void *(*mmap)(void *, size_t, int, int, int, off_t);
	void *(*mremap)(void *, size_t, size_t, int, ...);
	int (*madvise)(void *, size_t, int);
	int (*mprotect)(void *, size_t, int);
	int (*brk)(void *);
	int (*shmdt)(const void *);
	void *(*shmat)(int, const void *, int);
	ssize_t (*process_madvise)(int, const struct iovec *, size_t, int, unsigned int);
	int (*pkey_mprotect)(void *, size_t, int, int);
	int (*remap_file_pages)(void *, size_t, int, size_t, int);
	int (*ftruncate)(int, off_t);
	int (*truncate)(const char *, off_t);
	int (*fallocate)(int, int, off_t, off_t);
} libc;

static uint32_t begun, opened;
static int segment, file;
static char file_path[64];

static void die(const char *what)
{
	fprintf(stderr, "race: %s\n", what);
	_exit(1);
}

/* Fresh memory: a hole that was left is anybody's, the trampolines' too. TSan does not see
 * that it was mapped anew. */
HMMU_HOOK static char *fresh(size_t n)
{
	char *p = (char *)hmmu_syscall(SYS_mmap, NULL, n, RW, ANON, -1, 0);

	if (hmmu_is_err((long)p))
		die("mmap");
	*(volatile char *)p = 1;
	return p;
}

static unsigned int do_munmap(char *mem)
{
	if (libc.munmap(fresh(PAGE), PAGE))
		die("munmap");
	return 1;
}

static unsigned int do_mmap(char *mem)
{
	if (libc.mmap(mem, PAGE, RW, ANON | MAP_FIXED, -1, 0) != mem)
		die("mmap");
	return 1;
}

static unsigned int do_mremap(char *mem)
{
	if (libc.mremap(fresh(PAGE), PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, mem) != mem)
		die("mremap");
	return 2;
}

static unsigned int do_madvise(char *mem)
{
	if (libc.madvise(mem, PAGE, MADV_DONTNEED))
		die("madvise");
	return 1;
}

static unsigned int do_mprotect(char *mem)
{
	if (libc.mprotect(mem, PAGE, RW))
		die("mprotect");
	return 1;
}

/* Threads that move the break would take it from each other: they ask. */
static unsigned int do_brk(char *mem)
{
	if (libc.brk(NULL))
		die("brk");
	return 0;
}

static unsigned int do_shmat(char *mem)
{
	if (libc.shmat(segment, mem, SHM_REMAP) != mem)
		die("shmat");
	return 1;
}

static unsigned int do_shmdt(char *mem)
{
	char *p = (char *)hmmu_syscall(SYS_shmat, segment, NULL, 0);

	if (hmmu_is_err((long)p) || libc.shmdt(p))
		die("shmdt");
	return 1;
}

/* What follows is refused by the kernel, or changes a file that each thread has in one
 * place (the mapping is the process's): what counts is that the thread comes back, and
 * by the hook. */
static unsigned int do_process_madvise(char *mem)
{
	struct iovec iov = {mem, PAGE};

	if (libc.process_madvise(-1, &iov, 1, MADV_DONTNEED, 0) != -1 || errno != EBADF)
		die("process_madvise");
	return 1;
}

/* Down both ways of its prologue. */
static unsigned int do_pkey_mprotect(char *mem)
{
	if (libc.pkey_mprotect(mem, PAGE, RW, -1))
		die("mprotect without a key");
	if (libc.pkey_mprotect(mem, PAGE, RW, 4711) != -1)
		die("a key that is none");
	return 2;
}

static unsigned int do_remap_file_pages(char *mem)
{
	if (libc.remap_file_pages(mem, PAGE, 0, 0, 0) != -1 || errno != EINVAL)
		die("remap_file_pages");
	return 1;
}

static unsigned int do_ftruncate(char *mem)
{
	if (libc.ftruncate(file, PAGE / 2))
		die("ftruncate");
	return 1;
}

static unsigned int do_truncate(char *mem)
{
	if (libc.truncate(file_path, PAGE / 2))
		die("truncate");
	return 1;
}

static unsigned int do_fallocate(char *mem)
{
	/* PUNCH_HOLE, KEEP_SIZE */
	if (libc.fallocate(file, 3, 0, PAGE))
		die("fallocate");
	return 1;
}

static const struct subject subjects[] = {
	{"munmap", HMMU_HOOK_MUNMAP, do_munmap},
	{"mmap", HMMU_HOOK_MMAP, do_mmap},
	{"mremap", HMMU_HOOK_MREMAP, do_mremap},
	{"madvise", HMMU_HOOK_MADVISE, do_madvise},
	{"mprotect", HMMU_HOOK_MPROTECT, do_mprotect},
	{"brk", HMMU_HOOK_BRK, do_brk},
	{"shmat", HMMU_HOOK_SHMAT, do_shmat},
	{"shmdt", HMMU_HOOK_SHMDT, do_shmdt},
	{"process_madvise", HMMU_HOOK_PROCESS_MADVISE, do_process_madvise},
	{"pkey_mprotect", HMMU_HOOK_PKEY_MPROTECT, do_pkey_mprotect},
	{"remap_file_pages", HMMU_HOOK_REMAP_FILE_PAGES, do_remap_file_pages},
	{"ftruncate", HMMU_HOOK_FTRUNCATE, do_ftruncate},
	{"truncate", HMMU_HOOK_TRUNCATE, do_truncate},
	{"fallocate", HMMU_HOOK_FALLOCATE, do_fallocate},
};

static void *hammer(void *arg)
{
	const struct subject *s = arg;
	unsigned int good = 0, calls = 0;
	char *mem = fresh(PAGE);

	while (good < CALLS) {
		/* Pairs with the release after open(). */
		bool after = hmmu_load_acquire(&opened);
		unsigned int mine = rec_mine(), owed;

		hmmu_hook_seen = 0;
		owed = s->call(mem);
		if (++calls == 10)
			hmmu_add_seqcst(&begun, 1);
		if (!after)
			continue;
		if (!(hmmu_hook_seen & 1u << s->hook))
			die("a call did not come by");
		if (rec_mine() - mine != owed)
			die("a call was not bracketed");
		good++;
	}
	return NULL;
}

static void resolve(void)
{
	void *h = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);

	if (!h)
		die("no libc.so.6");
	*(void **)&libc.munmap = dlsym(h, "munmap");
	*(void **)&libc.mmap = dlsym(h, "mmap");
	*(void **)&libc.mremap = dlsym(h, "mremap");
	*(void **)&libc.madvise = dlsym(h, "madvise");
	*(void **)&libc.mprotect = dlsym(h, "mprotect");
	*(void **)&libc.brk = dlsym(h, "brk");
	*(void **)&libc.shmdt = dlsym(h, "shmdt");
	*(void **)&libc.shmat = dlsym(h, "shmat");
	*(void **)&libc.process_madvise = dlsym(h, "process_madvise");
	*(void **)&libc.pkey_mprotect = dlsym(h, "pkey_mprotect");
	*(void **)&libc.remap_file_pages = dlsym(h, "remap_file_pages");
	*(void **)&libc.ftruncate = dlsym(h, "ftruncate");
	*(void **)&libc.truncate = dlsym(h, "truncate");
	*(void **)&libc.fallocate = dlsym(h, "fallocate");
}

/* A file of one page, mapped once, that has a name. */
static void make_file(void)
{
	file = memfd_create("race", 0);
	snprintf(file_path, sizeof(file_path), "/proc/self/fd/%d", file);
	if (file < 0 || hmmu_syscall(SYS_ftruncate, file, PAGE))
		die("memfd_create");
	if (hmmu_is_err(hmmu_syscall(SYS_mmap, NULL, PAGE, RW, MAP_SHARED, file, 0)))
		die("mmap of the file");
}

static void child(const struct subject *s)
{
	pthread_t t[THREADS];

	rec_watch(true);
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&t[i], NULL, hammer, (void *)s))
			die("pthread_create");
	while (hmmu_load_seqcst(&begun) < THREADS)
		usleep(100);
	if (hmmu_source_hooks.open())
		die("open");
	if (hmmu_hook_info[s->hook].state != HMMU_HOOK_PATCHED)
		die("not patched");
	hmmu_store_release(&opened, 1);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	if (rec_open())
		die("a bracket is still open");
	_exit(0);
}

static int rounds_of(const struct subject *s, int rounds)
{
	for (int i = 0; i < rounds; i++) {
		pid_t pid = fork();
		int status = -1;

		if (!pid)
			child(s);
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status) {
			printf("%s: round %d: status 0x%x\n", s->name, i, status);
			return 1;
		}
	}
	printf("%s: %d rounds, %d threads\n", s->name, rounds, THREADS);
	return 0;
}

int main(int argc, char **argv)
{
	int rounds = argc > 2 ? atoi(argv[2]) : 10, bad = 0;

	setvbuf(stdout, NULL, _IONBF, 0);
	resolve();
	make_file();
	segment = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600);
	for (size_t i = 0; i < sizeof(subjects) / sizeof(*subjects); i++)
		if (argc < 2 || !strcmp(argv[1], "all") || !strcmp(argv[1], subjects[i].name))
			bad |= rounds_of(&subjects[i], rounds);
	shmctl(segment, IPC_RMID, NULL);
	return bad;
}
