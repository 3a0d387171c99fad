// SPDX-License-Identifier: MIT
/*
 * test_meetings.c - the meetings drawn in userfaultfd.h, each forced at the gates, on
 * real mappings, with calls that no hook sees; with userfaultfd alone and behind hooks.
 */
#include "net.h"

#include <sys/mman.h>

/* ---- 1. Retry ---------------------------------------------------------- */

ISOLATED_BOTH(retry)
{
	struct mm_struct *mm = net_open(sources);
	char *p = raw_map(1);
	struct change c = {.what = DO_MUNMAP, .p = p, .len = PAGE};
	struct runner a;
	struct watch w;
	unsigned long seq;

	watch_add(&w, mm, p, PAGE);
	seq = watch_begin(&w);
	must(*p == 'a' && !watch_retry(&w, seq));
	net_hold(UFFD_GATE_READ, p);
	net_hold(UFFD_GATE_DISPATCH, p);
	runner_start(&a, change_run, &c);
	net_reached(UFFD_GATE_READ);
	/* The read lets A go on, and nobody has heard of the event yet. */
	runner_join(&a);
	must(c.ret == 0);
	must(watch_retry(&w, seq) && !watch_ok(&w, seq));
	must(watch_poll(&w) == -ETIMEDOUT);
	net_release(UFFD_GATE_READ);
	net_reached(UFFD_GATE_DISPATCH);
	must(watch_retry(&w, seq) && !watch_ok(&w, seq) && watch_calls(&w) == 0);
	net_release(UFFD_GATE_DISPATCH);
	net_quiet();
	must(watch_retry(&w, seq) && !watch_ok(&w, seq) && watch_calls(&w) == 1);
	must(w.seen_start == (unsigned long)p && w.phase == HMMU_PHASE_AFTER);
	watch_remove(&w);
	net_close(mm);
}

/* The same between the mark and the read, where A still sleeps. */
ISOLATED_BOTH(marked)
{
	struct mm_struct *mm = net_open(sources);
	char *p = raw_map(1);
	struct change c = {.what = DO_FIXED, .p = p, .len = PAGE};
	struct runner a;
	struct watch w;
	unsigned long seq;

	watch_add(&w, mm, p, PAGE);
	seq = watch_begin(&w);
	net_hold(UFFD_GATE_MARKED, NULL);
	runner_start(&a, change_run, &c);
	net_reached(UFFD_GATE_MARKED);
	must(runner_blocked(&a));
	must(watch_retry(&w, seq) && watch_poll(&w) == -ETIMEDOUT);
	net_release(UFFD_GATE_MARKED);
	runner_join(&a);
	must(!watch_ok(&w, seq));
	net_quiet();
	seq = watch_begin(&w);
	must(!watch_retry(&w, seq) && *p == 0);
	watch_remove(&w);
	net_close(mm);
}

/* ---- 2. Block ---------------------------------------------------------- */

/* The event is there, not read: A is inside, the page gone. */
ISOLATED(block_alone)
{
	struct mm_struct *mm = net_open(ALONE);
	char *p = raw_map(1), *q = raw_map(1);
	struct change c = {.what = DO_FIXED, .p = p, .len = PAGE};
	struct watch w, other;
	struct runner a;
	unsigned long seq, seq_other;

	watch_add(&w, mm, p, PAGE);
	watch_add(&other, mm, q, PAGE);
	seq = watch_begin(&w);
	seq_other = watch_begin(&other);
	must(watch_ok(&w, seq) && watch_ok(&other, seq_other));
	net_hold(UFFD_GATE_POLLED, NULL);
	runner_start(&a, change_run, &c);
	net_reached(UFFD_GATE_POLLED);
	must(runner_blocked(&a) && *p == 0);
	must(watch_retry(&w, seq) && !watch_ok(&w, seq));
	must(watch_poll(&w) == -ETIMEDOUT);
	net_release(UFFD_GATE_POLLED);
	runner_join(&a);
	must(!watch_ok(&w, seq));
	net_quiet();
	/* What it did not hit is good again without another read. */
	must(watch_ok(&other, seq_other) && !watch_ok(&w, seq));
	watch_remove(&w);
	watch_remove(&other);
	net_close(mm);
}

