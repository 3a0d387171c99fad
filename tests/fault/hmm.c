// SPDX-License-Identifier: MIT
/*
 * hmm.c - hmm_range_fault() while something fails: what it answers is true, or it is an error
 * that the header names. Nothing that it opened stays open. Tags: a page that has changed is
 * never valid, whatever failed.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <hmmu/hmm.h>

#include "inject.h"
#include "life.h"
#include "arch/syscall.h"

#define PAGES 40 /* more than are asked page by page without further ado */
#define BOTH (HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE)

static struct mm_struct *mm;
static struct mmu_interval_notifier sub;
static unsigned char *memory;
static unsigned long pfns[PAGES];
static struct hmm_range range;

static bool invalidate(struct mmu_interval_notifier *s, const struct mmu_notifier_range *r,
		       unsigned long seq)
{
	mmu_interval_set_seq(s, seq);
	return true;
}

static const struct mmu_interval_notifier_ops ops = {.invalidate = invalidate};

static void change(size_t first, size_t n)
{
	hmmu_syscall6(SYS_madvise, (long)(memory + first * PAGE), (long)(n * PAGE),
		      MADV_DONTNEED, 0, 0, 0);
}

static int fault_in(size_t n, unsigned long want, unsigned int flags)
{
	struct timespec deadline = fault_deadline(3);
	int ret;

	do {
		range = (struct hmm_range){
			.notifier = &sub,
			.start = (unsigned long)memory,
			.end = (unsigned long)memory + n * PAGE,
			.hmm_pfns = pfns,
			.default_flags = want,
			.flags = flags,
		};
		ret = hmmu_read_begin(&sub, &range.notifier_seq, &deadline);
		if (!ret)
			ret = quiet(hmm_range_fault(&range));
	} while (ret == -EBUSY);
	if (ret && !fault_failed())
		broken("hmm: answered %d, and nothing had failed", ret);
	return ret;
}

/* Pages 0 to 3 have been written, 4 to 7 read, the others not touched; after them a hole. */
static void check_page(size_t i, unsigned long want)
{
	bool there = i < 8 || want, writable = i < 4 || (want & HMM_PFN_REQ_WRITE);
	unsigned long pfn = pfns[i];

	if (!(pfn & HMM_PFN_VALID) != !there)
		broken("hmm: page %zu is %lx", i, pfn);
	if (!there)
		return;
	if (hmm_pfn_to_addr(pfn) != memory + i * PAGE)
		broken("hmm: page %zu is at %p", i, hmm_pfn_to_addr(pfn));
	if (!(pfn & HMM_PFN_WRITE) != !writable)
		broken("hmm: page %zu may be written: %lx", i, pfn);
}

static void prepare(void)
{
	change(0, PAGES);
	for (size_t i = 0; i < 4; i++)
		memory[i * PAGE] = 1;
	for (size_t i = 4; i < 8; i++)
		(void)*(volatile unsigned char *)(memory + i * PAGE);
}

static void look(unsigned long want)
{
	int ret;

	stage(want ? "hmm: fault" : "hmm: snapshot");
	prepare();
	ret = fault_in(PAGES, want, 0);
	DOCUMENTED("hmm_range_fault", ret, EFAULT, ENOMEM, EMFILE, ENODEV, EOPNOTSUPP,
		   ETIMEDOUT);
	for (size_t i = 0; !ret && i < PAGES; i++)
		check_page(i, want);
}

static void by_page(void)
{
	int ret;

	stage("hmm: requests by page");
	prepare();
	memset(pfns, 0, sizeof(pfns));
	pfns[10] = BOTH;
	pfns[20] = HMM_PFN_REQ_FAULT;
	range.end = range.start + PAGES * PAGE;
	range.default_flags = 0;
	range.pfn_flags_mask = BOTH;
	range.flags = 0;
	if (hmmu_read_begin(&sub, &range.notifier_seq, NULL))
		return;
	ret = quiet(hmm_range_fault(&range));
	DOCUMENTED("hmm_range_fault", ret, EFAULT, ENOMEM, EMFILE, ENODEV, EOPNOTSUPP, EBUSY);
	if (ret)
		return;
	check_page(10, BOTH);
	check_page(20, HMM_PFN_REQ_FAULT);
	check_page(0, 0);
	check_page(30, 0);
}

