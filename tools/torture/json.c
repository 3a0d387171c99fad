// SPDX-License-Identifier: MIT
/* json.c - --json: the same figures as one object, by cJSON. */
#include "cache.h"

#include <cjson/cJSON.h>
#include <stdio.h>

static bool number(cJSON *object, const char *name, uint64_t value)
{
	return cJSON_AddNumberToObject(object, name, (double)value);
}

static bool column_counts(cJSON *object, const struct total *n)
{
	const struct uring_mirror_stats *m = &n->counts.mirror;

	return number(object, "lookups", m->lookups) && number(object, "hits", m->hits) &&
	       number(object, "misses", m->misses) && number(object, "retries", m->retries) &&
	       number(object, "waits", m->waits) && number(object, "refused", m->refused) &&
	       number(object, "discarded", m->discarded) &&
	       number(object, "repeated_reads", n->counts.repeated) &&
	       number(object, "overtaken_writes", m->raced) &&
	       number(object, "callbacks", m->callbacks) && number(object, "met", n->met) &&
	       number(object, "stale_reads", n->counts.stale_reads) &&
	       number(object, "stale_writes", n->counts.stale_writes);
}

static bool add_column(cJSON *columns, enum column c, const struct total *n)
{
	cJSON *object = cJSON_CreateObject();

	if (!object || !cJSON_AddItemToArray(columns, object))
		return false;
	return cJSON_AddStringToObject(object, "name", column_names[c]) &&
	       cJSON_AddNumberToObject(object, "seconds", n->seconds) &&
	       number(object, "accesses", n->accesses) &&
	       number(object, "invalidations", n->changes) &&
	       number(object, "stale", n->stale) && column_counts(object, n);
}

static bool add_cell(const struct torture *t, cJSON *array, enum op op, enum memory memory)
{
	const struct cell *cell = &cells[op][memory];
	const struct region *r = region_at(t, op, memory);
	cJSON *object = cJSON_CreateObject(), *stale, *changes;

	if (!object || !cJSON_AddItemToArray(array, object))
		return false;
	if (!cJSON_AddStringToObject(object, "operation", op_names[op]) ||
	    !cJSON_AddStringToObject(object, "memory", memory_names[memory]) ||
	    !cJSON_AddBoolToObject(object, "shows", cell->shows))
		return false;
	if (cell->note && !cJSON_AddStringToObject(object, "reason", cell_note(cell->note)))
		return false;
	if (!r)
		return true;
	if (r->dead && !cJSON_AddStringToObject(object, "stopped", REGION_DEAD))
		return false;
	stale = cJSON_AddArrayToObject(object, "stale");
	changes = cJSON_AddArrayToObject(object, "invalidations");
	for (enum column c = 0; stale && changes && c < NR_COLUMNS; c++) {
		cJSON_AddItemToArray(stale, cJSON_CreateNumber((double)cell_stale(t, r, c)));
		cJSON_AddItemToArray(changes, cJSON_CreateNumber((double)r->changes[c]));
	}
	return stale && changes;
}

static bool add_library_cache(cJSON *array, const struct hmmu_regcache_stats *s)
{
	cJSON *object = cJSON_CreateObject();

	if (!object || !cJSON_AddItemToArray(array, object))
		return false;
	return number(object, "hits", s->hits) && number(object, "misses", s->misses) &&
	       number(object, "retries", s->retries) && number(object, "merged", s->merged) &&
	       number(object, "replaced", s->replaced) &&
	       number(object, "invalidated", s->invalidated) &&
	       number(object, "evicted", s->evicted) && number(object, "once", s->once);
}

static bool add_cache(cJSON *root, const struct torture *t)
{
	const struct cache_torture *c = t->cache;
	cJSON *object, *array;
	struct cache_counts n;

	if (!c)
		return true;
	object = cJSON_AddObjectToObject(root, "cache");
	array = object ? cJSON_AddArrayToObject(object, "library") : NULL;
	for (unsigned int i = 0; array && i < NR_CACHES; i++)
		if (!add_library_cache(array, &c->stats[i]))
			return false;
	cache_counts_sum(t, COL_HMMU, &n);
	return array && number(object, "nonblocking", n.nonblock) &&
	       number(object, "put_elsewhere", n.elsewhere) &&
	       number(object, "no_room", n.no_room) &&
	       number(object, "read_only", n.read_only) &&
	       number(object, "granted", n.granted) &&
	       number(object, "protections", atomic_load(&c->protections)) &&
	       number(object, "shrink_calls", atomic_load(&c->shrinks)) &&
	       number(object, "children", atomic_load(&c->children)) &&
	       number(object, "children_skipped", atomic_load(&c->children_skipped)) &&
	       number(object, "children_stale", atomic_load(&c->children_stale));
}

static bool build(cJSON *root, const struct torture *t, const struct total *total,
		  enum outcome outcome, const char *why)
{
	static const char *const names[] = {"passed", "stale", "proved nothing", "broken"};
	cJSON *columns, *array;
	bool good;

	good = number(root, "seed", t->options.seed) &&
	       cJSON_AddStringToObject(root, "outcome", names[outcome]) &&
	       cJSON_AddStringToObject(root, "why", why) &&
	       cJSON_AddStringToObject(root, "source", source_name(t)) &&
	       cJSON_AddBoolToObject(root, "raw", t->options.callers != CALLERS_LIBC) &&
	       number(root, "threads", t->nr_devices) &&
	       number(root, "mutators", t->nr_mutators) &&
	       number(root, "signals", t->signals) && number(root, "forks", t->forks);
	good = good && add_cache(root, t);
	columns = cJSON_AddArrayToObject(root, "columns");
	array = cJSON_AddArrayToObject(root, "cells");
	good = good && columns && array;
	for (enum column c = 0; good && c < NR_COLUMNS; c++)
		good = add_column(columns, c, &total[c]);
	for (enum op op = 0; good && op < NR_OPS; op++)
		for (enum memory m = 0; good && m < NR_MEMORIES; m++)
			if (t->options.ops[op] && t->options.memories[m])
				good = add_cell(t, array, op, m);
	return good;
}

/* 0, or -1: no memory. */
int report_json(const struct torture *t, const struct total total[NR_COLUMNS],
		enum outcome outcome, const char *why)
{
	cJSON *root = cJSON_CreateObject();
	char *text = NULL;

	if (root && build(root, t, total, outcome, why))
		text = cJSON_Print(root);
	if (text)
		puts(text);
	cJSON_free(text);
	cJSON_Delete(root);
	return text ? 0 : -1;
}
