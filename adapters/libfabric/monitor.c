// SPDX-License-Identifier: MIT
/*
 * monitor.c - what libfabric calls, and what it is told.
 *
 * subscribe, unsubscribe and valid run under libfabric's mutex (1.17
 * prov/util/src/util_mr_cache.c: 281-309 and 338-359; 2.1: 137 in notify and flush as
 * well); start and stop under its mm_state_lock alone (util_mem_monitor.c:119-148).
 */
#include "monitor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct fi_table *fi_table;

enum { NOT_IMPORTED, CHANGING, IMPORTED };
static atomic_int import_state;
/* libfabric's view, which a forked child inherits. */
static atomic_bool running;

FI_THREAD unsigned int op_depth;
/* When this thread's last subscribe or valid ended. Not unsubscribe: that can be called in
 * the middle of a registration, when room is made for it. */
FI_THREAD uint64_t last_op;

void fi_enter_op(void)
{
	op_depth++;
}

void fi_leave_op(void)
{
	op_depth--;
}

bool fi_in_op(void)
{
	return op_depth > 0;
}

/* NULL in a forked child: everything that follows is its parent's. */
static struct fi_table *table(void)
{
	return fi_table && fi_table->mm ? fi_table : NULL;
}

/* 1.17 crashes if it is told before its own initialisation, hence start() first. */
void fi_notify(struct fi_table *t, uintptr_t addr, size_t len)
{
	pthread_mutex_lock(&t->gate);
	if (running) {
		fi_monitor.import_ops->notify(&fi_monitor, (const void *)addr, len);
		t->notified++;
	}
	pthread_mutex_unlock(&t->gate);
}

static void set_running(struct fi_table *t, bool on)
{
	if (t)
		pthread_mutex_lock(&t->gate);
	running = on;
	if (t)
		pthread_mutex_unlock(&t->gate);
}

static int op_start(struct fid_mem_monitor *monitor)
{
	if (!table())
		return -FI_ENODEV;
	set_running(table(), true);
	return 0;
}

/* No cache is left: nor is anybody who could ask for a record. */
static void op_stop(struct fid_mem_monitor *monitor)
{
	set_running(table(), false);
	if (table())
		fi_forget_all(table());
}

static int op_subscribe(struct fid_mem_monitor *monitor, const void *addr, size_t len)
{
	int ret = -FI_ENODEV;

	fi_enter_op();
	if (table())
		ret = fi_watch(table(), (uintptr_t)addr, len, last_op);
	last_op = fi_tick();
	fi_leave_op();
	return ret;
}

static void op_unsubscribe(struct fid_mem_monitor *monitor, const void *addr, size_t len)
{
	fi_enter_op();
	if (table())
		fi_unwatch(table(), (uintptr_t)addr, len);
	fi_leave_op();
}

static bool op_valid(struct fid_mem_monitor *monitor, const void *addr, size_t len)
{
	bool ret;

	fi_enter_op();
	ret = table() && fi_watched(table(), (uintptr_t)addr, len);
	last_op = fi_tick();
	fi_leave_op();
	return ret;
}

static struct fi_ops_mem_monitor monitor_ops = {
	.size = sizeof(struct fi_ops_mem_monitor),
	.start = op_start,
	.stop = op_stop,
	.subscribe = op_subscribe,
	.unsubscribe = op_unsubscribe,
	.valid = op_valid,
};

struct fid_mem_monitor fi_monitor = {
	.fid = {.fclass = FI_CLASS_MEM_MONITOR},
	.export_ops = &monitor_ops,
};

static int check_options(const struct hmmu_fi_options *o)
{
	static const unsigned int none[5];
	const unsigned int known = HMMU_FI_WRAPPED_ONLY | HMMU_FI_WINDOW_OPEN;

	if (!o)
		return 0;
	if (o->size != sizeof(*o) || (o->flags & ~known) || o->flags == known ||
	    memcmp(o->reserved, none, sizeof(none)) != 0)
		return -EINVAL;
	return 0;
}

