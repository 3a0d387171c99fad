// SPDX-License-Identifier: MIT
/*
 * hmm.c - hmm_range_fault() beside the kernel calls that it is made of: a look at memory that
 * is there beside PAGEMAP_SCAN of the same categories, a fault beside MADV_POPULATE_WRITE.
 * Pages of 4 KiB but where it says huge. What must be undone between two is not timed.
 */
#include "bench.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <hmmu/hmm.h>

#include "source/userfaultfd/abi.h"

#define PAGE 4096ul
#define THP (2ul << 20)

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

static struct mm_struct *mm;
static struct mmu_interval_notifier sub;
static struct hmm_range range;
static struct hmmu_pm_region *regions;
static unsigned char *at;
static size_t bytes;
static int pagemap;

static void die(const char *what)
{
	fprintf(stderr, "hmmu-bench: hmm: %s: %s\n", what, strerror(errno));
	exit(1);
}

static bool invalidate(struct mmu_interval_notifier *s, const struct mmu_notifier_range *r,
		       unsigned long seq)
{
	(void)r;
	mmu_interval_set_seq(s, seq);
	return true;
}

static const struct mmu_interval_notifier_ops ops = {.invalidate = invalidate};

static void fault(size_t size, unsigned long want, unsigned int flags)
{
	range.end = range.start + size;
	range.default_flags = want;
	range.flags = flags;
	range.notifier_seq = mmu_interval_read_begin(&sub);
	errno = -hmm_range_fault(&range);
	if (errno)
		die("hmm_range_fault");
}

static void scan(size_t size)
{
	struct hmmu_pm_scan arg = {
		.size = sizeof(arg),
		.start = (uint64_t)at,
		.end = (uint64_t)at + size,
		.vec = (uint64_t)regions,
		.vec_len = bytes / PAGE,
		.category_anyof_mask = HMMU_PM_PRESENT | HMMU_PM_GUARD,
		.return_mask = HMMU_PM_PRESENT | HMMU_PM_FILE | HMMU_PM_PFNZERO | HMMU_PM_HUGE |
			       HMMU_PM_GUARD,
	};

	if (ioctl(pagemap, HMMU_PAGEMAP_SCAN, &arg) < 0)
		die("PAGEMAP_SCAN");
}

/* ---- what is timed ------------------------------------------------------------- */

static void run_snapshot(void *arg, uint64_t iters)
{
	while (iters--)
		fault(*(size_t *)arg, 0, 0);
}

static void run_present(void *arg, uint64_t iters)
{
	while (iters--)
		fault(*(size_t *)arg, HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE, 0);
}

static void run_scan(void *arg, uint64_t iters)
{
	while (iters--)
		scan(*(size_t *)arg);
}

static double time_fault(struct batch *batch, uint64_t iters)
{
	double ns = 0, from;

	while (iters--) {
		madvise(at, bytes, MADV_DONTNEED);
		from = now_ns();
		batch->run(batch->arg, 1);
		ns += now_ns() - from;
	}
	return ns;
}

static void run_populate(void *arg, uint64_t iters)
{
	while (iters--)
		if (madvise(at, *(size_t *)arg, MADV_POPULATE_WRITE))
			die("MADV_POPULATE_WRITE");
}

static void row(const char *name, double most, batch_fn *run, batch_fn *base, size_t size,
		bool afresh)
{
	struct batch a = {.run = run, .arg = &size}, b = {.run = base, .arg = &size};
	struct line line = line_of("hmm", "%s", name);

	if (!wanted("hmm", name))
		return;
	if (afresh)
		a.time = b.time = time_fault;
	line.base_name = afresh ? "populate" : "scan";
	goal(&line, GOAL_TIMES, most);
	measure_in(size > THP ? FEW_ROUNDS : options.rounds, &line, &a, &b);
	if (most <= 0)
		line.goal = GOAL_NONE;
	snprintf(line.note, sizeof(line.note), "beside one bare %s; %.1f ns a page",
		 afresh ? "MADV_POPULATE_WRITE" : "PAGEMAP_SCAN",
		 line.hmmu.median / (double)(size / PAGE));
	report(&line);
}

/* ---- the memory ----------------------------------------------------------------- */

