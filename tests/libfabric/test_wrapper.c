// SPDX-License-Identifier: MIT
/* test_wrapper.c - hmmu_fi_mr_reg() and its forms: what they refuse, and the handle. */
#include "fi_test.h"

#include <sys/resource.h>

#include "monitor.h"

static int reg(struct bench *b, const void *buf, size_t len, struct hmmu_fi_mr **mr)
{
	return quiet(hmmu_fi_mr_reg(b->mm, b->domain, buf, len, FI_SEND, 0, 0, 0, mr, NULL));
}

static int regattr(struct bench *b, const struct fi_mr_attr *attr, uint64_t flags,
		   const struct timespec *deadline, struct hmmu_fi_mr **mr)
{
	return quiet(hmmu_fi_mr_regattr(b->mm, b->domain, attr, flags, deadline, mr));
}

static void test_reg_errors(void **state)
{
	struct hmmu_fi_mr *const none = (void *)-1L, *mr = none;
	struct bench b;
	char *p;

	bench_open(&b, HMMU_SOURCE_EXPLICIT, 0, 0);
	p = (char *)b.buf;
	assert_int_equal(quiet(hmmu_fi_mr_reg(NULL, b.domain, p, 1, 0, 0, 0, 0, &mr, NULL)),
			 -EINVAL);
	assert_int_equal(quiet(hmmu_fi_mr_reg(b.mm, NULL, p, 1, 0, 0, 0, 0, &mr, NULL)),
			 -EINVAL);
	assert_int_equal(reg(&b, p, 1, NULL), -EINVAL);
	assert_int_equal(reg(&b, p, 0, &mr), -EOVERFLOW);
	assert_int_equal(reg(&b, (void *)-PAGE, 2 * PAGE, &mr), -EOVERFLOW);
	munmap(p + 2 * PAGE, PAGE);
	assert_int_equal(reg(&b, p + 2 * PAGE, 1, &mr), -EFAULT);
	assert_int_equal(reg(&b, p, PAGES * PAGE, &mr), -EFAULT);
	assert_int_equal(reg(&b, p + PAGE, PAGE + 1, &mr), -EFAULT);
	standin_hooks.fail = -FI_EKEYREJECTED;
	assert_int_equal(reg(&b, p, PAGE, &mr), -FI_EKEYREJECTED);
	assert_ptr_equal(mr, none);
	assert_int_equal(standin_cached(b.domain), 0);
	assert_int_equal(stats().watched, 0);
	assert_int_equal(quiet(hmmu_fi_mr_close(NULL)), -EINVAL);
	bench_close(&b);
}

static int reg_without_memory(struct bench *b)
{
	void *(*volatile take)(size_t) = malloc; /* clang knows that malloc never fails */
	struct rlimit limit = {PAGE, PAGE};
	struct iovec iov[64];
	struct hmmu_fi_mr *mr;

	for (int i = 0; i < 64; i++)
		iov[i] = (struct iovec){b->buf, PAGE};

	must(setrlimit(RLIMIT_AS, &limit) == 0);
	for (size_t size = 1 << 20; size >= 8; size /= 2) {
		while (take(size))
			;
	}
	/* more than malloc keeps aside for its own frees */
	must(quiet(hmmu_fi_mr_regv(b->mm, b->domain, iov, 64, FI_SEND, 0, 0, 0, &mr, NULL)) ==
	     -ENOMEM);
	return 0;
}

