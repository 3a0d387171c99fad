// SPDX-License-Identifier: MIT
/*
 * test_monitor.c - the monitor's life: import, start, stop, close, fork; the ranges that it
 * watches, and how they end; what it refuses.
 */
#include "fi_test.h"

#include <sys/resource.h>

#include "monitor.h"

static struct fi_ops_mem_monitor *ops(void)
{
	return fi_monitor.export_ops;
}

/* libfabric's calls, under its mutex. Each subscription is preceded by one of another
 * range, so that the thread is seen to have been here before. */
static int subscribe(const void *addr, size_t len)
{
	int ret;

	standin_lock();
	ret = ops()->subscribe(&fi_monitor, addr, len);
	standin_unlock();
	return ret;
}

static int keep(const void *addr, size_t len)
{
	subscribe(addr, len);
	return subscribe(addr, len);
}

static bool valid(const void *addr, size_t len)
{
	bool ret;

	standin_lock();
	ret = ops()->valid(&fi_monitor, addr, len);
	standin_unlock();
	return ret;
}

static void *pages(size_t n)
{
	void *p = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	must(p != MAP_FAILED);
	return p;
}

/* No more address space from here on; in a child, for good. */
static void no_memory(void)
{
	struct rlimit limit = {PAGE, PAGE};

	must(setrlimit(RLIMIT_AS, &limit) == 0);
}

static int import_without_memory(struct mm_struct *mm)
{
	no_memory();
	must(!fi_table); /* this test comes first */
	must(quiet(hmmu_fi_import(mm, NULL)) == -ENOMEM);
	must(quiet(hmmu_fi_close()) == -EINVAL);
	return 0;
}

