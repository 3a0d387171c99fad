// SPDX-License-Identifier: MIT
/*
 * test_refused.c - other filters: before, after, in the way; and what a refusal leaves.
 */
#include "sec.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <string.h>
#include <sys/prctl.h>

#include "source/hooks/hooks.h"
#include "../hooks/recorder.h"

/* A filter that answers @action to system call @nr. */
static long filter(long nr, unsigned int action, unsigned long flags)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {sizeof(code) / sizeof(code[0]), code};

	CHECK(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	return raw(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
}

#define REFUSE(e) (SECCOMP_RET_ERRNO | (e))

static void one_call(void)
{
	char *p = sec_pages(1, 'A');

	CHECK(raw(SYS_munmap, p, PAGE) == 0 && !sec_mapped(p));
	CHECK(rec_covers(MMU_NOTIFY_UNMAP, (unsigned long)p, (unsigned long)p + PAGE));
}

static void refused(const char *word)
{
	int err = hmmu_source_seccomp.open();

	if (err != -EOPNOTSUPP || !strstr(hmmu_seccomp_why(), word))
		fprintf(stderr, "open: %d: %s\n", err, hmmu_seccomp_why());
	CHECK(err == -EOPNOTSUPP && strstr(hmmu_seccomp_why(), word));
	/* Nothing is left: no thread, no process; and it can be asked again. */
	while (hmmu_hooks_threads() != 1)
		raw(SYS_sched_yield); /* joined, and not quite gone */
	CHECK(waitpid(-1, NULL, __WALL) == -1 && errno == ECHILD);
	CHECK(hmmu_source_seccomp.open() == -EOPNOTSUPP);
}

static void before(void)
{
	rec_watch(true);
	CHECK(!filter(SYS_getppid, REFUSE(ENOMSG), 0));
	sec_open();
	one_call();
	CHECK(raw(SYS_getppid) == -ENOMSG);
}

static void after(void)
{
	char *p;

	rec_watch(true);
	sec_open();
	CHECK(!filter(SYS_getppid, REFUSE(ENOMSG), SECCOMP_FILTER_FLAG_TSYNC));
	one_call();
	CHECK(raw(SYS_getppid) == -ENOMSG);
	CHECK(filter(SYS_getppid, SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER) ==
	      -EBUSY);
	/* The stricter answer wins: not made, not told. */
	p = sec_pages(1, 'A');
	CHECK(!filter(SYS_munmap, REFUSE(EPERM), 0));
	rec_reset();
	CHECK(raw(SYS_munmap, p, PAGE) == -EPERM && sec_mapped(p) && rec_starts() == 0);
}

static void policy(void)
{
	CHECK(!filter(SYS_seccomp, REFUSE(EPERM), 0));
	refused("policy");
}

static void hidden(void)
{
	CHECK(!filter(SYS_seccomp, REFUSE(ENOSYS), 0));
	refused("no seccomp system call");
}

static void listener(void)
{
	CHECK(filter(SYS_getppid, SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER) >=
	      0);
	refused("listener");
}

static void no_kcmp(void)
{
	CHECK(!filter(SYS_kcmp, REFUSE(EPERM), 0));
	refused("kcmp");
}

static void no_keeper(void)
{
	CHECK(!filter(SYS_clone, REFUSE(EAGAIN), 0));
	refused("keeper");
}

static uint32_t filtered, done;

static void *other_filter(void *arg)
{
	CHECK(!filter(SYS_getppid, REFUSE(ENOMSG), 0));
	sec_post(&filtered);
	sec_wait(&done, 1);
	return arg;
}

static void thread(void)
{
	pthread_t t;

	CHECK(!pthread_create(&t, NULL, other_filter, NULL));
	sec_wait(&filtered, 1);
	CHECK(hmmu_source_seccomp.open() == -EOPNOTSUPP);
	CHECK(strstr(hmmu_seccomp_why(), "thread"));
	sec_post(&done);
	CHECK(!pthread_join(t, NULL));
	/* What was in the way is gone. */
	rec_watch(true);
	sec_open();
	one_call();
}

static void kernels(void)
{
	CHECK(hmmu_seccomp_once("6.18.0", "#1 SMP"));
	CHECK(hmmu_seccomp_once("7.0-rc1", "#1 SMP"));
	CHECK(!hmmu_seccomp_once("6.17.2", "#1 SMP"));
	CHECK(hmmu_seccomp_once("6.17.3", "#1 SMP"));
	CHECK(!hmmu_seccomp_once("6.16.12", "#1 SMP"));
	CHECK(hmmu_seccomp_once("6.12.53-amd64", "#1 SMP"));
	CHECK(!hmmu_seccomp_once("6.8.0-85-generic", "#85-Ubuntu SMP"));
	CHECK(!hmmu_seccomp_once("6.1.0-40-amd64", "#1 SMP Debian 6.1.153-1 (2025-09-20)"));
	CHECK(hmmu_seccomp_once("6.1.0-41-amd64", "#1 SMP Debian 6.1.158-1 (2025-11-09)"));
	CHECK(!hmmu_seccomp_once("5.15.999", "") && !hmmu_seccomp_once("", "Debian "));
}

static void unprivileged(void)
{
	if (!getuid())
		CHECK(!setgid(65534) && !setuid(65534));
	rec_watch(true);
	sec_open();
	CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	one_call();
}

int main(int argc, char **argv)
{
	static const struct sec_case cases[] = {
		{"kernels", kernels}, {"before", before},
		{"after", after},     {"policy", policy},
		{"hidden", hidden},   {"listener", listener},
		{"no kcmp", no_kcmp}, {"no keeper", no_keeper},
		{"thread", thread},   {"unprivileged", unprivileged},
	};

	return sec_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
