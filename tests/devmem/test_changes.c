// SPDX-License-Identifier: MIT
/*
 * test_changes.c - memory that has pages on a device changes: it behaves as if it had none.
 * Each change through libc, which is bracketed, and raw, of which the kernel tells.
 */
#include "dev.h"

#include <spawn.h>
#include <sys/syscall.h>

#define N 16
#define ARENA 256
#ifndef MADV_COLD
#define MADV_COLD 20
#define MADV_PAGEOUT 21
#endif

static char owner;
extern char **environ;

struct world {
	struct mm_struct *mm;
	struct dev dev;
	char *p; /* N pages, (1, i), all away */
};

static struct world *world(void)
{
	static struct world w;
	struct dev *d = &w.dev;

	w.mm = net_open(BOTH);
	dev_open(d, w.mm, ARENA, &owner);
	/* Room around it. */
	w.p = raw_mmap(net_place(1024), N * PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);
	fill_pages(w.p, N, 1);
	must(dev_out(d, w.p, N) == N);
	return &w;
}

static void world_end(struct world *w)
{
	dev_check(&w->dev);
	dev_close(&w->dev);
	net_close(w->mm);
}

/* What a device has of it is nobody's. */
static void none_away(struct world *w)
{
	dev_settle(&w->dev);
	must(dev_stat(&w->dev).used == 0);
}

/* libc's or the kernel's own. */
static bool raw;

static int do_munmap(void *p, size_t len)
{
	return raw ? raw_munmap(p, len) : munmap(p, len);
}

static int do_madvise(void *p, size_t len, int advice)
{
	return raw ? raw_madvise(p, len, advice) : madvise(p, len, advice);
}

static char *do_mremap(void *p, size_t old_len, size_t new_len, int flags, void *to)
{
	return raw ? raw_mremap(p, old_len, new_len, flags, to)
		   : mremap(p, old_len, new_len, flags, to);
}

static char *do_map(void *p, size_t len, int flags)
{
	return raw ? raw_mmap(p, len, RW, ANON | flags, -1, 0)
		   : mmap(p, len, RW, ANON | flags, -1, 0);
}

static int do_mprotect(void *p, size_t len, int prot)
{
	return raw ? (int)hmmu_syscall(SYS_mprotect, p, len, prot) : mprotect(p, len, prot);
}

