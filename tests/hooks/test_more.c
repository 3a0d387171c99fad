// SPDX-License-Identifier: MIT
/*
 * test_more.c - files that change under their mappings, several ranges at once, and
 * addresses that are handed out.
 *
 * As test_calls.c: which ranges, with which event, the change within; answers and errno
 * those of the bare call. Each once by libc's entries and once by the symbols.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "arch/syscall.h"
#include "recorder.h"
#include "source/hooks/hooks.h"

#define PAGE 4096UL
#define U(p) ((unsigned long)(p))
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define KEEP FALLOC_FL_KEEP_SIZE

static struct {
	void *(*mmap)(void *, size_t, int, int, int, off_t);
	void *(*mremap)(void *, size_t, size_t, int, ...);
	void *(*shmat)(int, const void *, int);
	ssize_t (*process_madvise)(int, const struct iovec *, size_t, int, unsigned int);
	int (*pkey_mprotect)(void *, size_t, int, int);
	int (*remap_file_pages)(void *, size_t, int, size_t, int);
	int (*ftruncate)(int, off_t);
	int (*truncate)(const char *, off_t);
	int (*fallocate)(int, int, off_t, off_t);
} api;

static int fd;
static char *mem; /* four pages of it */
static char name[64];

/* The probe's answer at the first start and at the last end. */
static bool (*probe)(void);
static bool at_start, at_end;

static void look(const struct record *r)
{
	if (!probe)
		return;
	if (!r->end)
		at_start = at_start && probe();
	else
		at_end = probe();
}

static void expect(bool (*change)(void))
{
	rec_reset();
	at_start = true;
	at_end = false;
	probe = change;
	rec_watch(true);
}

static void expect_none(void)
{
	rec_watch(false);
	assert_int_equal(rec_count(), 0);
}

static void expect_one(enum mmu_notifier_event event, const void *start, unsigned long len)
{
	rec_watch(false);
	assert_int_equal(rec_count(), 2);
	assert_int_equal(rec_log[0].event, event);
	assert_int_equal(rec_log[0].start, U(start));
	assert_int_equal(rec_log[0].last, U(start) + len);
	assert_false(rec_log[0].end);
	assert_true(rec_log[1].end);
	assert_int_equal(rec_open(), 0);
	if (probe) {
		assert_false(at_start);
		assert_true(at_end);
	}
	probe = NULL;
}

static unsigned long file_size(void)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (unsigned long)st.st_size;
}

static bool shrunk(void)
{
	return file_size() < 4 * PAGE;
}

static bool grown(void)
{
	return file_size() > PAGE;
}

static bool punched(void)
{
	return mem[PAGE] == 0;
}

/* A file of four pages, full of 'x', mapped at mem. */
static void set_file(int flags)
{
	static char page[PAGE];

	memset(page, 'x', sizeof(page));
	for (int i = 0; i < 4; i++)
		assert_int_equal(pwrite(fd, page, PAGE, i * (off_t)PAGE), PAGE);
	mem = (char *)hmmu_syscall(SYS_mmap, NULL, 4 * PAGE, RW, flags, fd, 0);
	assert_false(hmmu_is_err((long)mem));
}

static void unset_file(void)
{
	hmmu_syscall(SYS_munmap, mem, 4 * PAGE);
	hmmu_syscall(SYS_ftruncate, fd, 0);
}

static char *map_part(unsigned long offset, size_t pages)
{
	char *p = (char *)hmmu_syscall(SYS_mmap, NULL, pages * PAGE, PROT_READ, MAP_SHARED, fd,
				       offset);

	assert_false(hmmu_is_err((long)p));
	return p;
}

