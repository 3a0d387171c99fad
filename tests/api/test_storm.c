// SPDX-License-Identifier: MIT
/*
 * test_storm.c - G1 under load, by count and not by time.
 *
 * PAGES of truth, each a generation. Three kinds of thread:
 *
 *   invalidator	start; no shadow of the range may hold anything now, nor until
 *			end; generations move on; end. Some are refused, some nest.
 *   reader		fills the shadow of a device by the reader's loop, and uses what
 *			is there under the access check.
 *   tenant		inserts and removes subscriptions over the same pages; after
 *			remove it poisons the structure (G3).
 *
 * Two checks, both without a clock:
 *
 *   (held)	between start and end, the shadow entries of the range are empty.
 *   (stale)	a reader sees entry g, then truth t, then hmmu_access_ok() true: no
 *		invalidation had started by then, so nothing changed, so g == t.
 *
 * A wrong driver plays the same storm and has to be caught by one of them: without
 * the retry, and with a retry that knows only of starts (HMM's old bug). The reader
 * gives the window its time: after reading it yields, bounded, until truth has moved.
 */
#include "api.h"

#define BASE 0x10000000UL
#define PAGES 8
#define DEVICES 2
#define DEVICE_PAGES 6 /* device d covers pages 2d .. 2d + 5 */
#define READERS 3
#define INVALIDATORS 2
#define TENANTS 1
#define ROUNDS (6000 / API_SLOW)
#define WINDOW 20 /* yields */

enum driver { RIGHT, NO_RETRY, START_ONLY };

static atomic_long truth[PAGES];

struct device {
	struct mmu_interval_notifier sub;
	pthread_mutex_t lock;	   /* the driver lock: guards the rest */
	long shadow[DEVICE_PAGES]; /* 0: nothing */
	unsigned long seq;	   /* one for the whole shadow */
	atomic_ulong start_seq;
	int first_page;
};

struct storm {
	struct mm_struct *mm;
	enum driver driver;
	int rounds; /* of each invalidator */
	struct device device[DEVICES];
	atomic_int invalidators; /* still at work */
	atomic_long held, stale, installs, uses, retries, refused, tenants;
};

static struct storm storm;

static bool device_invalidate(struct mmu_interval_notifier *sub,
			      const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	struct device *device = (struct device *)sub;
	int i;

	if (mmu_notifier_range_blockable(range))
		pthread_mutex_lock(&device->lock);
	else if (pthread_mutex_trylock(&device->lock))
		return false;
	mmu_interval_set_seq(sub, cur_seq);
	atomic_fetch_add(&device->start_seq, 1);
	for (i = 0; i < DEVICE_PAGES; i++) {
		unsigned long at = BASE + (device->first_page + i) * PAGE;

		if (at < range->end && at + PAGE > range->start)
			device->shadow[i] = 0;
	}
	pthread_mutex_unlock(&device->lock);
	return true;
}

static const struct mmu_interval_notifier_ops device_ops = {.invalidate = device_invalidate};

/* ---- invalidators ---- */

/* (held): all devices, the pages [first, last] */
static void check_empty(int first, int last)
{
	int d, i, page;

	for (d = 0; d < DEVICES; d++) {
		struct device *device = &storm.device[d];

		pthread_mutex_lock(&device->lock);
		for (i = 0; i < DEVICE_PAGES; i++) {
			page = device->first_page + i;
			if (page >= first && page <= last && device->shadow[i])
				atomic_fetch_add(&storm.held, 1);
		}
		pthread_mutex_unlock(&device->lock);
	}
}

static void invalidate_once(uint64_t *seed, int nested)
{
	int first = api_random(seed) % PAGES;
	int last = first + api_random(seed) % (PAGES - first);
	bool nonblock = api_random(seed) % 4 == 0;
	struct mmu_notifier_range range;
	int i;

	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, storm.mm, BASE + first * PAGE,
				BASE + (last + 1) * PAGE);
	if (nonblock) {
		i = quiet(mmu_notifier_invalidate_range_start_nonblock(&range));
		must(i == 0 || i == -EAGAIN);
		if (i) {
			atomic_fetch_add(&storm.refused, 1);
			return;
		}
	} else {
		must(quiet(mmu_notifier_invalidate_range_start(&range)) == 0);
	}
	check_empty(first, last);
	if (api_random(seed) % 2)
		sched_yield();
	for (i = first; i <= last; i++)
		truth_change(&truth[i]);
	if (nested && api_random(seed) % 4 == 0)
		invalidate_once(seed, nested - 1);
	check_empty(first, last);
	range_close(&range);
}

