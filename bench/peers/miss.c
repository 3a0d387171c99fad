// SPDX-License-Identifier: MIT
/*
 * miss.c - get + put of what is not registered, with a registration that does nothing, or
 * only in pieces, or beyond the limit; and munmap of what is.
 *
 * Pages are given memory before they are asked for, outside the clock. After a stretch of
 * CHUNK misses at new addresses the stretch is mapped anew (MAP_FIXED), and what is left to
 * be cleaned up then is waited for, all outside the clock: a cache stays small. "Just
 * invalidated" is the same without the wait: it pays for what a side has put off until then.
 *
 * hmmu's process of each row watches as its variant says; the others have one way.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "atomic.h"
#include "peers.h"

#define CHUNK 1024 /* regions */
#define CHUNK_BYTES (CHUNK * STRIDE)
#define LAST (BASE + (1ul << 42))    /* new addresses end here */
#define ELSEWHERE (BASE - WINDOW)    /* one page, and the hitting thread's regions */
#define HITS (ELSEWHERE + (1 << 24)) /* there */

#define LIMIT (CHUNK / 2) /* regions, where there is one */

/* MERGE: two regions of a page and what lies between them become one. EVICT: as NEW, each
 * beyond the limit, so that another one goes. */
enum what { NEW, NEW_APART, AGAIN, MERGE, EVICT, UNMAP, UNMAP_HIT, WHATS };

static bool unmaps(enum what what)
{
	return what == UNMAP || what == UNMAP_HIT;
}

/* ---- in the child */

static struct world *world, *limited;
static unsigned long fresh = BASE; /* no address from here on was ever registered */

static void must(bool good, const char *what)
{
	if (good)
		return;
	perror(what);
	exit(1);
}

static void map(unsigned long start, unsigned long length)
{
	void *got = mmap((void *)start, length, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);

	must(got == (void *)start, "hmmu-peers: mmap");
}

/* Memory in every page; with @apart each region is a mapping of its own. */
static void prepare(const struct peer *peer, unsigned long start, bool apart)
{
	map(start, CHUNK_BYTES);
	peer->tell(world, start, CHUNK_BYTES);
	for (size_t i = 0; apart && i < CHUNK; i++)
		must(!mprotect((void *)(start + i * STRIDE + PAGE), PAGE, PROT_NONE),
		     "hmmu-peers: mprotect");
	for (size_t i = 0; i < CHUNK; i++)
		*(volatile char *)(start + i * STRIDE) = 1;
}

static void forget(const struct peer *peer, unsigned long start)
{
	map(start, CHUNK_BYTES);
	peer->tell(world, start, CHUNK_BYTES);
	peer->settle(world);
	munmap((void *)start, CHUNK_BYTES);
}

struct work {
	const struct peer *peer;
	unsigned long start;
	size_t n;
	enum what what;
	uint32_t over; /* atomic: the hitting thread may end */
	double ns;
};

static void work_one(void *arg, int thread)
{
	struct work *work = arg;
	struct span hot = {HITS, HOT, 0};
	double from;

	if (thread) {
		while (!hmmu_load_acquire(&work->over))
			work->peer->hit[HOT_SET](world, &hot, 64);
		return;
	}
	from = now_ns();
	if (unmaps(work->what))
		work->peer->unmap(world, work->start, work->n);
	else if (work->what == MERGE)
		work->peer->bridge(world, work->start, work->n);
	else
		work->peer->walk(work->what == EVICT ? limited : world, work->start, work->n);
	work->ns = now_ns() - from;
	hmmu_store_release(&work->over, 1);
}

/* Nanoseconds of @n operations on one stretch. */
static double stretch(const struct peer *peer, enum what what, size_t n)
{
	struct work work = {.peer = peer, .start = fresh, .n = n, .what = what};
	bool new = what == NEW || what == NEW_APART || what == EVICT;
	unsigned long start = fresh;

	if (new) {
		must(fresh < LAST, "hmmu-peers: no new address is left");
		fresh += CHUNK_BYTES;
	}
	prepare(peer, start, what == NEW_APART || unmaps(what));
	if (!new)
		peer->walk(world, start, CHUNK);
	if (what == AGAIN)
		prepare(peer, start, false);
	crew_run(work_one, &work, what == UNMAP_HIT ? 2 : 1);
	if (new)
		forget(peer, start);
	return work.ns;
}

