// SPDX-License-Identifier: MIT
/*
 * test_storm.c - several threads get, put (also what others got), ask and change, from seeds,
 * under limits that make them evict each other's.
 *
 * What is stale is decided without a lock: identities grow, and a plot's is published after
 * its change has returned. So: published before the get began <= what the region reached; and
 * published before valid() was asked <= what it reached, if the answer was true.
 */
#include "world.h"

#define PLOTS 12
#define PLOT 3 /* pages */
#define THREADS 4
#define BOXES 16

struct plot {
	pthread_mutex_t lock; /* one change at a time */
	atomic_uint_fast64_t published;
};

struct storm {
	struct world w;
	struct plot plot[PLOTS];
	_Atomic(struct hmmu_region_ref *) box[BOXES]; /* held; anybody may take it out */
	atomic_long gets, once;
};

struct hand {
	struct storm *s;
	uint64_t random;
	long steps;
};

/* The newest identity of those that the region reached in this plot */
static uint64_t reached(const struct record *r, unsigned long addr)
{
	return r->ids[(addr - r->start) / PAGE];
}

static void change_plot(struct storm *s, size_t i)
{
	struct plot *plot = &s->plot[i];
	uint64_t id = 0;

	pthread_mutex_lock(&plot->lock);
	world_remap(&s->w, i * PLOT, PLOT);
	must(identities(at(&s->w, i * PLOT), at(&s->w, i * PLOT + 1), &id) == 0);
	atomic_store(&plot->published, id);
	pthread_mutex_unlock(&plot->lock);
}

static void check_valid(struct storm *s, const struct hmmu_region_ref *ref)
{
	const struct record *r = record_of(ref);
	uint64_t before[PLOTS];
	size_t i;

	must(r->live);
	for (i = 0; i < PLOTS; i++)
		before[i] = atomic_load(&s->plot[i].published);
	if (!valid(&s->w, ref))
		return;
	for (i = 0; i < PLOTS; i++)
		if (ref->region->start <= at(&s->w, i * PLOT) &&
		    at(&s->w, i * PLOT) < ref->region->end)
			must(reached(r, at(&s->w, i * PLOT)) >= before[i]);
}

static void put_ref(struct storm *s, struct hmmu_region_ref *ref)
{
	if (!ref)
		return;
	check_valid(s, ref);
	put(&s->w, ref);
	free(ref);
}

/* One, or from there as far as a few go. */
static void get_plots(struct storm *s, size_t i, uint64_t random)
{
	struct hmmu_region_ref *ref = malloc(sizeof(*ref));
	size_t n = s->w.splits ? 1 + random / 1024 % (PLOTS - i) : 1, k;
	uint64_t before[PLOTS];
	int err;

	must(ref != NULL);
	for (k = 0; k < n; k++)
		before[k] = atomic_load(&s->plot[i + k].published);
	if (random % 4 == 0)
		err = get_now(&s->w, i * PLOT, n * PLOT, RW, ref);
	else
		err = try_get(&s->w, i * PLOT, n * PLOT, RW, ref);
	if (err) {
		must(random % 4 == 0 && err == -EAGAIN);
		free(ref);
		return;
	}
	must(record_of(ref)->live);
	for (k = 0; k < n; k++)
		must(reached(record_of(ref), at(&s->w, (i + k) * PLOT)) >= before[k]);
	atomic_fetch_add(&s->gets, 1);
	if (ref->region->flags & HMMU_REGION_ONCE)
		atomic_fetch_add(&s->once, 1);
	put_ref(s, atomic_exchange(&s->box[random / 8 % BOXES], ref));
}

static void storm_step(struct hand *h)
{
	struct storm *s = h->s;
	uint64_t random = api_random(&h->random);
	size_t i = random % PLOTS;

	random >>= 8;
	switch (random % 16) {
	case 0:
	case 1:
		change_plot(s, i);
		break;
	case 2:
		quiet(hmmu_regcache_drop(s->w.cache, (void *)at(&s->w, i * PLOT), PAGE));
		break;
	case 3:
		quiet(hmmu_regcache_shrink(s->w.cache, random / 16 % 8 * PAGE));
		break;
	case 4:
	case 5:
		put_ref(s, atomic_exchange(&s->box[random / 16 % BOXES], NULL));
		break;
	case 6:
		stats_of(&s->w);
		break;
	default:
		get_plots(s, i, random / 16);
		break;
	}
}

static void be_a_hand(void *arg)
{
	struct hand *h = arg;
	long i;

	for (i = 0; i < h->steps; i++)
		storm_step(h);
}

static void storm_with(const struct hmmu_regcache_options *o, long steps)
{
	static struct storm s;
	struct runner run[THREADS];
	struct hand hand[THREADS];
	int i;

	memset(&s, 0, sizeof(s));
	world_open(&s.w, PLOTS * PLOT, o);
	for (i = 0; i < PLOTS; i++) {
		pthread_mutex_init(&s.plot[i].lock, NULL);
		change_plot(&s, (size_t)i);
	}
	for (i = 0; i < THREADS; i++) {
		hand[i] = (struct hand){&s, 77 + (uint64_t)i, steps / API_SLOW};
		runner_start(&run[i], be_a_hand, &hand[i]);
	}
	for (i = 0; i < THREADS; i++)
		runner_join(&run[i]);
	for (i = 0; i < BOXES; i++)
		put_ref(&s, atomic_load(&s.box[i]));
	must(atomic_load(&s.gets) > THREADS * steps / API_SLOW / 4);
	must(stats_of(&s.w).once == (uint64_t)atomic_load(&s.once));
	for (i = 0; i < PLOTS; i++)
		get_put(&s.w, (size_t)i * PLOT, PLOT, RW);
	world_close(&s.w);
}

static long steps_here(void)
{
	const char *steps = getenv("HMMU_STEPS");

	if (steps)
		return atol(steps);
	return world_source == EXPLICIT || world_source == HOOKS ? 20000 : 5000;
}

static void merging(void)
{
	struct hmmu_regcache_options o = HMMU_REGCACHE_DEFAULTS;

	storm_with(&o, steps_here());
}

static void apart_and_limited(void)
{
	struct hmmu_regcache_options o = HMMU_REGCACHE_DEFAULTS;

	o.flags = HMMU_REGCACHE_NO_MERGE;
	o.max_regions = 5;
	storm_with(&o, steps_here());
}

/* Plots that are found in parts of two pages: over a border, over several, whole. */
static void in_parts(void)
{
	struct hmmu_regcache_options o = HMMU_REGCACHE_DEFAULTS;

	o.split = 2 * PAGE;
	o.max_regions = 4;
	storm_with(&o, steps_here());
}

static const struct world_case cases[] = {
	CASE(merging, EVERY),
	CASE(apart_and_limited, EVERY),
	CASE(in_parts, EVERY),
};

int main(int argc, char **argv)
{
	api_guard(100);
	return world_main("regcache-storm", cases, sizeof(cases) / sizeof(cases[0]), argc,
			  argv);
}
