// SPDX-License-Identifier: MIT
/* cache_report.c - what the table of --cache says beside torture's. */
#include "cache.h"

#include <inttypes.h>
#include <stdio.h>

#define COUNT(field) (unsigned long long)(field)

void cache_counts_sum(const struct torture *t, enum column column, struct cache_counts *sum)
{
	*sum = (struct cache_counts){0};
	for (unsigned int i = 0; i < t->nr_devices; i++) {
		const struct cache_counts *n = &t->cache->getters[i].counts[column];

		sum->nonblock += n->nonblock;
		sum->again += n->again;
		sum->elsewhere += n->elsewhere;
		sum->once += n->once;
		sum->no_room += n->no_room;
		sum->read_only += n->read_only;
		sum->granted += n->granted;
		sum->merged += n->merged;
	}
}

bool cache_worked(const struct torture *t)
{
	const struct hmmu_regcache_stats *s = t->cache->stats;

	return s[0].hits + s[1].hits && s[0].invalidated + s[1].invalidated;
}

const char *cache_wrong(const struct torture *t, bool *stale)
{
	const struct cache_torture *c = t->cache;
	static char text[96];
	struct cache_counts sum;

	*stale = true;
	cache_counts_sum(t, COL_HMMU, &sum);
	if (sum.granted) {
		snprintf(text, sizeof(text),
			 "%llu gets for writing of read-only pages "
			 "succeeded in the hmmu column",
			 COUNT(sum.granted));
		return text;
	}
	if (atomic_load(&c->children_stale))
		return "a forked child saw memory that it does not have";
	*stale = false;
	if (atomic_load(&c->children_failed)) {
		snprintf(text, sizeof(text), "a forked child could not use the cache (%d)",
			 atomic_load(&c->child_status));
		return text;
	}
	return atomic_load(&c->regs) != atomic_load(&c->deregs)
		       ? "what was registered was not deregistered, or twice"
		       : NULL;
}

static void print_cache(const char *name, const struct hmmu_regcache_stats *s)
{
	printf("%-9s %llu hits, %llu misses, %llu registered, %llu retries, %llu merged, "
	       "%llu replaced,\n          %llu invalidated, %llu evicted, %llu once, "
	       "%llu revalidated\n",
	       name, COUNT(s->hits), COUNT(s->misses), COUNT(s->regs), COUNT(s->retries),
	       COUNT(s->merged), COUNT(s->replaced), COUNT(s->invalidated), COUNT(s->evicted),
	       COUNT(s->once), COUNT(s->revalidated));
}

void cache_report(const struct torture *t)
{
	const struct cache_torture *c = t->cache;
	struct cache_counts n, start_only, unprotected;

	cache_counts_sum(t, COL_HMMU, &n);
	cache_counts_sum(t, COL_START_ONLY, &start_only);
	cache_counts_sum(t, COL_UNPROTECTED, &unprotected);
	puts("\nhmmu's two caches");
	print_cache("default", &c->stats[0]);
	print_cache("limited", &c->stats[1]);
	printf("%llu gets asked without waiting, %llu of them in vain; %llu answers were "
	       "larger; "
	       "%llu refused\nfor want of room; %llu put by another thread; %llu dropped by "
	       "hand; shrink called %llu times\n",
	       COUNT(n.nonblock), COUNT(n.again), COUNT(n.merged), COUNT(n.no_room),
	       COUNT(n.elsewhere), COUNT(atomic_load(&c->drops)),
	       COUNT(atomic_load(&c->shrinks)));
	printf("read-only %llu times; gets for writing then that succeeded, of how many: "
	       "%llu of %llu /\n%llu of %llu / %llu of %llu\n",
	       COUNT(atomic_load(&c->protections)), COUNT(unprotected.granted),
	       COUNT(unprotected.read_only), COUNT(start_only.granted),
	       COUNT(start_only.read_only), COUNT(n.granted), COUNT(n.read_only));
	if (!c->sees_mprotect)
		puts("(no page was made read-only: this source is not told of mprotect)");
	printf("%llu forked children used the cache, %llu saw something stale\n",
	       COUNT(atomic_load(&c->children) - atomic_load(&c->children_skipped)),
	       COUNT(atomic_load(&c->children_stale)));
}
