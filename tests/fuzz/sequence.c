// SPDX-License-Identifier: MIT
/* sequence.c - bytes become steps of the public interface: see sequence.h. */
#include "sequence.h"

#include "notifier/notifier.h"

/* A size of any class, a bit more or less, at somebody's edge or anywhere. */
static void place(struct fuzz *f, unsigned long *first, unsigned long *last)
{
	uint8_t size = fuzz_byte(f), near = fuzz_byte(f), how = fuzz_byte(f);
	unsigned long length = 1UL << size % 48, at;
	const struct entry *e = &world.entry[near % SUBS];

	length += size / 48 == 1 ? 1 : size / 48 == 2 ? length - 1 : size / 48 == 3 ? 4095 : 0;
	length -= size / 48 == 4 && length > 1;
	if (near >= 248)
		at = ~0UL - ((unsigned long)how << size % 48); /* the top */
	else if (near >= SUBS || !e->live)
		at = (unsigned long)how << near % 40;
	else
		at = (how & 4 ? e->first : e->last) + how % 3 - 1;
	if (near < SUBS && e->live && how & 8)
		at -= length - 1; /* ends there */
	*first = at;
	*last = at + length - 1;
}

static unsigned int space_of(uint8_t b)
{
	return b >= 224; /* the other one seldom */
}

static void arm(struct fuzz *f)
{
	uint8_t who = fuzz_byte(f), what = fuzz_byte(f);
	struct armed armed = {.act = what % 7, .what = fuzz_byte(f)};

	place(f, &armed.first, &armed.last);
	if (who < SUBS)
		world.entry[who].armed = armed;
	else if (who < SUBS + WHOLES)
		world.whole[who - SUBS].armed = armed;
	else
		world.work[who % WORKS].armed = armed;
}

static void refuse(struct fuzz *f)
{
	uint8_t who = fuzz_byte(f);

	if (who < SUBS)
		world.entry[who].refuse ^= true;
	else
		world.whole[who % WHOLES].refuse ^= true;
}

/* Side by side, or all over each other. */
static void insert_many(struct fuzz *f)
{
	unsigned int i = fuzz_byte(f) % SUBS, n = 1 + fuzz_byte(f) % SUBS;
	uint8_t how = fuzz_byte(f);
	unsigned long first, last;

	place(f, &first, &last);
	while (n--) {
		unsigned long length = last - first + 1;

		sequence_insert(i++ % SUBS, space_of(how), first, last);
		if (how & 1) {
			first += length;
			last += length;
		}
	}
}

static void start_many(struct fuzz *f)
{
	unsigned int j = fuzz_byte(f) % RANGES, n = 1 + fuzz_byte(f) % RANGES;
	uint8_t how = fuzz_byte(f);
	unsigned long first, last;

	place(f, &first, &last);
	while (n--)
		sequence_start(j++ % RANGES, space_of(how), first, last, how & 1, how & 2);
}

static void many(struct fuzz *f, unsigned int most, void (*step)(unsigned int))
{
	unsigned int i = fuzz_byte(f) % most, n = 1 + fuzz_byte(f) % most;
	unsigned int stride = 1 + fuzz_byte(f) % most;

	for (; n--; i += stride)
		step(i % most);
}

static void end_one(unsigned int j)
{
	if (world.inv[j].state != RANGE_CLOSED)
		sequence_end(j);
}

static void start(struct fuzz *f, bool nonblock)
{
	uint8_t j = fuzz_byte(f), how = fuzz_byte(f);
	unsigned long first, last;

	place(f, &first, &last);
	sequence_start(j % RANGES, space_of(how), first, last, nonblock, how & 1);
}

static void insert(struct fuzz *f)
{
	uint8_t i = fuzz_byte(f), how = fuzz_byte(f);
	unsigned long first, last;

	place(f, &first, &last);
	sequence_insert(i % SUBS, space_of(how), first, last);
}

static void handler(struct fuzz *f)
{
	uint8_t j = fuzz_byte(f), how = fuzz_byte(f);
	unsigned long first, last;

	place(f, &first, &last);
	if (how & 1)
		sequence_defer(how / 2 % WORKS, space_of(how), true);
	else
		sequence_handler(j % RANGES, space_of(how), first, last);
}