static void t_ftruncate(void **state)
{
	set_file(MAP_SHARED);
	expect(shrunk);
	assert_int_equal(api.ftruncate(fd, 2 * PAGE), 0);
	expect_one(MMU_NOTIFY_CLEAR, mem + 2 * PAGE, 2 * PAGE);
	unset_file();

	/* The rest of the page that it ends in is zeroed. */
	set_file(MAP_PRIVATE);
	expect(shrunk);
	assert_int_equal(api.ftruncate(fd, PAGE + 1), 0);
	expect_one(MMU_NOTIFY_CLEAR, mem + PAGE, 3 * PAGE);
	unset_file();

	/* It grows: from its old end. */
	set_file(MAP_SHARED);
	hmmu_syscall(SYS_ftruncate, fd, PAGE - 1);
	expect(grown);
	assert_int_equal(api.ftruncate(fd, 3 * PAGE), 0);
	expect_one(MMU_NOTIFY_CLEAR, mem, 4 * PAGE);
	unset_file();
}

/* Bare where nothing can change. */
static void t_ftruncate_bare(void **state)
{
	expect(NULL);
	assert_int_equal(api.ftruncate(fd, 5 * PAGE), 0); /* not mapped */
	errno = 0;
	assert_int_equal(api.ftruncate(-1, 0), -1);
	assert_int_equal(errno, EBADF);
	errno = 0;
	assert_int_equal(api.ftruncate(9999, 0), -1);
	assert_int_equal(errno, EBADF);
	errno = 0;
	assert_int_equal(api.ftruncate(fd, -1), -1);
	assert_int_equal(errno, EINVAL);
	expect_none();
	set_file(MAP_SHARED);
	expect(NULL);
	rec_watch(false);
	assert_int_equal(api.ftruncate(fd, 0), 0); /* nobody watches */
	expect_none();
	unset_file();
}

/* Parts of it in several places: more than there are ranges for. */
static void t_ftruncate_many(void **state)
{
	char *part[6];

	set_file(MAP_SHARED);
	part[0] = map_part(0, 1); /* in front of what changes */
	for (int i = 1; i < 6; i++)
		part[i] = map_part(3 * PAGE, 1);
	expect(shrunk);
	assert_int_equal(api.ftruncate(fd, 3 * PAGE), 0);
	rec_watch(false);
	assert_true(rec_covers(MMU_NOTIFY_CLEAR, U(mem + 3 * PAGE), U(mem + 4 * PAGE)));
	for (int i = 1; i < 6; i++)
		assert_true(rec_covers(MMU_NOTIFY_CLEAR, U(part[i]), U(part[i]) + PAGE));
	assert_false(at_start);
	assert_true(at_end);
	assert_true(rec_starts() <= HMMU_CHANGE_RANGES);
	assert_int_equal(rec_open(), 0);
	for (int i = 0; i < 6; i++)
		hmmu_syscall(SYS_munmap, part[i], PAGE);
	unset_file();
}

/* Mapped by another thread (here: in a callback) after the list was read. */
static char *late;

static void map_late(const struct record *r)
{
	if (!r->end && !late)
		late = map_part(2 * PAGE, 1);
}

static void t_ftruncate_late(void **state)
{
	set_file(MAP_SHARED);
	expect(NULL);
	late = NULL;
	rec_callback = map_late;
	assert_int_equal(api.ftruncate(fd, PAGE), 0);
	rec_callback = look;
	rec_watch(false);
	assert_int_equal(rec_count(), 4);
	assert_true(rec_covers(MMU_NOTIFY_CLEAR, U(mem + PAGE), U(mem + 4 * PAGE)));
	assert_true(rec_covers(MMU_NOTIFY_CLEAR, U(late), U(late) + PAGE));
	hmmu_syscall(SYS_munmap, late, PAGE);
	unset_file();
}

static void t_truncate(void **state)
{
	set_file(MAP_SHARED);
	expect(shrunk);
	assert_int_equal(api.truncate(name, 3 * PAGE), 0);
	expect_one(MMU_NOTIFY_CLEAR, mem + 3 * PAGE, PAGE);
	unset_file();
	errno = 0;
	expect(NULL);
	assert_int_equal(api.truncate(name, -1), -1);
	assert_int_equal(errno, EINVAL);
	expect_none();
	/* What does not lead to a file is everything, and fails as it does. */
	expect(NULL);
	errno = 0;
	assert_int_equal(api.truncate("/no such/file", 0), -1);
	assert_int_equal(errno, ENOENT);
	expect_one(MMU_NOTIFY_CLEAR, NULL, HMMU_TOP);
	expect(NULL);
	errno = 0;
	assert_int_equal(api.truncate((const char *)1, 0), -1);
	assert_int_equal(errno, EFAULT);
	expect_one(MMU_NOTIFY_CLEAR, NULL, HMMU_TOP);
}

