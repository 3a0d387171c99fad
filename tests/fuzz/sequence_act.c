// SPDX-License-Identifier: MIT
/* sequence_act.c - steps, made of the library and of the model: sequence.h. */
#include "sequence.h"

#include "notifier/notifier.h"

struct world world;

/* ---- what the model knows ----------------------------------------------- */

bool sequence_overlaps(const struct entry *e, unsigned int space, unsigned long first,
		       unsigned long last)
{
	return e->live && e->space == space && e->first <= last && first <= e->last;
}

bool sequence_is_open(unsigned int space, unsigned long first, unsigned long last)
{
	for (unsigned int j = 0; j < RANGES; j++) {
		const struct invalidation *it = &world.inv[j];

		if (it->state == RANGE_OPEN && it->space == space && it->range.start <= last &&
		    first <= it->range.end - 1)
			return true;
	}
	return false;
}

static bool undecided(unsigned int space)
{
	return world.space[space].held || world.space[space].untold;
}

/* Every sequence of the mm is void. */
static void void_sequences(unsigned int space)
{
	for (unsigned int i = 0; i < SUBS; i++)
		if (world.entry[i].seq_mm == world.space[space].mm)
			world.entry[i].since = SINCE_MOVED;
}

void sequence_walk_begin(struct walk *w, unsigned int range, unsigned int space,
			 unsigned long first, unsigned long last)
{
	*w = (struct walk){.range = range, .outer = world.walk};
	for (unsigned int i = 0; i < SUBS; i++)
		w->expect[i] = sequence_overlaps(&world.entry[i], space, first, last);
	for (unsigned int i = 0; i < WHOLES; i++) {
		struct whole *it = &world.whole[i];

		w->expect_whole[i] = it->live && it->space == space;
		it->accepted[range] = false;
	}
	world.walk = w;
}

/* Everybody was called; where one refused, only it and some of the others. */
void sequence_walk_over(struct walk *w)
{
	FUZZ_CHECK(world.walk == w);
	world.walk = w->outer;
	for (unsigned int i = 0; i < SUBS && !w->ending; i++)
		FUZZ_CHECK(w->refused || w->called[i] == w->expect[i]);
	for (unsigned int i = 0; i < WHOLES; i++) {
		const struct whole *it = &world.whole[i];
		bool has_end = it->notifier.ops && w->expect_whole[i] &&
			       it->notifier.ops->invalidate_range_end;

		if (w->ending)
			FUZZ_CHECK(w->called_whole[i] == has_end);
		else
			FUZZ_CHECK(w->refused || w->called_whole[i] == w->expect_whole[i]);
	}
}

void sequence_open(unsigned int space)
{
	const struct hmmu_mm_options options = {.size = sizeof(options),
						.sources = HMMU_SOURCE_EXPLICIT,
						.flags = HMMU_MM_OWN_RECLAIM};

	FUZZ_CHECK(!hmmu_mm_open(&world.space[space].mm, &options));
}

/* ---- subscriptions ------------------------------------------------------- */

void sequence_insert(unsigned int i, unsigned int space, unsigned long first,
		     unsigned long last)
{
	struct entry *e = &world.entry[i];
	struct mm_struct *mm = world.space[space].mm;

	if (e->live)
		return;
	memset(&e->sub, (int)i, sizeof(e->sub));
	if (last < first || last - first == ~0UL) { /* wraps; its length is no number */
		FUZZ_CHECK(mmu_interval_notifier_insert(&e->sub, mm, first, last - first + 1,
							&sequence_ops) == -EOVERFLOW);
		return;
	}
	FUZZ_CHECK(!mmu_interval_notifier_insert(&e->sub, mm, first, last - first + 1,
						 &sequence_ops));
	e->live = true;
	e->refuse = false;
	e->space = space;
	e->first = first;
	e->last = last;
	/* A sequence of a life before, on this mm, stays what it is: void. */
	e->has_seq &= e->seq_mm == mm;
}

