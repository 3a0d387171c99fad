// SPDX-License-Identifier: MIT
/*
 * test_races.c - the two races for which other registration caches are known, as tests of
 * this library, with the window lengthened.
 *
 * THE END IS NOT TOLD (UCX 1.13: up to 0.5 % of remaps stale). The hook fires, the cache
 * drops its entry, and before the system call another thread looks the address up again:
 *
 *	remapper				reader
 *	hook: everybody is told
 *						looks X up, reads the old page,
 *						caches it
 *	munmap, mmap: a new page
 *						uses the old one		[stale]
 *
 * SUBSCRIBED AFTERWARDS (libfabric 1.17: up to 5.7 %). A remap between the registration and
 * the subscription is told to nobody:
 *
 *	reader					remapper
 *	registers X: reads the old page
 *						munmap, mmap: a new page
 *	subscribes, caches it
 *	uses the old one					[stale]
 *
 * Each is forced once, and repeated in a storm whose windows are held open by sleeping in
 * them. A storm with a bug planted (START_ONLY, NO_RETRY), or with a reader that subscribes
 * afterwards, must count stale uses, or it would prove nothing.
 */
#include "net.h"

#include <sys/syscall.h>
#include <sys/uio.h>

#include "plant.h"

#define GENERATIONS 400
#define WINDOW_US 200

static char *const place = (char *)0x200000000000UL;

/* ---- the window between start and the system call ------------------------ */

static sem_t inside, go_on;
static uint32_t hold_next; /* the next munmap of the page stops before the kernel */
static uint32_t lengthen;  /* every one of them sleeps there */

static long window(long nr, const long args[6])
{
	uint32_t one = 1;

	if (nr == SYS_munmap && args[0] == (long)place) {
		if (hmmu_cas_seqcst(&hold_next, &one, 0)) {
			sem_post(&inside);
			while (sem_wait(&go_on))
				;
		}
		if (hmmu_load_seqcst(&lengthen))
			usleep(WINDOW_US);
	}
	return hmmu_syscall6(nr, args[0], args[1], args[2], args[3], args[4], args[5]);
}

/* ---- remaps ------------------------------------------------------------- */

static uint32_t generation; /* of the page at place: even; odd: being remapped */
static bool by_raw_calls;

static void map_page(uint32_t gen)
{
	void *p = by_raw_calls ? raw_mmap(place, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0)
			       : mmap(place, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);

	must(p == place);
	*(volatile uint32_t *)place = gen;
}

static void remap(void)
{
	uint32_t gen = hmmu_add_seqcst(&generation, 1) + 1;

	must((by_raw_calls ? raw_munmap(place, PAGE) : munmap(place, PAGE)) == 0);
	map_page(gen + 1);
	hmmu_add_seqcst(&generation, 1);
}

static void remap_once(void *arg)
{
	(void)arg;
	remap();
}

static uint32_t remaps_over;

static void remap_many(void *arg)
{
	(void)arg;
	for (int i = 0; i < GENERATIONS; i++) {
		remap();
		usleep(WINDOW_US); /* for uses of what is there */
	}
	hmmu_store_seqcst(&remaps_over, 1);
}

/* The page as a device would see it now; 0: nothing is mapped. A copy by the kernel: there
 * may be no page at this moment. */
static uint32_t read_page(void)
{
	uint32_t value = 0;
	struct iovec to = {&value, sizeof(value)}, from = {place, sizeof(value)};

	if (hmmu_syscall6(SYS_process_vm_readv, getpid(), (long)&to, 1, (long)&from, 1, 0) !=
	    (long)sizeof(value))
		return 0;
	return value;
}

/* ---- a cache of one registration ----------------------------------------- */

struct cache {
	struct watch w;
	uint32_t pinned; /* the generation it holds; 0: none; the driver's lock */
	unsigned long seq;
};

/* hook of the subscription: runs in the callback, before it takes the lock */
static void drop(struct watch *w, const struct mmu_notifier_range *range)
{
	struct cache *c = (struct cache *)w;

	(void)range;
	pthread_mutex_lock(&w->lock);
	c->pinned = 0;
	pthread_mutex_unlock(&w->lock);
}

/* The reader's loop, its registration made long, until a page is there. False: given up. */
static bool fill(struct cache *c, unsigned int tries)
{
	while (tries--) {
		uint32_t value;
		unsigned long seq;
		bool good;

		if (hmmu_read_begin(&c->w.sub, &seq, NULL))
			continue; /* not mapped at this moment: not watched */
		value = read_page();
		usleep(WINDOW_US);
		pthread_mutex_lock(&c->w.lock);
		good = !mmu_interval_read_retry(&c->w.sub, seq);
		if (good) {
			c->pinned = value;
			c->seq = seq;
		}
		pthread_mutex_unlock(&c->w.lock);
		if (good && value)
			return true;
	}
	return false;
}

/* The generation that the cache would hand out; 0: none. */
static uint32_t look_up(struct cache *c)
{
	uint32_t pinned;

	pthread_mutex_lock(&c->w.lock);
	pinned = c->pinned && hmmu_access_ok(&c->w.sub, c->seq) ? c->pinned : 0;
	pthread_mutex_unlock(&c->w.lock);
	return pinned;
}

/* A use of the cache while no remap was under way: does it hold another generation? */
static bool stale(struct cache *c)
{
	uint32_t before = hmmu_load_seqcst(&generation), pinned = look_up(c);

	return before % 2 == 0 && pinned && hmmu_load_seqcst(&generation) == before &&
	       pinned != before;
}

static struct mm_struct *begin(struct cache *c, unsigned int sources)
{
	struct mm_struct *mm;