static void t_fallocate(void **state)
{
	set_file(MAP_SHARED);
	expect(punched);
	assert_int_equal(api.fallocate(fd, FALLOC_FL_PUNCH_HOLE | KEEP, PAGE, PAGE), 0);
	expect_one(MMU_NOTIFY_CLEAR, mem + PAGE, PAGE);
	expect(NULL);
	assert_int_equal(api.fallocate(fd, FALLOC_FL_PUNCH_HOLE | KEEP, PAGE + 1, 2), 0);
	expect_one(MMU_NOTIFY_CLEAR, mem + PAGE, PAGE);
	/* tmpfs refuses those two, after the bracket. */
	expect(NULL);
	api.fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, PAGE, PAGE);
	expect_one(MMU_NOTIFY_CLEAR, mem + PAGE, 3 * PAGE);
	expect(NULL);
	api.fallocate(fd, FALLOC_FL_ZERO_RANGE, 3 * PAGE, PAGE);
	expect_one(MMU_NOTIFY_CLEAR, mem + 3 * PAGE, PAGE);
	/* An unknown mode: all of it. */
	expect(NULL);
	assert_int_equal(api.fallocate(fd, 0x4000, 2 * PAGE, PAGE), -1);
	expect_one(MMU_NOTIFY_CLEAR, mem, 4 * PAGE);
	/* It grows. */
	hmmu_syscall(SYS_ftruncate, fd, PAGE);
	expect(grown);
	assert_int_equal(api.fallocate(fd, 0, 0, 3 * PAGE), 0);
	expect_one(MMU_NOTIFY_CLEAR, mem + PAGE, 2 * PAGE);
	/* The same bytes afterwards. */
	expect(NULL);
	assert_int_equal(api.fallocate(fd, 0, 0, 2 * PAGE), 0);
	assert_int_equal(api.fallocate(fd, KEEP, 0, 20 * PAGE), 0);
	errno = 0;
	assert_int_equal(api.fallocate(fd, KEEP, -1, 1), -1);
	assert_int_equal(errno, EINVAL);
	errno = 0;
	assert_int_equal(api.fallocate(-1, 0, 0, 1), -1);
	assert_int_equal(errno, EBADF);
	expect_none();
	unset_file();
}

static char *anon(size_t pages)
{
	char *p = (char *)hmmu_syscall(SYS_mmap, NULL, pages * PAGE, RW, ANON, -1, 0);

	assert_false(hmmu_is_err((long)p));
	memset(p, 'x', pages * PAGE);
	return p;
}

static bool dropped(void)
{
	return mem[0] == 0 && mem[3 * PAGE] == 0;
}

