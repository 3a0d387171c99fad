// SPDX-License-Identifier: MIT
/*
 * test_model.c - one thread, a random sequence of everything, and beside it a model that is
 * obviously right: the protection of each page, the list of regions that can be found, and of
 * each reference whether its memory has changed since. After each step:
 *
 *	get	0 exactly if each page allows it, else -EFAULT, and then nothing is lost
 *		covered by one that is listed: that one, and reg is not called
 *		else a new one: as large as what was asked for and no larger than the hull of
 *		what it touches; gone are those that it overlaps, and no other
 *	change	gone are those that overlap it, and no other; valid() turns false for
 *		exactly those references
 *	drop	the same, the count answered; valid() stays
 *	shrink	only what nobody holds; as many bytes as are gone
 *
 * What walk() lists is compared with the list each time. A failure prints seed and step:
 * HMMU_SEED plays it; HMMU_STEPS makes it longer or shorter.
 */
#include "world.h"

#include <sys/mman.h>

#define PAGES 48
#define MAX_HELD 60
#define NONE 0

struct entry {
	unsigned long start, end;
	unsigned int prot;
	struct record *record;
};

struct kept {
	struct hmmu_region_ref ref;
	bool changed;
};

struct model {
	struct world w;
	int prot[PAGES]; /* 0: not mapped */
	struct entry list[PAGES];
	int n;
	struct kept held[MAX_HELD];
	int nr_held;
	uint64_t seed, random;
	long step;
	long hits, misses, faults, merges, invalidated;
	unsigned int flags;
};

