// SPDX-License-Identifier: MIT
/*
 * test_processes.c - children, programs that are exec'ed, and the keeper.
 *
 * The case's process is the harness: a subreaper, without the filter. The application is
 * its child; what outlives the application, the keeper too, becomes the harness's child
 * and is waited for.
 */
#include "sec.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/prctl.h>

#include "../hooks/recorder.h"

extern char **environ;

static int out[2], in[2]; /* application to harness, harness to application */

static void ready(void)
{
	rec_watch(true);
	sec_open();
}

static void say(int value)
{
	CHECK(write(out[1], &value, sizeof(value)) == sizeof(value));
}

static int hear(void)
{
	int value = -1;

	CHECK(read(out[0], &value, sizeof(value)) == sizeof(value));
	return value;
}

static void wait_go(void)
{
	char c;

	CHECK(read(in[0], &c, 1) == 1);
}

static void go(int n)
{
	while (n--)
		CHECK(write(in[1], "g", 1) == 1);
}

/* Forks @app, which opens first; its keeper's pid in *keeper. */
static pid_t start_app(void (*app)(void), int *keeper)
{
	pid_t pid;

	CHECK(!prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
	CHECK(!pipe(out) && !pipe(in));
	pid = fork();
	if (!pid) {
		alarm(SEC_SECONDS);
		ready();
		say(hmmu_seccomp_keeper());
		app();
		_exit(0);
	}
	*keeper = hear();
	return pid;
}

static void bare_calls(void)
{
	char *p = sec_pages(4, 'A');

	CHECK(raw(SYS_munmap, p, PAGE) == 0 && !sec_mapped(p));
	CHECK(raw(SYS_madvise, p + PAGE, PAGE, MADV_DONTNEED) == 0 && p[PAGE] == 0);
	CHECK(raw(SYS_mprotect, p + 2 * PAGE, PAGE, PROT_NONE) == 0);
	CHECK(raw(SYS_munmap, 1, PAGE) == -EINVAL);
}

/* The child's own page goes, and not the parent's at the same address. */
static void child_calls(void)
{
	char *p;
	pid_t pid;

	ready();
	p = sec_pages(1, 'A');
	pid = fork();
	if (!pid) {
		CHECK(raw(SYS_munmap, p, PAGE) == 0 && !sec_mapped(p));
		CHECK(hmmu_source_seccomp.open() == -EOPNOTSUPP);
		pid = fork();
		if (pid)
			sec_join(pid);
		bare_calls();
		_exit(0);
	}
	sec_join(pid);
	CHECK(sec_mapped(p) && *p == 'A');
	CHECK(raw(SYS_munmap, p, PAGE) == 0);
	CHECK(rec_covers(MMU_NOTIFY_UNMAP, (unsigned long)p, (unsigned long)p + PAGE));
}

/* ---- it is not seen --------------------------------------------------- */

static void unseen(void)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL};
	int status;

	ready();
	CHECK(!sigaction(SIGCHLD, &dfl, NULL));
	CHECK(waitpid(-1, &status, WNOHANG) == -1 && errno == ECHILD);
	CHECK(waitpid(0, &status, WNOHANG) == -1 && errno == ECHILD);
	CHECK(getpgid(hmmu_seccomp_keeper()) != getpgrp());
}

static void spawned(void)
{
	char *argv[] = {"true", NULL};
	pid_t pid;

	ready();
	CHECK(system("exec 2>&1; ls / >/dev/null") == 0);
	CHECK(posix_spawnp(&pid, "true", NULL, NULL, argv, environ) == 0);
	sec_join(pid);
	pid = fork();
	if (!pid) {
		execlp("python3", "python3", "-c", "import json, ctypes", NULL);
		_exit(errno == ENOENT ? 0 : 1);
	}
	sec_join(pid);
	CHECK(waitpid(-1, NULL, 0) == -1 && errno == ECHILD);
}

/* All descriptors of the application gone. */
static void closed(void)
{
	char *p;

	ready();
	CHECK(!close_range(3, ~0U, 0));
	CHECK(open("/dev/null", O_RDONLY) == 3);
	for (int i = 0; i < 5; i++) {
		rec_reset();
		p = sec_pages(1, 'A');
		CHECK(raw(SYS_munmap, p, PAGE) == 0);
		CHECK(rec_covers(MMU_NOTIFY_UNMAP, (unsigned long)p, (unsigned long)p + PAGE));
	}
	bare_calls();
}

