// SPDX-License-Identifier: MIT
/* text.c - names, sizes, order: what every report shares; and memory. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "watch.h"

const char *const watch_op_names[WATCH_OP_NR] = {
	[WATCH_OP_MUNMAP] = "munmap",	      [WATCH_OP_MMAP] = "mmap fixed",
	[WATCH_OP_MREMAP] = "mremap",	      [WATCH_OP_DONTNEED] = "madvise DONTNEED",
	[WATCH_OP_FREE] = "madvise FREE",     [WATCH_OP_REMOVE] = "madvise REMOVE",
	[WATCH_OP_MADVISE] = "madvise other", [WATCH_OP_BRK] = "brk",
	[WATCH_OP_MPROTECT] = "mprotect",     [WATCH_OP_SHMDT] = "shmdt",
	[WATCH_OP_SHMAT] = "shmat remap",     [WATCH_OP_FORK] = "fork",
	[WATCH_OP_FTRUNCATE] = "ftruncate",   [WATCH_OP_FALLOCATE] = "fallocate",
	[WATCH_OP_OTHER] = "other",
};

double watch_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

void *watch_alloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);

	if (!p) {
		fputs("hmmu watch: out of memory\n", stderr);
		_Exit(1);
	}
	return p;
}

/* Room for @need of them, doubled as it grows; the new part is not set. */
void *watch_grow(void *p, uint64_t *room, uint64_t need, size_t size)
{
	uint64_t more = *room ? *room : 64;

	if (need <= *room)
		return p;
	while (more < need)
		more *= 2;
	p = realloc(p, more * size);
	if (!p) {
		fputs("hmmu watch: out of memory\n", stderr);
		_Exit(1);
	}
	*room = more;
	return p;
}

static uint64_t hash_text(const char *text)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	while (*text)
		h = (h ^ (unsigned char)*text++) * UINT64_C(0x100000001b3);
	return h;
}

/* One copy of each text, for ever: equal texts have equal addresses. */
const char *watch_intern(const char *text)
{
	static const char **table;
	static uint64_t room, used;
	uint64_t i;

	if (used * 2 >= room) {
		const char **old = table;
		uint64_t n = room;

		room = room ? room * 2 : 1024;
		table = watch_alloc(room, sizeof(*table));
		for (uint64_t k = 0; k < n; k++) {
			if (!old[k])
				continue;
			for (i = hash_text(old[k]); table[i & (room - 1)]; i++)
				;
			table[i & (room - 1)] = old[k];
		}
		free(old);
	}
	for (i = hash_text(text); table[i & (room - 1)]; i++)
		if (!strcmp(table[i & (room - 1)], text))
			return table[i & (room - 1)];
	used++;
	table[i & (room - 1)] = strcpy(watch_alloc(strlen(text) + 1, 1), text);
	return table[i & (room - 1)];
}

const char *watch_size(uint64_t bytes, char *text, size_t n)
{
	static const char units[] = "KMGTPE";
	double value = (double)bytes;
	int unit = -1;

	while (value >= 1024 && unit < 5) {
		value /= 1024;
		unit++;
	}
	if (unit < 0)
		snprintf(text, n, "%llu", (unsigned long long)bytes);
	else
		snprintf(text, n, "%.*f%c", value < 10 ? 1 : 0, value, units[unit]);
	return text;
}

/* Younger advices than the headers' have their numbers here. */
static const char *advice_name(uint32_t advice)
{
	switch (advice) {
	case 24:
		return "DONTNEED_LOCKED";
	case 100:
		return "HWPOISON";
	case 101:
		return "SOFT_OFFLINE";
	case 102:
		return "GUARD_INSTALL";
	default:
		return NULL;
	}
}

static void protection(uint32_t prot, char *text, size_t n)
{
	snprintf(text, n, "mprotect %c%c%c%s", prot & PROT_READ ? 'r' : '-',
		 prot & PROT_WRITE ? 'w' : '-', prot & PROT_EXEC ? 'x' : '-',
		 prot & (PROT_GROWSDOWN | PROT_GROWSUP) ? " grows" : "");
}

/* With what it was called with. */
void watch_operation(const struct watch_stored *e, char *text, size_t n)
{
	const char *advice = advice_name(e->detail);

	if (e->flags & WATCH_CREATES)
		snprintf(text, n, "(new) %s", e->op == WATCH_OP_MREMAP ? "mremap" : "mmap");
	else if (e->flags & WATCH_LOST)
		snprintf(text, n, "lost");
	else if (e->op == WATCH_OP_MADVISE && advice)
		snprintf(text, n, "madvise %s", advice);
	else if (e->op == WATCH_OP_MADVISE)
		snprintf(text, n, "madvise %u", e->detail);
	else if (e->op == WATCH_OP_MPROTECT)
		protection(e->detail, text, n);
	else
		snprintf(text, n, "%s%s", watch_op_names[e->op],
			 e->flags & WATCH_SECOND ? " target" : "");
}

double watch_tsc_seconds(const struct watch *w, uint64_t tsc)
{
	return w->tsc_rate > 0 ? (double)tsc / w->tsc_rate : 0;
}

static const struct watch *sorting;
static bool sorting_what_if;

static int by_weight(const void *a, const void *b)
{
	const struct watch_site *x = &sorting->sites[*(const uint32_t *)a];
	const struct watch_site *y = &sorting->sites[*(const uint32_t *)b];
	uint64_t v = sorting_what_if ? x->hit : x->all.calls;
	uint64_t u = sorting_what_if ? y->hit : y->all.calls;

	if (v == u) {
		v = sorting_what_if ? x->again : x->all.bytes;
		u = sorting_what_if ? y->again : y->all.bytes;
	}
	if (v == u)
		return *(const uint32_t *)a < *(const uint32_t *)b ? -1 : 1;
	return v > u ? -1 : 1;
}

/* Those that have any, the heaviest first; the caller frees it. */
uint32_t *watch_sites_sorted(const struct watch *w, bool what_if, uint32_t *n)
{
	uint32_t *order = watch_alloc(w->nr_sites, sizeof(*order));

	*n = 0;
	for (uint32_t i = 0; i < w->nr_sites; i++)
		if (what_if ? w->sites[i].hit : w->sites[i].all.calls)
			order[(*n)++] = i;
	sorting = w;
	sorting_what_if = what_if;
	qsort(order, *n, sizeof(*order), by_weight);
	return order;
}
