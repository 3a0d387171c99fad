// SPDX-License-Identifier: MIT
/*
 * test_traps.c - what a userfaultfd does to who is not careful: descriptors that a child
 * keeps or the program closes, mappings that are split, replaced, moved, too many.
 */
#include "net.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <malloc.h>
#include <sys/ioctl.h>

/* ---- a child that keeps the descriptor --------------------------------- */

/* It lives until the pipe's other end is closed. */
static pid_t keeper(bool raw, int *end)
{
	int p[2];
	char c;
	pid_t pid;

	must(pipe(p) == 0);
	pid = raw ? raw_fork() : fork();
	if (pid == 0) {
		hmmu_syscall(SYS_close, p[1]);
		hmmu_syscall(SYS_read, p[0], &c, 1);
		hmmu_syscall(SYS_exit_group, 0);
	}
	must(pid > 0);
	close(p[0]);
	*end = p[1];
	return pid;
}

static void end_keeper(pid_t pid, int end)
{
	close(end);
	must(waitpid(pid, NULL, 0) == pid);
}

/* The subscription goes, the mapping stays, then the source closes. */
static void closed_under_child(bool raw, unsigned int sources)
{
	struct mm_struct *mm = net_open(sources), *again;
	char *p = raw_map(4), *q = raw_map(4);
	struct watch w, v;
	pid_t pid;
	int end;

	watch_add(&w, mm, p, PAGE);
	watch_add(&v, mm, q, PAGE);
	watch_begin(&w);
	watch_begin(&v);
	pid = keeper(raw, &end);
	watch_remove(&v);
	/* It moves between the last look at what is registered and the close. */
	must(raw_mremap(q, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE, NULL) == q);
	watch_remove(&w);
	net_close(mm);
	must(raw_munmap(p, 4 * PAGE) == 0 && raw_munmap(q, 4 * PAGE) == 0);
	again = net_open(sources);
	net_close(again);
	end_keeper(pid, end);
}

ISOLATED(closed_under_raw_child)
{
	closed_under_child(true, ALONE);
}

ISOLATED(closed_under_forked_child)
{
	closed_under_child(false, ALONE);
}

ISOLATED(closed_under_child_both)
{
	closed_under_child(true, BOTH);
}

