// SPDX-License-Identifier: MIT
/*
 * test_driver.c - a driver whose entries are its own (ops->fault): each is made once, and goes
 * one way once: abandoned, or installed and dropped. The driver here counts them, and keeps of
 * each where it is.
 */
#include "bed.h"

#include <sys/wait.h>

#define MOST 65536UL

static const struct timespec now = {0, 0};
static struct bed bed;

enum state { UNMADE, MADE, INSTALLED, DROPPED, ABANDONED };

static struct {
	unsigned long made; /* atomic: entries are numbered */
	unsigned char state[MOST];
	unsigned long faults, locks, trylocks;
	/* What fault does. */
	void (*meanwhile)(void);
	int error;
	unsigned long refuses; /* the page of this address: -EFAULT */
	unsigned long page;
	unsigned long lacks; /* flags that its entries do not have */
	/* The last that was dropped, and what was told afterwards. */
	unsigned long dropped_addr, dropped;
	enum mmu_notifier_event dropped_event;
	bool told_after;
	pthread_mutex_t lock;
} driver = {.lock = PTHREAD_MUTEX_INITIALIZER};

static unsigned long number_of(unsigned long entry)
{
	unsigned long n = entry & HMM_PFN_NUMBER;

	must(n < MOST);
	return n;
}

static void moves(unsigned long entry, enum state from, enum state to)
{
	must(driver.state[number_of(entry)] == from);
	driver.state[number_of(entry)] = to;
}

/* How many entries are there now. */
static unsigned long count(enum state state)
{
	unsigned long n = 0;

	for (unsigned long i = 0; i < MOST; i++)
		n += driver.state[i] == state;
	return n;
}

static int drv_fault(void *context, unsigned long start, unsigned long npages,
		     unsigned int flags, unsigned long *entries)
{
	void (*meanwhile)(void) = driver.meanwhile;
	int error = driver.error;

	(void)context;
	if (meanwhile) {
		driver.meanwhile = NULL;
		driver.error = 0; /* it is the change's */
	}
	__atomic_fetch_add(&driver.faults, 1, __ATOMIC_RELAXED);
	if (!error && driver.refuses - start < npages * driver.page)
		error = -EFAULT;
	for (unsigned long i = 0; i < npages && !error; i++) {
		entries[i] = __atomic_fetch_add(&driver.made, 1, __ATOMIC_RELAXED) |
			     HMM_PFN_VALID | (flags & HMMU_MIRROR_WRITE ? HMM_PFN_WRITE : 0);
		entries[i] &= ~driver.lacks;
		moves(entries[i], UNMADE, MADE);
	}
	if (meanwhile)
		meanwhile();
	return error;
}

static void drv_abandon(void *context, unsigned long start, unsigned long npages,
			const unsigned long *entries)
{
	(void)context;
	(void)start;
	for (unsigned long i = 0; i < npages; i++)
		moves(entries[i], MADE, ABANDONED);
}

static void drv_install(void *context, unsigned long start, unsigned long npages,
			const unsigned long *entries)
{
	(void)context;
	(void)start;
	for (unsigned long i = 0; i < npages; i++)
		moves(entries[i], MADE, INSTALLED);
}

static void drv_drop(void *context, unsigned long addr, unsigned long entry,
		     enum mmu_notifier_event event)
{
	(void)context;
	moves(entry, INSTALLED, DROPPED);
	driver.dropped_addr = addr;
	driver.dropped = entry;
	driver.dropped_event = event;
	driver.told_after = false;
}

static void drv_invalidate(void *context, unsigned long start, unsigned long end,
			   enum mmu_notifier_event event)
{
	(void)context;
	bed.last_start = start;
	bed.last_end = end;
	driver.told_after = driver.dropped_event == event;
}

static void drv_lock(void *context)
{
	(void)context;
	pthread_mutex_lock(&driver.lock);
	driver.locks++;
}

static bool drv_trylock(void *context)
{
	(void)context;
	if (pthread_mutex_trylock(&driver.lock))
		return false;
	driver.trylocks++;
	return true;
}

static void drv_unlock(void *context)
{
	(void)context;
	pthread_mutex_unlock(&driver.lock);
}

