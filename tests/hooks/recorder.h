/* SPDX-License-Identifier: MIT */
/*
 * recorder.h - stands where the notifier would: what the hooks source tells, in
 * order. Implements hmmu_source_start(), _end() and _watched() for tests that link
 * the hooks alone.
 *
 * Context: as those; allocates nothing. Any thread may add, one reads, when the
 * others are done.
 */
#ifndef TESTS_RECORDER_H
#define TESTS_RECORDER_H

#include "source/source.h"

#define RECORDS 4096
/* Some tests load hooks and recorder as a library of their own (module.c). */
#define REC_EXPORT __attribute__((visibility("default")))

struct record {
	bool end;
	enum mmu_notifier_event event;
	unsigned long start;
	unsigned long last; /* one past */
	unsigned int id;    /* pairs a start with its end */
};

REC_EXPORT extern struct record rec_log[RECORDS];

/* The last address that was handed out. */
struct rec_handed {
	unsigned long start;
	unsigned long last;
	unsigned int records; /* rec_count() at that moment, */
	unsigned int open;    /* and rec_open() */
};
REC_EXPORT extern struct rec_handed rec_handed;
REC_EXPORT unsigned int rec_handed_count(void);

/* Called at each start and end, before it is counted. */
REC_EXPORT extern void (*rec_callback)(const struct record *r);

/* A forked child starts unwatched, as with the notifier. */
REC_EXPORT void rec_watch(bool on);
REC_EXPORT void rec_reset(void);
REC_EXPORT unsigned int rec_count(void); /* starts and ends so far */
REC_EXPORT unsigned int rec_starts(void);
REC_EXPORT unsigned int rec_mine(void); /* starts by this thread, ever */
REC_EXPORT unsigned int rec_open(void); /* starts without an end yet */

/* Was [start, end) inside one bracket of @event that is closed? */
REC_EXPORT bool rec_covers(enum mmu_notifier_event event, unsigned long start,
			   unsigned long end);
/* By any bracket with that event. */
REC_EXPORT bool rec_any(enum mmu_notifier_event event);

/* The cell that describe() gives. */
REC_EXPORT unsigned int rec_exactness(unsigned int op, unsigned int caller);

#endif /* TESTS_RECORDER_H */
