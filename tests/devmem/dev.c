// SPDX-License-Identifier: MIT
/* dev.c - see dev.h. */
#include "dev.h"

static void dev_revoke(void *context, unsigned long addr, unsigned long pfn,
		       enum mmu_notifier_event why)
{
	struct dev *d = context;

	if (d->on_revoke)
		d->on_revoke(d, addr, why);
	pthread_mutex_lock(&d->lock);
	if (d->table && addr - (unsigned long)d->base < d->pages * PAGE)
		d->table[(addr - (unsigned long)d->base) / PAGE] = 0;
	d->last_addr = addr;
	d->last_pfn = pfn;
	d->last_why = why;
	pthread_mutex_unlock(&d->lock);
	hmmu_add_seqcst(&d->why[why & 7], 1);
	hmmu_add_seqcst(&d->revoked, 1);
}

static void page_free(void *context, unsigned long pfn)
{
	struct dev *d = context;

	if (d->on_free)
		d->on_free(d, pfn);
	hmmu_add_seqcst(&d->freed, 1);
}

static const struct dev_pagemap_ops dev_ops = {.revoke = dev_revoke, .page_free = page_free};

void dev_open(struct dev *d, struct mm_struct *mm, size_t pages, void *owner)
{
	const struct dev_pagemap_options options = {
		.size = sizeof(options),
		.bytes = pages * PAGE,
		.owner = owner,
	};
	int ret;

	memset(d, 0, sizeof(*d));
	pthread_mutex_init(&d->lock, NULL);
	d->mm = mm;
	ret = hmmu_devmem_open(&d->map, mm, &dev_ops, d, &options);
	if (ret == -EPERM || ret == -EOPNOTSUPP)
		_exit(77);
	must(ret == 0);
}

void dev_close(struct dev *d)
{
	must(hmmu_devmem_close(d->map) == 0);
}

void dev_table(struct dev *d, void *base, size_t pages)
{
	d->base = base;
	d->pages = pages;
	d->table = (uint64_t *)raw_mmap(NULL, pages * sizeof(uint64_t), RW, ANON, -1, 0);
}

struct trip *trip_new(struct dev *d, void *p, size_t pages, unsigned long select)
{
	struct trip *t = (struct trip *)raw_mmap(NULL, sizeof(*t), RW, ANON, -1, 0);

	must(pages <= DEV_MAX);
	t->dev = d;
	t->args = (struct migrate_vma){
		.mm = d->mm,
		.pagemap = d->map,
		.src = t->src,
		.dst = t->dst,
		.start = (unsigned long)p,
		.end = (unsigned long)p + pages * PAGE,
		.pgmap_owner = d->map->owner,
		.flags = select,
	};
	return t;
}

void trip_setup(struct trip *t)
{
	must(migrate_vma_setup(&t->args) == 0);
}

size_t trip_alloc(struct trip *t)
{
	size_t n = 0;

	for (size_t i = 0; i < t->args.npages; i++) {
		unsigned long pfn;

		t->dst[i] = 0;
		if (!(t->src[i] & MIGRATE_PFN_MIGRATE))
			continue;
		if (t->args.flags == MIGRATE_VMA_SELECT_DEVICE_PRIVATE) {
			t->dst[i] = MIGRATE_PFN_VALID;
			n++;
			continue;
		}
		pfn = hmmu_devmem_alloc(t->dev->map);
		t->dst[i] = pfn ? migrate_pfn(pfn) : 0;
		n += pfn != 0;
	}
	return n;
}

void trip_pages(struct trip *t)
{
	migrate_vma_pages(&t->args);
}

size_t trip_finalize(struct trip *t)
{
	bool out = t->args.flags == MIGRATE_VMA_SELECT_SYSTEM;
	struct dev *d = t->dev;
	size_t n = 0;

	for (size_t i = 0; i < t->args.npages; i++) {
		unsigned long pfn = migrate_pfn_to_pfn(t->dst[i]);
		uint64_t at = t->args.start + i * PAGE - (unsigned long)d->base;

		if (!t->dst[i])
			continue;
		if (!(t->src[i] & MIGRATE_PFN_MIGRATE)) {
			if (out)
				hmmu_devmem_free(d->map, pfn);
			continue;
		}
		n++;
		if (!d->table || at >= d->pages * PAGE)
			continue;
		/* Before finalize: nobody revokes it yet. */
		pthread_mutex_lock(&d->lock);
		d->table[at / PAGE] = out ? pfn * PAGE : 0;
		pthread_mutex_unlock(&d->lock);
	}
	migrate_vma_finalize(&t->args);
	raw_munmap(t, sizeof(*t));
	return n;
}

void trip_leave(struct trip *t)
{
	struct dev *d = t->dev;

	pthread_mutex_lock(&d->lock);
	for (size_t i = 0; i < t->args.npages; i++) {
		uint64_t at = (t->args.start - (uint64_t)d->base) / PAGE + i;

		if (t->dst[i] && at < d->pages)
			d->table[at] = 0;
	}
	pthread_mutex_unlock(&d->lock);
}

size_t trip_all(struct trip *t)
{
	trip_setup(t);
	trip_alloc(t);
	trip_pages(t);
	return trip_finalize(t);
}

/* Somebody brings a page home, or has brought one and is not done with its slot. */
static bool busy(struct dev *d)
{
	struct hmmu_devmem_stats s = dev_stat(d);
	uint64_t held = 0;

	must(s.resident <= s.pages); /* none was given back twice */
	for (uint64_t i = 0; i < d->map->nslots; i++) {
		uint64_t addr = hmmu_load_acquire(&d->map->holds[i]);
		uint64_t *word = addr ? dm_find_word(hmmu_devmem, addr) : NULL;

		held += addr != 0;
		if (word && dm_state(hmmu_load_acquire(word)) == DM_COMING)
			return true;
	}
	return held != s.resident;
}

