// SPDX-License-Identifier: MIT
#include "fi_test.h"

static void put(struct bench *b)
{
	*b->buf = ++b->generation;
}

void bench_open(struct bench *b, unsigned int sources, unsigned int mm_flags,
		unsigned int flags)
{
	struct hmmu_mm_options mo = {.size = sizeof(mo), .sources = sources, .flags = mm_flags};
	struct hmmu_fi_options fo = {.size = sizeof(fo), .flags = flags};

	memset(b, 0, sizeof(*b));
	b->hooks = sources == HMMU_SOURCE_HOOKS;
	b->buf = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		      -1, 0);
	must(b->buf != MAP_FAILED);
	put(b);
	standin_reset();
	must(quiet(hmmu_mm_open(&b->mm, &mo)) == 0);
	must(quiet(hmmu_fi_import(b->mm, &fo)) == 0);
	standin_initialise();
	b->domain = standin_domain_open();
	must(b->domain != NULL);
}

void bench_close(struct bench *b)
{
	standin_domain_close(b->domain);
	must(quiet(hmmu_fi_close()) == 0);
	must(quiet(hmmu_mm_close(b->mm)) == 0);
	munmap(b->buf, PAGES * PAGE);
}

void bench_remap(void *bench)
{
	struct bench *b = bench;
	struct mmu_notifier_range range;
	unsigned long start = (unsigned long)b->buf;
	int saved = errno;

	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, MMU_NOTIFIER_RANGE_BLOCKABLE, b->mm,
				start, start + PAGES * PAGE);
	if (!b->hooks)
		must(mmu_notifier_invalidate_range_start(&range) == 0);
	must(munmap(b->buf, PAGES * PAGE) == 0);
	must(mmap(b->buf, PAGES * PAGE, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == b->buf);
	put(b);
	if (!b->hooks)
		mmu_notifier_invalidate_range_end(&range);
	errno = saved;
}

struct fid_mr *plain_reg(struct bench *b)
{
	struct fid_mr *mr = NULL;

	must(fi_mr_reg(b->domain, b->buf, PAGES * PAGE, FI_SEND | FI_RECV, 0, 0, 0, &mr,
		       NULL) == 0);
	return mr;
}

struct hmmu_fi_mr *wrapped_reg(struct bench *b)
{
	struct hmmu_fi_mr *mr = NULL;

	must(quiet(hmmu_fi_mr_reg(b->mm, b->domain, b->buf, PAGES * PAGE, FI_SEND | FI_RECV, 0,
				  0, 0, &mr, NULL)) == 0);
	return mr;
}

void mr_close(struct fid_mr *mr)
{
	must(fi_close(&mr->fid) == 0);
}

bool stale(const struct bench *b, const struct fid_mr *mr)
{
	return standin_pinned(mr) != *(volatile unsigned long *)b->buf;
}

struct hmmu_fi_stats stats(void)
{
	struct hmmu_fi_stats st = {.size = sizeof(st)};

	must(quiet(hmmu_fi_stat(&st)) == 0);
	return st;
}

static void mark(struct hmmu_work *work)
{
	sem_post((sem_t *)(work + 1));
}

/* Works of one mm run in the order of their arrival, one reclaimer being there. */
void settle(struct bench *b, bool own)
{
	struct {
		struct hmmu_work work;
		sem_t sem;
	} last;

	sem_init(&last.sem, 0, 0);
	hmmu_defer(b->mm, &last.work, mark);
	if (own)
		must(hmmu_reclaim(b->mm) > 0);
	while (sem_wait(&last.sem))
		;
}
