// SPDX-License-Identifier: MIT
/* test_errors.c - bad input, bad memory, a device that fails: errno, nothing kept. */
#include "world.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define N 64

static int raw_get(struct world *w, const void *addr, size_t len, unsigned int prot)
{
	struct hmmu_region_ref ref = {NULL, NULL}, also;
	int err = quiet(hmmu_regcache_get(w->cache, addr, len, prot, &ref));
	int now = quiet(hmmu_regcache_get_nonblock(w->cache, addr, len, prot, &also));

	must(err != 0 && now == (err == -EINVAL ? -EINVAL : -EAGAIN));
	must(quiet(hmmu_regcache_get_until(w->cache, addr, len, prot, NULL, &also)) == err);
	return err;
}

static void nothing_kept(struct world *w)
{
	struct hmmu_regcache_stats stats = stats_of(w);

	must(w->dev.live == 0);
	must(stats.regions + stats.bytes + stats.dying + stats.locked + stats.hits == 0);
}

static void bad_arguments(void)
{
	struct hmmu_region_ref ref = {NULL, NULL};
	struct world w;
	unsigned int prot;

	world_open(&w, N, NULL);
	assert_int_equal(raw_get(&w, w.area, 0, RW), -EINVAL);
	assert_int_equal(raw_get(&w, w.area, -(size_t)w.area, RW) == -EINVAL ||
				 raw_get(&w, w.area, -(size_t)w.area, RW) == -EFAULT,
			 1);
	assert_int_equal(raw_get(&w, w.area, -(size_t)w.area + 1, RW), -EINVAL);
	assert_int_equal(raw_get(&w, w.area, SIZE_MAX, RW), -EINVAL);
	assert_int_equal(raw_get(&w, (void *)-1UL, 2, RW), -EINVAL);
	for (prot = 0; prot < 16; prot++)
		if (!prot || prot & ~(unsigned int)RW)
			assert_int_equal(raw_get(&w, w.area, PAGE, prot), -EINVAL);
	assert_int_equal(raw_get(&w, w.area, PAGE, -1U), -EINVAL);
	assert_int_equal(quiet(hmmu_regcache_get(NULL, w.area, PAGE, RW, &ref)), -EINVAL);
	assert_int_equal(quiet(hmmu_regcache_get(w.cache, w.area, PAGE, RW, NULL)), -EINVAL);
	assert_int_equal(quiet(hmmu_regcache_get_nonblock(NULL, w.area, PAGE, RW, &ref)),
			 -EINVAL);
	assert_int_equal(quiet(hmmu_regcache_get_nonblock(w.cache, w.area, PAGE, RW, NULL)),
			 -EINVAL);
	assert_int_equal(quiet(hmmu_regcache_get_until(NULL, w.area, PAGE, RW, NULL, &ref)),
			 -EINVAL);
	assert_int_equal(quiet(hmmu_regcache_destroy(NULL)), -EINVAL);
	assert_int_equal(quiet(hmmu_regcache_adopt(NULL, w.mm)), -EINVAL);
	assert_int_equal(quiet(hmmu_regcache_adopt(w.cache, NULL)), -EINVAL);
	assert_int_equal(quiet(hmmu_regcache_adopt(w.cache, w.mm)), -EBUSY);
	assert_int_equal(w.dev.calls, 0);
	nothing_kept(&w);
	world_close(&w);
}

static int create(const struct hmmu_regcache_ops *ops, const struct hmmu_regcache_options *o)
{
	struct hmmu_regcache *cache = NULL;
	int err = quiet(hmmu_regcache_create(&cache, ops, NULL, o));

	if (!err)
		must(cache && quiet(hmmu_regcache_destroy(cache)) == 0);
	return err;
}

#define create_with(change)              \
	({                               \
		o = defaults;            \
		change;                  \
		create(&device_ops, &o); \
	})

