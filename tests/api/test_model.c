// SPDX-License-Identifier: MIT
/*
 * test_model.c - one thread, a random sequence of everything, and beside it a model
 * that is obviously right: for each subscription a flag "live", its range, and a walk
 * over all open ranges. After each step the library must agree with it:
 *
 *   start	called back exactly those that overlap, once (G1)
 *   refused	called back at least the one that refused, none that do not overlap;
 *		nothing is open more than before (G4)
 *   read_begin	-ETIMEDOUT exactly while an overlapping range is open (G2, G4)
 *   retry	true exactly if an overlapping start came since read_begin; after a
 *		refused one either answer is sound
 *   remove	never called back again (G3)
 *
 * Lengths are 2^0 to 2^46, a bit more or less, and most places are chosen at the edge
 * of something there is already, so that ranges touch, miss by a byte, and overlap.
 *
 * A failure prints seed and step: `test_model SEED` plays that one alone.
 */
#include "api.h"

#define SUBS 120
#define OPEN 24
#define STEPS (100000 / API_SLOW)

struct entry {
	struct probe probe;
	bool live, has_seq;
	unsigned long first, last; /* both inclusive */
	unsigned long seq;
	enum { SAME, MOVED, EITHER } since; /* what started since @seq was begun */
};

struct open_range {
	struct mmu_notifier_range range;
	bool open;
};

struct model {
	struct mm_struct *mm;
	struct entry entry[SUBS];
	struct open_range range[OPEN];
	uint64_t seed, random;
	long step;
	long hits, refusals, waits, collisions, removed_open; /* that it met them at all */
};

