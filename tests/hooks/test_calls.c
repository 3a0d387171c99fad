// SPDX-License-Identifier: MIT
/*
 * test_calls.c - for each call: which ranges, with which event, start before and end
 * after the change; its answer and errno those of the bare call.
 *
 * Before and after are read from the memory itself, in the recorder's callback:
 * mincore() and /proc/self/maps see what the kernel has done by then.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

#include "arch/syscall.h"
#include "recorder.h"
#include "source/hooks/hooks.h"
#include "source/hooks/maps.h"

#define PAGE 4096UL
#define TOP HMMU_TOP
#define U(p) ((unsigned long)(p))
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

/* The calls, by libc's entries or by the program's symbols. */
static struct {
	int (*munmap)(void *, size_t);
	void *(*mmap)(void *, size_t, int, int, int, off_t);
	void *(*mmap64)(void *, size_t, int, int, int, off_t);
	void *(*mremap)(void *, size_t, size_t, int, ...);
	int (*madvise)(void *, size_t, int);
	int (*mprotect)(void *, size_t, int);
	int (*brk)(void *);
	void *(*sbrk)(intptr_t);
	int (*shmdt)(const void *);
	void *(*shmat)(int, const void *, int);
} api;

/* What probe() saw at the first start and at the last end. */
static bool (*probe)(void);
static bool at_start, at_end;
static unsigned int fired;
static char *mem; /* what the probes look at */

static void look(const struct record *r)
{
	if (!probe)
		return;
	if (!r->end && !fired++)
		at_start = probe();
	if (r->end)
		at_end = probe();
}

static void expect(bool (*change)(void))
{
	rec_reset();
	fired = 0;
	at_start = true;
	at_end = false;
	probe = change;
	rec_watch(true);
}

/* Nothing was told. */
static void expect_none(void)
{
	rec_watch(false);
	assert_int_equal(rec_count(), 0);
}

static void check(unsigned int i, bool end, enum mmu_notifier_event event, unsigned long start,
		  unsigned long last)
{
	assert_int_equal(rec_log[i].end, end);
	assert_int_equal(rec_log[i].event, event);
	assert_int_equal(rec_log[i].start, start);
	assert_int_equal(rec_log[i].last, last);
}

/* One bracket of exactly this, the change within it. */
static void expect_one(enum mmu_notifier_event event, const void *start, unsigned long len)
{
	rec_watch(false);
	assert_int_equal(rec_count(), 2);
	check(0, false, event, U(start), U(start) + len);
	check(1, true, event, U(start), U(start) + len);
	assert_int_equal(rec_open(), 0);
	if (probe) {
		assert_false(at_start);
		assert_true(at_end);
	}
	probe = NULL;
}

static char *map(size_t pages)
{
	char *p = (char *)hmmu_syscall(SYS_mmap, NULL, pages * PAGE, RW, ANON, -1, 0);

	assert_false(hmmu_is_err((long)p));
	memset(p, 'x', pages * PAGE);
	return p;
}

static void unmap(void *p, size_t pages)
{
	hmmu_syscall(SYS_munmap, p, pages * PAGE);
}

static bool gone(void)
{
	unsigned char vec;

	return hmmu_syscall(SYS_mincore, mem, PAGE, &vec) == -ENOMEM;
}

static bool zero(void)
{
	return *(volatile char *)mem == 0;
}

static void t_munmap(void **state)
{
	mem = map(3);
	expect(gone);
	assert_int_equal(api.munmap(mem, 2 * PAGE + 1), 0);
	expect_one(MMU_NOTIFY_UNMAP, mem, 3 * PAGE);

	expect(NULL);
	errno = 0;
	assert_int_equal(api.munmap(mem + 1, PAGE), -1);
	assert_int_equal(errno, EINVAL);
	errno = 0;
	assert_int_equal(api.munmap(mem, 0), -1);
	assert_int_equal(errno, EINVAL);
	errno = 0;
	assert_int_equal(api.munmap(mem, -1UL), -1);
	assert_int_equal(errno, EINVAL);
	errno = 0;
	assert_int_equal(api.munmap((void *)-PAGE, 2 * PAGE), -1);
	assert_int_equal(errno, EINVAL);
	expect_none();
}