static void test_no_memory(void **state)
{
	struct bench b;
	int status;
	pid_t pid;

	if (API_SLOW != 1) /* sanitizers live on address space */
		return;
	pid = fork();
	must(pid >= 0);
	if (!pid) {
		bench_open(&b, HMMU_SOURCE_EXPLICIT, HMMU_MM_OWN_RECLAIM, 0);
		_exit(reg_without_memory(&b));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_regv_errors(void **state)
{
	struct iovec iov[65];
	struct hmmu_fi_mr *mr;
	struct bench b;

	bench_open(&b, HMMU_SOURCE_EXPLICIT, 0, 0);
	for (int i = 0; i < 65; i++)
		iov[i] = (struct iovec){b.buf, PAGE};
	assert_int_equal(quiet(hmmu_fi_mr_regv(b.mm, b.domain, iov, 0, 0, 0, 0, 0, &mr, NULL)),
			 -EINVAL);
	assert_int_equal(quiet(hmmu_fi_mr_regv(b.mm, b.domain, NULL, 1, 0, 0, 0, 0, &mr, NULL)),
			 -EINVAL);
	assert_int_equal(quiet(hmmu_fi_mr_regv(b.mm, b.domain, iov, 65, 0, 0, 0, 0, &mr, NULL)),
			 -EINVAL);
	/* the stand-in's provider takes one, and says so itself */
	assert_int_equal(quiet(hmmu_fi_mr_regv(b.mm, b.domain, iov, 64, 0, 0, 0, 0, &mr, NULL)),
			 -FI_EINVAL);
	iov[1].iov_len = 0;
	assert_int_equal(quiet(hmmu_fi_mr_regv(b.mm, b.domain, iov, 2, 0, 0, 0, 0, &mr, NULL)),
			 -EOVERFLOW);
	bench_close(&b);
}

static void test_regattr_errors(void **state)
{
	struct iovec iov;
	struct fi_mr_attr attr = {.mr_iov = &iov, .iov_count = 1, .access = FI_SEND};
	struct hmmu_fi_mr *mr;
	struct bench b;

	bench_open(&b, HMMU_SOURCE_EXPLICIT, 0, 0);
	iov = (struct iovec){b.buf, PAGE};
	assert_int_equal(regattr(&b, NULL, 0, NULL, &mr), -EINVAL);
	attr.iface = FI_HMEM_CUDA;
	assert_int_equal(regattr(&b, &attr, 0, NULL, &mr), -EOPNOTSUPP);
	attr.iface = FI_HMEM_SYSTEM;
	assert_int_equal(regattr(&b, &attr, 1ULL << 40, NULL, &mr), -EOPNOTSUPP);
	assert_int_equal(regattr(&b, &attr, 0, NULL, &mr), 0);
	assert_int_equal(hmmu_fi_mr_close(mr), 0);
	bench_close(&b);
}

/* Open since before, or changed each time: the deadline ends it. */
static struct bench *always;

static void remap_again(void *arg)
{
	bench_remap(always);
	standin_hooks.pinned = remap_again;
}

static void test_deadline(void **state)
{
	static const struct timespec zero;
	struct iovec iov;
	struct fi_mr_attr attr = {.mr_iov = &iov, .iov_count = 1, .access = FI_SEND};
	struct mmu_notifier_range range;
	struct timespec soon;
	struct hmmu_fi_mr *mr;
	struct bench b;

	bench_open(&b, HMMU_SOURCE_EXPLICIT, 0, 0);
	iov = (struct iovec){b.buf, PAGE};
	range_open(&range, b.mm, (unsigned long)b.buf, (unsigned long)b.buf + 1);
	assert_int_equal(regattr(&b, &attr, 0, &zero, &mr), -ETIMEDOUT);
	range_close(&range);
	always = &b;
	standin_hooks.pinned = remap_again;
	assert_int_equal(regattr(&b, &attr, 0, &zero, &mr), -ETIMEDOUT);
	assert_int_equal(stats().collisions, 1);
	clock_gettime(CLOCK_MONOTONIC, &soon);
	soon.tv_nsec += 5000000;
	if (soon.tv_nsec >= 1000000000) {
		soon.tv_nsec -= 1000000000;
		soon.tv_sec++;
	}
	standin_hooks.pinned = remap_again;
	assert_int_equal(regattr(&b, &attr, 0, &soon, &mr), -ETIMEDOUT);
	assert_true(stats().collisions > 1);
	standin_hooks.pinned = NULL;
	assert_int_equal(regattr(&b, &attr, 0, &zero, &mr), 0);
	assert_int_equal(hmmu_fi_mr_close(mr), 0);
	bench_close(&b);
}

static void remap_once(void *arg)
{
	bench_remap(arg);
}

/* A page that goes while it is pinned makes the provider fail; the next turn does not. */
static void test_failure_of_a_collided_one(void **state)
{
	struct hmmu_fi_mr *mr;
	struct bench b;

	bench_open(&b, HMMU_SOURCE_EXPLICIT, 0, 0);
	standin_hooks.fail = -FI_ENOMEM;
	standin_hooks.pinned = remap_once;
	standin_hooks.arg = &b;
	mr = wrapped_reg(&b);
	assert_int_equal(stats().collisions, 1);
	assert_false(stale(&b, hmmu_fi_mr_fid(mr)));
	assert_int_equal(hmmu_fi_mr_close(mr), 0);
	bench_close(&b);
}

static void test_valid(void **state)
{
	struct hmmu_fi_mr *mr;
	unsigned long start;
	struct bench b;

	bench_open(&b, HMMU_SOURCE_EXPLICIT, 0, 0);
	start = (unsigned long)b.buf;
	assert_int_equal(reg(&b, (char *)b.buf + PAGE + 8, 16, &mr), 0);
	invalidate(b.mm, start, start + PAGE);
	invalidate(b.mm, start + 2 * PAGE, start + 3 * PAGE);
	assert_true(quiet(hmmu_fi_mr_valid(mr)));
	/* another part of the same page: pages are what is pinned */
	invalidate(b.mm, start + PAGE + 2048, start + PAGE + 2049);
	assert_false(quiet(hmmu_fi_mr_valid(mr)));
	assert_false(quiet(hmmu_fi_mr_valid(mr)));
	assert_int_equal(hmmu_mm_close(b.mm), -EBUSY);
	assert_int_equal(quiet(hmmu_fi_mr_close(mr)), 0);
	bench_close(&b);
}

static struct fi_ops_mr *theirs;

static int regv_first(struct fid *fid, const struct iovec *iov, size_t count, uint64_t access,
		      uint64_t offset, uint64_t key, uint64_t flags, struct fid_mr **mr,
		      void *context)
{
	must(count == 2);
	return theirs->regv(fid, iov, 1, access, offset, key, flags, mr, context);
}

static void change_first_page(void *arg)
{
	struct bench *b = arg;

	invalidate(b->mm, (unsigned long)b->buf, (unsigned long)b->buf + 1);
}

/* Of several pieces each is watched, during the registration and after it. */
static void test_two_pieces(void **state)
{
	struct fi_ops_mr mine;
	struct hmmu_fi_mr *mr;
	struct iovec iov[2];
	struct bench b;

	bench_open(&b, HMMU_SOURCE_EXPLICIT, 0, 0);
	theirs = b.domain->mr;
	mine = *theirs;
	mine.regv = regv_first;
	b.domain->mr = &mine;
	for (int i = 0; i < 2; i++) {
		standin_hooks.pinned = change_first_page;
		standin_hooks.arg = &b;
		iov[0] = (struct iovec){(char *)b.buf + 2 * i * PAGE, PAGE};
		iov[1] = (struct iovec){(char *)b.buf + 2 * (1 - i) * PAGE, PAGE};
		assert_int_equal(quiet(hmmu_fi_mr_regv(b.mm, b.domain, iov, 2, FI_SEND, 0, 0, 0,
						       &mr, NULL)),
				 0);
		assert_int_equal(stats().collisions, i + 1);
		assert_true(hmmu_fi_mr_valid(mr));
		change_first_page(&b);
		assert_false(hmmu_fi_mr_valid(mr));
		assert_int_equal(hmmu_fi_mr_close(mr), 0);
	}
	b.domain->mr = theirs;
	bench_close(&b);
}

static int refuse_close(struct fid *fid)
{
	return -FI_EBUSY;
}

/* A registration that is bound to something: nothing changes, and it is still watched. */
static void test_close_refused(void **state)
{
	struct fi_ops *old, refusing = {.size = sizeof(refusing), .close = refuse_close};
	struct hmmu_fi_mr *mr;
	struct bench b;

	bench_open(&b, HMMU_SOURCE_EXPLICIT, 0, 0);
	mr = wrapped_reg(&b);
	old = hmmu_fi_mr_fid(mr)->fid.ops;
	hmmu_fi_mr_fid(mr)->fid.ops = &refusing;
	assert_int_equal(quiet(hmmu_fi_mr_close(mr)), -FI_EBUSY);
	assert_true(hmmu_fi_mr_valid(mr));
	bench_remap(&b);
	assert_false(hmmu_fi_mr_valid(mr));
	hmmu_fi_mr_fid(mr)->fid.ops = old;
	assert_int_equal(quiet(hmmu_fi_mr_close(mr)), 0);
	bench_close(&b);
}

/* In a forked child nothing is watched. */
static void test_child_cannot_register(void **state)
{
	struct bench b;
	int status;
	pid_t pid;

	bench_open(&b, HMMU_SOURCE_EXPLICIT, 0, 0);
	pid = fork();
	must(pid >= 0);
	if (!pid) {
		struct hmmu_fi_mr *mr;

		_exit(reg(&b, b.buf, PAGE, &mr) != -ENODEV);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	bench_close(&b);
}

/*
 * Two threads register and look up, one remaps: what a handle says is good, at completion, is
 * of the memory's generation. Locks, too: libfabric's are held while hooks fire.
 */
struct storm {
	struct bench b;
	atomic_ulong generation; /* odd while it changes */
	atomic_bool stop;
	atomic_long good, wrong;
};

static void storm_reader(void *arg)
{
	struct storm *s = arg;
	unsigned long before, pinned;
	struct hmmu_fi_mr *mr;
	bool ok;

	while (!s->stop) {
		before = s->generation;
		if (hmmu_fi_mr_reg(s->b.mm, s->b.domain, s->b.buf, PAGE, FI_SEND, 0, 0, 0, &mr,
				   NULL))
			continue;
		pinned = standin_pinned(hmmu_fi_mr_fid(mr));
		ok = hmmu_fi_mr_valid(mr);
		if (ok && !(before & 1) && before == s->generation) {
			s->good++;
			s->wrong += pinned != before;
		}
		must(hmmu_fi_mr_close(mr) == 0);
		mr_close(plain_reg(&s->b));
	}
}

static void test_storm(void **state)
{
	static struct storm s;
	struct runner r[2] = {0};

	bench_open(&s.b, HMMU_SOURCE_HOOKS, 0, 0);
	*s.b.buf = 0;
	for (int i = 0; i < 2; i++)
		runner_start(&r[i], storm_reader, &s);
	for (unsigned long i = 0; i < 4000 / API_SLOW || s.good < 100; i++) {
		/* The number comes with the page: a pin is made of what is read. */
		unsigned long *next = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
					   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		must(next != MAP_FAILED);
		*next = s.generation + 2;
		s.generation++;
		must(mremap(next, PAGES * PAGE, PAGES * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
			    s.b.buf) == s.b.buf);
		s.generation++;
		if (i % 16 == 0)
			sched_yield();
	}
	s.stop = true;
	for (int i = 0; i < 2; i++)
		runner_join(&r[i]);
	assert_int_equal(s.wrong, 0);
	bench_close(&s.b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reg_errors),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_regv_errors),
		cmocka_unit_test(test_regattr_errors),
		cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_failure_of_a_collided_one),
		cmocka_unit_test(test_valid),
		cmocka_unit_test(test_two_pieces),
		cmocka_unit_test(test_close_refused),
		cmocka_unit_test(test_child_cannot_register),
		cmocka_unit_test(test_storm),
	};

	api_guard(100);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
