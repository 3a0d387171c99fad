// SPDX-License-Identifier: MIT
/*
 * test_errors.c - every errno of the header, with nothing changed by the failure
 * and errno itself as it was; deadlines; addresses at the edges.
 */
#include "api.h"

#define A 0x100000UL
#define TOP47 (1UL << 47)

/* ---- the address space ---- */

static int open_with(struct hmmu_mm_options options)
{
	struct mm_struct *mm = (void *)0x5a5a;
	int ret = quiet(hmmu_mm_open(&mm, &options));

	if (ret)
		assert_ptr_equal(mm, (void *)0x5a5a);
	else
		close_mm(mm);
	return ret;
}

#define GOOD .size = sizeof(struct hmmu_mm_options), .sources = HMMU_SOURCE_EXPLICIT

static void test_open_errors(void **state)
{
	const struct hmmu_mm_options good = {GOOD};
	struct hmmu_mm_options options;
	unsigned int bit;
	size_t i;

	assert_int_equal(open_with(good), 0);
	assert_int_equal(quiet(hmmu_mm_open(NULL, &good)), -EINVAL);
	options = good;
	options.size = 0;
	assert_int_equal(open_with(options), -EINVAL);
	options.size = sizeof(options) - 1;
	assert_int_equal(open_with(options), -EINVAL);
	options.size = sizeof(options) + 1;
	assert_int_equal(open_with(options), -EINVAL);
	for (bit = 3; bit < 31; bit++) {
		options = good;
		options.sources = 1u << bit;
		assert_int_equal(open_with(options), -EINVAL);
		options = good;
		options.flags = 1u << bit;
		assert_int_equal(open_with(options), -EINVAL);
	}
	for (i = 0; i < sizeof(options.reserved) / sizeof(options.reserved[0]); i++) {
		options = good;
		options.reserved[i] = 1;
		assert_int_equal(open_with(options), -EINVAL);
	}
	options = good;
	options.flags = HMMU_MM_OWN_RECLAIM;
	assert_int_equal(open_with(options), 0);
	options.require = HMMU_BRACKETED; /* an explicit mm brackets by definition */
	assert_int_equal(open_with(options), 0);
}

static void test_close_busy(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range range;
	struct probe probe, second;

	assert_int_equal(quiet(hmmu_mm_close(NULL)), -EINVAL);
	probe_add(&probe, mm, A, PAGE);
	probe_add(&second, mm, A, PAGE);
	assert_int_equal(quiet(hmmu_mm_close(mm)), -EBUSY);
	invalidate(mm, A, A + 1); /* nothing changed */
	assert_int_equal(atomic_load(&probe.calls), 1);
	assert_int_equal(probe_poll(&probe), 0);
	probe_remove(&second);
	assert_int_equal(quiet(hmmu_mm_close(mm)), -EBUSY);
	range_open(&range, mm, A, A + 1);
	probe_remove(&probe);
	assert_int_equal(quiet(hmmu_mm_close(mm)), -EBUSY); /* an open invalidation */
	range_close(&range);
	close_mm(mm);
}

static int whole_start(struct mmu_notifier *sub, const struct mmu_notifier_range *range)
{
	return 0;
}

static void test_close_busy_with_a_whole_mm_notifier(void **state)
{
	static const struct mmu_notifier_ops ops = {.invalidate_range_start = whole_start};
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier whole;

	memset(&whole, 0, sizeof(whole));
	whole.ops = &ops;
	assert_int_equal(mmu_notifier_register(&whole, mm), 0);
	assert_int_equal(quiet(hmmu_mm_close(mm)), -EBUSY);
	mmu_notifier_unregister(&whole, mm); /* without a release */
	close_mm(mm);
}

