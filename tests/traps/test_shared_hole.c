// SPDX-License-Identifier: MIT
/*
 * test_shared_hole.c - MADV_REMOVE through one mapping of a file makes a hole that every other
 * mapping shows. Which those are is looked up before the call, and again after it, by when the
 * mapping that the call went through may be gone:
 *
 *	remover				others
 *	looks up who shows A's file
 *	start of A
 *					map the file at B, subscribe, read its page
 *	the call: the page goes
 *					munmap(A)
 *	looks again
 *	returns				must not use what was read at B		[stale]
 *
 * A's callback waits for B to be subscribed; the first look at the list of mappings that finds
 * the hole made unmaps A (hmmu_syscall_hook). Each test is a process of its own.
 *
 * The list is read a few times, however many lines the range has: counted, not timed.
 */
#include "net.h"

#include <sys/syscall.h>

#include "source/seccomp/seccomp.h"

#ifndef __x86_64__ /* no filter, and no gate in it */
#define hmmu_seccomp_gate hmmu_syscall6
#endif

#define LINES 200
#define LOOKS 4 /* before and after: which files, and where they are */

static int fd;
static char *a, *b;
static unsigned int sources;
static struct watch at_a, at_b;
static unsigned long seq;
static uint32_t unmaps; /* A is to be unmapped at the first look after the hole */
static uint32_t looks;

static bool is_list(long nr, const long args[6])
{
	return nr == SYS_openat && strcmp((const char *)args[1], "/proc/self/maps") == 0;
}

static bool hole_made(void)
{
	char byte = 1;

	must(hmmu_syscall6(SYS_pread64, fd, (long)&byte, 1, 0, 0, 0) == 1);
	return byte == 0;
}

/* Like another thread that is done with A; it is not told, so that it makes no difference. */
static long looking(long nr, const long args[6])
{
	uint32_t one = 1;

	if (nr == SYS_clone) /* the seccomp source's own: keeper.c makes it itself */
		return 0;
	if (is_list(nr, args)) {
		hmmu_add_seqcst(&looks, 1);
		if (hmmu_load_seqcst(&unmaps) && hole_made() &&
		    hmmu_cas_seqcst(&unmaps, &one, 0))
			must(hmmu_seccomp_gate(SYS_munmap, (long)a, PAGE, 0, 0, 0, 0) == 0);
	}
	return hmmu_syscall6(nr, args[0], args[1], args[2], args[3], args[4], args[5]);
}

static struct mm_struct *open_source(void)
{
	hmmu_syscall_hook = looking;
	return net_open(sources);
}

static char *map_file(size_t pages)
{
	char *p = raw_mmap(NULL, pages * PAGE, RW, MAP_SHARED, fd, 0);

	must(p != MAP_FAILED);
	return p;
}

static void make_file(size_t pages)
{
	fd = memfd_create("hole", 0);
	must(fd >= 0 && ftruncate(fd, (off_t)(pages * PAGE)) == 0);
	a = map_file(pages);
	for (size_t i = 0; i < pages; i++)
		a[i * PAGE] = 'a';
}

static int remove_pages(char *p, size_t len)
{
	return sources == HMMU_SOURCE_HOOKS ? madvise(p, len, MADV_REMOVE)
					    : raw_madvise(p, len, MADV_REMOVE);
}

static sem_t started, used;

static void use_at_b(void *mm)
{
	while (sem_wait(&started))
		;
	b = map_file(1);
	watch_add(&at_b, mm, b, PAGE);
	seq = watch_begin(&at_b);
	must(*(volatile char *)b == 'a');
	must(watch_ok(&at_b, seq));
	sem_post(&used);
}

static void meanwhile(struct watch *w, const struct mmu_notifier_range *range)
{
	(void)w;
	(void)range;
	if (b)
		return;
	sem_post(&started);
	while (sem_wait(&used))
		;
}

