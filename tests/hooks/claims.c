// SPDX-License-Identifier: MIT
/*
 * claims.c - does what describe() claims happen? For each operation x caller that it
 * calls bracketed the operation is made that way and its bracket must be there.
 *
 *	claims [--policy] [--module PATH] [patched|interposed|refused|any]
 *
 * The hooks are in a library of their own: preloaded, or loaded here with RTLD_LOCAL,
 * so that this program is an ordinary one. --policy puts up a seccomp filter first,
 * which refuses memory that is writable and executable. The last word is what the
 * hooks must come to.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

#include "module.h"
#include "policy.h"

#define PAGE 4096UL
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

static struct {
	int (*open)(void);
	const char *(*hook)(unsigned int, unsigned int *, const char **);
	void (*watch)(bool);
	void (*reset)(void);
	bool (*covers)(enum mmu_notifier_event, unsigned long, unsigned long);
	bool (*any)(enum mmu_notifier_event);
	unsigned int (*exactness)(unsigned int, unsigned int);
	unsigned int (*open_now)(void);
} mod;

static int wrong;

static void check(bool ok, unsigned int op, unsigned int caller, const char *what)
{
	if (mod.exactness(op, caller) < HMMU_BY_RETURN) {
		printf("      not claimed: %s (%s)\n", what,
		       ok ? "yet it came" : "nothing came");
		return;
	}
	printf("%s claimed: %s\n", ok ? "ok   " : "WRONG", what);
	wrong += !ok;
}

static void *need(void *handle, const char *name)
{
	void *p = dlsym(handle, name);

	if (!p) {
		fprintf(stderr, "claims: %s: %s\n", name, dlerror());
		exit(2);
	}
	return p;
}

static void load(const char *path)
{
	void *h = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : RTLD_DEFAULT;

	if (path && !h) {
		fprintf(stderr, "claims: %s\n", dlerror());
		exit(2);
	}
	*(void **)&mod.open = need(h, "module_open");
	*(void **)&mod.hook = need(h, "module_hook");
	*(void **)&mod.watch = need(h, "rec_watch");
	*(void **)&mod.reset = need(h, "rec_reset");
	*(void **)&mod.covers = need(h, "rec_covers");
	*(void **)&mod.any = need(h, "rec_any");
	*(void **)&mod.exactness = need(h, "rec_exactness");
	*(void **)&mod.open_now = need(h, "rec_open");
}

static void begin(void)
{
	mod.reset();
	mod.watch(true);
}

static bool saw(enum mmu_notifier_event event, const void *p, size_t n)
{
	mod.watch(false);
	return mod.covers(event, (unsigned long)p, (unsigned long)p + n);
}

static char *map(size_t n)
{
	return mmap(NULL, n, RW, ANON, -1, 0);
}

static void outside(void)
{
	char *p = map(4 * PAGE), *q = map(PAGE);
	int id;

	begin();
	mprotect(p, PAGE, PROT_READ);
	check(saw(MMU_NOTIFY_PROTECTION_VMA, p, PAGE), HMMU_OP_MPROTECT, HMMU_CALLER_LIBC,
	      "mprotect");
	begin();
	madvise(p, PAGE, MADV_DONTNEED);
	check(saw(MMU_NOTIFY_CLEAR, p, PAGE), HMMU_OP_MADVISE, HMMU_CALLER_LIBC, "madvise");
	begin();
	mmap(p, PAGE, RW, ANON | MAP_FIXED, -1, 0);
	check(saw(MMU_NOTIFY_UNMAP, p, PAGE), HMMU_OP_MMAP_FIXED, HMMU_CALLER_LIBC, "mmap");
	begin();
	mremap(p, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, q);
	check(saw(MMU_NOTIFY_UNMAP, p, PAGE) &&
		      mod.covers(MMU_NOTIFY_UNMAP, (unsigned long)q, (unsigned long)q + PAGE),
	      HMMU_OP_MREMAP, HMMU_CALLER_LIBC, "mremap");
	begin();
	munmap(p + PAGE, 3 * PAGE);
	check(saw(MMU_NOTIFY_UNMAP, p + PAGE, 3 * PAGE), HMMU_OP_MUNMAP, HMMU_CALLER_LIBC,
	      "munmap");
	p = sbrk((intptr_t)(2 * PAGE));
	begin();
	sbrk(-(intptr_t)(2 * PAGE));
	check(mod.any(MMU_NOTIFY_UNMAP), HMMU_OP_BRK, HMMU_CALLER_LIBC, "sbrk");
	mod.watch(false);
	id = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600);
	if (id < 0)
		return;
	begin();
	q = shmat(id, q, SHM_REMAP);
	check(saw(MMU_NOTIFY_UNMAP, q, PAGE), HMMU_OP_SHMAT_REMAP, HMMU_CALLER_LIBC, "shmat");
	begin();
	shmdt(q);
	check(saw(MMU_NOTIFY_UNMAP, q, PAGE), HMMU_OP_SHMDT, HMMU_CALLER_LIBC, "shmdt");
	shmctl(id, IPC_RMID, NULL);
}

/* valgrind knows no process_madvise and no pidfd; the bracket comes all the same. */
static void rarer(void)
{
	char *p = map(2 * PAGE);
	struct iovec iov = {p, PAGE};

	begin();
	process_madvise(-1, &iov, 1, MADV_DONTNEED, 0);
	check(saw(MMU_NOTIFY_CLEAR, p, PAGE), HMMU_OP_PROCESS_MADVISE, HMMU_CALLER_LIBC,
	      "process_madvise");
	begin();
	madvise(p, PAGE, 102);
	check(saw(MMU_NOTIFY_CLEAR, p, PAGE), HMMU_OP_MADVISE_GUARD, HMMU_CALLER_LIBC,
	      "madvise, guard");
	begin();
	pkey_mprotect(p, PAGE, PROT_READ, 0);
	check(saw(MMU_NOTIFY_PROTECTION_VMA, p, PAGE), HMMU_OP_PKEY_MPROTECT, HMMU_CALLER_LIBC,
	      "pkey_mprotect");
	begin();
	pkey_mprotect(p, PAGE, PROT_READ, -1);
	check(saw(MMU_NOTIFY_PROTECTION_VMA, p, PAGE), HMMU_OP_PKEY_MPROTECT, HMMU_CALLER_LIBC,
	      "pkey_mprotect without a key");
	begin();
	remap_file_pages(p, PAGE, 0, 0, 0);
	check(saw(MMU_NOTIFY_UNMAP, p, PAGE), HMMU_OP_REMAP_FILE_PAGES, HMMU_CALLER_LIBC,
	      "remap_file_pages");
	munmap(p, 2 * PAGE);
}