/* What moved away is registered where it went, and nobody subscribes there. */
ISOLATED(moved_then_closed_under_child)
{
	struct mm_struct *mm = net_open(ALONE);
	/* Shared, each a file of its own: nothing merges with its neighbour. */
	char *p = raw_mmap(NULL, 4 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char *room = raw_mmap(NULL, 4 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct watch w;
	pid_t pid;
	int end;

	watch_add(&w, mm, p, PAGE);
	watch_begin(&w);
	must(raw_mremap(p, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, room) == room);
	pid = keeper(true, &end);
	watch_remove(&w);
	net_close(mm);
	must(raw_munmap(room, 4 * PAGE) == 0);
	end_keeper(pid, end);
}

/* The subscription is still there when the last descriptor of the program goes: a lost
 * source that is closed later unregisters all the same. */
ISOLATED(lost_then_closed_under_child)
{
	struct mm_struct *mm = net_open(ALONE);
	char *p = raw_map(4);
	struct watch w;
	pid_t pid;
	int end;

	watch_add(&w, mm, p, PAGE);
	watch_begin(&w);
	pid = keeper(true, &end);
	close(hmmu_uffd->fd);
	watch_remove(&w);
	net_close(mm);
	must(raw_munmap(p, 4 * PAGE) == 0);
	end_keeper(pid, end);
}

/* ---- the program closes the descriptor --------------------------------- */

static void lost_and_told(unsigned int sources)
{
	struct mm_struct *mm = net_open(sources);
	char *p = raw_map(2), *q = raw_map(2), text[256];
	unsigned long seq;
	struct watch w, v;
	int fds[2];

	watch_add(&w, mm, p, PAGE);
	watch_add(&v, mm, q, PAGE);
	seq = watch_begin(&w);
	must(hmmu_syscall(SYS_close_range, 3, ~0U, 0) == 0);
	/* The same number, and bytes that a reader of it would eat. */
	must(pipe(fds) == 0 && dup2(fds[0], hmmu_uffd->fd) == hmmu_uffd->fd);
	memset(text, 'x', sizeof(text));
	must(write(fds[1], text, sizeof(text)) == (ssize_t)sizeof(text));
	/* What was registered is told still; or the loss is. Nobody hangs. */
	must(raw_munmap(p, 2 * PAGE) == 0);
	must(!watch_ok(&w, seq));
	must(hmmu_read_begin(&v.sub, &seq, NULL) == -ENODEV);
	while (!hmmu_load_seqcst(&w.lost) || !hmmu_load_seqcst(&v.lost))
		usleep(100);
	must(watch_poll(&w) == -ENODEV && watch_poll(&v) == -ENODEV);
	must(!watch_ok(&w, seq) && watch_retry(&w, seq));
	must(raw_munmap(q, 2 * PAGE) == 0);
	must(read(fds[0], text, sizeof(text)) == (ssize_t)sizeof(text));
	watch_remove(&w);
	watch_remove(&v);
	net_close(mm);
	must(fcntl(fds[0], F_GETFD) >= 0);
}

ISOLATED(lost_alone)
{
	lost_and_told(ALONE);
}

ISOLATED(lost_both)
{
	lost_and_told(BOTH);
}

ISOLATED_BOTH(lost_open_again)
{
	struct mm_struct *mm = net_open(sources);
	char *p = raw_map(1);
	unsigned long seq;
	struct watch w;

	watch_add(&w, mm, p, PAGE);
	must(hmmu_syscall(SYS_close_range, 3, ~0U, 0) == 0);
	must(watch_poll(&w) == -ENODEV);
	watch_remove(&w);
	net_close(mm);
	mm = net_open(sources);
	watch_add(&w, mm, p, PAGE);
	seq = watch_begin(&w);
	must(watch_ok(&w, seq) && w.lost == 0);
	must(raw_munmap(p, PAGE) == 0 && !watch_ok(&w, seq));
	net_quiet();
	must(watch_calls(&w) == 1);
	watch_remove(&w);
	net_close(mm);
}

/* ---- mappings are registered whole ------------------------------------- */

static void whole(unsigned int sources, bool libc)
{
	struct mm_struct *mm = net_open(sources);
	char *p = raw_map(8), *room = raw_map(8), *q;
	unsigned long seq, seq_to;
	struct watch w, to;

	for (int i = 0; i < 8; i++)
		p[i * PAGE] = (char)('0' + i);
	watch_add(&w, mm, p + 3 * PAGE, PAGE);
	watch_add(&to, mm, room + 3 * PAGE, PAGE);
	seq = watch_begin(&w);
	seq_to = watch_begin(&to);
	q = libc ? mremap(p, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, room)
		 : raw_mremap(p, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, room);
	must(q == room);
	must(!watch_ok(&w, seq) && !watch_ok(&to, seq_to));
	net_quiet();
	must(watch_calls(&w) >= 1 && watch_calls(&to) >= 1);
	for (int i = 0; i < 8; i++)
		must(room[i * PAGE] == '0' + i);
	seq_to = watch_begin(&to);
	must(watch_ok(&to, seq_to));
	must(raw_munmap(room, 8 * PAGE) == 0 && !watch_ok(&to, seq_to));
	net_quiet();
	watch_remove(&w);
	watch_remove(&to);
	net_close(mm);
}

ISOLATED(whole_raw_alone)
{
	whole(ALONE, false);
}

ISOLATED(whole_raw_both)
{
	whole(BOTH, false);
}

ISOLATED(whole_libc_both)
{
	whole(BOTH, true);
}

/* The old place stays mapped, and empty. */
ISOLATED(moved_but_kept)
{
	struct mm_struct *mm = net_open(ALONE);
	char *p = raw_map(2), *q;
	unsigned long seq;
	struct watch w;

	watch_add(&w, mm, p, PAGE);
	seq = watch_begin(&w);
	q = raw_mremap(p, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	must(!hmmu_is_err((long)q) && *q == 'a' && !watch_ok(&w, seq));
	seq = watch_begin(&w);
	must(*p == 0 && watch_ok(&w, seq) && watch_calls(&w) == 1);
	must(raw_munmap(p, 2 * PAGE) == 0 && !watch_ok(&w, seq));
	net_quiet();
	watch_remove(&w);
	net_close(mm);
}

/* A second view of a shared mapping: an old length of 0. */
ISOLATED(moved_nothing)
{
	struct mm_struct *mm = net_open(ALONE);
	char *p = raw_mmap(NULL, 2 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0), *q;
	unsigned long seq;
	struct watch w;

	watch_add(&w, mm, p, PAGE);
	seq = watch_begin(&w);
	q = raw_mremap(p, 0, 2 * PAGE, MREMAP_MAYMOVE, NULL);
	must(!hmmu_is_err((long)q));
	net_quiet();
	seq = watch_begin(&w);
	must(watch_ok(&w, seq));
	must(raw_munmap(q, 2 * PAGE) == 0 && raw_munmap(p, 2 * PAGE) == 0);
	must(!watch_ok(&w, seq));
	net_quiet();
	watch_remove(&w);
	net_close(mm);
}

/* ---- replaced mappings are armed again --------------------------------- */

ISOLATED_BOTH(armed_again)
{
	struct mm_struct *mm = net_open(sources);
	char *p = raw_map(3);
	unsigned long seq;
	struct watch w;

	watch_add(&w, mm, p + PAGE, PAGE);
	for (int round = 0; round < 10; round++) {
		seq = watch_begin(&w);
		must(watch_ok(&w, seq));
		if (round % 2)
			must(raw_munmap(p, 3 * PAGE) == 0);
		must(raw_mmap(p, 3 * PAGE, RW, ANON | MAP_FIXED, -1, 0) == p);
		must(!watch_ok(&w, seq));
		net_quiet();
		must(watch_calls(&w) == (uint32_t)round + 1);
	}
	watch_remove(&w);
	net_close(mm);
}

/* ---- mappings of somebody else ----------------------------------------- */

static int own_userfaultfd(unsigned long long features)
{
	struct uffdio_api api = {.api = UFFD_API, .features = features};
	int fd = (int)hmmu_syscall(SYS_userfaultfd,
				   O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	must(fd >= 0 && ioctl(fd, UFFDIO_API, &api) == 0);
	return fd;
}

static void own_register(int fd, const void *p, size_t len)
{
	struct uffdio_register reg = {
		.range = {.start = (unsigned long)p, .len = len},
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	must(ioctl(fd, UFFDIO_REGISTER, &reg) == 0);
}

ISOLATED_BOTH(foreign_userfaultfd)
{
	struct mm_struct *mm = net_open(sources);
	int fd = own_userfaultfd(UFFD_FEATURE_EVENT_UNMAP);
	char *p = raw_mmap(NULL, PAGE, RW, ANON, -1, 0), *q = raw_map(3);
	struct change c = {.what = DO_MUNMAP, .p = p, .len = PAGE};
	struct runner a;
	struct uffd_msg msg;
	unsigned long seq;
	struct watch w, v;

	own_register(fd, p, PAGE);
	watch_add(&w, mm, p, PAGE);
	watch_add(&v, mm, q, PAGE);
	must(watch_poll(&w) == -ENODEV);
	seq = watch_begin(&v);
	/* Its own events come to it. */
	runner_start(&a, change_run, &c);
	must(runner_blocked(&a));
	must(watch_ok(&v, seq));
	must(read(fd, &msg, sizeof(msg)) == (ssize_t)sizeof(msg));
	must(msg.event == UFFD_EVENT_UNMAP && msg.arg.remove.start == (unsigned long)p);
	runner_join(&a);
	must(watch_ok(&v, seq) && watch_calls(&v) == 0);
	must(raw_munmap(q, 3 * PAGE) == 0 && !watch_ok(&v, seq));
	net_quiet();
	watch_remove(&w);
	watch_remove(&v);
	net_close(mm);
	close(fd);
}

/* The number goes to another userfaultfd, which answers a probe as ours does. */
ISOLATED(number_of_another)
{
	struct mm_struct *mm = net_open(ALONE);
	char *p = raw_map(1);
	struct change c = {.what = DO_FIXED, .p = p, .len = PAGE};
	struct runner a;
	unsigned long seq;
	struct watch w;
	int fd = own_userfaultfd(0);

	watch_add(&w, mm, p, PAGE);
	seq = watch_begin(&w);
	net_hold(UFFD_GATE_POLLED, NULL);
	must(dup2(fd, hmmu_uffd->fd) == hmmu_uffd->fd);
	runner_start(&a, change_run, &c);
	net_reached(UFFD_GATE_POLLED);
	must(runner_blocked(&a));
	must(!watch_ok(&w, seq));
	net_release(UFFD_GATE_POLLED);
	runner_join(&a);
	watch_remove(&w);
	net_close(mm);
}

/* The same, and it would register as ours does: nobody is told of what it hears. */
ISOLATED(armed_by_another)
{
	struct mm_struct *mm = net_open(ALONE);
	char *p = raw_map(1);
	struct watch w;
	int fd = own_userfaultfd(HMMU_UFFD_WP_UNPOPULATED | HMMU_UFFD_WP_ASYNC);

	must(hmmu_syscall(SYS_fcntl, fd, 10 /* F_SETSIG */, 63) == 0); /* the mark, too */
	must(dup2(fd, hmmu_uffd->fd) == hmmu_uffd->fd);
	watch_add(&w, mm, p, PAGE);
	must(watch_poll(&w) == -ENODEV);
	watch_remove(&w);
	net_close(mm);
}

/* ---- too many ---------------------------------------------------------- */

ISOLATED_FOR(many_in_one, 60)
{
	enum { N = 100000 / NET_SLOW };
	struct mm_struct *mm = net_open(ALONE);
	char *p = raw_mmap(NULL, 2 * N * PAGE, RW, ANON, -1, 0);
	struct watch *w = (struct watch *)raw_mmap(NULL, N * sizeof(*w), RW, ANON, -1, 0);
	void *m;

	for (long i = 0; i < N; i++) {
		watch_add(&w[i], mm, p + 2 * i * PAGE, PAGE);
		must(watch_poll(&w[i]) == 0);
	}
	m = malloc(64 << 20);
	must(m != NULL);
	free(m);
	must(raw_madvise(p, 10 * PAGE, MADV_DONTNEED) == 0);
	net_quiet();
	must(watch_calls(&w[4]) == 1 && watch_calls(&w[5]) == 0);
	for (long i = 0; i < N; i++)
		watch_remove(&w[i]);
	net_close(mm);
}

static unsigned int max_map_count(void)
{
	unsigned int max = 65530;
	FILE *f = fopen("/proc/sys/vm/max_map_count", "r");

	must(f && fscanf(f, "%u", &max) == 1);
	fclose(f);
	return max;
}

/* One mapping in two readable only: none merges with the next. */
ISOLATED_FOR(many_mappings, 60)
{
	unsigned int max = max_map_count(), n = max - 400, unwatched = 0;
	struct mm_struct *mm = net_open(ALONE);
	char *p = raw_mmap(NULL, n * PAGE, RW, ANON, -1, 0);
	struct watch *w = (struct watch *)raw_mmap(NULL, n * sizeof(*w), RW, ANON, -1, 0);
	void *m;

	for (unsigned int i = 0; i < n; i += 2)
		must(hmmu_syscall(SYS_mprotect, p + i * PAGE, PAGE, PROT_READ) == 0);
	for (unsigned int i = 0; i < n; i += 8) {
		int ret;

		watch_add(&w[i], mm, p + i * PAGE, PAGE);
		ret = watch_poll(&w[i]);
		must(ret == 0 || ret == -ENODEV);
		unwatched += ret != 0;
	}
	must(unwatched > 0);
	m = malloc(64 << 20);
	must(m != NULL);
	free(m);
	for (unsigned int i = 0; i < n; i += 8)
		watch_remove(&w[i]);
	must(raw_munmap(p, n * PAGE) == 0);
	/* There is room again. */
	p = raw_map(1);
	watch_add(&w[0], mm, p, PAGE);
	for (int i = 0; watch_poll(&w[0]) == -ENODEV; i++)
		must(i < 1000);
	watch_remove(&w[0]);
	net_close(mm);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(closed_under_raw_child),
		cmocka_unit_test(closed_under_forked_child),
		cmocka_unit_test(closed_under_child_both),
		cmocka_unit_test(moved_then_closed_under_child),
		cmocka_unit_test(lost_then_closed_under_child),
		cmocka_unit_test(lost_alone),
		cmocka_unit_test(lost_both),
		cmocka_unit_test(lost_open_again_alone),
		cmocka_unit_test(lost_open_again_both),
		cmocka_unit_test(whole_raw_alone),
		cmocka_unit_test(whole_raw_both),
		cmocka_unit_test(whole_libc_both),
		cmocka_unit_test(moved_but_kept),
		cmocka_unit_test(moved_nothing),
		cmocka_unit_test(armed_again_alone),
		cmocka_unit_test(armed_again_both),
		cmocka_unit_test(foreign_userfaultfd_alone),
		cmocka_unit_test(foreign_userfaultfd_both),
		cmocka_unit_test(number_of_another),
		cmocka_unit_test(armed_by_another),
		cmocka_unit_test(many_in_one),
		cmocka_unit_test(many_mappings),
	};

	net_init(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