static void unmapped_meanwhile(unsigned int which)
{
	struct mm_struct *mm;
	struct runner r;

	sources = which;
	make_file(1);
	mm = open_source();
	watch_add(&at_a, mm, a, PAGE);
	watch_begin(&at_a);
	at_a.hook = meanwhile;
	sem_init(&started, 0, 0);
	sem_init(&used, 0, 0);
	runner_start(&r, use_at_b, mm);
	hmmu_store_seqcst(&unmaps, 1);
	must(remove_pages(a, PAGE) == 0);
	runner_join(&r);
	must(b && hmmu_load_seqcst(&unmaps) == 0); /* it was as drawn above */
	must(*(volatile char *)b == 0);
	must(watch_calls(&at_b) && !watch_ok(&at_b, seq));
	at_a.hook = NULL;
	watch_remove(&at_a);
	watch_remove(&at_b);
	net_close(mm);
}

ISOLATED(unmapped_meanwhile_hooks)
{
	unmapped_meanwhile(HMMU_SOURCE_HOOKS);
}

#ifdef __x86_64__
ISOLATED(unmapped_meanwhile_seccomp)
{
	unmapped_meanwhile(HMMU_SOURCE_SECCOMP);
}
#endif

/* One file in many lines; who shows the last of its pages is told. */
static void many_lines(unsigned int which)
{
	struct mm_struct *mm;

	sources = which;
	make_file(LINES);
	for (size_t i = 0; i < LINES; i += 2)
		must(raw_madvise(a + i * PAGE, PAGE, MADV_DONTDUMP) == 0);
	b = raw_mmap(NULL, PAGE, RW, MAP_SHARED, fd, (LINES - 1) * PAGE);
	must(b != MAP_FAILED);
	mm = open_source();
	watch_add(&at_b, mm, b, PAGE);
	seq = watch_begin(&at_b);
	hmmu_store_seqcst(&looks, 0);
	must(remove_pages(a, LINES * PAGE) == 0);
	must(hmmu_load_seqcst(&looks) >= 1 && hmmu_load_seqcst(&looks) <= LOOKS);
	must(*(volatile char *)b == 0);
	must(watch_calls(&at_b) && !watch_ok(&at_b, seq));
	watch_remove(&at_b);
	net_close(mm);
}

ISOLATED(many_lines_hooks)
{
	many_lines(HMMU_SOURCE_HOOKS);
}

#ifdef __x86_64__
ISOLATED(many_lines_seccomp)
{
	many_lines(HMMU_SOURCE_SECCOMP);
}
#endif

/* As many files as pages: who shows the last one is told, too. */
static void many_files(unsigned int which)
{
	struct mm_struct *mm;

	sources = which;
	a = raw_map(8);
	for (size_t i = 0; i < 8; i++) {
		fd = memfd_create("hole", 0);
		must(fd >= 0 && ftruncate(fd, PAGE) == 0);
		must(raw_mmap(a + i * PAGE, PAGE, RW, MAP_SHARED | MAP_FIXED, fd, 0) ==
		     a + i * PAGE);
	}
	b = map_file(1);
	*b = 'a';
	mm = open_source();
	watch_add(&at_b, mm, b, PAGE);
	seq = watch_begin(&at_b);
	hmmu_store_seqcst(&looks, 0);
	must(remove_pages(a, 8 * PAGE) == 0);
	must(hmmu_load_seqcst(&looks) <= LOOKS);
	must(*(volatile char *)b == 0);
	must(watch_calls(&at_b) && !watch_ok(&at_b, seq));
	watch_remove(&at_b);
	net_close(mm);
}

ISOLATED(many_files_hooks)
{
	many_files(HMMU_SOURCE_HOOKS);
}

#ifdef __x86_64__
ISOLATED(many_files_seccomp)
{
	many_files(HMMU_SOURCE_SECCOMP);
}
#endif

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unmapped_meanwhile_hooks),
		cmocka_unit_test(many_lines_hooks),
		cmocka_unit_test(many_files_hooks),
#ifdef __x86_64__
		cmocka_unit_test(unmapped_meanwhile_seccomp),
		cmocka_unit_test(many_lines_seccomp),
		cmocka_unit_test(many_files_seccomp),
#endif
	};

	net_init(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