static void t_process_madvise(void **state)
{
	int self = (int)hmmu_syscall(SYS_pidfd_open, getpid(), 0);
	struct iovec iov[40];
	long raw;

	mem = anon(4);
	iov[0] = (struct iovec){mem + 3 * PAGE, PAGE};
	iov[1] = (struct iovec){mem, PAGE};
	raw = hmmu_syscall(SYS_process_madvise, self, iov, 2, MADV_DONTNEED, 0);
	memset(mem, 'x', 4 * PAGE);
	/* An older kernel refuses it on oneself; then it is bracketed all the same. */
	expect(raw == 2 * (long)PAGE ? dropped : NULL);
	errno = 0;
	assert_int_equal(api.process_madvise(self, iov, 2, MADV_DONTNEED, 0),
			 raw < 0 ? -1 : raw);
	assert_int_equal(errno, raw < 0 ? -raw : 0);
	expect_one(MMU_NOTIFY_CLEAR, mem, 4 * PAGE);
	/* More than are read at a time. */
	for (int i = 0; i < 40; i++)
		iov[i] = (struct iovec){mem + PAGE, PAGE};
	iov[39] = (struct iovec){mem + 2 * PAGE, 1};
	expect(NULL);
	api.process_madvise(-1, iov, 40, MADV_DONTNEED, 0);
	expect_one(MMU_NOTIFY_CLEAR, mem + PAGE, 2 * PAGE);
	/* An array that is none is the kernel's to refuse. */
	expect(NULL);
	assert_int_equal(api.process_madvise(self, (void *)8, 1, MADV_DONTNEED, 0), -1);
	expect_one(MMU_NOTIFY_CLEAR, NULL, HMMU_TOP);
	expect(NULL);
	api.process_madvise(self, iov, 1, MADV_COLD, 0);
	assert_int_equal(api.process_madvise(self, iov, 0, MADV_DONTNEED, 0) > 0, 0);
	errno = 0;
	assert_int_equal(api.process_madvise(self, iov, 9999, MADV_DONTNEED, 0), -1);
	expect_none();
	hmmu_syscall(SYS_munmap, mem, 4 * PAGE);
	close(self);
}

static void t_pkey_mprotect(void **state)
{
	mem = anon(2);
	expect(NULL);
	assert_int_equal(api.pkey_mprotect(mem, PAGE + 1, PROT_READ, -1), 0);
	expect_one(MMU_NOTIFY_PROTECTION_VMA, mem, 2 * PAGE);
	expect(NULL);
	errno = 0;
	assert_int_equal(api.pkey_mprotect(mem, PAGE, PROT_READ, 4711), -1);
	assert_int_equal(errno, EINVAL);
	expect_one(MMU_NOTIFY_PROTECTION_VMA, mem, PAGE);
	expect(NULL);
	assert_int_equal(api.pkey_mprotect(mem + 1, PAGE, PROT_READ, 0), -1);
	expect_none();
	hmmu_syscall(SYS_munmap, mem, 2 * PAGE);
}

static bool second_first(void)
{
	return mem[0] == 'b';
}

static void t_remap_file_pages(void **state)
{
	set_file(MAP_SHARED);
	memset(mem + PAGE, 'b', PAGE);
	expect(second_first);
	assert_int_equal(api.remap_file_pages(mem, PAGE, 0, 1, 0), 0);
	expect_one(MMU_NOTIFY_UNMAP, mem, PAGE);
	expect(NULL);
	errno = 0;
	assert_int_equal(api.remap_file_pages(mem, PAGE - 1, 0, 1, 0), -1);
	assert_int_equal(errno, EINVAL);
	expect_none();
	unset_file();
}

static void handed(const void *start, size_t len, unsigned int records)
{
	rec_watch(false);
	assert_int_equal(rec_handed_count(), 1);
	assert_int_equal(rec_handed.start, U(start));
	assert_int_equal(rec_handed.last, U(start) + len);
	/* After the end of the bracket. */
	assert_int_equal(rec_handed.records, records);
	assert_int_equal(rec_handed.open, 0);
}