/* Planted: the supervisor closes its listener. Everybody is told, calls go on. */
static void lost(void)
{
	ready();
	while (!hmmu_load_acquire(&sec_lost))
		bare_calls();
	bare_calls();
	CHECK(sec_lost == 1 && hmmu_source_seccomp.open() == -EOPNOTSUPP);
}

/* ---- survivors -------------------------------------------------------- */

static void app_with_child(void)
{
	pid_t pid = fork();

	if (!pid) {
		alarm(SEC_SECONDS);
		wait_go();
		bare_calls();
		pid = fork();
		if (pid)
			sec_join(pid);
		bare_calls();
		if (!pid)
			_exit(0);
		execl("/bin/sh", "sh", "-c", "ls / >/dev/null && true", NULL);
		_exit(1);
	}
	say(pid);
	pause();
}

/* Pages of the application that the keeper still holds. */
static long resident(int pid)
{
	char path[64];
	long size = 0, pages = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/statm", pid);
	f = fopen(path, "r");
	if (f && fscanf(f, "%ld %ld", &size, &pages) != 2)
		pages = -1;
	if (f)
		fclose(f);
	return pages;
}

/* The application dies; its child goes on, then the keeper ends. */
static void outlived(void)
{
	int keeper, child;
	pid_t app = start_app(app_with_child, &keeper);

	child = hear();
	if (keeper)
		CHECK(resident(keeper) >= 0 && resident(keeper) < 64);
	CHECK(!kill(app, SIGKILL) && waitpid(app, NULL, 0) == app);
	go(1);
	sec_join(child);
	sec_join(keeper);
	CHECK(waitpid(-1, NULL, 0) == -1 && errno == ECHILD);
}

/* Nobody is left: the keeper goes with the application. */
static void app_alone(void)
{
}

static void alone(void)
{
	int keeper;
	pid_t app = start_app(app_alone, &keeper);

	sec_join(app);
	sec_join(keeper);
}

/* Many children, none of which outlives: the zombies' filters count until they are
 * reaped. */
static void app_execs(void)
{
	wait_go();
	execlp("sh", "sh", "-c",
	       "ls / >/dev/null && /bin/true && test \"$(echo $(echo x))\" = x", NULL);
	_exit(1);
}

static void exec_itself(void)
{
	int keeper;
	pid_t app = start_app(app_execs, &keeper);

	go(1);
	sec_join(app);
	sec_join(keeper);
}

/* ---- received, and not answered --------------------------------------- */

static char *stuck_page;

static void stuck(const struct record *r)
{
	if (r->end || r->start != (unsigned long)stuck_page)
		return;
	say(1);
	pause();
}

static int sharer(void *arg)
{
	(void)arg;
	alarm(SEC_SECONDS);
	return raw(SYS_munmap, stuck_page, PAGE) || sec_mapped(stuck_page);
}

static void app_with_sharer(void)
{
	char *stack = sec_pages(16, 0);

	rec_callback = stuck;
	stuck_page = sec_pages(1, 'A');
	say(clone(sharer, stack + 16 * PAGE, CLONE_VM | SIGCHLD, NULL));
	pause();
}

/* A process that shares the memory is inside a call when the application is killed. */
static void unanswered(void)
{
	int keeper, first, second, child;
	pid_t app = start_app(app_with_sharer, &keeper);

	first = hear();
	second = hear();
	child = first == 1 ? second : first;
	CHECK(!kill(app, SIGKILL) && waitpid(app, NULL, 0) == app);
	sec_join(child);
	sec_join(keeper);
}

int main(int argc, char **argv)
{
	static const struct sec_case cases[] = {
		{"child", child_calls}, {"unseen", unseen},    {"spawned", spawned},
		{"closed", closed},	{"lost", lost},	       {"outlived", outlived},
		{"alone", alone},	{"exec", exec_itself}, {"unanswered", unanswered},
	};

	return sec_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
