// SPDX-License-Identifier: MIT
/*
 * mirror.c - hmmu_mirror_dirty() beside a bare PAGEMAP_SCAN that reports and marks the same
 * pages; a device's look-up, read and write. Between two scans one page in a hundred is
 * written, which is not timed.
 */
#include "bench.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <hmmu/mirror.h>

#include "source/userfaultfd/abi.h"

#define PAGE 4096ul
#define REGIONS 256

static struct hmmu_mirror *mirror;
static unsigned char *at;
static size_t bytes;
static unsigned long told;
static int pagemap;

static void die(const char *what)
{
	fprintf(stderr, "hmmu-bench: mirror: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int tell(void *arg, unsigned long start, unsigned long npages)
{
	(void)arg;
	(void)start;
	told += npages;
	return 0;
}

static void run_dirty(void *arg, uint64_t iters)
{
	(void)arg;
	while (iters--) {
		errno = -hmmu_mirror_dirty(mirror, (unsigned long)at, bytes, tell, NULL, NULL);
		if (errno)
			die("dirty");
	}
}

static void run_scan(void *arg, uint64_t iters)
{
	static struct hmmu_pm_region region[REGIONS];

	(void)arg;
	while (iters--) {
		struct hmmu_pm_scan scan = {
			.size = sizeof(scan),
			.flags = HMMU_PM_WP_MATCHING | HMMU_PM_CHECK_WPASYNC,
			.start = (uint64_t)at,
			.end = (uint64_t)at + bytes,
			.vec = (uint64_t)region,
			.vec_len = REGIONS,
			.category_mask = HMMU_PM_WRITTEN,
			.return_mask = HMMU_PM_WRITTEN,
		};

		for (; scan.start < scan.end; scan.start = scan.walk_end) {
			int n = ioctl(pagemap, HMMU_PAGEMAP_SCAN, &scan);

			if (n < 0)
				die("PAGEMAP_SCAN");
			for (int i = 0; i < n; i++)
				told += (region[i].end - region[i].start) / PAGE;
		}
	}
}

static double time_one_in_hundred(struct batch *batch, uint64_t iters)
{
	double ns = 0, from;

	while (iters--) {
		for (size_t i = 0; i < bytes / PAGE / 100; i++)
			at[(size_t)rand() % (bytes / PAGE) * PAGE]++;
		from = now_ns();
		batch->run(batch->arg, 1);
		ns += now_ns() - from;
	}
	return ns;
}

static void dirty_row(const char *name, bool writes)
{
	struct batch a = {.run = run_dirty}, b = {.run = run_scan};
	struct line line = line_of("mirror", "%s", name);

	if (!wanted("mirror", name))
		return;
	if (writes)
		a.time = b.time = time_one_in_hundred;
	line.base_name = "scan";
	if (writes)
		goal(&line, GOAL_NS, 5.0 * (double)(bytes / PAGE));
	measure_in(FEW_ROUNDS, &line, &a, &b);
	snprintf(line.note, sizeof(line.note), "beside one bare PAGEMAP_SCAN; %.2f ns a page",
		 line.hmmu.median / (double)(bytes / PAGE));
	report(&line);
}

/* ---- a device ---------------------------------------------------------------- */

static void run_lookup(void *arg, uint64_t iters)
{
	unsigned long pfn;

	(void)arg;
	while (iters--) {
		hmmu_mirror_lock(mirror);
		if (hmmu_mirror_lookup(mirror, (unsigned long)at, false, &pfn))
			die("lookup");
		hmmu_mirror_unlock(mirror);
	}
}

static char buffer[16 * PAGE];

static void run_read(void *arg, uint64_t iters)
{
	while (iters--)
		if (hmmu_mirror_read(mirror, (unsigned long)at, buffer, *(size_t *)arg, NULL) <
		    0)
			die("read");
}

static void run_write(void *arg, uint64_t iters)
{
	while (iters--)
		if (hmmu_mirror_write(mirror, (unsigned long)at, buffer, *(size_t *)arg, NULL) <
		    0)
			die("write");
}

static void device_row(const char *name, batch_fn *run, size_t size)
{
	struct batch a = {.run = run, .arg = &size};
	struct line line = line_of("mirror", "%s", name);

	if (!wanted("mirror", name))
		return;
	measure(&line, &a, NULL);
	report(&line);
}

static bool open_on(unsigned int sources, unsigned int flags, struct mm_struct **mm)
{
	struct hmmu_mm_options o = {.size = sizeof(o), .sources = sources};
	struct hmmu_mirror_options where = {.size = sizeof(where),
					    .start = (unsigned long)at,
					    .length = bytes,
					    .flags = flags};

	if (hmmu_mm_open(mm, &o))
		return false;
	errno = -hmmu_mirror_open(&mirror, *mm, NULL, NULL, &where);
	if (errno)
		die("open");
	errno = -hmmu_mirror_map(mirror, where.start, 16, HMMU_MIRROR_WRITE, NULL, NULL);
	if (errno)
		die("map");
	return true;
}

static void close_it(struct mm_struct *mm)
{
	hmmu_mirror_close(mirror);
	hmmu_mm_close(mm);
}

static void rows(void)
{
	struct mm_struct *mm;
	char name[64];

	if (open_on(HMMU_SOURCE_EXPLICIT, 0, &mm)) {
		device_row("lock, look up, unlock", run_lookup, 0);
		device_row("read of 8 bytes", run_read, 8);
		device_row("write of 8 bytes", run_write, 8);
		device_row("read of 64 KiB", run_read, 16 * PAGE);
		close_it(mm);
	}
	if (open_on(HMMU_SOURCE_USERFAULTFD, HMMU_MIRROR_DIRTY, &mm)) {
		memset(at, 1, bytes);
		snprintf(name, sizeof(name), "dirty pages of %s, 1 %% written",
			 options.quick ? "64 MiB" : "1 GiB");
		dirty_row(name, true);
		dirty_row("the same, nothing written", false);
		close_it(mm);
	}
}

void bench_mirror(void)
{
	FILE *file;

	if (options.only && !strstr("mirror dirty", options.only))
		return;
	bytes = options.quick ? 64ul << 20 : 1ul << 30;
	file = fopen("/proc/self/pagemap", "re");
	pagemap = file ? fileno(file) : -1;
	at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED || !file)
		die("mmap");
	madvise(at, bytes, MADV_NOHUGEPAGE);
	rows();
	munmap(at, bytes);
	fclose(file);
}
