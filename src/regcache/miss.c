// SPDX-License-Identifier: MIT
/*
 * miss.c - the reader's loop of a registration.
 *
 * What is asked for is widened to the alignment and to the union with what it overlaps or
 * touches; if the device does not like that, it is asked for what was asked for alone. What
 * overlaps the new one then goes: the table has one region per page.
 *
 *	getter					invalidator
 *	insert; read_begin
 *	reg()
 *						start: the sequence moves; NEW: left alone
 *	lock: read_retry() == true
 *	unlock, dereg, again		[Required: no word was set]
 *						the memory changes; end
 *
 *	lock: read_retry() == false
 *	words, LIVE; unlock			callback waits for the lock
 *						finds LIVE: clears the words
 */
#include <errno.h>

#include "../arch/syscall.h"
#include "regcache.h"

#define TOUCHING_MAX 64 /* times what was asked for: a neighbour that is worth a union */
#define PRUNED 8	/* retired watches that a getter removes */

struct span {
	uint64_t start;
	uint64_t end; /* one past */
	unsigned int prot;
	bool merged;
};

/* One getter's registration, on its stack. */
struct miss {
	const struct rc_want *want;
	const struct timespec *deadline;
	struct hmmu_region_ref *ref;
	const struct span *span;
	unsigned long seq;
	bool watched;
	bool spare;	/* registered, and another was faster */
	bool asked;	/* the application, to shrink */
	bool last;	/* there is no smaller one to try */
	uint64_t drops; /* as of read_begin */
};

static struct span rounded(const struct rc_want *want, uint64_t to)
{
	/* An address so high that this wraps cannot be mapped: end becomes 0, and reg,
	 * or the check before it, refuses. */
	return (struct span){want->start & -to, (want->last | (to - 1)) + 1, want->prot, false};
}

/* What the table can name, and at a price that somebody would pay. */
static bool cacheable(const struct span *s)
{
	return !((s->end - 1) >> RC_ADDR_BITS) && s->end - s->start <= RC_BYTES_MAX;
}

static bool same(const struct span *a, const struct span *b)
{
	return a->start == b->start && a->end == b->end && a->prot == b->prot;
}

/* ---- the union with its neighbours ------------------------------------ */

static bool merge(struct span *s, const struct rc_region *r, uint64_t max)
{
	struct span u = {
		s->start < r->pub.start ? s->start : r->pub.start,
		s->end > r->pub.end ? s->end : r->pub.end,
		s->prot | r->pub.prot,
		true,
	};
	bool touches = r->pub.end == s->start || r->pub.start == s->end;

	if (u.end - u.start > max || r->whole)
		return false;
	/* What only touches is not worth more protection than either needs; nor, if it is much
	 * larger, registering all of it again: n neighbours, one by one, cost n squared. */
	if (touches &&
	    (r->pub.prot != s->prot || rc_bytes(r) / TOUCHING_MAX > s->end - s->start))
		return false;
	*s = u;
	return true;
}

/* What would not be cached is not worth a union. */
static uint64_t widest(const struct hmmu_regcache *cache)
{
	const struct hmmu_regcache_options *o = &cache->options;
	uint64_t max = o->max_merged;

	max = o->max_bytes < max ? o->max_bytes : max;
	return o->max_locked < max ? o->max_locked : max;
}

static void widen(struct hmmu_regcache *cache, struct span *s)
{
	uint64_t max = widest(cache), at, page = 1UL << RC_PAGE_SHIFT;
	struct rc_region *r;

	rc_lock(cache);
	/* To the left: the neighbour of the neighbour, too. */
	for (; s->start;) {
		at = s->start - page;
		r = rc_table_next(cache, &at, s->start - 1);
		if (!r || !merge(s, r, max))
			break;
	}
	/* Inside and to the right; s->end grows while this goes on. */
	at = s->start;
	while ((r = rc_table_next(cache, &at, s->end)) != NULL) {
		if (!merge(s, r, max))
			break;
	}
	rc_unlock(cache);
}

