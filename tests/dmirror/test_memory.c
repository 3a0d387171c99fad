// SPDX-License-Identifier: MIT
/* test_memory.c - pages on devices, preloaded: they go, come back, and two want the same. */
#include "device.h"

#include <sys/syscall.h>

static char buffer[64 * PAGE];

#define LOCAL (HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL | HMM_DMIRROR_PROT_WRITE)

static unsigned char seen(int fd, const void *addr)
{
	unsigned char byte;

	expect(fd, HMM_DMIRROR_SNAPSHOT, addr, 1, &byte, 0);
	return byte;
}

static void fill(char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		memset(p + i * PAGE, (int)('a' + i), PAGE);
}

static void expect_filled(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(p[i * PAGE], 'a' + i);
		assert_int_equal(p[i * PAGE + PAGE - 1], 'a' + i);
	}
}

static void there_and_back(void **state)
{
	int fd = device(0), other = device(1);
	char *p = pages(4, RW);

	need_migration(fd);
	fill(p, 4);
	expect(fd, HMM_DMIRROR_MIGRATE_TO_DEV, p, 4, buffer, 0);
	expect_filled(buffer, 4);
	assert_int_equal(seen(fd, p), LOCAL);
	assert_int_equal(seen(other, p), HMM_DMIRROR_PROT_NONE);
	/* The device reads and writes its own memory; no fault. */
	memset(buffer, 'w', PAGE);
	expect(fd, HMM_DMIRROR_WRITE, p, 1, buffer, 0);
	expect(fd, HMM_DMIRROR_READ, p, 4, buffer, 0);
	assert_int_equal(buffer[7], 'w');
	/* A CPU touches. */
	assert_int_equal(p[7], 'w');
	assert_int_equal(seen(fd, p), HMM_DMIRROR_PROT_WRITE);
	memset(p, 'a', PAGE);
	expect(fd, HMM_DMIRROR_READ, p, 4, buffer, 1);
	expect_filled(buffer, 4);
	/* Again, with one at home; and home by the device's wish. */
	expect(fd, HMM_DMIRROR_MIGRATE_TO_DEV, p, 4, buffer, 0);
	expect(fd, HMM_DMIRROR_MIGRATE_TO_SYS, p, 4, buffer, 0);
	assert_int_equal(seen(fd, p + PAGE), HMM_DMIRROR_PROT_WRITE);
	expect_filled(p, 4);
	expect(fd, HMM_DMIRROR_READ, p, 4, buffer, 1);
	close(other);
	close(fd);
	munmap(p, 4 * PAGE);
}

static void released(void **state)
{
	int fd = device(0);
	char *p = pages(4, RW);
	struct hmm_dmirror_cmd cmd;

	need_migration(fd);
	fill(p, 4);
	expect(fd, HMM_DMIRROR_MIGRATE_TO_DEV, p, 4, buffer, 0);
	assert_int_equal(ask(fd, HMM_DMIRROR_RELEASE, p, 4, buffer, &cmd), 0);
	assert_int_equal(seen(fd, p), HMM_DMIRROR_PROT_WRITE);
	expect_filled(p, 4);
	/* The device has memory again when it needs some; closed, it keeps nothing. */
	expect(fd, HMM_DMIRROR_MIGRATE_TO_DEV, p, 4, buffer, 0);
	assert_int_equal(close(fd), 0);
	expect_filled(p, 4);
	munmap(p, 4 * PAGE);
}

/* Who has the page keeps it; the other may read it, then it comes home. */
static void two_devices_one_page(void **state)
{
	int one = device(0), two = device(1), again = device(0);
	char *p = pages(2, RW);

	need_migration(one);
	fill(p, 2);
	expect(two, HMM_DMIRROR_MIGRATE_TO_DEV, p, 1, buffer, 0);
	assert_int_equal(ask(one, HMM_DMIRROR_MIGRATE_TO_DEV, p, 2, buffer, NULL), -ENOENT);
	assert_int_equal(seen(two, p), LOCAL);
	assert_int_equal(seen(one, p + PAGE), LOCAL);
	expect(one, HMM_DMIRROR_READ, p, 2, buffer, 1);
	expect_filled(buffer, 2);
	assert_int_equal(seen(two, p), HMM_DMIRROR_PROT_NONE + HMM_DMIRROR_PROT_WRITE);
	assert_int_equal(seen(one, p + PAGE), LOCAL);
	/* Two files of one device. */
	assert_int_equal(seen(again, p + PAGE), LOCAL);
	expect(again, HMM_DMIRROR_READ, p + PAGE, 1, buffer, 1);
	assert_int_equal(buffer[0], 'b');
	expect(one, HMM_DMIRROR_MIGRATE_TO_SYS, p + PAGE, 1, buffer, 0);
	p[PAGE] = 'z';
	expect(again, HMM_DMIRROR_READ, p + PAGE, 1, buffer, 1);
	assert_int_equal(buffer[0], 'z');
	close(again);
	close(two);
	close(one);
	munmap(p, 2 * PAGE);
}

