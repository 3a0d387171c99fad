// SPDX-License-Identifier: MIT
/*
 * test_removal.c - the end of a REMOVE is found, whoever made the call and whatever the
 * other threads do: a reader that begins after it finds the pages gone.
 */
#include "net.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#ifdef HAVE_URING
#include <liburing.h>
#endif

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif
#define PAGES 1024
#define ROUNDS (60 / NET_SLOW)

enum how { BY_MADVISE, BY_PROCESS_MADVISE, BY_URING };

struct remover {
	enum how how;
	int advice;
	char *p;
	int pidfd;
	bool block; /* every signal */
	int ret;
#ifdef HAVE_URING
	struct io_uring ring;
#endif
};

static int uring_madvise(struct remover *r)
{
#ifdef HAVE_URING
	struct io_uring_sqe *sqe = io_uring_get_sqe(&r->ring);
	struct io_uring_cqe *cqe;
	int ret;

	io_uring_prep_madvise(sqe, r->p, PAGES * PAGE, r->advice);
	must(io_uring_submit(&r->ring) == 1);
	while (io_uring_wait_cqe(&r->ring, &cqe))
		;
	ret = cqe->res;
	io_uring_cqe_seen(&r->ring, cqe);
	return ret;
#else
	return raw_madvise(r->p, PAGES * PAGE, r->advice);
#endif
}

/* pthread_sigmask() would leave libc's own out. */
static void block_signals(void)
{
	uint64_t all = ~0ULL;

	must(hmmu_syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof(all)) == 0);
}

static void remover_run(void *arg)
{
	struct remover *r = arg;
	struct iovec v = {r->p, PAGES * PAGE};

	if (r->block)
		block_signals();
	switch (r->how) {
	case BY_MADVISE:
		r->ret = raw_madvise(r->p, PAGES * PAGE, r->advice);
		break;
	case BY_PROCESS_MADVISE:
		r->ret = (int)hmmu_syscall(SYS_process_madvise, r->pidfd, &v, 1, r->advice, 0);
		if (r->ret == PAGES * (int)PAGE)
			r->ret = 0;
		break;
	case BY_URING:
		r->ret = uring_madvise(r);
		break;
	}
}

static void remover_init(struct remover *r, enum how how, int advice, char *p)
{
	memset(r, 0, sizeof(*r));
	r->how = how;
	r->advice = advice;
	r->p = p;
	r->pidfd = (int)hmmu_syscall(SYS_pidfd_open, getpid(), 0);
#ifdef HAVE_URING
	if (how == BY_URING)
		must(io_uring_queue_init(4, &r->ring, 0) == 0);
#endif
}

/* The reader begins as soon as the callback has run; the page that goes last is gone. */
static void gone_after_begin(struct remover *r, struct mm_struct *mm)
{
	char *p = r->p;
	struct runner a;
	struct watch w;
	unsigned long seq;

	watch_add(&w, mm, p, PAGES * PAGE);
	for (uint32_t i = 0; i < ROUNDS; i++) {
		seq = watch_begin(&w);
		for (size_t k = 0; k < PAGES; k++)
			p[k * PAGE] = 'a';
		must(watch_ok(&w, seq));
		runner_start(&a, remover_run, r);
		while (watch_calls(&w) == i && !runner_done(&a))
			sched_yield();
		seq = watch_begin(&w);
		/* Freed pages may keep what they hold until they are wanted. */
		must(r->advice == MADV_FREE || p[(PAGES - 1) * PAGE] == 0);
		runner_join(&a);
		must(r->ret == 0 && watch_calls(&w) == i + 1);
	}
	net_quiet();
	watch_remove(&w);
}

static void gone(enum how how, int advice, int flags, unsigned int sources)
{
	struct mm_struct *mm = net_open(sources);
	char *p = raw_mmap(NULL, PAGES * PAGE, RW, flags, -1, 0);
	struct remover r;

	remover_init(&r, how, advice, p);
	gone_after_begin(&r, mm);
	net_close(mm);
}