/* errno is libc's: left alone by success. */
static void t_errno_kept(void **state)
{
	mem = map(1);
	expect(gone);
	errno = 4711;
	assert_int_equal(api.munmap(mem, PAGE), 0);
	assert_int_equal(errno, 4711);
	expect_one(MMU_NOTIFY_UNMAP, mem, PAGE);
}

static void t_unwatched(void **state)
{
	mem = map(1);
	expect(NULL);
	rec_watch(false);
	assert_int_equal(api.madvise(mem, PAGE, MADV_DONTNEED), 0);
	assert_int_equal(*mem, 0);
	assert_int_equal(api.munmap(mem, PAGE), 0);
	assert_true(gone());
	expect_none();
}

static void t_mmap(void **state)
{
	char *p;

	mem = map(4);
	expect(zero);
	p = api.mmap(mem, 2 * PAGE - 1, RW, ANON | MAP_FIXED, -1, 0);
	assert_ptr_equal(p, mem);
	expect_one(MMU_NOTIFY_UNMAP, mem, 2 * PAGE);
	memset(mem, 'x', PAGE);
	expect(zero);
	assert_ptr_equal(api.mmap64(mem, PAGE, RW, ANON | MAP_FIXED, -1, 0), mem);
	expect_one(MMU_NOTIFY_UNMAP, mem, PAGE);

	expect(NULL);
	errno = 0;
	assert_ptr_equal(api.mmap(mem, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0),
			 MAP_FAILED);
	assert_int_equal(errno, EEXIST);
	assert_ptr_equal(api.mmap(mem, PAGE, RW, ANON | MAP_FIXED | MAP_FIXED_NOREPLACE, -1, 0),
			 MAP_FAILED);
	p = api.mmap(NULL, PAGE, RW, ANON, -1, 0);
	assert_ptr_not_equal(p, MAP_FAILED);
	unmap(p, 1);
	p = api.mmap(mem, PAGE, RW, ANON, -1, 0); /* a hint replaces nothing */
	assert_ptr_not_equal(p, mem);
	unmap(p, 1);
	errno = 0;
	assert_ptr_equal(api.mmap(mem, 0, RW, ANON | MAP_FIXED, -1, 0), MAP_FAILED);
	assert_int_equal(errno, EINVAL);
	errno = 0;
	assert_ptr_equal(api.mmap(mem + 5, PAGE, RW, ANON | MAP_FIXED, -1, 0), MAP_FAILED);
	assert_int_equal(errno, EINVAL);
	expect_none();

	/* What the kernel refuses later was bracketed for nothing. */
	expect(NULL);
	errno = 0;
	assert_ptr_equal(api.mmap(mem, PAGE, RW, MAP_PRIVATE | MAP_FIXED, 99999, 0),
			 MAP_FAILED);
	assert_int_equal(errno, EBADF);
	errno = 0;
	assert_ptr_equal(api.mmap(mem, PAGE, RW, MAP_PRIVATE | MAP_FIXED, 0, 17), MAP_FAILED);
	assert_int_equal(errno, EINVAL);
	rec_watch(false);
	assert_int_equal(rec_open(), 0);
	unmap(mem, 4);
}

static void t_mremap_shrink(void **state)
{
	char *p = map(4);

	mem = p + 2 * PAGE;
	expect(gone);
	assert_ptr_equal(api.mremap(p, 4 * PAGE, PAGE + 1, 0), p);
	expect_one(MMU_NOTIFY_UNMAP, mem, 2 * PAGE);
	unmap(p, 2);
}

