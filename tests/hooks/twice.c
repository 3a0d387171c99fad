// SPDX-License-Identifier: MIT
/*
 * twice.c - copies of the hooks in one process: one patches, the others follow; each is told
 * of each change exactly once, whoever came first.
 *
 *	twice A B		two libraries
 *	twice_static A [self]	this program has a copy of its own, which opens last [first]
 *	twice A OTHER eexist	a copy of another version
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "module.h"
#ifdef TWICE_STATIC
#include "source/hooks/hooks.h"
#endif

#define PAGE 4096UL
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

struct copy {
	int (*open)(void);
	bool (*intact)(void);
	void (*watch)(bool);
	void (*reset)(void);
	unsigned int (*starts)(void);
	unsigned int (*open_now)(void);
	unsigned int (*handed)(void);
	bool (*covers)(enum mmu_notifier_event, unsigned long, unsigned long);
	unsigned int (*exactness)(unsigned int, unsigned int);
};

static struct copy copies[2];
static int wrong;

static void check(bool ok, const char *what)
{
	printf("%s %s\n", ok ? "ok   " : "WRONG", what);
	wrong += !ok;
}

static void *need(void *h, const char *name)
{
	void *p = h ? dlsym(h, name) : NULL;

	if (!p) {
		fprintf(stderr, "twice: %s: %s\n", name, dlerror());
		exit(2);
	}
	return p;
}

static void load(struct copy *c, const char *path)
{
	void *h = dlopen(path, RTLD_NOW | RTLD_LOCAL);

	*(void **)&c->open = need(h, "module_open");
	*(void **)&c->intact = need(h, "module_intact");
	*(void **)&c->watch = need(h, "rec_watch");
	*(void **)&c->reset = need(h, "rec_reset");
	*(void **)&c->starts = need(h, "rec_starts");
	*(void **)&c->open_now = need(h, "rec_open");
	*(void **)&c->handed = need(h, "rec_handed_count");
	*(void **)&c->covers = need(h, "rec_covers");
	*(void **)&c->exactness = need(h, "rec_exactness");
	/* Only the name is gone: a copy that hooks anything is never unloaded. */
	dlclose(h);
}

#ifdef TWICE_STATIC
static void use_own(struct copy *c)
{
	c->open = hmmu_source_hooks.open;
	c->intact = hmmu_hooks_intact;
	c->watch = rec_watch;
	c->reset = rec_reset;
	c->starts = rec_starts;
	c->open_now = rec_open;
	c->handed = rec_handed_count;
	c->covers = rec_covers;
	c->exactness = rec_exactness;
}
#endif

/* One change, seen by the copies in @watching (bits) once each. */
static void change(unsigned int watching, int (*unmap)(void *, size_t), const char *what)
{
	char *p;

	for (int i = 0; i < 2; i++) {
		copies[i].reset();
		copies[i].watch(watching >> i & 1);
	}
	p = mmap(NULL, 2 * PAGE, RW, ANON, -1, 0);
	unmap(p, 2 * PAGE);
	for (int i = 0; i < 2; i++) {
		bool sees = watching >> i & 1;

		copies[i].watch(false);
		if (copies[i].starts() != sees || copies[i].handed() != sees ||
		    copies[i].open_now() ||
		    copies[i].covers(MMU_NOTIFY_UNMAP, (uintptr_t)p, (uintptr_t)p + 2 * PAGE) !=
			    sees) {
			printf("      copy %d: %u brackets, %u handed out, %u open\n", i,
			       copies[i].starts(), copies[i].handed(), copies[i].open_now());
			wrong++;
			what = "WRONG";
		}
	}
	printf("      %s\n", what);
}

static void all_ways(void)
{
	int (*entry)(void *, size_t);

	*(void **)&entry = dlsym(dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD), "munmap");
	change(3, munmap, "both, by the symbol");
	change(3, entry, "both, by libc's entry");
	change(1, munmap, "the first alone");
	change(2, munmap, "the second alone");
	change(2, entry, "the second alone, by libc's entry");
	change(0, munmap, "none");
}

static void open_one(int i)
{
	int err = copies[i].open();

	if (err)
		printf("      open: %d\n", err);
	check(!err, i ? "the second opens" : "the first opens");
}

static void both_open(void)
{
	open_one(0);
	open_one(1);
	all_ways();
	for (int i = 0; i < 3; i++)
		check(copies[i % 2].open() == 0 && copies[0].intact() && copies[1].intact(),
		      "again; nobody patched over anybody");
	all_ways();
	for (int i = 0; i < 2; i++)
		check(copies[i].exactness(HMMU_OP_MUNMAP, HMMU_CALLER_LIBC_INTERNAL) ==
				      HMMU_BRACKETED &&
			      copies[i].exactness(HMMU_OP_FTRUNCATE, HMMU_CALLER_LIBC) ==
				      HMMU_BY_RETURN,
		      "claimed");
}

/* A forked child's copies watch nothing; they open anew. */
static void forked(void)
{
	pid_t pid;
	int status = -1;

	for (int i = 0; i < 2; i++) {
		copies[i].reset();
		copies[i].watch(true);
	}
	pid = fork();
	if (!pid) {
		wrong = 0;
		both_open();
		_exit(wrong != 0);
	}
	waitpid(pid, &status, 0);
	for (int i = 0; i < 2; i++)
		copies[i].watch(false);
	check(status == 0, "in a forked child");
	check(copies[0].starts() == 1 && copies[1].starts() == 1, "fork itself, once each");
}

static void *opens(void *copy)
{
	return (void *)(intptr_t)((struct copy *)copy)->open();
}

/* Both at once. */
static void race(void)
{
	pthread_t t[2];
	void *err[2];

	for (int i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, opens, &copies[i]);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], &err[i]);
	check(!err[0] && !err[1], "both open at once");
	all_ways();
}

static void in_child(void (*test)(void))
{
	pid_t pid = fork();
	int status = -1;

	if (!pid) {
		test();
		_exit(wrong != 0);
	}
	waitpid(pid, &status, 0);
	check(status == 0, "in a process of its own");
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IONBF, 0);
	load(&copies[0], argv[1]);
#ifdef TWICE_STATIC
	use_own(&copies[1]);
	if (argc > 2) {
		copies[1] = copies[0];
		use_own(&copies[0]);
	}
#else
	load(&copies[1], argv[2]);
	if (argc > 3) {
		check(copies[0].open() == 0, "the first opens");
		check(copies[1].open() == -EEXIST && copies[1].open() == -EEXIST,
		      "another version is refused");
		change(1, munmap, "and changes nothing");
		printf("%d wrong\n", wrong);
		return wrong ? 1 : 0;
	}
#endif
	for (int i = 0; i < 5; i++)
		in_child(race);
	both_open();
	forked();
	printf("%d wrong\n", wrong);
	return wrong ? 1 : 0;
}