static void close_and_open(unsigned int space)
{
	sequence_close(space);
	if (!world.space[space].mm)
		sequence_open(space);
}

static void whole(struct fuzz *f)
{
	uint8_t what = fuzz_byte(f), how = fuzz_byte(f);

	if (what < 128)
		sequence_whole(what % REGISTERED, space_of(how));
	else if (what < 192)
		sequence_get(what & 1, space_of(how), how & 2);
	else
		sequence_put(REGISTERED + what % GOTTEN);
}

static void step(struct fuzz *f)
{
	uint8_t what = fuzz_byte(f);

	switch (what % 20) {
	case 0:
	case 1:
		insert(f);
		break;
	case 2:
		sequence_remove(fuzz_byte(f) % SUBS);
		break;
	case 3:
	case 4:
		start(f, what & 1);
		break;
	case 5:
		sequence_end(fuzz_byte(f) % RANGES);
		break;
	case 6:
		sequence_begin(fuzz_byte(f) % SUBS);
		break;
	case 7:
		sequence_check(fuzz_byte(f) % SUBS);
		break;
	case 8:
		arm(f);
		break;
	case 9:
		refuse(f);
		break;
	case 10:
		insert_many(f);
		break;
	case 11:
		start_many(f);
		break;
	case 12:
		many(f, RANGES, end_one);
		break;
	case 13:
		whole(f);
		break;
	case 14:
		sequence_defer(fuzz_byte(f) % WORKS, space_of(what), false);
		break;
	case 15:
		sequence_reclaim(space_of(what));
		break;
	case 16:
		close_and_open(space_of(what));
		break;
	case 17:
		handler(f);
		break;
	case 18:
		many(f, SUBS, what < 128 ? sequence_begin : sequence_check);
		break;
	default:
		many(f, SUBS, what < 64 ? sequence_remove : sequence_check);
	}
}

static void all(void (*fn)(unsigned int), unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		fn(i);
}

/* Everything ends; nothing may be left of it. */
static void finish(void)
{
	all(sequence_check, SUBS);
	all(sequence_begin, SUBS);
	for (unsigned int i = 0; i < SUBS; i++)
		world.entry[i].armed.act = ACT_NONE;
	for (unsigned int i = 0; i < WHOLES; i++)
		world.whole[i].armed.act = ACT_NONE;
	for (unsigned int i = 0; i < WORKS; i++)
		world.work[i].armed.act = ACT_NONE;
	all(end_one, RANGES);
	all(sequence_reclaim, SPACES);
	all(sequence_check, SUBS);
	all(sequence_begin, SUBS);
	all(sequence_check, SUBS);
	all(sequence_remove, SUBS);
	for (unsigned int i = 0; i < REGISTERED; i++)
		if (world.whole[i].live)
			sequence_whole(i, 0);
	for (unsigned int i = REGISTERED; i < WHOLES; i++)
		while (world.whole[i].live)
			sequence_put(i);
	all(sequence_close, SPACES);
	for (unsigned int i = 0; i < SPACES; i++)
		FUZZ_CHECK(!world.space[i].mm);
	for (unsigned int i = 0; i < WHOLES; i++)
		FUZZ_CHECK(!world.whole[i].freeing);
	mmu_notifier_synchronize(); /* has nothing to wait for */
}

/* FUZZ_PLANT: one of src/plant.h's bugs, by name. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const names[] = {
#define NAME(name, text) #name,
		HMMU_PLANT_LIST(NAME)
#undef NAME
	};
	const char *wanted = getenv("FUZZ_PLANT");

	hmmu_report_hook = sequence_report;
	for (unsigned int i = 0; wanted && i < HMMU_PLANT_NR; i++)
		if (!strcmp(names[i], wanted))
			hmmu_planted = i;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz f = {data, size};

	memset(&world, 0, sizeof(world));
	for (unsigned int i = 0; i < SPACES; i++)
		sequence_open(i);
	while (f.left)
		step(&f);
	finish();
	return 0;
}