static void test_no_memory(void **state)
{
	struct mm_struct *mm;
	int status;
	pid_t pid;

	if (API_SLOW != 1) /* sanitizers live on address space */
		return;
	pid = fork();
	must(pid >= 0);
	if (!pid) {
		standin_reset();
		mm = open_mm(HMMU_MM_OWN_RECLAIM);
		_exit(import_without_memory(mm));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_import_errors(void **state)
{
	struct hmmu_fi_options o = {.size = sizeof(o)};
	struct hmmu_fi_stats st = {.size = sizeof(st)};
	struct mm_struct *mm = open_mm(0);

	standin_reset();
	assert_int_equal(quiet(hmmu_fi_close()), -EINVAL);
	assert_int_equal(quiet(hmmu_fi_stat(&st)), -EINVAL);
	assert_int_equal(quiet(hmmu_fi_import(NULL, NULL)), -EINVAL);
	o.size--;
	assert_int_equal(quiet(hmmu_fi_import(mm, &o)), -EINVAL);
	o.size++;
	o.flags = 4;
	assert_int_equal(quiet(hmmu_fi_import(mm, &o)), -EINVAL);
	o.flags = HMMU_FI_WRAPPED_ONLY | HMMU_FI_WINDOW_OPEN;
	assert_int_equal(quiet(hmmu_fi_import(mm, &o)), -EINVAL);
	o.flags = 0;
	o.reserved[4] = 1;
	assert_int_equal(quiet(hmmu_fi_import(mm, &o)), -EINVAL);
	o.reserved[4] = 0;
	setenv("FI_MR_CACHE_MONITOR", "memhooks", 1);
	assert_int_equal(quiet(hmmu_fi_import(mm, &o)), -EEXIST);
	unsetenv("FI_MR_CACHE_MONITOR");
	standin_too_old = true;
	assert_int_equal(quiet(hmmu_fi_import(mm, &o)), -ENOSYS);
	standin_too_old = false;
	assert_int_equal(quiet(hmmu_fi_import(mm, &o)), 0);
	assert_int_equal(quiet(hmmu_fi_import(mm, &o)), -EBUSY);
	assert_int_equal(quiet(hmmu_fi_stat(NULL)), -EINVAL);
	st.size = 8;
	assert_int_equal(quiet(hmmu_fi_stat(&st)), -EINVAL);
	assert_int_equal(quiet(hmmu_fi_close()), 0);
	assert_int_equal(quiet(hmmu_fi_close()), -EINVAL);
	close_mm(mm);
}

/* Somebody else's monitor is there: nothing is left of the attempt. */
static void test_import_refused(void **state)
{
	static struct fi_ops_mem_monitor theirs_ops;
	static struct fid_mem_monitor theirs;
	struct mm_struct *mm = open_mm(0);

	standin_reset();
	theirs_ops = *ops();
	theirs.fid.fclass = FI_CLASS_MEM_MONITOR;
	theirs.export_ops = &theirs_ops;
	assert_int_equal(
		fi_import(FI_VERSION(1, 13), "mr_cache", NULL, 0, 0, &theirs.fid, NULL), 0);
	assert_int_equal(quiet(hmmu_fi_import(mm, NULL)), -EBUSY);
	assert_int_equal(quiet(hmmu_fi_close()), -EINVAL);
	assert_int_equal(fi_close(&theirs.fid), 0);
	assert_int_equal(quiet(hmmu_fi_import(mm, NULL)), 0);
	assert_int_equal(quiet(hmmu_fi_close()), 0);
	close_mm(mm);
}

static void test_close_while_running(void **state)
{
	struct bench b;

	bench_open(&b, HMMU_SOURCE_EXPLICIT, 0, 0);
	assert_int_equal(stats().running, 1);
	assert_int_equal(quiet(hmmu_fi_close()), -EBUSY);
	assert_int_equal(stats().running, 1);
	keep(b.buf, PAGE);
	assert_int_equal(hmmu_mm_close(b.mm), -EBUSY);
	bench_close(&b);
}

/* 1.17 crashes when it is told of a change before its initialisation; so does the stand-in. */
static void test_no_notify_before_start(void **state)
{
	struct mm_struct *mm = open_mm(HMMU_MM_OWN_RECLAIM);
	char *p = pages(1);

	standin_reset();
	assert_int_equal(hmmu_fi_import(mm, NULL), 0);
	subscribe(p, PAGE);
	invalidate(mm, (unsigned long)p, (unsigned long)p + PAGE);
	assert_int_equal(hmmu_reclaim(mm), 1);
	assert_int_equal(standin_notified(), 0);
	assert_int_equal(stats().watched, 0);
	assert_int_equal(hmmu_fi_close(), 0);
	close_mm(mm);
	munmap(p, PAGE);
}

/* Nothing is watched after it, and libfabric is told no more. */
static void test_stop(void **state)
{
	struct bench b;

	bench_open(&b, HMMU_SOURCE_EXPLICIT, HMMU_MM_OWN_RECLAIM, 0);
	mr_close(plain_reg(&b));
	mr_close(plain_reg(&b));
	bench_remap(&b);
	standin_domain_close(b.domain);
	assert_int_equal(stats().running, 0);
	assert_int_equal(hmmu_reclaim(b.mm), 1);
	assert_int_equal(standin_notified(), 0);
	b.domain = standin_domain_open();
	keep(b.buf, PAGE);
	assert_int_equal(stats().watched, 1);
	standin_domain_close(b.domain);
	settle(&b, true);
	assert_int_equal(stats().watched, 0);
	b.domain = standin_domain_open();
	bench_close(&b);
}

static struct gate in_notify, go;

static void held_notify(struct fid_mem_monitor *monitor, const void *addr, size_t len)
{
	gate_open(&in_notify);
	gate_pass(&go);
}

static void close_domain(void *arg)
{
	standin_domain_close(arg);
}

/* stop() returns after the notify() that is running. */
static void test_stop_waits_for_notify(void **state)
{
	static struct fi_ops_mem_notify held = {sizeof(held), held_notify};
	struct fi_ops_mem_notify *theirs;
	struct runner r = {0};
	struct bench b;

	gate_init(&in_notify);
	gate_init(&go);
	bench_open(&b, HMMU_SOURCE_EXPLICIT, 0, 0);
	theirs = fi_monitor.import_ops;
	fi_monitor.import_ops = &held;
	subscribe(b.buf, PAGE);
	bench_remap(&b);
	gate_pass(&in_notify);
	runner_start(&r, close_domain, b.domain);
	assert_true(runner_sleeps(&r));
	gate_open(&go);
	runner_join(&r);
	fi_monitor.import_ops = theirs;
	b.domain = standin_domain_open();
	bench_close(&b);
}

/* Until all caches have been told, old entries of the range may be there. */
static void test_refused_while_being_told(void **state)
{
	static struct fi_ops_mem_notify held = {sizeof(held), held_notify};
	struct fi_ops_mem_notify *theirs;
	struct bench b;

	gate_init(&in_notify);
	gate_init(&go);
	bench_open(&b, HMMU_SOURCE_EXPLICIT, 0, HMMU_FI_WINDOW_OPEN);
	theirs = fi_monitor.import_ops;
	fi_monitor.import_ops = &held;
	assert_int_equal(subscribe(b.buf, PAGE), 0);
	bench_remap(&b);
	gate_pass(&in_notify);
	assert_int_equal(subscribe(b.buf, PAGE), -EAGAIN);
	assert_false(valid(b.buf, PAGE));
	gate_open(&go);
	settle(&b, false);
	assert_int_equal(subscribe(b.buf, PAGE), 0);
	fi_monitor.import_ops = theirs;
	bench_close(&b);
}

static void test_what_cannot_be_watched(void **state)
{
	char *p = pages(4);
	struct bench b;

	bench_open(&b, HMMU_SOURCE_EXPLICIT, 0, HMMU_FI_WINDOW_OPEN);
	munmap(p + 2 * PAGE, PAGE);
	assert_int_equal(subscribe(p, 2 * PAGE), 0);
	assert_int_equal(subscribe(p + 2 * PAGE, PAGE), -EFAULT);
	assert_int_equal(subscribe(p, 3 * PAGE), -EFAULT);
	assert_int_equal(subscribe(p + PAGE, PAGE + 1), -EFAULT);
	assert_int_equal(subscribe(p, 0), -EOVERFLOW);
	assert_int_equal(subscribe((void *)-PAGE, 2 * PAGE), -EOVERFLOW);
	assert_int_equal(subscribe(NULL, (size_t)-1), -EOVERFLOW);
	settle(&b, false);
	assert_int_equal(stats().once_other, 6);
	assert_int_equal(stats().watched, 1);
	assert_false(valid(p + 2 * PAGE, PAGE));
	munmap(p, 4 * PAGE);
	bench_close(&b);
}

/* A range ends at a change of any page of it, and of no other. */
static void test_whole_pages(void **state)
{
	char *p = pages(3);
	struct bench b;

	bench_open(&b, HMMU_SOURCE_EXPLICIT, 0, 0);
	assert_int_equal(keep(p + PAGE + 100, 8), 0);
	assert_true(valid(p + PAGE + 100, 8));
	assert_false(valid(p + PAGE + 100, 7));
	invalidate(b.mm, (unsigned long)p, (unsigned long)p + PAGE);
	invalidate(b.mm, (unsigned long)p + 2 * PAGE, (unsigned long)p + 3 * PAGE);
	assert_true(valid(p + PAGE + 100, 8));
	invalidate(b.mm, (unsigned long)p + PAGE, (unsigned long)p + PAGE + 1);
	assert_false(valid(p + PAGE + 100, 8));
	munmap(p, 3 * PAGE);
	bench_close(&b);
}

static long resident(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	long size, rss;

	must(f && fscanf(f, "%ld %ld", &size, &rss) == 2);
	fclose(f);
	return rss * (long)PAGE;
}

#define MANY 100000

/* libfabric never says that it forgot a range: memory is bounded all the same. */
static void test_100000_subscriptions(void **state)
{
	char *p = pages(MANY);
	long before, grown;
	struct bench b;

	bench_open(&b, HMMU_SOURCE_EXPLICIT, HMMU_MM_OWN_RECLAIM, HMMU_FI_WINDOW_OPEN);
	for (int i = 0; i < MANY; i++)
		assert_int_equal(subscribe(p, PAGE), 0); /* the same: one record */
	assert_int_equal(stats().watched, 1);
	for (int i = 0; i < MANY; i++)
		subscribe(p + i * PAGE, PAGE);
	assert_true(stats().watched <= RECORDS);
	assert_true(stats().once_full > 0); /* nobody reclaimed */
	before = resident();
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < MANY; i++) {
			subscribe(p + i * PAGE, PAGE);
			if (i % 256 == 0)
				hmmu_reclaim(b.mm);
		}
		assert_true(stats().watched <= RECORDS);
	}
	grown = resident() - before;
	if (API_SLOW == 1) /* sanitizers keep memory of their own */
		assert_true(grown < 4 << 20);
	/* The last ones are there, early ones had to go, and libfabric heard of it. */
	assert_true(valid(p + (MANY - 1) * PAGE, PAGE));
	assert_false(valid(p + 1000 * PAGE, PAGE));
	assert_true(standin_notified() > 0);
	invalidate(b.mm, (unsigned long)p, (unsigned long)p + MANY * PAGE);
	assert_false(valid(p + (MANY - 1) * PAGE, PAGE));
	hmmu_reclaim(b.mm);
	assert_int_equal(stats().watched, 0);
	bench_close(&b);
	munmap(p, MANY * PAGE);
}