static void t_mremap_move(void **state)
{
	/* Something right behind it, so that it has to move. */
	char *p = map(4), *q;

	unmap(p, 1);
	q = (char *)hmmu_syscall(SYS_mmap, p, PAGE, RW, ANON | MAP_FIXED, -1, 0);
	*q = 'x';
	hmmu_syscall(SYS_mprotect, p + PAGE, PAGE, PROT_READ);
	mem = p;
	expect(gone);
	q = api.mremap(p, PAGE, 3 * PAGE, MREMAP_MAYMOVE);
	assert_ptr_not_equal(q, MAP_FAILED);
	assert_ptr_not_equal(q, p);
	assert_int_equal(*q, 'x');
	expect_one(MMU_NOTIFY_UNMAP, p, PAGE);
	unmap(q, 3);

	expect(NULL);
	errno = 0;
	assert_ptr_equal(api.mremap(p + PAGE, PAGE, 2 * PAGE, 0), MAP_FAILED);
	assert_int_equal(errno, ENOMEM);
	assert_ptr_equal(api.mremap(p + PAGE, PAGE, PAGE, MREMAP_MAYMOVE), p + PAGE);
	errno = 0;
	assert_ptr_equal(api.mremap(p + PAGE + 1, PAGE, 2 * PAGE, MREMAP_MAYMOVE), MAP_FAILED);
	assert_int_equal(errno, EINVAL);
	errno = 0;
	assert_ptr_equal(api.mremap(p + PAGE, PAGE, 0, MREMAP_MAYMOVE), MAP_FAILED);
	assert_int_equal(errno, EINVAL);
	expect_none();
	unmap(p + PAGE, 3);
}

/* Source and destination, both open before, both closed after. */
static void t_mremap_fixed(void **state)
{
	char *p = map(2), *q = map(4);

	mem = p;
	expect(gone);
	assert_ptr_equal(api.mremap(p, 2 * PAGE, 3 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, q),
			 q);
	rec_watch(false);
	assert_int_equal(rec_count(), 4);
	check(0, false, MMU_NOTIFY_UNMAP, U(p), U(p) + 2 * PAGE);
	check(1, false, MMU_NOTIFY_UNMAP, U(q), U(q) + 3 * PAGE);
	check(2, true, MMU_NOTIFY_UNMAP, U(q), U(q) + 3 * PAGE);
	check(3, true, MMU_NOTIFY_UNMAP, U(p), U(p) + 2 * PAGE);
	assert_false(at_start);
	assert_true(at_end);
	unmap(q, 4);

	/* It shrinks and moves: the whole source goes. */
	p = map(3);
	q = map(1);
	mem = p;
	expect(gone);
	assert_ptr_equal(api.mremap(p, 3 * PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, q), q);
	rec_watch(false);
	assert_int_equal(rec_count(), 4);
	check(0, false, MMU_NOTIFY_UNMAP, U(p), U(p) + 3 * PAGE);
	check(1, false, MMU_NOTIFY_UNMAP, U(q), U(q) + PAGE);
	unmap(q, 1);

	/* Overlapping: refused by the kernel, the brackets nest and close. */
	p = map(2);
	expect(NULL);
	errno = 0;
	assert_ptr_equal(
		api.mremap(p, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p + PAGE),
		MAP_FAILED);
	assert_int_equal(errno, EINVAL);
	rec_watch(false);
	assert_int_equal(rec_open(), 0);
	unmap(p, 2);
}

static void t_mremap_duplicate(void **state)
{
	char *p = (char *)hmmu_syscall(SYS_mmap, NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1,
				       0);
	char *q;

	*p = 'd';
	expect(NULL);
	q = api.mremap(p, 0, PAGE, MREMAP_MAYMOVE);
	assert_ptr_not_equal(q, MAP_FAILED);
	assert_int_equal(*q, 'd');
	expect_none();

	mem = q;
	*p = 0;
	hmmu_syscall(SYS_mmap, q, PAGE, RW, ANON | MAP_FIXED, -1, 0);
	*q = 'x';
	expect(zero);
	assert_ptr_equal(api.mremap(p, 0, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, q), q);
	expect_one(MMU_NOTIFY_UNMAP, q, PAGE);
	unmap(p, 1);
	unmap(q, 1);
}

