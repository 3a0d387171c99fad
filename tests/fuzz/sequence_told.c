// SPDX-License-Identifier: MIT
/* sequence_told.c - callbacks of the library: expected ones only, and what they do. */
#include "sequence.h"

void sequence_report(const char *name, const void *subject)
{
	if (!strncmp(name, "lockdep-too-", 12))
		return; /* deeper than its tables: it says so once */
	if (!world.misuse || strcmp(name, world.misuse)) {
		fprintf(stderr, "sequence: not so: misuse: %s\n", name);
		abort();
	}
	world.misuse = NULL;
}

/* Once: who is armed is not armed any more, whatever happens meanwhile. */
void sequence_act(struct armed *armed, unsigned int space)
{
	struct armed a = *armed;

	armed->act = ACT_NONE;
	switch (a.act) {
	case ACT_INSERT:
		sequence_insert(a.what % SUBS, space, a.first, a.last);
		break;
	case ACT_LEAVE_OPEN:
		sequence_start(a.what % RANGES, space, a.first, a.last, false, false);
		break;
	case ACT_OPEN_CLOSE:
		if (world.inv[a.what % RANGES].state != RANGE_CLOSED)
			break;
		sequence_start(a.what % RANGES, space, a.first, a.last, false, false);
		if (world.inv[a.what % RANGES].state == RANGE_OPEN)
			sequence_end(a.what % RANGES);
		break;
	case ACT_TRY:
		sequence_start(a.what % RANGES, space, a.first, a.last, true, false);
		break;
	case ACT_END:
		if (world.inv[a.what % RANGES].state == RANGE_OPEN)
			sequence_end(a.what % RANGES);
		break;
	case ACT_DEFER:
		sequence_defer(a.what % WORKS, space, false);
		break;
	default:
		break;
	}
}

/* The range that a callback is shown is that of the walk. */
static void check_range(const struct walk *w, const struct mmu_notifier_range *range)
{
	if (w->range == LOST) {
		FUZZ_CHECK(range->phase == HMMU_PHASE_LOST && range->start == 0 &&
			   range->end == ~0UL && mmu_notifier_range_blockable(range));
		return;
	}
	FUZZ_CHECK(range == &world.inv[w->range].range && range->phase == HMMU_PHASE_BEFORE);
}

static bool invalidate(struct mmu_interval_notifier *sub,
		       const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	struct entry *e = (struct entry *)sub;
	unsigned int i = (unsigned int)(e - world.entry);
	struct walk *w = world.walk;

	FUZZ_CHECK(w && !w->ending && !w->refused && !w->whole);
	FUZZ_CHECK(i < SUBS && w->expect[i] && !w->called[i]);
	check_range(w, range);
	w->called[i] = true;
	if (!mmu_notifier_range_blockable(range) && e->refuse) {
		w->refused = true;
		return false;
	}
	mmu_interval_set_seq(sub, cur_seq);
	sequence_act(&e->armed, e->space);
	FUZZ_CHECK(world.walk == w);
	return true;
}

const struct mmu_interval_notifier_ops sequence_ops = {.invalidate = invalidate};

static struct whole *told_whole(struct mmu_notifier *n, const struct mmu_notifier_range *range)
{
	struct whole *it = (struct whole *)n;
	unsigned int i = (unsigned int)(it - world.whole);
	struct walk *w = world.walk;

	FUZZ_CHECK(w && i < WHOLES && it->live && w->expect_whole[i] && !w->called_whole[i]);
	FUZZ_CHECK(it->order > w->order);
	check_range(w, range);
	w->called_whole[i] = true;
	w->order = it->order;
	return it;
}

static int whole_start(struct mmu_notifier *n, const struct mmu_notifier_range *range)
{
	struct walk *w = world.walk;
	struct whole *it = told_whole(n, range);

	FUZZ_CHECK(!w->ending && !w->refused);
	w->whole = true;
	if (!mmu_notifier_range_blockable(range) && it->refuse) {
		w->refused = true;
		return -EAGAIN;
	}
	it->accepted[w->range] = true;
	sequence_act(&it->armed, it->space);
	return 0;
}

