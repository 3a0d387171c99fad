// SPDX-License-Identifier: MIT
/*
 * test_threads.c - who the caller is makes no difference: older and younger threads, with
 * all signals blocked, in a handler, under a storm of signals, with descriptors of its
 * own, a child that shares the memory.
 */
#include "sec.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/stat.h>

#include "../hooks/recorder.h"

static void ready(void)
{
	rec_watch(true);
	sec_open();
}

/* One page, by the caller, seen. */
static void one_call(void)
{
	char *p = sec_pages(1, 'A');

	CHECK(raw(SYS_munmap, p, PAGE) == 0);
	CHECK(!sec_mapped(p));
	CHECK(rec_covers(MMU_NOTIFY_UNMAP, (unsigned long)p, (unsigned long)p + PAGE));
}

static uint32_t opened, born;

static void *waits_and_calls(void *arg)
{
	sec_post(&born);
	sec_wait(&opened, 1);
	one_call();
	return arg;
}

static void *blocked_and_calls(void *arg)
{
	uint64_t all = ~0ULL;

	raw(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof(all));
	one_call();
	return arg;
}

static void run_thread(void *(*fn)(void *))
{
	pthread_t t;

	CHECK(!pthread_create(&t, NULL, fn, NULL));
	CHECK(!pthread_join(t, NULL));
}

static void older(void)
{
	pthread_t t;

	CHECK(!pthread_create(&t, NULL, waits_and_calls, NULL));
	sec_wait(&born, 1);
	ready();
	sec_post(&opened);
	CHECK(!pthread_join(t, NULL));
}

static void younger(void)
{
	ready();
	sec_post(&opened);
	run_thread(waits_and_calls);
}

static void blocked(void)
{
	ready();
	run_thread(blocked_and_calls);
}

static void handle(int sig)
{
	(void)sig;
	one_call();
}

static void handler(void)
{
	struct sigaction sa = {.sa_handler = handle};

	ready();
	sigfillset(&sa.sa_mask);
	CHECK(!sigaction(SIGUSR1, &sa, NULL));
	raise(SIGUSR1);
	one_call();
}

/* ---- a storm ---------------------------------------------------------- */

#define STORM_CALLS 400

static uint32_t handled, storm_over;
static char *storm_page;
static uint32_t in_bracket;
static pthread_t storm_target;

static void count(int sig)
{
	(void)sig;
	hmmu_add_seqcst(&handled, 1);
}

/* Signals that come while the call is being served: the caller must neither come back nor
 * ask again before the end. */
static void signal_inside(const struct record *r)
{
	if (r->start != (unsigned long)storm_page)
		return;
	hmmu_add_seqcst(&in_bracket, 1);
	if (!r->end)
		for (int i = 0; i < 3; i++) {
			pthread_kill(storm_target, SIGUSR1);
			raw(SYS_sched_yield);
		}
}

static void *storm(void *arg)
{
	while (!hmmu_load_acquire(&storm_over)) {
		pthread_kill(storm_target, SIGUSR1);
		raw(SYS_sched_yield);
	}
	return arg;
}

/* A second execution would be a second bracket. */
static void signals(void)
{
	struct sigaction sa = {.sa_handler = count, .sa_flags = SA_RESTART};
	pthread_t t;

	ready();
	CHECK(!sigaction(SIGUSR1, &sa, NULL));
	storm_target = pthread_self();
	rec_callback = signal_inside;
	CHECK(!pthread_create(&t, NULL, storm, NULL));
	for (int i = 0; i < STORM_CALLS; i++) {
		uint32_t before = hmmu_load_seqcst(&in_bracket);
		char *fresh;

		storm_page = sec_pages(1, 'A');
		fresh = storm_page;
		CHECK(raw(SYS_munmap, fresh, PAGE) == 0);
		/* The end may still be told: the answer comes after it. */
		CHECK(hmmu_load_seqcst(&in_bracket) == before + 2);
		CHECK(!sec_mapped(fresh));
	}
	hmmu_store_seqcst(&storm_over, 1);
	CHECK(!pthread_join(t, NULL));
	CHECK(hmmu_load_seqcst(&handled) >= STORM_CALLS); /* one each, at least */
}

/* A handler without SA_RESTART: a signal before the call is received interrupts it, and
 * then it has not been made. */
