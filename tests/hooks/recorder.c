// SPDX-License-Identifier: MIT
/*
 * recorder.c - a log of fixed size; what no longer fits is counted only. An event
 * that ends unopened, or twice, aborts the test.
 */
#include "recorder.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "atomic.h"
#include "source/hooks/hooks.h"

#define OPEN_MARK 0x0ec0de0ec0deUL

struct record rec_log[RECORDS];
void (*rec_callback)(const struct record *r);

static __thread unsigned int mine __attribute__((tls_model("initial-exec")));
static uint32_t watched, count, starts, open_now, ids, handed;

struct rec_handed rec_handed;

static void die(const char *text, size_t n)
{
	if (write(2, text, n) < 0)
		_exit(3);
	abort();
}

static void add(const struct record *r)
{
	uint32_t i;

	if (rec_callback)
		rec_callback(r);
	i = hmmu_add_seqcst(&count, 1);
	if (i < RECORDS)
		rec_log[i] = *r;
}

/* Keeps what it is about in range[0], as the notifier would. */
void hmmu_source_start(struct hmmu_source_event *ev, enum mmu_notifier_event event,
		       unsigned long start, unsigned long end)
{
	struct record r = {false, event, start, end, hmmu_add_seqcst(&ids, 1)};

	ev->n = 1;
	ev->range[0].start = start;
	ev->range[0].end = end;
	ev->range[0].event = event;
	ev->range[0].priv[0] = OPEN_MARK;
	ev->range[0].priv[1] = r.id;
	mine++;
	hmmu_add_seqcst(&starts, 1);
	hmmu_add_seqcst(&open_now, 1);
	add(&r);
}

void hmmu_source_check(void)
{
}

void hmmu_source_start_removing(struct hmmu_source_event *ev, unsigned long start,
				unsigned long end)
{
	hmmu_source_start(ev, MMU_NOTIFY_CLEAR, start, end);
}

void hmmu_source_end(struct hmmu_source_event *ev)
{
	static const char text[] = "recorder: an end without a start\n";
	struct record r = {true, ev->range[0].event, ev->range[0].start, ev->range[0].end,
			   (unsigned int)ev->range[0].priv[1]};

	if (ev->n != 1 || ev->range[0].priv[0] != OPEN_MARK)
		die(text, sizeof(text) - 1);
	ev->range[0].priv[0] = 0;
	ev->n = 0;
	add(&r);
	hmmu_add_seqcst(&open_now, -1u);
}

/* Only the last is kept; tests that look have one thread, the others do not mind. */
void hmmu_source_handed_out(unsigned long start, unsigned long end)
{
	hmmu_store_relaxed(&rec_handed.start, start);
	hmmu_store_relaxed(&rec_handed.last, end);
	hmmu_store_relaxed(&rec_handed.records, hmmu_load_seqcst(&count));
	hmmu_store_relaxed(&rec_handed.open, hmmu_load_seqcst(&open_now));
	hmmu_add_seqcst(&handed, 1);
}

unsigned int rec_handed_count(void)
{
	return hmmu_load_seqcst(&handed);
}

bool hmmu_source_watched(void)
{
	return hmmu_load_seqcst(&watched);
}

static void in_child(void)
{
	hmmu_store_seqcst(&watched, 0);
	hmmu_store_seqcst(&open_now, 0);
}

void rec_watch(bool on)
{
	static bool registered;

	if (!registered)
		registered = !pthread_atfork(NULL, NULL, in_child);
	hmmu_store_seqcst(&watched, on);
}

void rec_reset(void)
{
	hmmu_store_seqcst(&count, 0);
	hmmu_store_seqcst(&starts, 0);
	hmmu_store_seqcst(&handed, 0);
}

unsigned int rec_count(void)
{
	return hmmu_load_seqcst(&count);
}

unsigned int rec_starts(void)
{
	return hmmu_load_seqcst(&starts);
}

unsigned int rec_mine(void)
{
	return mine;
}

unsigned int rec_open(void)
{
	return hmmu_load_seqcst(&open_now);
}

#ifdef HMMU_PLANT
__attribute__((constructor)) static void plant(void)
{
	const char *which = getenv("HMMU_HOOK_PLANT");

	hmmu_hook_planted = which ? atoi(which) : 0;
}
#endif

static unsigned int logged(void)
{
	unsigned int n = rec_count();

	return n < RECORDS ? n : RECORDS;
}

bool rec_covers(enum mmu_notifier_event event, unsigned long start, unsigned long end)
{
	for (unsigned int i = 0; i < logged(); i++)
		if (rec_log[i].end && rec_log[i].event == event && rec_log[i].start <= start &&
		    rec_log[i].last >= end)
			return true;
	return false;
}

bool rec_any(enum mmu_notifier_event event)
{
	for (unsigned int i = 0; i < logged(); i++)
		if (rec_log[i].end && rec_log[i].event == event)
			return true;
	return false;
}

unsigned int rec_exactness(unsigned int op, unsigned int caller)
{
	return hmmu_source_hooks.exactness(op, caller);
}