#define agree(m, cond)                                                     \
	do {                                                               \
		if (!(cond)) {                                             \
			fprintf(stderr, "seed %llu, step %ld\n",           \
				(unsigned long long)(m)->seed, (m)->step); \
			api_fail(__FILE__, __LINE__, #cond);               \
		}                                                          \
	} while (0)

static size_t below(struct model *m, size_t n)
{
	return (size_t)(api_random(&m->random) % n);
}

static void choose(struct model *m, size_t *page, size_t *n)
{
	*page = below(m, PAGES);
	*n = 1 + below(m, below(m, 4) ? 4 : 16);
	if (*page + *n > PAGES)
		*n = PAGES - *page;
}

static int list_one(void *arg, const struct hmmu_region *region, const char *text)
{
	struct model *m = arg;

	agree(m, m->n < PAGES && !region->flags);
	m->list[m->n++] =
		(struct entry){region->start, region->end, region->prot, region->handle};
	return 0;
}

static void list_now(struct model *m)
{
	m->n = 0;
	agree(m, quiet(hmmu_regcache_walk(m->w.cache, list_one, m)) == 0);
}

static bool overlaps(const struct entry *e, unsigned long start, unsigned long end)
{
	return e->start < end && start < e->end;
}

static void remove_overlapping(struct entry *list, int *n, unsigned long start,
			       unsigned long end)
{
	int i, k = 0;

	for (i = 0; i < *n; i++)
		if (!overlaps(&list[i], start, end))
			list[k++] = list[i];
	*n = k;
}

/* The list is what it was, but for what has to be gone. */
static void expect(struct model *m, const struct entry *list, int n)
{
	int i;

	agree(m, m->n == n);
	for (i = 0; i < n; i++) {
		agree(m, m->list[i].start == list[i].start && m->list[i].end == list[i].end);
		agree(m, m->list[i].prot == list[i].prot);
		agree(m, m->list[i].record == list[i].record);
		agree(m, list[i].record->live && record_current(list[i].record));
	}
}

/* ---- changes ---- */

static void changed(struct model *m, size_t page, size_t n)
{
	unsigned long start = at(&m->w, page), end = at(&m->w, page + n);
	struct entry list[PAGES];
	int i, was = m->n;

	memcpy(list, m->list, sizeof(list));
	remove_overlapping(list, &was, start, end);
	m->invalidated += m->n - was;
	do {
		list_now(m); /* by return: the list follows, a get does not wait for it */
	} while (m->n != was && world_source != EXPLICIT && world_source != HOOKS);
	expect(m, list, was);
	for (i = 0; i < m->nr_held; i++) {
		const struct record *r = record_of(&m->held[i].ref);

		m->held[i].changed |= r->start < end && start < r->end;
	}
}

static void do_change(struct model *m)
{
	static const int prots[] = {RW, RW, RW, PROT_READ, PROT_NONE};
	size_t page, n, i;
	int prot;

	choose(m, &page, &n);
	switch (below(m, 4)) {
	case 0:
		prot = NONE;
		for (i = page; i < page + n; i++)
			prot |= m->prot[i];
		if (prot == NONE)
			return; /* nothing there to change */
		world_unmap(&m->w, page, n);
		prot = NONE;
		break;
	default:
		prot = prots[below(m, 5)];
		world_remap_prot(&m->w, page, n, prot);
		break;
	}
	for (i = page; i < page + n; i++)
		m->prot[i] = prot;
	changed(m, page, n);
}

/* ---- get ---- */

static bool allowed(const struct model *m, size_t page, size_t n, unsigned int prot)
{
	size_t i;

	for (i = page; i < page + n; i++)
		if (((unsigned int)m->prot[i] & prot) != prot || (m->prot[i] & PROT_READ) == 0)
			return false;
	return true;
}

static const struct entry *covering(const struct model *m, unsigned long start,
				    unsigned long end, unsigned int prot)
{
	int i;

	for (i = 0; i < m->n; i++)
		if (m->list[i].start <= start && end <= m->list[i].end &&
		    (m->list[i].prot & prot) == prot)
			return &m->list[i];
	return NULL;
}

/* Everything that is connected with [start, end) by touching. */
static void hull(const struct entry *list, int n, unsigned long *start, unsigned long *end,
		 bool *one_prot, unsigned int prot)
{
	bool grown = true;
	int i;

	*one_prot = true;
	while (grown) {
		grown = false;
		for (i = 0; i < n; i++) {
			if (list[i].start > *end || *start > list[i].end)
				continue;
			*one_prot &= list[i].prot == prot;
			if (list[i].start < *start || list[i].end > *end)
				grown = true;
			if (list[i].start < *start)
				*start = list[i].start;
			if (list[i].end > *end)
				*end = list[i].end;
		}
	}
}

static void check_new(struct model *m, const struct entry *was, int n, unsigned long start,
		      unsigned long end, const struct hmmu_region *region, unsigned int prot)
{
	unsigned long first = start, last = end;
	struct entry list[PAGES + 1];
	bool one_prot;
	int i, k = 0;

	if (!(m->flags & HMMU_REGCACHE_NO_MERGE)) {
		hull(was, n, &first, &last, &one_prot, prot);
		agree(m, region->start >= first && region->end <= last);
		if (one_prot) /* nothing speaks against the whole union */
			agree(m, region->start == first && region->end == last);
	} else {
		agree(m, region->start == start && region->end == end);
	}
	m->merges += region->start != start || region->end != end;
	for (i = 0; i < n; i++) {
		if (overlaps(&was[i], region->start, region->end)) {
			/* not lost for nothing: it is in the new one, or in its way */
			agree(m, (was[i].start >= region->start && was[i].end <= region->end) ||
					 overlaps(&was[i], start, end));
			continue;
		}
		list[k++] = was[i];
	}
	agree(m, m->n == k + 1);
	for (i = k = 0; i < m->n; i++) {
		if (m->list[i].record == region->handle)
			continue;
		agree(m, m->list[i].record == list[k].record);
		k++;
	}
}

static void keep_or_put(struct model *m, struct hmmu_region_ref *ref)
{
	if (m->nr_held < MAX_HELD && below(m, 2))
		m->held[m->nr_held++] = (struct kept){*ref, false};
	else
		put(&m->w, ref);
}

static void do_get(struct model *m, bool now)
{
	static const unsigned int prots[] = {PROT_READ, PROT_WRITE, RW, RW};
	unsigned int prot = prots[below(m, 4)];
	const struct entry *found;
	struct entry was[PAGES];
	struct hmmu_region_ref ref;
	unsigned long start, end;
	long calls = m->w.dev.calls;
	size_t page, n;
	int err, had = m->n;

	choose(m, &page, &n);
	start = at(&m->w, page);
	end = at(&m->w, page + n);
	memcpy(was, m->list, sizeof(was));
	found = covering(m, start, end, prot);
	err = now ? get_now(&m->w, page, n, prot, &ref) : try_get(&m->w, page, n, prot, &ref);
	if (found) {
		agree(m, err == 0 && m->w.dev.calls == calls);
		agree(m, ref.region->handle == found->record);
		m->hits++;
	} else if (now) {
		agree(m, err == -EAGAIN && m->w.dev.calls == calls);
	} else if (!allowed(m, page, n, prot)) {
		agree(m, err == -EFAULT);
		m->faults++;
	} else {
		agree(m, err == 0 && m->w.dev.calls > calls);
		m->misses++;
	}
	if (err || found) {
		if (m->step % 16 == 0) { /* a walk is long */
			list_now(m);
			expect(m, was, had);
		}
	} else {
		list_now(m);
		check_new(m, was, had, start, end, ref.region, prot);
	}
	if (err)
		return;
	check_ref(&m->w, page, n, prot, &ref);
	agree(m, valid(&m->w, &ref));
	keep_or_put(m, &ref);
}

static void do_put(struct model *m)
{
	int i;

	if (!m->nr_held)
		return;
	i = (int)below(m, (size_t)m->nr_held);
	agree(m, record_of(&m->held[i].ref)->live);
	agree(m, valid(&m->w, &m->held[i].ref) == !m->held[i].changed);
	put(&m->w, &m->held[i].ref);
	m->held[i] = m->held[--m->nr_held];
}

static void do_drop(struct model *m)
{
	struct entry list[PAGES];
	size_t page, n;
	int was = m->n, ret;

	choose(m, &page, &n);
	memcpy(list, m->list, sizeof(list));
	remove_overlapping(list, &was, at(&m->w, page), at(&m->w, page + n));
	ret = quiet(hmmu_regcache_drop(m->w.cache, (void *)at(&m->w, page), n * PAGE));
	agree(m, ret == m->n - was);
	list_now(m);
	expect(m, list, was);
}

static bool is_held(const struct model *m, const struct record *record)
{
	int i;

	for (i = 0; i < m->nr_held; i++)
		if (record_of(&m->held[i].ref) == record)
			return true;
	return false;
}

/* The dead are deregistered, first: what shrink answers is of the living. */
static void settle(struct model *m)
{
	struct record *seen[MAX_HELD];
	uint64_t bytes = 0;
	int i, k, n = 0;

	for (i = 0; i < m->nr_held; i++) {
		struct record *r = record_of(&m->held[i].ref);

		for (k = 0; k < n && seen[k] != r; k++)
			;
		if (k == n)
			seen[n++] = r;
	}
	for (i = 0; i < m->n; i++)
		bytes += m->list[i].end - m->list[i].start;
	for (i = k = 0; i < n; i++) {
		int j;

		for (j = 0; j < m->n && m->list[j].record != seen[i]; j++)
			;
		if (j < m->n)
			continue;
		k++; /* dead, and held */
		bytes += seen[i]->end - seen[i]->start;
	}
	world_reap(&m->w, m->n + k);
	/* what dereg has seen is counted a moment later, by who called it */
	while (stats_of(&m->w).dying != (uint64_t)k || stats_of(&m->w).locked != bytes)
		sched_yield();
}

static void do_shrink(struct model *m)
{
	struct entry was[PAGES];
	size_t bytes = below(m, 8) * PAGE, gone = 0, ret;
	int i, k = 0, had = m->n, left = 0;

	settle(m);
	memcpy(was, m->list, sizeof(was));
	ret = quiet(hmmu_regcache_shrink(m->w.cache, bytes));
	list_now(m);
	for (i = 0; i < had; i++) {
		if (k < m->n && m->list[k].record == was[i].record) {
			left += !is_held(m, was[i].record);
			k++;
			continue;
		}
		agree(m, !is_held(m, was[i].record));
		gone += was[i].end - was[i].start;
	}
	agree(m, k == m->n);
	agree(m, gone == ret);
	agree(m, ret >= bytes || left == 0);
}

static void check_held(struct model *m)
{
	int i;

	for (i = 0; i < m->nr_held; i++) {
		agree(m, record_of(&m->held[i].ref)->live);
		agree(m, valid(&m->w, &m->held[i].ref) == !m->held[i].changed);
		if (!m->held[i].changed)
			agree(m, record_current(record_of(&m->held[i].ref)));
	}
}

static void one_step(struct model *m)
{
	size_t what = below(m, 100);

	if (what < 45)
		do_get(m, false);
	else if (what < 55)
		do_get(m, true);
	else if (what < 77)
		do_put(m);
	else if (what < 90)
		do_change(m);
	else if (what < 96)
		do_drop(m);
	else
		do_shrink(m);
	if (m->step % 64 == 0)
		check_held(m);
	if (m->step % 256 == 0)
		settle(m);
}

static void run_model(unsigned int flags, long steps)
{
	static struct model m;
	struct hmmu_regcache_options o = HMMU_REGCACHE_DEFAULTS;
	const char *seed = getenv("HMMU_SEED");
	int i;

	memset(&m, 0, sizeof(m));
	m.seed = m.random = seed ? strtoull(seed, NULL, 0) : 1000 + flags;
	m.flags = o.flags = flags;
	world_open(&m.w, PAGES, &o);
	for (i = 0; i < PAGES; i++)
		m.prot[i] = RW;
	for (m.step = 0; m.step < steps; m.step++)
		one_step(&m);
	while (m.nr_held)
		do_put(&m);
	agree(&m, m.hits > steps / 100 && m.misses > steps / 20 && m.faults > steps / 100);
	agree(&m, m.invalidated > steps / 100);
	agree(&m, (flags & HMMU_REGCACHE_NO_MERGE) || m.merges > steps / 100);
	world_close(&m.w);
}

static long steps_here(void)
{
	const char *steps = getenv("HMMU_STEPS");

	if (steps)
		return atol(steps);
	return (world_source == EXPLICIT ? 12000 : 1500) / API_SLOW;
}

static void merging(void)
{
	run_model(0, steps_here());
}

static void not_merging(void)
{
	run_model(HMMU_REGCACHE_NO_MERGE, steps_here());
}

static void checked_by_reg(void)
{
	run_model(HMMU_REGCACHE_REG_CHECKS, steps_here());
}

static const struct world_case cases[] = {
	CASE(merging, EVERY),
	CASE(not_merging, EVERY),
	CASE(checked_by_reg, EVERY),
};

int main(int argc, char **argv)
{
	api_guard(100);
	return world_main("regcache-model", cases, sizeof(cases) / sizeof(cases[0]), argc,
			  argv);
}