static void interrupted(void)
{
	struct sigaction sa = {.sa_handler = count};
	pthread_t t;

	ready();
	CHECK(!sigaction(SIGUSR1, &sa, NULL));
	storm_target = pthread_self();
	CHECK(!pthread_create(&t, NULL, storm, NULL));
	for (int i = 0; i < STORM_CALLS; i++) {
		char *p = sec_pages(1, 'A');
		long ret = raw(SYS_munmap, p, PAGE);

		CHECK(ret == 0 || ret == -EINTR);
		CHECK(sec_mapped(p) == (ret != 0));
	}
	hmmu_store_seqcst(&storm_over, 1);
	CHECK(!pthread_join(t, NULL));
}

/* ---- other tables ----------------------------------------------------- */

static int number; /* the same in both tables, another file in each */
static char *mapped_there;
static uint32_t seen_there;

static void look_there(const struct record *r)
{
	if (!r->end && r->start <= (unsigned long)mapped_there &&
	    (unsigned long)mapped_there < r->last)
		hmmu_store_seqcst(&seen_there, (uint32_t)sec_peek(mapped_there));
}

static void *own_table(void *arg)
{
	int fd;
	char *p = sec_pages(1, 'A');

	CHECK(!unshare(CLONE_FILES));
	fd = memfd_create("mine", 0);
	CHECK(write(fd, "M", 1) == 1 && dup2(fd, number) == number);
	CHECK(raw(SYS_mmap, p, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, number, 0) == (long)p);
	CHECK(*p == 'M');
	mapped_there = p;
	CHECK(raw(SYS_ftruncate, number, 0) == 0);
	CHECK(hmmu_load_seqcst(&seen_there) == 'M');
	CHECK(lseek(number, 0, SEEK_END) == 0);
	return arg;
}

static void tables(void)
{
	number = memfd_create("theirs", 0);
	CHECK(write(number, "T", 1) == 1);
	ready();
	rec_callback = look_there;
	run_thread(own_table);
	CHECK(lseek(number, 0, SEEK_END) == 1);
	CHECK(sec_lost == 0);
}

/* ---- other directories, roots, rights --------------------------------- */

static char there[] = "/tmp/hmmu-seccomp-XXXXXX", other_there[] = "/tmp/hmmu-seccomp-XXXXXX";

static long size_of(const char *dir)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "%s/file", dir);
	CHECK(!stat(path, &st));
	return st.st_size;
}

/* "file" in both: of two bytes, one of them mapped. */
static void make_there(void)
{
	char path[64];
	int fd;

	CHECK(mkdtemp(there) && mkdtemp(other_there) && !chdir(there));
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/file", i ? other_there : there);
		fd = open(path, O_CREAT | O_RDWR, 0600);
		CHECK(write(fd, "FF", 2) == 2);
		mapped_there = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	}
	rec_callback = look_there;
}

static void remove_there(void)
{
	CHECK(!unlink("file") && !rmdir(there));
	CHECK(!chdir(other_there) && !unlink("file") && !rmdir(other_there));
}

static void *own_directory(void *arg)
{
	CHECK(!unshare(CLONE_FS) && !chdir(other_there));
	CHECK(raw(SYS_truncate, "file", 0) == 0);
	CHECK(hmmu_load_seqcst(&seen_there) == 'F');
	CHECK(raw(SYS_truncate, "none", 0) == -ENOENT);
	CHECK(!symlink("loop", "loop") && raw(SYS_truncate, "loop", 0) == -ELOOP);
	CHECK(!unlink("loop"));
	return arg;
}

static int own_directory_too(void *arg)
{
	(void)arg;
	return raw(SYS_chdir, other_there) || raw(SYS_truncate, "file", 1) ||
	       raw(SYS_truncate, "none", 0) != -ENOENT;
}

static void directories(void)
{
	char *stack = sec_pages(16, 0);

	ready();
	make_there();
	run_thread(own_directory);
	CHECK(size_of(there) == 2 && size_of(other_there) == 0);
	sec_join(clone(own_directory_too, stack + 16 * PAGE, CLONE_VM | CLONE_VFORK | SIGCHLD,
		       NULL));
	CHECK(size_of(there) == 2 && size_of(other_there) == 1);
	CHECK(sec_lost == 0);
	remove_there();
}

static void *own_root(void *arg)
{
	CHECK(!unshare(CLONE_FS) && !chroot(other_there));
	CHECK(raw(SYS_truncate, "/file", 0) == 0);
	return arg;
}

/* Where a path leads is not known: the caller makes the call. */
static void root(void)
{
	if (getuid())
		return;
	ready();
	make_there();
	run_thread(own_root);
	CHECK(size_of(there) == 2 && size_of(other_there) == 0 && sec_lost == 1);
	remove_there();
}

