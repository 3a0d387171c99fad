// SPDX-License-Identifier: MIT
/* test_slots.c - which places of an arena pages are given. */
#include "dev.h"

#include <sys/syscall.h>

#define TABLE 512 /* pages of a page table */

struct world {
	struct mm_struct *mm;
	struct dev dev;
};

static void world_of(struct world *w, size_t pages)
{
	w->mm = net_open(BOTH);
	dev_open(&w->dev, w->mm, pages, NULL);
}

static void world_end(struct world *w)
{
	dev_check(&w->dev);
	dev_close(&w->dev);
	net_close(w->mm);
}

/* @pages from page @first of a table on, in memory that has a table to itself. */
static char *memory(size_t first, size_t pages)
{
	size_t bytes = (TABLE + first + pages) * PAGE;
	char *p = raw_mmap(NULL, bytes, RW, ANON, -1, 0);
	uint64_t table = ((uint64_t)p + TABLE * PAGE - 1) & -(TABLE * PAGE);

	p = (char *)table + first * PAGE;
	fill_pages(p, pages, 1);
	return p;
}

/* By the places that the library gives for a whole migration. */
static size_t out(struct dev *d, char *p, size_t n)
{
	struct trip *t = trip_new(d, p, n, MIGRATE_VMA_SELECT_SYSTEM);

	trip_setup(t);
	hmmu_devmem_alloc_for(&t->args);
	trip_pages(t);
	return trip_finalize(t);
}

static size_t place(struct dev *d, const char *p)
{
	return (size_t)(dev_at(d, p) - (char *)d->map->base) / PAGE;
}

/* The same place in its table, also across the end of one; neighbours stay neighbours. */
ISOLATED(as_at_home)
{
	static struct world w;
	struct dev *d = &w.dev;
	size_t n = TABLE + 100;
	char *p = memory(TABLE - 70, n);

	world_of(&w, 4 * TABLE);
	must(d->map->base % (TABLE * PAGE) == 0);
	must(out(d, p, n) == n);
	must(place(d, p) % TABLE == TABLE - 70);
	for (size_t i = 1; i < n; i++)
		must(place(d, p + i * PAGE) == place(d, p) + i);
	must(dev_home(d, p, n) == n && pages_are(p, n, 1));
	world_end(&w);
}

/* What came home last goes there again. */
ISOLATED(used_again)
{
	static struct world w;
	struct dev *d = &w.dev;
	char *p = memory(10, 64);
	size_t first;

	world_of(&w, 4 * TABLE);
	must(out(d, p, 64) == 64);
	first = place(d, p);
	for (int k = 0; k < 10; k++) {
		must(dev_home(d, p, 64) == 64);
		must(out(d, p, 64) == 64 && place(d, p) == first);
	}
	must(pages_are(p, 64, 1));
	world_end(&w);
}

/* A place like that is a wish: all others are given, too, and each once. */
ISOLATED(others)
{
	static struct world w;
	struct dev *d = &w.dev;
	size_t n = TABLE - 100, slots = 2 * TABLE + 30;
	char *p = memory(3, n), *q = memory(3, n), *r = memory(3, n);
	bool seen[2 * TABLE + 30] = {false};

	world_of(&w, slots);
	must(out(d, p, n) == n && out(d, q, n) == n);
	must(place(d, p) % TABLE == 3 && place(d, q) % TABLE == 3);
	must(out(d, r, n) == slots - 2 * n);
	for (size_t i = 0; i < n; i++) {
		must(away_is(d, p, i, 1) && away_is(d, q, i, 1));
		must(!seen[place(d, p + i * PAGE)] && !seen[place(d, q + i * PAGE)]);
		seen[place(d, p + i * PAGE)] = seen[place(d, q + i * PAGE)] = true;
	}
	for (size_t i = 0; i < slots - 2 * n; i++) {
		must(away_is(d, r, i, 1) && !seen[place(d, r + i * PAGE)]);
		seen[place(d, r + i * PAGE)] = true;
	}
	must(hmmu_devmem_alloc(d->map) == 0);
	must(pages_are(p, n, 1) && pages_are(q, n, 1) && pages_are(r, n, 1));
	world_end(&w);
}

/* Less than a table. */
ISOLATED(small)
{
	static struct world w;
	struct dev *d = &w.dev;
	char *p = memory(TABLE - 8, 16);

	world_of(&w, 7);
	must(out(d, p, 16) == 7);
	for (size_t i = 0; i < 7; i++)
		must(away_is(d, p, i, 1));
	must(pages_are(p, 16, 1));
	world_end(&w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_at_home),
		cmocka_unit_test(used_again),
		cmocka_unit_test(others),
		cmocka_unit_test(small),
	};

	dev_init(argc, argv);
	return cmocka_run_group_tests_name("devmem-slots", tests, NULL, NULL);
}