static void invalidator(void *arg)
{
	uint64_t seed = (uintptr_t)arg;
	long before;
	int i, n;

	for (i = 0; i < storm.rounds; i++) {
		/* Let a reader win, mostly: an empty shadow proves nothing. */
		before = atomic_load(&storm.installs);
		for (n = api_random(&seed) % 64; n && atomic_load(&storm.installs) == before;
		     n--)
			sched_yield();
		invalidate_once(&seed, 2);
	}
	atomic_fetch_sub(&storm.invalidators, 1);
}

/* ---- readers ---- */

static unsigned long device_begin(struct device *device)
{
	if (storm.driver == START_ONLY)
		return atomic_load(&device->start_seq);
	return mmu_interval_read_begin(&device->sub);
}

static bool device_retry(struct device *device, unsigned long seq)
{
	if (storm.driver == NO_RETRY)
		return false;
	if (storm.driver == START_ONLY)
		return atomic_load(&device->start_seq) != seq;
	return mmu_interval_read_retry(&device->sub, seq);
}

static bool device_usable(struct device *device)
{
	if (storm.driver == START_ONLY)
		return atomic_load(&device->start_seq) == device->seq;
	return hmmu_access_ok(&device->sub, device->seq);
}

static void use(struct device *device, int i)
{
	long entry, now;

	pthread_mutex_lock(&device->lock);
	entry = device->shadow[i];
	now = truth_read(&truth[device->first_page + i]);
	if (entry && device_usable(device)) {
		atomic_fetch_add(&storm.uses, 1);
		if (entry != now)
			atomic_fetch_add(&storm.stale, 1);
	}
	pthread_mutex_unlock(&device->lock);
}

static void fill(struct device *device, int i, bool pause)
{
	atomic_long *page = &truth[device->first_page + i];
	unsigned long seq;
	long seen;
	int yields;

	for (;;) {
		seq = device_begin(device);
		seen = truth_read(page);
		for (yields = 0; pause && yields < WINDOW && truth_read(page) == seen; yields++)
			sched_yield();
		pthread_mutex_lock(&device->lock);
		if (!device_retry(device, seq))
			break;
		pthread_mutex_unlock(&device->lock);
		atomic_fetch_add(&storm.retries, 1);
		if (yields == WINDOW) /* the storm is too thick for a long window */
			pause = false;
	}
	device->shadow[i] = seen;
	device->seq = seq;
	pthread_mutex_unlock(&device->lock);
	atomic_fetch_add(&storm.installs, 1);
}

static void reader(void *arg)
{
	uint64_t seed = (uintptr_t)arg;

	while (atomic_load(&storm.invalidators)) {
		struct device *device = &storm.device[api_random(&seed) % DEVICES];
		int i = api_random(&seed) % DEVICE_PAGES;
		bool usable;

		pthread_mutex_lock(&device->lock);
		usable = device->shadow[i] && device_usable(device);
		pthread_mutex_unlock(&device->lock);
		if (!usable)
			fill(device, i, api_random(&seed) % 2);
		use(device, i);
	}
}

/* ---- tenants ---- */

struct tenant {
	struct mmu_interval_notifier sub;
	atomic_int here;
};

static bool tenant_invalidate(struct mmu_interval_notifier *sub,
			      const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	struct tenant *tenant = (struct tenant *)sub;

	must(atomic_load(&tenant->here) == 1); /* G3 */
	mmu_interval_set_seq(sub, cur_seq);
	return true;
}

static const struct mmu_interval_notifier_ops tenant_ops = {.invalidate = tenant_invalidate};

