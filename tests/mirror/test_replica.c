// SPDX-License-Identifier: MIT
/*
 * test_replica.c - is anything ever missed? A thread changes memory in every way at random,
 * while the consumer copies what dirty() tells to a replica. After each round the changer
 * stands still, dirty() is called once more, and the replica must be the memory. Each run
 * again with a part of dirty() left out, which must show. (The plant build.)
 *
 *	changer		round ......... waits	round ......... waits
 *	consumer	dirty dirty dirty	last dirty, compare
 *
 * The rounds overlap for certain: the changer takes a step for each call of the consumer at
 * least, and the other way round.
 */
#include "track.h"

#include <sys/syscall.h>

#include "mirror/mirror.h"
#include "plant.h"

#define ROUNDS (60 / API_SLOW)
#define STEPS 120
#define LOG 4096

enum act { WRITE, FILL, DONTNEED, FREE, REPLACE, RAW_REPLACE, MOVE, PROTECT, DEVICE, ACTS };

static const char *const names[] = {"write",	"fill",	  "DONTNEED", "FREE",  "replace",
				    "raw mmap", "mremap", "mprotect", "device"};

struct entry {
	enum act act;
	unsigned long page, n, from;
};

static struct track t;
static struct entry logged[LOG];
static unsigned long nlogged;
static atomic_ulong steps, calls;
static atomic_int stop;
static uint64_t seed;
static pthread_barrier_t meet;

static void fill(unsigned long page, unsigned long n, uint64_t *random)
{
	for (unsigned long i = page; i < page + n; i++)
		*(volatile uint64_t *)(t.mem + i * PAGE + (api_random(random) % 500) * 8) =
			api_random(random);
}

static void move(const struct entry *e)
{
	unsigned char *from = t.mem + e->from * PAGE;

	/* Of several mappings it fails half way. */
	if (mremap(from, e->n * PAGE, e->n * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
		   t.mem + e->page * PAGE) == MAP_FAILED)
		track_replace(&t, e->page, e->n, true);
	track_replace(&t, e->from, e->n, true);
}

static void act(const struct entry *e, uint64_t *random)
{
	unsigned char *at = t.mem + e->page * PAGE;
	uint64_t value = api_random(random);

	switch (e->act) {
	case WRITE:
		fill(e->page, 1, random);
		break;
	case FILL:
		fill(e->page, e->n, random);
		break;
	case DONTNEED:
		must(madvise(at, e->n * PAGE, MADV_DONTNEED) == 0);
		break;
	case FREE:
		must(madvise(at, e->n * PAGE, MADV_FREE) == 0);
		break;
	case REPLACE:
	case RAW_REPLACE:
		track_replace(&t, e->page, e->n, e->act == RAW_REPLACE);
		break;
	case MOVE:
		move(e);
		break;
	case PROTECT:
		must(mprotect(at, e->n * PAGE, PROT_READ) == 0);
		must(mprotect(at, e->n * PAGE, PROT_READ | PROT_WRITE) == 0);
		fill(e->page, 1, random);
		break;
	case DEVICE:
		must(hmmu_mirror_write(t.mirror, (unsigned long)at + 4092, &value, 8, NULL) ==
		     8);
		break;
	case ACTS:
		break;
	}
}

static void step(uint64_t *random)
{
	struct entry *e = &logged[nlogged++ % LOG];
	bool big = api_random(random) % 16 == 0;

	e->act = api_random(random) % 2 ? WRITE : api_random(random) % ACTS;
	e->n = big ? 512 : 1 + api_random(random) % 8;
	e->page = big ? 512 * (api_random(random) % 2)
		      : 1 + api_random(random) % (TRACK_PAGES - 10);
	e->from = (e->page + 512) % TRACK_PAGES;
	if (e->from + e->n > TRACK_PAGES)
		e->from = 0;
	act(e, random);
}

static void changer(void *arg)
{
	uint64_t random = seed;

	(void)arg;
	for (;;) {
		unsigned long seen = atomic_load(&calls);

		for (int i = 0; i < STEPS; i++) {
			step(&random);
			atomic_fetch_add(&steps, 1);
		}
		while (atomic_load(&calls) == seen)
			sched_yield();
		pthread_barrier_wait(&meet);
		pthread_barrier_wait(&meet);
		if (atomic_load(&stop))
			return;
	}
}