/* Nothing is: no failure may make a fault of it succeed. */
static void hole(void)
{
	int ret;

	stage("hmm: a hole");
	hmmu_syscall6(SYS_munmap, (long)(memory + 30 * PAGE), PAGE, 0, 0, 0, 0);
	ret = quiet(hmmu_read_begin(&sub, &range.notifier_seq, NULL));
	if (ret)
		return;
	range.end = range.start + PAGES * PAGE;
	range.default_flags = BOTH;
	range.pfn_flags_mask = 0;
	ret = quiet(hmm_range_fault(&range));
	if (!ret)
		broken("hmm: a hole was faulted in");
	DOCUMENTED("hmm_range_fault", ret, EFAULT, ENOMEM, EMFILE, ENODEV, EOPNOTSUPP, EBUSY);
}

static void tags(void)
{
	int ret;

	stage("hmm: tags");
	prepare();
	ret = fault_in(PAGES / 2, BOTH, HMM_RANGE_TAG);
	DOCUMENTED("hmm_range_fault", ret, EFAULT, ENOMEM, EMFILE, ENODEV, EOPNOTSUPP,
		   ETIMEDOUT);
	if (ret)
		return;
	if (!quiet(hmm_range_valid(&range)) && !fault_failed())
		broken("hmm: not valid, and nothing changed");
	memory[5 * PAGE]++;
	if (quiet(hmm_range_valid(&range)))
		broken("stale: valid after a write");
	ret = fault_in(PAGES / 2, BOTH, HMM_RANGE_TAG);
	if (ret)
		return;
	change(7, 1);
	if (quiet(hmm_range_valid(&range)))
		broken("stale: valid after a page went");
	ret = fault_in(PAGES / 2, BOTH, HMM_RANGE_TAG);
	if (ret)
		return;
	hmmu_syscall6(SYS_mprotect, (long)(memory + 9 * PAGE), PAGE, PROT_READ, 0, 0, 0);
	if (quiet(hmm_range_valid(&range)))
		broken("stale: valid after a permission went");
	hmmu_syscall6(SYS_mprotect, (long)(memory + 9 * PAGE), PAGE, PROT_READ | PROT_WRITE, 0,
		      0, 0);
}

static void use(bool tagged)
{
	look(0);
	look(HMM_PFN_REQ_FAULT);
	look(BOTH);
	if (tagged)
		tags();
	by_page();
	hole();
}

static void life(bool again, unsigned int sources)
{
	struct hmmu_mm_options o = {.size = sizeof(o), .sources = sources};
	int ret;

	stage("open");
	ret = quiet(hmmu_mm_open(&mm, &o));
	DOCUMENTED("open", ret, ENOMEM, EOPNOTSUPP, EMFILE);
	if (ret && again)
		broken("open answered %d", ret);
	if (ret)
		return;
	memory = fresh(PAGES * PAGE);
	ret = quiet(mmu_interval_notifier_insert(&sub, mm, (unsigned long)memory, PAGES * PAGE,
						 &ops));
	DOCUMENTED("insert", ret, ENOMEM);
	if (!ret) {
		use(sources == HMMU_SOURCE_USERFAULTFD);
		mmu_interval_notifier_remove(&sub);
	}
	hmmu_syscall6(SYS_munmap, (long)memory, PAGES * PAGE, 0, 0, 0, 0);
	stage("close");
	ret = quiet(hmmu_mm_close(mm));
	if (ret)
		broken("undocumented: close answered %d", ret);
}

void hmm_run(bool again)
{
	life(again, HMMU_SOURCE_EXPLICIT);
}

/* With tags: the net's failures are other scenarios' matter, but they come, too. */
void hmm_tags_run(bool again)
{
	life(again, HMMU_SOURCE_USERFAULTFD);
}