static void test_describe(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct hmmu_coverage *cells;
	const unsigned char *byte;
	int n, i, half;
	size_t k;

	assert_int_equal(quiet(hmmu_mm_describe(NULL, NULL, 0)), -EINVAL);
	assert_int_equal(quiet(hmmu_mm_describe(mm, NULL, 1)), -EINVAL);
	n = quiet(hmmu_mm_describe(mm, NULL, 0));
	assert_true(n > 0);
	cells = calloc(n + 1, sizeof(*cells));
	memset(cells, 0x5a, (n + 1) * sizeof(*cells));
	half = n / 2;
	assert_int_equal(quiet(hmmu_mm_describe(mm, cells, half)), n);
	for (byte = (unsigned char *)&cells[half], k = 0; k < sizeof(*cells); k++)
		assert_int_equal(byte[k], 0x5a);
	assert_int_equal(quiet(hmmu_mm_describe(mm, cells, n + 1)), n);
	for (byte = (unsigned char *)&cells[n], k = 0; k < sizeof(*cells); k++)
		assert_int_equal(byte[k], 0x5a);
	for (i = 0; i < n; i++) {
		assert_true(cells[i].operation < HMMU_OP_NR);
		assert_true(cells[i].caller < HMMU_CALLER_NR);
		assert_int_equal(cells[i].memory, HMMU_MEMORY_ANY);
		assert_int_equal(cells[i].source, HMMU_SOURCE_EXPLICIT);
		assert_int_equal(cells[i].exactness, cells[i].caller == HMMU_CALLER_EXPLICIT
							     ? HMMU_BRACKETED
							     : HMMU_UNWATCHED);
	}
	free(cells);
	close_mm(mm);
}

/* ---- insert ---- */

static void refused_insert(struct mm_struct *mm, unsigned long start, unsigned long length,
			   int error)
{
	struct mmu_interval_notifier sub, before;

	memset(&sub, 0xa5, sizeof(sub));
	before = sub;
	assert_int_equal(
		quiet(mmu_interval_notifier_insert(&sub, mm, start, length, &probe_ops)),
		error);
	assert_memory_equal(&sub, &before, sizeof(sub));
	invalidate(mm, 0, ULONG_MAX); /* it is not called */
}

static void test_insert_overflow(void **state)
{
	struct mm_struct *mm = open_mm(0);

	refused_insert(mm, A, 0, -EOVERFLOW);
	refused_insert(mm, 0, 0, -EOVERFLOW);
	refused_insert(mm, ULONG_MAX, 0, -EOVERFLOW);
	refused_insert(mm, ULONG_MAX, 2, -EOVERFLOW);
	refused_insert(mm, 2, ULONG_MAX, -EOVERFLOW);
	refused_insert(mm, ULONG_MAX, ULONG_MAX, -EOVERFLOW);
	refused_insert(mm, TOP47, ULONG_MAX - TOP47 + 2, -EOVERFLOW);
	close_mm(mm); /* not busy: nothing was inserted */
}

/* A refused insert leaves a subscription that is in use alone. */
static void test_refused_insert_of_a_live_one_changes_nothing(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct probe probe;

	probe_add(&probe, mm, A, PAGE);
	assert_int_equal(mmu_interval_notifier_insert(&probe.sub, mm, A, 0, &probe_ops),
			 -EOVERFLOW);
	assert_int_equal(mmu_interval_notifier_insert(&probe.sub, mm, A, 1, NULL), -EINVAL);
	invalidate(mm, A, A + 1);
	assert_int_equal(atomic_load(&probe.calls), 1);
	assert_int_equal(probe_poll(&probe), 0);
	probe_remove(&probe);
	close_mm(mm);
}

static void test_insert_invalid(void **state)
{
	static const struct mmu_interval_notifier_ops empty;
	struct mm_struct *mm = open_mm(0);
	struct mmu_interval_notifier sub;

	memset(&sub, 0xa5, sizeof(sub));
	assert_int_equal(quiet(mmu_interval_notifier_insert(NULL, mm, A, 1, &probe_ops)),
			 -EINVAL);
	assert_int_equal(quiet(mmu_interval_notifier_insert(&sub, NULL, A, 1, &probe_ops)),
			 -EINVAL);
	assert_int_equal(quiet(mmu_interval_notifier_insert(&sub, mm, A, 1, NULL)), -EINVAL);
	assert_int_equal(quiet(mmu_interval_notifier_insert(&sub, mm, A, 1, &empty)), -EINVAL);
	close_mm(mm);
}