/* Behind hooks nobody asks: what is installed is dead already, but A has not returned; a
 * callback takes it out, and until then it is not to be used once A has. */
ISOLATED(block_both)
{
	struct mm_struct *mm = net_open(BOTH);
	char *p = raw_map(1);
	struct change c = {.what = DO_FIXED, .p = p, .len = PAGE};
	struct runner a;
	struct watch w;
	unsigned long seq;

	watch_add(&w, mm, p, PAGE);
	seq = watch_begin(&w);
	net_hold(UFFD_GATE_POLLED, NULL);
	net_hold(UFFD_GATE_DISPATCH, p);
	runner_start(&a, change_run, &c);
	net_reached(UFFD_GATE_POLLED);
	must(runner_blocked(&a));
	net_release(UFFD_GATE_POLLED);
	runner_join(&a);
	must(!watch_ok(&w, seq) && watch_retry(&w, seq));
	net_reached(UFFD_GATE_DISPATCH);
	net_release(UFFD_GATE_DISPATCH);
	net_quiet();
	must(watch_calls(&w) == 1 && !watch_ok(&w, seq));
	watch_remove(&w);
	net_close(mm);
}

/* With HMMU_MM_PROBE_ACCESS it is asked there, too. */
ISOLATED(block_both_probing)
{
	struct mm_struct *mm = net_open_flags(BOTH, HMMU_MM_PROBE_ACCESS);
	char *p = raw_map(1);
	struct change c = {.what = DO_FIXED, .p = p, .len = PAGE};
	struct runner a;
	struct watch w;
	unsigned long seq;

	watch_add(&w, mm, p, PAGE);
	seq = watch_begin(&w);
	net_hold(UFFD_GATE_POLLED, NULL);
	runner_start(&a, change_run, &c);
	net_reached(UFFD_GATE_POLLED);
	must(runner_blocked(&a) && !watch_ok(&w, seq) && watch_retry(&w, seq));
	net_release(UFFD_GATE_POLLED);
	runner_join(&a);
	net_quiet();
	watch_remove(&w);
	net_close(mm);
}

/* Third-thread reuse: A is inside munmap(X), C is given X. */
ISOLATED(reuse_alone)
{
	struct mm_struct *mm = net_open(ALONE);
	char *p = raw_map(1);
	struct change c = {.what = DO_MUNMAP, .p = p, .len = PAGE};
	struct runner a;
	struct watch w;
	unsigned long seq;

	watch_add(&w, mm, p, PAGE);
	seq = watch_begin(&w);
	net_hold(UFFD_GATE_POLLED, NULL);
	runner_start(&a, change_run, &c);
	net_reached(UFFD_GATE_POLLED);
	must(runner_blocked(&a));
	must(raw_mmap(p, PAGE, RW, ANON, -1, 0) == p);
	*p = 'b';
	must(!watch_ok(&w, seq) && watch_retry(&w, seq));
	net_release(UFFD_GATE_POLLED);
	runner_join(&a);
	must(!watch_ok(&w, seq));
	seq = watch_begin(&w);
	must(*p == 'b' && watch_ok(&w, seq));
	/* The new owner's mapping is watched now. */
	must(raw_munmap(p, PAGE) == 0 && !watch_ok(&w, seq));
	net_quiet();
	watch_remove(&w);
	net_close(mm);
}