static const struct hmmu_mirror_ops drv_ops = {
	.install = drv_install,
	.invalidate = drv_invalidate,
	.lock = drv_lock,
	.unlock = drv_unlock,
	.trylock = drv_trylock,
	.fault = drv_fault,
	.abandon = drv_abandon,
	.drop = drv_drop,
};

static int set_up(void **state)
{
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

	(void)state;
	memset(&driver, 0, sizeof(driver));
	driver.lock = lock;
	driver.page = PAGE;
	must(bed_open(&bed, HMMU_SOURCE_EXPLICIT));
	hmmu_mirror_close(bed.mirror);
	bed_mirror(&bed, &drv_ops, 0);
	return 0;
}

/* The last of each test: nothing is left, and nothing got lost. */
static void finish(void)
{
	bed_close(&bed);
	assert_int_equal(count(MADE), 0);
	assert_int_equal(count(INSTALLED), 0);
	assert_int_equal(count(DROPPED) + count(ABANDONED), driver.made);
}

static int look(unsigned long page, bool write, unsigned long *entry)
{
	int ret;

	quiet_void(hmmu_mirror_lock(bed.mirror));
	ret = quiet(hmmu_mirror_lookup(bed.mirror, bed_addr(&bed, page), write, entry));
	quiet_void(hmmu_mirror_unlock(bed.mirror));
	return ret;
}

static void entries_are_the_drivers(void **state)
{
	unsigned long entry, other;

	assert_int_equal(bed_map(&bed, 3, 3, 0), 0);
	assert_int_equal(driver.faults, 1);
	assert_int_equal(look(4, false, &entry), 0);
	assert_int_equal(entry, HMM_PFN_VALID | 1);
	assert_int_equal(look(4, true, &entry), -EPERM);
	bed_change(&bed, 4, 1, 2);
	assert_int_equal(driver.dropped, HMM_PFN_VALID | 1);
	assert_int_equal(driver.dropped_addr, bed_addr(&bed, 4));
	assert_int_equal(driver.dropped_event, MMU_NOTIFY_UNMAP);
	assert_true(driver.told_after);
	assert_int_equal(count(INSTALLED), 2);
	/* The neighbour is the one that it was; this one will be another. */
	assert_int_equal(bed_map(&bed, 4, 1, HMMU_MIRROR_WRITE), 0);
	assert_int_equal(look(4, true, &other), 0);
	assert_int_equal(other, HMM_PFN_VALID | HMM_PFN_WRITE | 3);
	assert_int_equal(look(5, false, &entry), 0);
	assert_int_equal(entry, HMM_PFN_VALID | 2);
	/* By the driver. */
	hmmu_mirror_drop(bed.mirror, bed_addr(&bed, 5), bed_addr(&bed, 5) + 1);
	assert_int_equal(driver.dropped, entry);
	assert_int_equal(driver.dropped_event, MMU_NOTIFY_EXCLUSIVE);
	assert_int_equal(driver.faults, 2);
	hmmu_mirror_close(bed.mirror);
	assert_int_equal(driver.dropped, other); /* the highest */
	assert_int_equal(driver.dropped_event, MMU_NOTIFY_RELEASE);
	bed.mirror = NULL;
	finish();
}

static void change_three(void)
{
	bed_change(&bed, 3, 1, 2);
}

static void drop_three(void)
{
	hmmu_mirror_drop(bed.mirror, bed_addr(&bed, 3), bed_addr(&bed, 4));
}

/* Meeting 1: what was found out before is taken back, all of it. */
static void collided_is_abandoned(void **state)
{
	void (*const both[])(void) = {change_three, drop_three};

	for (int i = 0; i < 2; i++) {
		driver.meanwhile = both[i];
		assert_int_equal(bed_map(&bed, 3 + 4 * i, 2, 0), 0);
		assert_int_equal(count(ABANDONED), 2 * (i + 1));
		assert_int_equal(driver.faults, 2 * (i + 1));
		assert_int_equal(bed_stats(&bed).retries, i + 1);
	}
	/* The deadline comes first. */
	driver.meanwhile = change_three;
	assert_int_equal(
		quiet(hmmu_mirror_map(bed.mirror, bed_addr(&bed, 20), 1, 0, NULL, &now)),
		-ETIMEDOUT);
	assert_int_equal(count(ABANDONED), 5);
	finish();
}

