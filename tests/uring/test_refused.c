// SPDX-License-Identifier: MIT
/* test_refused.c - what cannot be pinned is said to be so, and is never cached. */
#include "uring_test.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/statfs.h>
#include <sys/syscall.h>

#define TMPFS 0x01021994
#define NOBODY 64321 /* nobody else's: RLIMIT_MEMLOCK counts by user */

struct bench {
	struct mm_struct *mm;
	struct uring_mirror *m;
	struct uring_window *w;
	unsigned char *at;
};

static void set_up(struct bench *b, unsigned int pages)
{
	b->mm = test_mm();
	b->m = test_mirror(b->mm, NULL, 0, 0);
	b->at = test_pages(pages, 'a');
	assert_int_equal(uring_mirror_watch(b->m, (unsigned long)b->at, pages * PAGE, &b->w),
			 0);
}

static void tear_down(struct bench *b, unsigned int pages)
{
	uring_mirror_close(b->m);
	hmmu_mm_close(b->mm);
	munmap(b->at, pages * PAGE);
}

/* Refused with @error, nothing left behind; its neighbour still works. */
static void expect_refused(struct bench *b, int error)
{
	uint64_t before = test_stats(b->m).refused;

	assert_int_equal(test_read(b->m, b->w, b->at), error);
	assert_int_equal(test_write(b->m, b->w, b->at, 'Z'), error);
	assert_false(uring_mirror_cached(b->w, (unsigned long)b->at));
	assert_int_equal(test_stats(b->m).refused, before + 2);
	assert_int_equal(test_stats(b->m).pins, 0);
	assert_int_equal(test_stats(b->m).pinned, 0);
	assert_int_equal(test_read(b->m, b->w, b->at + PAGE), 'b');
}

