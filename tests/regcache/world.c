// SPDX-License-Identifier: MIT
/* world.c - memory with identities, and every source. */
#include "world.h"

#include "planted.h"

#include <sys/mman.h>

#define ALIGN (2UL << 20)
#define RESERVE (4 * ALIGN)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

/* Where the kernel puts nothing by itself: a hole in the area stays one. (A sanitizer has
 * opinions of its own about that.) */
#define LONELY (API_SLOW > 1 ? NULL : (void *)0x100000000000UL)

enum source world_source;

static atomic_uint_fast64_t last_identity = 0x1000;

static const struct {
	const char *name;
	unsigned int sources, flags;
} source_table[SOURCES] = {
	[EXPLICIT] = {"explicit", HMMU_SOURCE_EXPLICIT, 0},
	[HOOKS] = {"hooks", HMMU_SOURCE_HOOKS, 0},
	[UFFD] = {"userfaultfd", HMMU_SOURCE_USERFAULTFD, 0},
	[BOTH] = {"both", HMMU_SOURCE_HOOKS | HMMU_SOURCE_USERFAULTFD, 0},
	[PROBE] = {"probe", HMMU_SOURCE_HOOKS | HMMU_SOURCE_USERFAULTFD, HMMU_MM_PROBE_ACCESS},
};

static int open_source(struct mm_struct **mm, unsigned int mm_flags)
{
	const struct hmmu_mm_options options = {
		.size = sizeof(options),
		.sources = source_table[world_source].sources,
		.flags = source_table[world_source].flags | mm_flags,
	};

	return quiet(hmmu_mm_open(mm, &options));
}

struct mm_struct *source_mm(unsigned int mm_flags)
{
	struct mm_struct *mm = NULL;

	must(open_source(&mm, mm_flags) == 0);
	must(mm != NULL);
	return mm;
}

void area_map(struct world *w, size_t pages)
{
	size_t length = (pages * PAGE + ALIGN - 1) / ALIGN * ALIGN;

	w->reserved_length = length + RESERVE;
	w->reserved = mmap(LONELY, w->reserved_length, PROT_NONE, ANON | MAP_NORESERVE, -1, 0);
	must(w->reserved != MAP_FAILED);
	w->area = (char *)(((unsigned long)w->reserved + 2 * ALIGN - 1) / ALIGN * ALIGN);
	w->pages = pages;
	world_fresh(w, 0, pages, RW);
}

void area_unmap(struct world *w)
{
	must(munmap(w->reserved, w->reserved_length) == 0);
}

void world_open_mm(struct world *w, size_t pages, const struct hmmu_regcache_options *options,
		   unsigned int mm_flags)
{
	struct hmmu_regcache_options mine = HMMU_REGCACHE_DEFAULTS;

	memset(w, 0, sizeof(*w));
	w->mm = source_mm(mm_flags);
	area_map(w, pages);
	device_init(&w->dev);
	if (options)
		mine = *options;
	mine.mm = w->mm;
	w->splits = mine.split != 0;
	w->dev.checks = (mine.flags & HMMU_REGCACHE_REG_CHECKS) != 0;
	must(quiet(hmmu_regcache_create(&w->cache, &device_ops, &w->dev, &mine)) == 0);
}

void world_open(struct world *w, size_t pages, const struct hmmu_regcache_options *options)
{
	world_open_mm(w, pages, options, 0);
}

void world_close(struct world *w)
{
	check_idle(w);
	must(quiet(hmmu_regcache_destroy(w->cache)) == 0);
	must(w->dev.live == 0);
	device_fini(&w->dev);
	must(quiet(hmmu_mm_close(w->mm)) == 0);
	area_unmap(w);
}

void change_begin(struct world *w, struct change *c, size_t page, size_t n)
{
	c->open = world_source == EXPLICIT;
	if (c->open)
		range_open(&c->range, w->mm, at(w, page), at(w, page + n));
}

void change_end(struct world *w, struct change *c)
{
	if (c->open)
		range_close(&c->range);
	c->open = false;
}

