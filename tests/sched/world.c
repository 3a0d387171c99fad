// SPDX-License-Identifier: MIT
/* world.c - see world.h. */
#include "world.h"

#include <errno.h>
#include <string.h>

struct mm_struct *mm;
struct driver driver[WORLD_SUBS];
uint64_t truth[WORLD_SUBS + 1];

static struct mmu_notifier_range filler[HMMU_SLOTS];
static bool filled;
static unsigned int used; /* drivers [0, used) */
static const struct timespec never_sleep;

void world_enter(int index)
{
	/* Distinct slots from the start, the same in each run. */
	hmmu_tls = (struct hmmu_tls){.slot_hint = (uint32_t)index + 1};
}

static bool hear(struct mmu_interval_notifier *sub, const struct mmu_notifier_range *range,
		 unsigned long cur_seq)
{
	struct driver *d = (struct driver *)sub;

	sched_assert(!hmmu_load_relaxed(&d->removed)); /* G3 */
	if (!mmu_notifier_range_blockable(range) && d->refuse)
		return false;
	hmmu_lock(&d->lock);
	mmu_interval_set_seq(sub, cur_seq);
	sched_touch(&d->shadow, true);
	d->shadow = 0;
	d->called++;
	hmmu_unlock(&d->lock);
	if (d->inside)
		d->inside(d);
	for (int i = 0; i < 3; i++) /* still running */
		hmmu_add_relaxed(&d->busy, 1);
	sched_assert(!hmmu_load_relaxed(&d->removed)); /* G3 */
	return true;
}

static const struct mmu_interval_notifier_ops ops = {.invalidate = hear};

/* Nobody is looking at what it had: tables and leaves can go. All that is watched here lies in
 * the first GiBs. */
static void renew_summary(struct mm_struct *m)
{
	struct hmmu_summary *s = &m->summary;
	size_t taken = m->arena.at ? HMMU_ARENA_CHUNK - m->arena.left : 0;

	for (unsigned int gib = 0; gib < 64; gib++) {
		if ((int64_t)s->leaf[gib] > 0)
			hmmu_unmap((void *)s->leaf[gib], sizeof(struct hmmu_summary_leaf));
		s->leaf[gib] = 0;
	}
	s->any3[0] = s->any4[0] = s->any5[0] = 0;
	if (taken)
		m->arena.at = memset(m->arena.at - taken, 0, taken);
	else
		m->arena.at = hmmu_map(HMMU_ARENA_CHUNK, false);
	sched_assert(m->arena.at);
	m->arena.left = HMMU_ARENA_CHUNK;
}

/* As new, whatever earlier runs did: a schedule is to mean the same each time. */
void world_renew(struct mm_struct *m)
{
	renew_summary(m);
	memset(m->slots, 0, sizeof(m->slots));
	for (unsigned int i = 0; i < HMMU_SLOTS; i++)
		m->found[i].removals = UINT64_MAX;
	m->slots_high = 0;
	m->next_id = 1;
	m->seq_floor = 1;
	m->epoch = EPOCH_BASE;
	m->removals = 0;
	m->event = 0;
}

void world_open(void)
{
	struct hmmu_mm_options o = {.size = sizeof(o), .flags = HMMU_MM_OWN_RECLAIM};

	memset(driver, 0, sizeof(driver));
	for (unsigned int i = 0; i <= WORLD_SUBS; i++)
		truth[i] = 1;
	filled = false;
	used = 0;
	sched_assert(hmmu_mm_open(&mm, &o) == 0);
	world_renew(mm);
}

static void insert(unsigned int i, unsigned int page, unsigned long offset)
{
	struct driver *d = &driver[i];

	d->page = page;
	sched_assert(mmu_interval_notifier_insert(&d->sub, mm,
						  WORLD_BASE + page * PAGE + offset,
						  PAGE - offset, &ops) == 0);
	sched_touch(&used, true);
	d->inserted = true;
	if (i >= used)
		used = i + 1;
}

void world_insert(unsigned int i, unsigned int page)
{
	insert(i, page, 0);
}

void world_insert_half(unsigned int i, unsigned int page)
{
	insert(i, page, PAGE / 2);
}

void world_remove(unsigned int i)
{
	struct driver *d = &driver[i];

	hmmu_lock(&d->lock);
	sched_touch(&d->shadow, true);
	d->shadow = 0;
	hmmu_unlock(&d->lock);
	mmu_interval_notifier_remove(&d->sub);
	d->ended = ((struct hmmu_sub *)&d->sub)->ended;
	hmmu_store_seqcst(&d->removed, 1); /* late for nobody */
	sched_touch(&used, true);
	d->inserted = false;
}

void world_fill_slots(void)
{
	for (unsigned int i = 0; i < HMMU_SLOTS; i++) {
		mmu_notifier_range_init(&filler[i], MMU_NOTIFY_UNMAP, 0, mm, 1, 2);
		mmu_notifier_invalidate_range_start(&filler[i]);
	}
	filled = true;
}

