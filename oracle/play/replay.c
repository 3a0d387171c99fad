// SPDX-License-Identifier: MIT
/*
 * replay.c - the explicit source: what Linux told its notifiers is told to hmmu's, in the
 * same order, so that who is called must be the same to the letter.
 */
#define _GNU_SOURCE
#include "play.h"

#include "replay.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHANGES 8192

static struct change {
	unsigned int nr;
	bool end;
	enum mmu_notifier_event event;
	char range[32];
} changes[CHANGES];
static int nchanges;

static struct mmu_notifier_range open_ranges[64];
static char open_names[64][32];

static bool parse(const char *line, unsigned int nr)
{
	struct change *c = &changes[nchanges];
	char what[16], event[32];
	int at;

	if (sscanf(line, "%15s %31s %n", what, event, &at) != 2)
		return true;
	if (strcmp(what, "start") && strcmp(what, "end"))
		return true;
	if (nchanges == CHANGES || event_of(event) < 0)
		return false;
	c->nr = nr;
	c->end = what[0] == 'e';
	c->event = (enum mmu_notifier_event)event_of(event);
	snprintf(c->range, sizeof(c->range), "%.*s", (int)strcspn(line + at, "\n"), line + at);
	nchanges++;
	return true;
}

/* The script's part of the log, from where the file stands. False: it is not there. */
static bool load_from(FILE *file, const char *script, bool *good)
{
	char line[512], name[256];
	bool ours = false;
	unsigned int nr = 0;

	while (*good && fgets(line, sizeof(line), file)) {
		if (!ours && sscanf(line, "script %255s", name) == 1)
			ours = !strcmp(name, script);
		if (!ours)
			continue;
		if (!strcmp(line, "over\n"))
			return true;
		sscanf(line, "op %u", &nr);
		*good = parse(line, nr);
	}
	return ours;
}

/* Scripts come in the log's order as a rule: the file stays open, where the last one ended. */
long replay_load(const char *log, const char *script)
{
	static FILE *file;
	bool good = true;

	if (!file)
		file = fopen(log, "re");
	if (!file)
		return -errno;
	nchanges = 0;
	if (!load_from(file, script, &good) && good) {
		rewind(file);
		good = load_from(file, script, &good) && good;
	}
	return good ? 0 : -EINVAL;
}

static void replay_start(struct mm_struct *mm, struct change *c)
{
	unsigned long start, end;

	if (!range_of(c->range, &start, &end))
		return;
	for (int i = 0; i < 64; i++) {
		if (open_names[i][0])
			continue;
		strcpy(open_names[i], c->range);
		mmu_notifier_range_init(&open_ranges[i], c->event, 0, mm, start, end);
		if (mmu_notifier_invalidate_range_start(&open_ranges[i]))
			log_line("replay: start failed");
		return;
	}
	log_line("replay: too many are open");
}

static void replay_end(struct change *c)
{
	for (int i = 0; i < 64; i++) {
		if (strcmp(open_names[i], c->range))
			continue;
		mmu_notifier_invalidate_range_end(&open_ranges[i]);
		open_names[i][0] = '\0';
		return;
	}
	log_line("replay: an end without a start");
}

void replay_changes(struct mm_struct *mm, unsigned int nr)
{
	for (int i = 0; i < nchanges; i++) {
		if (changes[i].nr != nr)
			continue;
		if (changes[i].end)
			replay_end(&changes[i]);
		else
			replay_start(mm, &changes[i]);
	}
}
