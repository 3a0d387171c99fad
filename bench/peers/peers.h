/* SPDX-License-Identifier: MIT */
/*
 * peers.h - hmmu-peers: registration caches side by side, the same work in one run.
 *
 *	hmmu	   hmmu_regcache_get() and put()
 *	UCX	   its ucs_rcache, as installed
 *	tree	   a mutex, a red-black tree and a count of users in each region: the shape
 *		   of most others, without their lists and limits
 *	no cache   register, deregister: each time
 *
 * The registration itself does nothing on all sides, so what is measured is the cache.
 * Each side has a process of its own (../child.h), since two of them patch libc's entries;
 * the processes take turns batch by batch. In each, two threads do the work, each pinned to
 * a CPU; whatever threads the caches have of their own are not pinned.
 *
 * REGIONS are a page long, one in every second page from BASE on: none touches another, for
 * two of the sides merge neighbours. They are registered in random order. BASE lies far
 * below where the kernel puts mappings of its own choice: no hole there is ever filled by
 * somebody else.
 */
#ifndef HMMU_BENCH_PEERS_H
#define HMMU_BENCH_PEERS_H

#include "../bench.h"
#include "../child.h"
#include "rbtree.h"

#define PAGE 4096ul
#define STRIDE (2 * PAGE)
#define BASE (1ul << 40)
#define WINDOW (1ul << 34) /* the windows of two worlds lie so far apart */
#define HOT 16		   /* regions of a hot set */

/* In which process and column; what has its own column comes first. */
enum side {
	SIDE_HMMU,
	SIDE_UCX,
	SIDE_TREE,
	SIDE_NONE,
	NR_SIDES,
	SIDE_ALONE = NR_SIDES, /* hmmu again, one thread: what two are compared with */
};

/* How hmmu is opened. The other sides have one way. */
enum variant {
	BEST,	   /* the best sources that work; reg() is said to check */
	HOOKS,	   /* hooks alone; the same */
	POPULATES, /* the options' defaults: best, and the cache has the kernel check */
	NR_VARIANTS,
};

enum pattern {
	HOT_SET,   /* HOT regions in turn */
	RANDOM,	   /* the next address depends on nothing */
	DEPENDENT, /* the next address depends on the last answer */
	HANDLE,	   /* random, and the region's handle is read */
	NR_PATTERNS,
};

struct world;

/* What a loop goes over: one thread's. */
struct span {
	unsigned long base; /* of the first region */
	size_t n;	    /* regions */
	uint64_t random;
};

typedef void loop_fn(struct world *world, struct span *span, uint64_t iters);

struct peer {
	const char *name;
	const char *absent; /* why it is not there, or NULL */
	bool keeps_nothing;
	bool merges; /* what overlaps several; and has a limit to regions */
	/* In the child, once: 0 or -errno. */
	int (*open)(enum variant variant);
	struct world *(*make)(unsigned long limit); /* regions; 0: none */
	loop_fn *hit[NR_PATTERNS];
	/* get + put of @n regions STRIDE apart. */
	void (*walk)(struct world *world, unsigned long start, size_t n);
	/* The same of @n ranges that begin and end with a region each. */
	void (*bridge)(struct world *world, unsigned long start, size_t n);
	/* munmap of each. */
	void (*unmap)(struct world *world, unsigned long start, size_t n);
	/* The memory has changed: for a side that does not learn of it itself. */
	void (*tell)(struct world *world, unsigned long start, size_t length);
	/* What is left to be done of what was dropped, is done. */
	void (*settle)(struct world *world);
};

extern const struct peer peer_hmmu, peer_ucx, peer_tree, peer_none, peer_floor;
extern const struct peer *const peers[NR_SIDES];

/* ---- rows, table.c */

struct row {
	const char *group;
	char name[48];
	size_t regions; /* hits; else 0 */
	enum pattern pattern;
	int threads; /* 1 or 2 */
	bool shared; /* two: on the same regions */
	enum variant variant;
	bool has[NR_SIDES + 1];
	struct stat time[NR_SIDES + 1];
	struct stat times[NR_SIDES + 1]; /* divided by hmmu's, round by round */
	char note[80];
};

extern struct row rows[];
extern int nr_rows;

struct row *row_new(const char *group, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* With one child per side, in the order of enum side; NULL: not there. */
void row_measure(struct row *row, struct child *const children[NR_SIDES + 1], int operation,
		 int alone);
void table_head(void);
void table_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
FILE *table_file(void);

/* goals.c: prints them; in JSON too. */
void goals_print(void);
/* json.c: 0 or 1 */
int json_print(void);
/* plots.c: 0, or what went wrong is said */
void plots(const char *directory);

/* ---- the groups, and what runs in the children: crew.c */

size_t many(void); /* regions of the largest world */
void peers_hit(void);
void peers_miss(void);
void peers_merge(void);
void peers_unmap(void);

/* The child of one side. @variant is hmmu's. */
struct member {
	const struct peer *peer;
	enum variant variant;
	struct child child;
	bool there;
};
/* 0, or -errno; says why on the table if it is not there. */
int member_spawn(struct member *member, child_setup *setup, child_obey *obey);
/* Last in, first out: a child holds the pipes of those before it. */
void member_end(struct member *member);

/* In the child: two pinned threads; each runs its work, begun together. Mean of the
 * nanoseconds of the first @threads. */
typedef void work_fn(void *arg, int thread);
double crew_run(work_fn *work, void *arg, int threads);
int crew_open(void);

#endif /* HMMU_BENCH_PEERS_H */