static void bad_options(void)
{
	struct mm_struct *mm = source_mm(0);
	struct hmmu_regcache_ops ops = device_ops;
	struct hmmu_regcache_options defaults = HMMU_REGCACHE_DEFAULTS, o;
	int i;

	defaults.mm = mm;
	assert_int_equal(create_with((void)0), 0);
	assert_int_equal(create_with(o.size = 0), -EINVAL);
	assert_int_equal(create_with(o.size++), -EINVAL);
	assert_int_equal(create_with(o.size -= 8), -EINVAL);
	assert_int_equal(create_with(o.alignment = 0), -EINVAL);
	assert_int_equal(create_with(o.alignment = 2048), -EINVAL);
	assert_int_equal(create_with(o.alignment = 4097), -EINVAL);
	assert_int_equal(create_with(o.alignment = 12288), -EINVAL);
	assert_int_equal(create_with(o.alignment = 1UL << 30), 0);
	assert_int_equal(create_with(o.max_regions = 0), -EINVAL);
	assert_int_equal(create_with(o.max_bytes = 0), -EINVAL);
	assert_int_equal(create_with(o.max_locked = 0), -EINVAL);
	assert_int_equal(create_with(o.max_merged = 0), -EINVAL);
	assert_int_equal(create_with(o.max_merged = 1), 0);
	assert_int_equal(create_with(o.flags = 3), 0);
	assert_int_equal(create_with(o.flags = 4), -EINVAL);
	assert_int_equal(create_with(o.flags = 1u << 31), -EINVAL);
	for (i = 0; i < 4; i++)
		assert_int_equal(create_with(o.reserved[i] = 1), -EINVAL);
	o = defaults;
	assert_int_equal(create(NULL, &o), -EINVAL);
	ops.reg = NULL;
	assert_int_equal(create(&ops, &o), -EINVAL);
	ops = device_ops;
	ops.dereg = NULL;
	assert_int_equal(create(&ops, &o), -EINVAL);
	ops = device_ops;
	ops.describe = NULL;
	ops.shrink = NULL;
	assert_int_equal(create(&ops, &o), 0);
	assert_int_equal(quiet(hmmu_regcache_create(NULL, &device_ops, NULL, &o)), -EINVAL);
	close_mm(mm);
}

/* ---- memory that is no memory ---- */

static unsigned long named_mapping(const char *name)
{
	unsigned long start = 0, from;
	char line[512];
	FILE *maps = fopen("/proc/self/maps", "r");

	must(maps != NULL);
	while (fgets(line, sizeof(line), maps))
		if (strstr(line, name) && sscanf(line, "%lx-", &from) == 1)
			start = from;
	fclose(maps);
	return start;
}

