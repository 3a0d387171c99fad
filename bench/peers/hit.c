// SPDX-License-Identifier: MIT
/*
 * hit.c - get + put of what is registered already, raw: by number of regions, by the order
 * in which they are asked for, by one thread and by two.
 *
 * Two threads: on the two halves of the regions, on all of them both, or both on a single
 * one. Beside them one thread of hmmu's does the same alone, in the same rounds.
 */
#include <stdlib.h>
#include <sys/mman.h>

#include "peers.h"

enum { ONE, FEW, THOUSAND, MORE, MANY, SIZES };

static size_t size_of(int which)
{
	static const size_t sizes[] = {1, 64, 1024, 16384};

	return which == MANY ? many() : sizes[which];
}

size_t many(void)
{
	return options.many;
}

/* What a child is asked for: a number. */
struct request {
	int size;
	enum pattern pattern;
	int threads;
	bool shared;
};

static int pack(struct request r)
{
	return r.size | (int)r.pattern << 4 | r.threads << 8 | (int)r.shared << 12;
}

static struct request unpack(int operation)
{
	return (struct request){.size = operation & 15,
				.pattern = (enum pattern)(operation >> 4 & 15),
				.threads = operation >> 8 & 15,
				.shared = operation >> 12};
}

/* ---- in the child */

static struct world *worlds[SIZES];

static int setup(const void *arg)
{
	const struct member *me = arg;
	int err = me->peer->open(me->variant);

	return err ? err : crew_open();
}

static unsigned long base_of(int size)
{
	return BASE + (unsigned long)size * WINDOW;
}

/* Never touched: a page of it has no memory. Registered in random order. */
static struct world *world_of(const struct peer *peer, int size)
{
	unsigned long base = base_of(size);
	size_t n = size_of(size);
	void *got;

	if (worlds[size])
		return worlds[size];
	got = mmap((void *)base, n * STRIDE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	if (got != (void *)base) {
		perror("hmmu-peers: mmap");
		exit(1);
	}
	worlds[size] = peer->make(0);
	/* 7919 is prime and no factor of any n. */
	for (size_t i = 0; i < n; i++)
		peer->walk(worlds[size], base + i * 7919 % n * STRIDE, 1);
	return worlds[size];
}

struct work {
	loop_fn *loop;
	struct world *world;
	struct span span[2];
	uint64_t iters;
};

static void work_one(void *arg, int thread)
{
	struct work *work = arg;

	work->loop(work->world, &work->span[thread], work->iters);
}

static double obey(const void *arg, const struct order *order)
{
	const struct member *me = arg;
	struct request r = unpack(order->operation);
	size_t n = size_of(r.size), half = n / 2;
	static uint64_t seed;
	struct work work = {
		.loop = me->peer->hit[r.pattern],
		.world = world_of(me->peer, r.size),
		.iters = order->iters,
	};

	for (int i = 0; i < 2; i++)
		work.span[i] = (struct span){base_of(r.size), n, ++seed << 32};
	if (r.threads == 2 && !r.shared) {
		work.span[0].n = work.span[1].n = half;
		work.span[1].base += half * STRIDE;
	}
	return crew_run(work_one, &work, r.threads);
}

/* ---- in the parent */

static struct member members[NR_SIDES];

static const char *pattern_name(enum pattern pattern)
{
	static const char *const names[NR_PATTERNS] = {"hot set", "random", "dependent",
						       "random, handle read"};

	return names[pattern];
}

static const char *size_name(size_t n)
{
	static char text[32];

	if (n < 1000)
		snprintf(text, sizeof(text), "%zu", n);
	else if (n < 1000000)
		snprintf(text, sizeof(text), "%zu,%03zu", n / 1000, n % 1000);
	else
		snprintf(text, sizeof(text), "%zu,%03zu,%03zu", n / 1000000, n / 1000 % 1000,
			 n % 1000);
	return text;
}

static bool wanted_row(const char *group, int size, enum pattern pattern)
{
	return wanted(group, pattern_name(pattern)) || wanted(group, size_name(size_of(size)));
}

static void one_row(const char *group, struct request r)
{
	struct request alone = {.size = r.size, .pattern = r.pattern, .threads = 1};
	struct child *children[NR_SIDES + 1] = {NULL};
	struct row *row;

	if (!wanted_row(group, r.size, r.pattern))
		return;
	row = row_new(group, "%9s %s", size_name(size_of(r.size)), pattern_name(r.pattern));
	row->regions = size_of(r.size);
	row->pattern = r.pattern;
	row->threads = r.threads;
	row->shared = r.shared;
	for (int side = 0; side < NR_SIDES; side++)
		children[side] = members[side].there ? &members[side].child : NULL;
	if (r.threads == 2)
		children[SIDE_ALONE] = children[SIDE_HMMU];
	row_measure(row, children, pack(r), pack(alone));
}

static void rows_of(const char *group, int threads, bool shared)
{
	for (int size = 0; size < SIZES; size++) {
		for (int p = 0; p < NR_PATTERNS; p++) {
			/* One region: there is no order. Two halves of one: neither. */
			if (size == ONE && p != HOT_SET && p != DEPENDENT)
				continue;
			if (size == ONE && threads == 2 && (!shared || p != HOT_SET))
				continue;
			if (p == HANDLE && (threads == 2 || (size != THOUSAND && size != MANY)))
				continue;
			one_row(group,
				(struct request){size, (enum pattern)p, threads, shared});
		}
	}
}

/* What the loops take by themselves. */
static void floors(void)
{
	struct member member = {.peer = &peer_floor};
	struct stat time[3], ratio[3];
	struct job jobs[3];
	struct batch batches[3];
	struct batch *sides[3];

	if (member_spawn(&member, setup, obey))
		return;
	for (int i = 0; i < 3; i++) {
		struct request r = {.size = THOUSAND, .pattern = (enum pattern)i, .threads = 1};

		jobs[i] = (struct job){&member.child, pack(r)};
		batches[i] = (struct batch){.time = child_time, .arg = &jobs[i]};
		sides[i] = &batches[i];
	}
	measure_sides(sides, 3, time, ratio);
	table_note("the loops with one empty call: hot set %.2f, random %.2f, dependent %.2f; "
		   "not subtracted",
		   time[0].median, time[1].median, time[2].median);
	member_end(&member);
}

void peers_hit(void)
{
	bool any = false;

	for (int i = 0; i < SIZES * NR_PATTERNS; i++)
		any = any || wanted_row("hit, 1 thread, 2 threads, each on its own half, both "
					"on all of them",
					i / NR_PATTERNS, (enum pattern)(i % NR_PATTERNS));
	if (!any)
		return;
	floors();
	for (int side = 0; side < NR_SIDES; side++) {
		members[side] = (struct member){.peer = peers[side], .variant = BEST};
		member_spawn(&members[side], setup, obey);
	}
	rows_of("hit, 1 thread", 1, false);
	if (cpus() < 2) {
		table_note("two threads: n/a, needs two CPUs");
	} else {
		rows_of("hit, 2 threads, each on its own half", 2, false);
		rows_of("hit, 2 threads, both on all of them", 2, true);
	}
	for (int side = NR_SIDES - 1; side >= 0; side--)
		member_end(&members[side]);
}