static void files(void)
{
	char path[] = "/dev/shm/hmmu-claims-XXXXXX", *p;
	int fd = mkstemp(path);

	if (fd < 0 || ftruncate(fd, 3 * PAGE)) {
		printf("      no file here: not tried\n");
		return;
	}
	p = mmap(NULL, 3 * PAGE, RW, MAP_SHARED, fd, 0);
	begin();
	wrong += fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE) != 0;
	check(saw(MMU_NOTIFY_CLEAR, p, PAGE), HMMU_OP_FALLOCATE, HMMU_CALLER_LIBC, "fallocate");
	begin();
	wrong += ftruncate(fd, 2 * PAGE) != 0;
	check(saw(MMU_NOTIFY_CLEAR, p + 2 * PAGE, PAGE), HMMU_OP_FTRUNCATE, HMMU_CALLER_LIBC,
	      "ftruncate");
	begin();
	wrong += truncate(path, PAGE) != 0;
	check(saw(MMU_NOTIFY_CLEAR, p + PAGE, PAGE), HMMU_OP_FTRUNCATE, HMMU_CALLER_LIBC,
	      "truncate");
	munmap(p, 3 * PAGE);
	close(fd);
	unlink(path);
}

static void *deep_thread(void *arg)
{
	volatile char deep[256 << 10];

	memset((void *)deep, 1, sizeof(deep));
	return NULL;
}

static void *arena_thread(void *arg)
{
	void *p[256];

	for (int i = 0; i < *(int *)arg; i++)
		p[i] = malloc(64 << 10);
	for (int i = 0; i < *(int *)arg; i++)
		free(p[i]);
	return NULL;
}

static void run(void *(*fn)(void *), int blocks)
{
	pthread_t t;

	if (!pthread_create(&t, NULL, fn, &blocks))
		pthread_join(t, NULL);
}

/* A program's own allocator, or valgrind's, does not come by libc's. */
static bool libc_allocates(void)
{
	void *p = malloc(100);
	bool ours = mallinfo2().uordblks != 0;

	free(p);
	return ours;
}