static void exclusive(void **state)
{
	int fd = device(0);
	char *p = pages(4, RW), *ro = pages(1, PROT_READ);

	need_migration(fd);
	fill(p, 4);
	expect(fd, HMM_DMIRROR_EXCLUSIVE, p, 4, buffer, 0);
	expect_filled(buffer, 4);
	assert_int_equal(ask(fd, HMM_DMIRROR_CHECK_EXCLUSIVE, p, 4, NULL, NULL), -EPERM);
	/* A read ends it. */
	for (int i = 0; i < 3; i++)
		assert_int_equal(p[i * PAGE], 'a' + i);
	assert_int_equal(ask(fd, HMM_DMIRROR_CHECK_EXCLUSIVE, p, 3, NULL, NULL), 0);
	assert_int_equal(ask(fd, HMM_DMIRROR_CHECK_EXCLUSIVE, p, 4, NULL, NULL), -EPERM);
	/* The device's own access does not. */
	expect(fd, HMM_DMIRROR_READ, p + 3 * PAGE, 1, buffer, 0);
	assert_int_equal(ask(fd, HMM_DMIRROR_CHECK_EXCLUSIVE, p, 4, NULL, NULL), -EPERM);
	/* Nor does a migration that finds it there. */
	expect(fd, HMM_DMIRROR_MIGRATE_TO_DEV, p, 4, buffer, 0);
	assert_int_equal(ask(fd, HMM_DMIRROR_CHECK_EXCLUSIVE, p, 3, NULL, NULL), 0);
	assert_int_equal(ask(fd, HMM_DMIRROR_CHECK_EXCLUSIVE, p, 4, NULL, NULL), -EPERM);
	assert_int_equal(ask(fd, HMM_DMIRROR_EXCLUSIVE, ro, 1, buffer, NULL), -EINVAL);
	expect_filled(p, 4);
	close(fd);
	munmap(p, 4 * PAGE);
	munmap(ro, PAGE);
}

/* The caller's buffer is on the device, even of the page that is copied to it. */
static void buffer_on_the_device(void **state)
{
	int fd = device(0);
	char *p = pages(2, RW), *to = pages(2, RW);

	need_migration(fd);
	fill(p, 2);
	memset(to, 'x', 2 * PAGE);
	expect(fd, HMM_DMIRROR_MIGRATE_TO_DEV, to, 2, buffer, 0);
	expect(fd, HMM_DMIRROR_MIGRATE_TO_DEV, p, 2, to, 0);
	expect_filled(to, 2);
	expect(fd, HMM_DMIRROR_MIGRATE_TO_DEV, to, 2, buffer, 0);
	expect(fd, HMM_DMIRROR_READ, p, 2, to, 0);
	expect_filled(to, 2);
	expect(fd, HMM_DMIRROR_MIGRATE_TO_DEV, to, 2, to, 0);
	expect_filled(to, 2);
	close(fd);
	munmap(p, 2 * PAGE);
	munmap(to, 2 * PAGE);
}

/* Not migrated, as Linux has it: shared memory. In place: the process's own pages of a file. */
static void what_stays(void **state)
{
	char path[] = "/tmp/dmirror-XXXXXX";
	int fd = device(0), file = mkstemp(path);
	char *shared = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0), *own;

	need_migration(fd);
	unlink(path);
	assert_int_equal(ftruncate(file, 2 * PAGE), 0);
	own = mmap(NULL, 2 * PAGE, RW, MAP_PRIVATE, file, 0);
	*shared = 's';
	assert_int_equal(ask(fd, HMM_DMIRROR_MIGRATE_TO_DEV, shared, 1, buffer, NULL), -ENOENT);
	*own = 'o';
	expect(fd, HMM_DMIRROR_MIGRATE_TO_DEV, own, 1, buffer, 0);
	assert_int_equal(*buffer, 'o');
	assert_int_equal(seen(fd, own), HMM_DMIRROR_PROT_WRITE);
	assert_int_equal(ask(fd, HMM_DMIRROR_MIGRATE_TO_DEV, own, 2, buffer, NULL), -ENOENT);
	close(fd);
	close(file);
	munmap(shared, PAGE);
	munmap(own, 2 * PAGE);
}

/* The program's holes are its own: nothing of ours is unmapped with what lies around them. */
static void holes(void **state)
{
	int fd = device(0);

	need_migration(fd);
	/* The holes that there are already would be taken first. */
	for (int i = 0; i < 500; i++)
		pages(1, PROT_NONE);
	for (int i = 0; i < 50; i++) {
		char *p = pages(9, RW);

		for (int k = 1; k < 9; k += 2)
			munmap(p + k * PAGE, PAGE);
		for (int k = 0; k < 9; k += 2)
			expect(fd, HMM_DMIRROR_MIGRATE_TO_DEV, p + k * PAGE, 1, buffer, 0);
		for (int k = 1; k < 9; k += 2)
			assert_int_equal(seen(fd, p + k * PAGE), HMM_DMIRROR_PROT_ERROR);
		munmap(p, 9 * PAGE);
	}
	close(fd);
}

/* A raw mremap() takes pages along; what the device knew of the old address is void. */
static void raw_moves(void **state)
{
	int fd = device(0);
	char *p = pages(2, RW), *to = pages(2, RW);

	need_migration(fd);
	fill(p, 2);
	expect(fd, HMM_DMIRROR_MIGRATE_TO_DEV, p, 2, buffer, 0);
	assert_int_equal(
		syscall(SYS_mremap, p, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to),
		(long)to);
	assert_int_equal(ask(fd, HMM_DMIRROR_READ, p, 2, buffer, NULL), -EFAULT);
	expect(fd, HMM_DMIRROR_READ, to, 2, buffer, 1);
	expect_filled(buffer, 2);
	expect_filled(to, 2);
	close(fd);
	munmap(to, 2 * PAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(released),
		cmocka_unit_test(two_devices_one_page),
		cmocka_unit_test(exclusive),
		cmocka_unit_test(buffer_on_the_device),
		cmocka_unit_test(what_stays),
		cmocka_unit_test(holes),
		cmocka_unit_test(raw_moves),
	};

	int ret = cmocka_run_group_tests(tests, NULL, NULL);

	return ret || !migration_missing ? ret : 77;
}