static void unmapped(void **state)
{
	struct bench b;

	set_up(&b, 2);
	munmap(b.at, PAGE);
	expect_refused(&b, -EFAULT);
	/* Mapped again: nothing remembered the refusal. */
	assert_ptr_equal(mmap(b.at, PAGE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 b.at);
	b.at[0] = 'n';
	assert_int_equal(test_read(b.m, b.w, b.at), 'n');
	tear_down(&b, 2);
}

static void no_access(void **state)
{
	struct bench b;

	set_up(&b, 2);
	assert_int_equal(mprotect(b.at, PAGE, PROT_NONE), 0);
	expect_refused(&b, -EFAULT);
	assert_int_equal(mprotect(b.at, PAGE, PROT_READ | PROT_WRITE), 0);
	assert_int_equal(test_read(b.m, b.w, b.at), 'a');
	tear_down(&b, 2);
}

static void read_only(void **state)
{
	struct bench b;

	set_up(&b, 2);
	assert_int_equal(mprotect(b.at, PAGE, PROT_READ), 0);
	expect_refused(&b, -EFAULT);
	assert_int_equal(b.at[0], 'a'); /* the write did not happen */
	tear_down(&b, 2);
}

/* A shared mapping of a file that has to be written back some time. */
static void shared_disk_file(void **state)
{
	char name[] = "uring-test-XXXXXX";
	int fd = mkstemp(name);
	struct statfs fs;
	struct bench b;

	assert_true(fd >= 0);
	unlink(name);
	assert_int_equal(fstatfs(fd, &fs), 0);
	if (fs.f_type == TMPFS) {
		close(fd);
		skip(); /* tmpfs never writes back, and can be pinned */
	}
	set_up(&b, 2);
	assert_int_equal(ftruncate(fd, PAGE), 0);
	assert_ptr_equal(
		mmap(b.at, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0), b.at);
	b.at[0] = 's';
	expect_refused(&b, -EFAULT);
	assert_int_equal(b.at[0], 's');
	tear_down(&b, 2);
	close(fd);
}

/* And the kinds that can be. */
static void pinnable(void **state)
{
	char name[] = "uring-test-XXXXXX";
	int fd = mkstemp(name), mfd = memfd_create("uring-test", 0);
	struct bench b;

	unlink(name);
	assert_int_equal(ftruncate(fd, PAGE) + ftruncate(mfd, PAGE), 0);
	assert_int_equal(pwrite(fd, "f", 1, 0) + pwrite(mfd, "m", 1, 0), 2);
	set_up(&b, 4);
	mmap(b.at + PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED,
	     -1, 0);
	mmap(b.at + 2 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, mfd, 0);
	mmap(b.at + 3 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0);
	assert_int_equal(test_read(b.m, b.w, b.at), 'a');
	assert_int_equal(test_read(b.m, b.w, b.at + PAGE), 0);
	assert_int_equal(test_read(b.m, b.w, b.at + 2 * PAGE), 'm');
	assert_int_equal(test_read(b.m, b.w, b.at + 3 * PAGE), 'f');
	for (unsigned int i = 0; i < 4; i++) {
		assert_int_equal(test_write(b.m, b.w, b.at + i * PAGE + 9, 'W'), 1);
		assert_int_equal(b.at[i * PAGE + 9], 'W');
	}
	tear_down(&b, 4);
	close(fd);
	close(mfd);
}

/*
 * RLIMIT_MEMLOCK. Some of it may go into the ring itself, so the test asks how many
 * pages there is room for: the next one is refused, the others stay, one dropped makes
 * room for one. In a child, and as an unprivileged user: nobody else is asked.
 */
#define LOCKABLE (512ul << 10)
#define MANY (LOCKABLE / PAGE)

static int open_limited(struct mm_struct *mm, unsigned char *at, struct uring_mirror **m,
			struct uring_window **w)
{
	struct uring_mirror_options options = {
		.size = sizeof(options), .slots = MANY, .depth = 4};

	CHILD_CHECK(!uring_mirror_open(m, mm, &options));
	CHILD_CHECK(!uring_mirror_watch(*m, (unsigned long)at, MANY * PAGE, w));
	return 0;
}

/* How many pages can be pinned; all of them are then. */
static unsigned int pin_all(struct uring_mirror *m, struct uring_window *w, unsigned char *at)
{
	unsigned int n = 0;

	while (n < MANY && test_read(m, w, at + n * PAGE) == 'p')
		n++;
	return n;
}

static int memlock_child(void *arg)
{
	struct rlimit limit = {LOCKABLE, LOCKABLE};
	struct mm_struct *mm = test_mm();
	unsigned char *at = test_pages(MANY, 'p'), *next;
	struct uring_mirror_stats s;
	struct uring_mirror *m;
	struct uring_window *w;
	unsigned int room;

	for (unsigned long i = 0; i < MANY; i++)
		at[i * PAGE] = 'p';
	if (geteuid() == 0 && (setgid(NOBODY) || setuid(NOBODY)))
		return SKIP;
	CHILD_CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit));
	if (open_limited(mm, at, &m, &w))
		return 1;
	room = pin_all(m, w, at);
	CHILD_CHECK(room > 1 && room < MANY);
	next = at + room * PAGE;
	CHILD_CHECK(test_read(m, w, next) == -ENOMEM);
	CHILD_CHECK(!uring_mirror_cached(w, (unsigned long)next));
	CHILD_CHECK(test_read(m, w, at) == 'p');
	uring_mirror_stats(m, &s);
	CHILD_CHECK(s.refused == 2 && s.pins == room && s.pinned == room && s.hits == 1);
	uring_mirror_drop(w, (unsigned long)at, PAGE);
	while (s.pinned > room - 1 && !reap_wait(m, NULL))
		uring_mirror_stats(m, &s);
	CHILD_CHECK(test_read(m, w, next) == 'p');
	CHILD_CHECK(test_read(m, w, at) == -ENOMEM);
	uring_mirror_close(m);
	return 0;
}

static void memlock(void **state)
{
	int ret = test_in_child(memlock_child, NULL);

	if (ret == SKIP)
		skip(); /* cannot become somebody else */
	assert_int_equal(ret, 0);
}

/* A container's filter: io_uring_setup answers *arg. */
static int filtered_child(void *arg)
{
	unsigned int error = *(unsigned int *)arg;
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};
	struct mm_struct *mm = test_mm();
	struct uring_mirror *m = NULL;
	unsigned int fds;
	int ret;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		return SKIP;
	fds = test_open_fds();
	ret = uring_mirror_open(&m, mm, NULL);
	CHILD_CHECK(ret == -(int)error);
	CHILD_CHECK(!m);
	CHILD_CHECK(strstr(uring_mirror_why(ret), "io_uring"));
	CHILD_CHECK(strstr(uring_mirror_why(ret), "container"));
	CHILD_CHECK(test_open_fds() == fds);
	return 0;
}

static void no_io_uring(void **state)
{
	unsigned int errors[] = {ENOSYS, EPERM};

	for (int i = 0; i < 2; i++) {
		int ret = test_in_child(filtered_child, &errors[i]);

		if (ret == SKIP)
			skip(); /* no seccomp here */
		assert_int_equal(ret, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unmapped),    cmocka_unit_test(no_access),
		cmocka_unit_test(read_only),   cmocka_unit_test(shared_disk_file),
		cmocka_unit_test(pinnable),    cmocka_unit_test(memlock),
		cmocka_unit_test(no_io_uring),
	};

	if (uring_refused())
		return SKIP;
	return cmocka_run_group_tests_name("uring refusals", tests, NULL, NULL);
}