void world_fresh(struct world *w, size_t page, size_t n, int prot)
{
	char *aside = mmap(NULL, n * PAGE, RW, ANON, -1, 0);
	size_t i;

	must(aside != MAP_FAILED);
	for (i = 0; i < n; i++)
		*(uint64_t *)(aside + i * PAGE) = atomic_fetch_add(&last_identity, 1);
	if (prot != RW)
		must(mprotect(aside, n * PAGE, prot) == 0);
	must(mremap(aside, n * PAGE, n * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
		    (void *)at(w, page)) == (void *)at(w, page));
}

void world_remap_prot(struct world *w, size_t page, size_t n, int prot)
{
	struct change c;

	change_begin(w, &c, page, n);
	world_fresh(w, page, n, prot);
	change_end(w, &c);
}

void world_remap(struct world *w, size_t page, size_t n)
{
	world_remap_prot(w, page, n, RW);
}

/* Nothing else is mapped into the hole: see LONELY. */
void world_unmap(struct world *w, size_t page, size_t n)
{
	struct change c;

	change_begin(w, &c, page, n);
	must(munmap((void *)at(w, page), n * PAGE) == 0);
	change_end(w, &c);
}

void world_mprotect(struct world *w, size_t page, size_t n, int prot)
{
	struct change c;

	change_begin(w, &c, page, n);
	must(mprotect((void *)at(w, page), n * PAGE, prot) == 0);
	change_end(w, &c);
}

int try_get(struct world *w, size_t page, size_t n, unsigned int prot,
	    struct hmmu_region_ref *ref)
{
	int err = quiet(hmmu_regcache_get(w->cache, (void *)at(w, page), n * PAGE, prot, ref));

	if (!err)
		atomic_fetch_add(&record_of(ref)->used, 1);
	return err;
}

int get_now(struct world *w, size_t page, size_t n, unsigned int prot,
	    struct hmmu_region_ref *ref)
{
	int err = quiet(
		hmmu_regcache_get_nonblock(w->cache, (void *)at(w, page), n * PAGE, prot, ref));

	if (!err)
		atomic_fetch_add(&record_of(ref)->used, 1);
	return err;
}

/* All but the identities: for when others change the memory. */
static void check_covers(struct world *w, size_t page, size_t n, unsigned int prot,
			 const struct hmmu_region_ref *ref)
{
	const struct hmmu_region *region = ref->region;
	const struct record *record = record_of(ref);

	must(region->start <= at(w, page) && at(w, page + n) <= region->end);
	must((region->prot & prot) == prot);
	must(record->live);
	if (w->splits)
		must(record->start <= region->start && region->end <= record->end);
	else
		must(record->start == region->start && record->end == region->end);
	must(record->prot == region->prot);
}

void check_ref(struct world *w, size_t page, size_t n, unsigned int prot,
	       const struct hmmu_region_ref *ref)
{
	check_covers(w, page, n, prot, ref);
	must(record_current_at(record_of(ref), ref->region->start, ref->region->end));
}

void get(struct world *w, size_t page, size_t n, unsigned int prot, struct hmmu_region_ref *ref)
{
	must(try_get(w, page, n, prot, ref) == 0);
	check_ref(w, page, n, prot, ref);
	if (!(ref->region->flags & HMMU_REGION_ONCE))
		must(valid(w, ref));
}

void get_racing(struct world *w, size_t page, size_t n, unsigned int prot,
		struct hmmu_region_ref *ref)
{
	must(try_get(w, page, n, prot, ref) == 0);
	check_covers(w, page, n, prot, ref);
}

void put(struct world *w, struct hmmu_region_ref *ref)
{
	must(record_of(ref)->live);
	atomic_fetch_sub(&record_of(ref)->used, 1);
	quiet_void(hmmu_regcache_put(w->cache, ref));
	must(ref->region == NULL);
}

bool valid(struct world *w, const struct hmmu_region_ref *ref)
{
	return quiet(hmmu_regcache_valid(w->cache, ref));
}

void get_put(struct world *w, size_t page, size_t n, unsigned int prot)
{
	struct hmmu_region_ref ref;

	get(w, page, n, prot, &ref);
	put(w, &ref);
}

struct hmmu_regcache_stats stats_of(struct world *w)
{
	struct hmmu_regcache_stats stats;

