// SPDX-License-Identifier: MIT
/*
 * test_life.c - opened, closed, forked; what is given back, and what is left alone.
 */
#include "net.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

/* ---- the reader's own table of descriptors ------------------------------ */

/* A pipe that was open when the reader came: its end comes when the program closes it. */
ISOLATED_BOTH(pipes_end)
{
	struct mm_struct *mm;
	int fds[2];
	char c;

	must(pipe(fds) == 0);
	mm = net_open(sources);
	close(fds[1]);
	must(read(fds[0], &c, 1) == 0);
	net_close(mm);
}

/* Closing in the reader's table gives up nobody's record locks. */
ISOLATED(record_locks_stay)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
	char name[] = "net.XXXXXX";
	int fd = mkstemp(name), status = -1;
	struct mm_struct *mm;
	pid_t pid;

	must(fd >= 0 && unlink(name) == 0 && fcntl(fd, F_SETLK, &lock) == 0);
	mm = net_open(ALONE);
	pid = fork();
	if (pid == 0)
		_exit(fcntl(fd, F_SETLK, &lock) == 0);
	must(waitpid(pid, &status, 0) == pid && status == 0);
	net_close(mm);
}

/* ---- what is given back ------------------------------------------------- */

ISOLATED_BOTH(given_back)
{
	struct mm_struct *mm = net_open(sources), *mm2 = net_open(sources);
	char *p = raw_mmap(NULL, 4 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct watch w, v, x;
	uint64_t marked;

	watch_add(&w, mm, p, PAGE);
	watch_add(&v, mm, p + 2 * PAGE, PAGE);
	watch_add(&x, mm2, p + 2 * PAGE, PAGE);
	watch_begin(&w);
	watch_begin(&v);
	watch_begin(&x);
	/* Somebody else watches another part of the mapping: it stays. */
	watch_remove(&w);
	watch_remove(&v);
	marked = net_marked();
	must(raw_madvise(p, PAGE, MADV_DONTNEED) == 0);
	must(net_marked() > marked);
	net_quiet();
	watch_remove(&x);
	marked = net_marked();
	must(raw_madvise(p, PAGE, MADV_DONTNEED) == 0 && raw_munmap(p, 4 * PAGE) == 0);
	must(net_marked() == marked);
	net_close(mm);
	net_close(mm2);
}

/* What moved takes its registration along, and gives it back if nobody watches there. */
ISOLATED(moved_gives_back)
{
	struct mm_struct *mm = net_open(ALONE);
	char *p = raw_mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char *to = raw_mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct watch w;
	uint64_t marked;

	watch_add(&w, mm, p, PAGE);
	watch_begin(&w);
	must(raw_mremap(p, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	net_quiet();
	marked = net_marked();
	must(raw_munmap(to, PAGE) == 0 && net_marked() == marked);
	watch_remove(&w);
	net_close(mm);
}

/* A hooked munmap of watched memory is not told of again. */
ISOLATED(hooked_is_not_told)
{
	struct mm_struct *mm = net_open(BOTH);
	char *p = raw_map(1);
	struct watch w;
	uint64_t marked;

	watch_add(&w, mm, p, PAGE);
	watch_begin(&w);
	marked = net_marked();
	must(munmap(p, PAGE) == 0);
	must(net_marked() == marked && watch_calls(&w) == 1);
	watch_remove(&w);
	net_close(mm);
}

/* Mappings that come and go leave no trace in what is kept of them; the middle of each is
 * watched. */
ISOLATED(extents_do_not_grow)
{
	struct mm_struct *mm = net_open(ALONE);
	struct watch w;

	for (int i = 0; i < 256; i++) {
		char *p = net_place(8 * i);

		must(raw_mmap(p, 3 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0) == p);
		watch_add(&w, mm, p + PAGE, PAGE);
		watch_begin(&w);
		must(raw_munmap(p, 3 * PAGE) == 0);
		net_quiet();
		watch_remove(&w);
	}
	must(hmmu_uffd->nextents < 16);
	net_close(mm);
}

/* The mapping stays, the subscription goes: nothing of it is kept. */
ISOLATED(extents_go_with_the_watch)
{
	struct mm_struct *mm = net_open(ALONE);
	struct watch w;

	for (int i = 0; i < 64; i++) {
		char *p = net_place(8 * i);

		must(raw_mmap(p, 3 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0) == p);
		watch_add(&w, mm, p + PAGE, PAGE);
		watch_begin(&w);
		watch_remove(&w);
	}
	must(hmmu_uffd->nextents < 16);
	for (int i = 0; i < 64; i++)
		must(raw_munmap(net_place(8 * i), 3 * PAGE) == 0);
	net_close(mm);
}

/* ---- open and close ----------------------------------------------------- */

static uint32_t stop;

static void churn(void *arg)
{
	struct mm_struct *mm = arg;

	(void)mm;
	while (!hmmu_load_relaxed(&stop)) {
		char *p = raw_map(2);

		must(raw_madvise(p, PAGE, MADV_DONTNEED) == 0);
		must(raw_munmap(p, 2 * PAGE) == 0);
	}
}

/* Changes memory that is watched on and off. */
static void change_all(void *arg)
{
	char *p = arg;

	while (!hmmu_load_relaxed(&stop)) {
		must(raw_madvise(p, PAGE, MADV_DONTNEED) == 0);
		must(raw_mmap(p, PAGE, RW, ANON | MAP_FIXED, -1, 0) == p);
	}
}

ISOLATED_FOR(open_close, 60)
{
	char *p = raw_mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned int threads, fds;
	struct runner a, b;
	struct watch w;

	net_close(net_open(ALONE));
	runner_start(&a, churn, NULL);
	runner_start(&b, change_all, p);
	threads = net_count("task");
	fds = net_count("fd");
	for (int i = 0; i < 200 / NET_SLOW; i++) {
		struct mm_struct *mm = net_open(i % 2 ? BOTH : ALONE);
		static const struct timespec soon = {0, 0};
		unsigned long seq;

		watch_add(&w, mm, p, PAGE);
		hmmu_read_begin(&w.sub, &seq, i % 3 ? &soon : NULL);
		watch_remove(&w);
		net_close(mm);
	}
	hmmu_store_relaxed(&stop, 1);
	runner_join(&a);
	runner_join(&b);
	/* A joined thread may be on its way out for the kernel still. */
	while (net_count("task") > threads - 2)
		usleep(100);
	must(net_count("fd") == fds);
}

/* Closed while an event is being dispatched, read, and a removal is open. */
static void close_run(void *arg)
{
	net_close(arg);
}

static void close_at(enum hmmu_uffd_gate gate, bool remove)
{
	struct mm_struct *mm = net_open(ALONE);
	char *p = raw_map(1);
	struct change c = {.what = remove ? DO_MADVISE : DO_FIXED,
			   .p = p,
			   .len = PAGE,
			   .advice = MADV_DONTNEED};
	struct runner a, closer;
	struct watch w;

	watch_add(&w, mm, p, PAGE);
	watch_begin(&w);
	net_hold(gate, NULL);
	runner_start(&a, change_run, &c);
	net_reached(gate);
	watch_remove(&w);
	runner_start(&closer, close_run, mm);
	must(runner_pending(&closer));
	net_release(gate);
	runner_join(&a);
	runner_join(&closer);
	/* Nothing of it is left for the next. */
	must((mm->epoch & EPOCH_LOW) == 0);
	mm = net_open(ALONE);
	watch_add(&w, mm, p, PAGE);
	must(watch_ok(&w, watch_begin(&w)));
	watch_remove(&w);
	net_close(mm);
}

ISOLATED(close_in_flight)
{
	static const enum hmmu_uffd_gate gates[] = {
		UFFD_GATE_MARKED,
		UFFD_GATE_READ,
		UFFD_GATE_DISPATCH,
		UFFD_GATE_STARTED,
	};

	for (size_t i = 0; i < sizeof(gates) / sizeof(*gates); i++) {
		close_at(gates[i], false);
		close_at(gates[i], true);
	}
	close_at(UFFD_GATE_CENSUS, true);
}

/* ---- a mapping of ours beside one of the program's --------------------- */

/* The page whose unmapping wakes the reader grows together with a neighbour. */
ISOLATED(beside_the_stop_page)
{
	struct mm_struct *mm = net_open(ALONE);
	char *below = (char *)hmmu_uffd->stop_page - PAGE;
	long got = hmmu_syscall(SYS_mmap, below, PAGE, PROT_NONE, ANON | MAP_FIXED_NOREPLACE,
				-1, 0);
	struct watch w;

	must(got == (long)below || got == -EEXIST);
	watch_add(&w, mm, below, PAGE);
	watch_begin(&w);
	watch_remove(&w);
	net_close(mm);
}

/* ---- fork --------------------------------------------------------------- */

static void child_watches(struct watch *parents, char *p)
{
	struct mm_struct *mm;
	unsigned long seq;
	struct watch w;

	alarm(10);
	must(watch_poll(parents) == -ENODEV);
	/* Nobody waits for a reader: it starts unwatched. */
	must(raw_madvise(p, PAGE, MADV_DONTNEED) == 0);
	mm = net_open(ALONE);
	watch_add(&w, mm, p + PAGE, PAGE);
	seq = watch_begin(&w);
	must(raw_madvise(p + PAGE, PAGE, MADV_DONTNEED) == 0 && !watch_ok(&w, seq));
	seq = watch_begin(&w);
	must(p[PAGE] == 0 && watch_ok(&w, seq));
	must(raw_munmap(p, 2 * PAGE) == 0 && !watch_ok(&w, seq));
	net_quiet();
	must(watch_calls(&w) == 2);
	watch_remove(&w);
	net_close(mm);
	_exit(0);
}

static void forked(bool raw)
{
	struct mm_struct *mm = net_open(ALONE);
	char *p = raw_map(2);
	unsigned long seq;
	struct watch w;
	int status = -1;
	uint64_t marked;
	pid_t pid;

	watch_add(&w, mm, p, PAGE);
	seq = watch_begin(&w);
	marked = net_marked();
	pid = raw ? raw_fork() : fork();
	if (pid == 0)
		child_watches(&w, p);
	must(waitpid(pid, &status, 0) == pid && status == 0);
	/* What the child registered, unregistered and changed was its own. */
	must(watch_ok(&w, seq) && *p == 'a' && net_marked() == marked);
	must(raw_munmap(p, 2 * PAGE) == 0 && !watch_ok(&w, seq));
	net_quiet();
	watch_remove(&w);
	net_close(mm);
}

ISOLATED(forked_by_libc)
{
	forked(false);
}

ISOLATED(forked_raw)
{
	forked(true);
}

/* The child's copy is closed, but not what the program put under that number. */
ISOLATED(forked_number_reused)
{
	struct mm_struct *mm = net_open(ALONE);
	int number = hmmu_uffd->fd, status = -1;
	pid_t pid;

	pid = fork();
	if (pid == 0)
		_exit(fcntl(number, F_GETFD) >= 0);
	must(waitpid(pid, &status, 0) == pid && status == 0);
	must(dup2(2, number) == number);
	pid = fork();
	if (pid == 0)
		_exit(fcntl(number, F_GETFD) < 0);
	must(waitpid(pid, &status, 0) == pid && status == 0);
	net_close(mm);
	must(fcntl(number, F_GETFD) >= 0);
}

/* A vfork child has our memory and a table of its own: what it closes is not lost to us. */
ISOLATED(vfork_child)
{
	struct mm_struct *mm = net_open(BOTH);
	char *p = raw_map(1), *q = raw_map(1);
	unsigned long seq;
	struct watch w;
	int status = -1;
	pid_t pid;

	watch_add(&w, mm, p, PAGE);
	seq = watch_begin(&w);
	pid = vfork();
	if (pid == 0) {
		hmmu_syscall(SYS_close_range, 3, ~0U, 0);
		hmmu_access_ok(&w.sub, seq);
		munmap(q, PAGE);
		raw_munmap(p, PAGE);
		_exit(0);
	}
	must(waitpid(pid, &status, 0) == pid && status == 0);
	must(!hmmu_load_seqcst(&hmmu_uffd->lost) && !watch_ok(&w, seq));
	net_quiet();
	raw_mmap(p, PAGE, RW, ANON | MAP_FIXED, -1, 0);
	must(watch_ok(&w, watch_begin(&w)));
	watch_remove(&w);
	net_close(mm);
}

/* It asks, in a table where the descriptor is gone: that is not its parent's loss. */
ISOLATED(vfork_child_probes)
{
	struct mm_struct *mm = net_open_flags(BOTH, HMMU_MM_PROBE_ACCESS);
	char *p = raw_map(1);
	volatile bool ok = true;
	unsigned long seq;
	struct watch w;
	int status = -1;
	pid_t pid;

	watch_add(&w, mm, p, PAGE);
	seq = watch_begin(&w);
	pid = vfork();
	if (pid == 0) {
		hmmu_syscall(SYS_close_range, 3, ~0U, 0);
		ok = hmmu_access_ok(&w.sub, seq);
		_exit(0);
	}
	must(waitpid(pid, &status, 0) == pid && status == 0 && !ok);
	must(!hmmu_load_seqcst(&hmmu_uffd->lost) && watch_ok(&w, seq));
	watch_remove(&w);
	net_close(mm);
}

/* ---- a signal handler ---------------------------------------------------- */

static struct watch *handlers_watch;
static int handlers_answer;

static void handler(int sig)
{
	(void)sig;
	handlers_answer = watch_poll(handlers_watch);
}

static void raise_at(enum hmmu_uffd_gate gate, uint64_t start, uint64_t end)
{
	(void)start;
	(void)end;
	if (gate == UFFD_GATE_FOUND && handlers_watch)
		raise(SIGUSR1);
}

ISOLATED(handler_while_arming)
{
	struct mm_struct *mm = net_open(ALONE);
	char *p = raw_map(1);
	unsigned long seq;
	struct watch w;

	signal(SIGUSR1, handler);
	watch_add(&w, mm, p, PAGE);
	handlers_watch = &w;
	hmmu_uffd_gate = raise_at;
	seq = watch_begin(&w);
	must(handlers_answer == -ETIMEDOUT && watch_ok(&w, seq));
	hmmu_uffd_gate = NULL;
	watch_remove(&w);
	net_close(mm);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pipes_end_alone),
		cmocka_unit_test(pipes_end_both),
		cmocka_unit_test(record_locks_stay),
		cmocka_unit_test(given_back_alone),
		cmocka_unit_test(given_back_both),
		cmocka_unit_test(moved_gives_back),
		cmocka_unit_test(hooked_is_not_told),
		cmocka_unit_test(extents_do_not_grow),
		cmocka_unit_test(extents_go_with_the_watch),
		cmocka_unit_test(open_close),
		cmocka_unit_test(close_in_flight),
		cmocka_unit_test(beside_the_stop_page),
		cmocka_unit_test(forked_by_libc),
		cmocka_unit_test(forked_raw),
		cmocka_unit_test(forked_number_reused),
		cmocka_unit_test(vfork_child),
		cmocka_unit_test(vfork_child_probes),
		cmocka_unit_test(handler_while_arming),
	};

	net_init(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
