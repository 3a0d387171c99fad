// SPDX-License-Identifier: MIT
/*
 * test_abi.c - what a program sees of the device, preloaded. Allocations are counted: none may
 * be made inside an ioctl.
 */
#include "device.h"

#include <stdbool.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* ---- no heap ------------------------------------------------------------------------- */

static unsigned long allocations;

void *__libc_malloc(size_t n);

void *malloc(size_t n)
{
	__atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
	return __libc_malloc(n);
}

static char buffer[64 * PAGE];

static void no_heap(void **state)
{
	int fd = device(0);
	char *p = pages(8, RW);
	unsigned long before;

	/* The first of each opens what it needs. */
	for (int i = 0; i < 2; i++) {
		before = allocations;
		ask(fd, HMM_DMIRROR_READ, p, 8, buffer, NULL);
		ask(fd, HMM_DMIRROR_WRITE, p, 8, buffer, NULL);
		ask(fd, HMM_DMIRROR_SNAPSHOT, p, 8, buffer, NULL);
		ask(fd, HMM_DMIRROR_MIGRATE_TO_DEV, p, 8, buffer, NULL);
		ask(fd, HMM_DMIRROR_MIGRATE_TO_SYS, p, 8, buffer, NULL);
		ask(fd, HMM_DMIRROR_EXCLUSIVE, p, 8, buffer, NULL);
		ask(fd, HMM_DMIRROR_CHECK_EXCLUSIVE, p, 8, buffer, NULL);
		ask(fd, HMM_DMIRROR_READ, p + 1, 8, buffer, NULL);
		ask(fd, HMM_DMIRROR_READ, NULL, 8, buffer, NULL);
	}
	assert_int_equal(allocations, before);
	close(fd);
	munmap(p, 8 * PAGE);
}

/* ---- descriptors ------------------------------------------------------------------------ */

static void names(void **state)
{
	static const char *const none[] = {"/dev/hmm_dmirror", "/dev/hmm_dmirror2",
					   "/dev/hmm_dmirror00", "dev/hmm_dmirror0",
					   "/dev/hmm_dmirror0/"};
	int fd = open("/dev/hmm_dmirror0", O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(close(fd), 0);
	fd = openat(-1, "/dev/hmm_dmirror1", O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), 0);
	assert_int_equal(close(fd), 0);
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		assert_int_equal(open(none[i], O_RDWR), -1);
}