/* A refused start is followed by the ends of those that accepted, within the start: the
 * first of them turns the walk round. So does the end of what was lost. */
static void turn(struct walk *w)
{
	if (w->ending)
		return;
	FUZZ_CHECK(w->refused || w->range == LOST);
	w->ending = true;
	w->order = 0;
	for (unsigned int i = 0; i < WHOLES; i++) {
		struct whole *it = &world.whole[i];

		w->expect_whole[i] = it->live && it->accepted[w->range];
		w->called_whole[i] = false;
	}
}

static void whole_end(struct mmu_notifier *n, const struct mmu_notifier_range *range)
{
	struct whole *it;

	FUZZ_CHECK(world.walk);
	turn(world.walk);
	it = told_whole(n, range);
	FUZZ_CHECK(it->accepted[world.walk->range]);
	it->accepted[world.walk->range] = false;
	sequence_act(&it->armed, it->space);
}

static void whole_release(struct mmu_notifier *n, struct mm_struct *mm)
{
	struct whole *it = (struct whole *)n;

	FUZZ_CHECK(it->live && mm == world.space[it->space].mm);
	it->refuse = false; /* seen by who unregisters */
	it->armed.act = ACT_NONE;
}

bool sequence_no_memory;
struct whole *sequence_allocated;

static struct mmu_notifier *alloc_notifier(struct mm_struct *mm)
{
	if (sequence_no_memory)
		return NULL;
	for (unsigned int i = REGISTERED; i < WHOLES; i++) {
		struct whole *it = &world.whole[i];

		if (it->live || it->freeing)
			continue;
		memset(&it->notifier, 0x5a, sizeof(it->notifier));
		sequence_allocated = it;
		return &it->notifier;
	}
	return NULL;
}

/* The head of its mm's queue is the one that runs. */
static struct space *run_next(unsigned int what, unsigned int i)
{
	struct space *s = &world.space[i];

	sequence_lost_over();
	FUZZ_CHECK(!world.walk && s->queued && s->queue[0].what == what);
	FUZZ_CHECK(s->draining || !s->queue[0].late);
	s->queued--;
	memmove(&s->queue[0], &s->queue[1], s->queued * sizeof(s->queue[0]));
	s->ran++;
	return s;
}

static void free_notifier(struct mmu_notifier *n)
{
	struct whole *it = (struct whole *)n;

	FUZZ_CHECK(it->freeing);
	run_next(WORKS + (unsigned int)(it - world.whole), it->space);
	it->freeing = false;
	memset(&it->notifier, 0x5a, sizeof(it->notifier));
}

void sequence_work(struct hmmu_work *work)
{
	struct work *it = (struct work *)work;
	unsigned int i = 0;
	struct space *s;

	while (i < SPACES && world.space[i].mm != work->mm)
		i++;
	FUZZ_CHECK(i < SPACES && it->queued);
	s = run_next((unsigned int)(it - world.work), i);
	it->queued = false;
	memset(&it->work, 0x5a, sizeof(it->work));
	s->running++;
	sequence_act(&it->armed, i);
	s->running--;
}

/* The last has only one of the two. */
const struct mmu_notifier_ops sequence_whole_ops[3] = {
	{.invalidate_range_start = whole_start,
	 .invalidate_range_end = whole_end,
	 .release = whole_release},
	{.invalidate_range_start = whole_start, .invalidate_range_end = whole_end},
	{.invalidate_range_start = whole_start},
};
const struct mmu_notifier_ops sequence_get_ops[2] = {
	{.invalidate_range_start = whole_start,
	 .invalidate_range_end = whole_end,
	 .alloc_notifier = alloc_notifier,
	 .free_notifier = free_notifier},
	{.invalidate_range_start = whole_start,
	 .alloc_notifier = alloc_notifier,
	 .free_notifier = free_notifier},
};