static void bad_memory_with(unsigned int flags)
{
	struct hmmu_regcache_options o = HMMU_REGCACHE_DEFAULTS;
	unsigned long vvar = named_mapping("[vvar]");
	struct world w;
	int fd;

	o.flags = flags;
	world_open(&w, N, &o);
	/* unmapped, partly mapped */
	world_unmap(&w, 8, 4);
	assert_int_equal(raw_get(&w, w.area + 8 * PAGE, PAGE, RW), -EFAULT);
	assert_int_equal(raw_get(&w, w.area + 7 * PAGE, 2 * PAGE, PROT_READ), -EFAULT);
	assert_int_equal(raw_get(&w, w.area + 11 * PAGE, 2 * PAGE, RW), -EFAULT);
	assert_int_equal(raw_get(&w, w.area + 4 * PAGE, 12 * PAGE, RW), -EFAULT);
	/* no protection, less protection */
	world_remap_prot(&w, 8, 2, PROT_NONE);
	world_remap_prot(&w, 10, 2, PROT_READ);
	assert_int_equal(raw_get(&w, w.area + 8 * PAGE, 1, PROT_READ), -EFAULT);
	assert_int_equal(raw_get(&w, w.area + 7 * PAGE, 2 * PAGE, PROT_READ), -EFAULT);
	assert_int_equal(raw_get(&w, w.area + 10 * PAGE, 1, PROT_WRITE), -EFAULT);
	assert_int_equal(raw_get(&w, w.area + 11 * PAGE, 2 * PAGE, RW), -EFAULT);
	/* the ends of the address space, and above it */
	assert_int_equal(raw_get(&w, NULL, PAGE, PROT_READ), -EFAULT);
	if (world_source == EXPLICIT || world_source == HOOKS)
		assert_int_equal(raw_get(&w, NULL, 1UL << 62, PROT_READ), -EFAULT);
	assert_int_equal(raw_get(&w, (void *)(1UL << 47), PAGE, PROT_READ), -EFAULT);
	assert_int_equal(raw_get(&w, (void *)((1UL << 47) - PAGE), PAGE, RW), -EFAULT);
	assert_int_equal(raw_get(&w, (void *)((1UL << 47) - PAGE), 2 * PAGE, RW), -EFAULT);
	assert_int_equal(raw_get(&w, (void *)(1UL << 56), PAGE, RW), -EFAULT);
	assert_int_equal(raw_get(&w, (void *)(1UL << 63), PAGE, RW), -EFAULT);
	assert_int_equal(raw_get(&w, (void *)(0UL - 2 * PAGE), PAGE, RW), -EFAULT);
	/* the kernel's own pages: of a device, as far as a registration is concerned */
	if (vvar)
		assert_int_equal(raw_get(&w, (void *)vvar, PAGE, PROT_READ), -EFAULT);
	/* behind the end of a file */
	fd = memfd_create("short", 0);
	assert_true(fd >= 0 && ftruncate(fd, 2 * PAGE) == 0);
	must(mmap(w.area + 20 * PAGE, 4 * PAGE, RW, MAP_SHARED | MAP_FIXED, fd, 0) ==
	     w.area + 20 * PAGE);
	assert_int_equal(raw_get(&w, w.area + 20 * PAGE, 3 * PAGE, RW), -EFAULT);
	assert_int_equal(raw_get(&w, w.area + 22 * PAGE, PAGE, PROT_READ), -EFAULT);
	nothing_kept(&w);
	get_put(&w, 20, 2, RW);
	get_put(&w, 10, 2, PROT_READ);
	get_put(&w, 0, 8, RW);
	close(fd);
	world_remap(&w, 0, N);
	world_close(&w);
}

static void bad_memory(void)
{
	bad_memory_with(0);
}

static void bad_memory_that_reg_sees(void)
{
	bad_memory_with(HMMU_REGCACHE_REG_CHECKS);
}

/* From the first byte on, the library's own pages included: nothing is lost by that. */
static void all_there_is(void)
{
	struct world w;

	world_open(&w, N, NULL);
	assert_int_equal(raw_get(&w, NULL, 1UL << 62, PROT_READ), -EFAULT);
	assert_int_equal(raw_get(&w, (void *)PAGE, (1UL << 47) - 2 * PAGE, PROT_READ), -EFAULT);
	nothing_kept(&w);
	world_close(&w);
}

/* The last page: it may be asked for, and cannot be there. */
static void last_page(void)
{
	struct world w;
	int err;

	world_open(&w, N, NULL);
	err = raw_get(&w, (void *)(0UL - PAGE), PAGE, PROT_READ);
	assert_true(err == -EFAULT || err == -EINVAL);
	err = raw_get(&w, (void *)(0UL - PAGE), PAGE - 1, PROT_READ);
	assert_true(err == -EFAULT || err == -EINVAL);
	err = raw_get(&w, (void *)-1UL, 1, PROT_READ);
	assert_true(err == -EFAULT || err == -EINVAL);
	nothing_kept(&w);
	world_close(&w);
}

/* Without a check of its own the device never sees what the kernel refuses. */
static void the_kernel_is_asked_first(void)
{
	struct hmmu_region_ref ref;
	struct world w;

	world_open(&w, N, NULL);
	w.dev.blind = true;
	world_unmap(&w, 4, 1);
	assert_int_equal(try_get(&w, 0, 8, RW, &ref), -EFAULT);
	assert_int_equal(w.dev.regs, 0);
	assert_int_equal(w.dev.calls, 0);
	world_remap(&w, 4, 1);
	world_close(&w);
}

