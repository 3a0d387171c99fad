// SPDX-License-Identifier: MIT
/*
 * test_sources.c - with the adapter's own mm: the sources that notice a plain munmap, and the
 * library's reclaimer, which empties slots with nobody's help where the ring allows it.
 */
#include "adapter_test.h"

#include <stdatomic.h>

static unsigned char *remap(unsigned char *p, int fill)
{
	assert_int_equal(munmap(p, PAGE), 0);
	assert_ptr_equal(mmap(p, PAGE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 p);
	return memset(p, fill, PAGE);
}

/* In one call: there is no hole that another thread's mmap could get. */
static void replace(unsigned char *p, int fill)
{
	assert_ptr_equal(mmap(p, PAGE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 p);
	memset(p, fill, PAGE);
}

/* bed_open() with an mm of the adapter's own. What waits for the kernel may wait. */
static void open_own(struct bed *b, unsigned int ring_flags)
{
	struct hmmu_uring_options o = HMMU_URING_DEFAULTS;

	o.max_wait_ns = 10000000000;
	bed_open(b, ring_flags, 0);
	assert_int_equal(quiet(hmmu_uring_open(&b->u, &b->ring, NULL, &o)), 0);
}

static void plain_ring(void **state)
{
	unsigned char *p = bed_pages(1, 'o');
	struct hmmu_uring_req req;
	struct bed b;

	open_own(&b, 0);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(bed_write(&b, p, PAGE, 0, &req), PAGE);
		assert_int_equal(bed_file_byte(&b, 0), i ? '0' + i : 'o');
		remap(p, '1' + i);
	}
	/* The cache is idle now. The guard ends it if nobody empties the slot. */
	while (bed_stats(&b).slots_free != bed_stats(&b).slots)
		usleep(1000);
	assert_true(bed_stats(&b).fixed > 0);
	assert_int_equal(bed_stats(&b).stale, 0);
	bed_close(&b);
	munmap(p, PAGE);
}

static void single_issuer(void **state)
{
	unsigned char *p = bed_pages(1, 'o');
	struct hmmu_uring_req req;
	struct bed b;

	open_own(&b, SINGLE);
	assert_int_equal(bed_write(&b, p, PAGE, 0, &req), PAGE);
	assert_int_equal(bed_stats(&b).fixed, 1);
	remap(p, 'n');
	while (!bed_stats(&b).slots_dead)
		usleep(1000);
	assert_int_equal(pinned_kb(), b.pinned + 4);
	assert_int_equal(bed_write(&b, p, PAGE, 0, &req), PAGE);
	assert_int_equal(bed_file_byte(&b, 0), 'n');
	assert_int_equal(bed_stats(&b).slots_dead, 0);
	assert_int_equal(bed_stats(&b).empty_failed, 0);
	bed_close(&b);
	munmap(p, PAGE);
}

static void in_flight(void **state)
{
	unsigned char *p = bed_pages(1, 'o');
	struct hmmu_uring_req req;
	struct bed b;

	open_own(&b, 0);
	bed_block(&b, p, 10, &req);
	remap(p, 'n');
	bed_feed(&b, 10, 'D');
	assert_int_equal(bed_finish(&b), -ESTALE);
	assert_int_equal(p[0], 'n');
	bed_close(&b);
	munmap(p, PAGE);
}

/* free() of a large block is a munmap inside libc. */
static void malloced(void **state)
{
	size_t size = 1 << 20;
	struct hmmu_uring_req req;
	struct bed b;

	open_own(&b, 0);
	for (int i = 0; i < 5; i++) {
		char *p = malloc(size);

		memset(p, 'A' + i, PAGE);
		assert_int_equal(bed_write(&b, p, PAGE, 0, &req), PAGE);
		assert_int_equal(bed_file_byte(&b, 0), 'A' + i);
		free(p);
	}
	assert_int_equal(bed_stats(&b).fixed, 5);
	bed_close(&b);
}

/* A buffer's owner, and somebody who takes its slots away all the time. */
#define ROUNDS 3000

struct storm {
	struct bed bed;
	atomic_bool over;
};

static void *take_away(void *arg)
{
	struct storm *s = arg;

	while (!atomic_load(&s->over)) {
		hmmu_regcache_shrink(hmmu_uring_cache(s->bed.u), HMMU_NO_LIMIT);
		hmmu_uring_flush(s->bed.u);
	}
	return NULL;
}

static void storm(void **state)
{
	unsigned char *p[3] = {bed_pages(1, 0), bed_pages(1, 0), bed_pages(1, 0)};
	struct hmmu_uring_req req;
	pthread_t thread;
	struct storm s;

	atomic_init(&s.over, false);
	open_own(&s.bed, 0);
	assert_int_equal(pthread_create(&thread, NULL, take_away, &s), 0);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		unsigned char *at = p[i % 3];

		memset(at, (int)i, PAGE);
		assert_int_equal(bed_write(&s.bed, at, PAGE, 0, &req), PAGE);
		assert_int_equal(bed_file_byte(&s.bed, 0), i % 256);
		if (i % 7 == 0)
			replace(at, 0);
		assert_int_equal(bed_read(&s.bed, at, PAGE, 1 + i % 15, &req), PAGE);
		assert_int_equal(at[PAGE - 1], 'b' + i % 15);
	}
	atomic_store(&s.over, true);
	pthread_join(thread, NULL);
	assert_int_equal(bed_stats(&s.bed).fixed, 2 * ROUNDS);
	assert_int_equal(bed_stats(&s.bed).stale, 0);
	bed_close(&s.bed);
	for (int i = 0; i < 3; i++)
		munmap(p[i], PAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_ring), cmocka_unit_test(single_issuer),
		cmocka_unit_test(in_flight),  cmocka_unit_test(malloced),
		cmocka_unit_test(storm),
	};
	int refused = bed_refused();

	return refused ? refused : cmocka_run_group_tests(tests, NULL, NULL);
}
