// SPDX-License-Identifier: MIT
/*
 * test_fork.c - a forked child starts with everything invalid, touches nothing of
 * the parent's, and can open an address space of its own; the parent notices nothing.
 *
 * A child runs under an alarm and answers by its exit status: 0, or the signal that
 * must() or the alarm ended it with.
 */
#include "api.h"

#include <sys/wait.h>

#define A 0x100000UL
#define CHILD_SECONDS 20

static void in_child(void (*fn)(void *arg), void *arg)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	must(pid >= 0);
	if (!pid) {
		signal(SIGALRM, SIG_DFL);
		alarm(CHILD_SECONDS);
		fn(arg);
		_exit(0);
	}
	while (waitpid(pid, &status, 0) < 0)
		must(errno == EINTR);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		fprintf(stderr, "child: %s %d\n", WIFSIGNALED(status) ? "signal" : "exit",
			WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	must(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static int whole_start(struct mmu_notifier *sub, const struct mmu_notifier_range *range)
{
	return 0;
}

static const struct mmu_notifier_ops whole_ops = {.invalidate_range_start = whole_start};

/* An address space of the child's own, used for everything once. */
static void use_own_mm(void *arg)
{
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range range;
	struct mmu_notifier whole = {.ops = &whole_ops};
	struct probe probe;
	unsigned long seq;

	probe_add(&probe, mm, A, PAGE);
	seq = mmu_interval_read_begin(&probe.sub);
	must(!mmu_interval_read_retry(&probe.sub, seq));
	range_open(&range, mm, A, A + 1);
	must(atomic_load(&probe.calls) == 1);
	must(probe_poll(&probe) == -ETIMEDOUT);
	must(mmu_interval_read_retry(&probe.sub, seq));
	range_close(&range);
	must(probe_poll(&probe) == 0);
	must(mmu_notifier_register(&whole, mm) == 0);
	must(hmmu_mm_close(mm) == -EBUSY);
	mmu_notifier_unregister(&whole, mm);
	must(hmmu_mm_describe(mm, NULL, 0) > 0);
	probe_remove(&probe);
	close_mm(mm);
}

struct family {
	struct mm_struct *mm;
	struct probe probe, other;
	unsigned long seq;
	struct mmu_notifier_range range; /* open */
	struct gate inside, go;
};

/* What the parent had, seen by the child. */
static void expect_invalid(void *arg)
{
	struct family *family = arg;
	struct mmu_interval_notifier *sub = &family->probe.sub, fresh;
	struct mmu_notifier whole = {.ops = &whole_ops};
	const struct timespec zero = {0, 0};
	unsigned long seq;
	int i;

	for (i = 0; i < 2; i++) {
		must(!quiet(hmmu_access_ok(sub, family->seq)));
		must(quiet(mmu_interval_read_retry(sub, family->seq)));
		must(quiet(mmu_interval_check_retry(sub, family->seq)));
		must(quiet(hmmu_read_begin(sub, &seq, NULL)) == -ENODEV); /* never waits */
		must(mmu_interval_read_retry(sub, seq));
		must(!hmmu_access_ok(sub, seq));
		must(quiet(hmmu_read_begin(sub, &seq, &zero)) == -ENODEV);
		must(mmu_interval_read_retry(sub, seq));
		seq = quiet(mmu_interval_read_begin(sub));
		must(mmu_interval_read_retry(sub, seq));
		must(!hmmu_access_ok(sub, seq));
		must(quiet(mmu_interval_notifier_insert(&fresh, family->mm, A, 1,
							&probe_ops)) == -ENODEV);
		must(quiet(hmmu_mm_describe(family->mm, NULL, 0)) == -ENODEV);
		must(quiet(mmu_notifier_register(&whole, family->mm)) == -ENODEV);
		use_own_mm(NULL); /* having one of its own revives nothing */
	}
	probe_remove(&family->probe);
	probe_remove(&family->other);
	/* the structure is the child's now: it may go into its own mm */
	close_mm(family->mm);
	family->mm = open_mm(0);
	probe_add(&family->probe, family->mm, A, PAGE);
	invalidate(family->mm, A, A + 1);
	must(atomic_load(&family->probe.calls) == 1);
	must(probe_poll(&family->probe) == 0);
	probe_remove(&family->probe);
	close_mm(family->mm);
}

static void family_open(struct family *family)
{
	memset(family, 0, sizeof(*family));
	gate_init(&family->inside);
	gate_init(&family->go);
	family->mm = open_mm(0);
	probe_add(&family->probe, family->mm, A, PAGE);
	probe_add(&family->other, family->mm, A, 2 * PAGE);
	family->seq = mmu_interval_read_begin(&family->probe.sub);
}

static void family_close(struct family *family)
{
	probe_remove(&family->probe);
	probe_remove(&family->other);
	close_mm(family->mm);
}

static void test_child_has_nothing(void **state)
{
	struct family family;

	family_open(&family);
	in_child(expect_invalid, &family);
	/* the parent: undisturbed */
	assert_true(hmmu_access_ok(&family.probe.sub, family.seq));
	assert_false(mmu_interval_read_retry(&family.probe.sub, family.seq));
	invalidate(family.mm, A, A + 1);
	assert_int_equal(atomic_load(&family.probe.calls), 1);
	assert_true(hmmu_mm_describe(family.mm, NULL, 0) > 0);
	family_close(&family);
}

static void test_fork_while_an_invalidation_is_open(void **state)
{
	struct family family;

	family_open(&family);
	range_open(&family.range, family.mm, A, A + 1);
	in_child(expect_invalid, &family);
	assert_int_equal(probe_poll(&family.probe), -ETIMEDOUT);
	range_close(&family.range);
	assert_int_equal(probe_poll(&family.probe), 0);
	family_close(&family);
}

/* The child inherits an open range: it may end it, and nothing happens. */
static void end_the_parents(void *arg)
{
	struct family *family = arg;

	range_close(&family->range);
	must(hmmu_read_begin(&family->probe.sub, &family->seq, NULL) == -ENODEV);
	use_own_mm(NULL);
}

static void test_child_ends_what_the_parent_had_open(void **state)
{
	struct family family;

	family_open(&family);
	range_open(&family.range, family.mm, A, A + 1);
	in_child(end_the_parents, &family);
	assert_int_equal(probe_poll(&family.probe), -ETIMEDOUT);
	range_close(&family.range);
	assert_int_equal(probe_poll(&family.probe), 0);
	family_close(&family);
}

static void stop_in_callback(struct probe *probe, const struct mmu_notifier_range *range)
{
	struct family *family = probe->arg;

	gate_open(&family->inside);
	gate_pass(&family->go);
}

static void start_range(void *arg)
{
	struct family *family = arg;

	range_open(&family->range, family->mm, A, A + 1);
}

/* The thread that stands in the callback does not exist in the child. */
static void test_fork_while_a_callback_runs(void **state)
{
	struct family family;
	struct runner run;

	family_open(&family);
	family.probe.hook = stop_in_callback;
	family.probe.arg = &family;
	runner_start(&run, start_range, &family);
	gate_pass(&family.inside);
	in_child(expect_invalid, &family); /* remove there waits for nobody */
	gate_open(&family.go);
	runner_join(&run);
	assert_int_equal(probe_poll(&family.probe), -ETIMEDOUT);
	range_close(&family.range);
	family_close(&family);
}

static void read_asleep(void *arg)
{
	struct family *family = arg;

	mmu_interval_read_begin(&family->probe.sub);
}

static void test_fork_while_a_reader_sleeps(void **state)
{
	struct family family;
	struct runner run;

	family_open(&family);
	range_open(&family.range, family.mm, A, A + 1);
	runner_start(&run, read_asleep, &family);
	assert_true(runner_sleeps(&run));
	in_child(expect_invalid, &family);
	assert_true(runner_sleeps(&run));
	range_close(&family.range);
	runner_join(&run);
	family_close(&family);
}

static void have_a_child(void *arg)
{
	struct family own;

	family_open(&own);
	in_child(expect_invalid, &own);
	must(hmmu_access_ok(&own.probe.sub, own.seq));
	family_close(&own);
	expect_invalid(arg);
}

static void test_grandchild(void **state)
{
	struct family family;

	family_open(&family);
	in_child(have_a_child, &family);
	assert_true(hmmu_access_ok(&family.probe.sub, family.seq));
	family_close(&family);
}

static atomic_int ran;

static void count(struct hmmu_work *work)
{
	atomic_fetch_add(&ran, 1);
}

/* What was deferred in the parent is the parent's to run. */
static void close_parents(void *arg)
{
	close_mm(arg);
	must(atomic_load(&ran) == 0);
}

static void test_deferred_work_stays_with_the_parent(void **state)
{
	struct mm_struct *mm = open_mm(HMMU_MM_OWN_RECLAIM);
	struct hmmu_work work;

	atomic_store(&ran, 0);
	hmmu_defer(mm, &work, count);
	in_child(close_parents, mm);
	assert_int_equal(hmmu_reclaim(mm), 1);
	assert_int_equal(atomic_load(&ran), 1);
	close_mm(mm);
}

static void own_reclaimer(void *arg)
{
	struct mm_struct *mm = open_mm(0);
	struct hmmu_work work;

	atomic_store(&ran, 0);
	hmmu_defer(mm, &work, count);
	while (!atomic_load(&ran)) /* the alarm is the guard */
		usleep(100);
	close_mm(mm);
}

static void test_child_has_a_reclaimer_of_its_own(void **state)
{
	struct mm_struct *mm = open_mm(0);

	in_child(own_reclaimer, NULL);
	close_mm(mm);
}

/* ---- forking into the middle of everything ---- */

struct busy {
	struct family *family;
	atomic_bool stop;
	atomic_long rounds;
	struct hmmu_work work;
	atomic_bool queued;
};

static void unqueue(struct hmmu_work *work)
{
	struct busy *busy = (void *)((char *)work - offsetof(struct busy, work));

	atomic_store(&busy->queued, false);
}

static void be_busy(void *arg)
{
	struct busy *busy = arg;
	struct mm_struct *mm = busy->family->mm;
	struct probe probe;
	uint64_t seed = (uintptr_t)arg;

	while (!atomic_load(&busy->stop)) {
		unsigned long at = A + 8 * PAGE + (api_random(&seed) % 64) * PAGE;
		struct mmu_notifier_range range;

		probe_add(&probe, mm, at, 1 + api_random(&seed) % (8 * PAGE));
		range_open(&range, mm, at, at + PAGE);
		must(atomic_load(&probe.calls) >= 1);
		range_close(&range);
		mmu_interval_read_begin(&probe.sub);
		probe_remove(&probe);
		if (!atomic_exchange(&busy->queued, true))
			hmmu_defer(mm, &busy->work, unqueue);
		atomic_fetch_add(&busy->rounds, 1);
	}
}

#define FORKS (200 / API_SLOW)
#define BUSY 2

static void test_fork_into_busy_threads(void **state)
{
	struct family family;
	struct busy busy[BUSY];
	struct runner run[BUSY];
	long before;
	int i;

	family_open(&family);
	memset(busy, 0, sizeof(busy));
	for (i = 0; i < BUSY; i++) {
		busy[i].family = &family;
		runner_start(&run[i], be_busy, &busy[i]);
	}
	for (i = 0; i < FORKS; i++) {
		before = atomic_load(&busy[i % BUSY].rounds);
		in_child(i % 4 ? use_own_mm : expect_invalid, &family);
		while (atomic_load(&busy[i % BUSY].rounds) == before)
			sched_yield(); /* they go on */
	}
	for (i = 0; i < BUSY; i++)
		atomic_store(&busy[i].stop, true);
	for (i = 0; i < BUSY; i++)
		runner_join(&run[i]);
	while (atomic_load(&busy[0].queued) || atomic_load(&busy[1].queued))
		usleep(100);
	assert_true(hmmu_access_ok(&family.probe.sub, family.seq));
	family_close(&family);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_child_has_nothing),
		cmocka_unit_test(test_fork_while_an_invalidation_is_open),
		cmocka_unit_test(test_child_ends_what_the_parent_had_open),
		cmocka_unit_test(test_fork_while_a_callback_runs),
		cmocka_unit_test(test_fork_while_a_reader_sleeps),
		cmocka_unit_test(test_grandchild),
		cmocka_unit_test(test_deferred_work_stays_with_the_parent),
		cmocka_unit_test(test_child_has_a_reclaimer_of_its_own),
		cmocka_unit_test(test_fork_into_busy_threads),
	};

	api_guard(120);
	if (API_SLOW > 1)
		return 77; /* sanitizers hold locks of their own across a fork */
	return cmocka_run_group_tests_name("fork", tests, NULL, NULL);
}