/* A path that goes by the descriptors of a thread that has its own. */
static void *own_link(void *arg)
{
	char path[32];

	CHECK(!unshare(CLONE_FILES));
	CHECK(dup2(open("file", O_RDWR), number) == number);
	snprintf(path, sizeof(path), "/proc/thread-self/fd/%d", number);
	CHECK(raw(SYS_truncate, path, 1) == 0);
	return arg;
}

static void magic_link(void)
{
	number = memfd_create("theirs", 0);
	CHECK(write(number, "TT", 2) == 2);
	ready();
	make_there();
	run_thread(own_link);
	CHECK(size_of(there) == 1 && lseek(number, 0, SEEK_END) == 2 && sec_lost == 1);
	remove_there();
}

static void *own_rights(void *arg)
{
	raw(SYS_setfsuid, 65534);
	CHECK(raw(SYS_truncate, "/etc/passwd", -1) == -EINVAL && sec_lost == 0);
	CHECK(raw(SYS_truncate, "file", 0) == -EACCES);
	return arg;
}

/* What a thread has given up, no other does for it. */
static void rights(void)
{
	if (getuid())
		return;
	ready();
	make_there();
	run_thread(own_rights);
	CHECK(size_of(there) == 2 && sec_lost == 1);
	remove_there();
}

/* The application closes whatever it does not know, and opens another file, while the
 * callback runs: that one is left alone. */
static void close_all(const struct record *r)
{
	if (r->end || r->start > (unsigned long)mapped_there ||
	    (unsigned long)mapped_there >= r->last)
		return;
	rec_callback = NULL;
	CHECK(!close_range(3, ~0U, 0));
	for (int i = 0; i < 64; i++)
		CHECK(open("file", O_RDWR) >= 3);
}

static void replaced(void)
{
	char path[64];

	ready();
	make_there();
	rec_callback = close_all;
	snprintf(path, sizeof(path), "%s/file", other_there);
	CHECK(raw(SYS_truncate, path, 1) == 0);
	CHECK(size_of(there) == 2 && size_of(other_there) == 1 && sec_lost == 1);
	CHECK(open("file", O_RDWR) == 3 + 64); /* none of its descriptors was closed */
	remove_there();
}

/* ---- a child that shares the memory ----------------------------------- */

static char *child_page;

static int shares(void *arg)
{
	(void)arg;
	return raw(SYS_munmap, child_page, PAGE) ? 1 : 0;
}

static void shared_memory(void)
{
	char *stack = sec_pages(16, 0);
	pid_t pid;

	ready();
	child_page = sec_pages(1, 'A');
	pid = clone(shares, stack + 16 * PAGE, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
	sec_join(pid);
	CHECK(!sec_mapped(child_page));
	CHECK(rec_covers(MMU_NOTIFY_UNMAP, (unsigned long)child_page,
			 (unsigned long)child_page + PAGE));
	child_page = sec_pages(1, 'A');
	pid = vfork();
	if (!pid)
		_exit(raw(SYS_munmap, child_page, PAGE) ? 1 : 0);
	sec_join(pid);
	CHECK(!sec_mapped(child_page));
	sec_all_closed();
}

/* 32-bit numbers arrive as well: nobody performs them, and watching is lost. */
static void other_abi(void)
{
	long ret, page;

	ready();
	page = raw(SYS_mmap, 0x10000000, PAGE, PROT_READ,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	__asm__ volatile("int $0x80" : "=a"(ret) : "a"(91), "b"(page), "c"(PAGE) : "memory");
	if (ret == -ENOSYS)
		return; /* this kernel has none */
	CHECK(ret == 0 && sec_lost == 1);
	CHECK(hmmu_source_seccomp.open() == -EOPNOTSUPP);
	CHECK(raw(SYS_munmap, sec_pages(1, 'A'), PAGE) == 0);
}

/* libc reaches every thread, ours too, with a signal of its own. */
static void change_user(void)
{
	if (getuid())
		return;
	ready();
	CHECK(!setgid(getgid()) && !setuid(65534));
	one_call();
}

int main(int argc, char **argv)
{
	static const struct sec_case cases[] = {
		{"older", older},
		{"younger", younger},
		{"blocked", blocked},
		{"handler", handler},
		{"signals", signals},
		{"interrupted", interrupted},
		{"tables", tables},
		{"directories", directories},
		{"root", root},
		{"magic link", magic_link},
		{"rights", rights},
		{"replaced", replaced},
		{"shared memory", shared_memory},
		{"other ABI", other_abi},
		{"user", change_user},
	};

	return sec_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
