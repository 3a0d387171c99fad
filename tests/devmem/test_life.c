// SPDX-License-Identifier: MIT
/* test_life.c - arenas begin and end, processes fork and die, privileges are missing. */
#include "dev.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define N 16
#define ARENA 64

static char owner;

struct world {
	struct mm_struct *mm;
	struct dev dev;
	char *p;
	char *arena;
};

static struct world *world(void)
{
	static struct world w;

	w.mm = net_open(BOTH);
	dev_open(&w.dev, w.mm, ARENA, &owner);
	w.arena = (char *)w.dev.map->base;
	w.p = raw_mmap(NULL, N * PAGE, RW, ANON, -1, 0);
	fill_pages(w.p, N, 1);
	return &w;
}

static void world_end(struct world *w)
{
	dev_check(&w->dev);
	dev_close(&w->dev);
	net_close(w->mm);
}

ISOLATED(closed_with_pages_away)
{
	struct world *w = world();

	must(dev_out(&w->dev, w->p, N) == N);
	dev_close(&w->dev);
	net_close(w->mm);
	must(pages_are(w->p, N, 1));
	must(w->dev.revoked == N && w->dev.freed == N);
}

ISOLATED(closed_while_open)
{
	struct world *w = world();
	struct trip *t = trip_new(&w->dev, w->p, N, MIGRATE_VMA_SELECT_SYSTEM);

	trip_setup(t);
	must(hmmu_devmem_close(w->dev.map) == -EBUSY);
	trip_alloc(t);
	must(hmmu_devmem_close(w->dev.map) == -EBUSY);
	trip_pages(t);
	must(hmmu_devmem_close(w->dev.map) == -EBUSY);
	must(trip_finalize(t) == N);
	must(pages_are(w->p, 1, 1));
	dev_close(&w->dev);
	must(pages_are(w->p, N, 1));
	net_close(w->mm);
}

/* Many lives leave nothing: descriptors, threads, mappings. */
static unsigned int lines(const char *path)
{
	char text[65536];
	unsigned int n = 0;
	int fd = open(path, O_RDONLY);
	ssize_t got;

	while ((got = read(fd, text, sizeof(text))) > 0)
		for (ssize_t i = 0; i < got; i++)
			n += text[i] == '\n';
	close(fd);
	return n;
}

static void one_life(void)
{
	struct world *w = world();

	must(dev_out(&w->dev, w->p, N) == N);
	must(pages_are(w->p, N / 2, 1));
	dev_close(&w->dev);
	dev_open(&w->dev, w->mm, 2 * ARENA, &owner);
	must(dev_out(&w->dev, w->p, N) == N);
	must(dev_home(&w->dev, w->p, N) == N);
	world_end(w);
	must(pages_are(w->p, N, 1));
	must(raw_munmap(w->p, N * PAGE) == 0);
}

ISOLATED(again_and_again)
{
	unsigned int fds, threads, maps;

	for (int i = 0; i < 8; i++)
		one_life();
	fds = net_count("fd");
	threads = net_count("task");
	maps = lines("/proc/self/maps");
	for (int i = 0; i < 32; i++)
		one_life();
	must(net_count("fd") == fds);
	/* Who was joined is in the kernel's list a little longer. */
	for (int i = 0; net_count("task") > threads; i++) {
		must(i < 10000);
		usleep(1000);
	}
	must(lines("/proc/self/maps") <= maps + 2);
}

/* After close an empty page costs no trip: the mapping is not registered any more. */
ISOLATED(nothing_told_after_close)
{
	struct world *w = world();
	struct mm_struct *keep = net_open(BOTH);
	char *q = raw_mmap(NULL, N * PAGE, RW, ANON, -1, 0);
	uint64_t marked;

	must(dev_out(&w->dev, q, 1) == 1);
	world_end(w);
	net_quiet();
	marked = net_marked();
	fill_pages(q, N, 2);
	must(net_marked() == marked);
	must(pages_are(q, N, 2));
	net_close(keep);
}

/* ---- fork -------------------------------------------------------------- */

static void revoke_nothing(void *context, unsigned long addr, unsigned long pfn,
			   enum mmu_notifier_event why)
{
}