/* The same test both ways. */
#define BOTH_WAYS(name)                             \
	static void name##_change(struct world *w); \
	ISOLATED(name##_libc)                       \
	{                                           \
		struct world *w = world();          \
		name##_change(w);                   \
		world_end(w);                       \
	}                                           \
	ISOLATED(name##_raw)                        \
	{                                           \
		struct world *w = world();          \
		raw = true;                         \
		name##_change(w);                   \
		world_end(w);                       \
	}                                           \
	static void name##_change(struct world *w)

BOTH_WAYS(unmapped)
{
	must(do_munmap(w->p, N * PAGE) == 0);
	none_away(w);
	must(do_map(w->p, N * PAGE, MAP_FIXED_NOREPLACE) == w->p);
	must(pages_zero(w->p, N));
	fill_pages(w->p, N, 2);
	must(dev_out(&w->dev, w->p, N) == N && pages_are(w->p, N, 2));
}

BOTH_WAYS(unmapped_partly)
{
	must(do_munmap(w->p + 4 * PAGE, 4 * PAGE) == 0);
	must(do_map(w->p + 4 * PAGE, 4 * PAGE, MAP_FIXED_NOREPLACE) == w->p + 4 * PAGE);
	must(pages_zero(w->p + 4 * PAGE, 4));
	must(pages_are(w->p, 4, 1));
	for (size_t i = 8; i < N; i++)
		must(*(volatile uint64_t *)(w->p + i * PAGE) == page_word(1, i));
	none_away(w);
}

BOTH_WAYS(mapped_over)
{
	must(do_map(w->p + 2 * PAGE, 8 * PAGE, MAP_FIXED) == w->p + 2 * PAGE);
	/* The new one goes out itself. */
	fill_pages(w->p + 2 * PAGE, 4, 5);
	must(dev_out(&w->dev, w->p + 2 * PAGE, 8) == 8);
	must(pages_are(w->p + 2 * PAGE, 4, 5) && pages_zero(w->p + 6 * PAGE, 4));
	must(pages_are(w->p, 2, 1));
	for (size_t i = 10; i < N; i++)
		must(*(volatile uint64_t *)(w->p + i * PAGE) == page_word(1, i));
	none_away(w);
}

BOTH_WAYS(moved)
{
	char *q = do_mremap(w->p, N * PAGE, N * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
			    w->p + 64 * PAGE);

	must(q == w->p + 64 * PAGE);
	net_quiet(); /* and not only at once */
	must(pages_are(q, N, 1));
	none_away(w);
	must(do_map(w->p, N * PAGE, MAP_FIXED_NOREPLACE) == w->p && pages_zero(w->p, N));
}

/* It is home where it is now, and can leave from there. */
BOTH_WAYS(moved_then_home)
{
	char *q = do_mremap(w->p, N * PAGE, N * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
			    w->p + 64 * PAGE);

	must(q == w->p + 64 * PAGE);
	net_quiet();
	must(dev_home(&w->dev, q, N) == 0);
	must(pages_are(q, N, 1));
	must(dev_out(&w->dev, q, N) == N && pages_are(q, N, 1));
	must(do_map(w->p, N * PAGE, MAP_FIXED_NOREPLACE) == w->p && pages_zero(w->p, N));
}

BOTH_WAYS(moved_over_others)
{
	char *q = raw_mmap(w->p + 64 * PAGE, N * PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);

	fill_pages(q, N, 9);
	must(dev_out(&w->dev, q, N) == N);
	must(do_mremap(w->p, N * PAGE, N * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, q) == q);
	must(pages_are(q, N, 1));
	none_away(w);
}

BOTH_WAYS(moved_partly)
{
	char *q = do_mremap(w->p + 4 * PAGE, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
			    w->p + 64 * PAGE);

	must(q == w->p + 64 * PAGE);
	net_quiet();
	for (size_t i = 0; i < N; i++) {
		char *at = i >= 4 && i < 8 ? q + (i - 4) * PAGE : w->p + i * PAGE;

		must(*(volatile uint64_t *)at == page_word(1, i));
	}
	none_away(w);
}

BOTH_WAYS(moved_keeping_the_mapping)
{
	char *q = do_mremap(w->p, N * PAGE, N * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);

	must(!hmmu_is_err((long)q) && q != w->p);
	net_quiet();
	must(pages_zero(w->p, N));
	must(pages_are(q, N, 1));
	fill_pages(w->p, N, 3);
	must(dev_out(&w->dev, w->p, N) == N);
	must(pages_are(w->p, N, 3) && pages_are(q, N, 1));
	none_away(w);
}

BOTH_WAYS(grown_and_shrunk)
{
	must(do_mremap(w->p, N * PAGE, 2 * N * PAGE, 0, NULL) == w->p);
	must(pages_are(w->p, 2, 1) && pages_zero(w->p + N * PAGE, N));
	must(dev_out(&w->dev, w->p, 2 * N) >= N + 2);
	must(do_mremap(w->p, 2 * N * PAGE, N / 2 * PAGE, 0, NULL) == w->p);
	must(pages_are(w->p, N / 2, 1));
	must(do_mremap(w->p, N / 2 * PAGE, N * PAGE, 0, NULL) == w->p);
	must(pages_are(w->p, N / 2, 1) && pages_zero(w->p + N / 2 * PAGE, N / 2));
	none_away(w);
}

BOTH_WAYS(grown_by_a_move)
{
	char *wall =
		raw_mmap(w->p + N * PAGE, PAGE, PROT_NONE, ANON | MAP_FIXED_NOREPLACE, -1, 0);
	char *q = do_mremap(w->p, N * PAGE, 2 * N * PAGE, MREMAP_MAYMOVE, NULL);

	must(wall == w->p + N * PAGE);
	must(!hmmu_is_err((long)q) && q != w->p);
	net_quiet();
	must(pages_are(q, N, 1) && pages_zero(q + N * PAGE, N));
	none_away(w);
}

BOTH_WAYS(protected_r)
{
	must(do_mprotect(w->p, N * PAGE, PROT_READ) == 0);
	must(pages_are(w->p, N / 2, 1));
	must(do_mprotect(w->p, N * PAGE, RW) == 0);
	must(pages_are(w->p, N, 1));
	none_away(w);
}

BOTH_WAYS(protected_none)
{
	must(do_mprotect(w->p, N * PAGE, PROT_NONE) == 0);
	if (raw) /* home while nobody can read it */
		must(dev_home(&w->dev, w->p, N / 2) == N / 2);
	must(do_mprotect(w->p, N * PAGE, RW) == 0);
	must(pages_are(w->p, N, 1));
	none_away(w);
}

BOTH_WAYS(dropped)
{
	must(do_madvise(w->p, N / 2 * PAGE, MADV_DONTNEED) == 0);
	must(pages_zero(w->p, N / 2));
	for (size_t i = N / 2; i < N; i++)
		must(*(volatile uint64_t *)(w->p + i * PAGE) == page_word(1, i));
	none_away(w);
	fill_pages(w->p, N, 2);
	must(dev_out(&w->dev, w->p, N) == N);
	must(pages_are(w->p, N, 2));
}

/* FREE promises old content or zeros, page by page. */
BOTH_WAYS(freed)
{
	must(do_madvise(w->p, N * PAGE, MADV_FREE) == 0);
	for (size_t i = 0; i < N; i++) {
		uint64_t v = *(volatile uint64_t *)(w->p + i * PAGE);

		must(v == 0 || v == page_word(1, i));
	}
	fill_pages(w->p, N, 3);
	must(pages_are(w->p, N, 3));
	none_away(w);
}

BOTH_WAYS(cold)
{
	must(do_madvise(w->p, N * PAGE, MADV_COLD) == 0);
	do_madvise(w->p, N * PAGE, MADV_PAGEOUT);
	must(pages_are(w->p, N / 2, 1));
	do_madvise(w->p, N * PAGE, MADV_PAGEOUT);
	must(dev_home(&w->dev, w->p, N) == N / 2);
	must(pages_are(w->p, N, 1));
	none_away(w);
}

/* The heap's end. */
BOTH_WAYS(brk_heap)
{
	long end = hmmu_syscall(SYS_brk, 0), start = (end + (long)PAGE - 1) & -(long)PAGE;
	char *p = (char *)start;

	must(hmmu_syscall(SYS_brk, start + (long)(2 * N * PAGE)) ==
	     start + (long)(2 * N * PAGE));
	fill_pages(p, 2 * N, 4);
	must(dev_out(&w->dev, p, 2 * N) == 2 * N);
	if (raw)
		must(hmmu_syscall(SYS_brk, start + (long)(N * PAGE)) ==
		     start + (long)(N * PAGE));
	else
		must(brk(p + N * PAGE) == 0);
	must(hmmu_syscall(SYS_brk, start + (long)(2 * N * PAGE)) ==
	     start + (long)(2 * N * PAGE));
	must(pages_are(p, N, 4) && pages_zero(p + N * PAGE, N));
	must(pages_are(w->p, N, 1));
	none_away(w);
	must(hmmu_syscall(SYS_brk, end) == end);
}

static void end_well(pid_t pid)
{
	int status = -1;

	must(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
}

ISOLATED(forked)
{
	struct world *w = world();
	pid_t pid = fork();

	if (!pid) {
		alarm(10);
		_exit(pages_are(w->p, N, 1) ? 0 : 1);
	}
	must(pages_are(w->p, N, 1));
	fill_pages(w->p, N, 2);
	end_well(pid);
	/* And once more, by a thread's _Fork: no handler runs. */
	must(dev_out(&w->dev, w->p, N) == N);
	pid = fork();
	if (!pid) {
		alarm(10);
		fill_pages(w->p, N, 3); /* its own */
		_exit(pages_are(w->p, N, 3) ? 0 : 1);
	}
	end_well(pid);
	must(pages_are(w->p, N, 2));
	none_away(w);
	world_end(w);
}

ISOLATED(vforked)
{
	struct world *w = world();
	char *const argv[] = {"true", NULL};
	pid_t pid;
	char ok;

	pid = vfork();
	if (!pid) {
		/* The same memory: it touches what is away. */
		ok = *(volatile uint64_t *)(w->p + PAGE) == page_word(1, 1);
		_exit(ok ? 0 : 1);
	}
	end_well(pid);
	must(!dev_at(&w->dev, w->p + PAGE));
	must(posix_spawnp(&pid, "true", NULL, NULL, argv, environ) == 0);
	end_well(pid);
	pid = vfork();
	if (!pid) {
		execvp("true", argv);
		_exit(1);
	}
	end_well(pid);
	must(pages_are(w->p, N, 1));
	none_away(w);
	world_end(w);
}

/* Who replaces himself leaves nothing behind that hangs. */
ISOLATED(executed)
{
	char *const argv[] = {"true", NULL};

	world();
	execvp("true", argv);
	must(false);
}

/* Arguments of exec that are away. */
ISOLATED(executed_with_away)
{
	struct world *w = world();
	char *const argv[] = {w->p, "-c", w->p + PAGE, NULL};

	strcpy(w->p, "sh");
	strcpy(w->p + PAGE, "exit 0");
	must(dev_out(&w->dev, w->p, N) >= 2);
	must(dev_at(&w->dev, w->p) && dev_at(&w->dev, w->p + PAGE));
	execvp("sh", argv);
	must(false);
}

/* The mapping's neighbours come and go: it merges, it is cut. */
BOTH_WAYS(cut_and_merged)
{
	must(do_mprotect(w->p + 4 * PAGE, 4 * PAGE, PROT_READ) == 0);
	dev_out(&w->dev, w->p, N);
	/* Raw: it is all there still. Else it came home, and read-only memory stays. */
	must(dev_stat(&w->dev).resident == (raw ? N : N - 4));
	must(do_mprotect(w->p + 4 * PAGE, 4 * PAGE, RW) == 0);
	must(do_map(w->p + N * PAGE, N * PAGE, MAP_FIXED_NOREPLACE) == w->p + N * PAGE);
	fill_pages(w->p + N * PAGE, N, 6);
	must(dev_out(&w->dev, w->p, 2 * N) >= N);
	must(pages_are(w->p, N, 1) && pages_are(w->p + N * PAGE, N, 6));
	none_away(w);
}

/* An extent that comes and goes many times: what was subscribed is forgotten again. */
BOTH_WAYS(many_mappings)
{
	for (size_t i = 0; i < 200; i++) {
		char *p = w->p + (64 + 4 * i) * PAGE;

		must(do_map(p, PAGE, MAP_FIXED_NOREPLACE) == p);
		fill_pages(p, 1, i);
		must(dev_out(&w->dev, p, 1) == 1);
		must(i % 2 ? pages_are(p, 1, i) : dev_home(&w->dev, p, 1) == 1);
		must(do_munmap(p, PAGE) == 0);
	}
	must(hmmu_devmem->nwatches < 100);
	/* But not what has pages away. */
	must(dev_stat(&w->dev).resident == N);
	must(mprotect(w->p, N * PAGE, PROT_READ) == 0);
	must(dev_stat(&w->dev).resident == 0);
	must(pages_are(w->p, N, 1));
	none_away(w);
}

#define TWO(name) cmocka_unit_test(name##_libc), cmocka_unit_test(name##_raw)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TWO(unmapped),
		TWO(unmapped_partly),
		TWO(mapped_over),
		TWO(moved),
		TWO(moved_then_home),
		TWO(moved_over_others),
		TWO(moved_partly),
		TWO(moved_keeping_the_mapping),
		TWO(grown_and_shrunk),
		TWO(grown_by_a_move),
		TWO(protected_r),
		TWO(protected_none),
		TWO(dropped),
		TWO(freed),
		TWO(cold),
		TWO(brk_heap),
		TWO(cut_and_merged),
		TWO(many_mappings),
		cmocka_unit_test(forked),
		cmocka_unit_test(vforked),
		cmocka_unit_test(executed),
		cmocka_unit_test(executed_with_away),
	};

	dev_init(argc, argv);
	return cmocka_run_group_tests_name("devmem-changes", tests, NULL, NULL);
}