static void t_handed_out(void **state)
{
	char *p, *q;
	int id = shmget(IPC_PRIVATE, PAGE + 1, IPC_CREAT | 0600);

	expect(NULL);
	p = api.mmap(NULL, 3 * PAGE + 1, RW, ANON, -1, 0);
	handed(p, 4 * PAGE, 0);
	expect(NULL);
	assert_ptr_equal(api.mmap(p, PAGE, RW, ANON | MAP_FIXED, -1, 0), p);
	handed(p, PAGE, 2);
	expect(NULL);
	q = api.mremap(p, PAGE, 5 * PAGE, MREMAP_MAYMOVE);
	handed(q, 5 * PAGE, 2);
	expect(NULL);
	assert_ptr_equal(api.mremap(q, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p),
			 p);
	handed(p, 4 * PAGE, 4);
	/* In place and not longer: nothing new. */
	expect(NULL);
	assert_ptr_equal(api.mremap(p, 4 * PAGE, PAGE, 0), p);
	assert_ptr_equal(api.mremap(p, PAGE, PAGE, 0), p);
	assert_ptr_equal(api.mmap(p, 0, RW, ANON, -1, 0), MAP_FAILED);
	assert_ptr_equal(api.mremap(p, PAGE, PAGE, 99), MAP_FAILED);
	rec_watch(false);
	assert_int_equal(rec_handed_count(), 0);
	hmmu_syscall(SYS_munmap, p, 4 * PAGE);
	hmmu_syscall(SYS_munmap, q, 5 * PAGE);
	if (id < 0)
		return;
	expect(NULL);
	p = api.shmat(id, NULL, 0);
	handed(p, U(p) % (2UL << 20) ? 2 * PAGE : 2UL << 20, 0);
	expect(NULL);
	assert_ptr_equal(api.shmat(-1, NULL, 0), (void *)-1);
	rec_watch(false);
	assert_int_equal(rec_handed_count(), 0);
	shmdt(p);
	shmctl(id, IPC_RMID, NULL);
	/* Nobody watches. */
	rec_reset();
	p = api.mmap(NULL, PAGE, RW, ANON, -1, 0);
	assert_int_equal(rec_handed_count(), 0);
	hmmu_syscall(SYS_munmap, p, PAGE);
}

static int by_symbol(void **state)
{
	api.mmap = mmap;
	api.mremap = mremap;
	api.shmat = shmat;
	api.process_madvise = process_madvise;
	api.pkey_mprotect = pkey_mprotect;
	api.remap_file_pages = remap_file_pages;
	api.ftruncate = ftruncate;
	api.truncate = truncate;
	api.fallocate = fallocate;
	return 0;
}

#define ENTRY(hook, call) (*(void **)&(api.call) = hmmu_hook_info[hook].entry)

static int by_entry(void **state)
{
	ENTRY(HMMU_HOOK_MMAP, mmap);
	ENTRY(HMMU_HOOK_MREMAP, mremap);
	ENTRY(HMMU_HOOK_SHMAT, shmat);
	ENTRY(HMMU_HOOK_PROCESS_MADVISE, process_madvise);
	ENTRY(HMMU_HOOK_PKEY_MPROTECT, pkey_mprotect);
	ENTRY(HMMU_HOOK_REMAP_FILE_PAGES, remap_file_pages);
	ENTRY(HMMU_HOOK_FTRUNCATE64, ftruncate);
	ENTRY(HMMU_HOOK_TRUNCATE64, truncate);
	ENTRY(HMMU_HOOK_FALLOCATE64, fallocate);
	return 0;
}

/* Each kind of file that the tests run on. */
static int open_memfd(void **state)
{
	fd = memfd_create("hooks", 0);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	return fd < 0;
}

static int open_file(void **state)
{
	snprintf(name, sizeof(name), "hooks-XXXXXX");
	fd = mkstemp(name);
	return fd < 0;
}

static int close_file(void **state)
{
	unlink(name);
	return close(fd);
}

#define ON(kind, test) cmocka_unit_test_setup_teardown(test, open_##kind, close_file)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		ON(memfd, t_ftruncate),
		ON(file, t_ftruncate),
		ON(memfd, t_ftruncate_bare),
		ON(memfd, t_ftruncate_many),
		ON(memfd, t_ftruncate_late),
		ON(memfd, t_truncate),
		ON(file, t_truncate),
		ON(memfd, t_fallocate),
		ON(memfd, t_remap_file_pages),
		cmocka_unit_test(t_process_madvise),
		cmocka_unit_test(t_pkey_mprotect),
		cmocka_unit_test(t_handed_out),
	};
	int failed;

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	if (hmmu_source_hooks.open())
		return 1;
	rec_callback = look;
	failed = cmocka_run_group_tests_name("libc's entries", tests, by_entry, NULL);
	return failed + cmocka_run_group_tests_name("symbols", tests, by_symbol, NULL);
}