static void inside(void)
{
	char *p, *small[512];
	uintptr_t where;

	begin();
	run(deep_thread, 0);
	check(mod.any(MMU_NOTIFY_CLEAR), HMMU_OP_MADVISE, HMMU_CALLER_LIBC_INTERNAL,
	      "madvise at thread exit");
	mod.watch(false);
	if (!libc_allocates()) {
		printf("      malloc is not libc's: its calls are not tried\n");
		return;
	}
	p = malloc(1 << 20);
	begin();
	p = realloc(p, 3 << 20);
	check(mod.any(MMU_NOTIFY_UNMAP), HMMU_OP_MREMAP, HMMU_CALLER_LIBC_INTERNAL,
	      "mremap in realloc");
	begin();
	where = (uintptr_t)p;
	free(p);
	mod.watch(false);
	check(mod.covers(MMU_NOTIFY_UNMAP, where, where + (3 << 20)), HMMU_OP_MUNMAP,
	      HMMU_CALLER_LIBC_INTERNAL, "munmap in free");
	begin();
	run(arena_thread, 256); /* more than in the warm-up */
	check(mod.any(MMU_NOTIFY_PROTECTION_VMA), HMMU_OP_MPROTECT, HMMU_CALLER_LIBC_INTERNAL,
	      "mprotect in an arena");
	mod.watch(false);
	for (int i = 0; i < 512; i++)
		small[i] = malloc(4000);
	begin();
	for (int i = 0; i < 512; i++)
		free(small[i]);
	malloc_trim(0);
	check(mod.any(MMU_NOTIFY_UNMAP), HMMU_OP_BRK, HMMU_CALLER_LIBC_INTERNAL,
	      "brk in a trim");
	mod.watch(false);
}

static void forks(void)
{
	pid_t pid;
	int status;

	begin();
	pid = fork();
	if (!pid)
		_exit(0);
	mod.watch(false);
	waitpid(pid, &status, 0);
	check(mod.any(MMU_NOTIFY_PROTECTION_PAGE), HMMU_OP_FORK, HMMU_CALLER_LIBC, "fork");
}

/* 1 patched, 2 interposed, 0 mixed or none; prints. What libc has not is as the rest. */
static unsigned int states(void)
{
	unsigned int state, all = 3;
	const char *why, *name;

	for (unsigned int i = 0; (name = mod.hook(i, &state, &why)); i++) {
		static const char *const names[] = {"none", "patched", "interposed", "absent"};

		printf("      %-16s %s %s\n", name, names[state], why ? why : "");
		all &= state; /* absent is 3 */
	}
	return all;
}

int main(int argc, char **argv)
{
	const char *path = NULL, *want = "any";
	int err;

	setvbuf(stdout, NULL, _IONBF, 0);
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--policy")) {
			if (policy_no_exec_writes()) {
				printf("no seccomp here\n");
				return 77;
			}
		} else if (!strcmp(argv[i], "--module")) {
			path = argv[++i];
		} else {
			want = argv[i];
		}
	}
	load(path);
	/* Warm: a translator has already seen what is going to be patched. */
	free(malloc(1 << 20));
	run(arena_thread, 32);
	run(deep_thread, 0);
	sbrk(16);
	outside();
	rarer();
	files();
	malloc_trim(0);
	wrong = 0;
	err = mod.open();
	printf("open: %d\n", err);
	switch (states()) {
	case 1:
		wrong += strcmp(want, "patched") && strcmp(want, "any");
		break;
	case 2:
		wrong += strcmp(want, "interposed") && strcmp(want, "any");
		break;
	default:
		wrong += strcmp(want, "refused") && strcmp(want, "any");
	}
	wrong += (err != 0) != !strcmp(want, "refused") && strcmp(want, "any");
	wrong += err && err != -EOPNOTSUPP;
	outside();
	rarer();
	files();
	inside();
	forks();
	wrong += mod.open_now() != 0;
	for (unsigned int op = 0; op < HMMU_OP_NR; op++)
		for (unsigned int c = HMMU_CALLER_RAW; c < HMMU_CALLER_NR; c++)
			wrong += mod.exactness(op, c) != HMMU_UNWATCHED;
	printf("%d wrong\n", wrong);
	return wrong ? 1 : 0;
}
