// SPDX-License-Identifier: MIT
/* bed.c - see bed.h. */
#include "bed.h"

static atomic_uint_fast64_t last_word = 0x1000;

/* Made aside and moved over: there is no moment without a word. */
void fresh(char *addr, size_t pages)
{
	char *p = mmap(NULL, pages * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(p != MAP_FAILED);
	for (size_t i = 0; i < pages; i++)
		*(uint64_t *)(p + i * PAGE) = atomic_fetch_add(&last_word, 1);
	must(mremap(p, pages * PAGE, pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, addr) ==
	     addr);
}

uint64_t word_at(const char *addr)
{
	return *(const volatile uint64_t *)addr;
}

void bed_area(struct bed *b)
{
	char *p = mmap(NULL, (PAGES + 2) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(p != MAP_FAILED);
	b->area = p + PAGE;
	fresh(b->area, PAGES);
}

void bed_area_gone(struct bed *b)
{
	must(munmap(b->area - PAGE, (PAGES + 2) * PAGE) == 0);
}

void bed_open(struct bed *b, const struct hmmu_verbs_options *options)
{
	struct hmmu_verbs_options o = HMMU_VERBS_DEFAULTS;

	bed_area(b);
	b->mm = open_mm(HMMU_MM_OWN_RECLAIM);
	if (options)
		o = *options;
	o.mm = b->mm;
	must(quiet(hmmu_verbs_open(&b->v, &card_pd, &o)) == 0);
}

struct hmmu_verbs_stats bed_stats(struct bed *b)
{
	struct hmmu_verbs_stats stats;

	memset(&stats, 0xa5, sizeof(stats));
	quiet_void(hmmu_verbs_stat(b->v, &stats));
	return stats;
}

void bed_close(struct bed *b)
{
	struct hmmu_verbs_stats s;

	bed_reclaim(b);
	s = bed_stats(b);
	must(s.registered == (uint64_t)card.regs && s.deregistered == (uint64_t)card.deregs);
	must(s.registered - s.deregistered == (uint64_t)card.live);
	must(s.cache.locked + s.refused_bytes == card.live_bytes);
	must(quiet(hmmu_verbs_close(b->v)) == 0);
	must(card.regs == card.deregs);
	close_mm(b->mm);
	bed_area_gone(b);
	card_reset();
}

void bed_reclaim(struct bed *b)
{
	must(quiet(hmmu_reclaim(b->mm)) >= 0);
}

void remap(struct bed *b, size_t page, size_t pages)
{
	struct mmu_notifier_range range;

	range_open(&range, b->mm, (unsigned long)at(b, page),
		   (unsigned long)at(b, page + pages));
	fresh(at(b, page), pages);
	range_close(&range);
}

int try_get(struct bed *b, size_t page, size_t pages, unsigned int prot,
	    struct hmmu_region_ref *ref)
{
	int ret = quiet(hmmu_verbs_get(b->v, at(b, page), pages * PAGE, prot, ref));

	if (!ret)
		atomic_fetch_add(&fake_of(ref)->in_use, 1);
	return ret;
}

void get(struct bed *b, size_t page, size_t pages, unsigned int prot,
	 struct hmmu_region_ref *ref)
{
	struct ibv_mr *mr;

	must(try_get(b, page, pages, prot, ref) == 0);
	mr = hmmu_verbs_mr(ref);
	must(mr->pd == &card_pd && fake_of(ref)->live);
	must((char *)mr->addr <= at(b, page) &&
	     (char *)mr->addr + mr->length >= at(b, page + pages));
	must(hmmu_verbs_lkey(ref) == mr->lkey && hmmu_verbs_rkey(ref) == mr->rkey);
	must(quiet(hmmu_verbs_valid(b->v, ref)));
	for (size_t i = page; i < page + pages; i++)
		must(card_reads(ref, at(b, i)) == word_at(at(b, i)));
}

void put(struct bed *b, struct hmmu_region_ref *ref)
{
	atomic_fetch_sub(&fake_of(ref)->in_use, 1);
	quiet_void(hmmu_verbs_put(b->v, ref));
	must(!ref->region);
}

void get_put(struct bed *b, size_t page, size_t pages, unsigned int prot)
{
	struct hmmu_region_ref ref;

	get(b, page, pages, prot, &ref);
	put(b, &ref);
}