#define agree(model, cond)                                                         \
	do {                                                                       \
		if (!(cond)) {                                                     \
			fprintf(stderr, "seed %llu, step %ld\n",                   \
				(unsigned long long)(model)->seed, (model)->step); \
			api_fail(__FILE__, __LINE__, #cond);                       \
		}                                                                  \
	} while (0)

static uint64_t below(struct model *model, uint64_t n)
{
	return api_random(&model->random) % n;
}

static bool overlaps(const struct entry *entry, unsigned long start, unsigned long end)
{
	return entry->live && entry->first <= end - 1 && start <= entry->last;
}

static bool is_open(const struct model *model, const struct entry *entry)
{
	int i;

	for (i = 0; i < OPEN; i++)
		if (model->range[i].open &&
		    overlaps(entry, model->range[i].range.start, model->range[i].range.end))
			return true;
	return false;
}

/* A length of any size class and a place, often at somebody's edge. */
static void choose(struct model *model, unsigned long *first, unsigned long *last)
{
	unsigned long length = 1UL << below(model, 47), place;
	const struct entry *near = &model->entry[below(model, SUBS)];

	switch (below(model, 4)) {
	case 0:
		length += below(model, length);
		break;
	case 1:
		length -= length > 1;
		break;
	case 2:
		length = 1 + below(model, 3 * PAGE);
		break;
	}
	place = api_random(&model->random) >> (17 + below(model, 30)); /* below 2^47 */
	if (near->live && below(model, 4)) {
		place = below(model, 2) ? near->first : near->last;
		place += below(model, 3) - 1;
		if (below(model, 2)) /* end there instead of starting there */
			place -= length - 1;
	}
	if (place >> 48) /* went under 0 */
		place = below(model, 2);
	*first = place;
	*last = place + length - 1;
}

static void zero_calls(struct model *model)
{
	int i;

	for (i = 0; i < SUBS; i++)
		atomic_store(&model->entry[i].probe.calls, 0);
}

static void do_insert(struct model *model, struct entry *entry)
{
	unsigned long first, last;

	choose(model, &first, &last);
	probe_init(&entry->probe);
	memset(&entry->probe.sub, (int)below(model, 256), sizeof(entry->probe.sub));
	probe_insert(&entry->probe, model->mm, first, last - first + 1);
	entry->live = true;
	entry->has_seq = false;
	entry->first = first;
	entry->last = last;
}

static void do_remove(struct model *model, struct entry *entry)
{
	model->removed_open += is_open(model, entry);
	probe_remove(&entry->probe);
	entry->live = false;
	memset(&entry->probe, 0x5a, sizeof(entry->probe));
}

/* Called back: exactly the overlapping, once. */
static void expect_started(struct model *model, unsigned long start, unsigned long end)
{
	int i;

	for (i = 0; i < SUBS; i++) {
		struct entry *entry = &model->entry[i];
		bool hit = overlaps(entry, start, end);

		agree(model, atomic_load(&entry->probe.calls) == (int)hit);
		if (!hit)
			continue;
		agree(model, entry->probe.seen_start == start && entry->probe.seen_end == end);
		entry->since = MOVED;
		model->hits++;
	}
}

static void expect_refused(struct model *model, unsigned long start, unsigned long end)
{
	bool refused = false;
	int i, calls;

	for (i = 0; i < SUBS; i++) {
		struct entry *entry = &model->entry[i];

		calls = atomic_load(&entry->probe.calls);
		agree(model, calls == 0 || (calls == 1 && overlaps(entry, start, end)));
		refused |= calls && entry->probe.refuse;
		if (overlaps(entry, start, end) && entry->since == SAME)
			entry->since = EITHER;
	}
	agree(model, refused);
	model->refusals++;
}

static void do_start(struct model *model, struct open_range *slot)
{
	bool nonblock = below(model, 3) == 0, refusal = false;
	unsigned long first, last, end;
	int i, ret;

	choose(model, &first, &last);
	end = last + 1;
	for (i = 0; i < SUBS; i++) {
		struct entry *entry = &model->entry[i];

		atomic_store(&entry->probe.calls, 0);
		if (!entry->live)
			continue;
		entry->probe.refuse = below(model, 40) == 0;
		refusal |= nonblock && entry->probe.refuse && overlaps(entry, first, end);
	}
	mmu_notifier_range_init(&slot->range, MMU_NOTIFY_UNMAP, 0, model->mm, first, end);
	if (nonblock)
		ret = quiet(mmu_notifier_invalidate_range_start_nonblock(&slot->range));
	else
		ret = quiet(mmu_notifier_invalidate_range_start(&slot->range));
	agree(model, ret == (refusal ? -EAGAIN : 0));
	if (ret) {
		expect_refused(model, first, end);
		return;
	}
	expect_started(model, first, end);
	slot->open = true;
}

static void do_end(struct model *model, struct open_range *slot)
{
	int i;

	zero_calls(model);
	range_close(&slot->range);
	slot->open = false;
	memset(&slot->range, 0x5a, sizeof(slot->range));
	for (i = 0; i < SUBS; i++)
		agree(model, atomic_load(&model->entry[i].probe.calls) == 0);
}

static void do_begin(struct model *model, struct entry *entry)
{
	unsigned long seq;
	int ret = poll_begin(&entry->probe.sub, &seq);

	agree(model, ret == (is_open(model, entry) ? -ETIMEDOUT : 0));
	if (ret) {
		agree(model, mmu_interval_read_retry(&entry->probe.sub, seq));
		model->waits++;
		if (below(model, 2))
			return;
	}
	entry->has_seq = true; /* one that was refused has to stay bad */
	entry->seq = seq;
	entry->since = ret ? MOVED : SAME;
}

static void do_check(struct model *model, struct entry *entry)
{
	struct mmu_interval_notifier *sub = &entry->probe.sub;
	bool retry;

	if (!entry->has_seq)
		return;
	retry = quiet(mmu_interval_read_retry(sub, entry->seq));
	agree(model, entry->since == EITHER || retry == (entry->since == MOVED));
	agree(model, quiet(mmu_interval_check_retry(sub, entry->seq)) == retry);
	agree(model, quiet(hmmu_access_ok(sub, entry->seq)) == !retry);
	model->collisions += retry;
}

static void check_all(struct model *model)
{
	int i;

	for (i = 0; i < SUBS; i++) {
		struct entry *entry = &model->entry[i];
		unsigned long seq;

		if (!entry->live)
			continue;
		do_check(model, entry);
		agree(model, poll_begin(&entry->probe.sub, &seq) ==
				     (is_open(model, entry) ? -ETIMEDOUT : 0));
	}
}

static void one_step(struct model *model)
{
	struct entry *entry = &model->entry[below(model, SUBS)];
	struct open_range *slot = &model->range[below(model, OPEN)];
	/* Waves: now and then most subscriptions, or most ranges, go away. */
	bool ebb = (model->step >> 9) & 1;

	switch (below(model, 8)) {
	case 0:
		if (!entry->live)
			do_insert(model, entry);
		else if (below(model, ebb ? 1 : 4) == 0)
			do_remove(model, entry);
		break;
	case 1:
	case 2:
		if (!slot->open)
			do_start(model, slot);
		break;
	case 3:
	case 4:
		if (slot->open && below(model, ebb ? 1 : 3) == 0)
			do_end(model, slot);
		break;
	case 5:
	case 6:
		if (entry->live)
			do_begin(model, entry);
		break;
	default:
		if (entry->live)
			do_check(model, entry);
	}
	if (below(model, 64) == 0)
		check_all(model);
}

static void play(uint64_t seed)
{
	struct model *model = calloc(1, sizeof(*model));
	int i;

	model->seed = model->random = seed;
	model->mm = open_mm(0);
	for (model->step = 0; model->step < STEPS; model->step++)
		one_step(model);
	for (i = 0; i < OPEN; i++)
		if (model->range[i].open)
			do_end(model, &model->range[i]);
	check_all(model);
	for (i = 0; i < SUBS; i++)
		if (model->entry[i].live)
			do_remove(model, &model->entry[i]);
	close_mm(model->mm);
	printf("seed %llu: %ld hits, %ld refusals, %ld waits, %ld collisions, %ld removed "
	       "open\n",
	       (unsigned long long)seed, model->hits, model->refusals, model->waits,
	       model->collisions, model->removed_open);
	assert_true(model->hits > STEPS / 10 && model->refusals > STEPS / 1000);
	assert_true(model->waits > STEPS / 100 && model->collisions > STEPS / 100);
	assert_true(model->removed_open > STEPS / 1000);
	free(model);
}

static void test_model(void **state)
{
	play(*(uint64_t *)*state);
}

int main(int argc, char **argv)
{
	static uint64_t seed[] = {1, 2, 3, 4, 5, 6};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_prestate(test_model, &seed[0]),
		cmocka_unit_test_prestate(test_model, &seed[1]),
		cmocka_unit_test_prestate(test_model, &seed[2]),
		cmocka_unit_test_prestate(test_model, &seed[3]),
		cmocka_unit_test_prestate(test_model, &seed[4]),
		cmocka_unit_test_prestate(test_model, &seed[5]),
	};

	api_guard(100);
	if (argc > 1) {
		play(strtoull(argv[1], NULL, 0));
		return 0;
	}
	return cmocka_run_group_tests_name("model", tests, NULL, NULL);
}
