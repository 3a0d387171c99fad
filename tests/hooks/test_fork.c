// SPDX-License-Identifier: MIT
/*
 * test_fork.c - fork is one bracket over the whole address space in the parent, and
 * nothing in the child. From several threads, nested in a signal handler, failing,
 * with no memory for its bracket; vfork and posix_spawn, which copy nothing.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arch/syscall.h"
#include "atomic.h"
#include "policy.h"
#include "recorder.h"
#include "source/hooks/hooks.h"

#define PAGE 4096UL
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

static void (*in_prepare)(void);

/* Registered before the source: runs after its prepare, with the bracket open. */
static void prepare(void)
{
	void (*fn)(void) = in_prepare;

	if (!fn)
		return;
	in_prepare = NULL;
	fn();
}

static void begin(void)
{
	rec_reset();
	rec_watch(true);
}

static int wait_for(pid_t pid)
{
	int status = -1;

	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static unsigned int pairs(void)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < rec_count() && i < RECORDS; i++) {
		if (rec_log[i].event != MMU_NOTIFY_PROTECTION_PAGE)
			continue;
		assert_int_equal(rec_log[i].start, 0);
		assert_int_equal(rec_log[i].last, HMMU_TOP);
		n += rec_log[i].end;
	}
	assert_int_equal(rec_open(), 0);
	return n;
}

static void parent_has_the_pair(void **state)
{
	pid_t pid;

	begin();
	pid = fork();
	if (!pid)
		/* The start was before the copy, the end is the parent's. */
		_exit(rec_open() == 0 && !rec_log[0].end && !rec_any(MMU_NOTIFY_PROTECTION_PAGE)
			      ? 0
			      : 1);
	rec_watch(false);
	assert_int_equal(wait_for(pid), 0);
	assert_int_equal(pairs(), 1);
	assert_true(rec_log[0].event == MMU_NOTIFY_PROTECTION_PAGE && rec_log[1].end);
}

/* Nothing is watched, everything works, its own source can be opened. */
static int child_lives(void)
{
	char *p = mmap(NULL, PAGE, RW, ANON, -1, 0);
	pid_t grandchild;
	int status;

	rec_reset();
	if (munmap(p, PAGE) || rec_count())
		return 1;
	free(malloc(1 << 20));
	if (rec_count())
		return 2;
	if (hmmu_source_hooks.open())
		return 3;
	rec_watch(true);
	p = mmap(NULL, PAGE, RW, ANON, -1, 0);
	if (munmap(p, PAGE) || rec_count() != 2 || rec_open())
		return 4;
	grandchild = fork();
	if (!grandchild)
		_exit(hmmu_source_watched() ? 5 : 0);
	if (waitpid(grandchild, &status, 0) != grandchild || status)
		return 5;
	return rec_count() == 4 && !rec_open() ? 0 : 6;
}

static void child_has_nothing(void **state)
{
	pid_t pid;

	begin();
	pid = fork();
	if (!pid)
		_exit(child_lives());
	rec_watch(false);
	assert_int_equal(wait_for(pid), 0);
	assert_int_equal(pairs(), 1);
}

static void not_watched(void **state)
{
	pid_t pid;

	rec_reset();
	pid = fork();
	if (!pid)
		_exit(0);
	assert_int_equal(wait_for(pid), 0);
	assert_int_equal(rec_count(), 0);
}

static void watch_now(void)
{
	rec_watch(true);
}

static void unwatch_now(void)
{
	rec_watch(false);
}

/* Watching begins or ends between prepare and parent: brackets still pair. */
static void watched_half_way(void **state)
{
	pid_t pid;

	rec_reset();
	in_prepare = watch_now;
	pid = fork();
	if (!pid)
		_exit(0);
	assert_int_equal(wait_for(pid), 0);
	assert_int_equal(pairs(), 0);
	in_prepare = unwatch_now;
	pid = fork();
	if (!pid)
		_exit(0);
	assert_int_equal(wait_for(pid), 0);
	assert_int_equal(pairs(), 1);
}

static void fork_once(int sig)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(0);
	if (waitpid(pid, &status, 0) != pid || status)
		abort();
}

static unsigned int still_open;

static void unwatched_inner_fork(void)
{
	rec_watch(false);
	fork_once(0);
	still_open = rec_open();
}

/* An inner fork that pushed nothing leaves the outer one's bracket open. */
static void nested_unwatched(void **state)
{
	pid_t pid;

	begin();
	in_prepare = unwatched_inner_fork;
	pid = fork();
	if (!pid)
		_exit(0);
	assert_int_equal(wait_for(pid), 0);
	assert_int_equal(still_open, 1);
	assert_int_equal(pairs(), 1);
}

static void raise_it(void)
{
	raise(SIGUSR1);
}

static void raise_at_start(const struct record *r)
{
	rec_callback = NULL;
	raise(SIGUSR1);
}

/* A handler forks between prepare and parent, and inside prepare itself. */
static void nested_in_a_handler(void **state)
{
	pid_t pid;

	signal(SIGUSR1, fork_once);
	begin();
	in_prepare = raise_it;
	pid = fork();
	if (!pid)
		_exit(0);
	assert_int_equal(wait_for(pid), 0);
	assert_int_equal(pairs(), 2);
	/* The inner one ended first. */
	assert_int_equal(rec_log[2].id, rec_log[1].id);
	assert_int_equal(rec_log[3].id, rec_log[0].id);

	begin();
	rec_callback = raise_at_start;
	pid = fork();
	if (!pid)
		_exit(0);
	rec_watch(false);
	assert_int_equal(wait_for(pid), 0);
	assert_int_equal(pairs(), 2);
}

