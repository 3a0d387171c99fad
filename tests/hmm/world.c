// SPDX-License-Identifier: MIT
/* world.c - see world.h. */
#include "world.h"

#include <fcntl.h>
#include <sys/ioctl.h>

struct mm_struct *mm;
struct mmu_interval_notifier all;
atomic_int told;

static bool invalidate_all(struct mmu_interval_notifier *sub,
			   const struct mmu_notifier_range *range, unsigned long seq)
{
	mmu_interval_set_seq(sub, seq);
	atomic_fetch_add(&told, 1);
	return true;
}

static const struct mmu_interval_notifier_ops ops = {.invalidate = invalidate_all};

static bool nothing(struct mmu_interval_notifier *sub, const struct mmu_notifier_range *range,
		    unsigned long seq)
{
	mmu_interval_set_seq(sub, seq);
	return true;
}

const struct mmu_interval_notifier_ops quiet_ops = {.invalidate = nothing};

int world_open(unsigned int sources)
{
	/* No thread of the library's: what is played is this thread's. */
	const struct hmmu_mm_options o = {
		.size = sizeof(o), .sources = sources, .flags = HMMU_MM_OWN_RECLAIM};
	int ret = hmmu_mm_open(&mm, &o);

	api_guard(50);
	if (ret)
		return ret;
	must(mmu_interval_notifier_insert(&all, mm, PAGE, (1UL << 47) - 2 * PAGE, &ops) == 0);
	return 0;
}

void world_close(void)
{
	mmu_interval_notifier_remove(&all);
	must(hmmu_mm_close(mm) == 0);
}

bool have_scan(void)
{
	char none[96] = {0}; /* too short: it is known, or not */
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	bool known;

	must(fd >= 0);
	known = !ioctl(fd, _IOWR('f', 16, none), none) || errno != ENOTTY;
	close(fd);
	return known;
}

int world_setup(void **state)
{
	return world_open(HMMU_SOURCE_EXPLICIT);
}

int world_teardown(void **state)
{
	world_close();
	return 0;
}

int tagged_setup(void **state)
{
	const struct hmmu_mm_options o = {.size = sizeof(o),
					  .sources = HMMU_SOURCE_USERFAULTFD};
	int ret = hmmu_mm_open(&mm, &o);

	api_guard(50);
	if (ret == -EOPNOTSUPP)
		exit(77);
	must(ret == 0);
	return 0;
}

int tagged_teardown(void **state)
{
	must(hmmu_mm_close(mm) == 0);
	return 0;
}

unsigned char *map(size_t pages, int prot, int flags, int fd)
{
	unsigned char *at = mmap(NULL, (pages + 2) * PAGE, PROT_NONE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	must(at != MAP_FAILED);
	must(munmap(at, PAGE) == 0);
	must(munmap(at + (pages + 1) * PAGE, PAGE) == 0);
	at += PAGE;
	must(mmap(at, pages * PAGE, prot, flags | MAP_FIXED, fd, 0) == at);
	return at;
}

unsigned char *map_anon(size_t pages)
{
	unsigned char *at = map(pages, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	madvise(at, pages * PAGE, MADV_NOHUGEPAGE);
	return at;
}

static int filled(int fd, size_t pages)
{
	unsigned char page[PAGE];

	must(fd >= 0);
	for (size_t i = 0; i < pages; i++) {
		memset(page, (int)i + 1, sizeof(page));
		must(write(fd, page, sizeof(page)) == (ssize_t)sizeof(page));
	}
	return fd;
}

int file_of(size_t pages)
{
	char name[] = "./hmm-test-XXXXXX";
	int fd = mkstemp(name);

	must(fd >= 0 && unlink(name) == 0);
	return filled(fd, pages);
}

int memfd_of(size_t pages)
{
	return filled(memfd_create("hmm", MFD_CLOEXEC), pages);
}

void touch(void *at, size_t pages)
{
	for (size_t i = 0; i < pages; i++)
		*((volatile unsigned char *)at + i * PAGE) = 7;
}

unsigned char look_into(const void *at)
{
	return *(const volatile unsigned char *)at;
}

int fault_flags(const void *at, size_t pages, unsigned long *pfns, unsigned long all_want,
		unsigned long mask, unsigned int flags)
{
	struct hmm_range range = {
		.notifier = &all,
		.start = (unsigned long)at,
		.end = (unsigned long)at + pages * PAGE,
		.hmm_pfns = pfns,
		.default_flags = all_want,
		.pfn_flags_mask = mask,
		.flags = flags,
	};
	int ret;

	do {
		range.notifier_seq = mmu_interval_read_begin(&all);
		ret = quiet(hmm_range_fault(&range));
	} while (ret == -EBUSY);
	return ret;
}

int fault(const void *at, size_t pages, unsigned long *pfns, unsigned long all_want,
	  unsigned long mask)
{
	return fault_flags(at, pages, pfns, all_want, mask, 0);
}

void snapshot(const void *at, size_t pages, unsigned long *pfns)
{
	memset(pfns, 0xff, pages * sizeof(*pfns));
	must(fault(at, pages, pfns, 0, 0) == 0);
}

unsigned long snap(const void *at)
{
	unsigned long pfn;

	snapshot(at, 1, &pfn);
	return pfn;
}
