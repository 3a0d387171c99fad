// SPDX-License-Identifier: MIT
/* locked.c - see locked.h. */
#include "locked.h"

static char owner;

uint32_t locks, unlocks;

static void count_gates(enum dm_gate gate, uint64_t addr)
{
	(void)addr;
	if (gate == DM_GATE_LOCK)
		hmmu_add_seqcst(&locks, 1);
	if (gate == DM_GATE_UNLOCK)
		hmmu_add_seqcst(&unlocks, 1);
}

struct locked_world *locked_world_of(size_t slots)
{
	static struct locked_world w;

	w.mm = net_open(BOTH);
	dev_open(&w.dev, w.mm, slots, &owner);
	w.p = raw_mmap(net_place(1024), N * PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);
	fill_pages(w.p, N, 1);
	hmmu_devmem_gate = count_gates;
	return &w;
}

struct locked_world *locked_world(void)
{
	return locked_world_of(ARENA);
}

char *slot(struct locked_world *w, size_t i)
{
	return (char *)w->dev.map->base + i * PAGE;
}

bool is_locked(const char *p)
{
	return msync((void *)p, PAGE, MS_INVALIDATE) == -1 && errno == EBUSY;
}

size_t slots_locked(struct locked_world *w)
{
	size_t n = 0;

	for (size_t i = 0; i < w->dev.map->nslots; i++)
		n += is_locked(slot(w, i));
	return n;
}

size_t slots_held(struct locked_world *w)
{
	size_t n = 0;

	for (size_t i = 0; i < w->dev.map->nslots; i++)
		n += dm_any_page((uint64_t)slot(w, i), PAGE) == 1;
	return n;
}

size_t arena_mappings(struct locked_world *w)
{
	unsigned long base = w->dev.map->base, end = base + w->dev.map->nslots * PAGE, start;
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512];
	size_t n = 0;

	must(f);
	while (fgets(line, sizeof(line), f))
		n += sscanf(line, "%lx-", &start) == 1 && start >= base && start < end;
	fclose(f);
	return n;
}

size_t away(struct locked_world *w, uint64_t seed)
{
	size_t n = 0;

	for (size_t i = 0; i < N; i++) {
		if (!dev_at(&w->dev, w->p + i * PAGE))
			continue;
		must(away_is(&w->dev, w->p, i, seed));
		n++;
	}
	return n;
}

void out_of_full_slots(struct locked_world *w)
{
	for (int i = 0; i < 50 && away(w, 1) < N; i++)
		dev_out(&w->dev, w->p, N);
	must(away(w, 1) == N);
}

void locked_world_end(struct locked_world *w)
{
	dev_check(&w->dev);
	must(dev_stat(&w->dev).used == 0);
	must(slots_locked(w) == 0);
	must(arena_mappings(w) == 1);
	dev_close(&w->dev);
	net_close(w->mm);
}

void moved_not_copied(struct locked_world *w)
{
	dev_settle(&w->dev);
	must(slots_held(w) == dev_stat(&w->dev).resident);
}

void lock(char *p, size_t pages)
{
	must(mlock(p, pages * PAGE) == 0);
}

void lock_on_fault(char *p, size_t pages)
{
	must(mlock2(p, pages * PAGE, MLOCK_ONFAULT) == 0);
}

void unlock(char *p, size_t pages)
{
	must(munlock(p, pages * PAGE) == 0);
}