void sequence_remove(unsigned int i)
{
	struct entry *e = &world.entry[i];

	if (!e->live)
		return;
	FUZZ_CHECK(!world.walk);
	mmu_interval_notifier_remove(&e->sub);
	e->live = false;
	e->armed.act = ACT_NONE;
	e->since = SINCE_MOVED;
	memset(&e->sub, 0x5a, sizeof(e->sub));
}

void sequence_begin(unsigned int i)
{
	const struct timespec never = {0, 0};
	struct entry *e = &world.entry[i];
	unsigned long seq = 0;
	int ret, must;

	if (!e->live)
		return;
	must = undecided(e->space) || sequence_is_open(e->space, e->first, e->last) ? -ETIMEDOUT
										    : 0;
	ret = hmmu_read_begin(&e->sub, &seq, &never);
	FUZZ_CHECK(ret == must);
	e->has_seq = true;
	e->seq = seq;
	e->seq_mm = world.space[e->space].mm;
	e->since = ret ? SINCE_MOVED : SINCE_SAME;
	if (!ret) /* nothing is open: it does not wait */
		FUZZ_CHECK(mmu_interval_read_begin(&e->sub) == seq);
}

void sequence_check(unsigned int i)
{
	struct entry *e = &world.entry[i];
	enum since since = undecided(e->space) ? SINCE_MOVED : e->since;
	bool retry;

	if (!e->live || !e->has_seq)
		return;
	retry = mmu_interval_read_retry(&e->sub, e->seq);
	FUZZ_CHECK(since == SINCE_EITHER || retry == (since == SINCE_MOVED));
	FUZZ_CHECK(mmu_interval_check_retry(&e->sub, e->seq) == retry);
	FUZZ_CHECK(hmmu_access_ok(&e->sub, e->seq) == !retry);
}

/* ---- invalidations ------------------------------------------------------- */

/* Since @w: what became of the sequences of those it was for. */
static void note_since(const struct walk *w)
{
	for (unsigned int i = 0; i < SUBS; i++) {
		struct entry *e = &world.entry[i];

		if (w->called[i])
			e->since = SINCE_MOVED;
		else if (w->expect[i] && e->since == SINCE_SAME)
			e->since = SINCE_EITHER;
	}
}

static void start(struct invalidation *it, bool nonblock)
{
	unsigned int j = (unsigned int)(it - world.inv);
	struct mmu_notifier_range *range = &it->range;
	struct walk w;
	int ret;

	nonblock |= world.walk && world.walk->nonblock;
	sequence_walk_begin(&w, j, it->space, range->start, range->end - 1);
	w.nonblock = nonblock;
	it->state = RANGE_BUSY;
	ret = nonblock ? mmu_notifier_invalidate_range_start_nonblock(range)
		       : mmu_notifier_invalidate_range_start(range);
	FUZZ_CHECK(ret == (w.refused ? -EAGAIN : 0));
	/* A refused one that had accepted notifiers has ended them. */
	for (unsigned int i = 0; ret && i < WHOLES; i++) {
		const struct whole *whole = &world.whole[i];

		if (whole->accepted[j])
			FUZZ_CHECK(!whole->notifier.ops->invalidate_range_end);
	}
	note_since(&w);
	sequence_walk_over(&w);
	it->state = ret ? RANGE_CLOSED : RANGE_OPEN;
}

void sequence_start(unsigned int j, unsigned int space, unsigned long first, unsigned long last,
		    bool nonblock, bool again)
{
	struct invalidation *it = &world.inv[j];

	if (it->state == RANGE_BUSY)
		return;
	if (it->state != RANGE_CLOSED) { /* open already */
		world.misuse = "start-without-init";
		FUZZ_CHECK(mmu_notifier_invalidate_range_start(&it->range) == -EINVAL);
		FUZZ_CHECK(!world.misuse);
		return;
	}
	if (!again || !it->inited) {
		memset(&it->range, 0x5a, sizeof(it->range));
		mmu_notifier_range_init(&it->range, MMU_NOTIFY_UNMAP, 0, world.space[space].mm,
					first, last + 1);
		it->space = space;
		it->inited = true;
	}
	if (it->range.start >= it->range.end) {
		FUZZ_CHECK(mmu_notifier_invalidate_range_start(&it->range) == -EINVAL);
		return;
	}
	start(it, nonblock);
}