static void test_insert_needs_no_initialisation(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct probe probe;
	int fill;

	for (fill = 0; fill < 256; fill += 51) {
		probe_init(&probe);
		memset(&probe.sub, fill, sizeof(probe.sub));
		probe_insert(&probe, mm, A, PAGE);
		assert_ptr_equal(probe.sub.mm, mm);
		assert_ptr_equal(probe.sub.ops, &probe_ops);
		assert_int_equal(probe_poll(&probe), 0);
		invalidate(mm, A, A + 1);
		assert_int_equal(atomic_load(&probe.calls), 1);
		probe_remove(&probe);
	}
	close_mm(mm);
}

/* ---- ranges ---- */

static void refused_start(struct mm_struct *mm, unsigned long start, unsigned long end)
{
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, mm, start, end);
	assert_int_equal(quiet(mmu_notifier_invalidate_range_start(&range)), -EINVAL);
	assert_int_equal(quiet(mmu_notifier_invalidate_range_start_nonblock(&range)), -EINVAL);
}

static void test_empty_and_reversed_ranges(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct probe probe;

	probe_add(&probe, mm, 0, ULONG_MAX);
	refused_start(mm, A, A);
	refused_start(mm, 0, 0);
	refused_start(mm, ULONG_MAX, ULONG_MAX);
	refused_start(mm, A + 1, A);
	refused_start(mm, ULONG_MAX, 0);
	refused_start(NULL, A, A + 1);
	assert_int_equal(atomic_load(&probe.calls), 0);
	assert_int_equal(probe_poll(&probe), 0); /* nothing is open */
	probe_remove(&probe);
	close_mm(mm);
}

static void test_range_not_initialised(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range range;
	struct probe probe;
	int fill;

	probe_add(&probe, mm, A, PAGE);
	for (fill = 0; fill < 256; fill += 51) {
		memset(&range, fill, sizeof(range));
		range.mm = mm;
		range.start = A;
		range.end = A + 1;
		range.flags = 0;
		assert_int_equal(quiet(mmu_notifier_invalidate_range_start(&range)), -EINVAL);
		assert_int_equal(quiet(mmu_notifier_invalidate_range_start_nonblock(&range)),
				 -EINVAL);
	}
	assert_int_equal(atomic_load(&probe.calls), 0);
	assert_int_equal(probe_poll(&probe), 0);
	probe_remove(&probe);
	close_mm(mm);
}

static void test_range_open_already(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range range;
	struct probe probe;

	probe_add(&probe, mm, A, PAGE);
	range_open(&range, mm, A, A + 1);
	assert_int_equal(quiet(mmu_notifier_invalidate_range_start(&range)), -EINVAL);
	assert_int_equal(quiet(mmu_notifier_invalidate_range_start_nonblock(&range)), -EINVAL);
	assert_int_equal(atomic_load(&probe.calls), 1);
	assert_int_equal(probe_poll(&probe), -ETIMEDOUT); /* the first is what it was */
	range_close(&range);
	assert_int_equal(probe_poll(&probe), 0);
	probe_remove(&probe);
	close_mm(mm);
}

static void test_range_object_can_start_again(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range range;
	struct probe probe;
	int i;

	probe_add(&probe, mm, A, PAGE);
	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, mm, A, A + 1);
	for (i = 1; i <= 3; i++) {
		assert_int_equal(quiet(mmu_notifier_invalidate_range_start(&range)), 0);
		assert_int_equal(probe_poll(&probe), -ETIMEDOUT);
		range_close(&range);
		assert_int_equal(probe_poll(&probe), 0);
		assert_int_equal(atomic_load(&probe.calls), i);
	}
	probe.refuse = true; /* refused: not open, so the blocking start may follow */
	assert_int_equal(quiet(mmu_notifier_invalidate_range_start_nonblock(&range)), -EAGAIN);
	assert_int_equal(quiet(mmu_notifier_invalidate_range_start(&range)), 0);
	assert_int_equal(probe_poll(&probe), -ETIMEDOUT);
	range_close(&range);
	assert_int_equal(probe_poll(&probe), 0);
	probe_remove(&probe);
	close_mm(mm);
}

