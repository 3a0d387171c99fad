// SPDX-License-Identifier: MIT
/* stress.c - the remapper and the user: stale.h draws them. */
#include "stale.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

static char *page;

static struct {
	/* Odd: the page is being moved. The remapper's. */
	_Atomic uint64_t moves;
	/* The last of them after which a look was counted. The user's. */
	_Atomic uint64_t counted;
	_Atomic int failed; /* -errno of either */
	atomic_bool done;
} shared;

static uint64_t generation; /* only ever grows, also from one order to the next */

/* ---- the remapper ------------------------------------------------------------- */

static int remap(void)
{
	if (page && munmap(page, PAGE))
		return -errno;
	if (mmap(page, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0) != page)
		return -ENOMEM;
	*(volatile uint64_t *)page = ++generation;
	return 0;
}

static void *remapper(void *arg)
{
	const struct order *order = arg;
	int ret = 0;

	for (uint64_t i = 0; i < order->remaps && !ret && !shared.failed; i++) {
		shared.moves++;
		ret = remap();
		shared.moves++;
		/* Each generation is judged. The next look-up is under way when the page
		 * moves again, no matter where it has got to. */
		while (shared.counted != shared.moves && !shared.failed && !ret)
			sched_yield();
	}
	if (ret)
		shared.failed = ret;
	shared.done = true;
	return NULL;
}

/* ---- the user ------------------------------------------------------------------ */

/* What the process reads there, also while nothing is there. */
static int process_reads(uint64_t *word)
{
	struct iovec here = {word, sizeof(*word)}, there = {page, sizeof(*word)};

	return process_vm_readv(getpid(), &here, 1, &there, 1, 0) == sizeof(*word) ? 0
										   : -EFAULT;
}

static void judge(struct count *count, uint64_t held, uint64_t truth)
{
	static uint64_t last_stale;

	count->lookups++;
	if (held == truth)
		return;
	if (held > truth || !truth) {
		count->wrong++;
	} else if (!held) {
		count->zero++;
	} else if (last_stale != truth) {
		/* Once for each remap, however often it is looked up. */
		last_stale = truth;
		count->stale++;
	}
}

static void look(const struct side *side, struct count *count)
{
	uint64_t before = shared.moves, held = 0, truth = 0;
	void *handle;
	int slot, ret;

	slot = side->get(page, PAGE, &handle);
	if (slot < 0) {
		/* Nothing was there. */
		count->moved++;
		if (slot != -EFAULT || pin_trouble())
			shared.failed = slot != -EFAULT ? slot : pin_trouble();
		return;
	}
	ret = pin_read(slot, page, &held);
	if (!ret)
		ret = process_reads(&truth);
	side->put(handle);
	if (before % 2 || shared.moves != before) {
		count->moved++;
		return;
	}
	/* Nothing moved: nothing of that may fail. */
	if (ret)
		shared.failed = ret;
	judge(count, held, truth);
	shared.counted = before;
}

int stress(const struct side *side, const struct order *order, struct count *count)
{
	struct timespec from, to;
	pthread_t thread;
	int ret;

	memset(count, 0, sizeof(*count));
	if (!page) {
		page = mmap(NULL, PAGE, RW, ANON, -1, 0);
		if (page == MAP_FAILED)
			return -ENOMEM;
		*(volatile uint64_t *)page = ++generation;
	}
	pin_slow(order->slow_us);
	if (side->slow)
		side->slow(order->slow_us * WINDOWS);
	shared.done = false;
	shared.failed = 0;
	clock_gettime(CLOCK_MONOTONIC, &from);
	ret = pthread_create(&thread, NULL, remapper, (void *)order);
	if (ret)
		return -ret;
	while (!shared.done)
		look(side, count);
	pthread_join(thread, NULL);
	clock_gettime(CLOCK_MONOTONIC, &to);
	count->remaps = order->remaps;
	count->seconds =
		(double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
	return shared.failed;
}
