// SPDX-License-Identifier: MIT
/* test_share.c - pages that a forked child has, too: a write goes to another page. */
#include <link.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "world.h"

#define PAGES 64 /* more than are asked page by page without further ado */

static unsigned long pfns[PAGES];

/* A child that holds its memory until told. Forked raw: no hook of libc sees it. */
struct child {
	pid_t pid;
	int ready[2], go[2];
};

static void child_start(struct child *child, void (*first)(void *), void *arg)
{
	char c = 0;

	must(pipe(child->ready) == 0 && pipe(child->go) == 0);
	child->pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	must(child->pid >= 0);
	if (!child->pid) {
		if (first)
			first(arg);
		must(write(child->ready[1], &c, 1) == 1);
		close(child->go[1]);
		must(read(child->go[0], &c, 1) == 0);
		_exit(0);
	}
	must(read(child->ready[0], &c, 1) == 1);
}

static void child_end(struct child *child)
{
	int status;

	close(child->go[1]);
	must(waitpid(child->pid, &status, 0) == child->pid && status == 0);
	close(child->go[0]);
	close(child->ready[0]);
	close(child->ready[1]);
}

static void all_are(unsigned char *at, unsigned long flags)
{
	snapshot(at, PAGES, pfns);
	for (int i = 0; i < PAGES; i++)
		assert_pfn(at + i * PAGE, pfns[i], flags);
}

static void shared_while_it_lives(void **state)
{
	unsigned char *at = map_anon(PAGES);
	struct child child;

	touch(at, PAGES);
	all_are(at, RDWR);
	child_start(&child, NULL, NULL);
	all_are(at, VALID);
	assert_snap(at, VALID); /* the small look */
	/* What is written becomes one's own, what is not does not. */
	at[3 * PAGE] = 1;
	snapshot(at, PAGES, pfns);
	assert_pfn(at + 3 * PAGE, pfns[3], RDWR);
	assert_pfn(at + 4 * PAGE, pfns[4], VALID);
	assert_snap(at + 3 * PAGE, RDWR);
	child_end(&child);
	all_are(at, RDWR);
	munmap(at, PAGES * PAGE);
}

static void write_at(void *at)
{
	touch(at, PAGES / 2);
}

/* The child writes: the pages that stay are the parent's alone. */
static void child_writes(void **state)
{
	unsigned char *at = map_anon(PAGES);
	struct child child;

	touch(at, PAGES);
	child_start(&child, write_at, at);
	snapshot(at, PAGES, pfns);
	for (int i = 0; i < PAGES; i++)
		assert_pfn(at + i * PAGE, pfns[i], i < PAGES / 2 ? RDWR : VALID);
	child_end(&child);
	munmap(at, PAGES * PAGE);
}

static void fault_makes_it_own(void **state)
{
	unsigned char *at = map_anon(PAGES);
	struct child child;

	touch(at, PAGES);
	child_start(&child, NULL, NULL);
	assert_int_equal(fault(at, PAGES, pfns, READ, 0), 0);
	assert_pfn(at, pfns[0], VALID);
	assert_int_equal(fault(at, PAGES, pfns, WRITE, 0), 0);
	for (int i = 0; i < PAGES; i++)
		assert_pfn(at + i * PAGE, pfns[i], RDWR);
	all_are(at, RDWR);
	child_end(&child);
	munmap(at, PAGES * PAGE);
}

/* Shared memory stays the same page for both. */
static void not_of_shared_memory(void **state)
{
	unsigned char *at = map(PAGES, RW, MAP_SHARED | MAP_ANONYMOUS, -1);
	struct child child;

	touch(at, PAGES);
	child_start(&child, NULL, NULL);
	all_are(at, RDWR | HMM_PFN_FILE);
	child_end(&child);
	munmap(at, PAGES * PAGE);
}