static struct span plan(struct hmmu_regcache *cache, const struct rc_want *want,
			const struct span *narrow)
{
	struct span wide = rounded(want, cache->options.alignment);

	if ((wide.end - 1) >> RC_ADDR_BITS)
		return *narrow;
	if (!(cache->options.flags & HMMU_REGCACHE_NO_MERGE))
		widen(cache, &wide);
	return wide;
}

/* ---- what the memory and the device allow ----------------------------- */

/* ENOMEM: a hole; EINVAL: its protection, or a device's memory; EFAULT: a file's end. */
static int populate(const struct rc_region *region, int how)
{
	long ret;

	do {
		ret = hmmu_syscall(SYS_madvise, region->pub.start, rc_bytes(region), how);
	} while (ret == -EINTR || ret == -EAGAIN);
	return ret ? -EFAULT : 0;
}

/*
 * Mapped, with this protection? Populated for writing also where the device will only read:
 * the zero page, or one that is shared since a fork, is replaced by the process's next write
 * to it, and no source tells of that.
 */
static int check(struct hmmu_regcache *cache, const struct rc_region *region)
{
	int ret;

	if (cache->options.flags & HMMU_REGCACHE_REG_CHECKS)
		return 0;
	ret = populate(region, MADV_POPULATE_WRITE);
	/* Only to be read, and it cannot be written: then it cannot be replaced by a write. */
	if (ret && !(region->pub.prot & PROT_WRITE))
		ret = populate(region, MADV_POPULATE_READ);
	return ret;
}

/* The application has put something; it is asked once. */
static bool ask(struct hmmu_regcache *cache, uint64_t bytes, struct miss *m)
{
	if (m->asked || !cache->ops.shrink)
		return false;
	m->asked = true;
	return cache->ops.shrink(cache->context, bytes) != 0;
}

/* Something was deregistered, or may be now. */
static bool give(struct hmmu_regcache *cache, uint64_t bytes, struct miss *m)
{
	/* For what was asked for; more than that is not worth what others use. */
	return m->last && (rc_evict(cache, bytes) || ask(cache, bytes, m));
}

static int reg(struct hmmu_regcache *cache, struct rc_region *region, struct miss *m)
{
	int ret;

	for (;;) {
		ret = check(cache, region);
		if (!ret)
			ret = cache->ops.reg(cache->context, &region->pub);
		/* RLIMIT_MEMLOCK, or the device's own: again, if there is anything to give. */
		if (ret != -ENOMEM || !give(cache, rc_bytes(region), m))
			break;
	}
	/* Whatever reg() has written there: the cache counts by them. */
	region->pub.start = m->span->start;
	region->pub.end = m->span->end;
	region->pub.prot = m->span->prot;
	region->pub.flags = 0;
	return ret > 0 ? -EINVAL : ret; /* reg() answers 0 or -errno */
}

/* ---- into the table --------------------------------------------------- */

/* With lock: whoever covers it already. */
static struct rc_region *covering(struct hmmu_regcache *cache, const struct rc_want *want)
{
	uint32_t word = rc_word(cache, want->start);

	if ((word & want->prot) != want->prot)
		return NULL;
	if (rc_word(cache, want->last) != word)
		return rc_parts_covering(cache, want);
	return rc_region_of(cache, word >> RC_PROT_BITS);
}

static void answer(struct hmmu_regcache *cache, struct rc_region *region,
		   struct hmmu_region_ref *ref)
{
	ref->pin = rc_pin(cache, region);
	ref->region = &region->pub;
}

/* With lock. */
static void replace(struct hmmu_regcache *cache, struct rc_region *region)
{
	uint64_t at = region->pub.start;
	struct rc_region *old;

	while ((old = rc_table_next(cache, &at, region->pub.end - 1)) != NULL)
		rc_kill(cache, old, RC_REPLACED);
}

/* With lock. */
static void once(struct hmmu_regcache *cache, struct rc_region *region, bool watched)
{
	region->pub.flags = HMMU_REGION_ONCE;
	hmmu_store_release(&region->changed, !watched);
	rc_kill(cache, region, RC_ONCE);
}

