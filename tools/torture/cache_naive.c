// SPDX-License-Identifier: MIT
/*
 * cache_naive.c - the two planted bugs: a cache that hears of nothing, and one that is told
 * when an invalidation starts and not when it ends. A registration is one page.
 *
 * What start-only does right, since UCX's cache does: a registration that was made while an
 * invalidation started is thrown away and made again.
 *
 *	getter					invalidator
 *						start: starts + 1; drop the page
 *	starts? n + 1
 *	pin the old page
 *						the memory changes; end: nobody says so
 *	starts? still n + 1: install		[the bug]
 */
#include "cache.h"

#include <errno.h>
#include <unistd.h>

static unsigned long address(const struct region *r, unsigned int page)
{
	return (unsigned long)r->base + page * (unsigned long)sysconf(_SC_PAGESIZE);
}

void naive_open(struct naive *n)
{
	pthread_mutex_init(&n->lock, NULL);
	for (size_t i = 0; i < sizeof(n->entries) / sizeof(n->entries[0]); i++) {
		n->entries[i].next = n->free;
		n->free = &n->entries[i];
	}
}

static struct naive_entry *take_entry(struct naive *n)
{
	struct naive_entry *entry;

	pthread_mutex_lock(&n->lock);
	entry = n->free;
	if (entry) {
		n->free = entry->next;
		*entry = (struct naive_entry){.next = NULL};
	}
	pthread_mutex_unlock(&n->lock);
	return entry;
}

static void give_back(struct naive *n, struct naive_entry *entry)
{
	pthread_mutex_lock(&n->lock);
	entry->next = n->free;
	n->free = entry;
	pthread_mutex_unlock(&n->lock);
}

/* Lock held. Off the table; freed by whoever puts last, or finds it on the list. */
static void kill_entry(struct naive *n, struct naive_entry **place)
{
	struct naive_entry *entry = *place;

	*place = NULL;
	if (!entry)
		return;
	entry->dead = true;
	if (entry->users)
		return;
	entry->next = n->dead;
	n->dead = entry;
}

/* No lock held, nor in a callback. */
static void bury(struct cache_torture *c, struct naive *n)
{
	struct naive_entry *list, *next;

	pthread_mutex_lock(&n->lock);
	list = n->dead;
	n->dead = NULL;
	pthread_mutex_unlock(&n->lock);
	for (; list; list = next) {
		next = list->next;
		ring_unpin(&c->ring, list->slot);
		give_back(n, list);
	}
}

void naive_invalidate(struct naive *n, const struct region *r, unsigned long start,
		      unsigned long end)
{
	unsigned long size = (unsigned long)sysconf(_SC_PAGESIZE);

	pthread_mutex_lock(&n->lock);
	n->starts[r->id]++;
	for (unsigned int p = 0; p < PAGES; p++)
		if (address(r, p) < end && address(r, p) + size > start)
			kill_entry(n, &n->live[r->id][p]);
	pthread_mutex_unlock(&n->lock);
}

void naive_drop_all(struct cache_torture *c, struct naive *n)
{
	pthread_mutex_lock(&n->lock);
	for (unsigned int r = 0; r < MAX_REGIONS; r++)
		for (unsigned int p = 0; p < PAGES; p++)
			kill_entry(n, &n->live[r][p]);
	pthread_mutex_unlock(&n->lock);
	bury(c, n);
}

static bool look_up(struct naive *n, const struct wish *wish, struct held *held,
		    uint64_t *starts)
{
	struct naive_entry *entry;

	pthread_mutex_lock(&n->lock);
	entry = n->live[wish->region->id][wish->page];
	*starts = n->starts[wish->region->id];
	if (entry)
		entry->users++;
	pthread_mutex_unlock(&n->lock);
	held->entry = entry;
	return entry != NULL;
}

/* False: an invalidation started since. Somebody else's, if it was faster. */
static bool install(struct naive *n, const struct wish *wish, struct naive_entry *mine,
		    uint64_t starts, struct held *held)
{
	struct naive_entry **place = &n->live[wish->region->id][wish->page];
	bool good;

	pthread_mutex_lock(&n->lock);
	good = n->starts[wish->region->id] == starts;
	if (good) {
		if (*place) {
			mine->next = n->dead;
			n->dead = mine;
		} else {
			*place = mine;
		}
		held->entry = *place;
		held->entry->users++;
	}
	pthread_mutex_unlock(&n->lock);
	return good;
}

static int miss(struct getter *g, struct naive *n, const struct wish *wish, uint64_t starts,
		struct held *held)
{
	struct naive_entry *mine = take_entry(n);
	unsigned long addr = address(wish->region, wish->page);
	struct uring_window here = {.user = g->d};
	int ret;

	if (!mine)
		return -ENOMEM;
	ret = ring_pin(&g->c->ring, addr, (size_t)sysconf(_SC_PAGESIZE), &mine->slot);
	if (ret) {
		give_back(n, mine);
		return ret;
	}
	meet_pinned(&here, addr);
	if (install(n, wish, mine, starts, held))
		return 0;
	ring_unpin(&g->c->ring, mine->slot);
	give_back(n, mine);
	return -ESTALE;
}

int naive_get(struct getter *g, const struct wish *wish, enum column column, struct held *held)
{
	struct naive *n = &g->c->naive[column];
	struct uring_mirror_stats *stats = &g->d->counts[column].mirror;
	uint64_t starts;
	int ret;

	*held = (struct held){.column = column};
	bury(g->c, n);
	while (!look_up(n, wish, held, &starts)) {
		ret = miss(g, n, wish, starts, held);
		stats->misses += ret != -ESTALE;
		stats->retries += ret == -ESTALE;
		if (ret && ret != -ESTALE)
			return ret;
		if (!ret)
			break;
	}
	held->slot = held->entry->slot;
	return 0;
}

void naive_put(struct cache_torture *c, struct held *held)
{
	struct naive *n = &c->naive[held->column];
	struct naive_entry *entry = held->entry;
	bool last;

	pthread_mutex_lock(&n->lock);
	last = !--entry->users && entry->dead;
	pthread_mutex_unlock(&n->lock);
	if (last) {
		ring_unpin(&c->ring, entry->slot);
		give_back(n, entry);
	}
}