/* Debug builds report it: not for a debug build. */
static void test_end_without_start(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range open, range;
	struct probe probe;

#ifdef HMMU_DEBUG
	skip();
#endif
	probe_add(&probe, mm, A, PAGE);
	range_open(&open, mm, A, A + 1);
	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, mm, A, A + 1);
	range_close(&range);
	range_close(&range);
	assert_int_equal(probe_poll(&probe), -ETIMEDOUT); /* not somebody else's end */
	range_close(&open);
	assert_int_equal(probe_poll(&probe), 0);
	range_close(&open);
	probe.refuse = true;
	assert_int_equal(mmu_notifier_invalidate_range_start_nonblock(&range), -EAGAIN);
	range_close(&range);
	range_open(&open, mm, A, A + 1);
	assert_int_equal(probe_poll(&probe), -ETIMEDOUT); /* no count went below zero */
	range_close(&open);
	assert_int_equal(probe_poll(&probe), 0);
	probe_remove(&probe);
	close_mm(mm);
}

static void test_range_init(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range range;
	int owner;

	memset(&range, 0xa5, sizeof(range));
	quiet_void(mmu_notifier_range_init(&range, MMU_NOTIFY_MIGRATE,
					   MMU_NOTIFIER_RANGE_BLOCKABLE, mm, A, A + 1));
	assert_ptr_equal(range.mm, mm);
	assert_int_equal(range.start, A);
	assert_int_equal(range.end, A + 1);
	assert_int_equal(range.event, MMU_NOTIFY_MIGRATE);
	assert_int_equal(range.phase, HMMU_PHASE_BEFORE);
	assert_null(range.owner);
	assert_true(mmu_notifier_range_blockable(&range));
	quiet_void(mmu_notifier_range_init_owner(&range, MMU_NOTIFY_UNMAP, 0, mm, A, A + 1,
						 &owner));
	assert_ptr_equal(range.owner, &owner);
	assert_int_equal(range.event, MMU_NOTIFY_UNMAP);
	assert_int_equal(range.phase, HMMU_PHASE_BEFORE);
	assert_false(mmu_notifier_range_blockable(&range));
	close_mm(mm);
}

static void check_range(struct probe *probe, const struct mmu_notifier_range *range)
{
	must(range->mm == probe->sub.mm);
	must(range->start == A && range->end == A + 8 * PAGE); /* not clipped */
	must(range->event == MMU_NOTIFY_PROTECTION_VMA);
	must(range->phase == HMMU_PHASE_BEFORE);
	must(range->owner == probe->arg);
}

static void test_callbacks_see_the_whole_range(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range range;
	struct probe probe;

	probe_add(&probe, mm, A + PAGE, 1);
	probe.hook = check_range;
	probe.arg = &range;
	mmu_notifier_range_init_owner(&range, MMU_NOTIFY_PROTECTION_VMA, 0, mm, A, A + 8 * PAGE,
				      &range);
	assert_int_equal(mmu_notifier_invalidate_range_start(&range), 0);
	range_close(&range);
	assert_int_equal(atomic_load(&probe.calls), 1);
	probe_remove(&probe);
	close_mm(mm);
}

/* ---- deadlines ---- */

static struct timespec in_ms(long ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += ms % 1000 * 1000000;
	if (t.tv_nsec < 0) {
		t.tv_nsec += 1000000000;
		t.tv_sec--;
	} else if (t.tv_nsec >= 1000000000) {
		t.tv_nsec -= 1000000000;
		t.tv_sec++;
	}
	return t;
}

static bool reached(const struct timespec *deadline)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec > deadline->tv_sec ||
	       (now.tv_sec == deadline->tv_sec && now.tv_nsec >= deadline->tv_nsec);
}

static void expect_refused(struct probe *probe, unsigned long seq)
{
	int i;

	for (i = 0; i < 3; i++) {
		assert_true(mmu_interval_read_retry(&probe->sub, seq));
		assert_true(mmu_interval_check_retry(&probe->sub, seq));
		assert_false(hmmu_access_ok(&probe->sub, seq));
	}
}

