// SPDX-License-Identifier: MIT
/*
 * open.c - a mirror's life.
 *
 * In a forked child everything is there as it was at the fork, locks held included, but for
 * the page `life`, which is zeroed: every call looks there first. (The instance is zeroed,
 * too: the child's list of mirrors is empty.)
 */
#include <errno.h>
#include <string.h>

#include "../export.h"
#include "../instance.h"
#include "../notifier/notifier.h"
#include "../notifier/pool.h"
#include "mirror.h"

#ifdef HMMU_PLANT
enum hmmu_mirror_plant hmmu_mirror_planted;
void (*hmmu_mirror_gate)(enum hmmu_mirror_gate gate);
#endif

static uint64_t page_size(const struct hmmu_mirror_options *o)
{
	return o && o->page_size ? o->page_size : MIRROR_PAGE;
}

static bool ops_fit(const struct hmmu_mirror_ops *ops, const struct hmmu_mirror_options *o)
{
	if (!ops || !ops->fault)
		return page_size(o) == MIRROR_PAGE && !(ops && ops->abandon);
	return !o || !(o->flags & HMMU_MIRROR_DIRTY);
}

static int check(const struct hmmu_mirror_ops *ops, const struct hmmu_mirror_options *o)
{
	static const unsigned int none[4];
	uint64_t page = page_size(o);

	if (ops && (!ops->lock != !ops->unlock || (ops->trylock && !ops->lock)))
		return -EINVAL;
	if (o && (o->size != sizeof(*o) || (o->flags & ~HMMU_MIRROR_DIRTY) ||
		  memcmp(o->reserved, none, sizeof(none)) != 0))
		return -EINVAL;
	if (page < MIRROR_PAGE || page > MIRROR_PAGE_MAX || (page & (page - 1)) ||
	    !ops_fit(ops, o))
		return -EINVAL;
	if (!o || (!o->start && !o->length))
		return 0;
	if (!o->length || ((o->start | o->length) & (page - 1)) || o->start >= MIRROR_TOP ||
	    o->length > MIRROR_TOP - o->start)
		return -EINVAL;
	return 0;
}

static uint64_t pages(const struct hmmu_mirror *m)
{
	return (m->end - m->start) >> m->shift;
}

/* The list; with a tracker no other one may overlap. */
static int enlist(struct hmmu_mirror *m)
{
	struct hmmu_instance *inst = hmmu_instance();
	int ret = 0;

	if (!inst)
		return -ENOMEM;
	hmmu_lock(&inst->mirror_lock);
	for (struct hmmu_mirror *other = inst->mirrors; other && m->tracks;
	     other = other->next) {
		if (other->tracks && other->start < m->end && other->end > m->start)
			ret = -EBUSY;
	}
	if (!ret) {
		m->next = inst->mirrors;
		inst->mirrors = m;
	}
	hmmu_unlock(&inst->mirror_lock);
	return ret;
}

static void delist(struct hmmu_mirror *m)
{
	struct hmmu_instance *inst = hmmu_instance_peek();
	struct hmmu_mirror **link;

	hmmu_lock(&inst->mirror_lock);
	for (link = &inst->mirrors; *link != m; link = &(*link)->next)
		;
	*link = m->next;
	hmmu_unlock(&inst->mirror_lock);
}

static void free_mirror(struct hmmu_mirror *m)
{
	if (m->root)
		dm_table_free(m);
	dm_bits_free(&m->noted, pages(m));
	dm_bits_free(&m->pending, pages(m));
	dm_copy_exit(m);
	if (m->life)
		hmmu_unmap(m->life, MIRROR_PAGE);
	hmmu_unmap(m, sizeof(*m));
}

static int set_up(struct hmmu_mirror *m)
{
	int ret;

	m->life = hmmu_map(MIRROR_PAGE, true);
	if (!m->life)
		return -ENOMEM;
	hmmu_store_relaxed(m->life, 1);
	ret = dm_table_init(m);
	if (!ret && m->tracks)
		ret = dm_bits_init(&m->noted, pages(m));
	if (!ret && m->tracks)
		ret = dm_bits_init(&m->pending, pages(m));
	if (!ret && !m->ops.fault)
		ret = dm_copy_init(m);
	if (!ret)
		ret = enlist(m);
	if (ret)
		return ret;
	ret = mmu_interval_notifier_insert(&m->sub, m->mm, m->start, m->end - m->start,
					   &dm_sub_ops);
	if (ret)
		delist(m);
	return ret;
}

/* What the sources of the mm cannot give. */
static int can(struct mm_struct *mm, const struct hmmu_mirror *m, bool whole)
{
	if (!hmmu_mm_alive(mm))
		return -ENODEV;
	if (mm->net ? whole : m->tracks)
		return -EOPNOTSUPP;
	return 0;
}

HMMU_EXPORT int hmmu_mirror_open(struct hmmu_mirror **mirror, struct mm_struct *mm,
				 const struct hmmu_mirror_ops *ops, void *context,
				 const struct hmmu_mirror_options *o)
{
	bool whole = !o || (!o->start && !o->length);
	struct hmmu_mirror *m;
	int ret;

	if (!mirror || !mm || check(ops, o))
		return -EINVAL;
	m = hmmu_map_kept(sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->mm = mm;
	if (ops)
		m->ops = *ops;
	m->context = context;
	m->owner = o ? o->dev_private_owner : NULL;
	m->tracks = o && (o->flags & HMMU_MIRROR_DIRTY);
	m->shift = (unsigned int)__builtin_ctzll(page_size(o));
	m->start = whole ? 0 : o->start;
	m->end = whole ? MIRROR_TOP : o->start + o->length;
	ret = can(mm, m, whole);
	if (!ret)
		ret = set_up(m);
	if (ret) {
		free_mirror(m);
		return ret;
	}
	*mirror = m;
	return 0;
}

HMMU_EXPORT void hmmu_mirror_close(struct hmmu_mirror *m)
{
	if (!m)
		return;
	if (dm_alive(m)) {
		/* The shadow first: after remove() nothing protects it (G3). */
		dm_lock(m);
		dm_zap(m, m->start, m->end, MMU_NOTIFY_RELEASE);
		dm_unlock(m);
		mmu_interval_notifier_remove(&m->sub);
		delist(m);
	}
	free_mirror(m);
}

HMMU_EXPORT void hmmu_mirror_stat(struct hmmu_mirror *m, struct hmmu_mirror_stats *stats)
{
	const uint64_t *from;
	uint64_t *to = (uint64_t *)stats;

	memset(stats, 0, sizeof(*stats));
	if (!m || !dm_alive(m))
		return;
	from = (const uint64_t *)&m->stats;
	dm_lock(m); /* some are counted without it */
	for (size_t i = 0; i < sizeof(*stats) / sizeof(*to); i++)
		to[i] = hmmu_load_relaxed(&from[i]);
	dm_unlock(m);
}