static void end_open(struct invalidation *it)
{
	unsigned int j = (unsigned int)(it - world.inv);
	struct walk w = {.range = j, .ending = true, .outer = world.walk};

	for (unsigned int i = 0; i < WHOLES; i++)
		w.expect_whole[i] = world.whole[i].live && world.whole[i].accepted[j];
	w.nonblock = !mmu_notifier_range_blockable(&it->range);
	world.walk = &w;
	it->state = RANGE_BUSY;
	mmu_notifier_invalidate_range_end(&it->range);
	sequence_walk_over(&w);
	it->state = RANGE_CLOSED;
}

void sequence_end(unsigned int j)
{
	struct invalidation *it = &world.inv[j];
	struct space *s = &world.space[it->space];

	switch (it->state) {
	case RANGE_OPEN:
		end_open(it);
		return;
	case RANGE_HELD:
		mmu_notifier_invalidate_range_end(&it->range);
		it->state = RANGE_CLOSED;
		s->held--;
		s->untold++;
		return;
	case RANGE_CLOSED:
		if (!it->inited)
			return;
		world.misuse = "end-without-start";
		mmu_notifier_invalidate_range_end(&it->range);
		FUZZ_CHECK(!world.misuse);
		return;
	default: /* its start or end is going on */
		return;
	}
}

/* A signal handler whose thread holds the mm's lock: nobody is called now. */
void sequence_handler(unsigned int j, unsigned int space, unsigned long first,
		      unsigned long last)
{
	struct invalidation *it = &world.inv[j];
	struct space *s = &world.space[space];

	if (it->state == RANGE_HELD) {
		s = &world.space[it->space];
		hmmu_mm_lock(s->mm);
		sequence_end(j);
		hmmu_mm_unlock(s->mm);
		return;
	}
	if (it->state != RANGE_CLOSED || last < first || last == ~0UL)
		return;
	mmu_notifier_range_init(&it->range, MMU_NOTIFY_UNMAP, 0, s->mm, first, last + 1);
	it->space = space;
	it->inited = true;
	hmmu_mm_lock(s->mm);
	FUZZ_CHECK(!mmu_notifier_invalidate_range_start(&it->range));
	hmmu_mm_unlock(s->mm);
	it->state = RANGE_HELD;
	/* One that is over and untold lends its mark: they are told of together. */
	s->untold -= s->untold > 0;
	s->held++;
	void_sequences(space);
}

/* ---- the whole-mm form --------------------------------------------------- */

static bool anything_open(unsigned int space)
{
	return sequence_is_open(space, 0, ~0UL);
}

static void come(struct whole *it, unsigned int space)
{
	it->live = true;
	it->refuse = false;
	it->space = space;
	it->order = ++world.order;
	it->armed.act = ACT_NONE;
	memset(it->accepted, 0, sizeof(it->accepted));
}

void sequence_whole(unsigned int i, unsigned int space)
{
	struct whole *it = &world.whole[i];

	if (it->live) {
		bool releases = it->notifier.ops->release;

		it->refuse = true;
		mmu_notifier_unregister(&it->notifier, world.space[it->space].mm);
		FUZZ_CHECK(it->refuse == !releases);
		it->live = false;
		memset(&it->notifier, 0x5a, sizeof(it->notifier));
		return;
	}
	if (anything_open(space) || world.space[space].held)
		return; /* it would wait for that, or may not come then */
	it->notifier.ops = &sequence_whole_ops[i % 3];
	come(it, space);
	FUZZ_CHECK(!mmu_notifier_register(&it->notifier, world.space[space].mm));
}

static struct whole *gotten(unsigned int ops, unsigned int space)
{
	for (unsigned int i = REGISTERED; i < WHOLES; i++) {
		struct whole *it = &world.whole[i];

		if (it->live && it->ops == ops && it->space == space)
			return it;
	}
	return NULL;
}