static void t_mremap_dontunmap(void **state)
{
	char *p = map(2), *q;

	mem = p;
	expect(zero);
	q = api.mremap(p, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | 4, NULL);
	if (q == MAP_FAILED) {
		rec_watch(false);
		skip();
	}
	expect_one(MMU_NOTIFY_UNMAP, p, 2 * PAGE);
	assert_int_equal(*q, 'x');
	unmap(p, 2);
	unmap(q, 2);
}

static void t_madvise(void **state)
{
	static const int changes[] = {MADV_DONTNEED, MADV_FREE, MADV_REMOVE, 24, 100, 101, 102};
	static const int others[] = {MADV_NORMAL,   MADV_WILLNEED, MADV_DONTFORK,
				     MADV_DOFORK,   MADV_COLD,	   MADV_HUGEPAGE,
				     MADV_DONTDUMP, 103,	   9999};

	mem = map(2);
	expect(zero);
	assert_int_equal(api.madvise(mem, PAGE + 1, MADV_DONTNEED), 0);
	expect_one(MMU_NOTIFY_CLEAR, mem, 2 * PAGE);
	unmap(mem, 2);
	/* Same answers as the bare call; on an address where nothing is: no harm. */
	for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++) {
		long raw = hmmu_syscall(SYS_madvise, mem, PAGE, changes[i]);

		expect(NULL);
		errno = 0;
		assert_int_equal(api.madvise(mem, PAGE, changes[i]), raw ? -1 : 0);
		assert_int_equal(errno, -raw);
		expect_one(MMU_NOTIFY_CLEAR, mem, PAGE);
	}
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
		long raw = hmmu_syscall(SYS_madvise, mem, PAGE, others[i]);

		expect(NULL);
		errno = 0;
		assert_int_equal(api.madvise(mem, PAGE, others[i]), raw ? -1 : 0);
		assert_int_equal(errno, -raw);
		expect_none();
	}
	expect(NULL);
	assert_int_equal(api.madvise(mem, 0, MADV_DONTNEED), 0);
	errno = 0;
	assert_int_equal(api.madvise(mem + 1, PAGE, MADV_DONTNEED), -1);
	assert_int_equal(errno, EINVAL);
	expect_none();
}

static bool readonly(void)
{
	struct hmmu_maps maps;
	struct hmmu_mapping m;
	bool found = false;

	assert_true(hmmu_maps_open(&maps));
	while (!found && hmmu_maps_next(&maps, &m))
		found = U(mem) >= m.start && U(mem) < m.end;
	hmmu_maps_close(&maps);
	return found && !(m.prot & PROT_WRITE);
}

