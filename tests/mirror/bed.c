// SPDX-License-Identifier: MIT
/* bed.c - see bed.h. */
#include "bed.h"

#define GENERATIONS 4096

static int generations(void)
{
	static int file = -1;
	long g;

	if (file >= 0)
		return file;
	file = memfd_create("generations", MFD_CLOEXEC);
	must(file >= 0 && ftruncate(file, GENERATIONS * PAGE) == 0);
	for (g = 1; g <= GENERATIONS; g++)
		must(pwrite(file, &g, sizeof(g), (g - 1) * (off_t)PAGE) == sizeof(g));
	return file;
}

unsigned long bed_addr(const struct bed *bed, unsigned long page)
{
	return bed->start + page * PAGE;
}

void bed_remap(struct bed *bed, unsigned long page, unsigned long n, long generation)
{
	for (unsigned long i = page; i < page + n; i++) {
		void *at = bed->mem + i * PAGE;

		must(mmap(at, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, bed->file,
			  (generation - 1) * (off_t)PAGE) == at);
	}
}

void bed_change(struct bed *bed, unsigned long page, unsigned long n, long generation)
{
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, bed->mm, bed_addr(bed, page),
				bed_addr(bed, page + n));
	must(mmu_notifier_invalidate_range_start(&range) == 0);
	bed_remap(bed, page, n, generation);
	mmu_notifier_invalidate_range_end(&range);
}

static void install(void *context, unsigned long start, unsigned long npages,
		    const unsigned long *pfns)
{
	struct bed *bed = context;

	bed->installs++;
	for (unsigned long i = 0; i < npages; i++) {
		unsigned long page = (start - bed->start) / PAGE + i;

		must(page < BED_PAGES && (pfns[i] & HMM_PFN_VALID));
		bed->shadow[page] = *(volatile long *)hmm_pfn_to_addr(pfns[i]);
	}
}

static void invalidate_shadow(void *context, unsigned long start, unsigned long end,
			      enum mmu_notifier_event event)
{
	struct bed *bed = context;

	bed->invalidations++;
	bed->last_start = start;
	bed->last_end = end;
	bed->last_event = event;
	for (unsigned long at = start; at < end; at += PAGE) {
		must(at >= bed->start && at < bed_addr(bed, BED_PAGES));
		bed->shadow[(at - bed->start) / PAGE] = 0;
	}
}

const struct hmmu_mirror_ops bed_ops = {.install = install, .invalidate = invalidate_shadow};

bool bed_open_mm(struct bed *bed, unsigned int sources)
{
	const struct hmmu_mm_options options = {.size = sizeof(options), .sources = sources};
	int ret;

	memset(bed, 0, sizeof(*bed));
	bed->sources = sources;
	bed->file = generations();
	ret = quiet(hmmu_mm_open(&bed->mm, &options));
	must(ret == 0 || ret == -EOPNOTSUPP);
	return ret == 0;
}

void bed_mirror(struct bed *bed, const struct hmmu_mirror_ops *ops, unsigned int flags)
{
	const struct hmmu_mirror_options options = {.size = sizeof(options),
						    .start = bed->start,
						    .length = BED_PAGES * PAGE,
						    .flags = flags};

	must(quiet(hmmu_mirror_open(&bed->mirror, bed->mm, ops, bed, &options)) == 0);
}

bool bed_open(struct bed *bed, unsigned int sources)
{
	if (!bed_open_mm(bed, sources))
		return false;
	bed->mem = mmap(NULL, BED_PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(bed->mem != MAP_FAILED);
	bed->start = (unsigned long)bed->mem;
	bed_remap(bed, 0, BED_PAGES, 1);
	bed_mirror(bed, &bed_ops, 0);
	return true;
}

void bed_close(struct bed *bed)
{
	quiet_void(hmmu_mirror_close(bed->mirror));
	must(quiet(hmmu_mm_close(bed->mm)) == 0);
	if (bed->mem)
		munmap(bed->mem, BED_PAGES * PAGE);
}

int bed_map(struct bed *bed, unsigned long page, unsigned long n, unsigned int flags)
{
	return quiet(hmmu_mirror_map(bed->mirror, bed_addr(bed, page), n, flags, NULL, NULL));
}

long bed_look(struct bed *bed, unsigned long page)
{
	unsigned long pfn;
	long ret;

	quiet_void(hmmu_mirror_lock(bed->mirror));
	ret = quiet(hmmu_mirror_lookup(bed->mirror, bed_addr(bed, page), false, &pfn));
	if (!ret)
		ret = bed->shadow[page];
	quiet_void(hmmu_mirror_unlock(bed->mirror));
	return ret;
}

long bed_access(struct bed *bed, unsigned long page)
{
	long seen;

	while ((seen = bed_look(bed, page)) < 0)
		must(bed_map(bed, page, 1, 0) == 0);
	return seen;
}

struct hmmu_mirror_stats bed_stats(struct bed *bed)
{
	struct hmmu_mirror_stats stats;

	quiet_void(hmmu_mirror_stat(bed->mirror, &stats));
	return stats;
}
