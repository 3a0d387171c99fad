// SPDX-License-Identifier: MIT
/*
 * test_storm.c - memory is remapped under a device that reads. The changer counts a
 * generation as over when its mmap has returned: no access that begins later may see an
 * older one. The same with a mirror that drops nothing, which must show. And memory that is
 * away by raw calls: an error, never a signal. (The plant build.)
 */
#include "bed.h"

#include <fcntl.h>
#include <sys/syscall.h>

#include "mirror/mirror.h"
#include "plant.h"

#define ROUNDS (3000 / API_SLOW)
#define PAGE_READ 7UL

static struct bed bed;
static atomic_long over;
static atomic_bool stop;
static atomic_ulong stale, reads;

/* Both ways to read: what the device kept, and copying through the table. */
static void device(void *arg)
{
	bool by_copy = arg;

	while (!atomic_load(&stop)) {
		long least = atomic_load(&over), seen = 0;

		if (by_copy)
			must(hmmu_mirror_read(bed.mirror, bed_addr(&bed, PAGE_READ), &seen,
					      sizeof(seen), NULL) == sizeof(seen));
		else
			seen = bed_access(&bed, PAGE_READ);
		if (seen < least)
			atomic_fetch_add(&stale, 1);
		atomic_fetch_add(&reads, 1);
	}
}

static void change(long generation)
{
	if (bed.sources == HMMU_SOURCE_EXPLICIT)
		bed_change(&bed, PAGE_READ, 1, generation);
	else
		bed_remap(&bed, PAGE_READ, 1, generation);
}

static unsigned long play(unsigned int sources)
{
	struct runner run[2];

	if (!bed_open(&bed, sources))
		skip();
	atomic_store(&over, 1);
	atomic_store(&stop, false);
	atomic_store(&stale, 0);
	for (int i = 0; i < 2; i++)
		runner_start(&run[i], device, i ? &run[i] : NULL);
	for (long g = 2; g < 2 + ROUNDS; g++) {
		unsigned long before = atomic_load(&reads);

		change(g);
		atomic_store(&over, g);
		/* Each generation is read at least once. */
		while (g % 16 == 0 && atomic_load(&reads) == before)
			sched_yield();
		if (atomic_load(&stale))
			break;
	}
	atomic_store(&stop, true);
	for (int i = 0; i < 2; i++)
		runner_join(&run[i]);
	hmmu_mirror_planted = MIRROR_PLANT_NONE;
	bed_close(&bed);
	return atomic_load(&stale);
}

static void test_explicit(void **state)
{
	assert_int_equal(play(HMMU_SOURCE_EXPLICIT), 0);
}

static void test_hooks(void **state)
{
	assert_int_equal(play(HMMU_SOURCE_HOOKS), 0);
}

static void test_userfaultfd(void **state)
{
	assert_int_equal(play(HMMU_SOURCE_USERFAULTFD), 0);
}

static void test_best(void **state)
{
	assert_int_equal(play(HMMU_SOURCE_BEST), 0);
}

static void test_planted_keeps(void **state)
{
	hmmu_mirror_planted = MIRROR_PLANT_KEEPS;
	assert_int_not_equal(play(HMMU_SOURCE_EXPLICIT), 0);
}

/* ---- the whole address space, callbacks inside malloc() ------------------- */

static void allocate(void *arg)
{
	uint64_t random = (uint64_t)arg;

	while (!atomic_load(&stop)) {
		size_t n =
			1 + api_random(&random) % (api_random(&random) % 8 ? 512 : 300 << 10);
		uint64_t *p = malloc(n + 8), back = 0;

		must(p != NULL);
		*p = random;
		must(hmmu_mirror_read(bed.mirror, (unsigned long)p, &back, 8, NULL) == 8);
		must(back == random);
		back++;
		must(hmmu_mirror_write(bed.mirror, (unsigned long)p, &back, 8, NULL) == 8);
		must(*(volatile uint64_t *)p == back);
		free(p);
		atomic_fetch_add(&reads, 1);
	}
}

static void test_whole(void **state)
{
	struct runner run[3];

	if (!bed_open_mm(&bed, HMMU_SOURCE_HOOKS))
		skip();
	assert_int_equal(hmmu_mirror_open(&bed.mirror, bed.mm, NULL, NULL, NULL), 0);
	atomic_store(&stop, false);
	atomic_store(&reads, 0);
	for (long i = 0; i < 3; i++)
		runner_start(&run[i], allocate, (void *)(i + 1));
	while (atomic_load(&reads) < ROUNDS * 3)
		sched_yield();
	atomic_store(&stop, true);
	for (int i = 0; i < 3; i++)
		runner_join(&run[i]);
	if (API_SLOW == 1) { /* a sanitizer's malloc keeps what is freed, or unmaps nothing */
		assert_true(bed_stats(&bed).invalidations > 0);
		assert_true(bed_stats(&bed).dropped > 0);
	}
	bed_close(&bed);
}