static void t_mprotect(void **state)
{
	mem = map(3);
	expect(readonly);
	assert_int_equal(api.mprotect(mem, PAGE + 5, PROT_READ), 0);
	expect_one(MMU_NOTIFY_PROTECTION_VMA, mem, 2 * PAGE);
	expect(NULL);
	errno = 0;
	assert_int_equal(api.mprotect(mem + 3, PAGE, PROT_READ), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(api.mprotect(mem, 0, PROT_READ), 0);
	expect_none();
	/* It may reach down to where the mapping begins. */
	expect(NULL);
	assert_int_equal(api.mprotect(mem, PAGE, PROT_READ | PROT_GROWSDOWN), -1);
	expect_one(MMU_NOTIFY_PROTECTION_VMA, NULL, U(mem) + PAGE);
	unmap(mem, 3);
}

static unsigned long break_now(void)
{
	return (unsigned long)hmmu_syscall(SYS_brk, 0);
}

static void t_brk(void **state)
{
	char *old = api.sbrk(0);

	assert_int_equal(U(old), break_now());
	expect(NULL);
	assert_ptr_equal(api.sbrk(5 * (intptr_t)PAGE), old);
	assert_int_equal(api.brk(api.sbrk(0)), 0);
	assert_int_equal(api.brk(NULL), 0);
	expect_none();
	assert_int_equal(break_now(), U(old) + 5 * PAGE);
	assert_ptr_equal(api.sbrk(0), old + 5 * PAGE);
	memset(old, 'x', 5 * PAGE);

	mem = (char *)((U(old) + 4 * PAGE + PAGE - 1) & -PAGE);
	expect(gone);
	assert_ptr_equal(api.sbrk(-(intptr_t)PAGE), old + 5 * PAGE);
	expect_one(MMU_NOTIFY_UNMAP, mem, PAGE);
	mem = (char *)((U(old) + PAGE - 1) & -PAGE);
	expect(gone);
	assert_int_equal(api.brk(old), 0);
	expect_one(MMU_NOTIFY_UNMAP, mem, 4 * PAGE);
	assert_ptr_equal(api.sbrk(0), old);
	assert_int_equal(break_now(), U(old));
}

/* libc's own word, NULL included. */
static void t_curbrk(void **state)
{
	extern void *__curbrk;
	char *old = api.sbrk(0);

	__curbrk = NULL;
	assert_ptr_equal(api.sbrk(0), old);
	assert_ptr_equal(__curbrk, old);
	__curbrk = NULL;
	assert_ptr_equal(hmmu_hook_sbrk(0), old);
	assert_ptr_equal(__curbrk, old);
	errno = 0;
	assert_int_equal(api.brk((void *)(U(-1) / 4)), -1);
	assert_int_equal(errno, ENOMEM);
	assert_ptr_equal(__curbrk, old);
	assert_ptr_equal(hmmu_hook_sbrk(PAGE), old);
	assert_ptr_equal(hmmu_hook_sbrk(-(intptr_t)PAGE), old + PAGE);
	assert_ptr_equal(__curbrk, old);
	errno = 0;
	assert_ptr_equal(hmmu_hook_sbrk(INTPTR_MIN), (void *)-1);
	assert_int_equal(errno, ENOMEM);
	errno = 0;
	assert_ptr_equal(hmmu_hook_sbrk(INTPTR_MAX), (void *)-1);
	assert_int_equal(errno, ENOMEM);
}

static int segment(size_t size)
{
	int id = shmget(IPC_PRIVATE, size, IPC_CREAT | 0600);

	if (id < 0)
		skip();
	return id;
}

static void t_shmdt(void **state)
{
	int id = segment(4 * PAGE - 100);
	char *p = api.shmat(id, NULL, 0), *other;

	assert_ptr_not_equal(p, (void *)-1);
	other = api.shmat(id, NULL, 0); /* a second attachment stays out of it */
	shmctl(id, IPC_RMID, NULL);
	mem = p;
	expect(gone);
	assert_int_equal(api.shmdt(p), 0);
	expect_one(MMU_NOTIFY_UNMAP, p, 4 * PAGE);
	/* Split by mprotect, its middle unmapped. */
	hmmu_syscall(SYS_mprotect, other + 2 * PAGE, PAGE, PROT_READ);
	hmmu_syscall(SYS_munmap, other + PAGE, PAGE);
	mem = other + 3 * PAGE;
	expect(gone);
	assert_int_equal(api.shmdt(other), 0);
	expect_one(MMU_NOTIFY_UNMAP, other, 4 * PAGE);

	expect(NULL);
	errno = 0;
	assert_int_equal(api.shmdt((void *)1), -1);
	assert_int_equal(errno, EINVAL);
	expect_none();
	/* Nothing is known of it: to the top. */
	expect(NULL);
	errno = 0;
	assert_int_equal(api.shmdt(other), -1);
	assert_int_equal(errno, EINVAL);
	expect_one(MMU_NOTIFY_UNMAP, other, TOP - U(other));
}

static void t_shmat(void **state)
{
	int id = segment(3 * PAGE - 7);
	char *p = map(4);

	/* Its first page is not aligned to a huge page. */
	if (U(p) % (2UL << 20) == 0)
		p += PAGE;
	mem = p;
	expect(zero);
	assert_ptr_equal(api.shmat(id, p + 77, SHM_REMAP | SHM_RND), p);
	expect_one(MMU_NOTIFY_UNMAP, p, 3 * PAGE);
	assert_int_equal(api.shmdt(p), 0);

	expect(NULL);
	errno = 0;
	assert_ptr_equal(api.shmat(id, NULL, SHM_REMAP), (void *)-1);
	assert_int_equal(errno, EINVAL);
	assert_ptr_equal(api.shmat(id, p + 1, SHM_REMAP), (void *)-1);
	assert_ptr_equal(api.shmat(-1, NULL, 0), (void *)-1);
	assert_ptr_equal(api.shmat(id, p, 0), p);
	expect_none();
	/* The size cannot be had. */
	expect(NULL);
	errno = 0;
	assert_ptr_equal(api.shmat(-1, p, SHM_REMAP), (void *)-1);
	assert_int_equal(errno, EINVAL);
	expect_one(MMU_NOTIFY_UNMAP, p, TOP - U(p));
	assert_int_equal(api.shmdt(p), 0);
	shmctl(id, IPC_RMID, NULL);
}

static void t_again(void **state)
{
	for (int i = 0; i < 3; i++)
		assert_int_equal(hmmu_source_hooks.open(), 0);
}

static int by_symbol(void **state)
{
	api.munmap = munmap;
	api.mmap = mmap;
	api.mmap64 = mmap64;
	api.mremap = mremap;
	api.madvise = madvise;
	api.mprotect = mprotect;
	api.brk = brk;
	api.sbrk = sbrk;
	api.shmdt = shmdt;
	api.shmat = shmat;
	return 0;
}

#define ENTRY(hook, call) (*(void **)&(api.call) = hmmu_hook_info[hook].entry)

static int by_entry(void **state)
{
	int ret = hmmu_source_hooks.open();

	rec_callback = look;
	ENTRY(HMMU_HOOK_MUNMAP, munmap);
	ENTRY(HMMU_HOOK_MMAP, mmap);
	ENTRY(HMMU_HOOK_MMAP64, mmap64);
	ENTRY(HMMU_HOOK_MREMAP, mremap);
	ENTRY(HMMU_HOOK_MADVISE, madvise);
	ENTRY(HMMU_HOOK_MPROTECT, mprotect);
	ENTRY(HMMU_HOOK_BRK, brk);
	ENTRY(HMMU_HOOK_SBRK, sbrk);
	ENTRY(HMMU_HOOK_SHMDT, shmdt);
	ENTRY(HMMU_HOOK_SHMAT, shmat);
	for (int i = 0; i < HMMU_HOOK_NR; i++)
		printf("# %s: %s %s\n", hmmu_hook_info[i].name,
		       hmmu_hook_info[i].state == HMMU_HOOK_PATCHED	 ? "patched"
		       : hmmu_hook_info[i].state == HMMU_HOOK_INTERPOSED ? "interposed"
									 : "none",
		       hmmu_hook_info[i].why ? hmmu_hook_info[i].why : "");
	return ret;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(t_munmap),
		cmocka_unit_test(t_errno_kept),
		cmocka_unit_test(t_unwatched),
		cmocka_unit_test(t_mmap),
		cmocka_unit_test(t_mremap_shrink),
		cmocka_unit_test(t_mremap_move),
		cmocka_unit_test(t_mremap_fixed),
		cmocka_unit_test(t_mremap_duplicate),
		cmocka_unit_test(t_mremap_dontunmap),
		cmocka_unit_test(t_madvise),
		cmocka_unit_test(t_mprotect),
		cmocka_unit_test(t_brk),
		cmocka_unit_test(t_curbrk),
		cmocka_unit_test(t_shmdt),
		cmocka_unit_test(t_shmat),
		cmocka_unit_test(t_again),
	};

	int failed;

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	failed = cmocka_run_group_tests_name("libc's entries", tests, by_entry, NULL);
	if (failed)
		return failed;
	return cmocka_run_group_tests_name("symbols", tests, by_symbol, NULL);
}