/* With lock. */
static void live(struct hmmu_regcache *cache, struct rc_region *region)
{
	rc_watch_cover(cache, region);
	rc_able(cache, region->id, true);
	hmmu_store_relaxed(&region->changed, 0);	   /* a collision before this reg() */
	hmmu_store_relaxed(rc_used(cache, region->id), 0); /* until it is found */
	hmmu_store_relaxed(&cache->regions, cache->regions + 1);
	hmmu_store_relaxed(&cache->bytes, cache->bytes + rc_bytes(region));
	hmmu_store_release(&region->state, RC_LIVE);
	if (rc_parts_of(region)) {
		rc_parts_live(cache, region);
		return;
	}
	/* The last: from here on it is found. Pairs with the loads in get.c. */
	rc_table_set(cache, region->pub.start, region->pub.end - 1,
		     region->id << RC_PROT_BITS | region->pub.prot);
}

/* With lock. A drop is a change that nobody watches. */
static bool collided(struct hmmu_regcache *cache, struct rc_region *region,
		     const struct miss *m)
{
	if (HMMU_PLANTED(RC_NO_RETRY))
		return false;
	return cache->drops != m->drops ||
	       (m->watched && mmu_interval_read_retry(&region->watch->sub, m->seq));
}

/* With lock: it is good, and nobody has it. False: ask the application to shrink, again. */
static bool publish(struct hmmu_regcache *cache, struct rc_region *region, struct miss *m)
{
	bool room = m->watched && cacheable(m->span);

	if (room) {
		replace(cache, region);
		room = rc_make_room(cache, rc_bytes(region));
		if (!room && cache->ops.shrink && !m->asked)
			return false;
	}
	if (room)
		live(cache, region);
	else
		once(cache, region, m->watched);
	rc_count(cache, RC_MISSES, 1);
	if (m->span->merged)
		rc_count(cache, RC_MERGED, 1);
	answer(cache, region, m->ref);
	return true;
}

/* Registered: into the table, unless it collided: -EAGAIN. */
static int install(struct hmmu_regcache *cache, struct rc_region *region, struct miss *m)
{
	struct rc_region *other;
	bool over = false;
	int ret = 0;

	while (!over && !ret) {
		rc_pins_mine(); /* may map, so not under the lock */
		if (cache->limited)
			rc_look_at_pins(cache);
		rc_lock(cache);
		other = m->watched && cacheable(m->span) ? covering(cache, m->want) : NULL;
		if (collided(cache, region, m)) {
			rc_count(cache, RC_RETRIES, 1);
			ret = -EAGAIN;
		} else if (other) {
			rc_count(cache, RC_MISSES, 1);
			m->spare = true;
			answer(cache, other, m->ref);
			over = true;
		} else {
			over = publish(cache, region, m);
		}
		rc_unlock(cache);
		if (!over && !ret)
			ask(cache, rc_bytes(region), m);
	}
	return ret;
}

/* ---- the loop --------------------------------------------------------- */

/* A forked child's mm: nobody watches. A table that cannot grow is an error, not "once". */
static int subscribe(struct hmmu_regcache *cache, struct rc_region *region, struct miss *m)
{
	int ret = 0;

	if (!region->watch)
		ret = rc_watch_new(cache, region);
	m->watched = ret == 0;
	if (m->watched && cache->splits && cacheable(m->span))
		rc_parts_take(cache, region);
	return ret == -ENODEV ? 0 : ret;
}

static void count_one(struct hmmu_regcache *cache, enum rc_count what)
{
	rc_lock(cache);
	rc_count(cache, what, 1);
	rc_unlock(cache);
}

static void undo(struct hmmu_regcache *cache, struct rc_region *region)
{
	int ret = cache->ops.dereg(cache->context, &region->pub);

	count_one(cache, ret ? RC_DEREG_FAILED : RC_DEREGS);
}