void sequence_get(unsigned int ops, unsigned int space, bool fail)
{
	struct whole *it = gotten(ops, space);
	struct mmu_notifier *n = NULL;
	int ret;

	if (anything_open(space) || world.space[space].held)
		return;
	sequence_no_memory = fail;
	sequence_allocated = NULL;
	ret = mmu_notifier_get(&sequence_get_ops[ops], world.space[space].mm, &n);
	if (!it && !sequence_allocated) {
		FUZZ_CHECK(ret == -ENOMEM);
		return;
	}
	FUZZ_CHECK(!ret && n == (it ? &it->notifier : &sequence_allocated->notifier));
	if (!it) {
		it = sequence_allocated;
		it->ops = ops;
		it->users = 0;
		come(it, space);
	}
	it->users++;
}

static void enqueue(unsigned int what, struct space *s)
{
	s->queue[s->queued++] = (struct owed){what, s->running > 0};
}

void sequence_put(unsigned int i)
{
	struct whole *it = &world.whole[i];

	if (!it->live)
		return;
	if (!--it->users) {
		it->live = false;
		it->freeing = true;
		enqueue(WORKS + i, &world.space[it->space]);
	}
	mmu_notifier_put(&it->notifier);
}

/* ---- later ---------------------------------------------------------------- */

void sequence_defer(unsigned int w, unsigned int space, bool in_handler)
{
	struct work *it = &world.work[w];
	struct space *s = &world.space[space];

	if (it->queued)
		return;
	it->queued = true;
	enqueue(w, s);
	if (in_handler)
		hmmu_mm_lock(s->mm);
	hmmu_defer(s->mm, &it->work, sequence_work);
	if (in_handler)
		hmmu_mm_unlock(s->mm);
}

static struct walk lost;

/* Before what tells everybody that was left out, if there is anything to tell. */
static void expect_lost(unsigned int space)
{
	FUZZ_CHECK(!world.walk);
	if (!world.space[space].untold)
		return;
	/* No range reaches the last byte. */
	sequence_walk_begin(&lost, LOST, space, 0, ~0UL - 1);
	void_sequences(space);
	world.space[space].untold = 0;
}

/* It is when the first work runs, or when nothing else happens. */
void sequence_lost_over(void)
{
	if (world.walk != &lost)
		return;
	sequence_walk_over(&lost);
	for (unsigned int i = 0; i < SUBS; i++)
		FUZZ_CHECK(lost.called[i] == lost.expect[i]);
	for (unsigned int i = 0; i < WHOLES; i++) {
		const struct whole *it = &world.whole[i];

		if (it->live && it->accepted[LOST])
			FUZZ_CHECK(!it->notifier.ops->invalidate_range_end);
	}
}

/* What works defer is for the next time. */
void sequence_reclaim(unsigned int space)
{
	struct space *s = &world.space[space];
	int n;

	expect_lost(space);
	s->ran = 0;
	n = hmmu_reclaim(s->mm);
	sequence_lost_over();
	FUZZ_CHECK(n >= 0 && (unsigned int)n == s->ran);
	for (unsigned int i = 0; i < s->queued; i++) {
		FUZZ_CHECK(s->queue[i].late);
		s->queue[i].late = false;
	}
}

static bool in_use(unsigned int space)
{
	for (unsigned int i = 0; i < SUBS; i++)
		if (world.entry[i].live && world.entry[i].space == space)
			return true;
	for (unsigned int i = 0; i < WHOLES; i++)
		if (world.whole[i].live && world.whole[i].space == space)
			return true;
	return anything_open(space);
}

/* Works and what was lost come first; both may leave something open. */
void sequence_close(unsigned int space)
{
	struct space *s = &world.space[space];
	int ret;

	expect_lost(space);
	s->draining = true;
	ret = hmmu_mm_close(s->mm);
	s->draining = false;
	sequence_lost_over();
	FUZZ_CHECK(!s->queued);
	FUZZ_CHECK(ret == (in_use(space) || s->held ? -EBUSY : 0));
	if (ret)
		return;
	void_sequences(space);
	for (unsigned int j = 0; j < RANGES; j++)
		if (world.inv[j].space == space)
			world.inv[j].inited = false;
	s->mm = NULL;
}