ISOLATED_BOTH(dontneed)
{
	gone(BY_MADVISE, MADV_DONTNEED, ANON, sources);
}

ISOLATED(dontneed_locked)
{
	gone(BY_MADVISE, MADV_DONTNEED_LOCKED, ANON, ALONE);
}

ISOLATED(free_pages)
{
	gone(BY_MADVISE, MADV_FREE, ANON, ALONE);
}

ISOLATED(remove_shared)
{
	gone(BY_MADVISE, MADV_REMOVE, MAP_SHARED | MAP_ANONYMOUS, ALONE);
}

/* Linux 6.13 allows it on oneself. */
ISOLATED_BOTH(process_advice)
{
	char *p = raw_map(1);
	struct iovec v = {p, PAGE};
	int pidfd = (int)hmmu_syscall(SYS_pidfd_open, getpid(), 0);

	if (hmmu_syscall(SYS_process_madvise, pidfd, &v, 1, MADV_DONTNEED, 0) == (long)PAGE)
		gone(BY_PROCESS_MADVISE, MADV_DONTNEED, ANON, sources);
}

ISOLATED_BOTH(uring)
{
	gone(BY_URING, MADV_DONTNEED, ANON, sources);
}

/* The call fails, and has been told of: it ends all the same. */
ISOLATED(failed)
{
	struct mm_struct *mm = net_open(ALONE);
	char *p = raw_map(4);
	unsigned long seq;
	struct watch w;

	must(raw_munmap(p + 2 * PAGE, PAGE) == 0);
	watch_add(&w, mm, p, PAGE);
	seq = watch_begin(&w);
	must(raw_madvise(p, 4 * PAGE, MADV_DONTNEED) == -ENOMEM);
	must(!watch_ok(&w, seq));
	seq = watch_begin(&w);
	must(watch_ok(&w, seq) && *p == 0);
	watch_remove(&w);
	net_close(mm);
}

/* ---- who is asked ------------------------------------------------------ */

ISOLATED(caller_blocks_signals)
{
	struct mm_struct *mm = net_open(ALONE);
	struct remover r;

	remover_init(&r, BY_MADVISE, MADV_DONTNEED,
		     raw_mmap(NULL, PAGES * PAGE, RW, ANON, -1, 0));
	r.block = true;
	gone_after_begin(&r, mm);
	net_close(mm);
}

static uint32_t stop;

static void spin(void *arg)
{
	(void)arg;
	while (!hmmu_load_relaxed(&stop))
		;
}

struct ping {
	int from, to;
	unsigned int interrupted;
};

/* Runs for a while, then waits in a call that SA_RESTART restarts. */
static void ping(void *arg)
{
	struct ping *p = arg;
	volatile unsigned int work = 0;
	char c = 'x';

	while (!hmmu_load_relaxed(&stop)) {
		for (int i = 0; i < 3000; i++)
			work++;
		p->interrupted += write(p->to, &c, 1) != 1;
		p->interrupted += read(p->from, &c, 1) != 1;
	}
	p->interrupted += write(p->to, &c, 1) != 1;
}

static void answered_by_signal(bool reset)
{
	struct mm_struct *mm = net_open(ALONE);
	char *p = raw_map(1);
	struct runner s[2], t[2];
	struct ping pings[2];
	int one[2], two[2];
	struct watch w;

	must(pipe(one) == 0 && pipe(two) == 0);
	pings[0] = (struct ping){.from = one[0], .to = two[1]};
	pings[1] = (struct ping){.from = two[0], .to = one[1]};
	for (int i = 0; i < 2; i++) {
		runner_start(&s[i], spin, NULL);
		runner_start(&t[i], ping, &pings[i]);
	}
	if (reset)
		for (int sig = SIGRTMIN; sig <= SIGRTMAX; sig++)
			signal(sig, SIG_DFL);
	watch_add(&w, mm, p, PAGE);
	for (int i = 0; i < 50; i++) {
		watch_begin(&w);
		*p = 'a';
		must(raw_madvise(p, PAGE, MADV_DONTNEED) == 0);
	}
	watch_begin(&w);
	must(watch_calls(&w) == 50);
	hmmu_store_relaxed(&stop, 1);
	for (int i = 0; i < 2; i++) {
		runner_join(&s[i]);
		runner_join(&t[i]);
		must(pings[i].interrupted == 0);
	}
	watch_remove(&w);
	net_close(mm);
}