static bool resident(struct world *w, size_t page)
{
	unsigned char vec = 0;

	must(mincore((void *)at(w, page), PAGE, &vec) == 0);
	return vec & 1;
}

static void pages_are_populated(void)
{
	struct hmmu_region_ref ref;
	struct change c;
	struct world w;

	world_open(&w, N, NULL);
	w.dev.blind = true;
	change_begin(&w, &c, 0, 4);
	must(madvise(w.area, 4 * PAGE, MADV_DONTNEED) == 0);
	change_end(&w, &c);
	must(!resident(&w, 1));
	must(try_get(&w, 0, 4, RW, &ref) == 0);
	must(resident(&w, 0) && resident(&w, 1) && resident(&w, 3));
	put(&w, &ref);
	world_close(&w);
}

static long faults(void)
{
	struct rusage usage;

	must(getrusage(RUSAGE_THREAD, &usage) == 0);
	return usage.ru_minflt;
}

/* Registered for reading: the zero page would be another one's at the first write. */
static void no_zero_page_is_registered(void)
{
	struct hmmu_region_ref ref;
	struct change c;
	struct world w;
	long before;

	world_open(&w, N, NULL);
	w.dev.blind = true;
	change_begin(&w, &c, 0, 4);
	must(madvise(w.area, 4 * PAGE, MADV_DONTNEED) == 0);
	change_end(&w, &c);
	must(try_get(&w, 0, 4, PROT_READ, &ref) == 0);
	/* Read first: AddressSanitizer's page about this one faults too. A zero page stays one.
	 */
	(void)*(volatile char *)at(&w, 2);
	before = faults();
	*(volatile char *)at(&w, 2) = 1;
	assert_int_equal(faults(), before);
	put(&w, &ref);
	world_close(&w);
}

/* ---- a device that fails ---- */

static const int errnos[] = {EFAULT,	ENODEV, EIO,	 EBUSY, EINVAL, ENOENT,
			     ETIMEDOUT, EEXIST, ENOBUFS, EINTR, 4095,	ENOTTY};

static void failing_registration(void)
{
	struct hmmu_region_ref ref;
	struct world w;
	size_t i;
	int n;

	world_open(&w, N, NULL);
	for (i = 0; i < sizeof(errnos) / sizeof(errnos[0]); i++) {
		for (n = 1; n < 5; n++) {
			int k;

			w.dev.fail_errno = -errnos[i];
			w.dev.fail_at = n;
			for (k = 1; k < n; k++)
				get_put(&w, (size_t)k * 4, 2, RW);
			assert_int_equal(try_get(&w, 40, 2, RW, &ref), -errnos[i]);
			assert_int_equal(get_now(&w, 40, 1, RW, &ref), -EAGAIN);
			assert_int_equal(stats_of(&w).regions, n - 1);
			get_put(&w, 40, 2, RW); /* it was not remembered */
			world_remap(&w, 0, N);
			world_reap(&w, 0);
		}
	}
	assert_int_equal(stats_of(&w).reg_failed, w.dev.fails);
	world_close(&w);
}

/* Also the one that is get's own word for "not now". */
static void failing_with_eagain(void)
{
	struct hmmu_region_ref ref;
	struct world w;

	world_open(&w, N, NULL);
	w.dev.fail_errno = -EAGAIN;
	w.dev.fail_at = 1;
	w.dev.fail_times = 2; /* for what was asked for is all that it is called */
	assert_int_equal(try_get(&w, 40, 2, RW, &ref), -EAGAIN);
	w.dev.fail_at = 0;
	get_put(&w, 40, 2, RW);
	world_close(&w);
}

/* The union fails, what was asked for is registered; both fail: nothing was lost. */
static void failing_merge(void)
{
	struct hmmu_region_ref ref;
	struct world w;

	world_open(&w, N, NULL);
	get_put(&w, 0, 4, RW);
	w.dev.fail_errno = -EIO;
	w.dev.fail_at = 1;
	get(&w, 4, 2, RW, &ref);
	assert_int_equal(ref.region->start, at(&w, 4));
	assert_int_equal(ref.region->end, at(&w, 6));
	put(&w, &ref);
	assert_int_equal(get_now(&w, 0, 4, RW, &ref), 0);
	put(&w, &ref);
	w.dev.fail_at = 1;
	w.dev.fail_times = 2;
	assert_int_equal(try_get(&w, 5, 3, RW, &ref), -EIO);
	assert_int_equal(get_now(&w, 0, 4, RW, &ref), 0);
	put(&w, &ref);
	get_put(&w, 0, 8, RW);
	world_close(&w);
}