static void foreign(void **state)
{
	int fd = device(0), null = open("/dev/null", O_RDWR), ends[2], n = 0;
	char *p = pages(1, RW);

	assert_int_equal(ask(null, HMM_DMIRROR_READ, p, 1, buffer, NULL), -ENOTTY);
	assert_int_equal(ask(-1, HMM_DMIRROR_READ, p, 1, buffer, NULL), -EBADF);
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(write(ends[1], "abc", 3), 3);
	assert_int_equal(ioctl(ends[0], FIONREAD, &n), 0);
	assert_int_equal(n, 3);
	/* What the kernel answers for every file. */
	assert_int_equal(ioctl(fd, FIOCLEX), 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(ends[0]);
	close(ends[1]);
	close(null);
	close(fd);
	munmap(p, PAGE);
}

static void closed(void **state)
{
	char *p = pages(1, RW);
	int fd = device(0), other;

	expect(fd, HMM_DMIRROR_READ, p, 1, buffer, 1);
	assert_int_equal(close(fd), 0);
	assert_int_equal(ask(fd, HMM_DMIRROR_READ, p, 1, buffer, NULL), -EBADF);
	assert_int_equal(close(fd), -1);
	/* The number is another file's; and it was closed behind the device's back. */
	for (int i = 0; i < 100; i++) {
		fd = device(i & 1);
		expect(fd, HMM_DMIRROR_READ, p, 1, buffer, 1);
		syscall(SYS_close, fd);
		other = open("/dev/null", O_RDWR);
		assert_int_equal(other, fd);
		assert_int_equal(ask(other, HMM_DMIRROR_READ, p, 1, buffer, NULL), -ENOTTY);
		close(other);
	}
	/* As many as there are, and one more. */
	int many[65], n = 0;

	while (n < 65 && (many[n] = open("/dev/hmm_dmirror0", O_RDWR)) >= 0)
		n++;
	assert_int_equal(n, 64);
	assert_int_equal(errno, EMFILE);
	while (n)
		close(many[--n]);
	munmap(p, PAGE);
}

static void duplicates(void **state)
{
	char *p = pages(1, RW);
	int fd = device(0), second = dup(fd), third = fcntl(fd, F_DUPFD, 100), fourth;

	expect(third, HMM_DMIRROR_READ, p, 1, buffer, 1);
	expect(second, HMM_DMIRROR_READ, p, 1, buffer, 0); /* the same page table */
	fourth = dup2(fd, 200);
	close(fd);
	close(second);
	expect(third, HMM_DMIRROR_READ, p, 1, buffer, 0);
	close(third);
	expect(fourth, HMM_DMIRROR_READ, p, 1, buffer, 0);
	close(fourth);
	assert_int_equal(ask(fourth, HMM_DMIRROR_READ, p, 1, buffer, NULL), -EBADF);
	munmap(p, PAGE);
}

static void mapped(void **state)
{
	int fd = device(0);
	char *p = mmap(NULL, 2 * PAGE, RW, MAP_PRIVATE, fd, 0);
	unsigned char bytes[2];

	assert_ptr_not_equal(p, MAP_FAILED);
	expect(fd, HMM_DMIRROR_SNAPSHOT, p, 2, bytes, 0);
	assert_int_equal(bytes[0], HMM_DMIRROR_PROT_READ);
	assert_int_equal(bytes[1], HMM_DMIRROR_PROT_READ);
	assert_int_equal(p[PAGE], 0);
	munmap(p, 2 * PAGE);
	close(fd);
}

/* ---- fork -----------------------------------------------------------------------------------
 */

static int child_of(int inherited, char *p)
{
	int fd;

	if (ask(inherited, HMM_DMIRROR_READ, p, 1, buffer, NULL) != -ENODEV)
		return 1;
	fd = open("/dev/hmm_dmirror0", O_RDWR);
	if (fd < 0)
		return 2;
	memset(buffer, 'c', PAGE);
	if (ask(fd, HMM_DMIRROR_WRITE, p, 1, buffer, NULL) || p[5] != 'c')
		return 3;
	return close(fd) || close(inherited) ? 4 : 0;
}

static void forked(void **state)
{
	char *p = pages(1, RW);
	int fd = device(0), status;
	pid_t pid;

	memset(p, 'p', PAGE);
	expect(fd, HMM_DMIRROR_READ, p, 1, buffer, 1);
	pid = fork();
	if (!pid)
		_exit(child_of(fd, p));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(p[5], 'p');
	/* A child that shares memory and closes its descriptor takes nothing away. */
	pid = vfork();
	if (!pid) {
		close(fd);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	expect(fd, HMM_DMIRROR_READ, p, 1, buffer, 1);
	assert_int_equal(buffer[5], 'p');
	close(fd);
	munmap(p, PAGE);
}

/* ---- arguments
 * --------------------------------------------------------------------------------- */

static void bad_arguments(void **state)
{
	static const unsigned long all[] = {HMM_DMIRROR_READ,
					    HMM_DMIRROR_WRITE,
					    HMM_DMIRROR_MIGRATE_TO_DEV,
					    HMM_DMIRROR_MIGRATE_TO_SYS,
					    HMM_DMIRROR_SNAPSHOT,
					    HMM_DMIRROR_EXCLUSIVE,
					    HMM_DMIRROR_CHECK_EXCLUSIVE,
					    HMM_DMIRROR_RELEASE};
	int fd = device(0);
	char *p = pages(4, RW);

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		assert_int_equal(ask(fd, all[i], p + 1, 1, buffer, NULL), -EINVAL);
		assert_int_equal(ask(fd, all[i], p, 0, buffer, NULL), -EINVAL);
		assert_int_equal(ask(fd, all[i], p, -1UL, buffer, NULL), -EINVAL);
		assert_int_equal(ask(fd, all[i], p, 1UL << 52, buffer, NULL), -EINVAL);
		assert_int_equal(ask(fd, all[i], (void *)-PAGE, 2, buffer, NULL), -EINVAL);
		assert_true(ask(fd, all[i], (void *)(-2 * PAGE), 1, buffer, NULL) < 0 ||
			    all[i] == HMM_DMIRROR_RELEASE);
		errno = 0;
		assert_int_equal(ioctl(fd, all[i], NULL), -1);
		assert_int_equal(errno, EFAULT);
	}
	assert_int_equal(ask(fd, _IOWR('H', 8, struct hmm_dmirror_cmd), p, 1, buffer, NULL),
			 -EINVAL);
	assert_int_equal(ask(fd, _IOWR('I', 0, struct hmm_dmirror_cmd), p, 1, buffer, NULL),
			 -EINVAL);
	close(fd);
	munmap(p, 4 * PAGE);
}

static void bad_memory(void **state)
{
	int fd = device(0);
	char *p = pages(4, RW), *none = pages(1, PROT_NONE), *ro = pages(1, PROT_READ);

	memset(p, 'm', 4 * PAGE);
	memset(buffer, 'b', sizeof(buffer));
	munmap(p + 2 * PAGE, PAGE);
	/* A hole: nothing is copied, not even what comes before. */
	assert_int_equal(ask(fd, HMM_DMIRROR_READ, p, 4, buffer, NULL), -EFAULT);
	assert_int_equal(buffer[0], 'b');
	assert_int_equal(ask(fd, HMM_DMIRROR_READ, none, 1, buffer, NULL), -EFAULT);
	assert_int_equal(ask(fd, HMM_DMIRROR_WRITE, ro, 1, buffer, NULL), -EPERM);
	assert_int_equal(ask(fd, HMM_DMIRROR_MIGRATE_TO_DEV, p, 4, buffer, NULL), -EINVAL);
	assert_int_equal(ask(fd, HMM_DMIRROR_MIGRATE_TO_DEV, none, 1, buffer, NULL), -EINVAL);
	assert_int_equal(ask(fd, HMM_DMIRROR_EXCLUSIVE, p, 4, buffer, NULL), -EINVAL);
	/* The caller's buffer. */
	assert_int_equal(ask(fd, HMM_DMIRROR_READ, p, 1, none, NULL), -EFAULT);
	assert_int_equal(ask(fd, HMM_DMIRROR_READ, p, 1, ro, NULL), -EFAULT);
	assert_int_equal(ask(fd, HMM_DMIRROR_READ, p, 1, NULL, NULL), -EFAULT);
	assert_int_equal(ask(fd, HMM_DMIRROR_READ, p, 2, p + PAGE, NULL), -EFAULT);
	assert_int_equal(ask(fd, HMM_DMIRROR_WRITE, p, 1, none, NULL), -EFAULT);
	assert_int_equal(ask(fd, HMM_DMIRROR_SNAPSHOT, p, 1, ro, NULL), -EFAULT);
	assert_int_equal(p[0], 'm');
	close(fd);
	munmap(p, 4 * PAGE);
	munmap(none, PAGE);
	munmap(ro, PAGE);
}

/* ---- access
 * -------------------------------------------------------------------------------------- */

static void reads_and_writes(void **state)
{
	int fd = device(0);
	char *p = pages(4, RW);

	for (int i = 0; i < 4; i++)
		memset(p + i * PAGE, 'a' + i, PAGE);
	expect(fd, HMM_DMIRROR_READ, p, 4, buffer, 1);
	assert_memory_equal(p, buffer, 4 * PAGE);
	expect(fd, HMM_DMIRROR_READ, p, 4, buffer, 0);
	/* A change takes the entry away, the others stay until they are asked for. */
	assert_int_equal(madvise(p + 2 * PAGE, PAGE, MADV_DONTNEED), 0);
	expect(fd, HMM_DMIRROR_READ, p, 4, buffer, 1);
	assert_int_equal(buffer[PAGE], 'b');
	assert_int_equal(buffer[2 * PAGE], 0);
	memset(buffer, 'w', 4 * PAGE);
	expect(fd, HMM_DMIRROR_WRITE, p, 4, buffer, 1); /* that one: zeros may not be written */
	assert_memory_equal(p, buffer, 4 * PAGE);
	assert_int_equal(mprotect(p, PAGE, PROT_READ), 0);
	assert_int_equal(ask(fd, HMM_DMIRROR_WRITE, p, 4, buffer, NULL), -EPERM);
	close(fd);
	munmap(p, 4 * PAGE);
}

/* More ranges than there are windows: the oldest go, none is lost. */
static void many_ranges(void **state)
{
	int fd = device(0);
	char *p = pages(200, RW);

	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 200; i++) {
			memset(p + i * PAGE, i + round, PAGE);
			expect(fd, HMM_DMIRROR_READ, p + i * PAGE, 1, buffer, 1);
			assert_int_equal((unsigned char)buffer[9], (unsigned char)(i + round));
		}
	}
	close(fd);
	munmap(p, 200 * PAGE);
}