static void child_of(struct world *w, struct trip *open)
{
	const struct dev_pagemap_options options = {
		.size = sizeof(options),
		.bytes = ARENA * PAGE,
	};
	const struct dev_pagemap_ops ops = {.revoke = revoke_nothing};
	struct trip *t = trip_new(&w->dev, w->p, N, MIGRATE_VMA_SELECT_SYSTEM);
	struct dev_pagemap *map = NULL;
	struct hmmu_devmem_stats s;
	unsigned long pfns[N];
	unsigned char there;
	struct dev d;

	/* The arena is the parent's alone. */
	must(mincore(w->arena, PAGE, &there) == -1 && errno == ENOMEM);
	must(migrate_vma_setup(&t->args) == -ENODEV);
	migrate_vma_pages(&t->args);
	migrate_vma_finalize(&t->args);
	if (open) {
		migrate_vma_pages(&open->args);
		migrate_vma_finalize(&open->args);
	}
	must(make_device_exclusive_range(w->dev.map, (unsigned long)w->p,
					 (unsigned long)w->p + PAGE, pfns) == -ENODEV);
	must(hmmu_devmem_alloc(w->dev.map) == 0);
	hmmu_devmem_free(w->dev.map, 1);
	hmmu_devmem_stat(w->dev.map, &s);
	must(s.pages == 0 && s.used == 0);
	must(hmmu_devmem_open(&map, w->mm, &ops, NULL, &options) == -ENODEV);
	must(hmmu_devmem_close(w->dev.map) == 0);
	must(hmmu_mm_close(w->mm) == 0);
	must(pages_are(w->p, N, 1));
	fill_pages(w->p, N, 3);
	/* A life of its own. */
	d.mm = net_open(BOTH);
	dev_open(&d, d.mm, ARENA, &owner);
	must(dev_out(&d, w->p, N) == N && pages_are(w->p, N, 3));
	must(munmap(w->p, N * PAGE) == 0);
	dev_check(&d);
	dev_close(&d);
	net_close(d.mm);
}