ISOLATED(spinners)
{
	answered_by_signal(false);
}

/* A program that sets every handler back, as a daemon does. */
ISOLATED(handlers_reset)
{
	answered_by_signal(true);
}

static void *short_life(void *arg)
{
	return arg;
}

static void born_and_gone(void *arg)
{
	pthread_t t;

	(void)arg;
	while (!hmmu_load_relaxed(&stop)) {
		must(pthread_create(&t, NULL, short_life, NULL) == 0);
		pthread_join(t, NULL);
	}
}

ISOLATED(threads_come_and_go)
{
	struct mm_struct *mm = net_open(ALONE);
	struct runner churn[2];
	struct remover r;

	for (int i = 0; i < 2; i++)
		runner_start(&churn[i], born_and_gone, NULL);
	remover_init(&r, BY_MADVISE, MADV_DONTNEED,
		     raw_mmap(NULL, PAGES * PAGE, RW, ANON, -1, 0));
	gone_after_begin(&r, mm);
	hmmu_store_relaxed(&stop, 1);
	for (int i = 0; i < 2; i++)
		runner_join(&churn[i]);
	net_close(mm);
}

/* ---- a child of a process whose census is at work ---------------------- */

static void child_of_census(void)
{
	struct mm_struct *mm;
	char *p = raw_map(1);
	struct watch w;

	alarm(10);
	hmmu_uffd_gate = NULL;
	mm = net_open(ALONE);
	watch_add(&w, mm, p, PAGE);
	watch_begin(&w);
	must(raw_madvise(p, PAGE, MADV_DONTNEED) == 0);
	watch_begin(&w);
	must(*p == 0 && watch_calls(&w) == 1);
	watch_remove(&w);
	net_close(mm);
	_exit(0);
}

ISOLATED(forked_in_a_census)
{
	struct mm_struct *mm = net_open(ALONE);
	char *p = raw_map(1);
	struct watch w;
	int status = -1;
	pid_t pid;

	watch_add(&w, mm, p, PAGE);
	watch_begin(&w);
	net_hold(UFFD_GATE_CENSUS, NULL);
	must(raw_madvise(p, PAGE, MADV_DONTNEED) == 0);
	net_reached(UFFD_GATE_CENSUS);
	pid = fork();
	if (pid == 0)
		child_of_census();
	must(waitpid(pid, &status, 0) == pid && status == 0);
	net_release(UFFD_GATE_CENSUS);
	watch_begin(&w);
	watch_remove(&w);
	net_close(mm);
}

/* ---- what a bracket covers, and what it does not ----------------------- */

/* A hooked call's own events are known by its note: called once, no removal. */
ISOLATED(bracketed_once)
{
	struct mm_struct *mm = net_open(BOTH);
	char *p = raw_map(4);
	struct watch w;
	uint64_t done;

	watch_add(&w, mm, p, 4 * PAGE);
	watch_begin(&w);
	net_quiet();
	done = hmmu_load_seqcst(&hmmu_uffd->removals_done);
	for (uint32_t i = 1; i <= 100; i++) {
		must(madvise(p, 4 * PAGE, MADV_DONTNEED) == 0);
		watch_begin(&w);
		must(watch_calls(&w) == i);
	}
	net_quiet();
	must(hmmu_load_seqcst(&hmmu_uffd->removals_done) == done && watch_calls(&w) == 100);
	watch_remove(&w);
	net_close(mm);
}

