// SPDX-License-Identifier: MIT
/*
 * run.c - the run: slices of the three columns in turn, in rotating order.
 *
 * Three barriers per slice: the column is set; all devices watch; all are quiet. What
 * the main thread writes between the last and the first (column, quit, stop, seconds)
 * needs no more.
 */
#include "cache.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define SLICE 0.1      /* seconds, of a long run */
#define LEAST_ROUNDS 6 /* of three slices each, of a short one */
#define PROGRESS 0.25  /* seconds */

double torture_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* splitmix64: any state will do, 0 too. */
uint64_t torture_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

void torture_fatal(struct torture *t, const char *what, int error)
{
	const char *none = NULL;

	if (atomic_compare_exchange_strong(&t->fatal, &none, what))
		atomic_store(&t->fatal_error, error);
	atomic_store(&t->stop, true);
}

static void nap(double seconds)
{
	struct timespec ts = {(time_t)seconds,
			      (long)((seconds - (double)(time_t)seconds) * 1e9)};

	while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
		;
}

static void slice(struct torture *t, enum column column, double length, double begun)
{
	double start, left;

	t->column = column;
	atomic_store(&t->stop, false);
	pthread_barrier_wait(&t->barrier);
	/* Before the others may begin: no access is outside the time it is divided by. */
	start = torture_now();
	pthread_barrier_wait(&t->barrier);
	while ((left = start + length - torture_now()) > 0 && !atomic_load(&t->fatal)) {
		nap(left < PROGRESS ? left : PROGRESS);
		report_progress(t, torture_now() - begun);
	}
	atomic_store(&t->stop, true);
	pthread_barrier_wait(&t->barrier);
	t->seconds[column] += torture_now() - start;
}

static void rounds(struct torture *t)
{
	double begun = torture_now(), total = t->options.seconds, length = SLICE;

	if (length < 8 * t->patience)
		length = 8 * t->patience;
	if (length * NR_COLUMNS * LEAST_ROUNDS > total)
		length = total / (NR_COLUMNS * LEAST_ROUNDS);
	for (unsigned int i = 0; torture_now() - begun < total && !atomic_load(&t->fatal); i++)
		for (unsigned int c = 0; c < NR_COLUMNS; c++)
			slice(t, (enum column)((c + i) % NR_COLUMNS), length, begun);
}

static int start_threads(struct torture *t)
{
	pthread_barrier_init(&t->barrier, NULL, t->nr_devices + t->nr_mutators + 1);
	for (unsigned int i = 0; i < t->nr_devices; i++)
		if (pthread_create(&t->devices[i].thread, NULL,
				   t->cache ? getter_main : device_main, &t->devices[i]))
			return -EAGAIN;
	for (unsigned int i = 0; i < t->nr_mutators; i++)
		if (pthread_create(&t->mutators[i].thread, NULL, mutator_main, &t->mutators[i]))
			return -EAGAIN;
	return 0;
}

static void stop_threads(struct torture *t)
{
	t->quit = true;
	pthread_barrier_wait(&t->barrier);
	for (unsigned int i = 0; i < t->nr_devices; i++)
		pthread_join(t->devices[i].thread, NULL);
	for (unsigned int i = 0; i < t->nr_mutators; i++)
		pthread_join(t->mutators[i].thread, NULL);
	pthread_barrier_destroy(&t->barrier);
}

static int open_devices(struct torture *t)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	int ret = 0;

	t->nr_devices = t->options.threads;
	/* About a time slice, and as many as it takes until a thread is run again. */
	t->patience = 0.002 * (1 + t->nr_devices / (double)cpus);
	t->crowded = t->nr_devices > (unsigned long)cpus;
	t->devices = calloc(t->nr_devices, sizeof(*t->devices));
	if (!t->devices)
		return -ENOMEM;
	for (unsigned int i = 0; i < t->nr_devices && !ret; i++) {
		struct device *d = &t->devices[i];

		d->t = t;
		d->id = i;
		d->rng = t->options.seed * 1000 + i;
		d->value = (uint64_t)(i + 1) << 48;
		ret = t->options.cache ? 0 : device_open(d);
	}
	return ret;
}

static void set_limits(void)
{
	struct rlimit memlock;

	/* One huge page under eight small ones would be pinned as a whole. */
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	if (!getrlimit(RLIMIT_MEMLOCK, &memlock)) {
		memlock.rlim_cur = memlock.rlim_max;
		setrlimit(RLIMIT_MEMLOCK, &memlock);
	}
}

/* 0: it ran, see t->fatal. Otherwise -errno, and t->fatal says of what. */
int torture_run(struct torture *t)
{
	int ret;

	set_limits();
	pthread_mutex_init(&t->hole, NULL);
	pthread_mutex_init(&t->first_lock, NULL);
	/* The devices before the regions: malloc does as it likes until then. */
	ret = open_devices(t);
	if (ret) {
		torture_fatal(t, uring_mirror_why(ret), -ret);
		return ret;
	}
	ret = regions_open(t);
	if (ret) {
		torture_fatal(t, "making the memory to torture", -ret);
		return ret;
	}
	t->nr_mutators = t->nr_regions < MAX_MUTATORS ? t->nr_regions : MAX_MUTATORS;
	for (unsigned int i = 0; i < t->nr_mutators; i++)
		t->mutators[i] = (struct mutator){
			.t = t, .id = i, .rng = t->options.seed * 1000 + 500 + i};
	if (!t->nr_regions)
		return 0;
	if (t->options.cache)
		ret = cache_open(t);
	if (ret)
		return ret;
	ret = start_threads(t);
	if (ret) {
		/* Threads wait at a barrier that never fills: the process ends soon. */
		torture_fatal(t, "pthread_create", -ret);
		return ret;
	}
	ret = disturb_start(t);
	if (ret)
		torture_fatal(t, "starting what disturbs", -ret);
	else
		rounds(t);
	disturb_stop(t);
	stop_threads(t);
	return 0;
}
