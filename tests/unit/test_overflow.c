// SPDX-License-Identifier: MIT
/*
 * Open invalidations without a slot: a search looks at each that overlaps, at each once, and at
 * few others, whatever came and went.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "notifier/notifier.h"
#include "rand.h"

#define MANY 4000
#define PAGE 4096ULL

static struct rnd any = {1};
static struct hmmu_overflow o;
static struct hmmu_inv inv[MANY];
static bool there[MANY];
static unsigned int seen[MANY];

static void put(unsigned int i, uint64_t start, uint64_t last)
{
	inv[i].start = start;
	inv[i].end = last + 1;
	hmmu_overflow_add(&o, &inv[i]);
	there[i] = true;
}

/* How many are looked at. */
static unsigned int search(uint64_t start, uint64_t last)
{
	struct hmmu_inv *head[OVERFLOW_HEADS];
	unsigned int lists = hmmu_overflow_heads(&o, start, last, head), n = 0;

	memset(seen, 0, sizeof(seen));
	while (lists-- > 0) {
		for (struct hmmu_inv *i = head[lists]; i; i = i->next) {
			seen[i - inv]++;
			n++;
		}
	}
	return n;
}

static void expect_all(uint64_t start, uint64_t last)
{
	search(start, last);
	for (unsigned int i = 0; i < MANY; i++) {
		bool meant = there[i] && inv[i].start <= last && start < inv[i].end;

		assert_true(seen[i] <= 1);
		assert_true(seen[i] || !meant);
		assert_true(there[i] || !seen[i]);
	}
}

/* From a page to all memory, most often about a border of cells. */
static void any_range(uint64_t *start, uint64_t *last)
{
	uint64_t size = 1ULL << (12 + rnd(&any) % 36);
	uint64_t border = (rnd(&any) % 64) << (21 + 9 * (rnd(&any) % 3));

	*start = border > size / 2 ? border - rnd(&any) % size : rnd(&any) % size;
	*last = *start + rnd(&any) % size;
}

static void test_finds_all(void **state)
{
	uint64_t start, last;

	(void)state;
	memset(&o, 0, sizeof(o));
	memset(there, 0, sizeof(there));
	for (unsigned int round = 0; round < 20000; round++) {
		unsigned int i = (unsigned int)(rnd(&any) % MANY);

		any_range(&start, &last);
		if (there[i]) {
			hmmu_overflow_del(&o, &inv[i]);
			there[i] = false;
		} else {
			put(i, start, last);
		}
		any_range(&start, &last);
		if (round % 8 == 0)
			expect_all(start, last);
	}
	expect_all(0, UINT64_MAX);
	for (unsigned int i = 0; i < MANY; i++)
		if (there[i])
			hmmu_overflow_del(&o, &inv[i]);
	assert_int_equal(o.n, 0);
	assert_int_equal(search(0, UINT64_MAX), 0);
}

static void test_looks_at_few(void **state)
{
	unsigned int most = 0;

	(void)state;
	memset(&o, 0, sizeof(o));
	for (unsigned int i = 0; i < MANY; i++)
		put(i, i * 1024 * PAGE, i * 1024 * PAGE);
	for (unsigned int i = 0; i < MANY; i += 7) {
		unsigned int n = search(i * 1024 * PAGE, i * 1024 * PAGE);

		most = n > most ? n : most;
	}
	assert_true(most < 3 * MANY / OVERFLOW_LISTS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_finds_all),
		cmocka_unit_test(test_looks_at_few),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