static int setup(const void *arg)
{
	const struct member *me = arg;
	int err = me->peer->open(me->variant);

	if (err)
		return err;
	world = me->peer->make(0);
	if (me->peer->merges)
		limited = me->peer->make(LIMIT);
	map(ELSEWHERE, HITS + HOT * STRIDE - ELSEWHERE);
	me->peer->walk(world, HITS, HOT);
	return crew_open();
}

static double obey(const void *arg, const struct order *order)
{
	const struct member *me = arg;
	enum what what = (enum what)order->operation;
	double ns = 0;

	/* Nothing is kept: nothing is new. */
	if (me->peer->keeps_nothing && (what == NEW || what == NEW_APART || what == AGAIN)) {
		struct span span = {HITS, HOT, 0};
		double from = now_ns();

		me->peer->hit[HOT_SET](world, &span, order->iters);
		return now_ns() - from;
	}
	for (uint64_t left = order->iters; left;) {
		size_t most = what == MERGE ? CHUNK / 2 : CHUNK, n = left < most ? left : most;

		ns += stretch(me->peer, what, n);
		left -= n;
	}
	return ns;
}

/* ---- in the parent */

static struct member hmmu[NR_VARIANTS], members[NR_SIDES];

static void one_row(const char *group, const char *name, enum what what, enum variant variant)
{
	static const char *const variants[NR_VARIANTS] = {"", "; hooks", "; default options"};
	struct child *children[NR_SIDES + 1] = {NULL};
	struct row *row;

	if (!wanted(group, name) || !hmmu[variant].there)
		return;
	row = row_new(group, "%s%s", name, variants[variant]);
	row->variant = variant;
	row->threads = what == UNMAP_HIT ? 2 : 1;
	children[SIDE_HMMU] = &hmmu[variant].child;
	for (int side = SIDE_HMMU + 1; side < NR_SIDES; side++)
		if (members[side].there &&
		    (members[side].peer->merges || (what != MERGE && what != EVICT)))
			children[side] = &members[side].child;
	row_measure(row, children, (int)what, 0);
}

static void spawn(void)
{
	for (int v = 0; v < NR_VARIANTS; v++) {
		hmmu[v] = (struct member){.peer = &peer_hmmu, .variant = (enum variant)v};
		member_spawn(&hmmu[v], setup, obey);
	}
	for (int side = SIDE_HMMU + 1; side < NR_SIDES; side++) {
		members[side] = (struct member){.peer = peers[side]};
		member_spawn(&members[side], setup, obey);
	}
}

static void end(void)
{
	for (int side = NR_SIDES - 1; side > SIDE_HMMU; side--)
		member_end(&members[side]);
	for (int v = NR_VARIANTS - 1; v >= 0; v--)
		member_end(&hmmu[v]);
}

void peers_miss(void)
{
	static const char group[] = "miss, registration does nothing";

	if (!wanted(group, ""))
		return;
	spawn();
	one_row(group, "new, one mapping", NEW, BEST);
	one_row(group, "new, one mapping", NEW, HOOKS);
	one_row(group, "new, one mapping", NEW, POPULATES);
	one_row(group, "new, a mapping each", NEW_APART, BEST);
	one_row(group, "new, a mapping each", NEW_APART, HOOKS);
	one_row(group, "just invalidated", AGAIN, BEST);
	one_row(group, "just invalidated", AGAIN, HOOKS);
	end();
}

void peers_merge(void)
{
	static const char group[] = "merge and evict, registration does nothing";

	if (!wanted(group, ""))
		return;
	spawn();
	one_row(group, "two and the page between", MERGE, BEST);
	one_row(group, "two and the page between", MERGE, HOOKS);
	one_row(group, "new, at the limit", EVICT, BEST);
	one_row(group, "new, at the limit", EVICT, HOOKS);
	end();
}

void peers_unmap(void)
{
	static const char group[] = "invalidation + munmap of a region";

	if (!wanted(group, ""))
		return;
	spawn();
	one_row(group, "alone", UNMAP, BEST);
	one_row(group, "alone", UNMAP, HOOKS);
	if (cpus() < 2) {
		table_note("while another thread hits: n/a, needs two CPUs");
	} else {
		one_row(group, "another hits", UNMAP_HIT, BEST);
		one_row(group, "another hits", UNMAP_HIT, HOOKS);
	}
	end();
}