/* The cache makes room, and asks again; with nothing to evict it is the answer. */
static void no_memory_in_the_device(void)
{
	struct hmmu_region_ref ref, held;
	struct world w;
	size_t i;

	world_open(&w, N, NULL);
	for (i = 0; i < 8; i++)
		get_put(&w, i * 4, 1, RW);
	get(&w, 4, 1, RW, &held);
	w.dev.fail_errno = -ENOMEM;
	w.dev.fail_at = 1;
	w.dev.fail_times = 2;
	get_put(&w, 40, 1, RW);
	assert_true(stats_of(&w).evicted >= 1);
	w.dev.fail_at = 1;
	w.dev.fail_times = 1000;
	assert_int_equal(try_get(&w, 50, 1, RW, &ref), -ENOMEM);
	w.dev.fail_at = 0;
	check_ref(&w, 4, 1, RW, &held); /* what is in use stays */
	assert_true(valid(&w, &held));
	get_put(&w, 50, 1, RW);
	put(&w, &held);
	world_close(&w);
}

static void failing_deregistration(void)
{
	struct world w;

	world_open(&w, N, NULL);
	get_put(&w, 0, 4, RW);
	get_put(&w, 10, 4, RW);
	w.dev.dereg_errno = -EIO;
	world_remap(&w, 0, 1);
	world_reap(&w, 1);
	w.dev.dereg_errno = 0;
	get_put(&w, 0, 4, RW);
	check_idle(&w);
	assert_int_equal(stats_of(&w).dereg_failed, 1);
	world_close(&w);
}

/* Whatever the device does to errno on the way */
static int spoil_errno(struct device *dev, struct hmmu_region *region)
{
	errno = ENOTTY;
	return 0;
}

static int spoil_errno_too(struct device *dev, struct record *record)
{
	errno = EPIPE;
	return 0;
}

static void errno_is_left_alone(void)
{
	struct world w;

	world_open(&w, N, NULL);
	w.dev.after = spoil_errno;
	w.dev.on_dereg = spoil_errno_too;
	get_put(&w, 0, 4, RW);
	get_put(&w, 3, 4, RW);
	assert_int_equal(quiet(hmmu_regcache_drop(w.cache, w.area, N * PAGE)), 1);
	quiet(hmmu_regcache_shrink(w.cache, HMMU_NO_LIMIT));
	get_put(&w, 3, 4, RW);
	quiet(hmmu_regcache_shrink(w.cache, HMMU_NO_LIMIT));
	world_close(&w);
}

static const struct world_case cases[] = {
	CASE(bad_arguments, ONLY(EXPLICIT) | ONLY(BOTH)),
	CASE(bad_options, ONLY(EXPLICIT) | ONLY(UFFD)),
	CASE(bad_memory, EVERY),
	CASE(bad_memory_that_reg_sees, EVERY),
	CASE(last_page, EVERY),
	CASE(the_kernel_is_asked_first, EVERY),
	CASE(pages_are_populated, EVERY),
	CASE(no_zero_page_is_registered, EVERY),
	CASE(failing_registration, EVERY),
	CASE(failing_with_eagain, EVERY),
	CASE(failing_merge, EVERY),
	CASE(no_memory_in_the_device, EVERY),
	CASE(failing_deregistration, EVERY),
	CASE(errno_is_left_alone, ONLY(EXPLICIT)),
	CASE(all_there_is, EVERY),
};

int main(int argc, char **argv)
{
	api_guard(60);
	return world_main("regcache-errors", cases, sizeof(cases) / sizeof(cases[0]), argc,
			  argv);
}