/* ---- memory that goes without a word ------------------------------------ */

static void toggle(void *arg)
{
	void *at = bed.mem + PAGE_READ * PAGE;
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;

	(void)arg;
	for (int i = 0; i < ROUNDS; i++) {
		unsigned long before = atomic_load(&reads);

		must(syscall(SYS_munmap, at, PAGE) == 0);
		/* One begins and ends while it is away. */
		while (i % 64 == 0 && atomic_load(&reads) - before < 2)
			sched_yield();
		must(syscall(SYS_mmap, at, PAGE, PROT_READ | PROT_WRITE, flags, -1, 0) ==
		     (long)at);
		if (i % 4 == 0)
			sched_yield();
	}
	atomic_store(&stop, true);
}

/* As where a filter refuses process_vm_readv(). */
static void use_pipe(struct hmmu_mirror *m)
{
	must(pipe2(m->pipe, O_CLOEXEC | O_NONBLOCK) == 0);
	m->by_pipe = true;
}

static void play_raw(unsigned int sources, bool by_pipe)
{
	unsigned long got = 0, away = 0;
	unsigned char buf[64] = {0};
	struct runner run;

	if (!bed_open(&bed, sources))
		skip();
	hmmu_mirror_close(bed.mirror);
	bed_mirror(&bed, NULL, 0); /* the device's own look would be a signal */
	if (by_pipe)
		use_pipe(bed.mirror);
	atomic_store(&stop, false);
	runner_start(&run, toggle, NULL);
	for (unsigned long i = 0; !atomic_load(&stop) || !got; i++) {
		/* Over the page's border: half of it is always there. */
		unsigned long addr = bed_addr(&bed, PAGE_READ) - 32;
		long n = i % 2 ? hmmu_mirror_read(bed.mirror, addr, buf, 64, NULL)
			       : hmmu_mirror_write(bed.mirror, addr, buf, 64, NULL);

		must(n == 64 || n == 32 || n == -EFAULT || n == -ENODEV);
		if (n == 64)
			got++;
		else
			away++;
		atomic_fetch_add(&reads, 1);
	}
	runner_join(&run);
	assert_true(got > 0 && away > 0);
	bed_close(&bed);
}

static void test_raw_unwatched(void **state)
{
	play_raw(HMMU_SOURCE_EXPLICIT, false);
}

static void test_raw_userfaultfd(void **state)
{
	play_raw(HMMU_SOURCE_USERFAULTFD, false);
}

static void test_raw_by_pipe(void **state)
{
	play_raw(HMMU_SOURCE_EXPLICIT, true);
}

static void test_by_pipe(void **state)
{
	static unsigned char there[5 * PAGE], back[5 * PAGE];
	uint64_t random = 5;

	assert_true(bed_open(&bed, HMMU_SOURCE_EXPLICIT));
	use_pipe(bed.mirror);
	for (size_t i = 0; i < sizeof(there); i++)
		there[i] = (unsigned char)api_random(&random);
	must(mmap(bed.mem, 8 * PAGE, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == bed.mem);
	assert_int_equal(
		hmmu_mirror_write(bed.mirror, bed.start + 100, there, sizeof(there), NULL),
		sizeof(there));
	assert_memory_equal(bed.mem + 100, there, sizeof(there));
	assert_int_equal(
		hmmu_mirror_read(bed.mirror, bed.start + 100, back, sizeof(back), NULL),
		sizeof(back));
	assert_memory_equal(back, there, sizeof(there));
	/* What a failed one has left in the pipe is not the next one's. */
	must(syscall(SYS_munmap, bed.mem + 2 * PAGE, PAGE) == 0);
	assert_int_equal(hmmu_mirror_write(bed.mirror, bed_addr(&bed, 2) + 8, back, 100, NULL),
			 -EFAULT);
	assert_int_equal(hmmu_mirror_read(bed.mirror, bed.start + 100, back, 900, NULL), 900);
	assert_memory_equal(back, there, 900);
	bed_remap(&bed, 2, 1, 1);
	bed_close(&bed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_explicit),      cmocka_unit_test(test_hooks),
		cmocka_unit_test(test_userfaultfd),   cmocka_unit_test(test_best),
		cmocka_unit_test(test_planted_keeps), cmocka_unit_test(test_whole),
		cmocka_unit_test(test_raw_unwatched), cmocka_unit_test(test_raw_userfaultfd),
		cmocka_unit_test(test_raw_by_pipe),   cmocka_unit_test(test_by_pipe),
	};

	api_guard(60);
	return cmocka_run_group_tests_name("mirror storm", tests, NULL, NULL);
}