static void errors_are_the_drivers(void **state)
{
	unsigned long done = 9;

	driver.error = -EIO;
	assert_int_equal(bed_map(&bed, 3, 2, 0), -EIO);
	/* Of memory that changed meanwhile it says nothing. */
	driver.meanwhile = change_three;
	assert_int_equal(bed_map(&bed, 3, 2, 0), 0);
	assert_int_equal(driver.faults, 3);
	/* The page that cannot be is found. */
	driver.refuses = bed_addr(&bed, 25);
	assert_int_equal(
		quiet(hmmu_mirror_map(bed.mirror, bed_addr(&bed, 20), 8, 0, &done, NULL)),
		-EFAULT);
	assert_int_equal(done, 5);
	assert_int_equal(bed_stats(&bed).entries, 7);
	assert_int_equal(count(ABANDONED), 0);
	finish();
}

static void entries_must_have_what_was_asked(void **state)
{
	driver.lacks = HMM_PFN_WRITE;
	assert_int_equal(bed_map(&bed, 3, 2, HMMU_MIRROR_WRITE), -EINVAL);
	assert_int_equal(bed_map(&bed, 3, 2, 0), 0);
	driver.lacks = HMM_PFN_VALID;
	assert_int_equal(bed_map(&bed, 6, 2, 0), -EINVAL);
	assert_int_equal(count(ABANDONED), 4);
	assert_int_equal(bed_stats(&bed).entries, 2);
	finish();
}

static void replaced_is_dropped(void **state)
{
	unsigned long entry;

	assert_int_equal(bed_map(&bed, 3, 2, 0), 0);
	assert_int_equal(bed_map(&bed, 4, 1, HMMU_MIRROR_WRITE), 0);
	assert_int_equal(driver.dropped, HMM_PFN_VALID | 1);
	assert_int_equal(driver.dropped_addr, bed_addr(&bed, 4));
	assert_int_equal(driver.dropped_event, MMU_NOTIFY_EXCLUSIVE);
	assert_int_equal(bed_stats(&bed).entries, 2);
	assert_int_equal(look(4, true, &entry), 0);
	assert_int_equal(entry, HMM_PFN_VALID | HMM_PFN_WRITE | 2);
	finish();
}

/* What is left of the table is good again, and nobody was asked for it. */
static void settling(void **state)
{
	struct mmu_notifier_range range;
	unsigned long entry, again;

	assert_int_equal(look(3, false, NULL), -EAGAIN); /* nothing was begun */
	assert_int_equal(hmmu_mirror_settle(bed.mirror, &now), 0);
	assert_int_equal(look(3, false, NULL), -ENOENT);
	assert_int_equal(bed_map(&bed, 3, 2, 0), 0);
	assert_int_equal(look(3, false, &entry), 0);
	bed_change(&bed, 4, 1, 2);
	assert_int_equal(look(3, false, &again), -EAGAIN);
	assert_int_equal(hmmu_mirror_settle(bed.mirror, NULL), 0);
	assert_int_equal(look(3, false, &again), 0);
	assert_int_equal(again, entry);
	assert_int_equal(look(4, false, NULL), -ENOENT);
	/* While something is open nothing is known. */
	range_open(&range, bed.mm, bed_addr(&bed, 9), bed_addr(&bed, 10));
	assert_int_equal(hmmu_mirror_settle(bed.mirror, &now), -ETIMEDOUT);
	assert_int_equal(look(3, false, &again), -EAGAIN);
	range_close(&range);
	assert_int_equal(hmmu_mirror_settle(bed.mirror, &now), 0);
	assert_int_equal(look(3, false, &again), 0);
	assert_int_equal(hmmu_mirror_settle(NULL, NULL), -EINVAL);
	assert_int_equal(driver.faults, 1);
	finish();
}

static int open_with(const struct hmmu_mirror_ops *ops, unsigned long length,
		     unsigned int page_size, unsigned int flags)
{
	const struct hmmu_mirror_options o = {.size = sizeof(o),
					      .start = bed.start & -length,
					      .length = length,
					      .page_size = page_size,
					      .flags = flags};
	struct hmmu_mirror *m;
	int ret = quiet(hmmu_mirror_open(&m, bed.mm, ops, NULL, &o));

	if (!ret)
		hmmu_mirror_close(m);
	return ret;
}

