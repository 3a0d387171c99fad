// SPDX-License-Identifier: MIT
/*
 * threads.c - what mutants of src/ showed that nobody looked at: what only the library's own
 * thread does (it delivers what a signal handler left, and takes no signal), and what a close
 * that is refused leaves behind.
 *
 * Nothing depends on time: a test waits until the thread is asleep, then for what it has to
 * do; a thread that does not is found by a limit.
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "instance.h"
#include "notifier/notifier.h"

#define LOOKS 20000 /* half a millisecond apart */

static struct mm_struct *mm;
static struct mmu_interval_notifier sub;
static uint32_t told;

static bool hear(struct mmu_interval_notifier *s, const struct mmu_notifier_range *range,
		 unsigned long seq)
{
	mmu_interval_set_seq(s, seq);
	if (range->phase == HMMU_PHASE_LOST)
		hmmu_add_seqcst(&told, 1);
	return true;
}

static const struct mmu_interval_notifier_ops ops = {.invalidate = hear};

/* The line of /proc/self/task/T/status that begins with @key, for the thread @name. */
static bool status_of(const char *name, const char *key, char *value, size_t n)
{
	DIR *tasks = opendir("/proc/self/task");
	bool found = false;
	struct dirent *d;

	assert_non_null(tasks);
	while (!found && (d = readdir(tasks))) {
		char path[300], line[256];
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%s/status", d->d_name);
		f = d->d_name[0] == '.' ? NULL : fopen(path, "r");
		if (!f)
			continue;
		if (fgets(line, sizeof(line), f) && strstr(line, name)) {
			while (!found && fgets(line, sizeof(line), f)) {
				found = !strncmp(line, key, strlen(key));
				if (found)
					snprintf(value, n, "%s", line + strlen(key));
			}
		}
		fclose(f);
	}
	closedir(tasks);
	return found;
}

static void open_one(void)
{
	struct hmmu_mm_options o = {.size = sizeof(o)};
	char state[64] = "";
	int asleep = 0;

	assert_int_equal(hmmu_mm_open(&mm, &o), 0);
	told = 0;
	assert_int_equal(mmu_interval_notifier_insert(&sub, mm, 4096, 4096, &ops), 0);
	/* The reclaimer sleeps, and says so: several looks in a row. */
	for (int i = 0; i < LOOKS && asleep < 5; i++) {
		usleep(500);
		asleep = hmmu_load_seqcst(&hmmu_instance_peek()->asleep) == 1 &&
					 status_of("hmmu-reclaim", "State:", state,
						   sizeof(state)) &&
					 strchr(state, 'S')
				 ? asleep + 1
				 : 0;
	}
	assert_int_equal(asleep, 5);
}

static void close_one(void)
{
	int ret = -EBUSY;

	mmu_interval_notifier_remove(&sub);
	/* The reclaimer may still be between the callback and the end. */
	for (int i = 0; ret == -EBUSY && i < LOOKS; i++) {
		ret = hmmu_mm_close(mm);
		if (ret)
			usleep(500);
	}
	assert_int_equal(ret, 0);
}

/* Nobody reads and nobody reclaims: it is the sleeping thread's to tell everybody. */
static void test_the_reclaimer_delivers(void **state)
{
	struct mmu_notifier_range range;
	int i = 0;

	(void)state;
	open_one();
	hmmu_mm_lock(mm); /* as in a handler that interrupted the holder */
	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, 4096, 8192);
	assert_int_equal(mmu_notifier_invalidate_range_start(&range), 0);
	mmu_notifier_invalidate_range_end(&range);
	hmmu_mm_unlock(mm);
	while (!hmmu_load_seqcst(&told) && i++ < LOOKS)
		usleep(500);
	assert_int_equal(hmmu_load_seqcst(&told), 1);
	close_one();
}

/* The application's handlers never run in it. */
static void test_the_reclaimer_takes_no_signal(void **state)
{
	char blocked[64] = "";
	unsigned long long set;

	(void)state;
	open_one();
	assert_true(status_of("hmmu-reclaim", "SigBlk:", blocked, sizeof(blocked)));
	set = strtoull(blocked, NULL, 16);
	for (int sig = 1; sig < 32; sig++)
		if (sig != SIGKILL && sig != SIGSTOP)
			assert_true(set >> (sig - 1) & 1);
	close_one();
}

/* More open than there are slots: one of those that have none is open still. */
static void test_close_while_the_last_of_many_is_open(void **state)
{
	static struct mmu_notifier_range range[HMMU_SLOTS + 1];
	struct hmmu_mm_options o = {.size = sizeof(o), .flags = HMMU_MM_OWN_RECLAIM};

	(void)state;
	assert_int_equal(hmmu_mm_open(&mm, &o), 0);
	for (unsigned int i = 0; i <= HMMU_SLOTS; i++) {
		mmu_notifier_range_init(&range[i], MMU_NOTIFY_UNMAP, 0, mm, 4096, 8192);
		assert_int_equal(mmu_notifier_invalidate_range_start(&range[i]), 0);
	}
	for (unsigned int i = 0; i < HMMU_SLOTS; i++)
		mmu_notifier_invalidate_range_end(&range[i]);
	assert_int_equal(hmmu_mm_close(mm), -EBUSY);
	mmu_notifier_invalidate_range_end(&range[HMMU_SLOTS]);
	assert_int_equal(hmmu_mm_close(mm), 0);
}

static uint32_t heard;

static bool count_it(struct mmu_interval_notifier *s, const struct mmu_notifier_range *range,
		     unsigned long seq)
{
	(void)range;
	mmu_interval_set_seq(s, seq);
	hmmu_add_seqcst(&heard, 1);
	return true;
}

/* A close that was refused leaves the mm as it was: its sources tell it still. */
static void test_busy_close_keeps_the_sources(void **state)
{
	static const struct mmu_interval_notifier_ops count_ops = {.invalidate = count_it};
	struct hmmu_mm_options o = {
		.size = sizeof(o), .sources = HMMU_SOURCE_HOOKS, .flags = HMMU_MM_OWN_RECLAIM};
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct mmu_notifier_range range;

	(void)state;
	assert_int_equal(hmmu_mm_open(&mm, &o), 0);
	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, 4096, 8192);
	assert_int_equal(mmu_notifier_invalidate_range_start(&range), 0);
	assert_int_equal(hmmu_mm_close(mm), -EBUSY);
	mmu_notifier_invalidate_range_end(&range);
	assert_int_equal(
		mmu_interval_notifier_insert(&sub, mm, (unsigned long)p, 4096, &count_ops), 0);
	assert_int_equal(munmap(p, 4096), 0);
	assert_int_equal(hmmu_load_seqcst(&heard), 1);
	close_one();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_reclaimer_delivers),
		cmocka_unit_test(test_the_reclaimer_takes_no_signal),
		cmocka_unit_test(test_close_while_the_last_of_many_is_open),
		cmocka_unit_test(test_busy_close_keeps_the_sources),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