/* What is looked up is not evicted before what is not; nor what unsubscribe names. */
static void test_eviction_by_use(void **state)
{
	char *p = pages(2 * RECORDS);
	struct bench b;

	bench_open(&b, HMMU_SOURCE_EXPLICIT, HMMU_MM_OWN_RECLAIM, HMMU_FI_WINDOW_OPEN);
	for (unsigned int i = 0; i < RECORDS - ROOM; i++)
		assert_int_equal(subscribe(p + i * PAGE, PAGE), 0);
	assert_int_equal(stats().watched, RECORDS - ROOM);
	standin_lock();
	for (unsigned int i = 0; i < RECORDS - ROOM; i++) {
		if (i % 2)
			ops()->unsubscribe(&fi_monitor, p + i * PAGE, PAGE);
	}
	standin_unlock();
	for (unsigned int i = RECORDS; i < RECORDS + ROOM; i++)
		subscribe(p + i * PAGE, PAGE);
	for (unsigned int i = 0; i < RECORDS - ROOM; i += 2)
		assert_true(valid(p + i * PAGE, PAGE));
	hmmu_reclaim(b.mm);
	assert_true(stats().watched <= RECORDS - ROOM + 2);
	bench_close(&b);
	munmap(p, 2 * RECORDS * PAGE);
}