static void test_read_begin_deadlines(void **state)
{
	const struct timespec zero = {0, 0};
	struct timespec past = {0, 1}, recent = in_ms(-10), soon, late = in_ms(1000000);
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range range;
	const struct timespec *none[] = {NULL, &zero, &past, &recent, &late};
	const struct timespec *short_ones[] = {&zero, &past, &recent, &soon};
	unsigned long seq, refused[4];
	struct probe probe;
	size_t i;

	probe_add(&probe, mm, A, PAGE);
	for (i = 0; i < 5; i++) { /* nothing is open: no deadline matters */
		assert_int_equal(quiet(hmmu_read_begin(&probe.sub, &seq, none[i])), 0);
		assert_false(mmu_interval_read_retry(&probe.sub, seq));
	}
	range_open(&range, mm, A, A + 1);
	soon = in_ms(30);
	for (i = 0; i < 4; i++) {
		assert_int_equal(quiet(hmmu_read_begin(&probe.sub, &refused[i], short_ones[i])),
				 -ETIMEDOUT);
		expect_refused(&probe, refused[i]);
	}
	assert_true(reached(&soon)); /* it waited for it, on CLOCK_MONOTONIC */
	range_close(&range);
	for (i = 0; i < 4; i++) {
		expect_refused(&probe, refused[i]);
		invalidate(mm, A, A + 1);
		expect_refused(&probe, refused[i]);
	}
	assert_int_equal(probe_poll(&probe), 0);
	probe_remove(&probe);
	close_mm(mm);
}

struct patient {
	struct probe *probe;
	atomic_bool ended;
	const struct timespec *deadline;
};

static void read_patiently(void *arg)
{
	struct patient *patient = arg;
	unsigned long seq;

	must(quiet(hmmu_read_begin(&patient->probe->sub, &seq, patient->deadline)) == 0);
	must(atomic_load(&patient->ended));
	must(!mmu_interval_read_retry(&patient->probe->sub, seq));
}

static void test_read_begin_ends_before_its_deadline(void **state)
{
	const struct timespec late = in_ms(1000000);
	const struct timespec *deadline[] = {NULL, &late};
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range range;
	struct patient patient;
	struct runner run;
	struct probe probe;
	int i;

	probe_add(&probe, mm, A, PAGE);
	for (i = 0; i < 2; i++) {
		patient.probe = &probe;
		atomic_init(&patient.ended, false);
		patient.deadline = deadline[i];
		range_open(&range, mm, A, A + 1);
		runner_start(&run, read_patiently, &patient);
		assert_true(runner_sleeps(&run));
		atomic_store(&patient.ended, true);
		range_close(&range);
		runner_join(&run);
	}
	probe_remove(&probe);
	close_mm(mm);
}

/* A signal is no reason to return. */
static void on_signal(int sig)
{
}

static void test_read_begin_is_not_interrupted(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct sigaction action = {.sa_handler = on_signal};
	struct mmu_notifier_range range;
	struct patient patient;
	struct runner run;
	struct probe probe;
	int i;

	sigaction(SIGUSR1, &action, NULL);
	probe_add(&probe, mm, A, PAGE);
	patient.probe = &probe;
	atomic_init(&patient.ended, false);
	patient.deadline = NULL;
	range_open(&range, mm, A, A + 1);
	runner_start(&run, read_patiently, &patient);
	for (i = 0; i < 5; i++) {
		assert_true(runner_sleeps(&run));
		pthread_kill(run.thread, SIGUSR1);
	}
	assert_true(runner_sleeps(&run));
	atomic_store(&patient.ended, true);
	range_close(&range);
	runner_join(&run);
	probe_remove(&probe);
	close_mm(mm);
}

/* ---- addresses ---- */