ISOLATED(reuse_both)
{
	struct mm_struct *mm = net_open(BOTH);
	char *p = raw_map(1);
	struct change ca = {.what = DO_MUNMAP, .p = p, .len = PAGE};
	struct change cc = {.what = DO_LIBC_MMAP, .p = p, .len = PAGE};
	struct runner a, b;
	struct watch w;
	unsigned long seq;

	watch_add(&w, mm, p, PAGE);
	seq = watch_begin(&w);
	net_hold(UFFD_GATE_POLLED, NULL);
	runner_start(&a, change_run, &ca);
	net_reached(UFFD_GATE_POLLED);
	must(runner_blocked(&a));
	runner_start(&b, change_run, &cc);
	must(runner_pending(&b)); /* it is not handed out */
	net_release(UFFD_GATE_POLLED);
	runner_join(&a);
	runner_join(&b);
	must(cc.result == p && !watch_ok(&w, seq));
	net_quiet();
	watch_remove(&w);
	net_close(mm);
}

/* ---- 3. Wait ----------------------------------------------------------- */

struct reader {
	struct watch *w;
	unsigned long seq;
};

static void reader_run(void *arg)
{
	struct reader *r = arg;

	r->seq = watch_begin(r->w);
}

ISOLATED_BOTH(wait)
{
	struct mm_struct *mm = net_open(sources);
	char *p = raw_map(1);
	struct change c = {.what = DO_FIXED, .p = p, .len = PAGE};
	struct runner a, r;
	struct reader reader;
	struct watch w;
	unsigned long seq;

	watch_add(&w, mm, p, PAGE);
	seq = watch_begin(&w);
	net_hold(UFFD_GATE_DISPATCH, p);
	net_hold(UFFD_GATE_STARTED, p);
	runner_start(&a, change_run, &c);
	runner_join(&a);
	net_reached(UFFD_GATE_DISPATCH);
	reader.w = &w;
	runner_start(&r, reader_run, &reader);
	must(runner_pending(&r));
	net_release(UFFD_GATE_DISPATCH);
	net_reached(UFFD_GATE_STARTED);
	must(runner_pending(&r) && watch_calls(&w) == 1);
	net_release(UFFD_GATE_STARTED);
	runner_join(&r);
	must(watch_ok(&w, reader.seq) && !watch_ok(&w, seq) && *p == 0);
	/* Armed again: the new mapping is watched. */
	must(raw_munmap(p, PAGE) == 0 && !watch_ok(&w, reader.seq));
	net_quiet();
	watch_remove(&w);
	net_close(mm);
}

/* A callback that takes its time: readers wait, and A is not held up. */
static sem_t inside, go_on;

static void slow(struct watch *w, const struct mmu_notifier_range *range)
{
	(void)w;
	(void)range;
	sem_post(&inside);
	while (sem_wait(&go_on))
		;
}

ISOLATED_BOTH(wait_callback)
{
	struct mm_struct *mm = net_open(sources);
	char *p = raw_map(1);
	struct reader reader;
	struct runner r;
	struct watch w;
	unsigned long seq;

	sem_init(&inside, 0, 0);
	sem_init(&go_on, 0, 0);
	watch_add(&w, mm, p, PAGE);
	w.hook = slow;
	seq = watch_begin(&w);
	must(raw_munmap(p, PAGE) == 0);
	while (sem_wait(&inside))
		;
	must(raw_mmap(p, PAGE, RW, ANON, -1, 0) == p);
	reader.w = &w;
	runner_start(&r, reader_run, &reader);
	must(runner_pending(&r) && !watch_ok(&w, seq));
	sem_post(&go_on);
	runner_join(&r);
	w.hook = NULL;
	must(watch_ok(&w, reader.seq));
	watch_remove(&w);
	net_close(mm);
}

/* ---- REMOVE ------------------------------------------------------------ */

/*
 * A's madvise goes over two mappings. Its second event is not read, so A is inside when
 * the first has been dispatched: its end must not come before A has left.
 */