static void refusals(void **state)
{
	struct hmmu_mirror_ops ops = drv_ops;
	char byte = 0;

	assert_int_equal(hmmu_mirror_read(bed.mirror, bed.start, &byte, 1, NULL), -EOPNOTSUPP);
	assert_int_equal(hmmu_mirror_write(bed.mirror, bed.start, &byte, 1, NULL), -EOPNOTSUPP);
	assert_int_equal(driver.made, 0);
	assert_int_equal(open_with(&ops, 1UL << 30, 4096, 0), 0);
	assert_int_equal(open_with(&ops, 1UL << 30, 1 << 30, 0), 0);
	assert_int_equal(open_with(&ops, 1UL << 30, 2048, 0), -EINVAL);
	assert_int_equal(open_with(&ops, 1UL << 30, 3 * 4096, 0), -EINVAL);
	assert_int_equal(open_with(&ops, 1UL << 32, 1U << 31, 0), -EINVAL);
	assert_int_equal(open_with(&ops, 8192, 16384, 0), -EINVAL);
	assert_int_equal(open_with(&ops, 8192, 0, HMMU_MIRROR_DIRTY), -EINVAL);
	ops.fault = NULL;
	assert_int_equal(open_with(&ops, 8192, 0, 0), -EINVAL); /* abandon alone */
	ops.abandon = NULL;
	assert_int_equal(open_with(&ops, 8192, 0, 0), 0);
	assert_int_equal(open_with(&ops, 8192, 8192, 0), -EINVAL);
	assert_int_equal(open_with(NULL, 8192, 8192, 0), -EINVAL);
	finish();
}

/* Entries for four small pages: 16 KiB at a time, of the bed's 64 pages. */
static void larger_pages(void **state)
{
	struct hmmu_mirror_options o = {.size = sizeof(o), .page_size = 4 * PAGE};
	unsigned long first = (-bed.start & (4 * PAGE - 1)) / PAGE, done, entry;

	hmmu_mirror_close(bed.mirror);
	driver.page = o.page_size;
	o.start = bed_addr(&bed, first);
	o.length = 8 * 4 * PAGE;
	assert_int_equal(hmmu_mirror_open(&bed.mirror, bed.mm, &drv_ops, NULL, &o), 0);
	assert_int_equal(bed_map(&bed, first + 1, 1, 0), -EINVAL);
	assert_int_equal(bed_map(&bed, first, 12, 0), -EINVAL); /* of 8 */
	assert_int_equal(quiet(hmmu_mirror_map(bed.mirror, o.start, 8, 0, &done, NULL)), 0);
	assert_int_equal(done, 8);
	assert_int_equal(driver.made, 8);
	assert_int_equal(look(first + 7, false, &entry), 0);
	assert_int_equal(entry, HMM_PFN_VALID | 1);
	/* A part of it is all of it, and no more. */
	bed_change(&bed, first + 6, 1, 2);
	assert_int_equal(driver.dropped, entry);
	assert_int_equal(driver.dropped_addr, bed_addr(&bed, first + 4));
	assert_int_equal(bed.last_start, bed_addr(&bed, first + 4));
	assert_int_equal(bed.last_end, bed_addr(&bed, first + 8));
	assert_int_equal(count(INSTALLED), 7);
	hmmu_mirror_drop(bed.mirror, bed_addr(&bed, first + 9), bed_addr(&bed, first + 13));
	assert_int_equal(bed.last_start, bed_addr(&bed, first + 8));
	assert_int_equal(bed.last_end, bed_addr(&bed, first + 16));
	assert_int_equal(count(INSTALLED), 5);
	assert_int_equal(bed_stats(&bed).entries, 5);
	/* Of several the one that cannot be. */
	hmmu_mirror_drop(bed.mirror, 0, -PAGE);
	driver.refuses = bed_addr(&bed, first + 22);
	assert_int_equal(quiet(hmmu_mirror_map(bed.mirror, o.start, 8, 0, &done, NULL)),
			 -EFAULT);
	assert_int_equal(done, 5);
	finish();
}