static int map_table(void)
{
	int saved = errno;
	void *p;

	if (fi_table)
		return 0;
	p = mmap(NULL, sizeof(*fi_table), PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		goto err;
	if (madvise(p, sizeof(*fi_table), MADV_WIPEONFORK)) {
		munmap(p, sizeof(*fi_table));
		goto err;
	}
	fi_table = p;
	errno = saved;
	return 0;
err:
	errno = saved;
	return -ENOMEM;
}

/* The table is empty: new, left by close, or wiped by fork. */
static void open_table(struct mm_struct *mm, const struct hmmu_fi_options *options)
{
	struct fi_table *t = fi_table;

	memset(t, 0, offsetof(struct fi_table, bucket));
	pthread_mutex_init(&t->gate, NULL);
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->buried, NULL);
	t->flags = options ? options->flags : 0;
	t->mm = mm;
}

static int import_first(struct mm_struct *mm, const struct hmmu_fi_options *options)
{
	int ret;

	/* Read when libfabric is initialised, which may be after this (1.17
	 * util_mem_monitor.c:238-256): it replaces an imported monitor without a word. */
	if (getenv("FI_MR_CACHE_MONITOR"))
		return -EEXIST;
	ret = map_table();
	if (ret)
		return ret;
	open_table(mm, options);
	ret = fi_import(FI_VERSION(1, 13), "mr_cache", NULL, 0, 0, &fi_monitor.fid, NULL);
	if (ret)
		fi_table->mm = NULL;
	return ret;
}

FI_PUBLIC int hmmu_fi_import(struct mm_struct *mm, const struct hmmu_fi_options *options)
{
	int was = NOT_IMPORTED, ret;

	if (!mm || check_options(options))
		return -EINVAL;
	if (hmmu_mm_describe(mm, NULL, 0) == -ENODEV)
		return -ENODEV;
	if (atomic_compare_exchange_strong(&import_state, &was, CHANGING)) {
		ret = import_first(mm, options);
		import_state = ret ? NOT_IMPORTED : IMPORTED;
		return ret;
	}
	/* A forked child's? libfabric has the monitor already. */
	if (was != IMPORTED || table() ||
	    !atomic_compare_exchange_strong(&import_state, &was, CHANGING))
		return -EBUSY;
	open_table(mm, options);
	import_state = IMPORTED;
	return 0;
}

/* Until every record is free. One may be in a callback that has marked it and not yet
 * deferred it: nobody announces that, hence the clock. */
static void drain(struct fi_table *t)
{
	struct timespec ts;

	fi_forget_all(t);
	while (t->watched) {
		hmmu_reclaim(t->mm);
		pthread_mutex_lock(&t->lock);
		clock_gettime(CLOCK_REALTIME, &ts);
		ts.tv_nsec += 1000000;
		if (ts.tv_nsec >= 1000000000) {
			ts.tv_nsec -= 1000000000;
			ts.tv_sec++;
		}
		if (t->watched)
			pthread_cond_timedwait(&t->buried, &t->lock, &ts);
		pthread_mutex_unlock(&t->lock);
	}
	/* The last bury() has let go of it, too: the next import writes over it. */
	pthread_mutex_lock(&t->lock);
	pthread_mutex_unlock(&t->lock);
}

FI_PUBLIC int hmmu_fi_close(void)
{
	int was = IMPORTED, ret;

	if (!atomic_compare_exchange_strong(&import_state, &was, CHANGING))
		return -EINVAL;
	ret = running ? -EBUSY : fi_close(&fi_monitor.fid);
	if (ret) {
		import_state = IMPORTED;
		return ret;
	}
	if (table()) {
		drain(fi_table);
		fi_table->mm = NULL;
	}
	import_state = NOT_IMPORTED;
	return 0;
}

FI_PUBLIC int hmmu_fi_stat(struct hmmu_fi_stats *stats)
{
	struct fi_table *t = table();

	if (!stats || stats->size != sizeof(*stats) || !t)
		return -EINVAL;
	*stats = (struct hmmu_fi_stats){
		.size = sizeof(*stats),
		.running = running,
		.watched = t->watched,
		.cached = t->cached,
		.once_window = t->once_window,
		.once_dead = t->once_dead,
		.once_full = t->once_full,
		.once_other = t->once_other,
		.hits = t->hits,
		.misses = t->misses,
		.notified = t->notified,
		.collisions = t->collisions,
	};
	return 0;
}