static void wait_well(pid_t pid)
{
	int status = -1;

	must(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
}

ISOLATED(forked_child)
{
	struct world *w = world();
	pid_t pid;

	must(dev_out(&w->dev, w->p, N) == N);
	pid = fork();
	if (!pid) {
		alarm(15);
		child_of(w, NULL);
		_exit(0);
	}
	wait_well(pid);
	must(pages_are(w->p, N, 1));
	world_end(w);
}

/* Another thread forks while this one is inside a migration. */
static void fork_it(void *arg)
{
	struct world *w = arg;
	pid_t pid = fork();

	if (!pid) {
		alarm(15);
		must(pages_are(w->p, N, 1));
		_exit(0);
	}
	wait_well(pid);
}

ISOLATED(forked_inside_setup)
{
	struct world *w = world();
	struct trip *t = trip_new(&w->dev, w->p, N, MIGRATE_VMA_SELECT_SYSTEM);
	struct runner r;

	trip_setup(t);
	trip_alloc(t);
	runner_start(&r, fork_it, w);
	runner_join(&r);
	trip_pages(t);
	trip_finalize(t);
	must(pages_are(w->p, N, 1));
	world_end(w);
}

ISOLATED(forked_inside_pages)
{
	struct world *w = world();
	struct trip *t = trip_new(&w->dev, w->p, N, MIGRATE_VMA_SELECT_SYSTEM);
	struct runner r;

	trip_setup(t);
	trip_alloc(t);
	trip_pages(t);
	runner_start(&r, fork_it, w);
	must(runner_blocked(&r));
	must(trip_finalize(t) == N);
	runner_join(&r);
	must(pages_are(w->p, N, 1));
	world_end(w);
}

/* The child of a thread that is between setup and pages itself. */
ISOLATED(forked_by_the_migrator)
{
	struct world *w = world();
	struct trip *t = trip_new(&w->dev, w->p, N, MIGRATE_VMA_SELECT_SYSTEM);
	pid_t pid;

	trip_setup(t);
	pid = fork();
	if (!pid) {
		alarm(15);
		child_of(w, t);
		_exit(0);
	}
	wait_well(pid);
	trip_alloc(t);
	trip_pages(t);
	trip_finalize(t);
	must(pages_are(w->p, N, 1));
	world_end(w);
}

/* ---- killed ------------------------------------------------------------ */

static void migrates_for_ever(void *arg)
{
	struct world *w = arg;

	for (;;) {
		dev_out(&w->dev, w->p, N);
		dev_home(&w->dev, w->p, N / 2);
	}
}

static void touches_for_ever(void *arg)
{
	struct world *w = arg;

	for (uint64_t n = 0;; n++)
		(*(volatile uint64_t *)(w->p + n % N * PAGE + 64))++;
}

static void (*at_work)(struct world *w);

static void moving(struct world *w)
{
	static struct runner r[3];

	runner_start(&r[0], migrates_for_ever, w);
	runner_start(&r[1], touches_for_ever, w);
	runner_start(&r[2], touches_for_ever, w);
}

/* Threads that sleep for a page, and a change that waits for finalize. */
static void protect_it(void *arg)
{
	struct world *w = arg;

	mprotect(w->p, PAGE, PROT_READ);
}

static void waiting(struct world *w)
{
	static struct runner r[2];
	struct trip *t = trip_new(&w->dev, w->p, N, MIGRATE_VMA_SELECT_SYSTEM);

	trip_setup(t);
	trip_alloc(t);
	trip_pages(t);
	runner_start(&r[0], touches_for_ever, w);
	runner_start(&r[1], protect_it, w);
	must(runner_blocked(&r[0]) && runner_blocked(&r[1]));
}

static void killed(int number)
{
	int ready[2], status = -1;
	char c;
	pid_t pid;

	must(pipe(ready) == 0);
	pid = fork();
	if (!pid) {
		struct world *w = world();

		at_work(w);
		if (write(ready[1], &c, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	must(read(ready[0], &c, 1) == 1);
	usleep(1000 * (unsigned int)number);
	must(kill(pid, SIGKILL) == 0);
	must(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
}

ISOLATED(killed_while_moving)
{
	at_work = moving;
	for (int i = 0; i < 20; i++)
		killed(i);
}

ISOLATED(killed_while_waiting)
{
	at_work = waiting;
	killed(0);
}

/* A normal end with pages away and threads that sleep. */
ISOLATED(exits_while_waiting)
{
	pid_t pid = fork();

	if (!pid) {
		struct world *w = world();

		waiting(w);
		exit(0);
	}
	wait_well(pid);
}

/* ---- no privilege ------------------------------------------------------ */

static int sysctl_unprivileged(void)
{
	int fd = open("/proc/sys/vm/unprivileged_userfaultfd", O_RDONLY);
	char c = '1';

	if (fd >= 0 && read(fd, &c, 1) != 1)
		c = '1';
	close(fd);
	return c - '0';
}

ISOLATED(no_privilege)
{
	const struct dev_pagemap_options options = {.size = sizeof(options), .bytes = PAGE};
	const struct dev_pagemap_ops ops = {.revoke = revoke_nothing};
	struct dev_pagemap *map = NULL;
	struct mm_struct *mm;

	if (sysctl_unprivileged())
		return;
	must(!getuid());
	must(setgroups(0, NULL) == 0 && setgid(65534) == 0 && setuid(65534) == 0);
	prctl(PR_SET_DUMPABLE, 1);
	mm = net_open(BOTH);
	must(hmmu_devmem_open(&map, mm, &ops, NULL, &options) == -EPERM);
	must(map == NULL);
	net_close(mm);
}

/* The program closes the descriptor: nothing leaves any more, what is away comes home. */
ISOLATED(descriptor_lost)
{
	struct world *w = world();
	struct trip *t;

	must(dev_out(&w->dev, w->p, N) == N);
	must(close(hmmu_uffd->fd) == 0);
	must(pages_are(w->p, N, 1)); /* the reader has its own */
	t = trip_new(&w->dev, w->p, N, MIGRATE_VMA_SELECT_SYSTEM);
	if (!migrate_vma_setup(&t->args)) {
		trip_alloc(t);
		trip_pages(t);
		must(trip_finalize(t) == 0);
	}
	must(pages_are(w->p, N, 1));
	must(hmmu_devmem_close(w->dev.map) == 0);
	net_close(w->mm);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(closed_with_pages_away),
		cmocka_unit_test(closed_while_open),
		cmocka_unit_test(again_and_again),
		cmocka_unit_test(nothing_told_after_close),
		cmocka_unit_test(forked_child),
		cmocka_unit_test(forked_inside_setup),
		cmocka_unit_test(forked_inside_pages),
		cmocka_unit_test(forked_by_the_migrator),
		cmocka_unit_test(killed_while_moving),
		cmocka_unit_test(killed_while_waiting),
		cmocka_unit_test(exits_while_waiting),
		cmocka_unit_test(no_privilege),
		cmocka_unit_test(descriptor_lost),
	};

	dev_init(argc, argv);
	return cmocka_run_group_tests_name("devmem-life", tests, NULL, NULL);
}