/* R's event is older than T's note, and T's call tells of nothing (it fails): R's end is
 * looked for all the same. */
ISOLATED(older_than_the_note)
{
	struct mm_struct *mm = net_open(BOTH);
	char *p = raw_map(4);
	struct watch w;
	uint64_t done;

	watch_add(&w, mm, p, 4 * PAGE);
	watch_begin(&w);
	done = hmmu_load_seqcst(&hmmu_uffd->removals_done);
	net_hold(UFFD_GATE_DISPATCH, p);
	must(raw_madvise(p, PAGE, MADV_DONTNEED) == 0);
	net_reached(UFFD_GATE_DISPATCH);
	must(madvise(p, 4 * PAGE, MADV_REMOVE) != 0);
	net_release(UFFD_GATE_DISPATCH);
	net_quiet();
	must(hmmu_load_seqcst(&hmmu_uffd->removals_done) == done + 1);
	watch_remove(&w);
	net_close(mm);
}

/*
 * T's note goes over more than T's call tells of: R's page lies between two ranges of one
 * process_madvise(). The events come in the order T's first, R's, T's second.
 */
struct wide {
	struct iovec v[2];
	int pidfd;
};

static void wide_run(void *arg)
{
	struct wide *t = arg;

	must(process_madvise(t->pidfd, t->v, 2, MADV_DONTNEED, 0) == 2 * (ssize_t)PAGE);
}

ISOLATED(between_two_ranges)
{
	struct mm_struct *mm = net_open(BOTH);
	char *p = raw_map(16);
	struct wide t = {.v = {{p, PAGE}, {p + 8 * PAGE, PAGE}}};
	struct change r = {
		.what = DO_MADVISE, .p = p + 4 * PAGE, .len = PAGE, .advice = MADV_DONTNEED};
	struct runner a, b;
	struct watch w;
	uint64_t done;

	t.pidfd = (int)hmmu_syscall(SYS_pidfd_open, getpid(), 0);
	if (hmmu_syscall(SYS_process_madvise, t.pidfd, t.v, 1, MADV_DONTNEED, 0) != (long)PAGE)
		return;
	watch_add(&w, mm, p, 16 * PAGE);
	watch_begin(&w);
	done = hmmu_load_seqcst(&hmmu_uffd->removals_done);
	net_hold(UFFD_GATE_POLLED, NULL);
	runner_start(&a, wide_run, &t);
	net_reached(UFFD_GATE_POLLED);
	must(runner_blocked(&a));
	runner_start(&b, change_run, &r);
	must(runner_blocked(&b));
	net_release(UFFD_GATE_POLLED);
	runner_join(&a);
	runner_join(&b);
	net_quiet();
	must(hmmu_load_seqcst(&hmmu_uffd->removals_done) > done);
	watch_remove(&w);
	net_close(mm);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dontneed_alone),
		cmocka_unit_test(dontneed_both),
		cmocka_unit_test(dontneed_locked),
		cmocka_unit_test(free_pages),
		cmocka_unit_test(remove_shared),
		cmocka_unit_test(process_advice_alone),
		cmocka_unit_test(process_advice_both),
		cmocka_unit_test(uring_alone),
		cmocka_unit_test(uring_both),
		cmocka_unit_test(failed),
		cmocka_unit_test(caller_blocks_signals),
		cmocka_unit_test(spinners),
		cmocka_unit_test(handlers_reset),
		cmocka_unit_test(threads_come_and_go),
		cmocka_unit_test(forked_in_a_census),
		cmocka_unit_test(bracketed_once),
		cmocka_unit_test(older_than_the_note),
		cmocka_unit_test(between_two_ranges),
	};

	net_init(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