static void tenant(void *arg)
{
	uint64_t seed = (uintptr_t)arg;
	struct tenant flat[16];
	int i, n = 0;

	memset(flat, 0x5a, sizeof(flat));
	while (atomic_load(&storm.invalidators)) {
		struct tenant *tenant = &flat[n++ % 16];
		unsigned long seq;
		long seen;

		if (n > 16) {
			mmu_interval_notifier_remove(&tenant->sub);
			memset(tenant, 0x5a, sizeof(*tenant));
		}
		i = api_random(&seed) % PAGES;
		atomic_init(&tenant->here, 1);
		must(quiet(mmu_interval_notifier_insert(&tenant->sub, storm.mm, BASE + i * PAGE,
							PAGE, &tenant_ops)) == 0);
		/* G2: a fresh one is as good as an old one */
		seq = mmu_interval_read_begin(&tenant->sub);
		seen = truth_read(&truth[i]);
		if (seen != truth_read(&truth[i]))
			must(mmu_interval_check_retry(&tenant->sub, seq));
		atomic_fetch_add(&storm.tenants, 1);
		if (n % 16 == 0)
			sched_yield();
	}
	for (i = 0; i < (n < 16 ? n : 16); i++)
		mmu_interval_notifier_remove(&flat[i].sub);
}

/* ---- the storm ---- */

static void play(enum driver driver, int rounds)
{
	struct runner run[READERS + INVALIDATORS + TENANTS];
	int i, n = 0;

	memset(&storm, 0, sizeof(storm));
	storm.driver = driver;
	storm.rounds = rounds;
	storm.mm = open_mm(0);
	for (i = 0; i < PAGES; i++)
		atomic_store(&truth[i], 1);
	for (i = 0; i < DEVICES; i++) {
		struct device *device = &storm.device[i];

		device->first_page = 2 * i;
		pthread_mutex_init(&device->lock, NULL);
		must(mmu_interval_notifier_insert(&device->sub, storm.mm, BASE + 2 * i * PAGE,
						  DEVICE_PAGES * PAGE, &device_ops) == 0);
	}
	atomic_store(&storm.invalidators, INVALIDATORS);
	for (i = 0; i < INVALIDATORS; i++, n++)
		runner_start(&run[n], invalidator, (void *)(uintptr_t)(n + 1));
	for (i = 0; i < READERS; i++, n++)
		runner_start(&run[n], reader, (void *)(uintptr_t)(n + 1));
	for (i = 0; i < TENANTS; i++, n++)
		runner_start(&run[n], tenant, (void *)(uintptr_t)(n + 1));
	for (i = 0; i < n; i++)
		runner_join(&run[i]);
	for (i = 0; i < DEVICES; i++)
		mmu_interval_notifier_remove(&storm.device[i].sub);
	close_mm(storm.mm);
	printf("%ld installs, %ld uses, %ld retries, %ld refused, %ld tenants: "
	       "%ld held, %ld stale\n",
	       atomic_load(&storm.installs), atomic_load(&storm.uses),
	       atomic_load(&storm.retries), atomic_load(&storm.refused),
	       atomic_load(&storm.tenants), atomic_load(&storm.held),
	       atomic_load(&storm.stale));
}

/* On a busy machine the invalidators may be through before a reader has begun. */
#define TRIES 50

static bool was_a_storm(void)
{
	return atomic_load(&storm.installs) > 0 && atomic_load(&storm.uses) > 0 &&
	       atomic_load(&storm.retries) > 0 && atomic_load(&storm.tenants) > 0;
}

static void test_g1_storm(void **state)
{
	int tries = 0;

	do {
		play(RIGHT, ROUNDS);
		assert_int_equal(atomic_load(&storm.held), 0);
		assert_int_equal(atomic_load(&storm.stale), 0);
	} while (!was_a_storm() && ++tries < TRIES);
	assert_true(was_a_storm());
}

static void finds(enum driver driver)
{
	int tries = 0;

	do {
		play(driver, ROUNDS / 4);
	} while (!atomic_load(&storm.held) && !atomic_load(&storm.stale) && ++tries < TRIES);
	assert_true(atomic_load(&storm.held) + atomic_load(&storm.stale) > 0);
}

static void test_storm_finds_a_driver_without_retry(void **state)
{
	finds(NO_RETRY);
}

static void test_storm_finds_a_driver_that_knows_only_starts(void **state)
{
	finds(START_ONLY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_g1_storm),
		cmocka_unit_test(test_storm_finds_a_driver_without_retry),
		cmocka_unit_test(test_storm_finds_a_driver_that_knows_only_starts),
	};

	api_guard(100);
	return cmocka_run_group_tests_name("storm", tests, NULL, NULL);
}