/* Nothing of it is left to be run when close returns: the next import begins anew. */
static void test_close_buries_all(void **state)
{
	char *p = pages(100);
	struct bench b;

	bench_open(&b, HMMU_SOURCE_EXPLICIT, HMMU_MM_OWN_RECLAIM, 0);
	for (int i = 0; i < 100; i++)
		keep(p + i * PAGE, PAGE);
	standin_domain_close(b.domain);
	assert_int_equal(hmmu_fi_close(), 0);
	assert_int_equal(hmmu_reclaim(b.mm), 0);
	assert_int_equal(hmmu_fi_import(b.mm, NULL), 0);
	assert_int_equal(stats().watched, 0);
	b.domain = standin_domain_open();
	assert_false(valid(p, PAGE));
	bench_close(&b);
	munmap(p, 100 * PAGE);
}

static int must_not_close(struct fid *fid)
{
	must(!"the parent's registration is closed");
	return 0;
}

static struct fi_ops parents = {.size = sizeof(parents), .close = must_not_close};

static int in_child(struct bench *b, struct hmmu_fi_mr *mr)
{
	struct mm_struct *mm = open_mm(HMMU_MM_OWN_RECLAIM);

	must(!valid(b->buf, PAGES * PAGE));
	must(subscribe(b->buf, PAGES * PAGE) != 0);
	must(!hmmu_fi_mr_valid(mr));
	hmmu_fi_mr_fid(mr)->fid.ops = &parents;
	must(hmmu_fi_mr_close(mr) == 0);
	must(hmmu_fi_import(b->mm, NULL) == -ENODEV);
	must(hmmu_fi_import(mm, NULL) == 0);
	must(hmmu_fi_import(mm, NULL) == -EBUSY);
	must(keep(b->buf, PAGE) == 0);
	must(valid(b->buf, PAGE));
	invalidate(mm, (unsigned long)b->buf, (unsigned long)b->buf + PAGE);
	must(!valid(b->buf, PAGE));
	standin_domain_close(b->domain);
	must(hmmu_fi_close() == 0);
	close_mm(mm);
	return 0;
}

/* The child closes the import that it inherited. */
static int in_other_child(struct bench *b)
{
	must(fi_monitor.export_ops->start(&fi_monitor) == -FI_ENODEV);
	standin_domain_close(b->domain);
	must(hmmu_fi_close() == 0);
	must(hmmu_fi_close() == -EINVAL);
	return 0;
}

static struct gate held, forked;

static void hold_locks(void *arg)
{
	pthread_mutex_lock(&fi_table->gate);
	pthread_mutex_lock(&fi_table->lock);
	gate_open(&held);
	gate_pass(&forked);
	pthread_mutex_unlock(&fi_table->lock);
	pthread_mutex_unlock(&fi_table->gate);
}

/* Another thread holds each lock of ours at that moment. */
static void test_fork(void **state)
{
	struct runner r = {0};
	struct hmmu_fi_mr *mr;
	struct bench b;
	int status;
	pid_t pid;

	bench_open(&b, HMMU_SOURCE_EXPLICIT, 0, 0);
	mr = wrapped_reg(&b);
	for (int i = 0; i < 2; i++) {
		gate_init(&held);
		gate_init(&forked);
		runner_start(&r, hold_locks, NULL);
		gate_pass(&held);
		pid = fork();
		must(pid >= 0);
		if (!pid) {
			api_guard(20);
			_exit(i ? in_other_child(&b) : in_child(&b, mr));
		}
		gate_open(&forked);
		runner_join(&r);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
	assert_true(hmmu_fi_mr_valid(mr));
	assert_true(valid(b.buf, PAGES * PAGE));
	assert_int_equal(hmmu_fi_mr_close(mr), 0);
	bench_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_import_errors),
		cmocka_unit_test(test_import_refused),
		cmocka_unit_test(test_close_while_running),
		cmocka_unit_test(test_no_notify_before_start),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_stop_waits_for_notify),
		cmocka_unit_test(test_refused_while_being_told),
		cmocka_unit_test(test_what_cannot_be_watched),
		cmocka_unit_test(test_whole_pages),
		cmocka_unit_test(test_100000_subscriptions),
		cmocka_unit_test(test_eviction_by_use),
		cmocka_unit_test(test_close_buries_all),
		cmocka_unit_test(test_fork),
	};

	api_guard(100);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