/* In a table of many leaves each entry comes back with its address. */
static void addresses(void **state)
{
	unsigned long page = (unsigned long)&driver & -PAGE;

	hmmu_mirror_close(bed.mirror);
	assert_int_equal(hmmu_mirror_open(&bed.mirror, bed.mm, &drv_ops, NULL, NULL), 0);
	assert_int_equal(bed_map(&bed, 7, 1, 0), 0);
	assert_int_equal(quiet(hmmu_mirror_map(bed.mirror, page, 1, 0, NULL, NULL)), 0);
	invalidate(bed.mm, page, page + PAGE);
	assert_int_equal(driver.dropped_addr, page);
	bed_change(&bed, 7, 1, 2);
	assert_int_equal(driver.dropped_addr, bed_addr(&bed, 7));
	finish();
}

/* Who was let in by lock may sleep after the unlock: only a hurried one tries. */
static void only_the_hurried_try(void **state)
{
	struct hmmu_mirror_options o = {.size = sizeof(o), .start = bed.start, .length = PAGE};
	struct mmu_notifier_range range;
	struct hmmu_mirror *other;

	/* One lock for two: the driver's. */
	assert_int_equal(hmmu_mirror_open(&other, bed.mm, &drv_ops, NULL, &o), 0);
	assert_int_equal(bed_map(&bed, 0, 2, 0), 0);
	assert_int_equal(hmmu_mirror_map(other, bed.start, 1, 0, NULL, NULL), 0);
	bed_change(&bed, 0, 2, 2);
	hmmu_mirror_drop(other, 0, -PAGE);
	assert_true(driver.locks > 0);
	assert_int_equal(driver.trylocks, 0);
	driver.locks = 0;
	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, bed.mm, bed_addr(&bed, 0),
				bed_addr(&bed, 1));
	assert_int_equal(mmu_notifier_invalidate_range_start_nonblock(&range), 0);
	mmu_notifier_invalidate_range_end(&range);
	assert_int_equal(driver.trylocks, 2);
	assert_int_equal(driver.locks, 0);
	hmmu_mirror_close(other);
	finish();
}

static void in_child(void)
{
	must(bed_map(&bed, 3, 1, 0) == -ENODEV);
	must(hmmu_mirror_settle(bed.mirror, &now) == -ENODEV);
	hmmu_mirror_close(bed.mirror);
	must(driver.faults == 1 && count(INSTALLED) == 2);
	_exit(0);
}

static void forked(void **state)
{
	int status = 0;
	pid_t pid;

	assert_int_equal(bed_map(&bed, 0, 2, 0), 0);
	pid = fork();
	if (!pid)
		in_child();
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	finish();
}

/* All at once: what is made is the table's or taken back, whoever wins (tear_down counts). */
#define TURNS 3000

static void map_much(void *arg)
{
	for (unsigned long i = 0; i < TURNS; i++)
		must(bed_map(&bed, (i * 7 + *(unsigned long *)arg) % 60, 4,
			     i % 3 ? 0 : HMMU_MIRROR_WRITE) == 0);
}

static void change_much(void *arg)
{
	(void)arg;
	for (unsigned long i = 0; i < TURNS; i++) {
		if (i % 4)
			invalidate(bed.mm, bed_addr(&bed, i * 5 % 60),
				   bed_addr(&bed, i * 5 % 60 + 3));
		else
			hmmu_mirror_drop(bed.mirror, bed_addr(&bed, i % 64),
					 bed_addr(&bed, i % 64 + 1));
	}
}

static void storm(void **state)
{
	unsigned long seeds[2] = {0, 31};
	struct runner run[3];

	runner_start(&run[0], map_much, &seeds[0]);
	runner_start(&run[1], map_much, &seeds[1]);
	runner_start(&run[2], change_much, NULL);
	for (int i = 0; i < 3; i++)
		runner_join(&run[i]);
	assert_true(driver.made > 0);
	assert_int_equal(count(INSTALLED), bed_stats(&bed).entries);
	finish();
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(entries_are_the_drivers),
		TEST(collided_is_abandoned),
		TEST(errors_are_the_drivers),
		TEST(entries_must_have_what_was_asked),
		TEST(replaced_is_dropped),
		TEST(settling),
		TEST(refusals),
		TEST(larger_pages),
		TEST(addresses),
		TEST(only_the_hurried_try),
		TEST(forked),
		TEST(storm),
	};

	api_guard(60);
	return cmocka_run_group_tests_name("mirror driver", tests, NULL, NULL);
}