static void *forks(void *arg)
{
	for (int i = 0; i < 40; i++) {
		pid_t pid = fork();
		int status;

		if (!pid)
			_exit(munmap(mmap(NULL, PAGE, RW, ANON, -1, 0), PAGE));
		if (waitpid(pid, &status, 0) != pid || status)
			return (void *)1;
		munmap(mmap(NULL, PAGE, RW, ANON, -1, 0), PAGE);
	}
	return NULL;
}

static void several_threads(void **state)
{
	pthread_t t[4];
	void *bad;

	begin();
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, forks, NULL), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], &bad);
		assert_null(bad);
	}
	rec_watch(false);
	assert_int_equal(pairs(), 160);
}

/* In children: what they set up stays with them. */
static void in_child(int (*fn)(void))
{
	pid_t pid;

	rec_watch(false);
	pid = fork();
	if (!pid)
		_exit(fn());
	assert_int_equal(wait_for(pid), 0);
}

static int failing(void)
{
	if (policy_refuse(SYS_clone, SYS_clone3, EAGAIN))
		return 0;
	begin();
	errno = 0;
	if (fork() != -1 || errno != EAGAIN)
		return 1;
	return rec_count() == 2 && rec_log[1].end && !rec_open() ? 0 : 2;
}

static void fork_fails(void **state)
{
	in_child(failing);
}

/* No page can be mapped: the spare brackets, all four nested, then the first again. */
static int depth;

static void deeper(int sig)
{
	if (++depth < 4)
		in_prepare = raise_it;
	fork_once(sig);
}

static int no_memory(void)
{
	struct rlimit none = {0, 0};
	/* Deliverable inside itself. */
	struct sigaction act = {.sa_handler = deeper, .sa_flags = SA_NODEFER};
	pid_t pid;
	int status;

	sigaction(SIGUSR1, &act, NULL);
	setrlimit(RLIMIT_AS, &none);
	for (int i = 0; i < 2; i++) {
		begin();
		depth = 1;
		in_prepare = raise_it;
		pid = fork();
		if (!pid)
			_exit(0);
		if (pid < 0)
			return 0; /* this kernel wants more than that */
		if (waitpid(pid, &status, 0) != pid || status)
			return 1;
		if (rec_count() != 8 || rec_open() || rec_log[3].end || !rec_log[4].end)
			return 2;
	}
	return 0;
}

static void without_memory(void **state)
{
	/* TSan needs some itself. */
	if (HMMU_HOOK_TSAN)
		skip();
	in_child(no_memory);
}

/* A vfork child runs in its parent's memory: what it unmaps is told. */
static void vfork_child_unmaps(void **state)
{
	char *volatile p = mmap(NULL, PAGE, RW, ANON, -1, 0);
	pid_t pid;

	/* It makes a fork of it. */
	if (HMMU_HOOK_TSAN)
		skip();
	begin();
	pid = vfork();
	if (!pid) {
		munmap(p, PAGE);
		_exit(0);
	}
	rec_watch(false);
	assert_int_equal(wait_for(pid), 0);
	assert_true(rec_covers(MMU_NOTIFY_UNMAP, (unsigned long)p, (unsigned long)p + PAGE));
	assert_int_equal(pairs(), 0);
}

static void spawned(void **state)
{
	char *argv[] = {"true", NULL}, *envp[] = {NULL};
	pid_t pid;

	begin();
	assert_int_equal(posix_spawn(&pid, "/bin/true", NULL, NULL, argv, envp), 0);
	rec_watch(false);
	assert_int_equal(wait_for(pid), 0);
	assert_int_equal(pairs(), 0);
	begin();
	assert_int_equal(system("exit 3"), 3 << 8);
	rec_watch(false);
	assert_int_equal(pairs(), 0);
}

static char *handler_page;

static void unmap_in_handler(int sig)
{
	munmap(handler_page, PAGE);
}

static void signal_at_start(const struct record *r)
{
	rec_callback = NULL;
	raise(SIGUSR2);
}

/* A handler unmaps while its thread is inside a bracket. */
static void handler_unmaps(void **state)
{
	char *p = mmap(NULL, PAGE, RW, ANON, -1, 0);

	/* It runs handlers with all signals blocked, as libc ends threads. */
	if (HMMU_HOOK_TSAN)
		skip();
	handler_page = mmap(NULL, PAGE, RW, ANON, -1, 0);
	signal(SIGUSR2, unmap_in_handler);
	begin();
	rec_callback = signal_at_start;
	assert_int_equal(munmap(p, PAGE), 0);
	rec_watch(false);
	assert_int_equal(rec_count(), 4);
	assert_true(rec_covers(MMU_NOTIFY_UNMAP, (unsigned long)handler_page,
			       (unsigned long)handler_page + PAGE));
	assert_true(rec_covers(MMU_NOTIFY_UNMAP, (unsigned long)p, (unsigned long)p + PAGE));
	assert_int_equal(rec_open(), 0);
}

static int setup(void **state)
{
	if (pthread_atfork(prepare, NULL, NULL))
		return -1;
	return hmmu_source_hooks.open();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parent_has_the_pair),
		cmocka_unit_test(child_has_nothing),
		cmocka_unit_test(not_watched),
		cmocka_unit_test(watched_half_way),
		cmocka_unit_test(nested_in_a_handler),
		cmocka_unit_test(nested_unwatched),
		cmocka_unit_test(several_threads),
		cmocka_unit_test(fork_fails),
		cmocka_unit_test(without_memory),
		cmocka_unit_test(vfork_child_unmaps),
		cmocka_unit_test(spawned),
		cmocka_unit_test(handler_unmaps),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