void dev_settle(struct dev *d)
{
	/* A touch goes on before the reader is done with it: then it has no event's number
	 * yet. Asked again: it has none at all. */
	net_quiet();
	while (busy(d))
		usleep(50);
}

size_t dev_out(struct dev *d, void *p, size_t pages)
{
	dev_settle(d);
	return trip_all(trip_new(d, p, pages, MIGRATE_VMA_SELECT_SYSTEM));
}

size_t dev_home(struct dev *d, void *p, size_t pages)
{
	dev_settle(d);
	return trip_all(trip_new(d, p, pages, MIGRATE_VMA_SELECT_DEVICE_PRIVATE));
}

char *dev_at(struct dev *d, const void *p)
{
	unsigned long pfn;

	return hmmu_devmem_find((unsigned long)p, d->map->owner, &pfn) ? (char *)(pfn * PAGE)
								       : NULL;
}

struct hmmu_devmem_stats dev_stat(struct dev *d)
{
	struct hmmu_devmem_stats s;

	hmmu_devmem_stat(d->map, &s);
	return s;
}

void dev_check(struct dev *d)
{
	struct hmmu_devmem_stats s;

	dev_settle(d);
	s = dev_stat(d);
	if (s.used != s.resident ||
	    s.moved_out != s.moved_back + s.touched + s.brought + s.dropped + s.resident)
		fprintf(stderr,
			"used %lu resident %lu out %lu back %lu touched %lu brought %lu "
			"dropped %lu\n",
			s.used, s.resident, s.moved_out, s.moved_back, s.touched, s.brought,
			s.dropped);
	must(s.used == s.resident);
	must(s.moved_out == s.moved_back + s.touched + s.brought + s.dropped + s.resident);
}

/* ---- content ----------------------------------------------------------- */

uint64_t page_word(uint64_t seed, size_t i)
{
	return (seed * 0x9e3779b97f4a7c15UL) ^ (i + 1);
}

void fill_pages(char *p, size_t pages, uint64_t seed)
{
	for (size_t i = 0; i < pages; i++) {
		*(uint64_t *)(p + i * PAGE) = page_word(seed, i);
		*(uint64_t *)(p + i * PAGE + PAGE - 8) = page_word(seed, i);
	}
}

static bool page_is(const char *p, uint64_t word)
{
	return *(volatile const uint64_t *)p == word &&
	       *(volatile const uint64_t *)(p + PAGE - 8) == word;
}

bool pages_are(const char *p, size_t pages, uint64_t seed)
{
	for (size_t i = 0; i < pages; i++)
		if (!page_is(p + i * PAGE, page_word(seed, i))) {
			fprintf(stderr, "page %zu holds %lx, not %lx\n", i,
				*(const uint64_t *)(p + i * PAGE), page_word(seed, i));
			return false;
		}
	return true;
}

bool pages_zero(const char *p, size_t pages)
{
	for (size_t i = 0; i < pages; i++)
		if (!page_is(p + i * PAGE, 0))
			return false;
	return true;
}

bool away_is(struct dev *d, const char *p, size_t i, uint64_t seed)
{
	char *at = dev_at(d, p + i * PAGE);

	return at && page_is(at, page_word(seed, i));
}

/* ---- plants, gates ----------------------------------------------------- */

#ifdef HMMU_PLANT
static const char *const plant_name[HMMU_PLANT_NR] = {
#define NAME(name, text) [HMMU_PLANT_##name] = #name,
	HMMU_PLANT_LIST(NAME)
#undef NAME
};

void dev_init(int argc, char **argv)
{
	const char *name = getenv("HMMU_DEVMEM_PLANT");

	net_init(argc, argv);
	for (int i = 0; name && i < HMMU_PLANT_NR; i++)
		if (!strcmp(plant_name[i], name))
			hmmu_planted = (enum hmmu_plant)i;
	must(!name || hmmu_planted);
}

static struct stop {
	uint32_t on;
	uint32_t skip;
	uint64_t addr;
	sem_t reached, go;
} stops[DM_GATES];

static void stop_at(enum dm_gate gate, uint64_t addr)
{
	struct stop *s = &stops[gate];
	uint32_t on = 1;

	if (!hmmu_load_seqcst(&s->on) || (s->addr && s->addr != addr))
		return;
	if (s->skip) {
		s->skip--;
		return;
	}
	if (!hmmu_cas_seqcst(&s->on, &on, 0))
		return;
	sem_post(&s->reached);
	while (sem_wait(&s->go))
		;
}

void dev_hold(enum dm_gate gate, const void *addr)
{
	dev_hold_after(gate, addr, 0);
}

void dev_hold_after(enum dm_gate gate, const void *addr, uint32_t skip)
{
	struct stop *s = &stops[gate];

	sem_init(&s->reached, 0, 0);
	sem_init(&s->go, 0, 0);
	s->addr = (uint64_t)addr;
	s->skip = skip;
	hmmu_store_seqcst(&s->on, 1);
	hmmu_devmem_gate = stop_at;
}

void dev_reached(enum dm_gate gate)
{
	while (sem_wait(&stops[gate].reached))
		;
}

void dev_release(enum dm_gate gate)
{
	sem_post(&stops[gate].go);
}
#endif

void touch_read(void *arg)
{
	struct touch *t = arg;

	t->value = *(volatile char *)t->p;
}

void touch_write(void *arg)
{
	struct touch *t = arg;

	*(volatile char *)t->p = t->value;
}
