// SPDX-License-Identifier: MIT
/*
 * test_numbers.c - other files under our number, and what a child finds.
 */
#include "net.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include "source/userfaultfd/abi.h"

/* What a probe would be, by hand. */
static int probe(int fd)
{
	struct uffdio_writeprotect nothing = {.range = {.start = 0, .len = 0}};

	return (int)hmmu_syscall(SYS_ioctl, fd, UFFDIO_WRITEPROTECT, &nothing);
}

/* The program closed our number and @fd has it now. */
static void taken_over(int fd)
{
	struct mm_struct *mm = net_open(ALONE);
	char *p = raw_map(1);
	unsigned long seq;
	struct watch w;

	watch_add(&w, mm, p, PAGE);
	seq = watch_begin(&w);
	must(watch_ok(&w, seq));
	must(dup2(fd, hmmu_uffd->fd) == hmmu_uffd->fd);
	must(!watch_ok(&w, seq) && watch_poll(&w) == -ENODEV);
	while (hmmu_load_seqcst(&w.lost) == 0)
		usleep(100);
	watch_remove(&w);
	net_close(mm);
	must(fcntl(hmmu_uffd->fd, F_GETFD) >= 0); /* left alone */
}

ISOLATED(epoll_answers_einval_too)
{
	int fd = epoll_create1(0);

	must(fd >= 0 && probe(fd) == -EINVAL);
	taken_over(fd);
}

ISOLATED(urandom_answers_einval_too)
{
	int fd = open("/dev/urandom", O_RDONLY);

	must(fd >= 0 && probe(fd) == -EINVAL);
	taken_over(fd);
}

/* Nobody reads in a fork: the parent does not wait, and the child's memory is not
 * registered with anybody. */
ISOLATED(no_event_fork)
{
	struct mm_struct *mm = net_open(ALONE);
	char *p = raw_map(1);
	unsigned long seq;
	int status = -1;
	uint64_t marked;
	struct watch w;
	pid_t pid;

	watch_add(&w, mm, p, PAGE);
	seq = watch_begin(&w);
	marked = net_marked();
	net_hold(UFFD_GATE_POLLED, NULL); /* the reader would not take it */
	pid = raw_fork();
	if (pid == 0) {
		struct uffdio_api api = {.api = UFFD_API, .features = HMMU_UFFD_WP_ASYNC};
		struct uffdio_register reg = {
			.range = {.start = (uint64_t)p, .len = PAGE},
			.mode = UFFDIO_REGISTER_MODE_WP,
		};
		long fd = hmmu_syscall(SYS_userfaultfd, UFFD_USER_MODE_ONLY);

		if (fd < 0 || hmmu_syscall(SYS_ioctl, fd, UFFDIO_API, &api))
			hmmu_syscall(SYS_exit_group, 2);
		hmmu_syscall(SYS_exit_group,
			     hmmu_syscall(SYS_ioctl, fd, UFFDIO_REGISTER, &reg) ? 3 : 0);
	}
	must(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
	must(watch_ok(&w, seq));
	must(net_marked() == marked); /* no event came */
	net_release(UFFD_GATE_POLLED);
	watch_remove(&w);
	net_close(mm);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(epoll_answers_einval_too),
		cmocka_unit_test(urandom_answers_einval_too),
		cmocka_unit_test(no_event_fork),
	};

	net_init(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
