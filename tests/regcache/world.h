/* SPDX-License-Identifier: MIT */
/*
 * world.h - a cache, its device, and memory whose pages have identities; the same test on
 * every source.
 *
 *	world_source	who tells of changes in this round; set by world_main()
 *	change_begin()	explicit: start; otherwise nothing, somebody is watching
 *	world_fresh()	other pages with other identities appear at an address at one stroke
 *			(made aside, moved over it): no moment at which they have none
 *	get()		checks all that a get promises: it covers, it is allowed, it is
 *			live and reaches what the process sees (so nothing may change the
 *			memory meanwhile: get_racing() otherwise)
 *
 * Pages are named by number, from the start of the world's area.
 */
#ifndef HMMU_TEST_REGCACHE_WORLD_H
#define HMMU_TEST_REGCACHE_WORLD_H

#include "device.h"

enum source { EXPLICIT, HOOKS, UFFD, BOTH, PROBE, SOURCES };
extern enum source world_source;

struct world {
	struct mm_struct *mm;
	struct hmmu_regcache *cache;
	struct device dev;
	char *area;
	size_t pages;
	char *reserved; /* the area lies in it, aligned, with holes on both sides */
	size_t reserved_length;
	bool splits; /* options->split: what is found may be a part of a registration */
};

struct change {
	struct mmu_notifier_range range;
	bool open;
};

/* @options: NULL, or what the cache is made with (mm is filled in). */
void world_open(struct world *w, size_t pages, const struct hmmu_regcache_options *options);
void world_open_mm(struct world *w, size_t pages, const struct hmmu_regcache_options *options,
		   unsigned int mm_flags);
void world_close(struct world *w); /* all references are put: counts, destroys, counts */
/* The cache and its mm alone: for several in one test */
struct mm_struct *source_mm(unsigned int mm_flags);
void area_map(struct world *w, size_t pages);
void area_unmap(struct world *w);

void change_begin(struct world *w, struct change *c, size_t page, size_t n);
void change_end(struct world *w, struct change *c);
void world_fresh(struct world *w, size_t page, size_t n, int prot); /* no begin, no end */
void world_remap(struct world *w, size_t page, size_t n);	    /* with them, RW */
void world_remap_prot(struct world *w, size_t page, size_t n, int prot);
void world_unmap(struct world *w, size_t page, size_t n);
void world_mprotect(struct world *w, size_t page, size_t n, int prot);

static inline unsigned long at(const struct world *w, size_t page)
{
	return (unsigned long)w->area + page * PAGE;
}

int try_get(struct world *w, size_t page, size_t n, unsigned int prot,
	    struct hmmu_region_ref *ref);
void get(struct world *w, size_t page, size_t n, unsigned int prot,
	 struct hmmu_region_ref *ref);
int get_now(struct world *w, size_t page, size_t n, unsigned int prot,
	    struct hmmu_region_ref *ref); /* nonblock */
void check_ref(struct world *w, size_t page, size_t n, unsigned int prot,
	       const struct hmmu_region_ref *ref);
void get_racing(struct world *w, size_t page, size_t n, unsigned int prot,
		struct hmmu_region_ref *ref);
void put(struct world *w, struct hmmu_region_ref *ref);
bool valid(struct world *w, const struct hmmu_region_ref *ref);
void get_put(struct world *w, size_t page, size_t n, unsigned int prot);

struct hmmu_regcache_stats stats_of(struct world *w);
/* Nothing is held: wait until the dead are deregistered, then all the sums. */
void check_idle(struct world *w);

/* Every dead region that nobody uses is deregistered, whoever has to do it. */
void world_reap(struct world *w, long live);

typedef void (*world_test)(void);
struct world_case {
	const char *name;
	world_test fn;
	unsigned int sources; /* mask of 1 << enum source */
};
#define EVERY ((1u << SOURCES) - 1)
#define ONLY(source) (1u << (source))
/* fork and mprotect are not told by userfaultfd alone */
#define HOOKED (ONLY(EXPLICIT) | ONLY(HOOKS) | ONLY(BOTH) | ONLY(PROBE))
#define CASE(fn, sources)         \
	{                         \
#fn, fn, sources, \
	}

/* Each case on each of its sources; an argument picks cases by name. */
int world_main(const char *group, const struct world_case *cases, size_t n, int argc,
	       char **argv);

#endif /* HMMU_TEST_REGCACHE_WORLD_H */