static void map_new(int advice)
{
	size_t more = bytes + THP;
	unsigned char *p = mmap(NULL, more, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	at = (unsigned char *)(((unsigned long)p + THP - 1) & -THP);
	madvise(at, bytes, advice);
	range.start = (unsigned long)at;
	errno = -mmu_interval_notifier_insert(&sub, mm, range.start, bytes, &ops);
	if (errno)
		die("insert");
}

static void unmap(void)
{
	mmu_interval_notifier_remove(&sub);
	munmap(at, bytes);
}

static void populate(void)
{
	run_populate(&bytes, 1);
}

static void rows_shared(const char *name)
{
	pid_t pid = fork();

	if (!pid) {
		pause();
		_exit(0);
	}
	row(name, 0, run_snapshot, run_scan, bytes, false);
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
}

static void rows(void)
{
	char name[72];
	const char *size = bytes >= 1ul << 30 ? "1 GiB" : "64 MiB";

	map_new(MADV_NOHUGEPAGE);
	snprintf(name, sizeof(name), "fault of %s for writing", size);
	row(name, 1.1, run_present, run_populate, bytes, true);
	populate();
	snprintf(name, sizeof(name), "snapshot of %s that is there", size);
	row(name, 1.3, run_snapshot, run_scan, bytes, false);
	row("the same, wanted for writing", 1.3, run_present, run_scan, bytes, false);
	row("snapshot of one page", 0, run_snapshot, run_scan, PAGE, false);
	row("snapshot of 2 MiB", 0, run_snapshot, run_scan, THP, false);
	snprintf(name, sizeof(name), "snapshot of %s, a child has it, too", size);
	rows_shared(name);
	unmap();
	map_new(MADV_HUGEPAGE);
	populate();
	snprintf(name, sizeof(name), "snapshot of %s of huge pages", size);
	row(name, 0, run_snapshot, run_scan, bytes, false);
	unmap();
}

/* ---- tags: where userfaultfd watches alone ---------------------------------------- */

static void run_tag(void *arg, uint64_t iters)
{
	while (iters--)
		fault(*(size_t *)arg, 0, HMM_RANGE_TAG);
}

/* What is written has no tag: so all of it is tagged, each time. */
static double time_tag(struct batch *batch, uint64_t iters)
{
	double ns = 0, from;

	while (iters--) {
		for (size_t i = 0; i < *(size_t *)batch->arg; i += PAGE)
			*(volatile unsigned char *)(at + i) = 1;
		from = now_ns();
		batch->run(batch->arg, 1);
		ns += now_ns() - from;
	}
	return ns;
}

static void run_valid(void *arg, uint64_t iters)
{
	while (iters--)
		if (!hmm_range_valid(&range))
			die("hmm_range_valid");
}

static void tag_row(const char *name, batch_fn *run, size_t size, bool afresh)
{
	struct batch a = {.run = run, .arg = &size, .time = afresh ? time_tag : NULL};
	struct line line = line_of("hmm", "%s", name);

	measure(&line, &a, NULL);
	snprintf(line.note, sizeof(line.note), "%.1f ns a page",
		 line.hmmu.median / (double)(size / PAGE));
	report(&line);
}

static void tags(void)
{
	struct hmmu_mm_options o = {.size = sizeof(o), .sources = HMMU_SOURCE_USERFAULTFD};
	struct mm_struct *saved = mm;

	if (hmmu_mm_open(&mm, &o) == 0) {
		map_new(MADV_NOHUGEPAGE);
		populate();
		tag_row("snapshot of 2 MiB with tags, all new", run_tag, THP, true);
		fault(THP, 0, HMM_RANGE_TAG);
		tag_row("hmm_range_valid() of 2 MiB", run_valid, THP, false);
		fault(PAGE, 0, HMM_RANGE_TAG);
		tag_row("hmm_range_valid() of one page", run_valid, PAGE, false);
		unmap();
		hmmu_mm_close(mm);
	}
	mm = saved;
}

void bench_hmm(void)
{
	struct hmmu_mm_options o = {.size = sizeof(o)};
	struct line line = line_of("hmm", "snapshot, fault");
	struct hmmu_pm_scan none = {.size = sizeof(none)};
	FILE *file;

	if (options.only && !strstr("hmm snapshot fault", options.only))
		return;
	bytes = options.quick ? 64ul << 20 : 1ul << 30;
	file = fopen("/proc/self/pagemap", "re");
	pagemap = file ? fileno(file) : -1;
	if (pagemap < 0 || (ioctl(pagemap, HMMU_PAGEMAP_SCAN, &none) < 0 && errno == ENOTTY)) {
		line.not_available = true;
		snprintf(line.note, sizeof(line.note), "no PAGEMAP_SCAN: Linux 6.7");
		report(&line);
		return;
	}
	errno = -hmmu_mm_open(&mm, &o);
	if (errno)
		die("open");
	range.notifier = &sub;
	regions = malloc(bytes / PAGE * sizeof(*regions));
	range.hmm_pfns = malloc(bytes / PAGE * sizeof(*range.hmm_pfns));
	if (!regions || !range.hmm_pfns)
		die("malloc");
	memset(range.hmm_pfns, 0, bytes / PAGE * sizeof(*range.hmm_pfns));
	rows();
	tags();
	free(regions);
	free(range.hmm_pfns);
	fclose(file);
	hmmu_mm_close(mm);
}
