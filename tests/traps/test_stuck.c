// SPDX-License-Identifier: MIT
/*
 * test_stuck.c - kernels 6.1 and 6.12 leak the count of unread events when an mremap()
 * fails: every probe answers EAGAIN from then on. The source must notice and say so; readers
 * and hooked calls go on.
 *
 * The kernel's answer and the clock are played (hmmu_syscall_hook); each test is a process
 * of its own.
 */
#include "net.h"

#include <linux/userfaultfd.h>
#include <sys/syscall.h>

#include "source/userfaultfd/abi.h"

static uint32_t leaks;	 /* probes answer EAGAIN */
static uint32_t ticking; /* each look at the clock is 20 ms later */
static uint64_t ahead;	 /* ns */
static uint32_t probes;
static uint32_t change_under_way; /* who asks for the lock of the mappings stands */
static sem_t asks, changed;

static bool is_probe(const long args[6])
{
	const struct uffdio_writeprotect *wp;

	if ((unsigned long)args[1] != UFFDIO_WRITEPROTECT)
		return false;
	wp = (const struct uffdio_writeprotect *)args[2];
	return wp->range.len == 0;
}

static long leaky(long nr, const long args[6])
{
	long ret;

	if (nr == SYS_ioctl && is_probe(args) && hmmu_load_seqcst(&leaks)) {
		hmmu_add_seqcst(&probes, 1);
		return -EAGAIN;
	}
	if (nr == SYS_mprotect && args[0] == (long)hmmu_uffd->stop_page &&
	    hmmu_load_seqcst(&change_under_way)) {
		sem_post(&asks);
		while (sem_wait(&changed))
			;
	}
	ret = hmmu_syscall6(nr, args[0], args[1], args[2], args[3], args[4], args[5]);
	if (nr == SYS_clock_gettime && ret == 0) {
		struct timespec *ts = (struct timespec *)args[1];
		uint64_t t = hmmu_add_seqcst(&ahead, hmmu_load_seqcst(&ticking) * 20000000ULL);

		t += (uint64_t)ts->tv_nsec;
		ts->tv_sec += (time_t)(t / 1000000000);
		ts->tv_nsec = (long)(t % 1000000000);
	}
	return ret;
}

static void map_by_libc(void *arg)
{
	char *p = mmap(arg, PAGE, RW, ANON | MAP_FIXED, -1, 0);

	must(p == arg);
}

static void begin_once(void *arg)
{
	struct watch *w = arg;
	unsigned long seq;

	must(hmmu_read_begin(&w->sub, &seq, NULL) == -ENODEV);
}

/* Waits until @more probes were made: somebody asks again and again. */
static void asked(uint32_t more)
{
	uint32_t upto = hmmu_load_seqcst(&probes) + more;

	while (hmmu_load_seqcst(&probes) < upto)
		usleep(100);
}

static void leak_noticed(unsigned int sources, void (*fn)(void *), bool watched)
{
	struct mm_struct *mm = net_open(sources);
	char *p = raw_map(1);
	struct watch w;
	struct runner r;
	unsigned long seq;

	watch_add(&w, mm, p, PAGE);
	seq = watch_begin(&w);
	hmmu_syscall_hook = leaky;
	hmmu_store_seqcst(&leaks, 1);
	runner_start(&r, fn, watched ? (void *)&w : p);
	asked(3000);
	must(!runner_done(&r) && w.lost == 0); /* as long as it may be a slow reader */
	hmmu_store_seqcst(&ticking, 1);
	runner_join(&r);
	must(watch_poll(&w) == -ENODEV && !watch_ok(&w, seq));
	while (hmmu_load_seqcst(&w.lost) == 0)
		usleep(100);
	must(w.phase == HMMU_PHASE_LOST);
	watch_remove(&w);
	hmmu_store_seqcst(&leaks, 0);
	net_close(mm);
}

ISOLATED(leak_reader_alone)
{
	leak_noticed(ALONE, begin_once, true);
}

ISOLATED(leak_hooked_mmap_both)
{
	leak_noticed(BOTH, map_by_libc, false);
}

static void poll_often(struct watch *w, int n)
{
	for (int i = 0; i < n; i++) {
		must(watch_poll(w) == -ETIMEDOUT);
		/* The dispatcher gets its turn, should it have been asked. */
		while (hmmu_load_seqcst(&hmmu_uffd->stuck) == STUCK_ASKED &&
		       !hmmu_load_seqcst(&change_under_way))
			usleep(50);
	}
}

/* Half a minute in which events were read, or answers were clean, is no leak. */
ISOLATED(slow_is_not_stuck)
{
	struct mm_struct *mm = net_open(ALONE);
	char *p = raw_map(1);
	struct watch w;

	watch_add(&w, mm, p, PAGE);
	watch_begin(&w);
	hmmu_syscall_hook = leaky;
	hmmu_store_seqcst(&ticking, 1);
	for (int i = 0; i < 8; i++) {
		hmmu_store_seqcst(&leaks, 1);
		poll_often(&w, 900);
		if (i % 4) { /* an event comes */
			must(raw_madvise(p, PAGE, MADV_DONTNEED) == 0);
		} else { /* one clean answer */
			hmmu_store_seqcst(&leaks, 0);
			watch_begin(&w);
		}
	}
	hmmu_store_seqcst(&leaks, 0);
	watch_begin(&w);
	must(w.lost == 0);
	watch_remove(&w);
	net_close(mm);
}

/* A process that stood for an hour, again and again, has not waited that long. */
ISOLATED(stopped_is_not_stuck)
{
	struct mm_struct *mm = net_open(ALONE);
	char *p = raw_map(1);
	struct watch w;

	watch_add(&w, mm, p, PAGE);
	watch_begin(&w);
	hmmu_syscall_hook = leaky;
	hmmu_store_seqcst(&leaks, 1);
	for (int i = 0; i < 50; i++) {
		poll_often(&w, 10);
		hmmu_add_seqcst(&ahead, 3600 * 1000000000ULL);
	}
	hmmu_store_seqcst(&leaks, 0);
	watch_begin(&w);
	must(w.lost == 0);
	watch_remove(&w);
	net_close(mm);
}

/* A munmap that takes minutes: the count is up, and no event comes before its pages are
 * gone. Who asks for the lock of the mappings waits for it. */
ISOLATED(slow_change_is_not_stuck)
{
	struct mm_struct *mm = net_open(ALONE);
	char *p = raw_map(1);
	struct watch w;

	sem_init(&asks, 0, 0);
	sem_init(&changed, 0, 0);
	watch_add(&w, mm, p, PAGE);
	watch_begin(&w);
	hmmu_store_seqcst(&change_under_way, 1);
	hmmu_syscall_hook = leaky;
	hmmu_store_seqcst(&leaks, 1);
	hmmu_store_seqcst(&ticking, 1);
	poll_often(&w, 1100);
	while (sem_wait(&asks))
		;
	poll_often(&w, 5000);
	/* It is over, its event comes. */
	hmmu_store_seqcst(&change_under_way, 0);
	sem_post(&changed);
	must(raw_madvise(p, PAGE, MADV_DONTNEED) == 0);
	poll_often(&w, 900);
	hmmu_store_seqcst(&leaks, 0);
	watch_begin(&w);
	must(w.lost == 0);
	watch_remove(&w);
	net_close(mm);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(leak_reader_alone),
		cmocka_unit_test(leak_hooked_mmap_both),
		cmocka_unit_test(slow_is_not_stuck),
		cmocka_unit_test(stopped_is_not_stuck),
		cmocka_unit_test(slow_change_is_not_stuck),
	};

	net_init(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