/* Where ranges begin and end: each with each. */
static const unsigned long edge[] = {0,
				     1,
				     2,
				     PAGE - 1,
				     PAGE,
				     PAGE + 1,
				     TOP47 - PAGE - 1,
				     TOP47 - PAGE,
				     TOP47 - 1,
				     TOP47,
				     TOP47 + 1,
				     (1UL << 63) - 1,
				     1UL << 63,
				     (1UL << 63) + 1,
				     ULONG_MAX - PAGE - 1,
				     ULONG_MAX - PAGE,
				     ULONG_MAX - 2,
				     ULONG_MAX - 1,
				     ULONG_MAX};
enum { E = sizeof(edge) / sizeof(edge[0]) };

static void test_extreme_addresses(void **state)
{
	static const struct {
		unsigned long start, length;
	} at[] = {
		{0, 1},
		{0, PAGE},
		{PAGE - 1, 2},
		{TOP47 - PAGE, PAGE},
		{TOP47 - 1, 1},
		{TOP47 - 1, 2},
		{TOP47, 1},
		{1UL << 63, 1},
		{(1UL << 63) - 1, 2},
		{ULONG_MAX - 1, 1},
		{ULONG_MAX - 1, 2},
		{ULONG_MAX - PAGE, PAGE + 1},
		{0, ULONG_MAX},
		{1, ULONG_MAX},
		{TOP47, ULONG_MAX - TOP47 + 1},
		{0, TOP47},
		{1, 1UL << 63},
	};
	enum { N = sizeof(at) / sizeof(at[0]) };
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range range;
	struct probe probe[N];
	int want[N] = {0};
	int i, a, b;
	bool hit;

	for (i = 0; i < N; i++)
		probe_add(&probe[i], mm, at[i].start, at[i].length);
	for (a = 0; a < E; a++)
		for (b = a + 1; b < E; b++) {
			range_open(&range, mm, edge[a], edge[b]);
			for (i = 0; i < N; i++) {
				hit = edge[a] <= at[i].start + (at[i].length - 1) &&
				      at[i].start <= edge[b] - 1;
				want[i] += hit;
				assert_int_equal(atomic_load(&probe[i].calls), want[i]);
				assert_int_equal(probe_poll(&probe[i]), hit ? -ETIMEDOUT : 0);
			}
			range_close(&range);
			for (i = 0; i < N; i++)
				assert_int_equal(probe_poll(&probe[i]), 0);
		}
	for (i = 0; i < N; i++)
		probe_remove(&probe[i]);
	close_mm(mm);
}

/* The last byte there is can be subscribed to, though no [start, end) names it. */
static void test_last_byte(void **state)
{
	struct mm_struct *mm = open_mm(0);
	struct probe probe;

	probe_add(&probe, mm, ULONG_MAX, 1);
	invalidate(mm, 0, ULONG_MAX);
	assert_int_equal(atomic_load(&probe.calls), 0);
	assert_int_equal(probe_poll(&probe), 0);
	probe_remove(&probe);
	close_mm(mm);
}

/* One in each of n gaps, at a place of its own there. */
static void scatter(int n, unsigned long gap)
{
	struct mm_struct *mm = open_mm(0);
	struct probe *probe = calloc(n, sizeof(*probe)), all;
	struct mmu_notifier_range range;
	uint64_t seed = 1;
	unsigned long start;
	int i, k;

	for (i = 0; i < n; i++)
		probe_add(&probe[i], mm, i * gap + api_random(&seed) % (gap / 2), 1 + i % 5000);
	probe_add(&all, mm, 0, ULONG_MAX);
	for (i = 0; i < 1000; i++) {
		k = api_random(&seed) % n;
		start = k * gap;
		range_open(&range, mm, start, start + gap);
		assert_int_equal(atomic_load(&probe[k].calls), 1);
		assert_int_equal(probe_poll(&probe[k]), -ETIMEDOUT);
		if (k)
			assert_int_equal(probe_poll(&probe[k - 1]), 0);
		if (k + 1 < n)
			assert_int_equal(probe_poll(&probe[k + 1]), 0);
		range_close(&range);
		atomic_store(&probe[k].calls, 0);
	}
	assert_int_equal(atomic_load(&all.calls), 1000);
	range_open(&range, mm, 0, ULONG_MAX);
	for (i = 0; i < n; i++) {
		assert_int_equal(atomic_load(&probe[i].calls), 1);
		assert_int_equal(probe_poll(&probe[i]), -ETIMEDOUT);
	}
	for (i = 0; i < n; i += 2)
		probe_remove(&probe[i]);
	range_close(&range);
	invalidate(mm, 0, ULONG_MAX);
	for (i = 0; i < n; i++)
		assert_int_equal(atomic_load(&probe[i].calls), i % 2 ? 2 : 1);
	for (i = 1; i < n; i += 2)
		probe_remove(&probe[i]);
	probe_remove(&all);
	free(probe);
	close_mm(mm);
}