	memset(&stats, 0xa5, sizeof(stats));
	quiet_void(hmmu_regcache_stat(w->cache, &stats));
	return stats;
}

void world_reap(struct world *w, long live)
{
	quiet(hmmu_reclaim(w->mm)); /* some worlds have no reclaimer of their own */
	device_wait_live(&w->dev, live);
}

struct sum {
	uint64_t regions, bytes;
	unsigned long last;
};

static int add_up(void *arg, const struct hmmu_region *region, const char *text)
{
	struct sum *sum = arg;
	const struct record *record = region->handle;
	char expected[64];

	/* by address, and no byte twice */
	must(region->start >= sum->last && region->end > region->start);
	snprintf(expected, sizeof(expected), "%lu pages", (record->end - record->start) / PAGE);
	must(strcmp(text, expected) == 0);
	must(record->live);
	sum->last = region->end;
	sum->regions++;
	sum->bytes += region->end - region->start;
	return 0;
}

void check_idle(struct world *w)
{
	struct hmmu_regcache_stats stats;
	struct sum sum = {0};

	for (;;) {
		quiet(hmmu_reclaim(w->mm));
		stats = stats_of(w);
		/* each number is right, but not of one moment; the guard ends it */
		if (!stats.dying && (long)stats.regions == device_live(&w->dev) &&
		    stats.regs == stats.deregs + stats.dereg_failed + stats.regions)
			break;
		usleep(200);
	}
	must(stats.regs == (uint64_t)w->dev.regs);
	must(stats.deregs == (uint64_t)w->dev.deregs);
	must(stats.dereg_failed == (uint64_t)w->dev.dereg_fails);
	must(stats.locked == w->dev.live_bytes);
	must(w->splits ? stats.bytes <= stats.locked : stats.bytes == stats.locked);
	must(quiet(hmmu_regcache_walk(w->cache, add_up, &sum)) == 0);
	must(w->splits ? sum.regions >= stats.regions : sum.regions == stats.regions);
	must(sum.bytes == stats.bytes);
}

static const struct world_case *running;

static void run_case(void **state)
{
	world_source = (enum source)(uintptr_t)*state % SOURCES;
	running[(uintptr_t)*state / SOURCES].fn();
}

static bool chosen(const char *name, int argc, char **argv)
{
	int i;

	for (i = 1; i < argc; i++)
		if (strstr(name, argv[i]))
			return true;
	return argc < 2;
}

static bool works(enum source source)
{
	struct mm_struct *mm;
	int err;

	world_source = source;
	err = open_source(&mm, 0);
	if (err == -EOPNOTSUPP)
		return false;
	must(err == 0);
	close_mm(mm);
	return true;
}

static int run_all(const char *group, const struct world_case *cases, size_t n, int argc,
		   char **argv)
{
	struct CMUnitTest tests[256];
	static char names[256][96];
	size_t count = 0, i;
	unsigned int s;

	memset(tests, 0, sizeof(tests));
	for (s = 0; s < SOURCES; s++) {
		if (!works(s)) {
			fprintf(stderr, "%s: does not work here\n", source_table[s].name);
			continue;
		}
		for (i = 0; i < n && count < 256; i++) {
			snprintf(names[count], sizeof(names[count]), "%s:%s", cases[i].name,
				 source_table[s].name);
			if (!(cases[i].sources & (1u << s)) ||
			    !chosen(names[count], argc, argv))
				continue;
			tests[count].name = names[count];
			tests[count].test_func = run_case;
			tests[count++].initial_state = (void *)(uintptr_t)(i * SOURCES + s);
		}
	}
	must(count > 0);
	return _cmocka_run_group_tests(group, tests, count, NULL, NULL);
}

static size_t running_nr;

static int run_named(const char *name)
{
	char *argv[] = {NULL, (char *)name, NULL};

	return run_all("planted", running, running_nr, 2, argv);
}

int world_main(const char *group, const struct world_case *cases, size_t n, int argc,
	       char **argv)
{
	running = cases;
	running_nr = n;
	if (planted_asked(argc, argv))
		return planted_main(argc, argv, run_named);
	return run_all(group, cases, n, argc, argv);
}