static void snapshot(void **state)
{
	static const unsigned char expected[5] = {
		HMM_DMIRROR_PROT_ERROR, HMM_DMIRROR_PROT_WRITE, HMM_DMIRROR_PROT_NONE,
		HMM_DMIRROR_PROT_READ, HMM_DMIRROR_PROT_READ | HMM_DMIRROR_PROT_ZERO};
	int fd = device(0);
	char *p = pages(5, RW);
	unsigned char bytes[5];

	p[PAGE] = p[3 * PAGE] = 1;
	assert_int_equal(*(volatile char *)(p + 4 * PAGE), 0);
	munmap(p, PAGE);
	mprotect(p + 3 * PAGE, PAGE, PROT_READ);
	expect(fd, HMM_DMIRROR_SNAPSHOT, p, 5, bytes, 0);
	assert_memory_equal(bytes, expected, 5);
	close(fd);
	munmap(p, 5 * PAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_heap),     cmocka_unit_test(names),
		cmocka_unit_test(foreign),     cmocka_unit_test(closed),
		cmocka_unit_test(duplicates),  cmocka_unit_test(mapped),
		cmocka_unit_test(forked),      cmocka_unit_test(bad_arguments),
		cmocka_unit_test(bad_memory),  cmocka_unit_test(reads_and_writes),
		cmocka_unit_test(many_ranges), cmocka_unit_test(snapshot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