/* The other direction: a child shares its parent's, until the parent is gone. */
static void child_looks(void *arg)
{
	unsigned char *at = arg;

	must(world_open(HMMU_SOURCE_EXPLICIT) == 0);
	snapshot(at, PAGES, pfns);
	for (int i = 0; i < PAGES; i++)
		must(FLAGS_OF(pfns[i]) == VALID);
	touch(at, 1);
	must(FLAGS_OF(snap(at)) == RDWR);
	must(FLAGS_OF(snap(at + PAGE)) == VALID);
}

static void in_a_child(void **state)
{
	unsigned char *at = map_anon(PAGES);
	struct child child;

	touch(at, PAGES);
	child_start(&child, child_looks, at);
	child_end(&child);
	munmap(at, PAGES * PAGE);
}

/* Somebody patches the program's own table after the fork: it is the parent's alone then,
 * and everything else is not. */
static void a_patched_program(void **state)
{
	const ElfW(Phdr) *ph = (const void *)getauxval(AT_PHDR);
	unsigned char *at = map_anon(PAGES);
	unsigned long base = 0, start = 0, end = 0;
	struct child child;

	for (size_t i = 0; i < getauxval(AT_PHNUM); i++) {
		if (ph[i].p_type == PT_PHDR)
			base = (unsigned long)ph - ph[i].p_vaddr;
		if (ph[i].p_type == PT_GNU_RELRO) {
			start = ph[i].p_vaddr & -PAGE;
			end = (ph[i].p_vaddr + ph[i].p_memsz) & -PAGE;
		}
	}
	start += base;
	end += base;
	assert_true(start < end);
	touch(at, PAGES);
	child_start(&child, NULL, NULL);
	assert_int_equal(mprotect((void *)start, end - start, RW), 0);
	for (volatile char *p = (char *)start; (unsigned long)p < end; p += PAGE)
		*p = *p; /* NOLINT */
	assert_int_equal(mprotect((void *)start, end - start, PROT_READ), 0);
	assert_snap((void *)start, VALID);
	all_are(at, VALID);
	child_end(&child);
	all_are(at, RDWR);
	munmap(at, PAGES * PAGE);
}

static void *thread_waits(void *arg)
{
	gate_pass(arg);
	return NULL;
}

/* Threads and vfork children have the same memory, which makes nobody share pages. */
static void threads_do_not_count(void **state)
{
	unsigned char *at = map_anon(PAGES);
	pthread_t thread;
	struct gate gate;

	gate_init(&gate);
	touch(at, PAGES);
	must(pthread_create(&thread, NULL, thread_waits, &gate) == 0);
	all_are(at, RDWR);
	gate_open(&gate);
	must(pthread_join(thread, NULL) == 0);
	munmap(at, PAGES * PAGE);
}

/* A huge page of both, and its parts. */
static void huge(void **state)
{
	static unsigned long many[512];
	unsigned char *at = map(3 * THP / PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	unsigned char *h = (unsigned char *)(((unsigned long)at + THP - 1) & -THP);
	struct child child;

	madvise(at, 3 * THP, MADV_HUGEPAGE);
	*h = 1;
	child_start(&child, NULL, NULL);
	snapshot(h, 512, many);
	if (!many[511]) {
		child_end(&child);
		munmap(at, 3 * THP);
		skip();
	}
	for (int i = 0; i < 512; i++)
		assert_pfn(h + i * PAGE, many[i], VALID);
	assert_int_equal(fault(h + 5 * PAGE, 1, pfns, WRITE, 0), 0);
	assert_pfn(h + 5 * PAGE, pfns[0], RDWR);
	child_end(&child);
	munmap(at, 3 * THP);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shared_while_it_lives),
		cmocka_unit_test(child_writes),
		cmocka_unit_test(fault_makes_it_own),
		cmocka_unit_test(not_of_shared_memory),
		cmocka_unit_test(in_a_child),
		cmocka_unit_test(threads_do_not_count),
		cmocka_unit_test(huge),
		cmocka_unit_test(a_patched_program),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