static int loop(struct hmmu_regcache *cache, struct rc_region *region, struct miss *m)
{
	int ret = subscribe(cache, region, m);

	for (bool again = false; !ret; again = true) {
		if (again && hmmu_expired(m->deadline))
			return -ETIMEDOUT;
		if (m->watched)
			ret = hmmu_read_begin(&region->watch->sub, &m->seq, m->deadline);
		if (ret == -ETIMEDOUT)
			return ret;
		m->watched = m->watched && ret == 0;
		m->drops = hmmu_load_seqcst(&cache->drops);
		ret = reg(cache, region, m);
		count_one(cache, ret ? RC_REG_FAILED : RC_REGS);
		/* It failed over memory that changed meanwhile: that is not the answer. */
		if (ret && m->watched &&
		    mmu_interval_check_retry(&region->watch->sub, m->seq)) {
			ret = 0;
			continue;
		}
		if (ret)
			return ret;
		/* Now that there is something at all these addresses. */
		if (cacheable(m->span))
			ret = rc_table_cover(cache, m->span->start, m->span->end - 1);
		if (!ret && !install(cache, region, m))
			return 0;
		undo(cache, region);
	}
	return ret;
}

/* A region for m->span, counted against max_locked. 0, -ENOBUFS, -ENOMEM. */
static int prepare(struct hmmu_regcache *cache, struct miss *m, struct rc_region **out)
{
	const struct span *s = m->span;
	uint64_t bytes = s->end - s->start, max = cache->options.max_locked;
	struct rc_region *region = NULL;
	bool fits;

	if (bytes > max)
		return -ENOBUFS;
	for (;;) {
		rc_lock(cache);
		fits = cache->locked <= max - bytes;
		if (fits)
			region = rc_region_take(cache);
		if (region) {
			hmmu_store_relaxed(&cache->locked, cache->locked + bytes);
			region->pub.start = s->start;
			region->pub.end = s->end;
			region->pub.prot = s->prot;
			if (hmmu_mm_alive(cache->mm))
				rc_watch_take(cache, region);
		}
		rc_unlock(cache);
		if (region)
			break;
		if (fits && !rc_slab_grow(cache))
			return -ENOMEM;
		/* Another reaper may have made room since: then there was nothing to give. */
		if (!fits && !give(cache, bytes, m) &&
		    hmmu_load_relaxed(&cache->locked) > max - bytes)
			return -ENOBUFS;
	}
	*out = region;
	return 0;
}

/* 0, or why it could not be. */
static int attempt(struct hmmu_regcache *cache, struct miss *m)
{
	struct rc_region *region;
	int ret = prepare(cache, m, &region);

	if (ret)
		return ret;
	m->spare = false;
	ret = loop(cache, region, m);
	if (ret || m->spare)
		rc_release(cache, region, m->spare);
	else if (hmmu_load_relaxed(&cache->dying))
		rc_poke(cache); /* those that it replaced */
	if (hmmu_load_relaxed(&cache->retired))
		rc_watch_prune(cache, PRUNED);
	return ret;
}

int rc_miss(struct hmmu_regcache *cache, const struct rc_want *want,
	    const struct timespec *deadline, struct hmmu_region_ref *ref)
{
	struct span narrow = rounded(want, cache->page), wide;
	struct miss m = {.want = want, .deadline = deadline, .ref = ref, .span = &wide};
	int ret;

	if (narrow.end <= narrow.start)
		return -EFAULT; /* the last page of the address space */
	/* Where nobody runs deferred work: a forked child without an mm. */
	if (!hmmu_mm_alive(cache->mm))
		rc_reap(cache);
	wide = plan(cache, want, &narrow);
	m.last = same(&wide, &narrow);
	ret = attempt(cache, &m);
	if (ret && ret != -ETIMEDOUT && !same(&wide, &narrow)) {
		m.span = &narrow;
		m.last = true;
		ret = attempt(cache, &m);
	}
	if (ret)
		count_one(cache, RC_MISSES); /* else install() did */
	return ret;
}