ISOLATED_BOTH(remove_end)
{
	struct mm_struct *mm = net_open(sources);
	char *p = raw_map(2);
	struct change c = {
		.what = DO_MADVISE, .p = p, .len = 2 * PAGE, .advice = MADV_DONTNEED};
	struct watch w, second;
	struct runner a;
	unsigned long seq;
	uint64_t done;

	hmmu_uffd_read_max = 1;
	must(hmmu_syscall(SYS_mprotect, p + PAGE, PAGE, PROT_READ) == 0);
	watch_add(&w, mm, p, PAGE);
	watch_add(&second, mm, p + PAGE, PAGE);
	seq = watch_begin(&w);
	watch_begin(&second);
	net_hold(UFFD_GATE_READ, p);
	net_hold(UFFD_GATE_CENSUS, NULL);
	runner_start(&a, change_run, &c);
	net_reached(UFFD_GATE_READ);
	/* From here on A goes to the second mapping and sleeps there. */
	must(runner_blocked(&a));
	net_hold(UFFD_GATE_POLLED, NULL);
	net_release(UFFD_GATE_READ);
	net_reached(UFFD_GATE_POLLED);
	net_reached(UFFD_GATE_CENSUS);
	done = hmmu_load_seqcst(&hmmu_uffd->removals_done);
	net_release(UFFD_GATE_CENSUS);
	must(runner_blocked(&a));
	usleep(100000); /* hundreds of looks; an end that is right does not come ever */
	must(hmmu_load_seqcst(&hmmu_uffd->removals_done) == done);
	must(watch_poll(&w) == -ETIMEDOUT && !watch_ok(&w, seq));
	net_release(UFFD_GATE_POLLED);
	runner_join(&a);
	must(c.ret == 0);
	seq = watch_begin(&w);
	must(*p == 0 && watch_ok(&w, seq) && watch_calls(&w) == 1);
	watch_begin(&second);
	must(watch_calls(&second) == 1 && w.phase == HMMU_PHASE_BEFORE);
	watch_remove(&w);
	watch_remove(&second);
	net_close(mm);
}

/* A has returned, the census has not looked: the reader waits. */
ISOLATED_BOTH(remove_wait)
{
	struct mm_struct *mm = net_open(sources);
	char *p = raw_map(1);
	struct reader reader;
	struct runner r;
	struct watch w;
	unsigned long seq;

	watch_add(&w, mm, p, PAGE);
	seq = watch_begin(&w);
	net_hold(UFFD_GATE_CENSUS, NULL);
	must(raw_madvise(p, PAGE, MADV_DONTNEED) == 0);
	net_reached(UFFD_GATE_CENSUS);
	must(!watch_ok(&w, seq) && watch_poll(&w) == -ETIMEDOUT);
	reader.w = &w;
	runner_start(&r, reader_run, &reader);
	must(runner_pending(&r));
	net_release(UFFD_GATE_CENSUS);
	runner_join(&r);
	must(*p == 0 && watch_ok(&w, reader.seq) && watch_calls(&w) == 1);
	/* The mapping is the same: still registered. */
	must(raw_munmap(p, PAGE) == 0 && !watch_ok(&w, reader.seq));
	net_quiet();
	watch_remove(&w);
	net_close(mm);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(retry_alone),	      cmocka_unit_test(retry_both),
		cmocka_unit_test(marked_alone),	      cmocka_unit_test(marked_both),
		cmocka_unit_test(block_alone),	      cmocka_unit_test(block_both),
		cmocka_unit_test(block_both_probing), cmocka_unit_test(reuse_alone),
		cmocka_unit_test(reuse_both),	      cmocka_unit_test(wait_alone),
		cmocka_unit_test(wait_both),	      cmocka_unit_test(wait_callback_alone),
		cmocka_unit_test(wait_callback_both), cmocka_unit_test(remove_end_alone),
		cmocka_unit_test(remove_end_both),    cmocka_unit_test(remove_wait_alone),
		cmocka_unit_test(remove_wait_both),
	};

	net_init(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
