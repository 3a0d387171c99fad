// SPDX-License-Identifier: MIT
/*
 * watch.c - who migrates pages of a mapping subscribes to it, on an mm of our own.
 *
 * The subscription keeps the mapping registered (userfaultfd.h), and its callback brings home
 * what is away before the memory changes.
 */
#include <errno.h>

#include "../notifier/pool.h"
#include "../source/userfaultfd/userfaultfd.h"
#include "devmem.h"

#define PRUNE_MIN 32

static bool invalidate(struct mmu_interval_notifier *sub,
		       const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	struct hmmu_devmem *dm = hmmu_devmem;
	struct dm_watch *watch =
		(struct dm_watch *)((char *)sub - offsetof(struct dm_watch, sub));
	bool blockable = mmu_notifier_range_blockable(range);
	uint64_t start = range->start, end = range->end;

	if (start < watch->start)
		start = watch->start;
	if (end > watch->end)
		end = watch->end;
	if (blockable)
		dm_lock(dm);
	else if (!dm_trylock(dm))
		return false;
	mmu_interval_set_seq(sub, cur_seq);
	dm_unlock(dm);
	/* What the kernel tells of the reader has done, before the change's caller went on
	 * (told.c). LOST: the reader still serves touches, by its own descriptor. */
	if (range->phase != HMMU_PHASE_BEFORE || hmmu_uffd_dispatching())
		return true;
	return dm_bring_range(dm, start, end, blockable ? DM_WAIT : DM_NONBLOCK) || blockable;
}

const struct mmu_interval_notifier_ops dm_watch_ops = {.invalidate = invalidate};

static struct dm_watch *find(struct hmmu_devmem *dm, uint64_t start, uint64_t end)
{
	struct dm_watch *w;

	for (w = dm->watches; w; w = w->next)
		/* One that is larger may have a hole by now, and cannot be armed. */
		if (w->start == start && end == w->end)
			return w;
	return NULL;
}

static void remove_one(struct hmmu_devmem *dm, struct dm_watch **link)
{
	struct dm_watch *w = *link;

	*link = w->next;
	dm->nwatches--;
	mmu_interval_notifier_remove(&w->sub);
	hmmu_unmap(w, sizeof(*w));
}

/* With dm->open: those of which nothing is away, and which nobody uses. Only a user takes
 * pages away. */
static void prune(struct hmmu_devmem *dm)
{
	struct dm_watch **link = &dm->watches;

	while (*link) {
		uint64_t at = (*link)->start;

		if (!hmmu_load_seqcst(&(*link)->users) && !dm_next_word(dm, &at, (*link)->end))
			remove_one(dm, link);
		else
			link = &(*link)->next;
	}
	dm->prune = 2 * dm->nwatches + PRUNE_MIN;
}

/* With dm->open. */
static int add(struct hmmu_devmem *dm, uint64_t start, uint64_t end, struct dm_watch **watch)
{
	struct dm_watch *w = hmmu_map(sizeof(*w), true);
	int ret;

	if (!w)
		return -ENOMEM;
	w->start = start;
	w->end = end;
	ret = mmu_interval_notifier_insert(&w->sub, dm->mm, start, end - start, &dm_watch_ops);
	if (ret) {
		hmmu_unmap(w, sizeof(*w));
		return ret;
	}
	w->next = dm->watches;
	dm->watches = w;
	dm->nwatches++;
	*watch = w;
	return 0;
}

int dm_watch_get(struct hmmu_devmem *dm, uint64_t start, uint64_t end, struct dm_watch **watch)
{
	int ret = 0;

	hmmu_lock(&dm->open);
	*watch = find(dm, start, end);
	if (!*watch) {
		if (dm->nwatches >= dm->prune)
			prune(dm);
		ret = add(dm, start, end, watch);
	}
	if (!ret)
		hmmu_add_seqcst(&(*watch)->users, 1);
	hmmu_unlock(&dm->open);
	return ret;
}

void dm_watch_put(struct dm_watch *watch)
{
	if (watch)
		hmmu_add_seqcst(&watch->users, (uint64_t)-1);
}

/* With dm->open, and nothing away. */
void dm_watches_drop(struct hmmu_devmem *dm)
{
	while (dm->watches)
		remove_one(dm, &dm->watches);
	dm->prune = 0;
}