	memset(c, 0, sizeof(*c));
	by_raw_calls = !(sources & HMMU_SOURCE_HOOKS);
	generation = 2;
	remaps_over = 0;
	sem_init(&inside, 0, 0);
	sem_init(&go_on, 0, 0);
	map_page(2);
	mm = net_open(sources);
	hmmu_syscall_hook = window;
	return mm;
}

static void subscribe(struct cache *c, struct mm_struct *mm)
{
	watch_add(&c->w, mm, place, PAGE);
	c->w.hook = drop;
}

/* ---- the end is told ------------------------------------------------------ */

static void ucx_forced(unsigned int sources)
{
	struct cache c;
	struct mm_struct *mm = begin(&c, sources);
	struct runner r;

	subscribe(&c, mm);
	must(fill(&c, 100) && look_up(&c) == 2);
	hmmu_store_seqcst(&hold_next, 1);
	runner_start(&r, remap_once, NULL);
	while (sem_wait(&inside))
		;
	/* Everybody was told, the old page is there still: nobody may cache it again. */
	must(look_up(&c) == 0 && read_page() == 2);
	must(watch_poll(&c.w) == -ETIMEDOUT);
	sem_post(&go_on);
	must(fill(&c, 1000));
	runner_join(&r);
	must(!stale(&c));
	must(fill(&c, 100) && look_up(&c) == 4);
	watch_remove(&c.w);
	net_close(mm);
}

ISOLATED(ucx_lookup_between_event_and_call_hooks)
{
	ucx_forced(HMMU_SOURCE_HOOKS);
}

ISOLATED(ucx_lookup_between_event_and_call_both)
{
	ucx_forced(BOTH);
}

/* ---- subscribed first ------------------------------------------------------ */

static void libfabric_forced(unsigned int sources)
{
	struct cache c;
	struct mm_struct *mm = begin(&c, sources);
	unsigned long seq;
	uint32_t value;

	subscribe(&c, mm);
	seq = watch_begin(&c.w);
	value = read_page();
	remap(); /* inside the registration */
	must(value == 2 && watch_retry(&c.w, seq));
	must(fill(&c, 100) && look_up(&c) == 4);
	watch_remove(&c.w);
	net_close(mm);
}

ISOLATED(libfabric_remap_inside_registration_hooks)
{
	libfabric_forced(HMMU_SOURCE_HOOKS);
}

ISOLATED(libfabric_remap_inside_registration_both)
{
	libfabric_forced(BOTH);
}

ISOLATED(libfabric_remap_inside_registration_alone)
{
	libfabric_forced(ALONE);
}

/* What libfabric does, with this library: the test must see it. */
ISOLATED(libfabric_order_is_stale)
{
	struct cache c;
	struct mm_struct *mm = begin(&c, HMMU_SOURCE_HOOKS);
	uint32_t value = read_page();

	remap();
	subscribe(&c, mm);
	c.seq = watch_begin(&c.w);
	c.pinned = value;
	must(stale(&c));
	watch_remove(&c.w);
	net_close(mm);
}

/* ---- storms ----------------------------------------------------------------- */

static void slow_dispatch(enum hmmu_uffd_gate gate, uint64_t start, uint64_t end)
{
	(void)start;
	(void)end;
	if (gate == UFFD_GATE_READ || gate == UFFD_GATE_DISPATCH)
		usleep(WINDOW_US);
}

/* Uses that were stale, of all in the storm. */
static unsigned int storm(unsigned int sources, unsigned int *uses)
{
	struct cache c;
	struct mm_struct *mm = begin(&c, sources);
	unsigned int n = 0;
	struct runner r;

	hmmu_store_seqcst(&lengthen, 1);
	hmmu_uffd_gate = slow_dispatch;
	subscribe(&c, mm);
	*uses = 0;
	runner_start(&r, remap_many, NULL);
	while (!hmmu_load_seqcst(&remaps_over)) {
		if (!look_up(&c))
			fill(&c, 3);
		*uses += 1;
		n += stale(&c);
	}
	runner_join(&r);
	n += stale(&c);
	hmmu_store_seqcst(&lengthen, 0);
	hmmu_planted = HMMU_PLANT_NONE;
	watch_remove(&c.w);
	net_close(mm);
	return n;
}

static void clean(unsigned int sources)
{
	unsigned int uses, n = storm(sources, &uses);

	must(uses > GENERATIONS / 10);
	must(n == 0);
}

ISOLATED_FOR(storm_hooks, 60)
{
	clean(HMMU_SOURCE_HOOKS);
}

ISOLATED_FOR(storm_both, 60)
{
	clean(BOTH);
}

ISOLATED_FOR(storm_alone, 60)
{
	clean(ALONE);
}

static void found(enum hmmu_plant plant)
{
	unsigned int uses;

	hmmu_planted = plant;
	must(storm(HMMU_SOURCE_HOOKS, &uses) > 0);
}

ISOLATED_FOR(storm_finds_an_end_that_is_not_told, 60)
{
	found(HMMU_PLANT_START_ONLY);
}

ISOLATED_FOR(storm_finds_a_reader_without_retry, 60)
{
	found(HMMU_PLANT_NO_RETRY);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ucx_lookup_between_event_and_call_hooks),
		cmocka_unit_test(ucx_lookup_between_event_and_call_both),
		cmocka_unit_test(libfabric_remap_inside_registration_hooks),
		cmocka_unit_test(libfabric_remap_inside_registration_both),
		cmocka_unit_test(libfabric_remap_inside_registration_alone),
		cmocka_unit_test(libfabric_order_is_stale),
		cmocka_unit_test(storm_hooks),
		cmocka_unit_test(storm_both),
		cmocka_unit_test(storm_alone),
		cmocka_unit_test(storm_finds_an_end_that_is_not_told),
		cmocka_unit_test(storm_finds_a_reader_without_retry),
	};

	net_init(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