void world_close(void)
{
	unsigned long seq;

	for (unsigned int i = 0; filled && i < HMMU_SLOTS; i++)
		mmu_notifier_invalidate_range_end(&filler[i]);
	for (unsigned int i = 0; i < WORLD_SUBS; i++) {
		if (driver[i].removed) /* G3: "freed", nobody has written to it */
			sched_assert(((struct hmmu_sub *)&driver[i].sub)->ended ==
				     driver[i].ended);
		if (!driver[i].inserted)
			continue;
		sched_assert(hmmu_read_begin(&driver[i].sub, &seq, &never_sleep) == 0); /* G4 */
		mmu_interval_notifier_remove(&driver[i].sub);
	}
	sched_assert(hmmu_mm_close(mm) == 0);
}

void world_check(unsigned int page)
{
	sched_touch(&used, false); /* who is inserted */
	for (unsigned int i = 0; i < used; i++) {
		const struct driver *d = &driver[i];

		if (!d->inserted || d->page != page)
			continue;
		sched_touch(&d->shadow, false);
		sched_assert(d->shadow == 0); /* G1 */
	}
}

void world_change(unsigned int first, unsigned int last)
{
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, WORLD_BASE + first * PAGE,
				WORLD_BASE + (last + 1) * PAGE);
	sched_assert(mmu_notifier_invalidate_range_start(&range) == 0);
	for (unsigned int page = first; page <= last; page++) {
		hmmu_add_seqcst(&truth[page], 1);
		world_check(page);
	}
	mmu_notifier_invalidate_range_end(&range);
}

void world_read(unsigned int i)
{
	struct driver *d = &driver[i];
	unsigned long seq;
	uint64_t value;

	for (;;) {
		seq = mmu_interval_read_begin(&d->sub);
		value = hmmu_load_acquire(&truth[d->page]);
		hmmu_lock(&d->lock);
		if (!mmu_interval_read_retry(&d->sub, seq))
			break;
		hmmu_unlock(&d->lock);
	}
	sched_touch(&d->shadow, true);
	d->shadow = value;
	sched_touch(&truth[d->page], false);
	sched_assert(value == truth[d->page]); /* G1 */
	hmmu_unlock(&d->lock);
}

/* ---- what is a state ---- */

static uint64_t hash_slot(uint64_t hash, unsigned int i)
{
	const struct hmmu_slot *slot = &mm->slots[i];
	const struct hmmu_found *found = &mm->found[i];

	hash = sched_hash_word(hash, slot->state);
	/* Good for the next start, and for the end of this one. */
	if (found->removals == mm->removals && found->next_id == mm->next_id)
		hash = sched_hash_word(hash, found->start ^ found->last << 1);
	if ((slot->state & SLOT_KIND) == SLOT_FREE)
		return hash;
	hash = sched_hash_word(hash, slot->start);
	hash = sched_hash_word(hash, slot->last);
	hash = sched_hash_word(hash, slot->batched);
	hash = sched_hash_word(hash, slot->pinned == slot->state);
	/* Whose callback, if a driver's: by number. */
	return sched_hash_word(
		hash, slot->hazard ? (uint64_t)((const struct driver *)slot->hazard - driver)
				   : UINT64_MAX);
}

static uint64_t hash_driver(uint64_t hash, const struct driver *d)
{
	const struct hmmu_sub *sub = (const struct hmmu_sub *)&d->sub;

	hash = sched_hash_word(hash, sub->begun);
	hash = sched_hash_word(hash, sub->ended);
	hash = sched_hash_word(hash, sub->waiters | (uint64_t)d->lock.word << 32);
	hash = sched_hash_word(hash, d->shadow);
	hash = sched_hash_word(hash, d->busy);
	return sched_hash_word(hash, d->inserted | d->removed << 1);
}

uint64_t world_state(uint64_t hash)
{
	struct hmmu_inv *head[OVERFLOW_HEADS];

	hash = sched_hash_word(hash, mm->epoch);
	hash = sched_hash_word(hash, mm->gate);
	hash = sched_hash_word(hash, mm->lost_pending);
	hash = sched_hash_word(hash, mm->removals);
	hash = sched_hash_word(hash, mm->next_id);
	hash = sched_hash_word(hash, mm->lock.word | (uint64_t)mm->event << 32);
	hash = sched_hash_word(hash, mm->event_waiters | (mm->deferred ? 1ull << 32 : 0));
	for (unsigned int i = 0; i < mm->slots_high; i++)
		if (!filled)
			hash = hash_slot(hash, i);
	for (unsigned int i = 0; i < used; i++) {
		hash = hash_driver(hash, &driver[i]);
		hash = sched_hash_word(hash, truth[i]);
	}
	for (unsigned int i = hmmu_overflow_heads(&mm->overflow, 0, UINT64_MAX, head); i-- > 0;)
		for (const struct hmmu_inv *inv = head[i]; inv; inv = inv->next)
			hash = sched_hash_word(hash, inv->start | inv->ending);
	return hash;
}
