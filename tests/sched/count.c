// SPDX-License-Identifier: MIT
/*
 * count.c - what was distinct: sets of 64-bit hashes, and the places in the code. All in
 * memory that is shared with the children of a search; one process at a time writes a set,
 * several the places.
 */
#include "inside.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SET_MIN (1ull << 12)
#define SET_MAX (1ull << 24) /* 128 MiB of addresses, as much as is used of memory */
#define LEFT 15ull	     /* the low bits of a key: preemptions left, + 1 */

struct sched_set {
	uint64_t mask;
	uint64_t used;
	uint64_t key[];
};

static void *shared_memory(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED) {
		perror("sched: mmap");
		abort();
	}
	return p;
}

static size_t size_of(uint64_t keys)
{
	return sizeof(struct sched_set) + keys * sizeof(uint64_t);
}

struct sched_set *sched_set_new(uint64_t expected)
{
	uint64_t keys = SET_MIN;
	struct sched_set *set;

	while (keys < SET_MAX && keys < 2 * expected)
		keys *= 2;
	set = shared_memory(size_of(keys));
	set->mask = keys - 1;
	return set;
}

void sched_set_free(struct sched_set *set)
{
	munmap(set, size_of(set->mask + 1));
}

bool sched_set_full(const struct sched_set *set)
{
	return set->used > set->mask - set->mask / 4;
}

uint64_t sched_set_count(const struct sched_set *set)
{
	return set->used;
}

/* Where a key with these high bits is, or would be. */
static uint64_t *find(struct sched_set *set, uint64_t key, uint64_t ignore)
{
	uint64_t i = (key >> 4) * 0x9e3779b97f4a7c15 >> 32;

	for (;; i++) {
		uint64_t *slot = &set->key[i & set->mask];

		if (!*slot || (*slot & ~ignore) == (key & ~ignore))
			return slot;
	}
}

bool sched_set_add(struct sched_set *set, uint64_t key)
{
	uint64_t *slot;

	key += !key;
	if (sched_set_full(set))
		return false;
	slot = find(set, key, 0);
	if (*slot)
		return false;
	*slot = key;
	set->used++;
	return true;
}

bool sched_set_raise(struct sched_set *set, uint64_t key, unsigned int left)
{
	uint64_t *slot;

	key = (key & ~LEFT) | (left < LEFT - 1 ? left + 1 : LEFT);
	if (sched_set_full(set))
		return true; /* the same things again rather than something not at all */
	slot = find(set, key, LEFT);
	if (*slot && (*slot & LEFT) >= (key & LEFT))
		return false;
	set->used += !*slot;
	*slot = key;
	return true;
}

uint64_t sched_hash(uint64_t hash, const void *data, size_t size)
{
	const char *p = data;
	uint64_t word;

	for (; size >= sizeof(word); size -= sizeof(word), p += sizeof(word)) {
		memcpy(&word, p, sizeof(word));
		hash = sched_hash_word(hash, word);
	}
	for (; size; size--)
		hash = sched_hash_word(hash, (unsigned char)*p++);
	return hash;
}

/* ---- runs and states ---- */

static struct sched_set *schedules, *orders, *states;
static uint32_t *longest;

void sched_count_begin(uint64_t expected)
{
	schedules = sched_set_new(expected);
	orders = sched_set_new(expected);
	states = sched_set_new(64 * expected);
	longest = shared_memory(sizeof(*longest));
}

/* Where the threads stand, and what the program says of its memory. */
void sched_count_state(void)
{
	const struct sched_run *run = &sched_now;
	uint64_t hash = 0;

	if (!states || !run->program->state)
		return;
	for (int i = 0; i < run->n; i++) {
		const struct sched_thread *thread = run->threads[i];

		hash = sched_hash_word(hash, (uint64_t)(uintptr_t)thread->pc);
		hash = sched_hash_word(hash, thread->state);
	}
	sched_set_add(states, run->program->state(hash));
}

void sched_count_run(const struct sched_result *res)
{
	if (!schedules)
		return;
	sched_set_add(schedules, res->hash);
	sched_set_add(orders, sched_order());
	if (res->steps > *longest)
		*longest = res->steps;
}

void sched_count_end(struct sched_result *res)
{
	res->counts = (struct sched_counts){
		.schedules = sched_set_count(schedules),
		.orders = sched_set_count(orders),
		.states = sched_set_count(states),
		.longest = *longest,
		.more = sched_set_full(schedules) || sched_set_full(orders) ||
			sched_set_full(states),
	};
	sched_set_free(schedules);
	sched_set_free(orders);
	sched_set_free(states);
	munmap(longest, sizeof(*longest));
	schedules = orders = states = NULL;
}

/* ---- places ---- */

static struct sched_point *table_in_use;

struct sched_point *sched_points_new(void)
{
	return shared_memory(SCHED_POINTS * sizeof(struct sched_point));
}

void sched_points_use(struct sched_point *table)
{
	table_in_use = table;
}

/* Its entry, a new one if need be; NULL: the table is full. Several processes may do so
 * at once: an entry is taken by compare and swap, counts may lose some. */
static struct sched_point *point_of(struct sched_point *table, const void *pc)
{
	unsigned int i = (unsigned int)((uintptr_t)pc * 0x9e3779b97f4a7c15 >> 51);

	for (unsigned int tries = 0; tries < SCHED_POINTS; tries++, i++) {
		struct sched_point *point = &table[i % SCHED_POINTS];

		if (!point->pc)
			__sync_bool_compare_and_swap(&point->pc, NULL, pc);
		if (point->pc == pc)
			return point;
	}
	return NULL;
}

void sched_count_point(const void *pc, bool preempted)
{
	struct sched_point *point = table_in_use ? point_of(table_in_use, pc) : NULL;

	if (point && preempted)
		point->preempted++;
	else if (point)
		point->passed++;
}

void sched_points_merge(struct sched_point *to, const struct sched_point *from)
{
	for (unsigned int i = 0; i < SCHED_POINTS; i++) {
		struct sched_point *point;

		if (!from[i].pc)
			continue;
		point = point_of(to, from[i].pc);
		if (!point)
			return;
		point->passed += from[i].passed;
		point->preempted += from[i].preempted;
	}
}