static void test_many_scattered_subscriptions(void **state)
{
	scatter(100000 / API_SLOW, 1UL << 24);
}

static void test_scattered_over_everything(void **state)
{
	scatter(5000 / API_SLOW, TOP47 / 5000);
}

/* Byte-sized ones under ever larger ones, all over the same byte. */
static void test_tiny_and_huge_mixed(void **state)
{
	enum { SIZES = 47 };
	const unsigned long at = 1UL << 46;
	struct mm_struct *mm = open_mm(0);
	struct mmu_notifier_range range;
	struct probe probe[SIZES][2];
	int i, k;

	for (i = 0; i < SIZES; i++) {
		probe_add(&probe[i][0], mm, at - (1UL << i), 1UL << i); /* up to it */
		probe_add(&probe[i][1], mm, at, 1UL << i);		/* from it on */
	}
	for (k = 0; k < SIZES; k++) { /* the byte 2^k - 1 above, the one 2^k below */
		range_open(&range, mm, at + (1UL << k) - 1, at + (1UL << k));
		for (i = 0; i < SIZES; i++) {
			assert_int_equal(probe_poll(&probe[i][0]), 0);
			assert_int_equal(probe_poll(&probe[i][1]), i >= k ? -ETIMEDOUT : 0);
		}
		range_close(&range);
		range_open(&range, mm, at - (1UL << k), at - (1UL << k) + 1);
		for (i = 0; i < SIZES; i++) {
			assert_int_equal(probe_poll(&probe[i][0]), i >= k ? -ETIMEDOUT : 0);
			assert_int_equal(probe_poll(&probe[i][1]), 0);
		}
		range_close(&range);
	}
	for (i = 0; i < SIZES; i++)
		for (k = 0; k < 2; k++) {
			assert_int_equal(atomic_load(&probe[i][k].calls), i + 1);
			probe_remove(&probe[i][k]);
		}
	close_mm(mm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open_errors),
		cmocka_unit_test(test_close_busy),
		cmocka_unit_test(test_close_busy_with_a_whole_mm_notifier),
		cmocka_unit_test(test_describe),
		cmocka_unit_test(test_insert_overflow),
		cmocka_unit_test(test_refused_insert_of_a_live_one_changes_nothing),
		cmocka_unit_test(test_insert_invalid),
		cmocka_unit_test(test_insert_needs_no_initialisation),
		cmocka_unit_test(test_empty_and_reversed_ranges),
		cmocka_unit_test(test_range_not_initialised),
		cmocka_unit_test(test_range_open_already),
		cmocka_unit_test(test_range_object_can_start_again),
		cmocka_unit_test(test_end_without_start),
		cmocka_unit_test(test_range_init),
		cmocka_unit_test(test_callbacks_see_the_whole_range),
		cmocka_unit_test(test_read_begin_deadlines),
		cmocka_unit_test(test_read_begin_ends_before_its_deadline),
		cmocka_unit_test(test_read_begin_is_not_interrupted),
		cmocka_unit_test(test_extreme_addresses),
		cmocka_unit_test(test_last_byte),
		cmocka_unit_test(test_many_scattered_subscriptions),
		cmocka_unit_test(test_scattered_over_everything),
		cmocka_unit_test(test_tiny_and_huge_mixed),
	};

	api_guard(60);
	return cmocka_run_group_tests_name("errors", tests, NULL, NULL);
}