static void explain(unsigned long page)
{
	if (hmmu_mirror_planted != MIRROR_PLANT_NONE)
		return;
	fprintf(stderr, "seed %lu: page %lu differs; what it went through:\n",
		(unsigned long)seed, page);
	for (unsigned long i = nlogged > LOG ? nlogged - LOG : 0; i < nlogged; i++) {
		const struct entry *e = &logged[i % LOG];

		if ((page >= e->page && page < e->page + e->n) ||
		    (e->act == MOVE && page >= e->from && page < e->from + e->n))
			fprintf(stderr, "\t%s %lu+%lu\n", names[e->act], e->page, e->n);
	}
}

/* While it changes, anything may be in the way, but nothing else. */
static void consume(unsigned long round, uint64_t *random)
{
	unsigned long before;

	/* A call at least that began behind half of the steps: the changer waits for one that
	 * ends after its first. */
	do {
		const struct timespec now = {0, 0};
		int ret;

		before = atomic_load(&steps);
		ret = track_collect(&t, 0, TRACK_PAGES, api_random(random) % 4 ? NULL : &now);

		must(ret == 0 || ret == -EAGAIN || ret == -ENODEV || ret == -ETIMEDOUT);
		atomic_fetch_add(&calls, 1);
	} while (before < round * STEPS + STEPS / 2);
}

/* The rounds until the replica was wrong; ROUNDS: it never was. */
static int play(unsigned int sources, enum hmmu_mirror_plant bug, uint64_t with)
{
	uint64_t random = ~with;
	struct runner run;
	int round, wrong = ROUNDS;

	seed = with;
	nlogged = 0;
	atomic_store(&steps, 0);
	atomic_store(&stop, 0);
	hmmu_mirror_planted = bug;
	if (!track_open(&t, sources, NULL))
		return -1;
	memset(t.mem, 1, TRACK_BYTES);
	must(track_all(&t) == 0);
	pthread_barrier_init(&meet, NULL, 2);
	runner_start(&run, changer, NULL);
	for (round = 0; round < ROUNDS; round++) {
		unsigned long page;

		if (round)
			pthread_barrier_wait(&meet);
		consume((unsigned long)round, &random);
		pthread_barrier_wait(&meet);
		must(track_all(&t) == 0);
		page = track_differs(&t);
		if (page < TRACK_PAGES && wrong == ROUNDS) {
			wrong = round;
			explain(page);
		}
		if (wrong < ROUNDS)
			break;
	}
	atomic_store(&stop, 1);
	pthread_barrier_wait(&meet);
	runner_join(&run);
	pthread_barrier_destroy(&meet);
	track_close(&t);
	hmmu_mirror_planted = MIRROR_PLANT_NONE;
	return wrong;
}

static void test_told_afterwards(void **state)
{
	for (uint64_t i = 1; i <= 4; i++)
		assert_int_equal(play(HMMU_SOURCE_USERFAULTFD, MIRROR_PLANT_NONE, i), ROUNDS);
}

static void test_bracketed(void **state)
{
	for (uint64_t i = 1; i <= 4; i++) {
		int rounds =
			play(HMMU_SOURCE_HOOKS | HMMU_SOURCE_USERFAULTFD, MIRROR_PLANT_NONE, i);

		if (rounds < 0)
			skip();
		assert_int_equal(rounds, ROUNDS);
	}
}

static void test_planted_no_arm(void **state)
{
	assert_int_not_equal(play(HMMU_SOURCE_USERFAULTFD, MIRROR_PLANT_NO_ARM, 1), ROUNDS);
}

static void test_planted_no_scan(void **state)
{
	assert_int_not_equal(play(HMMU_SOURCE_USERFAULTFD, MIRROR_PLANT_NO_SCAN, 1), ROUNDS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_told_afterwards),
		cmocka_unit_test(test_bracketed),
		cmocka_unit_test(test_planted_no_arm),
		cmocka_unit_test(test_planted_no_scan),
	};

	if (!track_open(&t, HMMU_SOURCE_USERFAULTFD, NULL))
		return 77;
	track_close(&t);
	api_guard(100);
	return cmocka_run_group_tests_name("mirror replica", tests, NULL, NULL);
}
