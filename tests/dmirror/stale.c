// SPDX-License-Identifier: MIT
/*
 * stale.c [planted] - a device reads a page, and takes it, while a CPU writes, unmaps, empties
 * and protects it. The CPU waits, after each change, until a read that began after it has been
 * checked. Planted: the device is not told that a page goes home; that must be found.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "dmirror.h"

#define ROUNDS 500
#define PLANTED 100000 /* at most: until it is found */

static struct mir_process process;
static struct dmirror dm;
static char *page;
/* Even: the page holds it. Odd: it is being changed. */
static uint64_t generation;
static uint64_t checked; /* a read of this generation was */
static bool stop;
static unsigned long reads, stale, moved;

static uint64_t load(const uint64_t *p)
{
	return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}

static void store(uint64_t *p, uint64_t v)
{
	__atomic_store_n(p, v, __ATOMIC_SEQ_CST);
}

static int ask(unsigned long request, void *buffer)
{
	struct hmm_dmirror_cmd cmd = {
		.addr = (uint64_t)page, .npages = 1, .ptr = (uint64_t)buffer};

	return mir_ioctl(&dm, request, &cmd);
}

static void check(uint64_t before, uint64_t after, uint64_t value)
{
	/* Meanwhile it may be empty, or new; never older than before. */
	bool old = value && value < (before & ~1UL);

	reads++;
	if (before == after && !(before & 1)) {
		old = value != before;
		store(&checked, before);
	}
	__atomic_fetch_add(&stale, old, __ATOMIC_SEQ_CST);
}

static void *device(void *unused)
{
	static uint64_t buffer[MIR_PAGE / 8];

	for (unsigned long i = 0; !__atomic_load_n(&stop, __ATOMIC_SEQ_CST); i++) {
		uint64_t before;

		if (i % 3 == 0)
			moved += ask(HMM_DMIRROR_MIGRATE_TO_DEV, buffer) == 0;
		before = load(&generation);
		if (!ask(HMM_DMIRROR_READ, buffer))
			check(before, load(&generation), buffer[0]);
	}
	return unused;
}

static void change(unsigned int how)
{
	switch (how % 4) {
	case 1:
		mmap(page, MIR_PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		break;
	case 2:
		madvise(page, MIR_PAGE, MADV_DONTNEED);
		break;
	case 3:
		mprotect(page, MIR_PAGE, PROT_READ);
		mprotect(page, MIR_PAGE, PROT_READ | PROT_WRITE);
		break;
	}
}

static bool enough(unsigned int round, bool planted)
{
	if (!planted)
		return round == ROUNDS;
	return round == PLANTED || __atomic_load_n(&stale, __ATOMIC_SEQ_CST);
}

static void cpu(bool planted)
{
	for (unsigned int i = 0; !enough(i, planted); i++) {
		uint64_t next = load(&generation) + 2;

		store(&generation, next - 1);
		change(i);
		__atomic_store_n((uint64_t *)page, next, __ATOMIC_SEQ_CST);
		store(&generation, next);
		while (load(&checked) != next)
			sched_yield();
	}
}

static int gates;

static void touch_in_between(void)
{
	dmirror_gate = NULL;
	gates++;
	/* The page comes home; revoke() finds nothing to drop. */
	__atomic_store_n((uint64_t *)page, 42, __ATOMIC_SEQ_CST);
}

/* The picture of dmirror.h: seen on the device, home again before it is installed. True: what
 * the device then reads is what the CPU wrote. */
static bool touched_before_installed(void)
{
	static uint64_t buffer[MIR_PAGE / 8];

	__atomic_store_n((uint64_t *)page, 41, __ATOMIC_SEQ_CST);
	if (ask(HMM_DMIRROR_MIGRATE_TO_DEV, buffer))
		return false;
	dmirror_gate = touch_in_between;
	/* Goes there, is seen there, is touched: -ENOENT, it is not on the device. */
	__atomic_store_n((uint64_t *)page, 41, __ATOMIC_SEQ_CST);
	if (ask(HMM_DMIRROR_MIGRATE_TO_DEV, buffer) != -ENOENT || gates != 1)
		return false;
	return !ask(HMM_DMIRROR_READ, buffer) && buffer[0] == 42;
}

int main(int argc, char **argv)
{
	bool planted = argc > 1 && !strcmp(argv[1], "planted");
	char probe[MIR_PAGE];
	pthread_t thread;
	int ret;

	page = mmap(NULL, MIR_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ret = mir_open(&process, &dm, 0);
	if (!ret)
		ret = ask(HMM_DMIRROR_MIGRATE_TO_DEV, probe);
	if (ret) {
		printf("skipped: no page can be on a device here: %s\n", strerror(-ret));
		return 77;
	}
	if (!planted && !touched_before_installed()) {
		printf("installed, though it was touched in between\n");
		return 1;
	}
	dmirror_plant_no_revoke = planted;
	pthread_create(&thread, NULL, device, NULL);
	cpu(planted);
	__atomic_store_n(&stop, true, __ATOMIC_SEQ_CST);
	pthread_join(thread, NULL);
	mir_close(&process, &dm);
	printf("%lu reads, %lu times on the device, %lu stale\n", reads, moved, stale);
	if (!moved)
		return 1;
	return planted ? !stale : stale != 0;
}
