// SPDX-License-Identifier: MIT
/*
 * defer.c - work against a reclaimer that falls asleep, and against one that takes over
 * from another (src/reclaim/reclaim.c).
 *
 *	left: defer				the reclaimer
 *	push					asleep
 *	load asleep: wake			look at the stacks: sleep
 *		[Required: it does not sleep while something is pushed]
 *
 * That asleep is a plain store cannot be shown on x86: the look takes a lock, whose RMW
 * empties the store buffer. models/relacy/defer.cpp shows it (ASLEEP_RELEASE).
 *
 * "handover": right closes the last mm while left opens another: the old reclaimer may
 * still be on its way out when the new one falls asleep.
 */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "litmus.h"
#include "notifier/notifier.h"

#ifdef LITMUS_WEAK
#define WORKS 1 /* a push that is no RMW would tie two into a ring */
#else
#define WORKS 2
#endif
#define BURST 50
#define LOOK_EVERY 20000 /* yields */
#define LOOKS 50	 /* in a row that find every reclaimer asleep */

static struct mm_struct *mm, *old;
static struct hmmu_work work[WORKS];
static uint32_t done, stop_using;
static cpu_set_t one_cpu;

static void fn(struct hmmu_work *w)
{
	litmus_take(0);
	hmmu_add_seqcst(&done, 1);
}

static bool is_reclaimer(const char *tid)
{
	char path[300], name[32] = "";
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%s/comm", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, name, sizeof(name) - 1);
	close(fd);
	return n > 0 && strncmp(name, "hmmu-reclaim", 12) == 0;
}

static bool all_sleep(void)
{
	DIR *dir = opendir("/proc/self/task");
	bool sleep = true, any = false;
	struct dirent *e;

	while (dir && sleep && (e = readdir(dir))) {
		if (e->d_name[0] == '.' || !is_reclaimer(e->d_name))
			continue;
		any = true;
		sleep = litmus_sleeps(atoi(e->d_name));
	}
	if (dir)
		closedir(dir);
	return any && sleep;
}

/* false: every reclaimer sleeps on it. */
static bool wait_done(uint32_t n)
{
	uint32_t looks = 0;

	for (uint64_t i = 1; hmmu_load_acquire(&done) < n; i++) {
		if (i % 200 == 0)
			sched_yield();
		else
			hmmu_cpu_relax();
		if (i < LOOK_EVERY)
			continue;
		usleep(200);
		looks = all_sleep() ? looks + 1 : 0;
		if (looks == LOOKS && hmmu_load_acquire(&done) < n) {
			hmmu_reclaim(mm);
			return false;
		}
	}
	return true;
}

static void defer_all(void)
{
	hmmu_store_relaxed(&done, 0);
	for (int i = 0; i < WORKS; i++)
		hmmu_defer(mm, &work[i], fn);
}

/* The reclaimer is a thread of the library's: right has nothing to do, and left does not
 * wait for it between one work and the next. */
static void nothing(void)
{
}

static bool slept;

static void defer_many(void)
{
	for (int i = 0; i < BURST && !slept; i++) {
		litmus_delay(9);
		defer_all();
		slept = !wait_done(WORKS);
	}
}

static bool settle(void)
{
	bool good = !slept;

	slept = false;
	return good;
}

static const struct litmus asleep = {"defer",	 "defer x asleep, 50 times a round",
				     NULL,	 NULL,
				     defer_many, nothing,
				     settle,	 NULL,
				     1,		 1};

/* Whatever the reclaimer does next takes milliseconds: it is idle class, on a CPU that
 * somebody else uses up. */
static void slow_down_reclaimers(void)
{
	const struct sched_param none = {0};
	DIR *dir = opendir("/proc/self/task");
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		if (e->d_name[0] == '.' || !is_reclaimer(e->d_name))
			continue;
		sched_setaffinity(atoi(e->d_name), sizeof(one_cpu), &one_cpu);
		sched_setscheduler(atoi(e->d_name), SCHED_IDLE, &none);
	}
	if (dir)
		closedir(dir);
}

static void *use_up(void *arg)
{
	sched_setaffinity(0, sizeof(one_cpu), &one_cpu);
	while (!hmmu_load_relaxed(&stop_using))
		hmmu_cpu_relax();
	return arg;
}

static void open_new(void)
{
	const struct hmmu_mm_options options = {.size = sizeof(options)};

	if (hmmu_mm_open(&mm, &options))
		abort();
}

static void close_old(void)
{
	if (hmmu_mm_close(old))
		abort();
}

static bool settle_handover(void)
{
	bool good;

	defer_all();
	good = wait_done(WORKS);
	old = mm;
	slow_down_reclaimers();
	return good;
}

static const struct litmus handover = {"defer/handover",
				       "defer x an old reclaimer",
				       NULL,
				       NULL,
				       open_new,
				       close_old,
				       settle_handover,
				       NULL,
				       10,
				       1};

#ifndef LITMUS_WEAK
static int run_handover(void)
{
	pthread_t user;
	int bad, cpu = 0;

	sched_getaffinity(0, sizeof(one_cpu), &one_cpu);
	while (!CPU_ISSET(cpu, &one_cpu))
		cpu++;
	CPU_ZERO(&one_cpu);
	CPU_SET(cpu, &one_cpu);
	if (pthread_create(&user, NULL, use_up, NULL))
		abort();
	old = mm;
	slow_down_reclaimers();
	bad = litmus_clean(&handover, 100);
	hmmu_store_relaxed(&stop_using, 1);
	pthread_join(user, NULL);
	return bad;
}
#endif

int main(void)
{
	int bad = 0;

	open_new();
#ifdef LITMUS_WEAK
	(void)handover;
	(void)use_up;
	bad |= litmus_broken(&asleep, LITMUS_WEAK);
#else
	bad |= litmus_clean(&asleep, 10000);
	hmmu_planted = HMMU_PLANT_DEFER_LOST;
	bad |= litmus_broken(&asleep, "DEFER_LOST");
	hmmu_planted = HMMU_PLANT_NONE;
	bad |= run_handover();
#endif
	return litmus_status(bad);
}
