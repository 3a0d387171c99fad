// SPDX-License-Identifier: MIT
/* test_judge.c - hmmu torture's judge: what is legal when, and that it can say no. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "torture.h"

#define PAGE 4096

static struct torture t = {.options.seed = 7};
static unsigned char page[PAGE] __attribute__((aligned(64)));

static struct region cell_region(enum op op, enum memory memory)
{
	return (struct region){.id = 3, .op = op, .memory = memory, .cell = &cells[op][memory]};
}

static enum verdict judge(const struct region *r, uint64_t before, uint64_t after)
{
	return page_judge(&t, r, 5, before, after, page);
}

static void see(const struct region *r, uint64_t generation)
{
	memset(page, 0, sizeof(page));
	page_store(&t, r, 5, page, generation);
}

static void generations(void **state)
{
	struct region r = cell_region(OP_MUNMAP, MEM_ANON);

	for (uint64_t g = 1; g < 12; g++) {
		see(&r, g);
		/* Quiet at 6: exactly one is legal. */
		assert_int_equal(judge(&r, 12, 12), g == 6 ? LEGAL : STALE);
		/* 6 to 7 going on, at either end. */
		assert_int_equal(judge(&r, 13, 13), g == 6 || g == 7 ? LEGAL : STALE);
		assert_int_equal(judge(&r, 12, 13), g == 6 || g == 7 ? LEGAL : STALE);
		assert_int_equal(judge(&r, 13, 14), g == 6 || g == 7 ? LEGAL : STALE);
		/* Several during one access. */
		assert_int_equal(judge(&r, 12, 17), g >= 6 && g <= 9 ? LEGAL : STALE);
	}
}

static void blank(enum op op, enum memory memory, enum verdict moving)
{
	struct region r = cell_region(op, memory);

	memset(page, 0, sizeof(page));
	assert_int_equal(judge(&r, 12, 12), STALE);
	assert_int_equal(judge(&r, 12, 13), moving);
	assert_int_equal(judge(&r, 13, 13), moving);
	assert_int_equal(judge(&r, 12, 14), moving);
}

static void made(enum op op, enum memory memory, enum verdict moving)
{
	struct region r = cell_region(op, memory);

	see(&r, 0); /* the file's content as it was made */
	assert_int_equal(judge(&r, 12, 12), STALE);
	assert_int_equal(judge(&r, 13, 13), moving);
}

static void in_between(void **state)
{
	blank(OP_DONTNEED, MEM_ANON, LEGAL);
	blank(OP_DONTNEED, MEM_SHARED, STALE); /* unchanged */
	blank(OP_DONTNEED, MEM_MEMFD, STALE);
	blank(OP_DONTNEED, MEM_FILE, STALE);
	blank(OP_MADV_FREE, MEM_ANON, LEGAL);
	blank(OP_REMOVE, MEM_SHARED, LEGAL);
	blank(OP_MREMAP_FIXED, MEM_ANON, STALE); /* whole before it moved in */
	blank(OP_MAP_FIXED, MEM_MEMFD, STALE);
	blank(OP_MUNMAP, MEM_MEMFD, LEGAL); /* nobody's for a moment */
	blank(OP_FORK, MEM_ANON, STALE);
	made(OP_DONTNEED, MEM_FILE, LEGAL);
	made(OP_MUNMAP, MEM_FILE, LEGAL);
	made(OP_MREMAP_FIXED, MEM_FILE, STALE);
	made(OP_DONTNEED, MEM_ANON, STALE);
}

static void half_stored(void **state)
{
	struct region r = cell_region(OP_MUNMAP, MEM_ANON);
	struct region whole = cell_region(OP_MREMAP_FIXED, MEM_ANON);
	unsigned char head[LINE];

	see(&r, 6);
	page[9] ^= 1;
	assert_int_equal(judge(&r, 12, 12), STALE);
	assert_int_equal(judge(&r, 13, 13), LEGAL);
	assert_int_equal(judge(&whole, 13, 13), STALE);
	/* Every prefix of a record in a blank page is half stored, not another record. */
	for (size_t words = 1; words < LINE / 8; words++) {
		see(&r, 7);
		memset(page + words * 8, 0, LINE - words * 8);
		assert_int_equal(judge(&r, 12, 12), STALE);
		assert_int_equal(judge(&r, 13, 13), LEGAL);
	}
	/* The tail is judged as the head is: an old one is stale even while moving. */
	see(&r, 7);
	memcpy(head, page, LINE);
	see(&r, 4);
	memcpy(page, head, LINE);
	assert_int_equal(judge(&r, 13, 13), STALE);
}

static void another_page(void **state)
{
	struct region r = cell_region(OP_MUNMAP, MEM_ANON), other = r;
	struct torture run = {.options.seed = 8};

	memset(page, 0, sizeof(page));
	page_store(&t, &r, 4, page, 6); /* the right region's wrong page */
	assert_int_equal(judge(&r, 12, 13), STALE);
	other.id = 4;
	page_store(&t, &other, 5, page, 6);
	assert_int_equal(judge(&r, 12, 13), STALE);
	page_store(&run, &r, 5, page, 6); /* another run's */
	assert_int_equal(judge(&r, 12, 13), STALE);
}

/* The table of --help and the cells say the same. */
static void table_agrees(void **state)
{
	for (enum op op = 0; op < NR_OPS; op++) {
		for (enum memory m = 0; m < NR_MEMORIES; m++) {
			const struct cell *c = &cells[op][m];

			assert_int_equal(c->runs && c->shows, !c->note);
			assert_true(c->runs || !c->shows);
			if (c->note)
				assert_true(*cell_note(c->note));
		}
		assert_non_null(strstr(legality_table, op_names[op]));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(generations),	cmocka_unit_test(in_between),
		cmocka_unit_test(half_stored),	cmocka_unit_test(another_page),
		cmocka_unit_test(table_agrees),
	};

	return cmocka_run_group_tests_name("torture judge", tests, NULL, NULL);
}
